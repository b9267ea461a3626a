/* SPDX-License-Identifier: MIT */
/* hosts(5) of a lab: the addresses of its VMs, with the names that its guests know each other by.  Pure. */
#ifndef RENDER_HOSTS_H
#define RENDER_HOSTS_H

struct lab;

/* g_free(). */
char *render_hosts(const struct lab *lab);

#endif
