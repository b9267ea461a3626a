/* SPDX-License-Identifier: MIT */
/* A domain in the making: what render/libvirt.c and render/libvirt_device.c share, and nobody else may include.
 *
 * Text goes to `out` as it is said.  What libvirt has no words for is gathered beside it, for the end of the domain: words of
 * QEMU's command line, and properties that override those libvirt gives to a device of its own.
 */
#ifndef RENDER_LIBVIRT_IMPL_H
#define RENDER_LIBVIRT_IMPL_H

#include <glib.h>
#include <stdbool.h>

#include "render/libvirt.h"

struct domain {
	const struct lab *lab;
	const struct vm *vm;
	const struct libvirt_caps *caps;
	const struct qemu_caps *qemu;
	const struct image *image;
	const struct lab_paths *paths;
	const struct vm_paths *p; /* of vm */
	enum render_owner owner;
	bool kvm;
	GPtrArray *told; /* NULL: nobody listens */
	GString *out;
	GPtrArray *words;   /* of char *: qemu:commandline */
	GString *overrides; /* elements of qemu:override */
};

/* Add text to d->out.  Each %s is escaped, for between elements and for attributes in either quotes. */
void domain_add(struct domain *d, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Add to QEMU's command line; takes words. */
void domain_add_words(struct domain *d, GStrv words);
/* Tell something that this libvirt lacks. */
void domain_tell(struct domain *d, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Whether libvirt itself makes the device of that access; else it is on QEMU's command line. */
bool domain_portal_is_native(const struct domain *d, const struct portal_access *access);

/* Everything between <devices> and </devices>; adds to words and overrides. */
void domain_add_devices(struct domain *d);

#endif
