/* SPDX-License-Identifier: MIT */
#include "flush.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base.h"

/* Lists are circular, with a head that is no request. */
static void list_init(struct flush_request *list)
{
	list->next = list->prev = list;
}

static bool list_empty(const struct flush_request *list)
{
	return list->next == list;
}

/* Move all of `from` behind what is in `to`. */
static void splice(struct flush_request *to, struct flush_request *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	from->prev->next = to;
	to->prev->next = from->next;
	to->prev = from->prev;
	list_init(from);
}

static void take_out(struct flush_request *r)
{
	r->prev->next = r->next;
	r->next->prev = r->prev;
	r->queued = false;
}

/* A callback may ask anew, which belongs to a later call, and cancel others of these. */
static void answer(struct flush *f, struct flush_request *list)
{
	struct flush_request now;

	list_init(&now);
	splice(&now, list);
	while (!list_empty(&now)) {
		struct flush_request *r = now.next;

		take_out(r);
		r->fn(r, f->error);
	}
}

static void post(struct flush *f, int step)
{
	pthread_mutex_lock(&f->lock);
	f->step = step;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

/* What waits goes into one call, if none runs. */
static void start(struct flush *f)
{
	if (f->running || list_empty(&f->next))
		return;
	splice(&f->under_way, &f->next);
	f->running = true;
	post(f, FLUSH_GO);
}

static void on_done(struct loop_source *src, uint32_t events)
{
	struct flush *f = container_of(src, struct flush, done_src);
	uint64_t count;
	int result;

	if (read(f->done_fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&f->lock);
	result = f->result;
	pthread_mutex_unlock(&f->lock);
	if (f->error == 0)
		f->error = result;
	f->n_syncs += f->error == 0;
	if (f->changed)
		f->changed(f);
	answer(f, &f->under_way);
	f->running = false;
	start(f);
}

/* No disk, or one that has failed: there is nothing to wait for. */
static void on_nothing_to_do(struct loop_work *work)
{
	struct flush *f = container_of(work, struct flush, done_work);

	if (f->durable && f->error == 0)
		start(f);
	else
		answer(f, &f->next);
}

static void *flusher(void *arg)
{
	struct flush *f = arg;
	const uint64_t one = 1;

	pthread_mutex_lock(&f->lock);
	for (;;) {
		int result;

		while (f->step != FLUSH_GO && f->step != FLUSH_STOP)
			pthread_cond_wait(&f->wake, &f->lock);
		if (f->step == FLUSH_STOP)
			break;
		f->step = FLUSH_IDLE;
		pthread_mutex_unlock(&f->lock);
		result = f->sync(f->fd) < 0 ? -errno : 0;
		pthread_mutex_lock(&f->lock);
		f->result = result;
		(void)!write(f->done_fd, &one,
			     sizeof(one)); /* a counter of at most 1: it cannot be full */
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static int start_thread(struct flush *f)
{
	sigset_t all, before;
	int r;

	f->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->done_fd < 0)
		return -errno;
	r = loop_add(f->loop, &f->done_src, f->done_fd, EPOLLIN, on_done);
	if (r < 0)
		return r;
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = -pthread_create(&f->thread, NULL, flusher, f);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	f->has_thread = r == 0;
	return r;
}

int flush_init(struct flush *f, struct loop *loop, int fd, bool durable, int error)
{
	int r = 0;

	*f = (struct flush){
		.loop = loop,
		.fd = fd,
		.durable = durable,
		.error = error,
		.sync = fdatasync,
		.done_fd = -1,
	};
	list_init(&f->next);
	list_init(&f->under_way);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	if (durable)
		r = start_thread(f);
	if (r < 0)
		flush_done(f);
	return r;
}

void flush_done(struct flush *f)
{
	if (!f->loop)
		return;
	if (f->has_thread) {
		post(f, FLUSH_STOP);
		pthread_join(f->thread, NULL);
	}
	loop_del(&f->done_src);
	loop_defer_cancel(f->loop, &f->done_work);
	if (f->done_fd >= 0)
		close(f->done_fd);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->lock);
	f->loop = NULL;
}

void flush_request(struct flush *f, struct flush_request *r, flush_fn *fn)
{
	assert(!r->queued);
	f->n_requests++;
	r->fn = fn;
	r->queued = true;
	r->next = &f->next;
	r->prev = f->next.prev;
	r->prev->next = r;
	r->next->prev = r;
	/* At the end of the pass: what else is asked for in it shares the call. */
	loop_defer(f->loop, &f->done_work, on_nothing_to_do);
}

void flush_cancel(struct flush *f, struct flush_request *r)
{
	if (r->queued)
		take_out(r);
}
