/* SPDX-License-Identifier: MIT */
#include "model/fields.h"

#include <arpa/inet.h>
#include <string.h>

#include "model/errors.h"
#include "model/jsontree.h"
#include "model/lab.h"
#include "model/names.h"
#include "model/units.h"

#define KEYS_MAX 64 /* of one object */

/* --- the checker ---------------------------------------------------------------------------------------------------- */

static bool has_type(struct jt_node *node, enum jt_type type, const char *wanted,
		     struct lab_errors *errors)
{
	if (node->type == type)
		return true;
	lab_error_at(errors, node, "expected %s, got %s", wanted, jt_type_name(node->type));
	return false;
}

static bool has_control(const char *text)
{
	for (const char *p = text; *p; p = g_utf8_find_next_char(p, NULL))
		if (g_unichar_iscntrl(g_utf8_get_char(p)))
			return true;
	return false;
}

static bool check_text(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	size_t len;

	if (!has_type(node, JT_STRING, "a string", errors))
		return false;
	len = strlen(node->string);
	if (len < f->min)
		lab_error_at(errors, node, "must not be empty");
	else if (len > f->max)
		lab_error_at(errors, node,
			     "is %zu bytes long, at most %" G_GUINT64_FORMAT " are allowed", len,
			     f->max);
	else if (has_control(node->string))
		lab_error_at(errors, node, "control characters are not allowed here");
	else
		return true;
	return false;
}

/* What is wrong with a name, or NULL. */
static const char *name_fault(const char *name)
{
	if (names_valid(name))
		return NULL;
	if (strlen(name) > NAMES_LABEL_MAX)
		return "is too long for a name: at most 63 characters";
	return "is not a name: use a-z, 0-9 and '-', the latter not at the ends";
}

static bool check_name(struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;
	const char *fault;

	if (!has_type(node, JT_STRING, "a name", errors))
		return false;
	fault = name_fault(node->string);
	if (!fault)
		return true;
	quoted = jt_quote(node->string);
	lab_error_at(errors, node, "%s %s", quoted, fault);
	return false;
}

/* Kinds that are written as a number with a unit. */
static const struct quantity {
	const char *wanted;
	const char *(*parse)(const char *text, uint64_t *ret);
	char *(*format)(uint64_t n);
} quantities[FIELD_KIND_COUNT] = {
	[FIELD_SIZE] = { "a size like \"512MiB\"", unit_parse_size, unit_format_size },
	[FIELD_BYTES] = { "a size like \"64KiB\"", unit_parse_size, unit_format_size },
	[FIELD_TIME] = { "a time like \"30s\"", unit_parse_time, unit_format_time },
	[FIELD_DELAY] = { "a delay like \"20ms\"", unit_parse_delay, unit_format_delay },
	[FIELD_CHANCE] = { "a percentage like \"2%\"", unit_parse_chance, unit_format_chance },
	[FIELD_RATE] = { "a rate like \"100mbit\"", unit_parse_rate, unit_format_rate },
};

static bool check_quantity(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	const struct quantity *q = &quantities[f->kind];
	g_autofree char *quoted = NULL, *min = NULL, *max = NULL;
	const char *fault;

	if (!has_type(node, JT_STRING, q->wanted, errors))
		return false;
	quoted = jt_quote(node->string);
	fault = q->parse(node->string, &node->decoded);
	if (fault) {
		lab_error_at(errors, node, "%s %s", quoted, fault);
		return false;
	}
	if (node->decoded < f->min || node->decoded > f->max) {
		min = q->format(f->min);
		max = q->format(f->max);
		lab_error_at(errors, node, "%s is out of range: %s to %s", quoted, min, max);
		return false;
	}
	return true;
}

static bool check_size(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;

	if (!check_quantity(f, node, errors))
		return false;
	if (node->decoded % (1u << 20) == 0)
		return true;
	quoted = jt_quote(node->string);
	lab_error_at(errors, node, "%s is not a whole number of MiB", quoted);
	return false;
}

static bool check_count(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	int64_t min = (int64_t)f->min, max = (int64_t)f->max;

	if (!has_type(node, JT_NUMBER, "an integer", errors))
		return false;
	if (!node->is_integer)
		lab_error_at(errors, node, "expected an integer, got a fraction");
	else if (min == max && node->integer != min)
		lab_error_at(errors, node,
			     "%" G_GINT64_FORMAT " is not known: the only one is %" G_GINT64_FORMAT,
			     node->integer, min);
	else if (node->integer < min || node->integer > max)
		lab_error_at(errors, node,
			     "%" G_GINT64_FORMAT " is out of range: %" G_GINT64_FORMAT
			     " to %" G_GINT64_FORMAT,
			     node->integer, min, max);
	else
		node->decoded = (uint64_t)node->integer;
	return node->is_integer && node->integer >= min && node->integer <= max;
}

static bool check_word(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL, *list = NULL;
	unsigned n = g_strv_length((char **)(uintptr_t)f->words);
	const char *near;

	if (!has_type(node, JT_STRING, "a string", errors))
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (strcmp(f->words[i], node->string) == 0) {
			node->decoded = i;
			return true;
		}
	}
	quoted = jt_quote(node->string);
	near = lab_errors_nearest(errors, node->string, f->words, n);
	if (near) {
		lab_error_at(errors, node, "%s is not known here (did you mean \"%s\"?)", quoted,
			     near);
	} else {
		list = g_strjoinv(", ", (char **)(uintptr_t)f->words);
		lab_error_at(errors, node, "%s is not known here: one of %s", quoted, list);
	}
	return false;
}

static bool check_flag(struct jt_node *node, struct lab_errors *errors)
{
	if (!has_type(node, JT_BOOL, "true or false", errors))
		return false;
	node->decoded = node->boolean;
	return true;
}

/* An IPv4 address in host byte order; leading zeros and short forms are refused. */
static bool parse_ip(const char *text, uint32_t *ret)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		return false;
	*ret = ntohl(a.s_addr);
	return true;
}

static bool check_subnet(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;
	g_auto(GStrv) part = NULL;
	uint32_t address, mask;
	guint64 prefix;
	char right[INET_ADDRSTRLEN];

	if (!has_type(node, JT_STRING, "a subnet like \"192.168.100.0/24\"", errors))
		return false;
	quoted = jt_quote(node->string);
	part = g_strsplit(node->string, "/", 3);
	if (g_strv_length(part) != 2 || !parse_ip(part[0], &address) || strlen(part[1]) > 2 ||
	    !g_ascii_string_to_unsigned(part[1], 10, 0, 32, &prefix, NULL)) {
		lab_error_at(errors, node, "%s is not a subnet: write it like \"192.168.100.0/24\"",
			     quoted);
		return false;
	}
	if (prefix > f->max) {
		lab_error_at(errors, node, "%s is too small: a subnet has a prefix of /8 to /30",
			     quoted);
		return false;
	}
	if (prefix < f->min) {
		lab_error_at(errors, node, "%s is too large: a subnet has a prefix of /8 to /30",
			     quoted);
		return false;
	}
	mask = UINT32_MAX << (32 - prefix);
	if (address & ~mask) {
		inet_ntop(AF_INET, &(struct in_addr){ htonl(address & mask) }, right,
			  sizeof(right));
		lab_error_at(errors, node, "%s has host bits (did you mean \"%s/%u\"?)", quoted,
			     right, (unsigned)prefix);
		return false;
	}
	if (address >> 24 == 0 || address >> 24 == 127 || address >> 28 >= 14) {
		lab_error_at(errors, node, "%s is not for hosts: loopback, multicast or reserved",
			     quoted);
		return false;
	}
	node->decoded = (uint64_t)address << 8 | prefix;
	return true;
}

static bool check_ip(struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;
	uint32_t address;

	if (!has_type(node, JT_STRING, "an IPv4 address", errors))
		return false;
	if (parse_ip(node->string, &address)) {
		node->decoded = address;
		return true;
	}
	quoted = jt_quote(node->string);
	lab_error_at(errors, node,
		     strchr(node->string, '/') ?
			     "%s: give the address alone, its prefix is the subnet's" :
			     "%s is not an IPv4 address",
		     quoted);
	return false;
}

static bool check_mac(struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;

	if (!has_type(node, JT_STRING, "a MAC address", errors))
		return false;
	quoted = jt_quote(node->string);
	if (!names_mac_parse(node->string, &node->decoded))
		lab_error_at(errors, node,
			     "%s is not a MAC address: write it like \"52:54:00:12:34:56\"",
			     quoted);
	else if (node->decoded >> 40 & 1)
		lab_error_at(errors, node, "%s is a multicast address: the first pair must be even",
			     quoted);
	else if (node->decoded == 0)
		lab_error_at(errors, node, "%s is no address", quoted);
	else
		return true;
	return false;
}

static bool check_names(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

	if (!has_type(node, JT_ARRAY, "an array of names", errors))
		return false;
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "has %u names, at most %u are allowed", node->n_children,
			     (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next) {
		n->ok = !n->broken && check_name(n, errors);
		if (n->ok && !g_hash_table_add(seen, (char *)(uintptr_t)n->string)) {
			lab_error_at(errors, n, "\"%s\" is named twice", n->string);
			n->ok = false;
		}
	}
	return true;
}

static bool check_texts(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	static const struct field item = { .min = 0, .max = FIELD_TEXTS_BYTES };

	if (!has_type(node, JT_ARRAY, "an array of strings", errors))
		return false;
	if (node->n_children < f->min) {
		lab_error_at(errors, node, "must not be empty");
		return false;
	}
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "has %u elements, at most %u are allowed",
			     node->n_children, (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next)
		n->ok = !n->broken && check_text(&item, n, errors);
	return true;
}

static bool check_counts(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);

	if (!has_type(node, JT_ARRAY, "an array of integers", errors))
		return false;
	if (node->n_children < 1 || node->n_children > FIELD_COUNTS_MAX) {
		lab_error_at(errors, node, "has %u elements: 1 to %u are allowed", node->n_children,
			     FIELD_COUNTS_MAX);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next) {
		n->ok = !n->broken && check_count(f, n, errors);
		if (n->ok && !g_hash_table_add(seen, GSIZE_TO_POINTER(n->decoded))) {
			lab_error_at(errors, n, "%" G_GINT64_FORMAT " is there twice", n->integer);
			n->ok = false;
		}
	}
	return true;
}

/* Whether it can be one; whether there is such a link is known when the lab is built. */
static bool check_link(struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;
	size_t vm_len;

	if (!has_type(node, JT_STRING, "a link like \"n1\" or \"n1:lan\"", errors))
		return false;
	vm_len = strcspn(node->string, ".:");
	if (vm_len > 0 && (!node->string[vm_len] || node->string[vm_len + 1]) &&
	    strspn(node->string, NAMES_LINK_CHARACTERS) == strlen(node->string))
		return true;
	quoted = jt_quote(node->string);
	lab_error_at(errors, node, "%s is not a link: write VM, VM.NIC or VM:NETWORK, as in \"n1\"",
		     quoted);
	return false;
}

static bool check_links(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

	if (!has_type(node, JT_ARRAY, "an array of links", errors))
		return false;
	if (node->n_children < f->min || node->n_children > f->max) {
		lab_error_at(errors, node, "has %u elements: %u to %u are allowed",
			     node->n_children, (unsigned)f->min, (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next) {
		n->ok = !n->broken && check_link(n, errors);
		if (n->ok && !g_hash_table_add(seen, (char *)(uintptr_t)n->string)) {
			lab_error_at(errors, n, "\"%s\" is named twice", n->string);
			n->ok = false;
		}
	}
	return true;
}

static bool check_list(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	if (!has_type(node, JT_ARRAY, "an array", errors))
		return false;
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "has %u elements, at most %u are allowed",
			     node->n_children, (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next)
		field_check(f->object, n, errors);
	return true;
}

static bool check_map(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	if (!has_type(node, JT_OBJECT, "an object", errors))
		return false;
	if (node->n_children < f->min) {
		lab_error_at(errors, node, "must name at least one");
		return false;
	}
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "names %u, at most %u are allowed", node->n_children,
			     (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next) {
		const char *fault = n->broken ? NULL : name_fault(n->key);

		if (fault) {
			g_autofree char *quoted = jt_quote(n->key);

			lab_error_at_key(errors, n, "%s %s", quoted, fault);
		}
		field_check(f->object, n, errors);
	}
	return true;
}

static enum jt_type type_of(enum field_kind kind)
{
	switch (kind) {
	case FIELD_COUNT:
		return JT_NUMBER;
	case FIELD_FLAG:
		return JT_BOOL;
	case FIELD_NAMES:
	case FIELD_TEXTS:
	case FIELD_COUNTS:
	case FIELD_LINKS:
	case FIELD_LIST:
		return JT_ARRAY;
	case FIELD_OBJECT:
	case FIELD_MAP:
		return JT_OBJECT;
	case FIELD_TEXT:
	case FIELD_NAME:
	case FIELD_SIZE:
	case FIELD_BYTES:
	case FIELD_WORD:
	case FIELD_TIME:
	case FIELD_DELAY:
	case FIELD_CHANCE:
	case FIELD_RATE:
	case FIELD_SUBNET:
	case FIELD_IP:
	case FIELD_MAC:
	case FIELD_LINK:
		return JT_STRING;
	case FIELD_EITHER:
	case FIELD_KIND_COUNT:
		break;
	}
	g_assert_not_reached();
}

const struct field *field_choice(const struct field *f, const struct jt_node *node)
{
	for (const struct field *c = f->choices; c->key; c++)
		if (type_of(c->kind) == node->type)
			return c;
	return NULL;
}

static bool check_field(const struct field *f, struct jt_node *node, struct lab_errors *errors);

static bool check_either(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	const struct field *choice = field_choice(f, node);
	g_autoptr(GString) wanted = g_string_new(NULL);

	if (choice)
		return check_field(choice, node, errors);
	for (const struct field *c = f->choices; c->key; c++)
		g_string_append_printf(wanted, "%s%s", wanted->len ? " or " : "",
				       jt_type_name(type_of(c->kind)));
	lab_error_at(errors, node, "expected %s, got %s", wanted->str, jt_type_name(node->type));
	return false;
}

static bool check_object(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	field_check(f->object, node, errors);
	return node->ok;
}

static bool check_field(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	switch (f->kind) {
	case FIELD_TEXT:
		return check_text(f, node, errors);
	case FIELD_NAME:
		return check_name(node, errors);
	case FIELD_SIZE:
		return check_size(f, node, errors);
	case FIELD_BYTES:
	case FIELD_TIME:
	case FIELD_DELAY:
	case FIELD_CHANCE:
	case FIELD_RATE:
		return check_quantity(f, node, errors);
	case FIELD_COUNT:
		return check_count(f, node, errors);
	case FIELD_WORD:
		return check_word(f, node, errors);
	case FIELD_FLAG:
		return check_flag(node, errors);
	case FIELD_SUBNET:
		return check_subnet(f, node, errors);
	case FIELD_IP:
		return check_ip(node, errors);
	case FIELD_MAC:
		return check_mac(node, errors);
	case FIELD_LINK:
		return check_link(node, errors);
	case FIELD_NAMES:
		return check_names(f, node, errors);
	case FIELD_TEXTS:
		return check_texts(f, node, errors);
	case FIELD_COUNTS:
		return check_counts(f, node, errors);
	case FIELD_LINKS:
		return check_links(f, node, errors);
	case FIELD_OBJECT:
		return check_object(f, node, errors);
	case FIELD_LIST:
		return check_list(f, node, errors);
	case FIELD_MAP:
		return check_map(f, node, errors);
	case FIELD_EITHER:
		return check_either(f, node, errors);
	case FIELD_KIND_COUNT:
		break;
	}
	g_assert_not_reached();
}

/* --- objects -------------------------------------------------------------------------------------------------------- */

/* The object that f is a row of: the one given, or one that it has besides. */
static const struct field_object *owner_of(const struct field_object *object, const struct field *f)
{
	for (; object; object = object->also)
		for (const struct field *row = object->fields; row->key; row++)
			if (row == f)
				return object;
	return NULL;
}

const struct field *field_next(const struct field_object *object, const struct field *f)
{
	if (f) {
		object = owner_of(object, f);
		f++;
	} else {
		f = object->fields;
	}
	while (!f->key && object->also) {
		object = object->also;
		f = object->fields;
	}
	return f->key ? f : NULL;
}

const struct field *field_find(const struct field_object *object, const char *key)
{
	for (; object; object = object->also)
		for (const struct field *f = object->fields; f->key; f++)
			if (strcmp(f->key, key) == 0)
				return f;
	return NULL;
}

static void unknown_key(const struct field_object *object, struct jt_node *node,
			struct lab_errors *errors)
{
	g_autofree char *quoted = jt_quote(node->key);
	const char *keys[KEYS_MAX], *near;
	unsigned n = 0;

	for (const struct field *f = field_next(object, NULL); f; f = field_next(object, f)) {
		g_assert(n < KEYS_MAX);
		keys[n++] = f->key;
	}
	near = lab_errors_nearest(errors, node->key, keys, n);
	if (near)
		lab_error_at_key(errors, node, "unknown key %s (did you mean \"%s\"?)", quoted,
				 near);
	else
		lab_error_at_key(errors, node, "unknown key %s", quoted);
}

static void check_member(const struct field_object *object, struct jt_node *node,
			 struct lab_errors *errors)
{
	const struct field *f = field_find(object, node->key);

	if (g_str_has_prefix(node->key, "x-"))
		return;
	if (f)
		node->ok = !node->broken && check_field(f, node, errors);
	else if (!node->broken)
		unknown_key(object, node, errors);
}

void field_check(const struct field_object *object, struct jt_node *node, struct lab_errors *errors)
{
	node->ok = has_type(node, JT_OBJECT, "an object", errors);
	if (!node->ok)
		return;
	for (struct jt_node *n = node->child; n; n = n->next)
		check_member(object, n, errors);
	for (const struct field *f = field_next(object, NULL); f; f = field_next(object, f))
		if (f->required && !jt_get(node, f->key))
			lab_error_at(errors, node, "the key \"%s\" is missing", f->key);
}
