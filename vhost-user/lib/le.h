/* SPDX-License-Identifier: MIT */
/* Little-endian integers as they lie in virtio structures.
 *
 * Each is a structure of one member, so that the compiler refuses to mix it with a plain integer.  On shared
 * memory use the _load/_store forms: each is exactly one access that the compiler neither repeats nor tears, which
 * is what makes "copy once, check the copy, use the copy" true.  The acquire and release forms order ring indices
 * against what they announce; each use names its partner.
 */
#ifndef VU_LE_H
#define VU_LE_H

#include <endian.h>
#include <stdint.h>

typedef struct {
	uint16_t raw;
} le16_t;
typedef struct {
	uint32_t raw;
} le32_t;
typedef struct {
	uint64_t raw;
} le64_t;

#define LE_DEFINE(bits)                                                                    \
	static inline uint##bits##_t le##bits##_get(le##bits##_t value)                    \
	{                                                                                  \
		return le##bits##toh(value.raw);                                           \
	}                                                                                  \
	static inline le##bits##_t le##bits##_of(uint##bits##_t value)                     \
	{                                                                                  \
		return (le##bits##_t){ htole##bits(value) };                               \
	}                                                                                  \
	static inline uint##bits##_t le##bits##_load(const le##bits##_t *p)                \
	{                                                                                  \
		return le##bits##toh(__atomic_load_n(&p->raw, __ATOMIC_RELAXED));          \
	}                                                                                  \
	static inline uint##bits##_t le##bits##_load_acquire(const le##bits##_t *p)        \
	{                                                                                  \
		return le##bits##toh(__atomic_load_n(&p->raw, __ATOMIC_ACQUIRE));          \
	}                                                                                  \
	static inline void le##bits##_store(le##bits##_t *p, uint##bits##_t value)         \
	{                                                                                  \
		__atomic_store_n(&p->raw, htole##bits(value), __ATOMIC_RELAXED);           \
	}                                                                                  \
	static inline void le##bits##_store_release(le##bits##_t *p, uint##bits##_t value) \
	{                                                                                  \
		__atomic_store_n(&p->raw, htole##bits(value), __ATOMIC_RELEASE);           \
	}

LE_DEFINE(16)
LE_DEFINE(32)
LE_DEFINE(64)
#undef LE_DEFINE

#endif
