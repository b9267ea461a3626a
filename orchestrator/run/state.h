/* SPDX-License-Identifier: MIT */
/* What a supervisor has started, on disk: so that the next one, `status` and `gc` know it after a kill -9.
 *
 * state.json is written anew and renamed into place at every change that another process must know of: a reader sees the
 * old or the new one, never half.  It is not synced to the disk: after a power cut no process of it runs anyway, and the
 * boot id says so.
 *
 * Trust:     the file is our own, but may be old, cut off, edited or from another boot.  A file that makes no sense is an
 *            error and an empty state; what it says is believed only as far as pid, start time and boot id agree.
 * Ownership: every string belongs to its struct.
 */
#ifndef RUN_STATE_H
#define RUN_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "run/ladder.h"
#include "run/proc.h"
#include "run/state_guest.h"

struct state_net {
	char *name;
	struct proc_id id;
	unsigned restarts;
	char *settings; /* of a switch: what it was told, as render_switch_text(); of a portal: render_portal_text(); NULL: nothing */
	const char *stage; /* not in the file: daemon_stage_word() or NULL */
	char *reason;      /* nor is this */
};

struct state_port {
	char *name; /* "n1.0" */
	char *network;
	char *path;  /* its socket */
	char *state; /* not in the file: as the switch sees it, or NULL */
};

struct state_vm {
	char *name;
	struct proc_id id; /* pid 0: it does not run */
	enum stage stage;
	char *engine;        /* lab_engine_text() of who holds it; NULL: QEMU as a process */
	char *console;       /* the terminal that is its console; NULL: it is its socket */
	char *settings;      /* plan_vm_settings() when it was started; NULL: never was */
	char *reason;        /* why it failed or stopped; NULL: it did not */
	gint64 ready_us;     /* from its start to ready; 0: it never was */
	uint32_t cid;        /* 0: it was started without a socket device */
	char *sockets;       /* not in the file: as the daemon of sockets sees them, or NULL */
	char *agent;         /* nor is this: vm_agent_state_word(), or NULL */
	char *agent_version; /* nor this; NULL: none has called */
	char *waits_for;     /* nor this: more than the stage says, or NULL */
	bool paused;         /* nor this: somebody else has paused it */
	GPtrArray *ports;    /* of struct state_port, by NIC */
};

/* In what the forwards of the running lab are not those of its file. */
struct state_forward {
	char *vm;
	char *text;   /* as in the lab file: "tcp:127.0.0.1:2222:22" */
	bool removed; /* one of the file, that was taken back; else one that was added */
};

/* A setting of a switch (render/switch.h) that is not as the file has it, because a client said so while the lab runs. */
struct state_setting {
	char *network, *key;
	char *params;    /* what holds in its place; NULL: nothing, the setting is taken back */
	char *file;      /* what the file said then; NULL: nothing */
	char *passing;   /* what holds beyond that until until_us; NULL: nothing */
	gint64 until_us; /* on the clock of proc_boottime_us() */
};

struct state {
	char *lab;  /* name */
	char *path; /* the lab file it was made from */
	char boot_id[PROC_BOOT_ID_LEN + 1];
	struct proc_id supervisor; /* pid 0: ended in an orderly way */
	GPtrArray *nets;           /* of struct state_net */
	struct state_net *sockets; /* the daemon of sockets; NULL: none */
	GPtrArray *portals;        /* of struct state_net: the daemons of portals */
	GPtrArray *vms;            /* of struct state_vm */
	GPtrArray *forwards;       /* of struct state_forward */
	GPtrArray *settings;       /* of struct state_setting */
	GPtrArray *guests;         /* of struct state_guest */
};

/* Empty, of this boot. */
struct state *state_new(const char *lab, const char *path);
void state_free(struct state *s);
struct state_net *state_add_net(struct state *s, const char *name);
struct state_net *state_add_sockets(struct state *s);
struct state_net *state_add_portal(struct state *s, const char *name);
struct state_vm *state_add_vm(struct state *s, const char *name);
struct state_port *state_add_port(struct state_vm *vm, const char *name, const char *network,
				  const char *path);
void state_add_forward(struct state *s, const char *vm, const char *text, bool removed);
struct state_forward *state_forward_new(const char *vm, const char *text, bool removed);
void state_forward_free(struct state_forward *f);
/* The other strings are set by the caller. */
struct state_setting *state_add_setting(struct state *s, const char *network, const char *key);
void state_setting_free(struct state_setting *l);
/* Takes it over. */
void state_add_guest(struct state *s, struct state_guest *guest);
struct state_vm *state_find_vm(const struct state *s, const char *name);

/* A file that is not there is an empty state with lab == NULL.  After a reboot every pid is 0.  FALSE: damaged; says how. */
gboolean state_load(const char *path, struct state **ret_state, GError **error);
gboolean state_save(const char *path, const struct state *s, GError **error);

/* Whether anything of it runs now, the supervisor and the QEMUs of others not counted. */
bool state_anything_alive(const struct state *s);
bool state_supervisor_alive(const struct state *s);

/* Replace a file's contents in one step, mode 0600.  Says which file, and why ("No space left on device"). */
gboolean state_write_file(const char *path, const char *text, gssize len, GError **error);

/* Take a lab's lock for this process's life.  The descriptor, or -1: ORCH_ERROR_CONFLICT, somebody holds it. */
int state_lock(const char *path, GError **error);

#endif
