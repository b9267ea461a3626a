/* SPDX-License-Identifier: MIT */
#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

#define PREFIX "vhost_net_"

/* "ingress_drop_short" is of the family "ingress_dropped", with the cause "short". */
static const char *cause_of(const char *name, const char *direction)
{
	char head[32];
	int n = snprintf(head, sizeof(head), "%s_drop_", direction);

	return strncmp(name, head, (size_t)n) == 0 ? name + n : NULL;
}

static void put_family(FILE *f, const char *name, const char *type, const char *unit,
		       const char *text)
{
	fprintf(f, "# TYPE " PREFIX "%s %s\n", name, type);
	if (unit)
		fprintf(f, "# UNIT " PREFIX "%s %s\n", name, unit);
	fprintf(f, "# HELP " PREFIX "%s %s.\n", name, text);
}

static void put_counter(FILE *f, struct sw *sw, const struct port_counter *c)
{
	put_family(f, c->name, "counter", NULL, c->text);
	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p))
		fprintf(f, PREFIX "%s_total{port=\"%s\"} %" PRIu64 "\n", c->name, p->name,
			port_counter_value(&p->stats, c));
}

static void put_dropped(FILE *f, struct sw *sw, const char *direction)
{
	char name[32];

	snprintf(name, sizeof(name), "%s_dropped", direction);
	put_family(f, name, "counter", NULL, "frames lost, by cause");
	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p))
		for (unsigned i = 0; i < PORT_N_COUNTERS; i++) {
			const char *cause = cause_of(port_counters[i].name, direction);

			if (cause)
				fprintf(f,
					PREFIX "%s_total{port=\"%s\",cause=\"%s\"} %" PRIu64 "\n",
					name, p->name, cause,
					port_counter_value(&p->stats, &port_counters[i]));
		}
}

static void put_counters(FILE *f, struct sw *sw)
{
	for (unsigned i = 0; i < PORT_N_COUNTERS; i++) {
		const char *name = port_counters[i].name;

		if (!cause_of(name, "ingress") && !cause_of(name, "egress"))
			put_counter(f, sw, &port_counters[i]);
	}
	put_dropped(f, sw, "ingress");
	put_dropped(f, sw, "egress");
}

static const struct {
	const char *name, *text;
	size_t offset;
} queue_counters[] = {
	{ "queue_frames", "frames through a queue", offsetof(struct queue_stats, frames) },
	{ "queue_bytes", "bytes in them", offsetof(struct queue_stats, bytes) },
	{ "queue_dropped", "frames lost at a queue", offsetof(struct queue_stats, dropped) },
};

static void put_queues_of(FILE *f, const struct sw_port *p, const char *name, size_t offset)
{
	const struct queue_stats *q;
	bool ingress;

	for (unsigned i = 0; p->ops->queue && (q = p->ops->queue(p, i, &ingress)); i++)
		fprintf(f,
			PREFIX "%s_total{port=\"%s\",queue=\"%u\",direction=\"%s\"} %" PRIu64 "\n",
			name, p->name, i, ingress ? "ingress" : "egress",
			*(const uint64_t *)(const void *)((const char *)q + offset));
}

static void put_queues(FILE *f, struct sw *sw)
{
	for (size_t i = 0; i < sizeof(queue_counters) / sizeof(queue_counters[0]); i++) {
		put_family(f, queue_counters[i].name, "counter", NULL, queue_counters[i].text);
		for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p))
			put_queues_of(f, p, queue_counters[i].name, queue_counters[i].offset);
	}
}

/* Buckets count what is at most so large, those below included; the last one is everything. */
static void put_buckets(FILE *f, const char *port, const struct port_histogram *h,
			const struct histogram *v)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		n += v->bucket[i];
		if (i >= h->first && i <= h->last)
			fprintf(f, PREFIX "%s_%s_bucket{port=\"%s\",le=\"%.10g\"} %" PRIu64 "\n",
				h->name, h->unit, port,
				(double)histogram_limit(i) / (double)h->scale, n);
	}
	fprintf(f, PREFIX "%s_%s_bucket{port=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", h->name, h->unit,
		port, n);
	fprintf(f, PREFIX "%s_%s_sum{port=\"%s\"} %.10g\n", h->name, h->unit, port,
		(double)v->sum / (double)h->scale);
	fprintf(f, PREFIX "%s_%s_count{port=\"%s\"} %" PRIu64 "\n", h->name, h->unit, port, n);
}

static void put_histograms(FILE *f, struct sw *sw)
{
	for (unsigned i = 0; i < PORT_N_HISTOGRAMS; i++) {
		const struct port_histogram *h = &port_histograms[i];
		char name[64];

		snprintf(name, sizeof(name), "%s_%s", h->name, h->unit);
		put_family(f, name, "histogram", h->unit, h->text);
		for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p))
			put_buckets(f, p->name, h, port_histogram_of(&p->histograms, h));
	}
}

static void put_gauges(FILE *f, struct sw *sw)
{
	put_family(f, "up", "gauge", NULL, "whether the port has a receiver and its link is up");
	for (struct sw_port *p = sw_next(sw, NULL); p; p = sw_next(sw, p))
		fprintf(f, PREFIX "up{port=\"%s\"} %d\n", p->name, p->up);
	put_family(f, "fdb_entries", "gauge", NULL, "stations that the switch knows");
	fprintf(f, PREFIX "fdb_entries %u\n", (unsigned)fdb_count(&sw->fdb));
}

/* Names of ports need no escapes: port.add takes none that would. */
char *metrics_text(struct sw *sw)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	bool bad;

	if (!f)
		return NULL;
	put_gauges(f, sw);
	put_counters(f, sw);
	put_queues(f, sw);
	put_histograms(f, sw);
	fputs("# EOF\n", f);
	bad = ferror(f);
	if (fclose(f) == 0 && !bad)
		return text;
	free(text);
	return NULL;
}
