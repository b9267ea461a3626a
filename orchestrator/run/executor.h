/* SPDX-License-Identifier: MIT */
/* From plan to deeds: begins every step whose turn has come, sees which have come true, and knows when all is settled.
 *
 * A step is begun when the steps it depends on are done, a VM also only when those it is `after` are ready and fewer than
 * `jobs` others are booting.  It is done when the world says so (the switch runs, the port listens, the guest is ready),
 * not when something was sent off; so a new plan may replace this one at any time without losing track of what is under
 * way.
 */
#ifndef RUN_EXECUTOR_H
#define RUN_EXECUTOR_H

#include <stdbool.h>
#include <glib.h>

struct plan;
struct supervisor;
struct executor;

struct executor_failure {
	char *subject; /* VM, network, portal or image */
	char *text;
	int exit_code; /* of enum orch_error */
};

struct executor *executor_new(struct supervisor *sup);
void executor_free(struct executor *e);

/* Do this from now on, instead of what was to be done.  Consumes the plan; jobs 0 means no bound; VMs are given grace_ms
 * to power off.  Earlier failures are forgotten. */
void executor_set_plan(struct executor *e, struct plan *plan, unsigned jobs, unsigned grace_ms);

/* One round. */
void executor_run(struct executor *e);

/* Nothing is left to do and nothing is under way: every step is done, failed or in vain, and no VM boots or stops. */
bool executor_settled(struct executor *e);

/* Of struct executor_failure, borrowed: what failed since the plan was set. */
const GPtrArray *executor_failures(const struct executor *e);

/* Prepare and start one VM outside of any plan: its ports, its image, itself.  Call again until it is not LAUNCH_WAIT;
 * LAUNCH_READY: its QEMU has been started. */
struct vm;
enum launch executor_start_vm(struct supervisor *sup, const struct vm *vm, GError **error);

#endif
