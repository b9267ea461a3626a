/* SPDX-License-Identifier: MIT */
#include "stats.h"

const struct hv_counter hv_counters[HV_N_COUNTERS] = {
#define X(name, text) { #name, text, offsetof(struct hv_stats, name) },
	HV_COUNTERS(X)
#undef X
};
