/* SPDX-License-Identifier: MIT */
#include "image/libarchive.h"

#include "err.h"
#include "host/library.h"
#include "orchestrator-config.h"

struct libarchive la;

gboolean libarchive_load(GError **error)
{
#define X(name) { #name, &la.name },
	static const struct library_function functions[] = { LIBARCHIVE_FUNCTIONS(X){ NULL } };
#undef X
	static struct library library = { .soname = LIBARCHIVE_SONAME,
					  .dir = VHOST_LAB_LIBARCHIVE_DIR,
					  .functions = functions };
	g_autofree char *why = library_load(&library);

	if (why)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "libarchive, which makes guest images, cannot be loaded: %s", why);
	return !why;
}
