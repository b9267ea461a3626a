/* SPDX-License-Identifier: MIT */
/* libslirp in our loop: the only file pair that includes its header.
 *
 * libslirp wants to be asked before each sleep what it waits for, and told after it what happened.  Its
 * descriptors become sources of the loop that are registered, changed and removed only where its wishes
 * differ from the last time; its timeouts and its timer become timers.  Nothing here blocks: every socket
 * that libslirp makes is set to non-blocking, whatever it did itself.
 *
 * The owner calls nat_slirp_run() soon after anything has happened, once for many: when wake() was
 * called, and after nat_slirp_input().  It is the only function that does work for the host's side.
 *
 * Trust:     frames have passed nat_policy() and nat_flows.h; what libslirp does with them is its own.
 * Ownership: nat_slirp_free() closes every socket.
 * Threads:   the loop thread.  Several instances are fine; libslirp shares its clock among them. */
#ifndef NET_NAT_SLIRP_H
#define NET_NAT_SLIRP_H

#include <sys/socket.h>

#include "loop.h"
#include "nat_net.h"

struct nat_slirp;

struct nat_slirp_ops {
	/* A frame for a guest.  Called from nat_slirp_run() and nat_slirp_input(). */
	void (*send)(void *owner, const uint8_t *frame, size_t len);
	/* Call nat_slirp_run() in this pass. */
	void (*wake)(void *owner);
	/* A socket was made, on behalf of the frame being taken in or of a connection from the host;
	 * it is about to be closed. */
	void (*opened)(void *owner, int fd);
	void (*closed)(void *owner, int fd);
	/* May forwards take more connections?  Asked before each sleep. */
	bool (*may_accept)(void *owner);
	/* Is there nothing that libslirp's slow clock has to run for?  It would tick for listening
	 * sockets, too. */
	bool (*is_idle)(void *owner);
};

/* -EIO: libslirp refused; -ENOMEM. */
int nat_slirp_new(struct loop *loop, const struct nat_net *net, const struct nat_slirp_ops *ops,
		  void *owner, struct nat_slirp **ret);
/* NULL is fine.  Calls closed() only. */
void nat_slirp_free(struct nat_slirp *s);

/* Take a frame of a guest.  Not from send(). */
void nat_slirp_input(struct nat_slirp *s, const uint8_t *frame, size_t len);

/* See to the sockets that have something, and send what waits for a neighbour that is known by now.  To be called
 * before nat_slirp_input() after a pause, too: libslirp reads its clock here, and a flow that begins by an old clock
 * has ended before its first answer. */
void nat_slirp_run(struct nat_slirp *s);
/* Only the latter. */
void nat_slirp_flush(struct nat_slirp *s);
/* Before the sleep: look at what libslirp waits for now. */
void nat_slirp_wait(struct nat_slirp *s);

/* Let connections (or datagrams) to `host` come out at `guest`, both of one family.  -errno of socket(), bind() or
 * listen(). */
int nat_slirp_forward(struct nat_slirp *s, bool udp, const struct sockaddr *host,
		      const struct sockaddr *guest, socklen_t len);
/* Connections that came in by it go on. -ENOENT. */
int nat_slirp_unforward(struct nat_slirp *s, bool udp, const struct sockaddr *host, socklen_t len);

#endif
