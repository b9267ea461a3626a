/* SPDX-License-Identifier: MIT */
/* Letting in a QEMU that is no process of the lab's owner, as those of a system's libvirt are: what it opens, and the
 * directories on the way there, are private (0600, 0700).
 *
 * It is let in by its user, in the access control lists of the very sockets and files of its VM.  A socket that a daemon
 * makes anew has no list, so this is done again when one does.
 *
 * Entries go with what the lab removes when it goes down.  Those of directories above that, and of files that are not the
 * lab's, stay: another lab may need them.
 *
 * Threads: any. */
#ifndef RUN_ADMIT_H
#define RUN_ADMIT_H

#include <glib.h>
#include <sys/types.h>

struct image;
struct lab_paths;
struct vm;

/* emulator and image: itself, and what it boots; NULL: it has opened that already.  Sockets and files that are not there (yet) are left
 * out.
 * ORCH_ERROR_HOST_UNFIT: there is something that it cannot be let in at, with the way out. */
gboolean admit_vm(const struct vm *vm, const struct lab_paths *paths, const char *emulator,
		  const struct image *image, uid_t uid, GError **error);

#endif
