/* SPDX-License-Identifier: MIT */
/* The handful of macros every file may use.  No types, no functions: what has a noun has its own header. */
#ifndef VU_BASE_H
#define VU_BASE_H

#include <stddef.h>

/* Number of elements of an array; refuses a pointer at compile time. */
#define array_size(a)                 \
	(sizeof(a) / sizeof((a)[0]) + \
	 0 * sizeof(char[1 - 2 * __builtin_types_compatible_p(typeof(a), typeof(&(a)[0]))]))

/* The structure that embeds *ptr as its `member`. */
#define container_of(ptr, type, member)                                         \
	({                                                                      \
		typeof(((type *)0)->member) *member_ptr_ = (ptr);               \
		(type *)(void *)((char *)member_ptr_ - offsetof(type, member)); \
	})

/* The same of what may not be changed. */
#define container_of_const(ptr, type, member)                                                     \
	({                                                                                        \
		const typeof(((type *)0)->member) *member_ptr_ = (ptr);                           \
		(const type *)(const void *)((const char *)member_ptr_ - offsetof(type, member)); \
	})

/* Smaller and larger of two values of the same type, each evaluated once. */
#define min(a, b)                                  \
	({                                         \
		typeof(a) min_a_ = (a);            \
		typeof(b) min_b_ = (b);            \
		(void)(&min_a_ == &min_b_);        \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})
#define max(a, b)                                  \
	({                                         \
		typeof(a) max_a_ = (a);            \
		typeof(b) max_b_ = (b);            \
		(void)(&max_a_ == &max_b_);        \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define BIT_ULL(n) (1ULL << (n))

/* Fields that different threads write stand on different lines. */
#define CACHE_LINE 64

#endif
