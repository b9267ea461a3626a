/* SPDX-License-Identifier: MIT */
/* ADD_MEM_REG: one region more, with exactly one descriptor. */
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "mem.h"
#include "wire.h"

#define PAGE 4096u

static int add_fd(struct wire *w, struct proto_region region, int fd)
{
	const struct proto_mem_reg reg = { .region = region };

	return frontend_ask(&w->fe, VHOST_USER_ADD_MEM_REG, &reg, sizeof(reg), &fd, 1);
}

static int add(struct wire *w, struct proto_region region)
{
	return add_fd(w, region, w->fe.mem_fd);
}

/* A page of the frontend's file, in a free place. */
static struct proto_region page(unsigned i)
{
	return (struct proto_region){
		.gpa = PAGE * (uint64_t)i,
		.uva = PAGE * (uint64_t)i,
		.size = PAGE,
		.mmap_offset = PAGE * (uint64_t)i,
	};
}

static void good(void **state)
{
	struct wire *w = *state;
	void *va;

	assert_int_equal(add(w, page(3)), 0);
	assert_int_equal(mem_gpa_to_va(vu_session_mem(w->session), GPA(3 * PAGE), PAGE, &va), 0);
	w->fe.mem[3 * PAGE] = 0x5a;
	assert_int_equal(*(uint8_t *)va, 0x5a);
}

static void acks(void **state)
{
	struct wire *w = *state;
	const struct proto_mem_reg one = { .region = page(1) };
	struct proto_mem_reg overlapping = { .region = page(1) };

	overlapping.region.gpa += 1;
	wire_check_ack(w, VHOST_USER_ADD_MEM_REG, &one, sizeof(one), &w->fe.mem_fd, 1, false);
	wire_check_ack(w, VHOST_USER_ADD_MEM_REG, &overlapping, sizeof(overlapping), &w->fe.mem_fd,
		       1, true);
}

/* QEMU 7.2 with two pairs of queues announces each region twice, the second time
 * while the first pair runs. */
static void announced_twice(void **state)
{
	struct wire *w = *state;
	unsigned before = count_fds();

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(add(w, frontend_region(&w->fe)), 0);
	assert_int_equal(vu_session_mem(w->session)->n, 1);
	assert_int_equal(w->queue[0].n_stop, 0);
	assert_int_equal(count_fds(), before);
}

/* The limit that GET_MAX_MEM_SLOTS tells, and one more. */
static void as_many_as_slots(void **state)
{
	struct wire *w = *state;

	for (unsigned i = 1; i < MEM_MAX_REGIONS; i++)
		assert_int_equal(add(w, page(i)), 0);
	assert_int_equal(vu_session_mem(w->session)->n, MEM_MAX_REGIONS);
	assert_int_equal(add(w, page(MEM_MAX_REGIONS)), 1);
	wire_expect_alive(w);
}

static void refused(void **state)
{
	struct wire *w = *state;
	auto_fd int event = eventfd(0, EFD_CLOEXEC);
	struct proto_region r;

	r = page(1), r.size = 0;
	assert_int_equal(add(w, r), 1);
	r = page(1), r.size = UINT64_MAX;
	assert_int_equal(add(w, r), 1);
	r = page(1), r.mmap_offset = WIRE_MEMORY;
	assert_int_equal(add(w, r), 1);
	r = page(1), r.gpa = FRONTEND_GPA + WIRE_MEMORY - 1;
	assert_int_equal(add(w, r), 1);
	r = page(1), r.uva = FRONTEND_UVA + WIRE_MEMORY - 1;
	assert_int_equal(add(w, r), 1);
	assert_int_equal(add_fd(w, page(1), event), 1);
	assert_int_equal(vu_session_mem(w->session)->n, 1);
	wire_expect_alive(w);
}

static void needs_its_feature(void **state)
{
	struct wire *w = *state;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					  1 << VHOST_USER_PROTOCOL_F_REPLY_ACK),
			 0);
	assert_int_equal(add(w, page(1)), 1);
	assert_int_equal(vu_session_mem(w->session)->n, 1);
}

static void rings_are_stopped_around_it(void **state)
{
	struct wire *w = *state;

	assert_int_equal(add(w, page(1)), 0);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_int_equal(add(w, page(2000)), 1);
	assert_int_equal(w->queue[0].n_start, 3);
}

static void shape(void **state)
{
	const struct proto_mem_reg reg = { .region = page(1) };

	wire_check_shape(*state, VHOST_USER_ADD_MEM_REG, &reg, sizeof(reg), 1, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, negotiated),
		WIRE_TEST(acks, negotiated),
		WIRE_TEST(announced_twice, running),
		WIRE_TEST(as_many_as_slots, negotiated),
		WIRE_TEST(refused, negotiated),
		WIRE_TEST(needs_its_feature, negotiated),
		WIRE_TEST(rings_are_stopped_around_it, running),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("ADD_MEM_REG", tests, NULL, NULL);
}
