/* SPDX-License-Identifier: MIT */
/* A portal (portal_fixture.h) that serves from a thread of its own, for clients that wait for answers.
 *
 * Between portal_server_stop() and _start() the portal belongs to the test, else to the thread: portal_server_do() has
 * it run something there.
 */
#ifndef PORTAL_SERVER_H
#define PORTAL_SERVER_H

#include <pthread.h>

#include "portal_fixture.h"

struct portal_server {
	struct pf pf;
	pthread_t thread;
	bool running;                          /* there is a thread */
	bool end;                              /* atomic: it is to end */
	void (*job)(struct pf *pf, void *arg); /* atomic */
	void *arg;
	char where[128]; /* "unix:PATH" of the last portal_server_where() */
};

/* Make the folder and the loop, start the arena, and serve. */
void portal_server_init(struct portal_server *s);
void portal_server_done(struct portal_server *s);

/* As the daemon ends, and starts over the same file. */
void portal_server_stop(struct portal_server *s);
void portal_server_start(struct portal_server *s);

/* Run job(pf, arg) in the server's thread, and wait for it. */
void portal_server_do(struct portal_server *s, void (*job)(struct pf *pf, void *arg), void *arg);

/* Where that client attaches: valid until the next call. */
const char *portal_server_where(struct portal_server *s, const char *client);

#endif
