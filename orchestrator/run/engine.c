/* SPDX-License-Identifier: MIT */
#include "run/engine.h"

void engine_free(struct engine *e)
{
	if (e)
		e->class->close(e);
}

struct engine_vm *engine_start(struct engine *e, const struct engine_start *start,
			       const struct engine_vm_ops *ops, void *data, GError **error)
{
	return e->class->start(e, start, ops, data, error);
}

struct engine_vm *engine_adopt(struct engine *e, const struct state_vm *was,
			       const struct vm_paths *paths, const struct engine_vm_ops *ops,
			       void *data)
{
	return e->class->adopt(e, was, paths, ops, data);
}

void engine_vm_free(struct engine_vm *v)
{
	if (v)
		v->class->free(v);
}

const char *engine_problem(const struct engine *e)
{
	return e->class->problem ? e->class->problem(e) : NULL;
}

void engine_drop(struct engine *e, const char *vm)
{
	if (e->class->drop)
		e->class->drop(e, vm);
}

bool engine_clear(struct engine *e)
{
	return !e->class->clear || e->class->clear(e);
}

const char *engine_vm_console(const struct engine_vm *v)
{
	return v->class->console ? v->class->console(v) : NULL;
}

const struct proc_id *engine_vm_process(const struct engine_vm *v)
{
	return v->class->process(v);
}

bool engine_vm_reachable(const struct engine_vm *v)
{
	return v->class->reachable(v);
}

void engine_vm_press_button(struct engine_vm *v)
{
	v->class->press_button(v);
}

void engine_vm_quit(struct engine_vm *v)
{
	v->class->quit(v);
}

void engine_vm_kill(struct engine_vm *v)
{
	v->class->kill(v);
}

void engine_vm_set_link(struct engine_vm *v, unsigned nic, bool up)
{
	v->class->set_link(v, nic, up);
}

void engine_vm_refresh(struct engine_vm *v)
{
	v->class->refresh(v);
}
