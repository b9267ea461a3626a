/* SPDX-License-Identifier: MIT */
/* Hyper-V sockets: bytes both ways, who is kicked when, and how much of it at a time. */
#include "vmbus_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "port_vmbus_impl.h"

/* ---- bytes -------------------------------------------------------------------------------------- */

#define STREAM (3 * MIB)

/* Everybody writes and reads as much as there is room for, in sizes that fit nothing. */
static void stream_both_ways(struct vb_channel *ch, size_t packet)
{
	static uint8_t bytes[60000];
	uint64_t up = 0, up_got = 0, down = 0, down_got = 0;
	unsigned idle = 0;

	while ((up_got < STREAM || down_got < STREAM) && idle < 100) {
		uint64_t before = up_got + down_got;
		size_t len = (size_t)min((uint64_t)sizeof(bytes), STREAM - up);
		ssize_t n;

		fill(bytes, up, len);
		up += vb_write(ch, bytes, len, packet);
		len = (size_t)min((uint64_t)sizeof(bytes), STREAM - down);
		fill(bytes, down, len);
		n = send(fx.host, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		down += n > 0 ? (uint64_t)n : 0;
		loop_once(&fx.loop, 0);
		vb_read(ch);
		check(ch->bytes, down_got, ch->len);
		down_got += ch->len;
		ch->len = 0;
		up_got += host_reads(up_got, MIB);
		idle = up_got + down_got == before ? idle + 1 : 0;
	}
	assert_int_equal(up_got, STREAM);
	assert_int_equal(down_got, STREAM);
}

static void test_streams(void **state)
{
	static const unsigned pages[] = { 2, 3, 6, 17, 33, 129 };

	for (unsigned i = 0; i < array_size(pages); i++) {
		struct vb_channel *ch;

		vb.ring_pages = pages[i];
		vb.pending = pages[i] > 2 ? 4088 + 32 : 1000;
		ch = vb_dial_host();
		stream_both_ways(ch, i % 2 ? 4088 : pages[i] > 2 ? 3001 : 509);
		assert_int_equal(vb_head(ch, &ch->in, 16) & 1, 1);
		if (pages[i] > 6)
			assert_int_equal(ch->longest, 16384);
		close(fd_take(&fx.host));
		settle();
		assert_true(ch->released);
	}
	expect_no_connections();
}

/* A far end that does not read: the guest's ring fills and stays so, and nothing is lost. */
static void test_slow_host(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	static uint8_t bytes[4088];
	uint64_t sent = 0, got = 0;
	unsigned kicks;
	size_t n;

	fx.vm[0]->pool.limit = 0; /* nothing is kept anywhere else */
	do {
		fill(bytes, sent, sizeof(bytes));
		n = vb_write(ch, bytes, sizeof(bytes), sizeof(bytes));
		sent += n;
		settle();
	} while (n > 0 && sent < 16 * MIB);
	assert_true(sent < 2 * MIB);
	assert_int_equal(hv_vm_buffered(fx.vm[0]), 0);
	kicks = ch->n_kicks;
	wait_ns(1000000);
	assert_int_equal(ch->n_kicks, kicks);
	while (got < sent) {
		n = host_reads(got, 50000);
		got += n;
		settle();
		assert_true(n > 0);
	}
	/* There is room again, and the guest, which waited for it, has been told. */
	assert_true(ch->n_calls > 0);
	assert_int_equal(vb_write(ch, bytes, sizeof(bytes), sizeof(bytes)), sizeof(bytes));
	settle();
	assert_int_equal(host_reads(0, 0), 0);
	assert_int_equal(STAT(reset_limit_bytes), 0);
	assert_false(ch->rescinded);
}

/* Packets that are longer than what the far end ever takes at once. */
static void test_packets_in_parts(void **state)
{
	struct vb_channel *ch;
	static uint8_t bytes[16000];
	uint64_t sent = 0, got = 0;
	int least = 1;

	vb.ring_pages = 33;
	ch = vb_dial_host();
	fx.request->widened = true; /* so that it stays as small */
	assert_int_equal(setsockopt(fx.far, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
	while (sent < 8 * sizeof(bytes)) {
		fill(bytes, sent, sizeof(bytes));
		assert_int_equal(vb_write(ch, bytes, sizeof(bytes), sizeof(bytes)), sizeof(bytes));
		sent += sizeof(bytes);
		settle();
	}
	assert_true(STAT(packets_from_guest) == 0 && STAT(bytes_from_guest) > 0);
	for (size_t n = 1; n > 0; got += n) {
		n = host_reads(got, 777);
		settle();
	}
	assert_int_equal(got, sent);
	assert_int_equal(STAT(bytes_from_guest), sent);
	assert_int_equal(STAT(packets_from_guest), 8);
}

/* A guest that does not read: the ring fills, the host waits, and goes on once there is room. */
static void test_slow_guest(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	static uint8_t bytes[MIB];
	uint64_t sent = 0, got = 0;
	ssize_t n;

	do {
		fill(bytes, sent, sizeof(bytes));
		n = send(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
		sent += n > 0 ? (uint64_t)n : 0;
		settle();
	} while (n > 0);
	assert_true(vb_head(ch, &ch->in, 3) > 0); /* we wait */
	while (got < sent) {
		unsigned kicks = ch->n_kicks;

		vb_read(ch);
		assert_true(ch->len > 0);
		check(ch->bytes, got, ch->len);
		got += ch->len;
		ch->len = 0;
		if (got < sent)
			assert_int_equal(ch->n_kicks, kicks + 1);
		settle();
	}
	assert_int_equal(got, sent);
	assert_int_equal(vb_head(ch, &ch->in, 3), 0); /* no longer */
}

/* recvmsg() of the whole program: of the far end it fails so many times. */
static unsigned n_failures;

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	if (n_failures > 0 && fd == fx.far) {
		n_failures--;
		errno = ENOMEM;
		return -1;
	}
	return syscall(SYS_recvmsg, fd, msg, flags);
}

/* A read that could not be done is done again, though nothing tells of it any more. */
static void test_no_memory_to_read(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	wait_ns(2000000); /* it sleeps */
	n_failures = 100;
	host_says("once");
	wait_ns(5000000);
	assert_int_equal(n_failures, 0);
	vb_expect(ch, "once");
}

/* ---- how much at a time ------------------------------------------------------------------------- */

#define CHANNELS 8

struct many {
	struct vb_channel *ch[CHANNELS];
	int host[CHANNELS];
};

static void open_many(struct many *m)
{
	vb.ring_pages = 65;
	for (unsigned i = 0; i < CHANNELS; i++) {
		m->ch[i] = vb_dial_host();
		m->host[i] = fd_take(&fx.host);
	}
	wait_ns(2000000); /* they sleep: what follows finds them at once */
}

/* Passes, until `moved` has grown by `total` in all.  Returns the most of one. */
static uint64_t most_of_one_pass(const struct many *m, const uint64_t *moved, uint64_t total)
{
	static uint8_t bytes[MIB];
	uint64_t most = 0, until = *moved + total;

	for (unsigned i = 0; *moved < until && i < 10000; i++) {
		uint64_t before = *moved;

		loop_once(&fx.loop, 0);
		most = max(most, *moved - before);
		for (unsigned k = 0; k < CHANNELS; k++)
			(void)recv(m->host[k], bytes, sizeof(bytes), MSG_DONTWAIT);
	}
	assert_int_equal(*moved, until);
	return most;
}

static void close_many(struct many *m)
{
	for (unsigned i = 0; i < CHANNELS; i++) {
		close(m->host[i]);
		settle();
		assert_true(m->ch[i]->released);
	}
}

/* However many channels have something to say: others, who wait for an answer, are not kept waiting by their number. */
static void test_bytes_of_a_pass(void **state)
{
	static uint8_t bytes[150000];
	uint64_t total = 0;
	struct many m;

	open_many(&m);
	for (unsigned i = 0; i < CHANNELS; i++)
		assert_int_equal(vb_write(m.ch[i], bytes, sizeof(bytes), 4088), sizeof(bytes));
	assert_in_range(most_of_one_pass(&m, &STAT(bytes_from_guest), CHANNELS * sizeof(bytes)),
			100 << 10, (256 + 80) << 10);
	for (unsigned i = 0; i < CHANNELS; i++) {
		ssize_t n = send(m.host[i], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(n > 100000);
		total += (uint64_t)n;
	}
	assert_in_range(most_of_one_pass(&m, &STAT(bytes_to_guest), total), 100 << 10, 512 << 10);
	close_many(&m);
}

static void test_packets_of_a_pass(void **state)
{
	static uint8_t bytes[8 * 4000];
	struct many m;

	open_many(&m);
	for (unsigned i = 0; i < CHANNELS; i++)
		assert_int_equal(vb_write(m.ch[i], bytes, sizeof(bytes), 8), sizeof(bytes));
	assert_in_range(most_of_one_pass(&m, &STAT(packets_from_guest), CHANNELS * 4000), 1000,
			2048 + 128);
	close_many(&m);
}

/* ---- kicks -------------------------------------------------------------------------------------- */

/* One call for a burst, none for a ring that was not empty, none for a reader that masks them. */
static void test_calls(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	ch->n_calls = 0;
	host_says("a");
	assert_int_equal(ch->n_calls, 1);
	host_says("b");
	host_says("c");
	assert_int_equal(ch->n_calls, 1);
	vb_expect(ch, "abc");
	vb_set_head(ch, &ch->in, 2, 1);
	host_says("d");
	assert_int_equal(ch->n_calls, 1);
	vb_expect(ch, "d");
	vb_set_head(ch, &ch->in, 2, 0);
	host_says("e");
	assert_int_equal(ch->n_calls, 2);
}

/* Asleep it asks for kicks and is woken by one; awake it does not; and it costs nothing while nobody talks. */
static void test_sleep(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	uint64_t began;

	wait_ns(2000000);
	assert_int_equal(vb_head(ch, &ch->out, 2), 0);
	began = loop_now_ns();
	loop_once(&fx.loop, began + 20000000);
	assert_true(loop_now_ns() - began >= 20000000);
	ch->n_kicks = 0;
	vb_says(ch, "one");
	assert_int_equal(ch->n_kicks, 1);
	expect_host("one");
	assert_true(STAT(queue_kicks) >= 1);
}

/* A ring that fills while it is looked at is told of, though kicks are masked. */
static void test_space_is_told_when_it_is_waited_for(void **state)
{
	static uint8_t bytes[40000];
	struct vb_channel *ch;
	size_t n;

	vb.pending = 0;
	ch = vb_dial_host();
	ch->n_calls = 0;
	n = vb_write(ch, bytes, sizeof(bytes), 4088);
	assert_in_range(n, 10000, 21000);
	settle();
	assert_int_equal(host_reads(0, 0), 0);
	assert_int_equal(ch->n_calls, 0); /* the guest does not wait */
	vb_set_head(ch, &ch->out, 3, 20000);
	n = vb_write(ch, bytes, 4000, 4000);
	settle();
	assert_int_equal(ch->n_calls, 1); /* from fewer to more than 20000 */
	vb_set_head(ch, &ch->out, 3, 20480);
	n = vb_write(ch, bytes, 4000, 4000);
	settle();
	assert_int_equal(n, 4000);
	assert_int_equal(ch->n_calls, 1); /* there will never be more than that */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VB_TEST(test_streams),
		VB_TEST(test_slow_host),
		VB_TEST(test_packets_in_parts),
		VB_TEST(test_slow_guest),
		VB_TEST(test_no_memory_to_read),
		VB_TEST(test_bytes_of_a_pass),
		VB_TEST(test_packets_of_a_pass),
		VB_TEST(test_calls),
		VB_TEST(test_sleep),
		VB_TEST(test_space_is_told_when_it_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
