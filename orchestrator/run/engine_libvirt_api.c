/* SPDX-License-Identifier: MIT */
#include "run/engine_libvirt_api.h"

#include <dlfcn.h>

#include "err.h"
#include "orchestrator-config.h"
#include "run/logfile.h"

/* Of an error of libvirt's: QEMU's own words may be in it. */
#define WORDS_MAX 600

struct libvirt_api vir;

/* Where it was when this was built, if the loader's own places do not have it. */
static void *open_library(const char *soname)
{
	g_autofree char *path = g_build_filename(VHOST_LAB_LIBVIRT_DIR, soname, NULL);
	void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

	return library ? library : dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static gboolean find(void *library, const char *name, void **ret_function)
{
	*ret_function = dlsym(library, name);
	return *ret_function != NULL;
}

/* It would print every error to standard error. */
static void quiet(void *data, virErrorPtr error)
{
}

static gboolean load(void)
{
	void *library = open_library(LIBVIRT_SONAME);
	void *qemu = library ? open_library(LIBVIRT_QEMU_SONAME) : NULL;

	if (!qemu)
		return FALSE;
#define X(name)                                                \
	if (!find(library, #name, (void **)(void *)&vir.name)) \
		return FALSE;
	LIBVIRT_FUNCTIONS(X)
#undef X
#define X(name)                                             \
	if (!find(qemu, #name, (void **)(void *)&vir.name)) \
		return FALSE;
	LIBVIRT_QEMU_FUNCTIONS(X)
#undef X
	vir.virSetErrorFunc(NULL, quiet);
	return vir.virInitialize() == 0;
}

gboolean libvirt_load(GError **error)
{
	static GMutex mutex;
	static gboolean loaded;
	const char *why;
	gboolean ok;

	g_mutex_lock(&mutex);
	loaded = loaded || load();
	ok = loaded;
	why = ok ? NULL : dlerror();
	if (!ok)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "libvirt cannot be loaded: %s; install it (Debian: libvirt0), or say "
			    "\"engine\": \"qemu\"",
			    why ? why : "it does not start");
	g_mutex_unlock(&mutex);
	return ok;
}

char *libvirt_words(void)
{
	virErrorPtr last = vir.virGetLastError();
	const char *text = last && last->message ? last->message : "libvirt does not say why";
	g_autofree char *line = g_strdelimit(g_strdup(text), "\r\n", ' ');

	return logfile_clean(g_strchomp(line), -1, WORDS_MAX);
}

bool libvirt_lost(void)
{
	virErrorPtr last = vir.virGetLastError();

	return last && (last->domain == VIR_FROM_RPC || last->code == VIR_ERR_INVALID_CONN);
}

void libvirt_set_error(GError **error, int code, const char *format, ...)
{
	g_autofree char *words = libvirt_words(), *before = NULL;
	va_list ap;

	va_start(ap, format);
	before = g_strdup_vprintf(format, ap);
	va_end(ap);
	g_set_error(error, ORCH_ERROR, code, "%s: %s", before, words);
}
