/* SPDX-License-Identifier: MIT */
/* An engine that has libvirt run its VMs, as domains that other users of libvirt see and may take in hand: the supervisor
 * follows.
 *
 * A VM's domain is "LAB.VM" (names_domain()), defined when it is started, undefined when the lab goes down or loses the VM.
 * It is known by its mark (render/libvirt.h); a domain without that is never touched.
 *
 * There is one connection, which is made again whenever it is lost.  Domains run on without it, and are watched by their
 * processes meanwhile; what a VM is told then is lost (engine.h).
 */
#ifndef RUN_ENGINE_LIBVIRT_H
#define RUN_ENGINE_LIBVIRT_H

#include <glib.h>

#include "run/engine.h"

struct libvirt_caps;

/* uri has no libvirt_uri_fault().  The events come, and the connection is made, once the main loop runs. */
struct engine *engine_libvirt_new(const char *uri, const char *lab, const char *state_dir,
				  const struct engine_ops *ops, void *data);

/* Whether a lab of this host can run on that libvirt, and what it can: libvirt_caps_free().  Blocks for 60 s at most.
 * ORCH_ERROR_HOST_UNFIT: there is no libvirt, no connection, or it is another host's. */
gboolean engine_libvirt_check(const char *uri, struct libvirt_caps **ret_caps, GError **error);

/* End and undefine all domains of a lab that nobody keeps.  Blocks as long.  *error says what could not be done. */
gboolean engine_libvirt_sweep(const char *uri, const char *lab, const char *state_dir,
			      GError **error);

#endif
