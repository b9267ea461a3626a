/* SPDX-License-Identifier: MIT */
#include "port_vxlan.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "dgrams.h"
#include "flow.h"
#include "net.h"
#include "portspec.h"
#include "uplink.h"
#include "vxlan.h"

#define UNDERLAY_MTU_DEFAULT 1500 /* where the kernel does not know a way */
#define UNDERLAY_MTU_MIN     576
#define STATIONS_DEFAULT     1024
#define RECEIVE_BUFFER       (1 << 20) /* bytes asked for; the kernel gives what it allows */

#define SECOND_NS 1000000000ull

struct port_vxlan {
	struct uplink up;
	struct vxlan vxlan;
	union inetaddr local;
	uint32_t underlay_mtu; /* 0: ask */
	uint32_t mtu;          /* for guests */

	int fd;
	struct loop_source src;
	int source[PORT_VXLAN_SOURCES]; /* sockets that only send */

	struct sw_frame frame[SW_BURST];
	struct iovec iov[SW_BURST];
	uint8_t of[SW_BURST];   /* of which frame of the burst a datagram in `out` is */
	int result[SW_BURST];   /* by frame: 0 once a datagram of it was sent, else an errno */
	uint8_t flow[SW_BURST]; /* by frame: which source sends it */
	struct dgrams_in in;
	struct dgrams_out out;
};

static struct port_vxlan *vxlan_of(struct uplink *u)
{
	return container_of(u, struct port_vxlan, up);
}

static uint32_t seconds(void)
{
	return (uint32_t)(loop_now_ns() / SECOND_NS);
}

/* ---- frames ------------------------------------------------------------------------------------- */

static void on_readable(struct loop_source *src, uint32_t events)
{
	struct port_vxlan *v = container_of(src, struct port_vxlan, src);
	int got = dgrams_recv(&v->in, v->fd);
	uint32_t now_s = seconds();
	unsigned n = 0;

	for (int i = 0; i < got; i++) {
		uint8_t *bytes = v->in.room[i];
		uint32_t len = v->in.msg[i].msg_len;

		if (!vxlan_open(&v->vxlan, &v->in.from[i], bytes, len, now_s))
			continue;
		len -= VXLAN_HDR_LEN;
		v->iov[n] = (struct iovec){ bytes + VXLAN_HDR_LEN, len };
		v->frame[n] = (struct sw_frame){ .iov = &v->iov[n], .n_iov = 1, .len = len };
		n++;
	}
	if (n > 0)
		sw_input(&v->up.port, v->frame, n);
	if (got < 0)
		uplink_lost(&v->up, -got, "local");
}

static void send_all(struct port_vxlan *v, unsigned source)
{
	unsigned n = dgrams_send(&v->out, v->source[source]);

	for (unsigned i = 0; i < n; i++)
		if (v->result[v->of[i]] != 0)
			v->result[v->of[i]] = v->out.error[i];
}

static void add(struct port_vxlan *v, unsigned source, const struct sw_frame *f, unsigned i,
		uint32_t peer)
{
	const union inetaddr *to = &v->vxlan.peer[peer];

	if (!dgrams_add(&v->out, f, v->vxlan.hdr, VXLAN_HDR_LEN, to, inetaddr_len(to))) {
		send_all(v, source);
		(void)dgrams_add(&v->out, f, v->vxlan.hdr, VXLAN_HDR_LEN, to, inetaddr_len(to));
	}
	v->of[v->out.n - 1] = (uint8_t)i;
}

/* Those frames whose flow is the source's, each to its peer or to all. */
static void send_from(struct port_vxlan *v, unsigned source, struct sw_frame *const *frame,
		      unsigned n, uint32_t now_s)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t peer;

		if (v->flow[i] != source)
			continue;
		peer = vxlan_route(&v->vxlan, frame[i]->head, now_s);
		if (peer != VXLAN_PEER_NONE) {
			add(v, source, frame[i], i, peer);
			continue;
		}
		for (peer = 0; peer < v->vxlan.n_peers; peer++)
			add(v, source, frame[i], i, peer);
	}
	if (v->out.n > 0)
		send_all(v, source);
}

static void on_egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct port_vxlan *v = vxlan_of(uplink_of(p));
	uint32_t now_s = seconds(), used = 0;

	for (unsigned i = 0; i < n; i++) {
		v->flow[i] = (uint8_t)(flow_hash(frame[i]) % PORT_VXLAN_SOURCES);
		v->result[i] = EHOSTUNREACH; /* until something else is known */
		used |= 1u << v->flow[i];
	}
	for (unsigned s = 0; s < PORT_VXLAN_SOURCES; s++)
		if (used & 1u << s)
			send_from(v, s, frame, n, now_s);
	for (unsigned i = 0; i < n; i++)
		dgrams_count(&p->stats, v->result[i], frame[i]->len);
}

/* ---- sockets ------------------------------------------------------------------------------------ */

/* A datagram socket at the local address, with `port` in network order. */
static int make_socket(const struct port_vxlan *v, bool any_port, int *ret_fd)
{
	union inetaddr a = v->local;
	int on = 1, size = RECEIVE_BUFFER;
	auto_fd int fd = socket(a.sa.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (a.sa.sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (any_port && a.sa.sa_family == AF_INET)
		a.in.sin_port = 0;
	else if (any_port)
		a.in6.sin6_port = 0;
	if (bind(fd, &a.sa, inetaddr_len(&a)) < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	*ret_fd = fd_take(&fd);
	return 0;
}

/* Sockets for sending; whatever is sent to them is thrown away by the kernel.  A datagram that is too long for the
 * way is fragmented: a lab is to work, and the kernel's own vxlan does the same. */
static int make_sources(struct port_vxlan *v)
{
	struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog drop = { 1, &nothing };
	int dont = IP_PMTUDISC_DONT, dont6 = IPV6_PMTUDISC_DONT;

	for (unsigned i = 0; i < PORT_VXLAN_SOURCES; i++) {
		int r = make_socket(v, true, &v->source[i]);

		if (r < 0)
			return r;
		if (setsockopt(v->source[i], SOL_SOCKET, SO_ATTACH_FILTER, &drop, sizeof(drop)) < 0)
			return -errno;
		if (v->local.sa.sa_family == AF_INET)
			(void)setsockopt(v->source[i], IPPROTO_IP, IP_MTU_DISCOVER, &dont,
					 sizeof(dont));
		else
			(void)setsockopt(v->source[i], IPPROTO_IPV6, IPV6_MTU_DISCOVER, &dont6,
					 sizeof(dont6));
	}
	return 0;
}

/* What the kernel knows of the way to a peer. */
static uint32_t path_mtu(const union inetaddr *peer)
{
	auto_fd int fd = socket(peer->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool v4 = peer->sa.sa_family == AF_INET;
	int mtu = 0;
	socklen_t len = sizeof(mtu);

	if (fd < 0 || connect(fd, &peer->sa, inetaddr_len(peer)) < 0 ||
	    getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &len) <
		    0 ||
	    mtu < UNDERLAY_MTU_MIN)
		return UNDERLAY_MTU_DEFAULT;
	return (uint32_t)mtu;
}

static void find_mtu(struct port_vxlan *v)
{
	bool v4 = v->local.sa.sa_family == AF_INET;
	uint32_t mtu = v->underlay_mtu;

	if (mtu == 0) {
		mtu = UINT16_MAX;
		for (uint32_t i = 0; i < v->vxlan.n_peers; i++)
			mtu = min(mtu, path_mtu(&v->vxlan.peer[i]));
	}
	v->mtu = mtu - (v4 ? VXLAN_OVERHEAD_4 : VXLAN_OVERHEAD_6);
}

static int vxlan_connect(struct uplink *u)
{
	struct port_vxlan *v = vxlan_of(u);
	int r = make_socket(v, false, &v->fd);

	if (r == 0)
		r = make_sources(v);
	if (r == 0)
		r = loop_add(&u->net->backend->loop, &v->src, v->fd, EPOLLIN, on_readable);
	if (r < 0) {
		uplink_why(u, "local: %s", strerror(-r));
		return r;
	}
	find_mtu(v);
	return 0;
}

static void vxlan_disconnect(struct uplink *u)
{
	struct port_vxlan *v = vxlan_of(u);

	loop_del(&v->src);
	fd_drop(&v->fd);
	for (unsigned i = 0; i < PORT_VXLAN_SOURCES; i++)
		fd_drop(&v->source[i]);
}

static void vxlan_free(struct uplink *u)
{
	struct port_vxlan *v = vxlan_of(u);

	vxlan_done(&v->vxlan);
	free(v);
}

static const struct uplink_ops vxlan_ops = {
	.port = { .type = "vxlan", .egress = on_egress },
	.connect = vxlan_connect,
	.disconnect = vxlan_disconnect,
	.free = vxlan_free,
};

/* ---- the type ----------------------------------------------------------------------------------- */

static int read_peer(struct port_vxlan *v, struct json_object *o, unsigned i, char **why)
{
	union inetaddr *peer = &v->vxlan.peer[i];

	if (!json_object_is_type(o, json_type_string) ||
	    inetaddr_parse(json_object_get_string(o), VXLAN_PORT, peer) < 0)
		return spec_wrong(why, "peers/%u: not an address", i);
	if (peer->sa.sa_family != v->vxlan.peer[0].sa.sa_family)
		return spec_wrong(why, "peers/%u: IPv4 and IPv6 do not mix", i);
	for (unsigned k = 0; k < i; k++)
		if (inetaddr_same_host(&v->vxlan.peer[k], peer))
			return spec_wrong(why, "peers/%u: the same host as peers/%u", i, k);
	return 0;
}

static int read_peers(const struct port_spec *spec, struct port_vxlan *v, char **why)
{
	struct json_object *peers = spec_member(spec, "peers");
	size_t n;

	if (!json_object_is_type(peers, json_type_array))
		return spec_wrong(why, "peers: not an array");
	n = json_object_array_length(peers);
	if (n < 1 || n > PORT_VXLAN_PEERS_MAX)
		return spec_wrong(why, "peers: not 1 to %d of them", PORT_VXLAN_PEERS_MAX);
	v->vxlan.n_peers = (uint32_t)n;
	for (unsigned i = 0; i < n; i++) {
		int r = read_peer(v, json_object_array_get_idx(peers, i), i, why);

		if (r < 0)
			return r;
	}
	return 0;
}

static int read_local(const struct port_spec *spec, struct port_vxlan *v, char **why)
{
	int family = v->vxlan.peer[0].sa.sa_family;
	const char *text = family == AF_INET ? "0.0.0.0" : "::";
	int r = spec_string(spec, "local", &text, why);

	if (r < 0)
		return r;
	if (inetaddr_parse(text, VXLAN_PORT, &v->local) < 0)
		return spec_wrong(why, "local: \"%s\" is no address", text);
	if (v->local.sa.sa_family != family)
		return spec_wrong(why, "local: IPv4 and IPv6 do not mix");
	return 0;
}

static int read_spec(const struct port_spec *spec, struct port_vxlan *v, char **why)
{
	uint64_t vni = 0, underlay = 0, stations = STATIONS_DEFAULT, ageing = FDB_AGEING_S_DEFAULT;
	uint64_t seed;
	int r = spec_uint(spec, "vni", 0, VXLAN_VNI_MAX, &vni, why);

	if (r == 0)
		r = spec_uint(spec, "underlay-mtu", UNDERLAY_MTU_MIN, UINT16_MAX, &underlay, why);
	if (r == 0)
		r = spec_uint(spec, "stations-max", 1, 65536, &stations, why);
	if (r == 0)
		r = spec_uint(spec, "ageing-s", 0, INT32_MAX, &ageing, why);
	if (r == 0)
		r = read_peers(spec, v, why);
	if (r == 0)
		r = read_local(spec, v, why);
	if (r < 0)
		return r;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -errno;
	v->vxlan.vni = (uint32_t)vni;
	v->underlay_mtu = (uint32_t)underlay;
	return vxlan_init(&v->vxlan, (uint32_t)stations, (uint32_t)ageing, seed);
}

static int vxlan_open_port(struct net *net, const struct port_spec *spec, struct sw_port **ret,
			   char **why)
{
	struct port_vxlan *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	v->fd = -1;
	v->up.firm = true;
	for (unsigned i = 0; i < PORT_VXLAN_SOURCES; i++)
		v->source[i] = -1;
	r = read_spec(spec, v, why);
	if (r < 0) {
		free(v);
		return r;
	}
	r = uplink_open(&v->up, &vxlan_ops, net, spec->name, why);
	if (r == 0)
		*ret = &v->up.port;
	return r;
}

static void vxlan_close_port(struct sw_port *p)
{
	uplink_close(uplink_of(p));
}

struct count {
	uint32_t n[VXLAN_PEERS_MAX];
};

static void count_station(const struct fdb_entry *e, void *arg)
{
	struct count *c = arg;

	c->n[e->port]++;
}

static void vxlan_describe(const struct sw_port *p, struct json_object *o)
{
	const struct port_vxlan *v = uplink_owner(p, struct port_vxlan);
	struct json_object *peers = json_object_new_array();
	struct count c = { 0 };
	char text[INETADDR_TEXT_MAX];

	fdb_walk(&v->vxlan.stations, count_station, &c);
	for (uint32_t i = 0; i < v->vxlan.n_peers; i++) {
		struct json_object *peer = json_object_new_object();

		json_object_object_add(
			peer, "address",
			json_object_new_string(inetaddr_text(&v->vxlan.peer[i], text)));
		json_object_object_add(peer, "stations", json_object_new_uint64(c.n[i]));
		json_object_array_add(peers, peer);
	}
	json_object_object_add(o, "vni", json_object_new_uint64(v->vxlan.vni));
	json_object_object_add(o, "local", json_object_new_string(inetaddr_text(&v->local, text)));
	json_object_object_add(o, "peers", peers);
	json_object_object_add(o, "mtu", json_object_new_uint64(v->mtu));
	json_object_object_add(o, "strangers", json_object_new_uint64(v->vxlan.strangers));
	uplink_describe(&v->up, o);
}

const struct port_type port_vxlan_type = {
	.name = "vxlan",
	.members = "vni,peers,local?,underlay-mtu?,stations-max?,ageing-s?",
	.open = vxlan_open_port,
	.close = vxlan_close_port,
	.describe = vxlan_describe,
};
