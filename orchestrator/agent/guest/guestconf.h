/* SPDX-License-Identifier: MIT */
/* The guest's configuration from fw_cfg, for PID 1: format and keys are those of orchestrator/image/guest_conf.h. */
#ifndef ORCHESTRATOR_AGENT_GUEST_GUESTCONF_H
#define ORCHESTRATOR_AGENT_GUEST_GUESTCONF_H

struct agent;

/* Set host name, /etc/hosts, /etc/motd and the NICs; load the modules of sockets.  Without a configuration: host name "tiny", virtio's
 * sockets.  What fails is told as trouble. */
void guestconf_apply(struct agent *agent);

#endif
