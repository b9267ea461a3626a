/* SPDX-License-Identifier: MIT */
#include "cmd/qemu_build.h"

#include <string.h>

#include "err.h"
#include "host/caps.h"
#include "model/lab.h"
#include "out.h"

bool qemu_build_is_due(const struct vm *vm, const struct lab_dirs *dirs)
{
	g_autofree char *build = host_find_qemu_build();

	return build && g_strcmp0(vm->qemu, LAB_QEMU_PATCHED) == 0 &&
	       qemu_patched_is_missing(lab_arch_name(vm->arch), dirs->cache);
}

gboolean qemu_build(GError **error)
{
	g_autofree char *build = host_find_qemu_build();
	char *argv[] = { build, NULL };
	int status;

	g_assert(build);
	out_info("the lab needs the patched QEMU, which is not built yet: %s, some minutes, once",
		 build);
	if (!g_spawn_sync(NULL, argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
			  &status, error)) {
		g_prefix_error(error, "%s: ", build);
		return FALSE;
	}
	if (g_spawn_check_wait_status(status, NULL))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
		    "the patched QEMU could not be built: %s says why above", build);
	return FALSE;
}
