/* SPDX-License-Identifier: MIT */
/* Sockets of guests: those who come after a daemon, or a frontend, that is gone. */
#include "vsock_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"

/* A daemon dies; the next one knows nothing, but its journal does. */
static void restart_daemon(void)
{
	char copy[160], text[400];

	/* As it is in the moment of a SIGKILL. */
	snprintf(copy, sizeof(copy), "%s.copy", fx.journal);
	snprintf(text, sizeof(text), "cp %s %s", fx.journal, copy);
	assert_int_equal(system(text), 0);
	for (unsigned i = 0; i < N_VM; i++)
		hv_vm_close(fx.vm[i]);
	settle_host();
	hv_relay_free(fx.relay);
	assert_int_equal(hv_relay_new(&fx.loop, &host_ops, NULL, copy, &fx.relay), 0);
	for (unsigned i = 0; i < N_VM; i++) {
		struct hv_vm_config c = config_of(i);

		add_vm(i, &c);
	}
}

static void test_successor_resets(void **state)
{
	struct socket_of_guest s[3], fresh;
	int fd[3];

	for (unsigned i = 0; i < 3; i++) {
		connect_to_host(i == 2 ? SOCK_SEQPACKET : SOCK_STREAM, &s[i]);
		fd[i] = fd_take(&fx.host);
	}
	vsd_close(s[1].c); /* this one ended in time */
	settle();
	restart_daemon();
	assert_false(s[0].closed);
	assert_int_equal(vsd_reopen(&fx.guest[0], path_of(0)), 0);
	settle();
	assert_true(s[0].closed);
	assert_true(s[2].closed);
	assert_int_equal(STAT(resets_restored), 2);
	connect_to_host(SOCK_STREAM, &fresh);
	guest_says(&fresh, "anew");
	expect_host("anew");
	for (unsigned i = 0; i < 3; i++) {
		close(fd[i]);
		forget(&s[i]);
	}
	forget(&fresh);
	settle();
}

/* The guest was started anew as well: it is told nothing. */
static void test_successor_meets_fresh_guest(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	restart_daemon();
	forget(&s);
	vsd_done(&fx.guest[0]);
	start_guest(0, &(struct vsd_options){ 0 });
	assert_int_equal(STAT(resets_restored), 0);
	assert_int_equal(fx.guest[0].n_stray, 0);
	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ 0 });
	assert_int_equal(STAT(resets_restored), 0);
}

/* The frontend comes again, the guest did not notice. */
static void test_frontend_reconnects(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	assert_int_equal(vsd_reopen(&fx.guest[0], path_of(0)), 0);
	expect_host_end(); /* the host was told at once */
	settle();
	assert_true(s.closed);
	assert_int_equal(STAT(resets_restored), 1);
	expect_no_connections();
	forget(&s);
}

/* The same while the host has not read what the guest sent: that arrives, and the guest's socket ends. */
static void test_frontend_reconnects_while_draining(void **state)
{
	struct socket_of_guest s, t;
	uint64_t in = 0;
	uint32_t port;
	int deaf;

	connect_to_host(SOCK_STREAM, &s);
	deaf = fd_take(&fx.host);
	for (unsigned i = 0; i < 100; i++) {
		in += guest_writes(&s, in, 65536);
		settle();
	}
	port = s.c->local_port;
	assert_int_equal(vsd_reopen(&fx.guest[0], path_of(0)), 0);
	settle();
	assert_true(s.closed);
	assert_int_equal(STAT(resets_restored), 1);

	fx.guest[0].next_port = port;
	connect_to_host(SOCK_STREAM, &t);
	assert_int_equal(t.c->local_port, port);
	guest_says(&t, "anew");
	expect_host("anew");
	fd_drop(&fx.host);
	fx.host = deaf;
	for (uint64_t out = 0; out < in;) {
		size_t n = host_reads(out, 100000);

		assert_true(n > 0);
		out += n;
		settle();
	}
	expect_host_end();
	forget(&s);
	forget(&t);
	settle();
}

static void test_transport_reset(void **state)
{
	struct socket_of_guest s;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .n_queues = 3 });
	assert_int_equal(fx.guest[0].n_resets, 0);
	connect_to_host(SOCK_STREAM, &s);
	restart_daemon();
	assert_int_equal(vsd_reopen(&fx.guest[0], path_of(0)), 0);
	settle();
	assert_true(s.closed);
	assert_int_equal(fx.guest[0].n_resets, 1);
	forget(&s);
	connect_to_host(SOCK_STREAM, &s);
	guest_says(&s, "anew");
	expect_host("anew");
	forget(&s);
	settle();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_successor_resets),    TEST(test_successor_meets_fresh_guest),
		TEST(test_frontend_reconnects), TEST(test_frontend_reconnects_while_draining),
		TEST(test_transport_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
