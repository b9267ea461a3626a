/* SPDX-License-Identifier: MIT */
/* A ring whose device dies: at every point of a publication, and wherever a `kill -9` hits.
 *
 * The driver checks that each chain comes back once, in order, filled; it notices nothing of who filled it.
 */
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"
#include "inflight.h"
#include "place.h"
#include "tmp.h"
#include "vq.h"

#define NUM      24 /* no power of two, for packed rings */
#define PACKED   BIT_ULL(VIRTIO_F_RING_PACKED)
#define IN_ORDER BIT_ULL(VIRTIO_F_IN_ORDER)
#define SLOT     64

struct fixture {
	struct guest guest;
	struct driver driver;
	struct mem mem;
	struct vq vq;
	struct vq_burst burst;
	gpa_t data; /* one slot a chain */
	struct tmp_dir dir;
	char path[96];
	struct places *places;
	uint32_t base; /* what a frontend like QEMU would say, whatever happened since */
	uint32_t sent, got;
	bool single; /* chains of one descriptor only: the ring is full to the last entry */
	size_t ring_size;
};

static void start(struct fixture *f)
{
	struct vq_params p;

	driver_params(&f->driver, &p);
	p.base = f->base;
	p.place = f->places ? places_ring(f->places, 1) : NULL;
	assert_int_equal(vq_start(&f->vq, &f->mem, &p), 0);
}

static int setup_ring(void **state, uint16_t num, uint64_t features)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vq_params p;

	tmp_dir_init(&f->dir);
	tmp_path(&f->dir, "state", f->path, sizeof(f->path));
	guest_init(&f->guest, 1, 1 << 20);
	mem_init(&f->mem);
	guest_share(&f->guest, &f->mem);
	driver_init(&f->driver, &f->guest, num, features);
	f->data = guest_alloc(&f->guest, num * SLOT, 64);
	f->ring_size = num * sizeof(struct vring_packed_desc);
	driver_params(&f->driver, &p);
	f->base = p.base;
	if (features & PACKED)
		assert_int_equal(places_open(f->path, 2, &f->places), 0);
	start(f);
	*state = f;
	return 0;
}

static int setup_packed(void **state)
{
	return setup_ring(state, NUM, PACKED);
}

static int setup_packed_in_order(void **state)
{
	return setup_ring(state, NUM, PACKED | IN_ORDER);
}

/* So small that it is often full, and all of one lap. */
static int setup_packed_tiny(void **state)
{
	int r = setup_ring(state, 3, PACKED);

	((struct fixture *)*state)->single = true;
	return r;
}

static int setup_packed_tiny_in_order(void **state)
{
	int r = setup_ring(state, 3, PACKED | IN_ORDER);

	((struct fixture *)*state)->single = true;
	return r;
}

static int setup_split(void **state)
{
	return setup_ring(state, 32, 0);
}

static int setup_split_in_order(void **state)
{
	return setup_ring(state, 32, IN_ORDER);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	uint32_t base;

	vq_stop(&f->vq, &base);
	places_close(f->places);
	mem_done(&f->mem);
	driver_done(&f->driver);
	guest_done(&f->guest);
	tmp_dir_done(&f->dir);
	free(f);
	return 0;
}

/* ---- the driver's half --------------------------------------------------- */

/* Chains of one to three descriptors, and every third is one that is only read. */
static unsigned n_in_of(const struct fixture *f, uint32_t serial)
{
	return f->single ? 0 : serial % 3;
}

static gpa_t slot_of(const struct fixture *f, uint32_t serial)
{
	return GPA(f->data.v + serial % f->driver.num * SLOT);
}

static bool send_one(struct fixture *f)
{
	unsigned n_in = n_in_of(f, f->sent);
	gpa_t at = slot_of(f, f->sent);
	const struct driver_buf bufs[3] = { { at, 8 },
					    { GPA(at.v + 8), 8 },
					    { GPA(at.v + 16), 8 } };
	uint32_t *slot = guest_ptr(&f->guest, at, SLOT);
	int head;

	if (f->sent - f->got >= f->driver.num)
		return false;
	memset(slot, 0, SLOT);
	slot[0] = f->sent;
	head = driver_add(&f->driver, bufs, 1, n_in);
	if (head < 0)
		return false;
	driver_set_cookie(&f->driver, head, (void *)(uintptr_t)f->sent);
	f->sent++;
	return true;
}

static void send_many(struct fixture *f, unsigned n)
{
	while (n-- > 0 && send_one(f))
		;
	driver_publish(&f->driver);
}

static bool take_one(struct fixture *f)
{
	uint32_t len, want = 8 * n_in_of(f, f->got), *slot;
	int head = driver_used(&f->driver, &len);

	if (head == -EAGAIN)
		return false;
	assert_int_equal((uintptr_t)driver_cookie(&f->driver, head), f->got);
	slot = guest_ptr(&f->guest, slot_of(f, f->got), SLOT);
	assert_int_equal(len, want);
	if (want > 0)
		assert_int_equal(slot[2], ~f->got);
	f->got++;
	return true;
}

static void take_all(struct fixture *f)
{
	while (take_one(f))
		;
}

/* ---- the device's half ---------------------------------------------------- */

static void fill(struct vq *vq, const struct vq_chain *c)
{
	uint32_t serial;

	memcpy(&serial, c->iov[0].iov_base, sizeof(serial));
	serial = ~serial;
	if (c->n_in > 0)
		memcpy(c->iov[1].iov_base, &serial, sizeof(serial));
	vq_push(vq, c->head, c->in_len);
}

/* Pop up to max and push, without telling anybody. */
static int work(struct fixture *f, unsigned max)
{
	int n = vq_pop(&f->vq, &f->burst, max);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		fill(&f->vq, &f->burst.chain[i]);
	return n;
}

/* The process is gone, and another one comes. */
static void crash(struct fixture *f)
{
	memset(&f->vq, 0, sizeof(f->vq));
	places_close(f->places);
	f->places = NULL;
	if (f->driver.packed)
		assert_int_equal(places_open(f->path, 2, &f->places), 0);
	start(f);
}

/* All that is under way arrives. */
static void settle(struct fixture *f)
{
	while (f->got < f->sent) {
		uint32_t before = f->got;

		work(f, VQ_BURST);
		vq_publish(&f->vq);
		take_all(f);
		assert_true(f->got > before);
	}
}

/* ---- one death at a time -------------------------------------------------- */

enum death {
	AFTER_POP,      /* chains are in our hands */
	AFTER_RECORD,   /* the batch is on record, the ring untouched */
	WITHIN_RING,    /* all entries are in the ring but the first */
	AFTER_RING,     /* the driver sees them, the record does not know */
	AFTER_TAKEN,    /* and has taken them back already */
	AFTER_REFILLED, /* and has filled the ring again */
	AFTER_PUBLISH,
	DEATHS,
};

static void die(struct fixture *f, enum death how, unsigned max)
{
	struct vq_place *place = f->places ? places_ring(f->places, 1) : NULL;
	uint8_t *ring = guest_ptr(&f->guest, f->driver.desc_gpa, f->ring_size), copy[4096];
	uint64_t word;

	work(f, max);
	memcpy(copy, ring, f->ring_size);
	if (how == AFTER_RECORD || how == WITHIN_RING)
		vq_write_staged(&f->vq);
	if (how == AFTER_RECORD && place)
		memcpy(ring, copy, f->ring_size);
	if (how >= AFTER_RING) {
		vq_write_staged(&f->vq);
		word = place ? place->word : 0;
		vq_publish(&f->vq);
		if (how >= AFTER_TAKEN)
			take_all(f);
		if (how >= AFTER_REFILLED)
			send_many(f, NUM);
		if (how < AFTER_PUBLISH && place)
			place->word = word;
	}
	crash(f);
	take_all(f);
}

/* At each point, with rings as full as they can be, at each place of many laps. */
static void dies(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 7;

	for (unsigned i = 0; i < 4000; i++) {
		unsigned max = (seed = seed * 1103515245 + 12345) >> 16;

		send_many(f, seed >> 20);
		die(f, i % DEATHS, 1 + max % 12);
		if (i % 5 == 0)
			settle(f);
	}
	settle(f);
}

/* One after the other without a chance to work in between. */
static void dies_again_at_once(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 200; i++) {
		send_many(f, NUM);
		die(f, i % DEATHS, 7);
		for (unsigned k = 0; k < i % 4; k++)
			crash(f);
	}
	settle(f);
}

/* ---- what the record must not be believed --------------------------------- */

/* The guest was started anew while nobody served it: a ring at the same address, which never had a device. */
static void ring_made_anew(void **state)
{
	struct fixture *f = *state;

	for (unsigned used = 1; used < 3 * NUM; used++) {
		struct driver fresh;
		gpa_t at = f->driver.desc_gpa;

		for (unsigned i = 0; i < used; i++) {
			send_many(f, 1);
			settle(f);
		}
		/* The same place in memory, all zeros, then filled to the brim. */
		memset(f->driver.ring, 0, f->ring_size);
		fresh = f->driver;
		fresh.avail_at = fresh.used_at = (struct driver_pos){ 0, true };
		fresh.n_unpublished = fresh.n_unkicked = 0;
		fresh.n_out = 0;
		fresh.in_batch = false;
		f->driver = fresh;
		assert_int_equal(f->driver.desc_gpa.v, at.v);
		f->got = f->sent = 0;
		if (used % 2)
			send_many(f, NUM);
		crash(f);
		send_many(f, NUM);
		settle(f);
		assert_true(f->got > 0);
	}
}

/* GET_VRING_BASE was answered: what the frontend says is right from now on. */
static void forgotten(void **state)
{
	struct fixture *f = *state;
	uint32_t base;

	send_many(f, 10);
	settle(f);
	vq_stop(&f->vq, &base);
	place_forget(places_ring(f->places, 1));
	f->base = base;
	start(f);
	send_many(f, 10);
	settle(f);
	vq_stop(&f->vq, &base);
	/* Stopped without a word, as by a change of memory: the place is kept whatever base says. */
	start(f);
	send_many(f, 10);
	settle(f);
}

/* Whatever is in the file: no crash, and the ring starts somewhere. */
static void hostile_record(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 3;

	for (unsigned i = 0; i < 20000; i++) {
		struct vq_place *p = places_ring(f->places, 1);
		uint32_t base;

		send_many(f, 3);
		vq_stop(&f->vq, &base);
		for (unsigned k = 0; k < NUM; k++) {
			seed = seed * 1103515245 + 12345;
			p->batch[k].head = i % 2 ? seed :
						   (seed >> 16 & 3) << 16 | (seed >> 20) % NUM;
			p->batch[k].len = seed;
		}
		seed = seed * 1103515245 + 12345;
		p->ring = guest_uva(&f->guest, f->driver.desc_gpa).v;
		p->num = NUM;
		p->word = PLACE_WORD((seed >> 3) % (i % 3 ? NUM : 0x10000) | (seed & 0x8000),
				     (seed >> 9) % NUM, seed % (i % 5 ? NUM + 1 : 0x10000),
				     PLACE_VALID | (seed >> 30));
		start(f);
		(void)vq_pop(&f->vq, &f->burst, VQ_BURST);
		vq_unpop(&f->vq, f->burst.n);
		/* The driver is confused by now; begin again. */
		vq_stop(&f->vq, &base);
		place_forget(places_ring(f->places, 1));
		memset(f->driver.ring, 0, f->ring_size);
		driver_done(&f->driver);
		f->guest.used = 0;
		driver_init(&f->driver, &f->guest, NUM, PACKED);
		f->got = f->sent = 0;
		start(f);
	}
}

/* ---- the file ------------------------------------------------------------- */

static void file(void **state)
{
	char path[96], link[96];
	struct tmp_dir dir;
	struct places *a, *b;
	struct stat st;
	int fd;

	tmp_dir_init(&dir);
	tmp_path(&dir, "state", path, sizeof(path));
	tmp_path(&dir, "link", link, sizeof(link));
	assert_int_equal(places_open(path, 0, &a), -EINVAL);
	assert_int_equal(places_open(path, 4, &a), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(st.st_blocks * 512 < 64 * 1024); /* sparse */
	assert_int_equal(places_open(path, 4, &b), -EBUSY);
	places_ring(a, 3)->num = 99;
	places_close(a);

	/* The same again: what is in it stays; another layout: it goes. */
	assert_int_equal(places_open(path, 4, &a), 0);
	assert_int_equal(places_ring(a, 3)->num, 99);
	places_close(a);
	assert_int_equal(places_open(path, 5, &a), 0);
	assert_int_equal(places_ring(a, 3)->num, 0);
	places_close(a);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(places_open(path, 5, &a), 0);
	places_close(a);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	close(fd);
	assert_int_equal(places_open(path, 5, &a), 0);
	places_close(a);

	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(places_open(link, 5, &a), -ELOOP);
	assert_true(places_open(dir.path, 5, &a) < 0);
	assert_int_equal(places_open("/nowhere/state", 5, &a), -ENOENT);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(places_open(path, 5, &a), -EINVAL);
	places_close(NULL);
	tmp_dir_done(&dir);
}

/* ---- kill -9 --------------------------------------------------------------- */

/* A device that works until it is killed. */
static void device_process(struct fixture *f)
{
	if (f->driver.packed && places_open(f->path, 2, &f->places) < 0)
		_exit(1);
	start(f);
	for (unsigned i = 0;; i++) {
		int n = vq_pop(&f->vq, &f->burst, 1 + i % 9);

		if (n < 0)
			_exit(2);
		for (int k = 0; k < n; k++)
			fill(&f->vq, &f->burst.chain[k]);
		vq_publish(&f->vq);
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Serve the device for a while, or until one chain has come back. */
static void drive(struct fixture *f, uint64_t ns)
{
	uint64_t end = now_ns() + ns, patience = now_ns() + 20000000000ull;
	uint32_t before = f->got;

	while (now_ns() < end || f->got == before) {
		send_many(f, NUM);
		take_all(f);
		assert_true(now_ns() < patience); /* the ring stands still: its place was lost */
	}
}

static void killed(void **state)
{
	struct fixture *f = *state;
	unsigned seed = 11;
	uint32_t base;

	vq_stop(&f->vq, &base);
	places_close(f->places);
	f->places = NULL;
	for (unsigned i = 0; i < 150; i++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			device_process(f);
		seed = seed * 1103515245 + 12345;
		drive(f, 100000 + seed % 3000000);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		take_all(f);
	}
	assert_true(f->got > 300);
	if (f->driver.packed)
		assert_int_equal(places_open(f->path, 2, &f->places), 0);
	start(f);
	settle(f);
}

int main(void)
{
#define CASE(fn, with) cmocka_unit_test_setup_teardown(fn, setup_##with, teardown)
	const struct CMUnitTest tests[] = {
		CASE(dies, packed),
		CASE(dies, packed_in_order),
		CASE(dies, packed_tiny),
		CASE(dies, packed_tiny_in_order),
		CASE(dies, split),
		CASE(dies, split_in_order),
		CASE(dies_again_at_once, packed),
		CASE(dies_again_at_once, packed_in_order),
		CASE(dies_again_at_once, split),
		CASE(ring_made_anew, packed),
		CASE(forgotten, packed),
		CASE(hostile_record, packed),
		cmocka_unit_test(file),
		CASE(killed, packed),
		CASE(killed, packed_in_order),
		CASE(killed, packed_tiny),
		CASE(killed, split),
		CASE(killed, split_in_order),
	};

	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
