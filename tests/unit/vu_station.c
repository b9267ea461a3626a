/* SPDX-License-Identifier: MIT */
#include "vu_station.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "listen.h"

static void pump(void *ctx)
{
	loop_once(ctx, 0);
}

void settle(struct fixture *fx)
{
	for (unsigned i = 0; i < 10; i++)
		loop_once(&fx->loop, 0);
}

void fall_asleep(struct fixture *fx)
{
	uint64_t until = loop_now_ns() + 4 * SPIN_MAX_NS;

	while (loop_now_ns() < until || fx->group.active)
		loop_once(&fx->loop, 0);
}

int setup(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	char path[128], name[8];
	int fd;

	assert_int_equal(loop_init(&fx->loop), 0);
	assert_int_equal(sw_init(&fx->sw, &(struct fdb_config){ .ageing_s = 300 }, 1), 0);
	fx->group.loop = &fx->loop;
	fx->group.sw = &fx->sw;
	port_vu_group_init(&fx->group);
	tmp_dir_init(&fx->dir);
	for (unsigned i = 0; i < N_PORT; i++) {
		snprintf(name, sizeof(name), "p%u", i);
		tmp_path(&fx->dir, name, path, sizeof(path));
		assert_int_equal(listen_unix(path, 0600, &fd), 0);
		assert_int_equal(port_vu_open(&fx->group, name, path, fd, &fx->port[i]), 0);
	}
	*state = fx;
	return 0;
}

int setup_packed(void **state)
{
	int r = setup(state);

	((struct fixture *)*state)->packed = ~0u;
	return r;
}

int setup_mixed(void **state)
{
	int r = setup(state);

	((struct fixture *)*state)->packed = 1u << 1;
	return r;
}

int teardown(void **state)
{
	struct fixture *fx = *state;

	for (unsigned i = 0; i < N_PORT; i++)
		if (fx->port[i])
			port_vu_close(fx->port[i]);
	settle(fx);
	loop_done(&fx->loop);
	sw_done(&fx->sw);
	tmp_dir_done(&fx->dir);
	free(fx);
	return 0;
}

void connect_to(struct station *st, struct fixture *fx, unsigned port)
{
	char path[128], name[8];

	snprintf(name, sizeof(name), "p%u", port);
	assert_int_equal(frontend_connect(&st->fe, tmp_path(&fx->dir, name, path, sizeof(path))),
			 0);
	st->fe.pump = pump;
	st->fe.ctx = &fx->loop;
	st->fx = fx;
}

void share_memory(struct station *st)
{
	struct mem_region_desc region[GUEST_MAX_REGIONS];
	struct proto_mem_table table = { 0 };
	int fd[GUEST_MAX_REGIONS];

	table.n_regions = guest_table(&st->guest, region, fd);
	for (unsigned i = 0; i < table.n_regions; i++)
		table.region[i] = (struct proto_region){ .gpa = region[i].gpa.v,
							 .size = region[i].size,
							 .uva = region[i].uva.v,
							 .mmap_offset = region[i].mmap_offset };
	assert_int_equal(
		frontend_ask(&st->fe, VHOST_USER_SET_MEM_TABLE, &table,
			     PROTO_MEM_TABLE_HEAD + table.n_regions * sizeof(table.region[0]), fd,
			     table.n_regions),
		0);
	for (unsigned i = 0; i < table.n_regions; i++)
		close(fd[i]);
}

void start_ring(struct station *st, unsigned index, struct driver *d)
{
	struct vq_params p;
	struct frontend_ring ring = { .num = d->num,
				      .kick_fd = d->kick_fd,
				      .call_fd = d->call_fd,
				      .err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };

	driver_params(d, &p);
	ring.base = p.base;
	ring.desc = p.desc.v - FRONTEND_UVA;
	ring.avail = p.avail.v - FRONTEND_UVA;
	ring.used = p.used.v - FRONTEND_UVA;
	assert_int_equal(frontend_ring_start(&st->fe, index, &ring, true), 0);
	close(ring.err_fd);
}

void post_buffers(struct station *st, unsigned pair, uint32_t size)
{
	struct driver *d = &st->rx[pair];

	for (;;) {
		struct driver_buf buf = { guest_alloc(&st->guest, size, 64), size };
		int head = driver_add(d, &buf, 0, 1);

		if (head < 0)
			break;
		st->rx_buf[pair][head] = buf.addr;
		if (d->n_free == 0)
			break;
	}
	driver_publish(d);
}

void bring_up(struct station *st, struct fixture *fx, unsigned port, uint64_t features,
	      unsigned n_pairs)
{
	memset(st, 0, sizeof(*st));
	if (fx->packed & (1u << port))
		features |= BIT_ULL(VIRTIO_F_RING_PACKED);
	guest_init(&st->guest, 2, 4 << 20);
	connect_to(st, fx, port);
	assert_int_equal(frontend_negotiate(&st->fe, features | BIT_ULL(VIRTIO_F_VERSION_1),
					    BIT_ULL(VHOST_USER_PROTOCOL_F_MQ)),
			 0);
	st->n_pairs = n_pairs;
	for (unsigned i = 0; i < n_pairs; i++) {
		driver_init(&st->rx[i], &st->guest, RING_NUM, features);
		driver_init(&st->tx[i], &st->guest, RING_NUM, features);
	}
	share_memory(st);
	for (unsigned i = 0; i < n_pairs; i++) {
		start_ring(st, 2 * i, &st->rx[i]);
		start_ring(st, 2 * i + 1, &st->tx[i]);
	}
}

void go_away(struct station *st)
{
	frontend_done(&st->fe);
	settle(st->fx);
	for (unsigned i = 0; i < st->n_pairs; i++) {
		driver_done(&st->rx[i]);
		driver_done(&st->tx[i]);
	}
	guest_done(&st->guest);
}

void make_frame(uint8_t *f, uint32_t len, uint8_t to, uint8_t from, uint8_t tag)
{
	const uint8_t head[SW_HEAD_LEN] = { 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5 };

	for (uint32_t i = 0; i < len; i++)
		f[i] = (uint8_t)(i * 31 + tag + len);
	memcpy(f, head, min(len, (uint32_t)sizeof(head)));
}

void queue_bytes(struct station *st, unsigned pair, const void *bytes, uint32_t len, uint32_t cut)
{
	gpa_t at = guest_alloc(&st->guest, len + 64, 64);
	struct driver_buf buf[2] = { { at, cut ? cut : len }, { GPA(at.v + cut), len - cut } };

	memcpy(guest_ptr(&st->guest, at, len), bytes, len);
	assert_true(driver_add(&st->tx[pair], buf, cut ? 2 : 1, 0) >= 0);
}

void queue_frame(struct station *st, uint32_t len, uint8_t to, uint8_t from, uint8_t tag,
		 uint32_t cut)
{
	static uint8_t bytes[MAX_SIZE];

	memset(bytes, 0, NETHDR_LEN);
	make_frame(bytes + NETHDR_LEN, len, to, from, tag);
	queue_bytes(st, 0, bytes, NETHDR_LEN + len, cut);
}

unsigned reap_sent(struct station *st)
{
	unsigned n = 0;
	uint32_t len;

	while (driver_used(&st->tx[0], &len) >= 0) {
		assert_int_equal(len, 0);
		n++;
	}
	return n;
}

void send_frame(struct station *st, uint32_t len, uint8_t to, uint8_t from)
{
	queue_frame(st, len, to, from, 7, 0);
	driver_kick(&st->tx[0]);
	settle(st->fx);
	reap_sent(st);
}

int receive(struct station *st, unsigned pair)
{
	const struct nethdr *hdr = (const void *)st->got;
	uint32_t len, total = 0;
	unsigned n = 0, of = 1;

	while (n < of) {
		int head = driver_used(&st->rx[pair], &len);

		if (head < 0) {
			assert_int_equal(n, 0);
			return -1;
		}
		assert_true(total + len <= sizeof(st->got));
		memcpy(st->got + total, guest_ptr(&st->guest, st->rx_buf[pair][head], len), len);
		total += len;
		if (n++ == 0) {
			assert_true(len >= NETHDR_LEN);
			of = le16_get(hdr->num_buffers);
			assert_true(of >= 1);
		}
	}
	return (int)(total - NETHDR_LEN);
}

void expect_frame(struct station *st, uint32_t len, uint8_t to, uint8_t from, uint8_t tag)
{
	static uint8_t want[MAX_SIZE];

	make_frame(want, len, to, from, tag);
	assert_int_equal(receive(st, 0), len);
	assert_memory_equal(st->got, "\0\0\0\0\0\0\0\0\0",
			    10); /* all of the header but num_buffers */
	assert_memory_equal(st->got + NETHDR_LEN, want, len);
}

void expect_nothing(struct station *st)
{
	assert_int_equal(receive(st, 0), -1);
}
