/* SPDX-License-Identifier: MIT */
#include "mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "switch.h"

static struct sw_mirror **find(struct sw *sw, const char *name)
{
	struct sw_mirror **at = &sw->mirrors;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static unsigned count(const struct sw *sw)
{
	unsigned n = 0;

	for (const struct sw_mirror *m = sw->mirrors; m; m = m->next)
		n++;
	return n;
}

/* The counters by which a port knows that somebody wants its frames. */
static void count_source(const struct sw_mirror *m, struct sw_port *from, int by)
{
	if (m->in)
		from->n_mirror_in = (uint16_t)(from->n_mirror_in + by);
	if (m->out)
		from->n_mirror_out = (uint16_t)(from->n_mirror_out + by);
}

static bool sources_are_good(const struct sw_port *to, struct sw_port *const *from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (from[i] == to)
			return false;
		for (unsigned j = 0; j < i; j++)
			if (from[j] == from[i])
				return false;
	}
	return n > 0;
}

int sw_mirror_add(struct sw *sw, const char *name, struct sw_port *to, struct sw_port *const *from,
		  unsigned n_from, bool in, bool out)
{
	struct sw_mirror **at = find(sw, name), *m;
	size_t len = strlen(name);

	if (len == 0 || len >= SW_MIRROR_NAME_MAX || !(in || out) ||
	    !sources_are_good(to, from, n_from))
		return -EINVAL;
	if (*at)
		return -EEXIST;
	if (count(sw) == SW_MIRRORS_MAX)
		return -ENOSPC;
	m = malloc(sizeof(*m) + n_from * sizeof(struct sw_port *));
	if (!m)
		return -ENOMEM;
	*m = (struct sw_mirror){ .to = to, .in = in, .out = out, .n_from = n_from };
	memcpy(m->name, name, len + 1);
	memcpy(m->from, from, n_from * sizeof(struct sw_port *));
	for (unsigned i = 0; i < n_from; i++)
		count_source(m, from[i], 1);
	*at = m;
	return 0;
}

static void drop(struct sw_mirror **at)
{
	struct sw_mirror *m = *at;

	for (unsigned i = 0; i < m->n_from; i++)
		count_source(m, m->from[i], -1);
	*at = m->next;
	free(m);
}

int sw_mirror_remove(struct sw *sw, const char *name)
{
	struct sw_mirror **at = find(sw, name);

	if (!*at)
		return -ENOENT;
	drop(at);
	return 0;
}

static void drop_source(struct sw_mirror *m, const struct sw_port *p)
{
	for (unsigned i = 0; i < m->n_from; i++)
		if (m->from[i] == p) {
			count_source(m, m->from[i], -1);
			m->from[i] = m->from[--m->n_from];
			return;
		}
}

void sw_mirror_forget(struct sw_port *p)
{
	for (struct sw_mirror **at = &p->sw->mirrors; *at;) {
		drop_source(*at, p);
		if ((*at)->to == p || (*at)->n_from == 0)
			drop(at);
		else
			at = &(*at)->next;
	}
}
