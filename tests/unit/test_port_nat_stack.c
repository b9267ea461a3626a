/* SPDX-License-Identifier: MIT */
/* A NAT port with Linux's own network stack as the guest: a tap device in a network namespace of a child process.
 *
 * Three processes: this one runs the switch; one is the guest, in the namespace; one is a program on the host.  The
 * last two are plain blocking socket code, and each ends with 0 or with the number of the line that failed. */
#include "nat_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "scm.h"

#define MUST(condition)                            \
	do {                                       \
		if (!(condition))                  \
			_exit(__LINE__ % 250 + 1); \
	} while (0)

#define SECONDS 20 /* for a whole test, under sanitizers on a busy machine */

static struct nat_bench b;

/* Test and children share what they have to tell each other. */
struct told {
	uint16_t port;  /* on the host */
	uint16_t port6; /* on ::1 */
	uint16_t other; /* UDP, where no forward leads */
	uint32_t mtu;
};
static struct told told;

/* The guest's network. */

static void put_address(struct sockaddr *a, uint32_t ip)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip) };

	memcpy(a, &in, sizeof(in));
}

static void configure(int s, unsigned mtu)
{
	struct ifreq ifr = { .ifr_name = "tap0" };
	struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY };

	ifr.ifr_hwaddr.sa_family = 1;
	memcpy(ifr.ifr_hwaddr.sa_data, N1_MAC, 6);
	MUST(ioctl(s, SIOCSIFHWADDR, &ifr) == 0);
	ifr.ifr_mtu = (int)mtu;
	MUST(ioctl(s, SIOCSIFMTU, &ifr) == 0);
	put_address(&ifr.ifr_addr, N1_IP);
	MUST(ioctl(s, SIOCSIFADDR, &ifr) == 0);
	put_address(&ifr.ifr_netmask, 0xffffff00);
	MUST(ioctl(s, SIOCSIFNETMASK, &ifr) == 0);
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	MUST(ioctl(s, SIOCSIFFLAGS, &ifr) == 0);
	put_address(&route.rt_dst, 0);
	put_address(&route.rt_genmask, 0);
	put_address(&route.rt_gateway, GW_IP);
	MUST(ioctl(s, SIOCADDRT, &route) == 0);
}

static int make_tap(void)
{
	struct ifreq ifr = { .ifr_name = "tap0", .ifr_flags = IFF_TAP | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	MUST(fd >= 0);
	MUST(ioctl(fd, TUNSETIFF, &ifr) == 0);
	return fd;
}

static void send_fd(int socket, int fd)
{
	struct iovec iov = { "f", 1 };

	MUST(scm_send(socket, &iov, 1, fd) == 1);
}

static int receive_fd(int socket)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fd;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* The tap as the guest's port of the switch. */

struct wire {
	struct loop_source source;
	int fd;
	uint32_t longest; /* frame that came from the guest */
};
static struct wire wire;

static void to_guest(struct nat_bench *bench, const struct sw_frame *f)
{
	uint8_t bytes[SW_FRAME_MAX];

	sw_frame_copy(f, 0, f->len, bytes);
	(void)!write(wire.fd, bytes, f->len);
}

static void from_guest(struct loop_source *source, uint32_t events)
{
	static uint8_t bytes[SW_FRAME_MAX];

	for (unsigned i = 0; i < SW_BURST; i++) {
		ssize_t n = read(wire.fd, bytes, sizeof(bytes));
		struct iovec iov = { bytes, (size_t)n };
		struct sw_frame f = { .iov = &iov, .len = (uint32_t)n, .n_iov = 1 };

		if (n <= 0)
			return;
		wire.longest = max(wire.longest, (uint32_t)n);
		sw_input(&b.guest, &f, 1);
	}
}

/* Children. */

typedef void job_fn(void);

static pid_t start_host(job_fn *job)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	alarm(SECONDS);
	job();
	_exit(0);
}

static pid_t start_guest(job_fn *job)
{
	int pair[2], unshared;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(SECONDS);
		unshared = unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET);
		if (unshared < 0 || access("/dev/net/tun", R_OK | W_OK) < 0)
			_exit(255);
		send_fd(pair[1], make_tap());
		configure(socket(AF_INET, SOCK_DGRAM, 0), told.mtu ? told.mtu : 1500);
		job();
		_exit(0);
	}
	close(pair[1]);
	wire.fd = receive_fd(pair[0]);
	close(pair[0]);
	if (wire.fd < 0) {
		int status;

		waitpid(pid, &status, 0);
		assert_int_equal(WEXITSTATUS(status), 255);
		return -1;
	}
	b.take = to_guest;
	assert_int_equal(loop_add(&b.backend.loop, &wire.source, wire.fd, EPOLLIN, from_guest), 0);
	return pid;
}

static void end_guest(void)
{
	loop_del(&wire.source);
	close(wire.fd);
	wire.fd = -1;
}

/* Run the switch until the children have ended, well. */
static void run_until(pid_t first, pid_t second)
{
	pid_t pids[2] = { first, second };
	unsigned left = (first > 0) + (second > 0);

	while (left > 0) {
		for (unsigned i = 0; i < 2; i++) {
			int status;

			if (pids[i] <= 0 || waitpid(pids[i], &status, WNOHANG) != pids[i])
				continue;
			assert_true(WIFEXITED(status));
			if (WEXITSTATUS(status) != 0)
				printf("# %s: failed at line %d (of 250)\n", i ? "host" : "guest",
				       WEXITSTATUS(status) - 1);
			assert_int_equal(WEXITSTATUS(status), 0);
			pids[i] = 0;
			left--;
		}
		assert_int_equal(loop_once(&b.backend.loop, loop_now_ns() + 5000000), 0);
	}
}

#define NEEDS_NAMESPACE(pid)                                                 \
	do {                                                                 \
		if ((pid) < 0) {                                             \
			puts("# SKIP needs a network namespace with a tun"); \
			nat_bench_down(&b);                                  \
			skip();                                              \
		}                                                            \
	} while (0)

/* What is said over a connection: bytes that tell their place. */

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 13);
}

static void send_pattern(int fd, size_t len)
{
	uint8_t buf[16384];

	for (size_t done = 0; done < len;) {
		size_t n = min(sizeof(buf), len - done);
		ssize_t sent;

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(done + i);
		sent = send(fd, buf, n, MSG_NOSIGNAL);
		MUST(sent > 0);
		done += (size_t)sent;
	}
}

static void receive_pattern(int fd, size_t len)
{
	uint8_t buf[16384];

	for (size_t done = 0; done < len;) {
		ssize_t n = recv(fd, buf, min(sizeof(buf), len - done), 0);

		MUST(n > 0);
		for (size_t i = 0; i < (size_t)n; i++)
			MUST(buf[i] == byte_at(done + i));
		done += (size_t)n;
	}
}

static int dial(uint32_t ip, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(ip) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	MUST(fd >= 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Listen before the children start, so that the port is known to all. */
static int listen_at(uint32_t ip, uint16_t port, uint16_t *ret_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(ip) };
	socklen_t len = sizeof(a);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return -1;
	if (ret_port)
		*ret_port = ntohs(a.sin_port);
	return fd;
}

/* 1. A guest reaches a server of the host. */

#define BULK (4u << 20)

static int listener;

static void serve_bulk(void)
{
	int fd = accept(listener, NULL, NULL);

	MUST(fd >= 0);
	receive_pattern(fd, BULK);
	send_pattern(fd, BULK);
	MUST(recv(fd, &(char){ 0 }, 1, 0) == 0);
}

static void fetch_bulk(void)
{
	int fd = dial(GW_IP, told.port);

	MUST(fd >= 0);
	send_pattern(fd, BULK);
	receive_pattern(fd, BULK);
}

static void bulk_with(unsigned mtu, const char *members)
{
	pid_t guest, host;

	told.mtu = mtu;
	wire.longest = 0;
	listener = listen_at(INADDR_LOOPBACK, 0, &told.port);
	assert_true(listener >= 0);
	nat_bench_up(&b, members);
	guest = start_guest(fetch_bulk);
	NEEDS_NAMESPACE(guest);
	host = start_host(serve_bulk);
	close(listener);
	run_until(guest, host);
	assert_true(wire.longest > mtu && wire.longest <= mtu + 14);
	assert_int_equal(b.nat->counters.limited + b.nat->counters.spoofed, 0);
	assert_int_equal(b.nat->counters.malformed, 0);
	end_guest();
	nat_bench_down(&b);
}

static void test_tcp_out(void **state)
{
	bulk_with(1500, "\"host-loopback\":true");
}

static void test_tcp_out_jumbo(void **state)
{
	bulk_with(9000, "\"host-loopback\":true,\"mtu\":9000");
}

/* 2. The host's loopback is out of reach, and the guest is told at once. */

static void try_loopback(void)
{
	MUST(dial(GW_IP, told.port) < 0);
	MUST(errno == ECONNREFUSED);
	MUST(dial(0xa9fea9fe, 80) < 0);
	MUST(errno == ECONNREFUSED);
}

static void test_tcp_out_refused(void **state)
{
	pid_t guest;

	told.mtu = 0;
	listener = listen_at(INADDR_LOOPBACK, 0, &told.port);
	nat_bench_up(&b, "");
	guest = start_guest(try_loopback);
	NEEDS_NAMESPACE(guest);
	run_until(guest, 0);
	assert_int_equal(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(accept(listener, NULL, NULL), -1);
	close(listener);
	end_guest();
	nat_bench_down(&b);
}

/* 3. The host reaches a guest: many connections at once, then a long one; and again after the guest was started
 *    anew. */

#define GUEST_PORT 7000
#define CROWD      50

static uint16_t add_forward(const char *proto)
{
	char params[128];
	uint16_t port;
	const char *answer;

	snprintf(
		params, sizeof(params),
		"{\"proto\":\"%s\",\"host-port\":0,\"guest\":\"192.168.100.10\",\"guest-port\":%d}",
		proto, GUEST_PORT);
	answer = nat_bench_call(&b, "forward.add", params);
	assert_non_null(strstr(answer, "host-port"));
	assert_int_equal(sscanf(strstr(answer, "host-port"), "host-port\":%hu", &port), 1);
	return port;
}

static void serve_crowd(void)
{
	int fd = listen_at(INADDR_ANY, GUEST_PORT, NULL), peer;

	MUST(fd >= 0);
	for (unsigned i = 0; i < CROWD + 1; i++) {
		size_t len = i < CROWD ? 1000 : BULK;

		peer = accept(fd, NULL, NULL);
		MUST(peer >= 0);
		receive_pattern(peer, len);
		send_pattern(peer, len);
		close(peer);
	}
}

static void call_crowd(void)
{
	int fd[CROWD], big;

	/* Taken by the host's kernel at once; the guest has them when it listens. */
	usleep(200000);
	for (unsigned i = 0; i < CROWD; i++) {
		fd[i] = dial(INADDR_LOOPBACK, told.port);
		MUST(fd[i] >= 0);
		send_pattern(fd[i], 1000);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		receive_pattern(fd[i], 1000);
		close(fd[i]);
	}
	big = dial(INADDR_LOOPBACK, told.port);
	MUST(big >= 0);
	send_pattern(big, BULK);
	receive_pattern(big, BULK);
	close(big);
}

static void test_forward(void **state)
{
	told.mtu = 0;
	nat_bench_up(&b, "");
	told.port = add_forward("tcp");
	for (unsigned boot = 0; boot < 2; boot++) {
		pid_t guest = start_guest(serve_crowd);

		NEEDS_NAMESPACE(guest);
		run_until(guest, start_host(call_crowd));
		end_guest();
	}
	nat_bench_down(&b);
}

/* 4. UDP, both ways through a forward. */

static void echo_udp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(GUEST_PORT) };
	socklen_t len = sizeof(a);
	char buf[2000];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	MUST(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	for (unsigned i = 0; i < 10; i++) {
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&a, &len);

		MUST(n > 0);
		MUST(sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&a, len) == n);
	}
	/* To somebody on the host's loopback who never asked. */
	a.sin_port = htons(told.other);
	MUST(sendto(fd, buf, 10, 0, (struct sockaddr *)&a, len) == 10);
}

static void call_udp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(told.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char buf[2000], back[2000];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	usleep(200000);
	MUST(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	for (unsigned i = 0; i < 10; i++) {
		size_t len = 100 * (i + 1);

		memset(buf, (int)i + 1, len);
		MUST(send(fd, buf, len, 0) == (ssize_t)len);
		MUST(recv(fd, back, sizeof(back), 0) == (ssize_t)len);
		MUST(memcmp(buf, back, len) == 0);
	}
}

static void udp_with(const char *members)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	auto_fd int other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	pid_t guest;

	assert_int_equal(bind(other, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(other, (struct sockaddr *)&a, &len), 0);
	told.other = ntohs(a.sin_port);
	nat_bench_up(&b, members);
	told.port = add_forward("udp");
	guest = start_guest(echo_udp);
	NEEDS_NAMESPACE(guest);
	run_until(guest, start_host(call_udp));
	nat_bench_run(&b, 1, 50);
	assert_int_equal(recv(other, &(char){ 0 }, 1, 0), -1);
	assert_int_equal(b.nat->counters.refused, 1);
	end_guest();
	nat_bench_down(&b);
}

static void test_forward_udp(void **state)
{
	udp_with("");
	udp_with("\"restricted\":true");
}

/* 5. A restricted network: in by a forward, not out. */

static void serve_restricted(void)
{
	int fd = listen_at(INADDR_ANY, GUEST_PORT, NULL), peer;

	MUST(dial(0x08080808, 53) < 0);
	MUST(errno == ECONNREFUSED);
	peer = accept(fd, NULL, NULL);
	MUST(peer >= 0);
	receive_pattern(peer, 1000);
	send_pattern(peer, 1000);
}

static void call_restricted(void)
{
	int fd;

	usleep(200000);
	fd = dial(INADDR_LOOPBACK, told.port);
	MUST(fd >= 0);
	send_pattern(fd, 1000);
	receive_pattern(fd, 1000);
}

static void test_restricted(void **state)
{
	pid_t guest;

	nat_bench_up(&b, "\"restricted\":true");
	told.port = add_forward("tcp");
	guest = start_guest(serve_restricted);
	NEEDS_NAMESPACE(guest);
	run_until(guest, start_host(call_restricted));
	end_guest();
	nat_bench_down(&b);
}

/* 6. IPv6: an address by router advertisement, and out to ::1. */

static void serve6(void)
{
	int fd = accept(listener, NULL, NULL);

	MUST(fd >= 0);
	receive_pattern(fd, 100000);
	send_pattern(fd, 100000);
}

static void fetch6(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(told.port6) };
	int fd = -1;

	MUST(inet_pton(AF_INET6, "fd00:100::1", &a.sin6_addr) == 1);
	for (unsigned i = 0; i < 100; i++) { /* until there is an address */
		fd = socket(AF_INET6, SOCK_STREAM, 0);
		MUST(fd >= 0);
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
			break;
		close(fd);
		fd = -1;
		usleep(100000);
	}
	MUST(fd >= 0);
	send_pattern(fd, 100000);
	receive_pattern(fd, 100000);
}

static int listen6(void)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return -1;
	told.port6 = ntohs(a.sin6_port);
	return fd;
}

static void test_ip6(void **state)
{
	pid_t guest, host;

	told.mtu = 0;
	listener = listen6();
	if (listener < 0) {
		puts("# SKIP no IPv6 loopback on this host");
		skip();
	}
	nat_bench_up(&b, "\"subnet6\":\"fd00:100::/64\",\"host-loopback\":true");
	guest = start_guest(fetch6);
	NEEDS_NAMESPACE(guest);
	host = start_host(serve6);
	close(listener);
	run_until(guest, host);
	end_guest();
	nat_bench_down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_out),
		cmocka_unit_test(test_tcp_out_jumbo),
		cmocka_unit_test(test_tcp_out_refused),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_forward_udp),
		cmocka_unit_test(test_restricted),
		cmocka_unit_test(test_ip6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
