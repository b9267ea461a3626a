/* SPDX-License-Identifier: MIT */
/* A port plugged into a real vde_switch, which comes, goes and comes back. */
#include "port_vde.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tmp.h"
#include "uplink_fixture.h"

/* Debian's libvdeplug loads its modules with RTLD_DEEPBIND, which a sanitizer's runtime refuses. */
void *dlopen(const char *name, int flags)
{
	void *(*real)(const char *, int) = dlsym(RTLD_NEXT, "dlopen");

	return real(name, flags & ~RTLD_DEEPBIND);
}

static struct lab a, b;
static struct tmp_dir dir;
static char ctl[128];

static int setup(void **state)
{
	lab_up(&a);
	lab_up(&b);
	tmp_dir_init(&dir);
	tmp_path(&dir, "ctl", ctl, sizeof(ctl));
	return 0;
}

static int teardown(void **state)
{
	lab_down(&a);
	lab_down(&b);
	tmp_dir_done(&dir);
	return 0;
}

static struct sw_port *open_port(struct lab *l, const char *prefix)
{
	char json[256];

	snprintf(json, sizeof(json), "{\"name\":\"v\",\"type\":\"vde\",\"switch\":\"%s%s\"}",
		 prefix, ctl);
	return lab_open(l, json);
}

/* A vde_switch, with its standard input open for as long as it runs: at its end it ends. */
static pid_t start_switch(int *ret_stdin)
{
	int in[2];
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(open("/dev/null", O_WRONLY), 1);
		execlp("vde_switch", "vde_switch", "-s", ctl, NULL);
		_exit(127);
	}
	close(in[0]);
	*ret_stdin = in[1];
	return pid;
}

static void end_switch(pid_t pid, int in)
{
	int status;

	close(in);
	kill(pid, SIGTERM);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		fail_msg("there is no vde_switch: package vde2");
}

static void test_through_a_switch(void **state)
{
	struct sw_port *pa = open_port(&a, ""), *pb = open_port(&b, "vde://");
	static uint8_t frame[VDE_FRAME_MAX + 1];
	int in;
	pid_t pid;

	assert_non_null(pa);
	assert_non_null(pb);
	assert_string_equal(lab_describe(pa, "state"), "down");
	assert_non_null(lab_describe(pa, "why"));
	for (unsigned i = 0; i < 2; i++) {
		pid = start_switch(&in);
		lab_wait_state(&a, pa, "running");
		lab_wait_state(&b, pb, "running");
		assert_null(lab_describe(pa, "why"));

		lab_frame(frame, 1514, LAB_GROUP, 1, (uint8_t)i);
		lab_send(&a, frame, 1514);
		lab_wait_frames(&b, 2 * i + 1);
		assert_true(lab_is(&b, 2 * i, frame, 1514));
		lab_frame(frame, 60, 1, 2, (uint8_t)i);
		lab_send(&b, frame, 60);
		lab_wait_frames(&a, i + 1);
		assert_true(lab_is(&a, i, frame, 60));
		lab_frame(frame, 1514, 2, 1, (uint8_t)i);
		lab_send_pieces(&a, frame, 1514, 10);
		lab_wait_frames(&b, 2 * i + 2);
		assert_true(lab_is(&b, 2 * i + 1, frame, 1514));

		end_switch(pid, in);
		lab_wait_state(&a, pa, "down");
		lab_wait_state(&b, pb, "down");
		assert_false(pa->up);
	}
	assert_int_equal(pa->stats.egress_frames, 4);
}

static void test_too_long(void **state)
{
	static uint8_t frame[VDE_FRAME_MAX + 1];
	struct sw_port *p = open_port(&a, "");
	int in;
	pid_t pid = start_switch(&in);

	lab_wait_state(&a, p, "running");
	lab_frame(frame, sizeof(frame), LAB_GROUP, 1, 0);
	lab_send(&a, frame, sizeof(frame) - 1);
	assert_int_equal(p->stats.egress_drop_size, 0);
	lab_send(&a, frame, sizeof(frame));
	assert_int_equal(p->stats.egress_drop_size, 1);
	end_switch(pid, in);
}

static void test_bad_members(void **state)
{
	assert_null(lab_open(
		&a, "{\"name\":\"v\",\"type\":\"vde\",\"switch\":\"cmd://touch /tmp/x\"}"));
	assert_string_equal(
		a.why, "switch: cmd://touch /tmp/x is not one of vde://, ptp://, udp://, vxvde://");
	assert_null(lab_open(&a, "{\"name\":\"v\",\"type\":\"vde\",\"switch\":\"\"}"));
	assert_null(lab_open(&a, "{\"name\":\"v\",\"type\":\"vde\"}"));
	assert_null(lab_open(
		&a, "{\"name\":\"v\",\"type\":\"vde\",\"switch\":\"/x\",\"switch-port\":0}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_through_a_switch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_members, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
