/* SPDX-License-Identifier: MIT */
#include "render/ssh_config.h"

#include <glib.h>

#include "model/lab.h"
#include "render/qemu.h"

char *render_ssh_config(const struct lab *lab, const char *program)
{
	g_autofree char *quoted = render_sh_quote(program);
	GString *out = g_string_new(NULL);

	g_string_append_printf(out, "# Lab %s: ssh -F THIS VM\n", lab->name);
	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		if (vm->sockets == LAB_SOCKETS_NONE)
			continue;
		g_string_append_printf(out, "\nHost %s\n", vm->name);
		g_string_append_printf(out, "\tHostKeyAlias %s.%s.vhost-lab\n", vm->name,
				       lab->name);
		g_string_append_printf(out, "\tProxyCommand %s vsock-connect --lab %s %s 22\n",
				       quoted, lab->name, vm->name);
	}
	/* A guest that is made anew has a new key, and nobody else can be at the other end of its socket. */
	g_string_append(out, "\nHost *\n\tUser root\n\tStrictHostKeyChecking no\n"
			     "\tUserKnownHostsFile /dev/null\n\tLogLevel ERROR\n");
	return g_string_free(out, FALSE);
}
