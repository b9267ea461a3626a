/* SPDX-License-Identifier: MIT */
/* The engine on libvirt's own test driver: domains that are defined, run, pause and end, without a daemon and without QEMU.
 * A connection of the test's own is the other user of libvirt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "err.h"
#include "model/names.h"
#include "render/libvirt.h"
#include "run/engine_libvirt.h"
#include "run/engine_libvirt_api.h"
#include "run/engine_libvirt_impl.h"
#include "run/state.h"
#include "tmp.h"

#define URI        "test:///default" /* one world for all connections of a process */
#define PATIENCE   (G_GINT64_CONSTANT(20) * G_USEC_PER_SEC)
#define SUPERVISOR "supervisor"
#define UUID       "00000000-0000-4000-8000-00000000abcd" /* defining it again is an update */

struct fixture {
	struct tmp_dir dir;
	struct lab_dirs dirs;
	struct lab_paths *paths;
	struct vm_paths *files;
	struct engine *engine;
	struct engine_vm *vm; /* NULL: none, or it has ended */
	virConnectPtr other;
	GString *heard; /* "up paused goes ended:1:WORDS appeared:n1:SETTINGS " */
	int code;
};

/* --- events ------------------------------------------------------------------------------------------------ */

static void up(void *data)
{
	g_string_append(((struct fixture *)data)->heard, "up ");
}

static void reset(void *data)
{
	g_string_append(((struct fixture *)data)->heard, "reset ");
}

static void paused(bool is, void *data)
{
	g_string_append(((struct fixture *)data)->heard, is ? "paused " : "goes ");
}

static void ended(enum engine_ending how, const char *words, int code, void *data)
{
	struct fixture *f = data;

	g_string_append_printf(f->heard, "ended:%d:%s ", (int)how, words ? words : "-");
	f->code = code;
	g_clear_pointer(&f->vm, engine_vm_free);
}

static const struct engine_vm_ops vm_ops = {
	.up = up,
	.reset = reset,
	.paused = paused,
	.ended = ended,
};

static void appeared(const struct engine_stray *stray, void *data)
{
	struct fixture *f = data;

	g_string_append_printf(f->heard, "appeared:%s:%s ", stray->name, stray->settings);
}

static void changed(void *data)
{
}

static const struct engine_ops ops = { .appeared = appeared, .changed = changed };

static bool heard(void *data)
{
	return ((struct fixture *)data)->heard->len > 0;
}

static bool cleared(void *data)
{
	return engine_clear(((struct fixture *)data)->engine);
}

static void wait_until(struct fixture *f, bool (*condition)(void *f))
{
	gint64 end = g_get_monotonic_time() + PATIENCE;

	while (!condition(f) && g_get_monotonic_time() < end) {
		g_main_context_iteration(NULL, FALSE);
		g_usleep(1000);
	}
	assert_true(condition(f));
}

/* The next that is heard begins with this. */
static void hear(struct fixture *f, const char *expected)
{
	wait_until(f, heard);
	if (!g_str_has_prefix(f->heard->str, expected))
		fail_msg("heard \"%s\", not \"%s\"", f->heard->str, expected);
	g_string_truncate(f->heard, 0);
}

/* --- the lab ----------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	tmp_dir_init(&f->dir);
	f->dirs = (struct lab_dirs){ f->dir.path, f->dir.path, f->dir.path };
	f->paths = lab_paths_new_named("web", &f->dirs);
	f->files = vm_paths_new(f->paths, "n1", 0);
	assert_int_equal(g_mkdir_with_parents(f->files->dir, 0700), 0);
	f->heard = g_string_new(NULL);
	f->engine = engine_libvirt_new(URI, "web", f->paths->state_dir, &ops, f);
	f->other = vir.virConnectOpen(URI);
	assert_non_null(f->other);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	engine_vm_free(f->vm);
	engine_free(f->engine);
	(void)vir.virConnectClose(f->other);
	/* What was under way finds the engine closed. */
	while (g_main_context_iteration(NULL, FALSE))
		;
	vm_paths_free(f->files);
	lab_paths_free(f->paths);
	tmp_dir_done(&f->dir);
	g_string_free(f->heard, TRUE);
	g_free(f);
	return 0;
}

/* A domain of n1 that this owner defines; g_free(). */
static char *xml_of(const struct fixture *f, const char *owner, const char *state_dir)
{
	return g_strdup_printf(
		"<domain type='test'><name>web.n1</name><uuid>" UUID
		"</uuid><metadata><vl:vm xmlns:vl='" RENDER_LIBVIRT_XMLNS
		"' lab='web' name='n1' owner='%s' state='%s' text='0'><vl:settings>memory 1</vl:settings>"
		"</vl:vm></metadata><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
		owner, state_dir ? state_dir : f->paths->state_dir);
}

static void start_xml(struct fixture *f, const char *xml)
{
	const struct engine_start start = { .name = "n1", .xml = xml, .paths = f->files };
	g_autoptr(GError) error = NULL;

	f->vm = engine_start(f->engine, &start, &vm_ops, f, &error);
	if (!f->vm)
		fail_msg("%s", error->message);
	assert_string_equal(f->heard->str, "");
}

static void start(struct fixture *f)
{
	g_autofree char *xml = xml_of(f, SUPERVISOR, NULL);

	start_xml(f, xml);
	hear(f, "up ");
	assert_true(engine_vm_reachable(f->vm));
	assert_null(engine_problem(f->engine));
}

/* The other user's hold on it. */
static virDomainPtr others(const struct fixture *f)
{
	return vir.virDomainLookupByName(f->other, "web.n1");
}

static void other_does(const struct fixture *f, int (*what)(virDomainPtr domain))
{
	virDomainPtr domain = others(f);

	assert_non_null(domain);
	assert_int_equal(what(domain), 0);
	(void)vir.virDomainFree(domain);
}

static int destroy(virDomainPtr domain)
{
	return vir.virDomainDestroyFlags(domain, 0);
}

static int create(virDomainPtr domain)
{
	return vir.virDomainCreateWithFlags(domain, 0);
}

static int undefine(virDomainPtr domain)
{
	return vir.virDomainUndefineFlags(domain, 0);
}

static bool is_defined(const struct fixture *f)
{
	virDomainPtr domain = others(f);

	if (!domain)
		return false;
	(void)vir.virDomainFree(domain);
	return true;
}

static void clear(struct fixture *f)
{
	wait_until(f, cleared);
	assert_false(is_defined(f));
	assert_null(engine_problem(f->engine));
}

/* --- the cases --------------------------------------------------------------------------------------------- */

static void test_up_and_down(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_true(g_file_test(f->files->console_log, G_FILE_TEST_IS_REGULAR));
	engine_vm_quit(f->vm);
	hear(f, "ended:1:destroyed");
	assert_true(is_defined(f));
	/* The same again: defining it anew is no conflict. */
	start(f);
	engine_vm_kill(f->vm);
	hear(f, "ended:1:destroyed");
	clear(f);
}

static void test_what_others_do(void **state)
{
	struct fixture *f = *state;

	start(f);
	other_does(f, vir.virDomainSuspend);
	hear(f, "paused ");
	other_does(f, vir.virDomainResume);
	hear(f, "goes ");
	engine_vm_refresh(f->vm);
	wait_until(f, heard);
	other_does(f, destroy);
	wait_until(f, heard);
	while (f->vm)
		g_main_context_iteration(NULL, TRUE);
	assert_non_null(strstr(f->heard->str, "ended:1:destroyed by another user of libvirt"));
	g_string_truncate(f->heard, 0);
	other_does(f, create);
	hear(f, "appeared:n1:memory 1 ");
	clear(f); /* though it runs, and no machine has it */
}

static void adopt(struct fixture *f, enum stage stage)
{
	struct state *holder = state_new("web", NULL);
	struct state_vm *was = state_add_vm(holder, "n1");

	was->stage = stage;
	f->vm = engine_adopt(f->engine, was, f->files, &vm_ops, f);
	state_free(holder);
}

static void test_adopts(void **state)
{
	struct fixture *f = *state;

	start(f);
	g_clear_pointer(&f->vm, engine_vm_free); /* the supervisor has died, and the domain runs */
	adopt(f, STAGE_STOPPED);
	assert_null(f->vm);
	adopt(f, STAGE_READY);
	assert_non_null(f->vm);
	assert_false(engine_vm_reachable(f->vm));
	hear(f, "up ");
	other_does(f, destroy);
	hear(f, "ended:1:");
	adopt(f, STAGE_READY);
	hear(f, "ended:2:domain web.n1 does not run");
	clear(f);
}

/* Paused, because its start was cut short: it goes on.  Paused by somebody: it stays so. */
static void test_adopts_what_was_cut_short(void **state)
{
	struct fixture *f = *state;

	start(f);
	g_clear_pointer(&f->vm, engine_vm_free);
	other_does(f, vir.virDomainSuspend);
	adopt(f, STAGE_READY);
	hear(f, "paused up ");
	g_clear_pointer(&f->vm, engine_vm_free);
	adopt(f, STAGE_STARTING);
	hear(f, "up ");
	engine_vm_quit(f->vm);
	hear(f, "ended:1:");
	clear(f);
}

/* A user's own, another lab's of the same name, and one without a mark: none is touched. */
static void test_strangers(void **state)
{
	struct fixture *f = *state;
	g_autofree char *users = xml_of(f, "file", NULL);
	g_autofree char *anothers = xml_of(f, SUPERVISOR, "/home/x/labs/web");
	const char *const strangers[] = {
		users, anothers,
		"<domain type='test'><name>web.n1</name><memory unit='MiB'>32</memory>"
		"<os><type>hvm</type></os></domain>"
	};
	g_autofree char *ours = xml_of(f, SUPERVISOR, NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(strangers); i++) {
		virDomainPtr domain = vir.virDomainDefineXMLFlags(f->other, strangers[i], 0);

		assert_non_null(domain);
		(void)vir.virDomainFree(domain);
		start_xml(f, ours);
		hear(f, "ended:2:" URI " has a domain web.n1 that is not this lab's: ");
		assert_int_equal(f->code, ORCH_ERROR_CONFLICT);
		other_does(f, create);
		engine_drop(f->engine, "n1");
		wait_until(f, cleared);
		assert_string_equal(f->heard->str, "");
		assert_true(is_defined(f));
		other_does(f, destroy);
		other_does(f, undefine);
	}
}

static void test_libvirt_refuses(void **state)
{
	struct fixture *f = *state;

	start_xml(f, "<domain type='test'><name>web.n1</name></domain>");
	hear(f, "ended:2:" URI " does not take domain web.n1: ");
	assert_int_equal(f->code, ORCH_ERROR_FAILED);
	assert_false(is_defined(f));
	start_xml(f, "<doma");
	hear(f, "ended:2:" URI " does not take domain web.n1: ");
}

/* Only the engine's owner and its domain hold it: no job does. */
static bool has_no_job(void *p)
{
	const struct fixture *f = p;

	return ((const struct libvirt *)(const void *)f->engine)->refs == (f->vm ? 2 : 1);
}

/* Nothing tells when it is over, and a VM that ends meanwhile may be dropped or not. */
static void drop(struct fixture *f, const char *vm)
{
	wait_until(f, has_no_job);
	engine_drop(f->engine, vm);
	assert_false(has_no_job(f));
	wait_until(f, has_no_job);
}

static void test_drop(void **state)
{
	struct fixture *f = *state;

	start(f);
	drop(f, "n1"); /* it runs */
	drop(f, "n2"); /* there is none */
	engine_vm_quit(f->vm);
	hear(f, "ended:1:");
	assert_true(is_defined(f));
	drop(f, "n1");
	assert_false(is_defined(f));
	clear(f);
}

/* A job that is under way when its engine is closed finds nobody. */
static void test_closed_in_the_middle(void **state)
{
	struct fixture *f = *state;
	g_autofree char *xml = xml_of(f, SUPERVISOR, NULL);

	start_xml(f, xml);
	g_clear_pointer(&f->vm, engine_vm_free);
	engine_free(f->engine);
	for (unsigned i = 0; i < 200; i++) {
		g_main_context_iteration(NULL, FALSE);
		g_usleep(1000);
	}
	assert_string_equal(f->heard->str, "");
	f->engine = engine_libvirt_new(URI, "web", f->paths->state_dir, &ops, f);
	clear(f);
}

static void test_no_connection(void **state)
{
	struct fixture *f = *state;
	struct engine *e =
		engine_libvirt_new("test:///nonexistent/file", "web", f->paths->state_dir, &ops, f);
	gint64 end = g_get_monotonic_time() + PATIENCE;

	while (!engine_problem(e) && g_get_monotonic_time() < end)
		g_main_context_iteration(NULL, FALSE);
	assert_non_null(engine_problem(e));
	assert_true(
		g_str_has_prefix(engine_problem(e), "no connection to test:///nonexistent/file: "));
	engine_free(e);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_up_and_down),   TEST(test_what_others_do),
		TEST(test_adopts),        TEST(test_adopts_what_was_cut_short),
		TEST(test_strangers),     TEST(test_libvirt_refuses),
		TEST(test_drop),          TEST(test_closed_in_the_middle),
		TEST(test_no_connection),
	};

	return cmocka_run_group_tests_name("engine_libvirt", tests, NULL, NULL);
}
