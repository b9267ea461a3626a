/* SPDX-License-Identifier: MIT */
/* UTF-8 as RFC 3629 has it: nothing overlong, no surrogates, nothing above U+10FFFF. */
#ifndef ORCHESTRATOR_AGENT_GUEST_UTF8_H
#define ORCHESTRATOR_AGENT_GUEST_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of the character at S, of which SIZE > 0 are there: 1 to 4, or 0 if it is none. */
size_t utf8_length(const char *s, size_t size);
bool utf8_valid(const char *s, size_t size);
/* Encode RUNE, which is a valid one; returns the number of bytes. */
int utf8_put(char out[4], uint32_t rune);

#endif
