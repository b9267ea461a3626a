/* SPDX-License-Identifier: MIT */
/* The devdax info block: what makes a guest show the file as /dev/dax0.0.
 *
 * A guest that gets the file as a virtio-pmem device looks for an info block 4 KiB into it (Linux, drivers/nvdimm/pfn.h,
 * struct nd_pfn_sb).  Finding one that says "dax" it makes a character device of what begins at the data offset, without
 * ndctl or any configuration.  Ours says: data from PORTAL_LABEL_SIZE on, 2 MiB alignment, and the guest keeps its array of
 * struct page in its own memory (map=mem: with map=dev each guest would put its array into the shared file).
 *
 * Pure: computes bytes, does no I/O.
 */
#ifndef PORTAL_LABEL_H
#define PORTAL_LABEL_H

#include <stdbool.h>
#include <stdint.h>

#define LABEL_OFFSET 4096u /* of the info block in the file */
#define LABEL_SIZE   4096u /* of the info block */

/* The info block of a file of file_size bytes (a multiple of PORTAL_EXTENT, more than one). */
void label_make(uint8_t block[LABEL_SIZE], uint64_t file_size, const uint8_t uuid[16]);

/* Would a guest take it, and see the arena of a file of file_size bytes where the layout says it is? */
bool label_valid(const uint8_t block[LABEL_SIZE], uint64_t file_size);

#endif
