/* SPDX-License-Identifier: MIT */
/* Domains as a lab file.
 *
 * What one domain says is a VM; what several share (a network of one name, an image of one kernel, a portal) is said once.
 * Where they contradict each other the first has it, and the others' is told as lost.  What a lab derives by itself is not
 * written, where it would come out the same.
 *
 * Pure.
 */
#ifndef IMPORT_LAB_TEXT_H
#define IMPORT_LAB_TEXT_H

#include <glib.h>

/* domains: of struct import_domain, at least one.  lost: of char *, added to.  JSON, indented, ending in '\n'; g_free(). */
char *import_lab_text(const GPtrArray *domains, GPtrArray *lost);

#endif
