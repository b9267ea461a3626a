/* SPDX-License-Identifier: MIT */
#include "run/state_guest.h"

#include <string.h>

#include "err.h"
#include "model/lab.h"
#include "run/json.h"

static const char *const stage_words[GUEST_STAGES] = {
	[GUEST_ATTACHING] = "attaching",
	[GUEST_ATTACHED] = "attached",
	[GUEST_DETACHING] = "detaching",
	[GUEST_FAILED] = "failed",
};

const char *guest_stage_word(enum guest_stage stage)
{
	return stage_words[stage];
}

static void nic_free(void *p)
{
	struct guest_nic *n = p;

	g_free(n->network);
	g_free(n->port);
	g_free(n->path);
	g_free(n->mac);
	g_free(n->ip);
	g_free(n->state);
	g_free(n);
}

static void portal_free(void *p)
{
	struct guest_portal *portal = p;

	g_free(portal->portal);
	g_free(portal->door);
	g_free(portal);
}

struct state_guest *state_guest_new(const char *name, const char *qmp)
{
	struct state_guest *g = g_new0(struct state_guest, 1);

	g->name = g_strdup(name);
	g->qmp = g_strdup(qmp);
	g->nics = g_ptr_array_new_with_free_func(nic_free);
	g->portals = g_ptr_array_new_with_free_func(portal_free);
	return g;
}

void state_guest_free(struct state_guest *g)
{
	if (!g)
		return;
	g_ptr_array_unref(g->nics);
	g_ptr_array_unref(g->portals);
	json_object_put(g->steps);
	g_free(g->name);
	g_free(g->qmp);
	g_free(g->reason);
	g_free(g->uds_path);
	g_free(g->sockets);
	g_free(g);
}

struct guest_nic *state_guest_add_nic(struct state_guest *g, const char *network, const char *port,
				      const char *path)
{
	struct guest_nic *n = g_new0(struct guest_nic, 1);

	n->network = g_strdup(network);
	n->port = g_strdup(port);
	n->path = g_strdup(path);
	g_ptr_array_add(g->nics, n);
	return n;
}

struct guest_portal *state_guest_add_portal(struct state_guest *g, const char *portal,
					    const char *door)
{
	struct guest_portal *p = g_new0(struct guest_portal, 1);

	p->portal = g_strdup(portal);
	p->door = g_strdup(door);
	g_ptr_array_add(g->portals, p);
	return p;
}

struct state_guest *state_guest_copy(const struct state_guest *g)
{
	auto_json o = state_guest_to_json(g);
	struct state_guest *copy = state_guest_from_json(o);

	copy->sockets = g_strdup(g->sockets);
	for (guint i = 0; i < g->nics->len; i++)
		((struct guest_nic *)copy->nics->pdata[i])->state =
			g_strdup(((const struct guest_nic *)g->nics->pdata[i])->state);
	return copy;
}

/* --- links -------------------------------------------------------------------------------------------------------- */

/* What there is, for a message: "web.0 (lan), web.1 (wan)". */
static gboolean no_card(const struct state_guest *g, const char *what, GError **error)
{
	g_autoptr(GString) list = g_string_new(NULL);

	for (guint i = 0; i < g->nics->len; i++) {
		const struct guest_nic *n = g->nics->pdata[i];

		g_string_append_printf(list, "%s%s (%s)", i > 0 ? ", " : "", n->port, n->network);
	}
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "guest %s has %s%s%s", g->name, what,
		    list->len ? ": " : "", list->str);
	return FALSE;
}

/* Whether a LINK that begins with its guest's name means that card. */
static bool is_meant(const struct guest_nic *n, const char *text, size_t name_len)
{
	if (text[name_len] == ':')
		return strcmp(n->network, text + name_len + 1) == 0;
	return !text[name_len] || strcmp(n->port, text) == 0;
}

static gboolean find_card(const struct state_guest *g, const struct lab *lab, const char *text,
			  struct link_ref *ret, GError **error)
{
	static const struct link nothing_said;
	unsigned n_found = 0;

	for (guint i = 0; i < g->nics->len; i++) {
		const struct guest_nic *n = g->nics->pdata[i];
		const struct network *network = lab_find_network(lab, n->network);

		if (!network || !is_meant(n, text, strlen(g->name)))
			continue;
		*ret = (struct link_ref){
			.network = network, .port = n->port, .link = &nothing_said, .guest = g->name
		};
		n_found++;
	}
	if (n_found == 1)
		return TRUE;
	return no_card(g, n_found ? "several cards, name one of them" : "no card there", error);
}

gboolean state_guest_find_link(const GPtrArray *guests, const struct lab *lab, const char *text,
			       struct link_ref *ret, GError **error)
{
	size_t len = strcspn(text, ".:");
	struct link_ref found;

	for (guint i = 0; i < guests->len; i++) {
		const struct state_guest *g = guests->pdata[i];

		if (strlen(g->name) != len || strncmp(g->name, text, len) != 0)
			continue;
		if (!find_card(g, lab, text, &found, error))
			return FALSE;
		*ret = found;
		return TRUE;
	}
	return FALSE;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static struct json_object *nics_to_json(const struct state_guest *g)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < g->nics->len; i++) {
		const struct guest_nic *n = g->nics->pdata[i];
		struct json_object *o = json_object_new_object();

		json_put_str(o, "network", n->network);
		json_put_str(o, "ip", n->ip);
		json_put_str(o, "mac", n->mac);
		json_put_str(o, "port", n->port);
		json_put_str(o, "socket-path", n->path);
		if (n->shows_down)
			json_put_bool(o, "down", true);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *portals_to_json(const struct state_guest *g)
{
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < g->portals->len; i++) {
		const struct guest_portal *p = g->portals->pdata[i];
		struct json_object *o = json_object_new_object();

		json_put_str(o, "portal", p->portal);
		json_put_str(o, "door", p->door);
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *state_guest_to_json(const struct state_guest *g)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "name", g->name);
	json_put_str(o, "stage", guest_stage_word(g->stage));
	json_put_str(o, "qmp-socket", g->qmp);
	if (g->id.pid) {
		json_put_int(o, "pid", g->id.pid);
		json_put_int(o, "start", (int64_t)g->id.start);
	}
	json_put_str(o, "reason", g->reason);
	json_object_object_add(o, "nics", nics_to_json(g));
	if (g->cid) {
		struct json_object *sockets = json_object_new_object();

		json_put_int(sockets, "cid", g->cid);
		json_put_str(sockets, "uds-path", g->uds_path);
		json_object_object_add(o, "sockets", sockets);
	}
	json_object_object_add(o, "portals", portals_to_json(g));
	if (g->steps)
		json_object_object_add(o, "steps", json_object_get(g->steps));
	return o;
}

static bool read_nics(struct state_guest *g, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		struct guest_nic *n;

		if (!json_str(o, "network") || !json_str(o, "port") || !json_str(o, "socket-path"))
			return false;
		n = state_guest_add_nic(g, json_str(o, "network"), json_str(o, "port"),
					json_str(o, "socket-path"));
		n->mac = g_strdup(json_str(o, "mac"));
		n->ip = g_strdup(json_str(o, "ip"));
		n->down = n->shows_down = json_flag(o, "down", false);
	}
	return true;
}

static bool read_portals(struct state_guest *g, struct json_object *list)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		if (!json_str(o, "portal") || !json_str(o, "door"))
			return false;
		state_guest_add_portal(g, json_str(o, "portal"), json_str(o, "door"));
	}
	return true;
}

static void read_rest(struct state_guest *g, struct json_object *o)
{
	struct json_object *sockets = json_member(o, "sockets", json_type_object);
	int64_t pid = json_int(o, "pid", 0), start = json_int(o, "start", 0);

	if (pid > 0 && pid <= G_MAXINT32 && start > 0)
		g->id = (struct proc_id){ (pid_t)pid, (uint64_t)start };
	g->reason = g_strdup(json_str(o, "reason"));
	g->cid = (uint32_t)json_int(sockets, "cid", 0);
	g->uds_path = g_strdup(json_str(sockets, "uds-path"));
	g->steps = json_object_get(json_member(o, "steps", json_type_array));
}

struct state_guest *state_guest_from_json(struct json_object *o)
{
	const char *name = json_str(o, "name"), *qmp = json_str(o, "qmp-socket");
	const char *stage = json_str(o, "stage");
	struct state_guest *g;

	if (!name || !qmp || !stage)
		return NULL;
	g = state_guest_new(name, qmp);
	while (g->stage < GUEST_STAGES && strcmp(stage_words[g->stage], stage) != 0)
		g->stage++;
	read_rest(g, o);
	if (g->stage < GUEST_STAGES && read_nics(g, json_member(o, "nics", json_type_array)) &&
	    read_portals(g, json_member(o, "portals", json_type_array)))
		return g;
	state_guest_free(g);
	return NULL;
}

struct json_object *state_guest_report(const struct state_guest *g)
{
	struct json_object *o = state_guest_to_json(g);
	struct json_object *nics = json_member(o, "nics", json_type_array);
	struct json_object *sockets = json_member(o, "sockets", json_type_object);

	json_object_object_del(o, "start");
	json_object_object_del(o, "steps");
	for (guint i = 0; i < g->nics->len; i++) {
		const struct guest_nic *n = g->nics->pdata[i];
		struct json_object *nic = json_object_array_get_idx(nics, i);

		json_object_object_del(nic, "down");
		json_put_str(nic, "state", n->state ? n->state : "unknown");
	}
	if (sockets)
		json_put_str(sockets, "state", g->sockets ? g->sockets : "unknown");
	return o;
}
