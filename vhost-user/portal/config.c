/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "log.h"
#include "wire.h"

#define IVSHMEM_VECTORS 1u
#define VECTORS_MAX     32u
#define MS_MAX          86400000u /* a day */

/* Where in the file something is read, for what is said of it. */
struct place {
	char at[48]; /* "/clients/0" */
	char why[CONFIG_WHY_MAX];
};

static int wrong(struct place *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int wrong(struct place *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(p->why, sizeof(p->why), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int read_number(struct place *p, const char *key, struct json_object *value, uint64_t low,
		       uint64_t high, uint64_t *ret)
{
	bool is_int = json_object_is_type(value, json_type_int);
	bool negative = is_int && json_object_get_int64(value) < 0;
	uint64_t n = is_int ? json_object_get_uint64(value) : 0;

	if (!is_int)
		return wrong(p, "%s: not a whole number", key);
	if (negative || n < low || n > high)
		return wrong(p, "%s: outside %" PRIu64 "..%" PRIu64, key, low, high);
	*ret = n;
	return 0;
}

static int read_u32(struct place *p, const char *key, struct json_object *value, uint32_t low,
		    uint32_t high, uint32_t *ret)
{
	uint64_t n = 0;
	int r = read_number(p, key, value, low, high, &n);

	if (r == 0)
		*ret = (uint32_t)n;
	return r;
}

static int read_string(struct place *p, const char *key, struct json_object *value,
		       const char **ret)
{
	const char *s;

	if (!json_object_is_type(value, json_type_string))
		return wrong(p, "%s: not a string", key);
	s = json_object_get_string(value);
	if (!*s || strlen(s) != (size_t)json_object_get_string_len(value))
		return wrong(p, "%s: empty, or with a NUL in it", key);
	*ret = s;
	return 0;
}

static int read_bool(struct place *p, const char *key, struct json_object *value, bool *ret)
{
	if (!json_object_is_type(value, json_type_boolean))
		return wrong(p, "%s: neither true nor false", key);
	*ret = json_object_get_boolean(value);
	return 0;
}

static int read_mode(struct place *p, const char *key, struct json_object *value,
		     enum portal_mode *ret)
{
	const char *text = "";
	int r = read_string(p, key, value, &text);

	if (r < 0)
		return r;
	*ret = strcmp(text, "rw") == 0 ? PORTAL_READ_WRITE : PORTAL_READ_ONLY;
	if (*ret == PORTAL_READ_ONLY && strcmp(text, "ro") != 0)
		return wrong(p, "%s: neither rw nor ro", key);
	return 0;
}

/* Bytes, of which whole extents count. */
static int read_quota(struct place *p, const char *key, struct json_object *value, uint32_t *ret)
{
	uint64_t bytes = 0;
	int r = read_number(p, key, value, 0, ARENA_SIZE_MAX, &bytes);

	if (r == 0 && bytes % PORTAL_EXTENT != 0)
		return wrong(p, "%s: not a multiple of 2 MiB", key);
	if (r == 0)
		*ret = (uint32_t)(bytes / PORTAL_EXTENT);
	return r;
}

/* ---- its parts ---- */

typedef int member_fn(void *part, struct place *p, const char *key, struct json_object *value);

static int read_object(void *part, struct place *p, struct json_object *o, member_fn *fn)
{
	if (!json_object_is_type(o, json_type_object))
		return wrong(p, "not an object");
	json_object_object_foreach(o, key, value)
	{
		int r = fn(part, p, key, value);

		if (r < 0)
			return r;
	}
	return 0;
}

static int client_member(void *part, struct place *p, const char *key, struct json_object *value)
{
	struct config_client *client = part;
	struct leases_client_config *c = &client->lease;

	if (strcmp(key, "name") == 0)
		return read_string(p, key, value, &c->name);
	if (strcmp(key, "socket-path") == 0)
		return read_string(p, key, value, &c->socket_path);
	if (strcmp(key, "mode") == 0)
		return read_mode(p, key, value, &c->mode);
	if (strcmp(key, "quota") == 0)
		return read_quota(p, key, value, &c->quota);
	if (strcmp(key, "leases") == 0)
		return read_u32(p, key, value, 1, PORTAL_LEASES, &c->max_leases);
	if (strcmp(key, "linger-ms") == 0)
		return read_u32(p, key, value, 0, MS_MAX, &c->linger_ms);
	if (strcmp(key, "quiesce") == 0)
		return read_bool(p, key, value, &c->may_quiesce);
	if (strcmp(key, "pmem-path") == 0)
		return read_string(p, key, value, &client->pmem_path);
	return wrong(
		p,
		"%.32s: not one of name, socket-path, mode, quota, leases, linger-ms, quiesce, pmem-path",
		key);
}

static int read_one_client(struct config_client *ret, struct place *p, struct json_object *o)
{
	const struct leases_client_config *client = &ret->lease;
	int r;

	*ret = (struct config_client){
		.lease = { .mode = PORTAL_READ_WRITE, .quota = PORTAL_EXTENTS_MAX },
	};
	r = read_object(ret, p, o, client_member);
	if (r < 0)
		return r;
	if (!client->name || !client->socket_path)
		return wrong(p, "a client needs name and socket-path");
	if (strlen(client->name) >= PORTAL_LABEL_MAX)
		return wrong(p, "name: longer than %u bytes", PORTAL_LABEL_MAX - 1);
	if (!leases_label_valid(client->name))
		return wrong(p, "name: not printable ASCII");
	if (strlen(client->socket_path) >= LEASES_PATH_MAX)
		return wrong(p, "socket-path: longer than %u bytes", LEASES_PATH_MAX - 1);
	return 0;
}

int config_client_read(struct json_object *o, struct config_client *ret_client,
		       char why[CONFIG_WHY_MAX])
{
	struct place p = { .at = "" };
	int r = read_one_client(ret_client, &p, o);

	if (r < 0)
		memcpy(why, p.why, CONFIG_WHY_MAX);
	return r;
}

static int read_client(struct config *c, unsigned i, struct place *p, struct json_object *o)
{
	const struct leases_client_config *client = &c->clients[i].lease;
	int r = read_one_client(&c->clients[i], p, o);

	for (unsigned k = 0; k < i && r == 0; k++)
		if (strcmp(c->clients[k].lease.name, client->name) == 0)
			r = wrong(p, "name: there is a client \"%s\"", client->name);
	return r;
}

static int pmem_member(void *part, struct place *p, const char *key, struct json_object *value)
{
	struct config_pmem *c = part;

	if (strcmp(key, "name") == 0)
		return read_string(p, key, value, &c->name);
	if (strcmp(key, "socket-path") == 0)
		return read_string(p, key, value, &c->socket_path);
	if (strcmp(key, "mode") == 0)
		return read_mode(p, key, value, &c->mode);
	return wrong(p, "%.32s: not one of name, socket-path, mode", key);
}

static int read_pmem(struct config *c, unsigned i, struct place *p, struct json_object *o)
{
	struct config_pmem *pmem = &c->pmem[i];
	int r;

	*pmem = (struct config_pmem){ .mode = PORTAL_READ_WRITE };
	r = read_object(pmem, p, o, pmem_member);
	if (r == 0 && (!pmem->name || !pmem->socket_path))
		return wrong(p, "a device needs name and socket-path");
	return r;
}

static int ivshmem_member(void *part, struct place *p, const char *key, struct json_object *value)
{
	struct config *c = part;
	uint32_t vectors = IVSHMEM_VECTORS;
	int r;

	if (strcmp(key, "socket-path") == 0)
		return read_string(p, key, value, &c->ivshmem_path);
	if (strcmp(key, "vectors") != 0)
		return wrong(p, "%.32s: not one of socket-path, vectors", key);
	r = read_u32(p, key, value, 1, VECTORS_MAX, &vectors);
	c->ivshmem_vectors = vectors;
	return r;
}

static int read_ivshmem(struct config *c, struct place *p, struct json_object *o)
{
	int r;

	(void)snprintf(p->at, sizeof(p->at), "/ivshmem");
	r = read_object(c, p, o, ivshmem_member);
	if (r == 0 && !c->ivshmem_path)
		return wrong(p, "it needs socket-path");
	return r;
}

typedef int element_fn(struct config *c, unsigned i, struct place *p, struct json_object *o);

static int read_array(struct config *c, struct place *p, const char *key, struct json_object *value,
		      unsigned n_max, unsigned *ret_n, element_fn *fn)
{
	size_t n;
	int r = 0;

	if (!json_object_is_type(value, json_type_array))
		return wrong(p, "%s: not an array", key);
	n = json_object_array_length(value);
	if (n > n_max)
		return wrong(p, "%s: more than %u", key, n_max);
	for (unsigned i = 0; i < n && r == 0; i++) {
		(void)snprintf(p->at, sizeof(p->at), "/%s/%u", key, i);
		r = fn(c, i, p, json_object_array_get_idx(value, i));
	}
	*ret_n = (unsigned)n;
	return r;
}

/* ---- the whole ---- */

struct whole {
	struct config *config;
	bool memfd;
};

static int member(void *part, struct place *p, const char *key, struct json_object *value)
{
	struct whole *w = part;
	struct config *c = w->config;

	p->at[0] = '\0';
	if (strcmp(key, "name") == 0)
		return read_string(p, key, value, &c->arena.name);
	if (strcmp(key, "size") == 0)
		return read_number(p, key, value, ARENA_SIZE_MIN, ARENA_SIZE_MAX, &c->arena.size);
	if (strcmp(key, "path") == 0)
		return read_string(p, key, value, &c->arena.path);
	if (strcmp(key, "memfd") == 0)
		return read_bool(p, key, value, &w->memfd);
	if (strcmp(key, "vsock-port") == 0) {
		c->arena.any_vsock_port = false;
		return read_u32(p, key, value, 0, UINT32_MAX - 1, &c->arena.vsock_port);
	}
	if (strcmp(key, "grace-ms") == 0)
		return read_u32(p, key, value, 0, MS_MAX, &c->grace_ms);
	if (strcmp(key, "freeze-max-ms") == 0)
		return read_u32(p, key, value, 1, MS_MAX, &c->freeze_max_ms);
	if (strcmp(key, "clients") == 0)
		return read_array(c, p, key, value, LEASES_CLIENTS_MAX, &c->n_clients, read_client);
	if (strcmp(key, "pmem") == 0)
		return read_array(c, p, key, value, CONFIG_PMEM_MAX, &c->n_pmem, read_pmem);
	if (strcmp(key, "ivshmem") == 0)
		return read_ivshmem(c, p, value);
	return wrong(
		p,
		"%.32s: not one of name, size, path, memfd, vsock-port, clients, ivshmem, pmem, "
		"grace-ms, freeze-max-ms",
		key);
}

static bool is_power(uint64_t n)
{
	return (n & (n - 1)) == 0;
}

static int check(const struct whole *w, struct place *p)
{
	const struct config *c = w->config;

	p->at[0] = '\0';
	if (!c->arena.name || !c->arena.size)
		return wrong(p, "an arena needs name and size");
	if (strlen(c->arena.name) >= PORTAL_LABEL_MAX)
		return wrong(p, "name: longer than %u bytes", PORTAL_LABEL_MAX - 1);
	if (w->memfd == (c->arena.path != NULL))
		return wrong(p, "an arena needs either path or \"memfd\": true");
	if (c->arena.size % PORTAL_EXTENT != 0)
		return wrong(p, "size: not a multiple of 2 MiB");
	if (c->ivshmem_path && !is_power(c->arena.size))
		return wrong(p, "size: what is shown as PCI memory (ivshmem) is a power of two");
	return 0;
}

int config_read(struct json_object *root, const char *path, struct config *ret_config)
{
	struct whole w = { .config = ret_config };
	struct place p = { .at = "" };
	int r;

	memset(ret_config, 0, sizeof(*ret_config));
	ret_config->arena.vsock_port = PORTAL_VSOCK_PORT;
	ret_config->arena.any_vsock_port = true;
	ret_config->grace_ms = LEASES_GRACE_MS;
	ret_config->freeze_max_ms = QUIESCE_HOLD_MS;
	ret_config->ivshmem_vectors = IVSHMEM_VECTORS;
	if (!root) {
		log_error(NULL, "--config FILE is needed: it says what the arena is");
		return -EINVAL;
	}
	r = read_object(&w, &p, root, member);
	if (r == 0)
		r = check(&w, &p);
	if (r < 0)
		log_error(NULL, "%s: %s/%s", path, p.at, p.why);
	return r;
}
