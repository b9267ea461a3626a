/* SPDX-License-Identifier: MIT */
#include "agent/guest/environ.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_DEFAULTS 6ul
#define ROOM       320ul /* for one of them: the longest value is a path of struct user */

const char *environ_get(char *const *env, const char *name)
{
	size_t len = strlen(name);

	for (; *env; env++) {
		if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
			return *env + len + 1;
	}
	return NULL;
}

char **environ_new(char *const *given, const struct user *user, const char *term)
{
	const struct {
		const char *name, *value;
	} defaults[N_DEFAULTS] = {
		{ "PATH", ENVIRON_PATH },  { "HOME", user->home },   { "USER", user->name },
		{ "LOGNAME", user->name }, { "SHELL", user->shell }, { "TERM", term },
	};
	size_t n = 0;
	char **env, *room;

	while (given[n])
		n++;
	env = malloc((n + N_DEFAULTS + 1) * sizeof(*env) + N_DEFAULTS * ROOM);
	if (!env)
		return NULL;
	room = (char *)(env + n + N_DEFAULTS + 1);
	memcpy(env, given, (n + 1) * sizeof(*env));
	for (size_t i = 0; i < N_DEFAULTS; i++) {
		if (!defaults[i].value || environ_get(given, defaults[i].name))
			continue;
		snprintf(room, ROOM, "%s=%s", defaults[i].name, defaults[i].value);
		env[n++] = room;
		room += ROOM;
	}
	env[n] = NULL;
	return env;
}
