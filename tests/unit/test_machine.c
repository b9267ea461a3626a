/* SPDX-License-Identifier: MIT */
/* What becomes of a machine, under an engine that does as the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>
#include <glib.h>

#include "engine_fixture.h"
#include "err.h"
#include "model/names.h"
#include "run/machine.h"
#include "tmp.h"

struct fixture {
	struct tmp_dir dir;
	struct lab_dirs dirs;
	struct lab_paths *paths;
	struct fake_engine fake;
	struct machine *machine;
	unsigned changes;
};

static void changed(struct machine *m, void *data)
{
	((struct fixture *)data)->changes++;
}

static const struct machine_ops machine_ops = { .changed = changed };

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	struct vm_paths *files;

	tmp_dir_init(&f->dir);
	f->dirs = (struct lab_dirs){ f->dir.path, f->dir.path, f->dir.path };
	f->paths = lab_paths_new_named("web", &f->dirs);
	files = vm_paths_new(f->paths, "n1", 0);
	assert_int_equal(g_mkdir_with_parents(files->dir, 0700), 0);
	fake_engine_init(&f->fake);
	assert_true(proc_id_read(getpid(), &f->fake.process));
	f->machine = machine_new("n1", files, &machine_ops, f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	machine_free(f->machine);
	fake_engine_done(&f->fake);
	lab_paths_free(f->paths);
	tmp_dir_done(&f->dir);
	g_free(f);
	return 0;
}

/* One NIC, in network lan. */
static GPtrArray *one_port(void)
{
	struct state *holder = state_new(NULL, NULL);
	struct state_vm *v = state_add_vm(holder, "n1");
	GPtrArray *ports = g_ptr_array_ref(v->ports);

	state_add_port(v, "n1.0", "lan", "/run/n1-0.vu");
	state_free(holder);
	return ports;
}

static gboolean start_with(struct fixture *f, uint32_t cid, const char *settings, GError **error)
{
	const struct machine_start how = {
		.engine = &f->fake.engine,
		.settings = settings,
		.ports = one_port(),
		.cid = cid,
	};

	return machine_start(f->machine, &how, error);
}

static gboolean start(struct fixture *f, uint32_t cid, GError **error)
{
	return start_with(f, cid, "memory 1\n", error);
}

/* In place: a file that was replaced is another one, which nobody watches. */
static void guest_says(const struct fixture *f, const char *text)
{
	assert_true(g_file_set_contents_full(f->machine->paths->ready, text, -1,
					     G_FILE_SET_CONTENTS_NONE, 0600, NULL));
}

static void wait_until(struct fixture *f, enum stage stage)
{
	gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

	while (f->machine->stage != stage && g_get_monotonic_time() < end) {
		g_main_context_iteration(NULL, FALSE);
		g_usleep(1000);
	}
	assert_int_equal(f->machine->stage, stage);
}

static void to_ready(struct fixture *f)
{
	assert_true(start(f, 0, NULL));
	fake_engine_up(&f->fake);
	machine_port_changed(f->machine, "n1.0", true);
	guest_says(f, "ready 1\n");
	wait_until(f, STAGE_READY);
	assert_engine_told(&f->fake, "start ");
}

static void test_climbs(void **state)
{
	struct fixture *f = *state;
	struct machine *m = f->machine;

	assert_int_equal(m->stage, STAGE_PLANNED);
	assert_false(machine_alive(m));
	assert_null(machine_process(m));
	assert_true(start(f, 0, NULL));
	assert_true(machine_alive(m));
	assert_int_equal(m->stage, STAGE_PROCESS);
	fake_engine_up(&f->fake);
	assert_int_equal(m->stage, STAGE_QMP);
	machine_port_changed(m, "n1.0", true);
	assert_int_equal(m->stage, STAGE_NEGOTIATED);
	assert_int_equal(m->ready_us, 0);
	guest_says(f, "ready 1\n");
	wait_until(f, STAGE_READY);
	assert_true(m->ready_us > 0);
	/* Never down again. */
	machine_port_changed(m, "n1.0", false);
	assert_int_equal(m->stage, STAGE_READY);
}

/* An engine may not know a process before the VM is up, or at all. */
static void test_climbs_without_a_process(void **state)
{
	struct fixture *f = *state;

	f->fake.process.pid = 0;
	assert_true(start(f, 0, NULL));
	assert_true(machine_alive(f->machine));
	assert_null(machine_process(f->machine));
	assert_int_equal(f->machine->stage, STAGE_STARTING);
	fake_engine_up(&f->fake);
	assert_int_equal(f->machine->stage, STAGE_QMP);
}

static void test_paused(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	to_ready(f);
	before = f->changes;
	fake_engine_pause(&f->fake, true);
	assert_true(f->machine->paused);
	assert_int_equal(f->changes, before + 1);
	assert_int_equal(f->machine->stage, STAGE_READY);
	fake_engine_pause(&f->fake, false);
	assert_false(f->machine->paused);
	fake_engine_pause(&f->fake, true);
	fake_engine_end(&f->fake, ENGINE_ENDED_ELSEWHERE, "destroyed by a stranger", 0);
	assert_false(f->machine->paused);
	assert_int_equal(f->machine->stage, STAGE_STOPPED);
	assert_string_equal(f->machine->reason, "destroyed by a stranger");
}

static void test_cannot_be_started(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GError) error = NULL;

	f->fake.refusal = "no QEMU here";
	assert_false(start(f, 0, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_false(machine_alive(f->machine));
	assert_int_equal(f->machine->stage, STAGE_FAILED);
	assert_string_equal(f->machine->reason, "no QEMU here");
	assert_int_equal(f->machine->reason_code, ORCH_ERROR_HOST_UNFIT);
	/* The next attempt forgets it. */
	f->fake.refusal = NULL;
	assert_true(start(f, 0, NULL));
	assert_null(f->machine->reason);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	to_ready(f);
	before = f->changes;
	fake_engine_reset(&f->fake);
	assert_int_equal(f->machine->resets, 1);
	assert_int_equal(f->changes, before + 1);
	assert_int_equal(f->machine->stage, STAGE_READY);
}

static void test_ends(void **state)
{
	struct fixture *f = *state;
	struct machine *m = f->machine;

	to_ready(f);
	fake_engine_end(&f->fake, ENGINE_ENDED_ITSELF, NULL, 0);
	assert_engine_told(&f->fake, "free ");
	assert_false(machine_alive(m));
	assert_int_equal(m->stage, STAGE_STOPPED);
	assert_string_equal(m->reason, "the guest powered itself off");
	to_ready(f);
	fake_engine_end(&f->fake, ENGINE_ENDED_FAILED, "the disk is full", ORCH_ERROR_CONFLICT);
	assert_engine_told(&f->fake, "free ");
	assert_int_equal(m->stage, STAGE_FAILED);
	assert_string_equal(m->reason, "the disk is full");
	assert_int_equal(m->reason_code, ORCH_ERROR_CONFLICT);
	/* It begins at the bottom again, whatever the last one wrote. */
	assert_true(start(f, 0, NULL));
	assert_int_equal(m->stage, STAGE_PROCESS);
	assert_int_equal(m->resets, 0);
}

/* A guest that does not hear the button is told to quit, and one that does not do that is killed. */
static void test_stops_step_by_step(void **state)
{
	struct fixture *f = *state;

	to_ready(f);
	machine_stop(f->machine, 50);
	assert_int_equal(f->machine->stage, STAGE_STOPPING);
	assert_engine_told(&f->fake, "button ");
	while (f->fake.told->len == 0)
		g_main_context_iteration(NULL, TRUE);
	assert_engine_told(&f->fake, "quit ");
	while (f->fake.told->len == 0)
		g_main_context_iteration(NULL, TRUE);
	assert_engine_told(&f->fake, "kill ");
	fake_engine_end(&f->fake, ENGINE_ENDED_FAILED, "killed by signal 9", ORCH_ERROR_FAILED);
	assert_int_equal(f->machine->stage, STAGE_STOPPED);
	assert_string_equal(f->machine->reason, "stopped on request");
	assert_engine_told(&f->fake, "free ");
}

/* Who is not up to hear is not asked; who is asked again in a hurry is told to quit at once. */
static void test_stops_at_once(void **state)
{
	struct fixture *f = *state;

	assert_true(start(f, 0, NULL));
	machine_stop(f->machine, 10000);
	assert_engine_told(&f->fake, "start quit ");
	fake_engine_end(&f->fake, ENGINE_ENDED_ITSELF, NULL, 0);
	assert_engine_told(&f->fake, "free ");
	to_ready(f);
	machine_stop(f->machine, 60000);
	assert_engine_told(&f->fake, "button ");
	machine_stop(f->machine, 60000);
	assert_engine_told(&f->fake, "");
	machine_stop(f->machine, 0);
	assert_engine_told(&f->fake, "quit ");
	/* Nothing that is true of the guest brings it back up. */
	fake_engine_up(&f->fake);
	assert_int_equal(f->machine->stage, STAGE_STOPPING);
}

/* Once the daemon is lost and back, and QEMU can be told. */
static void test_tells_its_rings_once(void **state)
{
	struct fixture *f = *state;

	assert_true(start(f, 7, NULL));
	machine_sockets_lost(f->machine); /* it has not come so far */
	machine_sockets_back(f->machine);
	fake_engine_up(&f->fake);
	assert_engine_told(&f->fake, "start ");
	f->fake.reachable = false;
	machine_sockets_lost(f->machine);
	machine_sockets_back(f->machine);
	assert_engine_told(&f->fake, "");
	fake_engine_up(&f->fake);
	assert_engine_told(&f->fake, "refresh ");
	fake_engine_up(&f->fake);
	machine_sockets_back(f->machine);
	assert_engine_told(&f->fake, "");
	machine_sockets_lost(f->machine);
	fake_engine_up(&f->fake);
	assert_engine_told(&f->fake, "");
	machine_sockets_back(f->machine);
	assert_engine_told(&f->fake, "refresh ");
}

/* The channels of Hyper-V's sockets are no rings of QEMU's: nothing is to be done for another daemon. */
static void test_hvsock_tells_nothing(void **state)
{
	struct fixture *f = *state;

	assert_true(start_with(f, 7, "memory 1\nsockets hvsock\nport-base 50000\n", NULL));
	fake_engine_up(&f->fake);
	assert_engine_told(&f->fake, "start ");
	machine_sockets_lost(f->machine);
	machine_sockets_back(f->machine);
	fake_engine_up(&f->fake);
	assert_engine_told(&f->fake, "");
}

static void test_carrier(void **state)
{
	struct fixture *f = *state;

	assert_true(start(f, 0, NULL));
	machine_set_carrier(f->machine, 0, false, false); /* it cannot be told: again later */
	assert_engine_told(&f->fake, "start ");
	fake_engine_up(&f->fake);
	machine_set_carrier(f->machine, 0, true, false); /* as it is */
	machine_set_carrier(f->machine, 0, false, false);
	machine_set_carrier(f->machine, 0, false, false);
	assert_engine_told(&f->fake, "link:0:off ");
	machine_set_carrier(f->machine, 0, false, true);
	machine_set_carrier(f->machine, 0, true, false);
	assert_engine_told(&f->fake, "link:0:off link:0:on ");
}

/* As the supervisor before wrote it down; nothing of it is this fixture's. */
static struct state_vm *was(struct state **ret_holder, enum stage stage)
{
	struct state_vm *v;

	*ret_holder = state_new("web", NULL);
	v = state_add_vm(*ret_holder, "n1");
	v->stage = stage;
	v->settings = g_strdup("memory 2\n");
	assert_true(proc_id_read(getpid(), &v->id));
	state_add_port(v, "n1.0", "lan", "/run/n1-0.vu");
	return v;
}

static void test_adopts(void **state)
{
	struct fixture *f = *state;
	struct machine *m = f->machine;
	struct state *holder;
	const struct state_vm *v = was(&holder, STAGE_QMP);

	f->fake.adopts = true;
	guest_says(f, "");
	assert_true(machine_adopt(m, &f->fake.engine, v));
	assert_engine_told(&f->fake, "adopt ");
	assert_true(m->adopted);
	assert_int_equal(machine_process(m)->pid, getpid());
	assert_string_equal(m->settings, "memory 2\n");
	assert_int_equal(m->stage, STAGE_PROCESS);
	fake_engine_up(&f->fake);
	machine_port_changed(m, "n1.0", true);
	assert_int_equal(m->stage, STAGE_NEGOTIATED);
	/* Nobody knows what it was told about its links. */
	machine_set_carrier(m, 0, true, false);
	assert_engine_told(&f->fake, "link:0:on ");
	state_free(holder);
}

static void test_adopts_one_that_is_ready(void **state)
{
	struct fixture *f = *state;
	struct state *holder;
	struct state_vm *v = was(&holder, STAGE_READY);

	f->fake.adopts = true;
	v->ready_us = 5;
	assert_true(machine_adopt(f->machine, &f->fake.engine, v));
	assert_int_equal(f->machine->stage, STAGE_READY);
	assert_int_equal(f->machine->ready_us, 5);
	state_free(holder);
}

static void test_finds_it_gone(void **state)
{
	static const struct {
		enum stage was, is;
	} cases[] = {
		{ STAGE_READY, STAGE_FAILED },
		{ STAGE_STOPPING, STAGE_STOPPED },
		{ STAGE_FAILED, STAGE_FAILED },
		{ STAGE_STOPPED, STAGE_STOPPED },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct state *holder;
		struct state_vm *v = was(&holder, cases[i].was);

		if (cases[i].was > STAGE_STOPPING)
			v->id.pid = 0;
		assert_false(machine_adopt(f->machine, &f->fake.engine, v));
		assert_false(machine_alive(f->machine));
		assert_int_equal(f->machine->stage, cases[i].is);
		if (cases[i].was == STAGE_READY)
			assert_string_equal(f->machine->reason,
					    "QEMU ended while no supervisor ran");
		g_clear_pointer(&f->machine->reason, g_free);
		state_free(holder);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_climbs),
		TEST(test_climbs_without_a_process),
		TEST(test_paused),
		TEST(test_cannot_be_started),
		TEST(test_reset),
		TEST(test_ends),
		TEST(test_stops_step_by_step),
		TEST(test_stops_at_once),
		TEST(test_tells_its_rings_once),
		TEST(test_hvsock_tells_nothing),
		TEST(test_carrier),
		TEST(test_adopts),
		TEST(test_adopts_one_that_is_ready),
		TEST(test_finds_it_gone),
	};

	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
