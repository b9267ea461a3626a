/* SPDX-License-Identifier: MIT */
/* What a port keeps of its guest: over a moment without rings, to another process, over a death. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#include "log.h"
#include "vu_station.h"

static uint32_t port_of(struct fixture *fx, uint8_t last)
{
	const uint8_t mac[6] = { 2, 0, 0, 0, 0, last };

	return fdb_lookup(&fx->sw.fdb, fdb_key(mac));
}

static void both_up(struct fixture *fx, struct station *a, struct station *b)
{
	bring_up(a, fx, 0, MRG, 1);
	bring_up(b, fx, 1, MRG, 1);
	post_buffers(a, 0, BUF_SIZE);
	post_buffers(b, 0, BUF_SIZE);
	send_frame(b, 60, 0xa, 0xb);
	send_frame(a, 60, 0xb, 0xa);
	assert_int_equal(port_of(fx, 0xb), fx->port[1]->port.id);
}

static void stop_rings(struct station *st)
{
	uint32_t base;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(frontend_ring_stop(&st->fe, i, &base), 0);
	settle(st->fx);
}

static void kept_over_a_change_of_memory(void **state)
{
	struct fixture *fx = *state;
	struct station a, b;

	both_up(fx, &a, &b);
	share_memory(&b);
	settle(fx);
	assert_string_equal(port_vu_state(fx->port[1]), "running");
	assert_int_equal(port_of(fx, 0xb), fx->port[1]->port.id);
	go_away(&b);
	assert_int_equal(port_of(fx, 0xb), FDB_NONE);
	/* Whoever comes then is somebody else. */
	bring_up(&b, fx, 1, MRG, 1);
	assert_int_equal(port_of(fx, 0xb), FDB_NONE);
	go_away(&b);
	go_away(&a);
}

/* It was heard on another port meanwhile. */
static void moved_meanwhile(void **state)
{
	struct fixture *fx = *state;
	struct station a, b;

	both_up(fx, &a, &b);
	stop_rings(&b);
	assert_int_equal(port_of(fx, 0xb), FDB_NONE);
	send_frame(&a, 60, 0xc, 0xb);
	start_ring(&b, 0, &b.rx[0]);
	start_ring(&b, 1, &b.tx[0]);
	settle(fx);
	assert_int_equal(port_of(fx, 0xb), fx->port[0]->port.id);
	go_away(&b);
	go_away(&a);
}

static void taken_along(void **state)
{
	struct fixture *fx = *state;
	struct vu_session *from, *to;
	struct station a, b;
	uint8_t blob[VU_STATE_MAX];
	int n;

	both_up(fx, &a, &b);
	assert_int_equal(port_vu_ops.set_mtu(fx->port[1]->seat.session, 9000), 0);
	stop_rings(&b);
	from = fx->port[1]->seat.session;
	n = port_vu_ops.save_state(from, blob, sizeof(blob));
	assert_int_equal(n, 8 + 8);
	assert_memory_equal(blob, "\1\0\x28\x23\1\0\0\0\xb\0\0\0\0\2\0\0", 16);
	go_away(&b);

	bring_up(&b, fx, 2, MRG, 1);
	stop_rings(&b);
	to = fx->port[2]->seat.session;
	assert_int_equal(port_vu_ops.load_state(to, blob, (size_t)n), 0);
	assert_int_equal(fx->port[2]->mtu, 9000);
	start_ring(&b, 0, &b.rx[0]);
	start_ring(&b, 1, &b.tx[0]);
	settle(fx);
	assert_int_equal(port_of(fx, 0xb), fx->port[2]->port.id);
	go_away(&b);
	go_away(&a);
}

/* Who says that it has stations in a VLAN that its port is not in would take their frames away. */
static void of_a_foreign_vlan(void **state)
{
	static const char blob[] = "\1\0\0\0\2\0\0\0"
				   "\xb\0\0\0\0\2\x14\0"
				   "\xc\0\0\0\0\2\x0a\0";
	static const uint8_t mac[2][6] = { { 2, 0, 0, 0, 0, 0xb }, { 2, 0, 0, 0, 0, 0xc } };
	struct fixture *fx = *state;
	struct fdb *fdb = &fx->sw.fdb;
	struct station a;

	sw_set_vlan(&fx->port[0]->port, &(struct vlan_port){ .mode = VLAN_ACCESS, .pvid = 10 });
	bring_up(&a, fx, 0, MRG, 1);
	stop_rings(&a);
	assert_int_equal(port_vu_ops.load_state(fx->port[0]->seat.session, blob, 24), 0);
	start_ring(&a, 0, &a.rx[0]);
	start_ring(&a, 1, &a.tx[0]);
	settle(fx);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac[0]) | fdb_key_vlan(20)), FDB_NONE);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac[1]) | fdb_key_vlan(10)), fx->port[0]->port.id);
	go_away(&a);
}

static void not_a_state(void **state)
{
#define MAC "\xb\0\0\0\0\2\0\0"
	static const struct {
		const char *bytes;
		size_t size;
	} bad[] = {
		{ "", 0 },
		{ "\1\0\0\0\0\0\0", 7 },                           /* too short */
		{ "\2\0\0\0\0\0\0\0", 8 },                         /* of another version */
		{ "\0\0\0\0\0\0\0\0", 8 },                         /* of none */
		{ "\1\0\x43\0\0\0\0\0", 8 },                       /* an MTU of 67 */
		{ "\1\0\0\0\1\0\0\0", 8 },                         /* a station is missing */
		{ "\1\0\0\0\0\0\0\0" MAC, 16 },                    /* is too many */
		{ "\1\0\0\0\xff\xff\xff\xff" MAC, 16 },            /* count times 8 wraps */
		{ "\1\0\0\0\1\0\0\0" MAC "x", 17 },                /* a byte too many */
		{ "\1\0\0\0\1\0\0\0\xb\0\0\0\0\3\0\0", 16 },       /* a group */
		{ "\1\0\0\0\1\0\0\0\xb\0\0\0\0\2\xff\x0f", 16 },   /* VLAN 4095 */
		{ "\1\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 16 },        /* nobody */
		{ "\1\0\0\0\2\0\0\0" MAC "\0\0\0\0\0\1\0\0", 24 }, /* the second */
	};
	struct fixture *fx = *state;
	struct vu_session *s;
	struct station a;

	bring_up(&a, fx, 0, MRG, 1);
	stop_rings(&a);
	s = fx->port[0]->seat.session;
	for (unsigned i = 0; i < array_size(bad); i++)
		assert_int_equal(port_vu_ops.load_state(s, bad[i].bytes, bad[i].size), -EINVAL);
	assert_int_equal(fx->port[0]->kept.n, 0);
	assert_int_equal(fx->port[0]->mtu, 0);
	go_away(&a);
}

/* ---- a frontend whose backend died ---------------------------------------- */

/* QEMU's half of a reconnect: it says as base what it has known all the time. */
static void start_blindly(struct station *st, unsigned index, struct driver *d)
{
	struct driver_pos used = d->used_at;
	uint16_t last = d->last_used;

	d->used_at = (struct driver_pos){ 0, true };
	d->last_used = 0;
	start_ring(st, index, d);
	d->used_at = used;
	d->last_used = last;
}

static void reconnect(struct station *st, unsigned port)
{
	frontend_done(&st->fe);
	settle(st->fx);
	connect_to(st, st->fx, port);
	assert_int_equal(
		frontend_negotiate(&st->fe,
				   MRG | BIT_ULL(VIRTIO_F_VERSION_1) |
					   (st->rx[0].features & BIT_ULL(VIRTIO_F_RING_PACKED)),
				   BIT_ULL(VHOST_USER_PROTOCOL_F_MQ)),
		0);
	share_memory(st);
	/* What is found in a ring that is not enabled yet would be thrown away. */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(frontend_ask_state(&st->fe, VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
	start_blindly(st, 0, &st->rx[0]);
	start_blindly(st, 1, &st->tx[0]);
	settle(st->fx);
}

static void keep(struct fixture *fx, unsigned port, const char *name)
{
	char path[96];

	tmp_path(&fx->dir, name, path, sizeof(path));
	assert_int_equal(port_vu_keep_places(fx->port[port], path), 0);
}

/* At every place of several laps, and with frames that wait in the ring when it happens. */
static void goes_on_after_a_death(void **state)
{
	struct fixture *fx = *state;
	struct station a, b;

	keep(fx, 0, "state0");
	keep(fx, 1, "state1");
	both_up(fx, &a, &b);
	for (unsigned i = 0; i < 40; i++) {
		while (receive(&b, 0) >= 0)
			;
		post_buffers(&b, 0, 256);
		for (unsigned k = 0; k < 1 + i % 7; k++)
			queue_frame(&a, 60 + k, 0xb, 0xa, (uint8_t)i, 0);
		driver_publish(&a.tx[0]);
		reconnect(&a, 0); /* the rest of the burst is found in the ring */
		reap_sent(&a);
		assert_int_equal(a.tx[0].n_free, RING_NUM);
		for (unsigned k = 0; k < 1 + i % 7; k++)
			expect_frame(&b, 60 + k, 0xb, 0xa, (uint8_t)i);
		reconnect(&b, 1);
	}
	go_away(&a);
	go_away(&b);
}

static void state_files(void **state)
{
	struct fixture *fx = *state;
	char path[96];

	keep(fx, 0, "state");
	tmp_path(&fx->dir, "state", path, sizeof(path));
	assert_int_equal(port_vu_keep_places(fx->port[1], path), -EBUSY);
	assert_int_equal(port_vu_keep_places(fx->port[2], "/nowhere/at/all"), -ENOENT);
}

int main(void)
{
#define CASE(fn, with) cmocka_unit_test_setup_teardown(fn, setup##with, teardown)
	const struct CMUnitTest tests[] = {
		CASE(kept_over_a_change_of_memory, ),
		CASE(moved_meanwhile, ),
		CASE(taken_along, ),
		CASE(of_a_foreign_vlan, ),
		CASE(not_a_state, ),
		CASE(goes_on_after_a_death, ),
		CASE(goes_on_after_a_death, _packed),
		CASE(state_files, ),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("port state", tests, NULL, NULL);
}
