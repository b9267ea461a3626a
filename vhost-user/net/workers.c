/* SPDX-License-Identifier: MIT */
#include "workers.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "relax.h"

/* How often a look at a worker's burst, or at workers that want to run, is repeated before the processor
 * is given to others: they may need it. */
#define PATIENCE 2000

struct worker {
	struct workers *all;
	unsigned index; /* in sw.worker */
	pthread_t thread;
	pthread_cond_t awake;
	timer_t guard;
	bool guarded;
	bool running; /* set under the lock alone */
	struct port_vu_group group;
};

/* ---- in a worker -------------------------------------------------------------------------------- */

/* A frontend may make a call of ours wait: loop_guard() tells why and how it ends. */
static void guard(struct worker *w, bool on)
{
	struct timespec period = { .tv_nsec = on ? LOOP_GUARD_MS * 1000000L : 0 };
	struct itimerspec its = { .it_interval = period, .it_value = period };

	if (w->guarded)
		(void)timer_settime(w->guard, 0, &its, NULL);
}

/* Under the lock: until there is a transmitq to poll. */
static void sleep_well(struct worker *w)
{
	if (w->group.active || w->all->quit)
		return;
	guard(w, false);
	while (!w->group.active && !w->all->quit)
		pthread_cond_wait(&w->awake, &w->all->lock);
	guard(w, true);
}

static void run(struct worker *w)
{
	struct workers *ws = w->all;

	while (w->group.active && !__atomic_load_n(&ws->standing, __ATOMIC_RELAXED))
		transmitq_pass(&w->group);
}

/* That it came is all: it interrupts. */
static void on_guard(int sig)
{
}

static int make_guard(struct worker *w)
{
	struct sigaction action = { .sa_handler = on_guard }; /* without SA_RESTART */
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };

	event._sigev_un._tid = gettid();
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGALRM, &action, NULL) < 0)
		return -1;
	return timer_create(CLOCK_MONOTONIC, &event, &w->guard);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct workers *ws = w->all;

	w->guarded = make_guard(w) == 0;
	sw_thread = w->index;
	pthread_mutex_lock(&ws->lock);
	while (!ws->quit) {
		sleep_well(w);
		__atomic_store_n(&w->running, true, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&ws->lock);
		run(w);
		__atomic_fetch_add(&ws->n_waiting, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&w->running, false, __ATOMIC_RELEASE); /* with stand() */
		pthread_mutex_lock(&ws->lock);
		__atomic_fetch_sub(&ws->n_waiting, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&ws->lock);
	if (w->guarded)
		timer_delete(w->guard);
	return NULL;
}

/* struct port_vu_group.ring: of the worker's own group. */
static void on_ring(struct port_vu_group *g)
{
	struct workers *ws = container_of(g, struct worker, group)->all;
	const uint64_t one = 1;

	if (!__atomic_exchange_n(&ws->rung, true, __ATOMIC_RELAXED))
		(void)!write(ws->bell_fd, &one, sizeof(one));
}

/* ---- in the main thread ------------------------------------------------------------------------- */

static void pause_for(unsigned *looks)
{
	if (++*looks < PATIENCE)
		cpu_relax();
	else
		sched_yield();
}

static void stand(struct workers *ws)
{
	unsigned looks = 0;

	pthread_mutex_lock(&ws->lock);
	__atomic_store_n(&ws->standing, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < ws->n; i++)
		while (__atomic_load_n(&ws->worker[i]->running, __ATOMIC_ACQUIRE))
			pause_for(&looks);
	sw_handoff_run(
		ws->sw); /* before anything changes, or what is not handed over overtakes it */
}

/* Workers that wait get the lock before us, who may be back at once. */
static void move(struct workers *ws)
{
	unsigned looks = 0;

	__atomic_store_n(&ws->standing, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&ws->lock);
	while (__atomic_load_n(&ws->n_waiting, __ATOMIC_RELAXED) > 0 && looks < PATIENCE)
		pause_for(&looks);
}

static void on_waiting(struct loop *loop, bool on)
{
	if (on)
		move(loop->waiting_arg);
	else
		stand(loop->waiting_arg);
}

static void on_awake(struct port_vu_group *g)
{
	pthread_cond_signal(&container_of(g, struct worker, group)->awake);
}

static void on_bell(struct loop_source *src, uint32_t events)
{
	struct workers *ws = container_of(src, struct workers, bell);
	uint64_t n;

	(void)!read(ws->bell_fd, &n, sizeof(n));
	__atomic_store_n(&ws->rung, false, __ATOMIC_RELAXED);
	for (struct sw_port *p = sw_next(ws->sw, NULL), *next; p; p = next) {
		struct port_vu *pv = port_vu_of(p);

		next = sw_next(ws->sw, p);
		if (pv)
			port_vu_look_into(pv);
	}
}

static void ring_for_switch(struct sw *sw)
{
	struct workers *ws = sw->wake_arg;

	on_ring(&ws->worker[sw_thread - 1]->group);
}

static int add_worker(struct workers *ws, const struct port_vu_group *like)
{
	struct worker *w = aligned_alloc(CACHE_LINE,
					 (sizeof(*w) + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1));
	int r;

	if (!w)
		return -ENOMEM;
	*w = (struct worker){ .all = ws, .index = ws->n + 1, .group = *like };
	w->group.awake = on_awake;
	w->group.ring = on_ring;
	pthread_cond_init(&w->awake, NULL);
	r = pthread_create(&w->thread, NULL, worker_main, w);
	if (r != 0) {
		pthread_cond_destroy(&w->awake);
		free(w);
		return -r;
	}
	ws->worker[ws->n++] = w;
	return 0;
}

/* All signals are the main thread's but those that a worker brings upon itself, and its guard's. */
static int add_workers(struct workers *ws, const struct port_vu_group *like, unsigned n)
{
	sigset_t set, old;
	int r = 0;

	sigfillset(&set);
	sigdelset(&set, SIGALRM);
	sigdelset(&set, SIGBUS);
	sigdelset(&set, SIGSEGV);
	sigdelset(&set, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &set, &old);
	while (ws->n < n && r == 0)
		r = add_worker(ws, like);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int workers_start(struct workers *ws, struct loop *loop, struct sw *sw,
		  const struct port_vu_group *like, unsigned n)
{
	int r;

	*ws = (struct workers){ .loop = loop, .sw = sw, .standing = true };
	ws->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ws->bell_fd < 0)
		return -errno;
	pthread_mutex_init(&ws->lock, NULL);
	pthread_mutex_lock(&ws->lock);
	loop->waiting_arg = ws;
	loop->waiting = on_waiting;
	sw->wake = ring_for_switch;
	sw->wake_arg = ws;
	r = loop_add(loop, &ws->bell, ws->bell_fd, EPOLLIN, on_bell);
	if (r == 0)
		r = sw_set_threads(sw, n);
	if (r == 0)
		r = add_workers(ws, like, n);
	if (r < 0)
		workers_stop(ws);
	return r;
}

void workers_stop(struct workers *ws)
{
	if (!ws->loop)
		return;
	ws->quit = true;
	for (unsigned i = 0; i < ws->n; i++)
		pthread_cond_signal(&ws->worker[i]->awake);
	ws->loop->waiting = NULL;
	pthread_mutex_unlock(&ws->lock);
	for (unsigned i = 0; i < ws->n; i++) {
		pthread_join(ws->worker[i]->thread, NULL);
		pthread_cond_destroy(&ws->worker[i]->awake);
		free(ws->worker[i]);
	}
	pthread_mutex_destroy(&ws->lock);
	sw_set_threads(ws->sw, 0);
	loop_del(&ws->bell);
	close(ws->bell_fd);
	*ws = (struct workers){ 0 };
}

struct port_vu_group *workers_group(struct workers *ws, unsigned i)
{
	return &ws->worker[i]->group;
}
