/* SPDX-License-Identifier: MIT */
/* The portal's daemon as a process: killed at any moment and started anew, twice at once, and robbed of its file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "portal_fixture.h"

#define E ((uint64_t)PORTAL_EXTENT)

static struct pf pf; /* directory and clients; nothing of the daemon runs in this process */
static struct pf_client a, b;
static char config_path[96], control_path[96], log_path[96];
static pid_t daemon_pid;

static pid_t spawn(void)
{
	const char *exe = getenv("VHOST_USER_PORTAL");
	pid_t pid;

	if (!exe)
		abort();
	pid = fork();
	if (pid != 0)
		return pid;
	(void)!freopen(log_path, "w", stderr);
	execl(exe, exe, "--config", config_path, "--control", control_path, (char *)NULL);
	_exit(127);
}

static bool reachable(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	r = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	close(fd);
	return r == 0;
}

/* The control socket is the last that is made. */
static void start(void)
{
	daemon_pid = spawn();
	assert_true(daemon_pid > 0);
	for (int i = 0; i < 20000 && !reachable(control_path); i++)
		usleep(1000);
	assert_true(reachable(control_path));
}

static int end(int sig)
{
	int status = 0;

	if (sig)
		kill(daemon_pid, sig);
	assert_int_equal(waitpid(daemon_pid, &status, 0), daemon_pid);
	daemon_pid = 0;
	return status;
}

static int setup(void **state)
{
	char text[600], door[96], linger[96];

	a.fd = b.fd = a.arena_fd = b.arena_fd = -1;
	pf_init(&pf);
	tmp_path(&pf.dir, "ctl", control_path, sizeof(control_path));
	tmp_path(&pf.dir, "log", log_path, sizeof(log_path));
	tmp_path(&pf.dir, "a", door, sizeof(door));
	tmp_path(&pf.dir, "b", linger, sizeof(linger));
	(void)snprintf(
		text, sizeof(text),
		"{\"name\":\"test\",\"size\":%llu,\"path\":\"%s\",\"grace-ms\":30000,\"clients\":["
		"{\"name\":\"a\",\"socket-path\":\"%s\"},{\"name\":\"b\",\"socket-path\":\"%s\"}]}",
		PF_FILE_SIZE, pf.path, door, linger);
	tmp_file(&pf.dir, "config", text, config_path, sizeof(config_path));
	start();
	return 0;
}

static int teardown(void **state)
{
	pf_hang_up(&a);
	pf_hang_up(&b);
	if (daemon_pid)
		end(SIGKILL);
	pf_done(&pf);
	return 0;
}

static int come_back(struct pf_client *c, const char *door)
{
	struct portal_frame f = {
		.type = le32_of(PORTAL_HELLO),
		.args = { le64_of(PORTAL_WIRE_VERSION), le64_of(1), le64_of(c->owner) },
	};
	uint64_t owner = c->owner;
	int r;

	pf_hang_up(c);
	pf_connect(&pf, c, door);
	c->owner = owner;
	r = pf_ask(c, &f);
	if (r == 0)
		assert_int_equal(pf_arg(&f, 0), owner);
	return r;
}

static uint8_t *map_arena(const struct pf_client *c)
{
	uint8_t *p = mmap(NULL, PF_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->arena_fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void test_killed_and_back(void **state)
{
	uint32_t first = 0;
	uint8_t *map;

	pf_hello(&pf, &a, "a", "stays");
	assert_int_equal(pf_get(&a, 2, PORTAL_EXTENT_HUGE, &first), 0);
	assert_int_equal(pf_publish(&a, "data", 5, first * E, 2 * E), 0);
	map = map_arena(&a);
	memcpy(map + PORTAL_LABEL_SIZE + first * E, "committed", 10);
	assert_true(WIFSIGNALED(end(SIGKILL)));
	map[PORTAL_LABEL_SIZE + first * E + 9] = '!'; /* who has it mapped goes on */
	start();
	assert_memory_equal(map + PORTAL_LABEL_SIZE + first * E, "committed!", 10);
	assert_int_equal(come_back(&a, "a"), 0);
	assert_int_equal(pf_publish(&a, "data", 5, first * E, 10), -EEXIST);
	assert_int_equal(pf_unpublish(&a, "data"), 0);
	assert_int_equal(pf_put(&a, first, 2), 0);
	munmap(map, PF_FILE_SIZE);
}

static void test_ended_in_order(void **state)
{
	char door[96];
	int status;

	pf_hello(&pf, &a, "a", "");
	status = end(SIGTERM);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(access(tmp_path(&pf.dir, "a", door, sizeof(door)), F_OK), -1);
	assert_int_equal(access(control_path, F_OK), -1);
	start();
	assert_int_equal(come_back(&a, "a"), 0); /* its end is not the leases' */
}

static void test_two_at_once(void **state)
{
	pid_t second;
	int status;

	pf_hello(&pf, &a, "a", "");
	second = spawn();
	assert_int_equal(waitpid(second, &status, 0), second);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_int_equal(pf_simple(&a, PORTAL_STAT, 0, 0), 0); /* the first is as well as before */
	assert_true(reachable(control_path));
}

/* It has ended with an error, of which the log says this. */
static void ended_with(const char *words)
{
	char text[8192] = "";
	int status = end(0), fd = open(log_path, O_RDONLY | O_CLOEXEC);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	if (!strstr(text, words))
		fail_msg("\"%s\" is not in: %s", words, text);
}

/* It says so and ends, instead of writing to memory that is no arena any more. */
static void test_cut_file(void **state)
{
	assert_int_equal(truncate(pf.path, 1 << 20), 0);
	ended_with("ending: somebody has changed the size of its file");
	daemon_pid = spawn();
	ended_with("not an arena, and not empty: it is left as it is");
}

static void test_lengthened_file(void **state)
{
	assert_int_equal(truncate(pf.path, 2 * PF_FILE_SIZE), 0);
	ended_with("ending: somebody has changed the size of its file");
}

/* Cut and as long as before: what was in it is gone, and a flush does not say otherwise. */
static void test_file_cut_for_a_moment(void **state)
{
	struct portal_frame f = { .type = le32_of(PORTAL_FLUSH) };
	int r;

	pf_hello(&pf, &a, "a", "");
	assert_int_equal(truncate(pf.path, 0), 0);
	r = pf_ask(&a, &f);
	assert_int_equal(r, pf_arg(&f, 0) ? -EIO : 0); /* memory alone is not flushed */
	pf_hello(&pf, &b, "b", ""); /* the daemon writes to its tables, of which there are none */
	assert_int_equal(truncate(pf.path, PF_FILE_SIZE), 0);
	ended_with("ending: a page of its file could not be had");
}

/* ---- killed at any moment ---- */

enum fate { NOT_OURS, OURS };

/* Requests that were sent, of which the daemon has carried out some when it is killed. */
static void send_some(unsigned n, uint32_t *seed)
{
	for (unsigned i = 0; i < n; i++) {
		struct portal_frame f = { .type = le32_of(PORTAL_EXTENT_GET),
					  .seq = le32_of(++a.seq) };

		*seed = *seed * 1664525u + 1013904223u;
		f.args[0] = le64_of(1 + (*seed >> 16) % 3);
		f.args[1] = le64_of(PORTAL_EXTENT_HUGE);
		pf_send(&a, &f);
	}
}

/* What was answered until the connection ended: those extents are ours for certain. */
static void read_answers(enum fate fate[PF_EXTENTS], uint32_t seed)
{
	struct portal_frame f;

	while (pf_next(&a, &f)) {
		uint64_t n;

		seed = seed * 1664525u + 1013904223u;
		n = 1 + (seed >> 16) % 3;
		if ((int)le32_get(f.status) != 0)
			continue;
		for (uint64_t k = 0; k < n; k++) {
			assert_int_equal(fate[pf_arg(&f, 0) + k], NOT_OURS);
			fate[pf_arg(&f, 0) + k] = OURS;
		}
	}
}

/* Give back what is ours by grants, as the table shows them; the answers tell whether the books agree. */
static void give_all_back(const enum fate fate[PF_EXTENTS])
{
	struct portal_extent table[PF_EXTENTS];
	int fd = open(pf.path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, table, sizeof(table), PORTAL_LABEL_SIZE + PORTAL_EXTENTS_OFFSET),
			 sizeof(table));
	close(fd);
	for (uint32_t i = 2; i < PF_EXTENTS; i++) {
		uint64_t what = le64_get(table[i].what);
		bool ours = le64_get(table[i].owner) == a.owner;

		if (fate[i] == OURS)
			assert_true(ours);
		if (ours && PORTAL_WHAT_BACK(what) == 0)
			assert_int_equal(pf_put(&a, i, PORTAL_WHAT_RUN(what)), 0);
	}
}

static uint64_t quarantined_and_free(uint64_t *ret_own)
{
	struct portal_frame f = { .type = le32_of(PORTAL_STAT) };

	assert_int_equal(pf_ask(&a, &f), 0);
	*ret_own = pf_arg(&f, 1);
	return pf_arg(&f, 0);
}

static void test_killed_at_any_moment(void **state)
{
	uint32_t seed = 11;

	pf_hello(&pf, &a, "a", "");
	for (unsigned round = 0; round < 30; round++) {
		enum fate fate[PF_EXTENTS] = { 0 };
		uint32_t before = seed, first = 0;
		uint64_t own = 0, n_free;

		send_some(12, &seed);
		usleep(seed >> 8 & 511);
		end(SIGKILL);
		read_answers(fate, before);
		start();
		assert_int_equal(come_back(&a, "a"), 0);
		give_all_back(fate);
		n_free = quarantined_and_free(&own);
		assert_int_equal(own, 0);
		/* What was torn rests in quarantine, at most one grant of three. */
		assert_in_range(n_free, PF_EXTENTS - 2 - 3, PF_EXTENTS - 2);
		if (n_free ==
		    PF_EXTENTS - 2) /* nothing was granted twice: all of it can be had at once */
			assert_int_equal(pf_get(&a, n_free, PORTAL_EXTENT_HUGE, &first), 0);
		pf_hang_up(&a);
		pf_run_for(&pf, 30);
		pf_hello(&pf, &a, "a", "");
		assert_int_equal(quarantined_and_free(&own),
				 PF_EXTENTS - 2); /* nobody was left: all is free */
	}
}

/* ---- somebody writes over everything ---- */

/* Any word of the arena, at any time, until it is killed; every word of a grant as often as one of the tables. */
static void mutate(void)
{
	uint8_t *map = mmap(NULL, PF_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    open(pf.path, O_RDWR | O_CLOEXEC), 0);
	uint64_t seed = 5;

	for (;;) {
		uint64_t where, extent;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		extent = 1 + (seed >> 60);
		where = extent * E + (seed >> 30 & 0xffff) * 8 + (seed >> 50 & 3) * (E / 4);
		__atomic_store_n((uint64_t *)(void *)(map + where % PF_FILE_SIZE),
				 seed >> 20 & 1 ? seed : seed >> 40 & 0xff, __ATOMIC_RELAXED);
		if ((seed >> 33) % 4096 == 0)
			usleep(200);
	}
}

/* Clients that live and die while the arena is noise: the daemon's answers are those of a sound one. */
static void test_mutator(void **state)
{
	pid_t mutator = fork();
	uint32_t first = 0;
	uint64_t own = 0;

	if (mutator == 0)
		mutate();
	for (unsigned round = 0; round < 60; round++) {
		pf_hello(&pf, &a, "a", "");
		pf_hello(&pf, &b, "b", "");
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(pf_get(&a, 1, PORTAL_EXTENT_SEGMENT, &first), 0);
			assert_int_equal(pf_publish(&a, i & 1 ? "odd" : "even", 1, first * E, 8),
					 i < 2 ? 0 : -EEXIST);
		}
		assert_int_equal(pf_get(&b, 4, PORTAL_EXTENT_HUGE, &first), 0);
		assert_int_equal(quarantined_and_free(&own), PF_EXTENTS - 2 - 8);
		assert_int_equal(own, 4);
		pf_hang_up(&a);
		pf_hang_up(&b);
		for (int i = 0; i < 10000;
		     i++) { /* until what they had is back; an orphan needs a word that noise seldom is */
			pf_hello(&pf, &a, "a", "");
			if (quarantined_and_free(&own) == PF_EXTENTS - 2)
				break;
			pf_hang_up(&a);
			usleep(1000);
		}
		assert_int_equal(quarantined_and_free(&own), PF_EXTENTS - 2);
		pf_hang_up(&a);
		pf_run_for(&pf, 2);
	}
	kill(mutator, SIGKILL);
	assert_int_equal(waitpid(mutator, NULL, 0), mutator);
	sleep(2); /* the head is mended */
	end(SIGKILL);
	start();
	pf_hello(&pf, &a, "a", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lengthened_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_cut_for_a_moment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_at_any_moment, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mutator, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
