/* SPDX-License-Identifier: MIT */
/* Hyper-V sockets with a guest, and a QEMU, that break the rules: each hurts itself alone. */
#include "fds.h"
#include "vmbus_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "mem.h"
#include "port_vmbus.h"
#include "transport.h"

enum { WRITE_INDEX, READ_INDEX, INTERRUPT_MASK, PENDING_SEND_SZ };

/* That channel is over, QEMU is not, and another one works. */
static void expect_broken(struct vb_channel *ch)
{
	struct vb_channel *other;

	char c;

	settle();
	assert_true(ch->rescinded && ch->released);
	assert_false(vb.hung_up);
	assert_true(recv(fx.host, &c, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
	expect_no_connections();
	other = vb_dial_host();
	vb_says(other, "well");
	expect_host("well");
	close(fd_take(&fx.host));
	settle();
	assert_true(other->released);
}

/* ---- the guest: rings --------------------------------------------------------------------------- */

static void test_indices(void **state)
{
	static const uint32_t wrong[] = { 5 * 4096, 4, 5 * 4096 + 8, UINT32_MAX, 0xfffffff8u };

	for (unsigned i = 0; i < array_size(wrong); i++) {
		struct vb_channel *ch = vb_dial_host();

		vb_set_head(ch, &ch->out, WRITE_INDEX, wrong[i]);
		vb_kick(ch);
		expect_broken(ch);
		assert_int_equal(STAT(queue_broken), 2 * i + 1);

		ch = vb_dial_host();
		vb_set_head(ch, &ch->in, READ_INDEX, wrong[i]);
		host_says("for you");
		expect_broken(ch);
		assert_int_equal(STAT(queue_broken), 2 * i + 2);
	}
}

/* An index that goes backwards is as good as any other: what lies there is no packet, or one that was read before. */
static void test_index_goes_back(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	vb_says(ch, "12345678");
	expect_host("12345678");
	vb_set_head(ch, &ch->out, WRITE_INDEX, 8);
	vb_kick(ch);
	settle();
	assert_true(ch->rescinded);
	assert_int_equal(STAT(reset_malformed), 1);
	assert_false(vb.hung_up);
}

static void test_packets(void **state)
{
	for (unsigned i = 0; i < 6; i++) {
		struct vb_channel *ch = vb_dial_host();
		uint32_t *head = (uint32_t *)(void *)vb_byte(ch, &ch->out, 0);

		head[0] = i == 0 ? 7 | 2 << 16 : 6 | 2 << 16;
		head[1] = i == 1 ? 0xffff : i == 2 ? 1 : 4; /* 32 bytes of it, in units of 8 */
		head[4] = i == 3 ? 3 : 1;
		head[5] = i == 4 ? 9 : i == 5 ? UINT32_MAX : 8;
		vb_set_head(ch, &ch->out, WRITE_INDEX, 40);
		vb_kick(ch);
		expect_broken(ch);
		assert_int_equal(STAT(reset_malformed), i + 1);
	}
}

static void test_data_after_the_end(void **state)
{
	struct vb_channel *ch = vb_dial_host();

	vb_says(ch, "last");
	vb_fin(ch);
	expect_host("last");
	vb_fin(ch); /* once more is of no harm */
	assert_false(ch->rescinded);
	assert_int_equal(vb_write(ch, "more", 4, 4), 4);
	expect_broken(ch);
	assert_int_equal(STAT(reset_malformed), 1);
}

/* A packet that shrinks while the far end has a part of it. */
static void test_packet_shrinks(void **state)
{
	static uint8_t bytes[12000];

	for (unsigned i = 0; i < 3; i++) {
		static const uint8_t wrong[] = { 0, 1, 0xff };
		struct vb_channel *ch = vb_dial_host();
		int least = 1;

		fx.request->widened = true; /* so that it stays as small */
		assert_int_equal(setsockopt(fx.far, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)),
				 0);
		assert_int_equal(vb_write(ch, bytes, sizeof(bytes), sizeof(bytes)), sizeof(bytes));
		settle();
		assert_in_range(hv_conn_bytes_from_guest(fx.request), 0x100, sizeof(bytes) - 1);
		assert_int_equal(vb_head(ch, &ch->out, READ_INDEX), 0);
		*vb_byte(ch, &ch->out, 20) = wrong[i];
		*vb_byte(ch, &ch->out, 21) = 0;
		while (recv(fx.host, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			settle();
		expect_broken(ch);
		assert_int_equal(STAT(reset_malformed), i + 1);
	}
}

/* Where the rings are said to lie. */
static void test_pages(void **state)
{
	static const struct {
		unsigned in_page;
		uint64_t pfn; /* of page 9; 0: as it is */
		int status;
	} wrong[] = {
		{ 0, 0, -EINVAL },
		{ 1, 0, -EINVAL },
		{ 2 * VB_RING_PAGES - 1, 0, -EINVAL },
		{ 2 * VB_RING_PAGES, 0, -EINVAL },
		{ 2 * VB_RING_PAGES + 1, 0, -EINVAL },
		{ UINT32_MAX, 0, -EINVAL },
		{ VB_RING_PAGES, 1, -EFAULT },
		{ VB_RING_PAGES, VB_GPA / 4096 + VB_PAGES, -EFAULT },
		{ VB_RING_PAGES, VB_GPA / 4096 - 1, -EFAULT },
		{ VB_RING_PAGES, UINT64_MAX, -EFAULT },
		{ VB_RING_PAGES, UINT64_MAX / 4096, -EFAULT },
		{ VB_RING_PAGES, UINT64_MAX / 4096 + 1 + VB_GPA / 4096, -EFAULT }, /* times 4096 */
	};

	for (unsigned i = 0; i < array_size(wrong); i++) {
		union vmbus_payload p;
		struct vb_channel *ch;
		size_t size;

		vb.no_open = true;
		ch = vb_dial(i, PORT);
		vb.no_open = false;
		vb_open(ch);
		/* That one is good, and spoilt here: the daemon has not read it yet. */
		assert_int_equal(recv(vb.sock, &p, 1, MSG_DONTWAIT | MSG_PEEK), -1);
		settle();
		assert_int_equal(ch->status, 0);

		vb.no_open = true;
		ch = vb_dial(1000 + i, PORT);
		ch->n_pages = 2 * VB_RING_PAGES;
		ch->in_page = wrong[i].in_page;
		for (unsigned k = 0; k < ch->n_pages; k++)
			ch->pfn[k] = VB_GPA / 4096 + vb.free_page[vb.n_free - 1 - k];
		if (wrong[i].pfn)
			ch->pfn[9] = wrong[i].pfn;
		size = vb_open_payload(ch, &p);
		ch->opened = true;
		ch->kick = eventfd(0, EFD_NONBLOCK);
		ch->call = eventfd(0, EFD_NONBLOCK);
		vb.no_release = true;
		vb_send_message(VMBUS_OPEN, VU_FLAG_VERSION, &p, size,
				(int[]){ ch->kick, ch->call }, 2);
		settle();
		assert_true(ch->answered);
		assert_int_equal(ch->status, wrong[i].status);
		assert_true(ch->rescinded);
		assert_false(vb.hung_up);
		expect_host_end();
		vb.no_open = vb.no_release = false;
	}
	assert_int_equal(STAT(queue_broken), array_size(wrong));
}

/* All pages of both rings are one: nonsense in, nonsense out, within that page. */
static void test_all_pages_are_one(void **state)
{
	struct vb_channel *ch;
	union vmbus_payload p;
	size_t size;

	vb.no_open = true;
	ch = vb_dial(5, PORT);
	ch->n_pages = 16;
	ch->in_page = 8;
	for (unsigned k = 0; k < ch->n_pages; k++)
		ch->pfn[k] = VB_GPA / 4096 + 7;
	memset(vb.mem + 7 * 4096, 0, 4096);
	memset(vb.mem + 6 * 4096, 0xee, 4096);
	memset(vb.mem + 8 * 4096, 0xee, 4096);
	size = vb_open_payload(ch, &p);
	ch->opened = true;
	ch->kick = eventfd(0, EFD_NONBLOCK);
	ch->call = eventfd(0, EFD_NONBLOCK);
	vb.no_release = true;
	vb_send_message(VMBUS_OPEN, VU_FLAG_VERSION, &p, size, (int[]){ ch->kick, ch->call }, 2);
	settle();
	assert_int_equal(ch->status, 0);
	for (unsigned i = 0; i < 50; i++) {
		(void)send(fx.host, "0123456789abcdef0123456789abcdef", 32, MSG_NOSIGNAL);
		vb_kick(ch);
		settle();
	}
	assert_false(vb.hung_up);
	for (unsigned i = 0; i < 4096; i++)
		assert_true(vb.mem[6 * 4096 + i] == 0xee && vb.mem[8 * 4096 + i] == 0xee);
}

/* Words that change all the time, in all rings at once: whatever becomes of it, it ends. */
static void test_noise(void **state)
{
	uint32_t random = 7;

	for (unsigned turn = 0; turn < 300; turn++) {
		struct vb_channel *ch = vb_dial_host();

		for (unsigned i = 0; i < 40 && !ch->rescinded; i++) {
			struct vb_ring *r = random & 0x10000 ? &ch->out : &ch->in;

			random = random * 1664525 + 1013904223;
			if (random & 0x20000)
				vb_set_head(ch, r, random >> 18 & 3, (random >> 8) % 0x5200 & ~7u);
			else
				*vb_byte(ch, r, (random >> 8) % 512) = (uint8_t)(random >> 20);
			(void)send(fx.host, "noise and more noise", random >> 28, MSG_NOSIGNAL);
			vb_kick(ch);
			loop_once(&fx.loop, 0);
			vb_poll();
		}
		fd_drop(&fx.host);
		settle();
		assert_false(vb.hung_up);
		if (!ch->rescinded) /* its ring looks full, and nobody reads */
			vb_close(ch);
		settle();
		assert_true(ch->released);
	}
	expect_no_connections();
}

/* A guest that asks, and asks: refused by the rate, and the port goes on. */
static void test_flood(void **state)
{
	fx.vm[0]->limits.connects_per_second = 10;
	fx.answer = HOST_REFUSE;
	for (unsigned i = 0; i < 5000; i++) {
		vb_ask(i, PORT);
		if (i % 32 == 31)
			settle();
	}
	settle();
	assert_false(vb.hung_up);
	assert_int_equal(vb.n_refused, 5000);
	assert_in_range(fx.n_requests, 10, 100);
	assert_int_equal(STAT(refused_limit_rate), 5000 - fx.n_requests);
	expect_no_connections();
}

/* ---- QEMU: the wire ----------------------------------------------------------------------------- */

/* One message too many: dropped, and everything with it. */
static void expect_dropped(void)
{
	vb_expect_dropped();
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	expect_no_connections();
	fd_drop(&vb.sock);
}

static void begin_again(void)
{
	vb_forget();
	/* It was made to wait for a second. */
	for (unsigned i = 0; i < 3 && fx.loop.timers; i++) {
		fx.loop.timers->at_ns = 0;
		settle();
	}
	vb_connect();
	vb_hello();
	vb_memory();
}

static void send_plain(uint32_t number, const void *payload, size_t size)
{
	vb_send_message(number, VU_FLAG_VERSION, payload, size, NULL, 0);
}

static void test_messages_that_are_none(void **state)
{
	static const struct vmbus_hello hello = { .version = 1 };
	static const struct {
		uint32_t number, flags;
		size_t size;
	} wrong[] = {
		{ 78, 1, 8 },
		{ 1, 1, 0 },
		{ VMBUS_OFFER, 1, 48 },
		{ VMBUS_CLOSED, 1, 8 },
		{ VMBUS_HELLO, 1, 16 },
		/* again */ { VMBUS_RESET, 5, 8 },
		{ VMBUS_RESET, 0, 8 },
		{ VMBUS_RESET, 1, 7 },
		{ VMBUS_OPEN, 1, 4096 },
	};
	unsigned fds = 0;

	for (unsigned i = 0; i < array_size(wrong); i++) {
		uint8_t payload[4096] = { 0 };

		(void)vb_dial_host();
		memcpy(payload, &hello, sizeof(hello));
		vb_send_message(wrong[i].number, wrong[i].flags, payload, wrong[i].size, &vb.mem_fd,
				i == 0);
		expect_dropped();
		expect_host_end();
		if (i == 0)
			fds = count_fds();
		assert_int_equal(count_fds(), fds);
		begin_again();
	}
	vb_hang_up();
	vb_connect();
	send_plain(VMBUS_RESET, &(struct vmbus_reset){ 0 }, 8); /* before HELLO */
	expect_dropped();
}

static void test_messages_that_make_no_sense(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		struct vmbus_offered offered = { .cookie = 999, .channel = 5 };
		struct vb_channel *ch = vb_dial_host();
		union vmbus_payload p;
		int other = -1;
		size_t size;

		switch (i) {
		case 0:
			vb_send_channel(VMBUS_CLOSE, 77);
			break;
		case 1:
			vb_send_channel(VMBUS_RELEASED, 77);
			break;
		case 2: /* of no offer */
			send_plain(VMBUS_OFFERED, &offered, sizeof(offered));
			break;
		case 3: /* answered twice */
			offered.cookie = ch->cookie;
			send_plain(VMBUS_OFFERED, &offered, sizeof(offered));
			break;
		case 4: /* a number that another one has */
			other = fd_take(&fx.host);
			vb.no_offered = true;
			(void)vb_dial(1, PORT);
			vb.no_offered = false;
			offered = (struct vmbus_offered){ .cookie = vb.last->cookie,
							  .channel = ch->id };
			send_plain(VMBUS_OFFERED, &offered, sizeof(offered));
			settle();
			close(other);
			break;
		case 5: /* open already */
			size = vb_open_payload(ch, &p);
			vb_send_message(VMBUS_OPEN, VU_FLAG_VERSION, &p, size,
					(int[]){ ch->kick, ch->call }, 2);
			break;
		case 6: /* not open, but of no number yet */
			size = vb_open_payload(ch, &p);
			p.open.channel = 99;
			vb_send_message(VMBUS_OPEN, VU_FLAG_VERSION, &p, size,
					(int[]){ ch->kick, ch->call }, 2);
			break;
		case 7: /* no eventfds */
			vb.no_open = true;
			ch = vb_dial(1, PORT);
			vb.no_open = false;
			ch->n_pages = 4;
			ch->in_page = 2;
			size = vb_open_payload(ch, &p);
			vb_send_message(VMBUS_OPEN, VU_FLAG_VERSION, &p, size,
					(int[]){ vb.mem_fd, vb.mem_fd }, 2);
			break;
		}
		expect_dropped();
		begin_again();
	}
}

/* It asks and asks and does not read what it is told. */
static void test_does_not_read(void **state)
{
	struct vmbus_connect_request c = { vb_guid(1), vb_guid(2) };
	struct proto_header hdr = { VMBUS_CONNECT_REQUEST, 1, sizeof(c) };
	uint8_t bytes[sizeof(hdr) + sizeof(c)];

	fx.answer = HOST_REFUSE;
	fx.other_guest = NULL;
	memcpy(bytes, &hdr, sizeof(hdr));
	memcpy(bytes + sizeof(hdr), &c, sizeof(c));
	for (unsigned i = 0; i < 100000; i++) {
		if (send(vb.sock, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) !=
		    sizeof(bytes)) {
			settle_host();
			if (strcmp(hv_vm_state(fx.vm[0]), "listening") == 0)
				break;
		}
	}
	assert_string_equal(hv_vm_state(fx.vm[0]), "listening");
	fx.other_guest = vb_poll;
	fd_drop(&vb.sock);
}

/* What waits for it is sent in order when it reads again. */
static void test_reads_late(void **state)
{
	const unsigned n = 2000;

	fx.answer = HOST_REFUSE;
	fx.other_guest = NULL;
	for (unsigned i = 0; i < n; i++) {
		vb_ask(i, PORT);
		if (i % 16 == 15)
			settle_host();
	}
	assert_int_equal(vb.n_refused, 0);
	fx.other_guest = vb_poll;
	settle();
	settle();
	assert_false(vb.hung_up);
	assert_int_equal(vb.n_refused, n);
}

/* ---- memory ------------------------------------------------------------------------------------- */

static void test_region_taken_away(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	struct proto_mem_reg r = vb_region(), unknown = r;

	unknown.region.gpa += 4096;
	send_plain(VMBUS_REM_MEM_REG, &unknown, sizeof(unknown)); /* one that is not there */
	vb_says(ch, "still there");
	expect_host("still there");
	assert_int_equal(vb_write(ch, "too late", 8, 8), 8);
	send_plain(VMBUS_REM_MEM_REG, &r, sizeof(r));
	settle();
	assert_true(ch->rescinded && ch->released);
	assert_int_equal(STAT(queue_broken), 1);
	expect_host_end();
	expect_no_connections();
	assert_false(vb.hung_up);
	/* Without memory no channel opens; with it they do again. */
	assert_int_equal(vb_dial(5, PORT)->status, -EFAULT);
	vb_memory();
	ch = vb_dial_host();
	vb_says(ch, "again");
	expect_host("again");
}

/* Counted, by the linker: how often an address of the guest is looked up. */
static unsigned n_lookups;

int __real_mem_gpa_to_va(const struct mem *m, gpa_t addr, size_t len, void **ret_va);
int __wrap_mem_gpa_to_va(const struct mem *m, gpa_t addr, size_t len, void **ret_va);
int __wrap_mem_gpa_to_va(const struct mem *m, gpa_t addr, size_t len, void **ret_va)
{
	n_lookups++;
	return __real_mem_gpa_to_va(m, addr, len, ret_va);
}

/* Other memory comes and goes: the rings stay, and are not looked for again, page by page of all channels. */
static void test_other_region(void **state)
{
	unsigned before;
	struct vb_channel *ch = vb_dial_host();
	struct proto_mem_reg r = { .region = { .gpa = 0x1000, .size = 4096, .uva = 0x1000 } };

	before = n_lookups;
	assert_true(before > 0);
	for (unsigned i = 0; i < 3; i++) {
		vb_send_message(VMBUS_ADD_MEM_REG, VU_FLAG_VERSION, &r, sizeof(r), &vb.mem_fd, 1);
		host_says("a");
		vb_expect(ch, "a");
		send_plain(VMBUS_REM_MEM_REG, &r, sizeof(r));
		vb_says(ch, "b");
		expect_host("b");
	}
	assert_false(ch->rescinded);
	assert_int_equal(n_lookups, before);
}

static void test_regions_that_cannot_be(void **state)
{
	struct proto_mem_reg r = vb_region();

	r.region.gpa += 4096; /* overlaps */
	vb_send_message(VMBUS_ADD_MEM_REG, VU_FLAG_VERSION, &r, sizeof(r), &vb.mem_fd, 1);
	expect_dropped();
	begin_again();
	r = vb_region();
	r.region.gpa = r.region.uva = 0x1000;
	r.region.mmap_offset = 1ull << 40; /* behind the end of its file */
	vb_send_message(VMBUS_ADD_MEM_REG, VU_FLAG_VERSION, &r, sizeof(r), &vb.mem_fd, 1);
	expect_dropped();
	begin_again();
	/* A file that is none to be mapped is not used, and that is all. */
	r = (struct proto_mem_reg){ .region = { .gpa = 0x1000, .size = 4096, .uva = 0x1000 } };
	vb_send_message(VMBUS_ADD_MEM_REG, VU_FLAG_VERSION, &r, sizeof(r), &vb.sock, 1);
	settle();
	assert_false(vb.hung_up);
	assert_non_null(vb_dial_host());
}

/* Its file is cut under the rings. */
static void test_truncated(void **state)
{
	(void)vb_dial_host();
	vb.no_read = true;
	assert_int_equal(mem_guard_install(), 0);
	assert_int_equal(ftruncate(vb.mem_fd, 0), 0);
	assert_int_equal(send(fx.host, "x", 1, MSG_NOSIGNAL), 1);
	expect_dropped();
	expect_host_end();
	assert_int_equal(ftruncate(vb.mem_fd, VB_PAGES * 4096), 0);
}

/* ---- descriptors -------------------------------------------------------------------------------- */

/* Both of an eventfd's ends belong to QEMU as well: emptied, filled up, or made blocking. */
static void test_eventfds(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	uint64_t full = UINT64_MAX - 1, n;

	assert_int_equal(fcntl(ch->kick, F_SETFL, 0),
			 0); /* blocking, and read empty behind our back */
	vb_kick(ch);
	(void)fcntl(ch->kick, F_SETFL, O_NONBLOCK);
	(void)!read(ch->kick, &n, sizeof(n));
	(void)fcntl(ch->kick, F_SETFL, 0);
	settle();
	vb_says(ch, "up");
	expect_host("up");
	assert_int_equal(write(ch->call, &full, sizeof(full)), sizeof(full));
	host_says("down");
	assert_false(ch->rescinded || vb.hung_up);
	vb_expect(ch, "down");
	(void)fcntl(ch->kick, F_SETFL, O_NONBLOCK);
}

/* Every descriptor that came is closed with its channel. */
static void test_nothing_is_left_open(void **state)
{
	struct vb_channel *ch = vb_dial_host();
	unsigned before;

	close(fd_take(&fx.host));
	settle();
	assert_true(ch->released);
	before = count_fds();
	for (unsigned i = 0; i < 20; i++) {
		ch = vb_dial_host();
		close(fd_take(&fx.host));
		settle();
		assert_true(ch->released);
	}
	assert_int_equal(count_fds(), before);
	assert_int_equal(vb.n_free, VB_PAGES);
}

static void limit_descriptors(unsigned more, struct rlimit *ret_old)
{
	struct rlimit few;
	int next = dup(0);

	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, ret_old), 0);
	few = *ret_old;
	few.rlim_cur = (rlim_t)next + more;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
}

/* Where few are left a channel is refused, and costs nobody else anything. */
static void test_few_descriptors(void **state)
{
	struct vb_channel *other = vb_dial_host(), *ch;
	int host = fd_take(&fx.host);
	struct rlimit old;
	struct outcome o;

	limit_descriptors(24, &old); /* enough for both sides of this test */
	ch = vb_dial(1, PORT);
	assert_non_null(ch);
	assert_true(ch->answered && ch->rescinded && ch->released);
	assert_int_equal(ch->status, -EMFILE);
	expect_host_end();
	fd_drop(&fx.host);
	(void)connect_to_guest(SOCK_STREAM, &o);
	ch = vb_accept();
	settle();
	assert_int_equal(ch->status, -EMFILE);
	assert_int_equal(o.result, -ECONNREFUSED);
	assert_int_equal(STAT(refused_channel), 2);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_false(vb.hung_up || other->rescinded);
	fd_drop(&fx.host);
	fx.host = host;
	vb_says(other, "still there");
	expect_host("still there");
	fd_drop(&fx.host);
	assert_non_null(vb_dial_host());
}

/* Where none is left at all the message comes without its own. */
static void test_no_descriptors(void **state)
{
	struct vb_channel *ch;
	struct rlimit old;

	vb.no_open = true;
	ch = vb_dial(1, PORT);
	vb.no_open = false;
	vb_open(ch);
	for (unsigned left = 0; left < 2; left++) {
		limit_descriptors(left, &old);
		settle_host();
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		settle();
		assert_false(vb.hung_up);
		assert_int_equal(ch->status, -EMFILE);
		assert_true(ch->rescinded && ch->released);
		vb.no_open = true;
		ch = vb_dial(2, PORT);
		vb.no_open = false;
		vb_open(ch);
	}
	settle();
	assert_int_equal(ch->status, 0);
}

/* ---- the VM goes amid all that ------------------------------------------------------------------ */

static void test_vm_closes(void **state)
{
	struct outcome o;

	vb.no_release = true;
	(void)vb_dial_host();
	close(fd_take(&fx.host));
	settle();
	(void)vb_dial(0x80000000u, PORT); /* waits, perhaps */
	vb.no_open = true;
	(void)vb_dial(2, PORT);
	vb.no_offered = true;
	(void)vb_dial(3, PORT);
	fx.answer = HOST_WAIT;
	(void)vb_dial(4, PORT);
	(void)connect_to_guest(SOCK_STREAM, &o);
	settle();
	fx.answer = HOST_ACCEPT;
	vb.no_open = vb.no_offered = false;
	fd_drop(&fx.host);
	(void)vb_dial_host();
	host_says("unread");
	hv_vm_close(fx.vm[0]);
	fx.vm[0] = NULL;
	settle();
	assert_true(vb.hung_up);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VB_TEST(test_indices),
		VB_TEST(test_index_goes_back),
		VB_TEST(test_packets),
		VB_TEST(test_data_after_the_end),
		VB_TEST(test_packet_shrinks),
		VB_TEST(test_pages),
		VB_TEST(test_all_pages_are_one),
		VB_TEST(test_noise),
		VB_TEST(test_flood),
		VB_TEST(test_messages_that_are_none),
		VB_TEST(test_messages_that_make_no_sense),
		VB_TEST(test_does_not_read),
		VB_TEST(test_reads_late),
		VB_TEST(test_region_taken_away),
		VB_TEST(test_other_region),
		VB_TEST(test_regions_that_cannot_be),
		VB_TEST(test_truncated),
		VB_TEST(test_eventfds),
		VB_TEST(test_nothing_is_left_open),
		VB_TEST(test_few_descriptors),
		VB_TEST(test_no_descriptors),
		VB_TEST(test_vm_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
