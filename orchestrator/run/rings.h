/* SPDX-License-Identifier: MIT */
/* Whether the daemon of sockets knows the rings of a VM's socket device, and what is done until it does.
 *
 * QEMU tells a daemon about these rings when the guest's driver starts, and when a VM that was stopped goes on.  One that has
 * found its way to another daemon says nothing: it has to be stopped and continued.  That may come to nothing.  The daemon
 * sees a connection as soon as it is made, QEMU only when its main loop has nothing better to do; a QEMU that is continued in
 * between tells nobody, and does not try again.  So what counts is what the daemon says: until it knows the rings QEMU is had
 * to tell them again, ever more seldom.
 *
 * It ends after RINGS_TELL_MAX times: a guest whose driver is not up has no rings, and its QEMU tells them by itself later.
 *
 * Threads: the thread of the default main context.
 */
#ifndef RUN_RINGS_H
#define RUN_RINGS_H

#include <stdbool.h>
#include <glib.h>

/* At 500 ms, doubled each time, half a minute lies between the first and the last. */
#define RINGS_AGAIN_MS 500
#define RINGS_TELL_MAX 7u

struct rings {
	/* Have QEMU tell its rings.  False: it cannot be asked now; rings_pursue() when it can. */
	bool (*tell)(void *data);
	void *data;
	guint again_ms;  /* from the first time to the second */
	unsigned n_told; /* for this daemon */

	/* Private. */
	bool owed;      /* the daemon has to be told */
	bool connected; /* and it has seen QEMU */
	guint timer;    /* to look whether it came to something */
};

/* The daemon that knew them is gone. */
void rings_lost(struct rings *r);
/* Another one sees QEMU.  Nothing if none was lost: QEMU tells its first daemon by itself. */
void rings_connected(struct rings *r);
/* The daemon knows them, or there is no QEMU any more that could tell them. */
void rings_settled(struct rings *r);

/* Do what is to be done now. */
void rings_pursue(struct rings *r);

#endif
