/* SPDX-License-Identifier: MIT */
#include "model/libvirt_uri.h"

#include <glib.h>
#include <string.h>

const char *libvirt_uri_fault(const char *uri, struct libvirt_uri *ret)
{
	g_autoptr(GUri) parts = g_uri_parse(uri, G_URI_FLAGS_NONE, NULL);
	const char *scheme = parts ? g_uri_get_scheme(parts) : "";
	const char *host = parts ? g_uri_get_host(parts) : NULL;

	if (strcmp(scheme, "qemu") != 0 && !g_str_has_prefix(scheme, "qemu+"))
		return "must begin with \"qemu:\": of libvirt's drivers a lab runs on QEMU's alone";
	if (strcmp(g_uri_get_path(parts), "/system") == 0)
		ret->system = true;
	else if (strcmp(g_uri_get_path(parts), "/session") == 0)
		ret->system = false;
	else
		return "must end in /session or /system: as in \"qemu:///session\"";
	ret->remote = host && host[0] != '\0';
	return NULL;
}
