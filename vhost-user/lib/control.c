/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "control_impl.h"
#include "listen.h"

#define TAG "control"

/* Taken from a connection at once. */
#define READ_CHUNK 4096

/* Requests are carried out in turns of this length, or of one request, and after each turn the thread is left to its
 * real work for as long.  A request takes 5 us to 1 ms (a list of 64 ports), so that a daemon of moderate use never
 * notices, and a flood takes half of the time and holds up nothing for longer than that.  (Without this, 32 clients
 * that asked for lists without pause held up frames for 90 ms.) */
#define TURN_NS 200000

/* A connection.  `in` holds lines that wait for their turn, and the beginning of one whose end has not come yet; while
 * one waits, nothing more is read. */
struct client {
	struct control *control;
	struct client *next;
	struct loop_source src;
	struct loop_work bury;
	uint32_t watched; /* events src waits for */
	int fd;
	bool closed;  /* waits to be freed */
	bool closing; /* reads no more; goes when `out` has been read */
	bool subscribed;
	bool waiting; /* a whole line is in `in` */
	struct control_tie *ties;
	size_t in_len,
		scanned; /* bytes in `in`, and how many of them are known to hold no newline */
	char *out;       /* [out_start, out_end) is still to be sent */
	size_t out_start, out_end, out_size;
	char in[CONTROL_LINE_MAX];
};

/* ---- connections ---- */

int control_subscribe(struct control_call *call, struct json_object *params,
		      struct json_object **ret_result)
{
	if (!call->client)
		return control_error(call, CONTROL_ERROR_FAILED, "no connection to notify");
	call->control->n_subscribers += !call->client->subscribed;
	call->client->subscribed = true;
	return 0;
}

int control_tie(struct control_call *call, struct control_tie *tie,
		void (*gone)(struct control_tie *tie))
{
	struct client *c = call->client;

	if (!c || c->closed)
		return -ENOTCONN;
	*tie = (struct control_tie){ .gone = gone, .next = c->ties, .prev = &c->ties };
	if (c->ties)
		c->ties->prev = &tie->next;
	c->ties = tie;
	return 0;
}

void control_untie(struct control_tie *tie)
{
	if (!tie->prev)
		return;
	*tie->prev = tie->next;
	if (tie->next)
		tie->next->prev = tie->prev;
	tie->next = NULL;
	tie->prev = NULL;
}

/* One of them may take others with it. */
static void tell_ties(struct client *c)
{
	while (c->ties) {
		struct control_tie *tie = c->ties;

		control_untie(tie);
		tie->gone(tie);
	}
}

static void client_bury(struct loop_work *work)
{
	struct client *c = container_of(work, struct client, bury);

	free(c->out);
	free(c);
}

/* End a connection now.  Its memory stays until the pass is over: its caller may be a method of its own. */
static void client_close(struct client *c)
{
	struct control *control = c->control;
	struct client **p = &control->clients;

	if (c->closed)
		return;
	c->closed = true;
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	control->n_clients--;
	control->n_subscribers -= c->subscribed;
	loop_del(&c->src);
	close(c->fd);
	loop_defer(control->loop, &c->bury, client_bury);
	tell_ties(c);
}

static void client_watch(struct client *c)
{
	uint32_t events = (c->closing || c->waiting ? 0 : EPOLLIN) |
			  (c->out_end > c->out_start ? EPOLLOUT : 0);

	if (events == c->watched)
		return;
	c->watched = events;
	if (loop_mod(&c->src, events) < 0)
		client_close(c);
}

/* Send what the socket takes. */
static void client_flush(struct client *c)
{
	while (c->out_start < c->out_end) {
		ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			client_close(c);
			return;
		}
		c->out_start += (size_t)n;
	}
	c->out_start = c->out_end = 0;
	if (c->closing)
		client_close(c);
}

/* Room for len more bytes behind those not yet read. */
static int client_reserve(struct client *c, size_t len)
{
	size_t used = c->out_end - c->out_start, size = max(c->out_size, (size_t)READ_CHUNK);
	char *out;

	if (len > CONTROL_OUT_MAX - min(used, (size_t)CONTROL_OUT_MAX))
		return -ENOBUFS;
	if (used)
		memmove(c->out, c->out + c->out_start, used);
	c->out_start = 0;
	c->out_end = used;
	while (size < used + len)
		size *= 2;
	out = size == c->out_size ? c->out : realloc(c->out, size);
	if (!out)
		return -ENOMEM;
	c->out = out;
	c->out_size = size;
	return 0;
}

static void client_send(struct client *c, const char *text, size_t len)
{
	if (c->closed)
		return;
	if (len + 1 > c->out_size - c->out_end && client_reserve(c, len + 1) < 0) {
		log_limited(&c->control->limit, LOG_LEVEL_WARNING, TAG,
			    "dropped a connection that does not read (%zu bytes waiting)",
			    c->out_end - c->out_start);
		client_close(c);
		return;
	}
	memcpy(c->out + c->out_end, text, len);
	control_mend_utf8(c->out + c->out_end, len);
	c->out[c->out_end + len] = '\n';
	c->out_end += len + 1;
	client_flush(c);
}

static const char *serialize(struct json_object *o, size_t *ret_len)
{
	return json_object_to_json_string_length(
		o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, ret_len);
}

/* Send o and drop it; NULL is nothing to send. */
static void client_send_json(struct client *c, struct json_object *o)
{
	const char *text;
	size_t len;

	if (!o)
		return;
	text = serialize(o, &len);
	if (text)
		client_send(c, text, len);
	else
		client_close(c);
	json_object_put(o);
}

static void client_refuse_line(struct client *c)
{
	struct control_call call = { .control = c->control };

	(void)control_error(&call, CONTROL_ERROR_INVALID_REQUEST, "a line is longer than %d bytes",
			    CONTROL_LINE_MAX);
	c->closing = true; /* where the next line begins is anybody's guess */
	client_send_json(c, control_answer_error(NULL, &call));
}

/* The length of the first line in c->in, newline included; 0: its end has not come yet. */
static size_t client_line_len(struct client *c)
{
	const char *end = memchr(c->in + c->scanned, '\n', c->in_len - c->scanned);

	c->scanned = end ? (size_t)(end - c->in) : c->in_len;
	return end ? c->scanned + 1 : 0;
}

/* Carry out the first line.  There is one. */
static void client_serve(struct client *c)
{
	struct control_call call = { .control = c->control, .client = c };
	size_t len = client_line_len(c);

	client_send_json(c, control_run_line(&call, c->in, len - 1));
	c->in_len -= len;
	c->scanned = 0;
	memmove(c->in, c->in + len, c->in_len);
	c->waiting = client_line_len(c) > 0;
	if (!c->closed)
		client_watch(c);
}

/* The next to be served, which goes to the end of the list; NULL: no line is waiting. */
static struct client *next_client(struct control *control)
{
	struct client **p = &control->clients, **end, *c;

	while (*p && !(*p)->waiting)
		p = &(*p)->next;
	c = *p;
	if (!c)
		return NULL;
	*p = c->next;
	for (end = p; *end; end = &(*end)->next)
		;
	c->next = NULL;
	*end = c;
	return c;
}

/* One turn: a line of each client, and so on, until none is left or the time is up.  Then nothing for as long as that
 * took. */
static void serve(struct control *control)
{
	uint64_t start = loop_now_ns(), now = start;
	struct client *c = next_client(control);

	while (c) {
		client_serve(c);
		now = loop_now_ns();
		if (now - start >= TURN_NS)
			break;
		c = next_client(control);
	}
	control->rest_until = now + (now - start);
	if (c) /* there may be more */
		loop_timer_set(control->loop, &control->rest, control->rest_until);
}

static void rest_over(struct loop_timer *timer)
{
	serve(container_of(timer, struct control, rest));
}

static void client_read(struct client *c)
{
	struct control *control = c->control;
	ssize_t n =
		read(c->fd, c->in + c->in_len, min((size_t)READ_CHUNK, sizeof(c->in) - c->in_len));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		client_close(c);
		return;
	}
	if (n == 0) {
		c->closing = true; /* it may still read the answers to what it sent */
		client_flush(c);
		return;
	}
	c->in_len += (size_t)n;
	c->waiting = client_line_len(c) > 0;
	if (!c->waiting && c->in_len == sizeof(c->in))
		client_refuse_line(c);
	else if (c->waiting && loop_now_ns() >= control->rest_until)
		serve(control);
	else if (c->waiting)
		loop_timer_set(control->loop, &control->rest, control->rest_until);
}

static void client_event(struct loop_source *src, uint32_t events)
{
	struct client *c = container_of(src, struct client, src);

	if (events & EPOLLOUT)
		client_flush(c);
	if (!c->closed && !c->closing && !c->waiting && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		client_read(c);
	else if (!c->closed && c->closing && (events & (EPOLLHUP | EPOLLERR)))
		client_close(c); /* nobody is left to read */
	if (!c->closed)
		client_watch(c);
}

static int client_new(struct control *control, int fd)
{
	struct client *c = malloc(sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	/* Not calloc(): most of the 64 KiB of `in` are never touched. */
	memset(c, 0, offsetof(struct client, in));
	c->control = control;
	c->fd = fd;
	c->watched = EPOLLIN;
	r = loop_add(control->loop, &c->src, fd, c->watched, client_event);
	if (r < 0) {
		free(c);
		return r;
	}
	c->next = control->clients;
	control->clients = c;
	control->n_clients++;
	return 0;
}

/* Tell a connection beyond the limit why it ends; it fits into any socket buffer. */
static void refuse_client(int fd)
{
	struct control_call call = { 0 };
	struct json_object *o;
	const char *text;
	size_t len;

	(void)control_error(&call, CONTROL_ERROR_LIMIT, "already serving %d connections",
			    CONTROL_CLIENTS_MAX);
	o = control_answer_error(NULL, &call);
	text = serialize(o, &len);
	if (text) {
		(void)!send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
		(void)!send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	json_object_put(o);
}

int control_attach(struct control *control, int fd)
{
	int r = listen_check_peer(fd);

	if (r == 0 && control->n_clients >= CONTROL_CLIENTS_MAX) {
		refuse_client(fd);
		r = -EUSERS;
	}
	if (r == 0)
		r = client_new(control, fd);
	if (r < 0)
		close(fd);
	return r;
}

static void listener_event(struct loop_source *src, uint32_t events)
{
	struct control *control = container_of(src, struct control, listener);
	int fd, r = listen_accept(control->listen_fd, &fd);

	if (r == 0)
		r = control_attach(control, fd);
	if (r < 0 && r != -EAGAIN)
		log_limited(&control->limit, LOG_LEVEL_WARNING, TAG, "refused a connection: %s",
			    strerror(-r));
}

/* ---- the server ---- */

int control_new(struct loop *loop, int listen_fd, const struct control_method *methods,
		unsigned n_methods, void *context, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));
	int r = 0;

	if (!control) {
		if (listen_fd >= 0)
			close(listen_fd);
		return -ENOMEM;
	}
	*control = (struct control){
		.loop = loop,
		.listen_fd = listen_fd,
		.methods = methods,
		.n_methods = n_methods,
		.context = context,
		.tokener = json_tokener_new_ex(CONTROL_DEPTH_MAX),
	};
	loop_timer_init(&control->rest, rest_over);
	if (control->tokener)
		json_tokener_set_flags(control->tokener, control_json_flags());
	else
		r = -ENOMEM;
	if (r == 0 && listen_fd >= 0)
		r = loop_add(loop, &control->listener, listen_fd, EPOLLIN, listener_event);
	if (r < 0) {
		control_free(control);
		return r;
	}
	*ret_control = control;
	return 0;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	while (control->clients)
		client_close(control->clients);
	loop_timer_cancel(control->loop, &control->rest);
	loop_del(&control->listener);
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	if (control->tokener)
		json_tokener_free(control->tokener);
	free(control);
}

bool control_has_subscribers(const struct control *control)
{
	return control && control->n_subscribers > 0;
}

void control_notify(struct control *control, const char *event, struct json_object *params)
{
	struct json_object *o;
	struct client *next;
	const char *text;
	size_t len;

	if (!control_has_subscribers(control)) {
		json_object_put(params);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
	json_object_object_add(o, "method", json_object_new_string(event));
	json_object_object_add(o, "params", params);
	text = serialize(o, &len);
	for (struct client *c = control->clients; c && text; c = next) {
		next = c->next;
		if (c->subscribed) {
			client_send(c, text, len);
			if (!c->closed)
				client_watch(c);
		}
	}
	json_object_put(o);
}

void control_notify_state(struct control *control, const char *event, const char *name,
			  const char *state)
{
	struct json_object *params;

	if (!control_has_subscribers(control))
		return;
	params = json_object_new_object();
	json_object_object_add(params, "name", json_object_new_string(name));
	json_object_object_add(params, "state", json_object_new_string(state));
	control_notify(control, event, params);
}
