/* SPDX-License-Identifier: MIT */
#include "port_nat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base.h"
#include "inet.h"
#include "log.h"
#include "nat_policy.h"
#include "nat_spec.h"
#include "net.h"
#include "port_nat_ctl.h"

#define SECOND_NS 1000000000ull

/* An address that somebody used so lately is not given to another. */
#define USED_S 600

static uint32_t now_s(void)
{
	return (uint32_t)(loop_now_ns() / SECOND_NS);
}

static void on_pump(struct loop_work *work);

static void wake(void *owner)
{
	struct port_nat *pn = owner;

	loop_defer(pn->loop, &pn->pump, on_pump);
}

/* Towards the guests. */

static void send_out(struct port_nat *pn)
{
	unsigned n = pn->n_out;

	for (unsigned i = 0; i < n; i++)
		pn->burst[i] = *sw_buf_frame(pn->out[i]);
	pn->n_out = 0;
	if (n > 0)
		sw_input(&pn->port, pn->burst, n);
	for (unsigned i = 0; i < n; i++)
		sw_buf_unref(pn->out[i]);
}

/* A buffer that leaves with the next burst; NULL: there is none. */
static uint8_t *put_out(struct port_nat *pn, size_t len)
{
	struct sw_buf *b = sw_buf_new(&pn->port.sw->bufs, (uint32_t)len);

	if (!b) {
		pn->counters.no_buffer++;
		return NULL;
	}
	if (pn->n_out == SW_BURST)
		send_out(pn);
	pn->out[pn->n_out++] = b;
	return b->bytes;
}

static void put_udp(struct port_nat *pn, const struct nat_end *from, const struct nat_end *to,
		    const void *payload, size_t len)
{
	size_t room = nat_packet_udp_room(&from->addr);
	uint8_t *frame = put_out(pn, room + len);

	if (!frame)
		return;
	memcpy(frame + room, payload, len);
	nat_packet_udp(frame, from, to, len);
}

/* Neighbours: libslirp asks, we know. */

static bool wants(const struct port_nat *pn, const struct in6_addr *addr)
{
	for (unsigned i = 0; i < pn->n_wanted; i++)
		if (IN6_ARE_ADDR_EQUAL(&pn->wanted[i], addr))
			return true;
	return false;
}

/* True: the frame asks for one that we can tell, and will. */
static bool note_wanted(struct port_nat *pn, const struct nat_packet *p)
{
	const struct in6_addr *addr = p->kind == NAT_KIND_ARP ? &p->dst : &p->target;
	bool asks = (p->kind == NAT_KIND_ARP && p->type == NAT_ARP_REQUEST) ||
		    (p->kind == NAT_KIND_IP6 && p->proto == INET_ICMP6 && p->type == NAT_ND_NS);

	if (!asks || !nat_neigh_find(&pn->neigh, addr))
		return false;
	if (wants(pn, addr))
		return true;
	if (pn->n_wanted == PORT_NAT_WANTED)
		return false;
	pn->wanted[pn->n_wanted++] = *addr;
	return true;
}

static void tell_neighbour(struct port_nat *pn, const struct in6_addr *addr)
{
	const struct nat_neighbour *n = nat_neigh_find(&pn->neigh, addr);
	bool ip4 = nat_addr_is_ip4(addr);
	struct in6_addr own = ip4 ? nat_addr_of_ip4(pn->net.gateway) : NAT_LINK_LOCAL;
	uint8_t mac[6], frame[NAT_NA_LEN];

	if (!n)
		return;
	nat_net_mac(&own, mac);
	if (ip4)
		nat_packet_arp_reply(frame, nat_addr_ip4(addr), n->mac, pn->net.gateway, mac);
	else
		nat_packet_advertise(frame, addr, n->mac, &own, mac);
	nat_slirp_input(pn->slirp, frame, ip4 ? NAT_ARP_LEN : NAT_NA_LEN);
}

/* libslirp forgets all but the last few: tell it so many, and let it send what waited for them. */
static void tell_neighbours(struct port_nat *pn)
{
	while (pn->n_wanted > 0) {
		struct in6_addr now[PORT_NAT_ANSWERS];
		unsigned n = min(pn->n_wanted, (unsigned)PORT_NAT_ANSWERS);

		memcpy(now, pn->wanted, n * sizeof(now[0]));
		pn->n_wanted -= n;
		memmove(pn->wanted, pn->wanted + n, pn->n_wanted * sizeof(now[0]));
		for (unsigned i = 0; i < n; i++)
			tell_neighbour(pn, &now[i]);
		nat_slirp_flush(pn->slirp);
	}
}

/* What libslirp calls. */

static void on_send(void *owner, const uint8_t *bytes, size_t len)
{
	struct port_nat *pn = owner;
	struct nat_packet p;
	uint8_t *frame;

	if (nat_packet_parse(bytes, len, &p) == 0) {
		if (note_wanted(pn, &p))
			return;
		if (p.proto == INET_UDP && nat_forwards_lead_to(&pn->forwards, &p.dst, p.dport))
			nat_replies_note(&pn->replies, &p, now_s());
	}
	frame = put_out(pn, len);
	if (frame)
		memcpy(frame, bytes, len);
}

static void on_opened(void *owner, int fd)
{
	struct port_nat *pn = owner;

	nat_flows_opened(&pn->flows, fd, pn->current, pn->current_pinned);
}

static void on_closed(void *owner, int fd)
{
	struct port_nat *pn = owner;

	if (pn->flows.n == pn->flows.max)
		wake(pn); /* forwards may take connections again */
	nat_flows_closed(&pn->flows, fd);
}

static bool may_accept(void *owner)
{
	const struct port_nat *pn = owner;

	return pn->flows.n < pn->flows.max;
}

static bool is_idle(void *owner)
{
	const struct port_nat *pn = owner;

	return pn->flows.n == 0 && !nat_flows_has_fragments(&pn->flows, now_s());
}

static const struct nat_slirp_ops slirp_ops = {
	.send = on_send,
	.wake = wake,
	.opened = on_opened,
	.closed = on_closed,
	.may_accept = may_accept,
	.is_idle = is_idle,
};

/* From the guests. */

static void to_slirp(struct port_nat *pn, const struct sw_buf *b, const struct nat_packet *p)
{
	bool pinned = nat_neigh_is_pinned(&pn->neigh, &p->src);
	bool admit = p->fragment ?
			     may_accept(pn) &&
				     nat_flows_admit_fragment(&pn->flows, b->frame.len, now_s()) :
			     nat_flows_admit(&pn->flows, p, pinned);

	if (!admit) {
		pn->counters.limited++;
		return;
	}
	pn->current = p;
	pn->current_pinned = pinned;
	nat_slirp_input(pn->slirp, b->bytes, b->frame.len);
	pn->current = NULL;
	tell_neighbours(pn); /* at once: it would hold up what comes next */
}

static void to_dhcp(struct port_nat *pn, const struct nat_packet *p)
{
	const uint8_t *client = nat_dhcp_client(p->payload, p->payload_len);
	struct nat_end from = { .addr = nat_addr_of_ip4(pn->net.gateway),
				.port = NAT_DHCP_SERVER_PORT };
	struct nat_dhcp_reply reply;
	uint8_t mac[6];

	if (!client || memcmp(client, p->eth_src, 6) != 0) {
		pn->counters.spoofed++;
		return;
	}
	if (!nat_dhcp_answer(&pn->dhcp, p->payload, p->payload_len, now_s(), &reply))
		return;
	pn->counters.dhcp_answers++;
	nat_net_mac(&from.addr, mac);
	from.mac = mac;
	put_udp(pn, &from,
		&(struct nat_end){ .mac = reply.mac,
				   .addr = nat_addr_of_ip4(reply.ip),
				   .port = NAT_DHCP_CLIENT_PORT },
		reply.bytes, reply.len);
}

static void to_dns(struct port_nat *pn, const struct sw_buf *b, const struct nat_packet *p)
{
	uint8_t reply[NAT_DNS_REPLY_MAX], mac[6];
	size_t len;

	switch (nat_dns_answer(&pn->dns, p->payload, p->payload_len, reply, &len)) {
	case NAT_DNS_ANSWER:
		pn->counters.dns_answers++;
		nat_net_mac(&p->dst, mac);
		put_udp(pn, &(struct nat_end){ mac, p->dst, p->dport },
			&(struct nat_end){ p->eth_src, p->src, p->sport }, reply, len);
		break;
	case NAT_DNS_FORWARD:
		pn->counters.dns_forwarded++;
		to_slirp(pn, b, p);
		break;
	case NAT_DNS_NOTHING:
		pn->counters.malformed++;
		break;
	}
}

static void reset(struct port_nat *pn, const struct nat_packet *p)
{
	uint8_t bytes[NAT_RST_MAX], *frame;
	size_t len = nat_packet_reset(bytes, p);

	frame = put_out(pn, len);
	if (frame)
		memcpy(frame, bytes, len);
}

/* Is the sender who it says?  It is remembered by that. */
static bool is_true(struct port_nat *pn, const struct nat_packet *p)
{
	static const struct in6_addr none4 = { .s6_addr = { [10] = 0xff, 0xff } };

	if (IN6_IS_ADDR_UNSPECIFIED(&p->src) || IN6_ARE_ADDR_EQUAL(&p->src, &none4))
		return true;
	return nat_neigh_seen(&pn->neigh, &p->src, p->eth_src, now_s());
}

static void take(struct port_nat *pn, const struct sw_buf *b)
{
	struct nat_packet p;
	enum nat_way way;

	if (nat_packet_parse(b->bytes, b->frame.len, &p) < 0) {
		pn->counters.malformed++;
		return;
	}
	way = nat_policy(&pn->net, &p);
	if (way == NAT_WAY_NONE) {
		pn->counters.refused += !(p.eth_dst[0] & 1);
		return;
	}
	if (!is_true(pn, &p)) {
		pn->counters.spoofed++;
		return;
	}
	switch (way) {
	case NAT_WAY_DHCP:
		to_dhcp(pn, &p);
		break;
	case NAT_WAY_DNS:
		to_dns(pn, b, &p);
		break;
	case NAT_WAY_SLIRP:
		to_slirp(pn, b, &p);
		break;
	case NAT_WAY_REPLY:
		if (nat_replies_allow(&pn->replies, &p, now_s()))
			to_slirp(pn, b, &p);
		else
			pn->counters.refused++;
		break;
	case NAT_WAY_RESET:
		pn->counters.refused++;
		reset(pn, &p);
		break;
	case NAT_WAY_NONE:
		break;
	}
}

static void take_in(struct port_nat *pn)
{
	/* What the switch hands us meanwhile, because a burst went out, is taken as well. */
	for (unsigned i = 0; i < pn->n_in; i++) {
		take(pn, pn->in[i]);
		sw_buf_unref(pn->in[i]);
	}
	pn->n_in = 0;
}

static void on_pump(struct loop_work *work)
{
	struct port_nat *pn = container_of(work, struct port_nat, pump);

	nat_slirp_run(pn->slirp); /* first: its clock stands while nothing happens */
	take_in(pn);
	tell_neighbours(pn);
	send_out(pn);
	nat_slirp_wait(pn->slirp);
}

static void egress(struct sw_port *p, struct sw_frame *const *frame, unsigned n)
{
	struct port_nat *pn = container_of(p, struct port_nat, port);

	for (unsigned i = 0; i < n; i++) {
		struct sw_buf *b = pn->n_in < PORT_NAT_IN ? sw_buf_of(&p->sw->bufs, frame[i]) :
							    NULL;

		if (!b) {
			p->stats.egress_drop_full++;
			continue;
		}
		p->stats.egress_frames++;
		p->stats.egress_bytes += b->frame.len;
		pn->in[pn->n_in++] = b;
	}
	wake(pn);
}

/* Begin and end. */

static const struct sw_port_ops port_ops = { .type = "nat", .egress = egress };

struct port_nat *port_nat_of(struct sw_port *p)
{
	return p->ops == &port_ops ? container_of(p, struct port_nat, port) : NULL;
}

static bool is_used(void *arg, uint32_t ip, const uint8_t mac[6])
{
	const struct port_nat *pn = arg;
	const struct in6_addr addr = nat_addr_of_ip4(ip);
	const struct nat_neighbour *n = nat_neigh_find(&pn->neigh, &addr);

	return n && memcmp(n->mac, mac, 6) != 0 && now_s() - n->seen_s < USED_S;
}

int port_nat_set_hosts(struct port_nat *pn, struct nat_hosts *hosts)
{
	int r = nat_neigh_pin(&pn->neigh, hosts);

	if (r < 0)
		return r;
	nat_hosts_done(&pn->hosts);
	pn->hosts = *hosts;
	*hosts = (struct nat_hosts){ 0 };
	return 0;
}

static void free_port(struct port_nat *pn)
{
	loop_defer_cancel(pn->loop, &pn->pump);
	nat_slirp_free(pn->slirp);
	loop_defer_cancel(pn->loop, &pn->pump); /* closing sockets wakes */
	for (unsigned i = 0; i < pn->n_in; i++)
		sw_buf_unref(pn->in[i]);
	for (unsigned i = 0; i < pn->n_out; i++)
		sw_buf_unref(pn->out[i]);
	nat_forwards_done(&pn->forwards);
	nat_dhcp_done(&pn->dhcp);
	nat_flows_done(&pn->flows);
	nat_neigh_done(&pn->neigh);
	nat_hosts_done(&pn->hosts);
	free(pn);
}

static int add_forwards(struct port_nat *pn, struct nat_spec *s, char **why)
{
	for (unsigned i = 0; i < s->n_forward; i++) {
		char text[NAT_FORWARD_TEXT];
		int r = nat_forwards_add(&pn->forwards, pn->slirp, &s->forward[i]);

		if (r < 0) {
			nat_forward_text(&s->forward[i], text);
			spec_wrong(why, "forwards/%u: %s: %s", i, text,
				   r == -EEXIST ? "twice" : strerror(-r));
			return r == -EEXIST ? -EINVAL : r;
		}
	}
	return 0;
}

/* Half of the descriptors that the process may have stay for others: QEMUs, control clients, forwards. */
static unsigned affordable(const char *name, unsigned sockets)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || sockets <= limit.rlim_cur / 2)
		return sockets;
	log_warning(name, "sockets: %u in place of %u, for this process may have %llu descriptors",
		    (unsigned)limit.rlim_cur / 2, sockets, (unsigned long long)limit.rlim_cur);
	return (unsigned)limit.rlim_cur / 2;
}

static int set_up(struct port_nat *pn, struct nat_spec *s, char **why)
{
	uint64_t seed;
	int r;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -errno;
	pn->net = s->net;
	pn->dns = (struct nat_dns){ &pn->net, &pn->hosts };
	r = port_nat_set_hosts(pn, &s->hosts);
	if (r == 0)
		r = nat_flows_init(&pn->flows, affordable(pn->port.name, s->sockets), seed);
	if (r == 0)
		r = nat_dhcp_init(&pn->dhcp, &pn->net, &pn->hosts, s->pool_first, s->pool_last,
				  s->lease_s);
	if (r < 0)
		return r;
	pn->dhcp.is_used = is_used;
	pn->dhcp.arg = pn;
	r = nat_slirp_new(pn->loop, &pn->net, &slirp_ops, pn, &pn->slirp);
	return r < 0 ? r : add_forwards(pn, s, why);
}

static int nat_open(struct net *net, const struct port_spec *spec, struct sw_port **ret, char **why)
{
	struct port_nat *pn;
	struct nat_spec s;
	int r = nat_spec_read(spec, net->group.mtu, &s, why);

	if (r < 0)
		return r;
	pn = calloc(1, sizeof(*pn));
	if (!pn) {
		nat_spec_done(&s);
		return -ENOMEM;
	}
	pn->loop = &net->backend->loop;
	pn->port.ops = &port_ops;
	memcpy(pn->port.name, spec->name, strlen(spec->name) + 1);
	r = set_up(pn, &s, why);
	if (r == 0)
		r = sw_attach(&net->sw, &pn->port);
	nat_spec_done(&s);
	if (r < 0) {
		free_port(pn);
		return r;
	}
	sw_set_up(&pn->port, true);
	wake(pn);
	*ret = &pn->port;
	return 0;
}

static int nat_check(const struct port_spec *spec, char **why)
{
	struct nat_spec s;
	int r = nat_spec_read(spec, PORT_VU_MTU_DEFAULT, &s, why);

	if (r == 0)
		nat_spec_done(&s);
	return r;
}

static void nat_close(struct sw_port *p)
{
	sw_detach(p);
	free_port(container_of(p, struct port_nat, port));
}

const struct port_type port_nat_type = {
	.name = "nat",
	.members = "subnet,gateway?,dns?,subnet6?,gateway6?,dns6?,mtu?,domain?,pool?,lease-s?,"
		   "restricted?,host-loopback?,sockets?,hosts?,forwards?",
	.check = nat_check,
	.open = nat_open,
	.close = nat_close,
	.describe = port_nat_describe,
};
