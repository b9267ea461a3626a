/* SPDX-License-Identifier: MIT */
#include "inetaddr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The host's part of `text`, and where the port's begins (NULL: there is none). */
static int split(const char *text, char host[INETADDR_TEXT_MAX], const char **ret_port)
{
	const char *end, *port = NULL;

	if (text[0] == '[') {
		end = strchr(++text, ']');
		if (!end || (end[1] != '\0' && end[1] != ':'))
			return -EINVAL;
		port = end[1] == ':' ? end + 2 : NULL;
	} else {
		end = strchr(text, ':');
		if (end &&
		    !strchr(end + 1, ':')) /* one colon: a port; more: IPv6 without brackets */
			port = end + 1;
		else
			end = text + strlen(text);
	}
	if ((size_t)(end - text) >= INETADDR_TEXT_MAX)
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	*ret_port = port;
	return 0;
}

static int parse_port(const char *text, uint16_t *ret)
{
	size_t n = strspn(text, "0123456789");
	unsigned long value;

	if (n == 0 || n > 5 || text[n] != '\0')
		return -EINVAL;
	value = strtoul(text, NULL, 10);
	if (value == 0 || value > UINT16_MAX)
		return -EINVAL;
	*ret = (uint16_t)value;
	return 0;
}

int inetaddr_parse(const char *text, uint16_t default_port, union inetaddr *ret)
{
	char host[INETADDR_TEXT_MAX];
	union inetaddr a = { 0 };
	uint16_t port = default_port;
	const char *port_text;
	int r = split(text, host, &port_text);

	if (r == 0 && port_text)
		r = parse_port(port_text, &port);
	if (r < 0 || port == 0)
		return -EINVAL;
	if (text[0] != '[' && inet_pton(AF_INET, host, &a.in.sin_addr) == 1) {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons(port);
	} else if (inet_pton(AF_INET6, host, &a.in6.sin6_addr) == 1) {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons(port);
	} else {
		return -EINVAL;
	}
	*ret = a;
	return 0;
}

const char *inetaddr_text(const union inetaddr *a, char text[INETADDR_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN];

	if (a->sa.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
		snprintf(text, INETADDR_TEXT_MAX, "%s:%u", host, ntohs(a->in.sin_port));
	} else {
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
		snprintf(text, INETADDR_TEXT_MAX, "[%s]:%u", host, ntohs(a->in6.sin6_port));
	}
	return text;
}

bool inetaddr_same_host(const union inetaddr *a, const union inetaddr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
}

bool inetaddr_equal(const union inetaddr *a, const union inetaddr *b)
{
	return inetaddr_same_host(a, b) &&
	       (a->sa.sa_family == AF_INET ? a->in.sin_port == b->in.sin_port :
					     a->in6.sin6_port == b->in6.sin6_port);
}
