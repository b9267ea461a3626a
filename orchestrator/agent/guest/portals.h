/* SPDX-License-Identifier: MIT */
/* The portals of the tiny guest: memory that it shares with the host and with other VMs.
 *
 * Each is a PCI device: a virtio-pmem, that becomes a /dev/daxN.0 once its modules are loaded, or an ivshmem, whose memory is
 * a file of sysfs.  /dev/portal/NAME is a link to what programs map.  Which is which the guest is told: its portals in the
 * order of their devices on the bus. */
#ifndef ORCHESTRATOR_AGENT_GUEST_PORTALS_H
#define ORCHESTRATOR_AGENT_GUEST_PORTALS_H

#include <stdbool.h>

struct agent;

#define PORTALS_MAX 8 /* LAB_ACCESSES_MAX */

struct portals {
	struct {
		const char *name; /* borrowed */
		bool ivshmem;
	} expected[PORTALS_MAX];
	unsigned n;
};

/* What the configuration says of one: "NAME DOOR", that is taken apart.  It outlives the struct. */
void portals_expect(struct portals *p, char *line);

/* Load what they need, wait for their devices, and make the links.  Blocks for seconds where a device does not come; that is
 * told as trouble. */
void portals_attach(const struct portals *p, struct agent *agent);

#endif
