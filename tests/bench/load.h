/* SPDX-License-Identifier: MIT */
/* What every program that puts a load on a daemon needs: an end with a reason, and a clock. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdint.h>

/* "bench_link: REASON" on stderr, and exit 1. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *format, ...);

/* CLOCK_MONOTONIC, in nanoseconds. */
uint64_t now_ns(void);

#endif
