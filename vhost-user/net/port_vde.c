/* SPDX-License-Identifier: MIT */
#include "port_vde.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libvdeplug.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base.h"
#include "net.h"
#include "portspec.h"
#include "uplink.h"

/* What libvdeplug knows and we let pass: those that open sockets and nothing else. */
static const char *const schemes[] = { "vde://", "ptp://", "udp://", "vxvde://" };

/* Bytes of a URL: "vde://", a path as long as a socket's may be, "[65535]". */
#define URL_MAX 160

static_assert(VDE_FRAME_MAX == VDE_ETHBUFSIZE, "see the header");

struct port_vde {
	struct uplink up;
	char url[URL_MAX];
	unsigned switch_port;
	VDECONN *conn;
	struct loop_source data;
	struct loop_source ctl; /* silent until the switch is gone */
	struct sw_frame frame[SW_BURST];
	struct iovec iov[SW_BURST];
	uint8_t room[SW_BURST][VDE_FRAME_MAX];
	uint8_t flat[VDE_FRAME_MAX];
};

static struct port_vde *vde_of(struct uplink *u)
{
	return container_of(u, struct port_vde, up);
}

static void on_gone(struct port_vde *v, int error)
{
	uplink_lost(&v->up, error, "switch: %s is gone", v->url);
}

static void on_data(struct loop_source *src, uint32_t events)
{
	struct port_vde *v = container_of(src, struct port_vde, data);
	ssize_t len = 0;
	unsigned n = 0;

	while (n < SW_BURST) {
		len = vde_recv(v->conn, v->room[n], VDE_FRAME_MAX, MSG_DONTWAIT);
		if (len <= 0)
			break;
		if (len == 1) /* libvdeplug: something came that is no frame */
			continue;
		v->iov[n] = (struct iovec){ v->room[n], (size_t)len };
		v->frame[n] =
			(struct sw_frame){ .iov = &v->iov[n], .n_iov = 1, .len = (uint32_t)len };
		n++;
	}
	if (len < 0)
		len = -errno;
	if (n > 0)
		sw_input(&v->up.port, v->frame, n);
	if (v->conn && len < 0 && len != -EAGAIN && len != -EINTR)
		on_gone(v, (int)-len);
}

/* The control connection says nothing unless it ends. */
static void on_ctl(struct loop_source *src, uint32_t events)
{
	struct port_vde *v = container_of(src, struct port_vde, ctl);
	char byte;
	ssize_t n = recv(src->fd, &byte, 1, MSG_DONTWAIT);

	if (n == 0)
		on_gone(v, 0);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		on_gone(v, errno);
}

/* False: the switch is gone. */
static bool send_frame(struct port_vde *v, const struct sw_frame *f)
{
	struct port_stats *s = &v->up.port.stats;

	if (f->len > VDE_FRAME_MAX) {
		s->egress_drop_size++;
		return true;
	}
	sw_frame_copy(f, 0, f->len, v->flat);
	if (vde_send(v->conn, v->flat, f->len, MSG_DONTWAIT) >= 0) {
		s->egress_frames++;
		s->egress_bytes += f->len;
		return true;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) {
		s->egress_drop_full++;
		return true;
	}
	s->egress_drop_down++;
	on_gone(v, errno);
	return false;
}

static void on_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct port_vde *v = vde_of(uplink_of(p));
	unsigned i = 0;

	while (i < n && send_frame(v, frame[i]))
		i++;
	if (i < n)
		p->stats.egress_drop_down += n - i - 1;
}

static int watch(struct port_vde *v, struct loop_source *src, int fd, loop_fn *fn)
{
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return fd < 0 ? -EBADF : -errno;
	return loop_add(&v->up.net->backend->loop, src, fd, EPOLLIN, fn);
}

static int vde_connect(struct uplink *u)
{
	struct port_vde *v = vde_of(u);
	struct vde_open_args args = { .port = (int)v->switch_port, .mode = 0700 };
	char descr[] = "vhost-user-net";
	int r;

	errno = 0;
	v->conn = vde_open(v->url, descr, &args);
	if (!v->conn) {
		r = errno ? -errno : -EIO;
		/* Not there yet, or not there any more: the directory or the socket in it. */
		uplink_why(u, "switch: %s: %s", v->url, strerror(-r));
		return r == -EINVAL || r == -ENOTSOCK ? -ENOENT : r;
	}
	r = watch(v, &v->data, vde_datafd(v->conn), on_data);
	/* Networks without a control connection end by an error on the data alone. */
	if (r == 0 && vde_ctlfd(v->conn) >= 0 && vde_ctlfd(v->conn) != vde_datafd(v->conn))
		r = watch(v, &v->ctl, vde_ctlfd(v->conn), on_ctl);
	return r;
}

static void vde_disconnect(struct uplink *u)
{
	struct port_vde *v = vde_of(u);

	loop_del(&v->data);
	loop_del(&v->ctl);
	if (v->conn)
		vde_close(v->conn);
	v->conn = NULL;
}

static void vde_free(struct uplink *u)
{
	free(vde_of(u));
}

static const struct uplink_ops vde_ops = {
	.port = { .type = "vde", .egress = on_egress },
	.connect = vde_connect,
	.disconnect = vde_disconnect,
	.free = vde_free,
};

/* ---- the type ----------------------------------------------------------------------------------- */

static int make_url(char url[URL_MAX], const char *text, char **why)
{
	const char *prefix = strstr(text, "://") ? "" : schemes[0];
	int n = snprintf(url, URL_MAX, "%s%s", prefix, text);

	if (n < 0 || n >= URL_MAX)
		return spec_wrong(why, "switch: too long");
	for (unsigned i = 0; i < array_size(schemes); i++)
		if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
			return 0;
	return spec_wrong(why, "switch: %s is not one of vde://, ptp://, udp://, vxvde://", text);
}

static int vde_open_port(struct net *net, const struct port_spec *spec, struct sw_port **ret,
			 char **why)
{
	const char *text = NULL;
	uint64_t switch_port = 0;
	char url[URL_MAX];
	struct port_vde *v;
	int r = spec_string(spec, "switch", &text, why);

	if (r == 0)
		r = spec_uint(spec, "switch-port", 1, UINT16_MAX, &switch_port, why);
	if (r == 0)
		r = make_url(url, text, why);
	if (r < 0)
		return r;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	memcpy(v->url, url, sizeof(url));
	v->switch_port = (unsigned)switch_port;
	r = uplink_open(&v->up, &vde_ops, net, spec->name, why);
	if (r == 0)
		*ret = &v->up.port;
	return r;
}

static void vde_close_port(struct sw_port *p)
{
	uplink_close(uplink_of(p));
}

static void vde_describe(const struct sw_port *p, struct json_object *o)
{
	const struct port_vde *v = uplink_owner(p, struct port_vde);

	json_object_object_add(o, "switch", json_object_new_string(v->url));
	uplink_describe(&v->up, o);
}

const struct port_type port_vde_type = {
	.name = "vde",
	.members = "switch,switch-port?",
	.open = vde_open_port,
	.close = vde_close_port,
	.describe = vde_describe,
};
