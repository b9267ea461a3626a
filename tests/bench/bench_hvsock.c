/* SPDX-License-Identifier: MIT */
/* Load for a daemon that serves a socket device: a guest's driver on one side, host sockets on the other, in one
 * thread that polls both.  The same for any daemon with firecracker's host side (P, P_<port>).
 *
 *	bench_hvsock MODE --socket VU --uds P --counters FILE [--size N] [--connections N] [--packed] [--seconds S]
 *
 * MODE:	g2h, h2g		a stream, written by the sender in pieces of --size bytes
 *	connects-g2h, -h2g	connect and close, --connections at a time
 *	rtt			8 bytes there and back, as seen by the guest
 *	idle			--connections that have each said one word, and are silent
 *
 * FILE is a page that others map: the number of bytes received, of connections made or of round trips so far, as a
 * native 64-bit integer, which is > 0 when the load runs.  At the end, after --seconds or at SIGTERM, one JSON object
 * goes to stdout.  It counts nothing that it has not checked: each byte of a stream is compared with what was sent, a
 * connection counts when both of its ends have seen it open and close.  Exit 1: something was wrong, stderr tells.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "load.h"
#include "vsock_driver.h"

#define HOST_PORT  1234 /* where the host listens */
#define GUEST_PORT 4321 /* where the guest does */
/* Bytes of a stream repeat after this many: no packet or buffer size divides it. */
#define PERIOD     65521u
#define PIECE_MAX  65536u
#define READ_MAX   (256u << 10)
#define BATCH      64
#define MAX_CONNS  4096
#define MAX_RTTS   (1u << 22)
#define PATIENCE_S 20.0

struct load {
	struct vsd v;
	const char *socket, *uds;
	size_t size;
	unsigned connections;
	bool packed;
	double seconds;
	volatile uint64_t *counter;

	int listener, epoll;
	gpa_t pattern_gpa;
	uint8_t *pattern; /* of PERIOD + READ_MAX bytes, in guest memory */

	struct vsd_conn *conn; /* the one of a stream or of round trips */
	int host;              /* and its other end */
	uint64_t sent, received;
	unsigned n_open, n_host_open;
	uint64_t n_host_done, n_guest_done;
	uint32_t *rtt_ns;
	size_t n_rtt;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

/* ---- the bytes of a stream --------------------------------------------- */

static void make_pattern(struct load *l)
{
	uint64_t x = 0x9e3779b97f4a7c15u;

	l->pattern_gpa = vsd_alloc(&l->v, PERIOD + READ_MAX);
	l->pattern = guest_ptr(&l->v.guest, l->pattern_gpa, PERIOD + READ_MAX);
	for (size_t i = 0; i < PERIOD; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		l->pattern[i] = (uint8_t)(x >> 32);
	}
	for (size_t i = PERIOD; i < PERIOD + READ_MAX; i++)
		l->pattern[i] = l->pattern[i - PERIOD];
}

static void received(struct load *l, const void *bytes, size_t n)
{
	if (memcmp(bytes, l->pattern + l->received % PERIOD, n) != 0)
		die("wrong bytes in %zu at %llu", n, (unsigned long long)l->received);
	l->received += n;
	*l->counter = l->received;
}

/* ---- the host's sockets ------------------------------------------------ */

static struct sockaddr_un address(const char *path, const char *suffix)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s", path, suffix) >=
	    sizeof(sa.sun_path))
		die("%s: too long", path);
	return sa;
}

static void host_listen(struct load *l)
{
	char suffix[16];
	struct sockaddr_un sa;

	snprintf(suffix, sizeof(suffix), "_%u", HOST_PORT);
	sa = address(l->uds, suffix);
	unlink(sa.sun_path);
	l->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->listener < 0 || bind(l->listener, (const void *)&sa, sizeof(sa)) < 0 ||
	    listen(l->listener, 4096) < 0)
		die("%s: %s", sa.sun_path, strerror(errno));
}

/* A connection that says what it wants, or -EAGAIN when the daemon's backlog is full. */
static int host_connect(struct load *l)
{
	const struct sockaddr_un sa = address(l->uds, "");
	char line[32];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", GUEST_PORT);

	if (fd < 0)
		die("socket: %s", strerror(errno));
	if (connect(fd, (const void *)&sa, sizeof(sa)) < 0) {
		if (errno != EAGAIN)
			die("%s: %s", sa.sun_path, strerror(errno));
		close(fd);
		return -EAGAIN;
	}
	if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		die("CONNECT: %s", strerror(errno));
	return fd;
}

/* Read the daemon's answer: true when it is there, and "OK <n>\n".  Nothing follows it before we have spoken. */
static bool host_connected(int fd)
{
	char line[32];
	ssize_t n = recv(fd, line, sizeof(line) - 1, 0);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 5 || memcmp(line, "OK ", 3) != 0 || line[n - 1] != '\n')
		die("CONNECT was answered with %zd bytes", n);
	return true;
}

/* ---- one connection ---------------------------------------------------- */

static void on_data(struct vsd_conn *c, const void *bytes, size_t n, uint32_t flags)
{
	(void)flags;
	received(c->ctx, bytes, n);
}

static void on_lost(struct vsd_conn *c)
{
	die("port %u: the connection %s", c->local_port,
	    c->was_connected ? "is lost" : "was refused");
}

static const struct vsd_ops stream_ops = { .data = on_data, .closed = on_lost };

static enum vsd_answer accept_stream(struct vsd_conn *c, void *ctx)
{
	struct load *l = ctx;

	c->ops = &stream_ops;
	c->ctx = l;
	l->conn = c;
	return VSD_ACCEPT;
}

static void turn_until(struct load *l, bool (*done)(struct load *l), const char *what)
{
	uint64_t deadline = now_ns() + (uint64_t)(PATIENCE_S * 1e9);

	while (!done(l)) {
		vsd_turn(&l->v);
		if (now_ns() > deadline)
			die("timeout: %s", what);
	}
}

static bool guest_is_through(struct load *l)
{
	if (l->host < 0)
		l->host = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return l->host >= 0 && l->conn->state == VSD_CONNECTED;
}

static bool host_is_through(struct load *l)
{
	return host_connected(l->host);
}

static void open_from_guest(struct load *l, const struct vsd_ops *ops)
{
	host_listen(l);
	l->host = -1;
	l->conn = vsd_connect(&l->v, VMADDR_CID_HOST, HOST_PORT, SOCK_STREAM, ops, l);
	turn_until(l, guest_is_through, "the guest's connection");
}

static void open_from_host(struct load *l)
{
	vsd_listen(&l->v, GUEST_PORT, SOCK_STREAM, accept_stream, l);
	l->host = host_connect(l);
	if (l->host < 0)
		die("CONNECT: %s", strerror(-l->host));
	turn_until(l, host_is_through, "the host's connection");
}

/* ---- streams ----------------------------------------------------------- */

/* As many writes as the credit and the ring take: small ones are copied into the packet, as Linux does. */
static void guest_writes(struct load *l)
{
	ssize_t n;

	do {
		size_t at = l->sent % PERIOD;

		n = l->size < 4096 ? vsd_send(l->conn, l->pattern + at, l->size, 0) :
				     vsd_send_gpa(l->conn, GPA(l->pattern_gpa.v + at), l->size, 0);
		if (n > 0)
			l->sent += (uint64_t)n;
	} while (n > 0);
	if (n != -EAGAIN)
		die("the guest's write: %s", strerror((int)-n));
	vsd_flush(&l->v);
}

static void host_reads(struct load *l)
{
	static uint8_t buf[READ_MAX];
	ssize_t n = recv(l->host, buf, sizeof(buf), 0);

	if (n > 0)
		received(l, buf, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		die("the host's read: %s", n ? strerror(errno) : "end of file");
}

/* Each write is a message of its own to the kernel; a batch of them is one system call. */
static void host_writes(struct load *l)
{
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	unsigned batch = l->size < 4096 ? BATCH : l->size < 65536 ? 8 : 2;
	int n;

	for (unsigned i = 0; i < batch; i++) {
		iov[i] = (struct iovec){ l->pattern + (l->sent + i * l->size) % PERIOD, l->size };
		msg[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[i], .msg_iovlen = 1 } };
	}
	n = sendmmsg(l->host, msg, batch, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		die("the host's write: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		l->sent += msg[i].msg_len;
		/* A part of a write: what follows it must follow its end. */
		if (msg[i].msg_len < l->size && i + 1 < n)
			die("the host's write: the kernel has taken a part, and more behind it");
	}
}

static void g2h_open(struct load *l)
{
	open_from_guest(l, &stream_ops);
}

static void g2h_turn(struct load *l)
{
	vsd_poll(&l->v);
	guest_writes(l);
	host_reads(l);
}

static void h2g_turn(struct load *l)
{
	host_writes(l);
	vsd_poll(&l->v);
}

static void stream_report(struct load *l, double seconds)
{
	printf("{\"bytes\": %llu, \"seconds\": %.6f, \"packets\": %llu, \"kicks\": %llu}\n",
	       (unsigned long long)l->received, seconds,
	       (unsigned long long)(l->v.n_rx + l->v.n_tx), (unsigned long long)l->v.n_kicks);
}

/* ---- connects ---------------------------------------------------------- */

static void host_watch(struct load *l, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll: %s", strerror(errno));
	l->n_host_open++;
}

static void host_closes(struct load *l, int fd)
{
	close(fd);
	l->n_host_open--;
	l->n_host_done++;
}

static void on_guest_connected(struct vsd_conn *c)
{
	vsd_close(c);
}

static void on_guest_closed(struct vsd_conn *c)
{
	struct load *l = c->ctx;

	if (!c->was_connected)
		die("a connection was refused");
	vsd_free(c);
	l->n_open--;
	*l->counter = ++l->n_guest_done;
}

static const struct vsd_ops from_guest_ops = {
	.connected = on_guest_connected,
	.closed = on_guest_closed,
};
static const struct vsd_ops from_host_ops = { .closed = on_guest_closed };

static void connects_g2h_open(struct load *l)
{
	host_listen(l);
}

static void connects_g2h_turn(struct load *l)
{
	struct epoll_event event[BATCH];
	char byte;
	int fd, n;

	while (l->n_open < l->connections && !stopped) {
		vsd_connect(&l->v, VMADDR_CID_HOST, HOST_PORT, SOCK_STREAM, &from_guest_ops, l);
		l->n_open++;
	}
	vsd_poll(&l->v);
	while ((fd = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		host_watch(l, fd);
	n = epoll_wait(l->epoll, event, BATCH, 0);
	for (int i = 0; i < n; i++) {
		if (recv(event[i].data.fd, &byte, 1, 0) != 0)
			die("a connection that ends had bytes in it");
		host_closes(l, event[i].data.fd);
	}
}

static enum vsd_answer accept_one(struct vsd_conn *c, void *ctx)
{
	struct load *l = ctx;

	c->ops = &from_host_ops;
	c->ctx = l;
	l->n_open++;
	return VSD_ACCEPT;
}

static void connects_h2g_open(struct load *l)
{
	vsd_listen(&l->v, GUEST_PORT, SOCK_STREAM, accept_one, l);
}

static void connects_h2g_turn(struct load *l)
{
	struct epoll_event event[BATCH];
	int fd, n;

	while (max(l->n_host_open, l->n_open) < l->connections && !stopped &&
	       (fd = host_connect(l)) >= 0)
		host_watch(l, fd);
	vsd_poll(&l->v);
	n = epoll_wait(l->epoll, event, BATCH, 0);
	for (int i = 0; i < n; i++)
		if (host_connected(event[i].data.fd))
			host_closes(l, event[i].data.fd);
}

/* Let those that are under way end; then both sides must have seen the same number. */
static void connects_report(struct load *l, double seconds, void (*turn)(struct load *l))
{
	uint64_t n = l->n_guest_done, deadline = now_ns() + (uint64_t)(PATIENCE_S * 1e9);

	stopped = 1;
	while ((l->n_open || l->n_host_open) && now_ns() < deadline)
		turn(l);
	if (l->n_guest_done != l->n_host_done || l->v.n_conns)
		die("the guest has seen %llu connections, the host %llu; %u are left",
		    (unsigned long long)l->n_guest_done, (unsigned long long)l->n_host_done,
		    l->v.n_conns);
	printf("{\"connections\": %llu, \"seconds\": %.6f, \"kicks\": %llu}\n",
	       (unsigned long long)n, seconds, (unsigned long long)l->v.n_kicks);
}

static void connects_g2h_report(struct load *l, double seconds)
{
	connects_report(l, seconds, connects_g2h_turn);
}

static void connects_h2g_report(struct load *l, double seconds)
{
	connects_report(l, seconds, connects_h2g_turn);
}

/* ---- round trips ------------------------------------------------------- */

static void on_echo(struct vsd_conn *c, const void *bytes, size_t n, uint32_t flags)
{
	struct load *l = c->ctx;
	uint64_t then;

	(void)flags;
	if (n != sizeof(then))
		die("%zu bytes came back", n);
	memcpy(&then, bytes, n);
	if (then != l->sent)
		die("other bytes came back");
	if (l->n_rtt < MAX_RTTS)
		l->rtt_ns[l->n_rtt++] = (uint32_t)min(now_ns() - then, (uint64_t)UINT32_MAX);
	l->sent = 0;
	*l->counter = ++l->received;
}

static const struct vsd_ops echo_ops = { .data = on_echo, .closed = on_lost };

static void rtt_open(struct load *l)
{
	l->rtt_ns = malloc(MAX_RTTS * sizeof(*l->rtt_ns));
	if (!l->rtt_ns)
		die("no memory");
	open_from_guest(l, &echo_ops);
}

static void rtt_turn(struct load *l)
{
	uint64_t word;
	ssize_t n;

	if (l->sent == 0) {
		l->sent = now_ns();
		if (vsd_send(l->conn, &l->sent, sizeof(l->sent), 0) != sizeof(l->sent))
			die("no credit for 8 bytes");
	}
	vsd_poll(&l->v);
	n = recv(l->host, &word, sizeof(word), 0);
	if (n == sizeof(word) && send(l->host, &word, sizeof(word), MSG_NOSIGNAL) == n)
		return;
	if (n >= 0 || errno != EAGAIN)
		die("the host has read %zd bytes of 8", n);
}

static int compare_u32(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void rtt_report(struct load *l, double seconds)
{
	qsort(l->rtt_ns, l->n_rtt, sizeof(*l->rtt_ns), compare_u32);
	if (l->n_rtt == 0)
		die("no round trip was made");
	printf("{\"rounds\": %zu, \"seconds\": %.6f, \"p50_us\": %.3f, \"p99_us\": %.3f}\n",
	       l->n_rtt, seconds, l->rtt_ns[l->n_rtt / 2] / 1e3,
	       l->rtt_ns[l->n_rtt * 99 / 100] / 1e3);
}

/* ---- silence ----------------------------------------------------------- */

static void on_word(struct vsd_conn *c, const void *bytes, size_t n, uint32_t flags)
{
	(void)flags;
	if (vsd_send(c, bytes, n, 0) != (ssize_t)n)
		die("no credit for %zu bytes", n);
}

static const struct vsd_ops idle_ops = { .data = on_word, .closed = on_lost };

static enum vsd_answer accept_idle(struct vsd_conn *c, void *ctx)
{
	c->ops = &idle_ops;
	c->ctx = ctx;
	return VSD_ACCEPT;
}

static bool word_is_back(struct load *l)
{
	char byte;
	ssize_t n = recv(l->host, &byte, 1, 0);

	if (n == 0 || (n == 1 && byte != 'x'))
		die("other bytes came back");
	return n == 1;
}

static void idle_open(struct load *l)
{
	vsd_listen(&l->v, GUEST_PORT, SOCK_STREAM, accept_idle, l);
	for (unsigned i = 0; i < l->connections; i++) {
		l->host = host_connect(l); /* and left open */
		if (l->host < 0)
			die("CONNECT: %s", strerror(-l->host));
		turn_until(l, host_is_through, "the host's connection");
		if (send(l->host, "x", 1, MSG_NOSIGNAL) != 1)
			die("the host's write: %s", strerror(errno));
		turn_until(l, word_is_back, "the echo");
	}
	*l->counter = l->connections;
}

static void idle_turn(struct load *l)
{
	vsd_wait(&l->v, 100);
	vsd_poll(&l->v);
}

static void idle_report(struct load *l, double seconds)
{
	if (l->v.n_conns != l->connections)
		die("%u connections are left of %u", l->v.n_conns, l->connections);
	printf("{\"connections\": %u, \"seconds\": %.6f}\n", l->v.n_conns, seconds);
}

/* ---- main -------------------------------------------------------------- */

static const struct mode {
	const char *name;
	void (*open)(struct load *l);
	void (*turn)(struct load *l);
	void (*report)(struct load *l, double seconds);
} modes[] = {
	{ "g2h", g2h_open, g2h_turn, stream_report },
	{ "h2g", open_from_host, h2g_turn, stream_report },
	{ "connects-g2h", connects_g2h_open, connects_g2h_turn, connects_g2h_report },
	{ "connects-h2g", connects_h2g_open, connects_h2g_turn, connects_h2g_report },
	{ "rtt", rtt_open, rtt_turn, rtt_report },
	{ "idle", idle_open, idle_turn, idle_report },
};

static const struct mode *find_mode(const char *name)
{
	for (size_t i = 0; i < array_size(modes); i++)
		if (name && strcmp(name, modes[i].name) == 0)
			return &modes[i];
	die("MODE is missing or unknown");
}

static volatile uint64_t *map_counter(const char *path)
{
	static uint64_t own;
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	void *page;

	if (!path)
		return &own;
	if (fd < 0 || ftruncate(fd, 4096) < 0)
		die("%s: %s", path, strerror(errno));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	return page;
}

static const struct mode *options(struct load *l, int argc, char **argv)
{
	static const struct option known[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "uds", required_argument, NULL, 'u' },
		{ "counters", required_argument, NULL, 'c' },
		{ "size", required_argument, NULL, 'n' },
		{ "connections", required_argument, NULL, 'k' },
		{ "seconds", required_argument, NULL, 't' },
		{ "packed", no_argument, NULL, 'p' },
		{ 0 },
	};
	const char *counters = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (o) {
		case 's':
			l->socket = optarg;
			break;
		case 'u':
			l->uds = optarg;
			break;
		case 'c':
			counters = optarg;
			break;
		case 'n':
			l->size = strtoul(optarg, NULL, 10);
			break;
		case 'k':
			l->connections = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 't':
			l->seconds = strtod(optarg, NULL);
			break;
		case 'p':
			l->packed = true;
			break;
		default:
			exit(2);
		}
	}
	if (!l->socket || !l->uds || l->size < 1 || l->size > PIECE_MAX || l->connections < 1 ||
	    l->connections > MAX_CONNS)
		die("--socket and --uds are needed, sizes up to %u, connections up to %u",
		    PIECE_MAX, MAX_CONNS);
	l->counter = map_counter(counters);
	return find_mode(argv[optind]);
}

int main(int argc, char **argv)
{
	struct load l = { .size = 4096, .connections = 32, .seconds = 3600, .host = -1 };
	const struct mode *mode = options(&l, argc, argv);
	const struct vsd_options vo = {
		.features = BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
			    (l.packed ? BIT_ULL(VIRTIO_F_RING_PACKED) : 0),
		.n_queues = 3,
		.extra = PERIOD + READ_MAX + 4096,
	};
	uint64_t begin;
	double seconds;
	int r;

	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	r = vsd_open(&l.v, &vo, l.socket);
	if (r < 0)
		die("%s: %s", l.socket, strerror(-r));
	if (l.v.rx.packed != l.packed)
		die("%s: no packed ring", l.socket);
	make_pattern(&l);
	mode->open(&l);
	begin = now_ns();
	do {
		for (int i = 0; i < 64 && !stopped; i++)
			mode->turn(&l);
		seconds = (double)(now_ns() - begin) / 1e9;
	} while (!stopped && seconds < l.seconds);
	mode->report(&l, seconds);
	if (l.v.n_bad)
		die("the device broke %llu rules, first: %s", (unsigned long long)l.v.n_bad,
		    l.v.bad);
	vsd_done(&l.v);
	return 0;
}
