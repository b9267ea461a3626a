/* SPDX-License-Identifier: MIT */
/* What the two files of the control socket share, and nobody else sees.
 *
 *   control_request.c  one line: JSON, its rules, the method, the answer; no I/O
 *   control.c          connections: reading lines, turns, answers that wait to be read, notifications
 */
#ifndef VU_CONTROL_IMPL_H
#define VU_CONTROL_IMPL_H

#include "control.h"
#include "log.h"
#include "loop.h"

struct client;

struct control {
	struct loop *loop;
	struct loop_source listener;
	int listen_fd;
	const struct control_method *methods;
	unsigned n_methods;
	void *context;
	struct json_tokener *tokener;
	struct client *clients; /* who was served last is last */
	struct loop_timer rest;
	uint64_t rest_until;
	unsigned n_clients, n_subscribers;
	struct log_limit limit;
};

struct control_call {
	struct control *control;
	struct client *client; /* NULL: control_line() */
	int code;              /* 0: no error so far */
	char message[256];
};

/* Carry out one line (no newline); see control_line(). */
struct json_object *control_run_line(struct control_call *call, const char *line, size_t len);

/* The answer that tells what control_error() said; `id` (borrowed) may be NULL, which is JSON's null too. */
struct json_object *control_answer_error(struct json_object *id, struct control_call *call);

/* What is no UTF-8 becomes '?', byte by byte: json-c writes strings as they are, and some are what guests say of themselves. */
void control_mend_utf8(char *text, size_t len);

/* The built-in method, of control.c. */
int control_subscribe(struct control_call *call, struct json_object *params,
		      struct json_object **ret_result);

#endif
