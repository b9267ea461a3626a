/* SPDX-License-Identifier: MIT */
/* What `portal bench` does through a ring, over a socket: run in two guests by tests/bench/portal_vms.py.
 *
 *	portal_pair serve tcp|vsock PORT
 *	portal_pair run tcp|vsock ADDRESS PORT SIZE MS    nanoseconds of the median round trip, and bytes a second
 *
 * A connection begins with a byte: ECHO sends back what comes, SINK counts it and says how much it was when it ends.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

enum { ECHO, SINK };

#define RECORD_MAX 65536u
#define TRIPS      20000u

static uint8_t buf[RECORD_MAX];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* An address of the family "tcp" or "vsock"; NULL is any. */
static socklen_t resolve(const char *family, const char *address, const char *port,
			 struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_vm *vm = (struct sockaddr_vm *)ret;

	memset(ret, 0, sizeof(*ret));
	if (strcmp(family, "vsock") == 0) {
		vm->svm_family = AF_VSOCK;
		vm->svm_port = (unsigned)strtoul(port, NULL, 10);
		vm->svm_cid = address ? (unsigned)strtoul(address, NULL, 10) : VMADDR_CID_ANY;
		return sizeof(*vm);
	}
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	if (address && inet_pton(AF_INET, address, &in->sin_addr) != 1)
		errx(2, "%s: not an address", address);
	return sizeof(*in);
}

static int open_socket(const struct sockaddr_storage *address)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		err(1, "socket");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static bool write_all(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool read_all(int fd, void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = read(fd, at, len);

		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static void serve_one(int fd)
{
	uint64_t total = 0;
	uint8_t what;
	ssize_t n;

	if (!read_all(fd, &what, 1))
		return;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		total += (uint64_t)n;
		if (what == ECHO && !write_all(fd, buf, (size_t)n))
			return;
	}
	if (what == SINK)
		(void)write_all(fd, &total, sizeof(total));
}

static void serve(const char *family, const char *port)
{
	struct sockaddr_storage address;
	socklen_t len = resolve(family, NULL, port, &address);
	int sock = open_socket(&address);

	if (bind(sock, (struct sockaddr *)&address, len) < 0 || listen(sock, 4) < 0)
		err(1, "%s %s", family, port);
	for (;;) {
		int fd = accept(sock, NULL, NULL);

		if (fd < 0)
			err(1, "accept");
		serve_one(fd);
		close(fd);
	}
}

static int dial(char **argv, uint8_t what)
{
	struct sockaddr_storage address;
	socklen_t len = resolve(argv[2], argv[3], argv[4], &address);
	int fd = open_socket(&address);

	if (connect(fd, (struct sockaddr *)&address, len) < 0)
		err(1, "connect");
	if (!write_all(fd, &what, 1))
		err(1, "write");
	return fd;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t measure_trips(int fd, size_t size, uint64_t time_ns)
{
	static uint64_t trip[TRIPS];
	uint64_t end = now_ns() + time_ns;
	unsigned n = 0;

	while (n < TRIPS && (n == 0 || now_ns() < end)) {
		uint64_t begin = now_ns();

		if (!write_all(fd, buf, size) || !read_all(fd, buf, size))
			err(1, "round trip");
		trip[n++] = now_ns() - begin;
	}
	close(fd); /* the server takes one at a time */
	qsort(trip, n, sizeof(trip[0]), compare);
	return trip[n / 2];
}

static uint64_t measure_stream(int fd, size_t size, uint64_t time_ns)
{
	uint64_t begin = now_ns(), sent = 0, got = 0;

	for (unsigned i = 0; i % 64 || now_ns() - begin < time_ns; i++) {
		if (!write_all(fd, buf, size))
			err(1, "write");
		sent += size;
	}
	(void)shutdown(fd, SHUT_WR);
	if (!read_all(fd, &got, sizeof(got)) || got != sent)
		errx(1, "%llu bytes were sent, %llu came", (unsigned long long)sent,
		     (unsigned long long)got);
	return (uint64_t)((double)sent * 1e9 / (double)(now_ns() - begin));
}

int main(int argc, char **argv)
{
	uint64_t trip, rate, time_ns;
	size_t size;

	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		serve(argv[2], argv[3]);
	if (argc != 7 || strcmp(argv[1], "run") != 0)
		errx(2, "serve tcp|vsock PORT, or run tcp|vsock ADDRESS PORT SIZE MS");
	size = strtoul(argv[5], NULL, 10);
	time_ns = strtoul(argv[6], NULL, 10) * 1000000u;
	if (size == 0 || size > sizeof(buf))
		errx(2, "a size is 1 to %u", RECORD_MAX);
	trip = measure_trips(dial(argv, ECHO), size, time_ns);
	rate = measure_stream(dial(argv, SINK), size, time_ns);
	printf("%llu %llu\n", (unsigned long long)trip, (unsigned long long)rate);
	return 0;
}
