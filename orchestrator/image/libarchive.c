/* SPDX-License-Identifier: MIT */
#include "image/libarchive.h"

#include <dlfcn.h>

#include "err.h"
#include "orchestrator-config.h"

struct libarchive la;

/* Where it was when this was built, if the loader's own places do not have it. */
static void *open_library(void)
{
	void *library = dlopen(LIBARCHIVE_SONAME, RTLD_NOW | RTLD_LOCAL);

	return library ? library :
			 dlopen(VHOST_LAB_LIBARCHIVE_DIR "/" LIBARCHIVE_SONAME,
				RTLD_NOW | RTLD_LOCAL);
}

static gboolean find(void *library, const char *name, void **ret_function)
{
	*ret_function = dlsym(library, name);
	return *ret_function != NULL;
}

static gboolean load(void)
{
	void *library = open_library();

	if (!library)
		return FALSE;
#define X(name)                                               \
	if (!find(library, #name, (void **)(void *)&la.name)) \
		return FALSE;
	LIBARCHIVE_FUNCTIONS(X)
#undef X
	return TRUE;
}

gboolean libarchive_load(GError **error)
{
	static GMutex mutex;
	static gboolean loaded;
	gboolean ok;

	g_mutex_lock(&mutex);
	loaded = loaded || load();
	ok = loaded;
	if (!ok)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "libarchive, which makes guest images, cannot be loaded: %s",
			    dlerror());
	g_mutex_unlock(&mutex);
	return ok;
}
