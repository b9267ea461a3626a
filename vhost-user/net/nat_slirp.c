/* SPDX-License-Identifier: MIT */
#include "nat_slirp.h"

#include <errno.h>
#include <fcntl.h>
#include <libslirp.h>
#include <stdlib.h>

#include "base.h"
#include "log.h"

/* 4.9 asks for sockets in place of descriptors, which are the same here. */
#if SLIRP_CHECK_VERSION(4, 9, 0)
#define CONFIG_VERSION 6
#define fill_pollfds   slirp_pollfds_fill_socket
#else
#define CONFIG_VERSION 4
#define fill_pollfds   slirp_pollfds_fill
#endif

#define MS 1000000ull

/* What libslirp asks for when it has nothing to do: it calls that a second. */
#define IDLE_MS 1000

/* Its clock for retransmissions ticks twice a second, for delayed acknowledgements sooner. */
#define SLOW_MS 400

/* libslirp listens with a backlog of one. */
#define BACKLOG 128

/* A descriptor of libslirp.  There is one for each number that was ever used. */
struct watch {
	struct loop_source source;
	struct nat_slirp *slirp;
	int fd;
	bool known;      /* of a connection: the owner was told */
	bool listed;     /* stands in nat_slirp.active */
	unsigned asked;  /* turn in which libslirp asked for it last */
	uint32_t events; /* what we wait for */
	uint32_t happened;
};

struct slirp_timer {
	struct loop_timer timer;
	struct nat_slirp *slirp;
	SlirpTimerId id;
	void *arg;
};

struct nat_slirp {
	Slirp *slirp;
	struct loop *loop;
	const struct nat_slirp_ops *ops;
	void *owner;
	struct loop_timer timeout;
	struct watch **watch; /* by descriptor */
	struct watch **active;
	unsigned n_watch, n_active, turn;
	bool forwarding; /* what is opened now is a forward's own socket; 4.9 tells of those, too */
	struct log_limit guest_errors, failures;
};

static uint32_t events_of(int wanted)
{
	return (wanted & SLIRP_POLL_IN ? EPOLLIN : 0u) | (wanted & SLIRP_POLL_OUT ? EPOLLOUT : 0u) |
	       (wanted & SLIRP_POLL_PRI ? EPOLLPRI : 0u);
}

static int happened_of(uint32_t events)
{
	return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void on_ready(struct loop_source *source, uint32_t events)
{
	struct watch *w = container_of(source, struct watch, source);

	w->happened |= events;
	w->slirp->ops->wake(w->slirp->owner);
}

/* The watch of a descriptor, made if need be.  NULL: no memory. */
static struct watch *watch_of(struct nat_slirp *s, int fd)
{
	unsigned n = max(2 * s->n_watch, (unsigned)fd + 64);
	struct watch **bigger;

	if ((unsigned)fd >= s->n_watch) {
		bigger = reallocarray(s->active, n, sizeof(struct watch *));
		if (!bigger)
			return NULL;
		s->active = bigger;
		bigger = reallocarray(s->watch, n, sizeof(struct watch *));
		if (!bigger)
			return NULL;
		memset(bigger + s->n_watch, 0, (n - s->n_watch) * sizeof(struct watch *));
		s->watch = bigger;
		s->n_watch = n;
	}
	if (!s->watch[fd]) {
		s->watch[fd] = calloc(1, sizeof(struct watch));
		if (s->watch[fd]) {
			s->watch[fd]->slirp = s;
			s->watch[fd]->fd = fd;
		}
	}
	return s->watch[fd];
}

static void unlist(struct nat_slirp *s, unsigned i)
{
	s->active[i]->listed = false;
	s->active[i]->happened = 0;
	loop_del(&s->active[i]->source);
	s->active[i] = s->active[--s->n_active];
}

/* Callbacks of libslirp. */

static ssize_t on_send(const void *frame, size_t len, void *opaque)
{
	struct nat_slirp *s = opaque;

	s->ops->send(s->owner, frame, len);
	return (ssize_t)len;
}

static void on_guest_error(const char *text, void *opaque)
{
	struct nat_slirp *s = opaque;

	log_limited(&s->guest_errors, LOG_LEVEL_DEBUG, "nat", "a guest: %s", text);
}

static int64_t on_clock(void *opaque)
{
	return (int64_t)loop_now_ns();
}

static void on_timer(struct loop_timer *timer)
{
	struct slirp_timer *t = container_of(timer, struct slirp_timer, timer);

	slirp_handle_timer(t->slirp->slirp, t->id, t->arg);
	t->slirp->ops->wake(t->slirp->owner);
}

static void *on_timer_new(SlirpTimerId id, void *arg, void *opaque)
{
	struct slirp_timer *t = calloc(1, sizeof(*t));

	if (!t)
		abort(); /* as libslirp itself does without memory */
	t->slirp = opaque;
	t->id = id;
	t->arg = arg;
	loop_timer_init(&t->timer, on_timer);
	return t;
}

static void on_timer_free(void *timer, void *opaque)
{
	struct nat_slirp *s = opaque;
	struct slirp_timer *t = timer;

	if (t)
		loop_timer_cancel(s->loop, &t->timer);
	free(t);
}

static void on_timer_mod(void *timer, int64_t at_ms, void *opaque)
{
	struct nat_slirp *s = opaque;
	struct slirp_timer *t = timer;

	loop_timer_set(s->loop, &t->timer, (uint64_t)max(at_ms, (int64_t)0) * MS);
}

static void on_notify(void *opaque)
{
	struct nat_slirp *s = opaque;

	s->ops->wake(s->owner);
}

static void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void on_opened(int fd, void *opaque)
{
	struct nat_slirp *s = opaque;
	struct watch *w;

	if (fd < 0)
		return;
	set_nonblocking(fd);
	w = watch_of(s, fd);
	if (w)
		w->known = !s->forwarding;
	if (!s->forwarding)
		s->ops->opened(s->owner, fd);
}

static void on_closed(int fd, void *opaque)
{
	struct nat_slirp *s = opaque;

	if (fd < 0)
		return;
	if ((unsigned)fd < s->n_watch && s->watch[fd]) {
		for (unsigned i = 0; i < s->n_active; i++)
			if (s->active[i]->fd == fd) {
				unlist(s, i);
				break;
			}
		s->watch[fd]->known = false;
	}
	s->ops->closed(s->owner, fd);
}

static const SlirpCb callbacks = {
	.send_packet = on_send,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_new_opaque = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
#if SLIRP_CHECK_VERSION(4, 9, 0)
	.register_poll_socket = on_opened,
	.unregister_poll_socket = on_closed,
#else
	.register_poll_fd = on_opened,
	.unregister_poll_fd = on_closed,
#endif
	.notify = on_notify,
};

/* What libslirp waits for. */

static void first_look(struct watch *w)
{
	int on = 0;
	socklen_t len = sizeof(on);

	if (w->known)
		return;
	set_nonblocking(w->fd);
	if (getsockopt(w->fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on)
		(void)listen(w->fd, BACKLOG);
}

static void list(struct nat_slirp *s, struct watch *w, uint32_t events)
{
	int r;

	first_look(w);
	r = loop_add(s->loop, &w->source, w->fd, events, on_ready);
	if (r < 0) {
		log_limited(&s->failures, LOG_LEVEL_ERROR, "nat", "socket %d: %s", w->fd,
			    strerror(-r));
		return;
	}
	w->events = events;
	w->happened = 0;
	w->listed = true;
	s->active[s->n_active++] = w;
}

static int on_asked(int fd, int wanted, void *opaque)
{
	struct nat_slirp *s = opaque;
	struct watch *w = watch_of(s, fd);
	uint32_t events = events_of(wanted);

	if (!w || (!w->known && !s->ops->may_accept(s->owner)))
		return -1;
	w->asked = s->turn;
	if (!w->listed)
		list(s, w, events);
	else if (w->events != events && loop_mod(&w->source, events) == 0)
		w->events = events;
	return fd;
}

/* libslirp counts in milliseconds and says "a second" when it wants nothing. */
static void set_timeout(struct nat_slirp *s, uint32_t ms)
{
	bool quiet = ms >= IDLE_MS || (ms >= SLOW_MS && s->ops->is_idle(s->owner));

	if (quiet)
		loop_timer_cancel(s->loop, &s->timeout);
	else
		loop_timer_set(s->loop, &s->timeout, loop_now_ns() + ms * MS);
}

void nat_slirp_wait(struct nat_slirp *s)
{
	uint32_t ms = UINT32_MAX;

	s->turn++;
	fill_pollfds(s->slirp, &ms, on_asked, s);
	for (unsigned i = 0; i < s->n_active;)
		if (s->active[i]->asked != s->turn)
			unlist(s, i); /* left in, it would wake us for errors again and again */
		else
			i++;
	set_timeout(s, ms);
}

static int what_happened(int fd, void *opaque)
{
	struct nat_slirp *s = opaque;
	struct watch *w = fd >= 0 && (unsigned)fd < s->n_watch ? s->watch[fd] : NULL;

	return w && w->listed ? happened_of(w->happened) : 0;
}

void nat_slirp_run(struct nat_slirp *s)
{
	slirp_pollfds_poll(s->slirp, 0, what_happened, s);
	for (unsigned i = 0; i < s->n_active; i++)
		s->active[i]->happened = 0;
}

void nat_slirp_flush(struct nat_slirp *s)
{
	slirp_pollfds_poll(s->slirp, 1, what_happened, s);
}

void nat_slirp_input(struct nat_slirp *s, const uint8_t *frame, size_t len)
{
	slirp_input(s->slirp, frame, (int)len);
}

/* Forwards. */

int nat_slirp_forward(struct nat_slirp *s, bool udp, const struct sockaddr *host,
		      const struct sockaddr *guest, socklen_t len)
{
	int flags = (udp ? SLIRP_HOSTFWD_UDP : 0) |
		    (host->sa_family == AF_INET6 ? SLIRP_HOSTFWD_V6ONLY : 0);

	int r;

	errno = EIO;
	s->forwarding = true;
	r = slirp_add_hostxfwd(s->slirp, host, len, guest, len, flags) < 0 ? -errno : 0;
	s->forwarding = false;
	if (r == 0)
		s->ops->wake(s->owner);
	return r;
}

int nat_slirp_unforward(struct nat_slirp *s, bool udp, const struct sockaddr *host, socklen_t len)
{
	int flags = (udp ? SLIRP_HOSTFWD_UDP : 0) |
		    (host->sa_family == AF_INET6 ? SLIRP_HOSTFWD_V6ONLY : 0);

	if (slirp_remove_hostxfwd(s->slirp, host, len, flags) < 0)
		return -ENOENT;
	s->ops->wake(s->owner);
	return 0;
}

/* Begin and end. */

static void on_timeout(struct loop_timer *timer)
{
	struct nat_slirp *s = container_of(timer, struct nat_slirp, timeout);

	s->ops->wake(s->owner);
}

static struct in_addr network_order(uint32_t ip)
{
	return (struct in_addr){ htonl(ip) };
}

static SlirpConfig config_of(const struct nat_net *net)
{
	return (SlirpConfig){
		.version = CONFIG_VERSION,
		.in_enabled = true,
		.vnetwork = network_order(net->subnet),
		.vnetmask = network_order(net->mask),
		.vhost = network_order(net->gateway),
		.vnameserver = network_order(net->dns),
		.in6_enabled = net->ip6,
		.vprefix_addr6 = net->subnet6,
		.vprefix_len = 64,
		.vhost6 = net->gateway6,
		.vnameserver6 = net->dns6,
		.if_mtu = net->mtu,
		.if_mru = net->mtu,
		.disable_dhcp = true,
	};
}

int nat_slirp_new(struct loop *loop, const struct nat_net *net, const struct nat_slirp_ops *ops,
		  void *owner, struct nat_slirp **ret)
{
	struct nat_slirp *s = calloc(1, sizeof(*s));
	SlirpConfig config = config_of(net);

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->ops = ops;
	s->owner = owner;
	loop_timer_init(&s->timeout, on_timeout);
	s->slirp = slirp_new(&config, &callbacks, s);
	if (!s->slirp) {
		free(s);
		return -EIO;
	}
	*ret = s;
	return 0;
}

void nat_slirp_free(struct nat_slirp *s)
{
	if (!s)
		return;
	loop_timer_cancel(s->loop, &s->timeout);
	slirp_cleanup(s->slirp);
	while (s->n_active > 0)
		unlist(s, s->n_active - 1);
	for (unsigned i = 0; i < s->n_watch; i++)
		free(s->watch[i]);
	free(s->watch);
	free(s->active);
	free(s);
}
