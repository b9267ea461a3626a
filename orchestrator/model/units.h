/* SPDX-License-Identifier: MIT */
/* Quantities with their units, as people write them, to whole numbers and back.
 *
 *   size    "512MiB"               bytes; B, KiB, MiB, GiB, TiB; whole
 *   time    "500ms", "30s"         milliseconds; ms, s, m, h; whole
 *   delay   "20ms", "1.5ms"        nanoseconds; ns, us, ms, s, m, h
 *   chance  "2%", "0.01%"          billionths: 100% is UNIT_CERTAIN
 *   rate    "100mbit", "1.5gbit"   bits per second; bit, kbit, mbit, gbit, of 1000 each
 *
 * Delays, chances and rates may have a fraction, which has to come out whole.  Parsing leaves the output alone on failure
 * and returns what is wrong: a sentence without a subject, static.  What is formatted is the shortest text that means the
 * number; g_free().  Pure.
 */
#ifndef MODEL_UNITS_H
#define MODEL_UNITS_H

#include <stdint.h>

#define UNIT_CERTAIN 1000000000u /* a chance of 100% */

const char *unit_parse_size(const char *text, uint64_t *ret_bytes);
const char *unit_parse_time(const char *text, uint64_t *ret_ms);
const char *unit_parse_delay(const char *text, uint64_t *ret_ns);
const char *unit_parse_chance(const char *text, uint64_t *ret_billionths);
const char *unit_parse_rate(const char *text, uint64_t *ret_bps);

char *unit_format_size(uint64_t bytes);
char *unit_format_time(uint64_t ms);
char *unit_format_delay(uint64_t ns);
char *unit_format_chance(uint64_t billionths);
char *unit_format_rate(uint64_t bps);

#endif
