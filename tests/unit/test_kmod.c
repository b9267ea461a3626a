/* SPDX-License-Identifier: MIT */
/* Kernel modules: reading what they depend on, finding them, the order of loading. */
#include "image_fixture.h"

#include "err.h"
#include "image/decompress.h"
#include "image/kmod.h"

static void put_module(const char *dir, const char *path, const char *name, const char *depends,
		       const char *filter)
{
	g_autoptr(GBytes) elf = fake_module(name, depends);
	g_autoptr(GBytes) file = filter ? packed(elf, filter) : g_bytes_ref(elf);

	put_file(dir, path, file, 0644);
}

static char *joined(GPtrArray *modules)
{
	GString *s = g_string_new(NULL);

	for (guint i = 0; i < modules->len; i++)
		g_string_append_printf(s, "%s%s", i ? " " : "",
				       ((struct kmod *)modules->pdata[i])->name);
	return g_string_free(s, FALSE);
}

static void reads_depends(void **state)
{
	g_autoptr(GBytes) none = fake_module("a", "");
	g_autoptr(GBytes) two = fake_module("a", "virtio,virtio_ring");
	g_auto(GStrv) names = NULL;

	assert_true(kmod_depends(none, &names, NULL));
	assert_int_equal(g_strv_length(names), 0);
	g_clear_pointer(&names, g_strfreev);
	assert_true(kmod_depends(two, &names, NULL));
	assert_int_equal(g_strv_length(names), 2);
	assert_string_equal(names[0], "virtio");
	assert_string_equal(names[1], "virtio_ring");
}

/* Cut anywhere: an answer or an error, and nothing read outside (ASan watches). */
static void survives_truncation(void **state)
{
	g_autoptr(GBytes) whole = fake_module("a", "b");
	gsize size = g_bytes_get_size(whole);

	for (gsize n = 0; n < size; n++) {
		g_autoptr(GBytes) cut = g_bytes_new(g_bytes_get_data(whole, NULL), n);
		g_autoptr(GError) error = NULL;
		g_auto(GStrv) names = NULL;

		assert_false(kmod_depends(cut, &names, &error));
		assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_FAILED));
	}
}

/* Each byte of the headers turned over: no crash. */
static void survives_damage(void **state)
{
	g_autoptr(GBytes) whole = fake_module("a", "b");
	gsize size = g_bytes_get_size(whole);

	for (gsize i = 0; i < size; i++) {
		guint8 *copy = g_memdup2(g_bytes_get_data(whole, NULL), size);
		g_autoptr(GBytes) bad = NULL;
		g_auto(GStrv) names = NULL;

		copy[i] ^= 0xff;
		bad = g_bytes_new_take(copy, size);
		(void)kmod_depends(bad, &names, NULL);
	}
}

/* Every form a distribution ships, '-' against '_', a built-in one, an optional one that is not there. */
static void collects_in_loading_order(void **state)
{
	g_autofree char *dir = tmp_new();
	static const char *const wanted[] = { "virtio_net", "virtio-pci", "virtio_rng?",
					      "button?",    "evdev?",     NULL };
	g_autoptr(GPtrArray) modules = NULL;
	g_autoptr(GError) error = NULL;
	g_autofree char *order = NULL;

	put_module(dir, "kernel/drivers/net/virtio_net.ko.xz", "virtio_net",
		   "virtio,virtio_ring,net_failover", "xz");
	put_module(dir, "kernel/drivers/net/net_failover.ko.zst", "net_failover", "failover",
		   "zstd");
	put_module(dir, "kernel/net/core/failover.ko.gz", "failover", "", "gzip");
	put_module(dir, "kernel/drivers/virtio/virtio.ko", "virtio", "virtio_ring", NULL);
	put_module(dir, "kernel/drivers/virtio/virtio_ring.ko", "virtio_ring", "", NULL);
	put_module(dir, "kernel/drivers/virtio/virtio_pci.ko.xz", "virtio_pci", "virtio", "xz");
	put_module(dir, "kernel/drivers/char/virtio-rng.ko", "virtio_rng", "virtio", NULL);
	put_module(dir, "kernel/sound/unwanted.ko", "unwanted", "virtio", NULL);
	put_text(dir, "modules.builtin", "kernel/drivers/input/evdev.ko\n", 0644);

	assert_true(kmod_collect(dir, wanted, &modules, &error));
	order = joined(modules);
	assert_string_equal(
		order, "virtio_ring virtio failover net_failover virtio_net virtio_pci virtio_rng");
	for (guint i = 0; i < modules->len; i++) {
		const struct kmod *m = modules->pdata[i];

		assert_memory_equal(g_bytes_get_data(m->bytes, NULL), ELFMAG, SELFMAG);
	}
	tmp_remove(dir);
}

static void names_what_is_missing(void **state)
{
	g_autofree char *dir = tmp_new();
	static const char *const wanted[] = { "virtio_net", NULL };
	GPtrArray *modules = NULL;
	g_autoptr(GError) error = NULL;

	put_module(dir, "virtio_net.ko", "virtio_net", "nowhere", NULL);
	assert_false(kmod_collect(dir, wanted, &modules, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, "nowhere"));
	assert_null(modules);
	tmp_remove(dir);
}

/* Two modules that want each other do not hang us: each is collected once. */
static void ends_on_a_cycle(void **state)
{
	g_autofree char *dir = tmp_new();
	static const char *const wanted[] = { "a", NULL };
	g_autoptr(GPtrArray) modules = NULL;

	put_module(dir, "a.ko", "a", "b", NULL);
	put_module(dir, "b.ko", "b", "a", NULL);
	assert_true(kmod_collect(dir, wanted, &modules, NULL));
	assert_int_equal(modules->len, 2);
	tmp_remove(dir);
}

static void refuses_damaged_files(void **state)
{
	g_autofree char *dir = tmp_new();
	static const char *const wanted[] = { "a", NULL };
	g_autoptr(GBytes) elf = fake_module("a", "");
	g_autoptr(GBytes) xz = packed(elf, "xz");
	g_autoptr(GBytes) half = g_bytes_new_from_bytes(xz, 0, g_bytes_get_size(xz) / 2);
	GPtrArray *modules = NULL;
	g_autoptr(GError) error = NULL;

	put_file(dir, "a.ko.xz", half, 0644);
	assert_false(kmod_collect(dir, wanted, &modules, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_FAILED));
	assert_non_null(strstr(error->message, "a.ko.xz"));
	g_clear_error(&error);
	put_text(dir, "a.ko.xz", "not a module at all", 0644);
	assert_false(kmod_collect(dir, wanted, &modules, &error));
	assert_non_null(strstr(error->message, "not a kernel module"));
	tmp_remove(dir);
}

static void decompresses_every_filter(void **state)
{
	static const char *const filters[] = { "gzip", "xz", "zstd", "lz4" };
	g_autoptr(GBytes) plain = fake_vmlinux(TRUE);

	for (guint i = 0; i < G_N_ELEMENTS(filters); i++) {
		g_autoptr(GBytes) small = packed(plain, filters[i]);
		g_autoptr(GBytes) again = decompress_bytes(small, NULL);

		assert_non_null(again);
		assert_true(g_bytes_equal(again, plain));
	}
}

static void decompression_is_bounded(void **state)
{
	g_autofree char *zeros = g_malloc0(DECOMPRESS_MAX + 1);
	g_autoptr(GBytes) fits = g_bytes_new_static(zeros, DECOMPRESS_MAX);
	g_autoptr(GBytes) large = g_bytes_new_static(zeros, DECOMPRESS_MAX + 1);
	g_autoptr(GBytes) small_fits = packed(fits, "zstd");
	g_autoptr(GBytes) small_large = packed(large, "zstd");
	g_autoptr(GBytes) out = decompress_bytes(small_fits, NULL);
	g_autoptr(GError) error = NULL;

	assert_non_null(out);
	assert_null(decompress_bytes(small_large, &error));
	assert_non_null(strstr(error->message, "more than"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_depends),
		cmocka_unit_test(survives_truncation),
		cmocka_unit_test(survives_damage),
		cmocka_unit_test(collects_in_loading_order),
		cmocka_unit_test(names_what_is_missing),
		cmocka_unit_test(ends_on_a_cycle),
		cmocka_unit_test(refuses_damaged_files),
		cmocka_unit_test(decompresses_every_filter),
		cmocka_unit_test(decompression_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
