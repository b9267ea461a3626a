/* SPDX-License-Identifier: MIT */
/* capture.start, capture.stop, capture.list. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "capture.h"
#include "capture_impl.h"
#include "cleanup.h"
#include "ctl_impl.h"

#define FILE_MODE 0600

#define WRONG CONTROL_ERROR_INVALID_PARAMS

static const char *const directions[] = {
	[CAPTURE_IN] = "in", [CAPTURE_OUT] = "out", [CAPTURE_BOTH] = "both"
};

/* ---- ports -------------------------------------------------------------------------------------- */

/* "port" or "ports", as an array of names: a reference to be dropped. */
static int ports_argument(struct control_call *call, struct json_object *params,
			  struct json_object **ret_names)
{
	struct json_object *one = json_object_object_get(params, "port");
	struct json_object *many = json_object_object_get(params, "ports");

	if (!one == !many)
		return control_error(call, WRONG, "ports: either this or port has to be given");
	if (one) {
		*ret_names = json_object_new_array();
		return json_object_array_add(*ret_names, json_object_get(one));
	}
	if (!json_object_is_type(many, json_type_array) || json_object_array_length(many) == 0 ||
	    json_object_array_length(many) > SW_PORTS_MAX)
		return control_error(call, WRONG, "ports: not an array of ports");
	*ret_names = json_object_get(many);
	return 0;
}

static int find_ports(struct control_call *call, struct json_object *names, struct sw_port **port)
{
	size_t n = json_object_array_length(names);

	for (size_t i = 0; i < n; i++) {
		struct json_object *name = json_object_array_get_idx(names, i);
		int r;

		if (!json_object_is_type(name, json_type_string))
			return control_error(call, WRONG, "ports/%zu: not a port's name", i);
		r = ctl_find_port(call, json_object_get_string(name), &port[i]);
		if (r < 0)
			return r;
		for (size_t k = 0; k < i; k++)
			if (port[k] == port[i])
				return control_error(call, WRONG, "ports/%zu: said twice", i);
	}
	return 0;
}

static int name_interfaces(struct capture *c, struct sw_port *const *port)
{
	for (unsigned i = 0; i < c->n_ports; i++) {
		struct capture_interface *itf = &c->interface[i];

		assert(port[i]); /* find_ports() found them all */
		itf->name = strdup(port[i]->name);
		if (!itf->name || asprintf(&itf->description, "%s port %s", port[i]->ops->type,
					   port[i]->name) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* ---- what and how ------------------------------------------------------------------------------- */

static int id_argument(struct control_call *call, struct json_object *params, struct capture *c)
{
	const char *id = NULL;
	int r = control_string(call, params, "id", &id);

	if (r < 0)
		return r;
	if (!id) {
		do
			snprintf(c->id, sizeof(c->id), "c%u", ++c->net->n_captures);
		while (capture_find(c->net, c->id));
		return 0;
	}
	if (!spec_name_is_good(id))
		return control_error(call, WRONG, "id: not 1 to %d of A-Z a-z 0-9 . _ : -",
				     SW_PORT_NAME_MAX - 1);
	if (capture_find(c->net, id))
		return control_error(call, CONTROL_ERROR_EXISTS, "there is a capture \"%s\"", id);
	snprintf(c->id, sizeof(c->id), "%s", id);
	return 0;
}

static int direction_argument(struct control_call *call, struct json_object *params,
			      struct capture *c)
{
	const char *text = directions[CAPTURE_BOTH];
	int r = control_string(call, params, "direction", &text);

	for (unsigned i = CAPTURE_IN; i <= CAPTURE_BOTH && r == 0; i++)
		if (strcmp(text, directions[i]) == 0)
			c->direction = i;
	if (r == 0 && c->direction == 0)
		r = control_error(call, WRONG, "direction: not one of in, out, both");
	return r;
}

/* A number that may be absent, and then stays as it is. */
static int number(struct control_call *call, struct json_object *o, const char *name, uint64_t low,
		  uint64_t high, uint64_t *ret)
{
	int r = control_uint(call, o, name, high, ret);

	if (r == 0 && json_object_object_get_ex(o, name, NULL) && *ret < low)
		r = control_error(call, WRONG, "%s: outside %llu..%llu", name,
				  (unsigned long long)low, (unsigned long long)high);
	return r;
}

static int text_argument(struct control_call *call, struct json_object *params, const char *name,
			 char **ret)
{
	const char *text = NULL;
	int r = control_string(call, params, name, &text);

	if (r < 0 || !text)
		return r;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int filter_argument(struct control_call *call, struct json_object *params, struct capture *c)
{
	char why[BPF_WHY_MAX];
	int r = text_argument(call, params, "filter", &c->filter_text);

	if (r < 0 || !c->filter_text)
		return r;
	r = bpf_new(c->filter_text, &c->filter, why);
	return r == -EINVAL ? control_error(call, WRONG, "filter: %s", why) : r;
}

static int read_params(struct control_call *call, struct json_object *params, struct capture *c)
{
	uint64_t snaplen = 0, buffer = CAPTURE_BUFFER_DEFAULT;
	int r = id_argument(call, params, c);

	if (r == 0)
		r = direction_argument(call, params, c);
	if (r == 0)
		r = number(call, params, "snaplen", SW_HEAD_LEN, CAPTURE_SNAPLEN_MAX, &snaplen);
	if (r == 0)
		r = number(call, params, "buffer-bytes", CAPTURE_BUFFER_MIN, CAPTURE_BUFFER_MAX,
			   &buffer);
	if (r == 0)
		r = text_argument(call, params, "comment", &c->comment);
	if (r == 0)
		r = filter_argument(call, params, c);
	c->snaplen = (uint32_t)snaplen;
	c->buffer_bytes = (uint32_t)buffer & ~(uint32_t)(CAPTURE_RING_ALIGN - 1);
	return r;
}

static void on_asker_gone(struct control_tie *tie)
{
	capture_stop(container_of(tie, struct capture, tie));
}

static int tied_argument(struct control_call *call, struct json_object *params, struct capture *c)
{
	int r = control_bool(call, params, "tied", &c->tied);

	if (r == 0 && c->tied)
		r = control_tie(call, &c->tie, on_asker_gone);
	return r == -ENOTCONN ?
		       control_error(call, WRONG,
				     "tied: nobody is connected to whom it could be tied") :
		       r;
}

/* ---- where to ----------------------------------------------------------------------------------- */

static int check_members(struct control_call *call, struct json_object *to)
{
	bool socket = json_object_object_get_ex(to, "socket", NULL);

	if (json_object_object_get_ex(to, "file", NULL) == socket)
		return control_error(call, WRONG, "to: either file or socket has to be given");
	json_object_object_foreach(to, key, value)
	{
		(void)value;
		if (strcmp(key, "file") == 0 || strcmp(key, "socket") == 0)
			continue;
		if (socket || (strcmp(key, "rotate-bytes") != 0 && strcmp(key, "files") != 0))
			return control_error(call, WRONG, "to/%.64s: unknown member", key);
	}
	if (json_object_object_get_ex(to, "files", NULL) &&
	    !json_object_object_get_ex(to, "rotate-bytes", NULL))
		return control_error(call, WRONG, "to/files: needs rotate-bytes");
	return 0;
}

static int open_file(struct control_call *call, const struct capture *c, int *ret_fd)
{
	/* Neither waits for the reader of a pipe nor empties what is no file. */
	auto_fd int fd = open(c->path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, FILE_MODE);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return control_error(call, CONTROL_ERROR_FAILED, "to/file: %s: %s", c->path,
				     strerror(errno));
	if (!S_ISREG(st.st_mode))
		return control_error(call, WRONG, "to/file: %s is no regular file", c->path);
	if (ftruncate(fd, 0) < 0)
		return control_error(call, CONTROL_ERROR_FAILED, "to/file: %s: %s", c->path,
				     strerror(errno));
	*ret_fd = fd_take(&fd);
	return 0;
}

static int open_socket(struct control_call *call, const struct capture *c, int *ret_fd)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (strlen(c->path) >= sizeof(un.sun_path))
		return control_error(call, WRONG, "to/socket: longer than 107 bytes");
	memcpy(un.sun_path, c->path, strlen(c->path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return control_error(call, CONTROL_ERROR_FAILED, "to/socket: %s: %s", c->path,
				     strerror(errno));
	*ret_fd = fd_take(&fd);
	return 0;
}

static int read_to(struct control_call *call, struct json_object *params, struct capture *c)
{
	struct json_object *to = json_object_object_get(params, "to");
	uint64_t files = CAPTURE_FILES_DEFAULT;
	int r;

	if (!json_object_is_type(to, json_type_object))
		return control_error(call, WRONG, "to: not an object");
	r = check_members(call, to);
	if (r == 0)
		r = number(call, to, "rotate-bytes", CAPTURE_ROTATE_MIN, INT64_MAX,
			   &c->rotate_bytes);
	if (r == 0)
		r = number(call, to, "files", 2, CAPTURE_FILES_MAX, &files);
	c->files = (unsigned)files;
	c->is_socket = json_object_object_get_ex(to, "socket", NULL);
	if (r == 0)
		r = text_argument(call, to, c->is_socket ? "socket" : "file", &c->path);
	return r;
}

/* ---- methods ------------------------------------------------------------------------------------ */

static int start(struct control_call *call, struct json_object *params, struct capture *c,
		 struct sw_port *const *port)
{
	auto_fd int fd = -1;
	int r = read_params(call, params, c);

	if (r == 0)
		r = read_to(call, params, c);
	if (r == 0)
		r = tied_argument(call, params, c);
	if (r == 0)
		r = name_interfaces(c, port);
	if (r == 0) /* the last: nothing is touched by what is refused */
		r = c->is_socket ? open_socket(call, c, &fd) : open_file(call, c, &fd);
	if (r == 0)
		r = capture_begin(c, port, fd);
	if (r == 0)
		(void)fd_take(&fd);
	return r;
}

static unsigned n_running(const struct net *net)
{
	unsigned n = 0;

	for (const struct capture *c = net->captures; c; c = c->next)
		n++;
	return n;
}

static int start_on(struct control_call *call, struct json_object *params,
		    struct json_object *names, struct json_object **ret_result)
{
	unsigned n = (unsigned)json_object_array_length(names);
	auto_free struct sw_port **port = calloc(n, sizeof(struct sw_port *));
	struct capture *c = capture_new(ctl_net(call), n);
	int r = port && c ? find_ports(call, names, port) : -ENOMEM;

	if (r == 0)
		r = start(call, params, c, port);
	if (r < 0) {
		capture_free(c);
		return r;
	}
	*ret_result = json_object_new_object();
	ctl_add_string(*ret_result, "id", c->id);
	return 0;
}

int capture_start_method(struct control_call *call, struct json_object *params,
			 struct json_object **ret_result)
{
	struct json_object *names = NULL;
	int r;

	if (n_running(ctl_net(call)) >= CAPTURES_MAX)
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d captures",
				     CAPTURES_MAX);
	r = ports_argument(call, params, &names);
	if (r < 0)
		return r;
	r = start_on(call, params, names, ret_result);
	json_object_put(names);
	return r;
}

static struct json_object *to_json(const struct capture *c)
{
	struct json_object *to = json_object_new_object();

	ctl_add_string(to, c->is_socket ? "socket" : "file", c->path);
	if (c->rotate_bytes > 0) {
		ctl_add_number(to, "rotate-bytes", c->rotate_bytes);
		ctl_add_number(to, "files", c->files);
	}
	return to;
}

static void add_counts(struct json_object *o, const struct capture *c)
{
	uint64_t frames = 0, bytes = 0, dropped = 0;

	for (unsigned i = 0; i < c->n_ports; i++) {
		const struct capture_counts *counts = &c->interface[i].counts;

		frames += atomic_load_explicit(&counts->frames, memory_order_relaxed);
		bytes += atomic_load_explicit(&counts->bytes, memory_order_relaxed);
		dropped += atomic_load_explicit(&counts->dropped, memory_order_relaxed);
	}
	ctl_add_number(o, "frames", frames);
	ctl_add_number(o, "bytes", bytes);
	ctl_add_number(o, "dropped", dropped);
}

static struct json_object *capture_json(const struct capture *c)
{
	struct json_object *o = json_object_new_object(), *ports = json_object_new_array();

	for (unsigned i = 0; i < c->n_ports; i++)
		json_object_array_add(ports, json_object_new_string(c->interface[i].name));
	ctl_add_string(o, "id", c->id);
	json_object_object_add(o, "ports", ports);
	ctl_add_string(o, "direction", directions[c->direction]);
	if (c->snaplen > 0)
		ctl_add_number(o, "snaplen", c->snaplen);
	if (c->filter_text)
		ctl_add_string(o, "filter", c->filter_text);
	json_object_object_add(o, "to", to_json(c));
	if (c->tied)
		json_object_object_add(o, "tied", json_object_new_boolean(true));
	ctl_add_string(o, "state", c->stopping ? "stopping" : "running");
	add_counts(o, c);
	return o;
}

int capture_stop_method(struct control_call *call, struct json_object *params,
			struct json_object **ret_result)
{
	const char *id = NULL;
	struct capture *c;
	int r = control_string(call, params, "id", &id);

	if (r < 0)
		return r;
	c = capture_find(ctl_net(call), id);
	if (!c)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no capture \"%.64s\"", id);
	c->asked = true;
	capture_stop(c);
	*ret_result = capture_json(c);
	return 0;
}

int capture_list_method(struct control_call *call, struct json_object *params,
			struct json_object **ret_result)
{
	struct json_object *list = json_object_new_array();

	for (const struct capture *c = ctl_net(call)->captures; c; c = c->next)
		json_object_array_add(list, capture_json(c));
	*ret_result = json_object_new_object();
	json_object_object_add(*ret_result, "captures", list);
	return 0;
}
