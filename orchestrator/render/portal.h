/* SPDX-License-Identifier: MIT */
/* A portal as its daemon is told it (vhost-user-portal(8)).  Pure. */
#ifndef RENDER_PORTAL_H
#define RENDER_PORTAL_H

#include <glib.h>
#include <stdbool.h>

struct json_object;
struct lab;
struct lab_paths;
struct portal;
struct portal_access;
struct vm;

/* The client that processes of the host are.  No VM is called that: VMs are DNS labels. */
#define RENDER_PORTAL_HOST "host."

/* How long a VM's lease outlives its connection: one that was cut because vhost-user-hvsock died is made anew within a second or
 * two, the chardevs of old QEMUs included.  A VM that died is recovered so much later. */
#define RENDER_PORTAL_LINGER_MS 5000u

/* Its configuration without its clients: what cannot change while the daemon runs.  The caller owns it. */
struct json_object *render_portal_config(const struct lab *lab, const struct portal *portal,
					 const struct lab_paths *paths);

/* What client.add takes: for a VM that has the portal, and for processes of the host.  The caller owns it. */
struct json_object *render_portal_client(const struct vm *vm, const struct portal_access *access,
					 const struct lab_paths *paths);
struct json_object *render_portal_host(const struct portal *portal, const struct lab_paths *paths);

/* What render_portal_config() depends on, as "key value" lines: equal texts, equal portals.  g_free(). */
char *render_portal_text(const struct lab *lab, const struct portal *portal);

/* Whether a portal that was started with that text is the one that a VM's access means. */
bool render_portal_serves(const char *text, const struct vm *vm,
			  const struct portal_access *access);

/* What a VM has of its portals, in lines of the same kind, each beginning with "portal.NAME.": a VM whose lines have changed
 * has to be restarted to see it.  Appended to out. */
void render_portal_accesses(const struct vm *vm, GString *out);

#endif
