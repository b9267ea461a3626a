/* SPDX-License-Identifier: MIT */
/* A lab's daemons as units of systemd: whoever starts a VM, virsh for example, finds its switches, sockets and portals there,
 * with nothing of ours running before.
 *
 *   vhost-lab-LAB.target              all of it: what is started, stopped and enabled
 *   vhost-lab-LAB.net-NET.socket      every socket of a switch; listened at by systemd
 *   vhost-lab-LAB.net-NET.service     vhost-user-net, started by the first who connects, and again when it dies
 *   vhost-lab-LAB.hvsock.*            the same of vhost-user-hvsock, if a VM has sockets
 *   vhost-lab-LAB.portal-PORTAL.*     the same of a vhost-user-portal, which is started with the target: the file that it
 *                                     makes has to be there before a QEMU maps it
 *   vhost-lab-LAB.directory.service   of the system alone: makes the directory of the sockets, which is its user's
 *   vhost-lab-LAB.machines.service    of a session alone: wakes its libvirt, which starts the VMs that are to come up with
 *                                     the host
 *   net-NET.json, hvsock.json, portal-PORTAL.json    the daemons' configurations
 *   install                           sh: puts all of it in its place, or takes it out again
 *
 * Labels have no dot, so no two labs share a name.  A daemon takes a listener for what its configuration has at that path
 * (vhost-user/lib/listen.h), so the configuration is the one that the supervisor would write, and units name no sockets.
 *
 * A host's port that is taken (a forward), or a file that cannot be written (a capture), does not keep a daemon from starting.
 *
 * Pure.  Text of units and of the script ends in '\n'.
 */
#ifndef RENDER_SYSTEMD_H
#define RENDER_SYSTEMD_H

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

struct lab;
struct lab_paths;

enum systemd_daemon { SYSTEMD_NET, SYSTEMD_HVSOCK, SYSTEMD_PORTAL, SYSTEMD_DAEMONS };

struct systemd_host {
	const char *program[SYSTEMD_DAEMONS]; /* absolute; of those that the lab needs */
	const char *dir;                      /* absolute: where these files will lie, and stay */
	const char *uri;                      /* of the libvirt that has the VMs */
	bool system; /* units of the system, for qemu:///system; else of the user */
	uid_t uid;   /* system: whom the daemons run as, the QEMUs too (render/libvirt.h) */
	gid_t gid;
};

struct systemd_file {
	char *name;
	char *text;
	bool shown; /* it is a unit, not what belongs to one */
	bool executable;
};

/* Of struct systemd_file; g_ptr_array_unref().  NULL with *error set: ORCH_ERROR_HOST_UNFIT: a path has characters that no
 * unit can hold, or a daemon more sockets than systemd passes to a service. */
GPtrArray *render_systemd(const struct lab *lab, const struct lab_paths *paths,
			  const struct systemd_host *host, GError **error);

#endif
