/* SPDX-License-Identifier: MIT */
/* QEMU's last words, for people.
 *
 * A QEMU that ends by itself says why in one line of its own kind, often without what its user could do about it.  The
 * ones that users meet are known here, by a part of the line; the line itself is always told, too.  Pure.
 */
#ifndef RUN_QEMU_ERROR_H
#define RUN_QEMU_ERROR_H

/* A sentence for the last line that a QEMU wrote before it ended (NULL: it said nothing), ended in the way that 'how' says:
 * what is known is explained, anything else is quoted.  *ret_code becomes the code of enum orch_error that fits.  Caller
 * frees. */
char *qemu_error_explain(const char *last_line, const char *how, int *ret_code);

#endif
