/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "model/libvirt_uri.h"

static void test_good(void **state)
{
	static const struct {
		const char *uri;
		bool system, remote;
	} cases[] = {
		{ LIBVIRT_URI_DEFAULT, false, false },
		{ "qemu:///session", false, false },
		{ "qemu:///system", true, false },
		{ "qemu+unix:///system", true, false },
		{ "qemu:///session?socket=/tmp/x/libvirt-sock", false, false },
		{ "qemu+ssh://host/system", true, true },
		{ "qemu+ssh://user@host:2222/session?keyfile=/k", false, true },
		{ "qemu+tls://[::1]/system", true, true },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct libvirt_uri parts = { .system = !cases[i].system,
					     .remote = !cases[i].remote };

		assert_null(libvirt_uri_fault(cases[i].uri, &parts));
		assert_int_equal(parts.system, cases[i].system);
		assert_int_equal(parts.remote, cases[i].remote);
	}
}

static void test_bad(void **state)
{
	static const struct {
		const char *uri, *says;
	} cases[] = {
		{ "", "must begin with" },
		{ "session", "must begin with" },
		{ "xen:///", "must begin with" },
		{ "qemux:///session", "must begin with" },
		{ "test:///default", "must begin with" },
		{ "http://host/system", "must begin with" },
		{ "qemu:///sessio", "must end in" },
		{ "qemu:///", "must end in" },
		{ "qemu://", "must end in" },
		{ "qemu:///system/", "must end in" },
		{ "qemu:///embed?root=/x", "must end in" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct libvirt_uri parts = { .system = true, .remote = true };
		const char *fault = libvirt_uri_fault(cases[i].uri, &parts);

		assert_non_null(fault);
		if (!g_str_has_prefix(fault, cases[i].says))
			fail_msg("\"%s\": %s", cases[i].uri, fault);
		assert_true(parts.system && parts.remote);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
