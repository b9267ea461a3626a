/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

int loop_init(struct loop *loop)
{
	*loop = (struct loop){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	if (loop->epoll_fd < 0) {
		int r = -errno;

		*loop = (struct loop){ 0 };
		return r;
	}
	loop->work_tail = &loop->work;
	return 0;
}

static void run_work(struct loop *loop);

void loop_done(struct loop *loop)
{
	if (!loop->work_tail)
		return;
	while (loop->work)
		run_work(loop);
	if (loop->guarded)
		timer_delete(loop->guard);
	close(loop->epoll_fd);
	*loop = (struct loop){ 0 };
}

/* ---- descriptors ---- */

int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events, loop_fn *fn)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	assert(!src->loop);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	*src = (struct loop_source){ .fn = fn, .loop = loop, .fd = fd };
	return 0;
}

int loop_mod(struct loop_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	assert(src->loop);
	return epoll_ctl(src->loop->epoll_fd, EPOLL_CTL_MOD, src->fd, &ev) < 0 ? -errno : 0;
}

void loop_del(struct loop_source *src)
{
	if (src->loop)
		(void)epoll_ctl(src->loop->epoll_fd, EPOLL_CTL_DEL, src->fd, NULL);
	loop_forget(src);
}

void loop_forget(struct loop_source *src)
{
	struct loop *loop = src->loop;

	if (!loop)
		return;
	/* What this pass still holds for it must not reach it, or whoever has its memory then. */
	for (int i = loop->batch_next; i < loop->n_batch; i++)
		if (loop->batch[i].data.ptr == src)
			loop->batch[i].data.ptr = NULL;
	src->loop = NULL;
}

static void run_batch(struct loop *loop)
{
	while (loop->batch_next < loop->n_batch) {
		struct epoll_event *ev = &loop->batch[loop->batch_next++];
		struct loop_source *src = ev->data.ptr;

		if (src)
			src->fn(src, ev->events);
	}
	loop->n_batch = loop->batch_next = 0;
}

/* ---- timers: a pairing heap ---- */

/* Join two heaps; the later root becomes the first child of the earlier one. */
static struct loop_timer *heap_meld(struct loop_timer *a, struct loop_timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (b->at_ns < a->at_ns) {
		struct loop_timer *t = a;

		a = b;
		b = t;
	}
	b->prev = a;
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	a->child = b;
	return a;
}

/* Make one heap of a list of siblings: meld them in pairs, then the pairs from the last to the
 * first.  That order is what keeps removal at O(log n) amortised. */
static struct loop_timer *heap_meld_siblings(struct loop_timer *first)
{
	struct loop_timer *pairs = NULL, *root = NULL;

	while (first) {
		struct loop_timer *a = first, *b = a->next;

		first = b ? b->next : NULL;
		a->next = a->prev = NULL;
		if (b)
			b->next = b->prev = NULL;
		a = heap_meld(a, b);
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct loop_timer *rest = pairs->next;

		pairs->next = NULL;
		root = heap_meld(root, pairs);
		pairs = rest;
	}
	return root;
}

void loop_timer_init(struct loop_timer *timer, loop_timer_fn *fn)
{
	*timer = (struct loop_timer){ .fn = fn };
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
	loop_timer_cancel(loop, timer);
	/* A timer that sets itself into the past waits for the next pass: it may not keep the
	 * descriptors from their turn. */
	timer->at_ns = max(at_ns, loop->due_ns + 1);
	timer->set = true;
	loop->timers = heap_meld(loop->timers, timer);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer *children;

	if (!timer->set)
		return;
	children = heap_meld_siblings(timer->child);
	if (timer == loop->timers) {
		loop->timers = children;
	} else {
		if (timer->prev->child == timer)
			timer->prev->child = timer->next;
		else
			timer->prev->next = timer->next;
		if (timer->next)
			timer->next->prev = timer->prev;
		loop->timers = heap_meld(loop->timers, children);
	}
	loop_timer_init(timer, timer->fn);
}

static void run_timers(struct loop *loop)
{
	if (!loop->timers)
		return;
	loop->due_ns = loop_now_ns();
	while (loop->timers && loop->timers->at_ns <= loop->due_ns) {
		struct loop_timer *timer = loop->timers;

		loop_timer_cancel(loop, timer);
		timer->fn(timer);
	}
	loop->due_ns = 0;
}

/* ---- deferred work ---- */

void loop_defer(struct loop *loop, struct loop_work *work, loop_work_fn *fn)
{
	if (work->queued)
		return;
	*work = (struct loop_work){ .fn = fn, .queued = true, .pass = loop->pass };
	*loop->work_tail = work;
	loop->work_tail = &work->next;
}

void loop_defer_cancel(struct loop *loop, struct loop_work *work)
{
	struct loop_work **p = &loop->work;

	if (!work->queued)
		return;
	while (*p != work)
		p = &(*p)->next;
	*p = work->next;
	if (loop->work_tail == &work->next)
		loop->work_tail = p;
	work->queued = false;
}

static void run_work(struct loop *loop)
{
	loop->pass++;
	while (loop->work && loop->work->pass != loop->pass) {
		struct loop_work *work = loop->work;

		loop_defer_cancel(loop, work);
		work->fn(work);
	}
}

/* ---- pollers ---- */

void loop_poller_add(struct loop *loop, struct loop_poller *poller, loop_poll_fn *poll)
{
	assert(!poller->added);
	*poller = (struct loop_poller){ .poll = poll, .added = true, .next = loop->pollers };
	if (poller->next)
		poller->next->prev = poller;
	loop->pollers = poller;
}

void loop_poller_del(struct loop *loop, struct loop_poller *poller)
{
	if (!poller->added)
		return;
	if (loop->poller_next == poller)
		loop->poller_next = poller->next;
	if (poller->next)
		poller->next->prev = poller->prev;
	if (poller->prev)
		poller->prev->next = poller->next;
	else
		loop->pollers = poller->next;
	poller->added = false;
}

static bool run_pollers(struct loop *loop)
{
	bool busy = false;

	loop->poller_next = loop->pollers;
	while (loop->poller_next) {
		struct loop_poller *poller = loop->poller_next;

		loop->poller_next = poller->next;
		busy |= poller->poll(poller);
	}
	return busy;
}

/* ---- the guard ---- */

/* That it came is all: it interrupts. */
static void on_guard(int sig)
{
}

int loop_guard(struct loop *loop)
{
	struct sigaction action = { .sa_handler = on_guard }; /* without SA_RESTART */
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };

	assert(!loop->guarded);
	event._sigev_un._tid = gettid();
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGALRM, &action, NULL) < 0 ||
	    timer_create(CLOCK_MONOTONIC, &event, &loop->guard) < 0)
		return -errno;
	loop->guarded = true;
	return 0;
}

static void guard_tick(struct loop *loop, bool on)
{
	struct timespec period = { .tv_nsec = on ? (long)(LOOP_GUARD_MS * NS_PER_MS) : 0 };
	struct itimerspec its = { .it_interval = period, .it_value = period };

	if (loop->guarded && loop->guard_ticks != on &&
	    timer_settime(loop->guard, 0, &its, NULL) == 0)
		loop->guard_ticks = on;
}

/* ---- passes ---- */

static int wait_until(struct loop *loop, uint64_t until_ns)
{
	uint64_t now = until_ns && until_ns != LOOP_NEVER ? loop_now_ns() : 0;
	uint64_t ns = until_ns > now ? until_ns - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(ns / NS_PER_S),
			       .tv_nsec = (long)(ns % NS_PER_S) };
	int n = -1;

	if (ns == 0)
		return epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, 0);
	if (until_ns == LOOP_NEVER)
		return epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, -1);
	if (!loop->no_pwait2) {
		n = epoll_pwait2(loop->epoll_fd, loop->batch, LOOP_BATCH, &ts, NULL);
		loop->no_pwait2 = n < 0 && errno == ENOSYS;
	}
	if (loop->no_pwait2) /* rounded up: early would mean spinning until it is time */
		n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH,
			       (int)min((ns + NS_PER_MS - 1) / NS_PER_MS, UINT64_C(3600000)));
	return n;
}

static int look(struct loop *loop, uint64_t until_ns)
{
	int n, error;

	if (loop->timers)
		until_ns = min(until_ns, loop->timers->at_ns);
	if (loop->waiting)
		loop->waiting(loop, true);
	n = wait_until(loop, until_ns);
	error = errno;
	loop->n_batch = n > 0 ? n : 0; /* from here on sources may be forgotten */
	if (loop->waiting)
		loop->waiting(loop, false);
	loop->passes_unpeeked = 0;
	if (until_ns != 0)
		loop->woke_ns = loop_now_ns();
	if (n < 0 && error != EINTR)
		return -error;
	/* Its own tick in a sleep: a whole period without work, the guard can rest too. */
	guard_tick(loop, n >= 0);
	run_batch(loop);
	run_timers(loop);
	return 0;
}

int loop_once(struct loop *loop, uint64_t until_ns)
{
	bool busy = run_pollers(loop);
	int r = look(loop, busy || loop->work || loop->stop ? 0 : until_ns);

	run_work(loop);
	return r;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	while (!loop->stop && r == 0) {
		bool busy = run_pollers(loop);

		/* Other threads run while this one waits, be it not at all. */
		if (!busy || loop->waiting || ++loop->passes_unpeeked >= LOOP_PEEK_PASSES)
			r = look(loop, busy || loop->work || loop->stop ? 0 : LOOP_NEVER);
		run_work(loop);
	}
	loop->stop = false;
	return r;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}
