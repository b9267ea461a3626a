/* SPDX-License-Identifier: MIT */
#include "tether.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "base.h"
#include "checked.h"
#include "cleanup.h"
#include "clock.h"
#include "tether_impl.h"

/* ---- waiting ------------------------------------------------------------------ */

/* Sleep until something may have changed, or the deadline. */
static void sleep_once(struct tether *t, uint64_t deadline_ns)
{
	struct timespec until = timespec_of_ns(deadline_ns), left;
	struct pollfd pfd = { .fd = t->epoll, .events = POLLIN };
	uint64_t now = clock_ns();

	if (t->polling) {
		if (deadline_ns == UINT64_MAX)
			pthread_cond_wait(&t->changed, &t->lock);
		else
			pthread_cond_timedwait(&t->changed, &t->lock, &until);
		return;
	}
	left = timespec_of_ns(deadline_ns > now ? deadline_ns - now : 0);
	t->polling = true;
	pthread_mutex_unlock(&t->lock);
	(void)ppoll(&pfd, 1, deadline_ns == UINT64_MAX ? NULL : &left, NULL);
	pthread_mutex_lock(&t->lock);
	t->polling = false;
	tether_step(t);
	pthread_cond_broadcast(&t->changed);
}

int tether_wait(struct tether *t, uint64_t seen, uint64_t deadline_ns)
{
	int r = 0;

	pthread_mutex_lock(&t->lock);
	tether_step(t);
	while (t->state != OVER && t->bells == seen && r == 0) {
		if (clock_ns() >= deadline_ns)
			r = -ETIMEDOUT;
		else
			sleep_once(t, deadline_ns);
	}
	if (t->state == OVER)
		r = -ESTALE;
	pthread_mutex_unlock(&t->lock);
	return r;
}

/* A daemon that went away just now is worth waiting for: it may be starting anew. */
static int await_connection(struct tether *t)
{
	uint64_t deadline = min(t->away_since_ns + t->timeout_ms * (uint64_t)NS_PER_MS, t->last_ns);

	tether_step(t);
	while (t->state != CONNECTED && t->state != OVER && clock_ns() < deadline)
		sleep_once(t, deadline);
	return t->state == CONNECTED ? 0 : t->state == OVER ? -ESTALE : -ENOTCONN;
}

static void forget(struct tether *t, const struct question *question)
{
	for (struct question **q = &t->questions; *q; q = &(*q)->next)
		if (*q == question) {
			*q = question->next;
			return;
		}
}

/* Nobody waits for that answer any more, but what it may grant is ours. */
static void remember(struct tether *t, uint32_t seq, uint64_t n)
{
	t->late[t->last_late++ % LATE_MAX] = (struct late){ seq, (uint32_t)n };
}

static int ask(struct tether *t, struct portal_frame *frame, unsigned timeout_ms)
{
	uint64_t deadline = min(clock_ns() + timeout_ms * (uint64_t)NS_PER_MS, t->last_ns);
	struct question question = { .frame = frame };
	int r = await_connection(t);

	if (r < 0)
		return r;
	question.seq = tether_next_seq(t);
	frame->seq = le32_of(question.seq);
	question.next = t->questions;
	t->questions = &question;
	r = tether_put(t, frame);
	while (r == 0 && !question.answered) {
		if (clock_ns() >= deadline)
			r = -ETIMEDOUT;
		else
			sleep_once(t, deadline);
	}
	forget(t, &question);
	if (r == -ETIMEDOUT && le32_get(frame->type) == PORTAL_EXTENT_GET)
		remember(t, question.seq, le64_get(frame->args[0]));
	return question.answered ? question.status : r;
}

int tether_ask(struct tether *t, struct portal_frame *frame, unsigned timeout_ms)
{
	int r;

	pthread_mutex_lock(&t->lock);
	r = ask(t, frame, timeout_ms ? timeout_ms : t->timeout_ms);
	pthread_mutex_unlock(&t->lock);
	return r;
}

int tether_tell(struct tether *t, const struct portal_frame *frame)
{
	int r = -ENOTCONN;

	pthread_mutex_lock(&t->lock);
	if (t->state == CONNECTED)
		r = tether_put(t, frame);
	else if (t->state == OVER)
		r = -ESTALE;
	pthread_mutex_unlock(&t->lock);
	return r;
}

int tether_dispatch(struct tether *t)
{
	int r;

	pthread_mutex_lock(&t->lock);
	tether_step(t);
	pthread_cond_broadcast(&t->changed);
	if (t->state == OVER)
		r = -ESTALE;
	else if (t->state != CONNECTED)
		r = -ENOTCONN;
	else {
		r = (int)t->rung;
		t->rung = 0;
	}
	pthread_mutex_unlock(&t->lock);
	return r;
}

uint64_t tether_bells(struct tether *t)
{
	uint64_t bells;

	pthread_mutex_lock(&t->lock);
	bells = t->bells;
	pthread_mutex_unlock(&t->lock);
	return bells;
}

int tether_attend(struct tether *t)
{
	int r;

	pthread_mutex_lock(&t->lock);
	tether_step(t);
	pthread_cond_broadcast(&t->changed);
	r = t->state == OVER ? -ESTALE : 0;
	pthread_mutex_unlock(&t->lock);
	return r;
}

void tether_hurry(struct tether *t, unsigned timeout_ms)
{
	pthread_mutex_lock(&t->lock);
	t->last_ns = clock_ns() + timeout_ms * NS_PER_MS;
	pthread_mutex_unlock(&t->lock);
}

/* ---- beginning and end ---------------------------------------------------------- */

static void init_locks(struct tether *t)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&t->lock, NULL);
}

/* As much of it as a label takes. */
static char *label_of(const char *name)
{
	char *label = strndup(name, PORTAL_LABEL_MAX - 1);

	for (char *c = label; c && *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return label;
}

static struct tether *tether_new(const struct tether_request *request)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct tether *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	init_locks(t);
	t->sock = -1;
	t->grant.fd = -1;
	t->kernel = request->kernel;
	t->timeout_ms = request->timeout_ms;
	t->want_fd = request->want_fd;
	t->watch_names = request->watch_names;
	t->over = request->over;
	t->ctx = request->ctx;
	t->away_since_ns = clock_ns();
	t->last_ns = UINT64_MAX;
	t->where = strdup(request->where);
	t->name = label_of(request->name);
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	t->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->where && t->name && t->epoll >= 0 && t->timer >= 0 &&
	    epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->timer, &event) == 0)
		return t;
	tether_close(t);
	return NULL;
}

/* The first connection is tried once: who is not there, or does not want us, is an error and not a reason to wait.  But that
 * the arena pauses is. */
static bool is_underway(const struct tether *t)
{
	return t->state == CONNECTING || t->state == GREETING ||
	       (t->state == AWAY && t->why == -EAGAIN);
}

static int first_connection(struct tether *t)
{
	uint64_t deadline = clock_ns() + t->timeout_ms * NS_PER_MS;
	int r;

	pthread_mutex_lock(&t->lock);
	tether_step(t);
	while (is_underway(t) && clock_ns() < deadline)
		sleep_once(t, deadline);
	/* A daemon that went away right behind its answer is looked for as any other. */
	if (t->state == CONNECTED || (t->state == AWAY && t->greeted))
		r = 0;
	else
		r = t->state == AWAY || t->state == OVER ? t->why : -ETIMEDOUT;
	pthread_mutex_unlock(&t->lock);
	return r;
}

int tether_open(const struct tether_request *request, struct tether_grant *ret_grant,
		struct tether **ret_tether)
{
	struct tether *t = tether_new(request);
	int r;

	if (!t)
		return -ENOMEM;
	r = first_connection(t);
	if (r < 0) {
		tether_close(t);
		return r;
	}
	*ret_grant = t->grant;
	t->grant.fd = -1;
	*ret_tether = t;
	return 0;
}

/* So that nobody waits for us to come back. */
static void say_bye(struct tether *t)
{
	const struct portal_frame bye = { .type = le32_of(PORTAL_BYE) };

	if (t->state == CONNECTED)
		(void)tether_put(t, &bye);
}

void tether_close(struct tether *t)
{
	if (!t)
		return;
	say_bye(t);
	fd_drop(&t->sock);
	fd_drop(&t->grant.fd);
	fd_drop(&t->timer);
	fd_drop(&t->epoll);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t->where);
	free(t->name);
	free(t);
}

int tether_fd(const struct tether *t)
{
	return t->epoll;
}

uint64_t tether_owner(const struct tether *t)
{
	return t->grant.owner;
}

enum portal_mode tether_mode(const struct tether *t)
{
	return t->grant.mode;
}

uint32_t tether_quota(const struct tether *t)
{
	return t->grant.quota;
}

unsigned tether_timeout_ms(const struct tether *t)
{
	return t->timeout_ms;
}

/* ---- the requests of the other parts ---------------------------------------------- */

int tether_extent_get(struct tether *t, uint32_t n_extents, uint32_t n,
		      enum portal_extent_kind kind, uint32_t *ret_first)
{
	struct portal_frame frame = { .type = le32_of(PORTAL_EXTENT_GET),
				      .args = { le64_of(n), le64_of(kind) } };
	int r = tether_ask(t, &frame, 0);
	uint64_t first = le64_get(frame.args[0]);

	if (r < 0)
		return r;
	if (first < 2 || !range_within(first, n, n_extents))
		return -EPROTO;
	*ret_first = (uint32_t)first;
	return 0;
}

int tether_extent_put(struct tether *t, uint32_t first, uint32_t n)
{
	struct portal_frame frame = { .type = le32_of(PORTAL_EXTENT_PUT),
				      .args = { le64_of(first), le64_of(n) } };

	return tether_ask(t, &frame, 0);
}

int tether_bell(struct tether *t, uint64_t owner, uint32_t cookie)
{
	struct portal_frame frame = { .type = le32_of(PORTAL_BELL),
				      .args = { le64_of(owner), le64_of(cookie) } };

	return tether_tell(t, &frame);
}
