/* SPDX-License-Identifier: MIT */
/* The monitor of a QEMU that somebody else started, for as long as something is plugged into it or taken out.
 *
 * It is a transaction: the steps run in order, and where one fails those that were done are undone, last first, before the
 * failure is told.  A step is one thing that QEMU then has by an id: a chardev, a netdev, an object, a device.  What has to be
 * kept to undo them later is their list, as JSON.
 *
 * A device that is to go has gone when QEMU says so (DEVICE_DELETED), not when it has taken the order: the guest has to let go
 * first.  Until then nothing below it may be touched: a netdev that is removed under its device kills QEMU 7.2.  A guest that
 * is in its firmware, or has no driver for hot-plugging, never lets go; then the device and what is below it stay, and are told
 * by hotplug_left().
 *
 * A chardev of a vhost-user device connects by and by, since it is to connect again when its daemon is another one.  It is
 * waited for, because a netdev on one that is not connected stops QEMU altogether.
 *
 * Trust:     that QEMU may say anything or nothing: each answer, and each thing that is waited for, has a time limit.
 * Ownership: the caller's; nothing in QEMU ends with it.  done() may free it.
 * Threads:   the thread of the default main context.
 *
 * The files of this: hotplug.c (the monitor), hotplug_steps.c (what each device is made of), hotplug_run.c (doing and undoing).
 */
#ifndef RUN_HOTPLUG_H
#define RUN_HOTPLUG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "run/hotplug_check.h"

struct json_object;
struct hotplug;

/* How long is waited, in ms; variables for tests that cannot wait so long. */
extern struct hotplug_patience {
	unsigned greeting;  /* for a monitor to greet: one that somebody else holds does not */
	unsigned answer;    /* to one command */
	unsigned connected; /* for a chardev to connect */
	unsigned look;      /* between two looks at it */
	unsigned deleted;   /* for the guest to let go of a device, where nothing else is said */
	unsigned again;     /* before it is asked once more meanwhile */
} hotplug_patience;

/* What has been begun is done.  Comes once for each beginning, from the main loop, never out of a call. */
typedef void hotplug_done_fn(const GError *error, void *data);

/* Takes over fd, connected to the monitor; path is for messages. */
struct hotplug *hotplug_new(int fd, const char *path);
void hotplug_free(struct hotplug *h);

/* Ask what there is; hotplug_facts() has it then. */
void hotplug_ask(struct hotplug *h, hotplug_done_fn *done, void *data);
struct hotplug_facts *hotplug_facts(struct hotplug *h); /* NULL: not asked */

/* Steps of hotplug_plug(), after hotplug_ask(): each a device called id on a free place (hotplug_take_bus()), which there has to
 * be, with what it needs below it.  mtu: 0 for the usual one. */
void hotplug_add_nic(struct hotplug *h, const char *id, const char *socket_path, const char *mac,
		     unsigned mtu);
void hotplug_add_vsock(struct hotplug *h, const char *id, const char *socket_path);
/* The file as memory of a PCI device without a doorbell: ivshmem-plain.  QEMU forgets to let go of a doorbell's descriptors when
 * it is unplugged, and dies of them a little later. */
void hotplug_add_ivshmem(struct hotplug *h, const char *id, const char *file, uint64_t size);
/* What the daemon at that socket serves, as a memory device that goes as it came. */
void hotplug_add_served(struct hotplug *h, const char *id, const char *socket_path, uint64_t size);
/* The file as a memory device: no QEMU can take that out again, so it comes last, is not undone, and is not in hotplug_left(). */
void hotplug_add_pmem(struct hotplug *h, const char *id, const char *file, uint64_t size);

/* The steps as they are to be remembered before hotplug_plug(): who dies meanwhile has all of them taken out, whether they were
 * done or not.  The caller owns it. */
struct json_object *hotplug_steps(const struct hotplug *h);

void hotplug_plug(struct hotplug *h, hotplug_done_fn *done, void *data);
/* Take out what the list says, last first.  What is not there is as good as taken out.  deleted_ms: how long a guest may take to
 * let go of a device. */
void hotplug_unplug(struct hotplug *h, struct json_object *steps, unsigned deleted_ms,
		    hotplug_done_fn *done, void *data);
/* Have the guest's devices tell their daemons about their rings again: stop and continue, unless it is stopped anyway. */
void hotplug_refresh(struct hotplug *h, hotplug_done_fn *done, void *data);

/* Have the guest see whether the NIC of that id has a carrier. */
void hotplug_set_link(struct hotplug *h, const char *id, bool up, hotplug_done_fn *done,
		      void *data);

/* After any of these: what is still there, in the form of hotplug_steps(); NULL: nothing.  The caller owns it. */
struct json_object *hotplug_left(const struct hotplug *h);

#endif
