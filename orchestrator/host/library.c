/* SPDX-License-Identifier: MIT */
#include "host/library.h"

#include <dlfcn.h>

static void *open_library(const struct library *l)
{
	g_autofree char *path = g_build_filename(l->dir, l->soname, NULL);
	void *library = dlopen(l->soname, RTLD_NOW | RTLD_LOCAL);

	return library ? library : dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static bool load(const struct library *l)
{
	void *library = open_library(l);

	if (!library)
		return false;
	for (const struct library_function *f = l->functions; f->name; f++) {
		void **into = f->into;

		*into = dlsym(library, f->name);
		if (!*into)
			return false;
	}
	return true;
}

char *library_load(struct library *l)
{
	static GMutex mutex;
	char *why = NULL;

	g_mutex_lock(&mutex);
	l->loaded = l->loaded || load(l);
	if (!l->loaded)
		why = g_strdup(dlerror());
	g_mutex_unlock(&mutex);
	return why;
}
