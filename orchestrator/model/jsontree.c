/* SPDX-License-Identifier: MIT */
#include "model/jsontree.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#include "model/errors.h"

/* Objects with more members than this find duplicate keys by a hash table, smaller ones by looking. */
#define SMALL_OBJECT 16

#define CHUNK_SIZE 65536

struct chunk {
	struct chunk *next;
	max_align_t data[];
};

struct jt_tree {
	struct jt_node *root;
	struct chunk *chunks;
	char *free; /* the rest of the newest chunk */
	size_t n_free;
};

struct reader {
	struct jt_tree *tree;
	const char *text;
	uint32_t pos, len;
	unsigned depth, n_nodes;
	struct lab_errors *errors;
};

static bool read_value(struct reader *r, struct jt_node *node);

/* --- memory --------------------------------------------------------------------------------------------------------- */

/* Zeroed, aligned for anything, freed with the tree. */
static void *take(struct jt_tree *t, size_t size)
{
	size_t step = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	void *p;

	if (step > t->n_free) {
		size_t room = MAX(step, CHUNK_SIZE);
		struct chunk *c = g_malloc0(sizeof(*c) + room);

		c->next = t->chunks;
		t->chunks = c;
		t->free = (char *)c->data;
		t->n_free = room;
	}
	p = t->free;
	t->free += step;
	t->n_free -= step;
	return p;
}

void jt_free(struct jt_tree *tree)
{
	if (!tree)
		return;
	for (struct chunk *c = tree->chunks, *next; c; c = next) {
		next = c->next;
		g_free(c);
	}
	g_free(tree);
}

/* --- characters ----------------------------------------------------------------------------------------------------- */

static unsigned char byte_at(const struct reader *r, uint32_t pos)
{
	return pos < r->len ? (unsigned char)r->text[pos] : 0;
}

static void skip_space(struct reader *r)
{
	while (r->pos < r->len && r->text[r->pos] != '\0' && strchr(" \t\r\n", r->text[r->pos]))
		r->pos++;
}

/* Length of the well-formed UTF-8 sequence at p (Unicode 15, table 3-7), 0 if there is none. */
static unsigned utf8_len(const char *p, size_t room)
{
	gunichar c = g_utf8_get_char_validated(p, (gssize)room);

	return c >= (gunichar)-2 ? 0 : (unsigned)g_unichar_to_utf8(c, NULL);
}

/* "'x'" or what it is, for messages. */
static char *describe(const struct reader *r, uint32_t pos)
{
	unsigned char c;

	if (pos >= r->len)
		return g_strdup("the end of the file");
	c = (unsigned char)r->text[pos];
	if (c > 0x20 && c < 0x7f)
		return g_strdup_printf("'%c'", c);
	return g_strdup_printf("byte 0x%02x", c);
}

/* The structure is broken at pos: say what was wanted there.  Always false. */
static bool unexpected(struct reader *r, const struct jt_node *node, const char *wanted)
{
	g_autofree char *got = describe(r, r->pos);
	const char *hint = "";

	if (byte_at(r, r->pos) == '/' || byte_at(r, r->pos) == '#')
		hint = " (JSON has no comments; a key \"x-…\" can hold any text)";
	else if (byte_at(r, r->pos) == '\'')
		hint = " (strings have double quotes)";
	lab_error_at_offset(r->errors, r->pos, node, "expected %s, got %s%s", wanted, got, hint);
	return false;
}

/* --- strings -------------------------------------------------------------------------------------------------------- */

/* Four hex digits at pos, or -1. */
static int hex4(const struct reader *r, uint32_t pos)
{
	int v = 0;

	for (unsigned i = 0; i < 4; i++) {
		int d = g_ascii_xdigit_value((char)byte_at(r, pos + i));

		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* Decode the \uXXXX at pos, the second half of a pair included.  Returns bytes read, 0 with *what set on failure. */
static unsigned unicode_escape(const struct reader *r, uint32_t pos, gunichar *ret,
			       const char **what)
{
	int high = hex4(r, pos + 2), low;

	*what = "\\u wants four hexadecimal digits";
	if (high < 0)
		return 0;
	*what = "\\u0000: a string cannot hold a NUL";
	if (high == 0)
		return 0;
	if (high < 0xd800 || high > 0xdfff) {
		*ret = (gunichar)high;
		return 6;
	}
	*what = "lone surrogate: \\ud800 to \\udbff and \\udc00 to \\udfff come in pairs";
	low = byte_at(r, pos + 6) == '\\' && byte_at(r, pos + 7) == 'u' ? hex4(r, pos + 8) : -1;
	if (high > 0xdbff || low < 0xdc00 || low > 0xdfff)
		return 0;
	*ret = 0x10000u + (((gunichar)high - 0xd800u) << 10) + ((gunichar)low - 0xdc00u);
	return 12;
}

/* Decode the escape at pos to out.  Returns bytes read, 0 with *what set on failure. */
static unsigned escape(const struct reader *r, uint32_t pos, char **out, const char **what)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	unsigned char c = byte_at(r, pos + 1);
	const char *at = c ? strchr(from, c) : NULL;
	gunichar u;
	unsigned n;

	if (at) {
		*(*out)++ = to[at - from];
		return 2;
	}
	*what = "unknown escape: a backslash is written \\\\";
	if (c != 'u')
		return 0;
	n = unicode_escape(r, pos, &u, what);
	if (n > 0)
		*out += g_unichar_to_utf8(u, *out);
	return n;
}

/* The string at pos, its opening quote included.  A bad character is reported (the first of each string), left out, and
 * sets *broken; only a string without an end is a failure. */
static const char *read_string(struct reader *r, const struct jt_node *node, bool *broken)
{
	uint32_t start = r->pos, end = start + 1;
	const char *what = NULL;
	char *string, *out;

	while (end < r->len && r->text[end] != '"' && r->text[end] != '\n')
		end += r->text[end] == '\\' && byte_at(r, end + 1) != '\n' ? 2 : 1;
	if (byte_at(r, end) != '"') {
		lab_error_at_offset(r->errors, start, node,
				    "this string has no closing '\"' on its line");
		return NULL;
	}
	/* An escape is never shorter than what it stands for. */
	string = out = take(r->tree, end - start);
	for (uint32_t i = start + 1, n; i < end; i += n) {
		unsigned char c = (unsigned char)r->text[i];
		uint32_t at = i;

		if (c == '\\') {
			n = escape(r, i, &out, &what);
		} else if (c < 0x20) {
			n = 0;
			what = "control character: write it as an escape";
		} else {
			n = utf8_len(r->text + i, end - i);
			if (n > 0)
				out = (char *)memcpy(out, r->text + i, n) + n;
			else
				what = "bad UTF-8";
		}
		if (n > 0)
			continue;
		n = c == '\\' ? 2 : 1;
		if (!*broken)
			lab_error_at_offset(r->errors, at, node, "%s", what);
		*broken = true;
	}
	*out = '\0';
	r->pos = end + 1;
	return string;
}

/* --- numbers and words ---------------------------------------------------------------------------------------------- */

static uint32_t skip_digits(const struct reader *r, uint32_t pos)
{
	while (g_ascii_isdigit((char)byte_at(r, pos)))
		pos++;
	return pos;
}

/* Where the number at pos ends by RFC 8259's grammar; 0 if it does not follow it, with pos moved to the place. */
static uint32_t number_end(struct reader *r, bool *ret_real)
{
	uint32_t first = r->pos + (byte_at(r, r->pos) == '-'), end = skip_digits(r, first), from;

	*ret_real = false;
	r->pos = first;
	if (end == first || (byte_at(r, first) == '0' && end > first + 1))
		return 0;
	if (byte_at(r, end) == '.') {
		*ret_real = true;
		from = r->pos = end + 1;
		end = skip_digits(r, from);
		if (end == from)
			return 0;
	}
	if ((byte_at(r, end) | 0x20) == 'e') {
		*ret_real = true;
		from = end + 1;
		from += byte_at(r, from) == '+' || byte_at(r, from) == '-';
		r->pos = from;
		end = skip_digits(r, from);
		if (end == from)
			return 0;
	}
	return end;
}

static bool read_number(struct reader *r, struct jt_node *node)
{
	uint32_t start = r->pos, end;
	bool real, fits = true;

	end = number_end(r, &real);
	if (end == 0)
		return unexpected(r, node,
				  byte_at(r, r->pos) == '0' ? "a number without leading zeros" :
							      "a digit");
	node->type = JT_NUMBER;
	if (real) {
		double d = g_ascii_strtod(r->text + start, NULL);

		/* A whole number is an integer however it is written, as in JSON Schema: 2.0, 1e3. */
		fits = isfinite(d);
		node->is_integer = fits && d >= -0x1p53 && d <= 0x1p53 && d == (double)(int64_t)d;
		node->integer = node->is_integer ? (int64_t)d : 0;
	} else {
		g_autofree char *digits = g_strndup(r->text + start, end - start);

		node->is_integer = true;
		fits = g_ascii_string_to_signed(digits, 10, INT64_MIN, INT64_MAX, &node->integer,
						NULL);
	}
	if (!fits) {
		lab_error_at_offset(r->errors, start, node, "number out of range");
		node->broken = true;
	}
	r->pos = end;
	return true;
}

static bool read_word(struct reader *r, struct jt_node *node)
{
	static const struct {
		const char *word;
		enum jt_type type;
		bool boolean;
	} words[] = { { "true", JT_BOOL, true },
		      { "false", JT_BOOL, false },
		      { "null", JT_NULL, false } };

	for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
		uint32_t n = (uint32_t)strlen(words[i].word);

		if (r->len - r->pos < n || memcmp(r->text + r->pos, words[i].word, n) != 0)
			continue;
		node->type = words[i].type;
		node->boolean = words[i].boolean;
		r->pos += n;
		return true;
	}
	return unexpected(r, node, "a value");
}

/* --- containers ----------------------------------------------------------------------------------------------------- */

/* A new child of parent (NULL: the root), behind `last`. */
static struct jt_node *add_node(struct reader *r, struct jt_node *parent, struct jt_node *last)
{
	struct jt_node *node;

	if (r->n_nodes == JT_NODES_MAX) {
		lab_error_at_offset(r->errors, r->pos, parent, "more than %d values in one file",
				    JT_NODES_MAX);
		return NULL;
	}
	r->n_nodes++;
	node = take(r->tree, sizeof(*node));
	node->parent = parent;
	node->offset = r->pos;
	if (!parent)
		return node;
	if (last)
		last->next = node;
	else
		parent->child = node;
	node->index = parent->n_children++;
	return node;
}

/* Mark node if an earlier member has its key.  *keys: made when the object is no longer small. */
static void check_duplicate(struct reader *r, struct jt_node *node, GHashTable **keys)
{
	struct jt_node *first = NULL;

	if (node->index < SMALL_OBJECT) {
		first = jt_get(node->parent, node->key);
	} else {
		if (!*keys) {
			*keys = g_hash_table_new(g_str_hash, g_str_equal);
			for (struct jt_node *n = node->parent->child; n != node; n = n->next)
				if (!n->duplicate)
					g_hash_table_insert(*keys, (void *)(uintptr_t)n->key, n);
		}
		first = g_hash_table_lookup(*keys, node->key);
		if (!first)
			g_hash_table_insert(*keys, (void *)(uintptr_t)node->key, node);
	}
	if (!first || first == node)
		return;
	node->duplicate = true;
	lab_error_at_key(r->errors, node, "duplicate key (first on line %u)",
			 lab_errors_line(r->errors, first->key_offset));
}

/* "key": in front of a member's value. */
static bool read_key(struct reader *r, struct jt_node *node, GHashTable **keys)
{
	bool broken = false;

	if (byte_at(r, r->pos) != '"')
		return unexpected(r, node->parent, "a key in double quotes");
	node->key_offset = r->pos;
	node->key = read_string(r, node->parent, &broken);
	if (!node->key)
		return false;
	node->broken = broken;
	if (!broken)
		check_duplicate(r, node, keys);
	skip_space(r);
	if (byte_at(r, r->pos) != ':')
		return unexpected(r, node, "':'");
	r->pos++;
	skip_space(r);
	node->offset = r->pos;
	return true;
}

/* The elements of an array or the members of an object, from behind the opening bracket to behind the closing one. */
static bool read_elements(struct reader *r, struct jt_node *node, GHashTable **keys)
{
	bool object = node->type == JT_OBJECT;
	unsigned char close = object ? '}' : ']';
	struct jt_node *last = NULL;

	skip_space(r);
	if (byte_at(r, r->pos) == close) {
		r->pos++;
		return true;
	}
	for (;;) {
		struct jt_node *child = add_node(r, node, last);

		if (!child || (object && !read_key(r, child, keys)) || !read_value(r, child))
			return false;
		last = child;
		skip_space(r);
		if (byte_at(r, r->pos) == close) {
			r->pos++;
			return true;
		}
		if (byte_at(r, r->pos) != ',')
			return unexpected(r, node, object ? "',' or '}'" : "',' or ']'");
		r->pos++;
		skip_space(r);
		if (byte_at(r, r->pos) == close)
			return unexpected(r, node,
					  object ? "a key behind the ','" :
						   "a value behind the ','");
	}
}

static bool read_container(struct reader *r, struct jt_node *node)
{
	GHashTable *keys = NULL;
	bool ok;

	if (r->depth == JT_DEPTH_MAX) {
		lab_error_at_offset(r->errors, r->pos, node, "nested deeper than %d levels",
				    JT_DEPTH_MAX);
		return false;
	}
	node->type = r->text[r->pos++] == '{' ? JT_OBJECT : JT_ARRAY;
	r->depth++;
	ok = read_elements(r, node, &keys);
	r->depth--;
	if (keys)
		g_hash_table_unref(keys);
	return ok;
}

static bool read_value(struct reader *r, struct jt_node *node)
{
	unsigned char c = byte_at(r, r->pos);
	bool broken = false;

	if (c == '{' || c == '[')
		return read_container(r, node);
	if (c == '-' || g_ascii_isdigit((char)c))
		return read_number(r, node);
	if (c != '"')
		return read_word(r, node);
	node->type = JT_STRING;
	node->string = read_string(r, node, &broken);
	node->broken |= broken;
	return node->string != NULL;
}

static bool read_file(struct reader *r)
{
	if (g_str_has_prefix(r->text, "\xef\xbb\xbf"))
		r->pos = 3;
	skip_space(r);
	r->tree->root = add_node(r, NULL, NULL);
	if (!read_value(r, r->tree->root))
		return false;
	skip_space(r);
	if (r->pos < r->len)
		return unexpected(r, NULL, "the end of the file");
	return true;
}

struct jt_tree *jt_parse(const char *text, size_t len, struct lab_errors *errors)
{
	struct jt_tree *tree = g_new0(struct jt_tree, 1);
	struct reader r = { .tree = tree, .text = text, .len = (uint32_t)len, .errors = errors };

	g_assert(len < UINT32_MAX);
	if (read_file(&r))
		return tree;
	jt_free(tree);
	return NULL;
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

struct jt_node *jt_root(const struct jt_tree *tree)
{
	return tree->root;
}

struct jt_node *jt_get(const struct jt_node *object, const char *key)
{
	if (!object || object->type != JT_OBJECT)
		return NULL;
	for (struct jt_node *n = object->child; n; n = n->next)
		if (n->key && strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

static void append_escaped(GString *out, const char *text, const char *end, bool pointer)
{
	for (const char *p = text; p < end;) {
		gunichar c = g_utf8_get_char(p);

		p += g_unichar_to_utf8(c, NULL);
		if (g_unichar_iscntrl(c))
			g_string_append_printf(out, "\\u%04x", c);
		else if (pointer && (c == '~' || c == '/'))
			g_string_append(out, c == '~' ? "~0" : "~1");
		else
			g_string_append_unichar(out, c);
	}
}

static void append_pointer(GString *out, const struct jt_node *node)
{
	if (!node->parent)
		return;
	append_pointer(out, node->parent);
	g_string_append_c(out, '/');
	if (node->key)
		append_escaped(out, node->key, node->key + strlen(node->key), true);
	else if (node->parent->type == JT_ARRAY)
		g_string_append_printf(out, "%u", node->index);
}

char *jt_pointer(const struct jt_node *node)
{
	GString *out = g_string_new(NULL);

	append_pointer(out, node);
	return g_string_free(out, FALSE);
}

char *jt_quote(const char *text)
{
	GString *out = g_string_new("\"");
	bool cut = g_utf8_strlen(text, -1) > 60;
	const char *end = cut ? g_utf8_offset_to_pointer(text, 60) : text + strlen(text);

	append_escaped(out, text, end, false);
	g_string_append(out, cut ? "…\"" : "\"");
	return g_string_free(out, FALSE);
}

const char *jt_type_name(enum jt_type type)
{
	static const char *const names[] = {
		[JT_NULL] = "null",       [JT_BOOL] = "a boolean", [JT_NUMBER] = "a number",
		[JT_STRING] = "a string", [JT_ARRAY] = "an array", [JT_OBJECT] = "an object",
	};

	return names[type];
}
