/* SPDX-License-Identifier: MIT */
#include "nat_fixture.h"

#include <stdio.h>

#include "csum.h"
#include "ctl.h"

static void keep(struct nat_bench *b, const struct sw_frame *f)
{
	if (b->n < BENCH_KEEP) {
		b->len[b->n] = f->len;
		sw_frame_copy(f, 0, min(f->len, 2048u), b->got[b->n]);
	}
	b->n++;
}

static void guest_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct nat_bench *b = container_of(p, struct nat_bench, guest);

	for (unsigned i = 0; i < n; i++)
		(b->take ? b->take : keep)(b, frame[i]);
}

static const struct sw_port_ops guest_ops = { .type = "test", .egress = guest_egress };

const char *nat_bench_call(struct nat_bench *b, const char *method, const char *params)
{
	return control_call(b->backend.control, NULL, method, params);
}

void nat_bench_up(struct nat_bench *b, const char *members)
{
	char params[4096];

	memset(b, 0, sizeof(*b));
	assert_int_equal(loop_init(&b->backend.loop), 0);
	b->net.backend = &b->backend;
	assert_int_equal(net_init(&b->net, &(struct config){ .fdb = { 64, 64, 300 } }, 1), 0);
	b->backend.device = &b->net;
	assert_int_equal(control_new(&b->backend.loop, -1, ctl_methods, ctl_n_methods, &b->backend,
				     &b->backend.control),
			 0);
	b->guest.ops = &guest_ops;
	snprintf(b->guest.name, sizeof(b->guest.name), "n1");
	assert_int_equal(sw_attach(&b->net.sw, &b->guest), 0);
	sw_set_up(&b->guest, true);

	snprintf(params, sizeof(params),
		 "{\"name\":\"up\",\"type\":\"nat\",\"subnet\":\"192.168.100.0/24\",\"hosts\":["
		 "{\"name\":\"n1\",\"mac\":\"52:54:00:00:00:0a\",\"ip\":\"192.168.100.10\"},"
		 "{\"name\":\"n2\",\"mac\":\"52:54:00:00:00:0b\",\"ip\":\"192.168.100.11\"}]%s%s}",
		 members[0] ? "," : "", members);
	assert_string_equal(nat_bench_call(b, "port.add", params),
			    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}");
	b->nat = port_nat_of(sw_find(&b->net.sw, "up"));
	assert_non_null(b->nat);
}

void nat_bench_down(struct nat_bench *b)
{
	sw_detach(&b->guest);
	net_done(&b->net);
	control_free(b->backend.control);
	loop_done(&b->backend.loop);
}

void nat_bench_send(struct nat_bench *b, const void *frame, size_t len)
{
	/* On the heap, so that the sanitizer sees the first byte beyond it. */
	void *copy = malloc(len);
	struct iovec iov = { copy, len };
	struct sw_frame f = { .iov = &iov, .len = (uint32_t)len, .n_iov = 1 };

	assert_non_null(copy);
	memcpy(copy, frame, len);
	b->n = 0;
	sw_input(&b->guest, &f, 1);
	free(copy);
}

bool nat_bench_run(struct nat_bench *b, unsigned n, unsigned ms)
{
	uint64_t end = loop_now_ns() + ms * UINT64_C(1000000);

	do
		assert_int_equal(loop_once(&b->backend.loop, b->n < n ? end : 0), 0);
	while (b->n < n && loop_now_ns() < end);
	return b->n >= n;
}

bool nat_bench_ask(struct nat_bench *b, const void *frame, size_t len)
{
	nat_bench_send(b, frame, len);
	return nat_bench_run(b, 1, 200);
}

static void ethernet(uint8_t *frame, const char *mac, uint16_t type)
{
	memcpy(frame, GW_MAC, 6);
	memcpy(frame + 6, mac, 6);
	inet_put_be16(frame + 12, type);
}

size_t make_arp(uint8_t *frame, const char *mac, uint32_t ip, uint32_t target)
{
	static const uint8_t head[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(frame, 0, 60);
	ethernet(frame, mac, 0x0806);
	memset(frame, 0xff, 6);
	memcpy(frame + 14, head, 8);
	memcpy(frame + 22, mac, 6);
	inet_put_be32(frame + 28, ip);
	inet_put_be32(frame + 38, target);
	return 60;
}

size_t make_udp(uint8_t *frame, const char *mac, uint32_t src, uint16_t sport, uint32_t dst,
		uint16_t dport, const void *payload, size_t len)
{
	struct nat_end from = { (const uint8_t *)mac, nat_addr_of_ip4(src), sport };
	struct nat_end to = {
		(const uint8_t *)(dst == INADDR_BROADCAST ? "\xff\xff\xff\xff\xff\xff" : GW_MAC),
		nat_addr_of_ip4(dst), dport
	};

	memcpy(frame + NAT_UDP4_LEN, payload, len);
	return nat_packet_udp(frame, &from, &to, len);
}

static void ip4(uint8_t *at, uint8_t proto, uint32_t src, uint32_t dst, size_t len)
{
	uint16_t sum;

	memset(at, 0, 20);
	at[0] = 0x45;
	inet_put_be16(at + 2, (uint32_t)(20 + len));
	at[8] = 64;
	at[9] = proto;
	inet_put_be32(at + 12, src);
	inet_put_be32(at + 16, dst);
	sum = csum_fold(csum_add(0, at, 20));
	memcpy(at + 10, &sum, 2);
}

size_t make_tcp(uint8_t *frame, const char *mac, uint32_t src, uint16_t sport, uint32_t dst,
		uint16_t dport, uint8_t flags)
{
	uint8_t pseudo[12] = { 0 }, *tcp = frame + 34;
	uint16_t sum;

	ethernet(frame, mac, 0x0800);
	ip4(frame + 14, INET_TCP, src, dst, 20);
	memset(tcp, 0, 20);
	inet_put_be16(tcp, sport);
	inet_put_be16(tcp + 2, dport);
	inet_put_be32(tcp + 4, 1000);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	inet_put_be16(tcp + 14, 8192);
	inet_put_be32(pseudo, src);
	inet_put_be32(pseudo + 4, dst);
	pseudo[9] = INET_TCP;
	pseudo[11] = 20;
	sum = csum_fold(csum_add(csum_add(0, pseudo, 12), tcp, 20));
	memcpy(tcp + 16, &sum, 2);
	return 54;
}

size_t make_ping(uint8_t *frame, const char *mac, uint32_t src, uint32_t dst)
{
	uint8_t *icmp = frame + 34;
	uint16_t sum;

	ethernet(frame, mac, 0x0800);
	ip4(frame + 14, INET_ICMP, src, dst, 16);
	memset(icmp, 0, 16);
	icmp[0] = NAT_ICMP_ECHO;
	icmp[7] = 1;
	sum = csum_fold(csum_add(0, icmp, 16));
	memcpy(icmp + 2, &sum, 2);
	return 50;
}
