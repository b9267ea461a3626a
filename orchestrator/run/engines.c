/* SPDX-License-Identifier: MIT */
#include "run/supervisor.h"

#include "model/lab.h"
#include "run/engine.h"
#include "run/engine_libvirt.h"

/* What an engine's events are for: it and who owns it. */
struct engine_link {
	struct supervisor *sup;
	struct engine *engine;
	char *text;
};

static void engine_appeared(const struct engine_stray *stray, void *data)
{
	const struct engine_link *link = data;

	launch_adopt(link->sup, link->text, stray);
}

static void engine_changed(void *data)
{
	sup_poke(((const struct engine_link *)data)->sup);
}

static const struct engine_ops engine_ops = {
	.appeared = engine_appeared,
	.changed = engine_changed,
};

static void engine_link_free(void *p)
{
	struct engine_link *link = p;

	engine_free(link->engine);
	g_free(link->text);
	g_free(link);
}

GHashTable *engines_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, NULL, engine_link_free);
}

struct engine *sup_engine(struct supervisor *sup, const char *text)
{
	const char *name = text ? text : "qemu", *uri = lab_engine_text_uri(name);
	struct engine_link *link = g_hash_table_lookup(sup->engines, name);

	if (link)
		return link->engine;
	link = g_new0(struct engine_link, 1);
	link->sup = sup;
	link->text = g_strdup(name);
	link->engine =
		uri ? engine_libvirt_new(uri, sup->name, sup->paths->state_dir, &engine_ops, link) :
		      engine_qemu_new();
	g_hash_table_insert(sup->engines, link->text, link);
	return link->engine;
}

bool sup_clear_engines(struct supervisor *sup)
{
	GHashTableIter iter;
	gpointer value;
	bool cleared = true;

	g_hash_table_iter_init(&iter, sup->engines);
	while (g_hash_table_iter_next(&iter, NULL, &value))
		cleared &= engine_clear(((const struct engine_link *)value)->engine);
	return cleared;
}

const char *sup_engine_problem(const struct supervisor *sup)
{
	GHashTableIter iter;
	gpointer value;
	const char *problem = NULL;

	g_hash_table_iter_init(&iter, sup->engines);
	while (!problem && g_hash_table_iter_next(&iter, NULL, &value))
		problem = engine_problem(((const struct engine_link *)value)->engine);
	return problem;
}

void sup_drop_elsewhere(struct supervisor *sup, const char *vm, const struct engine *but)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->engines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct engine_link *link = value;

		if (link->engine != but)
			engine_drop(link->engine, vm);
	}
}

char *sup_engine_text(const struct supervisor *sup, const struct machine *m)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, sup->engines);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		const struct engine_link *link = value;

		if (link->engine == m->engine && lab_engine_text_uri(link->text))
			return g_strdup(link->text);
	}
	return NULL;
}
