/* SPDX-License-Identifier: MIT */
/* Both ends of what tests/bench/vmbus.py measures: this program in the guest, over AF_VSOCK whatever that is made of, and on the
 * host, over the Unix sockets of vhost-user-hvsock.
 *
 *   vsock_bench serve ADDRESS N            in N processes, until killed
 *   vsock_bench connects ADDRESS N MS      connections a second of N who make them one after the other, 16 bytes there and back
 *                                          in each
 *   vsock_bench turns ADDRESS SIZE MS      nanoseconds of a round trip, the median
 *   vsock_bench put ADDRESS SIZE MS        bytes a second to the server, written SIZE at a time
 *   vsock_bench get ADDRESS SIZE MS        the other way
 *   vsock_bench calls N                    N system calls
 *
 * Behind the figure stands how many seconds it took.
 * ADDRESS is vsock:CID:PORT, or on the host PATH:PORT.  Exit 1 if a connection or a byte was lost.
 *
 * A connection begins with a request.  Time is the host's: an emulated guest has measured how quick its clock is on a busy
 * machine. */
#include <err.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define BLOCK_MAX (1u << 20)
#define TURNS_MAX (1u << 20)

enum { ECHO, SINK, SOURCE, CLOCK };

/* ECHO begins with sending this back. */
struct request {
	uint32_t what, size;
	uint64_t ns;
};

static uint8_t block[BLOCK_MAX];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
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

/* ---- addresses ---------------------------------------------------------------------------------- */

static bool is_vsock(const char *address)
{
	return strncmp(address, "vsock:", 6) == 0;
}

static unsigned port_of(const char *address)
{
	const char *colon = strrchr(address, ':');

	if (!colon)
		errx(2, "%s: no port", address);
	return (unsigned)strtoul(colon + 1, NULL, 10);
}

/* A socket, and where it is to be connected or bound. */
static int open_socket(const char *address, bool serve, struct sockaddr_storage *ret,
		       socklen_t *ret_len)
{
	struct sockaddr_un *un = (struct sockaddr_un *)ret;
	struct sockaddr_vm *vm = (struct sockaddr_vm *)ret;
	int fd, n;

	memset(ret, 0, sizeof(*ret));
	if (is_vsock(address)) {
		vm->svm_family = AF_VSOCK;
		vm->svm_port = port_of(address);
		vm->svm_cid = (unsigned)strtoul(address + 6, NULL, 10);
		*ret_len = sizeof(*vm);
	} else {
		n = (int)(strrchr(address, ':') - address);
		un->sun_family = AF_UNIX;
		if (serve)
			(void)snprintf(un->sun_path, sizeof(un->sun_path), "%.*s_%u", n, address,
				       port_of(address));
		else
			(void)snprintf(un->sun_path, sizeof(un->sun_path), "%.*s", n, address);
		*ret_len = sizeof(*un);
	}
	fd = socket(ret->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		err(1, "socket");
	return fd;
}

/* "CONNECT PORT", and its "OK ..."; not a byte more is read. */
static bool ask_for(int fd, unsigned port)
{
	char text[32], byte = 0;
	int n = snprintf(text, sizeof(text), "CONNECT %u\n", port);

	if (!write_all(fd, text, (size_t)n) || !read_all(fd, text, 3) ||
	    memcmp(text, "OK ", 3) != 0)
		return false;
	while (byte != '\n')
		if (!read_all(fd, &byte, 1))
			return false;
	return true;
}

static int dial(const char *address, const struct request *request)
{
	struct sockaddr_storage to;
	socklen_t len;
	int fd;

	fd = open_socket(address, false, &to, &len);
	if (connect(fd, (struct sockaddr *)&to, len) < 0)
		err(1, "%s", address);
	if (!is_vsock(address) && !ask_for(fd, port_of(address)))
		errx(1, "%s: refused", address);
	if (!write_all(fd, request, sizeof(*request)))
		err(1, "%s", address);
	return fd;
}

/* ---- the server --------------------------------------------------------------------------------- */

static void serve_echo(int fd, const struct request *request)
{
	ssize_t n = sizeof(*request);

	memcpy(block, request, sizeof(*request));
	do {
		if (!write_all(fd, block, (size_t)n))
			return;
	} while ((n = read(fd, block, sizeof(block))) > 0);
}

static void serve_sink(int fd)
{
	uint64_t total = 0;
	ssize_t n;

	while ((n = read(fd, block, sizeof(block))) > 0)
		total += (uint64_t)n;
	(void)write_all(fd, &total, sizeof(total));
}

static void serve_source(int fd, const struct request *request)
{
	uint64_t end = now_ns() + request->ns, total = 0;

	do {
		if (!write_all(fd, block, request->size))
			return;
		total += request->size;
	} while (now_ns() < end);
	memcpy(block, &total, sizeof(total));
	if (write_all(fd, block, sizeof(total)) && shutdown(fd, SHUT_WR) == 0)
		(void)read(fd, block, 1);
}

static void serve_clock(int fd)
{
	uint8_t byte;

	while (read_all(fd, &byte, 1)) {
		uint64_t ns = now_ns();

		if (!write_all(fd, &ns, sizeof(ns)))
			return;
	}
}

static void serve_one(int fd)
{
	struct request request;

	if (!read_all(fd, &request, sizeof(request)) || request.size > sizeof(block))
		return;
	if (request.what == ECHO)
		serve_echo(fd, &request);
	else if (request.what == SINK)
		serve_sink(fd);
	else if (request.what == SOURCE)
		serve_source(fd, &request);
	else
		serve_clock(fd);
}

static void serve(const char *address, unsigned n)
{
	struct sockaddr_storage at;
	socklen_t len;
	int sock, fd;

	sock = open_socket(address, true, &at, &len);
	if (bind(sock, (struct sockaddr *)&at, len) < 0 || listen(sock, 128) < 0)
		err(1, "%s", address);
	for (unsigned i = 1; i < n; i++) {
		if (fork() != 0)
			continue;
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		break;
	}
	while ((fd = accept(sock, NULL, NULL)) >= 0) {
		serve_one(fd);
		close(fd);
	}
	err(1, "accept");
}

/* ---- time --------------------------------------------------------------------------------------- */

/* The host's clock: our own, or in a guest the server's. */
struct host_clock {
	int fd; /* -1: our own */
};

static uint64_t host_ns(const struct host_clock *clock)
{
	uint64_t ns = 0;

	if (clock->fd < 0)
		return now_ns();
	if (!write_all(clock->fd, &ns, 1) || !read_all(clock->fd, &ns, sizeof(ns)))
		err(1, "the host's clock");
	return ns;
}

static struct host_clock host_clock(const char *address)
{
	const struct request request = { .what = CLOCK };
	struct host_clock clock = { .fd = is_vsock(address) ? dial(address, &request) : -1 };

	(void)host_ns(&clock); /* the first answer is the slowest */
	return clock;
}

static void tell(double figure, uint64_t took_ns)
{
	printf("%.1f %.4f\n", figure, (double)took_ns / 1e9);
}

static void tell_rate(uint64_t n, uint64_t took_ns)
{
	tell((double)n * 1e9 / (double)took_ns, took_ns);
}

/* ---- measurements ------------------------------------------------------------------------------- */

static uint64_t connect_until(const char *address, uint64_t end)
{
	struct request there = { .what = ECHO }, back;
	uint64_t n = 0;

	do {
		int fd;

		there.ns = n;
		fd = dial(address, &there);
		if (!read_all(fd, &back, sizeof(back)) || memcmp(&back, &there, sizeof(back)) != 0)
			errx(1, "connection %llu: an answer was lost", (unsigned long long)n);
		close(fd);
		n++;
	} while (now_ns() < end);
	return n;
}

static void connects(const char *address, unsigned n, uint64_t time_ns)
{
	uint64_t *made = mmap(NULL, n * sizeof(*made), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0),
		 total = 0, begin;
	struct host_clock clock = host_clock(address);
	int status;

	if (made == MAP_FAILED)
		err(1, "mmap");
	begin = host_ns(&clock);
	for (unsigned i = 0; i < n; i++) {
		if (fork() != 0)
			continue;
		made[i] = connect_until(address, now_ns() + time_ns);
		_exit(0);
	}
	while (wait(&status) > 0)
		if (status != 0)
			errx(1, "a connection was lost");
	for (unsigned i = 0; i < n; i++)
		total += made[i];
	tell_rate(total, host_ns(&clock) - begin);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void turns(const char *address, uint32_t size, uint64_t time_ns)
{
	static uint32_t turn[TURNS_MAX];
	const struct request request = { .what = ECHO };
	struct host_clock clock = host_clock(address);
	struct request back;
	uint64_t begin, host_begin, end;
	uint64_t host_took;
	unsigned n = 0;
	int fd = dial(address, &request);

	if (!read_all(fd, &back, sizeof(back)))
		err(1, "echo");
	host_begin = host_ns(&clock);
	begin = end = now_ns();
	while (n < TURNS_MAX && end < begin + time_ns) {
		uint64_t ns = end;

		if (!write_all(fd, block, size) || !read_all(fd, block, size))
			err(1, "round trip");
		end = now_ns();
		turn[n++] = (uint32_t)(end - ns);
	}
	host_took = host_ns(&clock) - host_begin;
	qsort(turn, n, sizeof(turn[0]), compare);
	tell(turn[n / 2] * ((double)host_took / (double)(end - begin)), host_took);
}

static void put(const char *address, uint32_t size, uint64_t time_ns)
{
	const struct request request = { .what = SINK };
	struct host_clock clock = host_clock(address);
	int fd = dial(address, &request);
	uint64_t begin = host_ns(&clock), end = now_ns() + time_ns, sent = 0, got = 0;

	do {
		if (!write_all(fd, block, size))
			err(1, "write");
		sent += size;
	} while (now_ns() < end);
	if (shutdown(fd, SHUT_WR) < 0 || !read_all(fd, &got, sizeof(got)) || got != sent)
		errx(1, "%llu bytes were sent, %llu came", (unsigned long long)sent,
		     (unsigned long long)got);
	tell_rate(sent, host_ns(&clock) - begin);
}

/* The server says in the last bytes how many came before them. */
static void get(const char *address, uint32_t size, uint64_t time_ns)
{
	const struct request request = { .what = SOURCE, .size = size, .ns = time_ns };
	struct host_clock clock = host_clock(address);
	uint64_t begin = host_ns(&clock), got = 0, sent;
	int fd = dial(address, &request);
	uint8_t tail[sizeof(sent)] = { 0 };
	ssize_t n;

	while ((n = read(fd, block, size)) > 0) {
		size_t keep = (size_t)n < sizeof(tail) ? sizeof(tail) - (size_t)n : 0,
		       last = sizeof(tail) - keep;

		memmove(tail, tail + last, keep);
		memcpy(tail + keep, block + (size_t)n - last, last);
		got += (uint64_t)n;
	}
	memcpy(&sent, tail, sizeof(sent));
	if (n < 0 || got != sent + sizeof(sent))
		errx(1, "%llu bytes came, %llu were sent", (unsigned long long)got,
		     (unsigned long long)sent);
	tell_rate(sent, host_ns(&clock) - begin);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *address = argc > 2 ? argv[2] : "";
	uint32_t n = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
	uint64_t ns = argc > 4 ? strtoull(argv[4], NULL, 10) * 1000000u : 0;

	if (argc == 4 && n > 0 && strcmp(what, "serve") == 0)
		serve(address, n);
	else if (argc == 5 && n > 0 && n <= 1024 && strcmp(what, "connects") == 0)
		connects(address, n, ns);
	else if (argc == 5 && n > 0 && n <= BLOCK_MAX && strcmp(what, "turns") == 0)
		turns(address, n, ns);
	else if (argc == 5 && n > 0 && n <= BLOCK_MAX && strcmp(what, "put") == 0)
		put(address, n, ns);
	else if (argc == 5 && n >= sizeof(uint64_t) && n <= BLOCK_MAX && strcmp(what, "get") == 0)
		get(address, n, ns);
	else if (argc == 3 && strcmp(what, "calls") == 0)
		for (unsigned long i = strtoul(address, NULL, 10); i > 0; i--)
			(void)syscall(SYS_getppid);
	else
		errx(2, "serve|connects|turns|put|get|calls ...");
	return 0;
}
