/* SPDX-License-Identifier: MIT */
#include "port_tap.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/if_tun.h>

#include "base.h"
#include "cleanup.h"
#include "net.h"
#include "pieces.h"
#include "portspec.h"
#include "uplink.h"

/* Younger than the oldest linux/if_tun.h we build with. */
#define TUN_USO4 0x20
#define TUN_USO6 0x40

/* Where frames are read to, one behind the other.  A burst ends when this much is in it, so that segments of 64 KiB
 * do not make it long for the other ports. */
#define ROOM      (256u << 10)
#define ROOM_LAST (NETHDR_LEN + SW_FRAME_MAX + 1) /* one byte more tells a frame that is too long */

struct port_tap {
	struct uplink up;
	char ifname[IFNAMSIZ];
	bool create;
	bool want_offloads;
	bool link_down; /* as the switch said */
	int fd;
	struct loop_source src;
	struct sw_frame frame[SW_BURST];
	struct iovec iov[SW_BURST];
	uint8_t room[ROOM + ROOM_LAST];
	uint8_t flat[SW_FRAME_MAX];
};

static struct port_tap *tap_of(struct uplink *u)
{
	return container_of(u, struct port_tap, up);
}

/* ---- frames ------------------------------------------------------------------------------------- */

static bool lost(struct port_tap *t, int error)
{
	/* EBADFD: the device was deleted. */
	if (error != EBADFD && error != ENODEV && error != ENXIO)
		return false;
	uplink_lost(&t->up, 0, "ifname: %s is gone", t->ifname);
	return true;
}

/* One frame to `at`.  Its bytes with the header in front, or -errno. */
static ssize_t read_frame(struct port_tap *t, uint8_t *at)
{
	ssize_t n = read(t->fd, at, ROOM_LAST);

	return n < 0 ? -errno : n;
}

static bool take_frame(struct port_tap *t, uint8_t *at, uint32_t n, unsigned i)
{
	struct sw_frame *f = &t->frame[i];
	struct nethdr hdr;

	if (n < NETHDR_LEN || !nethdr_read(at, n - NETHDR_LEN, t->up.port.offloads, &hdr)) {
		t->up.port.stats.ingress_drop_header++;
		return false;
	}
	t->iov[i] = (struct iovec){ at + NETHDR_LEN, n - NETHDR_LEN };
	*f = (struct sw_frame){ .iov = &t->iov[i], .n_iov = 1, .len = n - NETHDR_LEN, .hdr = hdr };
	return true;
}

static void on_readable(struct loop_source *src, uint32_t events)
{
	struct port_tap *t = container_of(src, struct port_tap, src);
	uint8_t *at = t->room;
	unsigned n = 0;
	ssize_t len = 0;

	while (n < SW_BURST && at < t->room + ROOM) {
		len = read_frame(t, at);
		if (len < 0)
			break;
		n += take_frame(t, at, (uint32_t)len, n);
		at += ((size_t)len + 15) & ~(size_t)15;
	}
	if (n > 0)
		sw_input(&t->up.port, t->frame, n);
	if (len < 0 && len != -EAGAIN && len != -EINTR && t->fd >= 0)
		lost(t, (int)-len);
}

/* False: the device is gone. */
static bool write_frame(struct port_tap *t, const struct sw_frame *f)
{
	struct port_stats *s = &t->up.port.stats;
	struct iovec iov[1 + PIECES_MAX];
	uint8_t hdr[NETHDR_LEN];
	unsigned n = pieces_flat(f, iov + 1, t->flat);

	nethdr_write(hdr, &f->hdr, 0, VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID);
	iov[0] = (struct iovec){ hdr, sizeof(hdr) };
	if (writev(t->fd, iov, (int)n + 1) >= 0) {
		s->egress_frames++;
		s->egress_bytes += f->len;
		return true;
	}
	switch (errno) {
	case EIO: /* the device is set down */
		s->egress_drop_down++;
		return true;
	case EINVAL: /* shorter than the host's stack takes, or an offload it does not believe */
		s->egress_drop_size++;
		return true;
	default:
		s->egress_drop_full++;
		return !lost(t, errno);
	}
}

static void on_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct port_tap *t = tap_of(uplink_of(p));
	unsigned i = 0;

	while (i < n && write_frame(t, frame[i]))
		i++;
	if (i < n)
		p->stats.egress_drop_down += n - i - 1;
}

/* ---- the device --------------------------------------------------------------------------------- */

static int set_flags(struct port_tap *t, int fd)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	memcpy(ifr.ifr_name, t->ifname, IFNAMSIZ);
	if (ioctl(fd, TUNSETIFF, &ifr) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* A device that was made with multi_queue wants to be attached to as such. */
	ifr.ifr_flags |= IFF_MULTI_QUEUE;
	return ioctl(fd, TUNSETIFF, &ifr) == 0 ? 0 : -errno;
}

static int attach(struct port_tap *t, int fd)
{
	int r;

	if (!t->create && if_nametoindex(t->ifname) == 0) {
		uplink_why(&t->up, "ifname: there is no device %s", t->ifname);
		return -ENODEV;
	}
	r = set_flags(t, fd);
	if (r == -EPERM)
		uplink_why(&t->up,
			   "ifname: %s is not ours, or cannot be made without CAP_NET_ADMIN",
			   t->ifname);
	else if (r == -EBUSY)
		uplink_why(&t->up, "ifname: %s is used by somebody else", t->ifname);
	else if (r == -EINVAL)
		uplink_why(&t->up, "ifname: %s is no tap device", t->ifname);
	else if (r < 0)
		uplink_why(&t->up, "ifname: %s: %s", t->ifname, strerror(-r));
	return r;
}

/* Headers as virtio 1.x has them, and which offloads may come in: all that the kernel knows. */
static int set_offloads(struct port_tap *t, int fd)
{
	static const struct {
		unsigned tun;
		uint32_t offloads;
	} sets[] = {
		{ TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_USO4 | TUN_USO6,
		  OFFLOAD_ALL },
		{ TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
		  OFFLOAD_CSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_ECN },
		{ 0, 0 },
	};
	int len = NETHDR_LEN, little = 1;
	unsigned i = t->want_offloads ? 0 : array_size(sets) - 1;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0 || ioctl(fd, TUNSETVNETLE, &little) < 0)
		return -errno;
	while (ioctl(fd, TUNSETOFFLOAD, (unsigned long)sets[i].tun) < 0)
		if (errno != EINVAL || ++i == array_size(sets))
			return -errno;
	t->up.port.offloads = sets[i].offloads;
	return 0;
}

/* A device that we made is nobody else's to set up. */
static int set_up(const struct port_tap *t)
{
	struct ifreq ifr = { 0 };
	auto_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(ifr.ifr_name, t->ifname, IFNAMSIZ);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags = (short)(ifr.ifr_flags | IFF_UP);
	return ioctl(fd, SIOCSIFFLAGS, &ifr) == 0 ? 0 : -errno;
}

static void set_carrier(const struct port_tap *t)
{
	int carrier = !t->link_down;

	(void)ioctl(t->fd, TUNSETCARRIER, &carrier); /* since Linux 5.0 */
}

static void tap_carrier(struct sw_port *p, bool up)
{
	struct port_tap *t = tap_of(uplink_of(p));

	t->link_down = !up;
	if (t->fd >= 0)
		set_carrier(t);
}

static int tap_connect(struct uplink *u)
{
	struct port_tap *t = tap_of(u);
	auto_fd int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int r;

	if (fd < 0) {
		r = -errno;
		uplink_why(u, "/dev/net/tun: %s", strerror(-r));
		return r;
	}
	r = attach(t, fd);
	if (r == 0)
		r = set_offloads(t, fd);
	if (r == 0 && t->create)
		r = set_up(t);
	if (r == 0)
		r = loop_add(&u->net->backend->loop, &t->src, fd, EPOLLIN, on_readable);
	if (r < 0)
		return r;
	t->fd = fd_take(&fd);
	if (t->link_down)
		set_carrier(t);
	return 0;
}

static void tap_disconnect(struct uplink *u)
{
	struct port_tap *t = tap_of(u);

	loop_del(&t->src);
	fd_drop(&t->fd);
}

static void tap_free(struct uplink *u)
{
	free(tap_of(u));
}

static const struct uplink_ops tap_ops = {
	.port = { .type = "tap", .egress = on_egress, .carrier = tap_carrier },
	.connect = tap_connect,
	.disconnect = tap_disconnect,
	.free = tap_free,
};

/* ---- the type ----------------------------------------------------------------------------------- */

static int tap_open(struct net *net, const struct port_spec *spec, struct sw_port **ret, char **why)
{
	const char *ifname = NULL;
	bool create = false;
	struct port_tap *t;
	int r = spec_string(spec, "ifname", &ifname, why);

	if (r == 0)
		r = spec_bool(spec, "create", &create, why);
	if (r < 0)
		return r;
	if (strlen(ifname) >= IFNAMSIZ || strpbrk(ifname, "/% ") || ifname[0] == '.')
		return spec_wrong(why, "ifname: \"%s\" is no name of a device", ifname);
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	memcpy(t->ifname, ifname, strlen(ifname));
	t->create = create;
	t->want_offloads = spec->offloads;
	t->fd = -1;
	r = uplink_open(&t->up, &tap_ops, net, spec->name, why);
	if (r == 0)
		*ret = &t->up.port;
	return r;
}

static void tap_close(struct sw_port *p)
{
	uplink_close(uplink_of(p));
}

static void tap_describe(const struct sw_port *p, struct json_object *o)
{
	const struct port_tap *t = uplink_owner(p, struct port_tap);

	json_object_object_add(o, "ifname", json_object_new_string(t->ifname));
	uplink_describe(&t->up, o);
}

const struct port_type port_tap_type = {
	.name = "tap",
	.members = "ifname,create?",
	.open = tap_open,
	.close = tap_close,
	.describe = tap_describe,
};
