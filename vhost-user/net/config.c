/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "workers.h"

/* The smallest that IPv4 allows (RFC 791); the field in virtio_net_config is 16 bits. */
#define MTU_MIN 68

/* A second: a queue that is silent for that long is not one that anybody measures. */
#define POLL_US_MAX 1000000

struct reader {
	const char *path;
};

static int wrong(const struct reader *r, const char *where, const char *what)
{
	log_error(NULL, "%s: %s: %s", r->path, where, what);
	return -EINVAL;
}

static int read_number(const struct reader *r, const char *where, struct json_object *value,
		       uint32_t low, uint32_t high, uint32_t *ret)
{
	int64_t n;
	char text[64];

	if (!json_object_is_type(value, json_type_int))
		return wrong(r, where, "not a whole number");
	n = json_object_get_int64(value);
	if (n < low || n > high) {
		snprintf(text, sizeof(text), "outside %" PRIu32 "..%" PRIu32, low, high);
		return wrong(r, where, text);
	}
	*ret = (uint32_t)n;
	return 0;
}

static int read_fdb(const struct reader *r, struct json_object *o, struct fdb_config *fdb)
{
	int err = 0;

	if (!json_object_is_type(o, json_type_object))
		return wrong(r, "/fdb", "not an object");
	json_object_object_foreach(o, key, value)
	{
		if (strcmp(key, "size") == 0)
			err = read_number(r, "/fdb/size", value, 1, FDB_SIZE_MAX, &fdb->size);
		else if (strcmp(key, "per-port") == 0)
			err = read_number(r, "/fdb/per-port", value, 1, FDB_SIZE_MAX,
					  &fdb->per_port);
		else if (strcmp(key, "ageing-s") == 0)
			err = read_number(r, "/fdb/ageing-s", value, 0, INT32_MAX, &fdb->ageing_s);
		else
			err = wrong(r, key, "not one of size, per-port, ageing-s in /fdb");
		if (err < 0)
			return err;
	}
	if (fdb->per_port > (fdb->size ? fdb->size : FDB_SIZE_DEFAULT))
		return wrong(r, "/fdb/per-port", "more than /fdb/size");
	return 0;
}

static int read_ports(const struct reader *r, struct json_object *o, struct config *c)
{
	size_t n;

	if (!json_object_is_type(o, json_type_array))
		return wrong(r, "/ports", "not an array");
	n = json_object_array_length(o);
	c->port = calloc(n + 1, sizeof(*c->port));
	if (!c->port)
		return -ENOMEM;
	for (; c->n_ports < n; c->n_ports++) {
		struct json_object *port = json_object_array_get_idx(o, c->n_ports);
		auto_free char *why = NULL;
		int err;

		if (!json_object_is_type(port, json_type_object))
			return wrong(r, "/ports", "a port is not an object");
		err = port_spec_read(port, &c->port[c->n_ports], &why);
		if (err < 0) {
			log_error(NULL, "%s: /ports/%u/%s", r->path, c->n_ports,
				  why ? why : strerror(-err));
			return err;
		}
	}
	return 0;
}

static int read_poll(const struct reader *r, struct json_object *value, uint64_t *ret_ns)
{
	uint32_t us;
	int err = read_number(r, "/poll-us", value, 0, POLL_US_MAX, &us);

	if (err == 0)
		*ret_ns = max((uint64_t)us * 1000, UINT64_C(1)); /* 0 is not said */
	return err;
}

/* Their shape; what they say is checked by who carries them out. */
static int read_setup(const struct reader *r, struct json_object *o, struct config *c)
{
	if (!json_object_is_type(o, json_type_array))
		return wrong(r, "/setup", "not an array");
	for (size_t i = 0; i < json_object_array_length(o); i++) {
		struct json_object *call = json_object_array_get_idx(o, i), *method, *may_fail;
		bool params = json_object_object_get_ex(call, "params", NULL);
		bool said = json_object_object_get_ex(call, "may-fail", &may_fail);

		if (!json_object_object_get_ex(call, "method", &method) ||
		    !json_object_is_type(method, json_type_string) ||
		    (said && !json_object_is_type(may_fail, json_type_boolean)) ||
		    json_object_object_length(call) != 1 + params + said)
			return wrong(r, "/setup",
				     "not all are {\"method\", \"params\"?, \"may-fail\"?}");
	}
	c->setup = o;
	return 0;
}

static int read_root(const struct reader *r, struct json_object *root, struct config *c)
{
	uint32_t mtu = 0, threads = 0;
	int err = 0;

	json_object_object_foreach(root, key, value)
	{
		if (strcmp(key, "ports") == 0)
			err = read_ports(r, value, c);
		else if (strcmp(key, "fdb") == 0)
			err = read_fdb(r, value, &c->fdb);
		else if (strcmp(key, "mtu") == 0)
			err = read_number(r, "/mtu", value, MTU_MIN, UINT16_MAX, &mtu);
		else if (strcmp(key, "threads") == 0)
			err = read_number(r, "/threads", value, 1, WORKERS_MAX, &threads);
		else if (strcmp(key, "poll-us") == 0)
			err = read_poll(r, value, &c->spin_ns);
		else if (strcmp(key, "setup") == 0)
			err = read_setup(r, value, c);
		else
			err = wrong(r, key, "not one of ports, fdb, mtu, threads, poll-us, setup");
		if (err < 0)
			return err;
	}
	c->mtu = (uint16_t)mtu;
	c->threads = (uint16_t)threads;
	return 0;
}

int config_read(struct json_object *root, const char *path, struct config *ret_config)
{
	const struct reader r = { path };
	struct config c = { .fdb.ageing_s = FDB_AGEING_S_DEFAULT };
	int err = root ? read_root(&r, root, &c) : 0;

	if (err < 0) {
		config_done(&c);
		return err;
	}
	*ret_config = c;
	return 0;
}

void config_done(struct config *c)
{
	for (unsigned i = 0; i < c->n_ports; i++)
		port_spec_done(&c->port[i]);
	free(c->port);
	*c = (struct config){ 0 };
}
