/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>

#include "base.h"
#include "link_ctl_impl.h"

#define VLAN_MAX 4094

static const struct {
	const char *name;
	enum match_given bit;
} names[] = {
	{ "src", MATCH_SRC },
	{ "dst", MATCH_DST },
	{ "vlan", MATCH_VLAN },
	{ "pcp", MATCH_PCP },
	{ "ethertype", MATCH_ETHERTYPE },
	{ "protocol", MATCH_PROTOCOL },
	{ "port", MATCH_PORT },
	{ "dscp", MATCH_DSCP },
	{ "bpf", MATCH_BPF },
};

static const struct {
	const char *name;
	uint8_t number;
} protocols[] = {
	{ "icmp", IPPROTO_ICMP },
	{ "tcp", IPPROTO_TCP },
	{ "udp", IPPROTO_UDP },
	{ "icmpv6", IPPROTO_ICMPV6 },
};

struct reading {
	struct match m;
	const char *key;
	char *why;
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct reading *r, const char *fmt,
						       ...)
{
	int n = snprintf(r->why, IMPAIR_WHY_MAX, "match/%.32s: ", r->key);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(r->why + n, (size_t)(IMPAIR_WHY_MAX - n), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int read_number(const struct reading *r, struct json_object *value, int64_t low,
		       int64_t high, int64_t *ret)
{
	int64_t n = json_object_get_int64(value);

	if (!json_object_is_type(value, json_type_int) || n < low || n > high)
		return wrong(r, "must be a whole number from %lld to %lld", (long long)low,
			     (long long)high);
	*ret = n;
	return 0;
}

/* Two hexadecimal digits at each third byte, colons between. */
static int read_mac(const struct reading *r, struct json_object *value, uint64_t *ret)
{
	const char *text = json_object_get_string(value);
	bool good = json_object_is_type(value, json_type_string) && strlen(text) == 17;
	uint8_t mac[6];

	for (unsigned i = 0; good && i < array_size(mac); i++, text += 3) {
		good = isxdigit((unsigned char)text[0]) && isxdigit((unsigned char)text[1]) &&
		       text[2] == (i + 1 < array_size(mac) ? ':' : '\0');
		mac[i] = (uint8_t)strtoul(text, NULL, 16);
	}
	if (!good)
		return wrong(r, "must be an address like 52:54:00:12:34:56");
	*ret = fdb_key(mac);
	return 0;
}

static int read_protocol(const struct reading *r, struct json_object *value, int64_t *ret)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return read_number(r, value, 0, UINT8_MAX, ret);
	for (unsigned i = 0; i < array_size(protocols); i++)
		if (strcmp(text, protocols[i].name) == 0) {
			*ret = protocols[i].number;
			return 0;
		}
	return wrong(r, "must be icmp, tcp, udp, icmpv6 or a number");
}

static int read_bpf(struct reading *r, struct json_object *value)
{
	const char *text = json_object_get_string(value);
	char problem[BPF_WHY_MAX];
	int err;

	if (!json_object_is_type(value, json_type_string) || strlen(text) == 0)
		return wrong(r, "must be an expression of pcap-filter(7)");
	err = bpf_new(text, &r->m.bpf, problem);
	if (err == -EINVAL)
		return wrong(r, "%s", problem);
	if (err < 0 || !(r->m.bpf_text = strdup(text)))
		return wrong(r, "no memory");
	return 0;
}

static int read_member(struct reading *r, enum match_given bit, struct json_object *value)
{
	int64_t n = 0;
	int err = 0;

	switch (bit) {
	case MATCH_SRC:
		return read_mac(r, value, &r->m.src);
	case MATCH_DST:
		return read_mac(r, value, &r->m.dst);
	case MATCH_VLAN:
		err = read_number(r, value, 1, VLAN_MAX, &n);
		r->m.vlan = (uint16_t)n;
		break;
	case MATCH_PCP:
		err = read_number(r, value, 0, 7, &n);
		r->m.pcp = (uint8_t)n;
		break;
	case MATCH_ETHERTYPE:
		err = read_number(r, value, 0, UINT16_MAX, &n);
		r->m.ethertype = (uint16_t)n;
		break;
	case MATCH_PROTOCOL:
		err = read_protocol(r, value, &n);
		r->m.protocol = (uint8_t)n;
		break;
	case MATCH_PORT:
		err = read_number(r, value, 0, UINT16_MAX, &n);
		r->m.port = (uint16_t)n;
		break;
	case MATCH_DSCP:
		err = read_number(r, value, 0, 63, &n);
		r->m.dscp = (uint8_t)n;
		break;
	case MATCH_BPF:
		return read_bpf(r, value);
	}
	return err;
}

static int read_members(struct reading *r, struct json_object *o, unsigned allowed)
{
	json_object_object_foreach(o, key, value)
	{
		unsigned i = 0;
		int err;

		r->key = key;
		while (i < array_size(names) &&
		       (strcmp(names[i].name, key) != 0 || !(names[i].bit & allowed)))
			i++;
		if (i == array_size(names))
			return wrong(r, "unknown member");
		err = read_member(r, names[i].bit, value);
		if (err < 0)
			return err;
		r->m.given |= names[i].bit;
	}
	return 0;
}

int match_json_read(struct json_object *o, unsigned allowed, struct match *ret,
		    char why[IMPAIR_WHY_MAX])
{
	struct reading r = { .why = why };
	int err;

	if (!json_object_is_type(o, json_type_object)) {
		(void)snprintf(why, IMPAIR_WHY_MAX, "match: must be an object");
		return -EINVAL;
	}
	err = read_members(&r, o, allowed);
	if (err < 0)
		match_done(&r.m);
	else
		*ret = r.m;
	return err;
}

static void add_mac(struct json_object *o, const char *name, uint64_t key)
{
	char text[18];
	uint8_t mac[6];

	fdb_key_to_mac(key, mac);
	(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		       mac[3], mac[4], mac[5]);
	ctl_add_string(o, name, text);
}

struct json_object *match_json(const struct match *m)
{
	struct json_object *o = json_object_new_object();

	if (m->given & MATCH_SRC)
		add_mac(o, "src", m->src);
	if (m->given & MATCH_DST)
		add_mac(o, "dst", m->dst);
	if (m->given & MATCH_VLAN)
		ctl_add_number(o, "vlan", m->vlan);
	if (m->given & MATCH_PCP)
		ctl_add_number(o, "pcp", m->pcp);
	if (m->given & MATCH_ETHERTYPE)
		ctl_add_number(o, "ethertype", m->ethertype);
	if (m->given & MATCH_PROTOCOL)
		ctl_add_number(o, "protocol", m->protocol);
	if (m->given & MATCH_PORT)
		ctl_add_number(o, "port", m->port);
	if (m->given & MATCH_DSCP)
		ctl_add_number(o, "dscp", m->dscp);
	if (m->given & MATCH_BPF)
		ctl_add_string(o, "bpf", m->bpf_text);
	return o;
}
