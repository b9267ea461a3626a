/* SPDX-License-Identifier: MIT */
#include "nat_dhcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "inet.h"

/* RFC 2131, 2: where the fields are. */
enum {
	AT_OP = 0,
	AT_HTYPE = 1,
	AT_HLEN = 2,
	AT_XID = 4,
	AT_FLAGS = 10,
	AT_CIADDR = 12,
	AT_YIADDR = 16,
	AT_SIADDR = 20,
	AT_GIADDR = 24,
	AT_CHADDR = 28,
	AT_COOKIE = 236,
	AT_OPTIONS = 240,
	MESSAGE_MIN = 300, /* what old BOOTP relays and clients want */
};

enum { OP_REQUEST = 1, OP_REPLY = 2, HTYPE_ETHERNET = 1 };

static const uint8_t cookie[4] = { 99, 130, 83, 99 };

#define FLAG_BROADCAST 0x80

enum {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_HOSTNAME = 12,
	OPT_DOMAIN = 15,
	OPT_MTU = 26,
	OPT_BROADCAST = 28,
	OPT_REQUESTED = 50,
	OPT_LEASE = 51,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_T1 = 58,
	OPT_T2 = 59,
	OPT_CLIENT = 61,
	OPT_SEARCH = 119,
	OPT_END = 255,
};

enum {
	DISCOVER = 1,
	OFFER = 2,
	REQUEST = 3,
	DECLINE = 4,
	ACK = 5,
	NAK = 6,
	RELEASE = 7,
	INFORM = 8,
};

struct request {
	const uint8_t *msg, *mac;
	uint8_t type;
	uint32_t ciaddr, requested, server; /* 0: not said */
	const uint8_t *client;              /* option 61, or NULL */
	uint8_t client_len;
};

static void read_option(struct request *q, uint8_t code, const uint8_t *value, uint8_t len)
{
	switch (code) {
	case OPT_TYPE:
		q->type = len == 1 ? value[0] : 0;
		break;
	case OPT_REQUESTED:
		q->requested = len == 4 ? inet_be32(value) : 0;
		break;
	case OPT_SERVER:
		q->server = len == 4 ? inet_be32(value) : 0;
		break;
	case OPT_CLIENT:
		q->client = value;
		q->client_len = len;
		break;
	default:
		break;
	}
}

/* False: an option reaches beyond the end. */
static bool read_options(struct request *q, const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p != OPT_END) {
		if (*p == OPT_PAD) {
			p++;
			continue;
		}
		if (end - p < 2 || end - p - 2 < p[1])
			return false;
		read_option(q, p[0], p + 2, p[1]);
		p += 2 + p[1];
	}
	return true;
}

const uint8_t *nat_dhcp_client(const uint8_t *msg, size_t len)
{
	if (len < AT_OPTIONS || msg[AT_OP] != OP_REQUEST || msg[AT_HTYPE] != HTYPE_ETHERNET ||
	    msg[AT_HLEN] != 6)
		return NULL;
	return msg + AT_CHADDR;
}

static bool read_request(const uint8_t *msg, size_t len, struct request *ret)
{
	struct request q = { .msg = msg, .mac = nat_dhcp_client(msg, len) };

	if (!q.mac || q.mac[0] & 1 || memcmp(msg + AT_COOKIE, cookie, sizeof(cookie)) != 0 ||
	    inet_be32(msg + AT_GIADDR) != 0)
		return false;
	q.ciaddr = inet_be32(msg + AT_CIADDR);
	if (!read_options(&q, msg + AT_OPTIONS, msg + len))
		return false;
	*ret = q;
	return true;
}

/* The pool. */

static uint32_t ip_of(const struct nat_dhcp *d, const struct nat_lease *l)
{
	return d->first + (uint32_t)(l - d->lease);
}

static struct nat_lease *lease_at(const struct nat_dhcp *d, uint32_t ip)
{
	return ip - d->first < d->n ? &d->lease[ip - d->first] : NULL;
}

static struct nat_lease *lease_of(const struct nat_dhcp *d, const uint8_t mac[6])
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->lease[i].expires_s != 0 && memcmp(d->lease[i].mac, mac, 6) == 0)
			return &d->lease[i];
	return NULL;
}

static bool is_free(const struct nat_dhcp *d, const struct nat_lease *l, const uint8_t mac[6],
		    uint64_t now_s)
{
	uint32_t ip = ip_of(d, l);

	if (l->expires_s > now_s && memcmp(l->mac, mac, 6) != 0)
		return false;
	return nat_net_is_guest(d->net, ip) && !nat_hosts_by_ip(d->hosts, ip) &&
	       !(d->is_used && d->is_used(d->arg, ip, mac));
}

/* The lease for a client that no host of the lab is, or NULL: the pool is used up. */
static struct nat_lease *choose(const struct nat_dhcp *d, const struct request *q, uint64_t now_s)
{
	struct nat_lease *had = lease_of(d, q->mac), *best = NULL;
	struct nat_lease *asked = lease_at(d, q->requested ? q->requested : q->ciaddr);

	if (had && is_free(d, had, q->mac, now_s))
		return had;
	if (asked && is_free(d, asked, q->mac, now_s))
		return asked;
	for (unsigned i = 0; i < d->n; i++)
		if (is_free(d, &d->lease[i], q->mac, now_s) &&
		    (!best || d->lease[i].expires_s < best->expires_s))
			best = &d->lease[i];
	return best;
}

static void hold(const struct nat_dhcp *d, struct nat_lease *l, const uint8_t mac[6], bool bound,
		 uint64_t expires_s)
{
	struct nat_lease *had = lease_of(d, mac);

	if (had && had != l)
		*had = (struct nat_lease){ 0 };
	memcpy(l->mac, mac, 6);
	l->bound = bound;
	l->expires_s = expires_s;
}

/* The reply. */

struct writer {
	struct nat_dhcp_reply *to;
	size_t at;
};

static void put_option(struct writer *w, uint8_t code, const void *value, size_t len)
{
	if (len > UINT8_MAX || w->at + 2 + len + 1 > NAT_DHCP_REPLY_MAX)
		return; /* with the longest of everything there is room: test_nat_dhcp */
	w->to->bytes[w->at++] = code;
	w->to->bytes[w->at++] = (uint8_t)len;
	memcpy(w->to->bytes + w->at, value, len);
	w->at += len;
}

static void put_number(struct writer *w, uint8_t code, uint32_t value)
{
	uint8_t bytes[4];

	inet_put_be32(bytes, value);
	put_option(w, code, bytes, sizeof(bytes));
}

/* RFC 3397: a list of names in DNS's form; ours is one. */
static void put_search(struct writer *w, const char *domain)
{
	uint8_t name[NAT_DOMAIN_MAX + 2];
	size_t len = 0;

	while (*domain) {
		size_t label = strcspn(domain, ".");

		name[len++] = (uint8_t)label;
		memcpy(name + len, domain, label);
		len += label;
		domain += label + (domain[label] == '.');
	}
	name[len++] = 0;
	put_option(w, OPT_SEARCH, name, len);
}

static void put_lease_time(struct writer *w, uint32_t lease_s)
{
	put_number(w, OPT_LEASE, lease_s);
	put_number(w, OPT_T1, lease_s / 2);
	put_number(w, OPT_T2, lease_s / 8 * 7);
}

static void put_settings(struct writer *w, const struct nat_dhcp *d, const struct nat_host *host)
{
	const struct nat_net *net = d->net;
	const uint8_t mtu[2] = { (uint8_t)(net->mtu >> 8), (uint8_t)net->mtu };

	put_number(w, OPT_MASK, net->mask);
	put_number(w, OPT_BROADCAST, net->subnet | ~net->mask);
	if (!net->restricted)
		put_number(w, OPT_ROUTER, net->gateway);
	put_number(w, OPT_DNS, net->dns);
	put_option(w, OPT_MTU, mtu, sizeof(mtu));
	if (host)
		put_option(w, OPT_HOSTNAME, host->name, strcspn(host->name, "."));
	if (net->domain[0]) {
		put_option(w, OPT_DOMAIN, net->domain, strlen(net->domain));
		put_search(w, net->domain);
	}
}

static struct writer begin(const struct nat_dhcp *d, const struct request *q, uint8_t type,
			   struct nat_dhcp_reply *ret)
{
	struct writer w = { ret, AT_OPTIONS };
	uint8_t *b = ret->bytes;

	memset(ret, 0, sizeof(*ret));
	b[AT_OP] = OP_REPLY;
	b[AT_HTYPE] = HTYPE_ETHERNET;
	b[AT_HLEN] = 6;
	memcpy(b + AT_XID, q->msg + AT_XID, 4);
	memcpy(b + AT_FLAGS, q->msg + AT_FLAGS, 2);
	memcpy(b + AT_CHADDR, q->msg + AT_CHADDR, 16);
	memcpy(b + AT_COOKIE, cookie, sizeof(cookie));
	put_option(&w, OPT_TYPE, &type, 1);
	put_number(&w, OPT_SERVER, d->net->gateway);
	if (q->client)
		put_option(&w, OPT_CLIENT, q->client, q->client_len); /* RFC 6842 */
	return w;
}

/* RFC 2131, 4.1: to the address the client has, else to the one it is to have, unless it says that it
 * cannot hear that yet. */
static bool finish(struct writer *w, const struct request *q, uint32_t yiaddr, bool to_all)
{
	struct nat_dhcp_reply *r = w->to;

	r->bytes[w->at++] = OPT_END;
	r->len = max(w->at, (size_t)MESSAGE_MIN);
	inet_put_be32(r->bytes + AT_YIADDR, yiaddr);
	r->ip = q->ciaddr ? q->ciaddr : yiaddr;
	memcpy(r->mac, q->mac, 6);
	if (to_all || (!q->ciaddr && q->msg[AT_FLAGS] & FLAG_BROADCAST)) {
		r->ip = INADDR_BROADCAST;
		memset(r->mac, 0xff, 6);
	}
	return true;
}

static bool give(const struct nat_dhcp *d, const struct request *q, uint8_t type, uint32_t ip,
		 const struct nat_host *host, struct nat_dhcp_reply *ret)
{
	struct writer w = begin(d, q, type, ret);

	if (q->type != INFORM)
		put_lease_time(&w, d->lease_s);
	else
		inet_put_be32(ret->bytes + AT_CIADDR, q->ciaddr);
	if (type == ACK && q->type == REQUEST)
		inet_put_be32(ret->bytes + AT_CIADDR, q->ciaddr);
	put_settings(&w, d, host);
	return finish(&w, q, ip, false);
}

static bool refuse(const struct nat_dhcp *d, const struct request *q, struct nat_dhcp_reply *ret)
{
	struct writer w = begin(d, q, NAK, ret);

	return finish(&w, q, 0, true);
}

static bool discover(const struct nat_dhcp *d, const struct request *q, uint64_t now_s,
		     struct nat_dhcp_reply *ret)
{
	const struct nat_host *host = nat_hosts_by_mac(d->hosts, q->mac);
	struct nat_lease *l;

	if (host && host->has_ip)
		return give(d, q, OFFER, host->ip, host, ret);
	l = choose(d, q, now_s);
	if (!l)
		return false;
	if (!l->bound || l->expires_s <= now_s || memcmp(l->mac, q->mac, 6) != 0)
		hold(d, l, q->mac, false, now_s + NAT_DHCP_OFFER_S);
	return give(d, q, OFFER, ip_of(d, l), host, ret);
}

/* RFC 2131, 4.3.2.  Who chose another server is left alone; who asks for what it should not have is told. */
static bool request(const struct nat_dhcp *d, const struct request *q, uint64_t now_s,
		    struct nat_dhcp_reply *ret)
{
	const struct nat_host *host = nat_hosts_by_mac(d->hosts, q->mac);
	uint32_t wanted = q->requested ? q->requested : q->ciaddr;
	struct nat_lease *l;

	if (q->server && q->server != d->net->gateway)
		return false;
	if (wanted == 0)
		return false;
	if (host && host->has_ip)
		return wanted == host->ip ? give(d, q, ACK, host->ip, host, ret) :
					    refuse(d, q, ret);
	l = lease_at(d, wanted);
	if (!l || !is_free(d, l, q->mac, now_s))
		return refuse(d, q, ret);
	hold(d, l, q->mac, true, now_s + d->lease_s);
	return give(d, q, ACK, wanted, host, ret);
}

static void release(const struct nat_dhcp *d, const struct request *q, uint64_t now_s)
{
	struct nat_lease *l = lease_of(d, q->mac);

	if (l && ip_of(d, l) == q->ciaddr) {
		l->bound = false;
		l->expires_s = max(now_s, (uint64_t)1); /* free, and remembered */
	}
}

static void decline(const struct nat_dhcp *d, const struct request *q, uint64_t now_s)
{
	struct nat_lease *l = lease_of(d, q->mac);

	if (!l || ip_of(d, l) != q->requested)
		return;
	memset(l->mac, 0, 6);
	l->bound = false;
	l->expires_s = now_s + NAT_DHCP_DECLINED_S;
}

bool nat_dhcp_answer(struct nat_dhcp *dhcp, const uint8_t *msg, size_t len, uint64_t now_s,
		     struct nat_dhcp_reply *ret)
{
	struct request q;

	if (!read_request(msg, len, &q))
		return false;
	switch (q.type) {
	case DISCOVER:
		return discover(dhcp, &q, now_s, ret);
	case REQUEST:
		return request(dhcp, &q, now_s, ret);
	case INFORM:
		return nat_net_is_guest(dhcp->net, q.ciaddr) &&
		       give(dhcp, &q, ACK, 0, nat_hosts_by_mac(dhcp->hosts, q.mac), ret);
	case RELEASE:
		release(dhcp, &q, now_s);
		return false;
	case DECLINE:
		decline(dhcp, &q, now_s);
		return false;
	default:
		return false;
	}
}

int nat_dhcp_init(struct nat_dhcp *dhcp, const struct nat_net *net, const struct nat_hosts *hosts,
		  uint32_t first, uint32_t last, uint32_t lease_s)
{
	struct nat_lease *lease;

	if (first > last || last - first >= NAT_DHCP_POOL_MAX)
		return -EINVAL;
	lease = calloc(last - first + 1, sizeof(*lease));
	if (!lease)
		return -ENOMEM;
	*dhcp = (struct nat_dhcp){ .net = net,
				   .hosts = hosts,
				   .lease_s = lease_s,
				   .first = first,
				   .n = last - first + 1,
				   .lease = lease };
	return 0;
}

void nat_dhcp_done(struct nat_dhcp *dhcp)
{
	free(dhcp->lease);
	dhcp->lease = NULL;
	dhcp->n = 0;
}
