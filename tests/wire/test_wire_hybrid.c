/* SPDX-License-Identifier: MIT */
/* The host's sockets with the real relay and a scripted guest behind them: from CONNECT to the guest's bytes and back, with
 * nothing faked but the guest.  (tests/unit/test_hybrid.c has each side step by step, on a relay without guests.) */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "host.h"
#include "listen.h"
#include "log.h"
#include "ports.h"
#include "tmp.h"
#include "vsock_driver.h"

#define LIMIT 4 /* connections of the VM */

struct place {
	struct loop loop;
	struct host host;
	struct host_vm *vm;
	struct tmp_dir dir;
	char p[128];
	struct vsd guest;
	char events[256]; /* what subscribers were told of the VM */
};

static void on_event(struct host *host, const char *vm_name, const char *state)
{
	struct place *p = host->context;
	size_t len = strlen(p->events);

	assert_string_equal(vm_name, "n1");
	(void)snprintf(p->events + len, sizeof(p->events) - len, "%s ", state);
}

static void pump(void *ctx)
{
	struct place *p = ctx;

	assert_int_equal(loop_once(&p->loop, 0), 0);
}

/* A VM with its sockets; its guest's driver is not up yet. */
static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct host_vm_config c = { .vm = { .name = "n1", .cid = 3 }, .fd_connected = true };
	const char *where;

	assert_non_null(p);
	log_set_level(LOG_LEVEL_ERROR);
	tmp_dir_init(&p->dir);
	assert_int_equal(loop_init(&p->loop), 0);
	p->host = (struct host){
		.loop = &p->loop, .ports_base = PORTS_BASE_DEFAULT, .event = on_event, .context = p
	};
	assert_int_equal(host_init(&p->host, NULL), 0);
	assert_int_equal(frontend_pair(&p->guest.fe, &c.fd), 0);
	c.vm.limits.connections = LIMIT;
	c.uds_path = tmp_path(&p->dir, "n1.vs", p->p, sizeof(p->p));
	assert_int_equal(host_add_vm(&p->host, &c, &p->vm, &where), 0);
	p->guest.fe.pump = pump;
	p->guest.fe.ctx = p;
	*state = p;
	return 0;
}

static int setup_running(void **state)
{
	struct place *p;

	setup(state);
	p = *state;
	assert_int_equal(vsd_start(&p->guest, &(struct vsd_options){ 0 }), 0);
	assert_string_equal(hv_vm_state(p->vm->vm), "running");
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	if (p->guest.rx_mem) {
		assert_string_equal(p->guest.bad, "");
		vsd_done(&p->guest);
	} else {
		frontend_done(&p->guest.fe);
	}
	host_done(&p->host);
	loop_done(&p->loop);
	tmp_dir_done(&p->dir);
	free(p);
	return 0;
}

/* Let everybody work until nothing moves. */
static void settle(struct place *p)
{
	for (unsigned i = 0; i < 20; i++) {
		pump(p);
		if (p->guest.rx_mem)
			vsd_poll(&p->guest);
	}
}

static int dial_path(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static int say_connect(struct place *p, const char *text)
{
	int fd = dial_path(p->p, SOCK_STREAM);

	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	return fd;
}

static void assert_reads(int fd, const char *text)
{
	char got[256];
	ssize_t n = recv(fd, got, sizeof(got) - 1, 0);

	assert_true(n >= 0);
	got[n] = '\0';
	assert_string_equal(got, text);
}

/* The answer, whatever port it was from, and not a byte more. */
static void assert_ok(int fd)
{
	char text[32] = "";
	uint32_t port;
	size_t n = 0;

	while (n < sizeof(text) - 1 && (n == 0 || text[n - 1] != '\n'))
		assert_int_equal(recv(fd, &text[n++], 1, 0), 1);
	assert_memory_equal(text, "OK ", 3);
	assert_int_equal(ports_from_number(text + 3, n - 4, &port), 0);
	assert_in_range(port, HV_HOST_PORT_MIN, HV_HOST_PORT_MAX);
}

static void assert_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, 0);

	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

/* ---- the guest ---- */

static void echo(struct vsd_conn *c, const void *bytes, size_t len, uint32_t flags)
{
	assert_int_equal(vsd_send(c, bytes, len, flags), len);
}

/* What it was to say has been said: so has the echo. */
static void end(struct vsd_conn *c)
{
	vsd_close(c);
}

static const struct vsd_ops echo_ops = { .data = echo, .shutdown = end };

static enum vsd_answer accept_echo(struct vsd_conn *c, void *ctx)
{
	c->ops = &echo_ops;
	return VSD_ACCEPT;
}

static enum vsd_answer accept_silently(struct vsd_conn *c, void *ctx)
{
	return VSD_SILENT;
}

/* ---- from the host ---- */

static void test_connect(void **state)
{
	struct place *p = *state;
	int fd;

	vsd_listen(&p->guest, 52, SOCK_STREAM, accept_echo, NULL);
	fd = say_connect(p, "CONNECT 52\nearly");
	settle(p);
	assert_ok(fd);
	assert_reads(fd, "early");
	assert_int_equal(send(fd, "late", 4, 0), 4);
	settle(p);
	assert_reads(fd, "late");
	assert_int_equal(hv_vm_connections(p->vm->vm), 1);
	close(fd);
	settle(p);
	assert_int_equal(hv_vm_connections(p->vm->vm), 0);
}

static void test_refused(void **state)
{
	struct place *p = *state;
	int fd = say_connect(p, "CONNECT 52\n");

	settle(p);
	assert_closed(fd);
	assert_int_equal(p->vm->hybrid.clients.stats.clients_refused, 1);
}

static void test_no_driver(void **state)
{
	struct place *p = *state;
	int fd = say_connect(p, "CONNECT 52\n");

	settle(p);
	assert_closed(fd);
}

/* The guest thinks; the client goes away, and the guest is told. */
static void test_client_gives_up(void **state)
{
	struct place *p = *state;
	int fd;

	vsd_listen(&p->guest, 52, SOCK_STREAM, accept_silently, NULL);
	fd = say_connect(p, "CONNECT 52\n");
	settle(p);
	assert_int_equal(hv_vm_connections(p->vm->vm), 1);
	close(fd);
	settle(p);
	assert_int_equal(p->vm->hybrid.clients.stats.clients_gone, 1);
	assert_int_equal(hv_vm_connections(p->vm->vm), 0);
}

static void test_limit(void **state)
{
	struct place *p = *state;
	int fd[LIMIT], more;

	vsd_listen(&p->guest, 52, SOCK_STREAM, accept_echo, NULL);
	for (unsigned i = 0; i < LIMIT; i++) {
		fd[i] = say_connect(p, "CONNECT 52\n");
		settle(p);
		assert_int_equal(hv_vm_connections(p->vm->vm), i + 1);
	}
	more = say_connect(p, "CONNECT 52\n");
	settle(p);
	assert_closed(more);
	close(fd[0]);
	settle(p);
	more = say_connect(p, "CONNECT 52\nx");
	settle(p);
	assert_int_equal(hv_vm_connections(p->vm->vm), LIMIT);
	close(more);
	for (unsigned i = 1; i < LIMIT; i++)
		close(fd[i]);
}

static void test_seqpacket(void **state)
{
	struct place *p = *state;
	char path[140], ok[32];
	int fd;

	vsd_listen(&p->guest, 52, SOCK_SEQPACKET, accept_echo, NULL);
	(void)snprintf(path, sizeof(path), "%s.seq", p->p);
	fd = dial_path(path, SOCK_SEQPACKET);
	assert_int_equal(send(fd, "CONNECT 52\n", 11, 0), 11);
	assert_int_equal(send(fd, "one", 3, 0), 3);
	assert_int_equal(send(fd, "two", 3, 0), 3);
	settle(p);
	assert_int_equal(recv(fd, ok, sizeof(ok), 0), 14);
	assert_memory_equal(ok, "OK ", 3);
	assert_reads(fd, "one");
	assert_reads(fd, "two");
	close(fd);
}

static void test_vm_goes(void **state)
{
	struct place *p = *state;
	int asking, connected, silent = dial_path(p->p, SOCK_STREAM);

	vsd_listen(&p->guest, 52, SOCK_STREAM, accept_silently, NULL);
	vsd_listen(&p->guest, 53, SOCK_STREAM, accept_echo, NULL);
	asking = say_connect(p, "CONNECT 52\n");
	connected = say_connect(p, "CONNECT 53\n");
	settle(p);
	assert_ok(connected);
	host_remove_vm(p->vm);
	assert_closed(silent);
	assert_closed(asking);
	assert_closed(connected);
	assert_int_equal(access(p->p, F_OK), -1);
	pump(p);
}

/* The guest's machine ends: so do its clients, and the sockets stay for the next. */
static void test_frontend_goes(void **state)
{
	struct place *p = *state;
	int asking, connected;

	vsd_listen(&p->guest, 52, SOCK_STREAM, accept_silently, NULL);
	vsd_listen(&p->guest, 53, SOCK_STREAM, accept_echo, NULL);
	asking = say_connect(p, "CONNECT 52\n");
	connected = say_connect(p, "CONNECT 53\n");
	settle(p);
	assert_ok(connected);
	assert_string_equal(p->guest.bad, "");
	vsd_done(&p->guest);
	memset(&p->guest, 0, sizeof(p->guest));
	p->guest.fe.sock = p->guest.fe.mem_fd = -1;
	settle(p);
	assert_closed(asking);
	assert_closed(connected);
	assert_int_equal(access(p->p, F_OK), 0);
}

static void test_events(void **state)
{
	struct place *p = *state;

	vsd_done(&p->guest);
	memset(&p->guest, 0, sizeof(p->guest));
	p->guest.fe.sock = p->guest.fe.mem_fd = -1;
	settle(p);
	host_remove_vm(p->vm);
	assert_string_equal(p->events, "added negotiated running closed removed ");
}

/* ---- from the guest ---- */

static int listen_at(struct place *p, const char *suffix, int type)
{
	char path[200];
	int fd;

	(void)snprintf(path, sizeof(path), "%s%s", p->p, suffix);
	assert_int_equal(listen_unix_type(path, 0600, type, 1, &fd), 0);
	return fd;
}

static void assert_talks(struct place *p, int listener, int type, uint32_t port)
{
	struct vsd_conn *c = vsd_connect(&p->guest, HV_CID_HOST, port, type, &echo_ops, NULL);
	int fd;

	settle(p);
	assert_int_equal(c->state, VSD_CONNECTED);
	assert_int_equal(listen_accept(listener, &fd), 0);
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	settle(p);
	assert_reads(fd, "hello");
	close(fd);
	settle(p);
	assert_int_equal(c->state, VSD_CLOSED);
	vsd_free(c);
	assert_int_equal(hv_vm_connections(p->vm->vm), 0);
}

static void test_guest_connects(void **state)
{
	struct place *p = *state;
	int stream = listen_at(p, "_22", SOCK_STREAM), seq = listen_at(p, "_23", SOCK_SEQPACKET);
	int guid = listen_at(p, "_00000018-facb-11e6-bd58-64006a7986d3", SOCK_STREAM);

	assert_talks(p, stream, SOCK_STREAM, 22);
	assert_talks(p, seq, SOCK_SEQPACKET, 23);
	assert_talks(p, guid, SOCK_STREAM, 24);
	close(stream);
	close(seq);
	close(guid);
}

static void test_guest_is_refused(void **state)
{
	struct place *p = *state;
	struct vsd_conn *c = vsd_connect(&p->guest, HV_CID_HOST, 9, SOCK_STREAM, NULL, NULL);

	settle(p);
	assert_int_equal(c->state, VSD_CLOSED);
	assert_false(c->was_connected);
	vsd_free(c);
	assert_int_equal(hv_vm_stats(p->vm->vm)->refused_by_host, 1);
}

/* The listener's backlog is full; the guest loses patience, or its machine ends. */
static void test_guest_gives_up(void **state)
{
	struct place *p = *state;
	int busy = listen_at(p, "_22", SOCK_STREAM);
	struct vsd_conn *c[LIMIT];

	for (unsigned i = 0; i < LIMIT; i++) {
		c[i] = vsd_connect(&p->guest, HV_CID_HOST, 22, SOCK_STREAM, NULL, NULL);
		settle(p);
	}
	assert_int_equal(c[1]->state, VSD_CONNECTED);
	assert_int_equal(c[2]->state, VSD_CONNECTING);
	assert_non_null(p->vm->requests);
	vsd_reset(c[2]);
	vsd_free(c[2]);
	settle(p);
	assert_int_equal(hv_vm_connections(p->vm->vm), LIMIT - 1);
	host_remove_vm(p->vm);
	pump(p);
	close(busy);
}

/* ---- forwards ---- */

static void test_forwards(void **state)
{
	struct place *p = *state;
	struct forward_config c = { .to_guest = true, .guest_port = 52 };
	const char *why;
	struct forward *f;
	int fd, listener;

	vsd_listen(&p->guest, 52, SOCK_STREAM, accept_echo, NULL);
	assert_int_equal(target_parse("tcp:0", &c.target, &why), 0);
	assert_int_equal(forward_add(p->vm, &c, &f), 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, &f->target.addr[0].sa, f->target.len[0]), 0);
	assert_int_equal(send(fd, "over tcp", 8, 0), 8);
	settle(p);
	assert_reads(fd, "over tcp");
	forward_remove(f);
	close(fd);
	settle(p);

	listener = listen_at(p, "-app", SOCK_STREAM);
	{
		char text[160];

		(void)snprintf(text, sizeof(text), "unix:%s-app", p->p);
		c = (struct forward_config){ .guest_port = 80 };
		assert_int_equal(target_parse(text, &c.target, &why), 0);
	}
	assert_int_equal(forward_add(p->vm, &c, &f), 0);
	assert_talks(p, listener, SOCK_STREAM, 80);
	assert_int_equal(f->n_connected, 1);
	close(listener);
}

#define RUNNING(name) cmocka_unit_test_setup_teardown(name, setup_running, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RUNNING(test_connect),
		RUNNING(test_refused),
		cmocka_unit_test_setup_teardown(test_no_driver, setup, teardown),
		RUNNING(test_client_gives_up),
		RUNNING(test_limit),
		RUNNING(test_seqpacket),
		RUNNING(test_vm_goes),
		RUNNING(test_frontend_goes),
		RUNNING(test_events),
		RUNNING(test_guest_connects),
		RUNNING(test_guest_is_refused),
		RUNNING(test_guest_gives_up),
		RUNNING(test_forwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
