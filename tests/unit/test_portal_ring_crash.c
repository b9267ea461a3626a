/* SPDX-License-Identifier: MIT */
/* Each operation of a ring's end is killed at every step, and somebody else takes the end: no record that was committed is
 * lost, none is torn, none that was not committed is read, and the ring goes on.  Taking over is an operation like the others: it
 * is killed, too.
 *
 * The operation runs in a child that is single-stepped.  A first child runs through, and the steps are noted behind which the
 * shared memory has changed; for each of them, and for the beginning, another child is stepped as far and killed there by
 * SIGKILL.  (Between two changes of the memory all moments to die are the same: nothing else outlives a process.)
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "clock.h"
#include "ring.h"

#define SIZE      4096u
#define MEMORY    (64u << 10)
#define STEPS_MAX 200000u /* of an operation, sanitizers included */
#define MOMENTS   512u    /* at which it is killed */

#define PRODUCER 0x10001 /* owner words: leases 1 and so on */
#define CONSUMER 0x10002
#define HEIR     0x10003
#define SECOND   0x10004

static bool dead[8];

static bool is_alive(void *ctx, uint64_t owner)
{
	return !dead[owner & 7];
}

static bool is_near(void *ctx, uint64_t owner)
{
	return true;
}

static void bell(void *ctx, uint64_t owner)
{
}

static uint64_t bells(void *ctx)
{
	return 0;
}

static int nap(void *ctx, uint64_t seen, uint64_t until_ns)
{
	return -ETIMEDOUT;
}

static int rest(void *ctx)
{
	return 0;
}

static const struct ring_ops world = { is_alive, is_near, bell, bells, nap, rest };

struct fixture {
	uint8_t *mem; /* shared with the children */
	uint64_t total;
	struct portal_ring *producer, *consumer;
	uint32_t sent, got; /* records, numbered */
};

static struct portal_ring *end_of(struct fixture *f, enum portal_role role, uint64_t self)
{
	struct ring_env env = { .self = self, .ops = &world };
	struct portal_ring *r;

	assert_int_equal(ring_open(f->mem, f->total, role, &env, &r), 0);
	r->spin_ns = 0; /* a step at a time that would be long */
	return r;
}

/* ---- records --------------------------------------------------------------------- */

/* A record's length follows from its number, and every byte from both. */
static uint32_t length_of(uint32_t i)
{
	return 4 + i % 13 * 5;
}

static void fill(uint8_t *at, uint32_t i, uint32_t len)
{
	memset(at, (int)(i * 37 + 1), len);
	memcpy(at, &i, sizeof(i));
}

static int send_next(struct fixture *f)
{
	uint8_t data[80];

	fill(data, f->sent, length_of(f->sent));
	return portal_send(f->producer, data, length_of(f->sent), 0);
}

/* Is this record number i, whole? */
static void check(const struct portal_record *record, uint32_t i)
{
	uint8_t expected[80];

	assert_int_equal(record->len, length_of(i));
	fill(expected, i, record->len);
	assert_memory_equal(record->data, expected, record->len);
}

static uint32_t number_of(const struct portal_record *record)
{
	uint32_t i;

	memcpy(&i, record->data, sizeof(i));
	return i;
}

/* ---- operations -------------------------------------------------------------------- */

struct operation {
	const char *name;
	enum portal_ring_kind kind;
	enum portal_role who; /* dies */
	uint32_t before;      /* records sent before it begins */
	uint32_t waiting;     /* of them, not read */
	uint32_t count;       /* records that it sends or takes, at most */
	bool at_end; /* the next record does not fit behind the last one: a PAD comes before it */
	bool takes_over; /* the end's owner is dead already: the operation is to take it */
	void (*run)(struct fixture *f); /* in the child */
};

static void op_send(struct fixture *f)
{
	(void)send_next(f);
}

static void op_commit(struct fixture *f)
{
	void *at;

	if (portal_reserve(f->producer, 80, &at) == 0) {
		fill(at, f->sent, length_of(f->sent));
		(void)portal_commit(f->producer, length_of(f->sent), 0);
	}
}

static void op_abandon(struct fixture *f)
{
	void *at;

	if (portal_reserve(f->producer, 80, &at) == 0)
		memset(at, 0xff, 80);
}

static void op_batch(struct fixture *f)
{
	uint8_t data[5][80];
	struct portal_record records[5];

	for (uint32_t i = 0; i < 5; i++) {
		fill(data[i], f->sent + i, length_of(f->sent + i));
		records[i] = (struct portal_record){ data[i], length_of(f->sent + i), 0, 0 };
	}
	(void)portal_send_batch(f->producer, records, 5);
}

/* Three of one length: so they are not numbered ones, but zeros. */
static void op_array(struct fixture *f)
{
	static const uint8_t data[3 * 20];

	(void)portal_send_array(f->producer, data, 20, 3, 1);
}

static void op_close_producer(struct fixture *f)
{
	ring_leave(f->producer);
}

static void op_take_over_producer(struct fixture *f)
{
	f->producer = end_of(f, PORTAL_PRODUCER, SECOND);
}

static void op_recv(struct fixture *f)
{
	uint8_t data[80];

	(void)portal_recv(f->consumer, data, sizeof(data), NULL);
}

static void op_recv_all(struct fixture *f)
{
	uint8_t data[80];

	while (portal_recv(f->consumer, data, sizeof(data), NULL) > 0)
		;
}

static void op_peek_and_release(struct fixture *f)
{
	struct portal_record records[4];

	(void)portal_peek_batch(f->consumer, records, 4);
	(void)portal_release(f->consumer);
}

static void op_wait_for_records(struct fixture *f)
{
	op_recv_all(f);
	(void)portal_wait(f->consumer, clock_ns() + NS_PER_MS);
}

static void op_close_consumer(struct fixture *f)
{
	ring_leave(f->consumer);
}

static void op_take_over_consumer(struct fixture *f)
{
	f->consumer = end_of(f, PORTAL_CONSUMER, SECOND);
}

/* ---- before the death -------------------------------------------------------------- */

static bool at_end(const struct fixture *f)
{
	const struct lane_producer *p = &f->producer->producer;

	return SIZE - (p->tail & p->mask) < ring_span(length_of(f->sent));
}

/* A ring with some history, the same each time. */
static void prepare(struct fixture *f, const struct operation *op)
{
	struct portal_ring_options options = {
		.kind = op->kind, .size = SIZE, .max_record = 100, .lanes = 2
	};
	struct ring_geometry geo;
	struct portal_record record;

	memset(dead, 0, sizeof(dead));
	memset(f->mem, 0xa5, MEMORY);
	assert_int_equal(ring_plan(&options, &geo), 0);
	f->total = ring_total(geo.lanes, geo.size);
	assert_true(f->total <= MEMORY);
	ring_format(f->mem, &geo);
	f->sent = f->got = 0;
	f->producer = end_of(f, PORTAL_PRODUCER, PRODUCER);
	f->consumer = end_of(f, PORTAL_CONSUMER, CONSUMER);
	for (uint32_t i = 0; i < op->before || (op->at_end && !at_end(f)); i++) {
		assert_int_equal(send_next(f), 0);
		f->sent++;
		if (f->sent <= op->waiting)
			continue;
		assert_int_equal(portal_peek(f->consumer, &record), 0);
		check(&record, f->got++);
		assert_int_equal(portal_release(f->consumer), 0);
	}
	if (op->takes_over)
		dead[(op->who == PORTAL_PRODUCER ? PRODUCER : CONSUMER) & 7] = true;
}

/* ---- the death --------------------------------------------------------------------- */

static pid_t start(struct fixture *f, const struct operation *op)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(9);
		raise(SIGSTOP);
		op->run(f);
		raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
	return pid;
}

/* One step: false, when the operation is over. */
static bool step(pid_t pid)
{
	int status;

	assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	return WSTOPSIG(status) == SIGTRAP;
}

static void kill_it(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void forget(struct portal_ring *r)
{
	free(r->lanes);
	free(r);
}

/* The steps behind which the memory is another one than before, the first of all being 0, and the last one. */
static unsigned find_moments(struct fixture *f, const struct operation *op, uint32_t *ret_moments)
{
	static uint8_t before[MEMORY];
	unsigned n = 0;
	uint32_t at = 0;
	pid_t pid;

	prepare(f, op);
	pid = start(f, op);
	memcpy(before, f->mem, MEMORY);
	ret_moments[n++] = 0;
	while (step(pid)) {
		assert_true(++at < STEPS_MAX);
		if (memcmp(before, f->mem, f->total) == 0)
			continue;
		memcpy(before, f->mem, MEMORY);
		assert_true(n + 1 < MOMENTS);
		ret_moments[n++] = at;
	}
	kill_it(pid);
	forget(f->producer);
	forget(f->consumer);
	ret_moments[n++] = UINT32_MAX;
	return n;
}

/* ---- after it ---------------------------------------------------------------------- */

/* What is read now is what was sent and not read, then what the dead producer's operation has sent, if it came so far: all
 * of it, if it was over. */
static void producer_died(struct fixture *f, const struct operation *op, bool was_over)
{
	struct portal_record record;
	uint32_t expected = f->got, extra = 0;
	struct ring_env env = { .self = HEIR, .ops = &world };
	bool numbered = op->run != op_array;
	int r;

	forget(f->producer);
	assert_int_equal(ring_open(f->mem, f->total, PORTAL_PRODUCER, &env, &f->producer), 0);
	f->sent += 1000;
	assert_int_equal(send_next(f), 0);
	f->sent -= 1000;
	while ((r = portal_peek(f->consumer, &record)) == 0) {
		assert_true(record.type == 0 || !numbered);
		if (record.type == 1) {
			static const uint8_t zeros[20];

			assert_int_equal(record.len, 20);
			assert_memory_equal(record.data, zeros, 20);
			extra++;
		} else if (number_of(&record) == f->sent + 1000) {
			check(&record, f->sent + 1000);
			extra += expected > f->sent ? expected - f->sent : 0;
			break;
		} else {
			check(&record, expected++);
		}
		assert_int_equal(portal_release(f->consumer), 0);
	}
	assert_int_equal(r, 0);
	assert_true(expected >= f->sent);
	assert_true(extra <= op->count);
	if (was_over)
		assert_int_equal(extra, op->count);
	if ((!numbered || op->run == op_batch) && !op->at_end)
		/* Published together: all or none.  (Around a lane's end they lie apart.) */
		assert_true(extra == 0 || extra == op->count);
	assert_int_equal(portal_release(f->consumer), 0);
	assert_int_equal(portal_peek(f->consumer, &record), -EAGAIN);
	ring_close(f->producer);
	ring_close(f->consumer);
}

/* What the next consumer reads is everything from some record on that the dead one had not read, or had read not long ago. */
static void consumer_died(struct fixture *f, const struct operation *op)
{
	struct ring_env env = { .self = HEIR, .ops = &world };
	struct portal_record record;
	uint32_t first, next;

	forget(f->consumer);
	assert_int_equal(ring_open(f->mem, f->total, PORTAL_CONSUMER, &env, &f->consumer), 0);
	assert_int_equal(send_next(f), 0);
	f->sent++;
	assert_int_equal(portal_peek(f->consumer, &record), 0);
	first = next = number_of(&record);
	assert_true(first <= f->got + op->count);
	assert_true(first + 64 >= f->got);
	do {
		check(&record, next++);
		assert_int_equal(portal_release(f->consumer), 0);
	} while (portal_peek(f->consumer, &record) == 0);
	assert_int_equal(next, f->sent);
	/* And the producer finds the whole lane free again, round and round. */
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(send_next(f), 0);
		assert_int_equal(portal_peek(f->consumer, &record), 0);
		check(&record, f->sent++);
		assert_int_equal(portal_release(f->consumer), 0);
	}
	ring_close(f->producer);
	ring_close(f->consumer);
}

static unsigned kill_at_every_step(struct fixture *f, const struct operation *op)
{
	uint32_t moments[MOMENTS];
	unsigned n = find_moments(f, op, moments);

	for (unsigned i = 0; i < n; i++) {
		bool over = false;
		pid_t pid;

		prepare(f, op);
		pid = start(f, op);
		for (uint32_t k = 0; k < moments[i] && !over; k++)
			over = !step(pid);
		kill_it(pid);
		dead[SECOND & 7] = true;
		dead[(op->who == PORTAL_PRODUCER ? PRODUCER : CONSUMER) & 7] = true;
		if (op->who == PORTAL_PRODUCER)
			producer_died(f, op, over);
		else
			consumer_died(f, op);
	}
	return n;
}

static void run(const struct operation *ops, unsigned n_ops)
{
	struct fixture f = { 0 };

	f.mem = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(f.mem, MAP_FAILED);
	for (unsigned i = 0; i < n_ops; i++) {
		unsigned moments = kill_at_every_step(&f, &ops[i]);

		print_message("# %s: killed at %u moments\n", ops[i].name, moments);
		assert_true(moments > 1 || ops[i].run == op_abandon);
	}
	assert_int_equal(munmap(f.mem, MEMORY), 0);
}

static void producers_die(void **state)
{
	const struct operation ops[] = {
		{ "send", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 1, false, false, op_send },
		{ "send at a lane's end", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 1, true, false,
		  op_send },
		{ "send by one of many", PORTAL_MPSC, PORTAL_PRODUCER, 8, 3, 1, false, false,
		  op_send },
		{ "commit", PORTAL_SPSC, PORTAL_PRODUCER, 0, 0, 1, false, false, op_commit },
		{ "abandon", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 0, false, false, op_abandon },
		{ "batch", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 5, false, false, op_batch },
		{ "batch at a lane's end", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 5, true, false,
		  op_batch },
		{ "array", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 3, false, false, op_array },
		{ "close", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 0, false, false, op_close_producer },
		{ "take over", PORTAL_SPSC, PORTAL_PRODUCER, 8, 3, 0, false, true,
		  op_take_over_producer },
		{ "take over one of many", PORTAL_MPSC, PORTAL_PRODUCER, 8, 3, 0, false, true,
		  op_take_over_producer },
	};

	run(ops, array_size(ops));
}

static void consumers_die(void **state)
{
	const struct operation ops[] = {
		{ "receive", PORTAL_SPSC, PORTAL_CONSUMER, 8, 3, 1, false, false, op_recv },
		{ "receive all", PORTAL_SPSC, PORTAL_CONSUMER, 55, 50, 50, false, false,
		  op_recv_all },
		{ "receive all of many", PORTAL_MPSC, PORTAL_CONSUMER, 55, 50, 50, false, false,
		  op_recv_all },
		{ "peek and release", PORTAL_SPSC, PORTAL_CONSUMER, 8, 6, 4, true, false,
		  op_peek_and_release },
		{ "wait", PORTAL_SPSC, PORTAL_CONSUMER, 8, 3, 3, false, false,
		  op_wait_for_records },
		{ "close", PORTAL_SPSC, PORTAL_CONSUMER, 8, 3, 0, false, false, op_close_consumer },
		{ "take over", PORTAL_SPSC, PORTAL_CONSUMER, 8, 3, 0, false, true,
		  op_take_over_consumer },
	};

	run(ops, array_size(ops));
}

static void broadcasters_die(void **state)
{
	const struct operation ops[] = {
		{ "broadcast", PORTAL_BROADCAST, PORTAL_PRODUCER, 8, 3, 1, false, false, op_send },
		{ "broadcast at a lane's end", PORTAL_BROADCAST, PORTAL_PRODUCER, 8, 3, 1, true,
		  false, op_send },
		{ "take over a broadcast", PORTAL_BROADCAST, PORTAL_PRODUCER, 8, 3, 0, false, true,
		  op_take_over_producer },
	};

	run(ops, array_size(ops));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(producers_die),
		cmocka_unit_test(consumers_die),
		cmocka_unit_test(broadcasters_die),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
