/* SPDX-License-Identifier: MIT */
/* What a guest is told about itself: the text of fw_cfg's opt/org.vhost-lab/config.
 *
 * Lines "key value", one fact a line, ASCII, so that a shell reads it as well as a program:
 *
 *   format 1
 *   lab three-nodes
 *   hostname n1
 *   agent-port 51000                 of the agent; absent: 50000
 *   sockets hvsock                   its sockets are Hyper-V's; absent: virtio's, or none
 *   nic.0.mac 52:54:00:1a:2b:3c      nic.N is to become ethN
 *   nic.0.ip 192.168.100.10/24       absent where the lab gives none
 *   nic.0.mtu 1500
 *   nic.0.network lan
 *   nic.0.gateway 192.168.100.1      the way out of the guest; at most one NIC has it, if its network has an uplink
 *   dns 192.168.100.254              of that network's uplink, if it has one
 *   portal shared pmem               memory to share, in the order of its devices on the PCI bus, and its door
 *   host 192.168.100.10 n1           one for each address of each VM of the lab, its first one under the plain name,
 *   host 10.0.0.2 n1.back            the others, and the first again where it has several, as VM.NETWORK
 *
 * A reader skips keys that it does not know.  Pure: no I/O.
 *
 * The guest's answer comes as lines on its second serial port: "error TEXT" for each thing that it could not do, or
 * "ready 1" when all of it is done.  After an error there is no "ready"; after a reboot both may come again. */
#ifndef ORCHESTRATOR_IMAGE_GUEST_CONF_H
#define ORCHESTRATOR_IMAGE_GUEST_CONF_H

struct lab;
struct vm;

#define GUEST_CONF_FW_CFG "opt/org.vhost-lab/config"

/* The configuration of VM, which is one of LAB's.  Never NULL; free with g_free(). */
char *guest_conf(const struct lab *lab, const struct vm *vm);

#endif
