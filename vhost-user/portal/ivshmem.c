/* SPDX-License-Identifier: MIT */
#include "ivshmem.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base.h"
#include "checked.h"
#include "cleanup.h"
#include "le.h"
#include "listen.h"
#include "log.h"
#include "scm.h"

#define PROTOCOL_VERSION 0
#define IDS              65536u

/* Messages sent to one peer in one pass of the loop. */
#define BUDGET 64

/* What a peer is still to be told, in order. */
enum news_kind { NEWS_VERSION, NEWS_ID, NEWS_MEMORY, NEWS_COME, NEWS_GONE };

struct news {
	uint16_t kind; /* enum news_kind */
	uint16_t id;   /* whose */
};

/* Think of a seat for each peer that can be there.  Of who sits on it a peer is still to be told at most that the one that it
 * knows has gone and that another has come: tell_gone() leaves out those who came and went in between. */
#define NEWS_MAX (3 + 2 * IVSHMEM_PEERS_MAX)

struct peer {
	struct ivshmem *server;
	struct peer *next;
	struct loop_source source;
	struct loop_work freeing;
	int fd;
	uint16_t id;
	struct news news[NEWS_MAX];
	unsigned n_news;
	unsigned n_told; /* vectors of the first of them, if it is NEWS_COME */
	int vector_fd[]; /* server->vectors of them */
};

struct ivshmem {
	struct loop *loop;
	char *path;
	int memory_fd;
	unsigned vectors;
	const char *label;
	int listen_fd;
	struct loop_source listener;
	struct peer *peers;
	uint32_t next_id;
	struct ivshmem_stats stats;
	struct log_limit log;
	struct loop_work freeing;
};

static struct peer *find(const struct ivshmem *server, uint32_t id)
{
	struct peer *p = server->peers;

	while (p && p->id != id)
		p = p->next;
	return p;
}

/* ---- what a peer is told ------------------------------------------------------------------------ */

static void add_news(struct peer *p, enum news_kind kind, uint16_t id)
{
	assert(p->n_news < NEWS_MAX);
	p->news[p->n_news++] = (struct news){ .kind = (uint16_t)kind, .id = id };
	if (p->source.loop)
		(void)loop_mod(&p->source, EPOLLIN | EPOLLOUT);
}

static void drop_news(struct peer *p, unsigned i)
{
	p->n_news--;
	memmove(&p->news[i], &p->news[i + 1], (p->n_news - i) * sizeof(p->news[0]));
}

/* `id` has gone, and its descriptors with it.  Who has not begun to hear that it had come need not hear either; who is in the
 * middle of that hears no more of it, and then the end. */
static void tell_gone(struct peer *p, uint16_t id)
{
	for (unsigned i = 0; i < p->n_news; i++) {
		if (p->news[i].kind != NEWS_COME || p->news[i].id != id)
			continue;
		if (i > 0 || p->n_told == 0) {
			drop_news(p, i);
			return;
		}
		p->news[i].kind = NEWS_GONE;
		p->n_told = 0;
		return;
	}
	add_news(p, NEWS_GONE, id);
}

/* One message.  Of a stream socket that takes only a part of 8 bytes nothing good is to be expected. */
static int send_message(const struct peer *p, int64_t number, int fd)
{
	le64_t wire = le64_of((uint64_t)number);
	const struct iovec iov = { &wire, sizeof(wire) };
	ssize_t n = scm_send(p->fd, &iov, 1, fd);

	if (n < 0)
		return (int)n;
	return n == sizeof(wire) ? 0 : -EPIPE;
}

/* The next message of the first of the news. */
static int send_next(struct peer *p)
{
	const struct news *news = &p->news[0];
	const struct peer *other;

	switch ((enum news_kind)news->kind) {
	case NEWS_VERSION:
		return send_message(p, PROTOCOL_VERSION, -1);
	case NEWS_MEMORY:
		return send_message(p, -1, p->server->memory_fd);
	case NEWS_COME:
		other = find(p->server, news->id);
		assert(other); /* tell_gone() */
		return send_message(p, news->id, other->vector_fd[p->n_told]);
	case NEWS_ID:
	case NEWS_GONE:
		break;
	}
	return send_message(p, news->id, -1);
}

/* Tell what can be told.  Returns 0, or -errno: the socket failed. */
static int tell(struct peer *p)
{
	for (unsigned i = 0; i < BUDGET && p->n_news > 0; i++) {
		int r = send_next(p);

		if (r < 0)
			return r == -EAGAIN || r == -EWOULDBLOCK ? 0 : r;
		if (p->news[0].kind == NEWS_COME && ++p->n_told < p->server->vectors)
			continue;
		p->n_told = 0;
		drop_news(p, 0);
	}
	return p->n_news > 0 ? 0 : loop_mod(&p->source, EPOLLIN);
}

/* ---- coming and going --------------------------------------------------------------------------- */

static void peer_close(struct peer *p)
{
	for (unsigned i = 0; i < p->server->vectors; i++)
		fd_drop(&p->vector_fd[i]);
	fd_drop(&p->fd);
}

static void on_peer_freeing(struct loop_work *work)
{
	free(container_of(work, struct peer, freeing));
}

/* Take it out, and tell the others. */
static void leave(struct peer *p)
{
	struct ivshmem *server = p->server;
	struct peer **at = &server->peers;

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	server->stats.peers--;
	loop_del(&p->source);
	for (struct peer *other = server->peers; other; other = other->next)
		tell_gone(other, p->id);
	peer_close(p);
	log_debug(server->label, "ivshmem: peer %u has gone", p->id);
	loop_defer(server->loop, &p->freeing, on_peer_freeing);
}

static void on_peer(struct loop_source *src, uint32_t events)
{
	struct peer *p = container_of(src, struct peer, source);
	struct ivshmem *server = p->server;
	int r = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		char byte;
		ssize_t n = recv(p->fd, &byte, sizeof(byte), MSG_DONTWAIT);

		if (n > 0) {
			server->stats.dropped++;
			log_limited(&server->log, LOG_LEVEL_WARNING, server->label,
				    "ivshmem: peer %u speaks, which the protocol has not: dropped",
				    p->id);
		}
		if (n >= 0 || (errno != EAGAIN && errno != EINTR)) {
			leave(p);
			return;
		}
	}
	if (events & EPOLLOUT)
		r = tell(p);
	if (r < 0)
		leave(p);
}

/* The next that nobody has. */
static uint16_t fresh_id(struct ivshmem *server)
{
	uint32_t id;

	do
		id = server->next_id++ % IDS;
	while (find(server, id));
	return (uint16_t)id;
}

static struct peer *peer_new(struct ivshmem *server, int fd)
{
	struct peer *p = calloc(1, sizeof(*p) + server->vectors * sizeof(p->vector_fd[0]));
	bool whole = p;

	if (!p) {
		close(fd);
		return NULL;
	}
	p->server = server;
	p->fd = fd;
	for (unsigned i = 0; i < server->vectors; i++) {
		p->vector_fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		whole = whole && p->vector_fd[i] >= 0;
	}
	if (!whole || loop_add(server->loop, &p->source, fd, EPOLLIN | EPOLLOUT, on_peer) < 0) {
		peer_close(p);
		free(p);
		return NULL;
	}
	return p;
}

/* Let it in: it hears of all who are there and of itself, and they of it. */
static void enter(struct ivshmem *server, struct peer *p)
{
	p->id = fresh_id(server);
	add_news(p, NEWS_VERSION, 0);
	add_news(p, NEWS_ID, p->id);
	add_news(p, NEWS_MEMORY, 0);
	for (struct peer *other = server->peers; other; other = other->next) {
		add_news(p, NEWS_COME, other->id);
		add_news(other, NEWS_COME, p->id);
	}
	add_news(p, NEWS_COME, p->id);
	p->next = server->peers;
	server->peers = p;
	server->stats.peers++;
	server->stats.accepted++;
	log_debug(server->label, "ivshmem: peer %u has come", p->id);
}

static void refuse(struct ivshmem *server, const char *why)
{
	server->stats.refused++;
	log_limited(&server->log, LOG_LEVEL_WARNING, server->label,
		    "ivshmem: a peer is turned away: %s", why);
}

static void on_listener(struct loop_source *src, uint32_t events)
{
	struct ivshmem *server = container_of(src, struct ivshmem, listener);
	auto_fd int fd = -1;
	struct peer *p;
	int r = listen_accept(server->listen_fd, &fd);

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		refuse(server, strerror(-r));
	} else if (listen_check_peer(fd) < 0) {
		refuse(server, "its process has another uid");
	} else if (server->stats.peers == IVSHMEM_PEERS_MAX) {
		refuse(server, "there are too many");
	} else {
		p = peer_new(server, fd_take(&fd));
		if (p)
			enter(server, p);
		else
			refuse(server, "no descriptor or no memory is left for it");
	}
}

/* ---- life --------------------------------------------------------------------------------------- */

static int open_listener(struct ivshmem *server, const char *path)
{
	int r;

	server->path = strdup(path);
	if (!server->path)
		return -ENOMEM;
	r = listen_unix(path, 0600, &server->listen_fd);
	if (r < 0)
		return r;
	r = loop_add(server->loop, &server->listener, server->listen_fd, EPOLLIN, on_listener);
	if (r < 0) {
		fd_drop(&server->listen_fd);
		listen_unlink(path);
	}
	return r;
}

int ivshmem_new(struct loop *loop, const struct ivshmem_config *config, struct ivshmem **ret)
{
	struct ivshmem *server;
	int r;

	if (!is_power_of_two(config->size) || config->vectors == 0 ||
	    config->vectors > IVSHMEM_VECTORS_MAX)
		return -EINVAL;
	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	server->loop = loop;
	server->memory_fd = config->memory_fd;
	server->vectors = config->vectors;
	server->label = config->label;
	server->listen_fd = -1;
	r = open_listener(server, config->path);
	if (r < 0) {
		free(server->path);
		free(server);
		return r;
	}
	*ret = server;
	return 0;
}

static void on_freeing(struct loop_work *work)
{
	struct ivshmem *server = container_of(work, struct ivshmem, freeing);

	free(server->path);
	free(server);
}

void ivshmem_close(struct ivshmem *server)
{
	if (!server)
		return;
	loop_del(&server->listener);
	fd_drop(&server->listen_fd);
	listen_unlink(server->path);
	while (server->peers)
		leave(server->peers);
	loop_defer(server->loop, &server->freeing, on_freeing);
}

const struct ivshmem_stats *ivshmem_stats(const struct ivshmem *server)
{
	return &server->stats;
}
