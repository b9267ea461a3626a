/* SPDX-License-Identifier: MIT */
#include "engine_fixture.h"

#include "err.h"
#include "run/state.h"

static struct fake_engine *of_vm(const struct engine_vm *v)
{
	return (struct fake_engine *)((char *)(uintptr_t)v - offsetof(struct fake_engine, vm));
}

static void tell(const struct engine_vm *v, const char *order)
{
	g_string_append_printf(of_vm(v)->told, "%s ", order);
}

static void close_it(struct engine *e)
{
}

static struct engine_vm *begin(struct fake_engine *f, const struct engine_vm_ops *ops, void *data)
{
	f->ops = ops;
	f->data = data;
	f->reachable = false;
	return &f->vm;
}

static struct engine_vm *start(struct engine *e, const struct engine_start *s,
			       const struct engine_vm_ops *ops, void *data, GError **error)
{
	struct fake_engine *f = (struct fake_engine *)e;

	g_string_append(f->told, "start ");
	if (!f->refusal)
		return begin(f, ops, data);
	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, f->refusal);
	return NULL;
}

static struct engine_vm *adopt(struct engine *e, const struct state_vm *was,
			       const struct vm_paths *paths, const struct engine_vm_ops *ops,
			       void *data)
{
	struct fake_engine *f = (struct fake_engine *)e;

	g_string_append(f->told, "adopt ");
	f->process = was->id;
	return f->adopts ? begin(f, ops, data) : NULL;
}

static void forget(struct engine_vm *v)
{
	tell(v, "free");
	of_vm(v)->ops = NULL;
}

static const struct proc_id *process(const struct engine_vm *v)
{
	const struct fake_engine *f = of_vm(v);

	return f->process.pid ? &f->process : NULL;
}

static bool reachable(const struct engine_vm *v)
{
	return of_vm(v)->reachable;
}

static void press_button(struct engine_vm *v)
{
	tell(v, "button");
}

static void quit(struct engine_vm *v)
{
	tell(v, "quit");
}

static void kill_it(struct engine_vm *v)
{
	tell(v, "kill");
}

static void set_link(struct engine_vm *v, unsigned nic, bool up)
{
	g_string_append_printf(of_vm(v)->told, "link:%u:%s ", nic, up ? "on" : "off");
}

static void refresh(struct engine_vm *v)
{
	tell(v, "refresh");
}

static const struct engine_class class_fake = {
	.name = "fake",
	.close = close_it,
	.start = start,
	.adopt = adopt,
	.free = forget,
	.process = process,
	.reachable = reachable,
	.press_button = press_button,
	.quit = quit,
	.kill = kill_it,
	.set_link = set_link,
	.refresh = refresh,
};

void fake_engine_init(struct fake_engine *f)
{
	*f = (struct fake_engine){ .engine.class = &class_fake, .vm.class = &class_fake };
	f->told = g_string_new(NULL);
}

void fake_engine_done(struct fake_engine *f)
{
	g_string_free(f->told, TRUE);
}

char *fake_engine_told(struct fake_engine *f)
{
	char *told = g_strdup(f->told->str);

	g_string_truncate(f->told, 0);
	return told;
}

struct engine_vm *fake_engine_vm(struct fake_engine *f)
{
	f->reachable = true;
	return &f->vm;
}

void fake_engine_up(struct fake_engine *f)
{
	f->reachable = true;
	f->ops->up(f->data);
}

void fake_engine_reset(struct fake_engine *f)
{
	f->ops->reset(f->data);
}

void fake_engine_pause(struct fake_engine *f, bool paused)
{
	f->ops->paused(paused, f->data);
}

void fake_engine_end(struct fake_engine *f, enum engine_ending how, const char *words, int code)
{
	f->ops->ended(how, words, code, f->data);
}
