/* SPDX-License-Identifier: MIT */
#include "run/engine_libvirt_monitor.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "render/libvirt.h"
#include "render/qemu.h"
#include "run/json.h"
#include "run/qmp.h"

/* The daemon of sockets listens already: QEMU needs a moment to connect. */
#define CONNECT_TRIES    250
#define CONNECT_PAUSE_US 20000

struct json_object *monitor_ask(virDomainPtr domain, const char *command,
				struct json_object *arguments, GError **error)
{
	auto_json request = json_object_new_object();
	auto_json answer = NULL;
	struct json_object *result;
	char *text = NULL;

	json_put_str(request, "execute", command);
	if (arguments)
		json_object_object_add(request, "arguments", arguments);
	if (vir.virDomainQemuMonitorCommand(
		    domain,
		    json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN |
								    JSON_C_TO_STRING_NOSLASHESCAPE),
		    &text, 0) < 0) {
		libvirt_set_error(error, ORCH_ERROR_FAILED, "QEMU's monitor does not answer");
		return NULL;
	}
	answer = json_tokener_parse(text);
	free(text);
	if (json_object_object_get_ex(answer, "return", &result))
		return json_object_get(result);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "QEMU: %s: %s", command,
		    json_object_object_get_ex(answer, "error", &result) &&
				    json_str(result, "desc") ?
			    json_str(result, "desc") :
			    "refused");
	return NULL;
}

static gboolean look_at_chardev(virDomainPtr domain, enum qmp_chardev *ret, GError **error)
{
	auto_json list = monitor_ask(domain, "query-chardev", NULL, error);

	*ret = qmp_chardev(list, RENDER_VSOCK_CHARDEV);
	return list != NULL;
}

/* The option that this QEMU knows. */
static struct json_object *chardev_arguments(const char *path, const char *reconnect, int wait)
{
	struct json_object *o = json_object_new_object(), *backend = json_object_new_object();
	struct json_object *data = json_object_new_object(), *addr = json_object_new_object();
	struct json_object *where = json_object_new_object();

	json_put_str(where, "path", path);
	json_put_str(addr, "type", "unix");
	json_object_object_add(addr, "data", where);
	json_object_object_add(data, "addr", addr);
	json_put_bool(data, "server", false);
	json_put_int(data, reconnect, wait);
	json_put_str(backend, "type", "socket");
	json_object_object_add(backend, "data", data);
	json_put_str(o, "id", RENDER_VSOCK_CHARDEV);
	json_object_object_add(o, "backend", backend);
	return o;
}

/* In milliseconds where QEMU counts so (9.2 and newer), else in seconds. */
static gboolean add_chardev(virDomainPtr domain, const char *path, GError **error)
{
	auto_json added = monitor_ask(domain, "chardev-add",
				      chardev_arguments(path, "reconnect-ms", 200), NULL);

	if (!added)
		added = monitor_ask(domain, "chardev-add", chardev_arguments(path, "reconnect", 1),
				    error);
	return added != NULL;
}

gboolean monitor_await_sockets(virDomainPtr domain, struct work_domain *d, GError **error)
{
	for (unsigned tries = 0; d->vsock && tries < CONNECT_TRIES; tries++) {
		enum qmp_chardev is;

		if (!look_at_chardev(domain, &is, error))
			return FALSE;
		if (is == QMP_CHARDEV_CONNECTED)
			return TRUE;
		if (g_atomic_int_get(&d->unwanted))
			break;
		g_usleep(CONNECT_PAUSE_US);
	}
	if (!d->vsock)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "QEMU does not connect to %s", d->vsock);
	return FALSE;
}

static gboolean add_device(virDomainPtr domain, GError **error)
{
	struct json_object *o = json_object_new_object();
	auto_json added = NULL;

	json_put_str(o, "driver", "vhost-user-vsock-pci");
	json_put_str(o, "id", "vsock0");
	json_put_str(o, "chardev", RENDER_VSOCK_CHARDEV);
	json_put_str(o, "bus", RENDER_LIBVIRT_SOCKETS_PORT);
	added = monitor_ask(domain, "device_add", o, error);
	return added != NULL;
}

gboolean monitor_plug_sockets(virDomainPtr domain, struct work_domain *d, GError **error)
{
	enum qmp_chardev is;

	if (!d->vsock)
		return TRUE;
	if (!look_at_chardev(domain, &is, error))
		return FALSE;
	if (is != QMP_CHARDEV_NONE)
		return TRUE;
	return add_chardev(domain, d->vsock, error) && monitor_await_sockets(domain, d, error) &&
	       add_device(domain, error);
}
