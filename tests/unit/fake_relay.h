/* SPDX-License-Identifier: MIT */
/* A relay without guests, for tests of the host's side: it stands in for relay.h, port_vsock.h and port_vmbus.h in the
 * link, and the test says what the guest does.
 *
 * A VM is made by host_add_vm() as ever.  hv_connect() leaves a connection that the test answers; fake_request() makes one that
 * the host's side is to answer.  Connections stay until fake_clear(), with what became of them. */
#ifndef TEST_FAKE_RELAY_H
#define TEST_FAKE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "relay.h"

enum fake_state {
	FAKE_ASKED,     /* by hv_connect(): fake_answer() is due */
	FAKE_CANCELLED, /* by hv_cancel(), or because the client hung up */
	FAKE_REQUESTED, /* by fake_request(): hv_accept() or hv_refuse() is due */
	FAKE_REFUSED,   /* by either side */
	FAKE_CONNECTED, /* fd is the relay's */
	FAKE_GONE       /* fake_give_up() */
};

struct hv_conn {
	struct hv_vm *vm;
	enum fake_state state;
	int type;
	uint32_t guest_port, port;
	int fd;
	struct loop_source src; /* the client of one that was asked for */
	hv_connected_fn *done;
	void *data;
	struct hv_conn *next; /* newest first */
};

/* What the next hv_connect() calls return; 0 again after fake_clear(). */
extern int fake_connect_error;

/* What has been counted for every VM. */
extern struct hv_stats fake_stats;

/* The newest connection, or NULL, and how many there are in a state. */
struct hv_conn *fake_newest(void);
unsigned fake_count(enum fake_state state);

/* The guest's answer to FAKE_ASKED. */
void fake_answer(struct hv_conn *conn, int result);

/* A guest connects to `port` of the host. */
struct hv_conn *fake_request(struct hv_vm *vm, uint32_t port, int type);

/* The guest loses patience with FAKE_REQUESTED. */
void fake_give_up(struct hv_conn *conn);

/* A VM is in a new state. */
void fake_set_state(struct hv_vm *vm, const char *state);

/* Forget all connections, and close what the relay owns. */
void fake_clear(void);

#endif
