/* SPDX-License-Identifier: MIT */
#include "vsock_fixture.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "listen.h"

struct fixture fx;

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

const struct hv_host_ops host_ops = {
	.request = on_request,
	.gone = on_gone,
	.vm_state = on_vm_state,
};

void on_done(struct hv_conn *conn, int result, void *data)
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
void settle(void)
{
	for (unsigned i = 0; i < 60; i++) {
		loop_once(&fx.loop, 0);
		for (unsigned j = 0; j < N_VM; j++)
			if (fx.guest[j].bucket && fx.guest[j].held < 0)
				vsd_poll(&fx.guest[j]);
		if (fx.other_guest)
			fx.other_guest();
	}
}

/* The guests do nothing. */
void settle_host(void)
{
	for (unsigned i = 0; i < 60; i++)
		loop_once(&fx.loop, 0);
}

void wait_ns(uint64_t ns)
{
	uint64_t until = loop_now_ns() + ns;

	while (loop_now_ns() < until)
		settle();
}

void timer_fires(void)
{
	assert_non_null(fx.loop.timers);
	fx.loop.timers->at_ns = 0;
	settle();
}

struct hv_vm_config config_of(unsigned i)
{
	static char name[N_VM][8];

	snprintf(name[i], sizeof(name[i]), "n%u", i + 1);
	return (struct hv_vm_config){ .name = name[i], .cid = 3 + i };
}

char *path_of(unsigned i)
{
	static char path[128];
	char name[8];

	snprintf(name, sizeof(name), "n%u.vu", i + 1);
	return tmp_path(&fx.dir, name, path, sizeof(path));
}

void add_vm(unsigned i, const struct hv_vm_config *config)
{
	int fd;

	assert_int_equal(listen_unix(path_of(i), 0600, &fd), 0);
	assert_int_equal(port_vsock_open(fx.relay, config, path_of(i), fd, &fx.vm[i]), 0);
}

void start_guest(unsigned i, const struct vsd_options *o)
{
	struct vsd *v = &fx.guest[i];

	assert_int_equal(frontend_connect(&v->fe, path_of(i)), 0);
	v->fe.pump = pump;
	assert_int_equal(vsd_start(v, o), 0);
	settle();
	assert_string_equal(hv_vm_state(fx.vm[i]), "running");
}

void check_guest(unsigned i)
{
	if (fx.guest[i].n_bad)
		fail_msg("guest %u: %s", i, fx.guest[i].bad);
}

int setup_relay(void **state)
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
int setup(void **state)
{
	setup_relay(state);
	for (unsigned i = 0; i < N_VM; i++) {
		struct hv_vm_config c = config_of(i);

		add_vm(i, &c);
	}
	start_guest(0, &(struct vsd_options){ 0 });
	return 0;
}

int teardown(void **state)
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

/* ---- what a guest's socket sees ----------------------------------------------------------------- */

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

const struct vsd_ops guest_ops = {
	.data = on_data,
	.shutdown = on_shutdown,
	.closed = on_closed,
};

void forget(struct socket_of_guest *s)
{
	vsd_free(s->c);
	free(s->bytes);
	*s = (struct socket_of_guest){ 0 };
}

/* The guest connects to `port` of cid. */
void connect_from(unsigned guest, uint64_t cid, uint32_t port, int type, struct socket_of_guest *s)
{
	*s = (struct socket_of_guest){ 0 };
	s->c = vsd_connect(&fx.guest[guest], cid, port, type, &guest_ops, s);
	settle();
}

void connect_to_host(int type, struct socket_of_guest *s)
{
	connect_from(0, VMADDR_CID_HOST, PORT, type, s);
	assert_non_null(s->c);
	assert_int_equal(s->c->state, VSD_CONNECTED);
}

enum vsd_answer accept_one(struct vsd_conn *c, void *ctx)
{
	struct socket_of_guest *s = ctx;

	c->ops = &guest_ops;
	c->ctx = s;
	s->c = c;
	return VSD_ACCEPT;
}

enum vsd_answer accept_never(struct vsd_conn *c, void *ctx)
{
	return VSD_SILENT;
}

/* The host connects to the guest; its end goes to fx.host. */
struct hv_conn *connect_to_guest(int type, struct outcome *o)
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

void expect_host(const char *text)
{
	char buf[256] = "";

	assert_int_equal(recv(fx.host, buf, sizeof(buf), MSG_DONTWAIT), strlen(text));
	assert_string_equal(buf, text);
}

void expect_host_end(void)
{
	char c;

	assert_int_equal(recv(fx.host, &c, 1, MSG_DONTWAIT), 0);
}

void expect_guest(struct socket_of_guest *s, const char *text)
{
	assert_int_equal(s->len, strlen(text));
	assert_memory_equal(s->bytes, text, s->len);
	s->len = 0;
}

void guest_says(struct socket_of_guest *s, const char *text)
{
	assert_int_equal(vsd_send(s->c, text, strlen(text), 0), strlen(text));
	settle();
}

void host_says(const char *text)
{
	assert_int_equal(send(fx.host, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	settle();
}

void expect_no_connections(void)
{
	settle();
	assert_int_equal(hv_vm_connections(fx.vm[0]), 0);
	assert_null(hv_conn_next(fx.vm[0], NULL));
	assert_int_equal(hv_vm_buffered(fx.vm[0]), 0);
}

/* ---- bytes ------------------------------------------------------------------------------------- */

static uint8_t pattern(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8));
}

void fill(uint8_t *bytes, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern(at + i);
}

void check(const uint8_t *bytes, uint64_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != pattern(at + i))
			fail_msg("byte %llu is wrong", (unsigned long long)(at + i));
}

/* What the host has to read now. */
size_t host_reads(uint64_t at, size_t max)
{
	static uint8_t bytes[MIB];
	ssize_t n = recv(fx.host, bytes, min(max, sizeof(bytes)), MSG_DONTWAIT);

	if (n <= 0)
		return 0;
	check(bytes, at, (size_t)n);
	return (size_t)n;
}

size_t guest_writes(struct socket_of_guest *s, uint64_t at, size_t max)
{
	static uint8_t bytes[1 << 16];
	size_t len = min(max, sizeof(bytes));
	ssize_t n;

	fill(bytes, at, len);
	n = vsd_send(s->c, bytes, len, 0);
	assert_true(n > 0 || n == -EAGAIN);
	return n > 0 ? (size_t)n : 0;
}

/* ---- packets ----------------------------------------------------------------------------------- */

void send_packet(const struct virtio_vsock_hdr *h, const void *bytes, size_t n)
{
	assert_int_equal(vsd_send_packet(&fx.guest[0], h, bytes, n), 0);
	vsd_flush(&fx.guest[0]);
	settle_host();
}

void expect_reset(const struct virtio_vsock_hdr *sent)
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

struct virtio_vsock_hdr stranger(uint16_t op)
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
