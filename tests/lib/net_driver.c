/* SPDX-License-Identifier: MIT */
#include "net_driver.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

#define PAGE 4096u

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "net_driver: %s\n", what);
	abort();
}

static gpa_t *make_buffers(struct nd *n)
{
	gpa_t *buf = calloc(n->o.num, sizeof(*buf));

	if (!buf)
		fail("no memory");
	for (unsigned i = 0; i < n->o.num; i++)
		buf[i] = guest_alloc(&n->guest, n->o.buf_len, 64);
	return buf;
}

static void give(struct nd *n, gpa_t *buf)
{
	const struct driver_buf b = { *buf, n->o.buf_len };
	int head = driver_add(&n->rx, &b, 0, 1);

	if (head < 0)
		fail("the receive ring is full of its own buffers");
	driver_set_cookie(&n->rx, head, buf);
}

static void make_rings(struct nd *n)
{
	size_t size =
		2 * (size_t)n->o.num * n->o.buf_len + 64 * (size_t)n->o.num * DRIVER_TABLE * 32;

	guest_init(&n->guest, 1, (size + (1u << 20) + PAGE - 1) / PAGE * PAGE);
	driver_init(&n->rx, &n->guest, n->o.num, n->fe.features);
	driver_init(&n->tx, &n->guest, n->o.num, n->fe.features);
	n->rx_buf = make_buffers(n);
	n->tx_buf = make_buffers(n);
	n->tx_free = calloc(n->o.num, sizeof(*n->tx_free));
	if (!n->tx_free)
		fail("no memory");
	for (unsigned i = 0; i < n->o.num; i++) {
		n->tx_free[n->n_tx_free++] = (uint16_t)i;
		give(n, &n->rx_buf[i]);
	}
	driver_call_off(&n->rx);
	driver_call_off(&n->tx);
	driver_publish(&n->rx);
}

int nd_open(struct nd *n, const struct nd_options *options, const char *path)
{
	int r;

	*n = (struct nd){ .o = *options };
	if (n->o.num == 0)
		n->o.num = 256;
	if (n->o.buf_len == 0)
		n->o.buf_len = 2048;
	r = frontend_connect(&n->fe, path);
	if (r < 0)
		return r;
	r = frontend_negotiate(&n->fe,
			       n->o.features | BIT_ULL(VIRTIO_F_VERSION_1) |
				       BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) |
				       BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
			       BIT_ULL(VHOST_USER_PROTOCOL_F_MQ));
	if (r < 0) {
		frontend_done(&n->fe);
		return r;
	}
	make_rings(n);
	r = frontend_guest(&n->fe, &n->guest);
	if (r == 0)
		r = frontend_driver_start(&n->fe, 0, &n->rx, true);
	if (r == 0)
		r = frontend_driver_start(&n->fe, 1, &n->tx, true);
	if (r < 0)
		nd_close(n);
	return r;
}

void nd_close(struct nd *n)
{
	frontend_done(&n->fe);
	driver_done(&n->rx);
	driver_done(&n->tx);
	guest_done(&n->guest);
	free(n->rx_buf);
	free(n->tx_buf);
	free(n->tx_free);
	n->rx_buf = n->tx_buf = NULL;
	n->tx_free = NULL;
}

/* Buffers that the device is done with. */
static void reclaim(struct nd *n)
{
	uint32_t len;
	int head;

	while ((head = driver_used(&n->tx, &len)) >= 0) {
		const gpa_t *buf = driver_cookie(&n->tx, head);

		n->tx_free[n->n_tx_free++] = (uint16_t)(buf - n->tx_buf);
	}
}

int nd_send(struct nd *n, const void *frame, uint32_t len)
{
	struct driver_buf b = { .len = ND_HEADER + len };
	gpa_t *buf;
	uint8_t *to;
	int head;

	if (b.len > n->o.buf_len)
		return -EMSGSIZE;
	if (n->n_tx_free == 0)
		return -EAGAIN;
	buf = &n->tx_buf[n->tx_free[--n->n_tx_free]];
	to = guest_ptr(&n->guest, *buf, b.len);
	memset(to, 0, ND_HEADER);
	memcpy(to + ND_HEADER, frame, len);
	b.addr = *buf;
	head = driver_add(&n->tx, &b, 1, 0);
	if (head < 0)
		fail("the transmit ring has fewer entries than buffers");
	driver_set_cookie(&n->tx, head, buf);
	n->n_sent++;
	return 0;
}

void nd_flush(struct nd *n)
{
	driver_kick(&n->tx);
	reclaim(n);
}

unsigned nd_poll(struct nd *n, unsigned max, nd_frame_fn *fn, void *ctx)
{
	unsigned done = 0;
	uint32_t len;
	int head;

	while (done < max && (head = driver_used(&n->rx, &len)) >= 0) {
		gpa_t *buf = driver_cookie(&n->rx, head);

		if (len < ND_HEADER || len > n->o.buf_len)
			fail("the device wrote an impossible length");
		fn(n, (const uint8_t *)guest_ptr(&n->guest, *buf, len) + ND_HEADER, len - ND_HEADER,
		   ctx);
		give(n, buf);
		done++;
	}
	if (done > 0)
		driver_publish(&n->rx);
	n->n_received += done;
	return done;
}
