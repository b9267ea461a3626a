/* SPDX-License-Identifier: MIT */
/* Where a VM stands between "start" and "ready", and what it is waited for: pure.
 *
 * Four probes, each the business of another witness, in the order in which they come true:
 *
 *   process     the kernel:  QEMU runs
 *   qmp         QEMU:        its monitor answers
 *   negotiated  the switch:  the guest's driver has set up every NIC (no word of the guest is needed for that)
 *   ready       the guest:   its agent says so, or it has written "ready 1" to its second serial port
 *
 * A VM is as far as the first probe that does not hold.  The ladder only climbs: a switch that is restarted, or a guest
 * that reboots, does not make a ready VM unready (`status` shows the port's state beside the stage).
 */
#ifndef RUN_LADDER_H
#define RUN_LADDER_H

#include <stdbool.h>

/* X(id, word).  Between STARTING and READY a VM is on its way; the last three have no QEMU. */
#define LADDER_STAGES(X)                  \
	X(STAGE_PLANNED, "planned")       \
	X(STAGE_STARTING, "starting")     \
	X(STAGE_PROCESS, "process")       \
	X(STAGE_QMP, "qmp")               \
	X(STAGE_NEGOTIATED, "negotiated") \
	X(STAGE_READY, "ready")           \
	X(STAGE_STOPPING, "stopping")     \
	X(STAGE_STOPPED, "stopped")       \
	X(STAGE_FAILED, "failed")

#define LADDER_STAGE_ID(id, word) id,
enum stage { LADDER_STAGES(LADDER_STAGE_ID) STAGE_COUNT };

const char *stage_word(enum stage stage);
/* STAGE_COUNT for an unknown word. */
enum stage stage_from_word(const char *word);
/* A QEMU exists that is neither ready nor going away. */
bool stage_on_its_way(enum stage stage);

struct ladder {
	bool process;
	bool qmp;
	unsigned n_nics, n_negotiated;
	bool ready;
};

/* STAGE_STARTING up to STAGE_READY. */
enum stage ladder_stage(const struct ladder *l);
/* What is waited for, for people; "" when nothing is. */
const char *ladder_waits_for(enum stage stage);

/* Whether the text of the `ready` file says so: a whole line "ready 1".  text need not end in NUL. */
bool ladder_ready_mark(const char *text, unsigned long len);
/* What follows the first "error " at the start of a whole line; g_free().  NULL: there is none. */
char *ladder_error_line(const char *text, unsigned long len);

#endif
