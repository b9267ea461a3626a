/* SPDX-License-Identifier: MIT */
/* What a guest's view of shared memory is worth, without any library: run in guests by tests/portal-matrix.
 *
 *	portal_probe pong PATH OFFSET             answer whoever writes to the cell at OFFSET, until the memory says stop
 *	portal_probe ping PATH OFFSET N           write N times to the cell, wait for each answer; prints nanoseconds a round
 *	portal_probe poke PATH OFFSET BYTE LEN    try to write LEN bytes: "wrote", or what the system said; for who may not
 *	portal_probe sum PATH OFFSET LEN          the sum of what lies there, and how fast it was read
 *
 * The cell is a cache line for each direction.  A round that takes longer than ROUND_NS is no round: the other side does not see
 * what is written here, or this side not what is written there, and that is what a page cache between them looks like.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAP_UNIT  (2ul << 20) /* devdax maps nothing smaller */
#define ROUND_NS  5000000000ull
#define STOP      UINT64_MAX
#define ANSWER(n) ((n) ^ 0x5555555555555555ull)

struct cell {
	_Alignas(128) uint64_t asked;
	_Alignas(128) uint64_t answered;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *map(const char *path, uint64_t offset, uint64_t len, int prot)
{
	uint64_t from = offset & ~(MAP_UNIT - 1);
	uint64_t size = (offset + len - from + MAP_UNIT - 1) & ~(MAP_UNIT - 1);
	int fd = open(path, (prot & PROT_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	uint8_t *at;

	if (fd < 0) {
		printf("open: %s\n", strerror(errno));
		exit(2);
	}
	at = mmap(NULL, size, prot, MAP_SHARED, fd, (off_t)from);
	if (at == MAP_FAILED) {
		printf("mmap: %s\n", strerror(errno));
		exit(2);
	}
	close(fd);
	return at + (offset - from);
}

static int pong(struct cell *cell)
{
	uint64_t last = 0, asked;

	printf("ready\n");
	fflush(stdout);
	while ((asked = __atomic_load_n(&cell->asked, __ATOMIC_ACQUIRE)) != STOP) {
		if (asked != last)
			__atomic_store_n(&cell->answered, ANSWER(asked), __ATOMIC_RELEASE);
		last = asked;
	}
	return 0;
}

static int ping(struct cell *cell, uint64_t n)
{
	uint64_t first = now_ns(), seed = first & 0xffffffffff, start;

	for (uint64_t i = 1; i <= n; i++) {
		__atomic_store_n(&cell->asked, seed + i, __ATOMIC_RELEASE);
		start = now_ns();
		while (__atomic_load_n(&cell->answered, __ATOMIC_ACQUIRE) != ANSWER(seed + i)) {
			if (now_ns() - start > ROUND_NS) {
				printf("no answer to %llu\n", (unsigned long long)i);
				return 1;
			}
		}
	}
	printf("%llu ns\n", (unsigned long long)((now_ns() - first) / n));
	return 0;
}

static void on_fault(int signal)
{
	static const char text[] = "SIGBUS or SIGSEGV\n";

	(void)signal;
	(void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
	_exit(3);
}

static int poke(uint8_t *at, uint8_t byte, uint64_t len)
{
	signal(SIGBUS, on_fault);
	signal(SIGSEGV, on_fault);
	for (uint64_t i = 0; i < len; i++)
		__atomic_store_n(&at[i], byte, __ATOMIC_RELEASE);
	printf("wrote, and reads 0x%02x\n", __atomic_load_n(&at[0], __ATOMIC_ACQUIRE));
	return 0;
}

static int sum(const uint8_t *at, uint64_t len)
{
	uint64_t total = 0, start = now_ns(), word;

	for (uint64_t i = 0; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, at + i, sizeof(word));
		total += word;
	}
	printf("%016llx %llu MB/s\n", (unsigned long long)total,
	       (unsigned long long)(len * 1000 / (now_ns() - start + 1)));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t arg[3] = { 0 };

	for (int i = 3; i < argc && i < 6; i++)
		arg[i - 3] = strtoull(argv[i], NULL, 0);
	if (argc == 4 && strcmp(argv[1], "pong") == 0)
		return pong(map(argv[2], arg[0], sizeof(struct cell), PROT_READ | PROT_WRITE));
	if (argc == 5 && strcmp(argv[1], "ping") == 0)
		return ping(map(argv[2], arg[0], sizeof(struct cell), PROT_READ | PROT_WRITE),
			    arg[1]);
	if (argc == 6 && strcmp(argv[1], "poke") == 0)
		return poke(map(argv[2], arg[0], arg[2], PROT_READ | PROT_WRITE), (uint8_t)arg[1],
			    arg[2]);
	if (argc == 5 && strcmp(argv[1], "sum") == 0)
		return sum(map(argv[2], arg[0], arg[1], PROT_READ), arg[1]);
	fprintf(stderr, "usage: portal_probe pong|ping|poke|sum PATH OFFSET [...]\n");
	return 2;
}
