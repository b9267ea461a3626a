/* SPDX-License-Identifier: MIT */
/* The patched QEMU, built where it is needed and is not there: qemu-patches/build, whose progress goes to stderr. */
#ifndef CMD_QEMU_BUILD_H
#define CMD_QEMU_BUILD_H

#include <glib.h>
#include <stdbool.h>

struct lab_dirs;
struct vm;

/* Whether vm runs on a QEMU that has to be built first, and can be. */
bool qemu_build_is_due(const struct vm *vm, const struct lab_dirs *dirs);

/* Build it; blocks for minutes.  Ctrl-C reaches the build, too.  ORCH_ERROR_HOST_UNFIT: it failed, and has told why. */
gboolean qemu_build(GError **error);

#endif
