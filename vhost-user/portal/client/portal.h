/* SPDX-License-Identifier: MIT */
/* libportal: one arena of memory that virtual machines and host processes share.
 *
 * A client attaches to an arena, takes memory from it, publishes what it made under a name, and speaks with others
 * through rings that lie in that memory.  Bytes are written once and read where they lie; no call of the data path enters
 * the kernel unless somebody sleeps.
 *
 *	struct portal *p;
 *	struct portal_ring *ring;
 *	struct portal_record record;
 *
 *	portal_attach("unix:/run/user/1000/arena.sock", NULL, &p);
 *	portal_ring_open(p, "greetings", PORTAL_CONSUMER, &ring);
 *	while (portal_wait(ring, PORTAL_FOREVER) == 0)
 *		while (portal_peek(ring, &record) == 0) {
 *			fwrite(record.data, 1, record.len, stdout);
 *			portal_release(ring);
 *		}
 *
 * Leases:    a client is a connection to the daemon that owns the arena, vhost-user-portal(8).  While it stands, what the
 *            client allocated and published is the client's.  When it ends, by portal_detach() or by death, the daemon
 *            takes everything back.  A daemon that is restarted finds its clients again by itself; see portal_dispatch().
 * Trust:     other clients may write anything into the arena at any time.  The library reads each shared word once, checks
 *            it and uses its copy; a ring whose other end breaks the rules is poisoned (-EPROTO), nothing else happens.
 *            The *contents* of records and objects are the peer's: copy what decisions depend on before you check it.
 * Ownership: pointers into the arena stay valid until portal_detach(); what lies there is the owner's and goes with it.
 * Threads:   a struct portal belongs to one thread at a time.  Once created or opened, each end of a ring may be used by a
 *            thread of its own, portal_wait() included.
 * Errors:    every function returns 0 (or a count) or a negative errno, and leaves its outputs alone on failure.
 */
#ifndef PORTAL_H
#define PORTAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PORTAL_API __attribute__((visibility("default")))

/* A name: 1 to 63 bytes of printable ASCII other than space, and a NUL. */
#define PORTAL_NAME_SIZE 64

/* A deadline that never comes.  Deadlines are CLOCK_MONOTONIC in nanoseconds; 0 asks without waiting. */
#define PORTAL_FOREVER UINT64_MAX

struct portal;
struct portal_ring;

/* ---- attaching ---------------------------------------------------------- */

enum portal_flags {
	PORTAL_ATTACH_READ_ONLY = 1,   /* map the arena read-only, even where more is allowed */
	PORTAL_ATTACH_WATCH_NAMES = 2, /* portal_fd() polls readable when names come and go */
};

struct portal_options {
	/* What others see as its name: of up to 31 bytes, printable ASCII or "?"; NULL: the program's. */
	const char *client;
	const char *lease;   /* "unix:PATH", "vsock:CID:PORT" or "none"; NULL: as said below */
	uint32_t flags;      /* of enum portal_flags */
	uint32_t timeout_ms; /* for connecting and for each answer of the daemon; 0: five seconds */
	uint64_t reserved[4];
};

/* Map an arena and ask for a lease.  Where is
 *
 *	unix:PATH          on the host: the daemon's socket for this client; the memory comes with the lease
 *	NAME               in a guest: the arena of that name, whichever device it is; lease by vsock from the host
 *	dax:/dev/dax0.0    in a guest: that device; lease by vsock from the host
 *	pci:0000:00:05.0   in a guest: the memory of an ivshmem device; lease by vsock from the host
 *	file:PATH          an observer: a file read-only, without a lease; good for looking, and for arenas nobody serves
 *
 * and NULL stands for the environment's PORTAL_PATH.  options may be NULL.
 *
 * Returns 0; -ENOENT (no such arena, device or socket), -EACCES (the daemon does not admit this client), -ENODEV (the
 * place maps, but not coherently: a raw /dev/pmem goes through the page cache), -EPROTO (no arena, or a broken one),
 * -EOPNOTSUPP (an arena of another version or byte order, or a daemon of another version), -EUSERS (no free lease), -EAGAIN
 * (the arena was frozen all the time, or no lease was taken back in time), -ENXIO (its guests get no leases), -ETIMEDOUT,
 * -EINVAL, or what the system says.  May block for timeout_ms. */
PORTAL_API int portal_attach(const char *where, const struct portal_options *options,
			     struct portal **ret_portal);

/* Close all rings, give the lease back and unmap the arena: what was allocated and published is gone.  NULL is legal. */
PORTAL_API void portal_detach(struct portal *p);

/* A descriptor that polls readable when portal_dispatch() has work; the portal's, the same until portal_detach().
 * -ENOTCONN: an observer has none. */
PORTAL_API int portal_fd(const struct portal *p);

/* Handle what the daemon sent: bells, requests to pause, the end of the lease; find a restarted daemon again.  Never
 * blocks.  A program that calls nothing else for long calls this when portal_fd() is readable.
 *
 * Returns the number of bells since the last call; -ENOTCONN (the daemon is away, rings and memory still work, and the
 * next calls try again), -ESTALE (the lease was revoked or has run out: the
 * memory reads as zeros from now on, what is written goes nowhere, and only portal_detach() is left). */
PORTAL_API int portal_dispatch(struct portal *p);

/* ---- what there is ------------------------------------------------------ */

enum portal_client_mode {
	PORTAL_CLIENT_OBSERVER, /* no lease: looks */
	PORTAL_CLIENT_READER,   /* a lease, and the arena read-only */
	PORTAL_CLIENT_WRITER,
};

enum portal_client_state {
	PORTAL_CLIENT_LIVE = 1,
	PORTAL_CLIENT_LOST,       /* its connection ended; it may come back for a moment */
	PORTAL_CLIENT_RECOVERING, /* what it had is being taken back */
};

enum portal_arena_state {
	PORTAL_ARENA_RUNNING,
	PORTAL_ARENA_DRAINING, /* clients are asked to come to rest */
	PORTAL_ARENA_FROZEN,   /* nobody who answered writes */
};

struct portal_info {
	char name[32];        /* of the arena */
	uint8_t uuid[16];     /* of the arena */
	uint64_t size;        /* bytes of the arena */
	uint64_t generation;  /* of the arena: another one after a restore */
	uint64_t incarnation; /* of the daemon: another one after each of its starts */
	uint64_t epoch;       /* of the last pause */
	enum portal_arena_state state;
	bool durable;         /* false: memory only, a flush promises nothing */
	uint32_t flush_error; /* errno of the flush that failed, after which none succeeds; 0: none did */
	uint32_t vsock_port; /* where guests ask for leases; 0: nowhere */
	uint32_t extents;    /* of 2 MiB each */
	uint32_t extents_free, extents_quarantined;
	uint32_t names, names_used;
	uint32_t clients, clients_live;
	uint64_t clients_recovered, extents_recovered; /* of clients that ended without saying so */
	enum portal_client_mode mode;                  /* of this client */
	uint32_t id, id_generation; /* of its lease; an observer has none, and no generation */
	uint64_t quota;             /* bytes it may have; 0 for observers */
	size_t offset; /* of the arena in what is mapped: behind the label in files and PCI memory */
};

struct portal_client {
	uint32_t id, generation;
	enum portal_client_state state;
	enum portal_client_mode mode;
	bool same_kernel;     /* as this client */
	uint64_t used, quota; /* bytes, in extents */
	char client[32];      /* as the daemon's configuration calls it */
	char name[32];        /* as it calls itself */
};

/* What the arena says of itself at this moment: a snapshot, each field for itself. */
PORTAL_API void portal_info(const struct portal *p, struct portal_info *ret_info);

/* The client at place `index`, from 0 to portal_info's clients.  -ENOENT: there is none; -EINVAL: no such place. */
PORTAL_API int portal_client_at(const struct portal *p, uint32_t index,
				struct portal_client *ret_client);

/* ---- memory ------------------------------------------------------------- */

/* Memory of the arena, aligned to 16 bytes, uninitialised; this client's until portal_free(), portal_detach() or its death.
 *
 * Returns NULL with errno ENOSPC (arena full), EDQUOT (this client has its share), ENOMEM (more than an arena of this size
 * has, or no memory of the process's own), EROFS (read-only client), EAGAIN (the arena pauses, see portal_quiesce_point()),
 * ENOTCONN, ESTALE, ETIMEDOUT, EINVAL (0 bytes).  Calls the daemon for every 2 MiB or so only. */
PORTAL_API void *portal_alloc(struct portal *p, size_t size);

/* Give memory back, whichever client it came from; NULL is legal.  -EINVAL: ptr is no start of a block in the arena;
 * -ENOENT: the block is free already; -EPERM: another client holds it; -EROFS; -EAGAIN: the arena pauses. */
PORTAL_API int portal_free(struct portal *p, void *ptr);

/* Bytes that may be used at ptr, at least what was asked for; 0 if ptr is no block of this client. */
PORTAL_API size_t portal_usable(const struct portal *p, const void *ptr);

/* A block's name in numbers, to send to others: its place and its generation.  0 if ptr is no live block. */
PORTAL_API uint64_t portal_handle(const struct portal *p, const void *ptr);

/* The block of a handle, of which at least len bytes may be read.  Returns NULL with errno ESTALE (freed since, or its owner
 * died) or EINVAL (no handle, or the block is smaller).  The owner may free it at any time: copy, then resolve again. */
PORTAL_API void *portal_resolve(const struct portal *p, uint64_t handle, size_t len);

/* The same, and this client holds the block from now on: it is the one that may free it, and with whose lease it goes.  The
 * handle names it no more, so that of two who take it one gets ESTALE.  Also EROFS, and EAGAIN (the arena pauses). */
PORTAL_API void *portal_take(struct portal *p, uint64_t handle, size_t len);

/* ---- names -------------------------------------------------------------- */

/* Types below PORTAL_OBJECT_USER are the library's. */
enum portal_object_type {
	PORTAL_OBJECT_ANY = 0, /* for portal_lookup() */
	PORTAL_OBJECT_BYTES = 1,
	PORTAL_OBJECT_RING = 2,
	PORTAL_OBJECT_USER = 0x10000,
};

struct portal_object {
	char name[PORTAL_NAME_SIZE];
	uint32_t type;
	uint32_t index;             /* in the table of names */
	uint32_t id, id_generation; /* of the client that published it */
	uint64_t generation;        /* of this publication; never the same twice */
	uint64_t offset, len;       /* in the arena */
	void *ptr;                  /* the same as offset, here */
};

/* Publish len bytes at ptr, which lie in memory of this client, under a name nobody has.  0, -EEXIST, -EINVAL (name or
 * type), -EFAULT (not in the arena), -EPERM (not in this client's memory), -ENOSPC (1024 names there are), -EROFS,
 * -EAGAIN (the arena pauses), -ENOTCONN, -ESTALE, -ETIMEDOUT.  Waits for the daemon. */
PORTAL_API int portal_publish(struct portal *p, const char *name, uint32_t type, const void *ptr,
			      uint64_t len);

/* Withdraw a name of this client.  0, -ENOENT, -EPERM (another's), and as above.  Waits for the daemon. */
PORTAL_API int portal_unpublish(struct portal *p, const char *name);

/* Find what is published.  0; -ENOENT; -EPROTOTYPE: it is there, of another type.  Reads the arena alone. */
PORTAL_API int portal_lookup(const struct portal *p, const char *name, uint32_t type,
			     struct portal_object *ret_object);

/* The object at place `index` of the table of names, from 0.  -ENOENT: free, or just changing; -EINVAL: no such place. */
PORTAL_API int portal_name_at(const struct portal *p, uint32_t index,
			      struct portal_object *ret_object);

/* Is the object still published as it was found?  Who copies from an object asks afterwards.  0, -ESTALE. */
PORTAL_API int portal_still(const struct portal *p, const struct portal_object *object);

/* ---- rings -------------------------------------------------------------- */

enum portal_ring_kind {
	PORTAL_SPSC, /* one producer, one consumer */
	PORTAL_MPSC, /* many producers, each with a lane of its own; one consumer sweeps them */
	PORTAL_BROADCAST, /* one producer, any number of consumers; it never waits, who is too slow is overtaken */
};

enum portal_role { PORTAL_PRODUCER, PORTAL_CONSUMER };

struct portal_ring_options {
	enum portal_ring_kind kind;
	enum portal_role role; /* of the end that the creator gets */
	uint64_t size; /* bytes of each lane, rounded up to a power of two, up to 1 GiB; 0: 1 MiB */
	/* Bytes of the longest record, less than half the size and than 16 MiB; 0: a quarter of the size. */
	uint32_t max_record;
	uint32_t lanes; /* of PORTAL_MPSC, up to 64; 0: 8 */
	uint64_t reserved[4];
};

/* A record where it lies.  The bytes are the peer's, who may still change them: see Trust. */
struct portal_record {
	const void *data;
	uint32_t len;
	uint32_t type; /* 0 to 255, the producer's */
	uint32_t lane; /* of PORTAL_MPSC: which producer */
};

/* Why an end is poisoned, -EPROTO: what the other one did. */
enum portal_fault {
	PORTAL_FAULT_NONE,
	PORTAL_FAULT_TAG,      /* a record that does not say where it is */
	PORTAL_FAULT_LENGTH,   /* a record longer than allowed, or than its lane */
	PORTAL_FAULT_ARRAY,    /* messages that do not fill their record */
	PORTAL_FAULT_PADS,     /* more padding than there is reason for */
	PORTAL_FAULT_POSITION, /* a consumer that goes back, or ahead of the producer */
};

struct portal_ring_info {
	enum portal_ring_kind kind;
	enum portal_role role;
	uint32_t lanes;
	uint32_t max_record;
	uint64_t size;           /* of a lane, bytes */
	uint64_t wakes;          /* times this end has woken the other */
	uint64_t sleeps;         /* times this end has slept */
	uint64_t lost;           /* bytes that went by the consumer of a broadcast */
	enum portal_fault fault; /* of this end, the first one */
};

/* Make a ring, publish it, and take one end.  0; -EINVAL (options); and all errors of portal_alloc() and portal_publish(). */
PORTAL_API int portal_ring_create(struct portal *p, const char *name,
				  const struct portal_ring_options *options,
				  struct portal_ring **ret_ring);

/* Take an end of a published ring.  A producer goes on behind what the last one committed, a consumer where the last one
 * said it was: up to an eighth of the lane may come again if that one died.  A consumer of a broadcast begins with what
 * is sent from then on, and needs not be allowed to write.
 *
 * 0; -ENOENT; -EPROTOTYPE (no ring); -EBUSY (the end, or every lane, is taken by a live client); -EPIPE (the consumer gave
 * the lane up as poisoned); -EPROTO (not a ring this library can believe); -EAGAIN (the arena pauses); -EROFS; -ENOMEM;
 * -EINVAL (no such role); -ESTALE. */
PORTAL_API int portal_ring_open(struct portal *p, const char *name, enum portal_role role,
				struct portal_ring **ret_ring);

/* Give the end back.  A ring of this client's making is withdrawn, and its memory freed when nobody has an end of it any
 * more.  What cannot be done now, because the arena pauses or the daemon is away, is done by a later call that opens, makes
 * or closes a ring.  NULL is legal. */
PORTAL_API void portal_ring_close(struct portal_ring *ring);

PORTAL_API void portal_ring_info(const struct portal_ring *ring, struct portal_ring_info *ret_info);

/* Producer: a place for a record of up to len bytes, written where it will be read.  One reservation at a time: asking for
 * another one, or sending, gives it up.  0; -EAGAIN (full, or the arena pauses); -EMSGSIZE; -EPIPE (the consumer died or
 * closed); -EPROTO (poisoned); -EINVAL (not a producer). */
PORTAL_API int portal_reserve(struct portal_ring *ring, uint32_t len, void **ret_data);

/* Producer: publish the first len bytes of the reservation as a record; wakes the consumer if it sleeps.  0; -EINVAL (no
 * reservation, or len beyond it, or type above 255). */
PORTAL_API int portal_commit(struct portal_ring *ring, uint32_t len, uint32_t type);

/* Producer: a record of copied bytes.  Errors of portal_reserve(), -EINVAL. */
PORTAL_API int portal_send(struct portal_ring *ring, const void *data, uint32_t len, uint32_t type);

/* Producer: up to n records, published together where they lie together.  Returns how many went, at least 1, or errors of
 * portal_reserve(). */
PORTAL_API int portal_send_batch(struct portal_ring *ring, const struct portal_record *records,
				 unsigned n);

/* Producer: up to n messages of len bytes each, which lie one behind the other at data.  They share one record's header,
 * and so cost the least; a consumer sees n records.  Returns how many went, at least 1, or errors of portal_reserve(). */
PORTAL_API int portal_send_array(struct portal_ring *ring, const void *data, uint32_t len,
				 unsigned n, uint32_t type);

/* Consumer: the next record where it lies, and with each call the one behind it; all of them stay there until
 * portal_release().  0; -EAGAIN (empty); -EPIPE (the producer died or closed, and everything it committed was read; of
 * PORTAL_BROADCAST also at once when its maker closed it or died: what was not read by then is lost); -EPROTO (poisoned; of PORTAL_MPSC one lane is, told once, and the others go on); -EOVERFLOW (PORTAL_BROADCAST: records
 * went by; the next call gives what is sent now); -EINVAL (not a consumer). */
PORTAL_API int portal_peek(struct portal_ring *ring, struct portal_record *ret_record);

/* Consumer: up to n records, as n calls of portal_peek().  A count of at least 1, or errors of portal_peek(). */
PORTAL_API int portal_peek_batch(struct portal_ring *ring, struct portal_record *records,
				 unsigned n);

/* Consumer: all that was peeked at has been used.  0; of PORTAL_BROADCAST, whose readers keep nothing from being overwritten,
 * -EOVERFLOW (that has happened) and -EPIPE (the whole ring has gone): what was read is worth nothing. */
PORTAL_API int portal_release(struct portal_ring *ring);

/* Consumer: copy the next record and release it.  Returns its length; -EMSGSIZE (longer than size, and still there);
 * errors of portal_peek().  ret_type may be NULL. */
PORTAL_API int64_t portal_recv(struct portal_ring *ring, void *data, uint32_t size,
			       uint32_t *ret_type);

/* Consumer: copy up to n messages of exactly len bytes each, one behind the other, and release them.  Returns how many, at
 * least 1; -EMSGSIZE (the next one has another length); errors of portal_peek(). */
PORTAL_API int portal_recv_array(struct portal_ring *ring, void *data, uint32_t len, unsigned n);

/* Sleep until the ring has something for this end: a record for a consumer, for a producer the room that it did not get.
 * Spins a little first.  0; -ETIMEDOUT; -EPIPE, -EPROTO as above; -ESTALE.  Comes to rest during a pause, and returns
 * when it is over. */
PORTAL_API int portal_wait(struct portal_ring *ring, uint64_t deadline_ns);

/* ---- pausing and flushing ----------------------------------------------- */

/* Say that this client is between two operations.  A program that writes shared memory by its own pointers calls this
 * wherever what it wrote is whole; others need not, the library's calls do it.
 *
 * Returns 0: go on.  -EAGAIN: the arena pauses, which is now acknowledged, unless an end of a ring holds a reservation; until
 * this returns 0, or portal_quiesce_wait() does, write nothing.  The library writes nothing either from then on: what
 * consumers have read is said when the pause is over.  -ESTALE: the lease is gone. */
PORTAL_API int portal_quiesce_point(struct portal *p);

/* Acknowledge a pause as portal_quiesce_point() does, and sleep until it is over.  0, -ETIMEDOUT, -ESTALE. */
PORTAL_API int portal_quiesce_wait(struct portal *p, uint64_t deadline_ns);

/* Pause the arena: ask every client to come to rest and wait for their answers until the deadline; then freeze.  For
 * clients the daemon's configuration allows it to.  This client is at rest by calling it.  The pause ends by
 * portal_thaw(), and by itself when this client's lease does or the daemon's limit is reached.
 *
 * Returns the number of clients that did not answer, 0 being best, this one included if an end of its holds a reservation;
 * -EPERM, -EBUSY (another pause), -ECANCELED (somebody ended it before the arena was frozen), -ENOTCONN, -ESTALE,
 * -ETIMEDOUT. */
PORTAL_API int portal_quiesce(struct portal *p, uint64_t deadline_ns);

/* End the pause that this client began.  0; -EINVAL: there is none; -ENOTCONN, -ESTALE, -ETIMEDOUT. */
PORTAL_API int portal_thaw(struct portal *p);

/* Have everything written before this call on stable storage.  0; -ENODATA (memory only: nothing is durable); -EIO, -ENOSPC,
 * -EDQUOT, whatever it failed with (for ever: what is lost is not known); -EBUSY (threads of this client have eight under
 * way); -ENOTCONN, -ESTALE, -ETIMEDOUT.  Waits for the daemon. */
PORTAL_API int portal_flush(struct portal *p);

#ifdef __cplusplus
}
#endif

#endif
