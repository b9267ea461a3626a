/* SPDX-License-Identifier: MIT */
/* An Ansible inventory of a lab, in YAML: every VM as a host, with how ssh reaches it, and its addresses as `lab_addresses`
 * (by network); groups role_ROLE, net_NETWORK and portal_PORTAL, with '_' for every '-' in a name.
 *
 * A VM with sockets is reached by them, which takes no network; else by a forward to its port 22 if a NAT uplink has one;
 * else by its first address, to which the host needs a way of its own.  Pure.
 */
#ifndef RENDER_ANSIBLE_H
#define RENDER_ANSIBLE_H

struct lab;

/* program: the orchestrator, as a ProxyCommand is to call it.  g_free(). */
char *render_ansible(const struct lab *lab, const char *program);

#endif
