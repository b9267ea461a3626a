/* SPDX-License-Identifier: MIT */
/* What becomes of a portal whose daemon has died: a supervisor without processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <json-c/json.h>
#include <unistd.h>
#include <glib.h>

#include "engine_fixture.h"
#include "model/lab.h"
#include "plan/plan.h"
#include "run/json.h"
#include "run/machine.h"
#include "run/supervisor.h"
#include "tmp.h"

#define LAB_OF(size)                                                       \
	"{\"name\": \"web\", \"portals\": {\"shared\": {\"size\": \"" size \
	"\"}}, \"vms\": {\"n1\": {\"portals\": [\"shared\"]}}}"
#define SMALL       LAB_OF("8MiB")
#define LARGE       LAB_OF("16MiB")
#define SMALL_BYTES (8u << 20)
#define LARGE_BYTES (16u << 20)

struct fixture {
	struct tmp_dir dir;
	struct lab_dirs dirs;
	struct supervisor sup;
	struct fake_engine fake;
	char *memory;
};

static void machine_changed(struct machine *m, void *data)
{
}

static const struct machine_ops machine_ops = { .changed = machine_changed };

static void apply(struct fixture *f, const char *text)
{
	struct lab_errors *errors = NULL;

	lab_free(f->sup.lab);
	lab_paths_free(f->sup.paths);
	assert_true(lab_parse(text, strlen(text), "lab.json", &f->dirs, &f->sup.lab, &errors));
	f->sup.paths = lab_paths_new(f->sup.lab, &f->dirs);
}

static void free_daemon(void *d)
{
	daemon_free(d);
}

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	struct supervisor *sup = &f->sup;

	tmp_dir_init(&f->dir);
	fake_engine_init(&f->fake);
	f->dirs = (struct lab_dirs){ f->dir.path, f->dir.path, f->dir.path };
	g_setenv("ORCHESTRATOR_DAEMON_DIR", f->dir.path,
		 TRUE); /* there is none: no start succeeds */
	sup->name = g_strdup("web");
	sup->portals = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_daemon);
	sup->portal_texts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	sup->machines = g_hash_table_new(g_str_hash, g_str_equal);
	sup->poke = 1; /* a round is as good as asked for */
	apply(f, SMALL);
	assert_int_equal(g_mkdir_with_parents(sup->paths->run_dir, 0700), 0);
	f->memory = g_strdup(lab_paths_portal(sup->paths, 0)->memory);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	struct supervisor *sup = &f->sup;
	struct machine *m = sup_find_machine(sup, "n1");

	if (m)
		machine_free(m);
	fake_engine_done(&f->fake);
	g_hash_table_unref(sup->portals);
	g_hash_table_unref(sup->portal_texts);
	g_hash_table_unref(sup->machines);
	lab_free(sup->lab);
	lab_paths_free(sup->paths);
	g_free(sup->name);
	tmp_dir_done(&f->dir);
	g_free(f->memory);
	g_free(f);
	return 0;
}

/* n1 runs, with what the lab gives it now. */
static void run_n1(struct fixture *f)
{
	struct machine *m =
		machine_new("n1", vm_paths_new(f->sup.paths, "n1", 0), &machine_ops, NULL);

	m->vm = fake_engine_vm(&f->fake);
	m->settings = plan_vm_settings(f->sup.lab, lab_vm(f->sup.lab, 0));
	g_hash_table_insert(f->sup.machines, m->name, m);
}

/* As the lab says; its daemon makes its memory and its configuration, and dies at once. */
static void start_and_die(struct fixture *f)
{
	struct supervisor *sup = &f->sup;
	struct json_object *config;
	struct daemon *d;

	sup_start_portal(sup, lab_portal(sup->lab, 0));
	d = sup_find_portal(sup, "shared");
	config = d->config(d, sup);
	assert_int_equal(json_object_to_file(d->paths->config, config), 0);
	json_object_put(config);
	assert_true(g_file_set_contents(f->memory, "", 0, NULL));
	assert_int_equal(truncate(f->memory, (off_t)lab_portal(sup->lab, 0)->size), 0);
}

/* What its daemon would be told. */
static int64_t size_told(struct fixture *f)
{
	struct daemon *d = sup_find_portal(&f->sup, "shared");
	struct json_object *config = d->config(d, &f->sup), *size;
	int64_t bytes = -1;

	if (json_object_object_get_ex(config, "size", &size))
		bytes = json_object_get_int64(size);
	json_object_put(config);
	return bytes;
}

static bool has_memory(const struct fixture *f)
{
	return access(f->memory, F_OK) == 0;
}

/* What it was: its memory is what others find again. */
static void test_same(void **state)
{
	struct fixture *f = *state;

	start_and_die(f);
	sup_start_portal(&f->sup, lab_portal(f->sup.lab, 0));
	assert_true(has_memory(f));
	assert_int_equal(size_told(f), SMALL_BYTES);
}

static void test_changed(void **state)
{
	struct fixture *f = *state;

	start_and_die(f);
	apply(f, LARGE);
	sup_start_portal(&f->sup, lab_portal(f->sup.lab, 0));
	assert_false(has_memory(f));
	assert_int_equal(size_told(f), LARGE_BYTES);
}

/* It is in use: it goes on as it was, until nobody has it. */
static void test_changed_in_use(void **state)
{
	struct fixture *f = *state;

	start_and_die(f);
	run_n1(f);
	apply(f, LARGE);
	sup_start_portal(&f->sup, lab_portal(f->sup.lab, 0));
	assert_true(has_memory(f));
	assert_int_equal(size_told(f), SMALL_BYTES);
	sup_find_machine(&f->sup, "n1")->vm = NULL;
	sup_start_portal(&f->sup, lab_portal(f->sup.lab, 0));
	assert_false(has_memory(f));
	assert_int_equal(size_told(f), LARGE_BYTES);
}

/* The settings are those that are recorded, and the memory is not. */
static void test_leftover(void **state)
{
	struct fixture *f = *state;

	start_and_die(f);
	assert_int_equal(truncate(f->memory, LARGE_BYTES), 0);
	sup_start_portal(&f->sup, lab_portal(f->sup.lab, 0));
	assert_false(has_memory(f));
	assert_int_equal(size_told(f), SMALL_BYTES);
}

/* Of another port: its daemon would refuse it, for ever. */
static void test_leftover_of_another_port(void **state)
{
	struct fixture *f = *state;
	struct daemon *d;
	struct json_object *config;

	start_and_die(f);
	d = sup_find_portal(&f->sup, "shared");
	config = d->config(d, &f->sup);
	json_object_object_add(config, "vsock-port", json_object_new_int64(4711));
	assert_int_equal(json_object_to_file(d->paths->config, config), 0);
	json_object_put(config);
	sup_start_portal(&f->sup, lab_portal(f->sup.lab, 0));
	assert_false(has_memory(f));
}

/* What a VM is told that is to start. */
static void test_not_running(void **state)
{
	struct fixture *f = *state;
	const struct vm *vm = lab_vm(f->sup.lab, 0);
	g_autoptr(GError) failed = NULL, starting = NULL;

	start_and_die(f);
	assert_int_equal(sup_want_accesses(&f->sup, vm, &failed), LAUNCH_FAILED);
	assert_string_equal(failed->message, "portal shared does not run: run `orchestrator up`");
	sup_find_portal(&f->sup, "shared")->stage = DAEMON_STARTING;
	assert_int_equal(sup_want_accesses(&f->sup, vm, &starting), LAUNCH_FAILED);
	assert_string_equal(starting->message,
			    "portal shared has died and is being started again: try again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_same, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changed_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leftover, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leftover_of_another_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_running, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
