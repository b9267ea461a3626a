/* SPDX-License-Identifier: MIT */
/* Security modules that confine the QEMUs of a libvirt, and what they have to be told so that these reach a lab.
 *
 * It concerns qemu:///system alone: a session's QEMUs are as free as their user.  libvirt lets a QEMU touch what its domain
 * names in elements of its own; what stands on qemu:commandline, and whom a socket belongs to, it does not look at.
 *
 * Pure but for lsm_look(). */
#ifndef ORCHESTRATOR_HOST_LSM_H
#define ORCHESTRATOR_HOST_LSM_H

#include <glib.h>
#include <stdbool.h>

struct lsm_facts {
	bool apparmor;
	bool selinux;
	bool selinux_enforcing;
};

/* Below the directory root: "" is this host.  What cannot be read is not there. */
struct lsm_facts lsm_look(const char *root);

/* Where a lab's files lie: the directories of all labs (model/names.h). */
struct lsm_places {
	const char *runtime, *state, *cache;
};

#define LSM_APPARMOR_FILE "/etc/apparmor.d/local/abstractions/libvirt-qemu"

/* Lines for LSM_APPARMOR_FILE.  g_free(). */
char *lsm_apparmor_rules(const struct lsm_places *places);
/* Commands for root, a line each.  g_free(). */
char *lsm_selinux_commands(const struct lsm_places *places);

#endif
