/* SPDX-License-Identifier: MIT */
/* What has to be done so that what runs becomes what the lab file says.
 *
 * (lab, observed) -> ordered steps.  Pure: no I/O, no clock; the same input gives the same plan.  `plan` prints it, `up`
 * executes it, and running `up` twice does nothing the second time because
 *
 *     plan_make(lab, plan_result(plan, observed)) is empty
 *
 * holds for every lab and every observed state (a property test checks it), but for the steps that are held back.
 *
 * What never happens: a VM that runs and whose settings changed is not restarted behind its user's back.  Its step is
 * STEP_VM_RESTART with held = true: told, not done, and its switch ports stay as they are.  With PLAN_RESTART the same
 * change becomes VM_STOP, PORT_REMOVE, PORT_ADD, VM_START; the same goes for the VM's sockets.  A switch that died under running VMs is started again and
 * given its ports; the VMs reconnect by themselves and have no step.
 *
 * Nor is a portal whose settings changed made anew while a VM has it that is left running, because what it holds is lost by
 * it: that is STEP_PORTAL_RESTART, held.  Else it becomes PORTAL_STOP and PORTAL_START.  Processes of the host are not counted:
 * their leases end, and they may come again.
 *
 * What a switch is told beside its ports (impairment, rules, VLANs, render/switch.h) changes while everything runs: one step
 * STEP_NET_UPDATE where a network that runs is told other things than the lab says.  Those of ports that come or go are told
 * with them and need no step.
 *
 * Order: a step's deps have smaller numbers than itself, so executing front to back is right, and so is executing
 * everything whose deps are done at once.  A VM_START depends on its image, its ports, its sockets, its accesses to portals and the VM_STARTs of its `after`:
 * there "done" means the VM is *ready*.  A VM of `after` that has no step runs already; whoever executes still has to see
 * that it is ready.
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include <glib.h>
#include <stdbool.h>

#include "plan/observed.h"

struct json_object;
struct lab;
struct vm;

#define STEP_KINDS(X)                                                    \
	X(STEP_VM_STOP, "vm-stop", "stop VM")                            \
	X(STEP_PORT_REMOVE, "port-remove", "remove port")                \
	X(STEP_NET_STOP, "net-stop", "stop switch")                      \
	X(STEP_SOCKETS_REMOVE, "sockets-remove", "remove sockets of VM") \
	X(STEP_SOCKETS_STOP, "sockets-stop", "stop daemon of")           \
	X(STEP_PORTAL_STOP, "portal-stop", "stop portal")                \
	X(STEP_PORTAL_REMOVE, "portal-remove", "remove access of VM")    \
	X(STEP_IMAGE, "image", "prepare image")                          \
	X(STEP_NET_START, "net-start", "start switch")                   \
	X(STEP_PORT_ADD, "port-add", "add port")                         \
	X(STEP_NET_UPDATE, "net-update", "update switch")                \
	X(STEP_SOCKETS_START, "sockets-start", "start daemon of")        \
	X(STEP_SOCKETS_ADD, "sockets-add", "add sockets of VM")          \
	X(STEP_PORTAL_START, "portal-start", "start portal")             \
	X(STEP_PORTAL_ADD, "portal-add", "add access of VM")             \
	X(STEP_VM_START, "vm-start", "start VM")                         \
	X(STEP_VM_RESTART, "vm-restart", "restart VM")                   \
	X(STEP_PORTAL_RESTART, "portal-restart", "make anew portal")

#define STEP_KIND_ID(id, word, text) id,
enum step_kind { STEP_KINDS(STEP_KIND_ID) STEP_KIND_COUNT };

/* "vm-start", for JSON; "start VM", for people. */
const char *step_kind_word(enum step_kind kind);
const char *step_kind_text(enum step_kind kind);

/* The subject of the steps about the daemon of sockets itself. */
#define PLAN_SOCKETS "sockets"

struct step {
	enum step_kind kind;
	bool held;      /* told, not done: STEP_VM_RESTART and STEP_PORTAL_RESTART only */
	char *subject;  /* VM, network, portal, image, port ("n1.0"), or PLAN_SOCKETS */
	char *network;  /* ports: of which network; otherwise NULL */
	char *portal;   /* accesses: to which portal; otherwise NULL */
	char *reason;   /* for people: "not running", "memory changed", "no longer in the lab" */
	unsigned index; /* in plan->steps */
	GArray *deps;   /* of unsigned, indices of steps that come first, ascending */
};

struct plan {
	GPtrArray *steps; /* of struct step */
	unsigned n_todo;  /* steps that are not held */
};

enum plan_flags {
	PLAN_DEFAULT = 0,
	PLAN_RESTART = 1 << 0, /* restart VMs whose settings changed instead of telling */
};

/* lab may be NULL: nothing is wanted, everything that is observed has to go (`down`). */
struct plan *plan_make(const struct lab *lab, const struct observed *observed,
		       enum plan_flags flags);
void plan_free(struct plan *plan);

static inline const struct step *plan_step(const struct plan *plan, unsigned i)
{
	return plan->steps->pdata[i];
}

/* What would run after every step that is not held has been done.  For tests and for reasoning; pure. */
struct observed *plan_result(const struct plan *plan, const struct lab *lab,
			     const struct observed *observed);

/* A VM's own settings as "key value" lines, one setting a line: equal texts = nothing changed.  What other VMs are called,
 * paths of this host and the bytes of the image do not take part.  The supervisor keeps it with the VM it started and
 * hands it back in struct observed.  Free with g_free(). */
char *plan_vm_settings(const struct lab *lab, const struct vm *vm);
/* Whether a VM with these settings (NULL: it never was started) has Hyper-V's sockets. */
bool plan_settings_has_hvsock(const char *settings);

/* One line a step, numbered: "3  start VM n1  (not running; after 1, 2)"; "nothing to do" for an empty plan. */
char *plan_format(const struct plan *plan);
/* {"steps":[{"kind":"vm-start","subject":"n1","reason":"…","held":false,"deps":[0,1]}, …],"todo":N}; caller owns. */
struct json_object *plan_to_json(const struct plan *plan);

#endif
