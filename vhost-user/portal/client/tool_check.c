/* SPDX-License-Identifier: MIT */
/* portal check: does what the arena says of itself hold together?
 *
 * It reports, and repairs nothing: the daemon rebuilds its tables from its own knowledge, and what clients wrote is theirs.
 * An arena that is in use changes while it is looked at.  So it is looked at until two looks in a row agree, and only what
 * both saw counts. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "heap_check.h"
#include "heap_layout.h"
#include "impl.h"
#include "label.h"
#include "ring_check.h"
#include "tool.h"

#define LOOKS    3
#define PAUSE_NS (50 * NS_PER_MS)
#define FINDINGS 256u /* of one look: an arena full of nonsense is told so by the first ones */

/* What one look saw. */
struct look {
	const struct portal *p;
	char *finding[FINDINGS];
	unsigned n;
	uint32_t free, segments, huge, quarantined, orphans, names, rings, live;
	struct heap_census census;
};

static void report(struct look *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void report(struct look *l, const char *format, ...)
{
	va_list args;

	if (l->n == FINDINGS)
		return;
	va_start(args, format);
	if (vasprintf(&l->finding[l->n], format, args) >= 0)
		l->n++;
	va_end(args);
}

static void forget(struct look *l)
{
	for (unsigned i = 0; i < l->n; i++)
		free(l->finding[i]);
	l->n = 0;
}

/* ---- label, live page, leases -------------------------------------------------- */

static void check_label(struct look *l)
{
	const struct mapping *map = &l->p->map;
	uint8_t block[LABEL_SIZE];

	if ((size_t)(map->base - (uint8_t *)map->start) != PORTAL_LABEL_SIZE)
		return; /* a device shows what lies behind it */
	memcpy(block, (uint8_t *)map->start + LABEL_OFFSET, sizeof(block));
	if (!label_valid(block, PORTAL_LABEL_SIZE + l->p->geo.arena_size))
		report(l, "label: no info block that a guest would make /dev/dax of");
}

static void check_live(struct look *l)
{
	uint64_t quiesce = le64_load(&portal_live(l->p)->quiesce);
	uint32_t error = le32_load(&portal_live(l->p)->flush_error);

	if (PORTAL_QUIESCE_STATE(quiesce) > PORTAL_FROZEN)
		report(l, "live: state %u", PORTAL_QUIESCE_STATE(quiesce));
	if (error)
		report(l,
		       "live: a flush failed (%s): what was written since the last good one may be lost",
		       strerror((int)error));
}

static void check_lease(struct look *l, uint32_t id)
{
	const struct portal_lease *lease = portal_lease_of(l->p, id);
	uint64_t word = le64_load_acquire(&lease->word), owner = PORTAL_LEASE_OWNER(word);
	unsigned state = PORTAL_LEASE_STATE(word);

	if (state > PORTAL_LEASE_RECOVERING)
		report(l, "lease %u: state %u", id, state);
	if (owner && portal_owner_id(owner) != id)
		report(l, "lease %u: owner word %#" PRIx64, id, owner);
	if (state != PORTAL_LEASE_FREE && !portal_owner_valid(owner))
		report(l, "lease %u: taken, by nobody", id);
	l->live += state == PORTAL_LEASE_LIVE;
}

/* ---- extents -------------------------------------------------------------------- */

struct grant {
	uint64_t owner;
	unsigned kind, back, run;
};

/* False: it was being changed. */
static bool load_grant(const struct look *l, uint32_t i, struct grant *ret_grant)
{
	const struct portal_extent *e =
		(const struct portal_extent *)(l->p->map.base + PORTAL_EXTENTS_OFFSET) + i;
	uint64_t owner = le64_load_acquire(&e->owner), what = le64_load_acquire(&e->what);

	*ret_grant = (struct grant){ owner, PORTAL_WHAT_KIND(what), PORTAL_WHAT_BACK(what),
				     PORTAL_WHAT_RUN(what) };
	return le64_load(&e->owner) == owner;
}

static bool is_granted(unsigned kind)
{
	return kind == PORTAL_EXTENT_SEGMENT || kind == PORTAL_EXTENT_HUGE;
}

/* Each extent of a grant says the same, and how far it is from the first. */
static void check_run(struct look *l, uint32_t first, const struct grant *g)
{
	if (g->run == 0 || g->run > l->p->geo.n_extents - first ||
	    (g->kind == PORTAL_EXTENT_SEGMENT && g->run != 1)) {
		report(l, "extent %u: a grant of %u extents", first, g->run);
		return;
	}
	for (uint32_t i = 1; i < g->run; i++) {
		struct grant next;

		if (load_grant(l, first + i, &next) &&
		    (next.owner != g->owner || next.kind != g->kind || next.back != i ||
		     next.run != g->run)) {
			report(l, "extent %u: does not belong to the grant that begins at %u",
			       first + i, first);
			return;
		}
	}
}

/* What the owner wrote at its beginning; nothing yet is fine, what contradicts the grant is not. */
static void check_heap_head(struct look *l, uint32_t first, const struct grant *g)
{
	const struct heap_head *head =
		(const struct heap_head *)(const void *)(l->p->map.base +
							 (size_t)first * PORTAL_EXTENT);
	uint64_t what = le64_load_acquire(&head->what);
	unsigned kind = HEAP_WHAT_KIND(what);
	struct heap_flaw flaw;

	if (HEAP_WHAT_FORMAT(what) != HEAP_WHAT_FORMAT(HEAP_WHAT(0, 0, 0)))
		return; /* not a heap's, or not yet */
	if ((kind == HEAP_HUGE) != (g->kind == PORTAL_EXTENT_HUGE) || HEAP_WHAT_RUN(what) != g->run)
		report(l,
		       "extent %u: its head calls it kind %u of %u extents, the grant kind %u of %u",
		       first, kind, HEAP_WHAT_RUN(what), g->kind, g->run);
	if (le64_load(&head->owner) != g->owner && HEAP_WHAT_STATE(what) == HEAP_LIVE)
		report(l, "extent %u: its head names another owner", first);
	if ((kind == HEAP_FINE || kind == HEAP_COARSE) && g->kind == PORTAL_EXTENT_SEGMENT &&
	    !heap_check(head, kind, &l->census, &flaw))
		report(l, "extent %u, slot %u, block %u: %s", first, flaw.slot, flaw.index,
		       flaw.what);
}

static void count_grant(struct look *l, uint32_t i, const struct grant *g)
{
	uint64_t word = le64_load_acquire(&portal_lease_of(l->p, g->owner)->word);

	l->segments += g->kind == PORTAL_EXTENT_SEGMENT;
	l->huge += g->kind == PORTAL_EXTENT_HUGE;
	if (!portal_owner_valid(g->owner))
		report(l, "extent %u: owner word %#" PRIx64, i, g->owner);
	else if (PORTAL_LEASE_OWNER(word) != g->owner ||
		 PORTAL_LEASE_STATE(word) == PORTAL_LEASE_FREE)
		l->orphans++;
}

static void check_extent(struct look *l, uint32_t i)
{
	struct grant g;

	if (!load_grant(l, i, &g))
		return;
	if (is_granted(g.kind) && g.owner) {
		count_grant(l, i, &g);
		if (g.back == 0) {
			check_run(l, i, &g);
			check_heap_head(l, i, &g);
		} else if (g.back > i || g.back >= g.run) {
			report(l, "extent %u: %u behind the beginning of a grant of %u", i, g.back,
			       g.run);
		}
	} else if (g.kind == PORTAL_EXTENT_FREE) {
		l->free++;
		if (g.owner)
			report(l, "extent %u: free, and owned", i);
	} else if (g.kind == PORTAL_EXTENT_QUARANTINE) {
		l->quarantined++;
	} else if (!is_granted(g.kind)) {
		report(l, "extent %u: kind %u", i, g.kind);
	}
}

/* ---- names ---------------------------------------------------------------------- */

static bool is_owned(const struct look *l, uint64_t owner, uint64_t offset, uint64_t len)
{
	uint32_t last = (uint32_t)((offset + len - 1) / PORTAL_EXTENT);

	for (uint32_t i = (uint32_t)(offset / PORTAL_EXTENT); i <= last; i++) {
		struct grant g;

		if (!load_grant(l, i, &g) || !is_granted(g.kind) || g.owner != owner)
			return false;
	}
	return true;
}

static void check_ring(struct look *l, const struct portal_object *o)
{
	struct ring_flaw flaw;

	l->rings++;
	if (!ring_check(o->ptr, o->len, &flaw) && portal_still(l->p, o) == 0)
		report(l, "ring %s, lane %u: %s", o->name, flaw.lane, flaw.what);
}

static void check_name(struct look *l, uint32_t i)
{
	const struct portal_name *entry =
		(const struct portal_name *)(l->p->map.base + PORTAL_NAMES_OFFSET) + i;
	struct portal_object o, other;
	int r = portal_name_at(l->p, i, &o);

	if (r < 0) {
		if (le32_load(&entry->type) != PORTAL_TYPE_NONE)
			report(l, "name %u: an entry that nobody can read", i);
		return;
	}
	l->names++;
	if (!is_owned(l, portal_owner(o.id, o.id_generation), o.offset, o.len))
		report(l, "name %s: lies outside of what its owner has", o.name);
	else if (o.type == PORTAL_OBJECT_RING)
		check_ring(l, &o);
	if (portal_lookup(l->p, o.name, PORTAL_OBJECT_ANY, &other) == 0 && other.index != i)
		report(l, "name %s: is there twice", o.name);
}

/* ---- looking ----------------------------------------------------------------------- */

static void look(struct look *l)
{
	forget(l);
	*l = (struct look){ .p = l->p };
	check_label(l);
	check_live(l);
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		check_lease(l, i);
	for (uint32_t i = 2; i < l->p->geo.n_extents; i++)
		check_extent(l, i);
	for (uint32_t i = 0; i < PORTAL_NAMES; i++)
		check_name(l, i);
}

static bool has(const struct look *l, const char *finding)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->finding[i], finding) == 0)
			return true;
	return false;
}

/* Drop what the other look did not see. */
static void keep_common(struct look *l, const struct look *other)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < l->n; i++) {
		if (has(other, l->finding[i]))
			l->finding[kept++] = l->finding[i];
		else
			free(l->finding[i]);
	}
	l->n = kept;
}

static void look_until_sure(struct look *l)
{
	struct look before = { .p = l->p };
	struct timespec pause = timespec_of_ns(PAUSE_NS);

	look(l);
	for (unsigned i = 1; i < LOOKS && l->n > 0; i++) {
		forget(&before);
		before = *l;
		*l = (struct look){ .p = before.p };
		nanosleep(&pause, NULL);
		look(l);
		keep_common(l, &before);
	}
	forget(&before);
}

static void print(const struct tool *tool, const struct look *l)
{
	if (tool->json) {
		printf("{\"problems\":[");
		for (unsigned i = 0; i < l->n; i++) {
			fputs(i ? "," : "", stdout);
			tool_json_string(stdout, l->finding[i]);
		}
		printf("],\"free\":%u,\"segments\":%u,\"huge\":%u,\"quarantined\":%u,\"orphans\":%u,\"names\":%u,\"rings\":%u,\"clients\":%u,"
		       "\"blocks\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"handed_over\":%" PRIu64
		       ",\"uncollected\":%" PRIu64 "}\n",
		       l->free, l->segments, l->huge, l->quarantined, l->orphans, l->names,
		       l->rings, l->live, l->census.live, l->census.bytes, l->census.handed_over,
		       l->census.freed);
		return;
	}
	for (unsigned i = 0; i < l->n; i++)
		printf("%s\n", l->finding[i]);
	printf("%s: %u clients, %u names, %u rings; extents: %u free, %u of blocks, %u huge, %u orphans, %u quarantined; "
	       "%" PRIu64 " blocks of %" PRIu64 " bytes, %" PRIu64 " handed over, %" PRIu64
	       " not collected\n",
	       l->n ? "PROBLEMS" : "sound", l->live, l->names, l->rings, l->free, l->segments,
	       l->huge, l->orphans, l->quarantined, l->census.live, l->census.bytes,
	       l->census.handed_over, l->census.freed);
}

static int run_check(struct tool *tool, int argc, char **argv)
{
	struct look l = { 0 };
	struct portal *p;
	int r;

	(void)argv;
	if (argc != 1)
		return tool_misuse(tool);
	tool->options.flags |= PORTAL_ATTACH_READ_ONLY;
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	l.p = p;
	look_until_sure(&l);
	print(tool, &l);
	r = l.n ? TOOL_FAILED : TOOL_OK;
	forget(&l);
	portal_detach(p);
	return r;
}

const struct tool_command tool_check = { "check", "",
					 "does the arena hold together?  Changes nothing",
					 run_check };
