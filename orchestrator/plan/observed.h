/* SPDX-License-Identifier: MIT */
/* What runs of a lab, as the supervisor sees it: the planner's other input.
 *
 * Only things that exist are listed: a VM whose QEMU has ended is not in it, nor is a switch that has died, nor the ports
 * it had.  Names only, no pointers into a lab: what runs may have been made from another version of the file.
 *
 * The JSON form is how it travels from the supervisor to the CLI:
 *   {"networks":["lan"],"ports":[{"network":"lan","name":"n1.0"}],"vms":[{"name":"n1","settings":"…"}],
 *    "sockets":["n1"],"switches":{"lan":"…"},"portals":[{"name":"shared","settings":"…","vms":["n1"]}]}
 * "sockets" is null where the daemon of sockets does not run.
 */
#ifndef PLAN_OBSERVED_H
#define PLAN_OBSERVED_H

#include <glib.h>
#include <stdbool.h>

struct json_object;

struct observed_port {
	char *name; /* "n1.0" */
	char *network;
};

struct observed_vm {
	char *name;
	char *settings; /* plan_vm_settings() when it was started */
};

struct observed_portal {
	char *name;
	char *settings; /* render_portal_text() when its daemon was started */
	GPtrArray *vms; /* of char *: VMs that its daemon admits */
};

struct observed {
	GPtrArray *networks;   /* of char *: switches that run */
	GHashTable *switches;  /* network -> render_switch_text() of what its switch was told */
	GPtrArray *ports;      /* of struct observed_port */
	GPtrArray *vms;        /* of struct observed_vm */
	bool sockets;          /* the daemon of sockets runs */
	GPtrArray *sockets_of; /* of char *: VMs whose sockets it serves */
	GPtrArray *portals;    /* of struct observed_portal: those whose daemons run */
};

/* Nothing runs. */
struct observed *observed_new(void);
void observed_free(struct observed *observed);

void observed_add_network(struct observed *observed, const char *network);
/* What the switch of a network was told, of what a lab file says. */
void observed_add_settings(struct observed *observed, const char *network, const char *settings);
void observed_add_port(struct observed *observed, const char *network, const char *port);
void observed_add_sockets_of(struct observed *observed, const char *vm);
void observed_add_vm(struct observed *observed, const char *vm, const char *settings);

/* The new one's vms are filled in by the caller, with strings that it gives away. */
struct observed_portal *observed_add_portal(struct observed *observed, const char *portal,
					    const char *settings);
/* NULL: it does not run. */
struct observed_portal *observed_find_portal(const struct observed *observed, const char *portal);

/* Caller owns. */
struct json_object *observed_to_json(const struct observed *observed);
/* FALSE: not of the shape above. */
gboolean observed_from_json(struct json_object *json, struct observed **ret_observed,
			    GError **error);

#endif
