/* SPDX-License-Identifier: MIT */
/* Event descriptors that a stranger has, too: kicks, calls and errors.
 *
 * They come by SCM_RIGHTS, and their file is shared with whoever sent them: he may fill the counter, empty it behind our
 * back, or change the file's flags.  So what is polled and written to must be an eventfd and nothing else, and no call here
 * relies on a flag.
 *
 * Ownership: descriptors stay the caller's.
 * Threads:   any. */
#ifndef VU_EVENTFD_H
#define VU_EVENTFD_H

#include <stdbool.h>

/* Is fd an eventfd?  Asked of /proc, since asking the file could mean waiting for who serves it.  The name of an
 * anonymous inode is the kernel's, and no path looks like it. */
bool eventfd_is(int fd);

/* Empty it.  RWF_NOWAIT because its flags are the stranger's as much as ours: a plain read() of a descriptor made blocking
 * and emptied behind our back would hang every port.  Returns 0, or -errno: it can kick no more. */
int eventfd_drain(int fd);

/* Add 1.  True: it was added; a counter that is full is a signal that is still pending, and false.  The kernel has no write
 * to an eventfd that cannot be made to wait: where a signal ends that wait (loop_guard()), *blocked is set, unless it is
 * NULL, and the caller should not write again. */
bool eventfd_signal(int fd, bool *blocked);

#endif
