/* SPDX-License-Identifier: MIT */
#include "image/package.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "host/command.h"

/* Meta packages, best first: small kernels made for virtual machines before those for every machine. */
static const char *const metas[] = { "linux-image-cloud-amd64", "linux-image-virtual",
				     "linux-image-amd64", "linux-image-generic" };

/* Names of the packages that hold a kernel: the word before the version says which part. */
static const char *const parts[] = { "linux-image-", "linux-image-unsigned-", "linux-modules-" };

static void package_free(void *data)
{
	struct package *p = data;

	g_free(p->name);
	g_free(p->version);
	g_free(p);
}

/* --- finding ---------------------------------------------------------------------------------------------- */

/* The value of FIELD in the first stanza of RECORD; NULL if it has none. */
static char *field(const char *record, const char *name)
{
	const char *end = strstr(record, "\n\n");
	g_autofree char *stanza = end ? g_strndup(record, end - record) : g_strdup(record);
	g_auto(GStrv) lines = g_strsplit(stanza, "\n", -1);
	gsize n = strlen(name);

	for (char **line = lines; *line; line++) {
		if (g_str_has_prefix(*line, name) && (*line)[n] == ':')
			return g_strstrip(g_strdup(*line + n + 1));
	}
	return NULL;
}

/* What apt knows of NAME.  *ret_record is NULL if it knows nothing; FALSE only if apt could not be asked. */
static gboolean show(const char *path, const char *name, GCancellable *cancellable,
		     char **ret_record, GError **error)
{
	const char *argv[] = { "apt-cache", "show", "--no-all-versions", name, NULL };
	struct command command = { .argv = argv, .path = path, .cancellable = cancellable };
	struct command_result result;

	if (!command_run(&command, &result, error))
		return FALSE;
	*ret_record = result.status == 0 && *result.out ? g_steal_pointer(&result.out) : NULL;
	command_result_clear(&result);
	return TRUE;
}

static gboolean holds_kernel(const char *name)
{
	for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
		if (g_str_has_prefix(name, parts[i]) && g_ascii_isdigit(name[strlen(parts[i])]))
			return TRUE;
	}
	return FALSE;
}

/* "linux-image-6.8 (= 1) | other, kmod" -> the names of kernel packages among the first alternatives. */
static void queue_depends(const char *record, GQueue *queue)
{
	g_autofree char *depends = field(record, "Depends");
	g_auto(GStrv) items = g_strsplit(depends ? depends : "", ",", -1);

	for (char **item = items; *item; item++) {
		char *name = g_strstrip(*item);

		name[strcspn(name, " |(:")] = '\0';
		if (holds_kernel(name))
			g_queue_push_tail(queue, g_strdup(name));
	}
}

static gboolean known(const GPtrArray *packages, const char *name)
{
	for (guint i = 0; i < packages->len; i++) {
		if (!strcmp(((struct package *)packages->pdata[i])->name, name))
			return TRUE;
	}
	return FALSE;
}

static void add_package(GPtrArray *packages, const char *name, const char *record)
{
	struct package *p = g_new0(struct package, 1);
	g_autofree char *size = field(record, "Size");

	p->name = g_strdup(name);
	p->version = field(record, "Version");
	p->size = size ? g_ascii_strtoull(size, NULL, 10) : 0;
	g_ptr_array_add(packages, p);
}

/* Ubuntu keeps drivers that a cloud has no use for in a package of their own, qemu_fw_cfg among them; nothing depends
 * on it that we come by. */
static void queue_extra(const char *name, GQueue *queue)
{
	static const char prefix[] = "linux-modules-";

	if (g_str_has_prefix(name, prefix))
		g_queue_push_tail(queue,
				  g_strconcat(prefix, "extra-", name + strlen(prefix), NULL));
}

/* Follow Depends from what QUEUE holds.  Names that apt does not know are passed over. */
static gboolean gather(const char *path, GQueue *queue, GPtrArray *packages,
		       GCancellable *cancellable, GError **error)
{
	char *next;

	while ((next = g_queue_pop_head(queue))) {
		g_autofree char *name = next;
		g_autofree char *record = NULL;

		if (known(packages, name))
			continue;
		if (!show(path, name, cancellable, &record, error))
			return FALSE;
		if (!record)
			continue;
		add_package(packages, name, record);
		queue_depends(record, queue);
		queue_extra(name, queue);
	}
	return TRUE;
}

static gboolean find(const char *path, GCancellable *cancellable, GPtrArray *packages,
		     GError **error)
{
	for (guint i = 0; i < G_N_ELEMENTS(metas) && !packages->len; i++) {
		g_autofree char *record = NULL;
		GQueue queue = G_QUEUE_INIT;
		gboolean ok;

		if (!show(path, metas[i], cancellable, &record, error))
			return FALSE;
		if (!record)
			continue;
		queue_depends(record, &queue);
		ok = gather(path, &queue, packages, cancellable, error);
		g_queue_clear_full(&queue, g_free);
		if (!ok)
			return FALSE;
	}
	if (packages->len)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
		    "apt knows no kernel package; run `apt-get update` as root");
	return FALSE;
}

gboolean package_find_kernel(const char *path, GCancellable *cancellable, GPtrArray **ret_packages,
			     GError **error)
{
	GPtrArray *packages = g_ptr_array_new_with_free_func(package_free);
	g_autoptr(GError) local = NULL;

	if (find(path, cancellable, packages, &local)) {
		*ret_packages = packages;
		return TRUE;
	}
	g_ptr_array_unref(packages);
	if (g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "there is no apt on this host");
	else
		g_propagate_error(error, g_steal_pointer(&local));
	return FALSE;
}

/* --- fetching --------------------------------------------------------------------------------------------- */

struct watch {
	const char *dir;
	void (*tick)(void *data, guint64 done);
	void *data;
};

/* apt writes straight into the directory, so its size is the progress. */
static void look(void *data)
{
	struct watch *w = data;
	g_autoptr(GDir) dir = g_dir_open(w->dir, 0, NULL);
	guint64 done = 0;
	const char *file;

	while (dir && (file = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(w->dir, file, NULL);
		struct stat st;

		if (!stat(path, &st) && S_ISREG(st.st_mode))
			done += st.st_size;
	}
	w->tick(w->data, done);
}

static gboolean list_debs(const char *path, char ***ret_files, GError **error)
{
	g_autoptr(GDir) dir = g_dir_open(path, 0, error);
	GPtrArray *files;
	const char *file;

	if (!dir)
		return FALSE;
	files = g_ptr_array_new();
	while ((file = g_dir_read_name(dir))) {
		if (g_str_has_suffix(file, ".deb"))
			g_ptr_array_add(files, g_build_filename(path, file, NULL));
	}
	g_ptr_array_add(files, NULL);
	*ret_files = (char **)g_ptr_array_free(files, FALSE);
	return TRUE;
}

static GPtrArray *download_argv(const GPtrArray *packages)
{
	GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);

	g_ptr_array_add(argv, g_strdup("apt-get"));
	g_ptr_array_add(argv, g_strdup("--quiet=2"));
	g_ptr_array_add(argv, g_strdup("-oAcquire::Retries=2"));
	g_ptr_array_add(argv, g_strdup("-oAcquire::http::Timeout=20"));
	if (geteuid() == 0)
		g_ptr_array_add(argv, g_strdup("-oAPT::Sandbox::User=root"));
	g_ptr_array_add(argv, g_strdup("download"));
	for (guint i = 0; i < packages->len; i++) {
		const struct package *p = packages->pdata[i];

		g_ptr_array_add(argv, p->version ? g_strdup_printf("%s=%s", p->name, p->version) :
						   g_strdup(p->name));
	}
	g_ptr_array_add(argv, NULL);
	return argv;
}

gboolean package_download(const char *path, const GPtrArray *packages, const char *dir,
			  void (*tick)(void *data, guint64 done), void *tick_data,
			  GCancellable *cancellable, char ***ret_files, GError **error)
{
	g_autoptr(GPtrArray) argv = download_argv(packages);
	struct watch watch = { .dir = dir, .tick = tick, .data = tick_data };
	struct command command = { .argv = (const char *const *)argv->pdata,
				   .path = path,
				   .cwd = dir,
				   .cancellable = cancellable,
				   .tick = tick ? look : NULL,
				   .tick_data = &watch };
	struct command_result result;
	gboolean ok;

	if (!command_run(&command, &result, error))
		return FALSE;
	ok = result.status == 0;
	if (!ok) {
		g_autofree char *why = command_last_line(result.err);

		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "apt-get download: %s",
			    *why ? why : "failed without a word");
	}
	command_result_clear(&result);
	return ok && list_debs(dir, ret_files, error);
}
