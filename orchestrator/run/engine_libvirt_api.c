/* SPDX-License-Identifier: MIT */
#include "run/engine_libvirt_api.h"

#include "err.h"
#include "host/library.h"
#include "orchestrator-config.h"
#include "run/logfile.h"

/* Of an error of libvirt's: QEMU's own words may be in it. */
#define WORDS_MAX 600

struct libvirt_api vir;

/* It would print every error to standard error. */
static void quiet(void *data, virErrorPtr error)
{
}

/* NULL, or why not; g_free(). */
static char *load(void)
{
#define X(name) { #name, &vir.name },
	static const struct library_function functions[] = { LIBVIRT_FUNCTIONS(X){ NULL } };
	static const struct library_function of_qemu[] = { LIBVIRT_QEMU_FUNCTIONS(X){ NULL } };
#undef X
	static struct library library = { .soname = LIBVIRT_SONAME,
					  .dir = VHOST_LAB_LIBVIRT_DIR,
					  .functions = functions };
	static struct library qemu = { .soname = LIBVIRT_QEMU_SONAME,
				       .dir = VHOST_LAB_LIBVIRT_DIR,
				       .functions = of_qemu };
	char *why = library_load(&library);

	if (!why)
		why = library_load(&qemu);
	if (why)
		return why;
	vir.virSetErrorFunc(NULL, quiet);
	return vir.virInitialize() == 0 ? NULL : g_strdup("it does not start");
}

gboolean libvirt_load(GError **error)
{
	g_autofree char *why = load();

	if (why)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "libvirt cannot be loaded: %s; install it (Debian: libvirt0), or say "
			    "\"engine\": \"qemu\"",
			    why);
	return !why;
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
