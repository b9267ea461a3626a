/* SPDX-License-Identifier: MIT */
/* The parts an image is made of: the cpio archive, packages unpacked, the kernel inside a bzImage. */
#include "image_fixture.h"

#include <signal.h>
#include <sys/resource.h>

#include "err.h"
#include "image/deb.h"
#include "image/initramfs.h"
#include "image/kernel.h"

/* --- initramfs -------------------------------------------------------------------------------------------- */

static struct initramfs *sample(gboolean other_order)
{
	struct initramfs *fs = initramfs_new();

	if (other_order)
		initramfs_add_link(fs, "bin/sh", "busybox");
	initramfs_add_text(fs, "etc/deep/rc", 0755, "#!/bin/sh\n");
	initramfs_add_dir(fs, "tmp", 01777);
	initramfs_add_chardev(fs, "dev/console", 0600, 5, 1);
	if (!other_order)
		initramfs_add_link(fs, "bin/sh", "busybox");
	return fs;
}

static char *listing(const char *path)
{
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	GString *s = g_string_new(NULL);

	archive_read_support_format_cpio(a);
	assert_int_equal(archive_read_open_filename(a, path, 65536), ARCHIVE_OK);
	while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
		char text[64] = "";

		if (archive_entry_size(e) > 0)
			assert_true(archive_read_data(a, text, sizeof(text) - 1) >= 0);
		g_string_append_printf(s, "%06o %ld:%ld %ld %s", archive_entry_mode(e),
				       (long)archive_entry_uid(e), (long)archive_entry_gid(e),
				       (long)archive_entry_mtime(e), archive_entry_pathname(e));
		if (archive_entry_symlink(e))
			g_string_append_printf(s, " -> %s", archive_entry_symlink(e));
		if (archive_entry_filetype(e) == AE_IFCHR)
			g_string_append_printf(s, " %u,%u", (unsigned)archive_entry_rdevmajor(e),
					       (unsigned)archive_entry_rdevminor(e));
		g_string_append_printf(s, "%s%s\n", *text ? " " : "", g_strchomp(text));
	}
	assert_string_equal(archive_format_name(a), "ASCII cpio (SVR4 with no CRC)");
	archive_read_free(a);
	return g_string_free(s, FALSE);
}

static void lists_back(void **state)
{
	g_autofree char *dir = tmp_new();
	g_autofree char *path = g_build_filename(dir, "initrd", NULL);
	struct initramfs *fs = sample(FALSE);
	g_autofree char *text = NULL;

	assert_true(initramfs_write(fs, path, NULL, NULL, NULL));
	text = listing(path);
	assert_string_equal(text, "040755 0:0 0 bin\n"
				  "120777 0:0 0 bin/sh -> busybox\n"
				  "040755 0:0 0 dev\n"
				  "020600 0:0 0 dev/console 5,1\n"
				  "040755 0:0 0 etc\n"
				  "040755 0:0 0 etc/deep\n"
				  "100755 0:0 0 etc/deep/rc #!/bin/sh\n"
				  "041777 0:0 0 tmp\n");
	initramfs_free(fs);
	tmp_remove(dir);
}

static char *digest(const struct initramfs *fs)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

	initramfs_hash(fs, sum);
	return g_strdup(g_checksum_get_string(sum));
}

static void same_content_same_bytes(void **state)
{
	g_autofree char *dir = tmp_new();
	g_autofree char *one = g_build_filename(dir, "one", NULL);
	g_autofree char *two = g_build_filename(dir, "two", NULL);
	struct initramfs *a = sample(FALSE), *b = sample(TRUE);
	g_autofree char *hash_a = digest(a);
	g_autofree char *hash_b = digest(b);
	g_autofree char *text_a = NULL;
	g_autofree char *text_b = NULL;
	gsize len_a, len_b;

	assert_string_equal(hash_a, hash_b);
	assert_true(initramfs_write(a, one, NULL, NULL, NULL));
	g_usleep(1100000); /* another second of the clock must not show */
	assert_true(initramfs_write(b, two, NULL, NULL, NULL));
	assert_true(g_file_get_contents(one, &text_a, &len_a, NULL));
	assert_true(g_file_get_contents(two, &text_b, &len_b, NULL));
	assert_int_equal(len_a, len_b);
	assert_memory_equal(text_a, text_b, len_a);
	initramfs_free(a);
	initramfs_free(b);
	tmp_remove(dir);
}

/* One bit of mode, content, target or device number is another image. */
static void hash_sees_everything(void **state)
{
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	for (guint i = 0; i < 7; i++) {
		struct initramfs *fs = sample(FALSE);

		if (i == 1)
			initramfs_add_text(fs, "etc/deep/rc", 0755, "#!/bin/ash\n");
		else if (i == 2)
			initramfs_add_text(fs, "etc/deep/rc", 0644, "#!/bin/sh\n");
		else if (i == 3)
			initramfs_add_link(fs, "bin/sh", "busyboy");
		else if (i == 4)
			initramfs_add_chardev(fs, "dev/console", 0600, 5, 2);
		else if (i == 5)
			initramfs_add_dir(fs, "tmp2", 0755);
		else if (i == 6)
			initramfs_add_text(fs, "bin/sh", 0777, "busybox");
		assert_true(g_hash_table_add(seen, digest(fs)));
		initramfs_free(fs);
	}
}

/* A file size limit stands in for a full disk: the write fails in the middle. */
static void full_disk_leaves_nothing(void **state)
{
	g_autofree char *dir = tmp_new();
	g_autofree char *path = g_build_filename(dir, "initrd", NULL);
	struct initramfs *fs = sample(FALSE);
	g_autofree char *large = g_malloc0(1 << 20);
	g_autoptr(GBytes) bytes = g_bytes_new(large, 1 << 20);
	struct rlimit old, low;
	g_autoptr(GError) error = NULL;
	gboolean ok;

	initramfs_add_file(fs, "bin/busybox", 0755, bytes);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	low = (struct rlimit){ .rlim_cur = 300000, .rlim_max = old.rlim_max };
	setrlimit(RLIMIT_FSIZE, &low);
	ok = initramfs_write(fs, path, NULL, NULL, &error);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_false(ok);
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_FAILED));
	assert_non_null(strstr(error->message, path));
	assert_non_null(strstr(error->message, g_strerror(EFBIG)));
	assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
	initramfs_free(fs);
	tmp_remove(dir);
}

static void never_overwrites(void **state)
{
	g_autofree char *dir = tmp_new();
	g_autofree char *path = g_build_filename(dir, "initrd", NULL);
	struct initramfs *fs = sample(FALSE);
	g_autofree char *text = NULL;

	put_text(dir, "initrd", "mine", 0644);
	assert_false(initramfs_write(fs, path, NULL, NULL, NULL));
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	assert_string_equal(text, "mine");
	initramfs_free(fs);
	tmp_remove(dir);
}

/* --- packages --------------------------------------------------------------------------------------------- */

static gboolean want_boot(const char *path)
{
	return g_str_has_prefix(path, "boot/");
}

static gboolean want_all(const char *path)
{
	return TRUE;
}

static gboolean unpack(GBytes *deb, const char *dir, gboolean (*want)(const char *path),
		       GCancellable *cancellable, GError **error)
{
	g_autofree char *path = g_build_filename(dir, "x.deb", NULL);
	g_autofree char *dest = g_build_filename(dir, "out", NULL);
	struct deb_unpack how = { .dest = dest, .want = want, .cancellable = cancellable };

	put_file(dir, "x.deb", deb, 0644);
	g_mkdir(dest, 0755);
	return deb_unpack(path, &how, error);
}

static void unpacks_every_compression(void **state)
{
	static const struct {
		const char *filter, *suffix;
	} kinds[] = { { "gzip", ".gz" }, { "xz", ".xz" }, { "zstd", ".zst" }, { NULL, "" } };
	g_autoptr(GBytes) kernel = fake_vmlinux(TRUE);
	const struct deb_file files[] = { { "./", NULL },
					  { "./boot/", NULL },
					  { "./boot/vmlinuz-1", kernel },
					  { "./usr/share/doc/readme", kernel } };

	for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
		g_autofree char *dir = tmp_new();
		g_autofree char *got = g_build_filename(dir, "out/boot/vmlinuz-1", NULL);
		g_autofree char *not = g_build_filename(dir, "out/usr", NULL);
		g_autoptr(GBytes) deb = NULL;
		g_autofree char *text = NULL;
		gsize len;

		deb = fake_deb(files, G_N_ELEMENTS(files), kinds[i].filter, kinds[i].suffix);
		assert_true(unpack(deb, dir, want_boot, NULL, NULL));
		assert_true(g_file_get_contents(got, &text, &len, NULL));
		assert_int_equal(len, g_bytes_get_size(kernel));
		assert_memory_equal(text, g_bytes_get_data(kernel, NULL), len);
		assert_false(g_file_test(not, G_FILE_TEST_EXISTS));
		tmp_remove(dir);
	}
}

static void refuses_to_leave_its_directory(void **state)
{
	static const char *const paths[] = { "../evil", "./boot/../../evil", "/evil" };
	g_autoptr(GBytes) text = g_bytes_new_static("x", 1);

	for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
		g_autofree char *dir = tmp_new();
		g_autofree char *evil = g_build_filename(dir, "evil", NULL);
		const struct deb_file files[] = { { paths[i], text } };
		g_autoptr(GBytes) deb = fake_deb(files, 1, "gzip", ".gz");
		g_autoptr(GError) error = NULL;

		assert_false(unpack(deb, dir, want_all, NULL, &error));
		assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_FAILED));
		assert_false(g_file_test(evil, G_FILE_TEST_EXISTS));
		assert_int_equal(access("/evil", F_OK), -1);
		tmp_remove(dir);
	}
}

/* Cut at any tenth: an error each time. */
static void truncated_package_is_an_error(void **state)
{
	g_autoptr(GBytes) kernel = fake_vmlinux(TRUE);
	const struct deb_file files[] = { { "./boot/vmlinuz-1", kernel },
					  { "./boot/config-1", kernel } };
	g_autoptr(GBytes) deb = fake_deb(files, 2, "xz", ".xz");
	gsize size = g_bytes_get_size(deb);

	for (gsize tenth = 0; tenth < 10; tenth++) {
		g_autofree char *dir = tmp_new();
		g_autoptr(GBytes) cut = g_bytes_new_from_bytes(deb, 0, size * tenth / 10);
		g_autoptr(GError) error = NULL;

		assert_false(unpack(cut, dir, want_all, NULL, &error));
		assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_FAILED));
		assert_non_null(strstr(error->message, "x.deb"));
		tmp_remove(dir);
	}
}

static void package_full_disk(void **state)
{
	g_autofree char *dir = tmp_new();
	g_autofree char *large = g_malloc0(1 << 18);
	g_autoptr(GBytes) bytes = g_bytes_new(large, 1 << 18);
	const struct deb_file files[] = { { "./boot/vmlinuz-1", bytes } };
	g_autoptr(GBytes) deb = fake_deb(files, 1, "gzip", ".gz");
	struct rlimit old, low;
	g_autoptr(GError) error = NULL;
	gboolean ok;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	low = (struct rlimit){ .rlim_cur = 100000, .rlim_max = old.rlim_max };
	setrlimit(RLIMIT_FSIZE, &low);
	ok = unpack(deb, dir, want_all, NULL, &error);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_false(ok);
	assert_non_null(strstr(error->message, "vmlinuz-1"));
	tmp_remove(dir);
}

static void unpacking_can_be_cancelled(void **state)
{
	g_autofree char *dir = tmp_new();
	g_autoptr(GBytes) text = g_bytes_new_static("x", 1);
	const struct deb_file files[] = { { "./boot/x", text } };
	g_autoptr(GBytes) deb = fake_deb(files, 1, "gzip", ".gz");
	g_autoptr(GCancellable) cancellable = g_cancellable_new();
	g_autoptr(GError) error = NULL;

	g_cancellable_cancel(cancellable);
	assert_false(unpack(deb, dir, want_all, cancellable, &error));
	assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED));
	tmp_remove(dir);
}

/* --- kernels ---------------------------------------------------------------------------------------------- */

static void takes_the_kernel_out(void **state)
{
	static const char *const filters[] = { "gzip", "xz", "zstd", "lz4" };
	g_autoptr(GBytes) vmlinux = fake_vmlinux(TRUE);

	for (guint i = 0; i < G_N_ELEMENTS(filters); i++) {
		g_autoptr(GBytes) bz = fake_bzimage(vmlinux, filters[i]);
		g_autoptr(GBytes) out = kernel_vmlinux(bz);

		assert_non_null(out);
		assert_true(g_bytes_equal(out, vmlinux));
	}
}

static void leaves_other_kernels_alone(void **state)
{
	g_autoptr(GBytes) plain = fake_vmlinux(FALSE);
	g_autoptr(GBytes) no_pvh = fake_bzimage(plain, "gzip");
	g_autoptr(GBytes) text = g_bytes_new_static("no kernel", 9);

	assert_null(kernel_vmlinux(no_pvh));
	assert_null(kernel_vmlinux(text));
	assert_null(kernel_vmlinux(plain));
}

static void kernel_damage_is_no_crash(void **state)
{
	g_autoptr(GBytes) vmlinux = fake_vmlinux(TRUE);
	g_autoptr(GBytes) bz = fake_bzimage(vmlinux, "gzip");
	gsize size = g_bytes_get_size(bz);

	for (gsize i = 0; i < size; i++) {
		guint8 *copy = g_memdup2(g_bytes_get_data(bz, NULL), size);
		g_autoptr(GBytes) bad = NULL;
		g_autoptr(GBytes) out = NULL;

		copy[i] ^= 0xff;
		bad = g_bytes_new_take(copy, size);
		out = kernel_vmlinux(bad);
	}
	for (gsize n = 0; n < size; n += 7) {
		g_autoptr(GBytes) cut = g_bytes_new(g_bytes_get_data(bz, NULL), n);

		assert_null(kernel_vmlinux(cut));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_back),
		cmocka_unit_test(same_content_same_bytes),
		cmocka_unit_test(hash_sees_everything),
		cmocka_unit_test(full_disk_leaves_nothing),
		cmocka_unit_test(never_overwrites),
		cmocka_unit_test(unpacks_every_compression),
		cmocka_unit_test(refuses_to_leave_its_directory),
		cmocka_unit_test(truncated_package_is_an_error),
		cmocka_unit_test(package_full_disk),
		cmocka_unit_test(unpacking_can_be_cancelled),
		cmocka_unit_test(takes_the_kernel_out),
		cmocka_unit_test(leaves_other_kernels_alone),
		cmocka_unit_test(kernel_damage_is_no_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
