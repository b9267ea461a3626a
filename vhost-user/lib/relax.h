/* SPDX-License-Identifier: MIT */
/* A hint to the processor that we are waiting for another one: its sibling gets the units, and leaving
 * the loop costs less. */
#ifndef VU_RELAX_H
#define VU_RELAX_H

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

#endif
