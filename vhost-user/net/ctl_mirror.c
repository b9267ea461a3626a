/* SPDX-License-Identifier: MIT */
/* mirror.add, mirror.remove, mirror.list. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "ctl.h"
#include "ctl_impl.h"

static const char *const directions[] = { [0] = NULL, [1] = "in", [2] = "out", [3] = "both" };

static int direction_argument(struct control_call *call, struct json_object *params,
			      unsigned *ret_direction)
{
	const char *text = "both";
	int r = control_string(call, params, "direction", &text);

	for (unsigned i = 1; i < array_size(directions) && r == 0; i++)
		if (strcmp(text, directions[i]) == 0) {
			*ret_direction = i;
			return 0;
		}
	if (r == 0)
		r = control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				  "direction: not one of in, out, both");
	return r;
}

/* Port i of the array "from". */
static int source_argument(struct control_call *call, struct json_object *from, size_t i,
			   const struct sw_port *to, struct sw_port **port)
{
	struct json_object *name = json_object_array_get_idx(from, i);
	int r;

	if (!json_object_is_type(name, json_type_string))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "from/%zu: not a port's name", i);
	r = ctl_find_port(call, json_object_get_string(name), &port[i]);
	if (r < 0)
		return r;
	if (port[i] == to)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "from/%zu: a port cannot be shown to itself", i);
	for (size_t j = 0; j < i; j++)
		if (port[j] == port[i])
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					     "from/%zu: said twice", i);
	return 0;
}

static int add(struct control_call *call, struct json_object *params, struct sw_port *to,
	       struct sw_port *const *from, unsigned n)
{
	unsigned direction = 0;
	const char *name = NULL;
	int r = control_string(call, params, "name", &name);

	if (r == 0)
		r = direction_argument(call, params, &direction);
	if (r < 0)
		return r;
	if (!spec_name_is_good(name))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "name: not 1 to %d of A-Z a-z 0-9 . _ : -",
				     SW_MIRROR_NAME_MAX - 1);
	r = sw_mirror_add(to->sw, name, to, from, n, direction & 1, direction & 2);
	if (r == -EEXIST)
		return control_error(call, CONTROL_ERROR_EXISTS, "there is a mirror \"%s\"", name);
	if (r == -ENOSPC)
		return control_error(call, CONTROL_ERROR_LIMIT, "no more than %d mirrors",
				     SW_MIRRORS_MAX);
	return r;
}

int ctl_mirror_add(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct json_object *from = json_object_object_get(params, "from");
	auto_free struct sw_port **port = NULL;
	struct sw_port *to = NULL;
	size_t n;
	int r = ctl_port(call, params, "to", &to);

	if (r < 0)
		return r;
	if (!json_object_is_type(from, json_type_array) || json_object_array_length(from) == 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "from: not an array of ports");
	n = json_object_array_length(from);
	port = calloc(n, sizeof(struct sw_port *));
	if (!port)
		return -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++)
		r = source_argument(call, from, i, to, port);
	return r < 0 ? r : add(call, params, to, port, (unsigned)n);
}

int ctl_mirror_remove(struct control_call *call, struct json_object *params,
		      struct json_object **ret)
{
	const char *name = NULL;
	int r = control_string(call, params, "name", &name);

	if (r < 0)
		return r;
	if (sw_mirror_remove(&ctl_net(call)->sw, name) < 0)
		return control_error(call, CONTROL_ERROR_NOT_FOUND, "no mirror \"%.64s\"", name);
	return 0;
}

static struct json_object *mirror_json(const struct sw_mirror *m)
{
	struct json_object *o = json_object_new_object(), *from = json_object_new_array();

	for (unsigned i = 0; i < m->n_from; i++)
		json_object_array_add(from, json_object_new_string(m->from[i]->name));
	ctl_add_string(o, "name", m->name);
	ctl_add_string(o, "to", m->to->name);
	json_object_object_add(o, "from", from);
	ctl_add_string(o, "direction", directions[m->in + 2 * m->out]);
	return o;
}

int ctl_mirror_list(struct control_call *call, struct json_object *params, struct json_object **ret)
{
	struct json_object *mirrors = json_object_new_array();

	for (const struct sw_mirror *m = ctl_net(call)->sw.mirrors; m; m = m->next)
		json_object_array_add(mirrors, mirror_json(m));
	*ret = json_object_new_object();
	json_object_object_add(*ret, "mirrors", mirrors);
	return 0;
}
