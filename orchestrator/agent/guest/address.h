/* SPDX-License-Identifier: MIT */
/* Addresses in requests: "tcp:127.0.0.1:22", "tcp:[::1]:22", "tcp:22", "unix:/path". */
#ifndef ORCHESTRATOR_AGENT_GUEST_ADDRESS_H
#define ORCHESTRATOR_AGENT_GUEST_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#define ADDRESS_TEXT_MAX 160

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* Returns 0, or -EINVAL. */
int address_parse(const char *text, struct address *ret_address);

/* Write it out as it is parsed; port 0 has become the one that the kernel chose. */
void address_format(const struct address *address, char out[ADDRESS_TEXT_MAX]);

/* A non-blocking, close-on-exec socket: connecting (it may go on), or listening.  Returns it or a negative errno. */
int address_connect(const struct address *address);
int address_listen(const struct address *address, int backlog);

#endif
