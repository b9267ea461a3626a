/* SPDX-License-Identifier: MIT */
/* One daemon of a lab: its process, what it serves, and its life after death.
 *
 * There are three kinds, told apart by a table: the switch of a network (vhost-user-net), which serves ports, the lab's one
 * vhost-user-hvsock, which serves the sockets of VMs, and a portal's vhost-user-portal, which admits clients.  What a daemon
 * serves are its items here.
 *
 * The list of items kept here is what is wanted; the daemon's is what is.  Before every start the list is written to the
 * daemon's configuration, so that a daemon that has been started anew listens on all of its sockets before it says a word,
 * and every QEMU finds its way back by itself.  A running daemon is told over its control socket.
 *
 * A daemon that dies is started again at once; one that keeps dying, after growing pauses.  One that never came up has
 * failed: what keeps it from starting will not go away by itself.
 *
 * Ownership and threads as for machines.  Freeing it leaves the daemon running.
 */
#ifndef RUN_DAEMON_H
#define RUN_DAEMON_H

#include <stdbool.h>
#include <glib.h>

#include "run/jsonrpc.h"
#include "run/proc.h"

struct dial;
struct json_object;
struct daemon_paths;
struct rpc_client;
struct daemon;

/* What the kinds do differently. */
struct daemon_kind {
	const char *program; /* "vhost-user-net" */
	const char *noun;    /* "switch", for people */
	const char *
		list; /* "ports": the array of items in its configuration and in the answer to list_method */
	const char *list_method, *add_method, *remove_method; /* "port.list", … */
	const char *notification; /* "port": {"name","state"} of an item has changed */
	const char *const *
		members; /* of an item of its list that make up what add_method takes; NULL-terminated */
};
extern const struct daemon_kind daemon_switch, daemon_hvsock, daemon_portal;

enum daemon_stage { DAEMON_DOWN, DAEMON_STARTING, DAEMON_RUNNING, DAEMON_STOPPING, DAEMON_FAILED };
const char *daemon_stage_word(enum daemon_stage stage);

/* Whether a state is one in which the guest's driver has set the device up. */
bool daemon_negotiated(const char *state);

/* A port of a switch, the sockets of a VM, or a client of a portal. */
struct daemon_item {
	char *name;
	char *params; /* what makes it what it is, for add_method: a JSON object, as text */
	char *more;   /* what add_method takes besides, and can be changed later; NULL: nothing */
	char *state; /* as the daemon sees it: "listening", "negotiated", …; NULL: it does not have it (yet) */
	bool ours;      /* the daemon has made its sockets: they may be unlinked */
	bool link_down; /* the daemon says that nothing passes: taken down, or it flaps */
	char *problem;  /* why the daemon refused it; NULL: it did not */
};

struct daemon_ops {
	/* Its stage has changed, or an item has come, gone or been refused. */
	void (*changed)(struct daemon *d, void *data);
	/* An item is in another state; NULL: it is gone. */
	void (*item)(struct daemon *d, const char *item, const char *state, void *data);
	/* An item's link is down, or up again; NULL: nobody wants to know. */
	void (*link)(struct daemon *d, const char *item, void *data);
	/* It died, and is about to be started again; what it says is for people. */
	void (*died)(struct daemon *d, const char *text, void *data);
};

struct daemon {
	char *name; /* of the network or portal; "sockets" */
	const struct daemon_kind *kind;
	struct daemon_paths *paths;
	enum daemon_stage stage;
	char *reason; /* why it failed or is being started again */
	int reason_code;
	GPtrArray *items; /* of struct daemon_item */
	/* More members of its configuration; NULL: none.  Made anew before every start; the caller of it owns the result. */
	struct json_object *(*config)(struct daemon *d, void *data);
	unsigned restarts;

	/* Private. */
	const struct daemon_ops *ops;
	void *data;
	struct proc *proc;
	struct dial *dial;
	struct rpc_client *rpc;
	GPtrArray *calls; /* about items, under way */
	bool ever_up;
	unsigned quick_deaths;
	gint64 started_us;
	gint64 log_from;
	guint timer; /* the next start, or SIGKILL */
};

/* Takes over paths. */
struct daemon *daemon_new(const char *name, const struct daemon_kind *kind,
			  struct daemon_paths *paths, const struct daemon_ops *ops, void *data);
void daemon_free(struct daemon *d);

bool daemon_alive(const struct daemon *d);
/* Whether its last start did not last: what it was given to begin with may be why. */
bool daemon_did_not_last(const struct daemon *d);
const struct proc_id *daemon_process(const struct daemon *d); /* NULL: none */

/* Find the program and start it with the items it is to have; DAEMON_RUNNING follows when it has said hello. */
gboolean daemon_start(struct daemon *d, GError **error);
/* The same for one that has been up and has died while nobody looked: if this start fails, others follow, as after any death. */
void daemon_revive(struct daemon *d);
/* Go on with one that runs; its items are asked for.  False: it does not run. */
bool daemon_adopt(struct daemon *d, const struct proc_id *id);
/* DAEMON_DOWN follows. */
void daemon_stop(struct daemon *d);

/* What is wanted.  params: what add_method takes, "name" included; more (may be NULL): what it takes besides; the references
 * are taken.  An item that is there with the same params stays as it is; with others it is removed and added.  A change of
 * `more` holds from the next time it is added; telling it to one that is there is the caller's. */
void daemon_add_item(struct daemon *d, struct json_object *params, struct json_object *more);
void daemon_remove_item(struct daemon *d, const char *name);
struct daemon_item *daemon_find_item(const struct daemon *d, const char *name);

/* Another method of its control socket, while it runs: fn has the answer, unless the daemon ends before it comes.  params: a
 * reference that is taken.  daemon_tell(): a failure goes to the log, and that is all. */
void daemon_ask(struct daemon *d, const char *method, struct json_object *params, rpc_answer_fn *fn,
		void *data);
void daemon_tell(struct daemon *d, const char *method, struct json_object *params);

#endif
