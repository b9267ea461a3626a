/* SPDX-License-Identifier: MIT */
/* What the orchestrator knows of the patched QEMU, for the tests of what it renders. */
#ifndef PATCHED_QEMU_H
#define PATCHED_QEMU_H

#include "host/caps.h"

static struct qemu_caps patched_qemu = { .arch = "x86_64",
					 .binary = "/c/qemu/10.0/bin/qemu-system-x86_64",
					 .version = "10.0.13",
					 .major = 10,
					 .has_reconnect_ms = true,
					 .has_vsock = true,
					 .has_hvsock = true,
					 .has_pmem = true,
					 .has_ivshmem = true,
					 .has_fsrs = true,
					 .has_vhost_user_pmem = true };

#endif
