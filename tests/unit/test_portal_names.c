/* SPDX-License-Identifier: MIT */
/* Named objects, and their mirror. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "names.h"

static struct portal_name mirror[PORTAL_NAMES];
static struct names n;

#define OWNER (5ull << 16 | 1)

static int setup(void **state)
{
	memset(mirror, 0, sizeof(mirror));
	return names_init(&n, mirror, NULL, NULL);
}

static int teardown(void **state)
{
	names_done(&n);
	return 0;
}

static struct name entry(const char *name)
{
	struct name e = { .type = PORTAL_TYPE_BYTES, .offset = 4096, .len = 100, .owner = OWNER };

	(void)snprintf(e.name, sizeof(e.name), "%s", name);
	return e;
}

static int publish(const char *name, uint32_t *ret_index)
{
	const struct name e = entry(name);

	return names_publish(&n, &e, ret_index);
}

static void test_valid(void **state)
{
	char name[PORTAL_NAME_MAX] = "a";

	assert_true(names_valid(name));
	name[5] = 'x'; /* behind the end */
	assert_false(names_valid(name));
	memset(name, 'n', sizeof(name));
	assert_false(names_valid(name)); /* without an end */
	name[PORTAL_NAME_MAX - 1] = '\0';
	assert_true(names_valid(name));
	for (int c = 0; c < 256; c++) {
		name[3] = (char)c;
		assert_int_equal(names_valid(name), c > ' ' && c <= '~');
	}
	memset(name, 0, sizeof(name));
	assert_false(names_valid(name));
}

static void test_publish(void **state)
{
	uint32_t a = 99, b = 99;
	struct name bad = entry("bad");

	assert_int_equal(publish("one", &a), 0);
	assert_int_equal(publish("two", &b), 0);
	assert_int_equal(publish("one", &b), -EEXIST);
	assert_int_equal(b, 1);
	assert_int_equal(names_find(&n, "two"), 1);
	assert_int_equal(names_find(&n, "three"), -1);
	assert_int_equal(n.n_used, 2);

	assert_int_equal(le32_load(&mirror[0].seq) & 1, 0);
	assert_int_equal(le32_load(&mirror[0].type), PORTAL_TYPE_BYTES);
	assert_int_equal(le64_load(&mirror[1].owner), OWNER);
	assert_int_equal(le64_load(&mirror[1].generation), 2);
	assert_string_equal(mirror[1].name, "two");

	bad.type = PORTAL_TYPE_NONE;
	assert_int_equal(names_publish(&n, &bad, &b), -EINVAL);
	bad = entry("bad");
	bad.len = 0;
	assert_int_equal(names_publish(&n, &bad, &b), -EINVAL);

	names_withdraw(&n, 0);
	assert_int_equal(names_find(&n, "one"), -1);
	assert_int_equal(le32_load(&mirror[0].type), PORTAL_TYPE_NONE);
	assert_int_equal(mirror[0].name[0], 0);
	assert_int_equal(publish("one", &a), 0);
	assert_int_equal(a, 0);
	assert_int_equal(n.entry[0].generation, 3); /* never the same twice */
}

static void test_full(void **state)
{
	uint32_t i = 0;
	char name[16];

	for (unsigned k = 0; k < PORTAL_NAMES; k++) {
		(void)snprintf(name, sizeof(name), "n%u", k);
		assert_int_equal(publish(name, &i), 0);
		assert_int_equal(i, k);
	}
	assert_int_equal(publish("one-more", &i), -ENOSPC);
	names_withdraw(&n, 500);
	assert_int_equal(publish("one-more", &i), 0);
	assert_int_equal(i, 500);
}

static void test_walk(void **state)
{
	uint32_t i = 0, at = 0, seen = 0;
	struct name other = entry("other");

	other.owner = OWNER + 1;
	other.offset = 1 << 20;
	assert_int_equal(publish("mine", &i), 0);
	assert_int_equal(names_publish(&n, &other, &i), 0);
	assert_int_equal(publish("mine-too", &i), 0);
	for (; names_next(&n, OWNER, &at); at++)
		seen |= 1u << at;
	assert_int_equal(seen, 5);
	at = 0;
	assert_true(names_next(&n, 0, &at));
	at = 3;
	assert_false(names_next(&n, 0, &at));

	assert_true(names_within(&n, 4195, 1));
	assert_false(names_within(&n, 4196, 1000));
	assert_true(names_within(&n, 0, 4097));
	assert_false(names_within(&n, 0, 4096));
}

static bool only_owner(const struct name *e, void *context)
{
	return e->owner == OWNER && e->offset < *(uint64_t *)context;
}

static void reload(uint64_t below)
{
	names_done(&n);
	assert_int_equal(names_init(&n, mirror, only_owner, &below), 0);
}

static void test_read_back(void **state)
{
	uint32_t i = 0;
	struct name far = entry("far");

	far.offset = 1 << 20;
	assert_int_equal(publish("near", &i), 0);
	assert_int_equal(names_publish(&n, &far, &i), 0);
	reload(1 << 20);
	assert_int_equal(n.n_used, 1);
	assert_int_equal(names_find(&n, "near"), 0);
	assert_int_equal(le32_load(&mirror[1].type),
			 PORTAL_TYPE_NONE); /* and nobody finds it any more */
	assert_int_equal(publish("new", &i), 0);
	assert_int_equal(n.entry[i].generation, 3); /* goes on behind what was ever given */
}

/* An entry that the last daemon was changing when it was killed, one whose generation would be the last, one name twice. */
static void test_read_back_of_lies(void **state)
{
	uint32_t i = 0;

	assert_int_equal(publish("torn", &i), 0);
	assert_int_equal(publish("once", &i), 0);
	assert_int_equal(publish("greedy", &i), 0);
	mirror[0].seq = le32_of(le32_get(mirror[0].seq) | 1);
	mirror[2].generation = le64_of(UINT64_MAX);
	memcpy(&mirror[3], &mirror[1], sizeof(mirror[3]));
	memset(mirror[4].name, 'x', sizeof(mirror[4].name));
	mirror[4].type = mirror[4].seq = le32_of(2);
	reload(1 << 20);
	assert_int_equal(n.n_used, 1);
	assert_int_equal(names_find(&n, "once"), 1);
	for (unsigned k = 0; k < PORTAL_NAMES; k++)
		assert_int_equal(le32_load(&mirror[k].seq) & 1, 0);
	assert_int_equal(publish("next", &i), 0);
	assert_int_equal(n.entry[i].generation, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),
		cmocka_unit_test_setup_teardown(test_publish, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_back_of_lies, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
