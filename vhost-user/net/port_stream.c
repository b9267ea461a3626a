/* SPDX-License-Identifier: MIT */
#include "port_stream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "inetaddr.h"
#include "listen.h"
#include "net.h"
#include "pieces.h"
#include "port_stream_frame.h"
#include "portspec.h"
#include "uplink.h"

#define SOCKET_MODE 0600
#define BACKLOG     4

/* Pieces given to the kernel by one call: a burst of common frames, each with its length and header in front. */
#define IOVS_MAX 512

struct port_stream {
	struct uplink up;
	char *path; /* of the Unix socket; NULL: TCP */
	union inetaddr addr;
	bool client;

	int listen_fd;
	struct loop_source listening;
	int fd; /* the peer's, connected or being connected */
	struct loop_source src;
	bool connecting;

	/* What the peer was too slow to take: whole frames, but for the first, of which a part has been sent. */
	uint8_t *out;
	uint32_t out_start, out_end;

	struct stream_in in;
	struct sw_frame frame[SW_BURST];
	struct iovec iov[SW_BURST];
	struct iovec out_iov[IOVS_MAX];
	uint8_t out_len[SW_BURST][STREAM_LEN_SIZE];
	uint8_t flat[SW_FRAME_MAX];
};

static struct port_stream *stream_of(struct uplink *u)
{
	return container_of(u, struct port_stream, up);
}

/* ---- the peer ----------------------------------------------------------------------------------- */

static void drop_peer(struct port_stream *s)
{
	loop_del(&s->src);
	fd_drop(&s->fd);
	s->connecting = false;
	s->out_start = s->out_end = 0;
	stream_in_reset(&s->in);
}

/* The peer has gone, or has to.  A server goes on listening: that is no trouble to be tried again. */
static void lose_peer(struct port_stream *s, int error, const char *what)
{
	if (s->client) {
		uplink_lost(&s->up, error, "%s", what);
		return;
	}
	drop_peer(s);
	sw_set_up(&s->up.port, false);
	if (error)
		log_limited(&s->up.limit, LOG_LEVEL_WARNING, s->up.port.name, "%s: %s", what,
			    strerror(error));
	uplink_state(&s->up, "listening");
}

static void wait_for_room(struct port_stream *s)
{
	loop_mod(&s->src, s->out_end > s->out_start ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* ---- ingress ------------------------------------------------------------------------------------ */

/* Up to a burst of frames out of what was read: how many; fewer than SW_BURST: that was all; -EPROTO. */
static int take_burst(struct port_stream *s)
{
	int n = 0;

	while (n < SW_BURST) {
		uint8_t *bytes;
		ssize_t len = stream_in_take(&s->in, &bytes);

		if (len == 0)
			break;
		if (len < 0)
			return (int)len;
		s->iov[n] = (struct iovec){ bytes, (size_t)len };
		s->frame[n] =
			(struct sw_frame){ .iov = &s->iov[n], .n_iov = 1, .len = (uint32_t)len };
		n++;
	}
	return n;
}

static void take_frames(struct port_stream *s)
{
	int n;

	do {
		n = take_burst(s);
		if (n > 0)
			sw_input(&s->up.port, s->frame, (unsigned)n);
	} while (n == SW_BURST && s->fd >= 0);
	if (n < 0)
		lose_peer(s, -n, "a length that no frame has");
}

static void on_incoming(struct port_stream *s)
{
	size_t room;
	uint8_t *at = stream_in_room(&s->in, &room);
	ssize_t n = recv(s->fd, at, room, MSG_DONTWAIT);

	if (n > 0) {
		stream_in_got(&s->in, (size_t)n);
		take_frames(s);
	} else if (n == 0) {
		lose_peer(s, 0, "the peer has closed the connection");
	} else if (errno != EAGAIN && errno != EINTR) {
		lose_peer(s, errno, "connection");
	}
}

/* ---- egress ------------------------------------------------------------------------------------- */

/* Send what was kept.  Returns whether nothing is left of it. */
static bool flush(struct port_stream *s)
{
	while (s->out_start < s->out_end) {
		ssize_t n = send(s->fd, s->out + s->out_start, s->out_end - s->out_start,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return false; /* an error that stays is told by the reading side */
		s->out_start += (uint32_t)n;
	}
	s->out_start = s->out_end = 0;
	return true;
}

/* Keep a frame of which `sent` bytes, its length included, are gone already; drop it if there is no room, which there
 * always is for one that was begun. */
static void keep(struct port_stream *s, const struct sw_frame *f, uint32_t sent)
{
	uint8_t len[STREAM_LEN_SIZE];
	uint8_t *to;
	uint32_t total = STREAM_LEN_SIZE + f->len;

	if (s->out_start > 0 && total > PORT_STREAM_OUT_MAX - s->out_end) {
		memmove(s->out, s->out + s->out_start, s->out_end - s->out_start);
		s->out_end -= s->out_start;
		s->out_start = 0;
	}
	if (total > PORT_STREAM_OUT_MAX - s->out_end) {
		s->up.port.stats.egress_drop_full++;
		return;
	}
	to = s->out + s->out_end;
	if (sent < STREAM_LEN_SIZE) {
		stream_len_put(len, f->len);
		memcpy(to, len + sent, STREAM_LEN_SIZE - sent);
		to += STREAM_LEN_SIZE - sent;
		sent = STREAM_LEN_SIZE;
	}
	sw_frame_copy(f, sent - STREAM_LEN_SIZE, total - sent, to);
	s->out_end = (uint32_t)(to + (total - sent) - s->out);
	s->up.port.stats.egress_frames++;
	s->up.port.stats.egress_bytes += f->len;
}

/* The pieces of up to n frames, as many as there is room for: how many frames, of *ret_iovs pieces. */
static unsigned gather(struct port_stream *s, struct sw_frame *const *frame, unsigned n,
		       unsigned *ret_iovs)
{
	unsigned i = 0, n_iov = 0;
	bool flat = false;

	while (i < n && !flat && n_iov + 1 + PIECES_MAX <= IOVS_MAX) {
		struct iovec *iov = &s->out_iov[n_iov];
		unsigned pieces = pieces_of(frame[i], iov + 1);

		if (pieces == 0) {
			flat = true; /* there is room for one such: it is the last */
			pieces = pieces_flat(frame[i], iov + 1, s->flat);
		}
		stream_len_put(s->out_len[i], frame[i]->len);
		iov[0] = (struct iovec){ s->out_len[i], STREAM_LEN_SIZE };
		n_iov += 1 + pieces;
		i++;
	}
	*ret_iovs = n_iov;
	return i;
}

/* Send some frames at once.  Returns how many were sent or begun; what is left of one that was begun has been kept. */
static unsigned send_some(struct port_stream *s, struct sw_frame *const *frame, unsigned n)
{
	struct port_stats *stats = &s->up.port.stats;
	struct msghdr msg = { .msg_iov = s->out_iov };
	unsigned n_iov, i = 0;
	ssize_t sent;

	n = gather(s, frame, n, &n_iov);
	msg.msg_iovlen = n_iov;
	sent = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return 0;
	for (; i < n && sent >= (ssize_t)(STREAM_LEN_SIZE + frame[i]->len); i++) {
		sent -= STREAM_LEN_SIZE + frame[i]->len;
		stats->egress_frames++;
		stats->egress_bytes += frame[i]->len;
	}
	if (i < n && sent > 0)
		keep(s, frame[i++], (uint32_t)sent);
	return i;
}

static void on_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct port_stream *s = stream_of(uplink_of(p));
	bool waited = s->out_end > s->out_start;
	unsigned i = 0, done;

	if (flush(s))
		do {
			done = send_some(s, frame + i, n - i);
			i += done;
		} while (i < n && done > 0 && s->out_end == s->out_start);
	for (; i < n; i++)
		keep(s, frame[i], 0);
	if (waited != (s->out_end > s->out_start))
		wait_for_room(s);
}

/* ---- connections -------------------------------------------------------------------------------- */

static void on_connected(struct port_stream *s)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error) {
		uplink_lost(&s->up, error, "%s", s->path ? "socket-path" : "address");
		return;
	}
	s->connecting = false;
	loop_mod(&s->src, EPOLLIN);
	uplink_up(&s->up);
}

static void on_event(struct loop_source *src, uint32_t events)
{
	struct port_stream *s = container_of(src, struct port_stream, src);

	if (s->connecting) {
		on_connected(s);
		return;
	}
	if ((events & EPOLLOUT) && flush(s))
		wait_for_room(s);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		on_incoming(s);
}

static void no_delay(const struct port_stream *s, int fd)
{
	int on = 1;

	if (!s->path) /* frames are answered by frames: none waits for a segment to be full */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void on_accept(struct loop_source *src, uint32_t events)
{
	struct port_stream *s = container_of(src, struct port_stream, listening);
	auto_fd int fd = -1;

	if (listen_accept(s->listen_fd, &fd) < 0)
		return;
	if (s->fd >= 0) {
		s->up.port.stats.sessions_refused++;
		return;
	}
	if (loop_add(&s->up.net->backend->loop, &s->src, fd, EPOLLIN, on_event) < 0)
		return;
	no_delay(s, fd);
	s->fd = fd_take(&fd);
	s->up.port.stats.sessions++;
	uplink_up(&s->up);
}

static int start_listening(struct port_stream *s)
{
	int r = s->path ? listen_unix(s->path, SOCKET_MODE, &s->listen_fd) :
			  listen_tcp(&s->addr.sa, inetaddr_len(&s->addr), BACKLOG, &s->listen_fd);

	if (r < 0)
		return r;
	r = loop_add(&s->up.net->backend->loop, &s->listening, s->listen_fd, EPOLLIN, on_accept);
	if (r < 0)
		return r;
	uplink_state(&s->up, "listening");
	return -EINPROGRESS;
}

/* 0, -EINPROGRESS or -errno. */
static int dial(const struct port_stream *s, int fd)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int r;

	if (s->path) {
		memcpy(un.sun_path, s->path, strlen(s->path)); /* measured by stream_open() */
		r = connect(fd, (struct sockaddr *)&un, sizeof(un));
	} else {
		r = connect(fd, &s->addr.sa, inetaddr_len(&s->addr));
	}
	return r < 0 ? -errno : 0;
}

static int start_client(struct port_stream *s)
{
	auto_fd int fd = socket(s->path ? AF_UNIX : s->addr.sa.sa_family,
				SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	no_delay(s, fd);
	r = dial(s, fd);
	if (r < 0 && r != -EINPROGRESS)
		return r;
	s->connecting = r == -EINPROGRESS;
	if (loop_add(&s->up.net->backend->loop, &s->src, fd, s->connecting ? EPOLLOUT : EPOLLIN,
		     on_event) < 0)
		return -ENOMEM;
	s->fd = fd_take(&fd);
	s->up.port.stats.sessions++;
	if (s->connecting)
		uplink_state(&s->up, "connecting");
	return r;
}

static int stream_connect(struct uplink *u)
{
	struct port_stream *s = stream_of(u);
	int r = s->client ? start_client(s) : start_listening(s);

	if (r < 0 && r != -EINPROGRESS)
		uplink_why(u, "%s: %s", s->path ? "socket-path" : "address", strerror(-r));
	return r;
}

static void stream_disconnect(struct uplink *u)
{
	struct port_stream *s = stream_of(u);

	drop_peer(s);
	if (s->listen_fd >= 0) {
		loop_del(&s->listening);
		fd_drop(&s->listen_fd);
		if (s->path)
			listen_unlink(s->path);
	}
}

static void stream_free(struct uplink *u)
{
	struct port_stream *s = stream_of(u);

	free(s->path);
	free(s->out);
	free(s);
}

static const struct uplink_ops stream_ops = {
	.port = { .type = "stream", .egress = on_egress },
	.connect = stream_connect,
	.disconnect = stream_disconnect,
	.free = stream_free,
};

/* ---- the type ----------------------------------------------------------------------------------- */

static int read_spec(const struct port_spec *spec, struct port_stream *s, char **why)
{
	const char *path = NULL, *address = NULL;
	int r = spec_string(spec, "socket-path", &path, why);

	if (r == 0)
		r = spec_string(spec, "address", &address, why);
	if (r == 0)
		r = spec_bool(spec, "client", &s->client, why);
	if (r < 0)
		return r;
	if (!path == !address)
		return spec_wrong(why, "socket-path: either this or address has to be given");
	if (address && inetaddr_parse(address, 0, &s->addr) < 0)
		return spec_wrong(why, "address: \"%s\" is not like 127.0.0.1:1234 or [::1]:1234",
				  address);
	if (path && strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return spec_wrong(why, "socket-path: longer than 107 bytes");
	s->path = path ? strdup(path) : NULL;
	s->out = malloc(PORT_STREAM_OUT_MAX);
	return (path && !s->path) || !s->out ? -ENOMEM : 0;
}

static int stream_open(struct net *net, const struct port_spec *spec, struct sw_port **ret,
		       char **why)
{
	struct port_stream *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->fd = s->listen_fd = -1;
	r = read_spec(spec, s, why);
	if (r < 0) {
		stream_free(&s->up);
		return r;
	}
	s->up.firm = !s->client;
	r = uplink_open(&s->up, &stream_ops, net, spec->name, why);
	if (r == 0)
		*ret = &s->up.port;
	return r;
}

static void stream_close(struct sw_port *p)
{
	uplink_close(uplink_of(p));
}

static void stream_describe(const struct sw_port *p, struct json_object *o)
{
	const struct port_stream *s = uplink_owner(p, struct port_stream);
	char text[INETADDR_TEXT_MAX];

	if (s->path)
		json_object_object_add(o, "socket-path", json_object_new_string(s->path));
	else
		json_object_object_add(o, "address",
				       json_object_new_string(inetaddr_text(&s->addr, text)));
	json_object_object_add(o, "client", json_object_new_boolean(s->client));
	uplink_describe(&s->up, o);
}

const struct port_type port_stream_type = {
	.name = "stream",
	.members = "socket-path?,address?,client?",
	.open = stream_open,
	.close = stream_close,
	.describe = stream_describe,
};
