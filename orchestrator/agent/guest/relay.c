/* SPDX-License-Identifier: MIT */
#include "agent/guest/relay.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

static struct relay_end *other(struct relay_end *end)
{
	return &end->relay->ends[end == &end->relay->ends[0]];
}

static bool is_empty(const struct relay_end *end)
{
	return end->start == end->stop;
}

static void ready(struct loop_source *source, uint32_t events);

/* Ask for what there is a use for: reading while there is room, writing while there is something.  An end that waits for the other one
 * is not watched at all: that it is hung up would be told again and again.  One that has told its end is watched for its hang-up. */
static int watch(struct relay_end *end)
{
	struct loop *loop = end->relay->loop;
	uint32_t events = 0;

	if (!end->eof && is_empty(end))
		events |= EPOLLIN;
	if (!is_empty(other(end)))
		events |= EPOLLOUT;
	if (!events && (!end->told || end->tty))
		loop_remove(loop, &end->source);
	else if (end->source.ready)
		loop_change(loop, &end->source, events);
	else
		return loop_add(loop, &end->source, end->source.fd, events, ready);
	return 0;
}

/* A terminal whose last user is gone says EIO. */
static int fill(struct relay_end *end)
{
	ssize_t n = read(end->source.fd, end->buf, RELAY_BUF);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0 && !(end->tty && errno == EIO))
		return -errno;
	end->eof = n <= 0;
	end->start = 0;
	end->stop = n > 0 ? (size_t)n : 0;
	return 0;
}

static int drain(struct relay_end *from, struct relay_end *to)
{
	const uint8_t *data = from->buf + from->start;
	size_t len = from->stop - from->start;
	ssize_t n = to->tty ? write(to->source.fd, data, len) :
			      send(to->source.fd, data, len, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	from->start += (size_t)n;
	return 0;
}

/* Is a socket that is at its end closed, or may it still be written to?  An empty send() tells. */
static bool is_gone(const struct relay_end *end)
{
	return end->tty || (send(end->source.fd, "", 0, MSG_NOSIGNAL) < 0 && errno == EPIPE);
}

/* TO hears that nothing more comes. */
static void tell_end(struct relay_end *from, struct relay_end *to)
{
	struct termios mode;

	from->told = true;
	from->gone = is_gone(from);
	if (!to->tty)
		(void)shutdown(to->source.fd, SHUT_WR);
	else if (tcgetattr(to->source.fd, &mode) == 0 && mode.c_lflag & ICANON)
		(void)!write(to->source.fd, &mode.c_cc[VEOF], 1);
}

static int move(struct relay_end *from)
{
	struct relay_end *to = other(from);
	int err = 0;

	if (is_empty(from) && !from->eof)
		err = fill(from);
	if (!err && !is_empty(from))
		err = drain(from, to);
	if (!err && is_empty(from) && from->eof && !from->told)
		tell_end(from, to);
	return err;
}

static bool is_over(const struct relay *r)
{
	return (r->ends[0].told && r->ends[1].told) || r->ends[0].gone || r->ends[1].gone;
}

static void ready(struct loop_source *source, uint32_t events)
{
	struct relay_end *end = container_of(source, struct relay_end, source);
	struct relay *r = end->relay;
	int err = 0;

	if (end->told && events & (EPOLLHUP | EPOLLERR))
		end->gone = true;
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		err = move(end);
	if (!err && !is_empty(other(end)))
		err = move(other(end));
	if (!err && !is_over(r))
		err = watch(end);
	if (!err && !is_over(r))
		err = watch(other(end));
	if (err || is_over(r)) {
		loop_remove(r->loop, &r->ends[0].source);
		loop_remove(r->loop, &r->ends[1].source);
		r->ended(r, -err);
	}
}

int relay_start(struct relay *relay, struct loop *loop, int a, int b, bool tty,
		void (*ended)(struct relay *relay, int err))
{
	int fds[2] = { a, b }, err = 0;

	relay->loop = loop;
	relay->ended = ended;
	for (int i = 0; i < 2; i++) {
		struct relay_end *end = &relay->ends[i];

		end->relay = relay;
		end->tty = tty && i == 0;
		end->eof = end->told = end->gone = false;
		end->start = end->stop = 0;
		end->source = (struct loop_source){ .fd = fds[i] };
		if (!err)
			err = loop_add(loop, &end->source, fds[i], EPOLLIN, ready);
	}
	if (err) {
		relay_stop(relay);
		return err;
	}
	return 0;
}

void relay_stop(struct relay *relay)
{
	if (!relay->loop)
		return;
	for (int i = 0; i < 2; i++) {
		loop_remove(relay->loop, &relay->ends[i].source);
		close(relay->ends[i].source.fd);
	}
	relay->loop = NULL;
}
