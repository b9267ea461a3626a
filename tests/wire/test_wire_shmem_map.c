/* SPDX-License-Identifier: MIT */
/* SHMEM_MAP and SHMEM_UNMAP: what we ask of the frontend, and what it may answer. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "wire.h"

#define LAST (VU_SHMEM_REGIONS - 1)

struct wire_map {
	struct proto_header hdr;
	struct proto_shmem_map map;
	int fd;
};

/* The frontend's end of a fresh channel. */
static int open_channel(struct wire *w)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(frontend_ask(&w->fe, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1),
			 0);
	close(pair[1]);
	return pair[0];
}

/* So that both sides know that they mean the same. */
static void ask_config(struct wire *w)
{
	struct proto_shmem_config c;
	struct proto_header hdr;

	assert_int_equal(frontend_send(&w->fe, VHOST_USER_GET_SHMEM_CONFIG, VU_FLAG_VERSION, NULL,
				       0, NULL, 0),
			 0);
	assert_int_equal(frontend_recv(&w->fe, &hdr, &c, sizeof(c)), sizeof(c));
}

static struct wire_map receive(int channel)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct wire_map m = { .fd = -1 };
	struct iovec iov[2] = { { &m.hdr, sizeof(m.hdr) }, { &m.map, sizeof(m.map) } };
	struct msghdr mh = { .msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf) };

	assert_int_equal(recvmsg(channel, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC),
			 sizeof(m.hdr) + sizeof(m.map));
	if (CMSG_FIRSTHDR(&mh))
		memcpy(&m.fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(int));
	return m;
}

static void answer(struct wire *w, int channel, uint32_t request, uint64_t result)
{
	struct proto_header hdr = { request, VU_FLAG_VERSION | VU_FLAG_REPLY, sizeof(result) };

	assert_int_equal(send(channel, &hdr, sizeof(hdr), MSG_NOSIGNAL), sizeof(hdr));
	wire_turn(w);
	assert_int_equal(send(channel, &result, sizeof(result), MSG_NOSIGNAL), sizeof(result));
	wire_turn(w);
	wire_turn(w);
}

static void expect_answer(const struct wire *w, unsigned i, uint8_t shmid, bool mapped, int result)
{
	assert_true(i < w->n_answers);
	assert_int_equal(w->answer[i].shmid, shmid);
	assert_int_equal(w->answer[i].mapped, mapped);
	assert_int_equal(w->answer[i].result, result);
}

static const struct vu_shmem_map whole = { .shmid = 0, .writable = true, .len = WIRE_SHMEM_FIRST };

/* ---- what is said ---------------------------------------------------------- */

static void good(void **state)
{
	const struct vu_shmem_map part = {
		.shmid = LAST, .fd_offset = 8192, .shm_offset = 4096, .len = 65536
	};
	struct wire *w = *state;
	struct stat ours, theirs;
	struct wire_map m;
	int fd = memfd_create("arena", MFD_CLOEXEC);
	int channel = open_channel(w);

	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &part, fd), 0);
	m = receive(channel);
	assert_int_equal(m.hdr.request, VU_BACKEND_SHMEM_MAP);
	assert_int_equal(m.hdr.flags, VU_FLAG_VERSION | VU_FLAG_NEED_REPLY);
	assert_int_equal(m.hdr.size, sizeof(m.map));
	assert_int_equal(m.map.shmid, LAST);
	assert_int_equal(m.map.fd_offset, 8192);
	assert_int_equal(m.map.shm_offset, 4096);
	assert_int_equal(m.map.len, 65536);
	assert_int_equal(m.map.flags, 0);
	assert_int_equal(fstat(fd, &ours), 0);
	assert_int_equal(fstat(m.fd, &theirs), 0);
	assert_int_equal(ours.st_ino, theirs.st_ino);
	close(m.fd);
	assert_int_equal(w->n_answers, 0);
	answer(w, channel, VU_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(w->n_answers, 1);
	expect_answer(w, 0, LAST, true, 0);

	assert_int_equal(vu_session_shmem_unmap(w->session, &part), 0);
	m = receive(channel);
	assert_int_equal(m.hdr.request, VU_BACKEND_SHMEM_UNMAP);
	assert_int_equal(m.map.fd_offset, 0);
	assert_int_equal(m.map.shm_offset, 4096);
	assert_int_equal(m.map.len, 65536);
	assert_int_equal(m.fd, -1);
	answer(w, channel, VU_BACKEND_SHMEM_UNMAP, 1);
	assert_int_equal(w->n_answers, 2);
	expect_answer(w, 1, LAST, false, -EIO);
	close(fd);
	close(channel);
	wire_expect_alive(w);
}

static void writable(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);
	struct wire_map m;

	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	m = receive(channel);
	assert_int_equal(m.map.flags, VU_SHMEM_MAP_RW);
	close(m.fd);
	close(fd);
	close(channel);
}

/* Answers come in order, for whatever was asked. */
static void many_under_way(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);

	ask_config(w);
	for (unsigned i = 0; i < VU_SHMEM_PENDING; i++)
		assert_int_equal(i % 2 ? vu_session_shmem_unmap(w->session, &whole) :
					 vu_session_shmem_map(w->session, &whole, fd),
				 0);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), -EAGAIN);
	for (unsigned i = 0; i < VU_SHMEM_PENDING; i++) {
		struct wire_map m = receive(channel);

		if (m.fd >= 0)
			close(m.fd);
		answer(w, channel, m.hdr.request, i % 3 == 0);
	}
	assert_int_equal(w->n_answers, VU_SHMEM_PENDING);
	for (unsigned i = 0; i < VU_SHMEM_PENDING; i++)
		expect_answer(w, i, 0, i % 2 == 0, i % 3 == 0 ? -EIO : 0);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	close(fd);
	close(channel);
}

/* ---- what is not asked ------------------------------------------------------- */

static void outside_of_a_region(void **state)
{
	static const struct vu_shmem_map maps[] = {
		{ .shmid = 0, .len = 0 },
		{ .shmid = 0, .len = WIRE_SHMEM_FIRST + 1 },
		{ .shmid = 0, .shm_offset = 4096, .len = WIRE_SHMEM_FIRST },
		{ .shmid = 0, .shm_offset = WIRE_SHMEM_FIRST, .len = 1 },
		{ .shmid = 0, .shm_offset = UINT64_MAX, .len = 2 },
		{ .shmid = 0, .len = UINT64_MAX },
		{ .shmid = 1, .len = 1 },
		{ .shmid = LAST - 1, .len = 1 },
		{ .shmid = LAST, .len = WIRE_SHMEM_LAST + 1 },
	};
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);
	char byte;

	ask_config(w);
	for (unsigned i = 0; i < array_size(maps); i++) {
		assert_int_equal(vu_session_shmem_map(w->session, &maps[i], fd), -EINVAL);
		assert_int_equal(vu_session_shmem_unmap(w->session, &maps[i]), -EINVAL);
	}
	assert_int_equal(recv(channel, &byte, 1, MSG_DONTWAIT), -1);
	close(fd);
	close(channel);
}

/* A frontend for which the bit means something else does not ask for the regions. */
static void not_before_it_has_asked(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);

	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), -EOPNOTSUPP);
	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	close(channel);
	close(fd);
}

static void without_a_channel(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC);

	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), -ENOTCONN);
	assert_int_equal(vu_session_shmem_unmap(w->session, &whole), -ENOTCONN);
	close(fd);
}

/* ---- a hostile or a dying frontend --------------------------------------------- */

static void hangs_up(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);
	unsigned before = count_fds();

	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	assert_int_equal(vu_session_shmem_unmap(w->session, &whole), 0);
	close(channel);
	wire_turn(w);
	wire_turn(w);
	assert_int_equal(w->n_answers, 2);
	expect_answer(w, 0, 0, true, -EPIPE);
	expect_answer(w, 1, 0, false, -EPIPE);
	assert_int_equal(count_fds(), before - 2);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), -ENOTCONN);
	close(fd);
	wire_expect_alive(w);
}

/* What is no answer closes the channel, in one piece or byte by byte; nothing else happens. */
static void no_answers(void **state)
{
	static const struct proto_header hdrs[] = {
		{ VU_BACKEND_SHMEM_UNMAP, VU_FLAG_VERSION | VU_FLAG_REPLY, 8 },
		{ VU_BACKEND_SHMEM_MAP, VU_FLAG_VERSION, 8 },
		{ VU_BACKEND_SHMEM_MAP, VU_FLAG_REPLY, 8 },
		{ VU_BACKEND_SHMEM_MAP, VU_FLAG_VERSION | VU_FLAG_REPLY, 7 },
		{ VU_BACKEND_SHMEM_MAP, VU_FLAG_VERSION | VU_FLAG_REPLY, 9 },
		{ VU_BACKEND_SHMEM_MAP, VU_FLAG_VERSION | VU_FLAG_REPLY, UINT32_MAX },
		{ 0, 0, 0 },
	};
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC);

	ask_config(w);
	for (unsigned i = 0; i < 2 * array_size(hdrs); i++) {
		const struct proto_header *hdr = &hdrs[i / 2];
		size_t piece = i % 2 ? 1 : sizeof(*hdr);
		int channel = open_channel(w);

		w->n_answers = 0;
		assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
		for (size_t at = 0; at < sizeof(*hdr); at += piece) {
			assert_int_equal(send(channel, (const char *)hdr + at, piece, MSG_NOSIGNAL),
					 piece);
			wire_turn(w);
		}
		assert_int_equal(w->n_answers, 1);
		expect_answer(w, 0, 0, true, -EPIPE);
		assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), -ENOTCONN);
		close(channel);
	}
	close(fd);
	wire_expect_alive(w);
}

/* Nothing was asked, or it has been answered. */
static void unasked(void **state)
{
	const struct proto_header hdr = { VU_BACKEND_SHMEM_MAP, VU_FLAG_VERSION | VU_FLAG_REPLY,
					  8 };
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);

	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	answer(w, channel, VU_BACKEND_SHMEM_MAP, 0);
	assert_int_equal(send(channel, &hdr, sizeof(hdr), MSG_NOSIGNAL), sizeof(hdr));
	wire_turn(w);
	assert_int_equal(w->n_answers, 1);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), -ENOTCONN);
	close(channel);
	close(fd);
	wire_expect_alive(w);
}

/* It reads nothing.  What does not fit is not sent, and nobody waits. */
static void deaf(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);
	int r = 0;

	ask_config(w);
	for (unsigned i = 0; i < 100000 && r == 0; i++)
		r = vu_session_shmem_map(w->session, &whole, fd);
	assert_int_equal(r, -EAGAIN);
	close(channel);
	wire_turn(w);
	wire_turn(w);
	assert_int_equal(w->n_answers, VU_SHMEM_PENDING);
	close(fd);
	wire_expect_alive(w);
}

/* A channel in the place of another: what the old one had not answered is told. */
static void another_channel(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), old = open_channel(w), fresh;
	struct wire_map m;

	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	fresh = open_channel(w);
	assert_int_equal(w->n_answers, 1);
	expect_answer(w, 0, 0, true, -EPIPE);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	m = receive(fresh);
	close(m.fd);
	answer(w, fresh, VU_BACKEND_SHMEM_MAP, 0);
	expect_answer(w, 1, 0, true, 0);
	close(old);
	close(fresh);
	close(fd);
}

/* The session ends with something asked: no answer is told any more. */
static void session_ends(void **state)
{
	struct wire *w = *state;
	int fd = memfd_create("arena", MFD_CLOEXEC), channel = open_channel(w);

	ask_config(w);
	assert_int_equal(vu_session_shmem_map(w->session, &whole, fd), 0);
	assert_int_equal(
		frontend_send(&w->fe, VHOST_USER_SET_OWNER, VU_FLAG_VERSION, "x", 1, NULL, 0), 0);
	wire_expect_ended(w, -EPROTO);
	assert_int_equal(w->n_answers, 0);
	wire_restart(w);
	close(channel);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(good, running),
		WIRE_TEST(writable, acks),
		WIRE_TEST(many_under_way, acks),
		WIRE_TEST(outside_of_a_region, acks),
		WIRE_TEST(not_before_it_has_asked, acks),
		WIRE_TEST(without_a_channel, acks),
		WIRE_TEST(hangs_up, acks),
		WIRE_TEST(no_answers, acks),
		WIRE_TEST(unasked, acks),
		WIRE_TEST(deaf, acks),
		WIRE_TEST(another_channel, acks),
		WIRE_TEST(session_ends, acks),
	};

	return cmocka_run_group_tests_name("SHMEM_MAP", tests, NULL, NULL);
}
