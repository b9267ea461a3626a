/* SPDX-License-Identifier: MIT */
#include "portal_server.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <time.h>

static bool asked_to_end(struct pf *pf, void *arg)
{
	struct portal_server *s = arg;
	void (*job)(struct pf * pf, void *arg) = __atomic_load_n(&s->job, __ATOMIC_ACQUIRE);

	if (job) {
		job(pf, s->arg);
		__atomic_store_n(&s->job, NULL, __ATOMIC_RELEASE);
	}
	return __atomic_load_n(&s->end, __ATOMIC_ACQUIRE);
}

static void *serve(void *arg)
{
	struct portal_server *s = arg;

	while (!pf_run(&s->pf, asked_to_end, s, 1000))
		;
	return NULL;
}

void portal_server_start(struct portal_server *s)
{
	pf_start(&s->pf);
	s->end = false;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	s->running = true;
}

void portal_server_stop(struct portal_server *s)
{
	if (!s->running)
		return;
	__atomic_store_n(&s->end, true, __ATOMIC_RELEASE);
	pthread_join(s->thread, NULL);
	s->running = false;
	pf_stop(&s->pf);
}

void portal_server_init(struct portal_server *s)
{
	*s = (struct portal_server){ 0 };
	pf_init(&s->pf);
	s->pf.config.grace_ms =
		10000; /* these clients are real: a busy machine keeps them waiting */
	portal_server_start(s);
}

void portal_server_done(struct portal_server *s)
{
	portal_server_stop(s);
	pf_done(&s->pf);
}

void portal_server_do(struct portal_server *s, void (*job)(struct pf *pf, void *arg), void *arg)
{
	struct timespec moment = { .tv_nsec = 200000 };

	s->arg = arg;
	__atomic_store_n(&s->job, job, __ATOMIC_RELEASE);
	while (__atomic_load_n(&s->job, __ATOMIC_ACQUIRE))
		nanosleep(&moment, NULL);
}

const char *portal_server_where(struct portal_server *s, const char *client)
{
	char path[96];

	tmp_path(&s->pf.dir, client, path, sizeof(path));
	(void)snprintf(s->where, sizeof(s->where), "unix:%s", path);
	return s->where;
}
