/* SPDX-License-Identifier: MIT */
/* Guest memory that its owner truncates: vhost-user/lib/mem.c, mem_guard_install().
 *
 * A shared mapping of a memfd that shrinks faults with SIGBUS at the page that is gone; its handler may put
 * anonymous memory over the whole mapping with mmap(MAP_FIXED), and the access that faulted then goes on and reads
 * zeros.  A system call that is given such a page says EFAULT and raises no signal.  A file shrunk and grown again
 * reads as zeros, and a memfd may be as sparse as its owner likes. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expect.h"

#define SIZE (4 << 20)

/* The handler changes all of this behind the compiler's back. */
static volatile char *map;
static void *volatile fault_address;
static volatile sig_atomic_t n_faults;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	n_faults++;
	fault_address = info->si_addr;
	if (mmap((void *)(uintptr_t)map, SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(2);
}

static int make(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	EXPECT(fd >= 0);
	EXPECT(ftruncate(fd, SIZE) == 0);
	map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	EXPECT(map != MAP_FAILED);
	memset((void *)(uintptr_t)map, 0x55, SIZE);
	return fd;
}

static void truncated_page_faults_and_is_replaced(void)
{
	volatile char *p;
	int fd = make();

	p = map + SIZE / 2 + 123;
	EXPECT(ftruncate(fd, SIZE / 4) == 0);
	EXPECT(map[0] == 0x55);
	EXPECT(n_faults == 0);
	EXPECT(*p == 0); /* the load is repeated and sees the new memory */
	EXPECT(n_faults == 1);
	EXPECT(fault_address == (void *)(uintptr_t)p);
	EXPECT(map[0] == 0); /* all of it was replaced */
	*p = 1;
	memset((void *)(uintptr_t)map, 1, SIZE);
	EXPECT(n_faults == 1);
	munmap((void *)(uintptr_t)map, SIZE);
	close(fd);
}

static void system_calls_see_efault(void)
{
	int fd = make(), p[2];

	n_faults = 0;
	EXPECT(pipe2(p, O_CLOEXEC) == 0);
	EXPECT(ftruncate(fd, 0) == 0);
	EXPECT(write(p[1], (void *)(uintptr_t)map, 1) == -1 && errno == EFAULT);
	EXPECT(n_faults == 0);
	close(p[0]);
	close(p[1]);
	munmap((void *)(uintptr_t)map, SIZE);
	close(fd);
}

static void shrunk_and_grown_is_zero(void)
{
	int fd = make();

	n_faults = 0;
	EXPECT(ftruncate(fd, 0) == 0);
	EXPECT(ftruncate(fd, SIZE) == 0);
	EXPECT(map[SIZE - 1] == 0);
	EXPECT(n_faults == 0);
	munmap((void *)(uintptr_t)map, SIZE);
	close(fd);
}

static void sparse_memory_costs_address_space_only(void)
{
	const size_t size = 1ULL << 40;
	int fd = memfd_create("huge", MFD_CLOEXEC);
	volatile char *p;

	EXPECT(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	EXPECT(p != MAP_FAILED);
	p[size - 1] = 1;
	EXPECT(mmap((void *)(uintptr_t)p, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED);
	EXPECT(p[size - 1] == 0);
	EXPECT(munmap((void *)(uintptr_t)p, size) == 0);
	close(fd);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	EXPECT(sigaction(SIGBUS, &action, NULL) == 0);
	truncated_page_faults_and_is_replaced();
	system_calls_see_efault();
	shrunk_and_grown_is_zero();
	sparse_memory_costs_address_space_only();
	return 0;
}
