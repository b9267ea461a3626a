/* SPDX-License-Identifier: MIT */
/* What a guest is told about itself by CONFIG of the agent's protocol (doc/agent.md): the same facts as in guest_conf.h, for
 * guests that do not read fw_cfg, and again for those that do.  Pure. */
#ifndef RENDER_AGENT_CONFIG_H
#define RENDER_AGENT_CONFIG_H

struct json_object;
struct lab;
struct vm;

/* hostname, interfaces, hosts; the clock is for who sends it.  Fits into one message: the hosts of a lab that is too large
 * for that are left out, and are in guest.conf alone.  Caller owns. */
struct json_object *render_agent_config(const struct lab *lab, const struct vm *vm);

#endif
