/* SPDX-License-Identifier: MIT */
/* Who holds a lab's QEMUs.
 *
 * A machine decides what is to become of its VM and when (machine.h); an engine does it and says what became of it.  How is
 * the engine's own: engine_qemu.c runs a process and holds its monitor, engine_libvirt.c has a libvirtd do that, and hears
 * of what its other users do.  Everything that a lab has besides QEMUs (switches,
 * sockets, portals, images, the agent) is the supervisor's under every engine, and there when start() is called.
 *
 * Level-triggered as all of run/: nothing here blocks, an order is given once and not answered, and what it leads to is an
 * event.  An engine keeps no order for later: what a VM cannot be told now is told again by its machine, after up().
 *
 * Ownership: an engine outlives its VMs.  A struct engine_vm is its machine's: engine_vm_free() forgets it, and the VM runs
 *            on.
 * Threads:   the thread of the default main context; also where an engine works in others, its events come from the main
 *            loop, and never from within a call.
 */
#ifndef RUN_ENGINE_H
#define RUN_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "run/proc.h"

struct engine;
struct engine_vm;
struct state_vm;
struct vm_paths;

/* What became of a VM by itself. */
enum engine_ending {
	ENGINE_ENDED_ITSELF,    /* the guest powered itself off */
	ENGINE_ENDED_ELSEWHERE, /* somebody else ended it, who may */
	ENGINE_ENDED_FAILED,
};

/* What a machine hears; data is the machine. */
struct engine_vm_ops {
	/* Every device is made, the guest runs, and the VM can be told things.  Comes again when it can be told things
	 * again. */
	void (*up)(void *data);
	/* The guest has begun anew. */
	void (*reset)(void *data);
	/* Somebody else has paused the guest, or let it go on. */
	void (*paused)(bool paused, void *data);
	/* The VM is gone, on its own or because it was told to: the last event.  words: a sentence for people, but for
	 * ENGINE_ENDED_ITSELF; code of enum orch_error, for ENGINE_ENDED_FAILED.  The engine_vm may be freed here. */
	void (*ended)(enum engine_ending how, const char *words, int code, void *data);
};

/* What a VM is started with; all of it is the caller's. */
struct engine_start {
	const char *name;
	const char *const *argv; /* of QEMU as a process; NULL under libvirt */
	const char *xml;         /* of its domain; NULL without libvirt */
	const struct vm_paths
		*paths; /* as long as the engine_vm; the files that argv or xml names exist */
	uint32_t cid;   /* 0: it has no socket device */
	bool hvsock;    /* the device is of Hyper-V's sockets, which connects by itself */
};

/* A VM of the lab that somebody else has started, or that nobody remembers. */
struct engine_stray {
	const char *name;
	const char *settings; /* plan_vm_settings() as it was defined */
	struct proc_id id;    /* pid 0: not known */
};

/* What its owner hears, who owns the machines, too. */
struct engine_ops {
	/* It is to be adopted, or ignored. */
	void (*appeared)(const struct engine_stray *stray, void *data);
	/* engine_problem() or engine_clear() would say something else now. */
	void (*changed)(void *data);
};

/* One kind of engine.  Those of the last group are NULL where there is nothing to it. */
struct engine_class {
	const char *name;
	void (*close)(struct engine *e);
	/* The VM is on its way, or NULL: *error says why it cannot be. */
	struct engine_vm *(*start)(struct engine *e, const struct engine_start *start,
				   const struct engine_vm_ops *ops, void *data, GError **error);
	/* Go on with one that an earlier supervisor started.  NULL: it does not run. */
	struct engine_vm *(*adopt)(struct engine *e, const struct state_vm *was,
				   const struct vm_paths *paths, const struct engine_vm_ops *ops,
				   void *data);
	void (*free)(struct engine_vm *v);
	const struct proc_id *(*process)(const struct engine_vm *v);
	bool (*reachable)(const struct engine_vm *v);
	void (*press_button)(struct engine_vm *v);
	void (*quit)(struct engine_vm *v);
	void (*kill)(struct engine_vm *v);
	void (*set_link)(struct engine_vm *v, unsigned nic, bool up);
	void (*refresh)(struct engine_vm *v);

	const char *(*console)(const struct engine_vm *v);
	const char *(*problem)(const struct engine *e);
	void (*drop)(struct engine *e, const char *vm);
	bool (*clear)(struct engine *e);
};

/* What every engine and every VM of one begins with. */
struct engine {
	const struct engine_class *class;
};

struct engine_vm {
	const struct engine_class *class;
};

/* QEMU as a process of ours. */
struct engine *engine_qemu_new(void);

/* NULL is nothing.  Its VMs have been freed; they run on. */
void engine_free(struct engine *e);

/* Why it cannot do its work now; NULL: it can.  Borrowed, until the next event. */
const char *engine_problem(const struct engine *e);
/* Forget what is kept of a VM that is out of the lab, if it does not run. */
void engine_drop(struct engine *e, const char *vm);
/* The lab has gone down: forget everything that is kept of it beyond its life.  Whether that is over; if not, ask again when
 * ops->changed() has come.  What could not be forgotten is engine_problem() then. */
bool engine_clear(struct engine *e);

struct engine_vm *engine_start(struct engine *e, const struct engine_start *start,
			       const struct engine_vm_ops *ops, void *data, GError **error);
struct engine_vm *engine_adopt(struct engine *e, const struct state_vm *was,
			       const struct vm_paths *paths, const struct engine_vm_ops *ops,
			       void *data);
/* NULL is nothing. */
void engine_vm_free(struct engine_vm *v);

/* The terminal that is its serial console; NULL: it is the socket of struct vm_paths. */
const char *engine_vm_console(const struct engine_vm *v);
/* Its QEMU; NULL: not known (yet). */
const struct proc_id *engine_vm_process(const struct engine_vm *v);
/* Whether it can be told things now: to press the power button, set a link, refresh.  What is told to one that cannot is
 * lost. */
bool engine_vm_reachable(const struct engine_vm *v);
/* Have the guest power itself off, which it may not do. */
void engine_vm_press_button(struct engine_vm *v);
/* End it as QEMU ends: disks are flushed, the guest is not asked.  Reachable or not. */
void engine_vm_quit(struct engine_vm *v);
/* End it.  Reachable or not. */
void engine_vm_kill(struct engine_vm *v);
/* Have the guest see whether that NIC has a carrier. */
void engine_vm_set_link(struct engine_vm *v, unsigned nic, bool up);
/* Stop it and let it go on at once, as soon as its socket device is connected: it tells that one's daemon about its rings.  It
 * may come to nothing. */
void engine_vm_refresh(struct engine_vm *v);

#endif
