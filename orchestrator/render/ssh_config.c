/* SPDX-License-Identifier: MIT */
#include "render/ssh_config.h"

#include "model/lab.h"
#include "render/qemu.h"

static void add_host(GString *out, const struct lab *lab, const char *name, const char *quoted)
{
	g_string_append_printf(out, "\nHost %s\n", name);
	g_string_append_printf(out, "\tHostKeyAlias %s.%s.vhost-lab\n", name, lab->name);
	g_string_append_printf(out, "\tProxyCommand %s vsock-connect --lab %s %s 22\n", quoted,
			       lab->name, name);
}

char *render_ssh_config(const struct lab *lab, const GPtrArray *guests, const char *program)
{
	g_autofree char *quoted = render_sh_quote(program);
	GString *out = g_string_new(NULL);

	g_string_append_printf(out, "# Lab %s: ssh -F THIS VM\n", lab->name);
	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		if (vm->sockets != LAB_SOCKETS_NONE)
			add_host(out, lab, vm->name, quoted);
	}
	for (guint i = 0; guests && i < guests->len; i++)
		add_host(out, lab, guests->pdata[i], quoted);
	/* A guest that is made anew has a new key, and nobody else can be at the other end of its socket. */
	g_string_append(out, "\nHost *\n\tUser root\n\tStrictHostKeyChecking no\n"
			     "\tUserKnownHostsFile /dev/null\n\tLogLevel ERROR\n");
	return g_string_free(out, FALSE);
}
