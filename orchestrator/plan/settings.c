/* SPDX-License-Identifier: MIT */
/* What a VM runs with, as lines "key value": written, compared, and looked into. */
#include <arpa/inet.h>
#include <string.h>

#include "model/lab.h"
#include "plan/plan_impl.h"
#include "render/portal.h"

/* Keys of a change that are told; the rest is counted. */
#define KEYS_SHOWN 6

/* How the guest leaves the lab, which it is told once. */
static void way_out_settings(const struct vm *vm, GString *out)
{
	const struct nic *nic = vm_way_out(vm);
	const struct uplink *u = nic ? network_way_out(nic->network) : NULL;
	char gateway[INET_ADDRSTRLEN], dns[INET_ADDRSTRLEN];

	if (!u)
		return;
	inet_ntop(AF_INET, &u->gateway, gateway, sizeof(gateway));
	inet_ntop(AF_INET, &u->dns, dns, sizeof(dns));
	g_string_append_printf(out, "nic.%u.gateway %s\nnic.%u.dns %s\n", nic->index, gateway,
			       nic->index, dns);
}

static void nic_settings(const struct nic *nic, GString *out)
{
	char mac[NAMES_MAC_LEN + 1], ip[INET_ADDRSTRLEN];
	const struct network *n = nic->network;
	unsigned i = nic->index;

	names_mac_format(nic->mac, mac);
	inet_ntop(AF_INET, &nic->ip, ip, sizeof(ip));
	g_string_append_printf(out, "nic.%u.network %s\nnic.%u.mac %s\nnic.%u.ip %s/%u\n", i,
			       n->name, i, mac, i, ip, n->prefix);
	g_string_append_printf(out, "nic.%u.mtu %u\nnic.%u.queues %u\n", i, n->mtu, i, nic->queues);
	if (!nic->offloads)
		g_string_append_printf(out, "nic.%u.offloads off\n", i);
}

/* Probes and forwards are no settings of what runs: they change while it does. */
static void socket_settings(const struct lab *lab, const struct vm *vm, GString *out)
{
	g_string_append_printf(out, "sockets %s\n", lab_sockets_name(vm->sockets));
	if (vm->sockets == LAB_SOCKETS_NONE)
		return;
	if (vm->sockets == LAB_SOCKETS_VSOCK)
		g_string_append_printf(out, "cid %" G_GUINT32_FORMAT "\n", vm->cid);
	g_string_append_printf(out, "port-base %u\n", lab->port_base);
	for (unsigned i = 0; vm->peers && i < vm->peers->len; i++)
		g_string_append_printf(out, "peers %" G_GUINT32_FORMAT "\n",
				       ((const struct vm *)vm->peers->pdata[i])->cid);
	if (vm->peers && vm->peers->len == 0)
		g_string_append(out, "peers none\n");
	for (unsigned i = 0; i < vm->distros->len; i++) {
		const struct distro *d = vm->distros->pdata[i];

		g_string_append_printf(out, "distro.%s %s %s\n", d->name,
				       d->readonly ? "readonly" : "writable", d->image);
	}
}

char *plan_vm_settings(const struct lab *lab, const struct vm *vm)
{
	GString *out = g_string_new(NULL);
	const struct lab_image *image = vm->image;

	g_string_append_printf(out, "image %s\n", image->name);
	if (image->kernel)
		g_string_append_printf(out, "kernel %s\n", image->kernel);
	if (image->initrd)
		g_string_append_printf(out, "initrd %s\n", image->initrd);
	if (image->append)
		g_string_append_printf(out, "image-append %s\n", image->append);
	g_string_append_printf(out, "memory %" G_GUINT64_FORMAT "\n", vm->memory);
	g_string_append_printf(out, "vcpus %u\n", vm->vcpus);
	g_string_append_printf(out, "arch %s\n", lab_arch_name(vm->arch));
	g_string_append_printf(out, "accel %s\n", lab_accel_name(vm->accel));
	if (lab->engine.kind != LAB_ENGINE_QEMU) {
		g_autofree char *engine = lab_engine_text(&lab->engine);

		g_string_append_printf(out, "engine %s\n", engine);
		if (lab->engine.user != LAB_ENGINE_USER_UNSAID)
			g_string_append_printf(out, "user %s\n",
					       lab_engine_user_name(lab->engine.user));
	}
	if (vm->qemu)
		g_string_append_printf(out, "qemu %s\n", vm->qemu);
	if (vm->append)
		g_string_append_printf(out, "append %s\n", vm->append);
	for (unsigned i = 0; i < vm->nics->len; i++)
		nic_settings(vm_nic(vm, i), out);
	way_out_settings(vm, out);
	render_portal_accesses(vm, out);
	socket_settings(lab, vm, out); /* to the end: plan_settings_sockets() */
	return g_string_free(out, FALSE);
}

/* Whether the lines of `text` hold exactly this line. */
static bool has_line(char **lines, const char *line)
{
	return g_strv_contains((const char *const *)lines, line);
}

/* Append the keys of the lines of `from` that are not in `others` to out, each key once. */
static void changed_keys(char **from, char **others, GPtrArray *out)
{
	for (char **line = from; *line; line++) {
		size_t len = strcspn(*line, " ");
		g_autofree char *key = g_strndup(*line, len);

		if (**line == '\0' || has_line(others, *line))
			continue;
		if (!g_ptr_array_find_with_equal_func(out, key, g_str_equal, NULL))
			g_ptr_array_add(out, g_steal_pointer(&key));
	}
}

/* The keys of lines that only one of them has; strings of the array are its own. */
static GPtrArray *differing_keys(const char *before, const char *after)
{
	g_auto(GStrv) old_lines = g_strsplit(before, "\n", -1),
		      new_lines = g_strsplit(after, "\n", -1);
	GPtrArray *keys = g_ptr_array_new_with_free_func(g_free);

	changed_keys(new_lines, old_lines, keys);
	changed_keys(old_lines, new_lines, keys);
	return keys;
}

/* "memory changed", "memory, nic.0.mac changed", "a, b, c, d and 9 more changed". */
static char *describe_keys(const GPtrArray *keys)
{
	g_autoptr(GString) list = g_string_new(NULL);
	unsigned shown = keys->len > KEYS_SHOWN + 1 ? KEYS_SHOWN : keys->len;

	for (unsigned i = 0; i < shown; i++)
		g_string_append_printf(list, "%s%s", i > 0 ? ", " : "",
				       (const char *)keys->pdata[i]);
	if (shown < keys->len)
		g_string_append_printf(list, " and %u more", keys->len - shown);
	return g_strdup_printf("%s changed", list->str);
}

char *plan_describe_change(const char *before, const char *after)
{
	g_autoptr(GPtrArray) keys = differing_keys(before, after);

	return keys->len > 0 ? describe_keys(keys) : NULL;
}

GPtrArray *plan_settings_networks(char **lines)
{
	GPtrArray *networks = g_ptr_array_new();

	for (char **line = lines; *line; line++) {
		const char *key_end = strchr(*line, ' ');

		if (g_str_has_prefix(*line, "nic.") && key_end &&
		    g_strstr_len(*line, key_end - *line + 1, ".network "))
			g_ptr_array_add(networks, (char *)(uintptr_t)key_end + 1);
	}
	return networks;
}

bool plan_settings_has_hvsock(const char *settings)
{
	return settings && strstr(settings, "\nsockets hvsock\n");
}

char *plan_settings_sockets(const char *settings)
{
	const char *from = strstr(settings, "\nsockets "),
		   *to = from ? strstr(from, "\ndistro.") : NULL;

	return to ? g_strndup(from, (gsize)(to - from)) : g_strdup(from);
}
