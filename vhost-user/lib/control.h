/* SPDX-License-Identifier: MIT */
/* The control socket of a daemon: JSON-RPC 2.0, one object a line, on a Unix stream socket.
 *
 *   → {"jsonrpc":"2.0","id":1,"method":"port.add","params":{"name":"n1","socket-path":"/run/n1.vu"}}
 *   ← {"jsonrpc":"2.0","id":1,"result":{}}
 *   ← {"jsonrpc":"2.0","method":"port","params":{"name":"n1","state":"connected"}}      after "subscribe"
 *
 * How the specification's choices are taken:
 *   - params are an object, or left out (null is the same); by position (an array) they are refused, because names
 *     are the interface.
 *   - id is a string, a number (finite, and within 64 bits if whole) or null.  A request without id is a
 *     notification: it is carried out, never answered.
 *   - batches (an array of requests) are refused with one error: lines can be sent without waiting for answers,
 *     which is all that a batch would give.
 *   - unknown methods (-32601), unknown or missing members of params (-32602) and of the request itself (-32600)
 *     are errors. A member named twice counts as its last value (json-c).
 *   - an empty line is nothing; a trailing carriage return is white space.
 *   - answers come in the order of the requests.
 *
 * The method "subscribe" ({} → {}) is built in: from its answer on the connection gets what control_notify() sends.
 *
 * Trust:     the socket is 0600, and a peer must have our uid or be root (SO_PEERCRED).  A peer is still not
 *            trusted with our memory or time: a line of more than CONTROL_LINE_MAX ends its connection after an
 *            error (-32600), nesting ends at CONTROL_DEPTH_MAX, text must be UTF-8 (-32700), CONTROL_CLIENTS_MAX
 *            connections are served and the next is told so and closed, and whoever lets CONTROL_OUT_MAX bytes
 *            pile up unread is dropped, never waited for.  However many requests come, they get half of the thread's
 *            time at most, in short turns, and each connection with a request gets its turn.
 *            What is sent is UTF-8, whatever strings the device puts in: bytes that are none become '?', so that nobody
 *            who reads strictly is cut off by what a guest calls itself.
 * Ownership: see each function; json-c references follow its own convention (the one who is given one drops it).
 * Threads:   loop thread only.
 */
#ifndef VU_CONTROL_H
#define VU_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

#define CONTROL_LINE_MAX    65536      /* bytes of a request, newline included */
#define CONTROL_DEPTH_MAX   16         /* nesting of a request: the deepest method needs 4 */
#define CONTROL_OUT_MAX     (8u << 20) /* bytes not yet read by the peer: stats of 4,096 VMs */
#define CONTROL_CLIENTS_MAX 32

/* X(NAME, code): JSON-RPC 2.0, 5.1; those from -32000 on are ours. */
#define CONTROL_ERRORS(X)                                                   \
	X(PARSE, -32700)                                                    \
	X(INVALID_REQUEST, -32600)                                          \
	X(NO_METHOD, -32601)                                                \
	X(INVALID_PARAMS, -32602)                                           \
	X(INTERNAL, -32603)                                                 \
	X(FAILED, -32000)    /* it was understood, and could not be done */ \
	X(NOT_FOUND, -32001) /* no such port, ... */                        \
	X(EXISTS, -32002)    /* there is one of that name already */        \
	X(LIMIT, -32003)     /* a limit of ours is reached */

enum control_code {
#define X(name, code) CONTROL_ERROR_##name = code,
	CONTROL_ERRORS(X)
#undef X
};

struct loop;
struct control;
struct control_call; /* a request being carried out; valid until the method's function returns */

/* A method.  members: the names params may hold, separated by commas, "?" after an optional one: "name,socket-path",
 * "port?", "" for none.  They are checked before fn is called, unless members is NULL (they depend on each other: fn
 * checks); types are fn's to check (control_string() and so on).
 * fn returns 0, *ret_result being a new reference or left NULL (which is answered as {}); or what control_error()
 * returned; or any other -errno, which is answered as CONTROL_ERROR_FAILED with strerror()'s text. */
struct control_method {
	const char *name;
	int (*fn)(struct control_call *call, struct json_object *params,
		  struct json_object **ret_result);
	const char *members;
};

/* Serve on listen_fd (-1: none yet, connections come by control_attach()).  listen_fd is owned from the call on,
 * also when it fails.  The table is borrowed and must outlive the server.  context is for control_context().
 * -ENOMEM, or what loop_add() says. */
int control_new(struct loop *loop, int listen_fd, const struct control_method *methods,
		unsigned n_methods, void *context, struct control **ret_control);
/* Drops all connections, and what they had not read; what is tied to them is told.  Not from inside a method.  NULL is
 * fine. */
void control_free(struct control *control);

/* Serve a connection that somebody else accepted or inherited (fd is owned from the call on, also when it fails).
 * -EPERM: the peer is neither our uid nor root; -EUSERS: CONTROL_CLIENTS_MAX. */
int control_attach(struct control *control, int fd);

/* Send a notification to all who subscribed.  params is owned from the call on.  Cheap when nobody did; control
 * may be NULL.  May be called from anywhere, also from inside a method (subscribers see it before that method's
 * answer). */
void control_notify(struct control *control, const char *event, struct json_object *params);
bool control_has_subscribers(const struct control *control);
/* The same with params {"name", "state"}, which are made only if somebody subscribed. */
void control_notify_state(struct control *control, const char *event, const char *name,
			  const char *state);

/* For methods. */
void *control_context(const struct control_call *call);

/* Something that lasts no longer than the connection that asked for it.  Embedded in its owner; zero-filled is tied to
 * none. */
struct control_tie {
	void (*gone)(struct control_tie *tie); /* the connection has ended, and the tie with it */
	struct control_tie *next, **prev;
};

/* Tie it to the caller's connection.  -ENOTCONN: the call came by control_line(). */
int control_tie(struct control_call *call, struct control_tie *tie,
		void (*gone)(struct control_tie *tie));
/* gone() is not called any more; legal on one that is tied to none.  Before its memory is freed. */
void control_untie(struct control_tie *tie);

/* Say why a call fails; the last one said counts.  Always returns a negative value, for `return control_error(...)`. */
int control_error(struct control_call *call, enum control_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The member `name` of params.  If absent: 0, and *ret untouched (so that it may be preset).  Of another type, out
 * of range, or a string that is empty or holds a NUL: control_error() has been called and its value is returned. */
int control_string(struct control_call *call, struct json_object *params, const char *name,
		   const char **ret);
int control_uint(struct control_call *call, struct json_object *params, const char *name,
		 uint64_t max, uint64_t *ret);
int control_bool(struct control_call *call, struct json_object *params, const char *name,
		 bool *ret);

/* The part without I/O: carry out one line (no newline), or say what is wrong with it.  Returns the answer, a new
 * reference, or NULL if none is due (notification, empty line). */
struct json_object *control_line(struct control *control, const char *line, size_t len);

/* How to read JSON: strictly, in UTF-8.  json-c 0.18 refuses everything that is not ASCII when it is strict; there the
 * syntax is taken less strictly (comments, single quotes, trailing commas) and UTF-8 is still checked. */
int control_json_flags(void);

#endif
