/* SPDX-License-Identifier: MIT */
/* Processes, sockets that appear, logs: what the supervisor watches, with real ones of each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "err.h"
#include "run/logfile.h"
#include "run/proc.h"
#include "run/watch.h"

static char *directory;

static char *file(const char *name)
{
	return g_build_filename(directory, name, NULL);
}

static int setup(void **state)
{
	directory = g_dir_make_tmp("vl-proc-XXXXXX", NULL);
	assert_non_null(directory);
	return 0;
}

static int teardown(void **state)
{
	GDir *dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = file(name);

		g_unlink(path);
	}
	g_dir_close(dir);
	g_rmdir(directory);
	g_free(directory);
	return 0;
}

/* --- processes -------------------------------------------------------------------------------------------- */

struct end {
	bool ended;
	char *how;
	int status;
};

static void exited(struct proc *p, int status, const char *how, void *data)
{
	struct end *e = data;

	e->ended = true;
	e->status = status;
	e->how = g_strdup(how);
	proc_free(p); /* as its users do */
}

static gboolean too_long(gpointer p)
{
	fail_msg("nothing happened for 10 s");
	return G_SOURCE_REMOVE;
}

static void wait_until(const bool *done)
{
	guint timer = g_timeout_add_seconds(10, too_long, NULL);

	while (!*done)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(timer);
}

static struct proc *sh(const char *script, const char *log, struct end *e)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };
	struct proc *p = proc_spawn(argv, NULL, log, -1, exited, e, NULL);

	assert_non_null(p);
	return p;
}

static void test_exit(void **state)
{
	g_autofree char *log = file("log");
	g_autofree char *text = NULL;
	struct end e = { 0 };

	assert_true(g_file_set_contents(log, "before\n", -1, NULL));
	(void)sh("echo out; echo err >&2; read x || echo no stdin; exit 3", log, &e);
	wait_until(&e.ended);
	assert_string_equal(e.how, "exit status 3");
	assert_true(WIFEXITED(e.status));
	assert_true(g_file_get_contents(log, &text, NULL, NULL));
	assert_string_equal(text, "before\nout\nerr\nno stdin\n");
	g_free(e.how);
}

static void test_signal(void **state)
{
	g_autofree char *log = file("log");
	struct end e = { 0 };
	struct proc *p = sh("sleep 100", log, &e);

	assert_int_equal(getsid(proc_identity(p)->pid), proc_identity(p)->pid);
	assert_true(proc_id_alive(proc_identity(p)));
	proc_signal(p, SIGKILL);
	wait_until(&e.ended);
	assert_string_equal(e.how, "killed by signal 9 (Killed)");
	g_free(e.how);
}

/* Nothing of ours goes along: no descriptor, no ignored signal. */
static void test_clean_slate(void **state)
{
	g_autofree char *log = file("log");
	g_autofree char *text = NULL;
	int stray = open("/dev/null", O_RDONLY); /* no O_CLOEXEC */
	struct end e = { 0 };

	(void)signal(SIGUSR1, SIG_IGN);
	(void)sh("ls /proc/self/fd | wc -l; sed -n 's/SigIgn:.//p' /proc/self/status", log, &e);
	wait_until(&e.ended);
	(void)signal(SIGUSR1, SIG_DFL);
	close(stray);
	assert_true(g_file_get_contents(log, &text, NULL, NULL));
	/* 0, 1, 2 and the directory that ls reads. */
	assert_true(g_str_has_prefix(text, "4\n"));
	/* The two above 31 are the C library's own. */
	assert_true((g_ascii_strtoull(text + 2, NULL, 16) & 0x7fffffff) == 0);
	g_free(e.how);
}

static void test_no_program(void **state)
{
	const char *argv[] = { "/nonexistent/qemu", NULL };
	g_autofree char *log = file("log");
	g_autofree char *nowhere = file("none/log");
	g_autoptr(GError) error = NULL, log_error = NULL;

	assert_null(proc_spawn(argv, NULL, log, -1, exited, NULL, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, "/nonexistent/qemu"));
	assert_null(proc_spawn(argv, NULL, nowhere, -1, exited, NULL, &log_error));
	assert_non_null(strstr(log_error->message, nowhere));
}

/* A process that is somebody else's child is watched to its end all the same. */
static void test_adopt(void **state)
{
	g_autofree char *log = file("log");
	struct end e = { 0 }, own = { 0 };
	struct proc *p = sh("sleep 100", log, &own);
	struct proc_id id = *proc_identity(p), wrong = id;
	struct proc *adopted = proc_adopt(&id, exited, &e);

	assert_non_null(adopted);
	wrong.start++;
	assert_null(proc_adopt(&wrong, exited, &e));
	assert_false(proc_id_alive(&wrong));
	proc_signal(adopted, SIGTERM);
	wait_until(&e.ended);
	assert_string_equal(e.how, "ended");
	assert_int_equal(e.status, -1);
	wait_until(&own.ended);
	assert_null(proc_adopt(&id, exited, &e));
	g_free(e.how);
	g_free(own.how);
}

static void test_identity(void **state)
{
	struct proc_id id, none = { 0 };
	char boot[PROC_BOOT_ID_LEN + 1];

	assert_true(proc_id_read(getpid(), &id));
	assert_true(proc_id_alive(&id));
	assert_false(proc_id_alive(&none));
	assert_false(proc_id_read(0, &id));
	assert_false(proc_id_read(-1, &id));
	proc_boot_id(boot);
	assert_int_equal(strlen(boot), PROC_BOOT_ID_LEN);
	assert_true(proc_id_start_us(&id) <= proc_boottime_us());
	assert_true(proc_boottime_us() - proc_id_start_us(&id) < 600 * G_USEC_PER_SEC);
}

/* A stubborn one is killed; a stranger that has the pid now is not touched. */
static void test_end_by_id(void **state)
{
	g_autofree char *log = file("log");
	struct end e = { 0 };
	struct proc *p = sh("trap '' TERM; echo up; while :; do sleep 0.05; done", log, &e);
	struct proc_id id = *proc_identity(p), stranger = id;

	while (logfile_size(log) == 0)
		g_usleep(1000);
	stranger.start--;
	assert_true(proc_id_end(&stranger, 100));
	assert_true(proc_id_alive(&id));
	assert_true(proc_id_end(&id, 100));
	wait_until(&e.ended);
	assert_non_null(strstr(e.how, "signal 9"));
	assert_true(proc_id_end(&id, 100));
	g_free(e.how);
}

/* --- files and sockets ------------------------------------------------------------------------------------ */

static void grown(void *data)
{
	*(bool *)data = true;
}

static void test_watch(void **state)
{
	g_autofree char *path = file("ready");
	g_autofree char *none = file("none");
	g_autoptr(GError) error = NULL;
	bool first = false, second = false;
	struct watch *a, *b;
	int fd;

	assert_null(watch_file(none, grown, &first, &error));
	assert_non_null(strstr(error->message, none));
	assert_true(g_file_set_contents(path, "", 0, NULL));
	a = watch_file(path, grown, &first, NULL);
	b = watch_file(path, grown, &second, NULL);
	fd = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "x", 1), 1);
	wait_until(&first);
	assert_true(second);
	/* One goes, the other still hears. */
	watch_free(a);
	first = second = false;
	assert_int_equal(write(fd, "x", 1), 1);
	wait_until(&second);
	assert_false(first);
	watch_free(b);
	close(fd);
}

static int listener(const char *path, bool listens)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	if (listens)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

struct dialled {
	bool done;
	int fd;
	struct dial *dial;
};

static void dialled(int fd, const GError *error, void *data)
{
	struct dialled *d = data;

	d->done = true;
	d->fd = fd;
	dial_free(d->dial);
	d->dial = NULL;
}

static void settle(void)
{
	for (unsigned i = 0; i < 20; i++) {
		g_main_context_iteration(NULL, FALSE);
		g_usleep(1000);
	}
}

static void test_dial(void **state)
{
	g_autofree char *path = file("x.qmp");
	g_autofree char *other = file("y.qmp");
	struct dialled d = { 0 };
	int fd, wrong;

	assert_int_equal(dial_now(path), -ENOENT);
	d.dial = dial_new(path, dialled, &d);
	settle();
	wrong = listener(other, true);
	settle();
	assert_false(d.done);
	/* It appears, and listens only later. */
	fd = listener(path, false);
	settle();
	assert_false(d.done);
	assert_int_equal(dial_now(path), -ECONNREFUSED);
	assert_false(listened_at(path));
	assert_int_equal(listen(fd, 1), 0);
	assert_true(listened_at(path));
	wait_until(&d.done);
	assert_true(d.fd >= 0);
	assert_true(fcntl(d.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(d.fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	/* Neither the file that is left nor a connection that outlives it is somebody who listens. */
	assert_false(listened_at(path));
	close(d.fd);
	close(wrong);
}

static void test_dial_never(void **state)
{
	char path[200];
	struct dialled d = { 0 };

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	d.dial = dial_new(path, dialled, &d);
	wait_until(&d.done);
	assert_int_equal(d.fd, -1);
}

/* --- logs ------------------------------------------------------------------------------------------------- */

static void assert_last(const char *text, const char *expected)
{
	g_autofree char *path = file("log");
	g_autofree char *line = NULL;

	assert_true(g_file_set_contents(path, text, -1, NULL));
	line = logfile_last_line(path, 0, 20);
	if (expected)
		assert_string_equal(line, expected);
	else
		assert_null(line);
}

static void test_last_line(void **state)
{
	g_autofree char *path = file("log");
	g_autofree char *none = file("none");
	g_autofree char *later = NULL;

	assert_last("", NULL);
	assert_last("\n\r\n \n", NULL);
	assert_last("one\ntwo\n", "two");
	assert_last("one\ntwo", "two");
	assert_last("one\r\n\r\n", "one");
	assert_last("\033[1;32mok\033[0m done\033]0;title\a\n\033[6n", "ok done");
	assert_last("a\x01\x7f"
		    "b\tc",
		    "ab c");
	assert_last("tää", "tää");
	assert_last("bad \xff byte", "bad \xef\xbf\xbd byte");
	assert_last("123456789012345678901234567890", "12345678901234567890");
	assert_null(logfile_last_line(none, 0, 20));
	/* Only what came later. */
	assert_true(g_file_set_contents(path, "old\nnew\n", -1, NULL));
	assert_null(logfile_last_line(path, 8, 20));
	later = logfile_last_line(path, 4, 20);
	assert_string_equal(later, "new");
}

static void test_bound(void **state)
{
	g_autofree char *path = file("log");
	g_autofree char *kept = file("log.1");
	int writer = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	struct stat st;

	assert_int_equal(ftruncate(writer, LOGFILE_MAX), 0);
	logfile_bound(path);
	assert_int_equal(logfile_size(path), LOGFILE_MAX);
	assert_int_equal(write(writer, "end", 3), 3);
	logfile_bound(path);
	assert_int_equal(logfile_size(path), 0);
	assert_int_equal(stat(kept, &st), 0);
	assert_int_equal(st.st_size, LOGFILE_KEEP);
	/* The writer goes on at the new end. */
	assert_int_equal(write(writer, "more", 4), 4);
	assert_int_equal(logfile_size(path), 4);
	close(writer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_exit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_signal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clean_slate, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt, setup, teardown),
		cmocka_unit_test(test_identity),
		cmocka_unit_test_setup_teardown(test_end_by_id, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dial, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dial_never, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
