/* SPDX-License-Identifier: MIT */
#include "image/decompress.h"

#include "err.h"
#include "image/libarchive.h"

static gboolean fail(struct archive *a, GError **error)
{
	const char *why = la.archive_error_string(a);

	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "cannot decompress: %s",
		    why ? why : "damaged");
	return FALSE;
}

static gboolean read_all(struct archive *a, GBytes *bytes, GByteArray *out, GError **error)
{
	static const gsize step = 1 << 16;
	struct archive_entry *entry;
	gsize size;
	const void *data = g_bytes_get_data(bytes, &size);
	la_ssize_t n;

	if (la.archive_read_open_memory(a, data, size) || la.archive_read_next_header(a, &entry))
		return fail(a, error);
	do {
		gsize have = out->len;

		g_byte_array_set_size(out, have + step);
		n = la.archive_read_data(a, out->data + have, step);
		g_byte_array_set_size(out, have + MAX(n, 0));
		if (n < 0)
			return fail(a, error);
		if (out->len > DECOMPRESS_MAX) {
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
				    "unpacks to more than %u MiB", DECOMPRESS_MAX >> 20);
			return FALSE;
		}
	} while (n > 0);
	return TRUE;
}

GBytes *decompress_bytes(GBytes *bytes, GError **error)
{
	struct archive *a;
	GByteArray *out;
	gboolean ok;

	if (!libarchive_load(error))
		return NULL;
	a = la.archive_read_new();
	out = g_byte_array_new();
	la.archive_read_support_filter_gzip(a);
	la.archive_read_support_filter_xz(a);
	la.archive_read_support_filter_zstd(a);
	la.archive_read_support_filter_lz4(a);
	la.archive_read_support_format_raw(a);
	la.archive_read_support_format_empty(a);
	ok = read_all(a, bytes, out, error);
	la.archive_read_free(a);
	if (ok)
		return g_byte_array_free_to_bytes(out);
	g_byte_array_unref(out);
	return NULL;
}

GBytes *decompress_file(const char *path, GError **error)
{
	g_autoptr(GMappedFile) file = g_mapped_file_new(path, FALSE, error);
	g_autoptr(GBytes) bytes = file ? g_mapped_file_get_bytes(file) : NULL;
	GBytes *plain;

	if (!file)
		return NULL;
	plain = decompress_bytes(bytes, error);
	if (!plain)
		g_prefix_error(error, "%s: ", path);
	return plain;
}
