/* SPDX-License-Identifier: MIT */
/* The door of vhost-user: a virtio-pmem device (virtio 1.3, 5.19) for one VM.
 *
 * It is stock QEMU's from 11.1 on:
 *
 *	-chardev socket,id=p,path=PATH -device vhost-user-test-device-pci,chardev=p,virtio-id=27,num_vqs=1,config_size=16
 *
 * and of guests of Linux 6.8 and newer, which know VIRTIO_PMEM_F_SHMEM_REGION: the memory is the device's shared memory
 * region 0, part of a PCI BAR, and not, as with QEMU's own virtio-pmem-pci, a memory device that takes its place in the
 * guest's RAM.  The guest sees the file from its label on, and so shows it as /dev/dax0.0.
 *
 * Each time the driver starts the device, the file is mapped there (vu_session_shmem_map()), because QEMU takes all mappings
 * away when a driver resets its device, and says nothing of that.  When a paused machine goes on, the mapping is
 * still there: QEMU then refuses a second one, and prints that it overlaps.  That refusal is expected, and no more than counted.
 * QEMU maps after it has let the guest go on: a driver that looks within that moment sees nothing yet.
 *
 * What the driver asks of the queue is one thing, FLUSH: make durable what was stored before.  Flushes are
 * grouped: those that come while one is under way are answered together by the next.  Who may not write need not flush:
 * such a request is answered at once.
 *
 * A driver without VIRTIO_PMEM_F_SHMEM_REGION reads a start and a size of 0 and finds no memory: only the frontend could say
 * where in the guest it lies, and it does not.
 *
 * Found out by trial, with QEMU 11.1 and Linux 6.12:
 *   - A device that may not write shows its guest nothing: QEMU maps for writing whatever the message says, and is refused by
 *     a descriptor that is open for reading alone.  Read-only views are the business of a read-only memory backend.
 *   - What is mapped is memory like any other to QEMU, and it announces it to every vhost-user device of the machine.  To one
 *     that takes its memory by slots it wants to say after a reset that this part is gone, looks for it, and dies.  This device
 *     takes whole tables.
 *
 * Not tried: that QEMU's device with a frontend that connects again.  By its source it does not begin anew.
 *
 * QEMU with our patches (qemu-patches/) has vhost-user-pmem-pci, which knows none of these limits: it acknowledges
 * VIRTIO_PMEM_F_SHMEM_REGION itself, whatever its guest knows, and shows the region as a memory device; it maps for reading
 * alone if the message says so, keeps what is mapped over resets, answers a second request for the same with success, and takes
 * a daemon that comes back with the same file.
 *
 * Trust:     requests are the guest's: each is copied, checked, answered with VIRTIO_PMEM_RESP_TYPE_EIO if it is not a FLUSH;
 *            a chain without room for the answer comes back empty.  The one thing that a guest can make the daemon do is flush,
 *            one at a time.
 * Ownership: memory_fd is borrowed and must outlive the device.  A device that may not write must be given one that is
 *            open for reading alone: the flag of the message binds no frontend.
 * Threads:   the loop's.
 */
#ifndef PORTAL_PMEM_H
#define PORTAL_PMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"

struct flush;
struct pmem;

struct pmem_config {
	const char *name; /* of the VM: in log lines; copied */
	const char *path; /* of the listening socket, made with mode 0600; copied */
	int memory_fd;    /* the whole file */
	uint64_t size; /* of it, a multiple of 2 MiB; a power of two where it becomes a BAR, which QEMU's own device checks */
	bool writable;
	unsigned shmem_bit; /* 0, or the protocol feature that an old frontend takes for SHMEM_MAP: proto.h */
	struct flush *
		flush; /* flush.h; not used if !writable; borrowed, and must outlive pmem_close() */
};

struct pmem_stats {
	uint64_t requests;     /* that were FLUSH */
	uint64_t flushes;      /* made for them */
	uint64_t failed;       /* requests that were answered with an error */
	uint64_t bad;          /* chains that were no request */
	uint64_t maps;         /* that the frontend confirmed, */
	uint64_t maps_refused; /* or not */
};

/* -EINVAL: the size; what listen_unix() and loop_add() say; -ENOMEM.  Nothing is left behind then. */
int pmem_new(struct loop *loop, const struct pmem_config *config, struct pmem **ret);

/* Stop listening, remove the socket, end the session.  It is freed at the end of the loop's pass.  What a guest has
 * mapped it keeps until its QEMU ends or its driver starts anew.  NULL is legal. */
void pmem_close(struct pmem *pmem);

/* The name that it was given. */
const char *pmem_name(const struct pmem *pmem);
bool pmem_is_writable(const struct pmem *pmem);

/* "listening", "connected", "negotiated" or "running", as seat_state(). */
const char *pmem_state(const struct pmem *pmem);

/* Whether the frontend has confirmed that the guest sees the memory; false also when it does not confirm anything. */
bool pmem_is_mapped(const struct pmem *pmem);

const struct pmem_stats *pmem_stats(const struct pmem *pmem);

#endif
