/* SPDX-License-Identifier: MIT */
/* The forwarding database, against a model that is a plain array searched from the front. */
#include "fdb.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL_MAX   64
#define MODEL_PORTS 8

struct model_entry {
	uint64_t key;
	uint32_t port, seen_s;
};

/* Oldest first.  Everything is a search over the array.  What is pinned stands apart. */
struct model {
	struct fdb_config config;
	struct model_entry entry[MODEL_MAX];
	unsigned n;
	struct model_entry pinned[MODEL_MAX];
	unsigned n_pinned;
	uint32_t max[MODEL_PORTS];
};

static unsigned model_find_pinned(const struct model *m, uint64_t key)
{
	unsigned i = 0;

	while (i < m->n_pinned && m->pinned[i].key != key)
		i++;
	return i;
}

static unsigned model_find(const struct model *m, uint64_t key)
{
	unsigned i = 0;

	while (i < m->n && m->entry[i].key != key)
		i++;
	return i;
}

static void model_remove(struct model *m, unsigned i)
{
	m->n--;
	memmove(&m->entry[i], &m->entry[i + 1], (m->n - i) * sizeof(m->entry[0]));
}

static unsigned model_port_count(const struct model *m, uint32_t port)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n; i++)
		n += m->entry[i].port == port;
	return n;
}

static void model_append(struct model *m, uint64_t key, uint32_t port, uint32_t now_s)
{
	m->entry[m->n++] = (struct model_entry){ key, port, now_s };
}

/* The one that the table gave up to have room: the oldest of one of the ports that hold most. */
static void model_make_room(struct model *m, const struct fdb *f)
{
	unsigned most = 0, i;

	for (i = 0; i < m->n; i++)
		if (model_port_count(m, m->entry[i].port) > most)
			most = model_port_count(m, m->entry[i].port);
	for (i = 0; fdb_lookup(f, m->entry[i].key) == m->entry[i].port; i++)
		assert_true(i < m->n);
	assert_int_equal(model_port_count(m, m->entry[i].port), most);
	for (unsigned older = 0; older < i; older++)
		assert_int_not_equal(m->entry[older].port, m->entry[i].port);
	model_remove(m, i);
}

/* Learn as fdb_learn() must.  Where several ports are equally full any of them may give way: the
 * model follows the one that the table chose, after checking that it was among the fullest. */
static enum fdb_event model_learn(struct model *m, const struct fdb *f, uint64_t key, uint32_t port,
				  uint32_t now_s)
{
	enum fdb_event event = FDB_LEARNED;
	unsigned i = model_find_pinned(m, key);

	if (i < m->n_pinned)
		return m->pinned[i].port == port ? FDB_KNOWN : FDB_PINNED;
	i = model_find(m, key);
	if (i < m->n) {
		bool moved = m->entry[i].port != port;

		if (!moved && m->entry[i].seen_s == now_s)
			return FDB_KNOWN;
		model_remove(m, i);
		if (!moved) {
			model_append(m, key, port, now_s);
			return FDB_KNOWN;
		}
		event = FDB_MOVED;
	}
	if (model_port_count(m, port) == m->max[port]) {
		for (i = 0; m->entry[i].port != port; i++)
			;
		model_remove(m, i);
		event = event == FDB_LEARNED ? FDB_EVICTED : event;
	} else if (m->n + m->n_pinned == m->config.size) {
		model_make_room(m, f);
		event = FDB_EVICTED;
	}
	model_append(m, key, port, now_s);
	return event;
}

static int model_pin(struct model *m, const struct fdb *f, uint64_t key, uint32_t port)
{
	unsigned i = model_find_pinned(m, key);

	if (i < m->n_pinned)
		return m->pinned[i].port == port ? 0 : -EEXIST;
	if (m->n_pinned >= m->config.size / 2)
		return -ENOSPC;
	i = model_find(m, key);
	if (i < m->n)
		model_remove(m, i);
	else if (m->n + m->n_pinned == m->config.size)
		model_make_room(m, f);
	m->pinned[m->n_pinned++] = (struct model_entry){ .key = key, .port = port };
	return 0;
}

static int model_unpin(struct model *m, uint64_t key)
{
	unsigned i = model_find_pinned(m, key);

	if (i == m->n_pinned)
		return -ENOENT;
	m->pinned[i] = m->pinned[--m->n_pinned];
	return 0;
}

static void model_unpin_port(struct model *m, uint32_t port)
{
	for (unsigned i = m->n_pinned; i-- > 0;)
		if (m->pinned[i].port == port)
			m->pinned[i] = m->pinned[--m->n_pinned];
}

static void model_set_max(struct model *m, uint32_t port, uint32_t max)
{
	m->max[port] = max ? max : m->config.per_port;
	for (unsigned i = 0; model_port_count(m, port) > m->max[port];)
		if (m->entry[i].port == port)
			model_remove(m, i);
		else
			i++;
}

struct walk {
	const struct model *m;
	unsigned i, n_pinned;
};

static void compare_entry(const struct fdb_entry *e, void *arg)
{
	struct walk *w = arg;

	if (e->fixed) {
		unsigned i = model_find_pinned(w->m, e->key);

		assert_true(i < w->m->n_pinned);
		assert_int_equal(e->port, w->m->pinned[i].port);
		assert_int_equal(w->i, w->m->n); /* after all the others */
		w->n_pinned++;
		return;
	}
	assert_true(w->i < w->m->n);
	assert_int_equal(e->key, w->m->entry[w->i].key);
	assert_int_equal(e->port, w->m->entry[w->i].port);
	assert_int_equal(e->seen_s, w->m->entry[w->i].seen_s);
	w->i++;
}

static void compare(const struct model *m, const struct fdb *f, uint32_t n_port)
{
	struct walk w = { m, 0, 0 };

	assert_int_equal(fdb_count(f), m->n + m->n_pinned);
	fdb_walk(f, compare_entry, &w);
	assert_int_equal(w.i, m->n);
	assert_int_equal(w.n_pinned, m->n_pinned);
	for (unsigned i = 0; i < m->n_pinned; i++)
		assert_int_equal(fdb_lookup(f, m->pinned[i].key), m->pinned[i].port);
	for (uint32_t p = 0; p < n_port; p++)
		assert_int_equal(fdb_port_count(f, p), model_port_count(m, p));
	for (unsigned i = 0; i < m->n; i++)
		assert_int_equal(fdb_lookup(f, m->entry[i].key), m->entry[i].port);
}

static void run_against_model(struct fdb_config config, uint32_t n_port, uint64_t n_key,
			      unsigned seed)
{
	struct model m = { .config = config };
	struct fdb f;
	uint32_t now_s = 1000;

	assert_int_equal(fdb_init(&f, &config, seed), 0);
	assert_int_equal(fdb_port_room(&f, n_port), 0);
	for (unsigned i = 0; i < n_port; i++)
		m.max[i] = config.per_port;
	srand(seed);
	for (unsigned step = 0; step < 4000; step++) {
		uint64_t key = (uint64_t)rand() % n_key;
		uint32_t port = (uint32_t)rand() % n_port;
		unsigned what = (unsigned)rand() % 100;

		if (what < 80) {
			enum fdb_event got = fdb_learn(&f, key, port, now_s);

			assert_int_equal(got, model_learn(&m, &f, key, port, now_s));
		} else if (what < 83) {
			int got = fdb_pin(&f, key, port);

			assert_int_equal(got, model_pin(&m, &f, key, port));
		} else if (what < 85) {
			assert_int_equal(fdb_unpin(&f, key), model_unpin(&m, key));
		} else if (what < 86) {
			fdb_unpin_port(&f, port);
			model_unpin_port(&m, port);
		} else if (what < 87) {
			uint32_t max = (uint32_t)rand() % (config.size + 1);

			assert_int_equal(fdb_set_port_max(&f, port, max), 0);
			model_set_max(&m, port, max);
		} else if (what < 95) {
			uint32_t budget = (uint32_t)rand() % 4, n = 0;

			now_s += (uint32_t)rand() % 5;
			while (n < budget && m.n > 0 &&
			       now_s - m.entry[0].seen_s >= config.ageing_s) {
				model_remove(&m, 0);
				n++;
			}
			assert_int_equal(fdb_expire(&f, now_s, budget), n);
		} else if (what < 99) {
			unsigned n = model_port_count(&m, port);

			assert_int_equal(fdb_flush_port(&f, port), n);
			for (unsigned i = m.n; i-- > 0;)
				if (m.entry[i].port == port)
					model_remove(&m, i);
		} else {
			assert_int_equal(fdb_flush(&f), m.n);
			m.n = 0;
		}
		compare(&m, &f, n_port);
	}
	fdb_done(&f);
}

static void test_model(void **state)
{
	for (unsigned seed = 1; seed <= 8; seed++) {
		/* The table is the bound; the port is; both; neither. */
		run_against_model((struct fdb_config){ 16, 16, 10 }, 5, 40, seed);
		run_against_model((struct fdb_config){ 60, 4, 10 }, 5, 40, seed);
		run_against_model((struct fdb_config){ 16, 6, 20 }, 4, 60, seed);
		run_against_model((struct fdb_config){ 60, 60, 5 }, 3, 40, seed);
		run_against_model((struct fdb_config){ 1, 1, 3 }, 2, 3, seed);
	}
}

static void test_limits(void **state)
{
	struct fdb f;

	assert_int_equal(fdb_init(&f, &(struct fdb_config){ FDB_SIZE_MAX + 1, 1, 0 }, 1), -EINVAL);
	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 10, 11, 0 }, 1), -EINVAL);
	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 10, 10, 0 }, 1), 0);
	fdb_done(&f);
	assert_int_equal(fdb_init(&f, &(struct fdb_config){ FDB_SIZE_MAX, 0, 0 }, 1), 0);
	assert_int_equal(f.config.per_port, FDB_PER_PORT_DEFAULT);
	fdb_done(&f);
	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 0, 0, 0 }, 1), 0);
	assert_int_equal(f.config.size, FDB_SIZE_DEFAULT);
	fdb_done(&f);
}

static void test_bounds_of_ports(void **state)
{
	struct fdb f;

	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 10, 2, 300 }, 1), 0);
	assert_int_equal(fdb_port_room(&f, 2), 0);
	assert_int_equal(fdb_set_port_max(&f, 0, 11), -EINVAL);
	assert_int_equal(fdb_set_port_max(&f, 0, 10), 0); /* beyond per_port */
	for (uint64_t k = 1; k <= 10; k++)
		assert_int_equal(fdb_learn(&f, k, 0, 1), FDB_LEARNED);
	assert_int_equal(fdb_learn(&f, 11, 0, 1), FDB_EVICTED);
	assert_int_equal(fdb_set_port_max(&f, 0, 3), 0);
	assert_int_equal(fdb_count(&f), 3);
	assert_int_equal(fdb_lookup(&f, 8), FDB_NONE);
	assert_int_equal(fdb_lookup(&f, 9), 0);
	assert_int_equal(fdb_set_port_max(&f, 0, 0), 0);
	assert_int_equal(fdb_port_count(&f, 0), 2);
	fdb_done(&f);
}

/* A table of one has no half to pin. */
static void test_pin_bound(void **state)
{
	struct fdb f;

	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 1, 1, 300 }, 1), 0);
	assert_int_equal(fdb_port_room(&f, 1), 0);
	assert_int_equal(fdb_pin(&f, 7, 0), -ENOSPC);
	fdb_done(&f);
	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 5, 1, 300 }, 1), 0);
	assert_int_equal(fdb_port_room(&f, 1), 0);
	assert_int_equal(fdb_pin(&f, 7, 0), 0);
	assert_int_equal(fdb_pin(&f, 8, 0), 0);
	assert_int_equal(fdb_pin(&f, 9, 0), -ENOSPC);
	assert_int_equal(fdb_pin(&f, 8, 0), 0);
	assert_int_equal(fdb_port_pinned(&f, 0), 2);
	assert_int_equal(fdb_port_count(&f, 0), 0);
	fdb_done(&f);
}

static void test_ageing_zero_keeps(void **state)
{
	struct fdb f;

	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 4, 4, 0 }, 1), 0);
	assert_int_equal(fdb_port_room(&f, 1), 0);
	fdb_learn(&f, 7, 0, 0);
	assert_int_equal(fdb_expire(&f, UINT32_MAX, 100), 0);
	assert_int_equal(fdb_lookup(&f, 7), 0);
	fdb_done(&f);
}

static void test_key(void **state)
{
	const uint8_t mac[6] = { 0x52, 0x54, 0x00, 0xab, 0xcd, 0xef };
	uint8_t back[6];

	assert_int_equal(fdb_key(mac), 0x525400abcdefu);
	fdb_key_to_mac(fdb_key_vlan(4094) | 0x525400abcdefu, back);
	assert_memory_equal(mac, back, 6);
	assert_int_equal(fdb_key_to_vid(fdb_key_vlan(4094) | 0x525400abcdefu), 4094);
}

/* A flood of invented addresses behind one port costs the neighbours nothing. */
static void test_flood_spares_neighbours(void **state)
{
	const struct fdb_config config = { .size = 256, .per_port = 200, .ageing_s = 300 };
	struct fdb f;

	assert_int_equal(fdb_init(&f, &config, 42), 0);
	assert_int_equal(fdb_port_room(&f, 16), 0);
	for (uint32_t p = 1; p < 16; p++)
		for (uint64_t k = 0; k < 10; k++)
			fdb_learn(&f, (uint64_t)p << 32 | k, p, 1);
	for (uint64_t k = 0; k < 100000; k++)
		fdb_learn(&f, 0x1000000 + k, 0, 2);
	assert_int_equal(fdb_count(&f), 256);
	assert_int_equal(fdb_port_count(&f, 0), 256 - 150);
	for (uint32_t p = 1; p < 16; p++)
		for (uint64_t k = 0; k < 10; k++)
			assert_int_equal(fdb_lookup(&f, (uint64_t)p << 32 | k), p);
	fdb_done(&f);
}

/* New rooms for ports keep what was learned. */
static void test_port_room_grows(void **state)
{
	struct fdb f;

	assert_int_equal(fdb_init(&f, &(struct fdb_config){ 64, 8, 300 }, 1), 0);
	for (uint32_t p = 0; p < 20; p++) {
		assert_int_equal(fdb_port_room(&f, p + 1), 0);
		assert_int_equal(fdb_learn(&f, p, p, p), FDB_LEARNED);
	}
	assert_int_equal(fdb_port_room(&f, 1), 0);
	for (uint32_t p = 0; p < 20; p++)
		assert_int_equal(fdb_lookup(&f, p), p);
	fdb_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_bounds_of_ports),
		cmocka_unit_test(test_pin_bound),
		cmocka_unit_test(test_ageing_zero_keeps),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_flood_spares_neighbours),
		cmocka_unit_test(test_port_room_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
