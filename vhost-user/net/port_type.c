/* SPDX-License-Identifier: MIT */
#include "port_type.h"

#include <stdio.h>
#include <string.h>

#include "base.h"

static const struct port_type *const types[] = {
#define X(object) &object,
	PORT_TYPES(X)
#undef X
};

const struct port_type *port_type_default(void)
{
	return types[0];
}

const struct port_type *port_type_find(const char *name)
{
	for (unsigned i = 0; i < array_size(types); i++)
		if (strcmp(types[i]->name, name) == 0)
			return types[i];
	return NULL;
}

const struct port_type *port_type_of(const struct sw_port *p)
{
	return port_type_find(p->ops->type);
}

const char *port_type_names(void)
{
	static char text[128];
	size_t n = 0;

	for (unsigned i = 0; i < array_size(types); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? ", " : "",
				      types[i]->name);
	return text;
}
