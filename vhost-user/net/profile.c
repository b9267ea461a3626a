/* SPDX-License-Identifier: MIT */
#include "profile.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define M  UINT64_C(1000000)

/* What differs from a link that does nothing; see make_built_in() for what all have. */
static struct profile built_in[] = {
	{ .name = "default", .text = "nothing: as fast as it goes" },
	{ .name = "constrained",
	  .text = "a link of 100 Mbit/s, 20 ms away, give or take 2 ms",
	  .config = { .rate_bps = 100 * M,
		      .delay_ns = 20 * MS,
		      .jitter_ns = 2 * MS,
		      .keep_order = true } },
	{ .name = "lossy",
	  .text = "2 % loss, and a delay that varies by up to 10 ms, so that frames overtake",
	  .config = { .loss = 0.02, .delay_ns = 10 * MS, .jitter_ns = 10 * MS } },
	{ .name = "wan",
	  .text = "a leased line to another continent: 100 Mbit/s, 40 ms, little jitter, 0.01 % loss",
	  .config = { .rate_bps = 100 * M,
		      .delay_ns = 40 * MS,
		      .jitter_ns = 1 * MS,
		      .distribution = DIST_PARETONORMAL,
		      .keep_order = true,
		      .loss = 0.0001 } },
	{ .name = "satellite",
	  .text = "a geostationary satellite: 20 Mbit/s, 270 ms, losses in bursts when it rains",
	  .config = { .rate_bps = 20 * M,
		      .delay_ns = 270 * MS,
		      .jitter_ns = 3 * MS,
		      .distribution = DIST_NORMAL,
		      .keep_order = true,
		      .gemodel = true,
		      .gemodel_p = 0.0005,
		      .gemodel_r = 0.1,
		      .gemodel_h = 0.5,
		      .gemodel_k = 1 } },
	{ .name = "wifi",
	  .text = "a busy radio: 150 Mbit/s, frames together whenever the medium is free, losses in bursts",
	  .config = { .rate_bps = 150 * M,
		      .delay_ns = 1 * MS,
		      .jitter_ns = 500 * US,
		      .distribution = DIST_PARETO,
		      .keep_order = true,
		      .gemodel = true,
		      .gemodel_p = 0.001,
		      .gemodel_r = 0.3,
		      .gemodel_h = 0.2,
		      .gemodel_k = 1,
		      .slot = true,
		      .slot_min_ns = 300 * US,
		      .slot_max_ns = 3 * MS,
		      .slot_packets = 64 } },
};

static void make_built_in(void)
{
	struct impair_config unset;

	impair_config_init(&unset);
	for (unsigned i = 0; i < array_size(built_in); i++)
		built_in[i].config.limit_packets = unset.limit_packets;
	for (unsigned i = 1; i < array_size(built_in); i++)
		built_in[i - 1].next = &built_in[i];
}

static struct profile *first_built_in(void)
{
	static pthread_once_t made = PTHREAD_ONCE_INIT;

	pthread_once(&made, make_built_in);
	return &built_in[0];
}

void profiles_done(struct profiles *p)
{
	while (p->first) {
		struct profile *gone = p->first;

		p->first = gone->next;
		free(gone);
	}
	p->n = 0;
}

const struct profile *profile_next(const struct profiles *p, const struct profile *after)
{
	if (!after)
		return first_built_in();
	if (after == &built_in[array_size(built_in) - 1])
		return p->first;
	return after->next;
}

const struct profile *profile_find(const struct profiles *p, const char *name)
{
	const struct profile *at = NULL;

	while ((at = profile_next(p, at)))
		if (strcmp(at->name, name) == 0)
			return at;
	return NULL;
}

int profile_set(struct profiles *p, const char *name, const struct impair_config *config)
{
	struct profile *at = p->first;

	for (; at && strcmp(at->name, name) != 0; at = at->next)
		;
	if (!at && profile_find(p, name))
		return -EPERM;
	if (!at) {
		if (name[0] == '\0' || strlen(name) >= PROFILE_NAME_MAX)
			return -EINVAL;
		if (p->n == PROFILES_MAX)
			return -ENOSPC;
		at = calloc(1, sizeof(*at));
		if (!at)
			return -ENOMEM;
		(void)snprintf(at->name, sizeof(at->name), "%s", name);
		at->next = p->first;
		p->first = at;
		p->n++;
	}
	at->config = *config;
	return 0;
}

int profile_remove(struct profiles *p, const char *name)
{
	for (struct profile **at = &p->first; *at; at = &(*at)->next) {
		struct profile *gone = *at;

		if (strcmp(gone->name, name) != 0)
			continue;
		*at = gone->next;
		p->n--;
		free(gone);
		return 0;
	}
	return profile_find(p, name) ? -EPERM : -ENOENT;
}
