/* SPDX-License-Identifier: MIT */
/* The forwarding database: which port a station was last seen on.
 *
 * A frame's source address is learned, a destination is looked up; what is not
 * found is flooded by the caller.  A station that has been silent for the
 * ageing time is forgotten, so that one which moved away quietly is found again.
 *
 * MAC-flood defence.  Anybody behind a port can invent source addresses, and a
 * table that gives way to them turns the switch into a hub on which everybody
 * hears everybody.  Two bounds stop that:
 *   - a port holds at most `per_port` addresses.  One more replaces the address
 *     of that same port that has been silent longest;
 *   - where the table as a whole is full, the address given up is the longest
 *     silent one of the port that holds most.  The flooder is by then the
 *     fullest port, so it pays with its own addresses; a port with few stations
 *     loses none to a neighbour.
 * Both steps are O(1): ports stand in lists by how many addresses they hold,
 * and a count only ever moves by one.
 *
 * Static entries are an operator's: a station is pinned to a port.  They neither age nor move nor
 * give way, are no part of a port's count, and fill half of the table at most.  What says it comes
 * from a pinned station on another port is an impostor (FDB_PINNED).
 *
 * The key is 64 bits: the address in the low 48, and the VLAN in the 16 above.
 * Time is a count of seconds that the caller keeps; it must not run backwards.
 * Seconds are enough for ageing and let a station be refreshed once in a second
 * rather than once in a frame.
 *
 * Trust:     keys come from guests and are hashed with a secret seed, so that
 *            nobody can aim addresses at one bucket.  Port ids come from us.
 * Ownership: all memory is taken by fdb_init() and fdb_port_room(); learning
 *            and looking up never allocate.
 * Threads:   none.  The owner of the switch calls. */
#ifndef NET_FDB_H
#define NET_FDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FDB_SIZE_DEFAULT     16384
#define FDB_SIZE_MAX         (1u << 20) /* 48 MiB of table */
#define FDB_PER_PORT_DEFAULT 1024
#define FDB_AGEING_S_DEFAULT 300 /* IEEE 802.1Q, 8.8.3 */

#define FDB_NONE UINT32_MAX

struct fdb_config {
	uint32_t size;     /* addresses in all, 1..FDB_SIZE_MAX */
	uint32_t per_port; /* addresses of one port, 1..size */
	uint32_t ageing_s; /* 0: never forget */
};

/* What fdb_learn() did: the switch counts these. */
enum fdb_event {
	FDB_KNOWN, /* nothing new; refreshed */
	FDB_LEARNED,
	FDB_MOVED,   /* was known on another port */
	FDB_EVICTED, /* learned, and another address was given up for it */
	FDB_PINNED,  /* it is static on another port: nothing was changed */
};

struct fdb_entry {
	uint64_t key;
	uint32_t port; /* FDB_NONE: the entry is free */
	bool fixed;    /* static: in a list of the port's, and in none of those by age */
	uint32_t seen_s;
	uint32_t next_hash;
	/* Ordered by seen_s, oldest first: among all, and among the port's. */
	uint32_t age_prev, age_next;
	uint32_t port_prev, port_next;
};

struct fdb_list {
	uint32_t first, last;
};

struct fdb_port {
	struct fdb_list entries; /* learned, oldest first */
	struct fdb_list fixed;
	uint32_t count; /* learned */
	uint32_t n_fixed;
	uint32_t max;                  /* of those learned */
	uint32_t peer_prev, peer_next; /* ports that hold as many */
};

struct fdb {
	struct fdb_config config;
	uint64_t seed;
	unsigned hash_shift;
	uint32_t *bucket;
	struct fdb_entry *entry;
	uint32_t free;       /* chained by next_hash */
	uint64_t generation; /* changes with each entry that comes, goes or moves: fdb_generation() */
	uint32_t count;      /* static ones among them */
	uint32_t n_fixed;
	struct fdb_list age;
	struct fdb_port *port;
	uint32_t n_port;
	uint32_t *by_count; /* [size + 1]: first port that holds so many */
	uint32_t fullest;   /* highest index of by_count that may be nonempty */
};

/* A size or per_port of zero stands for its default.  -EINVAL: a value is out of its range; -ENOMEM.
 * `seed` should be unpredictable; tests give a fixed one. */
int fdb_init(struct fdb *f, const struct fdb_config *config, uint64_t seed);
void fdb_done(struct fdb *f);

/* Make ids below `n_port` usable.  0 or -ENOMEM.  Never shrinks. */
int fdb_port_room(struct fdb *f, uint32_t n_port);

/* Bound what is learned on `port` to `max`, 1..size; 0: to the table's per_port.  The longest silent
 * of what is too much is forgotten.  -EINVAL. */
int fdb_set_port_max(struct fdb *f, uint32_t port, uint32_t max);

/* The VLAN of an address. */
static inline uint64_t fdb_key_vlan(uint16_t vid)
{
	return (uint64_t)vid << 48;
}

/* The key of an address as it stands in a frame; fdb_key_vlan() is to be added. */
static inline uint64_t fdb_key(const uint8_t mac[6])
{
	uint32_t high;
	uint16_t low;

	__builtin_memcpy(&high, mac, sizeof(high));
	__builtin_memcpy(&low, mac + 4, sizeof(low));
	return (uint64_t)__builtin_bswap32(high) << 16 | __builtin_bswap16(low);
}

static inline void fdb_key_to_mac(uint64_t key, uint8_t ret_mac[6])
{
	for (int i = 0; i < 6; i++)
		ret_mac[i] = (uint8_t)(key >> (40 - 8 * i));
}

static inline uint16_t fdb_key_to_vid(uint64_t key)
{
	return (uint16_t)(key >> 48);
}

static inline uint32_t fdb_hash(const struct fdb *f, uint64_t key)
{
	uint64_t h = (key ^ f->seed) * 0x9e3779b97f4a7c15u;

	h = (h ^ h >> 32 ^ f->seed) * 0xd6e8feb86659fd93u;
	return (uint32_t)(h >> f->hash_shift);
}

static inline uint32_t fdb_find(const struct fdb *f, uint64_t key)
{
	uint32_t i = f->bucket[fdb_hash(f, key)];

	while (i != FDB_NONE && f->entry[i].key != key)
		i = f->entry[i].next_hash;
	return i;
}

/* The port of a station, or FDB_NONE. */
static inline uint32_t fdb_lookup(const struct fdb *f, uint64_t key)
{
	uint32_t i = fdb_find(f, key);

	return i == FDB_NONE ? FDB_NONE : f->entry[i].port;
}

/* `key` was seen on `port` at `now_s`. */
enum fdb_event fdb_learn(struct fdb *f, uint64_t key, uint32_t port, uint32_t now_s);

/* Pin `key` to `port`.  Learned before or not, it is static from now on.  0, also if it was so
 * already; -EEXIST: it is static on another port; -ENOSPC: half of the table is static. */
int fdb_pin(struct fdb *f, uint64_t key, uint32_t port);

/* -ENOENT: it is not static. */
int fdb_unpin(struct fdb *f, uint64_t key);

/* Take all static entries off a port that goes. */
void fdb_unpin_port(struct fdb *f, uint32_t port);

/* Forget what has been silent for the ageing time at `now_s`, at most `budget` of them.
 * Returns how many were forgotten: as many as `budget` means to call again. */
uint32_t fdb_expire(struct fdb *f, uint32_t now_s, uint32_t budget);

/* Forget what was learned.  Return how many were forgotten. */
uint32_t fdb_flush(struct fdb *f);
uint32_t fdb_flush_port(struct fdb *f, uint32_t port);

/* As long as this stays what it was, so does every answer of fdb_lookup(), and no port has learned an
 * address or lost one.  May be asked by any thread. */
static inline uint64_t fdb_generation(const struct fdb *f)
{
	return __atomic_load_n(&f->generation, __ATOMIC_RELAXED);
}

static inline uint32_t fdb_count(const struct fdb *f)
{
	return f->count;
}

/* What was learned on it. */
static inline uint32_t fdb_port_count(const struct fdb *f, uint32_t port)
{
	return f->port[port].count;
}

static inline uint32_t fdb_port_pinned(const struct fdb *f, uint32_t port)
{
	return f->port[port].n_fixed;
}

/* Every entry, longest silent first, then the static ones.  `fn` may not change the table. */
typedef void fdb_walk_fn(const struct fdb_entry *e, void *arg);
void fdb_walk(const struct fdb *f, fdb_walk_fn *fn, void *arg);

#endif
