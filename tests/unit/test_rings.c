/* SPDX-License-Identifier: MIT */
/* How a new daemon of sockets comes to know a VM's rings: the loop alone, and a machine whose QEMU's monitor the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>
#include <glib-unix.h>

#include "model/names.h"
#include "render/qemu.h"
#include "run/engine.h"
#include "run/json.h"
#include "run/jsonline.h"
#include "run/machine.h"
#include "run/rings.h"
#include "run/watch.h"
#include "tmp.h"

#define LINE_MAX_BYTES 65536
#define PATIENCE_US    (G_GINT64_CONSTANT(10) * G_USEC_PER_SEC)

/* --- the loop alone ------------------------------------------------------------------------------------------------- */

#define SOON_MS 2

struct asked {
	struct rings rings;
	bool can;
	unsigned times;
	gint64 last_us, gap_us; /* between the last two times */
};

static bool tell(void *data)
{
	struct asked *a = data;
	gint64 now = g_get_monotonic_time();

	if (!a->can)
		return false;
	a->times++;
	a->gap_us = now - a->last_us;
	a->last_us = now;
	return true;
}

static struct asked *asked_new(void)
{
	struct asked *a = g_new0(struct asked, 1);

	a->rings = (struct rings){ .tell = tell, .data = a, .again_ms = SOON_MS };
	a->can = true;
	return a;
}

static void asked_free(struct asked *a)
{
	rings_settled(&a->rings);
	g_free(a);
}

static void run_ms(unsigned ms)
{
	gint64 end = g_get_monotonic_time() + ms * G_TIME_SPAN_MILLISECOND;

	while (g_get_monotonic_time() < end) {
		g_main_context_iteration(NULL, FALSE);
		g_usleep(500);
	}
}

static void until_told(const struct asked *a, unsigned times)
{
	gint64 end = g_get_monotonic_time() + PATIENCE_US;

	while (a->times < times && g_get_monotonic_time() < end)
		g_main_context_iteration(NULL, FALSE);
	assert_int_equal(a->times, times);
}

static void test_only_what_is_owed(void **state)
{
	struct asked *a = asked_new();

	rings_connected(&a->rings); /* QEMU's first daemon */
	rings_pursue(&a->rings);
	assert_int_equal(a->times, 0);
	rings_lost(&a->rings);
	rings_pursue(&a->rings);
	assert_int_equal(a->times, 0);
	rings_connected(&a->rings);
	assert_int_equal(a->times, 1);
	rings_settled(&a->rings);
	rings_connected(&a->rings);
	run_ms(8 * SOON_MS);
	assert_int_equal(a->times, 1);
	asked_free(a);
}

/* What it was asked for may come to nothing. */
static void test_again_until_known(void **state)
{
	struct asked *a = asked_new();

	rings_lost(&a->rings);
	rings_connected(&a->rings);
	rings_connected(&a->rings); /* nothing new */
	rings_pursue(&a->rings);
	assert_int_equal(a->times, 1);
	until_told(a, 4);
	assert_true(a->gap_us >= G_TIME_SPAN_MILLISECOND * 4 * SOON_MS);
	rings_settled(&a->rings);
	run_ms(32 * SOON_MS);
	assert_int_equal(a->times, 4);
	asked_free(a);
}

/* A guest without a driver is left alone in the end; another daemon is another matter. */
static void test_not_for_ever(void **state)
{
	struct asked *a = asked_new();

	rings_lost(&a->rings);
	rings_connected(&a->rings);
	until_told(a, RINGS_TELL_MAX);
	run_ms(2 * (SOON_MS << RINGS_TELL_MAX));
	rings_pursue(&a->rings);
	assert_int_equal(a->times, RINGS_TELL_MAX);
	rings_lost(&a->rings);
	rings_connected(&a->rings);
	assert_int_equal(a->times, RINGS_TELL_MAX + 1);
	asked_free(a);
}

/* Who cannot be asked has not been asked. */
static void test_when_it_can(void **state)
{
	struct asked *a = asked_new();

	a->can = false;
	rings_lost(&a->rings);
	rings_connected(&a->rings);
	run_ms(4 * SOON_MS);
	assert_int_equal(a->rings.n_told, 0);
	a->can = true;
	rings_pursue(&a->rings);
	assert_int_equal(a->times, 1);
	asked_free(a);
}

static void test_lost_again(void **state)
{
	struct asked *a = asked_new();

	rings_lost(&a->rings);
	rings_connected(&a->rings);
	rings_lost(&a->rings);
	run_ms(4 * SOON_MS);
	assert_int_equal(a->times, 1); /* there is nobody who could be told */
	rings_connected(&a->rings);
	assert_int_equal(a->times, 2);
	asked_free(a);
}

/* --- a machine ------------------------------------------------------------------------------------------------------ */

struct fixture {
	struct tmp_dir dir;
	struct lab_dirs dirs;
	struct lab_paths *paths;
	struct engine *engine;
	struct machine *machine;
	int listen_fd;
	guint listener;
	struct jsonline *monitor; /* QEMU's end; NULL: nobody has called */
	GString *told; /* the commands that concern us, a word each, since they were looked at last */
	bool connected;       /* QEMU has found that its chardev is */
	unsigned looks;       /* how often it was asked whether it is, */
	unsigned stale_looks; /* and how often it still says that it is not, then it has */
};

static struct json_object *chardevs(struct fixture *f)
{
	struct json_object *list = json_object_new_array(), *o = json_object_new_object();

	f->looks++;
	if (!f->connected && f->stale_looks > 0 && --f->stale_looks == 0)
		f->connected = true;
	json_put_str(o, "label", RENDER_VSOCK_CHARDEV);
	json_put_str(o, "filename",
		     f->connected ? "unix:/run/n1.vsock" : "disconnected:unix:/run/n1.vsock");
	json_object_array_add(list, o);
	return list;
}

static struct json_object *status_running(void)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "status", "running");
	return o;
}

static void on_command(struct jsonline *s, struct json_object *command, void *data)
{
	struct json_object *answer = json_object_new_object();
	const char *word = json_str(command, "execute");
	struct fixture *f = data;

	if (strcmp(word, "query-status") == 0) {
		json_object_object_add(answer, "return", status_running());
	} else if (strcmp(word, "query-chardev") == 0) {
		json_object_object_add(answer, "return", chardevs(f));
	} else {
		if (strcmp(word, "qmp_capabilities") != 0)
			g_string_append_printf(f->told, "%s%s ", word, f->connected ? "" : "!");
		json_object_object_add(answer, "return", json_object_new_object());
	}
	jsonline_send(s, answer);
}

static void on_hung_up(struct jsonline *s, const char *why, void *data)
{
}

static const struct jsonline_ops monitor_ops = { .object = on_command, .closed = on_hung_up };

static gboolean on_call(int fd, GIOCondition condition, void *data)
{
	struct fixture *f = data;
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	assert_true(peer >= 0);
	jsonline_free(f->monitor);
	f->monitor = jsonline_new(peer, LINE_MAX_BYTES, LINE_MAX_BYTES, &monitor_ops, f);
	jsonline_send(f->monitor, json_tokener_parse("{\"QMP\": {}}"));
	return G_SOURCE_CONTINUE;
}

static void changed(struct machine *m, void *data)
{
}

static const struct machine_ops machine_ops = { .changed = changed };

static void until(const struct fixture *f, const char *told)
{
	gint64 end = g_get_monotonic_time() + PATIENCE_US;

	while (strcmp(f->told->str, told) != 0 && g_get_monotonic_time() < end)
		g_main_context_iteration(NULL, FALSE);
	assert_string_equal(f->told->str, told);
	g_string_truncate(f->told, 0);
}

/* A QEMU that runs, taken over from another supervisor: this process has to do. */
static void adopt(struct fixture *f)
{
	struct state *holder = state_new("web", NULL);
	struct state_vm *was = state_add_vm(holder, "n1");
	gint64 end = g_get_monotonic_time() + PATIENCE_US;

	was->stage = STAGE_READY;
	was->cid = 7;
	assert_true(proc_id_read(getpid(), &was->id));
	assert_true(machine_adopt(f->machine, f->engine, was));
	state_free(holder);
	while (!f->machine->ladder.qmp && g_get_monotonic_time() < end)
		g_main_context_iteration(NULL, FALSE);
	assert_true(f->machine->ladder.qmp);
}

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	struct vm_paths *files;
	g_autofree char *sockets = NULL;

	tmp_dir_init(&f->dir);
	f->dirs = (struct lab_dirs){ f->dir.path, f->dir.path, f->dir.path };
	f->paths = lab_paths_new_named("web", &f->dirs);
	files = vm_paths_new(f->paths, "n1", 0);
	assert_int_equal(g_mkdir_with_parents(files->dir, 0700), 0);
	sockets = g_path_get_dirname(files->qmp);
	assert_int_equal(g_mkdir_with_parents(sockets, 0700), 0);
	assert_true(g_file_set_contents(files->ready, "", 0, NULL));
	f->told = g_string_new(NULL);
	f->connected = true;
	f->engine = engine_qemu_new();
	f->machine = machine_new("n1", files, &machine_ops, f);
	f->listen_fd = listen_now(files->qmp, NULL);
	assert_true(f->listen_fd >= 0);
	f->listener = g_unix_fd_add(f->listen_fd, G_IO_IN, on_call, f);
	adopt(f);
	machine_sockets_known(f->machine);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	machine_free(f->machine);
	engine_free(f->engine);
	jsonline_free(f->monitor);
	g_source_remove(f->listener);
	close(f->listen_fd);
	g_string_free(f->told, TRUE);
	lab_paths_free(f->paths);
	tmp_dir_done(&f->dir);
	g_free(f);
	return 0;
}

/* The daemon sees the connection before QEMU does: what QEMU is told in between would be lost ("stop! cont! "). */
static void test_waits_for_qemu(void **state)
{
	struct fixture *f = *state;

	f->connected = false;
	f->stale_looks = 4;
	machine_sockets_lost(f->machine);
	machine_sockets_back(f->machine);
	until(f, "stop cont ");
	machine_sockets_known(f->machine);
	assert_int_equal(f->stale_looks, 0);
}

/* Though QEMU has done as it was told, the daemon does not know the rings. */
static void test_tells_again(void **state)
{
	struct fixture *f = *state;

	machine_sockets_lost(f->machine);
	machine_sockets_back(f->machine);
	until(f, "stop cont ");
	until(f, "stop cont ");
	machine_sockets_known(f->machine);
	run_ms(4 * RINGS_AGAIN_MS);
	assert_string_equal(f->told->str, "");
}

/* A QEMU that never sees the connection is not stopped, and not looked at for ever. */
static void test_never_connected(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	f->connected = false;
	f->machine->rings.again_ms = 60000;
	machine_sockets_lost(f->machine);
	machine_sockets_back(f->machine);
	do {
		before = f->looks;
		run_ms(200);
	} while (f->looks > before && f->looks < 10000);
	assert_int_equal(f->looks, before);
	assert_true(f->looks > 1);
	assert_string_equal(f->told->str, "");
}

/* The monitor is lost in between. */
static void test_monitor_lost(void **state)
{
	struct fixture *f = *state;

	g_clear_pointer(&f->monitor, jsonline_free);
	while (engine_vm_reachable(f->machine->vm))
		g_main_context_iteration(NULL, TRUE);
	machine_sockets_lost(f->machine);
	machine_sockets_back(f->machine);
	assert_int_equal(f->machine->rings.n_told, 0);
	until(f, "stop cont ");
}

int main(void)
{
#define MACHINE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_is_owed),
		cmocka_unit_test(test_again_until_known),
		cmocka_unit_test(test_not_for_ever),
		cmocka_unit_test(test_when_it_can),
		cmocka_unit_test(test_lost_again),
		MACHINE(test_waits_for_qemu),
		MACHINE(test_tells_again),
		MACHINE(test_never_connected),
		MACHINE(test_monitor_lost),
	};

	return cmocka_run_group_tests_name("rings", tests, NULL, NULL);
}
