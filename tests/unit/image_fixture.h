/* SPDX-License-Identifier: MIT */
/* Made-up kernel modules, kernels and packages for the tests of orchestrator/image: small, but with the formats of the
 * real ones.  Functions are static: each test program includes what it needs and the compiler drops the rest. */
#ifndef TESTS_UNIT_IMAGE_FIXTURE_H
#define TESTS_UNIT_IMAGE_FIXTURE_H

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

/* --- a directory of one's own ----------------------------------------------------------------------------- */

static inline char *tmp_new(void)
{
	char *dir = g_dir_make_tmp("vhost-lab-image-XXXXXX", NULL);

	assert_non_null(dir);
	return dir;
}

static inline void tmp_remove(const char *path)
{
	if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK)) {
		g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
		const char *name;

		while (dir && (name = g_dir_read_name(dir))) {
			g_autofree char *child = g_build_filename(path, name, NULL);

			tmp_remove(child);
		}
	}
	g_remove(path);
}

/* DIR/PATH with these bytes, its directories made. */
static inline void put_file(const char *dir, const char *path, GBytes *bytes, int mode)
{
	g_autofree char *full = g_build_filename(dir, path, NULL);
	g_autofree char *parent = g_path_get_dirname(full);

	assert_int_equal(g_mkdir_with_parents(parent, 0755), 0);
	assert_true(g_file_set_contents(full, g_bytes_get_data(bytes, NULL),
					(gssize)g_bytes_get_size(bytes), NULL));
	assert_int_equal(chmod(full, mode), 0);
}

static inline void put_text(const char *dir, const char *path, const char *text, int mode)
{
	g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));

	put_file(dir, path, bytes, mode);
}

/* --- compression ------------------------------------------------------------------------------------------ */

/* BYTES through one of libarchive's filters: "gzip", "xz", "zstd", "lz4". */
static inline GBytes *packed(GBytes *bytes, const char *filter)
{
	size_t room = g_bytes_get_size(bytes) + 65536, used = 0;
	char *out = g_malloc(room);
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();

	assert_int_equal(archive_write_add_filter_by_name(a, filter), ARCHIVE_OK);
	assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
	archive_write_set_bytes_in_last_block(a, 1);
	assert_int_equal(archive_write_open_memory(a, out, room, &used), ARCHIVE_OK);
	archive_entry_set_pathname(entry, "x");
	archive_entry_set_filetype(entry, AE_IFREG);
	assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, g_bytes_get_data(bytes, NULL),
					    g_bytes_get_size(bytes)),
			 g_bytes_get_size(bytes));
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_entry_free(entry);
	archive_write_free(a);
	return g_bytes_new_take(out, used);
}

/* --- modules ---------------------------------------------------------------------------------------------- */

/* An ELF file whose only sections are .modinfo and the section names. */
static inline GBytes *fake_module(const char *name, const char *depends)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	g_autofree char *info =
		g_strdup_printf("license=GPL|name=%s|depends=%s|retpoline=Y", name, depends);
	size_t info_len = strlen(info) + 1;
	Elf64_Ehdr eh = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				       EV_CURRENT },
			  .e_type = ET_REL,
			  .e_machine = EM_X86_64,
			  .e_shentsize = sizeof(Elf64_Shdr),
			  .e_shnum = 3,
			  .e_shstrndx = 2 };
	Elf64_Shdr sh[3] = { { 0 } };
	GByteArray *out = g_byte_array_new();

	g_strdelimit(info, "|", '\0');
	sh[1] = (Elf64_Shdr){ .sh_name = 1, .sh_offset = sizeof(eh), .sh_size = info_len };
	sh[2] = (Elf64_Shdr){ .sh_name = 10,
			      .sh_offset = sizeof(eh) + info_len,
			      .sh_size = sizeof(names) };
	eh.e_shoff = sh[2].sh_offset + sizeof(names);
	g_byte_array_append(out, (const void *)&eh, sizeof(eh));
	g_byte_array_append(out, (const void *)info, (guint)info_len);
	g_byte_array_append(out, (const void *)names, sizeof(names));
	g_byte_array_append(out, (const void *)sh, sizeof(sh));
	return g_byte_array_free_to_bytes(out);
}

/* --- kernels ---------------------------------------------------------------------------------------------- */

/* An ELF file with one note segment; with the PVH entry point if asked. */
static inline GBytes *fake_vmlinux(gboolean pvh)
{
	Elf64_Ehdr eh = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
				       EV_CURRENT },
			  .e_phoff = sizeof(eh),
			  .e_phentsize = sizeof(Elf64_Phdr),
			  .e_phnum = 1 };
	Elf64_Nhdr note = { .n_namesz = 4, .n_descsz = 8, .n_type = pvh ? 18 : 6 };
	static const char name[4] = "Xen", desc[8] = { 1 };
	Elf64_Phdr ph = { .p_type = PT_NOTE,
			  .p_offset = sizeof(eh) + sizeof(ph),
			  .p_filesz = sizeof(note) + sizeof(name) + sizeof(desc) };
	static const char filler[5000] = "kernel";
	GByteArray *out = g_byte_array_new();

	g_byte_array_append(out, (const void *)&eh, sizeof(eh));
	g_byte_array_append(out, (const void *)&ph, sizeof(ph));
	g_byte_array_append(out, (const void *)&note, sizeof(note));
	g_byte_array_append(out, (const void *)name, sizeof(name));
	g_byte_array_append(out, (const void *)desc, sizeof(desc));
	g_byte_array_append(out, (const void *)filler, sizeof(filler));
	return g_byte_array_free_to_bytes(out);
}

/* VMLINUX as the payload of a bzImage. */
static inline GBytes *fake_bzimage(GBytes *vmlinux, const char *filter)
{
	g_autoptr(GBytes) payload = packed(vmlinux, filter);
	guint32 size = (guint32)g_bytes_get_size(vmlinux);
	guint32 len = (guint32)g_bytes_get_size(payload) + (strcmp(filter, "gzip") != 0 ? 4 : 0);
	guint32 off = 16;
	guint8 head[1024 + 16] = { 0 };
	GByteArray *out = g_byte_array_new();

	head[0x1f1] = 1;
	memcpy(head + 0x202, "HdrS\x0f\x02", 6);
	memcpy(head + 0x248, &off, 4);
	memcpy(head + 0x24c, &len, 4);
	g_byte_array_append(out, head, sizeof(head));
	g_byte_array_append(out, g_bytes_get_data(payload, NULL), (guint)g_bytes_get_size(payload));
	if (strcmp(filter, "gzip") != 0)
		g_byte_array_append(out, (const void *)&size, 4);
	return g_byte_array_free_to_bytes(out);
}

/* --- packages --------------------------------------------------------------------------------------------- */

struct deb_file {
	const char *path; /* as dpkg writes them: "./boot/vmlinuz-1" */
	GBytes *bytes;    /* NULL: a directory */
};

/* A .deb: debian-binary and data.tarSUFFIX, packed by FILTER (NULL: not at all). */
static inline GBytes *fake_deb(const struct deb_file *files, size_t n, const char *filter,
			       const char *suffix)
{
	size_t room = 1 << 20, used = 0;
	char *tar = g_malloc(room), *deb = g_malloc(room);
	struct archive *a = archive_write_new();
	g_autofree char *member = g_strconcat("data.tar", suffix, NULL);
	const struct {
		const char *name, *data;
		size_t len;
	} parts[] = { { "debian-binary", "2.0\n", 4 },
		      { "control.tar", "", 0 },
		      { member, tar, 0 } };

	if (filter)
		assert_int_equal(archive_write_add_filter_by_name(a, filter), ARCHIVE_OK);
	archive_write_set_format_ustar(a);
	assert_int_equal(archive_write_open_memory(a, tar, room, &used), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *entry = archive_entry_new();
		size_t size = files[i].bytes ? g_bytes_get_size(files[i].bytes) : 0;

		archive_entry_set_pathname(entry, files[i].path);
		archive_entry_set_mode(entry, files[i].bytes ? S_IFREG | 0644 : S_IFDIR | 0755);
		archive_entry_set_size(entry, (la_int64_t)size);
		assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
		if (size)
			assert_int_equal(
				archive_write_data(a, g_bytes_get_data(files[i].bytes, NULL), size),
				size);
		archive_entry_free(entry);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);

	size_t tar_len = used;

	a = archive_write_new();
	archive_write_set_format_ar_svr4(a);
	archive_write_set_bytes_in_last_block(a, 1);
	assert_int_equal(archive_write_open_memory(a, deb, room, &used), ARCHIVE_OK);
	for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
		struct archive_entry *entry = archive_entry_new();
		size_t len = parts[i].data == tar ? tar_len : parts[i].len;

		archive_entry_set_pathname(entry, parts[i].name);
		archive_entry_set_mode(entry, S_IFREG | 0644);
		archive_entry_set_size(entry, (la_int64_t)len);
		assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
		if (len)
			assert_int_equal(archive_write_data(a, parts[i].data, len), len);
		archive_entry_free(entry);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	g_free(tar);
	return g_bytes_new_take(deb, used);
}

#endif
