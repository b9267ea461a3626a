/* SPDX-License-Identifier: MIT */
/* The table of fields.h: what a direction of a link does to frames, and how it shares its rate.
 *
 * The numbers that a switch takes for these keys, and their ranges, are those of link.set in vhost-user-net(8): a test
 * compares. */
#include "model/fields_net.h"

#include "model/lab.h"
#include "model/units.h"

#define TIME_MAX_NS    (3600ull * 1000000000)
#define BYTES_MAX      (1ull << 31)
#define RATE_MIN       8
#define RATE_MAX       (1000ull * 1000000000)
#define CORRELATED_MAX (UNIT_CERTAIN / (uint64_t)10000 * 9999)

#define DELAY(key_, member_, min_, text)                                             \
	{                                                                            \
		.key = key_, .kind = FIELD_DELAY, .min = (min_), .max = TIME_MAX_NS, \
		.member = member_, .brief = text                                     \
	}
#define CHANCE(key_, text)                                                            \
	{                                                                             \
		.key = key_, .kind = FIELD_CHANCE, .max = UNIT_CERTAIN, .brief = text \
	}
#define CORRELATION(key_, text)                                                         \
	{                                                                               \
		.key = key_, .kind = FIELD_CHANCE, .max = CORRELATED_MAX, .brief = text \
	}
#define COUNT(key_, member_, min_, max_, text)                                          \
	{                                                                               \
		.key = key_, .kind = FIELD_COUNT, .min = (uint64_t)(min_), .max = max_, \
		.member = member_, .brief = text                                        \
	}
#define BYTES(key_, member_, text)                                                     \
	{                                                                              \
		.key = key_, .kind = FIELD_BYTES, .max = BYTES_MAX, .member = member_, \
		.brief = text                                                          \
	}
#define RATE(key_, member_, text)                                                  \
	{                                                                          \
		.key = key_, .kind = FIELD_RATE, .min = RATE_MIN, .max = RATE_MAX, \
		.member = member_, .brief = text                                   \
	}
#define FLAG(key_, text)                                       \
	{                                                      \
		.key = key_, .kind = FIELD_FLAG, .brief = text \
	}
#define OBJECT(key_, object_, text)                                                 \
	{                                                                           \
		.key = key_, .kind = FIELD_OBJECT, .object = object_, .brief = text \
	}

static const char *const distribution_words[] = { "uniform", "normal", "pareto", "paretonormal",
						  NULL };

/* --- impairment ----------------------------------------------------------------------------------------------------- */

static const struct field gemodel_fields[] = {
	{ .key = "p",
	  .kind = FIELD_CHANCE,
	  .required = true,
	  .max = UNIT_CERTAIN,
	  .brief = "Probability to change from good to bad." },
	{ .key = "r",
	  .kind = FIELD_CHANCE,
	  .required = true,
	  .max = UNIT_CERTAIN,
	  .brief = "Probability to change from bad to good." },
	CHANCE("h", "Probability that a frame passes while bad, 0% if not said."),
	CHANCE("k", "Probability that a frame passes while good, 100% if not said."),
	{},
};

const struct field_object field_gemodel = {
	.name = "gemodel",
	.brief = "Loss by the Gilbert-Elliott model: the link is good or bad.",
	.fields = gemodel_fields,
};

static const struct field markov_fields[] = {
	{ .key = "p13",
	  .kind = FIELD_CHANCE,
	  .required = true,
	  .max = UNIT_CERTAIN,
	  .brief = "From the gap to a burst's losses." },
	{ .key = "p31",
	  .kind = FIELD_CHANCE,
	  .required = true,
	  .max = UNIT_CERTAIN,
	  .brief = "From a burst's losses to the gap." },
	CHANCE("p32", "From a burst's losses to its arrivals, 0% if not said."),
	CHANCE("p23", "From a burst's arrivals to its losses, 100% if not said."),
	CHANCE("p14", "To a single loss in the gap, 0% if not said."),
	{},
};

const struct field_object field_markov = {
	.name = "markov",
	.brief = "Loss by a Markov chain of four states, as netem's.",
	.fields = markov_fields,
};

static const struct field slot_fields[] = {
	DELAY("min", "min-ns", 0, "Shortest interval."),
	DELAY("max", "max-ns", 0, "Longest interval; not said, all are as the shortest."),
	{ .key = "distribution",
	  .kind = FIELD_WORD,
	  .words = distribution_words,
	  .brief = "Of the intervals around `delay`." },
	DELAY("delay", "delay-ns", 0, "Mean interval, in place of shortest and longest."),
	DELAY("jitter", "jitter-ns", 0, "How it varies."),
	COUNT("packets", NULL, 0, 1ull << 24, "Frames in a slot at most; 0 is no limit."),
	BYTES("bytes", NULL, "Bytes in a slot at most; `0B` is no limit."),
	{},
};

const struct field_object field_slot = {
	.name = "slot",
	.brief = "Frames leave together, at intervals.",
	.fields = slot_fields,
};

static const struct field codel_fields[] = {
	DELAY("target", "target-ns", 1, "Wait that is good enough, 5ms if not said."),
	DELAY("interval", "interval-ns", 1,
	      "How long it may be longer: a round trip, 100ms if not said."),
	FLAG("ecn", "Mark a packet that can be marked instead of dropping it."),
	{},
};

const struct field_object field_codel = {
	.name = "codel",
	.brief = "Keep the wait for the rate short (CoDel, RFC 8289).",
	.fields = codel_fields,
};

static const struct field flap_fields[] = {
	{ .key = "up",
	  .kind = FIELD_DELAY,
	  .required = true,
	  .min = 1000000,
	  .max = TIME_MAX_NS,
	  .member = "up-ns",
	  .brief = "How long it is up." },
	{ .key = "down",
	  .kind = FIELD_DELAY,
	  .required = true,
	  .min = 1000000,
	  .max = TIME_MAX_NS,
	  .member = "down-ns",
	  .brief = "How long it is down, losing every frame." },
	{},
};

const struct field_object field_flap = {
	.name = "flap",
	.brief = "The link goes down and up again, for ever.",
	.fields = flap_fields,
};

static const struct field impairment_fields[] = {
	DELAY("delay", "delay-ns", 0, "Added to every frame."),
	DELAY("jitter", "jitter-ns", 0,
	      "How much the delay varies: the range of `uniform`, else the standard deviation."),
	CORRELATION("delay-correlation", "Of a frame's jitter with that of the one before."),
	{ .key = "distribution",
	  .kind = FIELD_WORD,
	  .words = distribution_words,
	  .brief = "Of the jitter, `uniform` if not said." },
	FLAG("keep-order", "Jitter makes late, but never overtakes."),
	FLAG("precise", "Stay awake for what is delayed: to the microsecond, for a processor."),
	CHANCE("loss", "Probability that a frame is lost."),
	CORRELATION("loss-correlation", "Of a loss with the frame before."),
	OBJECT("gemodel", &field_gemodel, "Loss in bursts, in place of `loss`."),
	OBJECT("markov", &field_markov, "Loss in bursts, in place of `loss`."),
	FLAG("ecn",
	     "Mark a packet that can be marked where `loss`, `gemodel` or `markov` would drop it."),
	CHANCE("duplicate", "Probability that a frame comes twice."),
	CORRELATION("duplicate-correlation", "As for loss."),
	CHANCE("corrupt", "Probability that a random bit of a frame is flipped."),
	CORRELATION("corrupt-correlation", "As for loss."),
	CHANCE("reorder", "Probability that a frame skips the delay, and so overtakes."),
	CORRELATION("reorder-correlation", "As for loss."),
	COUNT("gap", NULL, 0, 1000000, "Only every so many-th frame may overtake."),
	RATE("rate", "rate-bps", "Rate of the link; without it there is no limit."),
	BYTES("burst", "burst-bytes", "What may pass at once after a pause."),
	COUNT("packet-overhead", NULL, -1500, 65535,
	      "Bytes by which a frame is longer to the rate than its own."),
	COUNT("cell-size", NULL, 0, 65535,
	      "A frame takes whole cells of so many bytes of the rate."),
	COUNT("cell-overhead", NULL, 0, 65535, "Bytes of header of each cell."),
	OBJECT("slot", &field_slot, "Frames leave together, at intervals."),
	COUNT("limit-packets", NULL, 0, 1ull << 24,
	      "Frames that may wait for the rate, 1000 if not said; 0 is no limit."),
	BYTES("limit-bytes", NULL, "Bytes that may wait for the rate; `0B` is no limit."),
	DELAY("limit-time", "limit-ns", 0,
	      "How long a frame may have to wait for the rate; `0ms` is no limit."),
	OBJECT("codel", &field_codel, "Keep the wait for the rate short."),
	OBJECT("flap", &field_flap, "The link goes down and up again."),
	COUNT("seed", NULL, 0, INT64_MAX,
	      "Of all random numbers: the same seed and frames meet the same fate."),
	{},
};

const struct field_object field_impairment = {
	.name = "impairment",
	.brief = "What one direction of a link does to frames.",
	.fields = impairment_fields,
};

const struct field_object field_profile = {
	.name = "profile",
	.brief = "An impairment with a name.",
	.fields = (const struct field[]){ {} },
	.also = &field_impairment,
};

static const struct field impair_fields[] = {
	OBJECT("to-guest", &field_impairment,
	       "What holds for frames to the guest alone (on an uplink: out of the lab)."),
	OBJECT("from-guest", &field_impairment,
	       "What holds for frames from the guest alone (on an uplink: into the lab)."),
	{},
};

const struct field_object field_impair = {
	.name = "impair",
	.brief = "What a link does to frames: in both directions, or in one.",
	.fields = impair_fields,
	.also = &field_impairment,
};

/* --- quality of service --------------------------------------------------------------------------------------------- */

static const struct field traffic_protocol[] = {
	{ .key = "number", .kind = FIELD_COUNT, .max = 255 },
	{ .key = "word",
	  .kind = FIELD_WORD,
	  .words = (const char *const[]){ "icmp", "tcp", "udp", "icmpv6", NULL } },
	{},
};

static const struct field traffic_fields[] = {
	COUNT("dscp", NULL, 0, 63, "Class in the IP header."),
	COUNT("pcp", NULL, 0, 7, "Priority in the VLAN tag."),
	COUNT("vlan", NULL, 1, LAB_VLAN_MAX, "VLAN."),
	{ .key = "protocol",
	  .kind = FIELD_EITHER,
	  .choices = traffic_protocol,
	  .brief = "What the packet carries: `icmp`, `tcp`, `udp`, `icmpv6`, or a number." },
	COUNT("port", NULL, 1, 65535, "TCP or UDP port at either end."),
	{},
};

const struct field_object field_traffic = {
	.name = "traffic",
	.brief = "Which frames: those for which everything that is said holds.",
	.fields = traffic_fields,
};

static const struct field class_fields[] = {
	{ .key = "name", .kind = FIELD_NAME, .required = true, .brief = "What it is called." },
	COUNT("priority", NULL, 0, 7, "Classes of a higher one go first, 0 if not said."),
	OBJECT("match", &field_traffic, "Which frames; a class without it takes the rest."),
	RATE("rate", "rate-bps", "What it is sure to have of the policy's rate."),
	RATE("ceil", "ceil-bps", "What it may have at most, the policy's rate if not said."),
	BYTES("burst", "burst-bytes", "What may pass at once after a pause."),
	BYTES("limit", "limit-bytes", "Bytes that may wait."),
	{},
};

const struct field_object field_class = {
	.name = "class",
	.brief = "A part of the traffic of a link. A frame is of the first class that fits.",
	.fields = class_fields,
};

static const struct field policy_fields[] = {
	{ .key = "rate",
	  .kind = FIELD_RATE,
	  .required = true,
	  .min = RATE_MIN,
	  .max = RATE_MAX,
	  .member = "rate-bps",
	  .brief = "What the classes share." },
	{ .key = "classes",
	  .kind = FIELD_LIST,
	  .required = true,
	  .max = LAB_CLASSES_MAX,
	  .object = &field_class,
	  .brief = "The classes of traffic, in the order in which they are asked." },
	{},
};

const struct field_object field_policy = {
	.name = "policy",
	.brief = "How a link shares its rate among classes of traffic.",
	.fields = policy_fields,
};
