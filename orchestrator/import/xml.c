/* SPDX-License-Identifier: MIT */
#include "import/xml.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

#include "err.h"
#include "host/library.h"
#include "orchestrator-config.h"

/* --- the library --------------------------------------------------------------------------------------------------------- */

#define FUNCTIONS(X)            \
	X(xmlCtxtGetLastError)  \
	X(xmlCtxtReadMemory)    \
	X(xmlDocGetRootElement) \
	X(xmlFreeDoc)           \
	X(xmlFreeParserCtxt)    \
	X(xmlGetLineNo)         \
	X(xmlNewParserCtxt)

static struct {
#define X(name) __typeof__(name) *name;
	FUNCTIONS(X)
#undef X
} lx;

static gboolean ensure_loaded(GError **error)
{
#define X(name) { #name, &lx.name },
	static const struct library_function functions[] = { FUNCTIONS(X){ NULL } };
#undef X
	static struct library library = { .soname = VHOST_LAB_LIBXML2_SONAME,
					  .dir = VHOST_LAB_LIBXML2_DIR,
					  .functions = functions };
	g_autofree char *why = library_load(&library);

	if (why)
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"libxml2, which reads XML, cannot be loaded: %s; install it (Debian's package is libxml2)",
			why);
	return !why;
}

/* --- reading -------------------------------------------------------------------------------------------------------------- */

/* struct xml is libxml2's document, struct xml_node its node. */
static xmlDoc *doc_of(const struct xml *xml)
{
	return (xmlDoc *)(uintptr_t)xml;
}

static const xmlNode *node_of(const struct xml_node *node)
{
	return (const xmlNode *)node;
}

static const struct xml_node *element_from(const xmlNode *n)
{
	while (n && n->type != XML_ELEMENT_NODE)
		n = n->next;
	return (const struct xml_node *)n;
}

static unsigned line_at(const char *text, const char *at)
{
	unsigned line = 1;

	for (; text < at; text++)
		line += *text == '\n';
	return line;
}

/* What is refused before a parser sees it. */
static gboolean check_text(const char *path, const char *text, size_t len, GError **error)
{
	const char *type = g_strstr_len(text, (gssize)len, "<!DOCTYPE");

	if (len > XML_TEXT_MAX)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_INVALID_LAB,
			    "%s: larger than %u MiB: that is no domain", path, XML_TEXT_MAX >> 20);
	else if (type)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_INVALID_LAB,
			    "%s:%u: a document type (<!DOCTYPE): a domain has none", path,
			    line_at(text, type));
	return len <= XML_TEXT_MAX && !type;
}

static void set_parse_error(GError **error, const char *path, xmlParserCtxt *context)
{
	const xmlError *e = lx.xmlCtxtGetLastError(context);
	g_autofree char *said = g_strdup(e && e->message ? e->message : "this is no XML");

	g_set_error(error, ORCH_ERROR, ORCH_ERROR_INVALID_LAB, "%s:%d: %s", path,
		    e && e->line > 0 ? e->line : 1, g_strchomp(said));
}

struct xml *xml_read(const char *path, const char *text, size_t len, GError **error)
{
	xmlParserCtxt *context;
	xmlDoc *doc;

	if (!check_text(path, text, len, error) || !ensure_loaded(error))
		return NULL;
	context = lx.xmlNewParserCtxt();
	if (!context)
		g_error("out of memory");
	/* In another encoding a document type would not have been seen above. */
	doc = lx.xmlCtxtReadMemory(context, text, (int)len, path, "UTF-8",
				   XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
					   XML_PARSE_NOCDATA | XML_PARSE_BIG_LINES);
	if (!doc)
		set_parse_error(error, path, context);
	lx.xmlFreeParserCtxt(context);
	return (struct xml *)doc;
}

void xml_free(struct xml *xml)
{
	if (xml)
		lx.xmlFreeDoc(doc_of(xml));
}

/* --- the tree ------------------------------------------------------------------------------------------------------------- */

const struct xml_node *xml_root(const struct xml *xml)
{
	return (const struct xml_node *)lx.xmlDocGetRootElement(doc_of(xml));
}

const struct xml_node *xml_first(const struct xml_node *node)
{
	return element_from(node_of(node)->children);
}

const struct xml_node *xml_next(const struct xml_node *node)
{
	return element_from(node_of(node)->next);
}

const struct xml_node *xml_child(const struct xml_node *node, const char *name)
{
	for (const struct xml_node *n = xml_first(node); n; n = xml_next(n))
		if (strcmp(xml_name(n), name) == 0 && xml_namespace(n)[0] == '\0')
			return n;
	return NULL;
}

const char *xml_name(const struct xml_node *node)
{
	return (const char *)node_of(node)->name;
}

const char *xml_namespace(const struct xml_node *node)
{
	const xmlNs *ns = node_of(node)->ns;

	return ns && ns->href ? (const char *)ns->href : "";
}

unsigned xml_line(const struct xml_node *node)
{
	long line = lx.xmlGetLineNo(node_of(node));

	return line > 0 ? (unsigned)line : 1;
}

/* The text of a list of nodes, in one piece. */
static char *join(const xmlNode *n)
{
	GString *out = g_string_new(NULL);

	for (; n; n = n->next)
		if (n->type == XML_TEXT_NODE || n->type == XML_CDATA_SECTION_NODE)
			g_string_append(out, (const char *)n->content);
	return g_string_free(out, FALSE);
}

char *xml_attribute(const struct xml_node *node, const char *name)
{
	for (const xmlAttr *a = node_of(node)->properties; a; a = a->next)
		if (!a->ns && strcmp((const char *)a->name, name) == 0)
			return join(a->children);
	return NULL;
}

bool xml_attribute_is(const struct xml_node *node, const char *name, const char *value)
{
	g_autofree char *has = xml_attribute(node, name);

	return has && strcmp(has, value) == 0;
}

char *xml_text(const struct xml_node *node)
{
	return g_strstrip(join(node_of(node)->children));
}
