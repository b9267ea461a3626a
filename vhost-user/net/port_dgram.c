/* SPDX-License-Identifier: MIT */
#include "port_dgram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "dgrams.h"
#include "inetaddr.h"
#include "net.h"
#include "portspec.h"
#include "uplink.h"

#define SOCKET_MODE 0600

/* Of a UDP datagram over IPv4; IPv6 has 20 bytes more, and nobody's frames are that long. */
#define UDP_PAYLOAD_MAX 65507

union end {
	struct sockaddr sa;
	struct sockaddr_un un;
	union inetaddr inet;
};

struct port_dgram {
	struct uplink up;
	union end local, remote;
	int fd;
	struct loop_source src;
	uint64_t strangers;     /* datagrams from elsewhere */
	uint32_t len[SW_BURST]; /* of the frames in `out` */
	struct sw_frame frame[SW_BURST];
	struct iovec iov[SW_BURST];
	struct dgrams_in in;
	struct dgrams_out out;
};

static struct port_dgram *dgram_of(struct uplink *u)
{
	return container_of(u, struct port_dgram, up);
}

static bool is_unix(const struct port_dgram *d)
{
	return d->local.sa.sa_family == AF_UNIX;
}

static socklen_t end_len(const union end *e)
{
	return e->sa.sa_family == AF_UNIX ? sizeof(e->un) : inetaddr_len(&e->inet);
}

/* ---- frames ------------------------------------------------------------------------------------- */

static void on_readable(struct loop_source *src, uint32_t events)
{
	struct port_dgram *d = container_of(src, struct port_dgram, src);
	int got = dgrams_recv(&d->in, d->fd);
	unsigned n = 0;

	for (int i = 0; i < got; i++) {
		uint32_t len = d->in.msg[i].msg_len;

		if (!is_unix(d) && !inetaddr_equal(&d->in.from[i], &d->remote.inet)) {
			d->strangers++;
			continue;
		}
		d->iov[n] = (struct iovec){ d->in.room[i], len };
		d->frame[n] = (struct sw_frame){ .iov = &d->iov[n], .n_iov = 1, .len = len };
		n++;
	}
	if (n > 0)
		sw_input(&d->up.port, d->frame, n);
	if (got < 0)
		uplink_lost(&d->up, -got, "local");
}

static void send_all(struct port_dgram *d)
{
	unsigned n = dgrams_send(&d->out, d->fd);

	for (unsigned i = 0; i < n; i++)
		dgrams_count(&d->up.port.stats, d->out.error[i], d->len[i]);
}

static void on_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct port_dgram *d = dgram_of(uplink_of(p));

	for (unsigned i = 0; i < n; i++) {
		const struct sw_frame *f = frame[i];

		if (!is_unix(d) && f->len > UDP_PAYLOAD_MAX) {
			p->stats.egress_drop_size++;
			continue;
		}
		if (!dgrams_add(&d->out, f, NULL, 0, &d->remote, end_len(&d->remote))) {
			send_all(d);
			(void)dgrams_add(&d->out, f, NULL, 0, &d->remote, end_len(&d->remote));
		}
		d->len[d->out.n - 1] = f->len;
	}
	send_all(d);
}

/* ---- the socket --------------------------------------------------------------------------------- */

/* Does nobody receive at the path any more?  Only a socket is taken for a leftover. */
static bool is_stale(const struct sockaddr_un *un)
{
	struct stat st;
	auto_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && lstat(un->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 && errno == ECONNREFUSED;
}

static int bind_local(struct port_dgram *d, int fd)
{
	socklen_t len = end_len(&d->local);

	if (!is_unix(d))
		return bind(fd, &d->local.sa, len) == 0 ? 0 : -errno;
	/* The mode of the file is the socket's, and there from the first moment. */
	if (fchmod(fd, SOCKET_MODE) < 0)
		return -errno;
	if (bind(fd, &d->local.sa, len) == 0)
		return 0;
	if (errno == EADDRINUSE && is_stale(&d->local.un)) {
		unlink(d->local.un.sun_path);
		if (bind(fd, &d->local.sa, len) == 0)
			return 0;
	}
	return -errno;
}

static int dgram_connect(struct uplink *u)
{
	struct port_dgram *d = dgram_of(u);
	auto_fd int fd =
		socket(d->local.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : bind_local(d, fd);

	if (r < 0) {
		uplink_why(u, "local: %s", strerror(-r));
		return r;
	}
	d->fd = fd_take(&fd);
	return loop_add(&u->net->backend->loop, &d->src, d->fd, EPOLLIN, on_readable);
}

static void dgram_disconnect(struct uplink *u)
{
	struct port_dgram *d = dgram_of(u);

	loop_del(&d->src);
	if (d->fd >= 0 && is_unix(d))
		unlink(d->local.un.sun_path);
	fd_drop(&d->fd);
}

static void dgram_free(struct uplink *u)
{
	free(dgram_of(u));
}

static const struct uplink_ops dgram_ops = {
	.port = { .type = "dgram", .egress = on_egress },
	.connect = dgram_connect,
	.disconnect = dgram_disconnect,
	.free = dgram_free,
};

/* ---- the type ----------------------------------------------------------------------------------- */

/* A text with a slash is a path, any other an address. */
static int read_end(const struct port_spec *spec, const char *name, union end *e, char **why)
{
	const char *text = NULL;
	int r = spec_string(spec, name, &text, why);

	if (r < 0)
		return r;
	if (!strchr(text, '/')) {
		if (inetaddr_parse(text, 0, &e->inet) == 0)
			return 0;
		return spec_wrong(why, "%s: \"%s\" is neither a path nor like 127.0.0.1:1234", name,
				  text);
	}
	if (strlen(text) >= sizeof(e->un.sun_path))
		return spec_wrong(why, "%s: longer than 107 bytes", name);
	e->un.sun_family = AF_UNIX;
	memcpy(e->un.sun_path, text, strlen(text) + 1);
	return 0;
}

static int read_ends(const struct port_spec *spec, struct port_dgram *d, char **why)
{
	int r = read_end(spec, "local", &d->local, why);

	if (r == 0)
		r = read_end(spec, "remote", &d->remote, why);
	if (r == 0 && d->local.sa.sa_family != d->remote.sa.sa_family)
		r = spec_wrong(why, "remote: of another kind than local");
	return r;
}

static int dgram_open(struct net *net, const struct port_spec *spec, struct sw_port **ret,
		      char **why)
{
	struct port_dgram *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->fd = -1;
	d->up.firm = true;
	r = read_ends(spec, d, why);
	if (r < 0) {
		free(d);
		return r;
	}
	r = uplink_open(&d->up, &dgram_ops, net, spec->name, why);
	if (r == 0)
		*ret = &d->up.port;
	return r;
}

static void dgram_close(struct sw_port *p)
{
	uplink_close(uplink_of(p));
}

static void add_end(struct json_object *o, const char *name, const union end *e)
{
	char text[INETADDR_TEXT_MAX];

	json_object_object_add(o, name,
			       json_object_new_string(e->sa.sa_family == AF_UNIX ?
							      e->un.sun_path :
							      inetaddr_text(&e->inet, text)));
}

static void dgram_describe(const struct sw_port *p, struct json_object *o)
{
	const struct port_dgram *d = uplink_owner(p, struct port_dgram);

	add_end(o, "local", &d->local);
	add_end(o, "remote", &d->remote);
	json_object_object_add(o, "strangers", json_object_new_uint64(d->strangers));
	uplink_describe(&d->up, o);
}

const struct port_type port_dgram_type = {
	.name = "dgram",
	.members = "local,remote",
	.open = dgram_open,
	.close = dgram_close,
	.describe = dgram_describe,
};
