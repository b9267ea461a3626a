/* SPDX-License-Identifier: MIT */
#include "uplink_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "ctl.h"
#include "portspec.h"

#define WAIT_NS 10000000000ull
#define STEP_NS 20000000ull

static void probe_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct probe *probe = container_of(p, struct probe, port);

	for (unsigned i = 0; i < n; i++, probe->n++) {
		unsigned k = probe->n % PROBE_KEEP;

		free(probe->bytes[k]);
		probe->len[k] = frame[i]->len;
		probe->hdr[k] = frame[i]->hdr;
		probe->bytes[k] = malloc(frame[i]->len);
		assert_non_null(probe->bytes[k]);
		sw_frame_copy(frame[i], 0, frame[i]->len, probe->bytes[k]);
	}
}

static const struct sw_port_ops probe_ops = { .type = "probe", .egress = probe_egress };

void lab_up(struct lab *l)
{
	memset(l, 0, sizeof(*l));
	assert_int_equal(loop_init(&l->backend.loop), 0);
	l->client = -1;
	l->net.backend = &l->backend;
	assert_int_equal(net_init(&l->net, &(struct config){ .fdb = { 64, 8, 300 } }, 1), 0);
	l->backend.device = &l->net;
	l->probe.port.ops = &probe_ops;
	l->probe.port.offloads = OFFLOAD_ALL;
	snprintf(l->probe.port.name, sizeof(l->probe.port.name), "probe");
	assert_int_equal(sw_attach(&l->net.sw, &l->probe.port), 0);
	sw_set_up(&l->probe.port, true);
}

void lab_down(struct lab *l)
{
	sw_detach(&l->probe.port);
	net_done(&l->net);
	control_free(l->backend.control);
	json_object_put(l->events);
	if (l->client >= 0)
		close(l->client);
	for (unsigned i = 0; i < PROBE_KEEP; i++)
		free(l->probe.bytes[i]);
	free(l->why);
	loop_done(&l->backend.loop);
}

/* The next line that the control connection has to say: a reference. */
static struct json_object *next_line(struct lab *l)
{
	struct json_object *o;
	char *end;

	while (!(end = memchr(l->line, '\n', l->line_len))) {
		ssize_t n = recv(l->client, l->line + l->line_len, sizeof(l->line) - l->line_len,
				 MSG_DONTWAIT);

		if (n > 0)
			l->line_len += (size_t)n;
		else
			assert_int_equal(loop_once(&l->backend.loop, loop_now_ns() + STEP_NS), 0);
	}
	*end = '\0';
	o = json_tokener_parse(l->line);
	assert_non_null(o);
	l->line_len -= (size_t)(end + 1 - l->line);
	memmove(l->line, end + 1, l->line_len);
	return o;
}

/* What comes before the answer is kept as events. */
static struct json_object *answer(struct lab *l, const char *method, const char *params)
{
	char text[4096];
	int n = snprintf(text, sizeof(text),
			 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":%s}\n", method,
			 params);

	assert_int_equal(send(l->client, text, (size_t)n, 0), n);
	for (;;) {
		struct json_object *o = next_line(l);

		if (json_object_object_get_ex(o, "id", NULL))
			return o;
		json_object_array_add(l->events, o);
	}
}

void lab_control(struct lab *l)
{
	int fd[2];

	assert_int_equal(control_new(&l->backend.loop, -1, ctl_methods, ctl_n_methods, &l->backend,
				     &l->backend.control),
			 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	assert_int_equal(control_attach(l->backend.control, fd[0]), 0);
	l->client = fd[1];
	l->events = json_object_new_array();
	json_object_put(lab_call(l, "subscribe", "{}"));
}

struct json_object *lab_call(struct lab *l, const char *method, const char *params)
{
	struct json_object *o = answer(l, method, params), *result;

	if (!json_object_object_get_ex(o, "result", &result))
		fail_msg("%s %s: %s", method, params, json_object_to_json_string(o));
	result = json_object_get(result);
	json_object_put(o);
	return result;
}

const char *lab_call_fails(struct lab *l, const char *method, const char *params)
{
	static char text[512];
	struct json_object *o = answer(l, method, params), *error, *message;

	if (!json_object_object_get_ex(o, "error", &error))
		fail_msg("%s %s: succeeded", method, params);
	assert_true(json_object_object_get_ex(error, "message", &message));
	snprintf(text, sizeof(text), "%s", json_object_get_string(message));
	json_object_put(o);
	return text;
}

static bool has(struct json_object *params, const char *key, const char *value)
{
	struct json_object *member;

	return json_object_object_get_ex(params, key, &member) &&
	       strcmp(json_object_get_string(member), value) == 0;
}

struct json_object *lab_wait_event(struct lab *l, const char *method, const char *id,
				   const char *state)
{
	uint64_t end_ns = loop_now_ns() + WAIT_NS;

	for (size_t i = 0;; i++) {
		struct json_object *o, *params;

		while (i == json_object_array_length(l->events)) {
			if (loop_now_ns() > end_ns)
				fail_msg("no event %s %s %s", method, id, state);
			json_object_array_add(l->events, next_line(l));
		}
		o = json_object_array_get_idx(l->events, i);
		if (has(o, "method", method) && json_object_object_get_ex(o, "params", &params) &&
		    has(params, "id", id) && has(params, "state", state))
			return params;
	}
}

struct sw_port *lab_open(struct lab *l, const char *json)
{
	struct json_object *o = json_tokener_parse(json);
	struct port_spec spec;
	struct sw_port *p = NULL;
	int r;

	assert_non_null(o);
	free(l->why);
	l->why = NULL;
	r = port_spec_read(o, &spec, &l->why);
	if (r == 0) {
		r = net_add_port(&l->net, &spec, &l->why);
		if (r == 0)
			p = sw_find(&l->net.sw, spec.name);
		port_spec_done(&spec);
	}
	json_object_put(o);
	if (r < 0 && !l->why)
		l->why = strdup(net_port_error(r, NULL));
	return p;
}

void lab_close(struct lab *l, struct sw_port *p)
{
	port_type_of(p)->close(p);
	lab_pass(l);
}

const char *lab_describe(const struct sw_port *p, const char *member)
{
	static char text[256];
	struct json_object *o = json_object_new_object(), *value;
	const char *ret = NULL;

	port_type_of(p)->describe(p, o);
	if (json_object_object_get_ex(o, member, &value)) {
		snprintf(text, sizeof(text), "%s", json_object_get_string(value));
		ret = text;
	}
	json_object_put(o);
	return ret;
}

void lab_pass(struct lab *l)
{
	assert_int_equal(loop_once(&l->backend.loop, 0), 0);
}

bool lab_wait(struct lab *l, bool (*done)(void *arg), void *arg)
{
	uint64_t end_ns = loop_now_ns() + WAIT_NS;

	while (!done(arg)) {
		if (loop_now_ns() > end_ns)
			return false;
		assert_int_equal(loop_once(&l->backend.loop, loop_now_ns() + STEP_NS), 0);
	}
	return true;
}

struct awaited_state {
	struct sw_port *p;
	const char *state;
};

static bool is_in_state(void *arg)
{
	const struct awaited_state *a = arg;

	return strcmp(lab_describe(a->p, "state"), a->state) == 0;
}

void lab_wait_state(struct lab *l, struct sw_port *p, const char *state)
{
	struct awaited_state a = { p, state };

	if (!lab_wait(l, is_in_state, &a)) {
		const char *why = lab_describe(p, "why");

		fail_msg("%s is not %s: %s", p->name, state, why ? why : "");
	}
}

struct awaited_frames {
	const struct probe *probe;
	unsigned n;
};

static bool has_frames(void *arg)
{
	const struct awaited_frames *a = arg;

	return a->probe->n >= a->n;
}

void lab_wait_frames(struct lab *l, unsigned n)
{
	struct awaited_frames a = { &l->probe, n };

	if (!lab_wait(l, has_frames, &a))
		fail_msg("%u frames instead of %u", l->probe.n, n);
	assert_int_equal(l->probe.n, n);
}

void lab_send(struct lab *l, const void *bytes, uint32_t len)
{
	lab_send_burst(l, bytes, len, 1);
}

void lab_send_burst(struct lab *l, const void *bytes, uint32_t len, unsigned n)
{
	struct iovec iov = { (void *)(uintptr_t)bytes, len };
	struct sw_frame frame[SW_BURST];

	for (unsigned i = 0; i < n; i++)
		frame[i] = (struct sw_frame){ .iov = &iov, .n_iov = 1, .len = len };
	sw_input(&l->probe.port, frame, n);
}

void lab_send_pieces(struct lab *l, const void *bytes, uint32_t len, uint32_t piece)
{
	struct iovec iov[1024];
	struct sw_frame f = { .iov = iov, .len = len };

	for (uint32_t at = 0; at < len; at += piece)
		iov[f.n_iov++] =
			(struct iovec){ (char *)(uintptr_t)bytes + at, min(piece, len - at) };
	sw_input(&l->probe.port, &f, 1);
}

void lab_frame(uint8_t *bytes, uint32_t len, uint8_t to, uint8_t from, uint8_t seed)
{
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(seed + i + (i >> 8));
	memset(bytes, to == LAB_GROUP ? 0xff : 0x52, 6);
	memset(bytes + 6, 0x52, 6);
	bytes[5] = to;
	bytes[11] = from;
	bytes[12] = 0x88;
	bytes[13] = 0xb5;
}

bool lab_is(const struct lab *l, unsigned i, const uint8_t *bytes, uint32_t len)
{
	return l->probe.len[i % PROBE_KEEP] == len &&
	       memcmp(l->probe.bytes[i % PROBE_KEEP], bytes, len) == 0;
}
