/* SPDX-License-Identifier: MIT */
/* Lowering: against what Linux makes of the same packets (golden/net/gso.txt), against a slow reference on random ones, and
 * on what no honest driver sends. */
#include "offload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "inet.h"

#define PIECES 40
#define GOT    3000 /* frames kept by one lower() */

/* A frame with its bytes in pieces, each in memory of its own so that a step too far is seen. */
struct cut {
	struct sw_frame f;
	struct iovec iov[PIECES];
};

static void cut_free(struct cut *c)
{
	for (unsigned i = 0; i < c->f.n_iov; i++)
		free(c->iov[i].iov_base);
}

static void cut_make(struct cut *c, const uint8_t *bytes, uint32_t len, const uint32_t *piece,
		     unsigned n_piece)
{
	uint32_t at = 0;

	*c = (struct cut){ .f = { .iov = c->iov, .len = len, .head_len = 14, .skip = 14 } };
	memcpy(c->f.head, bytes, 14);
	for (unsigned i = 0; at < len; i++) {
		uint32_t n = i < n_piece && i + 1 < PIECES ? min(piece[i], len - at) : len - at;

		c->iov[i] = (struct iovec){ malloc(n), n };
		memcpy(c->iov[i].iov_base, bytes + at, n);
		at += n;
		c->f.n_iov++;
	}
}

struct got {
	unsigned n, n_calls;
	uint8_t *bytes[GOT];
	uint32_t len[GOT];
	struct nethdr hdr[GOT];
	uint16_t vid[GOT];
	const struct sw_frame *same[GOT];
};

static void keep(void *arg, struct sw_frame *const *frame, unsigned n)
{
	struct got *g = arg;

	assert_in_range(n, 1, SW_BURST);
	g->n_calls++;
	for (unsigned i = 0; i < n; i++, g->n++) {
		assert_true(g->n < GOT);
		g->bytes[g->n] = malloc(frame[i]->len);
		g->len[g->n] = frame[i]->len;
		g->hdr[g->n] = frame[i]->hdr;
		g->vid[g->n] = frame[i]->vid;
		g->same[g->n] = frame[i];
		sw_frame_copy(frame[i], 0, frame[i]->len, g->bytes[g->n]);
		assert_memory_equal(frame[i]->head, g->bytes[g->n], frame[i]->head_len);
	}
}

static void got_free(struct got *g)
{
	for (unsigned i = 0; i < g->n; i++)
		free(g->bytes[i]);
	*g = (struct got){ 0 };
}

static unsigned lower(struct sw_frame *f, uint32_t offloads, struct got *g)
{
	static struct offload_work work;

	*g = (struct got){ 0 };
	return offload_lower(&work, &f, 1, offloads, keep, g);
}

/* ---- golden ------------------------------------------------------------------------------------- */

static uint32_t unhex(const char *text, uint8_t *to)
{
	uint32_t n = 0;
	unsigned v;

	while (sscanf(text + 2 * n, "%2x", &v) == 1)
		to[n++] = (uint8_t)v;
	return n;
}

static FILE *golden_open(void)
{
	const char *top = getenv("VHOST_LAB_SOURCE");
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/tests/unit/golden/net/gso.txt", top ? top : ".");
	file = fopen(path, "r");
	assert_non_null(file);
	return file;
}

/* Cut as Linux cut it, however the packet lies in memory. */
static void as_linux_does(void **state)
{
	static const uint32_t pieces[][6] = {
		{ 2000 }, { 1, 1, 1, 1, 1, 1 }, { 14, 20, 20 }, { 60, 7, 7, 1, 3, 20 }, { 13, 90 },
	};
	char name[64], a[2000], b[2000], line[4096];
	uint8_t frame[1000], want[1000];
	FILE *file = golden_open();
	struct got got[array_size(pieces)] = { 0 };
	unsigned n_packets = 0, n_segments = 0, k = 0;

	while (fgets(line, sizeof(line), file)) {
		struct nethdr hdr = { 0 };
		uint32_t len;

		if (line[0] != ' ') {
			assert_int_equal(sscanf(line, "%63s %1999s %1999s", name, a, b), 3);
			unhex(a, (uint8_t *)&hdr);
			len = unhex(b, frame);
			for (unsigned i = 0; i < array_size(pieces); i++) {
				struct cut c;

				assert_int_equal(got[i].n, k); /* the packet before, all of it */
				got_free(&got[i]);
				cut_make(&c, frame, len, pieces[i], 6);
				assert_true(nethdr_read(&hdr, len, OFFLOAD_ALL, &c.f.hdr));
				assert_int_equal(lower(&c.f, 0, &got[i]), 0);
				cut_free(&c);
			}
			n_packets++;
			k = 0;
			continue;
		}
		len = unhex(line + 4, want);
		for (unsigned i = 0; i < array_size(pieces); i++) {
			assert_true(k < got[i].n);
			assert_int_equal(got[i].len[k], len);
			assert_memory_equal(got[i].bytes[k], want, len);
			assert_true(offload_verify(got[i].bytes[k], len));
		}
		k++;
		n_segments++;
	}
	for (unsigned i = 0; i < array_size(pieces); i++) {
		assert_int_equal(got[i].n, k);
		got_free(&got[i]);
	}
	fclose(file);
	assert_int_equal(n_packets, 12);
	assert_true(n_segments > 30);
}

/* ---- random ------------------------------------------------------------------------------------- */

static unsigned seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % below;
}

/* The sum of big-endian words, slowly. */
static uint32_t naive_sum(uint32_t sum, const uint8_t *b, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		sum += (uint32_t)b[i] << (i & 1 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* What the generator made, and the test has to find again. */
struct packet {
	uint8_t bytes[70000];
	uint32_t len, l3, l4, payload; /* where they begin */
	uint32_t size;
	bool v6, udp;
	struct nethdr hdr;
};

static uint32_t naive_pseudo(const struct packet *p, const uint8_t *b, uint32_t l4_len)
{
	uint8_t tail[4] = { 0, p->udp ? INET_UDP : INET_TCP, (uint8_t)(l4_len >> 8),
			    (uint8_t)l4_len };
	uint32_t sum = p->v6 ? naive_sum(0, b + p->l3 + 8, 32) : naive_sum(0, b + p->l3 + 12, 8);

	return naive_sum(sum, tail, 4);
}

static void make_ip(struct packet *p)
{
	uint8_t *b = p->bytes + p->l3, protocol = p->udp ? INET_UDP : INET_TCP;

	if (!p->v6) {
		b[0] = (uint8_t)(0x40 | (p->l4 - p->l3) / 4);
		b[6] &= 0x40; /* no fragment */
		b[7] = 0;
		b[9] = protocol;
		return;
	}
	b[0] = 0x60;
	b[6] = protocol;
	if (p->l4 - p->l3 > INET_IPV6_LEN) {
		b[6] = 60; /* destination options: one header for all of them */
		b[40] = protocol;
		b[41] = (uint8_t)((p->l4 - p->l3 - INET_IPV6_LEN) / 8 - 1);
	}
}

static void make_tags(struct packet *p, unsigned n)
{
	p->bytes[12] = 0x88;
	p->bytes[13] = 0xa8;
	for (unsigned i = 0; i <= n; i++) {
		uint8_t *type = p->bytes + 12 + 4 * i;

		inet_put_be16(type, i < n ? (i ? 0x8100 : 0x88a8) : p->v6 ? 0x86dd : 0x0800);
	}
}

static void make_packet(struct packet *p)
{
	uint32_t tags = rnd(3), l4_len, offset;

	for (unsigned i = 0; i < 400; i++)
		p->bytes[i] = (uint8_t)rnd(256);
	p->v6 = rnd(2);
	p->udp = rnd(2);
	p->l3 = 14 + 4 * tags;
	p->l4 = p->l3 + (p->v6 ? 40 + 8 * rnd(4) : 20 + 4 * rnd(11));
	p->payload = p->l4 + (p->udp ? 8 : 20 + 4 * rnd(11));
	p->size = 1 + rnd(rnd(2) ? 40 : 1500);
	p->len = p->payload + rnd(rnd(2) ? 300 : min(65000u, 60 * p->size));
	for (uint32_t i = 400; i < p->len; i++)
		p->bytes[i] = (uint8_t)rnd(256);
	make_tags(p, tags);
	make_ip(p);
	if (!p->udp)
		p->bytes[p->l4 + 12] = (uint8_t)((p->payload - p->l4) / 4 << 4 | rnd(16));

	l4_len = p->len - p->l4;
	offset = p->udp ? 6 : 16;
	inet_put_be16(p->bytes + p->l4 + offset, naive_pseudo(p, p->bytes, l4_len & 0xffff));
	p->hdr = (struct nethdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = p->udp ? NETHDR_GSO_UDP_L4 :
			    p->v6  ? VIRTIO_NET_HDR_GSO_TCPV6 :
				     VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = le16_of((uint16_t)p->size),
		.csum_start = le16_of((uint16_t)p->l4),
		.csum_offset = le16_of((uint16_t)offset),
	};
}

static void cut_random(struct cut *c, const struct packet *p)
{
	uint32_t piece[PIECES];

	for (unsigned i = 0; i < PIECES; i++)
		piece[i] = 1 + rnd(rnd(2) ? 30 : 4096);
	cut_make(c, p->bytes, p->len, piece, rnd(PIECES));
	c->f.hdr = p->hdr;
	c->f.vid = 77;
}

/* Segment i, whose checksum is in place or left to the receiver. */
static void check_segment(const struct packet *p, const struct got *g, unsigned i, bool summed)
{
	uint8_t *b = g->bytes[i];
	uint32_t l4_len = g->len[i] - p->l4, id_step = p->v6 ? 0 : i;
	uint32_t field = p->l4 + (p->udp ? 6 : 16);

	assert_int_equal(g->vid[i], 77);
	if (!summed) {
		assert_int_equal(g->hdr[i].flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		assert_int_equal(g->hdr[i].gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_int_equal(inet_be16(b + field), naive_pseudo(p, b, l4_len));
		offload_complete(b, g->len[i], &g->hdr[i]);
	} else {
		assert_int_equal(nethdr_needs(&g->hdr[i]), 0);
	}
	assert_int_equal(naive_sum(naive_pseudo(p, b, l4_len), b + p->l4, l4_len), 0xffff);
	assert_true(offload_verify(b, g->len[i]));
	if (p->v6)
		assert_int_equal(inet_be16(b + p->l3 + 4), g->len[i] - p->l3 - INET_IPV6_LEN);
	else
		assert_int_equal(inet_be16(b + p->l3 + 2), g->len[i] - p->l3);
	if (!p->v6) {
		assert_int_equal(naive_sum(0, b + p->l3, p->l4 - p->l3), 0xffff);
		assert_int_equal(inet_be16(b + p->l3 + 4),
				 (inet_be16(p->bytes + p->l3 + 4) + id_step) & 0xffff);
	}
	if (p->udp) {
		assert_int_equal(inet_be16(b + p->l4 + 4), l4_len);
	} else {
		uint8_t flags = p->bytes[p->l4 + 13];

		flags &= i > 0 ? 0x7f : 0xff;
		flags &= i + 1 < g->n ? 0xf6 : 0xff;
		assert_int_equal(b[p->l4 + 13], flags);
		assert_int_equal(inet_be32(b + p->l4 + 4),
				 (uint32_t)(inet_be32(p->bytes + p->l4 + 4) + i * p->size));
	}
}

static void random_packets(void **state)
{
	struct packet *p = calloc(1, sizeof(*p));
	struct got *g = calloc(1, sizeof(*g));
	unsigned n_cut = 0;

	for (seed = 1; seed < 3000000000u && n_cut < 400; n_cut++) {
		uint32_t payload, offloads = rnd(2) ? OFFLOAD_CSUM : 0, at = 0;
		struct cut c;

		make_packet(p);
		cut_random(&c, p);
		payload = p->len - p->payload;
		assert_int_equal(offload_segments(&c.f),
				 payload ? (payload + p->size - 1) / p->size : 1);
		if (offload_segments(&c.f) > OFFLOAD_SEGMENTS_MAX) {
			assert_int_equal(lower(&c.f, offloads, g), 1);
			assert_int_equal(g->n, 0);
			cut_free(&c);
			continue;
		}
		assert_int_equal(lower(&c.f, offloads, g), 0);
		assert_int_equal(g->n, offload_segments(&c.f));
		for (unsigned i = 0; i < g->n; i++) {
			uint32_t n = g->len[i] - p->payload;

			check_segment(p, g, i, !offloads);
			assert_true(n == p->size || i + 1 == g->n);
			assert_memory_equal(g->bytes[i] + p->payload, p->bytes + p->payload + at,
					    n);
			at += n;
		}
		assert_int_equal(at, payload);
		assert_int_equal(offload_wire_len(&c.f), payload + g->n * p->payload);
		got_free(g);
		cut_free(&c);
	}
	free(p);
	free(g);
}

/* A checksum anywhere, of anything: all the header promises is where it is. */
static void checksums_alone(void **state)
{
	struct packet *p = calloc(1, sizeof(*p));

	for (unsigned i = 0; i < 2000; i++) {
		struct got g;
		struct cut c;
		uint32_t start, offset, n;
		uint8_t want[2];
		uint16_t sum;

		p->len = 16 + rnd(1500);
		for (uint32_t j = 0; j < p->len; j++)
			p->bytes[j] = (uint8_t)rnd(256);
		n = min(p->len, 200u);
		start = 14 + rnd(n - 15);
		offset = rnd(n - start - 1);
		p->hdr = (struct nethdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					  .csum_start = le16_of((uint16_t)start),
					  .csum_offset = le16_of((uint16_t)offset) };
		sum = (uint16_t)~naive_sum(0, p->bytes + start, p->len - start);
		inet_put_be16(want, sum ? sum : 0xffff);
		cut_random(&c, p);
		assert_int_equal(lower(&c.f, OFFLOAD_ALL, &g), 0); /* passes */
		assert_ptr_equal(g.same[0], &c.f);
		got_free(&g);

		assert_int_equal(lower(&c.f, OFFLOAD_ALL & ~OFFLOAD_CSUM, &g), 0);
		assert_int_equal(g.n, 1);
		assert_int_equal(g.len[0], p->len);
		memcpy(p->bytes + start + offset, want, 2);
		assert_memory_equal(g.bytes[0], p->bytes, p->len);
		assert_int_equal(nethdr_needs(&g.hdr[0]), 0);
		got_free(&g);
		cut_free(&c);
	}
	free(p);
}

/* A tag was put in or taken out since: offsets follow, and so does the head. */
static void changed_heads(void **state)
{
	static const uint8_t tag[4] = { 0x81, 0, 0, 9 };
	struct packet *p = calloc(1, sizeof(*p));
	struct got g;
	struct cut c;

	seed = 99;
	do
		make_packet(p);
	while (p->l3 != 14 || p->udp || p->len < p->payload + 2 * p->size);
	cut_random(&c, p);
	c.f.len += 4;
	c.f.head_len = 18;
	memcpy(c.f.head + 12, tag, 4);
	memcpy(c.f.head + 16, p->bytes + 12, 2);
	nethdr_shift(&c.f.hdr, 4);
	assert_int_equal(lower(&c.f, 0, &g), 0);
	assert_true(g.n >= 2);
	for (unsigned i = 0; i < g.n; i++) {
		assert_memory_equal(g.bytes[i] + 12, tag, 4);
		memmove(g.bytes[i] + 12, g.bytes[i] + 16, g.len[i] - 16);
		g.len[i] -= 4;
		check_segment(p, &g, i, true);
	}
	got_free(&g);
	cut_free(&c);
	free(p);
}

/* ---- bursts ------------------------------------------------------------------------------------- */

static void order_is_kept(void **state)
{
	static struct offload_work work;
	struct packet *p = calloc(1, sizeof(*p));
	struct sw_frame *frame[SW_BURST];
	struct cut plain, large;
	struct got *g = calloc(1, sizeof(*g));
	unsigned n;

	seed = 5;
	do
		make_packet(p);
	while (p->len < p->payload + 3 * p->size || p->len > p->payload + 30 * p->size);
	cut_random(&large, p);
	n = offload_segments(&large.f);
	p->hdr = (struct nethdr){ 0 };
	p->len = 60;
	cut_random(&plain, p);
	for (unsigned i = 0; i < SW_BURST; i++)
		frame[i] = i % 3 == 1 ? &large.f : &plain.f;
	assert_int_equal(offload_lower(&work, frame, SW_BURST, 0, keep, g), 0);
	for (unsigned i = 0, k = 0; i < SW_BURST; i++) {
		if (frame[i] == &plain.f)
			assert_ptr_equal(g->same[k++], &plain.f);
		else
			k += n;
		assert_true(k <= g->n);
	}
	assert_int_equal(g->n, 43 + 21 * n);
	assert_in_range(g->n_calls, g->n / SW_BURST, g->n / SW_BURST + 22);
	got_free(g);
	free(g);
	cut_free(&plain);
	cut_free(&large);
	free(p);
}

/* ---- what no honest driver sends ---------------------------------------------------------------- */

static void ipv4_tcp(struct packet *p)
{
	do
		make_packet(p);
	while (p->v6 || p->udp || p->l3 != 14 || p->l4 != 34 || p->len < 2000 || p->len > 20000 ||
	       p->size < 100);
}

static void refused(struct packet *p)
{
	struct got g;
	struct cut c;

	cut_random(&c, p);
	assert_int_equal(lower(&c.f, 0, &g), 1);
	assert_int_equal(g.n, 0);
	cut_free(&c);
}

static void lies_are_dropped(void **state)
{
	struct packet *p = calloc(1, sizeof(*p));

	seed = 11;
	ipv4_tcp(p);
	p->bytes[23] = INET_UDP; /* another protocol than the type says */
	refused(p);
	ipv4_tcp(p);
	p->bytes[12] = 0x86; /* another version */
	refused(p);
	ipv4_tcp(p);
	p->bytes[14] = 0x46; /* a header that ends elsewhere than csum_start */
	refused(p);
	ipv4_tcp(p);
	p->bytes[20] |= 0x20; /* a fragment */
	refused(p);
	ipv4_tcp(p);
	p->bytes[46] = 0x40; /* a TCP header shorter than there is */
	refused(p);
	ipv4_tcp(p);
	p->hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	p->hdr.csum_start = le16_of(54);
	refused(p);
	free(p);
}

/* CVE-2022-2132 and its like: headers that end behind the packet.  Naive code copies them from there. */
static void cve_2022_2132_headers_beyond_the_end(void **state)
{
	struct packet *p = calloc(1, sizeof(*p));

	seed = 12;
	ipv4_tcp(p);
	p->bytes[46] = 0xf0; /* 60 bytes of TCP header */
	for (p->len = 54; p->len < 94; p->len++)
		refused(p);
	free(p);
}

/* CVE-2024-11614: the sum at the very end, and so far behind that no header is so long: naive code keeps
 * headers in an array and writes behind it. */
static void cve_2024_11614_checksum_far_behind(void **state)
{
	struct packet *p = calloc(1, sizeof(*p));
	struct got g;
	struct cut c;

	p->hdr = (struct nethdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = le16_of(40) };
	for (p->len = 300; p->len < 70000; p->len += 4999) {
		p->hdr.csum_offset = le16_of((uint16_t)min(p->len - 42, 65535u));
		refused(p);
	}
	for (p->len = 100; p->len <= OFFLOAD_HEAD_MAX; p->len++) {
		p->hdr.csum_offset = le16_of((uint16_t)(p->len - 42));
		cut_random(&c, p);
		assert_int_equal(lower(&c.f, 0, &g), 0);
		assert_int_equal(g.n, 1);
		got_free(&g);
		cut_free(&c);
	}
	free(p);
}

/* One byte in each segment: the work that one descriptor can make is bounded. */
static void too_many_segments(void **state)
{
	struct packet *p = calloc(1, sizeof(*p));

	seed = 13;
	ipv4_tcp(p);
	p->len = p->payload + OFFLOAD_SEGMENTS_MAX + 1;
	p->hdr.gso_size = le16_of(1);
	refused(p);
	free(p);
}

/* Extension headers in a row without end, and one that says it is longer than the packet. */
static void endless_extensions(void **state)
{
	struct packet *p = calloc(1, sizeof(*p));

	seed = 14;
	do
		make_packet(p);
	while (!p->v6 || p->udp || p->l3 != 14 || p->len < 3000);
	for (uint32_t at = 54; at < 2000; at += 8) {
		p->bytes[at] = 60;
		p->bytes[at + 1] = 0;
	}
	p->bytes[20] = 60;
	p->hdr.csum_start = le16_of(2000);
	refused(p);
	p->bytes[55] = 255;
	refused(p);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_linux_does),
		cmocka_unit_test(random_packets),
		cmocka_unit_test(checksums_alone),
		cmocka_unit_test(changed_heads),
		cmocka_unit_test(order_is_kept),
		cmocka_unit_test(lies_are_dropped),
		cmocka_unit_test(cve_2022_2132_headers_beyond_the_end),
		cmocka_unit_test(cve_2024_11614_checksum_far_behind),
		cmocka_unit_test(too_many_segments),
		cmocka_unit_test(endless_extensions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
