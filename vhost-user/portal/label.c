/* SPDX-License-Identifier: MIT */
#include "label.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "layout.h"

/* As the kernel has it (drivers/nvdimm/pfn.h), up to what version 1.4 knows. */
struct info_block {
	char signature[16];
	uint8_t uuid[16];
	uint8_t parent_uuid[16]; /* zeros: a namespace without labels */
	le32_t flags;
	le16_t version_major, version_minor;
	le64_t dataoff;
	le64_t npfns;
	le32_t mode;
	le32_t start_pad, end_trunc;
	le32_t align;
	le32_t page_size;
	le16_t page_struct_size;
	uint8_t padding[3994];
	le64_t checksum;
} __attribute__((packed));
static_assert(sizeof(struct info_block) == LABEL_SIZE, "the kernel's layout");
static_assert(offsetof(struct info_block, checksum) == LABEL_SIZE - 8, "the kernel's layout");

#define SIGNATURE        "NVDIMM_DAX_INFO"
#define MODE_MEM         1u /* struct page in the guest's own memory */
#define PFN_SIZE         4096u
#define PAGE_STRUCT_SIZE 64u /* what the kernel reserves; of no consequence with MODE_MEM */

/* Fletcher's sum over little-endian words of 32 bits, as nvdimm reckons it: the checksum's own place counts as zero. */
static uint64_t fletcher64(const uint8_t *p, size_t len)
{
	uint32_t low = 0;
	uint64_t high = 0;

	for (size_t i = 0; i < len; i += 4) {
		uint32_t word;

		memcpy(&word, p + i, sizeof(word));
		low += le32toh(word);
		high += low;
	}
	return high << 32 | low;
}

static uint64_t checksum(const struct info_block *b)
{
	struct info_block copy = *b;

	copy.checksum = le64_of(0);
	return fletcher64((const uint8_t *)&copy, sizeof(copy));
}

void label_make(uint8_t block[LABEL_SIZE], uint64_t file_size, const uint8_t uuid[16])
{
	struct info_block b = {
		.signature = SIGNATURE,
		.version_major = le16_of(1),
		.version_minor = le16_of(4),
		.dataoff = le64_of(PORTAL_LABEL_SIZE),
		.npfns = le64_of((file_size - PORTAL_LABEL_SIZE) / PFN_SIZE),
		.mode = le32_of(MODE_MEM),
		.align = le32_of(PORTAL_EXTENT),
		.page_size = le32_of(PFN_SIZE),
		.page_struct_size = le16_of(PAGE_STRUCT_SIZE),
	};

	memcpy(b.uuid, uuid, sizeof(b.uuid));
	b.checksum = le64_of(checksum(&b));
	memcpy(block, &b, sizeof(b));
}

bool label_valid(const uint8_t block[LABEL_SIZE], uint64_t file_size)
{
	struct info_block b;

	memcpy(&b, block, sizeof(b));
	return memcmp(b.signature, SIGNATURE, sizeof(b.signature)) == 0 &&
	       le16_get(b.version_major) == 1 && le64_get(b.dataoff) == PORTAL_LABEL_SIZE &&
	       le64_get(b.npfns) <= (file_size - PORTAL_LABEL_SIZE) / PFN_SIZE &&
	       le32_get(b.mode) == MODE_MEM && le32_get(b.start_pad) == 0 &&
	       le32_get(b.end_trunc) == 0 && le32_get(b.align) == PORTAL_EXTENT &&
	       le64_get(b.checksum) == checksum(&b);
}
