/* SPDX-License-Identifier: MIT */
/* Hyper-V sockets: every way in which a connection ends, and what still arrives then. */
#include "vmbus_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "port_vmbus_impl.h"

/* ---- time-outs ---------------------------------------------------------------------------------- */

/* Let what is due in that time be due now. */
static void skip_time(void)
{
	for (unsigned i = 0; i < 2 && fx.loop.timers; i++) {
		fx.loop.timers->at_ns = 0;
		settle();
	}
}

static void test_guest_never_opens(void **state)
{
	struct vb_channel *ch;

	vb.no_open = true;
	ch = vb_dial(9, PORT);
	assert_false(ch->rescinded);
	skip_time();
	assert_true(ch->rescinded && ch->released);
	assert_int_equal(STAT(reset_timeout), 1);
	expect_host_end();
	expect_no_connections();
}

static void test_nobody_listens_in_guest(void **state)
{
	struct outcome o;

	vb.no_open = true;
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	assert_int_equal(o.n, 0);
	skip_time();
	assert_int_equal(o.n, 1);
	assert_int_equal(o.result, -ETIMEDOUT);
	assert_true(vb.last->rescinded && vb.last->released);
	expect_no_connections();
}

/* A far end that has gone before the guest has seen its channel: Linux does not open one that is rescinded meanwhile. */
static void test_far_end_gone_at_once(void **state)
{
	struct vb_channel *ch;

	vb.no_read = true;
	ch = vb_dial_host();
	host_says("bye");
	close(fd_take(&fx.host));
	settle();
	assert_false(ch->rescinded);
	assert_non_null(fx.loop.timers);
	vb.no_read = false;
	vb_read(ch);
	settle();
	assert_true(ch->rescinded && !ch->fin_behind);
	assert_int_equal(ch->len, 3);

	vb.no_read = true;
	ch = vb_dial_host(); /* it writes first */
	close(fd_take(&fx.host));
	settle();
	assert_false(ch->rescinded);
	vb_says(ch, "late");
	settle();
	assert_true(ch->rescinded);

	ch = vb_dial_host(); /* it does nothing, for long enough */
	close(fd_take(&fx.host));
	settle();
	assert_false(ch->rescinded);
	vmbus_port_of(fx.vm[0])->by_id[ch->id]->pipe.opened_ns -= VMBUS_LINGER_NS;
	skip_time();
	assert_true(ch->rescinded);
	assert_int_equal(STAT(reset_timeout), 0);
	expect_no_connections();
}

static void test_port_never_released(void **state)
{
	struct vb_channel *ch;

	vb.no_release = true;
	ch = vb_dial(9, PORT);
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->rescinded);
	assert_null(vb_dial(9, PORT));
	assert_null(vb_dial(9, PORT));
	assert_int_equal(vb.n_refused, 0);
	vmbus_port_of(fx.vm[0])->waiting->until_ns = 0;
	skip_time();
	assert_int_equal(vb.n_refused, 1); /* the other has time left */
	assert_int_equal(STAT(reset_timeout), 1);
}

/* A guest says by the same packet that it sends no more and that its socket is closed.  While it reads it is believed to be
 * there; when its ring is full and it does not, for VMBUS_READER_NS, that it has closed. */
static void test_closed_in_the_middle(void **state)
{
	static uint8_t bytes[MIB];
	struct vb_channel *ch = vb_dial_host();
	char c;

	assert_true(send(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 100000);
	settle();
	assert_null(fx.loop.timers); /* a slow guest has all the time there is */
	vb_fin(ch);
	assert_non_null(fx.loop.timers);
	assert_true(fx.loop.timers->at_ns > loop_now_ns() + 59000000000ull);
	vb_read(ch); /* it does read: the clock begins anew */
	assert_true(ch->n_kicks > 0);
	loop_once(&fx.loop, 0);
	settle();
	assert_false(ch->rescinded);
	timer_fires();
	assert_true(ch->rescinded && ch->released);
	assert_int_equal(STAT(reset_timeout), 1);
	assert_int_equal(send(fx.host, "x", 1, MSG_NOSIGNAL), -1);
	assert_true(errno == EPIPE || errno == ECONNRESET);
	(void)recv(fx.host, &c, 1, MSG_DONTWAIT);
	expect_no_connections();
}

/* One that reads slowly is not taken for one that has closed: who reads anything has all the time anew. */
static void test_slow_reader_that_sends_no_more(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	static uint8_t bytes[4000];
	size_t n;

	vb_fin(ch);
	expect_host_end();
	for (n = 0; n < 408; n++) { /* 40 bytes of the ring each */
		assert_int_equal(send(fx.host, "x", 1, MSG_NOSIGNAL), 1);
		loop_once(&fx.loop, 0);
		loop_once(&fx.loop, 0);
	}
	n += (size_t)send(fx.host, bytes, sizeof(bytes), MSG_NOSIGNAL);
	settle();
	host_says("z");
	assert_true(vb_head(ch, &ch->in, 3) > 0);
	for (unsigned i = 0; i < 3; i++) {
		vb_read_some(ch, 1); /* too little to write on */
		timer_fires();
		assert_false(ch->rescinded);
		assert_true(vb_head(ch, &ch->in, 3) > 0);
	}
	vb_read_some(ch, UINT32_MAX); /* all of it, but the kick is still on its way */
	timer_fires();
	assert_false(ch->rescinded);
	assert_int_equal(vb_head(ch, &ch->in, 3), 0);
	host_says("y");
	vb_read(ch);
	assert_int_equal(ch->len, n + 2);
	assert_memory_equal(ch->bytes + n, "zy", 2);
	assert_null(fx.loop.timers);
	assert_int_equal(STAT(reset_timeout), 0);
}

/* ---- a rescind that crosses something ----------------------------------------------------------- */

static void test_client_gives_up_before_offered(void **state)
{
	struct vmbus_offered answer = { .channel = 1 };
	struct outcome o;

	vb.no_offered = true;
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	assert_int_equal(vb.n_offers, 1);
	close(fd_take(&fx.host));
	settle();
	assert_int_equal(o.result, -ECONNABORTED);
	expect_no_connections();
	assert_int_equal(vb.n_rescinds, 0); /* its number is not known yet */
	answer.cookie = vb.last->cookie;
	vb_send_message(VMBUS_OFFERED, VU_FLAG_VERSION, &answer, sizeof(answer), NULL, 0);
	settle();
	assert_int_equal(vb.n_rescinds, 1);
	assert_true(vb.last->released);
}

static void test_open_crosses_rescind(void **state)
{
	struct outcome o;
	struct vb_channel *ch;

	vb.no_open = vb.no_release = true;
	(void)connect_to_guest(SOCK_STREAM, &o);
	ch = vb_accept();
	close(fd_take(&fx.host));
	settle_host();
	vb_open(ch); /* before it has heard */
	settle();
	assert_true(ch->rescinded);
	assert_false(ch->answered || vb.hung_up);
	vb_close(ch);
	settle();
	assert_true(ch->closed);
	vb_release(ch);
	expect_no_connections();
}

/* The guest closes a channel by itself: what it sent arrives, and the rescind comes nevertheless. */
static void test_guest_closes(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	assert_int_equal(vb_write(ch, "last words", 10, 10), 10);
	vb_close(ch);
	settle();
	expect_host("last words");
	expect_host_end();
	assert_true(ch->closed && ch->rescinded && ch->released);
	expect_no_connections();
}

/* As much of a stream as there is room for anywhere, while fx.host does not read. */
static uint64_t write_all(struct vb_channel *ch, size_t packet)
{
	static uint8_t bytes[4000];
	uint64_t sent = 0;
	size_t n;

	do {
		fill(bytes, sent, packet);
		n = vb_write(ch, bytes, packet, packet);
		sent += n;
		settle();
	} while (n > 0);
	return sent;
}

static void expect_all(uint64_t sent)
{
	uint64_t got = 0;
	size_t n;

	do {
		n = host_reads(got, MIB);
		got += n;
		settle();
	} while (n > 0);
	assert_int_equal(got, sent);
	expect_host_end();
	expect_no_connections();
}

static void test_guest_closes_while_the_host_is_slow(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	uint64_t sent = write_all(ch, 3001);

	vb_close(ch);
	settle();
	assert_true(ch->closed && ch->released);
	expect_all(sent);
	assert_int_equal(STAT(bytes_from_guest), sent);
}

static void test_released_without_close(void **state)
{
	struct vb_channel *ch;

	vb.no_open = true;
	ch = vb_dial(9, PORT);
	vb_release(ch);
	settle();
	expect_host_end();
	expect_no_connections();
	assert_false(vb.hung_up);
}

/* ---- reset, and the death of either side -------------------------------------------------------- */

static void reset(uint32_t sequence)
{
	struct vmbus_reset r = { .sequence = sequence };

	vb_send_message(VMBUS_RESET, VU_FLAG_VERSION, &r, sizeof(r), NULL, 0);
	settle();
	assert_int_equal(vb.reset_done, sequence);
	assert_false(vb.hung_up);
	vb_forget(); /* nothing is said of them */
	expect_no_connections();
	assert_string_equal(hv_vm_state(fx.vm[0]), "negotiated");
}

static void test_reset_when_idle(void **state)
{
	reset(1);
	assert_non_null(vb_dial_host());
	assert_string_equal(hv_vm_state(fx.vm[0]), "running");
}

/* In each state that a channel may be in. */
static void test_reset_in_every_state(void **state)
{
	struct vb_channel *ch;
	struct outcome o;

	fx.answer = HOST_WAIT; /* asked */
	assert_null(vb_dial(1, PORT));
	reset(10);
	assert_int_equal(fx.n_gone, 1);

	fx.answer = HOST_ACCEPT; /* offering, both ways */
	vb.no_offered = true;
	vb_dial(1, PORT);
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	reset(11);
	assert_int_equal(o.result, -ECONNRESET);

	vb.no_offered = false; /* offered */
	vb.no_open = true;
	vb_dial(1, PORT);
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	reset(12);
	assert_int_equal(o.result, -ECONNRESET);

	vb.no_open = false; /* open, with bytes in both rings */
	ch = vb_dial_host();
	host_says("unread");
	assert_int_equal(vb_write(ch, "unread", 6, 6), 6);
	reset(13);

	vb.no_release = true; /* rescinded, and one that waits for it */
	ch = vb_dial(1, PORT);
	close(fd_take(&fx.host));
	settle();
	assert_true(ch->rescinded);
	assert_null(vb_dial(1, PORT));
	reset(14);
	vb.no_release = false;
	ch = vb_dial_host();
	vb_says(ch, "after all that");
	expect_host("after all that");
}

/* What the guest has sent when it goes, and nobody has taken, still reaches the host. */
static void test_reset_with_bytes_on_the_way(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	struct vmbus_reset r = { .sequence = 3 };
	uint64_t sent = write_all(ch, 4000);

	vb_send_message(VMBUS_RESET, VU_FLAG_VERSION, &r, sizeof(r), NULL, 0);
	settle();
	assert_int_equal(vb.reset_done, 3);
	vb_forget();
	expect_all(sent);
}

/* A ring that is larger than what is passed on at once, and that nobody has looked at. */
static uint64_t write_unseen(void)
{
	static uint8_t bytes[500000];
	struct vb_channel *ch;

	vb.ring_pages = 129;
	ch = vb_dial_host();
	fill(bytes, 0, sizeof(bytes));
	assert_int_equal(vb_write(ch, bytes, sizeof(bytes), 4088), sizeof(bytes));
	return sizeof(bytes);
}

static void test_qemu_dies_with_bytes_on_the_way(void **state)
{
	uint64_t sent = write_unseen();

	vb_hang_up();
	vb_forget();
	expect_all(sent);
}

/* A QEMU that does not wait for the answer has given the memory to others. */
static void test_reset_that_nobody_waits_for(void **state)
{
	struct vmbus_reset r = { .sequence = 3 };

	(void)write_unseen();
	vb_send_message(VMBUS_RESET, VU_FLAG_VERSION, &r, sizeof(r), NULL, 0);
	vb_hang_up();
	vb_forget();
	expect_all(0);
}

static void test_qemu_dies_and_comes_back(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	vb_says(ch, "one");
	expect_host("one");
	vb_hang_up();
	vb_forget();
	expect_host_end();
	expect_no_connections();
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	vb_connect();
	vb_hello();
	vb_memory();
	ch = vb_dial_host();
	vb_says(ch, "two");
	expect_host("two");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VB_TEST(test_guest_never_opens),
		VB_TEST(test_nobody_listens_in_guest),
		VB_TEST(test_far_end_gone_at_once),
		VB_TEST(test_port_never_released),
		VB_TEST(test_closed_in_the_middle),
		VB_TEST(test_slow_reader_that_sends_no_more),
		VB_TEST(test_client_gives_up_before_offered),
		VB_TEST(test_open_crosses_rescind),
		VB_TEST(test_guest_closes),
		VB_TEST(test_guest_closes_while_the_host_is_slow),
		VB_TEST(test_released_without_close),
		VB_TEST(test_reset_when_idle),
		VB_TEST(test_reset_in_every_state),
		VB_TEST(test_reset_with_bytes_on_the_way),
		VB_TEST(test_qemu_dies_with_bytes_on_the_way),
		VB_TEST(test_reset_that_nobody_waits_for),
		VB_TEST(test_qemu_dies_and_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
