/* SPDX-License-Identifier: MIT */
/* What a link can do to frames in one direction: the settings.
 *
 * One list makes the structure, the members of link.set and their ranges, what link.get answers, and the table of
 * vhost-user-net(8) is tested against it.  Times are nanoseconds, rates bits a second, probabilities and correlations
 * fractions, sizes bytes of the frame from its destination address on.
 *
 * Objects (gemodel, markov, slot, codel, flap) are a flag and fields of their own.  A field whose default lies outside
 * its range has to be given with its object.
 *
 * Threads: plain data. */
#ifndef NET_IMPAIR_CONFIG_H
#define NET_IMPAIR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dist.h"

#define IMPAIR_TIME_MAX  3600000000000 /* an hour: longer is no delay but a mistake */
#define IMPAIR_RATE_MIN  8             /* a byte a second */
#define IMPAIR_RATE_MAX  1000000000000
#define IMPAIR_BYTES_MAX (1LL << 31)
#define IMPAIR_SEED_MAX  INT64_MAX /* what every JSON reader can say */

/* X(kind, field, name, low, high, default, text).  NUMBER: whole, unsigned; INTEGER: whole; FRACTION: a real number;
 * FLAG: true or false; WORD: one of dist_names; OBJECT: is it there? */
#define IMPAIR_TOP(X)                                                                            \
	X(NUMBER, delay_ns, "delay-ns", 0, IMPAIR_TIME_MAX, 0, "added to every frame")           \
	X(NUMBER, jitter_ns, "jitter-ns", 0, IMPAIR_TIME_MAX, 0,                                 \
	  "how much the delay varies: the range of uniform, else the standard deviation")        \
	X(FRACTION, delay_correlation, "delay-correlation", 0, 0.9999, 0,                        \
	  "of a frame's jitter with that of the frame before (rank correlation)")                \
	X(WORD, distribution, "distribution", 0, DIST_COUNT - 1, DIST_UNIFORM,                   \
	  "of the jitter: uniform, normal, pareto or paretonormal")                              \
	X(FLAG, keep_order, "keep-order", 0, 1, 0, "jitter makes late, but never overtakes")     \
	X(FLAG, precise, "precise", 0, 1, 0,                                                     \
	  "stay awake for what is delayed: to the microsecond, for a processor")                 \
	X(FRACTION, loss, "loss", 0, 1, 0, "probability that a frame is lost")                   \
	X(FRACTION, loss_correlation, "loss-correlation", 0, 0.9999, 0,                          \
	  "of a loss with the frame before; the share of losses stays that of loss")             \
	X(OBJECT, gemodel, "gemodel", 0, 1, 0, "loss by the Gilbert-Elliott model")              \
	X(OBJECT, markov, "markov", 0, 1, 0, "loss by a Markov chain of four states")            \
	X(FLAG, ecn, "ecn", 0, 1, 0,                                                             \
	  "mark a frame that can be marked where loss, gemodel or markov would drop it")         \
	X(FRACTION, duplicate, "duplicate", 0, 1, 0, "probability that a frame comes twice")     \
	X(FRACTION, duplicate_correlation, "duplicate-correlation", 0, 0.9999, 0, "as for loss") \
	X(FRACTION, corrupt, "corrupt", 0, 1, 0, "probability that one random bit is flipped")   \
	X(FRACTION, corrupt_correlation, "corrupt-correlation", 0, 0.9999, 0, "as for loss")     \
	X(FRACTION, reorder, "reorder", 0, 1, 0,                                                 \
	  "probability that a frame skips the delay, and so overtakes; needs delay-ns")          \
	X(FRACTION, reorder_correlation, "reorder-correlation", 0, 0.9999, 0, "as for loss")     \
	X(NUMBER, gap, "gap", 0, 1000000, 0,                                                     \
	  "only every gap-th frame may overtake; without reorder, each of them does")            \
	X(NUMBER, rate_bps, "rate-bps", IMPAIR_RATE_MIN, IMPAIR_RATE_MAX, 0,                     \
	  "of the link; without it there is no limit")                                           \
	X(NUMBER, burst_bytes, "burst-bytes", 0, IMPAIR_BYTES_MAX, 0,                            \
	  "that may pass at once after a pause (token bucket)")                                  \
	X(INTEGER, packet_overhead, "packet-overhead", -1500, 65535, 0,                          \
	  "bytes by which a frame is longer to the rate than its own bytes")                     \
	X(NUMBER, cell_size, "cell-size", 0, 65535, 0,                                           \
	  "a frame takes whole cells of so many bytes of the rate; 48 is ATM")                   \
	X(NUMBER, cell_overhead, "cell-overhead", 0, 65535, 0, "bytes of header of each cell")   \
	X(OBJECT, slot, "slot", 0, 1, 0, "frames leave together, at intervals")                  \
	X(NUMBER, limit_packets, "limit-packets", 0, 1LL << 24, 1000,                            \
	  "frames that may wait for the rate; 0 is no limit")                                    \
	X(NUMBER, limit_bytes, "limit-bytes", 0, IMPAIR_BYTES_MAX, 0,                            \
	  "bytes that may wait for the rate; 0 is no limit")                                     \
	X(NUMBER, limit_ns, "limit-ns", 0, IMPAIR_TIME_MAX, 0,                                   \
	  "time that a frame may have to wait for the rate; 0 is no limit")                      \
	X(OBJECT, codel, "codel", 0, 1, 0, "keep the wait for the rate short (CoDel, RFC 8289)") \
	X(OBJECT, flap, "flap", 0, 1, 0, "the link goes down and up again")                      \
	X(NUMBER, seed, "seed", 0, IMPAIR_SEED_MAX, 0,                                           \
	  "of all random numbers; the same seed and arrivals meet the same fate")

#define IMPAIR_GEMODEL(X)                                                                         \
	X(FRACTION, gemodel_p, "gemodel.p", 0, 1, -1, "probability to change from good to bad")   \
	X(FRACTION, gemodel_r, "gemodel.r", 0, 1, -1, "probability to change from bad to good")   \
	X(FRACTION, gemodel_h, "gemodel.h", 0, 1, 0, "probability that a frame passes while bad") \
	X(FRACTION, gemodel_k, "gemodel.k", 0, 1, 1, "probability that a frame passes while good")

#define IMPAIR_MARKOV(X)                                                                        \
	X(FRACTION, markov_p13, "markov.p13", 0, 1, -1, "from the gap to a burst's losses")     \
	X(FRACTION, markov_p31, "markov.p31", 0, 1, -1, "from a burst's losses to the gap")     \
	X(FRACTION, markov_p32, "markov.p32", 0, 1, 0, "from a burst's losses to its arrivals") \
	X(FRACTION, markov_p23, "markov.p23", 0, 1, 1, "from a burst's arrivals to its losses") \
	X(FRACTION, markov_p14, "markov.p14", 0, 1, 0, "to a single loss in the gap")

#define IMPAIR_SLOT(X)                                                                      \
	X(NUMBER, slot_min_ns, "slot.min-ns", 0, IMPAIR_TIME_MAX, 0, "shortest interval")   \
	X(NUMBER, slot_max_ns, "slot.max-ns", 0, IMPAIR_TIME_MAX, 0,                        \
	  "longest interval; unsaid, all are as the shortest")                              \
	X(WORD, slot_distribution, "slot.distribution", 0, DIST_COUNT - 1, DIST_UNIFORM,    \
	  "of the intervals around delay-ns")                                               \
	X(NUMBER, slot_delay_ns, "slot.delay-ns", 0, IMPAIR_TIME_MAX, 0,                    \
	  "mean interval, in place of shortest and longest")                                \
	X(NUMBER, slot_jitter_ns, "slot.jitter-ns", 0, IMPAIR_TIME_MAX, 0, "how it varies") \
	X(NUMBER, slot_packets, "slot.packets", 0, 1LL << 24, 0,                            \
	  "frames in a slot at most; 0 is no limit")                                        \
	X(NUMBER, slot_bytes, "slot.bytes", 0, IMPAIR_BYTES_MAX, 0,                         \
	  "bytes in a slot at most, the last frame over it; 0 is no limit")

#define IMPAIR_CODEL(X)                                                                  \
	X(NUMBER, codel_target_ns, "codel.target-ns", 1, IMPAIR_TIME_MAX, 5000000,       \
	  "wait that is good enough")                                                    \
	X(NUMBER, codel_interval_ns, "codel.interval-ns", 1, IMPAIR_TIME_MAX, 100000000, \
	  "how long it may be longer: a round trip")                                     \
	X(FLAG, codel_ecn, "codel.ecn", 0, 1, 0, "mark a frame that can be marked, not drop it")

#define IMPAIR_FLAP(X)                                                       \
	X(NUMBER, flap_up_ns, "flap.up-ns", 1000000, IMPAIR_TIME_MAX, 0,     \
	  "time that the link is up, at first from the setting on")          \
	X(NUMBER, flap_down_ns, "flap.down-ns", 1000000, IMPAIR_TIME_MAX, 0, \
	  "time that it is down, losing every frame that comes")

#define IMPAIR_FIELDS(X) \
	IMPAIR_TOP(X)    \
	IMPAIR_GEMODEL(X) IMPAIR_MARKOV(X) IMPAIR_SLOT(X) IMPAIR_CODEL(X) IMPAIR_FLAP(X)

enum impair_kind {
	IMPAIR_KIND_NUMBER,
	IMPAIR_KIND_INTEGER,
	IMPAIR_KIND_FRACTION,
	IMPAIR_KIND_FLAG,
	IMPAIR_KIND_WORD,
	IMPAIR_KIND_OBJECT,
};

/* All of one size: there is no order of the list that wastes room. */
#define IMPAIR_TYPE_NUMBER   uint64_t
#define IMPAIR_TYPE_INTEGER  int64_t
#define IMPAIR_TYPE_FRACTION double
#define IMPAIR_TYPE_FLAG     uint64_t
#define IMPAIR_TYPE_WORD     uint64_t
#define IMPAIR_TYPE_OBJECT   uint64_t

struct impair_config {
#define X(kind, field, ...) IMPAIR_TYPE_##kind field;
	IMPAIR_FIELDS(X)
#undef X
};

struct impair_field {
	enum impair_kind kind;
	const char *name; /* "delay-ns", "gemodel.p" */
	size_t offset;    /* in struct impair_config */
	double low, high, unset;
	const char *text;
};

enum {
#define X(...) +1
	IMPAIR_N_FIELDS = 0 IMPAIR_FIELDS(X)
#undef X
};

/* In the order of the list; the fields of an object come after all of the top. */
extern const struct impair_field impair_fields[IMPAIR_N_FIELDS];

/* The names of the top, as control_method.members wants them: ",delay-ns?,jitter-ns?…". */
#define IMPAIR_MEMBER(kind, field, name, ...) "," name "?"
#define IMPAIR_MEMBERS                        IMPAIR_TOP(IMPAIR_MEMBER)

/* A link that does nothing. */
void impair_config_init(struct impair_config *c);

/* Set a field to its default; an object is taken out, or, if `in` is said, put in with the defaults of its fields. */
void impair_field_unset(struct impair_config *c, const struct impair_field *f, bool in);

/* Set a number, a fraction, a flag (0 or 1) or a word.  -ERANGE: outside low..high, and nothing has changed. */
int impair_field_set(struct impair_config *c, const struct impair_field *f, double value);

/* The value as a number.  Whole numbers up to 2^53 are exact; the seed is not: use c->seed. */
double impair_field_get(const struct impair_config *c, const struct impair_field *f);

/* Do the settings make sense together?  NULL, or what is wrong, beginning with the name of a member. */
const char *impair_config_wrong(const struct impair_config *c);

/* Does it do anything at all? */
bool impair_config_idle(const struct impair_config *c);

/* Does it need to see single frames, of a size that is on a wire? */
bool impair_config_segments(const struct impair_config *c);

#endif
