/* SPDX-License-Identifier: MIT */
/* A driver that changes its ring, tables and buffers while the device works on them.
 *
 * One thread does nothing but write into guest memory: into all of it, and most of all where it hurts, into descriptors,
 * indices, flags and indirect tables, often back and forth between a good and a bad value, so that a second look sees
 * another one than the first.  The device pops, touches every byte that it is given, pushes, publishes, and starts anew
 * when its ring broke.
 *
 * Nothing may happen but a broken ring: every piece lies in guest memory at the time of use, sums are those of the
 * pieces, counts stay within the ring.  Under the address sanitizer (with a wall behind guest memory) any double fetch
 * shows sooner or later; under the thread sanitizer every access to the ring must be an atomic one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dirtylog.h"
#include "driver.h"
#include "vq.h"

#define NUM       64
#define MEMORY    (256u << 10)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)
#define IN_ORDER  BIT_ULL(VIRTIO_F_IN_ORDER)
#define EVENT_IDX BIT_ULL(VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)

#define ROUNDS 4000 /* at least, and */
#define BREAKS 20   /* rings that broke, */
#define CHAINS 100  /* chains that did not */

struct fixture {
	struct guest guest;
	struct driver driver;
	struct mem mem;
	struct vq vq;
	struct vq_burst burst;
	struct dirtylog log;
	struct vq_place *place;
	gpa_t buffers, table;
	bool logged, stop; /* stop: atomic */
	unsigned near;     /* atomic: where the device is */
	unsigned seed;
	time_t begun;
	uint64_t n_chains, n_broken, sum;
};

static unsigned roll(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

/* ---- the mutator ----------------------------------------------------------- */

static uint64_t an_address(const struct fixture *f, unsigned *seed)
{
	switch (roll(seed) % 32) {
	case 0:
		return GUEST_GPA + MEMORY - roll(seed) % 64; /* across the end */
	case 1:
		return (uint64_t)roll(seed) << (roll(seed) % 40);
	case 2:
		return f->driver.desc_gpa.v + roll(seed) % 1024; /* the ring itself */
	default:
		return f->buffers.v + roll(seed) % 4096;
	}
}

static uint32_t a_length(unsigned *seed)
{
	static const uint32_t odd[] = { 0, 1, 16, 32, 48, 1024, 65536, UINT32_MAX };

	return roll(seed) % 16 ? 16 * (1 + roll(seed) % 8) : odd[roll(seed) % 8];
}

static uint16_t some_flags(unsigned *seed, bool packed)
{
	uint16_t flags = roll(seed) % (roll(seed) % 4 ? 4 : 8) & (roll(seed) % 4 ? 6 : 7);

	if (packed && roll(seed) % 4)
		flags |= roll(seed) % 2 ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
	return flags;
}

static void mutate_table(struct fixture *f, unsigned *seed)
{
	struct vring_desc *table = guest_ptr(&f->guest, f->table, 32 * sizeof(*table));
	unsigned i = roll(seed) % 32;

	le64_store(&table[i].addr, an_address(f, seed));
	le32_store(&table[i].len, a_length(seed));
	le16_store(&table[i].flags, (uint16_t)(roll(seed) % 8));
	le16_store(&table[i].next, (uint16_t)(roll(seed) % 40));
}

static void mutate_split(struct fixture *f, unsigned *seed)
{
	struct driver *d = &f->driver;
	struct vring_desc *desc = &d->desc[roll(seed) % NUM];

	switch (roll(seed) % 8) {
	case 0:
		le16_store(&d->avail->ring[roll(seed) % NUM],
			   (uint16_t)(roll(seed) % (roll(seed) % 64 ? NUM : NUM + 4)));
		break;
	case 1:
	case 2:
		le16_store_release(&d->avail->idx,
				   (uint16_t)(le16_load(&d->used->idx) + roll(seed) % NUM));
		break;
	case 3:
		le16_store(&d->used->idx,
			   (uint16_t)roll(seed)); /* ours: we must not read it again */
		break;
	case 4:
		le64_store(&desc->addr, roll(seed) % 4 == 0 ? f->table.v : an_address(f, seed));
		break;
	case 5:
		le32_store(&desc->len, a_length(seed));
		break;
	case 6:
		le16_store(&desc->flags, some_flags(seed, false));
		break;
	default:
		le16_store(&desc->next, (uint16_t)(roll(seed) % (NUM + 2)));
		break;
	}
}

static void mutate_packed(struct fixture *f, unsigned *seed)
{
	unsigned near = __atomic_load_n(&f->near, __ATOMIC_RELAXED) + roll(seed) % 4;
	struct vring_packed_desc *desc =
		&f->driver.ring[(roll(seed) % 4 ? near : roll(seed)) % NUM];

	if (roll(seed) % 3 == 0)
		le64_store(&desc->addr, roll(seed) % 4 == 0 ? f->table.v : an_address(f, seed));
	else
		le64_store_release(
			&desc->state,
			a_length(seed) |
				(uint64_t)(roll(seed) % (roll(seed) % 64 ? NUM : NUM + 2)) << 32 |
				(uint64_t)some_flags(seed, true) << 48);
}

static void *mutator(void *arg)
{
	struct fixture *f = arg;
	unsigned seed = f->seed;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		if (roll(&seed) % 4 == 0)
			mutate_table(f, &seed);
		else if (f->driver.packed)
			mutate_packed(f, &seed);
		else
			mutate_split(f, &seed);
	}
	return NULL;
}

/* ---- the device ------------------------------------------------------------- */

static void start(struct fixture *f)
{
	struct vq_params p;

	driver_params(&f->driver, &p);
	p.base = f->driver.packed ? 0x80008000 : 0;
	p.call_fd = -1;
	p.place = f->place;
	if (f->logged) {
		p.log = &f->log;
		p.log_used = true;
		p.used_gpa = f->driver.used_gpa;
	}
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
}

static void check_piece(const struct fixture *f, const struct iovec *v)
{
	const uint8_t *low = f->mem.region[0].va, *at = v->iov_base;

	assert_true(v->iov_len > 0 && v->iov_len <= MEMORY);
	assert_true(at >= low && at + v->iov_len <= low + MEMORY);
}

/* The bytes are the guest's to change meanwhile: relaxed, as every device's copy is in spirit. */
static void use(struct fixture *f, const struct vq_chain *c)
{
	uint64_t out = 0, in = 0;

	for (unsigned i = 0; i < (unsigned)c->n_out + c->n_in; i++) {
		const struct iovec *v = &c->iov[i];
		uint8_t *bytes = v->iov_base;

		check_piece(f, v);
		*(i < c->n_out ? &out : &in) += v->iov_len;
		f->sum += __atomic_load_n(&bytes[0], __ATOMIC_RELAXED);
		f->sum += __atomic_load_n(&bytes[v->iov_len - 1], __ATOMIC_RELAXED);
		if (i >= c->n_out)
			__atomic_store_n(&bytes[v->iov_len - 1], 0x77, __ATOMIC_RELAXED);
	}
	assert_true(out == c->out_len && in == c->in_len);
	vq_push(&f->vq, c->head, c->in_len);
}

static void round_of_work(struct fixture *f, unsigned *seed)
{
	int n = vq_pop(&f->vq, &f->burst, 1 + roll(seed) % VQ_BURST);
	unsigned back;
	uint32_t base;

	if (n < 0) {
		assert_true(f->vq.cause != VQ_OK);
		f->n_broken++;
		vq_stop(&f->vq, &base);
		start(f);
		return;
	}
	assert_true(f->vq.in_flight <= NUM);
	back = n > 0 ? roll(seed) % (unsigned)(n + 1) : 0;
	vq_unpop(&f->vq, back);
	for (unsigned i = 0; i < (unsigned)n - back; i++)
		use(f, &f->burst.chain[i]);
	f->n_chains += (unsigned)n - back;
	if (roll(seed) % 8 == 0)
		vq_write_staged(&f->vq);
	vq_publish(&f->vq);
	(void)vq_call(&f->vq);
	if (roll(seed) % 4 == 0)
		vq_kick_off(&f->vq);
	else
		(void)vq_kick_on(&f->vq);
	(void)vq_more(&f->vq);
	__atomic_store_n(&f->near, f->vq.last_avail, __ATOMIC_RELAXED);
}

/* A machine that has no time for both threads at once gets more of it. */
static bool patience(const struct fixture *f)
{
	return time(NULL) - f->begun < 60;
}

static void race(struct fixture *f)
{
	unsigned seed = 99;
	pthread_t thread;
	uint32_t base;

	f->begun = time(NULL);
	start(f);
	f->seed = 5;
	assert_int_equal(pthread_create(&thread, NULL, mutator, f), 0);
	for (unsigned i = 0;
	     i < ROUNDS || ((f->n_broken < BREAKS || f->n_chains < CHAINS) && patience(f)); i++) {
		round_of_work(f, &seed);
		if (f->burst.n == 0)
			sched_yield();
	}
	__atomic_store_n(&f->stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	print_message("# %lu chains, %lu breaks\n", (unsigned long)f->n_chains,
		      (unsigned long)f->n_broken);
	assert_true(f->n_broken >= BREAKS && f->n_chains >= CHAINS);
	vq_stop(&f->vq, &base);
}

static int setup_features(void **state, uint64_t features, bool special)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char name[] = "/tmp/test_vq_race.XXXXXX";
	int fd;

	guest_init(&f->guest, 1, MEMORY);
	mem_init(&f->mem);
	guest_share_address(&f->guest, &f->mem);
	driver_init(&f->driver, &f->guest, NUM, features);
	f->buffers = guest_alloc(&f->guest, 8192, 64);
	f->table = guest_alloc(&f->guest, 1024, 64);
	dirtylog_init(&f->log);
	f->logged = special;
	if (special) {
		fd = mkstemp(name);
		assert_true(fd >= 0);
		unlink(name);
		assert_int_equal(ftruncate(fd, 4096), 0);
		assert_int_equal(dirtylog_set(&f->log, fd, 4096, 0), 0);
		f->place = calloc(1, place_size(NUM));
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dirtylog_done(&f->log);
	mem_done(&f->mem);
	driver_done(&f->driver);
	guest_done(&f->guest);
	free(f->place);
	free(f);
	return 0;
}

#define SETUP(name, features, special)                           \
	static int setup_##name(void **state)                    \
	{                                                        \
		return setup_features(state, features, special); \
	}

SETUP(split, INDIRECT, false)
SETUP(split_all, INDIRECT | EVENT_IDX | IN_ORDER, true)
SETUP(packed, PACKED | INDIRECT, false)
SETUP(packed_all, PACKED | INDIRECT | EVENT_IDX | IN_ORDER, true)

static void hostile_driver(void **state)
{
	race(*state);
}

int main(void)
{
#define CASE(with)                                                                    \
	{                                                                             \
		"hostile_driver_" #with, hostile_driver, setup_##with, teardown, NULL \
	}
	const struct CMUnitTest tests[] = {
		CASE(split),
		CASE(split_all),
		CASE(packed),
		CASE(packed_all),
	};

	return cmocka_run_group_tests_name("vq race", tests, NULL, NULL);
}
