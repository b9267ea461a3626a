/* SPDX-License-Identifier: MIT */
/* One connection of one frontend: what it has negotiated, what it may ask for
 * next, and what the device is told of it.
 *
 * A session reads one message at a time from its socket, has proto.c judge it,
 * looks up whether this state allows it, and calls one handler.  It sits in the
 * loop beside the kick descriptors of its rings and never blocks.
 *
 * What happens to a message that cannot be obeyed:
 *
 *   malformed (wrong size, wrong number of descriptors, no such ring)
 *       the session ends with -EPROTO; one rate-limited warning names request
 *       and fault
 *   refusable (unoffered feature, busy ring, unmappable memory, no eventfd,
 *       unknown request)
 *       nothing changes; the reply, if one was asked for, is not 0; the session
 *       goes on; one rate-limited warning
 *
 * Either way the descriptors that came with it are closed, and no other session
 * notices.  One exception to "nothing changes": a refused SET_FEATURES while no
 * ring runs leaves the session without features, so that no ring starts with
 * features that the driver does not believe in.
 *
 * Where the specification leaves room:
 *   - A ring starts on SET_VRING_KICK once the rest is known, not on the first
 *     kick: after a reconnect there may be no first kick.
 *   - GET_VRING_BASE closes the kick descriptor: a stopped ring needs a new one.
 *     Call and error descriptors stay.
 *   - "Enabled" is tracked while a ring is stopped.  All rings begin disabled;
 *     SET_FEATURES without VHOST_USER_F_PROTOCOL_FEATURES enables them all.
 *   - Adding a region that is there, and removing one that is not, succeeds and
 *     changes nothing: QEMU 7.2 does both with more than one pair of queues.
 *   - RESET_OWNER disables all rings and keeps everything else.
 *   - NEED_REPLY is obeyed once REPLY_ACK is negotiated, ignored before; but see
 *     vu_session_resume().
 *   - The size, base and addresses of a started ring do not change; its kick,
 *     call and error descriptors may, and whether its writes are logged.
 *   - A packed ring whose place is on record (vu_session_set_places(),
 *     SET_INFLIGHT_FD) goes on there, whatever SET_VRING_BASE says; GET_VRING_BASE
 *     ends the record, since the frontend knows then.  A split ring goes on at the
 *     used index in guest memory.
 *   - RESET_DEVICE and SET_STATUS 0 do with every ring what GET_VRING_BASE does;
 *     RESET_DEVICE also disables them and forgets the features.  Memory, protocol
 *     features and the channel to the frontend stay.
 *   - FEATURES_OK in SET_STATUS is taken back when no features were accepted.
 *   - The state of a device travels through pipes only.
 *   - Kick, call and error descriptors are eventfds, as the specification has it
 *     ("event file descriptor").  Any other file is refused and the one before it
 *     stays: QEMU and DPDK send nothing else, and what is written to or polled
 *     must not be a file that somebody can let us wait for.
 *   - A ring whose parts do not lie in guest memory does not start: the request
 *     that completed it fails, and it is tried again when anything it needs
 *     changes.  No driver without VIRTIO_F_VERSION_1 is served.
 *
 * Trust:     everything from the socket is the frontend's.  A kick descriptor is
 *            read with RWF_NOWAIT, so that its flags do not matter; one that we
 *            write to can be made to wait once, until loop_guard() ends it, and
 *            then the session ends.
 * Ownership: vu_session_new() owns the socket also when it fails.  The session
 *            frees itself, after ops->closed().
 * Threads:   the loop's.
 */
#ifndef VU_SESSION_H
#define VU_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "log.h"
#include "loop.h"
#include "mem.h"
#include "place.h"

/* What the library offers by itself, whatever the device: VIRTIO_F_VERSION_1,
 * VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX and
 * VHOST_USER_F_PROTOCOL_FEATURES. */
uint64_t vu_offered_features(const struct vu_device_ops *ops);

/* MQ, REPLY_ACK, CONFIGURE_MEM_SLOTS unless its sessions are resumed or it has no_mem_slots; CONFIG if the device has get_config, RARP if it
 * has rarp, NET_MTU if it has set_mtu, DEVICE_STATE if it has save_state and load_state, SHMEM_MAP (by its bit) and
 * BACKEND_REQ if it has shmem_config. */
uint64_t vu_offered_protocol_features(const struct vu_device_ops *ops);

/* Serve the frontend connected to fd, until it goes away.  `tag` names it in log
 * lines ("n1"); it is copied.  *log counts those lines, and belongs to whatever the
 * frontends connect to: a limit that ended with its session would be no limit for
 * one that connects again and again.  *ops and *log must outlive the session.
 * Returns 0; -EINVAL (ops->max_queues out of range); -ENOMEM, or what the loop
 * said.  On failure fd is closed and no op has been called. */
int vu_session_new(struct loop *loop, int fd, const struct vu_device_ops *ops, void *device,
		   const char *tag, struct log_limit *log, struct vu_session **ret_session);

/* Also serve a frontend that goes on where it was with a predecessor of this process, which died.  To be called right
 * after vu_session_new(), for every connection, since nothing tells the two kinds apart before they speak.
 *
 * QEMU's vhost-user-vsock (7.2 to 11) is one: its chardev connects again, but it does not negotiate again.  When the
 * machine is stopped and continued, or the driver starts anew, it sends SET_FEATURES, SET_MEM_TABLE and SET_VRING_* as
 * if nothing had been, and neither SET_OWNER nor SET_PROTOCOL_FEATURES.  So until one of these two comes:
 *   - `protocol_features` count as negotiated.  As a frontend uses only what it has negotiated, and asks for replies
 *     only with REPLY_ACK, vu_offered_protocol_features() is right without a record of what that was.  Bits that are
 *     not offered are ignored.
 *   - GET_VRING_BASE for a ring that this session knows nothing of is answered without a payload: QEMU then takes the
 *     ring's place from the used index in guest memory.  Any number would be a lie that breaks the ring. */
void vu_session_resume(struct vu_session *s, uint64_t protocol_features);

/* Keep the place of packed rings in these records, ring i's in places_ring(places, i), for a successor of this process
 * that serves the same frontend (place.h): QEMU asks for no inflight region for a network device.  To be called right
 * after vu_session_new(); *places must outlive the session, and have ops->max_queues rings.  NULL: nothing is kept. */
void vu_session_set_places(struct vu_session *s, struct places *places);

/* End it.  Legal at any time, from any callback, more than once (the first
 * reason counts).  No op is called from here: the socket is watched no longer,
 * and queue_stop() and closed() follow at the end of this pass of the loop. */
void vu_session_close(struct vu_session *s, int reason);

void *vu_session_device(const struct vu_session *s);
struct mem *vu_session_mem(struct vu_session *s);

/* What SET_FEATURES accepted; 0 before. */
uint64_t vu_session_features(const struct vu_session *s);
uint64_t vu_session_protocol_features(const struct vu_session *s);

/* Ring i of ops->max_queues; NULL beyond. */
struct vu_queue *vu_session_queue(struct vu_session *s, unsigned i);

/* What get_config() says has changed: have the frontend read it again, and tell the driver.  Returns true if it was
 * told, or has not yet heard the last one; false: it gave no channel to tell it (SET_BACKEND_REQ_FD). */
bool vu_session_config_changed(struct vu_session *s);

/* A part of a file, and where it is to be seen in one of the device's shared memory regions. */
struct vu_shmem_map {
	uint8_t shmid;
	bool writable; /* what the frontend is told; that no frontend writes is up to how the file was opened */
	uint64_t fd_offset, shm_offset, len; /* multiples of the page size */
};

/* Requests of the next two that may wait for an answer at once. */
#define VU_SHMEM_PENDING 16

/* Have the frontend show it, or no longer (fd_offset and writable do not matter then).  It answers later, by
 * ops->shmem_answered(), if REPLY_ACK was negotiated, else never.  A driver that resets its device takes all mappings away,
 * without a word to us.  fd stays the caller's.
 * Returns 0; -EINVAL: not within a region of the device; -EOPNOTSUPP: the frontend has not asked for
 * GET_SHMEM_CONFIG; -ENOTCONN: it gave no channel for it, or closed it; -EAGAIN: too many are on their way. */
int vu_session_shmem_map(struct vu_session *s, const struct vu_shmem_map *map, int fd);
int vu_session_shmem_unmap(struct vu_session *s, const struct vu_shmem_map *map);

/* "connected", "negotiated", "running" or "closing": proto.h has the table. */
const char *vu_session_state(const struct vu_session *s);

/* vq_pop() said -EBADMSG: stop this ring, tell the frontend through its error
 * descriptor, count it, log it.  queue_stop() is called from within; q->started
 * is false on return.  The ring stays down until the driver sets it up anew. */
void vu_session_queue_broken(struct vu_session *s, struct vu_queue *q);

/* Does the frontend still keep its promises?  Guest memory is what it was, and no
 * call had to wait (vq.h).  To be asked once in a burst, and before a ring is left alone for want of work: a ring of zeros looks
 * idle.  The session asks by itself after each message and each queue_kick(), and
 * when a ring breaks.  False: the session is on its way out.  With -EFAULT: memory
 * was truncated, and what was read from it may be zeros.  With -EPROTO: a call or
 * an error descriptor was made blocking. */
bool vu_session_check(struct vu_session *s);

/* Would vu_session_check() end it?  For other threads than the loop's, which may ask that and no more. */
bool vu_session_suspect(const struct vu_session *s);

#endif
