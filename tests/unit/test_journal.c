/* SPDX-License-Identifier: MIT */
/* What a daemon finds of its predecessor: all connections that were alive, no other. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "journal.h"
#include "tmp.h"

static struct tmp_dir dir;
static char path[256];

static int set_up(void **state)
{
	tmp_dir_init(&dir);
	tmp_path(&dir, "journal", path, sizeof(path));
	return 0;
}

static int tear_down(void **state)
{
	tmp_dir_done(&dir);
	return 0;
}

static struct journal_entry entry(uint32_t vm, uint32_t i)
{
	return (struct journal_entry){
		.vm_cid = vm, .guest_port = 1000 + i, .cid = 2, .port = i, .type = 1
	};
}

static struct hv_journal *reopen(struct hv_journal *j)
{
	journal_free(j);
	assert_int_equal(journal_open(path, &j), 0);
	return j;
}

static void test_survivors(void **state)
{
	struct hv_journal *j;
	struct journal_entry e;
	uint32_t slot[10];
	unsigned seen = 0;

	assert_int_equal(journal_open(path, &j), 0);
	for (uint32_t i = 0; i < 10; i++) {
		e = entry(3 + i % 2, i);
		slot[i] = journal_add(j, &e);
		assert_true(slot[i] != JOURNAL_NONE);
	}
	journal_remove(j, slot[0]);
	journal_remove(j, slot[5]);
	assert_int_equal(journal_orphans(j, 3), 0); /* alive */

	j = reopen(j);
	assert_int_equal(journal_orphans(j, 3), 4);
	assert_int_equal(journal_orphans(j, 4), 4);
	assert_int_equal(journal_orphans(j, 5), 0);
	while (journal_take_orphan(j, 3, &e)) {
		assert_int_equal(e.vm_cid, 3);
		assert_int_equal(e.guest_port, 1000 + e.port);
		assert_int_equal(e.type, 1);
		seen |= 1u << e.port;
	}
	assert_int_equal(seen, 0x154);
	journal_drop_orphans(j, 4);
	j = reopen(j);
	assert_int_equal(journal_orphans(j, 3) + journal_orphans(j, 4), 0);
	journal_free(j);
}

static void test_grows(void **state)
{
	struct hv_journal *j;
	struct journal_entry e;

	assert_int_equal(journal_open(path, &j), 0);
	for (uint32_t i = 0; i < 5000; i++) {
		e = entry(3, i);
		assert_true(journal_add(j, &e) != JOURNAL_NONE);
	}
	j = reopen(j);
	assert_int_equal(journal_orphans(j, 3), 5000);
	for (uint32_t i = 0; i < 5000; i++)
		assert_true(journal_take_orphan(j, 3, &e));
	assert_false(journal_take_orphan(j, 3, &e));
	journal_free(j);
}

/* The frontend went, and comes again while we live. */
static void test_orphaned_while_alive(void **state)
{
	struct hv_journal *j;
	struct journal_entry e = entry(7, 1);
	uint32_t slot;

	assert_int_equal(journal_open(NULL, &j), 0);
	slot = journal_add(j, &e);
	journal_orphan(j, slot);
	assert_int_equal(journal_orphans(j, 7), 1);
	journal_orphan(j, JOURNAL_NONE);
	journal_remove(j, JOURNAL_NONE);
	assert_true(journal_take_orphan(j, 7, &e));
	assert_int_equal(e.port, 1);
	journal_free(j);
	journal_free(NULL);
}

/* Whatever lies there and is no journal is not believed. */
static void test_rubbish(void **state)
{
	static const char *const rubbish[] = { "", "x", "vhlhvsj1", "some other program's file" };
	struct hv_journal *j;
	struct journal_entry e = entry(3, 1);

	for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		fputs(rubbish[i], f);
		fclose(f);
		assert_int_equal(journal_open(path, &j), 0);
		assert_int_equal(journal_orphans(j, 3), 0);
		assert_true(journal_add(j, &e) != JOURNAL_NONE);
		journal_free(j);
	}
	/* Cut off. */
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(journal_open(path, &j), 0);
	assert_int_equal(journal_orphans(j, 3), 0);
	journal_free(j);
}

/* Its size is known without asking the file, into which others may write. */
static void test_size_is_not_the_files(void **state)
{
	const uint32_t sizes[] = { 1u << 18, 1, 0, UINT32_MAX };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct journal_entry e = { .vm_cid = 3 };
		struct hv_journal *j;
		int fd;

		unlink(path);
		assert_int_equal(journal_open(path, &j), 0);
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pwrite(fd, &sizes[i], sizeof(sizes[i]), 8), sizeof(sizes[i]));
		for (unsigned n = 0; n < 1500; n++) /* more than it begins with */
			assert_true(journal_add(j, &e) != JOURNAL_NONE);
		assert_int_equal(pwrite(fd, &sizes[i], sizeof(sizes[i]), 8), sizeof(sizes[i]));
		journal_free(j);
		close(fd);
	}
}

static void test_file(void **state)
{
	struct hv_journal *j;
	struct stat st;
	char link[300];

	assert_int_equal(journal_open(path, &j), 0);
	journal_free(j);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(journal_open("/nonexistent/journal", &j), -ENOENT);
	snprintf(link, sizeof(link), "%s.link", path);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(journal_open(link, &j), -ELOOP);
	unlink(link);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_survivors, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_grows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_size_is_not_the_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_orphaned_while_alive, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_rubbish, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
