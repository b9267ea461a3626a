/* SPDX-License-Identifier: MIT */
/* Unpack parts of a Debian package, without dpkg and without installing anything.
 *
 * A .deb is an ar archive whose member data.tar[.gz|.xz|.zst] holds the files.  Only regular files are taken: what a
 * kernel package has beyond them (links, empty directories) nobody here wants.
 *
 * Trust: apt has verified the package's hash; even so a path with ".." or an absolute one is an error, and a truncated
 * archive is one too, never half a result taken for a whole. */
#ifndef ORCHESTRATOR_IMAGE_DEB_H
#define ORCHESTRATOR_IMAGE_DEB_H

#include <gio/gio.h>

struct deb_unpack {
	const char *dest; /* existing directory */
	/* Whether to take the file PATH ("boot/vmlinuz-6.1.0", never with "./" in front). */
	gboolean (*want)(const char *path);
	void (*tick)(void *data, guint64 done); /* bytes of the package read so far; may be NULL */
	void *tick_data;
	GCancellable *cancellable;
};

gboolean deb_unpack(const char *path, const struct deb_unpack *how, GError **error);

#endif
