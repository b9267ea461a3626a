/* SPDX-License-Identifier: MIT */
#include "capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "capture_impl.h"
#include "net.h"
#include "stage.h"

/* What a filter is shown of a frame, at least: headers, tunnels' too. */
#define FILTER_REACH 512

/* How long the daemon's end waits for writers. */
#define END_GRACE_NS 2000000000ull

/* On one port: all captures of it. */
struct capture_watch {
	struct sw_tap tap;
	struct sw_port *port;
	struct capture_port *first;
};

/* ---- frames ------------------------------------------------------------------------------------- */

static uint64_t real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	/* There is one who counts, and others who read. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* How much of a frame is recorded.  Of one that is to be finished: all, or there is nothing to compute from. */
static uint32_t wanted(const struct capture *c, const struct sw_frame *f)
{
	return c->snaplen == 0 || nethdr_needs(&f->hdr) ? f->len : min(f->len, c->snaplen);
}

/* There was no room for it: would it have been recorded? */
static bool would_match(const struct capture *c, const struct sw_frame *f)
{
	uint8_t bytes[FILTER_REACH];
	uint32_t len = min(f->len, (uint32_t)FILTER_REACH);

	if (!c->filter)
		return true;
	sw_frame_copy(f, 0, len, bytes);
	return bpf_matches(c->filter, bytes, len, f->len);
}

static bool record_frame(struct capture *c, struct capture_counts *counts, uint32_t interface,
			 enum sw_direction direction, const struct sw_frame *f, uint64_t time_ns)
{
	uint32_t want = wanted(c, f), len = want;
	struct capture_record *r;

	if (c->filter)
		len = min(f->len, max(want, (uint32_t)FILTER_REACH));
	r = capture_ring_reserve(&c->ring, len);
	if (!r) {
		count(&counts->dropped, would_match(c, f));
		return false;
	}
	sw_frame_copy(f, 0, len, r->bytes);
	if (c->filter && !bpf_matches(c->filter, r->bytes, len, f->len))
		return false;
	r->len = f->len;
	r->interface = (uint16_t)interface;
	r->direction = direction == SW_INGRESS ? PCAPNG_INBOUND : PCAPNG_OUTBOUND;
	r->time_ns = time_ns;
	r->hdr = f->hdr;
	capture_ring_commit(&c->ring, r, want);
	count(&counts->frames, 1);
	count(&counts->bytes, f->len);
	return true;
}

static void see(struct sw_tap *tap, struct sw_port *p, enum sw_direction direction,
		struct sw_frame *const *frame, unsigned n)
{
	struct capture_watch *w = container_of(tap, struct capture_watch, tap);
	uint64_t time_ns = real_ns();

	for (struct capture_port *cp = w->first; cp; cp = cp->next) {
		struct capture *c = cp->capture;
		bool any = false;

		if (!(c->direction & 1u << direction))
			continue;
		for (unsigned i = 0; i < n; i++)
			any |= record_frame(c, &c->interface[cp->interface].counts, cp->interface,
					    direction, frame[i], time_ns);
		if (any)
			capture_ring_wake(&c->ring);
	}
}

/* ---- ports -------------------------------------------------------------------------------------- */

static void detached(struct sw_tap *tap, struct sw_port *p)
{
	struct capture_watch *w = container_of(tap, struct capture_watch, tap);
	struct capture_port *cp = w->first;

	while (cp) {
		struct capture_port *next = cp->next;

		cp->watch = NULL;
		if (--cp->capture->n_watched == 0)
			capture_stop(cp->capture);
		cp = next;
	}
	free(w);
}

static const struct sw_tap_ops watch_ops = { .see = see, .detached = detached };

static struct capture_watch *watch_of(struct sw_port *p)
{
	struct capture_watch *w;

	if (p->tap)
		return container_of(p->tap, struct capture_watch, tap);
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->tap.ops = &watch_ops;
	w->port = p;
	p->tap = &w->tap;
	return w;
}

static int watch(struct capture *c, unsigned i, struct sw_port *p)
{
	struct capture_port *cp = &c->port[i];
	struct capture_watch *w = watch_of(p);

	if (!w)
		return -ENOMEM;
	*cp = (struct capture_port){ .capture = c, .watch = w, .interface = i, .next = w->first };
	w->first = cp;
	c->n_watched++;
	return 0;
}

static void unwatch(struct capture_port *cp)
{
	struct capture_watch *w = cp->watch;
	struct capture_port **link;

	if (!w)
		return;
	for (link = &w->first; *link != cp; link = &(*link)->next)
		;
	*link = cp->next;
	cp->watch = NULL;
	cp->capture->n_watched--;
	if (!w->first) {
		w->port->tap = NULL;
		free(w);
	}
}

/* ---- life --------------------------------------------------------------------------------------- */

struct capture *capture_new(struct net *net, unsigned n_ports)
{
	struct capture *c = aligned_alloc(CACHE_LINE, sizeof(*c)); /* the ring's ends are apart */

	if (!c)
		return NULL;
	*c = (struct capture){ .net = net, .n_ports = n_ports, .done_fd = -1 };
	c->ring.wake_fd = -1;
	c->port = calloc(n_ports, sizeof(*c->port));
	c->interface = calloc(n_ports, sizeof(*c->interface));
	if (!c->port || !c->interface) {
		capture_free(c);
		return NULL;
	}
	return c;
}

void capture_free(struct capture *c)
{
	if (!c)
		return;
	for (unsigned i = 0; c->interface && i < c->n_ports; i++) {
		free(c->interface[i].name);
		free(c->interface[i].description);
	}
	control_untie(&c->tie);
	if (c->done_fd >= 0)
		close(c->done_fd);
	capture_ring_done(&c->ring);
	bpf_free(c->filter);
	free(c->filter_text);
	free(c->comment);
	free(c->path);
	free(c->interface);
	free(c->port);
	free(c);
}

static void tell(const struct capture *c, const char *state, const char *error)
{
	struct control *control = c->net->backend->control;
	struct json_object *o;

	if (!control_has_subscribers(control))
		return;
	o = json_object_new_object();
	json_object_object_add(o, "id", json_object_new_string(c->id));
	json_object_object_add(o, "state", json_object_new_string(state));
	if (error)
		json_object_object_add(o, "error", json_object_new_string(error));
	control_notify(control, "capture", o);
}

static void forget(struct capture *c)
{
	struct capture **link = &c->net->captures;

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	loop_del(&c->done);
}

static void tell_end(const struct capture *c)
{
	char error[512];

	if (c->writer.end == CAPTURE_FAILED) {
		snprintf(error, sizeof(error), "%s: %s", c->path, strerror(c->writer.error));
		log_warning(c->id, "capture failed: %s", error);
		tell(c, "failed", error);
	} else {
		tell(c, c->asked && c->writer.end == CAPTURE_STOPPED ? "stopped" : "ended", NULL);
	}
}

static void free_now(struct loop_work *work)
{
	capture_free(container_of(work, struct capture, freeing));
}

/* The writer has ended, whyever. */
static void on_done(struct loop_source *src, uint32_t events)
{
	struct capture *c = container_of(src, struct capture, done);

	capture_stop(c);
	capture_writer_join(&c->writer);
	forget(c);
	tell_end(c);
	loop_defer(&c->net->backend->loop, &c->freeing, free_now);
}

static void set_writer(struct capture *c, int fd)
{
	struct capture_writer *w = &c->writer;

	w->ring = &c->ring;
	w->comment = c->comment;
	w->filter = c->filter_text;
	w->snaplen = c->snaplen;
	w->interface = c->interface;
	w->n_interfaces = c->n_ports;
	w->fd = fd;
	w->path = c->path;
	w->is_socket = c->is_socket;
	w->rotate_bytes = c->rotate_bytes;
	w->files = c->files;
	w->done_fd = c->done_fd;
}

int capture_begin(struct capture *c, struct sw_port *const *port, int fd)
{
	int r = capture_ring_init(&c->ring, c->buffer_bytes);

	if (r < 0)
		return r;
	c->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->done_fd < 0)
		return -errno;
	r = loop_add(&c->net->backend->loop, &c->done, c->done_fd, EPOLLIN, on_done);
	for (unsigned i = 0; i < c->n_ports && r == 0; i++)
		r = watch(c, i, port[i]);
	set_writer(c, fd);
	if (r == 0)
		r = capture_writer_start(&c->writer);
	if (r < 0) {
		for (unsigned i = 0; i < c->n_ports; i++)
			unwatch(&c->port[i]);
		loop_del(&c->done);
		return r;
	}
	c->next = c->net->captures;
	c->net->captures = c;
	tell(c, "running", NULL);
	return 0;
}

void capture_stop(struct capture *c)
{
	if (c->stopping)
		return;
	c->stopping = true;
	for (unsigned i = 0; i < c->n_ports; i++)
		unwatch(&c->port[i]);
	capture_writer_stop(&c->writer);
}

struct capture *capture_find(const struct net *net, const char *id)
{
	struct capture *c = net->captures;

	while (c && strcmp(c->id, id) != 0)
		c = c->next;
	return c;
}

void capture_stop_all(struct net *net)
{
	uint64_t until_ns = loop_now_ns() + END_GRACE_NS;

	for (struct capture *c = net->captures; c; c = c->next)
		capture_stop(c);
	while (net->captures) {
		struct capture *c = net->captures;

		forget(c);
		/* One that is stuck in a system call keeps its memory: the process ends. */
		if (capture_writer_join_until(&c->writer, until_ns)) {
			tell_end(c);
			capture_free(c);
		}
	}
}
