/* SPDX-License-Identifier: MIT */
#include "image/kmod.h"

#include <elf.h>
#include <string.h>

#include "err.h"
#include "image/decompress.h"

static const char *const suffixes[] = { ".ko", ".ko.xz", ".ko.zst", ".ko.gz" };

/* --- .modinfo --------------------------------------------------------------------------------------------- */

/* LEN bytes at OFF inside ELF, or NULL. */
static const void *piece(GBytes *elf, guint64 off, guint64 len)
{
	gsize size;
	const char *data = g_bytes_get_data(elf, &size);

	return off <= size && len <= size - off ? data + off : NULL;
}

static gboolean is_module_elf(const Elf64_Ehdr *eh)
{
	return eh && !memcmp(eh->e_ident, ELFMAG, SELFMAG) && eh->e_ident[EI_CLASS] == ELFCLASS64 &&
	       eh->e_ident[EI_DATA] == ELFDATA2LSB && eh->e_shentsize == sizeof(Elf64_Shdr);
}

/* Copies of headers: nothing in a file is promised to be aligned. */
static gboolean read_section(GBytes *elf, const Elf64_Ehdr *eh, guint i, Elf64_Shdr *ret_sh)
{
	const void *p = piece(elf, eh->e_shoff, (guint64)eh->e_shnum * sizeof(*ret_sh));

	if (!p || i >= eh->e_shnum)
		return FALSE;
	memcpy(ret_sh, (const char *)p + i * sizeof(*ret_sh), sizeof(*ret_sh));
	return TRUE;
}

/* The bytes of .modinfo: NUL-separated "key=value". */
static const char *modinfo(GBytes *elf, gsize *ret_len)
{
	static const char name[] = ".modinfo";
	Elf64_Ehdr eh;
	Elf64_Shdr strings, sh;
	const void *p = piece(elf, 0, sizeof(eh));

	if (!p)
		return NULL;
	memcpy(&eh, p, sizeof(eh));
	if (!is_module_elf(&eh) || !read_section(elf, &eh, eh.e_shstrndx, &strings))
		return NULL;
	for (guint i = 0; read_section(elf, &eh, i, &sh); i++) {
		const char *s = sh.sh_name <= strings.sh_size &&
						sizeof(name) <= strings.sh_size - sh.sh_name ?
					piece(elf, strings.sh_offset + sh.sh_name, sizeof(name)) :
					NULL;

		if (!s || memcmp(s, name, sizeof(name)) != 0)
			continue;
		*ret_len = sh.sh_size;
		return piece(elf, sh.sh_offset, sh.sh_size);
	}
	return NULL;
}

gboolean kmod_depends(GBytes *elf, char ***ret_names, GError **error)
{
	static const char key[] = "depends=";
	gsize len;
	const char *info = modinfo(elf, &len);

	if (!info) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "not a kernel module");
		return FALSE;
	}
	for (const char *end = info + len; info < end; info += strnlen(info, end - info) + 1) {
		gsize n = strnlen(info, end - info);
		g_autofree char *line = g_strndup(info, n);

		if (!g_str_has_prefix(line, key))
			continue;
		*ret_names = *(line + strlen(key)) ? g_strsplit(line + strlen(key), ",", -1) :
						     g_new0(char *, 1);
		return TRUE;
	}
	*ret_names = g_new0(char *, 1);
	return TRUE;
}

/* --- a tree of modules ------------------------------------------------------------------------------------ */

struct tree {
	GHashTable *files;   /* name -> path */
	GHashTable *builtin; /* set of names */
	GHashTable *seen;    /* set of names: collected, or being collected */
	GPtrArray *modules;
};

static char *canonical(const char *name)
{
	return g_strdelimit(g_strdup(name), "-", '_');
}

static void kmod_free(void *data)
{
	struct kmod *m = data;

	g_free(m->name);
	g_bytes_unref(m->bytes);
	g_free(m);
}

/* "virtio-rng.ko.xz" -> "virtio_rng"; NULL if FILE is no module. */
static char *module_name(const char *file)
{
	for (guint i = 0; i < G_N_ELEMENTS(suffixes); i++) {
		if (g_str_has_suffix(file, suffixes[i])) {
			g_autofree char *stem = g_strndup(file, strlen(file) - strlen(suffixes[i]));

			return canonical(stem);
		}
	}
	return NULL;
}

/* Directories that are links (build, source) are left alone. */
static gboolean index_dir(struct tree *t, const char *path, GError **error)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, error);
	const char *file;

	if (!dir)
		return FALSE;
	while ((file = g_dir_read_name(dir))) {
		g_autofree char *full = g_build_filename(path, file, NULL);
		char *name = module_name(file);

		if (name)
			g_hash_table_insert(t->files, name, g_steal_pointer(&full));
		else if (g_file_test(full, G_FILE_TEST_IS_DIR) &&
			 !g_file_test(full, G_FILE_TEST_IS_SYMLINK) && !index_dir(t, full, error))
			return FALSE;
	}
	return TRUE;
}

static void index_builtin(struct tree *t, const char *dir)
{
	g_autofree char *path = g_build_filename(dir, "modules.builtin", NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		g_autofree char *base = g_path_get_basename(*line);
		char *name = module_name(base);

		if (name)
			g_hash_table_add(t->builtin, name);
	}
}

static gboolean collect(struct tree *t, const char *wanted, GError **error);

static gboolean collect_file(struct tree *t, const char *name, const char *path, GError **error)
{
	g_autoptr(GBytes) bytes = decompress_file(path, error);
	g_auto(GStrv) depends = NULL;
	struct kmod *m;

	if (!bytes)
		return FALSE;
	if (!kmod_depends(bytes, &depends, error)) {
		g_prefix_error(error, "%s: ", path);
		return FALSE;
	}
	for (char **d = depends; *d; d++) {
		if (!collect(t, *d, error))
			return FALSE;
	}
	m = g_new0(struct kmod, 1);
	m->name = g_strdup(name);
	m->bytes = g_steal_pointer(&bytes);
	g_ptr_array_add(t->modules, m);
	return TRUE;
}

static gboolean collect(struct tree *t, const char *wanted, GError **error)
{
	g_autofree char *name = canonical(wanted);
	gboolean optional = g_str_has_suffix(name, "?");
	const char *path;

	if (optional)
		name[strlen(name) - 1] = '\0';
	if (!g_hash_table_add(t->seen, g_strdup(name)) || g_hash_table_contains(t->builtin, name))
		return TRUE;
	path = g_hash_table_lookup(t->files, name);
	if (path)
		return collect_file(t, name, path, error);
	if (optional)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "this kernel has no module %s", name);
	return FALSE;
}

gboolean kmod_collect(const char *dir, const char *const *wanted, GPtrArray **ret_modules,
		      GError **error)
{
	struct tree t = {
		.files = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
		.builtin = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
		.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
		.modules = g_ptr_array_new_with_free_func(kmod_free),
	};
	gboolean ok = index_dir(&t, dir, error);

	index_builtin(&t, dir);
	for (; ok && *wanted; wanted++)
		ok = collect(&t, *wanted, error);
	if (ok)
		*ret_modules = g_ptr_array_ref(t.modules);
	else
		g_prefix_error(error, "%s: ", dir);
	g_ptr_array_unref(t.modules);
	g_hash_table_unref(t.seen);
	g_hash_table_unref(t.builtin);
	g_hash_table_unref(t.files);
	return ok;
}
