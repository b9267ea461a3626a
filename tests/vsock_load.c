/* SPDX-License-Identifier: MIT */
/* Load on AF_VSOCK from inside a guest, for tests/matrix-vmbus: prints one line of figures, exits 1 if a byte is wrong or lost.
 *
 *   vsock_load connects PORT N      connect to the host N times; each time 16 bytes go there and back
 *   vsock_load send PORT BYTES      send them to the host, whose count comes back
 *   vsock_load receive PORT BYTES   the other way
 *   vsock_load many PORT N          N connections, open at once, from several processes: each carries a block there and back
 *   vsock_load spin SECONDS         system calls, one after the other: how many there were
 *   vsock_load kexec-load KERNEL INITRD WORDS    the system that is to come next
 *   vsock_load kexec                boots it, at once
 *
 * What is sent is a block of pseudo-random words (tests/vsock_load.py has the same), over and over. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/reboot.h>
#include <linux/vm_sockets.h>

#define BLOCK     (64 << 10)
#define ECHO      16
#define PROCESSES 8 /* processes of `many` */
#define PIECE \
	4096 /* less than a ring, so that one after the other can be written to and then read from */

static unsigned char block[BLOCK];

static void make_block(void)
{
	uint64_t x = UINT64_C(0x9e3779b97f4a7c15);

	for (size_t i = 0; i < BLOCK; i += sizeof(x)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(block + i, &x, sizeof(x));
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(unsigned port)
{
	struct sockaddr_vm to = { .svm_family = AF_VSOCK,
				  .svm_cid = VMADDR_CID_HOST,
				  .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		fprintf(stderr, "connect: %s\n", strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* All of it, or -1. */
static int write_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)data + done, len - done);

		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static int read_all(int fd, void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, (char *)data + done, len - done);

		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	return 0;
}

static int one_connect(unsigned port, unsigned i)
{
	const unsigned char *there = block + (i * ECHO) % BLOCK;
	unsigned char back[ECHO];
	int fd = dial(port), bad;

	if (fd < 0)
		return -1;
	bad = write_all(fd, there, ECHO) || read_all(fd, back, ECHO) || memcmp(there, back, ECHO);
	close(fd);
	return bad;
}

static int connects(unsigned port, unsigned long long n)
{
	unsigned long long lost = 0;
	double begin = now();

	for (unsigned long long i = 0; i < n; i++)
		lost += one_connect(port, (unsigned)i) != 0;
	printf("connects %llu lost %llu seconds %.3f\n", n, lost, now() - begin);
	return lost ? 1 : 0;
}

static int send_blocks(unsigned port, unsigned long long bytes)
{
	uint64_t counted = 0;
	double begin;
	int fd = dial(port);

	if (fd < 0)
		return 1;
	begin = now();
	for (unsigned long long left = bytes; left > 0;) {
		size_t n = left < BLOCK ? (size_t)left : BLOCK;

		if (write_all(fd, block, n))
			return 1;
		left -= n;
	}
	/* The host has seen and compared all of it when it answers. */
	if (shutdown(fd, SHUT_WR) || read_all(fd, &counted, sizeof(counted)))
		return 1;
	printf("sent %llu counted %llu seconds %.3f\n", bytes, (unsigned long long)counted,
	       now() - begin);
	return counted == bytes ? 0 : 1;
}

static int receive_blocks(unsigned port, unsigned long long bytes)
{
	static unsigned char data[BLOCK];
	unsigned long long got = 0, wrong = 0;
	double begin;
	int fd = dial(port);
	ssize_t n;

	if (fd < 0)
		return 1;
	begin = now();
	while ((n = read(fd, data, BLOCK - got % BLOCK)) > 0) {
		wrong += memcmp(data, block + got % BLOCK, (size_t)n) != 0;
		got += (size_t)n;
	}
	printf("received %llu wrong %llu seconds %.3f\n", got, wrong, now() - begin);
	return got == bytes && !wrong ? 0 : 1;
}

/* One process's share of them, kept open until each has carried its piece. */
static int hold(unsigned port, unsigned n)
{
	unsigned char back[PIECE];
	int *fds = calloc(n ? n : 1, sizeof(*fds)), bad = 0;

	if (!fds)
		return 1;
	for (unsigned i = 0; i < n; i++)
		bad |= (fds[i] = dial(port)) < 0;
	for (unsigned i = 0; i < n && !bad; i++)
		bad |= write_all(fds[i], block + i % 16 * PIECE, PIECE) != 0;
	for (unsigned i = 0; i < n && !bad; i++)
		bad |= read_all(fds[i], back, PIECE) || memcmp(back, block + i % 16 * PIECE, PIECE);
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
	return bad ? 1 : 0;
}

static int many(unsigned port, unsigned long long n)
{
	struct rlimit files = { 65536, 65536 };
	double begin = now();
	int status, failed = 0;

	if (setrlimit(RLIMIT_NOFILE, &files))
		return 1;
	for (unsigned i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 1;
		if (!pid)
			_exit(hold(port, (unsigned)(n / PROCESSES + (i < n % PROCESSES))));
	}
	while (wait(&status) > 0)
		failed += status != 0;
	printf("many %llu failed %d seconds %.3f\n", n, failed, now() - begin);
	return failed ? 1 : 0;
}

static int kexec_load(const char *kernel, const char *initrd, const char *words)
{
	int image = open(kernel, O_RDONLY | O_CLOEXEC), root = open(initrd, O_RDONLY | O_CLOEXEC);

	if (image < 0 || root < 0 ||
	    syscall(SYS_kexec_file_load, image, root, strlen(words) + 1, words, 0UL)) {
		fprintf(stderr, "kexec: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}

/* Does not return. */
static int kexec(void)
{
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	fprintf(stderr, "kexec: %s\n", strerror(errno));
	return 1;
}

static int spin(unsigned long long seconds)
{
	double begin = now(), end;
	unsigned long long n = 0;

	do {
		for (unsigned i = 0; i < 1000; i++)
			syscall(SYS_getppid);
		n += 1000;
		end = now();
	} while (end - begin < (double)seconds);
	printf("calls %llu seconds %.3f\n", n, end - begin);
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned port = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	unsigned long long n = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;

	make_block();
	if (argc == 4 && strcmp(what, "connects") == 0)
		return connects(port, n);
	if (argc == 4 && strcmp(what, "send") == 0)
		return send_blocks(port, n);
	if (argc == 4 && strcmp(what, "receive") == 0)
		return receive_blocks(port, n);
	if (argc == 4 && strcmp(what, "many") == 0)
		return many(port, n);
	if (argc == 5 && strcmp(what, "kexec-load") == 0)
		return kexec_load(argv[2], argv[3], argv[4]);
	if (argc == 2 && strcmp(what, "kexec") == 0)
		return kexec();
	if (argc == 3 && strcmp(what, "spin") == 0)
		return spin(port);
	fprintf(stderr, "usage: vsock_load connects|many|send|receive PORT N\n"
			"       vsock_load spin SECONDS\n"
			"       vsock_load kexec-load KERNEL INITRD WORDS\n"
			"       vsock_load kexec\n");
	return 2;
}
