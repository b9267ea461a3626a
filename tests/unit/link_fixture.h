/* SPDX-License-Identifier: MIT */
/* The daemon's switch with ports that write down what they get and when, for the tests of links.
 *
 * Time is the test's (at_ns) unless it begins with the real clock; control methods are called as a client would. */
#ifndef TESTS_LINK_FIXTURE_H
#define TESTS_LINK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend.h"
#include "base.h"
#include "call.h"
#include "ctl.h"
#include "net.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

#define LAB_PORTS 3
#define LAB_GOT   20000

struct lab_got {
	uint64_t at_ns;
	uint32_t len;
	struct nethdr hdr;
	uint8_t bytes[96];
};

struct lab_port {
	struct sw_port port;
	unsigned n, n_calls;
	int carrier; /* -1: nobody told */
	struct lab_got got[LAB_GOT];
};

static struct net net;
static struct backend backend;
static struct lab_port port[LAB_PORTS]; /* "a", "b", "c", with stations 0x…0a and so on */
static uint64_t at_ns;

static inline uint64_t lab_clock(void)
{
	return at_ns;
}

static inline void lab_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct lab_port *lp = container_of(p, struct lab_port, port);

	lp->n_calls++;
	for (unsigned i = 0; i < n && lp->n < LAB_GOT; i++) {
		struct lab_got *g = &lp->got[lp->n++];

		g->at_ns = net.sw.clock_ns();
		g->len = frame[i]->len;
		g->hdr = frame[i]->hdr;
		sw_frame_copy(frame[i], 0, min(frame[i]->len, (uint32_t)sizeof(g->bytes)),
			      g->bytes);
	}
}

static inline void lab_carrier(struct sw_port *p, bool up)
{
	container_of(p, struct lab_port, port)->carrier = up;
}

static const struct sw_port_ops lab_ops = { .type = "fake",
					    .egress = lab_egress,
					    .carrier = lab_carrier };

/* Send a frame of `len` bytes from port `from` to the station of port `to`; `fill` is its 15th byte and all after. */
static inline void lab_send(unsigned from, unsigned to, uint32_t len, uint8_t fill)
{
	static uint8_t bytes[SW_FRAME_MAX];
	struct iovec iov = { bytes, len };
	struct sw_frame f = { .iov = &iov, .len = len, .n_iov = 1 };

	memset(bytes, fill, len);
	fdb_key_to_mac(0x52540000000aull + to, bytes);
	fdb_key_to_mac(0x52540000000aull + from, bytes + 6);
	bytes[12] = 0x88;
	bytes[13] = 0xb5;
	sw_input(&port[from].port, &f, 1);
}

static inline void lab_forget(void)
{
	for (unsigned i = 0; i < LAB_PORTS; i++) {
		port[i].n = port[i].n_calls = 0;
		port[i].carrier = -1;
	}
}

static inline void lab_start(bool real_clock)
{
	memset(&net, 0, sizeof(net));
	memset(&backend, 0, sizeof(backend));
	assert_int_equal(loop_init(&backend.loop), 0);
	net.backend = &backend;
	backend.device = &net;
	assert_int_equal(net_init(&net, &(struct config){ .fdb = { 64, 8, 300 } }, 1), 0);
	at_ns = 1000 * S;
	if (!real_clock) {
		net.sw.clock_ns = net.links.clock.now_ns = lab_clock;
		net.links.loop = net.links.clock.loop = NULL;
	}
	assert_int_equal(control_new(&backend.loop, -1, ctl_methods, ctl_n_methods, &backend,
				     &backend.control),
			 0);
	for (unsigned i = 0; i < LAB_PORTS; i++) {
		struct sw_port *p = &port[i].port;

		memset(p, 0, sizeof(*p));
		p->ops = &lab_ops;
		p->offloads = OFFLOAD_ALL;
		p->name[0] = (char)('a' + i);
		assert_int_equal(sw_attach(&net.sw, p), 0);
		sw_set_up(p, true);
		lab_send(i, (i + 1) % LAB_PORTS, 60, 0);
	}
	lab_forget();
}

static inline void lab_finish(void)
{
	for (unsigned i = 0; i < LAB_PORTS; i++)
		sw_detach(&port[i].port);
	net_done(&net);
	control_free(backend.control);
	loop_done(&backend.loop);
}

/* Let the test's time pass. */
static inline void lab_pass(uint64_t until_ns)
{
	const struct link_clock *c = &net.links.clock;

	while (c->n > 0 && c->heap[0]->at_ns <= until_ns) {
		at_ns = max(at_ns, c->heap[0]->at_ns);
		link_clock_run(&net.links.clock, at_ns);
	}
	at_ns = until_ns;
}

/* Let the real time pass. */
static inline void lab_run(uint64_t ns)
{
	uint64_t until = loop_now_ns() + ns;

	while (loop_now_ns() < until)
		assert_int_equal(loop_once(&backend.loop, until), 0);
}

/* Call a method; the answer as text is valid until the next call. */
static inline const char *lab_call(const char *method, const char *params)
{
	return control_call(backend.control, NULL, method, params);
}

static inline void lab_do(const char *method, const char *params)
{
	assert_says(lab_call(method, params), "\"result\":");
}

static inline struct link_way *lab_way(unsigned i, enum sw_direction d)
{
	return &link_find(&port[i].port)->way[d];
}

#endif
