/* SPDX-License-Identifier: MIT */
#include "host/caps.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "err.h"
#include "host/command.h"
#include "host/kvm.h"
#include "model/lab.h"
#include "orchestrator-config.h"

#define PROBE_MS 20000 /* a cold QEMU on a busy host; usually 0.1 s */

void qemu_caps_free(struct qemu_caps *caps)
{
	if (!caps)
		return;
	g_free(caps->arch);
	g_free(caps->binary);
	g_free(caps->version);
	g_free(caps);
}

static void parse_version(struct qemu_caps *caps)
{
	unsigned *const parts[] = { &caps->major, &caps->minor, &caps->micro };
	g_auto(GStrv) words = g_strsplit(caps->version, ".", -1);

	for (guint i = 0; i < G_N_ELEMENTS(parts) && words[i]; i++)
		*parts[i] = (unsigned)g_ascii_strtoull(words[i], NULL, 10);
}

/* --- what QEMU says --------------------------------------------------------------------------------------- */

/* X(key, type, member): devices that a QEMU may lack; the key is the question's id, and the answer's in the cache. */
#define DEVICES(X)                                                       \
	X("vsock", "vhost-user-vsock-pci", has_vsock)                    \
	X("hvsock", "vmbus-hvsock", has_hvsock)                          \
	X("virtio-pmem", "virtio-pmem-pci", has_pmem)                    \
	X("ivshmem", "ivshmem-doorbell", has_ivshmem)                    \
	X("vhost-user-pmem", "vhost-user-pmem-pci", has_vhost_user_pmem) \
	X("vhost-user-device", "vhost-user-test-device-pci", has_vhost_user_device)

static const char questions[] =
	"{\"execute\":\"qmp_capabilities\"}\n"
	"{\"execute\":\"query-command-line-options\",\"arguments\":{\"option\":\"chardev\"}}\n"
#define X(key, type, member)                                                          \
	"{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"" type \
	"\"},\"id\":\"" key "\"}\n"
	DEVICES(X)
#undef X
		"{\"execute\":\"device-list-properties\",\"arguments\":{\"typename\":\"max-x86_64-cpu"
		"\"},\"id\":\"cpu\"}\n"
		"{\"execute\":\"quit\"}\n";

/* The greeting: {"QMP": {"version": {"qemu": {"major": 7, …}}}}. */
static void take_greeting(struct qemu_caps *caps, struct json_object *message)
{
	struct json_object *o = message, *number;
	static const char *const path[] = { "QMP", "version", "qemu" };

	for (guint i = 0; i < G_N_ELEMENTS(path); i++) {
		if (!json_object_object_get_ex(o, path[i], &o))
			return;
	}
	caps->major = json_object_object_get_ex(o, "major", &number) ? json_object_get_int(number) :
								       0;
	caps->minor = json_object_object_get_ex(o, "minor", &number) ? json_object_get_int(number) :
								       0;
	caps->micro = json_object_object_get_ex(o, "micro", &number) ? json_object_get_int(number) :
								       0;
	g_free(caps->version);
	caps->version = g_strdup_printf("%u.%u.%u", caps->major, caps->minor, caps->micro);
}

/* Whether one of a list's objects is called so. */
static bool lists(struct json_object *list, const char *wanted)
{
	struct json_object *name;

	if (!json_object_is_type(list, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		if (json_object_object_get_ex(json_object_array_get_idx(list, i), "name", &name) &&
		    !g_strcmp0(json_object_get_string(name), wanted))
			return true;
	}
	return false;
}

/* The answer: {"return": [{"option": "chardev", "parameters": [{"name": "reconnect", …}, …]}]}. */
static void take_parameters(struct qemu_caps *caps, struct json_object *message)
{
	struct json_object *list, *parameters;

	if (json_object_object_get_ex(message, "return", &list) &&
	    json_object_is_type(list, json_type_array) && json_object_array_length(list) == 1 &&
	    json_object_object_get_ex(json_object_array_get_idx(list, 0), "parameters",
				      &parameters) &&
	    lists(parameters, "reconnect-ms"))
		caps->has_reconnect_ms = true;
}

/* The answer to a question about a device that exists: {"return": […], "id": "vsock"}; an error without it. */
static void take_device(struct qemu_caps *caps, struct json_object *message)
{
	struct json_object *id;
	const char *about;
	bool there = json_object_object_get_ex(message, "return", NULL);

	if (!json_object_object_get_ex(message, "id", &id))
		return;
	about = json_object_get_string(id);
#define X(key, type, member)            \
	if (g_strcmp0(about, key) == 0) \
		caps->member = there;
	DEVICES(X)
#undef X
}

/* Of the CPU: {"return": [{"name": "fsrs", …}, …], "id": "cpu"}; an error without it of another architecture. */
static void take_cpu(struct qemu_caps *caps, struct json_object *message)
{
	struct json_object *id, *properties;

	if (json_object_object_get_ex(message, "id", &id) &&
	    !g_strcmp0(json_object_get_string(id), "cpu") &&
	    json_object_object_get_ex(message, "return", &properties))
		caps->has_fsrs = lists(properties, "fsrs");
}

static void take_answers(struct qemu_caps *caps, const char *out)
{
	g_auto(GStrv) lines = g_strsplit(out, "\n", -1);

	for (char **line = lines; *line; line++) {
		struct json_object *message = json_tokener_parse(*line);

		if (json_object_is_type(message, json_type_object)) {
			take_greeting(caps, message);
			take_parameters(caps, message);
			take_device(caps, message);
			take_cpu(caps, message);
		}
		json_object_put(message);
	}
}

static gboolean ask(struct qemu_caps *caps, GError **error)
{
	const char *argv[] = { caps->binary, "-nodefaults", "-no-user-config",
			       "-display",   "none",        "-machine",
			       "none",       "-qmp",        "stdio",
			       NULL };
	struct command command = { .argv = argv, .input = questions, .timeout_ms = PROBE_MS };
	struct command_result result;
	g_autoptr(GError) local = NULL;
	g_autofree char *why = NULL;

	if (!command_run(&command, &result, &local)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "%s: %s", caps->binary,
			    local->message);
		return FALSE;
	}
	take_answers(caps, result.out);
	why = command_last_line(result.err);
	command_result_clear(&result);
	if (caps->version)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "%s does not answer as QEMU does%s%s",
		    caps->binary, *why ? ": " : "", why);
	return FALSE;
}

/* --- remembering ------------------------------------------------------------------------------------------ */

/* The binary as it is now: another one at the same path asks again. */
static char *identity(const char *binary)
{
	struct stat st;

	if (stat(binary, &st))
		return NULL;
	return g_strdup_printf("%lld %lld.%09ld", (long long)st.st_size,
			       (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static gboolean recall(struct qemu_caps *caps, const char *file, const char *id)
{
	g_autoptr(GKeyFile) known = g_key_file_new();
	g_autofree char *then = NULL;

	if (!g_key_file_load_from_file(known, file, 0, NULL))
		return FALSE;
	then = g_key_file_get_string(known, caps->binary, "identity", NULL);
	/* What an earlier version of ours wrote does not know all that is asked now. */
	if (g_strcmp0(then, id) || !g_key_file_has_key(known, caps->binary, "fsrs", NULL))
		return FALSE;
#define X(key, type, member)                                     \
	if (!g_key_file_has_key(known, caps->binary, key, NULL)) \
		return FALSE;                                    \
	caps->member = g_key_file_get_boolean(known, caps->binary, key, NULL);
	DEVICES(X)
#undef X
	caps->version = g_key_file_get_string(known, caps->binary, "version", NULL);
	caps->has_reconnect_ms = g_key_file_get_boolean(known, caps->binary, "reconnect-ms", NULL);
	caps->has_fsrs = g_key_file_get_boolean(known, caps->binary, "fsrs", NULL);
	if (caps->version)
		parse_version(caps);
	return caps->major > 0;
}

static void remember(const struct qemu_caps *caps, const char *cache_dir, const char *file,
		     const char *id)
{
	g_autoptr(GKeyFile) known = g_key_file_new();

	g_mkdir_with_parents(cache_dir, 0755);
	g_key_file_load_from_file(known, file, 0, NULL);
	g_key_file_set_string(known, caps->binary, "identity", id);
	g_key_file_set_string(known, caps->binary, "version", caps->version);
	g_key_file_set_boolean(known, caps->binary, "reconnect-ms", caps->has_reconnect_ms);
	g_key_file_set_boolean(known, caps->binary, "fsrs", caps->has_fsrs);
#define X(key, type, member) g_key_file_set_boolean(known, caps->binary, key, caps->member);
	DEVICES(X)
#undef X
	g_key_file_save_to_file(known, file, NULL);
}

static gboolean ask_or_recall(struct qemu_caps *caps, const char *cache_dir, GError **error)
{
	g_autofree char *file = cache_dir ? g_build_filename(cache_dir, "qemu-caps", NULL) : NULL;
	g_autofree char *id = identity(caps->binary);

	if (file && id && recall(caps, file, id))
		return TRUE;
	g_clear_pointer(&caps->version, g_free);
	if (!ask(caps, error))
		return FALSE;
	if (file && id)
		remember(caps, cache_dir, file, id);
	return TRUE;
}

/* --- finding ---------------------------------------------------------------------------------------------- */

static gboolean find_binary(struct qemu_caps *caps, GError **error)
{
	const char *wanted = g_getenv("ORCHESTRATOR_QEMU");
	g_autofree char *name = g_strconcat("qemu-system-", caps->arch, NULL);
	g_autofree char *found = NULL;

	if (wanted && *wanted)
		found = command_find(wanted, NULL);
	else
		found = command_find(name, NULL);
	if (found) {
		caps->binary = g_canonicalize_filename(found, NULL);
		return TRUE;
	}
	if (wanted && *wanted)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "ORCHESTRATOR_QEMU: %s: no such program", wanted);
	else
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "there is no %s; install the package %s", name,
			    !strcmp(caps->arch, "x86_64") ? "qemu-system-x86" : "qemu-system-arm");
	return FALSE;
}

/* Takes caps, of which the binary is known. */
static gboolean probe(struct qemu_caps *caps, const char *cache_dir, struct qemu_caps **ret_caps,
		      GError **error)
{
	struct kvm_probe kvm;

	if (!ask_or_recall(caps, cache_dir, error)) {
		qemu_caps_free(caps);
		return FALSE;
	}
	kvm_probe("", &kvm);
	caps->kvm_usable = kvm.state == KVM_STATE_USABLE && !strcmp(caps->arch, "x86_64");
	*ret_caps = caps;
	return TRUE;
}

gboolean qemu_caps_probe(const char *arch, const char *cache_dir, struct qemu_caps **ret_caps,
			 GError **error)
{
	struct qemu_caps *caps = g_new0(struct qemu_caps, 1);

	caps->arch = g_strdup(arch);
	if (!find_binary(caps, error)) {
		qemu_caps_free(caps);
		return FALSE;
	}
	return probe(caps, cache_dir, ret_caps, error);
}

/* What qemu-patches/build has made, or what was installed; NULL: neither. */
static char *find_patched(const char *arch, const char *cache_dir)
{
	g_autofree char *name = g_strconcat("qemu-system-", arch, NULL);
	char *paths[] = {
		cache_dir ? g_build_filename(cache_dir, "qemu", QEMU_SERIES, "bin", name, NULL) :
			    NULL,
		g_build_filename(VHOST_LAB_LIBEXECDIR, "qemu", "bin", name, NULL),
	};
	char *found = NULL;

	for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
		if (!found && paths[i] && !access(paths[i], X_OK))
			found = g_steal_pointer(&paths[i]);
		g_free(paths[i]);
	}
	return found;
}

static bool is_told(void)
{
	const char *wanted = g_getenv("ORCHESTRATOR_QEMU");

	return wanted && *wanted;
}

gboolean qemu_caps_probe_named(const char *arch, const char *name, const char *cache_dir,
			       struct qemu_caps **ret_caps, GError **error)
{
	g_autofree char *patched = NULL;

	if (name && strcmp(name, LAB_QEMU_PATCHED) != 0)
		return qemu_caps_probe_binary(arch, name, cache_dir, ret_caps, error);
	if (name && !is_told())
		patched = find_patched(arch, cache_dir);
	if (patched)
		return qemu_caps_probe_binary(arch, patched, cache_dir, ret_caps, error);
	return qemu_caps_probe(arch, cache_dir, ret_caps, error);
}

bool qemu_patched_is_missing(const char *arch, const char *cache_dir)
{
	struct qemu_caps *caps = NULL;
	bool missing = !qemu_caps_probe_named(arch, LAB_QEMU_PATCHED, cache_dir, &caps, NULL) ||
		       !caps->has_hvsock || !caps->has_vhost_user_pmem;

	qemu_caps_free(caps);
	return missing && !is_told();
}

static void free_caps(void *caps)
{
	qemu_caps_free(caps);
}

GHashTable *qemu_table_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, free_caps);
}

static char *table_key(const char *arch, const char *name)
{
	return g_strdup_printf("%s %s", arch, name ? name : "");
}

const struct qemu_caps *qemu_table_find(GHashTable *table, const char *arch, const char *name)
{
	g_autofree char *key = table_key(arch, name);

	return g_hash_table_lookup(table, key);
}

const struct qemu_caps *qemu_table_get(GHashTable *table, const char *arch, const char *name,
				       const char *cache_dir, GError **error)
{
	const struct qemu_caps *known = qemu_table_find(table, arch, name);
	struct qemu_caps *caps = NULL;

	if (known)
		return known;
	if (qemu_caps_probe_named(arch, name, cache_dir, &caps, error))
		qemu_table_put(table, arch, name, caps);
	return caps;
}

void qemu_table_forget(GHashTable *table, const char *arch, const char *name)
{
	g_autofree char *key = table_key(arch, name);

	g_hash_table_remove(table, key);
}

void qemu_table_put(GHashTable *table, const char *arch, const char *name, struct qemu_caps *caps)
{
	g_hash_table_replace(table, table_key(arch, name), caps);
}

char *host_find_qemu_build(void)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *dir = self ? g_path_get_dirname(self) : NULL;
	/* build/orchestrator/orchestrator, in the source tree. */
	g_autofree char *tree =
		dir ? g_build_filename(dir, "..", "..", "qemu-patches", "build", NULL) : NULL;

	if (tree && !access(tree, X_OK))
		return g_canonicalize_filename(tree, NULL);
	return access(VHOST_LAB_QEMU_BUILD, X_OK) ? NULL : g_strdup(VHOST_LAB_QEMU_BUILD);
}

gboolean qemu_caps_probe_binary(const char *arch, const char *binary, const char *cache_dir,
				struct qemu_caps **ret_caps, GError **error)
{
	struct qemu_caps *caps = g_new0(struct qemu_caps, 1);

	caps->arch = g_strdup(arch);
	caps->binary = g_strdup(binary);
	return probe(caps, cache_dir, ret_caps, error);
}

/* Whether this QEMU is at least that one. */
static bool is_at_least(const struct qemu_caps *caps, unsigned major, unsigned minor)
{
	return caps->major > major || (caps->major == major && caps->minor >= minor);
}

struct qemu_caps *qemu_caps_assume(const char *arch, const char *binary, const char *version)
{
	struct qemu_caps *caps = g_new0(struct qemu_caps, 1);

	caps->arch = g_strdup(arch);
	caps->binary = g_strdup(binary);
	caps->version = g_strdup(version);
	parse_version(caps);
	caps->has_reconnect_ms = is_at_least(caps, 9, 2);
	caps->has_vsock = is_at_least(caps, 5, 1);
	caps->has_pmem = is_at_least(caps, 4, 1);
	caps->has_ivshmem = is_at_least(caps, 2, 6);
	caps->has_fsrs = is_at_least(caps, 8, 1) && !strcmp(arch, "x86_64");
	caps->has_vhost_user_device = is_at_least(caps, 11, 1);
	return caps;
}

/* --- daemons ---------------------------------------------------------------------------------------------- */

/* "vhost-user-net" lies in the directory vhost-user/net of the build tree; what runs in guests, elsewhere. */
static char *build_tree_dir(const char *name)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *dir = self ? g_path_get_dirname(self) : NULL;
	const char *word = strrchr(name, '-');

	if (dir && !strcmp(name, "vhost-lab-agent"))
		return g_build_filename(dir, "agent", NULL);
	if (dir && !strcmp(name, "portal-static"))
		return g_build_filename(dir, "..", "vhost-user", "portal", "client", NULL);
	return dir && word ? g_build_filename(dir, "..", "vhost-user", word + 1, NULL) : NULL;
}

gboolean host_find_daemon(const char *name, char **ret_path, GError **error)
{
	const char *wanted = g_getenv("ORCHESTRATOR_DAEMON_DIR");
	g_autofree char *tree = build_tree_dir(name);
	gboolean told = wanted && *wanted;
	const char *dirs[] = { told ? wanted : tree, told ? NULL : VHOST_LAB_LIBEXECDIR };
	g_autoptr(GString) looked = g_string_new(NULL);

	for (guint i = 0; i < G_N_ELEMENTS(dirs); i++) {
		g_autofree char *path = dirs[i] ? g_build_filename(dirs[i], name, NULL) : NULL;

		if (!path)
			continue;
		if (g_file_test(path, G_FILE_TEST_IS_REGULAR) && !access(path, X_OK)) {
			*ret_path = g_canonicalize_filename(path, NULL);
			return TRUE;
		}
		g_string_append_printf(looked, "%s%s", looked->len ? ", " : "", path);
	}
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "there is no %s; looked for %s", name,
		    looked->str);
	return FALSE;
}
