/* SPDX-License-Identifier: MIT */
/* What a device is: the contract between session.c and vhost-user-net, -portal,
 * -hvsock.  With vq.h this is all that a device author has to read.
 *
 * A *session* is one connection of one frontend; it owns the guest's memory
 * table and the queues.  A device fills in a struct vu_device_ops, gives it to
 * vu_session_new() with a pointer of its own, and is then called:
 *
 *	negotiated(features)            once features are accepted, again if they change
 *	  queue_start(q)                the ring is mapped; poll q->vq once, work may wait there
 *	    queue_kick(q)               the driver asks for attention; any number of times
 *	    queue_enable(q, on)         may come at any time, started or not
 *	  queue_stop(q)                 the ring goes away when this returns
 *	closed(reason)                  the last call; the session is freed after it
 *
 * A ring starts when everything it needs is known: features, memory, size,
 * addresses, and a kick descriptor.  It stops on GET_VRING_BASE, when it is
 * broken, and when the session ends.  A change of the memory table stops every
 * running ring and starts it again around the change, by the same two calls: a
 * device that forgets all pointers into guest memory in queue_stop() is right.
 *
 * Started and enabled are two things.  A started ring that is disabled is
 * processed without effect: a network device drops what it reads from a
 * transmitq and puts nothing into a receiveq.
 *
 * The same two calls also surround the beginning and the end of the logging of
 * dirty pages (VHOST_F_LOG_ALL), which a device knows nothing of otherwise.
 *
 * Trust:     the library has checked every message; what lies in the rings is
 *            the driver's (vq.h).  get_config and set_config see a range that
 *            has been checked against VU_CONFIG_MAX only, not against the
 *            device's own configuration space.
 * Ownership: queues, rings, memory and descriptors are the session's.  A device
 *            keeps no pointer to a session after closed().
 * Threads:   all calls come from the loop's thread.
 */
#ifndef VU_DEVICE_H
#define VU_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop.h"
#include "proto.h"
#include "vq.h"

struct vu_session;

/* The most rings one device may have: an index must fit the low byte of
 * SET_VRING_KICK. */
#define VU_MAX_QUEUES 256

/* The most bytes a device's state may have. */
#define VU_STATE_MAX 16384

/* Rings whose frontend gave no kick descriptor are looked at this often. */
#define VU_POLL_NS 1000000ull

/* One ring of a session, as the messages configure it. */
struct vu_queue {
	/* For the device. */
	struct vq vq; /* valid while started */
	unsigned index;
	bool started; /* between queue_start() and queue_stop() */
	bool enabled;
	bool broken;       /* the driver broke it; cleared by GET_VRING_BASE */
	uint64_t n_broken; /* how often that happened in this session */
	struct vu_session *session;
	void *device; /* the device's own; the library never looks at it */

	/* For session*.c. */
	uint32_t num;  /* 0: not set */
	uint32_t base; /* as the messages say it: vq_stop() */
	bool has_addr;
	bool has_kick; /* KICK was received, with or without a descriptor */
	uva_t desc, avail, used;
	bool log_used;
	gpa_t log_gpa;
	int kick_fd, call_fd, err_fd;
	struct loop_source kick;
	struct loop_timer poll; /* in the place of a kick descriptor */
};

struct vu_device_ops {
	const char *name; /* "net" */
	/* Beyond those of vu_offered_features().  What the library does for a device that says so here:
	 * VIRTIO_F_RING_PACKED, VHOST_F_LOG_ALL, and VIRTIO_F_IN_ORDER: then it pushes the chains of each ring in the
	 * order in which it popped them, which is a promise to keep whatever is negotiated. */
	uint64_t features;
	/* Beyond those of vu_offered_protocol_features().  The library's to do: LOG_SHMFD (with VHOST_F_LOG_ALL),
	 * INFLIGHT_SHMFD (with VIRTIO_F_IN_ORDER), STATUS, RESET_DEVICE, BACKEND_REQ. */
	uint64_t protocol_features;
	/* Its sessions are resumed (vu_session_resume()): CONFIGURE_MEM_SLOTS is not offered then.  With it QEMU sends
	 * of a memory table only what has changed since the last one, and a successor has not seen that. */
	bool resumed;
	/* CONFIGURE_MEM_SLOTS is not offered for another reason. */
	bool no_mem_slots;
	unsigned max_queues; /* rings: 2 per pair for a network device; at most VU_MAX_QUEUES */
	/* Which bit is SHMEM_MAP's for the frontends of this device, one of PROTO_SHMEM_BITS(); 0: the specification's. */
	unsigned shmem_bit;
	unsigned rings_per_queue; /* what GET_QUEUE_NUM counts: 2 where it counts pairs; 0 means 1 */

	/* The len bytes at off of the configuration space.  Returns 0 or -errno
	 * (-EINVAL: outside of it); the frontend is told that it failed, the session
	 * goes on.  NULL: there is no configuration space, and CONFIG is not offered. */
	int (*get_config)(struct vu_session *s, void *buf, uint32_t off, uint32_t len);

	/* Write into it; flags is 0 for the driver's write, 1 for a migration's.
	 * Same returns.  NULL: read-only. */
	int (*set_config)(struct vu_session *s, const void *buf, uint32_t off, uint32_t len,
			  uint32_t flags);

	/* SEND_RARP: the driver's station has moved here, and its neighbours do not know.  Returns 0 or -errno (the
	 * frontend is told).  NULL: RARP is not offered. */
	int (*rarp)(struct vu_session *s, const uint8_t mac[6]);

	/* NET_SET_MTU: the frontend tells the driver this MTU.  Returns 0 or -errno: the device cannot have it.
	 * NULL: NET_MTU is not offered. */
	int (*set_mtu)(struct vu_session *s, uint16_t mtu);

	/* RESET_DEVICE: forget what the driver has configured; every ring has been stopped and disabled, and features
	 * will be negotiated anew.  May be NULL. */
	void (*reset)(struct vu_session *s);

	/* DEVICE_STATE: what the driver has made of this device, as bytes for another process (of another version, on
	 * another machine): little-endian, with a version in front.  No ring is started.
	 * save_state: fill *buf, at most VU_STATE_MAX bytes, and return how many, or -errno.
	 * load_state: take over what came; -EINVAL (or another -errno) and nothing changed if it is not sound.  The
	 * bytes come from a stranger.  Both NULL: DEVICE_STATE is not offered. */
	int (*save_state)(struct vu_session *s, void *buf, size_t max);
	int (*load_state)(struct vu_session *s, const void *buf, size_t size);

	/* The sizes of the device's shared memory regions, in bytes, by their ids; size[] is all zeros before.  A size is a
	 * multiple of the page size; QEMU makes one PCI BAR of all, so their sum should be a power of two.  NULL: SHMEM_MAP
	 * is not offered; else BACKEND_REQ is offered with it. */
	void (*shmem_config)(struct vu_session *s, uint64_t size[VU_SHMEM_REGIONS]);

	/* The frontend's answer to a vu_session_shmem_map() or _unmap() of this region, in the order in which they were
	 * made: 0; -EIO: it refused; -EPIPE: it closed the channel, and whether it did is unknown.  May be NULL. */
	void (*shmem_answered)(struct vu_session *s, uint8_t shmid, bool mapped, int result);

	/* Features were accepted: a subset of what was offered, with VERSION_1.  No
	 * ring is started.  May be NULL. */
	void (*negotiated)(struct vu_session *s, uint64_t features);

	/* The ring is up.  q->enabled tells whether it has an effect yet. */
	void (*queue_start)(struct vu_session *s, struct vu_queue *q);

	/* The ring goes down: push what must be pushed before returning, and use
	 * neither q->vq nor any pointer got from it after. */
	void (*queue_stop)(struct vu_session *s, struct vu_queue *q);

	/* q->enabled has just become `on`.  May be NULL. */
	void (*queue_enable)(struct vu_session *s, struct vu_queue *q, bool on);

	/* The kick descriptor was readable, and has been read; or VU_POLL_NS passed
	 * and there is no kick descriptor.  Only for started rings. */
	void (*queue_kick)(struct vu_session *s, struct vu_queue *q);

	/* What vu_session_state() says has changed.  Not called for "closing": that
	 * is closed()'s to tell.  May be NULL. */
	void (*state_changed)(struct vu_session *s);

	/* The session is over: every ring has been stopped, nothing is called any
	 * more, and *s is freed when this returns.  reason: 0 the frontend hung up or
	 * vu_session_close(s, 0); -EPROTO it broke the protocol; -EFAULT it took
	 * memory away; another -errno of the socket.  The session has logged it. */
	void (*closed)(struct vu_session *s, int reason);
};

#endif
