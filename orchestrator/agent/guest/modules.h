/* SPDX-License-Identifier: MIT */
/* Kernel modules of the tiny guest, which has no depmod: /lib/modules/order lists the files that are loaded at boot,
 * /lib/modules/demand, "NAME: FILE…" a line, those that wait until somebody needs NAME; both in loading order. */
#ifndef ORCHESTRATOR_AGENT_GUEST_MODULES_H
#define ORCHESTRATOR_AGENT_GUEST_MODULES_H

struct agent;

/* Load what is in "order".  What fails is told as trouble. */
void modules_boot(struct agent *agent);

/* Have NAME ("ext4", "virtio_blk") loaded.  Returns 0, also where it is loaded already; -ENOENT, it is not listed (so it is built in, or the
 * kernel loads it by itself, or there is none); another negative errno of loading. */
int modules_need(const char *name);

#endif
