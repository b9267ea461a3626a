/* SPDX-License-Identifier: MIT */
/* XML of strangers, read by libxml2, which is loaded when there is some (as image/libarchive.h does, and why).
 *
 * What is taken is a tree of elements, attributes and text, and nothing else: no document type, so no entity but the five, and
 * nothing is ever fetched, from the network or from a file.  Bounded by XML_TEXT_MAX, and by libxml2's own limits of depth
 * and length.
 *
 * Trust:     the text is anybody's.
 * Ownership: nodes belong to their document; texts that are handed out are the caller's.
 * Threads:   any, one at a time for each document. */
#ifndef IMPORT_XML_H
#define IMPORT_XML_H

#include <glib.h>
#include <stdbool.h>

#define XML_TEXT_MAX (4u << 20) /* bytes: a thousand times a domain */

struct xml;
struct xml_node; /* an element */

/* path: for messages alone.  NULL with *error set: ORCH_ERROR_INVALID_LAB: "PATH:LINE: what is wrong"; ORCH_ERROR_HOST_UNFIT:
 * there is no libxml2. */
struct xml *xml_read(const char *path, const char *text, size_t len, GError **error);
void xml_free(struct xml *xml);

const struct xml_node *xml_root(const struct xml *xml);
/* Elements alone; NULL: there is none (more). */
const struct xml_node *xml_first(const struct xml_node *node);
const struct xml_node *xml_next(const struct xml_node *node);
/* The first child of that name, in no namespace. */
const struct xml_node *xml_child(const struct xml_node *node, const char *name);

/* Its name without a prefix, and its namespace: ""; valid as long as the document. */
const char *xml_name(const struct xml_node *node);
const char *xml_namespace(const struct xml_node *node);
/* Of the file, from 1. */
unsigned xml_line(const struct xml_node *node);

/* An attribute in no namespace; NULL: it has none of that name.  g_free(). */
char *xml_attribute(const struct xml_node *node, const char *name);
/* Whether it has it, and with that value. */
bool xml_attribute_is(const struct xml_node *node, const char *name, const char *value);
/* The text right in it, white space at both ends taken off; never NULL.  g_free(). */
char *xml_text(const struct xml_node *node);

#endif
