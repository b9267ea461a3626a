/* SPDX-License-Identifier: MIT */
#include "agent/guest/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST_MAX 64

static int parse_unix(const char *path, struct address *ret)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (path[0] != '/' || len >= sizeof(un.sun_path))
		return -EINVAL;
	memcpy(un.sun_path, path, len + 1);
	memcpy(&ret->sa, &un, sizeof(un));
	ret->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return 0;
}

static int parse_port(const char *text, in_port_t *ret_port)
{
	unsigned long port;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	port = strtoul(text, &end, 10);
	if (*end || port > 65535)
		return -EINVAL;
	*ret_port = htons((in_port_t)port);
	return 0;
}

/* HOST without its brackets. */
static int set_host(const char *host, in_port_t port, struct address *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = port };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = port };

	if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &in.sin_addr) == 1) {
		memcpy(&ret->sa, &in, sizeof(in));
		ret->len = sizeof(in);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &in6.sin6_addr) != 1)
		return -EINVAL;
	memcpy(&ret->sa, &in6, sizeof(in6));
	ret->len = sizeof(in6);
	return 0;
}

static int parse_tcp(const char *text, struct address *ret)
{
	const char *colon = strrchr(text, ':');
	char host[HOST_MAX] = "127.0.0.1";
	size_t len = colon ? (size_t)(colon - text) : 0;
	in_port_t port;

	if (parse_port(colon ? colon + 1 : text, &port) < 0 || len >= sizeof(host))
		return -EINVAL;
	if (colon && len >= 2 && text[0] == '[' && text[len - 1] == ']')
		snprintf(host, sizeof(host), "%.*s", (int)len - 2, text + 1);
	else if (colon && memchr(text, ':', len))
		return -EINVAL; /* an IPv6 address wants brackets */
	else if (colon)
		snprintf(host, sizeof(host), "%.*s", (int)len, text);
	return set_host(host, port, ret);
}

int address_parse(const char *text, struct address *ret_address)
{
	struct address address = { 0 };
	int r = -EINVAL;

	if (strncmp(text, "tcp:", 4) == 0)
		r = parse_tcp(text + 4, &address);
	else if (strncmp(text, "unix:", 5) == 0)
		r = parse_unix(text + 5, &address);
	if (r == 0)
		*ret_address = address;
	return r;
}

void address_format(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
	const void *sa = &address->sa;
	char host[INET6_ADDRSTRLEN] = "";

	if (address->sa.ss_family == AF_UNIX) {
		snprintf(out, ADDRESS_TEXT_MAX, "unix:%s",
			 ((const struct sockaddr_un *)sa)->sun_path);
	} else if (address->sa.ss_family == AF_INET) {
		const struct sockaddr_in *in = sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "tcp:%s:%u", host, ntohs(in->sin_port));
	} else {
		const struct sockaddr_in6 *in6 = sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, ADDRESS_TEXT_MAX, "tcp:[%s]:%u", host, ntohs(in6->sin6_port));
	}
}

static int make(const struct address *address)
{
	int fd = socket(address->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int close_errno(int fd)
{
	int err = errno;

	close(fd);
	return -err;
}

int address_connect(const struct address *address)
{
	int fd = make(address);

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)&address->sa, address->len) < 0 &&
	    errno != EINPROGRESS)
		return close_errno(fd);
	return fd;
}

int address_listen(const struct address *address, int backlog)
{
	const int on = 1;
	int fd = make(address);

	if (fd < 0)
		return fd;
	if (address->sa.ss_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&address->sa, address->len) < 0 ||
	    listen(fd, backlog) < 0)
		return close_errno(fd);
	return fd;
}
