/* SPDX-License-Identifier: MIT */
/* A QEMU with a vmbus-hvsock device and the guest in it, for the tests of Hyper-V sockets; the relay and the host's side
 * are those of vsock_fixture.h, with this VM as fx.vm[0].
 *
 * It speaks the wire with structures of its own, and moves its ends of the rings a byte at a time, through pages that lie in
 * guest memory in no order: nothing is shared with what is tested but the numbers.  It does as QEMU and Linux do (connect,
 * offer, open, rescind, release), unless a test says otherwise by `vb`.
 *
 * A function that finds what it does not expect fails the test. */
#ifndef TEST_VMBUS_FIXTURE_H
#define TEST_VMBUS_FIXTURE_H

#include "vmbus_proto.h"
#include "vsock_fixture.h"

#define VB_PAGES      2048 /* of guest memory */
#define VB_GPA        0x100000000ull
#define VB_UVA        0x7f0000000000ull
#define VB_RING_PAGES 6 /* of each ring: Linux's default, a header and 20 KiB */

/* One end of a ring, as the guest has it. */
struct vb_ring {
	uint32_t first, n_pages; /* in the channel's pages */
	uint32_t index;          /* ours: written by a writer, read by a reader */
};

struct vb_channel {
	uint32_t id;
	uint64_t cookie;
	struct vmbus_guid type, instance;
	bool to_guest;
	bool opened; /* OPEN was sent ... */
	bool answered;
	int32_t status; /* ... and answered */
	bool rescinded, closing, closed, released;
	unsigned n_pages, in_page;
	bool laid_out; /* the pages are its own */
	uint64_t pfn[VMBUS_PAGES_MAX];
	int kick, call;
	struct vb_ring out, in;
	uint8_t *bytes; /* that came */
	size_t len, size;
	unsigned n_packets; /* that came */
	uint32_t longest;   /* of them */
	bool fin;           /* came ... */
	bool fin_behind;    /* ... right behind bytes, which Linux 6.17 loses then */
	unsigned n_calls, n_kicks;
	struct vb_channel *next;
};

struct vb {
	int sock; /* QEMU's; -1: not connected */
	int mem_fd;
	uint8_t *mem;
	uint64_t free_page[VB_PAGES]; /* a stack, shuffled */
	unsigned n_free;
	uint32_t last_id;
	struct vb_channel *channels, *last; /* newest first; the last that was offered */
	unsigned n_refused;                 /* CONNECT_RESULT */
	struct vmbus_connect_result refused;
	unsigned n_offers, n_rescinds;
	uint32_t reset_done;
	bool hung_up;

	/* What it does. */
	unsigned ring_pages;
	int32_t offer_status; /* not 0: nothing is offered */
	bool no_offered;      /* OFFERED is not sent */
	bool no_open;         /* channels are not opened */
	bool no_release;      /* nor closed and released when they are rescinded */
	bool no_read;         /* not even that the host sends no more */
	uint32_t pending; /* what the guest's writers always say they wait for; Linux: a full packet */
};

extern struct vb vb;

/* setup: a VM whose QEMU has connected, said HELLO and its memory, and whose guest is ready. */
int vb_setup_alone(void **state); /* no QEMU yet */
int vb_setup(void **state);
int vb_teardown(void **state);

#define VB_TEST(fn) cmocka_unit_test_setup_teardown(fn, vb_setup, vb_teardown)

/* ---- the wire ---- */

/* The socket; then the rest of vb_setup(). */
void vb_connect(void);
void vb_hello(void);
void vb_memory(void);
void vb_ready(void);
/* QEMU dies. */
void vb_hang_up(void);
/* One message, right or wrong. */
void vb_send_message(uint32_t number, uint32_t flags, const void *payload, size_t size,
		     const int *fds, unsigned n_fds);
void vb_send_channel(uint32_t number, uint32_t channel);
struct proto_mem_reg vb_region(void);
/* Take what was said to QEMU, and do what it and the guest do then. */
void vb_poll(void);
/* The daemon has dropped us. */
void vb_expect_dropped(void);

/* ---- the guest ---- */

struct vmbus_guid vb_guid(uint32_t port);
/* connect() from its port to a port of the host: asked, and all settles.  The channel that came of it, or NULL. */
struct vb_channel *vb_dial(uint32_t from, uint32_t port);
void vb_ask(uint32_t from, uint32_t port);
/* To PORT of the host, which accepts: open. */
struct vb_channel *vb_dial_host(void);
/* The channel of the host's connection, which the guest has opened. */
struct vb_channel *vb_accept(void);
void vb_open(struct vb_channel *ch);
/* The payload of its OPEN, for tests that spoil it; returns its size. */
size_t vb_open_payload(struct vb_channel *ch, union vmbus_payload *p);
void vb_close(struct vb_channel *ch);
void vb_release(struct vb_channel *ch);
/* All channels are void, and numbers begin anew. */
void vb_forget(void);

/* Put as much of it into the ring as it takes, in packets of `max` bytes, and kick as Linux does.  Returns how much. */
size_t vb_write(struct vb_channel *ch, const void *bytes, size_t len, size_t max);
/* The bytes of a stream from its beginning on, until nobody takes any more.  Returns how many. */
size_t vb_fill(struct vb_channel *ch);
void vb_fin(struct vb_channel *ch);
/* Take all packets, then move the index, and kick as Linux does. */
void vb_read(struct vb_channel *ch);
/* Take n packets at most, and tell nobody but by the index. */
void vb_read_some(struct vb_channel *ch, unsigned n);

/* ---- in ring memory ---- */

uint8_t *vb_byte(const struct vb_channel *ch, const struct vb_ring *r, uint32_t index);
/* Words of the ring's header: 0 write_index, 1 read_index, 2 interrupt_mask, 3 pending_send_sz, 16 feature_bits. */
uint32_t vb_head(const struct vb_channel *ch, const struct vb_ring *r, unsigned word);
void vb_set_head(const struct vb_channel *ch, const struct vb_ring *r, unsigned word,
		 uint32_t value);
void vb_kick(struct vb_channel *ch);

/* All settles, and the channel has been told that. */
void vb_says(struct vb_channel *ch, const char *text);
void vb_expect(struct vb_channel *ch, const char *text);

#endif
