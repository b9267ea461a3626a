/* SPDX-License-Identifier: MIT */
/* A library that is loaded: the C library's own mathematics, which is there wherever these tests are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "host/library.h"

#define SONAME "libm.so.6"

static struct {
	double (*floor)(double);
	double (*sqrt)(double);
} m;

static const struct library_function functions[] = { { "floor", &m.floor },
						     { "sqrt", &m.sqrt },
						     { NULL } };

static void test_loaded(void **state)
{
	static struct library library = { .soname = SONAME, .dir = "/", .functions = functions };

	assert_null(library_load(&library));
	assert_true(m.floor(2.5) == 2 && m.sqrt(9) == 3);
	/* Once: what it has filled in stays. */
	m.floor = NULL;
	assert_null(library_load(&library));
	assert_null(m.floor);
}

static void test_not_there(void **state)
{
	static struct library library = { .soname = "libnowhere.so.1",
					  .dir = "/nonexistent",
					  .functions = functions };
	g_autofree char *first = library_load(&library), *second = library_load(&library);

	/* Where it was looked for last, each time. */
	assert_non_null(strstr(first, "/nonexistent/libnowhere.so.1"));
	assert_string_equal(second, first);
}

/* Another one of that name: it lacks what is wanted. */
static void test_another(void **state)
{
	static double (*none)(double);
	static const struct library_function others[] = { { "floor", &m.floor },
							  { "vhost_lab_none", &none },
							  { NULL } };
	static struct library library = { .soname = SONAME, .dir = "/", .functions = others };
	g_autofree char *why = library_load(&library);

	assert_non_null(strstr(why, "vhost_lab_none"));
	assert_false(library.loaded);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loaded),
		cmocka_unit_test(test_not_there),
		cmocka_unit_test(test_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
