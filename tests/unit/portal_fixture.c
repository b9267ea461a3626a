/* SPDX-License-Identifier: MIT */
#include "portal_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

#define MS 1000000ull

void pf_init(struct pf *pf)
{
	memset(pf, 0, sizeof(*pf));
	log_set_level(LOG_LEVEL_ERROR);
	tmp_dir_init(&pf->dir);
	tmp_path(&pf->dir, "arena", pf->path, sizeof(pf->path));
	pf->config = (struct leases_config){ .grace_ms = PF_LINGER_MS, .hold_max_ms = 60000 };
	pf->loop = &pf->own_loop;
	assert_int_equal(loop_init(pf->loop), 0);
}

void pf_done(struct pf *pf)
{
	pf_stop(pf);
	loop_done(pf->loop);
	tmp_dir_done(&pf->dir);
}

static void on_changed(struct leases *l, const struct lease *lease)
{
	struct pf *pf = l->config.context;

	pf->n_changed++;
}

static void add_client(struct pf *pf, const char *name, enum portal_mode mode, uint32_t linger_ms,
		       bool may_quiesce)
{
	char path[96];
	const struct leases_client_config c = {
		.name = name,
		.socket_path = tmp_path(&pf->dir, name, path, sizeof(path)),
		.mode = mode,
		.quota = 8,
		.linger_ms = linger_ms,
		.may_quiesce = may_quiesce,
	};

	assert_int_equal(leases_add_client(&pf->leases, &c), 0);
}

void pf_start(struct pf *pf)
{
	const struct arena_config ac = { .name = "test", .path = pf->path, .size = PF_FILE_SIZE };

	pf->config.changed = on_changed;
	pf->config.context = pf;
	assert_int_equal(arena_open(&pf->arena, &ac), 0);
	assert_int_equal(flush_init(&pf->flush, pf->loop, pf->arena.fd, pf->arena.durable, 0), 0);
	leases_prepare(&pf->leases, pf->loop, &pf->arena, &pf->flush, &pf->config);
	add_client(pf, "a", PORTAL_READ_WRITE, 0, true);
	add_client(pf, "b", PORTAL_READ_WRITE, 0, false);
	add_client(pf, "r", PORTAL_READ_ONLY, 0, false);
	add_client(pf, "l", PORTAL_READ_WRITE, PF_LINGER_MS, false);
	assert_int_equal(leases_start(&pf->leases), 0);
}

void pf_stop(struct pf *pf)
{
	leases_done(&pf->leases);
	flush_done(&pf->flush);
	arena_close(&pf->arena);
	(void)loop_once(pf->loop, 0);
}

bool pf_run(struct pf *pf, bool (*done)(struct pf *pf, void *arg), void *arg, int ms)
{
	uint64_t until = loop_now_ns() + (uint64_t)ms * MS;

	while (!done(pf, arg)) {
		uint64_t now = loop_now_ns();

		if (now >= until)
			return false;
		assert_int_equal(loop_once(pf->loop, now + MS), 0);
	}
	return true;
}

static bool never(struct pf *pf, void *arg)
{
	return false;
}

void pf_run_for(struct pf *pf, int ms)
{
	(void)pf_run(pf, never, NULL, ms);
}

/* ---- clients ---- */

void pf_connect(struct pf *pf, struct pf_client *c, const char *client)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	memset(c, 0, sizeof(*c));
	c->pf = pf;
	c->arena_fd = -1;
	tmp_path(&pf->dir, client, addr.sun_path, sizeof(addr.sun_path));
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	assert_int_equal(connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

void pf_hang_up(struct pf_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->arena_fd >= 0)
		close(c->arena_fd);
	c->fd = c->arena_fd = -1;
}

void pf_hello(struct pf *pf, struct pf_client *c, const char *client, const char *name)
{
	struct portal_frame f = {
		.type = le32_of(PORTAL_HELLO),
		.args = { le64_of(PORTAL_WIRE_VERSION), le64_of(1), le64_of(0),
			  le64_of(PORTAL_HELLO_FD) },
	};

	pf_connect(pf, c, client);
	(void)snprintf(f.name, sizeof(f.name), "%s", name);
	assert_int_equal(pf_ask(c, &f), 0);
	c->owner = pf_arg(&f, 0);
}

static void write_all(struct pf_client *c, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN) {
			pf_run_for(c->pf, 1);
			continue;
		}
		if (n < 0)
			return; /* it has ended: pf_next() will tell */
		p += n;
		len -= (size_t)n;
	}
}

void pf_send(struct pf_client *c, struct portal_frame *frame)
{
	write_all(c, frame, sizeof(*frame));
}

static void keep_fd(struct pf_client *c, struct msghdr *msg)
{
	const struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return;
	assert_int_equal(c->arena_fd, -1);
	memcpy(&c->arena_fd, CMSG_DATA(cmsg), sizeof(c->arena_fd));
}

static ssize_t receive(struct pf_client *c, void *data, size_t len)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { data, len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0)
		keep_fd(c, &msg);
	return n;
}

bool pf_next(struct pf_client *c, struct portal_frame *ret_frame)
{
	uint64_t until = loop_now_ns() + PF_PATIENCE_MS * MS;
	size_t have = 0;

	while (have < sizeof(*ret_frame)) {
		ssize_t n = receive(c, (uint8_t *)ret_frame + have, sizeof(*ret_frame) - have);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return false;
		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		if (loop_now_ns() > until)
			fail_msg("nothing came within %d ms", PF_PATIENCE_MS);
		assert_int_equal(loop_once(c->pf->loop, loop_now_ns() + MS), 0);
	}
	return true;
}

static void keep_notice(struct pf_client *c, const struct portal_frame *f)
{
	assert_true(c->n_notices < 256);
	c->notice[c->n_notices++] = *f;
}

int pf_ask(struct pf_client *c, struct portal_frame *frame)
{
	uint32_t type = le32_get(frame->type);

	frame->seq = le32_of(++c->seq);
	pf_send(c, frame);
	for (;;) {
		if (!pf_next(c, frame))
			return -ECONNRESET;
		if (le32_get(frame->seq) != 0)
			break;
		keep_notice(c, frame);
	}
	assert_int_equal(le32_get(frame->seq), c->seq);
	assert_int_equal(le32_get(frame->type), type);
	return (int)le32_get(frame->status);
}

void pf_notice(struct pf_client *c, uint32_t type, struct portal_frame *ret_frame)
{
	for (unsigned i = 0; i < c->n_notices; i++) {
		if (le32_get(c->notice[i].type) != type)
			continue;
		*ret_frame = c->notice[i];
		c->n_notices--;
		memmove(&c->notice[i], &c->notice[i + 1],
			(c->n_notices - i) * sizeof(c->notice[0]));
		return;
	}
	for (;;) {
		assert_true(pf_next(c, ret_frame));
		if (le32_get(ret_frame->type) == type)
			return;
		keep_notice(c, ret_frame);
	}
}

int pf_simple(struct pf_client *c, uint32_t type, uint64_t arg0, uint64_t arg1)
{
	struct portal_frame f = {
		.type = le32_of(type),
		.args = { le64_of(arg0), le64_of(arg1) },
	};

	return pf_ask(c, &f);
}

int pf_get(struct pf_client *c, uint64_t n, uint64_t kind, uint32_t *ret_first)
{
	struct portal_frame f = {
		.type = le32_of(PORTAL_EXTENT_GET),
		.args = { le64_of(n), le64_of(kind) },
	};
	int r = pf_ask(c, &f);

	if (r == 0)
		*ret_first = (uint32_t)pf_arg(&f, 0);
	return r;
}

int pf_put(struct pf_client *c, uint64_t first, uint64_t n)
{
	return pf_simple(c, PORTAL_EXTENT_PUT, first, n);
}

int pf_publish(struct pf_client *c, const char *name, uint64_t type, uint64_t offset, uint64_t len)
{
	struct portal_frame f = {
		.type = le32_of(PORTAL_PUBLISH),
		.args = { le64_of(type), le64_of(offset), le64_of(len) },
	};

	(void)snprintf(f.name, sizeof(f.name), "%s", name);
	return pf_ask(c, &f);
}

int pf_unpublish(struct pf_client *c, const char *name)
{
	struct portal_frame f = { .type = le32_of(PORTAL_UNPUBLISH) };

	(void)snprintf(f.name, sizeof(f.name), "%s", name);
	return pf_ask(c, &f);
}
