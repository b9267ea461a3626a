/* SPDX-License-Identifier: MIT */
/* Several packets of one connection in one burst of the transmitq, data and others in any order: each byte is passed on
 * once, in order, and the burst ends. */
#include <linux/vm_sockets.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop.h"
#include "port_vsock.h"
#include "relay.h"
#include "vsock_driver.h"

#define N_CONNS 3

struct place {
	struct loop loop;
	struct hv_relay *relay;
	struct hv_vm *vm;
	struct vsd v;
	struct vsd_conn *conn[N_CONNS];
	int host[N_CONNS];
	unsigned n_accepted;
};

static void on_request(struct hv_conn *conn, void *context)
{
	struct place *p = context;
	int pair[2];

	assert_true(p->n_accepted < N_CONNS);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	p->host[p->n_accepted++] = pair[0];
	assert_int_equal(hv_accept(conn, pair[1]), 0);
}

static void on_gone(struct hv_conn *conn, void *context)
{
	fail_msg("a request was taken back");
}

static const struct hv_host_ops ops = { .request = on_request, .gone = on_gone };

static void pump(void *context)
{
	struct place *p = context;

	loop_once(&p->loop, 0);
}

static bool all_connected(void *context)
{
	struct place *p = context;
	unsigned n = 0;

	for (unsigned i = 0; i < N_CONNS; i++)
		n += p->conn[i]->state == VSD_CONNECTED;
	return n == N_CONNS;
}

static int setup(void **state)
{
	static struct place place;
	const struct hv_vm_config config = { .name = "guest", .cid = 3 };
	struct place *p = &place;
	int fd;

	*p = (struct place){ 0 };
	assert_int_equal(loop_init(&p->loop), 0);
	assert_int_equal(hv_relay_new(&p->loop, &ops, p, NULL, &p->relay), 0);
	assert_int_equal(frontend_pair(&p->v.fe, &fd), 0);
	assert_int_equal(port_vsock_adopt(p->relay, &config, fd, &p->vm), 0);
	p->v.fe.pump = pump;
	p->v.fe.ctx = p;
	assert_int_equal(vsd_start(&p->v, &(struct vsd_options){ 0 }), 0);
	for (uint32_t i = 0; i < N_CONNS; i++)
		p->conn[i] = vsd_connect(&p->v, VMADDR_CID_HOST, 1000 + i, SOCK_STREAM, NULL, NULL);
	assert_true(vsd_until(&p->v, all_connected, p));
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	assert_string_equal(p->v.bad, "");
	vsd_done(&p->v);
	for (unsigned i = 0; i < N_CONNS; i++)
		close(p->host[i]);
	hv_vm_close(p->vm);
	for (unsigned i = 0; i < 8; i++)
		loop_once(&p->loop, 0);
	hv_relay_free(p->relay);
	loop_done(&p->loop);
	return 0;
}

static void expect(struct place *p, unsigned i, const char *text)
{
	char got[64];
	ssize_t n;

	for (unsigned turn = 0; turn < 8; turn++)
		vsd_turn(&p->v);
	n = recv(p->host[i], got, sizeof(got), 0);
	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void say(struct vsd_conn *c, const char *text)
{
	assert_int_equal(vsd_send(c, text, strlen(text), 0), strlen(text));
}

static void credit_between_data(void **state)
{
	struct place *p = *state;

	say(p->conn[0], "one ");
	vsd_credit_update(p->conn[0]);
	say(p->conn[0], "two ");
	vsd_credit_request(p->conn[0]);
	say(p->conn[0], "three");
	expect(p, 0, "one two three");
}

static void others_between(void **state)
{
	struct place *p = *state;

	say(p->conn[0], "a1 ");
	say(p->conn[1], "b1 ");
	vsd_credit_update(p->conn[0]);
	say(p->conn[2], "c1");
	say(p->conn[0], "a2");
	vsd_credit_update(p->conn[1]);
	say(p->conn[1], "b2");
	expect(p, 0, "a1 a2");
	expect(p, 1, "b1 b2");
	expect(p, 2, "c1");
}

static void reset_behind_data(void **state)
{
	struct place *p = *state;

	say(p->conn[0], "last words");
	vsd_reset(p->conn[0]);
	say(p->conn[1], "others");
	expect(p, 0, "last words");
	expect(p, 1, "others");
	assert_int_equal(recv(p->host[0], &(char){ 0 }, 1, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(credit_between_data, setup, teardown),
		cmocka_unit_test_setup_teardown(others_between, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_behind_data, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
