/* SPDX-License-Identifier: MIT */
#include "plan/observed.h"

#include <json-c/json.h>
#include <string.h>

#include "err.h"

static void port_free(void *data)
{
	struct observed_port *p = data;

	g_free(p->name);
	g_free(p->network);
	g_free(p);
}

static void vm_free(void *data)
{
	struct observed_vm *vm = data;

	g_free(vm->name);
	g_free(vm->settings);
	g_free(vm);
}

static void portal_free(void *data)
{
	struct observed_portal *p = data;

	g_free(p->name);
	g_free(p->settings);
	g_ptr_array_unref(p->vms);
	g_free(p);
}

struct observed *observed_new(void)
{
	struct observed *o = g_new0(struct observed, 1);

	o->networks = g_ptr_array_new_with_free_func(g_free);
	o->switches = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	o->ports = g_ptr_array_new_with_free_func(port_free);
	o->vms = g_ptr_array_new_with_free_func(vm_free);
	o->sockets_of = g_ptr_array_new_with_free_func(g_free);
	o->portals = g_ptr_array_new_with_free_func(portal_free);
	return o;
}

void observed_free(struct observed *observed)
{
	if (!observed)
		return;
	g_ptr_array_unref(observed->networks);
	g_hash_table_unref(observed->switches);
	g_ptr_array_unref(observed->ports);
	g_ptr_array_unref(observed->vms);
	g_ptr_array_unref(observed->sockets_of);
	g_ptr_array_unref(observed->portals);
	g_free(observed);
}

void observed_add_network(struct observed *observed, const char *network)
{
	g_ptr_array_add(observed->networks, g_strdup(network));
}

void observed_add_settings(struct observed *observed, const char *network, const char *settings)
{
	g_hash_table_replace(observed->switches, g_strdup(network), g_strdup(settings));
}

void observed_add_port(struct observed *observed, const char *network, const char *port)
{
	struct observed_port *p = g_new0(struct observed_port, 1);

	p->name = g_strdup(port);
	p->network = g_strdup(network);
	g_ptr_array_add(observed->ports, p);
}

void observed_add_sockets_of(struct observed *observed, const char *vm)
{
	g_ptr_array_add(observed->sockets_of, g_strdup(vm));
}

void observed_add_vm(struct observed *observed, const char *vm, const char *settings)
{
	struct observed_vm *v = g_new0(struct observed_vm, 1);

	v->name = g_strdup(vm);
	v->settings = g_strdup(settings);
	g_ptr_array_add(observed->vms, v);
}

struct observed_portal *observed_add_portal(struct observed *observed, const char *portal,
					    const char *settings)
{
	struct observed_portal *p = g_new0(struct observed_portal, 1);

	p->name = g_strdup(portal);
	p->settings = g_strdup(settings);
	p->vms = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(observed->portals, p);
	return p;
}

struct observed_portal *observed_find_portal(const struct observed *observed, const char *portal)
{
	for (unsigned i = 0; i < observed->portals->len; i++) {
		struct observed_portal *p = observed->portals->pdata[i];

		if (strcmp(p->name, portal) == 0)
			return p;
	}
	return NULL;
}

static struct json_object *names_to_json(const GPtrArray *names)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < names->len; i++)
		json_object_array_add(list, json_object_new_string(names->pdata[i]));
	return list;
}

static struct json_object *switches_to_json(const struct observed *observed)
{
	struct json_object *json = json_object_new_object();

	for (unsigned i = 0; i < observed->networks->len; i++) {
		const char *name = observed->networks->pdata[i];
		const char *settings = g_hash_table_lookup(observed->switches, name);

		if (settings)
			json_object_object_add(json, name, json_object_new_string(settings));
	}
	return json;
}

static struct json_object *portals_to_json(const struct observed *observed)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < observed->portals->len; i++) {
		const struct observed_portal *p = observed->portals->pdata[i];
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(p->name));
		json_object_object_add(o, "settings", json_object_new_string(p->settings));
		json_object_object_add(o, "vms", names_to_json(p->vms));
		json_object_array_add(list, o);
	}
	return list;
}

struct json_object *observed_to_json(const struct observed *observed)
{
	struct json_object *json = json_object_new_object();
	struct json_object *ports = json_object_new_array();
	struct json_object *vms = json_object_new_array();
	struct json_object *o;

	for (unsigned i = 0; i < observed->ports->len; i++) {
		const struct observed_port *p = observed->ports->pdata[i];

		o = json_object_new_object();
		json_object_object_add(o, "network", json_object_new_string(p->network));
		json_object_object_add(o, "name", json_object_new_string(p->name));
		json_object_array_add(ports, o);
	}
	for (unsigned i = 0; i < observed->vms->len; i++) {
		const struct observed_vm *vm = observed->vms->pdata[i];

		o = json_object_new_object();
		json_object_object_add(o, "name", json_object_new_string(vm->name));
		json_object_object_add(o, "settings", json_object_new_string(vm->settings));
		json_object_array_add(vms, o);
	}
	json_object_object_add(json, "networks", names_to_json(observed->networks));
	json_object_object_add(json, "switches", switches_to_json(observed));
	json_object_object_add(json, "ports", ports);
	json_object_object_add(json, "vms", vms);
	json_object_object_add(json, "portals", portals_to_json(observed));
	json_object_object_add(json, "sockets",
			       observed->sockets ? names_to_json(observed->sockets_of) : NULL);
	return json;
}

/* The array called key, or NULL. */
static struct json_object *get_array(struct json_object *json, const char *key)
{
	struct json_object *a;

	if (!json_object_object_get_ex(json, key, &a) || !json_object_is_type(a, json_type_array))
		return NULL;
	return a;
}

/* The string called key, owned by json, or NULL. */
static const char *get_string(struct json_object *json, const char *key)
{
	struct json_object *s;

	if (!json_object_object_get_ex(json, key, &s) || !json_object_is_type(s, json_type_string))
		return NULL;
	return json_object_get_string(s);
}

static gboolean read_names(GPtrArray *names, struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);

		if (!json_object_is_type(o, json_type_string))
			return FALSE;
		g_ptr_array_add(names, g_strdup(json_object_get_string(o)));
	}
	return TRUE;
}

/* null, or the VMs. */
static gboolean read_sockets(struct observed *observed, struct json_object *json)
{
	struct json_object *o;

	if (!json_object_object_get_ex(json, "sockets", &o))
		return FALSE;
	observed->sockets = o != NULL;
	return !o ||
	       (json_object_is_type(o, json_type_array) && read_names(observed->sockets_of, o));
}

static gboolean read_switches(struct observed *observed, struct json_object *json)
{
	struct json_object *switches;

	if (!json_object_object_get_ex(json, "switches", &switches) ||
	    !json_object_is_type(switches, json_type_object))
		return FALSE;
	json_object_object_foreach(switches, name, settings)
	{
		if (!json_object_is_type(settings, json_type_string))
			return FALSE;
		observed_add_settings(observed, name, json_object_get_string(settings));
	}
	return TRUE;
}

static gboolean read_ports(struct observed *observed, struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);
		const char *network = get_string(o, "network"), *name = get_string(o, "name");

		if (!network || !name)
			return FALSE;
		observed_add_port(observed, network, name);
	}
	return TRUE;
}

static gboolean read_vms(struct observed *observed, struct json_object *array)
{
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);
		const char *name = get_string(o, "name"), *settings = get_string(o, "settings");

		if (!name || !settings)
			return FALSE;
		observed_add_vm(observed, name, settings);
	}
	return TRUE;
}

/* A supervisor of an earlier version tells of none. */
static gboolean read_portals(struct observed *observed, struct json_object *array)
{
	for (size_t i = 0; array && i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);
		const char *name = get_string(o, "name"), *settings = get_string(o, "settings");
		struct json_object *vms = get_array(o, "vms");

		if (!name || !settings || !vms ||
		    !read_names(observed_add_portal(observed, name, settings)->vms, vms))
			return FALSE;
	}
	return TRUE;
}

gboolean observed_from_json(struct json_object *json, struct observed **ret_observed,
			    GError **error)
{
	struct json_object *networks = get_array(json, "networks");
	struct json_object *ports = get_array(json, "ports"), *vms = get_array(json, "vms");
	struct observed *observed = observed_new();

	if (networks && ports && vms && read_names(observed->networks, networks) &&
	    read_switches(observed, json) && read_ports(observed, ports) &&
	    read_vms(observed, vms) && read_sockets(observed, json) &&
	    read_portals(observed, get_array(json, "portals"))) {
		*ret_observed = observed;
		return TRUE;
	}
	observed_free(observed);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
		    "the supervisor's account of what runs has another form than this version's");
	return FALSE;
}
