/* SPDX-License-Identifier: MIT */
/* SET_MEM_TABLE: how we treat a hostile frontend.  A table is taken whole or not
 * at all, its descriptors are closed in every case, and rings that run are
 * stopped and started around it. */
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "mem.h"
#include "wire.h"

#define PAGE 4096u

static size_t table_size(const struct proto_mem_table *table)
{
	return PROTO_MEM_TABLE_HEAD + table->n_regions * sizeof(table->region[0]);
}

/* Announce a table whose regions all lie in the frontend's own memory file.
 * Returns 0 obeyed, 1 refused. */
static int set(struct wire *w, const struct proto_mem_table *table)
{
	int fds[VU_MEM_TABLE_MAX];

	for (unsigned i = 0; i < array_size(fds); i++)
		fds[i] = w->fe.mem_fd;
	return frontend_ask(&w->fe, VHOST_USER_SET_MEM_TABLE, table, table_size(table), fds,
			    table->n_regions);
}

/* One region of the frontend's, varied. */
static int set_one(struct wire *w, struct proto_region region)
{
	const struct proto_mem_table table = { .n_regions = 1, .region = { region } };

	return set(w, &table);
}

static bool maps(struct wire *w, uint64_t gpa, size_t len)
{
	void *va;

	return mem_gpa_to_va(vu_session_mem(w->session), GPA(gpa), len, &va) == 0;
}

static void good(void **state)
{
	struct wire *w = *state;
	void *va;

	assert_string_equal(vu_session_state(w->session), "negotiated");
	assert_int_equal(mem_gpa_to_va(vu_session_mem(w->session), GPA(FRONTEND_GPA + 100), 8, &va),
			 0);
	memcpy(w->fe.mem + 100, "8 bytes!", 8);
	assert_memory_equal(va, "8 bytes!", 8);
	assert_int_equal(mem_uva_to_va(vu_session_mem(w->session), UVA(FRONTEND_UVA + 100), 8, &va),
			 0);
	assert_memory_equal(va, "8 bytes!", 8);
}

static void acks(void **state)
{
	struct wire *w = *state;
	struct proto_mem_table table = { .n_regions = 1, .region = { frontend_region(&w->fe) } };

	wire_check_ack(w, VHOST_USER_SET_MEM_TABLE, &table, table_size(&table), &w->fe.mem_fd, 1,
		       false);
	table.region[0].size = 0;
	wire_check_ack(w, VHOST_USER_SET_MEM_TABLE, &table, table_size(&table), &w->fe.mem_fd, 1,
		       true);
}

/* Mapping takes time that is also the others': one table in a pass, however many
 * there are to read. */
static void one_in_a_pass(void **state)
{
	struct wire *w = *state;
	struct proto_mem_table table = { .n_regions = 1, .region = { frontend_region(&w->fe) } };
	const struct mem *mem = vu_session_mem(w->session);
	uint32_t generation = mem_generation(mem);

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_MEM_TABLE, VU_FLAG_VERSION,
					       &table, table_size(&table), &w->fe.mem_fd, 1),
				 0);
	for (uint32_t i = 1; i <= 3; i++) {
		wire_turn(w);
		assert_int_equal(mem_generation(mem), generation + i);
	}

	/* One that is refused costs as much. */
	for (unsigned i = 0; i < 2; i++) {
		table.region[0].size = i ? WIRE_MEMORY : WIRE_MEMORY + 1;
		assert_int_equal(frontend_send(&w->fe, VHOST_USER_SET_MEM_TABLE, VU_FLAG_VERSION,
					       &table, table_size(&table), &w->fe.mem_fd, 1),
				 0);
	}
	wire_turn(w);
	assert_int_equal(mem_generation(mem), generation + 3);
	wire_turn(w);
	assert_int_equal(mem_generation(mem), generation + 4);
	wire_expect_alive(w);
}

static void as_many_regions_as_fit(void **state)
{
	struct wire *w = *state;
	struct proto_mem_table table = { .n_regions = VU_MEM_TABLE_MAX };

	for (unsigned i = 0; i < VU_MEM_TABLE_MAX; i++)
		table.region[i] = (struct proto_region){
			.gpa = 0x100000ull * i,
			.uva = FRONTEND_UVA + 0x100000ull * i,
			.size = PAGE,
			.mmap_offset = PAGE * i,
		};
	assert_int_equal(set(w, &table), 0);
	for (unsigned i = 0; i < VU_MEM_TABLE_MAX; i++)
		assert_true(maps(w, 0x100000ull * i, PAGE));
	assert_false(maps(w, FRONTEND_GPA, 1));
}

static void no_region_at_all(void **state)
{
	struct wire *w = *state;
	const struct proto_mem_table table = { .n_regions = 0 };

	assert_int_equal(set(w, &table), 0);
	assert_false(maps(w, FRONTEND_GPA, 1));
	assert_string_equal(vu_session_state(w->session), "connected");
}

/* Nothing of a table with one bad region is taken; the old one stays. */
static void all_or_nothing(void **state)
{
	struct wire *w = *state;
	struct proto_mem_table table = { .n_regions = 3 };

	for (unsigned i = 0; i < 3; i++)
		table.region[i] = (struct proto_region){
			.gpa = 0x1000000ull * i,
			.uva = 0x1000000ull * i,
			.size = PAGE,
		};
	table.region[2].size = 2 * (uint64_t)WIRE_MEMORY;
	assert_int_equal(set(w, &table), 1);
	assert_true(maps(w, FRONTEND_GPA, WIRE_MEMORY));
	assert_false(maps(w, 0, 1));
	assert_string_equal(vu_session_state(w->session), "negotiated");
}

/* CVE-2026-86561: sizes and offsets that wrap, or lie beyond the file. */
static void size_not_validated_before_mmap_cve_2026_86561(void **state)
{
	struct wire *w = *state;
	const struct proto_region good_one = frontend_region(&w->fe);
	struct proto_region r;

	r = good_one, r.size = 0;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.size = WIRE_MEMORY + 1;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.size = UINT64_MAX;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.size = UINT64_MAX - PAGE + 1;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.mmap_offset = 1;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.mmap_offset = WIRE_MEMORY, r.size = PAGE;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.mmap_offset = UINT64_MAX - PAGE + 1;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.mmap_offset = -(uint64_t)PAGE, r.size = 2 * PAGE;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.gpa = UINT64_MAX - PAGE;
	assert_int_equal(set_one(w, r), 1);
	r = good_one, r.uva = UINT64_MAX - PAGE;
	assert_int_equal(set_one(w, r), 1);
	assert_true(maps(w, FRONTEND_GPA, WIRE_MEMORY));
	wire_expect_alive(w);
}

static void overlaps(void **state)
{
	struct wire *w = *state;
	struct proto_mem_table table = { .n_regions = 2 };

	table.region[0] = (struct proto_region){ .gpa = 0, .uva = 0x10000, .size = 2 * PAGE };
	table.region[1] = (struct proto_region){ .gpa = PAGE, .uva = 0x90000, .size = PAGE };
	assert_int_equal(set(w, &table), 1);
	table.region[1] = (struct proto_region){ .gpa = 2 * PAGE, .uva = 0x11fff, .size = PAGE };
	assert_int_equal(set(w, &table), 1);
	table.region[1] = (struct proto_region){ .gpa = 2 * PAGE, .uva = 0x12000, .size = PAGE };
	assert_int_equal(set(w, &table), 0);
}

/* What is not memory: an eventfd, a pipe, a socket, a directory. */
static void not_a_file(void **state)
{
	struct wire *w = *state;
	const struct proto_mem_table table = { .n_regions = 1,
					       .region = { frontend_region(&w->fe) } };
	auto_fd int event = eventfd(0, EFD_CLOEXEC);
	const int fds[] = { event, w->fe.sock, 0 };

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(frontend_ask(&w->fe, VHOST_USER_SET_MEM_TABLE, &table,
					      table_size(&table), &fds[i], 1),
				 1);
	assert_true(maps(w, FRONTEND_GPA, 1));
}

/* CVE-2019-14818: descriptors beyond the regions, or too few of them. */
static void wrong_number_of_descriptors_cve_2019_14818(void **state)
{
	struct wire *w = *state;
	struct proto_mem_table table = { .n_regions = 2 };
	auto_fd int fd = memfd_create("x", MFD_CLOEXEC);
	int fds[VU_MAX_FDS + 1];
	const unsigned counts[] = { 0, 1, 3, VU_MAX_FDS, VU_MAX_FDS + 1 };

	for (unsigned i = 0; i < array_size(fds); i++)
		fds[i] = fd;
	for (unsigned i = 0; i < array_size(counts); i++)
		wire_drops(w, VHOST_USER_SET_MEM_TABLE, &table, table_size(&table), fds, counts[i]);
}

static void more_regions_than_any_table(void **state)
{
	struct wire *w = *state;
	struct proto_mem_table table = { .n_regions = VU_MEM_TABLE_MAX + 1 };
	auto_fd int fd = memfd_create("x", MFD_CLOEXEC);

	wire_drops(w, VHOST_USER_SET_MEM_TABLE, &table, sizeof(table), &fd, 1);
	table.n_regions = UINT32_MAX;
	wire_drops(w, VHOST_USER_SET_MEM_TABLE, &table, sizeof(table), &fd, 1);
	table.n_regions = 0x08000000; /* times 32 is 0 in 32 bits */
	wire_drops(w, VHOST_USER_SET_MEM_TABLE, &table, PROTO_MEM_TABLE_HEAD, NULL, 0);
}

static void shape(void **state)
{
	const struct proto_mem_table table = { .n_regions = 1 };

	wire_check_shape(*state, VHOST_USER_SET_MEM_TABLE, &table, table_size(&table), 1, 1);
}

static void rings_are_stopped_around_it(void **state)
{
	struct wire *w = *state;

	assert_int_equal(w->queue[0].n_start, 1);
	assert_int_equal(set_one(w, frontend_region(&w->fe)), 0);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_string_equal(vu_session_state(w->session), "running");
}

/* A refused table, too: the rings go on in the old memory. */
static void rings_survive_a_refusal(void **state)
{
	struct wire *w = *state;
	struct proto_region r = frontend_region(&w->fe);

	r.size = 0;
	assert_int_equal(set_one(w, r), 1);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_true(vu_session_queue(w->session, 0)->started);
}

/* CVE-2026-86567: no pointer into memory outlives the memory.  A ring that is not in
 * the new table stays down until it is there again. */
static void ring_pointers_kept_cve_2026_86567(void **state)
{
	struct wire *w = *state;
	struct proto_region elsewhere = frontend_region(&w->fe);

	elsewhere.uva += 0x100000000ull;
	assert_int_equal(set_one(w, elsewhere), 0);
	assert_int_equal(w->queue[0].n_stop, 1);
	assert_int_equal(w->queue[0].n_start, 1);
	assert_string_equal(vu_session_state(w->session), "negotiated");
	assert_int_equal(set_one(w, frontend_region(&w->fe)), 0);
	assert_int_equal(w->queue[0].n_start, 2);
	assert_string_equal(vu_session_state(w->session), "running");
}

/* The base that the ring had reached is kept over the change. */
static void base_survives(void **state)
{
	struct wire *w = *state;
	uint32_t base;

	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	w->ring[0].base = 17;
	memcpy(w->fe.mem + w->ring[0].avail + 2, &(uint16_t){ 17 }, 2);
	memcpy(w->fe.mem + w->ring[0].used + 2, &(uint16_t){ 17 }, 2);
	assert_int_equal(frontend_ring_start(&w->fe, 0, &w->ring[0], true), 0);
	assert_int_equal(set_one(w, frontend_region(&w->fe)), 0);
	assert_int_equal(frontend_ring_stop(&w->fe, 0, &base), 0);
	assert_int_equal(base, 17);
}

static void check_on_kick(struct wire *w, struct vu_queue *q)
{

	(void)vq_more(&q->vq); /* touches the ring: a fault, if the memory is gone */
	(void)vu_session_check(q->session);
}

/* Memory that is cut off after it was announced takes its own session along,
 * nothing else. */
static void truncated_memory(void **state)
{
	struct wire *w = *state;

	assert_int_equal(mem_guard_install(), 0); /* here, since cmocka has a handler of its own */
	w->on_kick = check_on_kick;
	assert_int_equal(ftruncate(w->fe.mem_fd, 0), 0);
	assert_int_equal(write(w->ring[0].kick_fd, &(uint64_t){ 1 }, 8), 8);
	wire_expect_ended(w, -EFAULT);
	wire_restart(w);
	wire_expect_alive(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, negotiated),
		WIRE_TEST(acks, negotiated),
		WIRE_TEST(one_in_a_pass, negotiated),
		WIRE_TEST(as_many_regions_as_fit, negotiated),
		WIRE_TEST(no_region_at_all, negotiated),
		WIRE_TEST(all_or_nothing, negotiated),
		WIRE_TEST(size_not_validated_before_mmap_cve_2026_86561, negotiated),
		WIRE_TEST(overlaps, negotiated),
		WIRE_TEST(not_a_file, negotiated),
		WIRE_TEST(wrong_number_of_descriptors_cve_2019_14818, acks),
		WIRE_TEST(more_regions_than_any_table, acks),
		WIRE_TEST(shape, acks),
		WIRE_TEST(rings_are_stopped_around_it, running),
		WIRE_TEST(rings_survive_a_refusal, running),
		WIRE_TEST(ring_pointers_kept_cve_2026_86567, running),
		WIRE_TEST(base_survives, running),
		WIRE_TEST(truncated_memory, running),
	};

	return cmocka_run_group_tests_name("SET_MEM_TABLE", tests, NULL, NULL);
}
