/* SPDX-License-Identifier: MIT */
#include "agent/guest/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIPE_SIZE AGENT_WINDOW /* the program and we take fewer turns than with the usual 64 KiB */

static void tell(struct pump *p, struct agent_piece piece)
{
	piece.stream = p->stream;
	operation_piece(p->operation, &piece);
}

/* Our end of the pipe: a program that reads meets the end of file, one that writes SIGPIPE. */
static void close_pipe(struct pump *p)
{
	loop_remove(p->loop, &p->source);
	loop_timer_stop(&p->rest);
	close(p->fd);
	p->fd = -1;
	free(p->kept);
	p->kept = NULL;
	p->start = p->stop = 0;
}

/* No more of it, and the host hears so. */
static void end(struct pump *p)
{
	close_pipe(p);
	tell(p, (struct agent_piece){ .type = AGENT_CLOSE });
}

/* --- from the program -------------------------------------------------------------------------------------- */

/* True if there may be more to do at once. */
static bool move_out(struct pump *p)
{
	static uint8_t bytes[AGENT_BYTES_MAX];
	ssize_t n;

	if (p->fd < 0 || !p->window || operation_crowded(p->operation))
		return false;
	n = read(p->fd, bytes, p->window < sizeof(bytes) ? p->window : sizeof(bytes));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		end(p);
		return false;
	}
	p->window -= (uint32_t)n;
	tell(p, (struct agent_piece){ .type = AGENT_BYTES, .bytes = bytes, .len = (size_t)n });
	return true;
}

void pump_drain(struct pump *p)
{
	while (move_out(p))
		;
}

/* --- to the program ---------------------------------------------------------------------------------------- */

/* The pipe has taken N bytes more. */
static void grant(struct pump *p, size_t n)
{
	p->taken += (uint32_t)n;
	if (p->taken < AGENT_WINDOW / 4 || p->eof)
		return;
	tell(p, (struct agent_piece){ .type = AGENT_GRANT, .granted = p->taken });
	p->window += p->taken;
	p->taken = 0;
}

/* How many bytes the pipe took. */
static size_t feed(struct pump *p, const uint8_t *bytes, size_t len)
{
	ssize_t n = write(p->fd, bytes, len);

	if (n >= 0) {
		grant(p, (size_t)n);
		return (size_t)n;
	}
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	end(p);
	return len;
}

/* For later.  It fits, since the host sends no more than the window. */
static void keep(struct pump *p, const uint8_t *bytes, size_t len)
{
	if (!p->kept)
		p->kept = malloc(AGENT_WINDOW);
	if (!p->kept) {
		end(p);
		return;
	}
	if (p->stop + len > AGENT_WINDOW) {
		p->stop -= p->start;
		memmove(p->kept, p->kept + p->start, p->stop);
		p->start = 0;
	}
	memcpy(p->kept + p->stop, bytes, len);
	p->stop += len;
}

static void rested(struct loop_timer *timer);

/* A reader that goes on will have read much by then.  One that has not is waited for by the pipe itself. */
static void move_in(struct pump *p)
{
	size_t n = p->stop > p->start ? feed(p, p->kept + p->start, p->stop - p->start) : 0;

	if (p->fd < 0)
		return;
	p->start += n;
	if (p->start == p->stop)
		p->start = p->stop = 0;
	if (p->eof && !p->stop)
		close_pipe(p);
	else if (p->stop && n)
		loop_timer_start(p->loop, &p->rest, PUMP_REST_MS, rested);
}

static void rested(struct loop_timer *timer)
{
	struct pump *p = container_of(timer, struct pump, rest);

	move_in(p);
	pump_watch(p);
}

static void take_bytes(struct pump *p, const struct agent_piece *piece)
{
	size_t n = 0;

	p->window -= (uint32_t)piece->len;
	if (p->fd < 0)
		return;
	if (!p->stop)
		n = feed(p, piece->bytes, piece->len);
	if (p->fd < 0 || n == piece->len)
		return;
	if (!p->stop)
		loop_timer_start(p->loop, &p->rest, PUMP_REST_MS, rested);
	keep(p, piece->bytes + n, piece->len - n);
}

/* --- both -------------------------------------------------------------------------------------------------- */

static void ready(struct loop_source *source, uint32_t events)
{
	struct pump *p = container_of(source, struct pump, source);

	if (p->in)
		move_in(p);
	else
		(void)move_out(p);
	pump_watch(p);
	if (!p->in && p->fd < 0)
		p->closed(p);
}

/* What has to wait is not watched at all: that its other end has gone would be told again and again. */
void pump_watch(struct pump *p)
{
	bool wanted;

	if (p->fd < 0)
		return;
	wanted = p->in ? p->stop && !loop_timer_runs(&p->rest) :
			 p->window && !operation_crowded(p->operation);
	if (!wanted)
		loop_remove(p->loop, &p->source);
	else if (!p->source.ready &&
		 loop_add(p->loop, &p->source, p->fd, p->in ? EPOLLOUT : EPOLLIN, ready))
		end(p);
}

static int take_in(struct pump *p, const struct agent_piece *piece)
{
	if (piece->type == AGENT_GRANT || piece->len > p->window || (p->eof && piece->len))
		return -EPROTO;
	if (piece->type == AGENT_BYTES) {
		take_bytes(p, piece);
	} else {
		p->eof = true;
		if (p->fd >= 0)
			move_in(p);
	}
	pump_watch(p);
	return 0;
}

static int take_out(struct pump *p, const struct agent_piece *piece)
{
	if (piece->type == AGENT_BYTES || piece->granted > AGENT_WINDOW - p->window)
		return -EPROTO;
	p->window += piece->granted;
	if (p->fd < 0)
		return 0;
	if (piece->type == AGENT_CLOSE)
		close_pipe(p);
	pump_watch(p);
	if (p->fd < 0)
		p->closed(p);
	return 0;
}

int pump_take(struct pump *p, const struct agent_piece *piece)
{
	return p->in ? take_in(p, piece) : take_out(p, piece);
}

int pump_open(struct pump *p, struct loop *loop, struct operation *operation, uint32_t stream,
	      bool in, void (*closed)(struct pump *pump))
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	*p = (struct pump){ .loop = loop,
			    .operation = operation,
			    .stream = stream,
			    .fd = fds[in],
			    .in = in,
			    .window = AGENT_WINDOW,
			    .closed = closed };
	(void)fcntl(p->fd, F_SETPIPE_SZ, PIPE_SIZE);
	return fds[!in];
}

void pump_close(struct pump *p)
{
	if (pump_is_open(p))
		close_pipe(p);
}
