/* SPDX-License-Identifier: MIT */
#include "run/dirs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "model/names.h"

static gboolean make(const char *path, GError **error)
{
	if (g_mkdir_with_parents(path, 0700) == 0)
		return TRUE;
	err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot make %s", path);
	return FALSE;
}

/* The base of the runtime directory, below which sockets give power over VMs. */
static gboolean check_private(const char *path, GError **error)
{
	struct stat st;

	if (lstat(path, &st) < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot look at %s", path);
		return FALSE;
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022)) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_FAILED,
			"%s is not a directory that only you can write to: set XDG_RUNTIME_DIR to one that is",
			path);
		return FALSE;
	}
	/* Nobody else could have put anything there; from now on nobody else can look, either. */
	if ((st.st_mode & 077) && chmod(path, 0700) < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot close %s to others", path);
		return FALSE;
	}
	return TRUE;
}

gboolean dirs_make(const struct lab_dirs *dirs, const struct lab_paths *paths, GError **error)
{
	return make(dirs->runtime, error) && check_private(dirs->runtime, error) &&
	       make(paths->run_dir, error) && make(paths->state_dir, error);
}

static bool keeps(const char *name)
{
	return strcmp(name, "log") == 0 || g_str_has_suffix(name, ".log") ||
	       g_str_has_suffix(name, ".log.1") || strcmp(name, "log.1") == 0;
}

/* What we put into a state directory, besides logs. */
static bool ours_in_state(const char *name)
{
	static const char *const names[] = { "lab.json",    "state.json", "lock",
					     "config.json", "guest.conf", "qemu.sh",
					     "ready",       "ready.1",    "ssh_config" };

	if (g_str_has_suffix(name, ".new"))
		return true;
	for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return keeps(name);
}

static void clear_state(const char *directory, bool everything)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);
		struct stat st;

		if (lstat(path, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			clear_state(path, everything);
		else if (ours_in_state(name) && (everything || !keeps(name)))
			(void)unlink(path);
	}
	(void)rmdir(directory); /* fails while a log or a stranger's file is in it */
}

/* The path of one line of /proc/net/unix, if somebody listens on it: "Num RefCount Protocol Flags Type St Inode Path". */
static const char *listening_path(const char *line)
{
	static const guint64 accepting = 0x10000; /* __SO_ACCEPTCON of <linux/net.h> */
	guint64 flags = 0;

	for (unsigned field = 0; field < 7; field++) {
		if (field == 3)
			flags = g_ascii_strtoull(line, NULL, 16);
		line += strcspn(line, " ");
		line += strspn(line, " ");
	}
	return (flags & accepting) && *line == '/' ? line : NULL;
}

/* The Unix sockets that somebody listens on, by path, as the kernel lists them.  Asking each one by connecting to it would
 * fill the backlog of a stranger who is slow to accept. */
static GHashTable *listening_sockets(void)
{
	GHashTable *paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents("/proc/net/unix", &text, NULL, NULL))
		return paths;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		const char *path = listening_path(*line);

		if (path)
			g_hash_table_add(paths, g_strdup(path));
	}
	return paths;
}

/* The memory of a portal that was to go with its lab. */
static bool is_arena(const char *name, const struct stat *st)
{
	return S_ISREG(st->st_mode) && g_str_has_suffix(name, ".arena");
}

/* Sockets on which nobody listens any more, and the memory of portals: what is ours has ended, and a stranger's socket is not
 * touched. */
static void clear_run(const char *directory)
{
	g_autoptr(GHashTable) listening = listening_sockets();
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(directory, name, NULL);
		struct stat st;

		if (lstat(path, &st) < 0)
			continue;
		if (is_arena(name, &st) ||
		    (S_ISSOCK(st.st_mode) && !g_hash_table_contains(listening, path)))
			(void)unlink(path);
	}
	(void)rmdir(directory);
}

bool dirs_clear(const struct lab_dirs *dirs, const struct lab_paths *paths, bool everything)
{
	g_autofree char *labs = g_build_filename(dirs->state, "labs", NULL);

	(void)unlink(paths->hvsock->journal);
	clear_run(paths->run_dir);
	(void)rmdir(dirs->runtime);
	clear_state(paths->state_dir, everything);
	(void)rmdir(labs);
	return access(paths->state_dir, F_OK) < 0;
}

static gint by_name(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

bool dirs_in_use(const struct lab_paths *paths)
{
	g_autoptr(GHashTable) listening = listening_sockets();
	g_autoptr(GDir) dir = g_dir_open(paths->run_dir, 0, NULL);
	const char *name;
	bool used = false;

	while (dir && !used && (name = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(paths->run_dir, name, NULL);

		used = g_hash_table_contains(listening, path);
	}
	return used;
}

static void add_labs(GHashTable *names, const char *directory)
{
	g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir)))
		if (names_valid(name))
			g_hash_table_add(names, g_strdup(name));
}

GPtrArray *dirs_labs(const struct lab_dirs *dirs)
{
	g_autofree char *labs = g_build_filename(dirs->state, "labs", NULL);
	g_autoptr(GHashTable) found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
	GHashTableIter iter;
	gpointer name;

	add_labs(found, labs);
	add_labs(found, dirs->runtime);
	g_hash_table_iter_init(&iter, found);
	while (g_hash_table_iter_next(&iter, &name, NULL)) {
		g_hash_table_iter_steal(&iter);
		g_ptr_array_add(names, name);
	}
	g_ptr_array_sort(names, by_name);
	return names;
}
