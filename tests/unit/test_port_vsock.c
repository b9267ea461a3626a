/* SPDX-License-Identifier: MIT */
/* Guests behind real sessions, the relay between them and sockets of the host: all in this thread, the guests played by
 * vsock_driver. */
#include "port_vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
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
#include "cleanup.h"
#include "listen.h"
#include "pkt.h"
#include "tmp.h"
#include "vsock_driver.h"

#define N_VM 3
#define PORT 1234
#define MIB  (1u << 20)

/* What the host's side does with a guest's request. */
enum host_answer { HOST_ACCEPT, HOST_REFUSE, HOST_WAIT };

struct fixture {
	struct loop loop;
	struct hv_relay *relay;
	struct tmp_dir dir;
	struct hv_vm *vm[N_VM]; /* CIDs 3, 4, 5 */
	struct vsd guest[N_VM];
	char journal[128];

	enum host_answer answer;
	struct hv_conn *request; /* the last */
	unsigned n_requests, n_gone, n_states;
	int host; /* the host's end of what was accepted last, or -1 */
	int far;  /* the relay's end of it, which is the relay's */
};

static struct fixture fx;

/* ---- the host's side ---------------------------------------------------------------------------- */

static void on_request(struct hv_conn *conn, void *context)
{
	int fd[2];

	fx.n_requests++;
	fx.request = conn;
	if (fx.answer == HOST_REFUSE)
		hv_refuse(conn);
	if (fx.answer != HOST_ACCEPT)
		return;
	assert_int_equal(socketpair(AF_UNIX, hv_conn_type(conn) | SOCK_NONBLOCK, 0, fd), 0);
	fd_drop(&fx.host);
	fx.host = fd[1];
	fx.far = fd[0];
	assert_int_equal(hv_accept(conn, fd[0]), 0);
}

static void on_gone(struct hv_conn *conn, void *context)
{
	fx.n_gone++;
}

static void on_vm_state(struct hv_vm *vm, void *context)
{
	fx.n_states++;
}

static const struct hv_host_ops host_ops = {
	.request = on_request,
	.gone = on_gone,
	.vm_state = on_vm_state,
};

/* The outcome of hv_connect(). */
struct outcome {
	int n, result;
	int fd; /* the relay's end */
};

static void on_done(struct hv_conn *conn, int result, void *data)
{
	struct outcome *o = data;

	o->n++;
	o->result = result;
	if (result == 0)
		assert_int_equal(send(o->fd, "OK", 2, MSG_NOSIGNAL | MSG_EOR), 2);
	else
		close(o->fd);
}

/* ---- passes ------------------------------------------------------------------------------------- */

static void pump(void *ctx)
{
	loop_once(&fx.loop, 0);
}

/* Everybody does what there is to do, for some time. */
static void settle(void)
{
	for (unsigned i = 0; i < 60; i++) {
		loop_once(&fx.loop, 0);
		for (unsigned j = 0; j < N_VM; j++)
			if (fx.guest[j].bucket && fx.guest[j].held < 0)
				vsd_poll(&fx.guest[j]);
	}
}

/* The guests do nothing. */
static void settle_host(void)
{
	for (unsigned i = 0; i < 60; i++)
		loop_once(&fx.loop, 0);
}

static void wait_ns(uint64_t ns)
{
	uint64_t until = loop_now_ns() + ns;

	while (loop_now_ns() < until)
		settle();
}

static struct hv_vm_config config_of(unsigned i)
{
	static char name[N_VM][8];

	snprintf(name[i], sizeof(name[i]), "n%u", i + 1);
	return (struct hv_vm_config){ .name = name[i], .cid = 3 + i };
}

static char *path_of(unsigned i)
{
	static char path[128];
	char name[8];

	snprintf(name, sizeof(name), "n%u.vu", i + 1);
	return tmp_path(&fx.dir, name, path, sizeof(path));
}

static void add_vm(unsigned i, const struct hv_vm_config *config)
{
	int fd;

	assert_int_equal(listen_unix(path_of(i), 0600, &fd), 0);
	assert_int_equal(port_vsock_open(fx.relay, config, path_of(i), fd, &fx.vm[i]), 0);
}

static void start_guest(unsigned i, const struct vsd_options *o)
{
	struct vsd *v = &fx.guest[i];

	assert_int_equal(frontend_connect(&v->fe, path_of(i)), 0);
	v->fe.pump = pump;
	assert_int_equal(vsd_start(v, o), 0);
	settle();
	assert_string_equal(hv_vm_state(fx.vm[i]), "running");
}

static void check_guest(unsigned i)
{
	if (fx.guest[i].n_bad)
		fail_msg("guest %u: %s", i, fx.guest[i].bad);
}

static int setup_relay(void **state)
{
	memset(&fx, 0, sizeof(fx));
	fx.host = -1;
	for (unsigned i = 0; i < N_VM; i++)
		fx.guest[i] = (struct vsd){ .fe = { .sock = -1, .mem_fd = -1 }, .held = -1 };
	tmp_dir_init(&fx.dir);
	tmp_path(&fx.dir, "journal", fx.journal, sizeof(fx.journal));
	assert_int_equal(loop_init(&fx.loop), 0);
	assert_int_equal(hv_relay_new(&fx.loop, &host_ops, NULL, fx.journal, &fx.relay), 0);
	return 0;
}

/* Three VMs, of which the first has a guest. */
static int setup(void **state)
{
	setup_relay(state);
	for (unsigned i = 0; i < N_VM; i++) {
		struct hv_vm_config c = config_of(i);

		add_vm(i, &c);
	}
	start_guest(0, &(struct vsd_options){ 0 });
	return 0;
}

static int teardown(void **state)
{
	settle();
	for (unsigned i = 0; i < N_VM; i++) {
		check_guest(i);
		vsd_done(&fx.guest[i]);
		if (fx.vm[i])
			hv_vm_close(fx.vm[i]);
	}
	settle_host();
	hv_relay_free(fx.relay);
	loop_done(&fx.loop);
	fd_drop(&fx.host);
	tmp_dir_done(&fx.dir);
	return 0;
}

#define STAT(name) (hv_vm_stats(fx.vm[0])->name)

/* ---- what a guest's socket sees ----------------------------------------------------------------- */

struct socket_of_guest {
	struct vsd_conn *c;
	uint8_t *bytes;
	size_t len, size;
	unsigned n_messages;
	uint32_t last_flags;
	bool closed, was_connected;
	uint32_t shutdown;
};

static void on_data(struct vsd_conn *c, const void *bytes, size_t len, uint32_t flags)
{
	struct socket_of_guest *s = c->ctx;

	if (s->len + len > s->size) {
		s->size = 2 * (s->len + len);
		s->bytes = realloc(s->bytes, s->size);
	}
	if (len > 0)
		memcpy(s->bytes + s->len, bytes, len);
	s->len += len;
	s->last_flags = flags;
	s->n_messages += (flags & VIRTIO_VSOCK_SEQ_EOM) != 0;
}

static void on_shutdown(struct vsd_conn *c)
{
	struct socket_of_guest *s = c->ctx;

	s->shutdown = c->peer_shutdown;
}

static void on_closed(struct vsd_conn *c)
{
	struct socket_of_guest *s = c->ctx;

	s->closed = true;
	s->was_connected = c->was_connected;
	s->c = NULL;
	vsd_free(c);
}

static const struct vsd_ops guest_ops = {
	.data = on_data,
	.shutdown = on_shutdown,
	.closed = on_closed,
};

static void forget(struct socket_of_guest *s)
{
	vsd_free(s->c);
	free(s->bytes);
	*s = (struct socket_of_guest){ 0 };
}

/* The guest connects to `port` of cid. */
static void connect_from(unsigned guest, uint64_t cid, uint32_t port, int type,
			 struct socket_of_guest *s)
{
	*s = (struct socket_of_guest){ 0 };
	s->c = vsd_connect(&fx.guest[guest], cid, port, type, &guest_ops, s);
	settle();
}

static void connect_to_host(int type, struct socket_of_guest *s)
{
	connect_from(0, VMADDR_CID_HOST, PORT, type, s);
	assert_non_null(s->c);
	assert_int_equal(s->c->state, VSD_CONNECTED);
}

static enum vsd_answer accept_one(struct vsd_conn *c, void *ctx)
{
	struct socket_of_guest *s = ctx;

	c->ops = &guest_ops;
	c->ctx = s;
	s->c = c;
	return VSD_ACCEPT;
}

static enum vsd_answer accept_never(struct vsd_conn *c, void *ctx)
{
	return VSD_SILENT;
}

/* The host connects to the guest; its end goes to fx.host. */
static struct hv_conn *connect_to_guest(int type, struct outcome *o)
{
	struct hv_conn *conn = NULL;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fd), 0);
	fd_drop(&fx.host);
	fx.host = fd[1];
	*o = (struct outcome){ .fd = fd[0] };
	assert_int_equal(hv_connect(fx.vm[0], PORT, type, fd[0], on_done, o, &conn), 0);
	assert_int_equal(o->n, 0);
	return conn;
}

static void expect_host(const char *text)
{
	char buf[256] = "";

	assert_int_equal(recv(fx.host, buf, sizeof(buf), MSG_DONTWAIT), strlen(text));
	assert_string_equal(buf, text);
}

static void expect_host_end(void)
{
	char c;

	assert_int_equal(recv(fx.host, &c, 1, MSG_DONTWAIT), 0);
}

static void expect_guest(struct socket_of_guest *s, const char *text)
{
	assert_int_equal(s->len, strlen(text));
	assert_memory_equal(s->bytes, text, s->len);
	s->len = 0;
}

static void guest_says(struct socket_of_guest *s, const char *text)
{
	assert_int_equal(vsd_send(s->c, text, strlen(text), 0), strlen(text));
	settle();
}

static void host_says(const char *text)
{
	assert_int_equal(send(fx.host, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	settle();
}

static void expect_no_connections(void)
{
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), 0);
	assert_null(hv_conn_next(fx.vm[0], NULL));
	assert_int_equal(hv_vm_buffered(fx.vm[0]), 0);
}

/* ---- a VM --------------------------------------------------------------------------------------- */

static void test_vm(void **state)
{
	struct hv_vm_config c = config_of(0);
	struct hv_vm *vm;
	int fd;

	assert_int_equal(fx.guest[0].cid, 3); /* from the configuration space */
	assert_ptr_equal(hv_vm_find(fx.relay, "n1"), fx.vm[0]);
	assert_ptr_equal(hv_vm_of_cid(fx.relay, 4), fx.vm[1]);
	assert_null(hv_vm_of_cid(fx.relay, 3 + (1ull << 32)));
	assert_ptr_equal(hv_vm_next(fx.relay, NULL), fx.vm[0]);
	assert_ptr_equal(hv_vm_next(fx.relay, fx.vm[0]), fx.vm[1]);
	assert_null(hv_vm_next(fx.relay, fx.vm[2]));
	assert_string_equal(hv_vm_state(fx.vm[1]), "listening");
	assert_string_equal(hv_vm_transport(fx.vm[1]), "virtio-vsock");
	assert_int_equal(hv_vm_limits(fx.vm[0])->connections, HV_CONNECTIONS_DEFAULT);

	/* Names and CIDs are taken or wrong; each attempt closes its descriptor. */
	for (unsigned i = 0; i < 6; i++) {
		struct hv_vm_config bad = c;

		bad.name = i == 0 ? "n1" : i == 1 ? "a b" : i == 2 ? "" : "n9";
		bad.cid = i == 3 ? 3 : i == 4 ? 2 : i == 5 ? UINT32_MAX : 9;
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		assert_int_equal(port_vsock_open(fx.relay, &bad, NULL, fd, &vm),
				 i == 0 || i == 3 ? -EEXIST : -EINVAL);
		assert_int_equal(close(fd), -1);
	}
}

static void test_states(void **state)
{
	unsigned before = fx.n_states;

	vsd_done(&fx.guest[0]);
	settle();
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	assert_true(fx.n_states > before);
	start_guest(0, &(struct vsd_options){ 0 });
	assert_int_equal(STAT(sessions), 2);
	hv_vm_close(fx.vm[0]);
	assert_null(hv_vm_find(fx.relay, "n1"));
	assert_int_equal(access(path_of(0), F_OK), -1);
	fx.vm[0] = NULL;
	settle_host();
	assert_true(frontend_hung_up(&fx.guest[0].fe));
}

/* ---- connections and their ends ----------------------------------------------------------------- */

static void test_guest_to_host(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	assert_int_equal(hv_conn_port(fx.request), PORT);
	assert_int_equal(hv_conn_cid(fx.request), HV_CID_HOST);
	assert_int_equal(hv_conn_guest_port(fx.request), s.c->local_port);
	assert_false(hv_conn_to_guest(fx.request));
	assert_string_equal(hv_conn_state(fx.request), "connected");
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);

	guest_says(&s, "hello");
	expect_host("hello");
	host_says("welcome");
	expect_guest(&s, "welcome");
	assert_int_equal(hv_conn_bytes_from_guest(fx.request), 5);
	assert_int_equal(hv_conn_bytes_to_guest(fx.request), 7);

	guest_says(&s, "bye");
	vsd_close(s.c);
	settle();
	expect_host("bye");
	expect_host_end();
	assert_true(s.closed);
	expect_no_connections();
	assert_int_equal(STAT(connections_from_guest), 1);
	assert_int_equal(fx.n_gone, 0);
	forget(&s);
}

static void test_host_to_guest(void **state)
{
	struct socket_of_guest s = { 0 };
	struct outcome o;
	struct hv_conn *conn;

	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_one, &s);
	conn = connect_to_guest(SOCK_STREAM, &o);
	assert_string_equal(hv_conn_state(conn), "connecting");
	assert_true(hv_conn_to_guest(conn));
	assert_in_range(hv_conn_port(conn), HV_HOST_PORT_MIN, HV_HOST_PORT_MAX);
	host_says("early"); /* before the answer */
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, 0);
	expect_host("OK");
	expect_guest(&s, "early");
	assert_int_equal(s.c->peer_cid, HV_CID_HOST);
	guest_says(&s, "late");
	expect_host("late");

	/* The host goes: SHUTDOWN of both, and the guest's RST in answer. */
	close(fd_take(&fx.host));
	settle();
	assert_true(s.closed);
	expect_no_connections();
	assert_int_equal(STAT(connections_to_guest), 1);
	forget(&s);
}

static void test_half_close_by_host(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	host_says("last");
	shutdown(fx.host, SHUT_WR);
	settle();
	expect_guest(&s, "last");
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_says(&s, "answer");
	expect_host("answer");
	vsd_close(s.c);
	settle();
	expect_host_end();
	assert_true(s.closed);
	expect_no_connections();
	forget(&s);
}

static void test_half_close_by_guest(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	guest_says(&s, "last");
	vsd_shutdown(s.c, VIRTIO_VSOCK_SHUTDOWN_SEND);
	settle();
	expect_host("last");
	expect_host_end();
	host_says("answer");
	expect_guest(&s, "answer");
	close(fd_take(&fx.host));
	settle();
	assert_true(s.closed);
	expect_no_connections();
	forget(&s);
}

/* The guest listens no more: who writes to it is told. */
static void test_guest_gives_up_receiving(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	vsd_shutdown(s.c, VIRTIO_VSOCK_SHUTDOWN_RCV);
	settle();
	assert_int_equal(send(fx.host, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	guest_says(&s, "still");
	expect_host("still");
	vsd_close(s.c);
	expect_no_connections();
	expect_host_end();
	forget(&s);
}

static void test_host_gives_up_receiving(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	shutdown(fx.host, SHUT_RD);
	guest_says(&s, "to nobody");
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_RCV);
	host_says("still");
	expect_guest(&s, "still");
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

static void test_guest_resets(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	guest_says(&s, "dying words");
	vsd_reset(s.c);
	settle();
	expect_host("dying words");
	expect_host_end();
	expect_no_connections();
	forget(&s);
}

static void test_refused(void **state)
{
	struct socket_of_guest s;
	struct outcome o;

	fx.answer = HOST_REFUSE;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
	assert_true(s.closed);
	assert_false(s.was_connected);
	assert_int_equal(STAT(refused_by_host), 1);
	forget(&s);

	connect_to_guest(SOCK_STREAM, &o); /* nobody listens */
	settle();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ECONNREFUSED);
	assert_int_equal(STAT(refused_by_guest), 1);
	expect_host_end();
	expect_no_connections();
}

static void test_answered_later(void **state)
{
	struct socket_of_guest s, t;
	int fd[2];

	fx.answer = HOST_WAIT;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
	assert_int_equal(s.c->state, VSD_CONNECTING);
	assert_string_equal(hv_conn_state(fx.request), "requested");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	fx.host = fd[1];
	assert_int_equal(hv_accept(fx.request, fd[0]), 0);
	settle();
	assert_int_equal(s.c->state, VSD_CONNECTED);
	guest_says(&s, "x");
	expect_host("x");

	/* Another gives up meanwhile. */
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &t);
	vsd_reset(t.c);
	settle();
	assert_int_equal(fx.n_gone, 1);
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
	forget(&t);
}

static void test_accept_what_cannot_be_watched(void **state)
{
	struct socket_of_guest s;
	char path[128];
	int fd;

	fx.answer = HOST_WAIT;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
	fd = open(tmp_file(&fx.dir, "file", "text", path, sizeof(path)), O_RDONLY);
	assert_int_equal(hv_accept(fx.request, fd), -EPERM);
	assert_int_equal(close(fd), -1);
	settle();
	assert_true(s.closed);
	expect_no_connections();
	forget(&s);
}

/* A client that goes, or is cancelled, while the guest thinks. */
static void test_given_up_by_host(void **state)
{
	struct hv_conn *conn;
	struct outcome o;

	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_never, NULL);
	connect_to_guest(SOCK_STREAM, &o);
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);
	close(fd_take(&fx.host));
	settle();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ECONNABORTED);
	expect_no_connections();

	conn = connect_to_guest(SOCK_STREAM, &o);
	settle();
	hv_cancel(conn);
	close(o.fd);
	settle();
	assert_int_equal(o.n, 0);
	expect_no_connections();
}

/* Half of a client's hang-up is no hang-up. */
static void test_client_half_closes_early(void **state)
{
	struct socket_of_guest s = { 0 };
	struct outcome o;

	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_one, &s);
	connect_to_guest(SOCK_STREAM, &o);
	assert_int_equal(send(fx.host, "all", 3, 0), 3);
	shutdown(fx.host, SHUT_WR);
	settle();
	assert_int_equal(o.result, 0);
	expect_guest(&s, "all");
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_says(&s, "answer");
	expect_host("OKanswer");
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

static void test_no_driver(void **state)
{
	struct hv_conn *conn;
	struct outcome o;

	assert_int_equal(hv_connect(fx.vm[1], PORT, SOCK_STREAM, -1, on_done, &o, &conn),
			 -ENOTCONN);
	connect_to_guest(SOCK_STREAM, &o);
	vsd_done(&fx.guest[0]);
	settle_host();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ECONNRESET);
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, -1, on_done, &o, &conn),
			 -ENOTCONN);
}

static void test_vm_closes_amid_all(void **state)
{
	struct socket_of_guest s, t;
	struct outcome o;
	int host;

	connect_to_host(SOCK_STREAM, &s);
	host = dup(fx.host);
	fx.answer = HOST_WAIT;
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &t);
	vsd_listen(&fx.guest[0], PORT, SOCK_STREAM, accept_never, NULL);
	connect_to_guest(SOCK_STREAM, &o);
	settle();
	hv_vm_close(fx.vm[0]);
	fx.vm[0] = NULL;
	assert_int_equal(o.result, -ECONNRESET);
	assert_int_equal(fx.n_gone, 1);
	settle_host();
	fd_drop(&fx.host);
	fx.host = host;
	expect_host_end();
	forget(&s);
	forget(&t);
}

/* ---- streams ------------------------------------------------------------------------------------ */

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

static void fill(uint8_t *bytes, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern(at + i);
}

static void check(const uint8_t *bytes, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != pattern(at + i))
			fail_msg("byte %llu is wrong", (unsigned long long)(at + i));
}

/* What the host has to read now. */
static size_t host_reads(uint64_t at, size_t max)
{
	static uint8_t bytes[MIB];
	ssize_t n = recv(fx.host, bytes, min(max, sizeof(bytes)), MSG_DONTWAIT);

	if (n <= 0)
		return 0;
	check(bytes, at, (size_t)n);
	return (size_t)n;
}

static size_t guest_writes(struct socket_of_guest *s, uint64_t at, size_t max)
{
	static uint8_t bytes[1 << 16];
	size_t len = min(max, sizeof(bytes));
	ssize_t n;

	fill(bytes, at, len);
	n = vsd_send(s->c, bytes, len, 0);
	assert_true(n > 0 || n == -EAGAIN);
	return n > 0 ? (size_t)n : 0;
}

static void stream_from_guest(struct socket_of_guest *s, size_t piece, size_t read, size_t total)
{
	uint64_t in = 0, out = 0;

	for (unsigned idle = 0; out < total && idle < 1000; idle++) {
		size_t n;

		while (in < total && (n = guest_writes(s, in, min(piece, total - in))) > 0)
			in += n;
		vsd_poll(&fx.guest[0]);
		loop_once(&fx.loop, 0);
		n = host_reads(out, read);
		out += n;
		if (n > 0)
			idle = 0;
		assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));
	}
	assert_int_equal(out, total);
}

static void test_stream_from_guest(void **state)
{
	static const size_t sizes[] = { 64, 1000, 4096, 65536 };
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	for (size_t i = 0; i < array_size(sizes); i++) {
		stream_from_guest(&s, sizes[i], MIB, 400 * sizes[i]);
		stream_from_guest(&s, sizes[i], 10000, 400 * sizes[i]); /* a slow reader */
	}
	assert_true(STAT(credit_updates) < 4 * (2 * 400ull * 70696) / HV_BUFFER_SIZE);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

static void stream_to_guest(struct socket_of_guest *s, size_t piece, size_t total)
{
	static uint8_t bytes[1 << 16];
	uint64_t in = 0;
	size_t before = s->len;

	for (unsigned idle = 0; s->len - before < total && idle < 10000; idle++) {
		size_t n = min(piece, total - in);
		ssize_t r = 0;

		fill(bytes, in, n);
		if (n > 0)
			r = send(fx.host, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r > 0) {
			in += (size_t)r;
			idle = 0;
		}
		loop_once(&fx.loop, 0);
		vsd_poll(&fx.guest[0]);
	}
	assert_int_equal(s->len - before, total);
	check(s->bytes + before, 0, total);
	s->len = before;
}

static void test_stream_to_guest(void **state)
{
	static const size_t sizes[] = { 64, 1000, 4096, 65536 };
	struct socket_of_guest s;

	connect_to_host(SOCK_STREAM, &s);
	for (size_t i = 0; i < array_size(sizes); i++)
		stream_to_guest(&s, sizes[i], 400 * sizes[i]);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

/* Header and data in descriptors of their own, as Linux 6.1 lays them out; and buffers of an odd size. */
static void test_layouts(void **state)
{
	static const struct vsd_options layouts[] = {
		{ .rx_split = true, .tx_split = true },
		{ .rx_len = 1, .num = 256 },
		{ .rx_len = 3732, .num = 16 },
		{ .features = BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
			      BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) },
	};
	struct socket_of_guest s;

	for (size_t i = 0; i < array_size(layouts); i++) {
		vsd_done(&fx.guest[0]);
		settle_host();
		start_guest(0, &layouts[i]);
		connect_to_host(SOCK_STREAM, &s);
		stream_from_guest(&s, 3000, MIB, 300000);
		stream_to_guest(&s, 3000, layouts[i].rx_len == 1 ? 3000 : 300000);
		vsd_close(s.c);
		expect_no_connections();
		forget(&s);
		check_guest(0);
	}
}

/* What a guest sent in many packets of one burst, on two connections in turn. */
static void test_small_packets_are_joined(void **state)
{
	struct socket_of_guest s, t;
	int first;
	char buf[512];

	connect_to_host(SOCK_STREAM, &s);
	first = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &t);
	for (unsigned i = 0; i < 20; i++) { /* taking turns */
		assert_int_equal(vsd_send(s.c, "abc", 3, 0), 3);
		assert_int_equal(vsd_send(t.c, "xyz", 3, 0), 3);
	}
	settle();
	assert_int_equal(recv(first, buf, sizeof(buf), 0), 60);
	assert_memory_equal(buf, "abcabc", 6);
	assert_int_equal(recv(fx.host, buf, sizeof(buf), 0), 60);
	assert_memory_equal(buf, "xyzxyz", 6);
	assert_int_equal(STAT(packets_from_guest), 2 + 40);
	close(first);
	forget(&s);
	forget(&t);
	settle();
}

/* ---- the slow ----------------------------------------------------------------------------------- */

/* A host that never reads holds up its own connection, and holds its credit's worth of memory. */
static void test_host_never_reads(void **state)
{
	struct socket_of_guest s, t;
	uint64_t in = 0;
	int deaf;

	connect_to_host(SOCK_STREAM, &s);
	deaf = fd_take(&fx.host);
	for (unsigned i = 0; i < 200; i++) {
		in += guest_writes(&s, in, 65536);
		settle();
	}
	assert_int_equal(vsd_credit(s.c), 0);
	/* Of what was let go up to a half has not been told. */
	assert_in_range(hv_conn_buffered(hv_conn_next(fx.vm[0], NULL)), HV_BUFFER_SIZE / 2,
			HV_BUFFER_SIZE);
	assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));

	connect_to_host(SOCK_STREAM, &t);
	stream_from_guest(&t, 4096, MIB, 0); /* nothing is counted twice */
	guest_says(&t, "through");
	expect_host("through");

	/* The guest closes: all that it sent still arrives, then the end. */
	vsd_close(s.c);
	settle();
	assert_false(s.closed); /* its RST waits for the host */
	fd_drop(&fx.host);
	fx.host = deaf;
	for (uint64_t out = 0; out < in;) {
		size_t n = host_reads(out, 100000);

		assert_true(n > 0);
		out += n;
		settle();
	}
	expect_host_end();
	settle();
	assert_true(s.closed);
	forget(&s);
	forget(&t);
	settle();
}

/* A guest that closed with bytes under way may use its port again at once. */
static void test_port_is_reused_while_draining(void **state)
{
	struct socket_of_guest s, t = { 0 };
	uint64_t in = 0;
	int deaf, n = 0;
	uint32_t port;

	connect_to_host(SOCK_STREAM, &s);
	deaf = fd_take(&fx.host);
	for (unsigned i = 0; i < 100; i++) {
		in += guest_writes(&s, in, 65536);
		settle();
	}
	port = s.c->local_port;
	vsd_close(s.c);
	settle();
	forget(&s);

	fx.guest[0].next_port = port;
	connect_to_host(SOCK_STREAM, &t);
	assert_int_equal(t.c->local_port, port);
	while (n >= 0) { /* the first is drained: its RST must not hit the second */
		static char buf[MIB];

		n = recv(deaf, buf, sizeof(buf), MSG_DONTWAIT) > 0 ? 0 : -1;
		settle();
	}
	close(deaf);
	guest_says(&t, "alive");
	expect_host("alive");
	forget(&t);
	settle();
}

/* A guest that never reads: the host's writer stands still, others do not. */
static void test_guest_never_reads(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s, t;
	size_t in = 0;
	ssize_t n;
	int deaf;

	connect_to_host(SOCK_STREAM, &s);
	s.c->manual = true;
	deaf = fd_take(&fx.host);
	for (unsigned i = 0; i < 100; i++) {
		fill(bytes, in, sizeof(bytes));
		n = send(deaf, bytes, sizeof(bytes), MSG_DONTWAIT);
		in += n > 0 ? (size_t)n : 0;
		settle();
	}
	assert_int_equal(s.len, 256 << 10); /* all its credit */
	assert_true(in > s.len && in < 2 * MIB);
	assert_true(STAT(credit_requests) > 0 && STAT(credit_requests) < 10);

	connect_to_host(SOCK_STREAM, &t);
	host_says("through");
	expect_guest(&t, "through");

	vsd_consumed(s.c, 256 << 10);
	settle();
	assert_true(s.len > 256 << 10);
	s.c->manual = false;
	vsd_consumed(s.c, (uint32_t)s.len - (256 << 10));
	for (unsigned i = 0; i < 20; i++)
		settle();
	assert_int_equal(s.len, in);
	check(s.bytes, 0, 256 << 10);
	close(deaf);
	forget(&s);
	forget(&t);
	settle();
}

/* A guest with few buffers, and a writer that takes them all: the other has its turn nevertheless. */
static void test_buffers_are_shared(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s, t;
	int greedy;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .rx_bufs = 8 });
	connect_to_host(SOCK_STREAM, &s);
	greedy = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &t);
	for (unsigned i = 0; i < 200; i++) {
		while (send(greedy, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
		if (i == 10)
			assert_int_equal(send(fx.host, "turn", 4, 0), 4);
		loop_once(&fx.loop, 0);
		vsd_poll(&fx.guest[0]);
	}
	expect_guest(&t, "turn");
	assert_true(s.len > MIB);
	close(greedy);
	forget(&s);
	forget(&t);
	settle();
}

/* A guest that gives no buffers back: nothing grows, and when it does all is as it should be. */
static void test_guest_gives_no_buffers(void **state)
{
	struct socket_of_guest s;
	struct virtio_vsock_hdr h;
	uint64_t before;
	unsigned n = 0;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .num = 1024, .rx_bufs = 16 });
	connect_to_host(SOCK_STREAM, &s);
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.src_port = htole32(7); /* no such connection: each is answered with an RST */
	before = STAT(packets_from_guest);
	while (vsd_send_packet(&fx.guest[0], &h, NULL, 0) == 0)
		n++;
	vsd_flush(&fx.guest[0]);
	settle_host();
	/* All buffers were filled, and all room for resets behind them; then the ring was left alone. */
	assert_in_range(STAT(packets_from_guest) - before, 16 + 3 * 64, 16 + 4 * 64 + 64);
	assert_true(n > STAT(packets_from_guest) - before);
	settle();
	wait_ns(1000000);
	assert_int_equal(STAT(packets_unknown), n);
	assert_int_equal(fx.guest[0].n_stray, n);
	guest_says(&s, "alive");
	expect_host("alive");
	host_says("alive");
	expect_guest(&s, "alive");
	forget(&s);
	settle();
}

/* ---- bad packets -------------------------------------------------------------------------------- */

static void send_packet(const struct virtio_vsock_hdr *h, const void *bytes, size_t n)
{
	assert_int_equal(vsd_send_packet(&fx.guest[0], h, bytes, n), 0);
	vsd_flush(&fx.guest[0]);
	settle_host();
}

static void expect_reset(const struct virtio_vsock_hdr *sent)
{
	struct vsd_packet p;

	assert_int_equal(vsd_expect(&fx.guest[0], &p), 0);
	assert_int_equal(le16toh(p.hdr.op), VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le16toh(p.hdr.type), le16toh(sent->type));
	assert_int_equal(le64toh(p.hdr.src_cid), le64toh(sent->dst_cid));
	assert_int_equal(le32toh(p.hdr.src_port), le32toh(sent->dst_port));
	assert_int_equal(le32toh(p.hdr.dst_port), le32toh(sent->src_port));
	assert_int_equal(le64toh(p.hdr.dst_cid), 3);
	assert_int_equal(p.n_bytes, 0);
	assert_int_equal(vsd_packet(&fx.guest[0], &p), -EAGAIN);
}

static void expect_silence(void)
{
	struct vsd_packet p;

	settle_host();
	assert_int_equal(vsd_packet(&fx.guest[0], &p), -EAGAIN);
}

static struct virtio_vsock_hdr stranger(uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(3),
		.dst_cid = htole64(2),
		.src_port = htole32(99),
		.dst_port = htole32(PORT),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
	};
}

static void test_packets_of_no_connection(void **state)
{
	for (uint16_t op = 0; op < 12; op++) {
		struct virtio_vsock_hdr h = stranger(op);

		if (op == VIRTIO_VSOCK_OP_REQUEST)
			continue;
		send_packet(&h, NULL, 0);
		if (op == VIRTIO_VSOCK_OP_RST)
			expect_silence();
		else
			expect_reset(&h);
	}
	assert_int_equal(STAT(packets_unknown), 10);
	assert_int_equal(fx.n_requests, 0);
}

static void test_wrong_type(void **state)
{
	struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);
	struct socket_of_guest s;

	h.type = htole16(3);
	send_packet(&h, NULL, 0);
	expect_reset(&h);
	h.type = 0;
	send_packet(&h, NULL, 0);
	expect_reset(&h);
	assert_int_equal(fx.n_requests, 0);

	/* That of another connection: the connection lives. */
	fx.guest[0].held = -1;
	connect_to_host(SOCK_STREAM, &s);
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.type = htole16(VIRTIO_VSOCK_TYPE_SEQPACKET);
	send_packet(&h, NULL, 0);
	expect_reset(&h);
	fx.guest[0].held = -1;
	guest_says(&s, "alive");
	expect_host("alive");
	forget(&s);
}

static void test_wrong_addresses(void **state)
{
	static const uint64_t cids[] = { 0, 1, 3, 77, 2 + (1ull << 32), UINT32_MAX, UINT64_MAX };
	struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);

	for (size_t i = 0; i < array_size(cids); i++) {
		h.dst_cid = htole64(cids[i]);
		if (cids[i] == 3)
			continue;
		send_packet(&h, NULL, 0);
		expect_reset(&h);
	}
	assert_int_equal(STAT(refused_sibling), array_size(cids) - 1);
	h.dst_cid = htole64(2);
	h.src_cid = htole64(4); /* another's */
	send_packet(&h, NULL, 0);
	expect_silence();
	h.src_cid = htole64(3 + (1ull << 32));
	send_packet(&h, NULL, 0);
	expect_silence();
	assert_int_equal(STAT(drop_source), 2);
	assert_int_equal(fx.n_requests, 0);
}

static void test_longer_than_its_bytes(void **state)
{
	struct socket_of_guest s, t;
	struct virtio_vsock_hdr h;
	int other;

	connect_to_host(SOCK_STREAM, &t);
	other = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &s);
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.len = htole32(6);
	send_packet(&h, "12345", 5);
	expect_reset(&h);
	expect_host_end();
	assert_int_equal(STAT(reset_malformed), 1);
	fx.guest[0].held = -1;
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), 1);
	/* Fewer than there are is no fault: that many count. */
	h = vsd_header(t.c, VIRTIO_VSOCK_OP_RW, 0);
	h.len = htole32(0);
	send_packet(&h, "12345", 5);
	expect_silence();
	close(other);
	forget(&s);
	forget(&t);
	settle();
}

static void test_credit_overrun(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s, t;
	struct virtio_vsock_hdr h;
	int other;

	connect_to_host(SOCK_STREAM, &t);
	other = fd_take(&fx.host);
	connect_to_host(SOCK_STREAM, &s);
	s.c->peer_buf_alloc = UINT32_MAX; /* it believes what it likes */
	h = vsd_header(s.c, VIRTIO_VSOCK_OP_RW, 0);
	h.len = htole32(sizeof(bytes));
	for (unsigned i = 0; i < 100 && STAT(reset_credit) == 0; i++)
		send_packet(&h, bytes, sizeof(bytes));
	assert_int_equal(STAT(reset_credit), 1);
	s.c->tx_cnt = UINT32_MAX / 2; /* it knows nothing of what it has sent */
	assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));
	fd_drop(&fx.host);
	fx.host = other;
	settle();
	guest_says(&t, "untouched");
	expect_host("untouched");
	forget(&s);
	forget(&t);
	settle();
}

static void test_short_chain(void **state)
{
	struct vsd *v = &fx.guest[0];
	struct driver_buf buf = { .addr = guest_alloc(&v->guest, 64, 64), .len = 43 };
	uint32_t len;

	assert_true(driver_add(&v->tx, &buf, 1, 0) >= 0);
	driver_kick(&v->tx);
	settle_host();
	assert_true(driver_used(&v->tx, &len) >= 0);
	assert_int_equal(STAT(drop_short), 1);
	assert_string_equal(hv_vm_state(fx.vm[0]), "running");
}

static void test_broken_ring(void **state)
{
	struct vsd *v = &fx.guest[0];

	driver_raw_avail(&v->tx, 5000);
	settle_host();
	frontend_pump(&v->fe);
	vsd_flush(v);
	driver_kick(&v->tx);
	wait_ns(2000000);
	assert_int_equal(STAT(queue_broken), 1);
	assert_string_equal(hv_vm_state(fx.vm[0]), "negotiated");
}

/* ---- limits ------------------------------------------------------------------------------------- */

static void restart_with(const struct hv_limits *limits)
{
	struct hv_vm_config c = config_of(0);

	vsd_done(&fx.guest[0]);
	hv_vm_close(fx.vm[0]);
	settle_host();
	c.limits = *limits;
	add_vm(0, &c);
	start_guest(0, &(struct vsd_options){ 0 });
}

static void test_limit_of_connections(void **state)
{
	struct socket_of_guest s[4];
	struct hv_conn *conn;
	struct outcome o;
	int fd[4];

	restart_with(&(struct hv_limits){ .connections = 3 });
	for (unsigned i = 0; i < 3; i++) {
		connect_to_host(SOCK_STREAM, &s[i]);
		fd[i] = fd_take(&fx.host);
	}
	connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s[3]);
	assert_true(s[3].closed);
	assert_false(s[3].was_connected);
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_STREAM, -1, on_done, &o, &conn), -EMFILE);
	assert_int_equal(STAT(refused_limit_connections), 2);
	vsd_close(s[1].c);
	settle();
	forget(&s[1]);
	connect_to_host(SOCK_STREAM, &s[1]);
	for (unsigned i = 0; i < 4; i++)
		forget(&s[i]);
	for (unsigned i = 0; i < 3; i++)
		close(fd[i]);
	settle();
}

static void test_limit_of_rate(void **state)
{
	struct socket_of_guest s;
	unsigned n = 0;

	restart_with(&(struct hv_limits){ .connects_per_second = 10 });
	fx.answer = HOST_REFUSE;
	for (unsigned i = 0; i < 40; i++) {
		connect_from(0, VMADDR_CID_HOST, PORT, SOCK_STREAM, &s);
		assert_true(s.closed);
		forget(&s);
	}
	n = fx.n_requests;
	assert_true(n >= 10 &&
		    n < 40); /* a second's worth at once, and what the time of the loop gave */
	assert_int_equal(STAT(refused_limit_rate), 40 - n);
}

static void test_limit_of_bytes(void **state)
{
	struct socket_of_guest s[3];
	int fd[3];

	restart_with(&(struct hv_limits){ .buffer_bytes = 64 << 10 });
	for (unsigned i = 0; i < 3; i++) {
		connect_to_host(SOCK_STREAM, &s[i]);
		fd[i] = fd_take(&fx.host);
	}
	for (unsigned i = 0; i < 2; i++)
		for (unsigned k = 0; k < 60 && s[i].c; k++) {
			guest_writes(&s[i], 0, 65536);
			settle();
		}
	assert_int_equal(STAT(reset_limit_bytes), 2);
	assert_true(s[0].closed && s[1].closed);
	assert_int_equal(hv_vm_buffered(fx.vm[0]), 0);
	fx.host = fd[2];
	guest_says(&s[2], "untouched");
	expect_host("untouched");
	fx.host = -1;
	for (unsigned i = 0; i < 3; i++) {
		close(fd[i]);
		forget(&s[i]);
	}
	settle();
}

/* Connects that are never answered by the host: as many as the limit, and the others are told. */
static void test_half_open_flood(void **state)
{
	fx.answer = HOST_WAIT;
	for (unsigned i = 0; i < 5000; i++) {
		struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);

		h.src_port = htole32(10000 + i);
		while (vsd_send_packet(&fx.guest[0], &h, NULL, 0) == -EAGAIN) {
			vsd_poll(&fx.guest[0]);
			loop_once(&fx.loop, 0);
		}
	}
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), HV_CONNECTIONS_DEFAULT);
	assert_int_equal(fx.n_requests, HV_CONNECTIONS_DEFAULT);
	assert_int_equal(STAT(refused_limit_connections), 5000 - HV_CONNECTIONS_DEFAULT);
	vsd_done(&fx.guest[0]);
	settle_host();
	assert_int_equal(fx.n_gone, 0 + HV_CONNECTIONS_DEFAULT);
}

static void test_ten_thousand_connects(void **state)
{
	struct socket_of_guest s;

	for (unsigned i = 0; i < 10000; i++) {
		s = (struct socket_of_guest){ 0 };
		s.c = vsd_connect(&fx.guest[0], VMADDR_CID_HOST, PORT, SOCK_STREAM, &guest_ops, &s);
		while (s.c->state == VSD_CONNECTING) {
			vsd_poll(&fx.guest[0]);
			loop_once(&fx.loop, 0);
		}
		vsd_close(s.c);
		while (!s.closed) {
			vsd_poll(&fx.guest[0]);
			loop_once(&fx.loop, 0);
		}
	}
	expect_no_connections();
	assert_int_equal(STAT(connections_from_guest), 10000);
}

/* ---- SEQPACKET ---------------------------------------------------------------------------------- */

static void test_messages(void **state)
{
	static uint8_t big[100000], got[200000];
	struct socket_of_guest s;
	ssize_t n;

	connect_to_host(SOCK_SEQPACKET, &s);
	assert_int_equal(hv_conn_type(fx.request), SOCK_SEQPACKET);
	assert_int_equal(vsd_send(s.c, "one", 3, VIRTIO_VSOCK_SEQ_EOM), 3);
	assert_int_equal(vsd_send(s.c, "three", 5, VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR), 5);
	settle();
	expect_host("one");
	expect_host("three");

	/* A message of several packets, in one burst and in several. */
	fill(big, 0, sizeof(big));
	for (unsigned round = 0; round < 2; round++) {
		for (size_t at = 0; at < sizeof(big); at += (size_t)n) {
			n = vsd_send(s.c, big + at, min(sizeof(big) - at, (size_t)30000),
				     at + 30000 >= sizeof(big) ? VIRTIO_VSOCK_SEQ_EOM : 0);
			assert_true(n > 0);
			if (round == 1)
				settle();
		}
		settle();
		n = recv(fx.host, got, sizeof(got), MSG_DONTWAIT);
		assert_int_equal(n, sizeof(big));
		check(got, 0, sizeof(big));
	}

	assert_int_equal(send(fx.host, "one", 3, 0), 3);
	assert_int_equal(send(fx.host, "", 0, 0), 0); /* nothing, and no end either */
	assert_int_equal(send(fx.host, big, sizeof(big), 0), sizeof(big));
	assert_int_equal(send(fx.host, "two", 3, 0), 3);
	settle();
	assert_int_equal(s.n_messages, 3);
	assert_int_equal(s.len, 6 + sizeof(big));
	assert_memory_equal(s.bytes, "one", 3);
	check(s.bytes + 3, 0, sizeof(big));
	assert_memory_equal(s.bytes + 3 + sizeof(big), "two", 3);

	shutdown(fx.host, SHUT_WR);
	settle();
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	vsd_close(s.c);
	expect_no_connections();
	expect_host_end();
	forget(&s);
}

/* Many small ones against a host that reads slowly: none is joined, none lost. */
static void test_messages_to_slow_host(void **state)
{
	struct socket_of_guest s;
	unsigned in = 0, out = 0;

	connect_to_host(SOCK_SEQPACKET, &s);
	for (unsigned i = 0; i < 20000 && out < 5000; i++) {
		char text[16], got[32] = "";

		while (in < 5000) {
			snprintf(text, sizeof(text), "%u", in);
			if (vsd_send(s.c, text, strlen(text), VIRTIO_VSOCK_SEQ_EOM) < 0)
				break;
			in++;
		}
		vsd_poll(&fx.guest[0]);
		loop_once(&fx.loop, 0);
		if (i % 3 && recv(fx.host, got, sizeof(got), MSG_DONTWAIT) > 0) {
			snprintf(text, sizeof(text), "%u", out++);
			assert_string_equal(got, text);
		}
	}
	assert_int_equal(out, 5000);
	assert_true(STAT(bytes_buffered) > 0);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

/* What no Unix socket takes: the connection is reset, others are not. */
static void test_message_too_long_for_host(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest s;

	connect_to_host(SOCK_SEQPACKET, &s);
	for (unsigned i = 0; i < 4; i++) {
		ssize_t n = vsd_send(s.c, bytes, i == 3 ? sizeof(bytes) - 4096 : sizeof(bytes),
				     i == 3 ? VIRTIO_VSOCK_SEQ_EOM : 0);

		assert_true(n > 0);
	}
	for (unsigned i = 0; i < 5; i++)
		settle();
	/* Either the kernel's limit is above 252 KiB, or it is told. */
	if (STAT(reset_message))
		assert_true(s.closed);
	else
		assert_true(recv(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT) > 0);
	forget(&s);
	settle();
}

/* What the guest's whole credit does not hold. */
static void test_message_too_long_for_guest(void **state)
{
	static uint8_t bytes[20000];
	struct socket_of_guest s;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .buf_alloc = 10000 });
	connect_to_host(SOCK_SEQPACKET, &s);
	assert_int_equal(send(fx.host, bytes, 10000, 0), 10000);
	settle();
	assert_int_equal(s.len, 10000);
	assert_int_equal(send(fx.host, bytes, 10001, 0), 10001);
	settle();
	assert_true(s.closed);
	assert_int_equal(STAT(reset_message), 1);
	expect_no_connections();
	forget(&s);
}

/* Of which only the kernel says so, after it was kept: who waits for it is told as well. */
static void test_kept_message_too_long_for_host(void **state)
{
	static uint8_t bytes[60000];
	struct socket_of_guest s;
	int small = 4096;

	connect_to_host(SOCK_SEQPACKET, &s);
	assert_int_equal(setsockopt(fx.far, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(vsd_send(s.c, bytes, 30000, 0), 30000);
	settle();
	assert_int_equal(vsd_send(s.c, bytes, 30000, VIRTIO_VSOCK_SEQ_EOM), 30000);
	settle();
	assert_int_equal(STAT(reset_message), 1);
	assert_true(s.closed);
	expect_host_end();
	expect_no_connections();
	forget(&s);
}

/* A message whose end does not come any more holds up nobody. */
static void test_message_without_end(void **state)
{
	struct socket_of_guest s;

	for (unsigned i = 0; i < 3; i++) {
		connect_to_host(SOCK_SEQPACKET, &s);
		assert_int_equal(vsd_send(s.c, "whole", 5, VIRTIO_VSOCK_SEQ_EOM), 5);
		assert_int_equal(vsd_send(s.c, "half", 4, 0), 4);
		settle();
		expect_host("whole");
		if (i == 0)
			vsd_close(s.c);
		else if (i == 1)
			vsd_shutdown(s.c, VIRTIO_VSOCK_SHUTDOWN_SEND);
		else
			vsd_done(&fx.guest[0]);
		settle();
		expect_host_end();
		if (i == 0)
			assert_true(s.closed);
		if (i == 1)
			vsd_close(s.c);
		expect_no_connections();
		if (i == 2)
			s.c = NULL; /* gone with its guest */
		forget(&s);
	}
}

/* Many messages of nothing do not hide the one behind them. */
static void test_behind_empty_messages(void **state)
{
	struct socket_of_guest s;

	connect_to_host(SOCK_SEQPACKET, &s);
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned j = 0; j < 50; j++)
			assert_int_equal(send(fx.host, "", 0, 0), 0);
		assert_int_equal(send(fx.host, "word", 4, 0), 4);
		if (i == 1) /* nor if an end is behind it already */
			shutdown(fx.host, SHUT_WR);
		settle();
		expect_guest(&s, "word");
	}
	assert_int_equal(s.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
	vsd_close(s.c);
	expect_no_connections();
	forget(&s);
}

/* Some credit is left, but not for a whole message: it goes when there is. */
static void test_message_waits_for_credit(void **state)
{
	static uint8_t bytes[9000];
	struct socket_of_guest s;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .buf_alloc = 10000 });
	connect_to_host(SOCK_SEQPACKET, &s);
	s.c->manual = true;
	assert_int_equal(send(fx.host, bytes, 9000, 0), 9000);
	assert_int_equal(send(fx.host, bytes, 5000, 0), 5000);
	settle();
	assert_int_equal(s.len, 9000);
	vsd_consumed(s.c, 9000);
	settle();
	assert_int_equal(s.len, 14000);
	assert_int_equal(s.n_messages, 2);
	forget(&s);
	settle();
}

static void test_no_seqpacket(void **state)
{
	struct virtio_vsock_hdr h = stranger(VIRTIO_VSOCK_OP_REQUEST);
	struct hv_conn *conn;
	struct outcome o;

	vsd_done(&fx.guest[0]);
	settle_host();
	start_guest(0, &(struct vsd_options){ .no_seqpacket = true });
	assert_int_equal(hv_connect(fx.vm[0], PORT, SOCK_SEQPACKET, -1, on_done, &o, &conn),
			 -EPROTONOSUPPORT);
	h.type = htole16(VIRTIO_VSOCK_TYPE_SEQPACKET);
	send_packet(&h, NULL, 0);
	expect_reset(&h);
}

/* ---- siblings ----------------------------------------------------------------------------------- */

static void test_siblings(void **state)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };

	start_guest(1, &(struct vsd_options){ 0 });
	for (size_t i = 0; i < array_size(types); i++) {
		uint32_t eom = types[i] == SOCK_SEQPACKET ? VIRTIO_VSOCK_SEQ_EOM : 0;
		struct socket_of_guest a, b = { 0 };

		vsd_listen(&fx.guest[1], 80 + (uint32_t)i, types[i], accept_one, &b);
		connect_from(0, 4, 80 + (uint32_t)i, types[i], &a);
		assert_non_null(a.c);
		assert_int_equal(a.c->state, VSD_CONNECTED);
		assert_int_equal(b.c->peer_cid, 3);
		assert_int_equal(b.c->peer_port, a.c->local_port);
		assert_int_equal(vsd_send(a.c, "ping", 4, eom), 4);
		settle();
		expect_guest(&b, "ping");
		assert_int_equal(b.n_messages, eom ? 1 : 0);
		assert_int_equal(vsd_send(b.c, "pong", 4, eom), 4);
		settle();
		expect_guest(&a, "pong");

		vsd_shutdown(a.c, VIRTIO_VSOCK_SHUTDOWN_SEND);
		settle();
		assert_int_equal(b.shutdown, VIRTIO_VSOCK_SHUTDOWN_SEND);
		assert_int_equal(vsd_send(b.c, "last", 4, eom), 4);
		vsd_close(b.c);
		settle();
		expect_guest(&a, "last");
		assert_true(a.closed);
		assert_true(b.closed);
		assert_int_equal(hv_vm_connections(fx.vm[1]), 0);
		expect_no_connections();
		forget(&a);
		forget(&b);
	}
	assert_int_equal(fx.n_requests, 0); /* the host hears nothing of it */
}

static void test_sibling_stream(void **state)
{
	static uint8_t bytes[1 << 16];
	struct socket_of_guest a, b = { 0 };
	uint64_t in = 0;

	start_guest(1, &(struct vsd_options){ 0 });
	vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_one, &b);
	connect_from(0, 4, 80, SOCK_STREAM, &a);
	b.c->manual = true;
	while (in < 4 * MIB) {
		size_t n = guest_writes(&a, in, min(sizeof(bytes), 4 * MIB - in));

		in += n;
		settle();
		if (n == 0) { /* it waits for the other */
			assert_true(hv_vm_buffered(fx.vm[0]) <= HV_BUFFER_SIZE + (32 << 10));
			vsd_consumed(b.c, b.c->rx_cnt - b.c->fwd_cnt);
		}
	}
	for (unsigned i = 0; i < 20; i++) {
		vsd_consumed(b.c, b.c->rx_cnt - b.c->fwd_cnt);
		settle();
	}
	assert_int_equal(b.len, in);
	check(b.bytes, 0, b.len);
	forget(&a);
	forget(&b);
	settle();
	check_guest(1);
}

static void test_sibling_refused(void **state)
{
	struct socket_of_guest a;

	connect_from(0, 4, 80, SOCK_STREAM, &a); /* it has no driver */
	assert_true(a.closed);
	assert_false(a.was_connected);
	forget(&a);
	start_guest(1, &(struct vsd_options){ 0 });
	connect_from(0, 4, 80, SOCK_STREAM, &a); /* nobody listens */
	assert_true(a.closed);
	forget(&a);
	assert_int_equal(hv_vm_connections(fx.vm[1]), 0);
	assert_int_equal(hv_vm_stats(fx.vm[1])->refused_by_guest, 1);
	expect_no_connections();
}

static void test_sibling_gives_up_asking(void **state)
{
	struct socket_of_guest a;

	start_guest(1, &(struct vsd_options){ 0 });
	vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_never, NULL);
	connect_from(0, 4, 80, SOCK_STREAM, &a);
	assert_int_equal(a.c->state, VSD_CONNECTING);
	assert_int_equal(hv_vm_connections(fx.vm[1]), 1);
	vsd_reset(a.c);
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[1]), 0);
	expect_no_connections();
	forget(&a);
}

static void test_sibling_dies(void **state)
{
	struct socket_of_guest a, b = { 0 };

	start_guest(1, &(struct vsd_options){ 0 });
	vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_one, &b);
	connect_from(0, 4, 80, SOCK_STREAM, &a);
	assert_int_equal(vsd_send(b.c, "dying", 5, 0), 5);
	vsd_flush(&fx.guest[1]);
	settle_host();
	vsd_done(&fx.guest[1]);
	settle();
	expect_guest(&a, "dying");
	assert_true(a.closed);
	expect_no_connections();
	b.c = NULL;
	forget(&a);
	forget(&b);
}

/* Both lists must agree. */
static void test_allow_lists(void **state)
{
	static const uint32_t four[] = { 4 }, three[] = { 3 };
	struct socket_of_guest a, b = { 0 };
	static const struct {
		const uint32_t *mine, *theirs;
		bool connects;
	} rows[] = {
		{ NULL, NULL, true },   { four, NULL, true },  { four, three, true },
		{ three, NULL, false }, { NULL, four, false }, { four, four, false },
	};

	for (size_t i = 0; i < array_size(rows); i++) {
		for (unsigned j = 0; j < 2; j++) {
			const uint32_t *list = j ? rows[i].theirs : rows[i].mine;
			struct hv_vm_config c = config_of(j);

			vsd_done(&fx.guest[j]);
			hv_vm_close(fx.vm[j]);
			settle_host();
			c.allow_listed = list;
			c.allow = list;
			c.n_allow = list ? 1 : 0;
			add_vm(j, &c);
			start_guest(j, &(struct vsd_options){ 0 });
		}
		vsd_listen(&fx.guest[1], 80, SOCK_STREAM, accept_one, &b);
		connect_from(0, 4, 80, SOCK_STREAM, &a);
		assert_int_equal(a.c && a.c->state == VSD_CONNECTED, rows[i].connects);
		assert_int_equal(STAT(refused_sibling), !rows[i].connects);
		forget(&a);
		forget(&b);
	}
}

/* ---- those who come after ----------------------------------------------------------------------- */

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

/* ---- idleness ----------------------------------------------------------------------------------- */

static void fall_asleep(void)
{
	uint64_t until = loop_now_ns() + 5000000;

	settle();
	while (loop_now_ns() < until)
		loop_once(&fx.loop, 0);
	assert_null(fx.loop.pollers);
}

static void test_sleeps(void **state)
{
	struct socket_of_guest s;
	uint64_t kicks;

	connect_to_host(SOCK_STREAM, &s);
	fall_asleep();
	kicks = STAT(queue_kicks);
	guest_says(&s, "wake up");
	expect_host("wake up");
	assert_true(STAT(queue_kicks) > kicks);
	fall_asleep();
	host_says("wake up");
	expect_guest(&s, "wake up");
	forget(&s);
	settle();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_vm),
		TEST(test_states),
		TEST(test_guest_to_host),
		TEST(test_host_to_guest),
		TEST(test_half_close_by_host),
		TEST(test_half_close_by_guest),
		TEST(test_guest_gives_up_receiving),
		TEST(test_host_gives_up_receiving),
		TEST(test_guest_resets),
		TEST(test_refused),
		TEST(test_answered_later),
		TEST(test_accept_what_cannot_be_watched),
		TEST(test_given_up_by_host),
		TEST(test_client_half_closes_early),
		TEST(test_no_driver),
		TEST(test_vm_closes_amid_all),
		TEST(test_stream_from_guest),
		TEST(test_stream_to_guest),
		TEST(test_layouts),
		TEST(test_small_packets_are_joined),
		TEST(test_host_never_reads),
		TEST(test_port_is_reused_while_draining),
		TEST(test_guest_never_reads),
		TEST(test_buffers_are_shared),
		TEST(test_guest_gives_no_buffers),
		TEST(test_packets_of_no_connection),
		TEST(test_wrong_type),
		TEST(test_wrong_addresses),
		TEST(test_longer_than_its_bytes),
		TEST(test_credit_overrun),
		TEST(test_short_chain),
		TEST(test_broken_ring),
		TEST(test_limit_of_connections),
		TEST(test_limit_of_rate),
		TEST(test_limit_of_bytes),
		TEST(test_half_open_flood),
		TEST(test_ten_thousand_connects),
		TEST(test_messages),
		TEST(test_messages_to_slow_host),
		TEST(test_message_too_long_for_host),
		TEST(test_message_too_long_for_guest),
		TEST(test_kept_message_too_long_for_host),
		TEST(test_message_without_end),
		TEST(test_behind_empty_messages),
		TEST(test_message_waits_for_credit),
		TEST(test_no_seqpacket),
		TEST(test_siblings),
		TEST(test_sibling_stream),
		TEST(test_sibling_refused),
		TEST(test_sibling_gives_up_asking),
		TEST(test_sibling_dies),
		TEST(test_allow_lists),
		TEST(test_successor_resets),
		TEST(test_successor_meets_fresh_guest),
		TEST(test_frontend_reconnects),
		TEST(test_frontend_reconnects_while_draining),
		TEST(test_transport_reset),
		TEST(test_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
