/* SPDX-License-Identifier: MIT */
/* The host's end of a forward, as text: where to connect to, or where to listen.
 *
 *   tcp:22   tcp:127.0.0.1:22   tcp:[::1]:22   tcp:localhost:22      unix:/run/user/1000/app.sock
 *
 * Without an address TCP is 127.0.0.1; any other must be asked for.  "localhost" is both loopback addresses, IPv4 first:
 * a connection takes the first that answers, a listener takes both.  Other names are refused: to look them up would have the
 * daemon wait for a name server, and a forward's meaning would change with its answer.
 *
 * No system calls but that of target_learn_port(). */
#ifndef HV_TARGET_H
#define HV_TARGET_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#define TARGET_ADDRS_MAX 2   /* localhost */
#define TARGET_TEXT_MAX  120 /* "unix:" and a path; terminator included */

union target_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

struct target {
	int family; /* AF_UNIX, or AF_INET for TCP of either kind */
	unsigned n_addrs;
	union target_addr addr[TARGET_ADDRS_MAX];
	socklen_t len[TARGET_ADDRS_MAX];
};

/* Read `text`.  -EINVAL, and *ret_why says what is wrong, in words for the operator. */
int target_parse(const char *text, struct target *ret_target, const char **ret_why);

/* Its text, in the form above; address and port of TCP are those of the first address. */
void target_format(const struct target *target, char ret_text[TARGET_TEXT_MAX]);

/* A Unix socket at `path`.  -ENAMETOOLONG. */
int target_unix(const char *path, struct target *ret_target);

in_port_t target_port(const struct target *target); /* of TCP, host byte order */

/* Let all addresses have the port that the kernel has chosen for a listener. */
void target_learn_port(struct target *target, int listen_fd);

#endif
