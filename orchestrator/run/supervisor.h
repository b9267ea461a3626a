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
 * The files of this: supervisor.c (life and adoption), engines.c (who holds its QEMUs), sockets.c (the daemon of sockets), portals.c (the daemons of portals), forwards.c (what it
 * forwards), network.c (what switches are told), links.c (what clients change of that), executor.c (plan -> deeds), launch.c (what a VM needs before its QEMU starts), service.c (the methods of its
 * socket), report.c (what it says about itself); guests.h has its own.
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

enum launch { LAUNCH_WAIT, LAUNCH_READY, LAUNCH_FAILED };

struct engine;
struct engine_stray;
struct executor;
struct guests;
struct observed;
struct libvirt_caps;
struct qemu_caps;
struct service;
struct state;

struct supervisor {
	char *name;
	struct lab_dirs *dirs;
	struct lab_paths *paths;  /* of the name alone while there is no lab */
	struct lab *lab;          /* as applied last; NULL: none yet, or it is being taken down */
	char *lab_path;           /* the file it came from */
	GHashTable *switches;     /* name -> struct daemon */
	struct daemon *sockets;   /* the lab's vhost-user-hvsock; NULL: never was needed */
	GHashTable *portals;      /* name -> struct daemon */
	GHashTable *portal_texts; /* name -> render_portal_text() that it was started with */
	GHashTable *forwards;     /* set of ids: forwards that the daemon has, or was given */
	bool forwards_asked, forwards_known; /* what it has, since it runs */
	GHashTable *changes; /* id -> struct state_forward: what clients have added and removed */
	GPtrArray *forward_calls;     /* those that wait for the daemon */
	GHashTable *told;             /* network -> what its switch was told (network.c) */
	GHashTable *changed_settings; /* what clients have changed of that (network.c) */
	GPtrArray *link_calls;        /* of clients, that wait for a switch (links.c) */
	guint expiry;                 /* when a change that was made for a time is over */
	GHashTable *engines;  /* lab_engine_text() -> struct engine_link: who holds QEMUs, or did */
	GHashTable *machines; /* name -> struct machine */
	GHashTable *images;   /* name -> struct image_slot (launch.c) */
	struct launch_caps *caps;
	struct guests *guests; /* QEMUs of others that have devices of the lab (guests.h) */
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

/* Tell subscribers and the log.  kind is "vm", "network", "sockets", "portal", "guest" or "lab"; text may be NULL. */
void sup_event(struct supervisor *sup, const char *kind, const char *subject, const char *stage,
	       const char *text);

/* The switch or machine of that name, made if need be. */
struct daemon *sup_switch(struct supervisor *sup, const char *name);
struct machine *sup_machine(struct supervisor *sup, const char *name);
/* NULL: there is none. */
struct daemon *sup_find_switch(struct supervisor *sup, const char *name);
struct machine *sup_find_machine(struct supervisor *sup, const char *name);
/* Have the switch serve that port of the lab's network, a NIC's or an uplink's, as the lab says now. */
void sup_want_port(struct supervisor *sup, struct daemon *sw, const struct network *network,
		   const char *port);
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

/* --- engines.c -------------------------------------------------------------------------------------------- */

/* The table of struct supervisor. */
GHashTable *engines_new(void);
/* The engine of that lab_engine_text(), made if need be; NULL is "qemu". */
struct engine *sup_engine(struct supervisor *sup, const char *text);
/* What engines keep of a lab that has gone down: forgotten?  If not, another round will tell. */
bool sup_clear_engines(struct supervisor *sup);
/* Forget what engines but that one (NULL: all) keep of a VM that does not run there. */
void sup_drop_elsewhere(struct supervisor *sup, const char *vm, const struct engine *but);
/* Why one of them cannot do its work, or could not forget; NULL: all is well.  Borrowed. */
const char *sup_engine_problem(const struct supervisor *sup);
/* Which one a machine has: lab_engine_text(), g_free(); NULL: none, or "qemu". */
char *sup_engine_text(const struct supervisor *sup, const struct machine *m);

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

/* --- portals.c -------------------------------------------------------------------------------------------- */

struct state_net;

/* The daemon of a portal, made if need be; NULL: there is none. */
struct daemon *sup_portal(struct supervisor *sup, const char *name);
struct daemon *sup_find_portal(struct supervisor *sup, const char *name);
/* One that is no longer in the lab and no longer runs. */
void sup_forget_portal(struct supervisor *sup, const char *name);
/* One that has been stopped: its memory goes, unless it is a file of the lab's own, and the next one is given its clients
 * anew. */
void sup_clear_portal(struct supervisor *sup, const char *name);
/* The settings it was started with, as render_portal_text(); "" where it was not. */
const char *sup_portal_text(const struct supervisor *sup, const char *name);
/* The names of those that run with other settings than the lab's: a JSON array, the caller's. */
struct json_object *sup_held_portals(const struct supervisor *sup);
/* Start it as the lab says now, with the clients that it was given.  One that runs stays as it is; one whose daemon died while
 * VMs have its memory is started as it was, and is among sup_held_portals() if the lab says something else. */
void sup_start_portal(struct supervisor *sup, const struct portal *portal);
/* Have it admit that VM, as the lab says now; nothing if the VM does not have the portal. */
void sup_add_access(struct supervisor *sup, const struct vm *vm, const struct portal *portal);
/* Have all portals of a VM admit it.  LAUNCH_FAILED: one does not run, runs with other settings, or refuses. */
enum launch sup_want_accesses(struct supervisor *sup, const struct vm *vm, GError **error);
/* Go on with one that an earlier supervisor started; or start it again. */
void sup_adopt_portal(struct supervisor *sup, const struct state_net *was);

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

/* --- network.c -------------------------------------------------------------------------------------------- */

struct state_setting;

/* The tables of struct supervisor. */
GHashTable *network_told_new(void);
GHashTable *network_changes_new(void);

/* Tell every switch that runs what it lacks. */
void network_tell_all(struct supervisor *sup);
/* Whether all is told and answered that can be told now; tells it first. */
bool network_is_told(struct supervisor *sup, const char *network);
/* What the switch has refused: "rule:r: …; forward:nat:…: …"; NULL: nothing.  g_free(). */
char *network_problem(struct supervisor *sup, const char *network);

/* Something has changed about what is wanted, or about which ports are there.  network: NULL for all. */
void network_compare_again(struct supervisor *sup, const char *network);
/* For the configuration of a switch that is started anew: what the one before it had taken and what is still wanted, as an
 * array of {"method","params"}, so that it is in force for the first frame.  Counts as told.  NULL: nothing.  The caller owns
 * it. */
struct json_object *network_setup(struct supervisor *sup, const char *network);
/* Its switch has forgotten everything. */
void network_switch_died(struct supervisor *sup, const char *network);
/* No answer comes any more to calls that are under way. */
void network_connection_lost(struct supervisor *sup, const char *network);

/* What clients change: a setting in place of the file's.  A new one begins as the file has it. */
struct state_setting *network_change(const struct supervisor *sup, const char *network,
				     const char *key);
struct state_setting *network_make_change(struct supervisor *sup, const char *network,
					  const char *key);
void network_forget_change(struct supervisor *sup, const char *network, const char *key);
/* All that was changed about a port that is no more. */
void network_forget_port(struct supervisor *sup, const char *network, const char *port);
/* Forget those about which the lab file has changed. */
void network_prune_changes(struct supervisor *sup);
/* Whether what was changed for a time still holds. */
bool network_passes(const struct state_setting *change);
/* A client's call has told the switch that itself; params: NULL, that it is taken back. */
void network_note_told(struct supervisor *sup, const char *network, const char *key,
		       const char *params);
/* The params of a setting of the lab file; NULL: it has none.  g_free(). */
char *network_file_setting(const struct supervisor *sup, const char *network, const char *key);

/* What a switch was told, as render_switch_text(): with and without what clients have changed.  g_free(). */
char *network_text_told(struct supervisor *sup, const char *network);
char *network_text_of_file(struct supervisor *sup, const char *network);

/* To and from a state. */
void network_adopt_told(struct supervisor *sup, const char *network, const char *text);
void network_save_changes(const struct supervisor *sup, struct state *state);
void network_adopt_changes(struct supervisor *sup, const struct state *state);

/* --- links.c ---------------------------------------------------------------------------------------------- */

GPtrArray *link_calls_new(void);

/* The methods of clients.  The call is answered when the switch has answered; what it refuses is not kept.  What is changed
 * holds until it is reset, the lab file says something else about that link, or the lab goes down.
 *
 *   link.set {"link","direction"?,"profile"?,"settings"?,"replace"?,"for-ns"?} → {"port","network"}
 *   link.reset {"link","direction"?} → {…}          as the lab file has it
 *   link.up, link.down {"link","for-ns"?} → {…}
 *   nat.add, nat.remove {"network","forward"} → {…}    forwards of a NAT uplink
 *   nat.list {"network"?} → {"forwards":[{"network","forward","origin","active","problem"?}…]} */
void link_method_set(struct supervisor *sup, struct rpc_call *call, struct json_object *params);
void link_method_reset(struct supervisor *sup, struct rpc_call *call, struct json_object *params);
void link_method_carrier(struct supervisor *sup, struct rpc_call *call, struct json_object *params,
			 bool up);
void link_method_nat(struct supervisor *sup, struct rpc_call *call, struct json_object *params,
		     bool add);
void link_method_nat_list(struct supervisor *sup, struct rpc_call *call,
			  struct json_object *params);
/* The switch's connection has ended: who waits for it waits in vain. */
void link_calls_lost(struct supervisor *sup, const char *network, const char *why);

/* Have guests see the carrier that the switch gives them: taken down, flapping, or there; level-triggered. */
void link_show_carriers(struct supervisor *sup);

/* For reports: what holds on a link now beyond the lab file's silence: {"to-guest":{…numbers},"from-guest":{…},
 * "down":true}, members only where there is something.  The caller owns it. */
struct json_object *link_report(struct supervisor *sup, const char *network, const char *port);

/* --- launch.c --------------------------------------------------------------------------------------------- */

/* What the lab's engine can. */
struct launch_caps {
	char *engine;              /* lab_engine_text(); NULL: nothing is known */
	enum lab_engine_user user; /* as the lab says */
	struct libvirt_caps *
		libvirt; /* NULL: it is "qemu".  Its label is of QEMUs that run as the lab's owner, its
				       * qemu_uid of those that run as another user */
	GHashTable *qemu; /* qemu_table_new(): those that it runs; NULL: none is known */
};
void launch_caps_free(struct launch_caps *caps);

/* The QEMU of a VM that has passed launch_check(). */
const struct qemu_caps *launch_qemu(const struct launch_caps *caps, const struct vm *vm);

/* Check what can be known before anything is started: libvirt, QEMU and daemons found, acceleration possible.  Fills in what
 * is missing in caps.  ORCH_ERROR_HOST_UNFIT.  Needs no supervisor: `up` asks before it makes one.  Blocks. */
gboolean launch_check(const struct lab *lab, const struct lab_dirs *dirs, struct launch_caps *caps,
		      GError **error);

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

/* A daemon has made a socket of that VM: have its QEMU reach it, where that is another user's.  A failure goes to the log. */
void launch_admit_again(struct supervisor *sup, const char *name);

/* Go on with a VM that somebody else has started, if the lab has it. */
void launch_adopt(struct supervisor *sup, const char *engine, const struct engine_stray *stray);

/* The table of images, for supervisor.c. */
GHashTable *launch_images_new(void);

#endif
