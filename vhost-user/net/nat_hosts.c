/* SPDX-License-Identifier: MIT */
#include "nat_hosts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base.h"

static char lower(char c)
{
	if (c >= 'A' && c <= 'Z')
		c = (char)(c | 0x20);
	return c;
}

static bool is_word(char c)
{
	c = lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool label_valid(const char *text, size_t len)
{
	if (len == 0 || len > NAT_LABEL_MAX || !is_word(text[0]) || !is_word(text[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_word(text[i]) && text[i] != '-')
			return false;
	return true;
}

bool nat_name_valid(const char *text, size_t len)
{
	const char *dot;

	while ((dot = memchr(text, '.', len))) {
		size_t label = (size_t)(dot - text);

		if (!label_valid(text, label))
			return false;
		text += label + 1;
		len -= label + 1;
	}
	return label_valid(text, len);
}

/* FNV-1a, without regard to case. */
static uint32_t hash_name(const char *name, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)lower(name[i])) * 16777619u;
	return h;
}

const struct nat_host *nat_hosts_by_name(const struct nat_hosts *hosts, const char *name,
					 size_t len)
{
	uint32_t hash = hash_name(name, len);

	for (unsigned i = 0; i < hosts->n; i++) {
		const struct nat_host *h = &hosts->host[i];

		if (h->hash == hash && strlen(h->name) == len &&
		    strncasecmp(h->name, name, len) == 0)
			return h;
	}
	return NULL;
}

const struct nat_host *nat_hosts_by_mac(const struct nat_hosts *hosts, const uint8_t mac[6])
{
	for (unsigned i = 0; i < hosts->n; i++)
		if (hosts->host[i].has_mac && memcmp(hosts->host[i].mac, mac, 6) == 0)
			return &hosts->host[i];
	return NULL;
}

const struct nat_host *nat_hosts_by_ip(const struct nat_hosts *hosts, uint32_t ip)
{
	for (unsigned i = 0; i < hosts->n; i++)
		if (hosts->host[i].has_ip && hosts->host[i].ip == ip)
			return &hosts->host[i];
	return NULL;
}

const struct nat_host *nat_hosts_by_ip6(const struct nat_hosts *hosts, const struct in6_addr *ip6)
{
	for (unsigned i = 0; i < hosts->n; i++)
		if (hosts->host[i].has_ip6 && memcmp(&hosts->host[i].ip6, ip6, sizeof(*ip6)) == 0)
			return &hosts->host[i];
	return NULL;
}

static bool is_taken(const struct nat_hosts *hosts, const struct nat_host *h)
{
	return nat_hosts_by_name(hosts, h->name, strlen(h->name)) ||
	       (h->has_mac && nat_hosts_by_mac(hosts, h->mac)) ||
	       (h->has_ip && nat_hosts_by_ip(hosts, h->ip)) ||
	       (h->has_ip6 && nat_hosts_by_ip6(hosts, &h->ip6));
}

static int make_room(struct nat_hosts *hosts)
{
	unsigned room = max(16u, 2 * hosts->room);
	struct nat_host *bigger;

	if (hosts->n < hosts->room)
		return 0;
	bigger = reallocarray(hosts->host, room, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	hosts->host = bigger;
	hosts->room = room;
	return 0;
}

int nat_hosts_add(struct nat_hosts *hosts, const struct nat_host *host)
{
	size_t len = strnlen(host->name, sizeof(host->name));
	struct nat_host *h;
	int r;

	if (len == sizeof(host->name) || !nat_name_valid(host->name, len))
		return -EINVAL;
	if (is_taken(hosts, host))
		return -EEXIST;
	if (hosts->n == NAT_HOSTS_MAX)
		return -ENOSPC;
	r = make_room(hosts);
	if (r < 0)
		return r;
	h = &hosts->host[hosts->n++];
	*h = *host;
	for (size_t i = 0; i < len; i++)
		h->name[i] = lower(h->name[i]);
	h->hash = hash_name(h->name, len);
	return 0;
}

void nat_hosts_done(struct nat_hosts *hosts)
{
	free(hosts->host);
	*hosts = (struct nat_hosts){ 0 };
}
