/* SPDX-License-Identifier: MIT */
/* One direction of one link: what happens to the frames on it, and when.
 *
 * This is tc-netem's model and more, as a calculation: no system call, no clock, no knowledge of what a frame is.  A
 * frame goes through, in this order:
 *
 *   flap       down: lost
 *   fate       duplicated?  lost (random, Gilbert-Elliott, four states), or marked instead?  corrupted, and where?
 *   queue      waits for the rate, if there is one: bounded in frames, bytes and time; CoDel
 *   rate       a serialiser: a frame takes as long as it has bits, after the one before; a token bucket in front of it
 *              lets a burst pass at once
 *   delay      with jitter, or none if it is a frame that overtakes
 *   slot       leaves when the medium opens next
 *
 * The rate and the delay are apart: jitter does not eat into the rate, and what waits for the rate is the bottleneck's
 * queue, which the limits are about.  (netem's limit counts the frames on their way, too, and is in the way of every
 * long delay.)
 *
 * Time is virtual: each frame's moments are computed from those before, not from when somebody looked.  A rate is exact
 * however late one wakes, and the same seed and the same arrivals meet the same fate, which a test compares.
 *
 * Calling it: for each frame impair_judge(), and for each copy that is to live impair_push(), with a reference of its
 * own; then at impair_next() or later, impair_take().  now_ns never goes back between calls.
 *
 * A change of settings does not touch frames that are in already: they leave when they would have left.
 *
 * Trust:     lengths come from guests; the sums cannot overflow for frames below a megabyte.
 * Ownership: a frame pushed is the engine's until it comes out of impair_take() or is given to drop().
 * Threads:   plain data. */
#ifndef NET_IMPAIR_H
#define NET_IMPAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "chance.h"
#include "codel.h"
#include "impair_config.h"
#include "impair_queue.h"

#define IMPAIR_NEVER UINT64_MAX

/* X(name, text).  Everything adds up: in + duplicated = out + held + all of dropped. */
#define IMPAIR_COUNTERS(X)                                                             \
	X(in_frames, "frames that came")                                               \
	X(in_bytes, "bytes in them")                                                   \
	X(out_frames, "frames that left")                                              \
	X(out_bytes, "bytes in them")                                                  \
	X(duplicated, "frames made by duplicating")                                    \
	X(corrupted, "frames with a bit flipped")                                      \
	X(reordered, "frames that skipped the delay")                                  \
	X(marked, "frames marked (ECN) instead of dropped")                            \
	X(dropped_loss, "frames lost by loss, gemodel or markov")                      \
	X(dropped_flap, "frames lost while the link was down")                         \
	X(dropped_limit, "frames lost to the limit of the queue")                      \
	X(dropped_codel, "frames dropped by CoDel")                                    \
	X(dropped_memory, "frames lost because the switch had no buffer to keep them") \
	X(dropped_reset, "frames thrown away by a reset, or with their port")

struct impair_stats {
#define X(name, text) uint64_t name;
	IMPAIR_COUNTERS(X)
#undef X
};

struct impair_counter {
	const char *name, *text;
	size_t offset; /* in struct impair_stats */
};

enum {
#define X(name, text) +1
	IMPAIR_N_COUNTERS = 0 IMPAIR_COUNTERS(X)
#undef X
};

extern const struct impair_counter impair_counters[IMPAIR_N_COUNTERS];

enum impair_chance {
	IMPAIR_CHANCE_LOSS,
	IMPAIR_CHANCE_STATE, /* of a loss model */
	IMPAIR_CHANCE_DUPLICATE,
	IMPAIR_CHANCE_CORRUPT,
	IMPAIR_CHANCE_BIT,
	IMPAIR_CHANCE_REORDER,
	IMPAIR_CHANCE_DELAY,
	IMPAIR_CHANCE_SLOT,
	IMPAIR_N_CHANCES,
};

typedef void impair_drop_fn(void *frame);

struct impair {
	struct impair_config config; /* read it; impair_set() changes it */
	struct impair_stats stats;
	/* May be set before impair_set(): so that two with one seed are not alike. */
	unsigned salt;
	/* And what is as good as now to the owner: a frame that would leave so soon need not be kept, and one whose turn
	 * for the rate comes so soon does not wait for it.  The rate stays what it is. */
	uint64_t near_ns;

	/* Ours. */
	impair_drop_fn *drop;
	bool idle, draws; /* of the settings: nothing to do; a fate to be drawn */
	bool steady;      /* all frames have the same delay */
	bool rate_alone;  /* takes time, and nothing else does */
	bool holds_all;   /* nothing but time: impair_hold() will do */
	struct chance chance[IMPAIR_N_CHANCES];
	uint8_t state; /* of the loss model */
	uint64_t flap_from_ns;

	struct impair_ring waiting; /* for the rate */
	uint64_t waiting_bytes;
	uint32_t longest;     /* frame seen */
	uint64_t burst_ns;    /* the bucket's depth */
	uint64_t free_ns;     /* when the serialiser would be free, without bucket */
	uint64_t departed_ns; /* when the last frame left it */
	uint64_t fraction;    /* of a nanosecond, in units of 1 / rate */
	struct {
		uint32_t len;
		uint64_t ns, rest; /* that such a frame takes; rest as `fraction` */
	} last;
	struct codel codel;

	struct impair_due line; /* on their way */
	uint64_t line_bytes;
	uint64_t last_due_ns;
	uint64_t since_reorder;
	struct dist_series delay_series, slot_series;
	uint64_t slot_ns;                  /* when the medium opens, or did last */
	uint64_t slot_packets, slot_bytes; /* left of it */
};

struct impair_verdict {
	unsigned copies; /* to be pushed; 0: lost, and counted */
	bool straight; /* need not be pushed: may go on at once, with impair_went(); else impair_push_straight() */
	bool mark; /* every copy is to be marked (ECN) */
	bool corrupt[2]; /* copy i: flip this bit of the frame, counted from the first bit of its first byte */
	uint64_t bit[2];
};

struct impair_out {
	void *frame;
	uint64_t at_ns; /* when it left: not after the now_ns of impair_take() */
	bool mark;      /* mark it (ECN) */
};

/* Does nothing to any frame, until impair_set(). */
void impair_init(struct impair *im, impair_drop_fn *drop);

/* Drops what is held. */
void impair_done(struct impair *im);

/* New settings, which impair_config_wrong() has nothing against.  `reseed`: start the random numbers anew from
 * config->seed, also if that is the one in use. */
void impair_set(struct impair *im, const struct impair_config *config, uint64_t now_ns,
		bool reseed);

/* A frame of len bytes comes.  ect: it says that it may be marked. */
void impair_judge(struct impair *im, uint64_t now_ns, uint32_t len, bool ect,
		  struct impair_verdict *ret);

/* The two in one, for n that come together, where impair_holds_all(): every frame is kept as it is, and nothing is to be
 * decided. */
static inline bool impair_holds_all(const struct impair *im)
{
	return im->holds_all;
}
void impair_hold(struct impair *im, uint64_t now_ns, void *const *frame, const uint32_t *len,
		 unsigned n);

/* Of n frames that come together, how many from the first on go on at once as they are, where impair_only_rates() and so
 * nothing else is to be decided: these are judged and went, the others are not. */
static inline bool impair_only_rates(const struct impair *im)
{
	return im->rate_alone && !im->draws;
}
unsigned impair_straight(struct impair *im, uint64_t now_ns, const uint32_t *len, unsigned n);

/* impair_push() for a copy that might go on at once (verdict.straight) where that cannot be: it has had its time at the rate. */
void impair_push_straight(struct impair *im, uint64_t now_ns, void *frame, uint32_t len);

/* One that was to be held could not be kept. */
void impair_hold_failed(struct impair *im, uint32_t len);

/* Keep it until it is due.  For want of memory it is dropped and counted. */
void impair_push(struct impair *im, uint64_t now_ns, void *frame, uint32_t len, bool ect);

/* A copy went on at once: verdict.straight. */
void impair_went(struct impair *im, uint32_t len);

/* A copy was to be pushed and could not be made. */
void impair_push_failed(struct impair *im);

/* Those that are due, at most n, in the order they leave.  Returns how many. */
unsigned impair_take(struct impair *im, uint64_t now_ns, struct impair_out *ret, unsigned n);

/* When there may be something to take; IMPAIR_NEVER: not before the next push. */
uint64_t impair_next(const struct impair *im);

/* Throw away what is held, and let the next frame find the link free. */
void impair_drop_held(struct impair *im);

/* Frames and bytes held. */
void impair_held(const struct impair *im, uint64_t *ret_frames, uint64_t *ret_bytes);

/* Is the link down by flap at that time, and when does that change?  IMPAIR_NEVER: it does not. */
bool impair_is_down(const struct impair *im, uint64_t now_ns, uint64_t *ret_until_ns);

static inline uint64_t impair_counter_value(const struct impair_stats *s,
					    const struct impair_counter *c)
{
	return *(const uint64_t *)(const void *)((const char *)s + c->offset);
}

#endif
