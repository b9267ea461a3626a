/* SPDX-License-Identifier: MIT */
/* A virtqueue with a driver that keeps the rules: what holds for both formats is tested with both. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "driver.h"
#include "vq.h"

#define NUM       256
#define EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)

struct fixture {
	struct guest guest;
	struct driver driver;
	struct mem mem;
	struct vq vq;
	struct vq_burst burst;
	gpa_t data; /* 1 MiB around the border of the two regions */
};

static struct fixture *fixture_new(uint16_t num, uint64_t features)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vq_params p;

	guest_init(&f->guest, 2, 2 << 20);
	driver_init(&f->driver, &f->guest, num, features);
	f->data = GPA(GUEST_GPA + (2 << 20) - (512 << 10));
	mem_init(&f->mem);
	guest_share(&f->guest, &f->mem);
	driver_params(&f->driver, &p);
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	return f;
}

static void fixture_free(struct fixture *f)
{
	uint32_t base;

	vq_stop(&f->vq, &base);
	mem_done(&f->mem);
	driver_done(&f->driver);
	guest_done(&f->guest);
	free(f);
}

#define SETUP(name, num, features)                              \
	static int name(void **state)                           \
	{                                                       \
		*state = fixture_new(num, features);            \
		return 0;                                       \
	}                                                       \
	static int name##_packed(void **state)                  \
	{                                                       \
		*state = fixture_new(num, (features) | PACKED); \
		return 0;                                       \
	}

SETUP(setup, NUM, INDIRECT)
SETUP(setup_event_idx, NUM, INDIRECT | EVENT_IDX)
SETUP(setup_tiny, 4, EVENT_IDX)
SETUP(setup_large, 4096, 0)

static int teardown(void **state)
{
	fixture_free(*state);
	return 0;
}

static gpa_t data(const struct fixture *f, uint64_t off)
{
	return GPA(f->data.v + off);
}

/* Make n chains of one readable buffer of 100 bytes available. */
static void offer(struct fixture *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct driver_buf buf = { data(f, i * 128), 100 };

		assert_true(driver_add(&f->driver, &buf, 1, 0) >= 0);
	}
	driver_publish(&f->driver);
}

static void push_burst(struct fixture *f)
{
	for (unsigned i = 0; i < f->burst.n; i++)
		vq_push(&f->vq, f->burst.chain[i].head, 0);
}

static unsigned reclaim(struct fixture *f)
{
	unsigned n = 0;
	uint32_t len;

	while (driver_used(&f->driver, &len) >= 0)
		n++;
	return n;
}

/* The driver's name for a chain: a packed ring's head says more than that. */
static int name_of(const struct vq_chain *c)
{
	return (uint16_t)c->head;
}

/* What SET_VRING_BASE says of a ring that n entries have passed. */
static uint32_t base_after(const struct fixture *f, unsigned n)
{
	unsigned num = f->driver.num;

	if (!f->driver.packed)
		return n & UINT16_MAX;
	return (n % num | (n / num % 2 ? 0 : VRING_PACKED_WRAP)) * 0x10001;
}

/* Ask for a call when the driver's n-th chain from here is used, in entries of one descriptor. */
static void ask_call_after(struct fixture *f, unsigned n)
{
	struct driver *d = &f->driver;
	unsigned at = d->used_at.idx + n;
	bool wrap = d->used_at.wrap != (at >= NUM);

	if (d->packed)
		le32_store(d->driver_event,
			   VRING_PACKED_EVENT(VRING_PACKED_EVENT_DESC,
					      at % NUM | (wrap ? VRING_PACKED_WRAP : 0)));
	else
		le16_store(&d->avail->ring[NUM], (uint16_t)(d->last_used + n));
}

/* Offer, pop, push and publish n chains; the driver takes them back. */
static void circulate(struct fixture *f, unsigned n)
{
	offer(f, n);
	assert_int_equal(vq_pop(&f->vq, &f->burst, n), n);
	push_burst(f);
	vq_publish(&f->vq);
	assert_int_equal(reclaim(f), n);
}

static void test_pop_and_push(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[3] = { { data(f, 0), 12 },
				      { data(f, 64), 60 },
				      { data(f, 256), 99 } };
	const struct vq_chain *c = f->burst.chain;
	uint32_t len = 0;
	int head;

	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 0);
	assert_false(vq_more(&f->vq));
	head = driver_add(&f->driver, bufs, 2, 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 0); /* not published */
	driver_publish(&f->driver);
	assert_true(vq_more(&f->vq));
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_false(vq_more(&f->vq));

	assert_int_equal(name_of(c), head);
	assert_int_equal(c->n_out, 2);
	assert_int_equal(c->n_in, 1);
	assert_int_equal(c->out_len, 72);
	assert_int_equal(c->in_len, 99);
	assert_int_equal(c->iov[1].iov_len, 60);
	memcpy(c->iov[2].iov_base, "answer", 7);
	assert_string_equal(guest_ptr(&f->guest, bufs[2].addr, 7), "answer");

	vq_push(&f->vq, c->head, 7);
	assert_int_equal(driver_used(&f->driver, &len), -EAGAIN);
	vq_publish(&f->vq);
	assert_int_equal(driver_used(&f->driver, &len), head);
	assert_int_equal(len, 7);
	assert_int_equal(driver_used(&f->driver, &len), -EAGAIN);
}

static void test_indirect(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[20];
	int head;

	for (unsigned i = 0; i < 20; i++)
		bufs[i] = (struct driver_buf){ data(f, i * 64), i + 1 };
	head = driver_add_indirect(&f->driver, bufs, 15, 5);
	driver_publish(&f->driver);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(name_of(f->burst.chain), head);
	assert_int_equal(f->burst.chain[0].n_out, 15);
	assert_int_equal(f->burst.chain[0].n_in, 5);
	assert_int_equal(f->burst.chain[0].out_len, 120);
	assert_int_equal(f->burst.chain[0].in_len, 90);
}

/* Virtio 2.7.5.3.2: the device MUST handle direct descriptors followed by an indirect one. */
static void test_direct_then_indirect(void **state)
{
	struct fixture *f = *state;
	struct vring_desc *table = guest_ptr(&f->guest, f->driver.tables, 2 * sizeof(*table));
	const struct vq_chain *c = f->burst.chain;

	driver_raw_desc(&f->driver, 0, data(f, 0).v, 12, VRING_DESC_F_NEXT, 1);
	driver_raw_desc(&f->driver, 1, f->driver.tables.v, 32, VRING_DESC_F_INDIRECT, 0);
	table[0] = (struct vring_desc){ le64_of(data(f, 64).v), le32_of(5),
					le16_of(VRING_DESC_F_NEXT), le16_of(1) };
	table[1] = (struct vring_desc){ le64_of(data(f, 128).v), le32_of(6),
					le16_of(VRING_DESC_F_WRITE), le16_of(0) };
	driver_raw_avail(&f->driver, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(c->n_out, 2);
	assert_int_equal(c->n_in, 1);
	assert_int_equal(c->out_len, 17);
	assert_int_equal(c->in_len, 6);
}

static void test_indirect_table_at_any_address(void **state)
{
	struct fixture *f = *state;
	uint8_t *table =
		guest_ptr(&f->guest, GPA(f->driver.tables.v + 3), sizeof(struct vring_desc));
	struct vring_desc d = { le64_of(data(f, 0).v), le32_of(5), le16_of(0), le16_of(0) };

	memcpy(table, &d, sizeof(d));
	driver_raw_desc(&f->driver, 0, f->driver.tables.v + 3, 16, VRING_DESC_F_INDIRECT, 0);
	driver_raw_avail(&f->driver, 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(f->burst.chain[0].out_len, 5);
}

static void test_splits_at_region_border(void **state)
{
	struct fixture *f = *state;
	struct driver_buf buf = { data(f, (512 << 10) - 30), 100 };
	struct iovec *iov = f->burst.iov;

	memset(guest_ptr(&f->guest, buf.addr, buf.len), 7, buf.len);
	driver_add(&f->driver, &buf, 0, 1);
	driver_publish(&f->driver);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(f->burst.chain[0].n_in, 2);
	assert_int_equal(f->burst.chain[0].in_len, 100);
	assert_int_equal(iov[0].iov_len, 30);
	assert_int_equal(iov[1].iov_len, 70);
	assert_int_equal(((uint8_t *)iov[0].iov_base)[29], 7);
	assert_int_equal(((uint8_t *)iov[1].iov_base)[69], 7);
}

static void test_burst_limits(void **state)
{
	struct fixture *f = *state;

	offer(f, VQ_BURST + 1);
	assert_int_equal(vq_pop(&f->vq, &f->burst, 0), 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), VQ_BURST);
	push_burst(f);
	assert_true(vq_more(&f->vq));
	assert_int_equal(vq_pop(&f->vq, &f->burst, 3), 1);
	push_burst(f);
	vq_publish(&f->vq);
	assert_int_equal(reclaim(f), VQ_BURST + 1);
}

/* More than fits the staging area is pushed before one publication: nothing is visible until then. */
static void test_many_pushes_one_publish(void **state)
{
	struct fixture *f = *state;
	uint32_t len;

	offer(f, NUM);
	for (unsigned n = 0; n < NUM; n += f->burst.n) {
		assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), VQ_BURST);
		push_burst(f);
		assert_int_equal(driver_used(&f->driver, &len), -EAGAIN);
	}
	vq_publish(&f->vq);
	assert_int_equal(reclaim(f), NUM);
}

static void test_unpop(void **state)
{
	struct fixture *f = *state;
	int head;

	offer(f, 10);
	assert_int_equal(vq_pop(&f->vq, &f->burst, 8), 8);
	head = name_of(&f->burst.chain[3]);
	for (unsigned i = 0; i < 3; i++)
		vq_push(&f->vq, f->burst.chain[i].head, 0);
	vq_unpop(&f->vq, 5);
	assert_true(vq_more(&f->vq));
	vq_publish(&f->vq);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 7);
	assert_int_equal(name_of(f->burst.chain), head);
	push_burst(f);
	vq_publish(&f->vq);
	assert_int_equal(reclaim(f), 10);
}

/* Chains that do not fit what is left of a burst's iovecs wait for the next one. */
static void test_iovecs_run_out(void **state)
{
	struct fixture *f = *state;
	struct driver_buf bufs[100];

	for (unsigned i = 0; i < 100; i++)
		bufs[i] = (struct driver_buf){ data(f, i * 16), 16 };
	for (unsigned i = 0; i < 25; i++)
		assert_true(driver_add(&f->driver, bufs, 100, 0) >= 0);
	driver_publish(&f->driver);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), VQ_BURST_IOVS / 100);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), VQ_BURST_IOVS / 100);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 25 - 2 * (VQ_BURST_IOVS / 100));
	assert_int_equal(f->burst.chain[0].n_out, 100);
}

static void test_longest_chain(void **state)
{
	struct fixture *f = *state;
	struct driver_buf *bufs = calloc(VQ_BURST_IOVS + 1, sizeof(*bufs));

	for (unsigned i = 0; i < VQ_BURST_IOVS + 1; i++)
		bufs[i] = (struct driver_buf){ data(f, i * 16), 16 };
	assert_true(driver_add(&f->driver, bufs, VQ_BURST_IOVS, 0) >= 0);
	assert_true(driver_add(&f->driver, bufs, VQ_BURST_IOVS + 1, 0) >= 0);
	driver_publish(&f->driver);
	free(bufs);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 1);
	assert_int_equal(f->burst.chain[0].n_out, VQ_BURST_IOVS);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), -EBADMSG);
	assert_int_equal(f->vq.cause, VQ_CHAIN_LONG);
}

/* In a split ring both indices are free-running 16-bit numbers, in a packed one a wrap counter turns every lap. */
static void test_indices_wrap(void **state)
{
	struct fixture *f = *state;
	uint32_t base;

	for (unsigned i = 0; i < 70004; i += 4) {
		circulate(f, 4);
		vq_call(&f->vq);
	}
	vq_stop(&f->vq, &base);
	assert_int_equal(base, base_after(f, 70004));
}

static void test_stop_and_start_again(void **state)
{
	struct fixture *f = *state;
	struct vq_params p;
	uint32_t base = 99;

	circulate(f, 7);
	offer(f, 10);
	assert_int_equal(vq_pop(&f->vq, &f->burst, 6), 6);
	vq_push(&f->vq, f->burst.chain[0].head, 0);
	vq_push(&f->vq, f->burst.chain[1].head, 0);
	vq_stop(&f->vq, &base);
	assert_int_equal(base, base_after(f, 9)); /* two were done, four given back */
	assert_int_equal(reclaim(f), 2);

	driver_params(&f->driver, &p);
	p.base = base;
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	assert_int_equal(vq_pop(&f->vq, &f->burst, VQ_BURST), 8);
	push_burst(f);
	vq_publish(&f->vq);
	assert_int_equal(reclaim(f), 8);

	vq_stop(&f->vq, &base);
	assert_int_equal(base, base_after(f, 17));
	vq_stop(&f->vq, &base);
	assert_int_equal(base, 0);
}

/* A predecessor that was killed while it polled left its wish not to be kicked behind. */
static void test_start_asks_for_kicks(void **state)
{
	struct fixture *f = *state;
	struct vq_params p;
	uint32_t base;

	circulate(f, 3);
	vq_stop(&f->vq, &base);
	if (f->driver.packed)
		le32_store(f->driver.device_event,
			   VRING_PACKED_EVENT(VRING_PACKED_EVENT_DISABLE, 0));
	else
		le16_store(&f->driver.used->flags, VRING_USED_F_NO_NOTIFY);
	driver_params(&f->driver, &p);
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
	offer(f, 1);
	assert_true(driver_wants_kick(&f->driver));
}

static int start_with(struct fixture *f, const struct vq_params *p)
{
	struct vq vq = { 0 };
	uint32_t base;
	int err = vq_start(&vq, &f->mem, p);

	assert_int_equal(vq.started, err == 0);
	vq_stop(&vq, &base);
	return err;
}

/* CVE-2020-10723 among others: the split ring's own geometry. */
static void test_start_refuses(void **state)
{
	struct fixture *f = *state;
	const uint32_t bad_num[] = { 0, 3, 255, 257, 65536, 65536 + 256, 1U << 31, UINT32_MAX };
	struct vq_params good, p;
	uint64_t end = GUEST_UVA + (2 << 20);

	driver_params(&f->driver, &good);
	for (unsigned i = 0; i < array_size(bad_num); i++) {
		p = good, p.num = bad_num[i];
		assert_int_equal(start_with(f, &p), -EINVAL);
	}
	p = good, p.num = VQ_MAX_NUM;
	assert_int_equal(start_with(f, &p), 0);

	p = good, p.desc.v += 8;
	assert_int_equal(start_with(f, &p), -EINVAL);
	p = good, p.avail.v += 1;
	assert_int_equal(start_with(f, &p), -EINVAL);
	p = good, p.used.v += 2;
	assert_int_equal(start_with(f, &p), -EINVAL);

	p = good, p.desc = UVA(0);
	assert_int_equal(start_with(f, &p), -EFAULT);
	p = good, p.used = UVA(UINT64_MAX - 3);
	assert_int_equal(start_with(f, &p), -EFAULT);

	/* Each part may end at the region's end and not behind it; with EVENT_IDX each index area has two bytes
	 * more. */
	p = good, p.desc = UVA(end - NUM * 16);
	assert_int_equal(start_with(f, &p), 0);
	p.desc.v += 16;
	assert_int_equal(start_with(f, &p), -EFAULT);
	p = good, p.avail = UVA(end - 4 - NUM * 2);
	assert_int_equal(start_with(f, &p), 0);
	p.features |= EVENT_IDX;
	assert_int_equal(start_with(f, &p), -EFAULT);
	p.avail.v -= 2;
	assert_int_equal(start_with(f, &p), 0);
	p = good, p.used = UVA(end - 4 - NUM * 8);
	assert_int_equal(start_with(f, &p), 0);
	p.features |= EVENT_IDX;
	assert_int_equal(start_with(f, &p), -EFAULT);
	p.used.v -= 4;
	assert_int_equal(start_with(f, &p), 0);
}

static void test_call_by_flag(void **state)
{
	struct fixture *f = *state;

	assert_false(vq_call(&f->vq));
	circulate(f, 5);
	assert_true(vq_call(&f->vq));
	assert_false(vq_call(&f->vq)); /* nothing new */
	assert_int_equal(driver_calls(&f->driver), 1);
	driver_call_off(&f->driver);
	circulate(f, 5);
	assert_false(vq_call(&f->vq));
	driver_call_on(&f->driver);
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
}

static void test_call_by_event_index(void **state)
{
	struct fixture *f = *state;

	assert_false(driver_call_on(&f->driver));
	circulate(f, 3);
	assert_true(vq_call(&f->vq)); /* the first one always */
	circulate(f, 3);
	assert_false(vq_call(&f->vq)); /* the driver asked for index 0 and never again */
	assert_false(driver_call_on(&f->driver));
	offer(f, 2);
	assert_int_equal(vq_pop(&f->vq, &f->burst, 2), 2);
	assert_false(vq_call(&f->vq)); /* not published */
	push_burst(f);
	vq_publish(&f->vq);
	assert_true(vq_call(&f->vq));
	assert_true(driver_call_on(&f->driver)); /* two are there to take */
	assert_int_equal(reclaim(f), 2);
	assert_int_equal(driver_calls(&f->driver), 2);
}

/* Asked for the 10th from here: called when that one is passed, by whatever publication passes it, and only then. */
static void test_call_for_a_later_index(void **state)
{
	struct fixture *f = *state;

	for (unsigned round = 0; round < 8000; round++) {
		circulate(f, 1);
		vq_call(&f->vq);
		ask_call_after(f, 9);
		circulate(f, 4);
		assert_false(vq_call(&f->vq));
		circulate(f, 5);
		assert_false(vq_call(&f->vq));
		circulate(f, 1);
		assert_true(vq_call(&f->vq));
	}
}

static void test_call_descriptor_changes(void **state)
{
	struct fixture *f = *state;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t n;

	vq_set_call(&f->vq, -1);
	circulate(f, 1);
	assert_false(vq_call(&f->vq));
	assert_int_equal(driver_calls(&f->driver), 0);
	vq_set_call(&f->vq, fd);
	assert_true(vq_call(&f->vq)); /* what -1 swallowed is told now */
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	vq_set_call(&f->vq, f->driver.call_fd);
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
	assert_int_equal(driver_calls(&f->driver), 1);
	close(fd);
}

/* A frontend that never reads its eventfd, or fills it itself, cannot make us wait. */
static void test_call_never_blocks(void **state)
{
	struct fixture *f = *state;
	uint64_t full = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC); /* a blocking one */

	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	vq_set_call(&f->vq, fd);
	alarm(5);
	circulate(f, 1);
	assert_false(vq_call(&f->vq));
	alarm(0);
	vq_set_call(&f->vq, -1);
	close(fd);
}

static void on_alarm(int sig)
{
}

/* Made blocking behind our back, and full: a signal ends the wait, and no ring of that frontend calls again. */
static void test_call_blocked(void **state)
{
	struct fixture *f = *state;
	const struct sigaction action = { .sa_handler = on_alarm }; /* without SA_RESTART */
	struct sigaction before;
	uint64_t full = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);
	bool blocked = false;

	f->vq.blocked = &blocked;
	vq_set_call(&f->vq, fd);
	circulate(f, 1);
	assert_true(vq_call(&f->vq));
	assert_false(blocked);
	assert_int_equal(read(fd, &(uint64_t){ 0 }, 8), 8);

	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	sigaction(SIGALRM, &action, &before);
	alarm(1);
	circulate(f, 1);
	assert_false(vq_call(&f->vq));
	assert_true(blocked);

	sigaction(SIGALRM, &before, NULL);
	alarm(5);
	circulate(f, 1);
	assert_false(vq_call(&f->vq));
	alarm(0);
	f->vq.blocked = NULL;
	vq_set_call(&f->vq, -1);
	close(fd);
}

static void test_kick_by_flag(void **state)
{
	struct fixture *f = *state;

	vq_kick_off(&f->vq);
	offer(f, 1);
	assert_false(driver_wants_kick(&f->driver));
	assert_true(vq_kick_on(&f->vq)); /* it came while kicks were off */
	assert_int_equal(vq_pop(&f->vq, &f->burst, 1), 1);
	assert_false(vq_kick_on(&f->vq));
	offer(f, 1);
	assert_true(driver_wants_kick(&f->driver));
}

/* Linux 027b17603b03: 247,758 kicks a second became 27 when the event index was left alone while polling. */
static void test_kick_by_event_index(void **state)
{
	struct fixture *f = *state;
	unsigned kicks = 0;

	vq_kick_off(&f->vq);
	for (unsigned i = 0; i < 10000; i++) {
		vq_kick_off(&f->vq);
		offer(f, 1);
		kicks += driver_wants_kick(&f->driver);
		assert_int_equal(vq_pop(&f->vq, &f->burst, 1), 1);
		push_burst(f);
		vq_publish(&f->vq);
		assert_int_equal(reclaim(f), 1);
	}
	assert_true(kicks <= 1);

	assert_false(vq_kick_on(&f->vq));
	offer(f, 1);
	assert_true(driver_wants_kick(&f->driver));
	assert_true(vq_kick_on(&f->vq));
	assert_int_equal(vq_pop(&f->vq, &f->burst, 1), 1);
	assert_false(vq_kick_on(&f->vq));
}

static void test_causes_have_names(void **state)
{
	for (unsigned i = 0; i < VQ_CAUSE_COUNT; i++)
		assert_true(strlen(vq_cause_name(i)) > 1);
	assert_string_equal(vq_cause_name(VQ_ZERO_LEN), "descriptor of no length");
}

int main(void)
{
#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BOTH(name, setup)                                             \
	TEST(name, setup),                                            \
	{                                                             \
#name "_packed", name, setup##_packed, teardown, NULL \
	}
	const struct CMUnitTest tests[] = {
		BOTH(test_pop_and_push, setup),
		BOTH(test_indirect, setup),
		TEST(test_direct_then_indirect, setup),
		TEST(test_indirect_table_at_any_address, setup),
		BOTH(test_splits_at_region_border, setup),
		BOTH(test_burst_limits, setup),
		BOTH(test_many_pushes_one_publish, setup),
		BOTH(test_unpop, setup),
		BOTH(test_iovecs_run_out, setup_large),
		BOTH(test_longest_chain, setup_large),
		BOTH(test_indices_wrap, setup_tiny),
		BOTH(test_stop_and_start_again, setup_event_idx),
		BOTH(test_start_asks_for_kicks, setup),
		TEST(test_start_refuses, setup),
		BOTH(test_call_by_flag, setup),
		BOTH(test_call_by_event_index, setup_event_idx),
		BOTH(test_call_for_a_later_index, setup_event_idx),
		BOTH(test_call_descriptor_changes, setup),
		BOTH(test_call_never_blocks, setup),
		BOTH(test_call_blocked, setup),
		BOTH(test_kick_by_flag, setup),
		BOTH(test_kick_by_event_index, setup_event_idx),
		TEST(test_causes_have_names, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
