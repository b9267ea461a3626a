/* SPDX-License-Identifier: MIT */
#include "target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ports.h"

/* An address as text: IPv6 with a terminator. */
#define HOST_MAX INET6_ADDRSTRLEN

int target_unix(const char *path, struct target *ret_target)
{
	struct target t = { .family = AF_UNIX,
			    .n_addrs = 1,
			    .len = { sizeof(struct sockaddr_un) } };
	struct sockaddr_un *un = &t.addr[0].un;
	size_t len = strlen(path);

	if (len >= sizeof(un->sun_path))
		return -ENAMETOOLONG;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len);
	*ret_target = t;
	return 0;
}

static int parse_unix(const char *path, struct target *ret_target, const char **ret_why)
{
	if (*path != '/') {
		*ret_why = "the path of a Unix socket begins with /";
		return -EINVAL;
	}
	if (target_unix(path, ret_target) < 0) {
		*ret_why = "the path of a Unix socket has 107 bytes at most";
		return -EINVAL;
	}
	return 0;
}

static void add_ipv4(struct target *t, struct in_addr addr)
{
	t->addr[t->n_addrs].in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = addr };
	t->len[t->n_addrs++] = sizeof(struct sockaddr_in);
}

static void add_ipv6(struct target *t, struct in6_addr addr)
{
	t->addr[t->n_addrs].in6 =
		(struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_addr = addr };
	t->len[t->n_addrs++] = sizeof(struct sockaddr_in6);
}

/* The host's part, without brackets. */
static bool parse_host(const char *host, bool brackets, struct target *t)
{
	struct in_addr in = { htonl(INADDR_LOOPBACK) };
	struct in6_addr in6;

	if (brackets) {
		if (inet_pton(AF_INET6, host, &in6) != 1)
			return false;
		add_ipv6(t, in6);
	} else if (strcmp(host, "localhost") == 0) {
		add_ipv4(t, in);
		add_ipv6(t, in6addr_loopback);
	} else {
		if (*host && inet_pton(AF_INET, host, &in) != 1)
			return false;
		add_ipv4(t, in);
	}
	return true;
}

/* Take "[host]" or "host" apart from ":port"; without a colon all is the port. */
static bool split_host(const char *text, char host[HOST_MAX], bool *ret_brackets,
		       const char **ret_port)
{
	const char *begin = text, *end, *colon;

	*ret_brackets = *text == '[';
	if (*ret_brackets) {
		begin++;
		end = strchr(begin, ']');
		if (!end || end[1] != ':')
			return false;
		colon = end + 1;
	} else {
		colon = strchr(text, ':');
		end = colon ? colon : begin;
		if (colon == text)
			return false;
	}
	if (end - begin >= HOST_MAX)
		return false;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = '\0';
	*ret_port = colon ? colon + 1 : text;
	return true;
}

/* Both families have it in the same place. */
static void set_port(struct target *t, in_port_t port)
{
	for (unsigned i = 0; i < t->n_addrs; i++)
		t->addr[i].in.sin_port = htons(port);
}

static int parse_tcp(const char *text, struct target *ret_target, const char **ret_why)
{
	struct target t = { .family = AF_INET };
	char host[HOST_MAX];
	const char *port_text;
	bool brackets;
	uint32_t port;

	if (!split_host(text, host, &brackets, &port_text)) {
		*ret_why = "write tcp:PORT, tcp:ADDRESS:PORT or tcp:[IPV6]:PORT";
		return -EINVAL;
	}
	if (!parse_host(host, brackets, &t)) {
		*ret_why = "the host is an address or localhost, an IPv6 address in brackets";
		return -EINVAL;
	}
	if (ports_from_number(port_text, strlen(port_text), &port) < 0 || port > UINT16_MAX) {
		*ret_why = "a TCP port is a number from 0 to 65535";
		return -EINVAL;
	}
	set_port(&t, (in_port_t)port);
	*ret_target = t;
	return 0;
}

int target_parse(const char *text, struct target *ret_target, const char **ret_why)
{
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret_target, ret_why);
	if (strncmp(text, "tcp:", 4) == 0)
		return parse_tcp(text + 4, ret_target, ret_why);
	*ret_why = "write tcp:ADDRESS:PORT or unix:/PATH";
	return -EINVAL;
}

void target_format(const struct target *target, char ret_text[TARGET_TEXT_MAX])
{
	const union target_addr *a = &target->addr[0];
	char host[HOST_MAX];

	if (target->family == AF_UNIX) {
		(void)snprintf(ret_text, TARGET_TEXT_MAX, "unix:%.107s", a->un.sun_path);
		return;
	}
	if (target->n_addrs > 1)
		(void)snprintf(host, sizeof(host), "localhost");
	else if (a->sa.sa_family == AF_INET6)
		(void)inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
	else
		(void)inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
	(void)snprintf(ret_text, TARGET_TEXT_MAX,
		       a->sa.sa_family == AF_INET6 ? "tcp:[%s]:%u" : "tcp:%s:%u", host,
		       target_port(target));
}

in_port_t target_port(const struct target *target)
{
	return ntohs(target->addr[0].in.sin_port);
}

void target_learn_port(struct target *target, int listen_fd)
{
	union target_addr a = { .in.sin_port = 0 };
	socklen_t len = sizeof(a);

	(void)getsockname(listen_fd, &a.sa, &len);
	set_port(target, ntohs(a.in.sin_port));
}
