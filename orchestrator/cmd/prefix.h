/* SPDX-License-Identifier: MIT */
/* The output of several guests on one standard output and error: whole lines, each with its guest before it.
 *
 *   n1 │ Linux n1 6.1.0
 *
 * Nothing is lost and nothing waits: a reader who is slow holds the guests up, no more than PREFIX_PENDING bytes are held.  A line
 * longer than PREFIX_LINE is broken.  Trust: on a terminal a guest's control characters, but for tabs, are shown as '?'.
 */
#ifndef CMD_PREFIX_H
#define CMD_PREFIX_H

#include <stddef.h>
#include <stdint.h>
#include <glib.h>

#define PREFIX_LINE    (64u << 10)
#define PREFIX_PENDING (256u << 10)

struct prefix;

/* room: there is room again after prefix_add() took nothing. */
struct prefix *prefix_new(unsigned width, void (*room)(void *data), void *data);
/* Everything that is pending goes out first, for as long as somebody reads. */
void prefix_free(struct prefix *p);

/* One guest's output on stream 0 (standard output) or 1 (error); 'line' holds what has no end yet, and belongs to the caller.
 * Returns how much was taken. */
size_t prefix_add(struct prefix *p, const char *label, GString *line, unsigned stream,
		  const uint8_t *bytes, size_t len);
/* No more of it comes: what has no end is a line. */
void prefix_end(struct prefix *p, const char *label, GString *line, unsigned stream);

/* The errno of the write that failed, other than EPIPE; 0: none.  After any that failed, what is added is dropped. */
int prefix_error(const struct prefix *p);

#endif
