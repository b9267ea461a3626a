/* SPDX-License-Identifier: MIT */
#include "nat_dns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base.h"
#include "inet.h"

#define HEAD_LEN            12
#define NAME_MAX_WIRE       255 /* RFC 1035, 2.3.4 */
#define POINTER_TO_QUESTION 0xc00c
#define EDNS_SIZE           1232

enum { TYPE_A = 1, TYPE_PTR = 12, TYPE_AAAA = 28, TYPE_OPT = 41, TYPE_ANY = 255 };
enum { CLASS_IN = 1, CLASS_ANY = 255 };
enum { NOERROR = 0, FORMERR = 1, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5 };

/* Of the flags' first byte and the second. */
enum { QR = 0x80, OPCODE = 0x78, AA = 0x04, RD = 0x01, RA = 0x80 };

struct question {
	const uint8_t *msg;
	size_t end;                   /* of the question in the message */
	char name[NAME_MAX_WIRE + 1]; /* with dots, none at the end; "" is the root */
	uint16_t type, class;
	bool edns;
};

struct writer {
	uint8_t *to;
	size_t at;
	uint16_t answers;
};

static void put16(struct writer *w, uint16_t v)
{
	w->to[w->at++] = (uint8_t)(v >> 8);
	w->to[w->at++] = (uint8_t)v;
}

/* Read a name at `at` into q->name; the offset behind it, or 0: it is none.  A label with a dot or NUL in it is
 * nobody's here and would read like another one: it is refused, too. */
static size_t read_name(struct question *q, const uint8_t *msg, size_t len, size_t at)
{
	size_t out = 0;

	while (at < len && msg[at] != 0) {
		size_t label = msg[at++];

		if (label > NAT_LABEL_MAX || label > len - at || out + label + 1 >= NAME_MAX_WIRE)
			return 0;
		if (memchr(msg + at, '.', label) || memchr(msg + at, 0, label))
			return 0;
		if (out > 0)
			q->name[out++] = '.';
		memcpy(q->name + out, msg + at, label);
		out += label;
		at += label;
	}
	q->name[out] = '\0';
	return at < len ? at + 1 : 0;
}

/* Is there an OPT record (RFC 6891, 6.1.2), the first of the additional ones? */
static bool has_edns(const uint8_t *msg, size_t len, size_t at)
{
	return inet_be16(msg + 6) == 0 && inet_be16(msg + 8) == 0 && inet_be16(msg + 10) > 0 &&
	       len - at >= 11 && msg[at] == 0 && inet_be16(msg + at + 1) == TYPE_OPT;
}

static bool read_question(const uint8_t *msg, size_t len, struct question *ret)
{
	size_t at;

	ret->msg = msg;
	if (inet_be16(msg + 4) != 1)
		return false;
	at = read_name(ret, msg, len, HEAD_LEN);
	if (at == 0 || len - at < 4)
		return false;
	ret->type = inet_be16(msg + at);
	ret->class = inet_be16(msg + at + 2);
	ret->end = at + 4;
	ret->edns = has_edns(msg, len, ret->end);
	return true;
}

/* The host of "name" or "name.domain", by the first `len` characters of the name. */
static const struct nat_host *host_named(const struct nat_dns *dns, const char *name, size_t len)
{
	return nat_hosts_by_name(dns->hosts, name, len);
}

/* Does the name end in ".domain", or is it the domain?  *ret_len: what stands in front. */
static bool in_domain(const char *name, const char *domain, size_t *ret_len)
{
	size_t len = strlen(name), tail = strlen(domain);

	if (tail == 0 || len < tail || strcasecmp(name + len - tail, domain) != 0)
		return false;
	if (len > tail && name[len - tail - 1] != '.')
		return false;
	*ret_len = len > tail ? len - tail - 1 : 0;
	return true;
}

/* 192.168.100.10 of "10.100.168.192.in-addr.arpa" (RFC 1035, 3.5). */
static bool read_arpa4(const char *name, uint32_t *ret)
{
	const char *at = name;
	char text[sizeof("255.255.255.255")];
	uint32_t byte[4];
	size_t len;

	if (!in_domain(name, "in-addr.arpa", &len))
		return false;
	for (unsigned i = 0; i < 4; i++) {
		char *end;
		unsigned long value = strtoul(at, &end, 10);

		if (end == at || *end != '.' || value > 255)
			return false;
		byte[i] = (uint32_t)value;
		at = end + 1;
	}
	*ret = byte[3] << 24 | byte[2] << 16 | byte[1] << 8 | byte[0];
	/* As it is written: no zeros, signs or blanks in front. */
	return (size_t)snprintf(text, sizeof(text), "%u.%u.%u.%u", byte[0], byte[1], byte[2],
				byte[3]) == len &&
	       strncmp(text, name, len) == 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* 32 hexadecimal digits, the lowest first (RFC 3596, 2.5). */
static bool read_arpa6(const char *name, struct in6_addr *ret)
{
	size_t len;

	if (!in_domain(name, "ip6.arpa", &len) || len != 63)
		return false;
	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < 32; i++) {
		int digit = hex_digit(name[2 * i]);

		if (digit < 0 || (i < 31 && name[2 * i + 1] != '.'))
			return false;
		ret->s6_addr[15 - i / 2] |= (uint8_t)(digit << (i % 2 * 4));
	}
	return true;
}

static void put_head(struct writer *w, const struct question *q, uint16_t type, uint16_t len)
{
	put16(w, POINTER_TO_QUESTION);
	put16(w, type);
	put16(w, CLASS_IN);
	put16(w, 0);
	put16(w, NAT_DNS_TTL_S);
	put16(w, len);
	w->answers++;
}

static void put_address(struct writer *w, const struct question *q, const struct nat_host *h)
{
	bool any = q->type == TYPE_ANY;

	if (h->has_ip && (any || q->type == TYPE_A)) {
		put_head(w, q, TYPE_A, 4);
		put16(w, (uint16_t)(h->ip >> 16));
		put16(w, (uint16_t)h->ip);
	}
	if (h->has_ip6 && (any || q->type == TYPE_AAAA)) {
		put_head(w, q, TYPE_AAAA, 16);
		memcpy(w->to + w->at, &h->ip6, 16);
		w->at += 16;
	}
}

static void put_labels(struct writer *w, const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");

		w->to[w->at++] = (uint8_t)label;
		memcpy(w->to + w->at, name, label);
		w->at += label;
		name += label + (name[label] == '.');
	}
}

static void put_pointer(struct writer *w, const struct question *q, const struct nat_host *h,
			const char *domain)
{
	size_t len = strlen(h->name) + 1 + (domain[0] ? strlen(domain) + 1 : 0) + 1;

	if (q->type != TYPE_PTR && q->type != TYPE_ANY)
		return;
	put_head(w, q, TYPE_PTR, (uint16_t)len);
	put_labels(w, h->name);
	put_labels(w, domain);
	w->to[w->at++] = 0;
}

static struct writer begin(const struct question *q, size_t question_end, uint8_t *reply)
{
	struct writer w = { reply, question_end, 0 };

	memcpy(reply, q->msg, question_end);
	reply[2] = (uint8_t)(QR | (q->msg[2] & (OPCODE | RD)));
	memset(reply + 4, 0, HEAD_LEN - 4);
	reply[5] = question_end > HEAD_LEN;
	return w;
}

static enum nat_dns_way finish(struct writer *w, const struct nat_dns *dns,
			       const struct question *q, uint8_t rcode, bool ours, size_t *ret_len)
{
	w->to[2] |= ours ? AA : 0;
	w->to[3] = (uint8_t)(rcode | (dns->net->restricted ? 0 : RA));
	w->to[6] = (uint8_t)(w->answers >> 8);
	w->to[7] = (uint8_t)w->answers;
	if (q->edns) {
		w->to[11] = 1;
		w->to[w->at++] = 0;
		put16(w, TYPE_OPT);
		put16(w, EDNS_SIZE);
		memset(w->to + w->at, 0, 6);
		w->at += 6;
	}
	*ret_len = w->at;
	return NAT_DNS_ANSWER;
}

static enum nat_dns_way only_code(const struct nat_dns *dns, const struct question *q,
				  uint8_t rcode, uint8_t *reply, size_t *ret_len)
{
	struct writer w = begin(q, q->end, reply);

	return finish(&w, dns, q, rcode, rcode == NXDOMAIN, ret_len);
}

/* A name of the lab: *ret_host, or NULL there if it has no such host.  False: not the lab's to say. */
static bool is_ours(const struct nat_dns *dns, const struct question *q,
		    const struct nat_host **ret_host, bool *ret_reverse)
{
	uint32_t ip;
	struct in6_addr ip6;
	size_t len;

	*ret_host = NULL;
	*ret_reverse = false;
	if (in_domain(q->name, dns->net->domain, &len)) {
		*ret_host = host_named(dns, q->name, len);
		return true;
	}
	if (read_arpa4(q->name, &ip) && (ip & dns->net->mask) == dns->net->subnet) {
		*ret_host = nat_hosts_by_ip(dns->hosts, ip);
		*ret_reverse = true;
		return true;
	}
	if (read_arpa6(q->name, &ip6) && nat_net_has(dns->net, &ip6)) {
		*ret_host = nat_hosts_by_ip6(dns->hosts, &ip6);
		*ret_reverse = true;
		return true;
	}
	*ret_host = host_named(dns, q->name, strlen(q->name));
	return *ret_host != NULL;
}

static enum nat_dns_way answer(const struct nat_dns *dns, const struct question *q, uint8_t *reply,
			       size_t *ret_len)
{
	const struct nat_host *host;
	bool reverse;
	struct writer w;

	if (!is_ours(dns, q, &host, &reverse))
		return dns->net->restricted ? only_code(dns, q, REFUSED, reply, ret_len) :
					      NAT_DNS_FORWARD;
	if (!host && strcasecmp(q->name, dns->net->domain) != 0)
		return only_code(dns, q, NXDOMAIN, reply, ret_len);
	w = begin(q, q->end, reply);
	if (host && reverse)
		put_pointer(&w, q, host, dns->net->domain);
	else if (host)
		put_address(&w, q, host);
	return finish(&w, dns, q, NOERROR, true, ret_len);
}

enum nat_dns_way nat_dns_answer(const struct nat_dns *dns, const uint8_t *query, size_t len,
				uint8_t reply[NAT_DNS_REPLY_MAX], size_t *ret_len)
{
	struct question q = { .msg = query, .end = HEAD_LEN };

	if (len < HEAD_LEN || query[2] & QR)
		return NAT_DNS_NOTHING;
	if (query[2] & OPCODE)
		return only_code(dns, &q, NOTIMP, reply, ret_len);
	if (!read_question(query, len, &q))
		return only_code(dns, &(struct question){ .msg = query, .end = HEAD_LEN }, FORMERR,
				 reply, ret_len);
	if (q.class != CLASS_IN && q.class != CLASS_ANY)
		return dns->net->restricted ? only_code(dns, &q, REFUSED, reply, ret_len) :
					      NAT_DNS_FORWARD;
	return answer(dns, &q, reply, ret_len);
}
