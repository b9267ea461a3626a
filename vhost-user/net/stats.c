/* SPDX-License-Identifier: MIT */
#include "stats.h"

const struct port_counter port_counters[PORT_N_COUNTERS] = {
#define X(name, text) { #name, text, offsetof(struct port_stats, name) },
	NET_COUNTERS(X)
#undef X
};

const struct port_histogram port_histograms[PORT_N_HISTOGRAMS] = {
#define X(name, unit, scale, first, last, text) \
	{ #name, #unit, text, scale, first, last, offsetof(struct port_histograms, name) },
	NET_HISTOGRAMS(X)
#undef X
};
