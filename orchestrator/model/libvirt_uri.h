/* SPDX-License-Identifier: MIT */
/* Which libvirt is meant: "qemu:///session", "qemu:///system", "qemu+ssh://HOST/system", and what may stand behind a '?'.
 * Pure: only the text is looked at. */
#ifndef MODEL_LIBVIRT_URI_H
#define MODEL_LIBVIRT_URI_H

#include <stdbool.h>

#define LIBVIRT_URI_DEFAULT "qemu:///session"

struct libvirt_uri {
	bool system; /* /system: libvirt runs QEMU as a user of its own; else /session: as its caller */
	bool remote; /* it names a host: nothing of the lab may be there */
};

/* What is wrong with that URI, to stand behind it and a colon (static); NULL: nothing, and *ret is filled in. */
const char *libvirt_uri_fault(const char *uri, struct libvirt_uri *ret);

#endif
