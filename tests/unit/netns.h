/* SPDX-License-Identifier: MIT */
/* A network of the test's own: a namespace in which it may make devices, and nobody else's traffic passes. */
#ifndef TEST_NETNS_H
#define TEST_NETNS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Move this process into a new network namespace, with IPv6 off so that nothing is sent but what a test sends; if need
 * be into a user namespace too, in which that is allowed.  False: this machine allows neither. */
bool netns_enter(void);

/* In the same way a mount namespace, and in it a file system of 256 KiB at `where`. */
bool netns_mount_small(const char *where);

/* Run a program of $PATH to its end, from four words on; fails the test if it fails. */
#define netns_run(...) netns_run_words((const char *const[]){ __VA_ARGS__, NULL })
void netns_run_words(const char *const words[]);

/* The same for what not every kernel can: whether it did. */
#define netns_try(...) netns_try_words((const char *const[]){ __VA_ARGS__, NULL })
bool netns_try_words(const char *const words[]);

/* A second namespace, held by a child of this process until netns_child_end(); its id for `ip link set … netns`. */
pid_t netns_child(void);
void netns_child_end(pid_t child);
/* As netns_run(), in the child's namespace. */
#define netns_run_in(child, ...) \
	netns_run_words_in(child, (const char *const[]){ __VA_ARGS__, NULL })
void netns_run_words_in(pid_t child, const char *const words[]);

/* Move this process, or a child of the test, into the namespace of `child`. */
bool netns_join(pid_t child);

/* A raw packet socket on a device, without waiting. */
int netns_packet_socket(const char *ifname);

#endif
