/* SPDX-License-Identifier: MIT */
/* Make the nth failing call fail.
 *
 * A program linked with fault_link_args (tests/lib/meson.build) has its calls to
 * the functions of FAULT_CALLS() wrapped by the linker.  Each wrapped call counts
 * while a fault is armed; the nth returns what it returns on failure, with the
 * errno given in the table, and does nothing.  A test runs its scenario for
 * n = 1, 2, 3, … until fault_disarm() says that n was beyond the last call:
 *
 *	for (unsigned n = 1;; n++) {
 *		fault_arm(n);
 *		scenario();             must end cleanly whatever fails
 *		if (!fault_disarm())
 *			break;          all of them have been tried
 *		expect no leak
 *	}
 *
 * Calls made inside libc are not seen, but for those that are in the table
 * themselves (strdup).
 */
#ifndef TEST_FAULT_H
#define TEST_FAULT_H

#include <stdbool.h>

/* X(function, errno of its failure) */
#define FAULT_CALLS(X)           \
	X(malloc, ENOMEM)        \
	X(calloc, ENOMEM)        \
	X(realloc, ENOMEM)       \
	X(aligned_alloc, ENOMEM) \
	X(strdup, ENOMEM)        \
	X(mmap, ENOMEM)          \
	X(fstat, EIO)            \
	X(fcntl, EINVAL)         \
	X(epoll_ctl, ENOSPC)     \
	X(eventfd, EMFILE)       \
	X(dup, EMFILE)           \
	X(send, ECONNRESET)      \
	X(sendmsg, ECONNRESET)   \
	X(recvmsg, ECONNRESET)   \
	X(preadv2, EIO)

/* Let the nth wrapped call from now on fail, counting from 1. */
void fault_arm(unsigned n);

/* Stop counting.  True if the fault has happened. */
bool fault_disarm(void);

/* The function that failed last, for messages; "none". */
const char *fault_name(void);

/* While paused, calls neither count nor fail: for the test's own.  Arming does not
 * change it. */
void fault_pause(bool pause);

#endif
