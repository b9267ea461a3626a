/* SPDX-License-Identifier: MIT */
/* One VM's QEMU: started or adopted, climbed up the ladder, stopped, and what became of it.
 *
 * A machine decides what its QEMU is to do; an engine (engine.h) has it do that.  What it is started with is render/'s, when
 * it may start is the executor's.  It survives its QEMU: after the end it says why, until it is started again.
 *
 * Ready is what the agent says, where there is one and it has called; else the mark on the second serial port.  The tiny
 * guest has to do both: by the mark its console is read.  A guest that
 * says there what went wrong ("error TEXT") will not become ready by itself: machine_gave_up().
 *
 * When the daemon of sockets has died and another one is there, a QEMU with a socket device reconnects and says nothing: it
 * is stopped and continued until the new daemon knows its rings (rings.h).
 *
 * Stopping: the agent is asked to power off, else ACPI's power button is pressed, if the guest is up to hear either; then
 * QEMU is told to quit, then it is killed, each with a deadline.
 *
 * Ownership: the machine owns its strings and its engine_vm; freeing it leaves QEMU running.
 * Threads:   the thread of the default main context.  ops->changed() comes from the main loop or from machine_start() and
 *            machine_stop(), and may not free the machine.
 */
#ifndef RUN_MACHINE_H
#define RUN_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "run/ladder.h"
#include "run/proc.h"
#include "run/rings.h"
#include "run/state.h"

struct engine;
struct engine_vm;
struct vm_paths;
struct watch;

struct vm_agent;

struct machine;
struct machine_ops {
	/* The stage or anything else worth telling has changed. */
	void (*changed)(struct machine *m, void *data);
};

struct machine {
	char *name;
	struct vm_paths *paths;
	char *settings;   /* as started; NULL: never was */
	GPtrArray *ports; /* of struct state_port, by NIC; as started */
	enum stage stage;
	struct ladder ladder;
	char *reason;           /* why it stopped or failed; NULL otherwise */
	int reason_code;        /* of enum orch_error, for a failure */
	char *guest_error;      /* what the guest could not do; NULL: it did not say so */
	uint32_t cid;           /* as started; 0: without a socket device */
	struct vm_agent *agent; /* who waits for its agent; NULL: nobody */
	gint64 started_us;      /* CLOCK_BOOTTIME */
	gint64 ready_us;        /* from its start to ready; 0: not yet */
	unsigned resets;        /* of the guest, as seen */
	bool agent_expected;    /* its image has one: it takes both, the mark and the agent */
	bool adopted;
	bool paused; /* by somebody else */
	/* For ops->changed(): what its owner told others last. */
	enum stage told_stage;
	unsigned told_resets;
	char *told_reason;

	/* Private. */
	const struct machine_ops *ops;
	void *data;
	struct engine *engine; /* that has it, or had it last; NULL: it never was started */
	struct engine_vm *vm;  /* NULL: no QEMU */
	struct watch *ready_watch;
	GArray *port_up;    /* of bool, by NIC */
	struct rings rings; /* of its socket device */
	guint stop_timer;
	unsigned stop_step;
	unsigned stop_grace_ms; /* for the power button */
	bool marked;            /* the guest has written its mark */
	uint32_t links_down;    /* bit by NIC: whose carrier QEMU was told to take away, */
	uint32_t links_unknown; /* and where only an earlier supervisor knows what it was told */
};

/* Takes over paths.  Of a VM that has not been started. */
struct machine *machine_new(const char *name, struct vm_paths *paths, const struct machine_ops *ops,
			    void *data);
void machine_free(struct machine *m);

/* Whether a QEMU exists. */
bool machine_alive(const struct machine *m);
const struct proc_id *machine_process(const struct machine *m); /* NULL: none, or not known */
/* The terminal that is its console; NULL: none, or it is its socket. */
const char *machine_console(const struct machine *m);

/* What a machine is started with. */
struct machine_start {
	struct engine *engine;   /* outlives the machine */
	const char *const *argv; /* for the engine: struct engine_start */
	const char *xml;         /* the same */
	const char *settings;    /* copied */
	GPtrArray *ports;        /* of struct state_port, by NIC; taken over */
	uint32_t cid;            /* 0: argv has no socket device */
};

/* paths->dir exists.  On failure the machine has failed and knows why, too. */
gboolean machine_start(struct machine *m, const struct machine_start *start, GError **error);

/* Who waits for its agent, from now on; taken over.  Its ops->changed() is machine_agent_changed(), of this machine. */
void machine_set_agent(struct machine *m, struct vm_agent *agent);
void machine_agent_changed(void *machine);

/* Go on with a QEMU that an earlier supervisor started.  was: what that one wrote down.  False: it does not run any more;
 * the machine then is what 'was' says, or failed. */
bool machine_adopt(struct machine *m, struct engine *engine, const struct state_vm *was);

/* Whether the guest has written its mark to this `ready` file. */
bool machine_ready_mark(const char *ready_path);

/* The daemon of sockets is gone; another one is there, and QEMU has connected to it; that one knows QEMU's rings. */
void machine_sockets_lost(struct machine *m);
void machine_sockets_back(struct machine *m);
void machine_sockets_known(struct machine *m);

/* The switch's view of one of its ports: negotiated or not. */
void machine_port_changed(struct machine *m, const char *port, bool negotiated);

/* Have the guest see whether a NIC has a carrier: the switch alone cannot tell it.  Before QEMU can be told nothing
 * happens: call again.  again: tell QEMU even if it was told that before. */
void machine_set_carrier(struct machine *m, unsigned nic, bool up, bool again);

/* Bring it down; STAGE_STOPPED follows.  With grace_ms 0 the guest is not asked. */
void machine_stop(struct machine *m, unsigned grace_ms);

/* What it is waited for, with the evidence: "the guest's ready mark", "probe http: … (hint: …)"; "" when nothing is. */
const char *machine_waits_for(const struct machine *m);

/* On its way, and will not arrive: reason says what the guest said. */
bool machine_gave_up(const struct machine *m);

#endif
