/* SPDX-License-Identifier: MIT */
/* A QEMU that somebody else started and that was given devices of a lab: what has to be known of it after a kill -9.
 *
 * Its JSON form is the one of the state file, and of `status --json`, which leaves out what only we need.
 *
 * Ownership: every string belongs to its struct.
 */
#ifndef RUN_STATE_GUEST_H
#define RUN_STATE_GUEST_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "run/proc.h"

struct json_object;
struct lab;
struct link_ref;

enum guest_stage {
	GUEST_ATTACHING, /* its devices are being plugged in; who finds this in a file takes out what there is */
	GUEST_ATTACHED,
	GUEST_DETACHING, /* they are being taken out */
	GUEST_FAILED,    /* something of it could not be taken out */
	GUEST_STAGES
};
const char *guest_stage_word(enum guest_stage stage);

struct guest_nic {
	char *network;
	char *port; /* "web.0" */
	char *path; /* its socket */
	char *mac;
	char *ip;         /* "10.0.0.254/24": kept free for it; nobody has configured it */
	char *state;      /* not in the file: as the switch sees it, or NULL */
	bool shows_down;  /* QEMU was told to take its carrier away */
	bool down, again; /* not in the file: it is to be told that, and even if it was */
};

struct guest_portal {
	char *portal;
	char *door; /* portal_door_name() */
};

struct state_guest {
	char *name;
	char *qmp;         /* the socket of its monitor */
	struct proc_id id; /* who listens there; pid 0: unknown */
	enum guest_stage stage;
	char *reason;       /* what went wrong; NULL: nothing */
	GPtrArray *nics;    /* of struct guest_nic */
	uint32_t cid;       /* 0: no socket device */
	char *uds_path;     /* of its sockets; NULL: none */
	char *sockets;      /* not in the file: as the daemon of sockets sees them, or NULL */
	GPtrArray *portals; /* of struct guest_portal */
	struct json_object *steps; /* hotplug_steps() */
};

struct state_guest *state_guest_new(const char *name, const char *qmp);
void state_guest_free(struct state_guest *g);
struct guest_nic *state_guest_add_nic(struct state_guest *g, const char *network, const char *port,
				      const char *path);
struct guest_portal *state_guest_add_portal(struct state_guest *g, const char *portal,
					    const char *door);
/* With what is not in the file. */
struct state_guest *state_guest_copy(const struct state_guest *g);

/* The caller owns it.  NULL: it makes no sense. */
struct json_object *state_guest_to_json(const struct state_guest *g);
struct state_guest *state_guest_from_json(struct json_object *o);
/* The plug that a LINK means, as lab_find_link() has it, if it begins with the name of one of the guests (of struct state_guest):
 * "web" (its only card), "web.1", "web:lan".  What ret says is theirs and the lab's.  FALSE: ORCH_ERROR_USAGE, naming what there
 * is; or, *error being left alone, it is no guest's. */
gboolean state_guest_find_link(const GPtrArray *guests, const struct lab *lab, const char *text,
			       struct link_ref *ret, GError **error);

/* For `status --json`. */
struct json_object *state_guest_report(const struct state_guest *g);

#endif
