/* SPDX-License-Identifier: MIT */
#include "ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend.h"
#include "base.h"
#include "leases_impl.h"
#include "portald.h"

static struct portald *portald_of(const struct control_call *call)
{
	struct backend *b = control_context(call);

	return b->device;
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

static const char *mode_name(enum portal_mode mode)
{
	return mode == PORTAL_READ_WRITE ? "rw" : "ro";
}

/* ---- info ---- */

static struct json_object *quiesce_json(const struct quiesce *q)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "epoch", q->epoch);
	add_string(o, "state", leases_quiesce_name(q->state));
	add_number(o, "waiting", q->n_waiting);
	add_number(o, "laggards", q->n_laggards);
	add_number(o, "left-ms", quiesce_left_ms(q));
	return o;
}

static struct json_object *client_json(const struct leases_client *c)
{
	struct json_object *o = json_object_new_object();

	add_string(o, "name", c->name);
	add_string(o, "socket-path", c->socket_path);
	add_string(o, "mode", mode_name(c->mode));
	add_number(o, "quota", (uint64_t)c->quota * PORTAL_EXTENT);
	add_number(o, "used", (uint64_t)c->n_extents * PORTAL_EXTENT);
	add_number(o, "leases", c->n_leases);
	add_string(o, "state", c->n_leases ? "connected" : "listening");
	return o;
}

static struct json_object *clients_json(const struct leases *l)
{
	struct json_object *clients = json_object_new_array();

	for (uint32_t i = 0; i < l->n_clients; i++)
		json_object_array_add(clients, client_json(l->client[i]));
	return clients;
}

static void add_uuid(struct json_object *o, const uint8_t u[16])
{
	char text[37];

	(void)snprintf(text, sizeof(text),
		       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
		       u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12],
		       u[13], u[14], u[15]);
	add_string(o, "uuid", text);
}

static struct json_object *ivshmem_json(const struct ivshmem *server)
{
	const struct ivshmem_stats *stats = ivshmem_stats(server);
	struct json_object *o = json_object_new_object();

	add_number(o, "peers", stats->peers);
	add_number(o, "accepted", stats->accepted);
	add_number(o, "refused", stats->refused);
	add_number(o, "dropped", stats->dropped);
	return o;
}

static struct json_object *pmem_json(const struct pmem *pmem)
{
	const struct pmem_stats *stats = pmem_stats(pmem);
	struct json_object *o = json_object_new_object();

	add_string(o, "name", pmem_name(pmem));
	add_string(o, "mode", pmem_is_writable(pmem) ? "rw" : "ro");
	add_string(o, "state", pmem_state(pmem));
	add_bool(o, "mapped", pmem_is_mapped(pmem));
	add_number(o, "requests", stats->requests);
	add_number(o, "flushes", stats->flushes);
	add_number(o, "failed", stats->failed);
	add_number(o, "bad", stats->bad);
	return o;
}

static void add_doors(struct json_object *o, const struct doors *doors)
{
	struct json_object *array;

	if (doors->ivshmem)
		json_object_object_add(o, "ivshmem", ivshmem_json(doors->ivshmem));
	if (doors->n_pmem == 0)
		return;
	array = json_object_new_array();
	for (unsigned i = 0; i < doors->n_pmem; i++)
		json_object_array_add(array, pmem_json(doors->pmem[i]));
	json_object_object_add(o, "pmem", array);
}

static int info(struct control_call *call, struct json_object *params,
		struct json_object **ret_result)
{
	const struct portald *p = portald_of(call);
	const struct leases *l = &p->leases;
	const struct portal_live *live = arena_live(&p->arena);
	struct json_object *o = json_object_new_object();

	add_string(o, "name", p->arena.head.name);
	add_uuid(o, p->arena.head.uuid);
	add_number(o, "size", p->arena.file_size);
	add_number(o, "arena-size", p->arena.size);
	add_number(o, "extents", p->arena.n_extents);
	add_number(o, "free", l->extents.n_free);
	add_number(o, "quarantined", l->extents.n_quarantined);
	add_number(o, "orphans", l->n_orphans);
	add_number(o, "generation", le64_load(&live->generation));
	add_number(o, "incarnation", le64_load(&live->incarnation));
	add_bool(o, "durable", p->flush.durable);
	add_number(o, "flush-error", (uint64_t)-p->flush.error);
	add_number(o, "vsock-port", le32_get(p->arena.head.vsock_port));
	add_number(o, "leases", l->n_live);
	add_number(o, "names", l->names.n_used);
	json_object_object_add(o, "quiesce", quiesce_json(&l->quiesce));
	json_object_object_add(o, "clients", clients_json(l));
	add_doors(o, &p->doors);
	*ret_result = o;
	return 0;
}

/* ---- clients ---- */

static int client_list(struct control_call *call, struct json_object *params,
		       struct json_object **ret_result)
{
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "clients", clients_json(&portald_of(call)->leases));
	return 0;
}

static int client_add(struct control_call *call, struct json_object *params,
		      struct json_object **ret_result)
{
	struct portald *p = portald_of(call);
	struct config_client c;
	char why[CONFIG_WHY_MAX];
	int r;

	if (config_client_read(params, &c, why) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s", why);
	r = leases_add_client(&p->leases, &c.lease);
	if (r == -EEXIST)
		return control_error(call, CONTROL_ERROR_EXISTS, "there is a client \"%s\"",
				     c.lease.name);
	if (r == -ENOSPC)
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %u clients",
				     LEASES_CLIENTS_MAX);
	if (r < 0)
		return control_error(call, CONTROL_ERROR_FAILED, "%s: %s", c.lease.socket_path,
				     strerror(-r));
	r = doors_add_client(&p->doors, &c);
	if (r < 0) {
		(void)leases_remove_client(&p->leases, c.lease.name);
		return control_error(call, CONTROL_ERROR_FAILED, "%s: %s", c.pmem_path,
				     strerror(-r));
	}
	return 0;
}

static int client_remove(struct control_call *call, struct json_object *params,
			 struct json_object **ret_result)
{
	struct portald *p = portald_of(call);
	const char *name = NULL;
	int r = control_string(call, params, "name", &name);

	if (r < 0)
		return r;
	if (leases_remove_client(&p->leases, name) < 0)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no client \"%s\"", name);
	doors_remove_client(&p->doors, name);
	control_notify_state(p->backend->control, "client", name, "removed");
	return 0;
}

/* ---- leases ---- */

static uint32_t count_names(const struct leases *l, uint64_t owner)
{
	uint32_t n = 0;

	for (uint32_t i = 0; names_next(&l->names, owner, &i); i++)
		n++;
	return n;
}

static struct json_object *lease_json(const struct lease *lease)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "id", lease_id(lease));
	add_number(o, "generation", portal_owner_generation(lease->owner));
	add_string(o, "client", lease->client_name);
	add_string(o, "name", lease->name);
	add_string(o, "state", leases_state_name(lease->state));
	add_string(o, "mode", lease->client ? mode_name(lease->client->mode) : "rw");
	add_number(o, "extents", lease->n_extents);
	if (lease->pid)
		add_number(o, "pid", (uint64_t)lease->pid);
	add_number(o, "names", count_names(lease->leases, lease->owner));
	return o;
}

static int leases(struct control_call *call, struct json_object *params,
		  struct json_object **ret_result)
{
	const struct leases *l = &portald_of(call)->leases;
	struct json_object *array = json_object_new_array();

	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		if (l->lease[i].state != PORTAL_LEASE_FREE)
			json_object_array_add(array, lease_json(&l->lease[i]));
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "leases", array);
	return 0;
}

static int revoke(struct control_call *call, struct json_object *params,
		  struct json_object **ret_result)
{
	uint64_t id = 0;
	int r = control_uint(call, params, "lease", PORTAL_LEASES - 1, &id);

	if (r == 0 && leases_revoke(&portald_of(call)->leases, (uint32_t)id) < 0)
		r = control_error(call, CONTROL_ERROR_NOT_FOUND, "lease %" PRIu64 " is not held",
				  id);
	return r;
}

void ctl_lease_changed(struct control *control, const struct lease *lease)
{
	if (control_has_subscribers(control))
		control_notify(control, "lease", lease_json(lease));
}

/* ---- what there is ---- */

static int names(struct control_call *call, struct json_object *params,
		 struct json_object **ret_result)
{
	const struct names *n = &portald_of(call)->leases.names;
	struct json_object *array = json_object_new_array();

	for (uint32_t i = 0; names_next(n, 0, &i); i++) {
		const struct name *e = &n->entry[i];
		struct json_object *o = json_object_new_object();

		add_string(o, "name", e->name);
		add_number(o, "type", e->type);
		add_number(o, "offset", e->offset);
		add_number(o, "length", e->len);
		add_number(o, "lease", portal_owner_id(e->owner));
		add_number(o, "generation", e->generation);
		json_object_array_add(array, o);
	}
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "names", array);
	return 0;
}

static int extents(struct control_call *call, struct json_object *params,
		   struct json_object **ret_result)
{
	const struct leases *l = &portald_of(call)->leases;
	struct json_object *array;
	uint64_t only = PORTAL_LEASES;
	int r = control_uint(call, params, "lease", PORTAL_LEASES - 1, &only);

	if (r < 0)
		return r;
	array = json_object_new_array();
	for (uint32_t at = 0; extents_find(&l->extents, 0, &at); at += l->extents.e[at].run) {
		const struct extent *e = &l->extents.e[at];
		struct json_object *o;

		if (only != PORTAL_LEASES && portal_owner_id(e->owner) != only)
			continue;
		o = json_object_new_object();
		add_number(o, "first", at);
		add_number(o, "count", e->run);
		add_string(o, "kind", e->kind == PORTAL_EXTENT_SEGMENT ? "segment" : "huge");
		add_number(o, "lease", portal_owner_id(e->owner));
		add_bool(o, "alive", leases_alive(l, e->owner));
		json_object_array_add(array, o);
	}
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "grants", array);
	return 0;
}

/* ---- rest ---- */

static int quiesce(struct control_call *call, struct json_object *params,
		   struct json_object **ret_result)
{
	struct leases *l = &portald_of(call)->leases;
	uint64_t deadline = QUIESCE_DEADLINE_MS, hold = 0;
	int r = control_uint(call, params, "deadline-ms", UINT32_MAX, &deadline);

	if (r == 0)
		r = control_uint(call, params, "hold-ms", UINT32_MAX, &hold);
	if (r < 0)
		return r;
	if (leases_quiesce(l, deadline, hold) < 0)
		return control_error(call, CONTROL_ERROR_EXISTS, "the arena is %s already",
				     leases_quiesce_name(l->quiesce.state));
	*ret_result = quiesce_json(&l->quiesce);
	return 0;
}

static int thaw(struct control_call *call, struct json_object *params,
		struct json_object **ret_result)
{
	if (quiesce_thaw(&portald_of(call)->leases.quiesce) < 0)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "the arena is running");
	return 0;
}

void ctl_quiesce_changed(struct control *control, const struct quiesce *q)
{
	if (control_has_subscribers(control))
		control_notify(control, "quiesce", quiesce_json(q));
}

/* ---- the disk ---- */

static void on_flushed(struct flush_request *request, int status)
{
	struct portald *p = container_of(request, struct portald, ctl_flush);
	struct json_object *o;

	if (!control_has_subscribers(p->backend->control))
		return;
	o = json_object_new_object();
	add_number(o, "error", (uint64_t)-status);
	control_notify(p->backend->control, "flush", o);
}

static int flush(struct control_call *call, struct json_object *params,
		 struct json_object **ret_result)
{
	struct portald *p = portald_of(call);

	if (p->flush.error)
		return control_error(call, CONTROL_ERROR_FAILED, "a flush has failed before: %s",
				     strerror(-p->flush.error));
	flush_cancel(&p->flush, &p->ctl_flush); /* the later one says more */
	flush_request(&p->flush, &p->ctl_flush, on_flushed);
	return 0;
}

static int stats(struct control_call *call, struct json_object *params,
		 struct json_object **ret_result)
{
	const struct portald *p = portald_of(call);
	struct json_object *o = json_object_new_object();

#define X(name, text) add_number(o, #name, p->leases.stats.name);
	LEASES_COUNTERS(X)
#undef X
	add_number(o, "flush_requests", p->flush.n_requests);
	add_number(o, "flushes", p->flush.n_syncs);
	*ret_result = o;
	return 0;
}

const struct control_method ctl_methods[] = {
	{ "info", info, "" },
	{ "client.list", client_list, "" },
	{ "client.add", client_add,
	  "name,socket-path,mode?,quota?,leases?,linger-ms?,quiesce?,pmem-path?" },
	{ "client.remove", client_remove, "name" },
	{ "leases", leases, "" },
	{ "names", names, "" },
	{ "extents", extents, "lease?" },
	{ "quiesce", quiesce, "deadline-ms?,hold-ms?" },
	{ "thaw", thaw, "" },
	{ "revoke", revoke, "lease" },
	{ "flush", flush, "" },
	{ "stats", stats, "" },
};
const unsigned ctl_n_methods = array_size(ctl_methods);
