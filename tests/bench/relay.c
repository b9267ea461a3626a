/* SPDX-License-Identifier: MIT */
#include "relay.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "load.h"
#include "relax.h"
#include "slice.h"

/* Shared by both processes. */
struct relay {
	struct relay_options o;
	size_t size;
	int bell;
	pid_t pid;
	uint32_t sent __attribute__((aligned(CACHE_LINE)));
	uint32_t passed __attribute__((aligned(CACHE_LINE)));
	uint64_t due_ns[] __attribute__((aligned(CACHE_LINE)));
};

static void wait_for_bell(const struct relay *r)
{
	uint64_t n;

	if (r->o.sleeps && read(r->bell, &n, sizeof(n)) < 0)
		_exit(1);
}

__attribute__((noreturn)) static void pass_on(struct relay *r)
{
	uint32_t came = 0, passed = 0;

	while (passed < r->o.n) {
		/* Partners: relay_send() and relay_passed(). */
		uint32_t sent = __atomic_load_n(&r->sent, __ATOMIC_ACQUIRE);
		uint64_t now = now_ns();

		while (came < sent)
			r->due_ns[came++] = now + r->o.delay_ns;
		while (passed < came && r->due_ns[passed] <= now)
			passed++;
		__atomic_store_n(&r->passed, passed, __ATOMIC_RELEASE);
		if (passed == came && passed < r->o.n)
			wait_for_bell(r);
		cpu_relax();
	}
	_exit(0);
}

static void be_relay(struct relay *r)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(r->o.core, &cpus);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
		_exit(1);
	slice_ask_short();
	pass_on(r);
}

struct relay *relay_start(const struct relay_options *o)
{
	size_t size = sizeof(struct relay) + o->n * sizeof(uint64_t);
	struct relay *r = mmap(NULL, size, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	pid_t pid;

	if (r == MAP_FAILED)
		return NULL;
	r->o = *o;
	r->size = size;
	r->bell = eventfd(0, EFD_CLOEXEC);
	pid = r->bell < 0 ? -1 : fork();
	if (pid == 0)
		be_relay(r);
	r->pid = pid; /* by the parent alone: both see it */
	if (pid > 0)
		return r;
	munmap(r, size);
	return NULL;
}

void relay_send(struct relay *r)
{
	const uint64_t one = 1;

	__atomic_store_n(&r->sent, r->sent + 1, __ATOMIC_RELEASE);
	if (r->o.sleeps && write(r->bell, &one, sizeof(one)) < 0)
		die("the relay's bell: %m");
}

uint32_t relay_passed(const struct relay *r)
{
	return __atomic_load_n(&r->passed, __ATOMIC_ACQUIRE);
}

void relay_stop(struct relay *r)
{
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
	close(r->bell);
	munmap(r, r->size);
}
