/* SPDX-License-Identifier: MIT */
/* All counters of the switch as OpenMetrics text, for whoever collects them.
 *
 * A counter X of stats.h is vhost_net_X_total{port="…"}; those of lost frames, DIRECTION_drop_CAUSE, are one family,
 * vhost_net_DIRECTION_dropped_total{port="…",cause="…"}, so that they can be added up.  Queues add their index, histograms their
 * buckets; times are seconds.
 *
 * Threads: the main thread, with the workers standing. */
#ifndef NET_METRICS_H
#define NET_METRICS_H

#include "switch.h"

/* The text, to be freed; NULL: no memory. */
char *metrics_text(struct sw *sw);

#endif
