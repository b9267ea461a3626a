/* SPDX-License-Identifier: MIT */
/* Disks by serial number, and what file system is on them. */
#ifndef ORCHESTRATOR_AGENT_GUEST_DISK_H
#define ORCHESTRATOR_AGENT_GUEST_DISK_H

#include <stddef.h>
#include <stdint.h>

#define DISK_SERIAL_MAX \
	20 /* virtio 1.3, 5.2.6: VIRTIO_BLK_T_GET_ID gives so many bytes; more of a name does not count */
#define DISK_PATH_MAX 64
#define DISK_HEAD     (68ul * 1024) /* of a disk: holds the signature of every type known here */

/* The device node of the disk with this serial number: "/dev/vdb".  ROOT: "" or, in tests, the directory that stands for /.
 * Returns 0 or -ENODEV. */
int disk_find(const char *root, const char *serial, char ret_path[DISK_PATH_MAX]);

/* The largest partition of DEVICE ("/dev/vdb") with a file system known here, and its type.  Returns 0 or -ENODEV. */
int disk_partition(const char *root, const char *device, char ret_path[DISK_PATH_MAX],
		   const char **ret_type);

/* The type of the file system on a block device or in an image.  Returns 0; -EMEDIUMTYPE, none known here; another errno of reading. */
int disk_type(const char *path, const char **ret_type);

/* What the first bytes of a disk say: a name for mount(2), or NULL.  Pure. */
const char *disk_type_of(const uint8_t *head, size_t size);

#endif
