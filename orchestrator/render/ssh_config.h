/* SPDX-License-Identifier: MIT */
/* ssh_config(5) of a lab: every VM with sockets as a host of its name, reached over its socket port 22 and not by any
 * network.  Pure. */
#ifndef RENDER_SSH_CONFIG_H
#define RENDER_SSH_CONFIG_H

#include <glib.h>

struct lab;

/* program: the orchestrator, as the ProxyCommand is to call it.  guests: of char *, names that are reached as VMs are; NULL:
 * none.  g_free(). */
char *render_ssh_config(const struct lab *lab, const GPtrArray *guests, const char *program);

#endif
