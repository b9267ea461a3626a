/* SPDX-License-Identifier: MIT */
/* SET_VRING_ADDR: three addresses of the frontend's, judged when the ring starts. */
#include "wire.h"

static struct proto_vring_addr addr_of(const struct wire *w, uint32_t i)
{
	return (struct proto_vring_addr){
		.index = i,
		.desc_uva = FRONTEND_UVA + w->ring[i].desc,
		.avail_uva = FRONTEND_UVA + w->ring[i].avail,
		.used_uva = FRONTEND_UVA + w->ring[i].used,
	};
}

static int set(struct wire *w, const struct proto_vring_addr *addr)
{
	return frontend_ask(&w->fe, VHOST_USER_SET_VRING_ADDR, addr, sizeof(*addr), NULL, 0);
}

/* Everything about ring 1 but its addresses. */
static void all_but_addr(struct wire *w)
{
	assert_int_equal(frontend_ask_state(&w->fe, VHOST_USER_SET_VRING_NUM, 1, WIRE_RING_NUM), 0);
	assert_int_equal(frontend_ask_fd(&w->fe, VHOST_USER_SET_VRING_KICK, 1, w->ring[1].kick_fd),
			 0);
	assert_int_equal(w->queue[1].n_start, 0);
}

static void good(void **state)
{
	struct wire *w = *state;
	struct proto_vring_addr addr = addr_of(w, 1);

	all_but_addr(w);
	assert_int_equal(set(w, &addr), 0);
	assert_int_equal(w->queue[1].n_start, 1);
}

static void acks(void **state)
{
	struct wire *w = *state;
	struct proto_vring_addr addr = addr_of(w, 1);

	wire_check_ack(w, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0, false);
	addr.flags = 2;
	wire_check_ack(w, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0, true);
}

/* The ring does not start, the frontend is told, and a better address helps. */
static void try_bad(struct wire *w, struct proto_vring_addr bad)
{
	assert_int_equal(set(w, &bad), 1);
	assert_int_equal(w->queue[1].n_start, 0);
	wire_expect_alive(w);
}

/* CVE-2018-1059: a part that begins in memory and ends outside of it. */
static void across_the_end_of_memory_cve_2018_1059(void **state)
{
	struct wire *w = *state;
	const struct proto_vring_addr right = addr_of(w, 1);
	const uint64_t end = FRONTEND_UVA + WIRE_MEMORY;
	struct proto_vring_addr a;

	all_but_addr(w);
	a = right, a.desc_uva = end - 16;
	try_bad(w, a);
	a = right, a.desc_uva = end - 16 * (WIRE_RING_NUM - 1);
	try_bad(w, a);
	a = right, a.avail_uva = end - 2;
	try_bad(w, a);
	a = right, a.used_uva = end - 4;
	try_bad(w, a);
	a = right, a.used_uva = end - 8 * WIRE_RING_NUM;
	try_bad(w, a);
	assert_int_equal(set(w, &right), 0);
	assert_int_equal(w->queue[1].n_start, 1);
}

/* CVE-2020-10725: an address that translates to nothing must not become NULL. */
static void nowhere_cve_2020_10725(void **state)
{
	struct wire *w = *state;
	const struct proto_vring_addr right = addr_of(w, 1);
	const uint64_t bad[] = {
		0, 16, FRONTEND_UVA - 16, FRONTEND_UVA + WIRE_MEMORY, FRONTEND_GPA, UINT64_MAX - 15
	};
	struct proto_vring_addr a;

	all_but_addr(w);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		a = right, a.desc_uva = bad[i];
		try_bad(w, a);
		a = right, a.avail_uva = bad[i];
		try_bad(w, a);
		a = right, a.used_uva = bad[i];
		try_bad(w, a);
	}
}

/* virtio 1.3, 2.7: alignment 16, 2, 4. */
static void misaligned(void **state)
{
	struct wire *w = *state;
	const struct proto_vring_addr right = addr_of(w, 1);
	struct proto_vring_addr a;

	all_but_addr(w);
	a = right, a.desc_uva += 8;
	try_bad(w, a);
	a = right, a.avail_uva += 1;
	try_bad(w, a);
	a = right, a.used_uva += 2;
	try_bad(w, a);
}

/* Only one flag has a meaning. */
static void with_flags(void **state)
{
	struct wire *w = *state;
	struct proto_vring_addr a = addr_of(w, 1);

	a.flags = 0x80000000;
	assert_int_equal(set(w, &a), 1);
	a.flags = 3;
	assert_int_equal(set(w, &a), 1);
	assert_false(vu_session_queue(w->session, 1)->has_addr);
	a.flags = VU_VRING_F_LOG;
	a.log_gpa = 0x1234;
	assert_int_equal(set(w, &a), 0);
	assert_true(vu_session_queue(w->session, 1)->log_used);
	assert_true(vu_session_queue(w->session, 1)->log_gpa.v == 0x1234);
}

static void frozen_while_running(void **state)
{
	struct wire *w = *state;
	const struct proto_vring_addr right = addr_of(w, 0);
	struct proto_vring_addr a;
	uint32_t base;

	a = right, a.desc_uva += 4096;
	assert_int_equal(set(w, &a), 1);
	a = right, a.avail_uva += 4096;
	assert_int_equal(set(w, &a), 1);
	a = right, a.used_uva += 4096;
	assert_int_equal(set(w, &a), 1);
	assert_int_equal(w->queue[0].n_stop, 0);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(set(w, &a), 0);
}

/* QEMU says the same addresses again when logging begins. */
static void logged_while_running(void **state)
{
	struct wire *w = *state;
	struct proto_vring_addr a = addr_of(w, 0);

	a.flags = VU_VRING_F_LOG;
	a.log_gpa = 0x5000;
	assert_int_equal(set(w, &a), 0);
	assert_true(vu_session_queue(w->session, 0)->started);
	assert_true(vu_session_queue(w->session, 0)->log_used);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_int_equal(w->queue[0].n_stop, 1);
}

static void no_such_ring(void **state)
{
	struct proto_vring_addr a = addr_of(*state, 0);

	a.index = WIRE_QUEUES;
	wire_drops(*state, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	a.index = UINT32_MAX;
	wire_drops(*state, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
}

static void shape(void **state)
{
	const struct proto_vring_addr a = addr_of(*state, 0);

	wire_check_shape(*state, VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, negotiated),
		WIRE_TEST(acks, acks),
		WIRE_TEST(across_the_end_of_memory_cve_2018_1059, negotiated),
		WIRE_TEST(nowhere_cve_2020_10725, negotiated),
		WIRE_TEST(misaligned, negotiated),
		WIRE_TEST(with_flags, negotiated),
		WIRE_TEST(frozen_while_running, running),
		WIRE_TEST(logged_while_running, running),
		WIRE_TEST(no_such_ring, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("SET_VRING_ADDR", tests, NULL, NULL);
}
