/* SPDX-License-Identifier: MIT */
/* Very many connections and bytes through the daemon of sockets, which is killed now and then; tests/soak drives it.
 *
 *	soak_hvsock --daemon PROGRAM --config FILE --socket VU --uds P [--connections N] [--megabytes N] [--kills N]
 *
 * One thread is the guest and the host's programs, as in bench_hvsock.  A connection is opened by either side in turn,
 * carries so many bytes in both directions at once, is closed by either side, and counts when all its bytes have
 * arrived as they were sent and both ends have seen it end.  One in a thousand carries most of the bytes.  Every
 * connection's bytes begin elsewhere in the pattern, so that another's would be noticed.
 *
 * The work is cut into N + 1 parts.  The daemon's descriptors are counted before a part, its memory (RssAnon) is
 * after a little of the work; at the end of the part, when all connections are gone, they must be what they were.  Then some
 * are left open with bytes under way, the daemon is killed by SIGKILL, and a new one takes its place on the rings: the
 * guest must learn that each of them has ended, by RST or, every other time, by the event queue.
 *
 * Progress goes to stderr, one JSON object to stdout.  Exit 1 and a line that says why: something was wrong.
 */
#include <errno.h>
#include <getopt.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "load.h"
#include "vsock_driver.h"

#define HOST_PORT    1234
#define GUEST_PORT   4321
#define PERIOD       65521u
#define PIECE        (256u << 10)
#define WORKERS      64
#define BIG_EVERY    1000 /* one connection of so many carries most of the bytes */
#define SMALL_MAX    2048
#define WARM_UP      2000 /* connections */
#define SLACK_KIB    4096 /* of RssAnon, within a part */
#define PATIENCE_NS  60000000000ull
#define PROGRESS_NS  5000000000ull
#define LINE_MAX_LEN 32

extern char **environ;

/* One connection at a time; `id` is of the connection. */
struct worker {
	struct soak *s;
	bool used, from_guest, readable, writable;
	bool ended; /* by a kill: no more is expected of it */
	bool late;  /* the kill has found it connecting */
	uint64_t id, quota;
	struct vsd_conn *conn;
	int host;
	uint64_t guest_sent, guest_got, host_sent, host_got;
	char line[LINE_MAX_LEN]; /* the daemon's answer to CONNECT, or the guest's preface */
	size_t line_len;
	bool introduced; /* the guest has said its preface */
	bool joined;     /* both ends are known to be this worker's */
};

struct soak {
	struct vsd v;
	const char *program, *config, *socket, *uds;
	pid_t daemon;
	uint64_t connections, bytes, kills;

	int listener, epoll;
	gpa_t pattern_gpa;
	uint8_t *pattern;
	struct worker worker[WORKERS];
	struct worker stranger[WORKERS]; /* accepted at P_<port>, not known whose yet */

	uint64_t started, done, bytes_done, ended_by_kill;
	uint64_t last_ns, progress_ns, begin_ns;
	bool quiet; /* start no new ones */
	long worst_growth_kib;
};

/* ---- the daemon -------------------------------------------------------- */

static void daemon_start(struct soak *s)
{
	char *argv[] = { (char *)(uintptr_t)s->program, (char *)(uintptr_t) "--config",
			 (char *)(uintptr_t)s->config,  (char *)(uintptr_t) "--log-level",
			 (char *)(uintptr_t) "warning", NULL };

	unlink(s->socket);
	unlink(s->uds);
	if (posix_spawn(&s->daemon, s->program, NULL, NULL, argv, environ) != 0)
		die("%s: %s", s->program, strerror(errno));
}

static void daemon_end(struct soak *s, int number)
{
	int status;

	kill(s->daemon, number);
	if (waitpid(s->daemon, &status, 0) != s->daemon)
		die("waitpid: %s", strerror(errno));
	if (number == SIGTERM && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
		die("the daemon ended with status %d", status);
	s->daemon = -1;
}

static long daemon_kib(const struct soak *s)
{
	char path[64], line[128];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", s->daemon);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %ld", &kib);
	if (!f || kib < 0)
		die("%s tells nothing", path);
	fclose(f);
	return kib;
}

static long daemon_fds(const struct soak *s)
{
	char path[64];
	long n = -2; /* . and .. */
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", s->daemon);
	d = opendir(path);
	if (!d)
		die("%s: %s", path, strerror(errno));
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- bytes ------------------------------------------------------------- */

static void make_pattern(struct soak *s)
{
	uint64_t x = 0x9e3779b97f4a7c15u;

	s->pattern_gpa = vsd_alloc(&s->v, PERIOD + PIECE);
	s->pattern = guest_ptr(&s->v.guest, s->pattern_gpa, PERIOD + PIECE);
	for (size_t i = 0; i < PERIOD + PIECE; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		s->pattern[i] = i < PERIOD ? (uint8_t)(x >> 32) : s->pattern[i - PERIOD];
	}
}

/* Where byte n of a connection stands in the pattern: elsewhere in each direction. */
static size_t place(const struct worker *w, uint64_t n, bool to_host)
{
	return (w->id * 7919 + n + (to_host ? 0 : PERIOD / 2)) % PERIOD;
}

static void check(struct worker *w, const void *bytes, size_t n, uint64_t *got, bool to_host)
{
	if (n > w->quota - *got)
		die("connection %llu: %zu bytes too many", (unsigned long long)w->id,
		    (size_t)(n - (w->quota - *got)));
	if (memcmp(bytes, w->s->pattern + place(w, *got, to_host), n) != 0)
		die("connection %llu: wrong bytes at %llu", (unsigned long long)w->id,
		    (unsigned long long)*got);
	*got += n;
	w->s->bytes_done += n;
	w->s->last_ns = 0;
}

/* ---- the life of a connection ------------------------------------------ */

static void finish(struct worker *w)
{
	struct soak *s = w->s;

	if (w->conn || w->host >= 0)
		return;
	if (w->guest_got != w->quota || w->host_got != w->quota)
		die("connection %llu ended after %llu and %llu of %llu bytes",
		    (unsigned long long)w->id, (unsigned long long)w->guest_got,
		    (unsigned long long)w->host_got, (unsigned long long)w->quota);
	w->used = false;
	s->done++;
	s->last_ns = 0;
}

static void host_gone(struct worker *w)
{
	close(w->host);
	w->host = -1;
}

static void close_if_through(struct worker *w)
{
	if (!w->conn || w->guest_got < w->quota || w->host_got < w->quota)
		return;
	if (w->id % 4 < 2) {
		if (!w->conn->sent_shutdown)
			vsd_close(w->conn);
	} else if (w->host >= 0) {
		host_gone(w);
	}
}

static void on_data(struct vsd_conn *c, const void *bytes, size_t n, uint32_t flags)
{
	struct worker *w = c->ctx;

	(void)flags;
	check(w, bytes, n, &w->guest_got, false);
	close_if_through(w);
}

static void on_closed(struct vsd_conn *c)
{
	struct worker *w = c->ctx;

	if (!c->was_connected && !w->ended)
		die("connection %llu was refused", (unsigned long long)w->id);
	w->conn = NULL;
	vsd_free(c);
	if (w->ended) {
		w->used = false;
		w->s->ended_by_kill++;
		return;
	}
	finish(w);
}

/* Whoever opens it, the guest's first bytes tell the host which it is. */
static bool say_preface(struct worker *w)
{
	uint64_t index = (uint64_t)(w - w->s->worker);

	if (!w->introduced && w->conn->state == VSD_CONNECTED)
		w->introduced = vsd_send(w->conn, &index, sizeof(index), 0) == sizeof(index);
	return w->introduced;
}

static const struct vsd_ops ops = {
	.data = on_data,
	.closed = on_closed,
};

static void watch(struct soak *s, struct worker *w)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = w };

	w->readable = w->writable = true;
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, w->host, &event) < 0)
		die("epoll: %s", strerror(errno));
}

static struct sockaddr_un address(const char *path, const char *suffix)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s", path, suffix) >=
	    sizeof(sa.sun_path))
		die("%s: too long", path);
	return sa;
}

static bool host_connect(struct soak *s, struct worker *w)
{
	const struct sockaddr_un sa = address(s->uds, "");
	char line[32];
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", GUEST_PORT);

	w->host = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (w->host < 0)
		die("socket: %s", strerror(errno));
	if (connect(w->host, (const void *)&sa, sizeof(sa)) < 0) {
		if (errno != EAGAIN)
			die("%s: %s", sa.sun_path, strerror(errno));
		host_gone(w);
		return false;
	}
	if (send(w->host, line, (size_t)n, MSG_NOSIGNAL) != n)
		die("CONNECT: %s", strerror(errno));
	watch(s, w);
	return true;
}

/* Sizes: most are small, of 0 to SMALL_MAX bytes each way; every BIG_EVERYth is large. */
static uint64_t quota_of(const struct soak *s, uint64_t id)
{
	if (id % BIG_EVERY == BIG_EVERY / 2)
		return s->bytes / 2 / max(s->connections / BIG_EVERY, (uint64_t)1);
	return id * 2654435761u % SMALL_MAX;
}

static bool start(struct soak *s, struct worker *w)
{
	*w = (struct worker){ .s = s, .host = -1, .id = s->started, .from_guest = s->started % 2 };
	w->quota = quota_of(s, w->id);
	if (w->from_guest)
		w->conn = vsd_connect(&s->v, VMADDR_CID_HOST, HOST_PORT, SOCK_STREAM, &ops, w);
	else if (!host_connect(s, w))
		return false;
	w->used = true;
	s->started++;
	return true;
}

/* ---- the host's ends --------------------------------------------------- */

static void host_lost(struct worker *w, ssize_t n)
{
	bool through = w->host_got == w->quota && w->host_sent == w->quota && w->joined;

	if (!w->ended && (n != 0 || !through))
		die("connection %llu: the host's end %s after %llu of %llu bytes",
		    (unsigned long long)w->id, n ? strerror(errno) : "ended",
		    (unsigned long long)w->host_got, (unsigned long long)w->quota);
	host_gone(w);
	if (!w->ended)
		finish(w);
}

/* "OK <port>\n": the guest's end is the one that came from that port. */
static void host_joins(struct worker *w)
{
	struct soak *s = w->s;
	unsigned port;

	w->line[w->line_len] = 0;
	if (sscanf(w->line, "OK %u\n", &port) != 1)
		die("CONNECT was answered with \"%s\"", w->line);
	w->conn = vsd_find(&s->v, GUEST_PORT, VMADDR_CID_HOST, port);
	if (!w->conn || w->conn->ctx)
		die("CONNECT was answered with port %u, which the guest knows nothing of", port);
	w->conn->ctx = w;
	w->conn->ops = &ops;
	w->line_len = 0;
}

/* A byte of the answer at a time, as long as it takes. */
static bool read_line(struct worker *w)
{
	ssize_t n;

	while ((n = recv(w->host, w->line + w->line_len, 1, 0)) == 1) {
		if (w->line[w->line_len++] == '\n')
			return true;
		if (w->line_len == sizeof(w->line) - 1)
			die("CONNECT was answered with a long line");
	}
	if (n == 0 || errno != EAGAIN)
		host_lost(w, n);
	w->readable = false;
	return false;
}

static bool read_preface(struct worker *w)
{
	ssize_t n = recv(w->host, w->line + w->line_len, 8 - w->line_len, 0);

	if (n > 0)
		w->line_len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		host_lost(w, n);
	else
		w->readable = false;
	return w->line_len == 8;
}

/* A stranger has said whose it is. */
static void hand_over(struct soak *s, struct worker *stranger)
{
	uint64_t index;
	struct worker *w;
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };

	memcpy(&index, stranger->line, sizeof(index));
	if (index >= WORKERS || !s->worker[index].used || s->worker[index].host >= 0)
		die("a connection says that it is number %llu", (unsigned long long)index);
	w = &s->worker[index];
	w->host = stranger->host;
	w->readable = w->writable = w->joined = true;
	event.data.ptr = w;
	if (epoll_ctl(s->epoll, EPOLL_CTL_MOD, w->host, &event) < 0)
		die("epoll: %s", strerror(errno));
	stranger->used = false;
}

static void expect_own_preface(struct worker *w)
{
	uint64_t index;

	memcpy(&index, w->line, sizeof(index));
	if (index != (uint64_t)(w - w->s->worker))
		die("connection %llu has bytes of another", (unsigned long long)w->id);
	w->joined = true;
}

static void host_reads(struct worker *w)
{
	static uint8_t buf[PIECE];
	ssize_t n = recv(w->host, buf, sizeof(buf), 0);

	if (n > 0) {
		check(w, buf, (size_t)n, &w->host_got, true);
		close_if_through(w);
	} else if (n == 0 || errno != EAGAIN) {
		host_lost(w, n);
	} else {
		w->readable = false;
	}
}

static void host_writes(struct worker *w)
{
	size_t left = (size_t)min(w->quota - w->host_sent, (uint64_t)PIECE);
	ssize_t n =
		send(w->host, w->s->pattern + place(w, w->host_sent, false), left, MSG_NOSIGNAL);

	if (n > 0)
		w->host_sent += (uint64_t)n;
	else if (errno == EAGAIN)
		w->writable = false;
	else
		host_lost(w, n);
}

static void guest_writes(struct worker *w)
{
	while (w->conn && say_preface(w) && w->guest_sent < w->quota) {
		size_t at = place(w, w->guest_sent, true),
		       left = (size_t)(w->quota - w->guest_sent);
		ssize_t n = vsd_send_gpa(w->conn, GPA(w->s->pattern_gpa.v + at),
					 min(left, (size_t)PIECE), 0);

		if (n <= 0) {
			if (n != -EAGAIN && !w->ended)
				die("the guest's write: %s", strerror((int)-n));
			break;
		}
		w->guest_sent += (uint64_t)n;
	}
}

static void work(struct worker *w)
{
	if (w->host >= 0 && w->readable && !w->conn) {
		if (read_line(w))
			host_joins(w);
	}
	if (w->host >= 0 && w->readable && w->conn && !w->joined && read_preface(w))
		expect_own_preface(w);
	guest_writes(w);
	if (w->conn && w->quota == 0)
		say_preface(w);
	if (w->host >= 0 && w->joined && w->writable && w->host_sent < w->quota)
		host_writes(w);
	if (w->host >= 0 && w->joined && w->readable)
		host_reads(w);
	if (w->used && w->joined && w->quota == 0)
		close_if_through(w);
}

static struct worker *free_one(struct worker *list)
{
	for (unsigned i = 0; i < WORKERS; i++)
		if (!list[i].used)
			return &list[i];
	return NULL;
}

static void accept_strangers(struct soak *s)
{
	struct worker *w;
	int fd;

	while ((w = free_one(s->stranger)) &&
	       (fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		*w = (struct worker){ .s = s, .used = true, .host = fd };
		watch(s, w);
	}
}

static void progress(struct soak *s)
{
	uint64_t now = now_ns();

	if (s->last_ns == 0)
		s->last_ns = now;
	if (now - s->last_ns > PATIENCE_NS)
		die("nothing has moved for %llu s", PATIENCE_NS / 1000000000);
	if (now - s->progress_ns < PROGRESS_NS)
		return;
	s->progress_ns = now;
	fprintf(stderr, "%llu connections, %.1f GB, %llu s\n", (unsigned long long)s->done,
		(double)s->bytes_done / 1e9,
		(unsigned long long)((now - s->begin_ns) / 1000000000));
}

static void turn(struct soak *s, uint64_t until)
{
	struct epoll_event event[2 * WORKERS];
	struct worker *w;
	int n;

	while (!s->quiet && s->started < until && (w = free_one(s->worker)) && start(s, w))
		;
	vsd_poll(&s->v);
	accept_strangers(s);
	n = epoll_wait(s->epoll, event, array_size(event), 0);
	for (int i = 0; i < n; i++) {
		w = event[i].data.ptr;
		w->readable |= (event[i].events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR)) !=
			       0;
		w->writable |= (event[i].events & EPOLLOUT) != 0;
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		w = &s->stranger[i];
		if (w->used && w->readable && read_preface(w))
			hand_over(s, w);
		if (s->worker[i].used)
			work(&s->worker[i]);
	}
	vsd_flush(&s->v);
	progress(s);
}

/* ---- parts ------------------------------------------------------------- */

static void run_until(struct soak *s, uint64_t until)
{
	while (s->done + s->ended_by_kill < until)
		for (unsigned i = 0; i < 64; i++)
			turn(s, until);
	if (s->v.n_conns)
		die("%u connections are left in the guest", s->v.n_conns);
}

/* The daemon learns a moment after us that a connection is over. */
static void expect_as_before(struct soak *s, long kib, long fds)
{
	const struct timespec nap = { .tv_nsec = 20 * 1000 * 1000 };
	long growth;

	for (unsigned i = 0; i < 250 && daemon_fds(s) != fds; i++) {
		vsd_poll(&s->v);
		nanosleep(&nap, NULL);
	}
	if (daemon_fds(s) != fds)
		die("the daemon has %ld descriptors, %ld before", daemon_fds(s), fds);
	growth = daemon_kib(s) - kib;
	s->worst_growth_kib = max(s->worst_growth_kib, growth);
	if (growth > SLACK_KIB)
		die("the daemon has grown from %ld KiB by %ld", kib, growth);
}

static enum vsd_answer accept_guest(struct vsd_conn *c, void *ctx)
{
	(void)c;
	(void)ctx;
	return VSD_ACCEPT;
}

/* The host's programs let go of all that they had. */
static void host_drops_all(struct soak *s)
{
	int fd;

	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &s->worker[i], *t = &s->stranger[i];

		if (w->host >= 0 && w->used)
			host_gone(w);
		if (t->used)
			close(t->host);
		t->used = false;
	}
	while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

/* A connection that the daemon's death has not ended yet.  One that was only being asked for may have been found in the
 * ring by the new daemon, and made: then it is alive, and we end it. */
static void end_left_over(struct vsd_conn *c)
{
	struct worker *w = c->ctx;

	if (c->state == VSD_CONNECTED && w && w->late)
		vsd_reset(c);
	if (c->state != VSD_CLOSED)
		return;
	vsd_free(c);
	if (!w)
		return;
	w->conn = NULL;
	w->used = false;
	w->s->ended_by_kill++;
}

static void expect_all_ended(struct soak *s)
{
	uint64_t deadline = now_ns() + PATIENCE_NS;

	while (s->v.n_conns && now_ns() < deadline) {
		vsd_turn(&s->v);
		for (unsigned i = 0; i < VSD_BUCKETS; i++)
			for (struct vsd_conn *c = s->v.bucket[i], *next; c; c = next) {
				next = c->next_in_bucket;
				end_left_over(c);
			}
	}
	if (s->v.n_conns)
		die("the guest has %u connections that it does not know to be dead", s->v.n_conns);
	/* The new daemon has seen those resets when its dialling is through. */
	for (unsigned i = 0; i < 100; i++)
		vsd_turn(&s->v);
	host_drops_all(s);
}

/* Leave some open with bytes under way, kill the daemon, and see that the guest hears of it. */
static void kill_daemon(struct soak *s, uint64_t number)
{
	uint64_t until = s->started + WORKERS / 2;

	while (s->started < until)
		turn(s, until);
	for (unsigned i = 0; i < 8; i++)
		turn(s, until);
	daemon_end(s, SIGKILL);
	while (vsd_poll(&s->v))
		;
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &s->worker[i];

		w->ended = true;
		w->late = w->used && w->conn && w->conn->state == VSD_CONNECTING;
		if (w->used &&
		    !w->conn) { /* the guest's end is gone, or nobody knows whose it is */
			if (w->host >= 0)
				host_gone(w);
			w->used = false;
			s->ended_by_kill++;
		}
	}
	host_drops_all(s);
	daemon_start(s);
	s->v.o.n_queues = 2 + number % 2;
	if (vsd_reopen(&s->v, s->socket) < 0)
		die("the new daemon does not take the rings over");
	expect_all_ended(s);
}

static void part(struct soak *s, uint64_t number)
{
	uint64_t until = s->connections * (number + 1) / (s->kills + 1);
	long kib, fds;

	fds = daemon_fds(s);
	run_until(s, min(s->started + WARM_UP, until));
	kib = daemon_kib(s);
	run_until(s, until);
	expect_as_before(s, kib, fds);
	if (number < s->kills)
		kill_daemon(s, number);
	fprintf(stderr,
		"part %llu of %llu: %llu connections, %.1f GB, RssAnon %ld KiB, %ld descriptors\n",
		(unsigned long long)number + 1, (unsigned long long)s->kills + 1,
		(unsigned long long)s->done, (double)s->bytes_done / 1e9, daemon_kib(s), fds);
}

static void host_listen(struct soak *s)
{
	char suffix[16];
	struct sockaddr_un sa;

	snprintf(suffix, sizeof(suffix), "_%u", HOST_PORT);
	sa = address(s->uds, suffix);
	unlink(sa.sun_path);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 || bind(s->listener, (const void *)&sa, sizeof(sa)) < 0 ||
	    listen(s->listener, 4096) < 0)
		die("%s: %s", sa.sun_path, strerror(errno));
}

static void options(struct soak *s, int argc, char **argv)
{
	static const struct option known[] = {
		{ "daemon", required_argument, NULL, 'd' },
		{ "config", required_argument, NULL, 'f' },
		{ "socket", required_argument, NULL, 's' },
		{ "uds", required_argument, NULL, 'u' },
		{ "connections", required_argument, NULL, 'n' },
		{ "megabytes", required_argument, NULL, 'm' },
		{ "kills", required_argument, NULL, 'k' },
		{ 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (o) {
		case 'd':
			s->program = optarg;
			break;
		case 'f':
			s->config = optarg;
			break;
		case 's':
			s->socket = optarg;
			break;
		case 'u':
			s->uds = optarg;
			break;
		case 'n':
			s->connections = strtoull(optarg, NULL, 10);
			break;
		case 'm':
			s->bytes = strtoull(optarg, NULL, 10) * 1000000;
			break;
		case 'k':
			s->kills = strtoull(optarg, NULL, 10);
			break;
		default:
			exit(2);
		}
	}
	if (!s->program || !s->config || !s->socket || !s->uds)
		die("--daemon, --config, --socket and --uds are needed");
}

int main(int argc, char **argv)
{
	static struct soak s = { .connections = 100000, .bytes = 10000000000, .kills = 3 };
	const struct vsd_options vo = {
		.features = BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
		.extra = PERIOD + PIECE + 4096,
	};
	int r;

	options(&s, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	s.begin_ns = now_ns();
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	host_listen(&s);
	daemon_start(&s);
	r = vsd_open(&s.v, &vo, s.socket);
	if (r < 0)
		die("%s: %s", s.socket, strerror(-r));
	make_pattern(&s);
	vsd_listen(&s.v, GUEST_PORT, SOCK_STREAM, accept_guest, NULL);
	for (uint64_t i = 0; i <= s.kills; i++)
		part(&s, i);
	if (s.v.n_bad)
		die("the device broke %llu rules, first: %s", (unsigned long long)s.v.n_bad,
		    s.v.bad);
	vsd_done(&s.v);
	daemon_end(&s, SIGTERM);
	printf("{\"connections\": %llu, \"bytes\": %llu, \"kills\": %llu, \"ended_by_kill\": %llu, "
	       "\"growth_kib\": %ld, \"seconds\": %llu}\n",
	       (unsigned long long)s.done, (unsigned long long)s.bytes_done,
	       (unsigned long long)s.kills, (unsigned long long)s.ended_by_kill, s.worst_growth_kib,
	       (unsigned long long)((now_ns() - s.begin_ns) / 1000000000));
	return 0;
}
