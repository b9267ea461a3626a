/* SPDX-License-Identifier: MIT */
/* The inside of leases.h, for leases.c (the table), leases_recover.c, leases_conn.c (frames in and out) and leases_request.c (what
 * each request does).
 *
 * A connection has a ring of frames on their way out.  Replies go there, and the reading of requests pauses when it is
 * half full: so a reply always finds room, and a client that does not read holds up nobody but itself.  What is said unasked
 * takes what room there is: bells and the state of quiescence wait, as bits, until there is some; the rest is dropped.
 */
#ifndef PORTAL_LEASES_IMPL_H
#define PORTAL_LEASES_IMPL_H

#include "leases.h"
#include "wire.h"

struct leases_flush {
	struct flush_request request;
	struct leases_conn *conn;
	uint32_t seq;
};

struct leases_bell {
	uint64_t from;
	uint32_t cookie;
};

#define LEASES_IN_MAX  16u                     /* frames taken from the socket at once */
#define LEASES_OUT_MAX (2 * PORTAL_UNREAD_MAX) /* a power of two */

struct leases_conn {
	struct leases *leases;
	struct leases_client *client;
	struct lease *lease; /* NULL before HELLO */
	struct leases_conn *next, *prev;
	int fd;
	int pid;
	bool ended, half_open; /* half open: it has not said HELLO */
	bool deaf; /* nothing can be told any more: it ends when all that it said has been read */
	struct loop_source src;
	uint32_t events; /* that src waits for */
	struct loop_timer hello;
	struct loop_work send_work, free_work;

	bool wants_fd; /* the frame behind the next n_before_fd takes the arena's descriptor along */
	uint32_t n_before_fd;
	uint32_t notify;   /* PORTAL_NOTIFY_* */
	bool tell_quiesce; /* the state is to be told */
	bool bell_all;
	uint32_t n_bells;
	struct leases_bell bell[PORTAL_BELLS_MAX];
	uint32_t quiesce_seq; /* a QUIESCE that is to be answered; 0: none */
	bool quiesce_asked;
	struct leases_flush flush[PORTAL_FLUSHES_MAX];

	size_t n_in; /* bytes */
	uint8_t in[LEASES_IN_MAX * PORTAL_FRAME];
	uint32_t out_at, n_out; /* first frame in the ring, how many */
	size_t out_sent;        /* bytes of the first */
	struct portal_frame out[LEASES_OUT_MAX];
};

/* ---- leases.c ---- */

/* Give conn a lease, or back the one it names by `owner`.  -errno as HELLO has it. */
int lease_take(struct leases *l, struct leases_conn *conn, uint64_t owner, uint64_t kernel,
	       const char name[PORTAL_LABEL_MAX]);
/* The connection of a live lease has ended. */
void lease_lose(struct lease *lease);
/* Its client has no more use for it: it does not linger. */
void lease_give_back(struct lease *lease);
void lease_show(const struct lease *lease);
/* Counters of the live page. */
void leases_show(const struct leases *l);
/* Leases that write, or whose client is to be added yet and may, and live or may come back, but for `but`: who is waited for
 * in a quiesce. */
void leases_writers(const struct leases *l, uint32_t but, uint64_t ret_bits[PORTAL_LEASES / 64]);

void lease_set_state(struct lease *lease, enum portal_lease_state state);
/* Of each id the owner that lives or may come back; 0: there is none. */
void leases_living(const struct leases *l, uint64_t ret_owners[PORTAL_LEASES]);

struct leases_client *leases_find_client(const struct leases *l, const char *name);

/* Extents that it may still be granted. */
static inline uint32_t leases_credit(const struct leases_client *client)
{
	if (client->mode != PORTAL_READ_WRITE || client->n_extents > client->quota)
		return 0;
	return client->quota - client->n_extents;
}

/* ---- leases_recover.c ---- */

/* The grant that begins at `first` goes on an account (NULL: on nobody's), until it is given back. */
void leases_charge(struct leases *l, struct leases_client *payer, uint32_t first);
/* extents_put(), and off the account. */
int leases_give_back(struct leases *l, uint64_t owner, uint32_t first, uint32_t n);
/* Whatever is on this account is on nobody's from now on. */
void leases_forgive(struct leases *l, const struct leases_client *payer);
/* After the tables were read back: who pays for what; grants beyond a quota, and orphans. */
void leases_read_accounts(struct leases *l);
/* And for a client that is added later, which is held to its quota as those are that were there. */
void leases_charge_late(struct leases *l, struct leases_client *payer);

/* Go on with what is RECOVERING; deferred, as often as there is any, and at a thaw. */
void leases_on_recovery(struct loop_work *work);
/* What is in quarantine may be granted again if nobody is left whose it could be. */
void leases_pardon(struct leases *l);
/* Look whether orphans can be freed; runs every now and then while there are any. */
void leases_on_orphans(struct loop_timer *timer);

/* ---- leases_conn.c ---- */

/* A stranger at a client's door; fd is the connection's. */
void leases_conn_accept(struct acceptor *acceptor, int fd);
/* Over: closed now, freed at the end of the pass; its lease is lost. */
void leases_conn_end(struct leases_conn *c);
/* It is half open no more: it has said HELLO, or ends. */
void leases_conn_welcome(struct leases_conn *c);
/* Put a frame on its way.  There is room for a reply while a request is carried out. */
void leases_conn_send(struct leases_conn *c, const struct portal_frame *frame);
/* The same if there is room to spare.  False: dropped. */
bool leases_conn_tell(struct leases_conn *c, const struct portal_frame *frame);
/* Have it look at its bits, and send. */
void leases_conn_kick(struct leases_conn *c);
void leases_conn_ring(struct leases_conn *c, uint64_t from, uint32_t cookie);

static inline uint32_t lease_id(const struct lease *lease)
{
	return (uint32_t)(lease - lease->leases->lease);
}

/* ---- leases_request.c ---- */

/* Carry out a request.  False: the connection is at fault, and to be ended. */
bool leases_request(struct leases_conn *c, const struct portal_frame *frame);
/* The quiesce is in another state: answer who asked for it, tell all. */
void leases_on_quiesce(struct quiesce *q);
void leases_tell_death(struct leases *l, uint64_t owner);
void leases_tell_name(struct leases *l, uint32_t index, uint64_t generation, const char *name);

#endif
