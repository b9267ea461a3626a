/* SPDX-License-Identifier: MIT */
/* The ways an arena comes into this process: files, devices of a guest, a descriptor of the daemon.
 *
 * A door maps read-only at first; door_unlock() makes the mapping writable once a lease allows it.
 *
 *	regular file    the host's own arenas
 *	/dev/daxN.M     virtio-pmem in a guest: the arena begins where the device does
 *	PCI BAR 2       ivshmem in a guest: the whole file, label included
 *
 * A raw /dev/pmem is refused: its mapping is the guest's page cache, which other machines neither see nor fill.
 *
 * Trust: what is mapped is a stranger's; only its head has been looked at, by geometry_find().
 * Ownership: a mapping holds no descriptor; door_close() ends it.
 */
#ifndef PORTAL_CLIENT_DOOR_H
#define PORTAL_CLIENT_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "geometry.h"

/* What is mapped, and which part of it is the arena. */
struct mapping {
	void *start;
	size_t size;
	uint8_t *base;  /* of the arena */
	bool may_write; /* the descriptor allows it */
	bool writable;  /* it is mapped so */
};

/* Map what path names: a regular file, or a dax device.  0; -ENODEV: it is neither, or a block device; and those of
 * geometry_find(), open(2) and mmap(2). */
int door_open_path(const char *path, struct mapping *ret_map, struct geometry *ret_geo);

/* Map the memory of the ivshmem device at a PCI address.  -ENODEV: it is something else. */
int door_open_pci(const char *address, struct mapping *ret_map, struct geometry *ret_geo);

/* Map whichever device of this machine has the arena of that name.  -ENOENT: none has. */
int door_open_name(const char *name, struct mapping *ret_map, struct geometry *ret_geo);

/* Map what a descriptor names; the descriptor stays the caller's. */
int door_open_fd(int fd, struct mapping *ret_map, struct geometry *ret_geo);

/* Make it writable.  0, -EACCES. */
int door_unlock(struct mapping *map);

/* Put zeros of this process alone in the place of the arena: what a client does that has lost its lease, and does not know
 * it yet, is then seen by nobody.  May be called while other threads use the memory. */
void door_fence(struct mapping *map);

void door_close(struct mapping *map);

#endif
