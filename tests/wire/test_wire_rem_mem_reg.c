/* SPDX-License-Identifier: MIT */
/* REM_MEM_REG: by its two addresses and its size; a descriptor may come with it,
 * and is closed. */
#include "mem.h"
#include "wire.h"

static int rem(struct wire *w, struct proto_region region, unsigned n_fds)
{
	const struct proto_mem_reg reg = { .region = region };

	return frontend_ask(&w->fe, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), &w->fe.mem_fd,
			    n_fds);
}

static void good(void **state)
{
	struct wire *w = *state;

	assert_int_equal(rem(w, frontend_region(&w->fe), 0), 0);
	assert_int_equal(vu_session_mem(w->session)->n, 0);
	assert_string_equal(vu_session_state(w->session), "connected");
}

/* Old QEMUs send the region's descriptor along. */
static void with_a_descriptor(void **state)
{
	struct wire *w = *state;
	unsigned before = count_fds();

	assert_int_equal(rem(w, frontend_region(&w->fe), 1), 0);
	assert_int_equal(count_fds(), before);
}

static void offset_does_not_matter(void **state)
{
	struct wire *w = *state;
	struct proto_region r = frontend_region(&w->fe);

	r.mmap_offset = 0x1234;
	assert_int_equal(rem(w, r, 0), 0);
}

/* QEMU 7.2 with two pairs of queues removes each region twice. */
static void not_there(void **state)
{
	struct wire *w = *state;
	struct proto_region r;
	unsigned before = count_fds();

	r = frontend_region(&w->fe), r.gpa++;
	assert_int_equal(rem(w, r, 0), 0);
	r = frontend_region(&w->fe), r.uva++;
	assert_int_equal(rem(w, r, 1), 0);
	r = frontend_region(&w->fe), r.size--;
	assert_int_equal(rem(w, r, 1), 0);
	assert_int_equal(count_fds(), before);
	assert_int_equal(vu_session_mem(w->session)->n, 1);
	assert_int_equal(w->queue[0].n_stop, 0);
	assert_int_equal(rem(w, frontend_region(&w->fe), 0), 0);
	assert_int_equal(rem(w, frontend_region(&w->fe), 0), 0);
	assert_int_equal(vu_session_mem(w->session)->n, 0);
	wire_expect_alive(w);
}

static void acks(void **state)
{
	struct wire *w = *state;
	const struct proto_mem_reg reg = { .region = frontend_region(&w->fe) };

	wire_check_ack(w, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), NULL, 0, false);
}

/* CVE-2026-86567: the ring that lay there is down before the memory is gone, and
 * comes back with it. */
static void takes_its_rings_down_cve_2026_86567(void **state)
{
	struct wire *w = *state;
	const struct proto_mem_reg reg = { .region = frontend_region(&w->fe) };

	assert_int_equal(rem(w, reg.region, 0), 0);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_false(vu_session_queue(w->session, 0)->started);
	assert_int_equal(frontend_ask(&w->fe, VHOST_USER_ADD_MEM_REG, &reg, sizeof(reg),
				      &w->fe.mem_fd, 1),
			 0);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_string_equal(vu_session_state(w->session), "running");
}

static void needs_its_feature(void **state)
{
	struct wire *w = *state;

	assert_int_equal(frontend_ask_u64(&w->fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					  1 << VHOST_USER_PROTOCOL_F_REPLY_ACK),
			 0);
	assert_int_equal(rem(w, frontend_region(&w->fe), 0), 1);
	assert_int_equal(vu_session_mem(w->session)->n, 1);
}

static void shape(void **state)
{
	const struct proto_mem_reg reg = { .region = { .size = 1 } };

	wire_check_shape(*state, VHOST_USER_REM_MEM_REG, &reg, sizeof(reg), 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, negotiated),
		WIRE_TEST(with_a_descriptor, negotiated),
		WIRE_TEST(offset_does_not_matter, negotiated),
		WIRE_TEST(not_there, running),
		WIRE_TEST(acks, negotiated),
		WIRE_TEST(takes_its_rings_down_cve_2026_86567, running),
		WIRE_TEST(needs_its_feature, negotiated),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("REM_MEM_REG", tests, NULL, NULL);
}
