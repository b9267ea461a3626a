/* SPDX-License-Identifier: MIT */
/* What the files of the planner share: plan.c (networks, sockets, VMs, and the plan as a whole), plan_portal.c (portals),
 * settings.c (what VMs run with) and result.c (what comes of a plan).  Nobody else includes it. */
#ifndef PLAN_PLAN_IMPL_H
#define PLAN_PLAN_IMPL_H

#include <glib.h>
#include <stdbool.h>

#include "plan/observed.h"
#include "plan/plan.h"

/* What happens to a VM of the lab. */
enum fate {
	FATE_START,   /* it does not run */
	FATE_KEEP,    /* it runs as it should */
	FATE_RESTART, /* it runs with other settings, and restarting was asked for */
	FATE_HELD,    /* it runs with other settings and is left alone */
};

/* A port that is to exist: strings borrowed from the lab or from struct planner.texts. */
struct wanted_port {
	const char *network;
	const char *name;
};

/* Step numbers in the tables are stored as n + 1, so that "not there" (NULL) and step 0 differ.  Keys that are made up here
 * ("network/port") belong to texts. */
struct planner {
	const struct lab *lab; /* NULL: nothing is wanted */
	const struct observed *observed;
	struct plan *plan;
	enum fate *fates;              /* by vm->index */
	GHashTable *running;           /* VM name -> struct observed_vm */
	GHashTable *nets_observed;     /* set of names */
	GHashTable *nets_wanted;       /* set of names */
	GHashTable *ports_observed;    /* set of "network/port" */
	GHashTable *ports_wanted;      /* set of "network/port" */
	GHashTable *sockets_observed;  /* set of VM names */
	GHashTable *sockets_wanted;    /* set of VM names */
	GHashTable *portals_observed;  /* name -> settings; those that are made anew leave it */
	GHashTable *portals_wanted;    /* set of names */
	GHashTable *accesses_observed; /* set of "portal/VM" */
	GHashTable *accesses_wanted;   /* the same */
	GArray *ports;                 /* of struct wanted_port, in the order of the lab */
	GHashTable *done_by
		[STEP_KIND_COUNT]; /* subject ("network/port" for STEP_PORT_ADD, "portal/VM" for STEP_PORTAL_ADD and _REMOVE) -> step of that kind */
	GHashTable *
		freed_by; /* port -> step that frees its socket, which is the same file in every network */
	GStringChunk *texts;
};

static inline struct step *add_step(struct planner *p, enum step_kind kind, const char *subject,
				    char *reason_owned)
{
	struct step *s = g_new0(struct step, 1);

	s->kind = kind;
	s->subject = g_strdup(subject);
	s->reason = reason_owned;
	s->index = p->plan->steps->len;
	s->deps = g_array_new(FALSE, FALSE, sizeof(unsigned));
	g_ptr_array_add(p->plan->steps, s);
	p->plan->n_todo++;
	return s;
}

/* Of strings that outlive it. */
static inline GHashTable *plan_set_new(void)
{
	return g_hash_table_new(g_str_hash, g_str_equal);
}

/* Into sets and tables; key must outlive the planner.  False: it was there. */
static inline bool put(GHashTable *set, const char *key)
{
	return g_hash_table_add(set, (char *)(uintptr_t)key);
}

static inline void put_step(GHashTable *table, const char *key, const struct step *step)
{
	g_hash_table_insert(table, (char *)(uintptr_t)key, GUINT_TO_POINTER(step->index + 1));
}

static inline bool contains(GHashTable *table, const char *key)
{
	return g_hash_table_contains(table, key);
}

/* step comes after the step that table has for key, if it has one. */
static inline void depend(struct step *step, GHashTable *table, const char *key)
{
	unsigned n = GPOINTER_TO_UINT(g_hash_table_lookup(table, key));

	if (n == 0)
		return;
	n--;
	g_assert(n < step->index);
	g_array_append_val(step->deps, n);
}

/* "network/port", "portal/VM": kept until the planner ends; equal ones are one string. */
static inline const char *port_key(struct planner *p, const char *network, const char *port)
{
	g_autofree char *key = g_strconcat(network, "/", port, NULL);

	return g_string_chunk_insert_const(p->texts, key);
}

/* --- settings.c ----------------------------------------------------------------------------------------------------- */

/* "memory changed", from texts of lines "key value"; g_free().  NULL: nothing did. */
char *plan_describe_change(const char *before, const char *after);

/* The networks that the NICs of a VM's settings are on, by NIC index: borrowed from the lines. */
GPtrArray *plan_settings_networks(char **lines);

/* The lines of a VM's settings that its sockets are made from; g_free(). */
char *plan_settings_sockets(const char *settings);

/* --- plan_portal.c: in the order in which they are called ------------------------------------------------------------- */

void plan_find_portals(struct planner *p);
/* Of a VM of the lab that is left alone, and of one that is not. */
void plan_want_held_accesses(struct planner *p, const struct vm *vm);
void plan_want_accesses(struct planner *p, const struct vm *vm);
/* After VM stops; then what comes, before VM starts; then what is only told. */
void plan_remove_accesses(struct planner *p);
void plan_stop_portals(struct planner *p);
void plan_start_portals(struct planner *p);
void plan_add_accesses(struct planner *p);
void plan_tell_held_portals(struct planner *p);
/* What of portals is left and comes, for plan_result(). */
void plan_result_portals(const struct plan *plan, const struct lab *lab,
			 const struct observed *observed, struct observed *result);

#endif
