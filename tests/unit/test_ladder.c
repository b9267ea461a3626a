/* SPDX-License-Identifier: MIT */
/* The rungs from "start" to "ready", and what QEMU's last words are made into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "err.h"
#include "run/ladder.h"
#include "run/qemu_error.h"

static void test_climb(void **state)
{
	struct ladder l = { .n_nics = 2 };

	assert_int_equal(ladder_stage(&l), STAGE_STARTING);
	l.process = true;
	assert_int_equal(ladder_stage(&l), STAGE_PROCESS);
	l.qmp = true;
	assert_int_equal(ladder_stage(&l), STAGE_QMP);
	l.n_negotiated = 1;
	assert_int_equal(ladder_stage(&l), STAGE_QMP);
	l.n_negotiated = 2;
	assert_int_equal(ladder_stage(&l), STAGE_NEGOTIATED);
	l.ready = true;
	assert_int_equal(ladder_stage(&l), STAGE_READY);
}

/* A VM is as far as the first probe that does not hold, in whatever order they come true. */
static void test_every_combination(void **state)
{
	for (unsigned bits = 0; bits < 16; bits++) {
		struct ladder l = {
			.process = bits & 1,
			.qmp = bits & 2,
			.n_nics = 1,
			.n_negotiated = bits & 4 ? 1 : 0,
			.ready = bits & 8,
		};
		unsigned rung = 0;

		while (rung < 4 && bits & (1u << rung))
			rung++;
		assert_int_equal(ladder_stage(&l), STAGE_STARTING + rung);
	}
}

static void test_no_nics(void **state)
{
	struct ladder l = { .process = true, .qmp = true };

	assert_int_equal(ladder_stage(&l), STAGE_NEGOTIATED);
}

static void test_words(void **state)
{
	for (enum stage s = 0; s < STAGE_COUNT; s++) {
		assert_int_equal(stage_from_word(stage_word(s)), s);
		assert_int_equal(stage_on_its_way(s), s >= STAGE_STARTING && s < STAGE_READY);
		/* Whoever is on its way is waited for something that can be named. */
		assert_true(!stage_on_its_way(s) || *ladder_waits_for(s));
	}
	assert_int_equal(stage_from_word("reading"), STAGE_COUNT);
	assert_int_equal(stage_from_word(NULL), STAGE_COUNT);
	assert_string_equal(ladder_waits_for(STAGE_READY), "");
}

static bool mark(const char *text)
{
	return ladder_ready_mark(text, strlen(text));
}

static void test_ready_mark(void **state)
{
	assert_true(mark("ready 1\n"));
	assert_true(mark("ready 1\r\n"));
	assert_true(mark("boot\nready 1\nmore"));
	assert_true(mark("\n\nready 1\n"));
	assert_false(mark(""));
	assert_false(mark("ready 1"));
	assert_false(mark("ready 10\n"));
	assert_false(mark("not ready 1\n"));
	assert_false(mark("ready 2\n"));
	assert_false(mark("Ready 1\n"));
	assert_false(ladder_ready_mark("ready 1\n", 7));
	assert_false(ladder_ready_mark("ready\0001\n", 8));
}

static void assert_explained(const char *line, const char *how, int code, const char *part)
{
	int got = -1;
	g_autofree char *text = qemu_error_explain(line, how, &got);

	assert_non_null(strstr(text, part));
	assert_int_equal(got, code);
	assert_null(strchr(text, '\n'));
}

static void test_error_line(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "error eth0: no NIC\n", "eth0: no NIC" },
		{ "boot\r\nerror one\r\nerror two\n", "one" },
		{ "error half", NULL },
		{ "error \n", NULL },
		{ "an error it is\n", NULL },
		{ "errors\n", NULL },
		{ "", NULL },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		g_autofree char *error = ladder_error_line(cases[i].text, strlen(cases[i].text));

		if (cases[i].error)
			assert_string_equal(error, cases[i].error);
		else
			assert_null(error);
	}
}

static void test_explain(void **state)
{
	assert_explained(NULL, "killed by signal 9 (Killed)", ORCH_ERROR_FAILED,
			 "QEMU ended: killed by signal 9");
	assert_explained("qemu-system-x86_64: sorry, no", "exit status 1", ORCH_ERROR_FAILED,
			 "QEMU ended: exit status 1: sorry, no");
	assert_explained("qemu-system-x86_64: terminating on signal 15 from pid 1", "exit status 0",
			 ORCH_ERROR_FAILED, "QEMU ended: exit status 0");
	assert_explained("Could not access KVM kernel module: Permission denied", "exit status 1",
			 ORCH_ERROR_HOST_UNFIT, "/dev/kvm");
	assert_explained("qemu-system-x86_64: failed to initialize kvm: Permission denied",
			 "exit status 1", ORCH_ERROR_HOST_UNFIT, "doctor");
	assert_explained(
		"qemu-system-x86_64: cannot set up guest memory 'mem0': Cannot allocate memory",
		"exit status 1", ORCH_ERROR_HOST_UNFIT, "not enough memory");
	assert_explained(
		"qemu-system-x86_64: -chardev socket,path=x: Failed to bind: Address already in use",
		"exit status 1", ORCH_ERROR_CONFLICT, "Failed to bind");
	/* The words themselves are never lost. */
	assert_explained("qemu: could not load kernel '/k': No such file", "exit status 1",
			 ORCH_ERROR_FAILED, "/k");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_climb),      cmocka_unit_test(test_every_combination),
		cmocka_unit_test(test_no_nics),    cmocka_unit_test(test_words),
		cmocka_unit_test(test_ready_mark), cmocka_unit_test(test_error_line),
		cmocka_unit_test(test_explain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
