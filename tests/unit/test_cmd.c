/* SPDX-License-Identifier: MIT */
/* The command line: verbs, options, variables, times, and which lab is meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "cmd.h"
#include "cmd/duration.h"
#include "err.h"
#include "out.h"

/* --- a verb of our own ------------------------------------------------------------------------------------ */

static gboolean opt_dry_run;
static char *opt_timeout;
static int opt_jobs;
static char *seen;

static const GOptionEntry options[] = {
	{ "timeout", 't', 0, G_OPTION_ARG_STRING, &opt_timeout, "Give up after that", "TIME" },
	{ "jobs", 'j', 0, G_OPTION_ARG_INT, &opt_jobs, "So many at once", "N" },
	{ "dry-run", 'n', 0, G_OPTION_ARG_NONE, &opt_dry_run, "Only say it", NULL },
	G_OPTION_ENTRY_NULL,
};

static int run_try(char **args, GError **error)
{
	g_autofree char *joined = g_strjoinv(",", args);

	g_free(seen);
	seen = g_strdup_printf("%s t=%s j=%d n=%d", joined, opt_timeout ? opt_timeout : "-",
			       opt_jobs, opt_dry_run);
	if (args[0] && strcmp(args[0], "fail") == 0) {
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_CONFLICT, "on request");
		return -1;
	}
	return args[0] && strcmp(args[0], "six") == 0 ? 6 : 0;
}

static const struct cmd cmd_try = {
	.name = "try",
	.args = "[A] [B]",
	.summary = "Try it",
	.help = "Some words.",
	.options = options,
	.min_args = 0,
	.max_args = 2,
	.arg = CMD_ARG_OTHER,
	.run = run_try,
};

static const struct cmd cmd_need = {
	.name = "need",
	.args = "A",
	.summary = "Needs one",
	.min_args = 1,
	.max_args = 1,
	.run = run_try,
};

static const struct cmd cmd_raw = {
	.name = "raw",
	.args = "[WORD...]",
	.summary = "Takes all",
	.hidden = true,
	.raw = true,
	.run = run_try,
};

static const struct cmd *const table[] = { &cmd_try, &cmd_need, &cmd_raw, NULL };

static int setup(void **state)
{
	g_clear_pointer(&opt_timeout, g_free);
	g_clear_pointer(&seen, g_free);
	opt_jobs = 0;
	opt_dry_run = FALSE;
	g_unsetenv("ORCHESTRATOR_TRY_TIMEOUT");
	g_unsetenv("ORCHESTRATOR_TRY_JOBS");
	g_unsetenv("ORCHESTRATOR_TRY_DRY_RUN");
	return 0;
}

static int run_line(const char *line)
{
	g_auto(GStrv) words = g_strsplit(line, " ", -1);

	g_clear_pointer(&opt_timeout, g_free);
	return cmd_main(table, (int)g_strv_length(words), words);
}

static void assert_line(const char *line, int code, const char *expected)
{
	(void)setup(NULL);
	assert_int_equal(run_line(line), code);
	if (expected)
		assert_string_equal(seen, expected);
	else
		assert_null(seen);
}

static void test_arguments(void **state)
{
	assert_line("o try", 0, " t=- j=0 n=0");
	assert_line("o try a b", 0, "a,b t=- j=0 n=0");
	assert_line("o try a -n b", 0, "a,b t=- j=0 n=1");
	assert_line("o try -t 5s --jobs=3 a", 0, "a t=5s j=3 n=0");
	assert_line("o try -- -n", 0, "-n t=- j=0 n=0");
	assert_line("o try six", 6, "six t=- j=0 n=0");
	assert_line("o try fail", 7, "fail t=- j=0 n=0");
	assert_line("o raw --help -x --", 0, "--help,-x,-- t=- j=0 n=0");
}

static void test_usage(void **state)
{
	assert_line("o", 2, NULL);
	assert_line("o nope", 2, NULL);
	assert_line("o tri", 2, NULL);
	assert_line("o try --nope", 2, NULL);
	assert_line("o try -t", 2, NULL);
	assert_line("o try -j many", 2, NULL);
	assert_line("o try a b c", 2, NULL);
	assert_line("o need", 2, NULL);
	assert_line("o need a b", 2, NULL);
}

static void test_environment(void **state)
{
	(void)setup(NULL);
	g_setenv("ORCHESTRATOR_TRY_TIMEOUT", "7s", TRUE);
	g_setenv("ORCHESTRATOR_TRY_JOBS", "2", TRUE);
	g_setenv("ORCHESTRATOR_TRY_DRY_RUN", "yes", TRUE);
	assert_int_equal(run_line("o try x"), 0);
	assert_string_equal(seen, "x t=7s j=2 n=1");
	/* The command line wins. */
	assert_int_equal(run_line("o try --timeout=1s x"), 0);
	assert_string_equal(seen, "x t=1s j=2 n=1");
	opt_dry_run = FALSE;
	g_setenv("ORCHESTRATOR_TRY_DRY_RUN", "0", TRUE);
	assert_int_equal(run_line("o try x"), 0);
	assert_non_null(strstr(seen, "n=0"));
	g_setenv("ORCHESTRATOR_TRY_DRY_RUN", "perhaps", TRUE);
	assert_int_equal(run_line("o try x"), 2);
	g_unsetenv("ORCHESTRATOR_TRY_DRY_RUN");
	g_setenv("ORCHESTRATOR_TRY_JOBS", "two", TRUE);
	assert_int_equal(run_line("o try x"), 2);
}

static void test_help(void **state)
{
	g_autofree char *text = cmd_help_text(&cmd_try);
	g_autofree char *name = cmd_env_name(&cmd_try, "dry-run");
	g_autofree char *lab = cmd_env_name(&cmd_try, "lab");

	assert_true(g_str_has_prefix(
		text, "Usage: orchestrator try [OPTION...] [A] [B]\n\nTry it.\n\nSome words.\n"));
	assert_non_null(strstr(text, "  -t, --timeout=TIME       Give up after that\n"));
	assert_non_null(strstr(text, "  -h, --help"));
	assert_non_null(strstr(text, "--timeout by ORCHESTRATOR_TRY_TIMEOUT"));
	assert_string_equal(name, "ORCHESTRATOR_TRY_DRY_RUN");
	assert_string_equal(lab, "ORCHESTRATOR_LAB");
}

/* --- times ------------------------------------------------------------------------------------------------ */

static void assert_duration(const char *text, gint64 ms)
{
	gint64 got = -1;

	assert_int_equal(duration_parse(text, &got), ms >= 0);
	assert_int_equal(got, ms >= 0 ? ms : -1);
}

static void test_durations(void **state)
{
	assert_duration("0", 0);
	assert_duration("90", 90000);
	assert_duration("90s", 90000);
	assert_duration("250ms", 250);
	assert_duration("5m", 300000);
	assert_duration("1h30m5s", 5405000);
	assert_duration("168h", 7 * 24 * 3600 * 1000LL);
	assert_duration("", -1);
	assert_duration("s", -1);
	assert_duration("-1", -1);
	assert_duration("5x", -1);
	assert_duration("5 s", -1);
	assert_duration("5s5", -1);
	assert_duration("1.5s", -1);
	assert_duration("168h1ms", -1);
	assert_duration("99999999999999999999", -1);
	assert_duration("18446744073709551615s", -1);
}

static void test_elapsed(void **state)
{
	static const struct {
		gint64 us;
		const char *text;
	} cases[] = {
		{ 0, "0.0s" },
		{ 1234567, "1.2s" },
		{ (gint64)61 * G_USEC_PER_SEC, "1m01s" },
		{ (gint64)3661 * G_USEC_PER_SEC, "1h01m" },
		{ (gint64)90000 * G_USEC_PER_SEC, "1d01h" },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = out_elapsed(cases[i].us);

		assert_string_equal(text, cases[i].text);
	}
}

static void test_table(void **state)
{
	static const char *const headings[] = { "VM", "STAGE", "" };
	static const char *const first[] = { "n1", NULL, "" }, *const second[] = { "tää", "ready",
										   "note" };
	struct out_table *t = out_table_new(headings, 3);
	char text[200] = "";
	FILE *stream = fmemopen(text, sizeof(text), "w");

	out_table_row(t, first);
	out_table_row(t, second);
	out_table_print(t, stream);
	fclose(stream);
	out_table_free(t);
	assert_string_equal(text, "VM   STAGE\nn1   -\ntää  ready  note\n");
}

/* --- which lab -------------------------------------------------------------------------------------------- */

static void assert_found(const char *arg, const char *path, const char *name)
{
	struct cmd_lab_ref ref = { 0 };
	g_autoptr(GError) error = NULL;

	if (!path && !name) {
		assert_false(cmd_find_lab(arg, &ref, &error));
		assert_non_null(error);
		return;
	}
	assert_true(cmd_find_lab(arg, &ref, &error));
	assert_int_equal(g_strcmp0(ref.path, path), 0);
	assert_int_equal(g_strcmp0(ref.name, name), 0);
	cmd_lab_ref_clear(&ref);
}

static void test_which(void **state)
{
	g_autofree char *directory = g_dir_make_tmp("vl-cmd-XXXXXX", NULL);
	g_autofree char *labs = g_build_filename(directory, "vhost-lab", "labs", NULL);
	g_autofree char *web = g_build_filename(labs, "web", NULL);
	g_autofree char *base = g_path_get_dirname(labs);

	g_setenv("XDG_STATE_HOME", directory, TRUE);
	g_setenv("XDG_RUNTIME_DIR", directory, TRUE);
	g_unsetenv("ORCHESTRATOR_LAB");
	assert_int_equal(chdir(directory), 0);
	assert_int_equal(g_mkdir_with_parents(web, 0700), 0);
	assert_found("x/y", "x/y", NULL);
	assert_found("none.json", "none.json", NULL);
	assert_found("web", NULL, "web");
	assert_found("db", NULL, NULL);
	assert_found("Not A Name", NULL, NULL);
	/* It has left a directory, but nothing of it runs. */
	assert_found(NULL, NULL, NULL);
	g_setenv("ORCHESTRATOR_LAB", "web", TRUE);
	assert_found(NULL, NULL, "web");
	assert_found("x.json", "x.json", NULL);
	g_unsetenv("ORCHESTRATOR_LAB");
	assert_true(g_file_set_contents("lab.json", "{}", -1, NULL));
	assert_found(NULL, "lab.json", NULL);
	/* A file that is there is a file, whatever it is called. */
	assert_true(g_file_set_contents("db", "{}", -1, NULL));
	assert_found("db", "db", NULL);
	assert_int_equal(chdir("/"), 0);
	for (unsigned i = 0; i < 2; i++) {
		g_autofree char *path = g_build_filename(directory, i ? "db" : "lab.json", NULL);

		g_unlink(path);
	}
	g_rmdir(web);
	g_rmdir(labs);
	g_rmdir(base);
	assert_int_equal(g_rmdir(directory), 0);
}

/* --- exit codes ------------------------------------------------------------------------------------------- */

static void test_exit_codes(void **state)
{
	static const int codes[] = { 1, 2, 3, 4, 5, 6, 7, 130 };
	g_autoptr(GError) other = g_error_new(G_FILE_ERROR, G_FILE_ERROR_NOENT, "x");
	g_autoptr(GError) error = NULL;

	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
		g_autoptr(GError) own = g_error_new(ORCH_ERROR, codes[i], "x");

		assert_int_equal(err_exit_code(own), codes[i]);
		assert_int_equal(err_from_exit_code(codes[i]), codes[i]);
	}
	assert_int_equal(err_exit_code(NULL), 0);
	assert_int_equal(err_exit_code(other), 1);
	assert_int_equal(err_from_exit_code(0), ORCH_ERROR_FAILED);
	assert_int_equal(err_from_exit_code(77), ORCH_ERROR_FAILED);
	err_set_errno(&error, ORCH_ERROR_FAILED, 2, "cannot open %s", "/x");
	assert_string_equal(error->message, "cannot open /x: No such file or directory");
	err_set_errno(NULL, ORCH_ERROR_FAILED, 2, "nobody hears");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_arguments, setup),
		cmocka_unit_test_setup(test_usage, setup),
		cmocka_unit_test_setup(test_environment, setup),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_elapsed),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_which),
		cmocka_unit_test(test_exit_codes),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	(void)setup(NULL);
	return failed;
}
