/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "golden.h"
#include "model/fields.h"
#include "model/lab.h"
#include "model/units.h"

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0B", 0 },
		{ "1B", 1 },
		{ "1KiB", 1024 },
		{ "512MiB", 512ull << 20 },
		{ "3GiB", 3ull << 30 },
		{ "16777215TiB", 16777215ull << 40 },
		{ "18446744073709551615B", UINT64_MAX },
	};
	static const char *const bad[] = { "",
					   "512",
					   "MiB",
					   "-1MiB",
					   "1.5GiB",
					   "512MB",
					   "512 MiB",
					   "512mib",
					   "0512MiB",
					   "1e3B",
					   "512MiBx",
					   " 512MiB",
					   "18446744073709551616B",
					   "16777216TiB",
					   "0x10B",
					   "٣MiB" };

	for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
		uint64_t bytes = 7;

		assert_null(unit_parse_size(good[i].text, &bytes));
		assert_true(bytes == good[i].bytes);
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		uint64_t bytes = 7;

		assert_non_null(unit_parse_size(bad[i], &bytes));
		assert_true(bytes == 7);
	}
}

static void test_format_size(void **state)
{
	static const uint64_t bytes[] = { 0,          1,         1023, 1024, 1536, 512ull << 20,
					  4ull << 40, UINT64_MAX };

	for (unsigned i = 0; i < G_N_ELEMENTS(bytes); i++) {
		g_autofree char *text = unit_format_size(bytes[i]);
		uint64_t back;

		assert_null(unit_parse_size(text, &back));
		assert_true(back == bytes[i]);
	}
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {
		{ "0ms", 0 }, { "1ms", 1 }, { "30s", 30000 }, { "2m", 120000 }, { "24h", 86400000 }
	};
	static const char *const bad[] = { "",
					   "30",
					   "s",
					   "-1s",
					   "1.5s",
					   "30 s",
					   "030s",
					   "30S",
					   "30x",
					   "1m30s",
					   "18446744073709551615h" };

	for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
		uint64_t ms = 7;

		assert_null(unit_parse_time(good[i].text, &ms));
		assert_true(ms == good[i].ms);
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		uint64_t ms = 7;

		assert_non_null(unit_parse_time(bad[i], &ms));
		assert_true(ms == 7);
	}
}

static const struct field *fields_of(const char *name)
{
	for (unsigned i = 0; field_objects[i]; i++)
		if (strcmp(field_objects[i]->name, name) == 0)
			return field_objects[i]->fields;
	fail_msg("there is no object %s", name);
	return NULL;
}

/* Words that the code uses as numbers. */
static void test_words(void **state)
{
	for (const struct field *f = fields_of("defaults"); f->key; f++) {
		if (strcmp(f->key, "arch") == 0)
			for (unsigned i = 0; i < LAB_ARCH_COUNT; i++)
				assert_string_equal(f->words[i], lab_arch_name((enum lab_arch)i));
		if (strcmp(f->key, "accel") == 0)
			for (unsigned i = 0; i < LAB_ACCEL_COUNT; i++)
				assert_string_equal(f->words[i], lab_accel_name((enum lab_accel)i));
		if (strcmp(f->key, "sockets") == 0)
			for (unsigned i = 0; i < LAB_SOCKETS_COUNT; i++)
				assert_string_equal(f->words[i],
						    lab_sockets_name((enum lab_sockets)i));
	}
}

/* What the table says holds when nothing is said is what the loader does. */
static void test_unsaid(void **state)
{
	struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };
	static const char text[] = "{\"vms\": {\"a\": {}}}";
	struct lab_errors *errors;
	const struct vm *vm;
	struct lab *lab;

	assert_true(lab_parse(text, strlen(text), "t.json", &dirs, &lab, &errors));
	vm = lab_vm(lab, 0);
	for (const struct field *f = fields_of("defaults"); f->key; f++) {
		g_autofree char *memory = unit_format_size(vm->memory),
				*vcpus = g_strdup_printf("%u", vm->vcpus);
		const char *said = strcmp(f->key, "image") == 0 ?
					   vm->image->name :
				   strcmp(f->key, "memory") == 0 ?
					   memory :
				   strcmp(f->key, "vcpus") == 0 ?
					   vcpus :
				   strcmp(f->key, "arch") == 0 ?
					   lab_arch_name(vm->arch) :
				   strcmp(f->key, "accel") == 0 ?
					   lab_accel_name(vm->accel) :
					   /* Of what else is true of it test_lab knows. */
					   strcmp(f->key, "qemu") == 0 && !vm->qemu ?
					   f->unsaid :
					   lab_sockets_name(vm->sockets);

		assert_string_equal(f->unsaid, said);
	}
	for (const struct field *f = fields_of("network"); f->key; f++) {
		g_autofree char *mtu = g_strdup_printf("%u", vm_nic(vm, 0)->network->mtu);

		if (strcmp(f->key, "mtu") == 0)
			assert_true(g_str_has_prefix(f->unsaid, mtu));
	}
	lab_free(lab);
}

/* --- lab.5 -------------------------------------------------------------------------------------------------------------- */

/* The part of the man page under `# heading`, up to the next one; g_free(). */
static char *section(const char *page, const char *heading)
{
	g_autofree char *start = g_strdup_printf("\n# %s\n", heading);
	const char *from = strstr(page, start), *to;

	if (!from)
		fail_msg("lab.5 has no section %s", heading);
	from += strlen(start);
	to = strstr(from, "\n# ");
	return to ? g_strndup(from, (gsize)(to - from)) : g_strdup(from);
}

static const char *const kinds[FIELD_KIND_COUNT] = {
	[FIELD_TEXT] = "text",     [FIELD_NAME] = "name",     [FIELD_SIZE] = "size",
	[FIELD_BYTES] = "bytes",   [FIELD_COUNT] = "count",   [FIELD_WORD] = "word",
	[FIELD_FLAG] = "flag",     [FIELD_TIME] = "time",     [FIELD_DELAY] = "delay",
	[FIELD_CHANCE] = "chance", [FIELD_RATE] = "rate",     [FIELD_SUBNET] = "subnet",
	[FIELD_IP] = "address",    [FIELD_MAC] = "MAC",       [FIELD_LINK] = "link",
	[FIELD_NAMES] = "names",   [FIELD_TEXTS] = "texts",   [FIELD_COUNTS] = "counts",
	[FIELD_LINKS] = "links",   [FIELD_OBJECT] = "object", [FIELD_LIST] = "list",
	[FIELD_MAP] = "map",
};

/* "_count_", "_count_ or _object_". */
static char *expected_kind(const struct field *f)
{
	g_autoptr(GString) text = g_string_new(NULL);

	if (f->kind != FIELD_EITHER)
		return g_strdup_printf("_%s_", kinds[f->kind]);
	for (const struct field *c = f->choices; c->key; c++)
		g_string_append_printf(text, "%s_%s_", text->len ? " or " : "", kinds[c->kind]);
	return g_strdup(text->str);
}

/* What a row of the table looks like in the man page: `*key* _kind_` with its default, and its sentence. */
static char *expected_entry(const struct field *f)
{
	g_autofree char *kind = expected_kind(f);
	g_autofree char *key =
		g_strdup_printf("*%s* %s%s", f->key, kind, f->required ? ", required" : "");

	return f->unsaid ? g_strdup_printf("%s (default: %s)", key, f->unsaid) :
			   g_steal_pointer(&key);
}

/* Each object of the table has a section with its name in capitals: a line for each key, no line for another. */
static void test_man_page_lists_every_key(void **state)
{
	g_autofree char *page = source_text("orchestrator/lab.5.scd");
	unsigned wrong = 0;

	for (const struct field_object *const *o = field_objects; *o; o++) {
		g_autofree char *heading = g_ascii_strup((*o)->name, -1),
				*text = section(page, heading);
		g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
		unsigned n_rows = 0, n_entries = 0;

		for (const struct field *f = (*o)->fields; f->key; f++) {
			g_autofree char *entry = expected_entry(f);

			n_rows++;
			if (g_strv_contains((const char *const *)lines, entry))
				continue;
			print_message("%s lacks: %s\n", heading, entry);
			wrong++;
		}
		for (char **line = lines; *line; line++)
			n_entries += (*line)[0] == '*';
		if (n_entries != n_rows)
			print_message("%s: %u entries for %u keys\n", heading, n_entries, n_rows);
		wrong += n_entries != n_rows;
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),  cmocka_unit_test(test_format_size),
		cmocka_unit_test(test_times),  cmocka_unit_test(test_words),
		cmocka_unit_test(test_unsaid), cmocka_unit_test(test_man_page_lists_every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
