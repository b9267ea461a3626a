/* SPDX-License-Identifier: MIT */
/* A switch with one port of a test's own, the probe, beside ports of any kind made as port.add makes them. */
#ifndef UPLINK_FIXTURE_H
#define UPLINK_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "net.h"
#include "port_type.h"

#define PROBE_KEEP 256 /* frames remembered; all are counted */

struct probe {
	struct sw_port port;
	unsigned n;
	uint32_t len[PROBE_KEEP];
	struct nethdr hdr[PROBE_KEEP];
	uint8_t *bytes[PROBE_KEEP];
};

struct lab {
	struct backend backend;
	struct net net;
	struct probe probe;
	char *why;  /* of the last lab_open() that failed */
	int client; /* a connection to the control socket that has subscribed; -1: none */
	char line[65536];
	size_t line_len;
	struct json_object *events; /* notifications that came, oldest first */
};

void lab_up(struct lab *l);
/* Closes every port. */
void lab_down(struct lab *l);

/* Serve a control connection, and subscribe on it. */
void lab_control(struct lab *l);
/* Call a method, which has to succeed: its result, a reference. */
struct json_object *lab_call(struct lab *l, const char *method, const char *params);
/* Call a method, which has to fail: its message, good until the next call. */
const char *lab_call_fails(struct lab *l, const char *method, const char *params);
/* Wait for an event whose params have this id and state; fails the test if it does not come.  Its params, which stay
 * l->events'. */
struct json_object *lab_wait_event(struct lab *l, const char *method, const char *id,
				   const char *state);

/* A port from its JSON object; NULL: refused, see l->why. */
struct sw_port *lab_open(struct lab *l, const char *json);
void lab_close(struct lab *l, struct sw_port *p);

/* What port.list would say of it: the member as text, or NULL.  Good until the next call. */
const char *lab_describe(const struct sw_port *p, const char *member);

/* Run the loop until done(arg), for ten seconds at most: whether it was. */
bool lab_wait(struct lab *l, bool (*done)(void *arg), void *arg);
/* ... until the port says that it is in that state; fails the test otherwise. */
void lab_wait_state(struct lab *l, struct sw_port *p, const char *state);
/* ... until the probe has got n frames in all; fails the test otherwise. */
void lab_wait_frames(struct lab *l, unsigned n);
/* One pass, without waiting. */
void lab_pass(struct lab *l);

/* The probe sends bytes[0..len), complete. */
void lab_send(struct lab *l, const void *bytes, uint32_t len);
/* The same in pieces of `piece` bytes. */
void lab_send_pieces(struct lab *l, const void *bytes, uint32_t len, uint32_t piece);
/* n of them in one burst, at most SW_BURST. */
void lab_send_burst(struct lab *l, const void *bytes, uint32_t len, unsigned n);

/* A frame of len bytes to fill: broadcast or to `to` from `from` (the last bytes of addresses), type 0x88b5 (for
 * experiments), then numbers from `seed` on. */
void lab_frame(uint8_t *bytes, uint32_t len, uint8_t to, uint8_t from, uint8_t seed);
#define LAB_GROUP 0xff

/* Did frame i of the probe come out as lab_frame() made it? */
bool lab_is(const struct lab *l, unsigned i, const uint8_t *bytes, uint32_t len);

#endif
