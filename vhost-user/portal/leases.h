/* SPDX-License-Identifier: MIT */
/* Leases: who is in the arena, what each has, and what becomes of it when he ends.
 *
 * A client of the configuration is a door: a listening Unix socket, which says who comes in by it.  (A VM's is the socket that
 * the socket device connects to when that VM dials the portal's port.)  A connection that says HELLO holds a lease; its
 * end, whatever the reason, is the lease's:
 *
 *	FREE ──HELLO──▶ LIVE ──connection ends──▶ LOST ──linger is over──▶ RECOVERING ──all taken back──▶ FREE
 *	                  ▲                         │                          ▲
 *	                  └──────HELLO, same lease──┘       BYE, revoked ──────┘
 *
 * Recovery withdraws the names, and goes through all grants of the arena, a few in each pass of the loop: those of the dead
 * are taken back, in those of others the blocks that the dead held are freed.  A grant of the dead in which others hold
 * blocks is kept as an orphan until they let go.  Each step only moves towards its aim, so that a daemon that dies in
 * between begins anew.  Nothing is recovered while the arena is frozen.
 *
 * A grant is on its client's account until it is taken back, orphan or not: who leaves his quota behind in others' names
 * has used it up.  The next daemon finds out whose an orphan is by the lease table, where a lease that is over keeps its
 * client's name until its id is given again.  Ids that have orphans are given last, and if none is left but those, the
 * orphan is on nobody's account after a restart.  What the tables grant a client beyond its quota, or a lease that is yet
 * to be given, is put into quarantine, and a client's leases beyond its number are over: at the start, or when it is added.
 *
 * A daemon started anew over the same file finds the leases of the last one as LOST, and gives their clients `grace` to
 * come back.  One whose client it does not know makes room before that when somebody else finds the table full.
 *
 * The protocol is wire.h.  Truth is in here; the tables in the arena are its mirror (layout.h).
 *
 * Trust:     a client's frames are checked one by one; no field of the arena is looked at for a decision after the start.
 *            What one client can take from others: nothing but its quota, and its share of the leases.
 * Ownership: the arena and the flusher are borrowed.
 * Threads:   loop thread.
 */
#ifndef PORTAL_LEASES_H
#define PORTAL_LEASES_H

#include <stdbool.h>
#include <stdint.h>

#include "acceptor.h"
#include "arena.h"
#include "extents.h"
#include "flush.h"
#include "names.h"
#include "quiesce.h"

#define LEASES_CLIENTS_MAX 128u
#define LEASES_PATH_MAX    108u
#define LEASES_EACH        64u    /* leases of one client, unless configured otherwise */
#define LEASES_GRACE_MS    10000u /* for clients to find a restarted daemon */
#define LEASES_HELLO_MS    10000u /* for a connection to say HELLO */
#define LEASES_HALF_OPEN   16u    /* connections of one client that have not: the next is closed */

struct leases;
struct leases_conn;

struct leases_client_config {
	const char *name;        /* leases_label_valid(), not empty */
	const char *socket_path; /* made with mode 0600 */
	enum portal_mode mode;
	uint32_t quota;      /* extents of all its leases together; all there are at most */
	uint32_t max_leases; /* at once; 0: LEASES_EACH */
	uint32_t linger_ms;  /* how long a lease outlives a connection that ended without BYE */
	bool may_quiesce;
};

struct leases_client {
	struct leases *leases;
	char name[PORTAL_LABEL_MAX];
	char socket_path[LEASES_PATH_MAX];
	enum portal_mode mode;
	uint32_t quota, max_leases, linger_ms;
	bool may_quiesce;
	uint32_t n_extents; /* on its account: of its leases, and orphans */
	uint32_t n_leases, n_half_open;
	struct acceptor acceptor;
	struct log_limit log;
};

struct lease {
	struct leases *leases;
	struct leases_client *client; /* NULL: free, or of a client that is configured no more */
	struct leases_conn *conn;     /* NULL unless LIVE */
	uint64_t owner;               /* portal_owner(); kept while FREE, for the next generation */
	enum portal_lease_state state;
	uint64_t kernel;
	int pid;             /* of the process that connected, which may be the socket device's */
	uint32_t n_extents;  /* granted to `owner`; while FREE they are orphans */
	uint32_t recover_at; /* RECOVERING: grants before this extent have been seen to */
	char client_name[PORTAL_LABEL_MAX];
	char name[PORTAL_LABEL_MAX];
	struct loop_timer linger;
};

/* X(name, "what it counts") */
#define LEASES_COUNTERS(X)                                                                   \
	X(hellos, "leases given")                                                            \
	X(returns, "leases whose client came back")                                          \
	X(refused, "HELLOs refused")                                                         \
	X(silent, "connections closed because they said no HELLO in time, or were too many") \
	X(faults, "connections closed because of what they said")                            \
	X(revoked, "leases revoked")                                                         \
	X(recovered, "leases recovered")                                                     \
	X(recovered_extents, "extents taken back from leases that ended")                    \
	X(recovered_names, "names withdrawn because their owner ended")                      \
	X(orphans, "grants kept because others hold blocks in them")                         \
	X(requests, "requests carried out")                                                  \
	X(failures, "requests answered with an error")                                       \
	X(grants, "grants of extents")                                                       \
	X(returned, "grants given back")                                                     \
	X(published, "names published")                                                      \
	X(withdrawn, "names withdrawn by their owner")                                       \
	X(bells, "bells passed on")                                                          \
	X(bells_merged, "bells that became one with another")                                \
	X(quiesces, "quiesces begun")

struct leases_stats {
#define X(name, text) uint64_t name;
	LEASES_COUNTERS(X)
#undef X
};

/* What is known of the inside of grants: the heap's part of recovery.  All of it may be called again for the same. */
struct leases_heap {
	/* A grant of lease `dead` (0xffff: an orphan).  alive: of each id the owner word that lives, or 0; from the private
	 * books.  True: nobody holds anything in it, it may be granted again. */
	bool (*recover)(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead,
			const uint64_t alive[PORTAL_LEASES]);
	/* A grant of somebody else: free what `dead` held in it. */
	void (*visit)(const struct arena *a, uint32_t first, uint32_t n, uint32_t dead);
};

struct leases_config {
	uint32_t grace_ms;
	uint64_t hold_max_ms;           /* of a freeze */
	const struct leases_heap *heap; /* NULL: grants have no inside, and all of them come back */
	/* A lease is in another state, or the quiesce is (lease NULL).  May be NULL. */
	void (*changed)(struct leases *l, const struct lease *lease);
	void *context;
};

struct leases {
	struct loop *loop;
	struct arena *arena;
	struct flush *flush;
	struct leases_config config;
	struct extents extents;
	struct names names;
	struct quiesce quiesce;
	struct lease lease[PORTAL_LEASES];
	struct leases_client *client[LEASES_CLIENTS_MAX];
	uint32_t n_clients, n_live, n_orphans, next_id;
	uint32_t orphan_at; /* a look at orphans goes on with this extent */
	struct leases_conn *conns;
	struct loop_work recovery;
	struct loop_timer orphan_timer;
	struct leases_stats stats;
};

/* Take over the arena: its tables as they are, or empty ones if it is fresh or a copy.  Clients are added before, by
 * leases_add_client() on one that leases_prepare() has made.  -ENOMEM. */
void leases_prepare(struct leases *l, struct loop *loop, struct arena *arena, struct flush *flush,
		    const struct leases_config *config);
/* Listen for a client.  -EINVAL (name), -EEXIST (a client of that name), -ENOSPC, or what listen_unix() says. */
int leases_add_client(struct leases *l, const struct leases_client_config *c);
/* The same, and the opposite, while it runs: a client that is added within the grace may come back to what it had under the
 * last daemon; one that goes is hung up on, and what it had taken back.  -ENOENT. */
int leases_remove_client(struct leases *l, const char *name);
int leases_start(struct leases *l);
/* Hang up on all.  What they have stays in the tables, for the next daemon.  Zero-filled is fine. */
void leases_done(struct leases *l);

/* End a lease against its will.  -ENOENT: no live or lost one. */
int leases_revoke(struct leases *l, uint32_t id);
/* Bring the arena to rest for the control socket.  deadline_ms as in wire.h.  -EALREADY. */
int leases_quiesce(struct leases *l, uint64_t deadline_ms, uint64_t hold_ms);

/* May it be what a client is called, or calls itself: printable ASCII, spaces too, of less than PORTAL_LABEL_MAX bytes?  No
 * more than that is looked at.  Empty is fine. */
bool leases_label_valid(const char *label);

/* Does somebody hold it who lives, or may come back? */
bool leases_alive(const struct leases *l, uint64_t owner);
const char *leases_state_name(enum portal_lease_state state);
const char *leases_quiesce_name(enum portal_quiesce_state state);

#endif
