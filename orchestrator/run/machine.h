/* SPDX-License-Identifier: MIT */
/* One VM's QEMU: started or adopted, climbed up the ladder, stopped, and what became of it.
 *
 * A machine knows how to run a command line and how to end it; what that line says is render/'s, when it may start is the
 * executor's.  It survives its QEMU: after the end it says why, until it is started again.
 *
 * Stopping: ACPI power button over QMP if the guest is up to hear it, then "quit", then SIGKILL, each with a deadline.
 *
 * Ownership: the machine owns its strings, its process watch and its connections; freeing it leaves QEMU running.
 * Threads:   the thread of the default main context.  ops->changed() comes from the main loop or from machine_start() and
 *            machine_stop(), and may not free the machine.
 */
#ifndef RUN_MACHINE_H
#define RUN_MACHINE_H

#include <stdbool.h>
#include <glib.h>

#include "run/ladder.h"
#include "run/proc.h"
#include "run/state.h"

struct dial;
struct qmp;
struct vm_paths;
struct watch;

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
	char *reason;      /* why it stopped or failed; NULL otherwise */
	int reason_code;   /* of enum orch_error, for a failure */
	gint64 started_us; /* CLOCK_BOOTTIME */
	gint64 ready_us;   /* from its start to ready; 0: not yet */
	unsigned resets;   /* of the guest, as seen */
	bool adopted;

	/* Private. */
	const struct machine_ops *ops;
	void *data;
	struct proc *proc; /* NULL: no QEMU */
	struct dial *dial;
	struct qmp *qmp;
	struct watch *ready_watch;
	GArray *port_up; /* of bool, by NIC */
	guint stop_timer;
	unsigned stop_step;
	bool guest_ended; /* QMP said that the guest powered itself off */
	gint64 log_from;  /* where this run's words begin in qemu.log */
};

/* Takes over paths.  Of a VM that has not been started. */
struct machine *machine_new(const char *name, struct vm_paths *paths, const struct machine_ops *ops,
			    void *data);
void machine_free(struct machine *m);

/* Whether a QEMU exists. */
bool machine_alive(const struct machine *m);
const struct proc_id *machine_process(const struct machine *m); /* NULL: none */

/* Start argv.  paths->dir exists, and so do the files that argv names.  settings is copied; ports is taken over.
 * On failure the machine has failed and knows why, too. */
gboolean machine_start(struct machine *m, const char *const *argv, const char *settings,
		       GPtrArray *ports, GError **error);

/* Go on with a QEMU that an earlier supervisor started.  was: what that one wrote down.  False: it does not run any more;
 * the machine then is what 'was' says, or failed. */
bool machine_adopt(struct machine *m, const struct state_vm *was);

/* Whether the guest has written its mark to this `ready` file. */
bool machine_ready_mark(const char *ready_path);

/* The switch's view of one of its ports: negotiated or not. */
void machine_port_changed(struct machine *m, const char *port, bool negotiated);

/* Bring it down; STAGE_STOPPED follows.  With grace_ms 0 the guest is not asked. */
void machine_stop(struct machine *m, unsigned grace_ms);

/* What it is waited for, with the evidence: "the guest's ready mark". */
const char *machine_waits_for(const struct machine *m);

#endif
