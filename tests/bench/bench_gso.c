/* SPDX-License-Identifier: MIT */
/* What the switch does with one frame, guest to guest: the whole way from a transmitq to a receiveq, through real sessions,
 * on one core.  One JSON line for each case.
 *
 * Drivers and device take turns in this thread, and only the device's turn is measured.  The peer of the large frames
 * is memcpy() of the same bytes between the same buffers, in one piece each, in turns with ours: what is left of its
 * speed is what rings, headers and pieces cost.  Small frames have no peer here; their figure is nanoseconds a frame.  The
 * peer of links that do something is the same switch without, in turns: its rate is far above what is sent, and time
 * is the bench's, so that a delay holds the frames of a full load.  The peer of a switch with many more ports, which have said
 * a word and are silent, is one without these.
 *
 *	bench_gso [SECONDS a case [PART of its name [FRAMES in a turn]]]
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver.h"
#include "frontend.h"
#include "link.h"
#include "nethdr.h"
#include "port_vu.h"
#include "port_vu_features.h"

#define HEAD       54    /* Ethernet, IPv4, TCP */
#define SLOT       69632 /* of guest memory for each frame sent */
#define PIECE      4096  /* how a kernel gives a large frame to its device */
#define N_SLOT     64
#define TURNS      20    /* in a spell */
#define SPELLS     20000 /* at most */
#define SILENT_MAX 62
#define PACE \
	40 /* nanoseconds from one small frame to the next, by the bench's time: two take turns */
#define US UINT64_C(1000)

struct side {
	struct frontend fe;
	struct guest guest;
	struct driver rx, tx;
	gpa_t area; /* what it sends, or receives into */
	unsigned next;
	struct port_vu *port;
};

struct bench {
	struct loop loop;
	struct sw sw;
	struct links links;
	struct port_vu_group group;
	struct side from, to;
	uint32_t frame;              /* bytes, without virtio's header */
	uint32_t buffer;             /* bytes in each receive buffer */
	unsigned chunks;             /* of which so many descriptors make one */
	unsigned burst;              /* frames in each turn */
	uint64_t delay_ns, rate_bps; /* of each link, both ways; 0: none */
	unsigned n_silent;           /* ports besides */
	struct side silent[SILENT_MAX];
};

/* The time of the switch. */
static uint64_t at_ns = 1000000000;

static uint64_t clock_ns(void)
{
	return at_ns;
}

static void check(int r)
{
	if (r < 0) {
		fprintf(stderr, "bench_gso: %s\n", strerror(-r));
		exit(1);
	}
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pump(void *ctx)
{
	check(loop_once(ctx, 0));
}

static void side_up(struct bench *b, struct side *s, const char *name, uint64_t features,
		    uint16_t num)
{
	int fd;

	check(frontend_pair(&s->fe, &fd));
	s->fe.pump = pump;
	s->fe.ctx = &b->loop;
	check(port_vu_adopt(&b->group, name, fd, &s->port));
	check(frontend_negotiate(&s->fe, features, 0));
	guest_init(&s->guest, 1, 32 << 20);
	driver_init(&s->rx, &s->guest, num, features);
	driver_init(&s->tx, &s->guest, num, features);
	s->area = guest_alloc(&s->guest, (size_t)N_SLOT * SLOT, 4096);
	check(frontend_guest(&s->fe, &s->guest));
	check(frontend_driver_start(&s->fe, 0, &s->rx, true));
	check(frontend_driver_start(&s->fe, 1, &s->tx, true));
	driver_call_off(&s->rx);
	driver_call_off(&s->tx);
}

static void side_down(struct bench *b, struct side *s)
{
	port_vu_close(s->port);
	check(loop_once(&b->loop, 0));
	frontend_done(&s->fe);
	driver_done(&s->rx);
	driver_done(&s->tx);
	guest_done(&s->guest);
}

static void write_frame(const struct bench *b, uint8_t *at, uint8_t to, uint8_t from)
{
	struct nethdr hdr = { 0 };
	uint8_t *f = at + NETHDR_LEN;

	if (b->frame > 9000)
		hdr = (struct nethdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				       .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
				       .hdr_len = le16_of(HEAD),
				       .gso_size = le16_of(1448),
				       .csum_start = le16_of(34),
				       .csum_offset = le16_of(16) };
	memcpy(at, &hdr, sizeof(hdr));
	memset(f, 0x5a, b->frame);
	memcpy(f, (const uint8_t[]){ 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 8, 0 }, 14);
}

/* Headers in a descriptor of their own, pages behind it, all of it behind an indirect one: as Linux does.  A short
 * frame is one descriptor. */
static void send_one(struct bench *b, struct side *s)
{
	gpa_t at = GPA(s->area.v + (uint64_t)(s->next++ % N_SLOT) * SLOT);
	uint32_t left = NETHDR_LEN + b->frame, n = b->frame > PIECE ? NETHDR_LEN + HEAD : left;
	struct driver_buf buf[DRIVER_TABLE];
	unsigned k = 0;

	for (; left > 0; k++) {
		buf[k] = (struct driver_buf){ at, n };
		at = GPA(at.v + n);
		left -= n;
		n = left < PIECE ? left : PIECE;
	}
	check(k > 1 ? driver_add_indirect(&s->tx, buf, k, 0) : driver_add(&s->tx, buf, 1, 0));
}

static void post_one(struct bench *b, struct side *s)
{
	uint64_t stride = (uint64_t)b->buffer * b->chunks;
	gpa_t at = GPA(s->area.v + s->next++ % (N_SLOT * SLOT / stride) * stride);
	struct driver_buf buf[DRIVER_TABLE];

	for (unsigned i = 0; i < b->chunks; i++)
		buf[i] = (struct driver_buf){ GPA(at.v + (uint64_t)i * b->buffer), b->buffer };
	check(b->chunks > 1 ? driver_add_indirect(&s->rx, buf, 0, b->chunks) :
			      driver_add(&s->rx, buf, 0, 1));
}

static void reclaim(struct driver *d)
{
	uint32_t len;

	while (driver_used(d, &len) >= 0)
		;
}

/* One turn of each, in which n frames are sent; returns the seconds that the device's took. */
static double turn(struct bench *b, unsigned n)
{
	double start;

	reclaim(&b->to.rx);
	reclaim(&b->from.tx);
	while (b->to.rx.n_free > 0)
		post_one(b, &b->to);
	for (unsigned i = 0; i < n; i++)
		send_one(b, &b->from);
	driver_publish(&b->to.rx);
	driver_publish(&b->from.tx);
	transmitq_activate(&b->from.port->transmitq[0]); /* it may have fallen asleep */
	at_ns += (uint64_t)PACE * b->burst;
	start = now();
	b->group.poller.poll(&b->group.poller);
	link_clock_run(&b->links.clock, at_ns);
	return now() - start;
}

/* Its area as the device has it mapped. */
static void *device_ptr(const struct side *s)
{
	unsigned hint = 0;
	void *va;

	if (mem_gpa_span(vu_session_mem(s->port->seat.session), &hint, s->area,
			 (uint64_t)N_SLOT * SLOT, &va) < (size_t)N_SLOT * SLOT)
		check(-EFAULT);
	return va;
}

/* The same bytes in one piece each. */
static double turn_of_memcpy(struct bench *b, unsigned *next)
{
	const uint8_t *from = device_ptr(&b->from);
	uint8_t *to = device_ptr(&b->to);
	double start = now();

	for (unsigned i = 0; i < b->burst; i++, ++*next)
		memcpy(to + (size_t)(*next % N_SLOT) * SLOT, from + (size_t)(*next % N_SLOT) * SLOT,
		       b->frame);
	return now() - start;
}

/* What "link set" does without a direction. */
static void set_link(struct bench *b, struct side *s)
{
	struct impair_config c;
	struct link *link;

	check(link_make(&b->links, &s->port->port, &link));
	impair_config_init(&c);
	c.delay_ns = b->delay_ns;
	c.rate_bps = b->rate_bps;
	for (unsigned i = 0; i < 2; i++)
		link_way_set(&link->way[i], &c, true, LINK_SET);
}

/* It sends a frame, and falls asleep. */
static void say_where(struct bench *b, struct side *s, uint8_t address)
{
	double until = now() + 0.001;

	write_frame(b, guest_ptr(&s->guest, s->area, SLOT), 1, address);
	send_one(b, s);
	check(driver_kick(&s->tx));
	while (now() < until)
		check(loop_once(&b->loop, 0));
	s->next = 0;
}

static void start(struct bench *b, uint64_t features)
{
	features |= PORT_VU_OFFLOAD_FEATURES | BIT_ULL(VIRTIO_F_VERSION_1) |
		    BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	check(loop_init(&b->loop));
	check(sw_init(&b->sw, &(struct fdb_config){ .ageing_s = 300 }, 1));
	b->sw.clock_ns = clock_ns;
	links_init(&b->links, NULL, &b->sw);
	b->group.loop = &b->loop;
	b->group.sw = &b->sw;
	port_vu_group_init(&b->group);
	side_up(b, &b->from, "from", features, 1024);
	side_up(b, &b->to, "to", features, 1024);
	for (unsigned i = 0; i < N_SLOT; i++)
		write_frame(b,
			    guest_ptr(&b->from.guest, GPA(b->from.area.v + (uint64_t)i * SLOT),
				      SLOT),
			    2, 1);
	say_where(b, &b->to, 2);
	for (unsigned i = 0; i < b->n_silent; i++) {
		char name[32];

		snprintf(name, sizeof(name), "silent%u", i);
		side_up(b, &b->silent[i], name, features, 1024);
		say_where(b, &b->silent[i], (uint8_t)(3 + i));
	}
	if (b->delay_ns || b->rate_bps) {
		set_link(b, &b->from);
		set_link(b, &b->to);
	}
}

static void stop(struct bench *b)
{
	side_down(b, &b->from);
	side_down(b, &b->to);
	for (unsigned i = 0; i < b->n_silent; i++)
		side_down(b, &b->silent[i]);
	links_done(&b->links);
	loop_done(&b->loop);
	sw_done(&b->sw);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), by_size);
	return v[n / 2];
}

static double seconds = 1;
static const char *only = "";
static unsigned burst;

/* Either turn of a pair; returns its seconds. */
struct pair {
	struct bench *b;
	struct bench *plain; /* NULL: the peer is memcpy(), if there is one */
	unsigned next;       /* of memcpy(): not what we have just fetched into the cache */
	uint64_t sent;
};

static bool has_peer(const struct pair *p)
{
	return p->plain || p->b->frame > PIECE;
}

static double turn_of_peer(struct pair *p)
{
	return p->plain ? turn(p->plain, p->b->burst) : turn_of_memcpy(p->b, &p->next);
}

/* Short spells, of which the one in the middle counts: what disturbs a few of them is forgotten, and what disturbs
 * all (other work in the caches) falls on both sides alike. */
static void measure(struct pair *p, double *ret_ours, double *ret_peer, double *ret_ratio)
{
	static double ours[SPELLS], peer[SPELLS], ratio[SPELLS];
	double until = now() + seconds;
	unsigned n = 0;

	for (; n < SPELLS && now() < until; n++) {
		ours[n] = peer[n] = 0;
		for (unsigned i = 0; i < TURNS; i++) {
			ours[n] += turn(p->b, p->b->burst);
			p->sent += p->b->burst;
			if (has_peer(p))
				peer[n] += turn_of_peer(p);
		}
		ratio[n] = peer[n] / ours[n];
	}
	*ret_ours = median(ours, n);
	*ret_peer = median(peer, n);
	*ret_ratio = median(ratio, n);
}

static void print(const char *name, const struct bench *b, double ours, double peer, double ratio)
{
	double frames = TURNS * b->burst;

	printf("{\"case\":\"net-%s\",", name);
	if (b->frame > PIECE)
		printf("\"ours\":%.2f,\"peer\":%.2f,\"peer_name\":\"memcpy\",\"unit\":\"GB/s\",\"ratio\":%.2f}\n",
		       frames * b->frame / 1e9 / ours, frames * b->frame / 1e9 / peer, ratio);
	else if (peer > 0)
		printf("\"ours\":%.1f,\"peer\":%.1f,\"peer_name\":\"%s\",\"unit\":\"ns\",\"ratio\":%.2f}\n",
		       ours / frames * 1e9, peer / frames * 1e9,
		       b->n_silent ? "ours with 2 ports" : "plain", ratio);
	else
		printf("\"ours\":%.1f,\"unit\":\"ns\"}\n", ours / frames * 1e9);
	fflush(stdout);
}

static struct bench *bench_new(struct bench shape, uint64_t features)
{
	struct bench *b =
		aligned_alloc(CACHE_LINE, (sizeof(*b) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);

	if (!b)
		check(-ENOMEM);
	*b = shape;
	if (burst > 0)
		b->burst = burst;
	start(b, features);
	return b;
}

static void bench_free(struct bench *b)
{
	if (b)
		stop(b);
	free(b);
}

static void run(const char *name, uint64_t features, struct bench shape)
{
	struct pair p = { .next = N_SLOT / 2 };
	double ours, peer, ratio;
	uint64_t arrived;

	if (!strstr(name, only))
		return;
	p.b = bench_new(shape, features);
	if (shape.delay_ns || shape.rate_bps || shape.n_silent) {
		shape.delay_ns = shape.rate_bps = shape.n_silent = 0;
		p.plain = bench_new(shape, features);
	}
	measure(&p, &ours, &peer, &ratio);
	/* What is still under way counts as well. */
	for (uint64_t until = at_ns + 2 * p.b->delay_ns + 100 * US; at_ns < until;)
		turn(p.b, 0);
	arrived = p.b->to.port->port.stats.egress_frames;
	if (arrived != p.sent)
		fprintf(stderr, "%s: %llu of %llu frames arrived\n", name,
			(unsigned long long)arrived, (unsigned long long)p.sent);
	print(name, p.b, ours, peer, ratio);
	bench_free(p.b);
	bench_free(p.plain);
}

int main(int argc, char **argv)
{
	const uint64_t mrg = BIT_ULL(VIRTIO_NET_F_MRG_RXBUF),
		       packed = BIT_ULL(VIRTIO_F_RING_PACKED);

	if (argc > 1)
		seconds = atof(argv[1]);
	if (argc > 2)
		only = argv[2];
	if (argc > 3)
		burst = (unsigned)atoi(argv[3]);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t ring = i ? packed : 0;
		const char *of = i ? "packed" : "split";
		char name[64];
		snprintf(name, sizeof(name), "gso-64k-4096-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 65000, .buffer = 4096, .chunks = 1, .burst = 8 });
		snprintf(name, sizeof(name), "gso-64k-1536-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 65000, .buffer = 1536, .chunks = 1, .burst = 8 });
		snprintf(name, sizeof(name), "gso-64k-big-%s", of);
		run(name, ring,
		    (struct bench){ .frame = 65000, .buffer = 4096, .chunks = 17, .burst = 8 });
		snprintf(name, sizeof(name), "64b-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 60, .buffer = 1536, .chunks = 1, .burst = 32 });
		snprintf(name, sizeof(name), "1518b-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 1514, .buffer = 1536, .chunks = 1, .burst = 32 });
		snprintf(name, sizeof(name), "ports-64b-64-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 60,
				    .buffer = 1536,
				    .chunks = 1,
				    .burst = 32,
				    .n_silent = SILENT_MAX });
		snprintf(name, sizeof(name), "profile-64b-rate-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 60,
				    .buffer = 1536,
				    .chunks = 1,
				    .burst = 32,
				    .rate_bps = 100000000000 });
		snprintf(name, sizeof(name), "profile-64b-delay-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 60,
				    .buffer = 1536,
				    .chunks = 1,
				    .burst = 32,
				    .delay_ns = 1000000 });
		snprintf(name, sizeof(name), "profile-64b-both-%s", of);
		run(name, ring | mrg,
		    (struct bench){ .frame = 60,
				    .buffer = 1536,
				    .chunks = 1,
				    .burst = 32,
				    .delay_ns = 1000000,
				    .rate_bps = 100000000000 });
	}
	return 0;
}
