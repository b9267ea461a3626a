/* SPDX-License-Identifier: MIT */
/* The seam between the parts of the Hyper-V sockets' port: the connection with QEMU and what the relay asks
 * (port_vmbus.c), the lives of channels (vmbus_channel.c), bytes in both directions (vmbus_data.c).  For these files only.
 *
 *	            CONNECT_REQUEST
 *	                  │
 *	                ASKED ── no: CONNECT_RESULT ──▶ (gone)
 *	                  │ the far end's yes
 *	    hv_connect()  ▼
 *	  ───────────▶ OFFERING ── OFFERED says no ──▶ (gone)
 *	                  │ OFFERED
 *	               OFFERED ── RESCIND ──▶ RESCINDED ── RELEASED ──▶ (gone)
 *	                  │ OPEN                  ▲
 *	                 OPEN ──── RESCIND ───────┘
 *
 * A channel outlives its connection: from its end on (vmbus_channel_end()) it has none, and waits for its release.
 *
 * An open channel is awake or asleep.  Awake, its ring's kicks are masked and it is looked at in every pass of the loop; when
 * nothing came for a while, kicks are unmasked, it is looked at a last time, and costs nothing until one comes.  How long the
 * while is follows from experience, as in port_vsock_impl.h, but it is longer: a guest's stream is many packets of 4 KiB in a
 * ring of 24, and both ends' sleeps and wakes for a packet or two cost more than the looks in vain between them. */
#ifndef HVSOCK_PORT_VMBUS_IMPL_H
#define HVSOCK_PORT_VMBUS_IMPL_H

#include "conntab.h"
#include "mem.h"
#include "port_vmbus.h"
#include "seat.h"
#include "transport.h"
#include "vmbus_link.h"
#include "vmbus_ring.h"
#include "vmpipe.h"

/* The longest that a channel is looked at in vain, and the first step. */
#define VMBUS_SPIN_NS     200000
#define VMBUS_SPIN_MIN_NS 5000

/* How long a guest that sends no more may leave its ring full before it is taken for one that has closed its socket: it says
 * both by the same packet.  Not short: Linux moves its index when it has read all packets, not after each. */
#define VMBUS_READER_NS 60000000000ull

/* How long a channel outlives its far end when the guest has not touched it yet, and how soon that is looked at again.  As long as
 * Linux's connect() waits (2 s), and some more. */
#define VMBUS_LINGER_NS     2500000000ull
#define VMBUS_LINGER_MIN_NS 2000000ull

/* How long what guests left in their rings may be passed on when all of them go: QEMU waits for that, and so do other VMs.  And what
 * part of the time, at most, for a guest that lets them go again and again. */
#define VMBUS_DRAIN_NS   100000000ull
#define VMBUS_DRAIN_PART 10

/* Pieces of one system call: packets of the guest, or room for packets to it. */
#define VMBUS_IOVS 128

enum channel_state {
	CHANNEL_ASKED,    /* the guest asks; the far end's answer is due */
	CHANNEL_OFFERING, /* OFFERED is due */
	CHANNEL_OFFERED,  /* the guest's OPEN is due */
	CHANNEL_OPEN,
	CHANNEL_RESCINDED, /* the guest's RELEASED is due */
};

struct vmbus_channel;

struct vmbus_conn {
	struct hv_conn hv;             /* first */
	struct vmbus_channel *channel; /* NULL: it has ended */
};

/* What a channel has while it is open. */
struct vmbus_pipe {
	struct vmbus_ring from_guest, to_guest;
	unsigned n_pages, in_page;
	uint64_t *pfn;  /* their page numbers ... */
	uint8_t **page; /* ... and where they lie; one allocation */
	int kick_fd, call_fd;
	struct loop_source kick;
	uint64_t opened_ns;
	uint32_t first_read, first_write; /* the guest's indices then */
	uint32_t skip;       /* of the first packet's data in from_guest: the far end has it */
	uint32_t read_index; /* of to_guest, when its reader was looked at last ... */
	bool had_ended;      /* ... and whether the guest's end was in its ring then */
	uint32_t low;   /* with no more bytes free than this, nothing is written to the guest */
	bool wanting;   /* the guest is to kick when there are */
	bool fin_taken; /* the guest sends no more */
	bool fin_sent;  /* we do not */
};

struct vmbus_channel {
	struct vmbus_port *port;
	struct vmbus_conn *conn; /* NULL: it has ended */
	enum channel_state state;
	bool to_guest; /* the far end dialed */
	uint32_t id;   /* its relid; 0: none yet */
	struct vmbus_guid service, instance;
	struct conntab_node
		endpoint; /* in port->endpoints: of a connection that the guest asked for */
	struct conntab_node offer; /* in port->offers: OFFERING */
	struct loop_timer
		timer; /* the guest opens it in time; see vmbus_is_read(), vmbus_lingers() */
	struct vmbus_channel *next, *prev;

	struct vmbus_pipe pipe; /* OPENED */
	bool far_ended;         /* the far end sends no more: an empty packet is due */
	bool far_gone;          /* nor does it take more: a RESCIND is due */

	/* In the port's list of those that are awake. */
	bool awake;
	struct vmbus_channel *next_awake, *prev_awake;
	uint64_t idle_since_ns; /* 0: the last look found something */
	uint64_t quiet_since_ns; /* when it went to sleep: since when nothing had come; 0: it never did */
};

/* A connect of the guest whose port is not free yet. */
struct vmbus_waiting {
	struct vmbus_guid endpoint, service;
	uint64_t until_ns;
	struct vmbus_waiting *next;
};

/* What a pass over a port's channels may still move. */
struct vmbus_budget {
	uint32_t from_guest, to_guest; /* bytes */
	uint32_t packets;
};

struct vmbus_port {
	struct hv_vm vm; /* first */
	struct seat seat;
	struct vmbus_link link;
	struct mem mem;
	bool greeted; /* HELLO came */
	bool ready;   /* the guest's VMBus takes offers */
	bool blocked; /* a call descriptor was made to wait */
	struct loop_work work;

	unsigned n_channels; /* at most VMBUS_CHANNELS, released or not */
	struct vmbus_channel *first;
	struct vmbus_channel *by_id[VMBUS_CHANNELS + 1];
	struct conntab endpoints, offers;
	uint64_t cookie;

	unsigned n_waiting;
	struct vmbus_waiting *waiting, **waiting_tail; /* oldest first */
	struct loop_timer waited;                      /* the oldest has, for long enough */
	struct loop_work retry;

	unsigned n_awake;
	struct vmbus_channel *first_awake, *last_awake;
	struct loop_poller poller;
	bool polling;
	uint64_t spin_ns;
	struct vmbus_budget left;
	uint64_t drained_ns; /* when that was last; 0: never */

	struct iovec iov[VMBUS_IOVS]; /* work space */
};

static inline struct vmbus_port *vmbus_port_of(struct hv_vm *vm)
{
	return container_of(vm, struct vmbus_port, vm);
}

static inline struct vmbus_conn *vmbus_conn_of(struct hv_conn *hv)
{
	return container_of(hv, struct vmbus_conn, hv);
}

/* ---- port_vmbus.c ---- */

/* The guest's VMBus has shown that it is up. */
void vmbus_port_ready(struct vmbus_port *port);

/* ---- vmbus_channel.c: messages about channels; what makes no sense ends the link ---- */

void vmbus_on_connect_request(struct vmbus_port *port, struct msg *msg);
void vmbus_on_offered(struct vmbus_port *port, struct msg *msg);
void vmbus_on_open(struct vmbus_port *port, struct msg *msg);
void vmbus_on_close(struct vmbus_port *port, struct msg *msg);
void vmbus_on_released(struct vmbus_port *port, struct msg *msg);

/* Offer the guest a connection to conn->guest_port.  -EMFILE: it can have no more channels; -ENOMEM. */
int vmbus_channel_to_guest(struct vmbus_port *port, struct vmbus_conn *conn);

/* The far end took what the guest asked for. */
void vmbus_channel_accepted(struct vmbus_channel *ch);

/* End the guest's half, however it stands: refuse, rescind, or have it rescinded once it can be.  The connection, if it
 * still has one, is told.  An ASKED one is gone after that. */
void vmbus_channel_end(struct vmbus_channel *ch);

/* The same for what the guest did in its rings. */
void vmbus_channel_break(struct vmbus_channel *ch, const char *why);

/* These bytes of guest memory are gone: end the channels that have a page there. */
void vmbus_channels_lose(struct vmbus_port *port, uint64_t gpa, uint64_t size);

/* Of all channels: vmbus_take_rest(). */
void vmbus_channels_drain(struct vmbus_port *port);

/* All channels, and the connects that wait, are void, and nobody in the guest hears of it. */
void vmbus_channels_drop(struct vmbus_port *port);

/* Connects that wait: for loop_timer_init(). */
void vmbus_on_waited(struct loop_timer *timer);

/* ---- vmbus_data.c ---- */

/* Look at an open channel from the next pass on. */
void vmbus_wake(struct vmbus_channel *ch);

/* It is open no more. */
void vmbus_asleep(struct vmbus_channel *ch);

/* What the guest has written into an open channel is the far end's, or waits for it in memory: nothing will be read from the
 * ring any more.  Nothing is written to guest memory. */
void vmbus_take_rest(struct vmbus_channel *ch);

/* The last thing that the guest wrote into an open channel is that it sends no more. */
bool vmbus_has_ended(struct vmbus_channel *ch);

/* The guest's ring was full when VMBUS_READER_NS began.  True: it has been read since, or the guest had not ended then, and they
 * begin anew. */
bool vmbus_is_read(struct vmbus_channel *ch);

/* The far end of an open channel has gone, and the guest, which is perhaps about to hear that the channel is open, has neither read
 * nor written in it.  Linux gives up one that is rescinded before that, and its socket is connected never.  True: ch->timer is set. */
bool vmbus_lingers(struct vmbus_channel *ch);

/* Look at none any more. */
void vmbus_sleep(struct vmbus_port *port);

#endif
