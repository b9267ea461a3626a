/* SPDX-License-Identifier: MIT */
/* Two processes, one queue between them: the same race for our rings and for others'.  Each program includes this, says
 * RACE_LOOPS() for its queue, and calls race_run().  Included by C and by C++.
 *
 *	PROGRAM --size 8|64 --batch N --capacity MESSAGES [--seconds S]
 *
 * One process sends on one core, the other receives on another one.  A message is a number of 64-bit words that all say
 * which message it is; the sender writes every word, in a buffer of its own, the receiver copies it out and looks at every
 * one.  Who finds the queue full or empty says so to the processor (pause) and asks again.
 *
 * The machine may have other work.  Time is cut into windows of 2 ms, and only those count in which the kernel has taken
 * neither process off its core (ru_nivcsw); of these the median is told.  One JSON object:
 *
 *	{"rate": messages a second, "windows": that counted, "of": in all}
 */
#ifndef RING_RACE_H
#define RING_RACE_H

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RACE_WINDOW_NS   2000000
#define RACE_WINDOWS_MAX 20000
#define RACE_BATCH_MAX   256
#define RACE_WORDS_MAX   (8 * RACE_BATCH_MAX)
#define RACE_LOOKS       512 /* messages between looks at the clock */

struct race {
	unsigned size, batch, capacity;
	double seconds;
};

/* What the two share beside the queue. */
struct race_books {
	uint64_t start_ns;
	int ready, over;
	/* At the beginning of each window: how often either was taken off its core until then, and one more; what has
	 * arrived.  0: it was not there. */
	uint32_t sent_switches[RACE_WINDOWS_MAX];
	uint32_t got_switches[RACE_WINDOWS_MAX];
	uint64_t got[RACE_WINDOWS_MAX];
};

static inline void race_die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline uint64_t race_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline void race_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("" ::: "memory");
#endif
}

static inline void race_pin(int core)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		race_die("sched_setaffinity");
}

static inline void race_child_ends(int signal, siginfo_t *info, void *context)
{
	static const char text[] = "the other process failed\n";

	(void)signal;
	(void)context;
	if (info->si_code == CLD_EXITED && info->si_status == 0)
		return;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

/* fork(), and neither waits for the other when that one is no more. */
static inline pid_t race_fork(void)
{
	struct sigaction action;
	pid_t pid, parent = getpid();

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = race_child_ends;
	action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NOCLDSTOP;
	if (sigaction(SIGCHLD, &action, NULL) < 0)
		race_die("sigaction");
	pid = fork();
	if (pid < 0)
		race_die("fork");
	if (pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
			race_die("prctl");
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

static inline uint32_t race_switches(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (uint32_t)use.ru_nivcsw;
}

/* Put what has happened until now into the books, if a window is over.  Returns false when the time is. */
static inline bool race_account(struct race_books *b, const struct race *race, uint32_t *switches,
				uint64_t *got, uint64_t total, unsigned *window)
{
	uint64_t now = race_ns();
	unsigned at = (unsigned)((now - b->start_ns) / RACE_WINDOW_NS);

	if (at != *window && at < RACE_WINDOWS_MAX) {
		switches[at] = race_switches() + 1;
		if (got)
			got[at] = total;
		*window = at;
	}
	return (double)(now - b->start_ns) < race->seconds * 1e9 && at + 1 < RACE_WINDOWS_MAX;
}

/* The innermost loops of a queue, of which SEND(q, words, messages, n) and RECEIVE(q, words, messages, n) move up to n messages
 * and say how many; n is 1 in a race without batches.  Made anew for each size, so that the compiler knows it. */
#define RACE_LOOPS(SEND, RECEIVE)                                                                  \
	static inline __attribute__((always_inline)) void race_send_sized(                         \
		void *q, struct race_books *b, const struct race *race, const unsigned words,      \
		const unsigned batch)                                                              \
	{                                                                                          \
		static uint64_t messages[RACE_WORDS_MAX];                                          \
		unsigned window = ~0u;                                                             \
		uint64_t next = 1;                                                                 \
                                                                                                   \
		while (race_account(b, race, b->sent_switches, NULL, 0, &window)) {                \
			for (unsigned look = 0; look < RACE_LOOKS; look += batch) {                \
				unsigned sent = 0;                                                 \
                                                                                                   \
				for (unsigned i = 0; i < batch; i++, next++)                       \
					for (unsigned w = 0; w < words; w++)                       \
						messages[i * words + w] = next;                    \
				while (sent < batch) {                                             \
					unsigned n = SEND(q, words, &messages[sent * words],       \
							  batch - sent);                           \
                                                                                                   \
					sent += n;                                                 \
					if (n == 0)                                                \
						race_relax();                                      \
					if (n == 0 && __atomic_load_n(&b->over, __ATOMIC_RELAXED)) \
						return;                                            \
				}                                                                  \
			}                                                                          \
		}                                                                                  \
	}                                                                                          \
	static inline __attribute__((always_inline)) void race_receive_sized(                      \
		void *q, struct race_books *b, const struct race *race, const unsigned words,      \
		const unsigned batch)                                                              \
	{                                                                                          \
		static uint64_t messages[RACE_WORDS_MAX];                                          \
		unsigned window = ~0u;                                                             \
		uint64_t expected = 1;                                                             \
                                                                                                   \
		while (race_account(b, race, b->got_switches, b->got, expected - 1, &window)) {    \
			uint64_t until = expected + RACE_LOOKS;                                    \
                                                                                                   \
			for (unsigned looks = 0; expected < until && looks < 100000; looks++) {    \
				unsigned n = RECEIVE(q, words, messages, batch);                   \
				uint64_t wrong = 0;                                                \
                                                                                                   \
				if (n == 0)                                                        \
					race_relax();                                              \
				for (unsigned i = 0; i < n; i++, expected++)                       \
					for (unsigned w = 0; w < words; w++)                       \
						wrong |= messages[i * words + w] ^ expected;       \
				if (wrong) {                                                       \
					fprintf(stderr, "a wrong message before %llu\n",           \
						(unsigned long long)expected);                     \
					__atomic_store_n(&b->over, 1, __ATOMIC_RELEASE);           \
					_exit(1);                                                  \
				}                                                                  \
			}                                                                          \
		}                                                                                  \
	}                                                                                          \
	static void race_send(void *q, struct race_books *b, const struct race *race)              \
	{                                                                                          \
		if (race->size == 8)                                                               \
			race->batch == 1 ? race_send_sized(q, b, race, 1, 1) :                     \
					   race_send_sized(q, b, race, 1, race->batch);            \
		else                                                                               \
			race->batch == 1 ? race_send_sized(q, b, race, 8, 1) :                     \
					   race_send_sized(q, b, race, 8, race->batch);            \
	}                                                                                          \
	static void race_receive(void *q, struct race_books *b, const struct race *race)           \
	{                                                                                          \
		if (race->size == 8)                                                               \
			race->batch == 1 ? race_receive_sized(q, b, race, 1, 1) :                  \
					   race_receive_sized(q, b, race, 1, race->batch);         \
		else                                                                               \
			race->batch == 1 ? race_receive_sized(q, b, race, 8, 1) :                  \
					   race_receive_sized(q, b, race, 8, race->batch);         \
	}

static int race_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The median of the windows in which neither was taken off its core, and one that was whole before it. */
static inline void race_tell(const struct race_books *b)
{
	static double rates[RACE_WINDOWS_MAX];
	unsigned n = 0, of = 0;

	for (unsigned w = 5; w + 1 < RACE_WINDOWS_MAX; w++) {
		if (!b->got[w] || !b->got[w + 1])
			continue;
		of++;
		if (!b->sent_switches[w] || b->sent_switches[w] != b->sent_switches[w + 1] ||
		    b->got_switches[w] != b->got_switches[w + 1])
			continue;
		rates[n++] = (double)(b->got[w + 1] - b->got[w]) / RACE_WINDOW_NS * 1e9;
	}
	qsort(rates, n, sizeof(rates[0]), race_compare);
	printf("{\"rate\": %.0f, \"best\": %.0f, \"windows\": %u, \"of\": %u}\n",
	       n ? rates[n / 2] : 0.0, n ? rates[n - 1 - n / 20] : 0.0, n, of);
}

static inline struct race race_options(int argc, char **argv)
{
	struct race race = { 8, 1, 1024, 0.5 };

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--size") == 0)
			race.size = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--batch") == 0)
			race.batch = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--capacity") == 0)
			race.capacity = (unsigned)atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--seconds") == 0)
			race.seconds = atof(argv[i + 1]);
	}
	if ((race.size != 8 && race.size != 64) || race.batch < 1 || race.batch > RACE_BATCH_MAX) {
		errno = EINVAL;
		race_die("options");
	}
	return race;
}

static inline void *race_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		race_die("mmap");
	return memory;
}

typedef void race_loop(void *queue, struct race_books *b, const struct race *race);

static inline int race_run(void *queue, const struct race *race, race_loop *send,
			   race_loop *receive)
{
	struct race_books *b = (struct race_books *)race_memory(sizeof(*b));
	int status;
	pid_t pid;

	pid = race_fork();
	race_pin(pid == 0 ? 1 : 0);
	__atomic_fetch_add(&b->ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&b->ready, __ATOMIC_ACQUIRE) < 2)
		race_relax();
	if (pid == 0) {
		while (!__atomic_load_n(&b->start_ns, __ATOMIC_ACQUIRE))
			race_relax();
		receive(queue, b, race);
		__atomic_store_n(&b->over, 1, __ATOMIC_RELEASE);
		_exit(0);
	}
	__atomic_store_n(&b->start_ns, race_ns(), __ATOMIC_RELEASE);
	send(queue, b, race);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return 1;
	race_tell(b);
	return 0;
}

#endif
