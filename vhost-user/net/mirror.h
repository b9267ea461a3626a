/* SPDX-License-Identifier: MIT */
/* Port mirrors: what goes through some ports is shown to another one, too.
 *
 * A mirror copies nothing: its target is given the same frames in the same burst, after the
 * switch has decided about them.  Coming in, a frame is shown as it came, whatever becomes of it behind the
 * port's edge; going out, in the form it leaves in.  The target is still a port like any other; being
 * in no VLAN of the frame does not keep it from being shown.  What is shown is not mirrored again.
 *
 * A mirror holds ports by name's lookup at the time it is made; a port that goes takes itself out, and
 * the mirror with it if that was its target or its last source.
 *
 * Threads: the loop thread. */
#ifndef NET_MIRROR_H
#define NET_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

#include "port.h"

#define SW_MIRRORS_MAX     64
#define SW_MIRROR_NAME_MAX 64 /* with the terminating zero */

struct sw_mirror {
	struct sw_mirror *next;
	char name[SW_MIRROR_NAME_MAX];
	struct sw_port *to;
	bool in, out;
	unsigned n_from;
	struct sw_port *from[];
};

/* Add a mirror.  -EINVAL: no sources, neither in nor out, a source twice, or the target is a source;
 * -EEXIST: its name is taken; -ENOSPC: SW_MIRRORS_MAX; -ENOMEM. */
int sw_mirror_add(struct sw *sw, const char *name, struct sw_port *to, struct sw_port *const *from,
		  unsigned n_from, bool in, bool out);

/* -ENOENT: there is none of that name. */
int sw_mirror_remove(struct sw *sw, const char *name);

/* For switch.c: the port goes. */
void sw_mirror_forget(struct sw_port *p);

#endif
