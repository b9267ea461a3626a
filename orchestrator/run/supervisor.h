/* SPDX-License-Identifier: MIT */
/* The process that keeps one lab: `orchestrator supervise NAME`.
 *
 * It owns the lab's lock, its switches and machines, its state file and its socket.  Everything in it is level-triggered:
 * something changes (a process ends, a port negotiates, a guest says ready, a client calls), the change is noted where it
 * belongs, and sup_poke() asks for one round of looking at it all: the executor takes the next steps, calls that wait are
 * answered, the state is written.  No step waits for anything by itself, so no order of events can get lost.
 *
 * It can be killed at any moment: what it started goes on, and the next supervisor takes it over (remains.h).
 *
 * The files of this: supervisor.c (life and adoption), sockets.c (the daemon of sockets), forwards.c (what it
 * forwards), executor.c (plan -> deeds), launch.c (what a VM needs before its QEMU starts), service.c (the methods of its
 * socket), report.c (what it says about itself).
 */
#ifndef RUN_SUPERVISOR_H
#define RUN_SUPERVISOR_H

#include <stdbool.h>
#include <gio/gio.h>

#include "image/image.h"
#include "model/lab.h"
#include "run/jsonrpc.h"
#include "run/machine.h"
#include "run/daemon.h"

struct executor;
struct observed;
struct qemu_caps;
struct service;
struct state;

struct supervisor {
	char *name;
	struct lab_dirs *dirs;
	struct lab_paths *paths; /* of the name alone while there is no lab */
	struct lab *lab;         /* as applied last; NULL: none yet, or it is being taken down */
	char *lab_path;          /* the file it came from */
	GHashTable *switches;    /* name -> struct daemon */
	struct daemon *sockets;  /* the lab's vhost-user-hvsock; NULL: never was needed */
	GHashTable *forwards;    /* set of ids: forwards that the daemon has, or was given */
	bool forwards_asked, forwards_known; /* what it has, since it runs */
	GHashTable *changes; /* id -> struct state_forward: what clients have added and removed */
	GPtrArray *forward_calls; /* those that wait for the daemon */
	GHashTable *machines;     /* name -> struct machine */
	GHashTable *images;       /* name -> struct image_slot (launch.c) */
	struct qemu_caps *caps[LAB_ARCH_COUNT];
	struct executor *executor;
	struct service *service;
	int lock_fd;
	guint poke;
	guint bound_timer;
	bool state_dirty;
	bool cleanup; /* when it has gone down: the logs too */
	bool leaving; /* the main loop ends after this round */
};

/* Run it: returns the exit code.  client_fd (or -1) is a connection that the first client holds already. */
int supervise(const char *lab_name, int client_fd);

/* Look at everything once the current event has been dealt with. */
void sup_poke(struct supervisor *sup);

/* Tell subscribers and the log.  kind is "vm", "network" or "lab"; text may be NULL. */
void sup_event(struct supervisor *sup, const char *kind, const char *subject, const char *stage,
	       const char *text);

/* The switch or machine of that name, made if need be. */
struct daemon *sup_switch(struct supervisor *sup, const char *name);
struct machine *sup_machine(struct supervisor *sup, const char *name);
/* NULL: there is none. */
struct daemon *sup_find_switch(struct supervisor *sup, const char *name);
struct machine *sup_find_machine(struct supervisor *sup, const char *name);
/* One that is no longer in the lab and no longer runs. */
void sup_forget_switch(struct supervisor *sup, const char *name);
void sup_forget_machine(struct supervisor *sup, const char *name);

/* What runs, for the planner.  Caller frees. */
struct observed *sup_observe(struct supervisor *sup);
/* What runs, for the state file and for reports.  Caller frees. */
struct state *sup_state(struct supervisor *sup);
/* Write that to the state file, now. */
void sup_save_state(struct supervisor *sup);
/* Whether any QEMU or daemon of the lab runs. */
bool sup_anything_runs(struct supervisor *sup);

/* Take over a new version of the lab (NULL: none).  Consumes it. */
void sup_set_lab(struct supervisor *sup, struct lab *lab);

/* Everything is down: remove what we made, and end. */
void sup_leave(struct supervisor *sup);

/* --- sockets.c -------------------------------------------------------------------------------------------- */

/* The daemon of sockets, made if need be. */
struct daemon *sup_sockets(struct supervisor *sup);
/* Have it serve that VM of the lab, as the lab says now. */
void sup_add_sockets(struct supervisor *sup, const struct vm *vm);
/* Listen for the agent of a machine that has sockets and is in the lab.  A failure is told in the log: the machine then waits
 * for an agent that cannot call. */
void sup_attend_agent(struct supervisor *sup, struct machine *m);
/* Go on with one that an earlier supervisor started; or start it again, if its VMs live. */
void sup_adopt_sockets(struct supervisor *sup, const struct state *state);
/* Write the ssh_config of the lab. */
void sup_write_ssh_config(const struct supervisor *sup);

/* --- forwards.c ------------------------------------------------------------------------------------------- */

/* The tables of struct supervisor. */
GHashTable *forward_changes_new(void);
GPtrArray *forward_calls_new(void);

/* Give the daemon the forwards that are wanted, and take back those that no longer are. */
void sup_sync_forwards(struct supervisor *sup);
/* The daemon does not run, or not any more: it has none, and who waits for it waits in vain. */
void sup_lose_forwards(struct supervisor *sup, const char *why);
/* The lab is another, or has none any more: forget the changes that were made to the old one and mean nothing now. */
void sup_prune_forwards(struct supervisor *sup);
/* The changes, to and from a state. */
void sup_save_forwards(const struct supervisor *sup, struct state *state);
void sup_adopt_forwards(struct supervisor *sup, const struct state *state);

/* What clients ask for.  The call is answered now or later; text is as in the lab file, and may be nonsense or NULL.  What
 * was added holds until it is removed, its VM is taken out of the lab or the lab goes down; so does the removal of one of
 * the lab file, until it is added again.  What the daemon refuses is not kept. */
void sup_forward_add(struct supervisor *sup, struct rpc_call *call, const struct vm *vm,
		     const char *text);
void sup_forward_remove(struct supervisor *sup, struct rpc_call *call, const struct vm *vm,
			const char *text);
/* vm: of that one alone; NULL: of all. */
void sup_forward_list(struct supervisor *sup, struct rpc_call *call, const char *vm);

/* --- launch.c --------------------------------------------------------------------------------------------- */

enum launch { LAUNCH_WAIT, LAUNCH_READY, LAUNCH_FAILED };

/* Check what can be known before anything is started: QEMU and daemon found, acceleration possible.  Fills in what is
 * missing in caps (by architecture), which is the caller's.  ORCH_ERROR_HOST_UNFIT.  Needs no supervisor: `up` asks
 * before it makes one. */
gboolean launch_check(const struct lab *lab, const struct lab_dirs *dirs,
		      struct qemu_caps *caps[LAB_ARCH_COUNT], GError **error);

/* Make an image, or find it made; blocks.  progress and cancellable may be NULL.  A file that is missing is
 * ORCH_ERROR_HOST_UNFIT. */
gboolean launch_make_image(const struct lab_image *from, const char *cache_dir,
			   image_progress_fn *progress, GCancellable *cancellable,
			   struct image **ret_image, GError **error);

/* The image of that name (lab->images): begun when it is asked for the first time.  On LAUNCH_FAILED *ret_problem (may be
 * NULL) is an error that lives as long as the lab. */
enum launch launch_image(struct supervisor *sup, const char *name, const GError **ret_problem);

/* Write what the VM's QEMU reads, and start it.  Its image is ready, its ports listen. */
gboolean launch_vm(struct supervisor *sup, const struct vm *vm, GError **error);

/* The table of images, for supervisor.c. */
GHashTable *launch_images_new(void);

#endif
