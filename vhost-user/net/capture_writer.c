/* SPDX-License-Identifier: MIT */
#include "capture_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "loop.h"

#define PROGRAM "vhost-user-net " VHOST_LAB_VERSION

/* Blocks gathered for one system call; has to hold the longest of each kind. */
#define OUT_SIZE (512u << 10)

#define FILE_MODE 0600

#define PATH_SIZE 4096

/* ---- out ---------------------------------------------------------------------------------------- */

static uint64_t real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool fail(struct capture_writer *w, int error)
{
	bool gone = w->is_socket && (error == EPIPE || error == ECONNRESET);

	w->end = gone ? CAPTURE_ENDED : CAPTURE_FAILED;
	w->error = gone ? 0 : error;
	return false;
}

/* Wait until the viewer reads on.  False: it has had its time. */
static bool wait_for_viewer(struct capture_writer *w)
{
	struct pollfd p = { .fd = w->fd, .events = POLLOUT };

	if (atomic_load(&w->stopping)) {
		if (w->stop_ns == 0)
			w->stop_ns = loop_now_ns();
		if (loop_now_ns() - w->stop_ns > CAPTURE_WRITER_GRACE_NS)
			return false;
	}
	poll(&p, 1, 100);
	return true;
}

/* Write what is gathered.  False: it failed, or ended, as fail() says. */
static bool flush(struct capture_writer *w)
{
	size_t done = 0;

	while (done < w->out.len) {
		const uint8_t *at = w->out.bytes + done;
		size_t left = w->out.len - done;
		ssize_t n = w->is_socket ? send(w->fd, at, left, MSG_NOSIGNAL | MSG_DONTWAIT) :
					   write(w->fd, at, left);

		if (n >= 0) {
			done += (size_t)n;
		} else if (w->is_socket && errno == EAGAIN) {
			if (!wait_for_viewer(w))
				return fail(w, EPIPE);
		} else if (errno != EINTR) {
			int error = errno;

			w->file_bytes += pcapng_whole(w->out.bytes, done);
			if (!w->is_socket)
				(void)!ftruncate(w->fd, (off_t)w->file_bytes);
			w->out.len = 0;
			return fail(w, error);
		}
	}
	w->file_bytes += w->out.len;
	w->out.len = 0;
	return true;
}

static bool make_room(struct capture_writer *w, size_t len)
{
	return w->out.size - w->out.len >= len || flush(w);
}

/* ---- what every file begins and ends with -------------------------------------------------------- */

static bool put_head(struct capture_writer *w)
{
	struct utsname u;
	char os[sizeof(u.sysname) + sizeof(u.release) + 1] = "Linux";

	if (uname(&u) == 0)
		snprintf(os, sizeof(os), "%s %s", u.sysname, u.release);
	w->file_bytes = 0;
	w->start_ns = real_ns();
	if (!make_room(w, PCAPNG_BLOCK_MAX))
		return false;
	pcapng_section(&w->out, PROGRAM, os, w->comment);
	for (unsigned i = 0; i < w->n_interfaces; i++) {
		if (!make_room(w, PCAPNG_BLOCK_MAX))
			return false;
		pcapng_interface(&w->out, w->interface[i].name, w->interface[i].description,
				 w->filter, w->snaplen);
	}
	return true;
}

static bool put_tail(struct capture_writer *w)
{
	for (unsigned i = 0; i < w->n_interfaces; i++) {
		const struct capture_counts *c = &w->interface[i].counts;
		struct pcapng_statistics s = { .start_ns = w->start_ns, .end_ns = real_ns() };

		s.dropped = atomic_load_explicit(&c->dropped, memory_order_relaxed);
		s.received = atomic_load_explicit(&c->frames, memory_order_relaxed) + s.dropped;
		if (!make_room(w, PCAPNG_BLOCK_MAX))
			return false;
		pcapng_statistics(&w->out, i, &s);
	}
	return flush(w);
}

/* ---- rotation ----------------------------------------------------------------------------------- */

static const char *rotated(const struct capture_writer *w, unsigned i, char path[PATH_SIZE])
{
	if (i == 0)
		snprintf(path, PATH_SIZE, "%s", w->path);
	else
		snprintf(path, PATH_SIZE, "%s.%u", w->path, i);
	return path;
}

/* PATH.1 becomes PATH.2, PATH becomes PATH.1, and the eldest is gone. */
static void shift_files(const struct capture_writer *w)
{
	char from[PATH_SIZE], to[PATH_SIZE];

	for (unsigned i = w->files - 1; i > 0; i--)
		(void)rename(rotated(w, i - 1, from), rotated(w, i, to));
}

static bool rotate(struct capture_writer *w)
{
	int fd;

	if (!put_tail(w))
		return false;
	shift_files(w);
	fd = open(w->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FILE_MODE);
	if (fd < 0)
		return fail(w, errno);
	close(w->fd);
	w->fd = fd;
	return put_head(w);
}

/* Does a block of so many bytes still belong in this file, with the statistics at its end?  Every file gets one. */
static bool is_full(const struct capture_writer *w, size_t block)
{
	size_t tail = w->n_interfaces * sizeof(uint64_t) * 12;

	return w->rotate_bytes > 0 && w->file_bytes + w->out.len + block + tail > w->rotate_bytes;
}

/* ---- frames ------------------------------------------------------------------------------------- */

/* One packet, its bytes still to be put where *ret_at says; NULL: failed. */
static uint8_t *put_packet(struct capture_writer *w, const struct capture_record *record,
			   uint32_t cap_len, uint32_t len)
{
	size_t block = PCAPNG_PACKET_OVERHEAD + (size_t)cap_len;

	if ((is_full(w, block) && !rotate(w)) || !make_room(w, block))
		return NULL;
	return pcapng_packet(&w->out, record->interface, record->time_ns, cap_len, len,
			     record->direction);
}

static uint32_t cut(const struct capture_writer *w, uint32_t len)
{
	return w->snaplen > 0 ? min(len, w->snaplen) : len;
}

static void put_segments(void *arg, struct sw_frame *const *frame, unsigned n)
{
	struct capture_writer *w = arg;

	for (unsigned i = 0; i < n && w->end == CAPTURE_STOPPED; i++) {
		uint32_t cap_len = cut(w, frame[i]->len);
		uint8_t *at = put_packet(w, w->record, cap_len, frame[i]->len);

		if (at)
			sw_frame_copy(frame[i], 0, cap_len, at);
	}
}

/* As it would be on a wire.  What cannot be done, since its header lies, is recorded as it came. */
static bool put_unfinished(struct capture_writer *w, const struct capture_record *record)
{
	struct iovec iov = { (void *)(uintptr_t)record->bytes, record->cap_len };
	struct sw_frame f = { .iov = &iov, .n_iov = 1, .len = record->len, .hdr = record->hdr };
	struct sw_frame *one = &f;
	uint8_t *at;

	f.head_len = f.skip = SW_HEAD_LEN;
	memcpy(f.head, record->bytes, SW_HEAD_LEN);
	w->record = record;
	if (offload_lower(&w->offload, &one, 1, 0, put_segments, w) == 0)
		return w->end == CAPTURE_STOPPED;
	at = put_packet(w, record, cut(w, record->cap_len), record->len);
	if (at)
		memcpy(at, record->bytes, cut(w, record->cap_len));
	return at != NULL;
}

static bool put_record(struct capture_writer *w, const struct capture_record *record)
{
	uint32_t cap_len = cut(w, record->cap_len);
	uint8_t *at;

	if (nethdr_needs(&record->hdr) && record->cap_len == record->len)
		return put_unfinished(w, record);
	at = put_packet(w, record, cap_len, record->len);
	if (at)
		memcpy(at, record->bytes, cap_len);
	return at != NULL;
}

/* Everything that is there now.  False: failed, or ended. */
static bool drain(struct capture_writer *w, bool *ret_any)
{
	const struct capture_record *record;

	*ret_any = false;
	while ((record = capture_ring_first(w->ring))) {
		if (!put_record(w, record))
			return false;
		capture_ring_release(w->ring, record);
		*ret_any = true;
	}
	return flush(w);
}

/* ---- the thread --------------------------------------------------------------------------------- */

static void nap(void)
{
	const struct timespec ts = { .tv_nsec = CAPTURE_NAP_NS };

	nanosleep(&ts, NULL);
}

/* Until there is something to do.  False: the viewer is gone. */
static bool sleep_until_woken(struct capture_writer *w)
{
	struct pollfd p[2] = { { .fd = w->ring->wake_fd, .events = POLLIN },
			       { .fd = w->fd, .events = POLLIN | POLLRDHUP } };
	char byte;

	if (!capture_ring_will_sleep(w->ring) || atomic_load(&w->stopping))
		return true;
	poll(p, w->is_socket ? 2 : 1, -1);
	if (!w->is_socket || p[1].revents == 0)
		return true;
	/* What a viewer says is read, and not looked at. */
	if (recv(w->fd, &byte, 1, MSG_DONTWAIT) == 0)
		return fail(w, EPIPE);
	return true;
}

static void work(struct capture_writer *w)
{
	bool any = false, stopping;

	capture_ring_populate(w->ring);
	if (!put_head(w) || !flush(w))
		return;
	do {
		stopping = atomic_load(
			&w->stopping); /* before the look: what came before is written */
		if (!drain(w, &any))
			return;
		if (any && !stopping)
			nap();
		else if (!stopping && !sleep_until_woken(w))
			return;
	} while (!stopping);
	put_tail(w);
}

static void *run(void *arg)
{
	struct capture_writer *w = arg;
	int done_fd = w->done_fd;

	work(w);
	/* The last that is written may be told only now, when the disk has it or not. */
	if (close(w->fd) < 0 && w->end == CAPTURE_STOPPED && errno != EINTR)
		(void)fail(w, errno);
	w->fd = -1;
	(void)eventfd_write(done_fd, 1);
	return NULL;
}

int capture_writer_start(struct capture_writer *w)
{
	sigset_t all, before;
	int r;

	w->out = (struct pcapng){ .bytes = malloc(OUT_SIZE), .size = OUT_SIZE };
	if (!w->out.bytes)
		return -ENOMEM;
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		free(w->out.bytes);
		w->out.bytes = NULL;
	}
	return -r;
}

void capture_writer_stop(struct capture_writer *w)
{
	atomic_store(&w->stopping, true);
	(void)eventfd_write(w->ring->wake_fd, 1);
}

void capture_writer_join(struct capture_writer *w)
{
	pthread_join(w->thread, NULL);
	free(w->out.bytes);
	w->out.bytes = NULL;
}

bool capture_writer_join_until(struct capture_writer *w, uint64_t until_ns)
{
	struct pollfd p = { .fd = w->done_fd, .events = POLLIN };

	do {
		uint64_t now_ns = loop_now_ns();
		uint64_t left_ms = now_ns < until_ns ? (until_ns - now_ns) / 1000000 + 1 : 0;

		if (poll(&p, 1, (int)left_ms) > 0) {
			capture_writer_join(w);
			return true;
		}
	} while (loop_now_ns() < until_ns); /* a signal came */
	return false;
}
