/* SPDX-License-Identifier: MIT */
/* The JSON Schema (draft-07) of lab files, made from the table of fields.h.
 *
 * For editors: completion, hovers, marks under what is wrong.  It says what can be said of one value at a time; references
 * between values are the loader's.  Every file that the loader takes is valid by the schema (a test checks it on many).
 */
#ifndef MODEL_SCHEMA_H
#define MODEL_SCHEMA_H

/* The whole document, indented by tabs, with a newline at the end; g_free(). */
char *schema_text(void);

/* The table itself, as a JSON object from the names of its objects to their keys, in the same form; g_free().  For those
 * who judge lab files in another language (nix/lab): bounds of sizes and times are there as numbers. */
char *schema_table_text(void);

#endif
