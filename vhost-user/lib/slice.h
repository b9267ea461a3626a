/* SPDX-License-Identifier: MIT */
/* To be run soon after waking.
 *
 * A thread that wakes on a processor where another one is busy waits until that one's slice is over: some milliseconds.
 * Since Linux 6.12 a thread can ask for slices of its own that are shorter: then it has its turn at once, and gets no
 * more of the processor than before, only more often.  No privilege is needed.
 *
 * Threads: for the calling one, and those that it makes after. */
#ifndef VU_SLICE_H
#define VU_SLICE_H

/* Ask for the shortest slices that there are.  A wish: older kernels take no notice, and a thread of another class than
 * the usual one is left as it is. */
void slice_ask_short(void);

#endif
