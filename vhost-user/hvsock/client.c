/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "connect_line.h"

struct client {
	struct client_set *set;
	struct client *older, *newer;
	int fd; /* -1: gone, the memory is about to follow */
	int type;
	bool half_open;       /* its line is awaited */
	bool says_ok;         /* it came by a line, and is told */
	bool guid;            /* in this form */
	struct hv_conn *conn; /* NULL: the guest has not been asked */
	struct loop_source src;
	struct loop_timer timer;
	struct loop_work bury;
	struct connect_line line;
};

static const char *tag(const struct client *c)
{
	return hv_vm_name(c->set->vm);
}

static void set_remove(struct client *c)
{
	struct client_set *set = c->set;

	*(c->older ? &c->older->newer : &set->oldest) = c->newer;
	*(c->newer ? &c->newer->older : &set->newest) = c->older;
	set->n_half_open -= c->half_open;
}

static void set_append(struct client_set *set, struct client *c)
{
	c->older = set->newest;
	*(c->older ? &c->older->newer : &set->oldest) = c;
	set->newest = c;
	set->n_half_open += c->half_open;
}

static void on_bury(struct loop_work *work)
{
	free(container_of(work, struct client, bury));
}

/* No longer in the set, no longer called; memory goes when the pass is over. */
static void client_forget(struct client *c)
{
	struct loop *loop = c->set->loop;

	loop_timer_cancel(loop, &c->timer);
	loop_del(&c->src);
	set_remove(c);
	loop_defer(loop, &c->bury, on_bury);
}

static void client_close(struct client *c)
{
	if (c->conn)
		hv_cancel(c->conn);
	c->conn = NULL;
	client_forget(c);
	fd_drop(&c->fd);
}

static void client_refused(struct client *c, uint32_t port, int r)
{
	c->set->stats.clients_refused++;
	log_debug(tag(c), "port %u refused: %s", port, strerror(-r));
	client_close(c);
}

/* The answer.  It fits: it is the first that is sent.  If the client has gone, the relay will notice. */
static void say_ok(const struct client *c, const struct hv_conn *conn)
{
	char text[CONNECT_REPLY_MAX];
	size_t len = connect_line_reply(hv_conn_port(conn), c->guid, text);

	(void)!send(c->fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_EOR);
}

static void on_connected(struct hv_conn *conn, int result, void *data)
{
	struct client *c = data;

	c->conn = NULL;
	if (result == -ECONNABORTED) {
		c->set->stats.clients_gone++;
		client_close(c);
		return;
	}
	if (result < 0) {
		client_refused(c, hv_conn_guest_port(conn), result);
		return;
	}
	if (c->says_ok)
		say_ok(c, conn);
	c->set->stats.clients_connected++;
	client_forget(c);
	(void)fd_take(&c->fd);
}

/* Ask the guest.  The relay watches the descriptor from here on. */
static void client_ask(struct client *c, uint32_t port)
{
	int r = hv_connect(c->set->vm, port, c->type, c->fd, on_connected, c, &c->conn);

	if (r < 0)
		client_refused(c, port, r);
}

/* Take from the socket what belongs to the line.  -EAGAIN: there was nothing; -ECONNRESET: it has ended. */
static int take_bytes(struct client *c)
{
	char peeked[CONNECT_LINE_MAX];
	size_t len;
	ssize_t n = recv(c->fd, peeked, sizeof(peeked), MSG_PEEK | MSG_DONTWAIT);

	if (n > 0) {
		len = connect_line_want(&c->line, peeked, (size_t)n);
		n = recv(c->fd, peeked, len, MSG_DONTWAIT);
	}
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -ECONNRESET;
	connect_line_add(&c->line, peeked, (size_t)n);
	return 0;
}

/* The same of a SEQPACKET socket: one packet is one line, whole. */
static int take_packet(struct client *c)
{
	char packet[CONNECT_LINE_MAX];
	ssize_t n = recv(c->fd, packet, sizeof(packet), MSG_TRUNC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -ECONNRESET;
	if ((size_t)n > sizeof(packet) ||
	    connect_line_want(&c->line, packet, (size_t)n) < (size_t)n || packet[n - 1] != '\n')
		return -EINVAL;
	connect_line_add(&c->line, packet, (size_t)n);
	return 0;
}

static void line_is_whole(struct client *c, uint32_t port)
{
	loop_timer_cancel(c->set->loop, &c->timer);
	loop_del(&c->src);
	c->half_open = false;
	c->set->n_half_open--;
	client_ask(c, port);
}

/* Read on.  A line is at most CONNECT_LINE_MAX bytes, so this ends. */
static void client_read(struct client *c)
{
	uint32_t port;
	int r;

	do {
		r = c->type == SOCK_STREAM ? take_bytes(c) : take_packet(c);
		if (r == -EAGAIN)
			return;
		if (r == 0)
			r = connect_line_parse(&c->line, &port, &c->guid);
	} while (r == -EAGAIN);

	if (r == 0) {
		line_is_whole(c, port);
	} else if (r == -EINVAL) {
		c->set->stats.lines_bad++;
		log_limited(&c->set->log, LOG_LEVEL_INFO, tag(c),
			    "closed a client whose first line is not CONNECT and a port");
		client_close(c);
	} else {
		c->set->stats.clients_gone++;
		client_close(c);
	}
}

static void on_line(struct loop_source *src, uint32_t events)
{
	client_read(container_of(src, struct client, src));
}

static void on_timeout(struct loop_timer *timer)
{
	struct client *c = container_of(timer, struct client, timer);

	c->set->stats.lines_timeout++;
	log_limited(&c->set->log, LOG_LEVEL_INFO, tag(c),
		    "closed a client that did not say its CONNECT line in %llu s",
		    CLIENT_LINE_NS / 1000000000);
	client_close(c);
}

/* Make room for one more without a line. */
static void evict_oldest(struct client_set *set)
{
	struct client *c = set->oldest;

	while (!c->half_open)
		c = c->newer;
	set->stats.lines_evicted++;
	log_limited(&set->log, LOG_LEVEL_WARNING, tag(c),
		    "more than %d clients without a CONNECT line: closed the oldest",
		    CLIENT_HALF_OPEN_MAX);
	client_close(c);
}

/* NULL, and fd is closed: out of memory. */
static struct client *client_new(struct client_set *set, int fd, int type, bool half_open)
{
	struct client *c = calloc(1, sizeof(*c));

	set->stats.clients++;
	if (!c) {
		close(fd);
		return NULL;
	}
	c->set = set;
	c->fd = fd;
	c->type = type;
	c->half_open = half_open;
	c->says_ok = half_open;
	set_append(set, c);
	return c;
}

void client_greet(struct client_set *set, int fd, int type)
{
	struct client *c = client_new(set, fd, type, true);

	if (!c)
		return;
	client_read(c); /* most often the line is there already */
	if (!c->half_open || c->fd < 0)
		return;
	if (set->n_half_open > CLIENT_HALF_OPEN_MAX)
		evict_oldest(set);
	loop_timer_init(&c->timer, on_timeout);
	loop_timer_set(set->loop, &c->timer, loop_now_ns() + CLIENT_LINE_NS);
	if (loop_add(set->loop, &c->src, fd, EPOLLIN, on_line) < 0)
		client_close(c);
}

void client_connect(struct client_set *set, int fd, int type, uint32_t port)
{
	struct client *c = client_new(set, fd, type, false);

	if (c)
		client_ask(c, port);
}

void client_set_init(struct client_set *set, struct loop *loop, struct hv_vm *vm)
{
	*set = (struct client_set){ .loop = loop, .vm = vm };
}

void client_set_clear(struct client_set *set)
{
	while (set->oldest)
		client_close(set->oldest);
}
