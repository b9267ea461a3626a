/* SPDX-License-Identifier: MIT */
/* One network's switch: a vhost-user-net process, its ports, and its life after death.
 *
 * The list of ports kept here is what is wanted; the daemon's is what is.  Before every start the list is written to the
 * daemon's configuration, so that a daemon that has been started anew listens on all of its sockets before it says a word,
 * and every QEMU finds its way back by itself.  A running daemon is told over its control socket.
 *
 * A daemon that dies is started again at once; one that keeps dying, after growing pauses.  One that never came up has
 * failed: what keeps it from starting will not go away by itself.
 *
 * Ownership and threads as for machines.  Freeing it leaves the daemon running.
 */
#ifndef RUN_SWITCHD_H
#define RUN_SWITCHD_H

#include <stdbool.h>
#include <glib.h>

#include "run/proc.h"

struct dial;
struct json_object;
struct daemon_paths;
struct rpc_client;
struct switchd;

enum switch_stage { SWITCH_DOWN, SWITCH_STARTING, SWITCH_RUNNING, SWITCH_STOPPING, SWITCH_FAILED };
const char *switch_stage_word(enum switch_stage stage);

struct switch_port {
	char *name, *path;
	char *state; /* as the daemon sees it: "listening", "negotiated", …; NULL: it does not have it (yet) */
	bool ours;     /* the daemon has made that socket: it may be unlinked */
	char *problem; /* why the daemon refused it; NULL: it did not */
};

struct switchd_ops {
	/* Its stage has changed, or a port has come, gone or been refused. */
	void (*changed)(struct switchd *sw, void *data);
	/* A frontend has (un)negotiated. */
	void (*port)(struct switchd *sw, const char *port, bool negotiated, void *data);
	/* A line for people: it died and was started again. */
	void (*note)(struct switchd *sw, const char *text, void *data);
};

struct switchd {
	char *name;
	struct daemon_paths *paths;
	enum switch_stage stage;
	char *reason; /* why it failed or is being started again */
	int reason_code;
	GPtrArray *ports; /* of struct switch_port */
	unsigned restarts;

	/* Private. */
	const struct switchd_ops *ops;
	void *data;
	struct proc *proc;
	struct dial *dial;
	struct rpc_client *rpc;
	GPtrArray *calls; /* about ports, under way */
	bool ever_up;
	unsigned quick_deaths;
	gint64 started_us;
	gint64 log_from;
	guint timer; /* the next start, or SIGKILL */
};

/* Takes over paths. */
struct switchd *switchd_new(const char *name, struct daemon_paths *paths,
			    const struct switchd_ops *ops, void *data);
void switchd_free(struct switchd *sw);

bool switchd_alive(const struct switchd *sw);
const struct proc_id *switchd_process(const struct switchd *sw); /* NULL: none */

/* Find the daemon and start it with the ports it is to have; SWITCH_RUNNING follows when it has said hello. */
gboolean switchd_start(struct switchd *sw, GError **error);
/* Go on with one that runs; its ports are asked for.  False: it does not run. */
bool switchd_adopt(struct switchd *sw, const struct proc_id *id);
/* SWITCH_DOWN follows. */
void switchd_stop(struct switchd *sw);

/* What is wanted.  An added port that is there already, or whose name is known, changes nothing. */
void switchd_add_port(struct switchd *sw, const char *name, const char *path);
void switchd_remove_port(struct switchd *sw, const char *name);
struct switch_port *switchd_find_port(const struct switchd *sw, const char *name);

#endif
