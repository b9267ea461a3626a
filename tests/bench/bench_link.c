/* SPDX-License-Identifier: MIT */
/* Network cards that send by the clock, in one thread that polls: how long frames take through a switch, and how many
 * bytes of each get through.  The same for any switch with vhost-user sockets.
 *
 *	bench_link latency --socket A --socket B [--gap-us MEAN] [--frames N] [--size N] [--expect-us D] [--spin]
 *	bench_link latency --bare CORE [--gap-us MEAN] [--frames N] [--expect-us D] [--sleep]
 *	bench_link rate --socket SINK --socket SOURCE... [--seconds S] [--size N] [--offer BPS]
 *	bench_link idle --socket A...
 *	bench_link timer [--gap-us MEAN] [--frames N]
 *
 * latency: A sends frames to B, after gaps that are exponentially distributed about MEAN (so that they fall into step
 *	with nothing), and each is timed from its publication to its arrival in B's memory.  Prints p50, p99 and the largest,
 *	in microseconds; with --expect-us, of the error |time - D| instead.  Frames may be in flight together; one that is lost
 *	or comes twice ends the program.  --spin keeps A sending frames that nobody counts, so that a switch
 *	that sleeps when it is idle does not; it goes out every few microseconds.
 *	--bare: no cards and no switch, but a process on that processor that does nothing but pass on (relay.h), --expect-us later.
 *	It looks all the time, or, with --sleep, sleeps until an eventfd wakes it.
 * rate: each SOURCE sends frames of --size bytes to SINK at --offer bits per second, more than its link lets through.
 *	Prints the bits per second that arrived from each, counted after a second of settling.  Bits are those of the
 *	frames as they lie in memory.
 *
 * idle: each card says one word; then "idle" is printed and nothing sent until the program is ended.
 *
 * timer: no cards: how late a thread is that sleeps for MEAN each time, with a timer slack of 1 ns.  What the machine allows
 *	anybody who sleeps.
 *
 * One JSON object on stdout.  Exit 1: something was wrong, stderr tells.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "load.h"
#include "net_driver.h"
#include "relay.h"

#define SOCKETS_MAX 65
#define HEAD        14
#define TYPE        0x88b5 /* IEEE 802, local experimental */
#define PATIENCE_NS 5000000000ull
#define SETTLE_NS   1000000000ull
#define BURST       64u
#define SPIN_NS     5000
#define RING        1024

struct bench {
	const char *socket[SOCKETS_MAX];
	struct nd card[SOCKETS_MAX];
	unsigned n_card;
	double gap_us, expect_us, seconds, offer_bps;
	unsigned n_frames, size;
	int bare; /* -1, or the processor of the relay */
	bool spin, sleep;

	/* latency */
	struct relay *relay;          /* in the place of cards and switch */
	uint64_t *sent_ns, *taken_ns; /* by sequence number; taken 0: not yet */
	unsigned n_taken;
	/* rate */
	uint64_t bytes[SOCKETS_MAX];
	bool counting;
};

/* What follows the Ethernet header. */
struct mark {
	uint32_t seq; /* UINT32_MAX: of those nobody counts */
	uint32_t source;
};

static void address(uint8_t to[6], unsigned card)
{
	const uint8_t mac[6] = { 0x52, 0x54, 0, 0, 1, (uint8_t)card };

	memcpy(to, mac, 6);
}

static void send_to(struct bench *b, unsigned from, unsigned to, uint32_t seq)
{
	const struct mark mark = { seq, from };
	uint8_t frame[2048] = { 0 };
	int r;

	address(frame, to);
	address(frame + 6, from);
	frame[12] = TYPE >> 8;
	frame[13] = TYPE & 0xff;
	memcpy(frame + HEAD, &mark, sizeof(mark));
	r = nd_send(&b->card[from], frame, b->size);
	if (r < 0 && r != -EAGAIN)
		die("send: %s", strerror(-r));
	if (r < 0 && seq != UINT32_MAX)
		die("the ring is full: the switch takes nothing");
}

static bool read_mark(const uint8_t *frame, uint32_t len, struct mark *ret)
{
	if (len < HEAD + sizeof(*ret) || frame[12] != TYPE >> 8 || frame[13] != (TYPE & 0xff))
		return false;
	memcpy(ret, frame + HEAD, sizeof(*ret));
	return true;
}

static void ignore(struct nd *n, const uint8_t *frame, uint32_t len, void *ctx)
{
}

/* Let the switch know where everybody is, and be there. */
static void introduce(struct bench *b)
{
	uint64_t until;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < b->n_card; i++) {
			send_to(b, i, i == 0 ? 1 : 0, UINT32_MAX);
			nd_flush(&b->card[i]);
		}
		until = now_ns() + 100000000;
		while (now_ns() < until)
			for (unsigned i = 0; i < b->n_card; i++)
				nd_poll(&b->card[i], BURST, ignore, NULL);
	}
}

/* ---- latency ----------------------------------------------------------- */

static void on_timed(struct nd *n, const uint8_t *frame, uint32_t len, void *ctx)
{
	struct bench *b = ctx;
	struct mark mark;

	if (!read_mark(frame, len, &mark) || mark.seq == UINT32_MAX)
		return;
	if (mark.seq >= b->n_frames || len != b->size || b->sent_ns[mark.seq] == 0)
		die("a frame that nobody sent");
	if (b->taken_ns[mark.seq] != 0)
		die("frame %u came twice", mark.seq);
	b->taken_ns[mark.seq] = now_ns();
	b->n_taken++;
}

static uint64_t gap_ns(const struct bench *b)
{
	return (uint64_t)(-log(1 - drand48()) * b->gap_us * 1000);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_quantiles(double *us, unsigned n)
{
	qsort(us, n, sizeof(*us), compare);
	printf("{\"frames\": %u, \"p50\": %.3f, \"p90\": %.3f, \"p99\": %.3f, \"max\": %.3f}\n", n,
	       us[n / 2], us[n * 9ull / 10], us[n * 99ull / 100], us[n - 1]);
}

static void timer(const struct bench *b)
{
	double *us = calloc(b->n_frames, sizeof(*us));

	if (!us)
		die("no memory");
	(void)prctl(PR_SET_TIMERSLACK, 1ul);
	for (unsigned i = 0; i < b->n_frames; i++) {
		uint64_t at = now_ns() + (uint64_t)(b->gap_us * 1000);
		const struct timespec t = { (time_t)(at / 1000000000), (long)(at % 1000000000) };

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		us[i] = (double)(now_ns() - at) / 1000;
	}
	print_quantiles(us, b->n_frames);
	free(us);
}

static void report_latency(const struct bench *b)
{
	double *us = calloc(b->n_frames, sizeof(*us));

	if (!us)
		die("no memory");
	for (unsigned i = 0; i < b->n_frames; i++) {
		us[i] = (double)(b->taken_ns[i] - b->sent_ns[i]) / 1000;
		if (b->expect_us > 0)
			us[i] = fabs(us[i] - b->expect_us);
	}
	print_quantiles(us, b->n_frames);
	free(us);
}

static void send_timed(struct bench *b, unsigned seq)
{
	if (!b->relay)
		send_to(b, 0, 1, seq);
	b->sent_ns[seq] = now_ns();
	if (b->relay)
		relay_send(b->relay);
	else
		nd_flush(&b->card[0]);
}

static void take_timed(struct bench *b)
{
	if (!b->relay)
		nd_poll(&b->card[1], BURST, on_timed, b);
	else
		for (uint32_t n = relay_passed(b->relay); b->n_taken < n; b->n_taken++)
			b->taken_ns[b->n_taken] = now_ns();
}

static void use_relay(struct bench *b)
{
	b->relay = relay_start(&(struct relay_options){ .core = (unsigned)b->bare,
							.n = b->n_frames,
							.delay_ns = (uint64_t)(b->expect_us * 1000),
							.sleeps = b->sleep });
	if (!b->relay)
		die("no relay: %m");
}

static void latency(struct bench *b)
{
	unsigned sent = 0;
	uint64_t at = now_ns(), last = at, spun = at, now;

	b->sent_ns = calloc(b->n_frames, sizeof(*b->sent_ns));
	b->taken_ns = calloc(b->n_frames, sizeof(*b->taken_ns));
	if (!b->sent_ns || !b->taken_ns)
		die("no memory");
	while (b->n_taken < b->n_frames) {
		now = now_ns();
		if (sent < b->n_frames && now >= at) {
			send_timed(b, sent);
			last = b->sent_ns[sent++];
			at = now + gap_ns(b);
		} else if (b->spin && now >= spun + SPIN_NS && b->card[0].n_tx_free > RING / 2) {
			spun = now;
			send_to(b, 0, 1, UINT32_MAX);
			nd_flush(&b->card[0]);
		}
		take_timed(b);
		if (sent == b->n_frames && now > last + PATIENCE_NS)
			die("%u of %u frames are lost", b->n_frames - b->n_taken, b->n_frames);
	}
	report_latency(b);
}

/* ---- rate -------------------------------------------------------------- */

static void on_counted(struct nd *n, const uint8_t *frame, uint32_t len, void *ctx)
{
	struct bench *b = ctx;
	struct mark mark;

	if (b->counting && read_mark(frame, len, &mark) && mark.source < b->n_card)
		b->bytes[mark.source] += len;
}

/* Each source sends what it owes by the clock; what its ring does not take is not owed any more. */
static void rate(struct bench *b)
{
	uint64_t begin = now_ns(), from = begin + SETTLE_NS, now;
	uint64_t until = from + (uint64_t)(b->seconds * 1e9), owed[SOCKETS_MAX] = { 0 };

	while ((now = now_ns()) < until) {
		uint64_t due = (uint64_t)((double)(now - begin) / 1e9 * b->offer_bps / 8 / b->size);

		b->counting = now >= from;
		for (unsigned i = 1; i < b->n_card; i++) {
			if (owed[i] == due)
				continue;
			for (unsigned k = 0; owed[i] < due && k < BURST; k++, owed[i]++)
				send_to(b, i, 0, UINT32_MAX);
			nd_flush(&b->card[i]);
		}
		nd_poll(&b->card[0], 4 * BURST, on_counted, b);
	}
	printf("{\"bps\": [");
	for (unsigned i = 1; i < b->n_card; i++)
		printf("%s%.0f", i > 1 ? ", " : "", (double)b->bytes[i] * 8 / b->seconds);
	printf("]}\n");
}

/* ---- idle -------------------------------------------------------------- */

__attribute__((noreturn)) static void idle(void)
{
	puts("idle");
	fflush(stdout);
	for (;;)
		pause();
}

/* ---- */

static void read_options(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "gap-us", required_argument, NULL, 'g' },
		{ "frames", required_argument, NULL, 'n' },
		{ "size", required_argument, NULL, 'l' },
		{ "expect-us", required_argument, NULL, 'e' },
		{ "seconds", required_argument, NULL, 't' },
		{ "offer", required_argument, NULL, 'o' },
		{ "spin", no_argument, NULL, 'p' },
		{ "bare", required_argument, NULL, 'b' },
		{ "sleep", no_argument, NULL, 'z' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			if (b->n_card == SOCKETS_MAX)
				die("too many sockets");
			b->socket[b->n_card++] = optarg;
			break;
		case 'g':
			b->gap_us = atof(optarg);
			break;
		case 'n':
			b->n_frames = (unsigned)atoi(optarg);
			break;
		case 'l':
			b->size = (unsigned)atoi(optarg);
			break;
		case 'e':
			b->expect_us = atof(optarg);
			break;
		case 't':
			b->seconds = atof(optarg);
			break;
		case 'o':
			b->offer_bps = atof(optarg);
			break;
		case 'p':
			b->spin = true;
			break;
		case 'b':
			b->bare = atoi(optarg);
			break;
		case 'z':
			b->sleep = true;
			break;
		default:
			exit(2);
		}
	}
	if (optind + 1 == argc && strcmp(argv[optind], "timer") == 0)
		return;
	if (optind + 1 == argc && b->bare >= 0 && b->n_card == 0 &&
	    strcmp(argv[optind], "latency") == 0)
		return;
	if (optind + 1 != argc || b->n_card < 2 || b->bare >= 0)
		die("usage: bench_link latency|rate|idle|timer --socket PATH --socket PATH ... [OPTION...]");
	if (b->size < HEAD + sizeof(struct mark) || b->size > 2048 - ND_HEADER || b->n_frames == 0)
		die("impossible size or number of frames");
}

int main(int argc, char **argv)
{
	static struct bench b = { .gap_us = 1000,
				  .n_frames = 2000,
				  .size = 60,
				  .seconds = 5,
				  .offer_bps = 150e6,
				  .bare = -1 };
	const char *mode;

	read_options(&b, argc, argv);
	mode = argv[optind];
	if (strcmp(mode, "timer") == 0) {
		timer(&b);
		return 0;
	}
	srand48(1);
	for (unsigned i = 0; i < b.n_card; i++) {
		int r = nd_open(&b.card[i], &(struct nd_options){ .num = RING }, b.socket[i]);

		if (r < 0)
			die("%s: %s", b.socket[i], strerror(-r));
	}
	if (b.bare < 0)
		introduce(&b);
	else
		use_relay(&b);
	if (strcmp(mode, "latency") == 0)
		latency(&b);
	else if (strcmp(mode, "rate") == 0)
		rate(&b);
	else if (strcmp(mode, "idle") == 0)
		idle();
	else
		die("no mode %s", mode);
	for (unsigned i = 0; i < b.n_card; i++)
		nd_close(&b.card[i]);
	if (b.relay)
		relay_stop(b.relay);
	return 0;
}
