/* SPDX-License-Identifier: MIT */
/* What QEMUs answer about themselves (recorded: golden/hotplug), and what is concluded from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "golden.h"
#include "run/hotplug_check.h"
#include "run/json.h"

static struct json_object *recorded(const char *name)
{
	g_autofree char *path = g_strdup_printf("tests/unit/golden/hotplug/%s.json", name);
	g_autofree char *text = source_text(path);
	struct json_object *o = json_tokener_parse(text);

	assert_non_null(o);
	return o;
}

static struct hotplug_facts *facts_of(const char *name)
{
	auto_json o = recorded(name);

	return hotplug_facts_new(o);
}

static char *missing(const char *name, unsigned buses, unsigned slots, uint64_t bytes)
{
	struct hotplug_facts *f = facts_of(name);
	struct hotplug_need need = { .buses = buses, .slots = slots, .slots_bytes = bytes };
	char *text = hotplug_missing(f, &need);

	hotplug_facts_free(f);
	return text;
}

static void assert_missing(const char *name, unsigned buses, unsigned slots, uint64_t bytes,
			   const char *expected)
{
	g_autofree char *text = missing(name, buses, slots, bytes);

	if (expected)
		assert_non_null(text);
	if (expected)
		assert_string_equal(text, expected);
	else
		assert_null(text);
}

/* One of the two ports is taken: on 7.2 it would be given a second device without a complaint. */
static void test_versions(void **state)
{
	static const struct {
		const char *name;
		unsigned version;
		int vectors;
		const char *reconnect;
	} cases[] = { { "7.2", 702, 0, "reconnect" },
		      { "10.0", 1000, -1, "reconnect-ms" },
		      { "11.1", 1101, -1, "reconnect-ms" } };

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct hotplug_facts *f = facts_of(cases[i].name);
		int value = 0;

		assert_int_equal(f->version, cases[i].version);
		assert_null(f->private_memory);
		assert_false(f->asleep);
		assert_false(f->numa);
		assert_int_equal(f->memory, 64 << 20);
		assert_int_equal(f->slots, 2);
		assert_int_equal(f->slots_used, 0);
		assert_int_equal(f->room, (1024 - 64) << 20);
		assert_int_equal(hotplug_vectors(f), cases[i].vectors);
		assert_string_equal(hotplug_reconnect_member(f, &value), cases[i].reconnect);
		assert_int_equal(value, cases[i].version < 900 ? 1 : 200);
		assert_string_equal(hotplug_take_bus(f, 0), "rp0");
		assert_null(hotplug_take_bus(f, 0));
		hotplug_facts_free(f);
		assert_missing(cases[i].name, 1, 2, 960 << 20, NULL);
	}
}

static void test_vectors_by_kvm(void **state)
{
	auto_json o = recorded("7.2");
	struct json_object *kvm = json_object_new_object();
	struct hotplug_facts *f;

	json_put_bool(kvm, "enabled", true);
	json_object_object_add(o, "kvm", kvm);
	f = hotplug_facts_new(o);
	assert_int_equal(hotplug_vectors(f), -1);
	hotplug_facts_free(f);
}

#define WANT_SHARED                                                  \
	"the guest's memory is not shared: start QEMU with -object " \
	"memory-backend-memfd,id=mem0,size=64M,share=on -machine memory-backend=mem0"

static void test_memory(void **state)
{
	auto_json o = recorded("7.2-numa");
	struct json_object *list = json_member(o, "memdevs", json_type_array);
	struct hotplug_need need = { 0 };
	struct hotplug_facts *f;
	g_autofree char *text = NULL;

	assert_missing("7.2-private", 1, 0, 0, WANT_SHARED);
	assert_missing("11.1-private", 1, 0, 0, WANT_SHARED);
	assert_missing("7.2-numa", 1, 0, 0, NULL);
	assert_missing("10.0-numa", 1, 0, 0, NULL);
	/* One node that is not shared is enough. */
	json_object_array_add(list, json_tokener_parse("{\"id\": \"r1\", \"share\": false}"));
	f = hotplug_facts_new(o);
	assert_string_equal(f->private_memory, "r1");
	text = hotplug_missing(f, &need);
	assert_non_null(strstr(text, "(r1): each -object of its NUMA nodes needs share=on"));
	hotplug_facts_free(f);
	/* What is no node's but a memory device's is its own business. */
	json_object_object_add(
		o, "memory-devices",
		json_tokener_parse(
			"[{\"type\": \"virtio-pmem\", \"data\": {\"memdev\": \"/objects/r1\", \"id\": \"p\", \"size\": 1}}]"));
	f = hotplug_facts_new(o);
	assert_null(f->private_memory);
	assert_int_equal(f->slots_used, 1);
	assert_true(hotplug_has_memory_device(f, "p"));
	assert_false(hotplug_has_memory_device(f, "q"));
	hotplug_facts_free(f);
}

static void test_ports(void **state)
{
	struct hotplug_facts *f = facts_of("7.2-pc");
	unsigned n = 0;

	assert_missing(
		"7.2", 2, 0, 0,
		"2 free PCI ports are needed, and there is 1 that can be plugged into: start "
		"QEMU (-machine q35) with -device pcie-root-port,id=hot200,chassis=200");
	assert_missing("7.2-no-port", 2, 0, 0,
		       WANT_SHARED
		       "; 2 free PCI ports are needed, and there are 0 that can be plugged "
		       "into: start QEMU (-machine q35) with -device "
		       "pcie-root-port,id=hot200,chassis=200 -device "
		       "pcie-root-port,id=hot201,chassis=201");
	assert_missing(
		"7.2-firmware", 1, 0, 0,
		"its firmware has not set up the PCI ports yet: try again when the guest boots");
	/* Its root bus takes devices itself: all slots but the two that are taken. */
	for (const char *bus; (bus = hotplug_take_bus(f, 0)); n++)
		assert_string_equal(bus, "pci.0");
	assert_int_equal(n, 30);
	hotplug_facts_free(f);
}

/* A port for which the firmware has kept 2 MiB is none for more; small devices leave the large ones alone. */
static void test_windows(void **state)
{
	struct hotplug_facts *f = facts_of("7.2");
	struct hotplug_need need = { .buses = 1, .windows = 1, .window = 2 << 20 };
	g_autofree char *text = hotplug_missing(f, &need);
	struct hotplug_bus *bus;

	assert_null(text);
	assert_null(hotplug_take_bus(f, need.window << 1));
	need.window = 64 << 20;
	text = hotplug_missing(f, &need);
	assert_string_equal(
		text, "1 free PCI port is needed, 1 of them with room for 64 MiB, and there is 1 "
		      "that can be plugged into: start QEMU (-machine q35) with "
		      "-device pcie-root-port,id=hot200,chassis=200,pref64-reserve=128M");
	/* As SeaBIOS gives it: 64 MiB, but not from a multiple of them on; 128 have one in them. */
	bus = f->buses->pdata[0];
	bus->first = 0xf2c00000;
	bus->last = 0xf6bfffff;
	assert_null(hotplug_take_bus(f, need.window));
	bus->last = bus->first + (128 << 20) - 1;
	assert_string_equal(hotplug_take_bus(f, need.window), "rp0");
	hotplug_facts_free(f);
	f = facts_of("7.2-pc");
	assert_string_equal(hotplug_take_bus(f, need.window), "pci.0");
	hotplug_facts_free(f);
}

static void test_slots(void **state)
{
	assert_missing("7.2-no-slot", 1, 1, 64 << 20,
		       "no slot for a memory device of 64 MiB is free: start QEMU with "
		       "-m 64M,slots=1,maxmem=128M");
	assert_missing("7.2", 1, 3, 3 << 20,
		       "no slot for a memory device of 3 MiB is free: start QEMU with "
		       "-m 64M,slots=3,maxmem=67M");
	assert_missing("7.2", 1, 1, 961 << 20,
		       "no slot for a memory device of 961 MiB is free: start QEMU with "
		       "-m 64M,slots=1,maxmem=1025M");
}

/* A device that the daemon serves takes a QEMU that has it, and a slot. */
static void test_served(void **state)
{
	auto_json o = recorded("10.0");
	struct hotplug_need need = {
		.buses = 1, .slots = 1, .slots_bytes = 10 << 20, .served = true
	};
	struct hotplug_facts *without = hotplug_facts_new(o), *with;
	g_autofree char *text = hotplug_missing(without, &need), *none = NULL;

	assert_non_null(text);
	assert_true(g_str_has_prefix(text, "it has no vhost-user-pmem-pci, which"));
	json_object_object_add(o, "served", json_object_new_array());
	with = hotplug_facts_new(o);
	none = hotplug_missing(with, &need);
	assert_null(none);
	hotplug_facts_free(without);
	hotplug_facts_free(with);
}

/* All that is lacking is told at once. */
static void test_everything(void **state)
{
	g_autofree char *text = NULL;
	auto_json nothing = json_object_new_object();
	struct hotplug_facts *f = hotplug_facts_new(nothing);
	struct hotplug_need need = { .buses = 1, .slots = 1, .slots_bytes = 2 << 20 };

	text = hotplug_missing(f, &need);
	assert_non_null(strstr(text, "not shared"));
	assert_non_null(strstr(text, "; 1 free PCI port is needed"));
	assert_non_null(strstr(text, "; no slot"));
	assert_null(strchr(text, '\n'));
	hotplug_facts_free(f);
}

/* Every member of every answer, in turn, is something else: nothing is believed that is not there. */
static void spoil(struct json_object *root, struct json_object *o)
{
	if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++)
			spoil(root, json_object_array_get_idx(o, i));
		return;
	}
	if (!json_object_is_type(o, json_type_object))
		return;
	json_object_object_foreach(o, key, value)
	{
		struct json_object *was = json_object_get(value);

		for (const char *const *text =
			     (const char *const[]){ "-1", "\"x\"", "[[]]", "{}", "true", NULL };
		     *text; text++) {
			struct hotplug_need need = {
				.buses = 1,
				.windows = 1,
				.window = 1,
				.slots = 1,
				.slots_bytes = 1,
			};
			g_autofree char *words = NULL;
			struct hotplug_facts *f;

			json_object_object_add(o, key, json_tokener_parse(*text));
			f = hotplug_facts_new(root);
			words = hotplug_missing(f, &need);
			hotplug_facts_free(f);
		}
		json_object_object_add(o, key, was);
		spoil(root, was);
	}
}

static void test_nonsense(void **state)
{
	auto_json o = recorded("11.1");

	spoil(o, o);
	assert_missing("11.1", 1, 1, 1, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions), cmocka_unit_test(test_vectors_by_kvm),
		cmocka_unit_test(test_memory),   cmocka_unit_test(test_ports),
		cmocka_unit_test(test_windows),  cmocka_unit_test(test_slots),
		cmocka_unit_test(test_served),   cmocka_unit_test(test_everything),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
