/* SPDX-License-Identifier: MIT */
#include "port_type.h"

#include <string.h>

#include "base.h"

static const struct port_type *const types[] = {
#define X(object) &object,
	PORT_TYPES(X)
#undef X
};

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

	if (text[0] == '\0')
		for (unsigned i = 0; i < array_size(types); i++) {
			if (i > 0)
				strcat(text, ", ");
			strcat(text, types[i]->name);
		}
	return text;
}
