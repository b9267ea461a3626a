/* SPDX-License-Identifier: MIT */
/* The agent of a guest as a process of this host, and a host that speaks to it over its Unix socket, message by message.
 *
 * The program is $AGENT, the test build of the agent.  Everything blocks, with a deadline after which the test fails. */
#ifndef TEST_AGENT_PEER_H
#define TEST_AGENT_PEER_H

#include <json-c/json.h>
#include <stdint.h>
#include <sys/types.h>

#include "tmp.h"

#define PEER_MS 20000

struct agent_header;

struct peer {
	struct tmp_dir tmp;
	char socket[96]; /* the agent listens here; "unix:" and this is its --connect, so that port N of the host is SOCKET.host.N */
	char host[96];
	pid_t pid;
};

/* Start it, wrapped into the command WRAP ("unshare", "-Ur", NULL) if that is not NULL, and wait until it listens. */
void peer_start(struct peer *peer, const char *const *wrap);
/* SIGTERM; it must end in order and without leaks, within PEER_MS. */
void peer_stop(struct peer *peer);
/* SIGKILL, and reap it. */
void peer_kill(struct peer *peer);

/* A connection that has said nothing yet; blocking. */
int peer_connect(struct peer *peer);
/* A control connection with HELLO behind it. */
int peer_control(struct peer *peer);
/* A data connection that has said ATTACH; blocking. */
int peer_attach(struct peer *peer, const char *token, uint32_t stream);

/* A token of its own for each call, in a static buffer of the call's. */
const char *peer_token(void);

/* Ask; returns the transaction.  The body is text of a JSON object. */
uint32_t peer_ask(int control, uint32_t type, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The next message, whatever it is.  NULL: the agent has closed the connection. */
struct json_object *peer_next(int control, struct agent_header *ret_header);
/* The next message that is not a notice. */
struct json_object *peer_read(int control, uint32_t *ret_type, uint32_t *ret_transaction);
/* The answer to TRANSACTION, which must be the next; of type TYPE, or ERROR with this "code" if CODE is not NULL.  Free with
 * json_object_put(). */
struct json_object *peer_answer(int control, uint32_t transaction, uint32_t type, const char *code);
/* The same, and the body does not matter. */
void peer_expect(int control, uint32_t transaction, uint32_t type, const char *code);

#endif
