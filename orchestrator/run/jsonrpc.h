/* SPDX-License-Identifier: MIT */
/* JSON-RPC 2.0, one object a line, over Unix stream sockets: both ends.
 *
 * The client speaks to a switch's control socket and to the supervisor; the server is the supervisor's.  A call may take
 * as long as it likes: the method keeps its struct rpc_call and answers when it knows, many may be under way on one
 * connection.  Notifications go to the connections that have subscribed.
 *
 * An error carries our exit code as error.data.exit, so that a failure keeps its kind across the socket.
 *
 * Trust:   the server talks to processes of its own user and of root only (SO_PEERCRED).  Unknown methods and members,
 *          wrong types and lines that are not requests get an error; a reader that does not read is dropped.
 * Threads: the thread of the default main context.
 */
#ifndef RUN_JSONRPC_H
#define RUN_JSONRPC_H

#include <stddef.h>
#include <stdbool.h>
#include <glib.h>

struct json_object;

#define RPC_LINE_MAX \
	(4u << 20) /* bytes of one message; a status of 4096 VMs has about half of that */
#define RPC_QUEUE_MAX   (16u << 20) /* bytes queued for one reader */
#define RPC_CLIENTS_MAX 64
#define RPC_CALLS_MAX   32 /* under way on one connection */

/* The codes of the specification. */
enum rpc_code {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_FAILED = -32000, /* the method itself failed; error.data.exit says how */
};

/* --- client ----------------------------------------------------------------------------------------------- */

struct rpc_client;

/* The answer to one call: exactly one of result and error.  Both are borrowed.  Comes from the main loop, exactly once for
 * every call, also when the connection ends; not after rpc_client_free(). */
typedef void rpc_answer_fn(struct json_object *result, const GError *error, void *data);
typedef void rpc_notify_fn(const char *method, struct json_object *params, void *data);
/* The connection has ended; every call has been answered.  May free the client. */
typedef void rpc_closed_fn(const char *why, void *data);

/* Takes over a connected socket.  notify and closed may be NULL. */
struct rpc_client *rpc_client_new(int fd, rpc_notify_fn *notify, rpc_closed_fn *closed, void *data);
/* The other side has hung up. */
bool rpc_client_ended(const struct rpc_client *c);
void rpc_client_free(struct rpc_client *c);

/* params: NULL for none, else an object whose reference is taken. */
void rpc_client_call(struct rpc_client *c, const char *method, struct json_object *params,
		     rpc_answer_fn *answer, void *data);

/* The same, running the default main context until the answer is there; timeout_ms < 0 waits forever.  *ret_result
 * belongs to the caller; ret_result may be NULL. */
gboolean rpc_client_call_sync(struct rpc_client *c, const char *method, struct json_object *params,
			      int timeout_ms, struct json_object **ret_result, GError **error);

/* --- server ----------------------------------------------------------------------------------------------- */

struct rpc_server;
struct rpc_call;

struct rpc_method {
	const char *name;
	const char *members; /* the members that params may have: "vm,force" */
	/* params is an object, borrowed (empty when the request had none).  Answer with rpc_reply() or rpc_fail(), now
	 * or later, exactly once. */
	void (*fn)(struct rpc_call *call, struct json_object *params, void *data);
};

/* Methods end with a NULL name.  listen_fd is taken over; -1 for a server that has only adopted connections. */
struct rpc_server *rpc_server_new(int listen_fd, const struct rpc_method *methods, void *data);
/* Calls under way may still be answered after this: into the void. */
void rpc_server_free(struct rpc_server *s);
/* Serve a connection that exists already (a socketpair); takes it over. */
void rpc_server_adopt(struct rpc_server *s, int fd);
/* No new connections; those that are there stay. */
void rpc_server_stop_listening(struct rpc_server *s);
/* Let everything that is queued go out, for at most timeout_ms. */
void rpc_server_flush(struct rpc_server *s, int timeout_ms);

/* result: NULL for {}, else a reference that is taken.  Ends the call. */
void rpc_reply(struct rpc_call *call, struct json_object *result);
/* The error is borrowed. */
void rpc_fail(struct rpc_call *call, const GError *error);
void rpc_fail_text(struct rpc_call *call, int exit_code, const char *format, ...)
	G_GNUC_PRINTF(3, 4);
/* From now on the call's connection receives notifications. */
void rpc_subscribe(struct rpc_call *call);

/* To every subscriber; takes the reference. */
void rpc_notify(struct rpc_server *s, const char *method, struct json_object *params);

#endif
