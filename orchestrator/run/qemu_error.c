/* SPDX-License-Identifier: MIT */
#include "run/qemu_error.h"

#include <string.h>
#include <glib.h>

#include "err.h"

static const struct {
	const char *in_line; /* the first that occurs in the line counts */
	const char *explained;
	enum orch_error code;
} known[] = {
	{ "Could not access KVM kernel module: Permission denied",
	  "no permission on /dev/kvm: join the group that owns it (usermod -aG kvm $USER), or set \"accel\": \"tcg\"",
	  ORCH_ERROR_HOST_UNFIT },
	{ "Could not access KVM kernel module: No such file",
	  "this host has no /dev/kvm: set \"accel\": \"tcg\" or \"auto\"", ORCH_ERROR_HOST_UNFIT },
	{ "failed to initialize kvm",
	  "KVM does not work here: set \"accel\": \"tcg\" or \"auto\"; `orchestrator doctor` says why",
	  ORCH_ERROR_HOST_UNFIT },
	{ "invalid accelerator", "this QEMU was built without that accelerator",
	  ORCH_ERROR_HOST_UNFIT },
	{ "cannot set up guest memory", "the host has not enough memory for this VM",
	  ORCH_ERROR_HOST_UNFIT },
	{ "Cannot allocate memory", "the host has not enough memory for this VM",
	  ORCH_ERROR_HOST_UNFIT },
	{ "Address already in use", "one of its sockets is in use by another process",
	  ORCH_ERROR_CONFLICT },
	{ "No space left on device", "the disk is full", ORCH_ERROR_FAILED },
	{ "could not load kernel", "its kernel cannot be loaded", ORCH_ERROR_FAILED },
	{ "could not load initrd", "its initrd cannot be loaded", ORCH_ERROR_FAILED },
};

/* Without "qemu-system-x86_64: " in front. */
static const char *without_program(const char *line)
{
	const char *colon;

	if (!g_str_has_prefix(line, "qemu"))
		return line;
	colon = strstr(line, ": ");
	return colon ? colon + 2 : line;
}

char *qemu_error_explain(const char *last_line, const char *how, int *ret_code)
{
	*ret_code = ORCH_ERROR_FAILED;
	if (!last_line || strstr(last_line, "terminating on signal"))
		return g_strdup_printf("QEMU ended: %s", how);
	for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
		if (!strstr(last_line, known[i].in_line))
			continue;
		*ret_code = known[i].code;
		return g_strdup_printf("%s (QEMU: %s)", known[i].explained,
				       without_program(last_line));
	}
	return g_strdup_printf("QEMU ended: %s: %s", how, without_program(last_line));
}
