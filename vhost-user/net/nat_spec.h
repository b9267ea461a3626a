/* SPDX-License-Identifier: MIT */
/* A NAT port as JSON describes it: the members in port_nat.h, the params of port_nat_ctl.h.
 *
 * Reading has no effect.  What is wrong is said with its place: "hosts/3/mac: not a MAC address".
 *
 * Ownership: nat_spec_done() frees what nat_spec_read() made.  Texts in *why are of malloc().
 * Threads:   none. */
#ifndef NET_NAT_SPEC_H
#define NET_NAT_SPEC_H

#include "nat_forward.h"
#include "nat_hosts.h"
#include "nat_net.h"
#include "portspec.h"

struct nat_spec {
	struct nat_net net;
	uint32_t pool_first, pool_last;
	uint32_t lease_s;
	unsigned sockets;
	struct nat_hosts hosts;
	struct nat_forward *forward;
	unsigned n_forward;
};

/* `mtu`: the switch's.  -EINVAL and *why; -ENOMEM. */
int nat_spec_read(const struct port_spec *spec, uint16_t mtu, struct nat_spec *ret, char **why);
void nat_spec_done(struct nat_spec *spec);

/* Parts of it, as the methods take them: hosts.set's array, forward.add's params.  In the latter members that are
 * not a forward's ("port") are left alone. */
int nat_spec_hosts(struct json_object *array, const struct nat_net *net, struct nat_hosts *ret,
		   char **why);
int nat_spec_forward(struct json_object *o, const struct nat_net *net, struct nat_forward *ret,
		     char **why);
/* Without "guest" and "guest-port": what names one that is to be removed. */
int nat_spec_forward_name(struct json_object *o, struct nat_forward *ret, char **why);

#endif
