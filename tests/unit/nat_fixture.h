/* SPDX-License-Identifier: MIT */
/* A switch with a NAT port and one guest's port that is a test's: what it is sent is kept, what it sends is made of
 * bytes.
 *
 * The control methods are there as in the daemon.  The loop is run by nat_bench_run(); real time passes. */
#ifndef TEST_NAT_FIXTURE_H
#define TEST_NAT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "call.h"
#include "inet.h"
#include "net.h"
#include "port_nat.h"

#define BENCH_KEEP 512

struct nat_bench {
	struct net net;
	struct backend backend;
	struct sw_port guest;
	struct port_nat *nat;
	unsigned n; /* frames got; the first BENCH_KEEP are kept */
	uint8_t got[BENCH_KEEP][2048];
	uint32_t len[BENCH_KEEP];

	/* Not NULL: frames go here. */
	void (*take)(struct nat_bench *b, const struct sw_frame *f);
	void *arg;
};

/* The guest of most tests: 192.168.100.10, "n1". */
#define N1_MAC "\x52\x54\x00\x00\x00\x0a"
#define N1_IP  0xc0a8640a
#define N2_IP  0xc0a8640b
#define GW_IP  0xc0a86401
#define DNS_IP 0xc0a864fe
#define GW_MAC "\x52\x55\xc0\xa8\x64\x01"

/* `members`: of the NAT port, beyond name, type and subnet 192.168.100.0/24; two hosts, n1 and n2, are among them. */
void nat_bench_up(struct nat_bench *b, const char *members);
void nat_bench_down(struct nat_bench *b);

/* Call a control method; the answer as text, valid until the next call. */
const char *nat_bench_call(struct nat_bench *b, const char *method, const char *params);

/* The guest sends; what is got from then on is counted from zero. */
void nat_bench_send(struct nat_bench *b, const void *frame, size_t len);

/* Run the loop until there are n frames, or for ms milliseconds.  Whether there are. */
bool nat_bench_run(struct nat_bench *b, unsigned n, unsigned ms);
/* Send, and run until there is an answer; 200 ms. */
bool nat_bench_ask(struct nat_bench *b, const void *frame, size_t len);

/* Frames by their makers.  Each returns its length. */
size_t make_arp(uint8_t *frame, const char *mac, uint32_t ip, uint32_t target);
size_t make_udp(uint8_t *frame, const char *mac, uint32_t src, uint16_t sport, uint32_t dst,
		uint16_t dport, const void *payload, size_t len);
size_t make_tcp(uint8_t *frame, const char *mac, uint32_t src, uint16_t sport, uint32_t dst,
		uint16_t dport, uint8_t flags);
size_t make_ping(uint8_t *frame, const char *mac, uint32_t src, uint32_t dst);

#endif
