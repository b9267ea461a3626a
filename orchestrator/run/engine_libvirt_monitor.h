/* SPDX-License-Identifier: MIT */
/* QEMU's monitor by way of libvirt, for what libvirt has no words for.  It marks the domain as tainted (custom-monitor), which
 * is true.
 *
 * Trust:   QEMU is ours, but its guest may have taken it over: everything it says is checked as a stranger's.
 * Threads: any; every call blocks.
 */
#ifndef RUN_ENGINE_LIBVIRT_MONITOR_H
#define RUN_ENGINE_LIBVIRT_MONITOR_H

#include <glib.h>

#include "run/engine_libvirt_work.h"

struct json_object;

/* One command: its "return", a reference that is the caller's.  arguments: NULL, or a reference that is taken.  NULL: *error
 * says why. */
struct json_object *monitor_ask(virDomainPtr domain, const char *command,
				struct json_object *arguments, GError **error);

/* Plug in the socket device, behind a chardev that reconnects, if the domain is to have one and has none.  Its daemon
 * listens. */
gboolean monitor_plug_sockets(virDomainPtr domain, struct work_domain *d, GError **error);
/* Wait until QEMU finds that device's chardev connected, if the domain is to have one: 5 s at most, or until the domain is
 * unwanted; then FALSE. */
gboolean monitor_await_sockets(virDomainPtr domain, struct work_domain *d, GError **error);

#endif
