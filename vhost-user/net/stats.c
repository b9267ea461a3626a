/* SPDX-License-Identifier: MIT */
#include "stats.h"

const struct port_counter port_counters[PORT_N_COUNTERS] = {
#define X(name, text) { #name, text, offsetof(struct port_stats, name) },
	NET_COUNTERS(X)
#undef X
};
