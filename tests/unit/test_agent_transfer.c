/* SPDX-License-Identifier: MIT */
/* Copies between this host and the real agent, as a plain process: good ones, cancelled ones, and an agent that dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "agent/client/transfer.h"
#include "err.h"
#include "tmp.h"

#define SIZE ((size_t)64 << 20)

static struct tmp_dir tmp;
static char agent_path[128], here[128], there[128];
static pid_t agent_pid;

static int start_agent(void **state)
{
	g_autofree char *listen = g_strdup_printf("unix:%s", agent_path);

	agent_pid = fork();
	assert_true(agent_pid >= 0);
	if (agent_pid == 0) {
		execl(getenv("VHOST_LAB_AGENT"), "vhost-lab-agent", "--listen", listen, "--connect",
		      "none", NULL);
		_exit(99);
	}
	for (unsigned i = 0; i < 1000 && access(agent_path, F_OK) < 0; i++)
		g_usleep(10000);
	assert_int_equal(g_mkdir(here, 0700), 0);
	assert_int_equal(g_mkdir(there, 0700), 0);
	return 0;
}

static void empty(const char *directory)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);

		assert_int_equal(g_unlink(path), 0);
	}
	assert_int_equal(g_rmdir(directory), 0);
}

static int stop_agent(void **state)
{
	kill(agent_pid, SIGTERM);
	assert_int_equal(waitpid(agent_pid, NULL, 0), agent_pid);
	unlink(agent_path);
	empty(here);
	empty(there);
	return 0;
}

static unsigned files_in(const char *directory)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	unsigned n = 0;

	while (g_dir_read_name(dir))
		n++;
	return n;
}

static struct transfer_end end_of(const char *path, bool guest)
{
	return (struct transfer_end){
		.path = path,
		.vm = guest ? "n1" : NULL,
		.address = { .path = agent_path },
	};
}

static void write_file(const char *path, size_t size)
{
	g_autofree char *bytes = g_malloc(size);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (char)(i * 2654435761u >> 11);
	assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
}

static bool same(const char *a, const char *b)
{
	g_autofree char *first = NULL, *second = NULL;
	gsize n_first, n_second;

	assert_true(g_file_get_contents(a, &first, &n_first, NULL));
	assert_true(g_file_get_contents(b, &second, &n_second, NULL));
	return n_first == n_second && memcmp(first, second, n_first) == 0;
}

static gboolean tick(gpointer p)
{
	return G_SOURCE_CONTINUE;
}

/* Run until it is done, or until 'enough' bytes are through. */
static void run(struct transfer *t, uint64_t enough)
{
	guint timer = g_timeout_add(1, tick, NULL);

	while (!transfer_done(t) && transfer_so_far(t).bytes < enough)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(timer);
}

static struct transfer *begin(const struct transfer_end *from, const struct transfer_end *to)
{
	const struct transfer_end *unreached;
	struct transfer *t = transfer_new(from, to, &unreached, NULL);

	assert_non_null(t);
	return t;
}

static gboolean finish(struct transfer *t, struct copy_report *ret_report, GError **error)
{
	const struct transfer_end *unreached;
	gboolean good = transfer_result(t, ret_report, &unreached, error);

	assert_null(unreached);
	transfer_free(t);
	return good;
}

static void assert_copies(const struct transfer_end *from, const struct transfer_end *to)
{
	g_autoptr(GError) error = NULL;
	struct transfer *t = begin(from, to);
	struct copy_report report;

	run(t, UINT64_MAX);
	assert_true(finish(t, &report, &error));
	assert_int_equal(report.files, 1);
	assert_int_equal(report.bytes, SIZE);
}

static void test_both_ways(void **state)
{
	g_autofree char *source = g_build_filename(here, "source", NULL);
	g_autofree char *in_guest = g_build_filename(there, "copy", NULL);
	g_autofree char *second = g_build_filename(there, "second", NULL);
	g_autofree char *back = g_build_filename(here, "back", NULL);
	const struct transfer_end local = end_of(source, false), guest = end_of(in_guest, true);
	const struct transfer_end other = end_of(second, true), returned = end_of(back, false);

	write_file(source, SIZE);
	assert_copies(&local, &guest);
	assert_copies(&guest, &other); /* between two guests, both being this one */
	assert_copies(&other, &returned);
	assert_true(same(source, back));
}

static void test_refusals(void **state)
{
	g_autofree char *target = g_build_filename(here, "x", NULL);
	g_autofree char *source = g_build_filename(here, "source", NULL);
	const struct transfer_end missing = end_of("/no/such/file", true),
				  into = end_of(target, false), from = end_of(source, false),
				  nowhere = end_of("/no/such/directory/x", true);
	const struct transfer_end *const cases[][2] = { { &missing, &into },
							{ &from, &nowhere },
							{ &from, &missing } };

	write_file(source, 1000);
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;
		struct transfer *t = begin(cases[i][0], cases[i][1]);
		struct copy_report report;

		run(t, UINT64_MAX);
		assert_false(finish(t, &report, &error));
		assert_non_null(strstr(error->message, "/no/such"));
	}
	assert_int_equal(files_in(here), 1);
}

static void test_cancelled(void **state)
{
	g_autofree char *source = g_build_filename(here, "source", NULL);
	g_autofree char *target = g_build_filename(there, "target", NULL);
	const struct transfer_end from = end_of(source, false), to = end_of(target, true);
	g_autoptr(GError) error = NULL;
	struct copy_report report;
	struct transfer *t;

	write_file(source, SIZE);
	t = begin(&from, &to);
	run(t, SIZE / 8);
	transfer_cancel(t);
	run(t, UINT64_MAX);
	assert_false(finish(t, &report, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_INTERRUPTED));
	for (unsigned i = 0; i < 500 && files_in(there) > 0; i++)
		g_usleep(10000);
	assert_int_equal(files_in(there), 0);
}

/* The target of a guest that dies in the middle has no name of its own; what is left is swept by the next copy. */
static void test_death(bool in)
{
	g_autofree char *source = g_build_filename(in ? here : there, "source", NULL);
	g_autofree char *target = g_build_filename(in ? there : here, "target", NULL);
	const struct transfer_end from = end_of(source, !in), to = end_of(target, in);
	g_autoptr(GError) error = NULL;
	struct copy_report report;
	struct transfer *t;

	write_file(source, SIZE);
	t = begin(&from, &to);
	run(t, SIZE / 8);
	kill(agent_pid, SIGKILL);
	run(t, UINT64_MAX);
	assert_false(finish(t, &report, &error));
	assert_false(g_file_test(target, G_FILE_TEST_EXISTS));
	if (!in)
		assert_int_equal(files_in(here), 0);
}

static void test_death_while_sending(void **state)
{
	test_death(true);
}

static void test_death_while_receiving(void **state)
{
	test_death(false);
}

static void test_nobody(void **state)
{
	const struct transfer_end from = end_of("/etc/hostname", false);
	struct transfer_end to = end_of("/x", true);
	const struct transfer_end *unreached = NULL;
	g_autoptr(GError) error = NULL;

	to.address.path = "/nonexistent/socket";
	assert_null(transfer_new(&from, &to, &unreached, &error));
	assert_ptr_equal(unreached, &to);
	assert_non_null(error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_ways, start_agent, stop_agent),
		cmocka_unit_test_setup_teardown(test_refusals, start_agent, stop_agent),
		cmocka_unit_test_setup_teardown(test_cancelled, start_agent, stop_agent),
		cmocka_unit_test_setup_teardown(test_death_while_sending, start_agent, stop_agent),
		cmocka_unit_test_setup_teardown(test_death_while_receiving, start_agent,
						stop_agent),
		cmocka_unit_test_setup_teardown(test_nobody, start_agent, stop_agent),
	};
	int failed;

	tmp_dir_init(&tmp);
	tmp_path(&tmp, "agent", agent_path, sizeof(agent_path));
	tmp_path(&tmp, "here", here, sizeof(here));
	tmp_path(&tmp, "there", there, sizeof(there));
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tmp_dir_done(&tmp);
	return failed;
}
