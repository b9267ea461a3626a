/* SPDX-License-Identifier: MIT */
/* The units of a lab: as golden text, and what has to hold for those of every lab. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <json-c/json.h>

#include "err.h"
#include "golden.h"
#include "model/lab.h"
#include "random_lab.h"
#include "render/systemd.h"

static const struct systemd_host session = {
	.program = { "/opt/vhost-lab/vhost-user-net", "/opt/vhost-lab/vhost-user-hvsock",
		     "/opt/vhost-lab/vhost-user-portal" },
	.dir = "/home/u/three",
	.uri = "qemu:///session",
	.uid = 1000,
	.gid = 1001,
};

/* "runtime": where the sockets are. */
static GPtrArray *render(const char *text, const char *runtime, const struct systemd_host *host,
			 struct lab **ret_lab, GError **error)
{
	struct lab_dirs dirs = { .state = (char *)(uintptr_t) "/s",
				 .runtime = (char *)(uintptr_t)runtime,
				 .cache = (char *)(uintptr_t) "/c" };
	struct lab_errors *errors = NULL;
	struct lab_paths *paths;
	struct lab *lab = NULL;
	GPtrArray *files;

	if (!lab_parse(text, strlen(text), "/x/lab.json", &dirs, &lab, &errors))
		fail_msg("%s", lab_errors_format(errors));
	paths = lab_paths_new(lab, &dirs);
	files = render_systemd(lab, paths, host, error);
	lab_paths_free(paths);
	if (ret_lab)
		*ret_lab = lab;
	else
		lab_free(lab);
	return files;
}

static const char everything[] =
	"{\"name\": \"x\", \"networks\": {\"lan\": {\"subnet\": \"10.0.0.0/24\", \"mtu\": 9000,"
	"\"uplink\": {\"type\": \"nat\", \"forward\": [\"tcp:127.0.0.1:2222:n1:22\"]},"
	"\"captures\": [{\"name\": \"c\", \"file\": \"/c.pcapng\"}]}},"
	"\"portals\": {\"sh\": {\"size\": \"16MiB\"}, \"odd\": {\"size\": \"10MiB\"}},"
	"\"vms\": {\"n1\": {\"nics\": [{\"network\": \"lan\", \"profile\": \"wan\"}], \"peers\": [],"
	"\"portals\": {\"sh\": {\"door\": \"ivshmem\"}, \"odd\": {\"mode\": \"ro\"}},"
	"\"forwards\": [\"tcp:127.0.0.1:8080:80\"]},"
	"\"n2\": {\"sockets\": \"none\", \"nics\": [{\"network\": \"lan\", \"vlan\": 10}]},"
	"\"n3\": {\"nics\": [], \"portals\": {\"sh\": {\"door\": \"vhost-user\"}}}}}";

static char *all_text(const GPtrArray *files)
{
	GString *out = g_string_new(NULL);

	for (guint i = 0; i < files->len; i++) {
		const struct systemd_file *file = files->pdata[i];

		g_string_append_printf(out, "==> %s%s\n%s", file->name,
				       file->executable ? " (executable)" : "", file->text);
	}
	return g_string_free(out, FALSE);
}

static void test_golden_session(void **state)
{
	g_autoptr(GPtrArray)
		files = render(everything, "/run/user/1000/vhost-lab", &session, NULL, NULL);
	g_autofree char *text = all_text(files);

	assert_int_equal(golden_check("systemd/session.txt", text), 0);
}

static void test_golden_system(void **state)
{
	struct systemd_host host = session;
	g_autoptr(GPtrArray) files = NULL;
	g_autofree char *text = NULL;

	host.system = true;
	host.uri = "qemu:///system";
	files = render("{\"name\": \"x\", \"vms\": {\"n1\": {\"sockets\": \"none\"}}}",
		       "/run/user/1000/vhost-lab", &host, NULL, NULL);
	text = all_text(files);
	assert_int_equal(golden_check("systemd/system.txt", text), 0);
}

/* What systemd reads as something else than itself. */
static void test_escapes(void **state)
{
	struct systemd_host host = session;
	g_autoptr(GPtrArray) files = NULL;
	g_autofree char *text = NULL;

	host.dir = "/a\"b\\c";
	host.program[SYSTEMD_NET] = "/opt/$HOME %t/vhost-user-net";
	files = render("{\"name\": \"x\", \"vms\": {\"n1\": {\"sockets\": \"none\"}}}", "/r %h $x",
		       &host, NULL, NULL);
	text = all_text(files);
	assert_non_null(strstr(text, "\nListenStream=/r %%h $x/x/n1-0.vu\n"));
	assert_non_null(
		strstr(text, "\nExecStart=\"/opt/$$HOME %%t/vhost-user-net\" --config "
			     "\"/a\\\"b\\\\c/net-lan.json\" --control \"/r %%h $$x/x/lan.ctl\"\n"));
}

static void test_refused(void **state)
{
	static const char *const runtimes[] = { "/r\n[Service]", "/r\x01", "/r\xff" };
	g_autoptr(GString) many = g_string_new(
		"{\"name\": \"x\", \"networks\": {\"lan\": {\"subnet\": \"10.0.0.0/16\"}}, \"vms\": {");

	for (unsigned i = 0; i < G_N_ELEMENTS(runtimes); i++) {
		g_autoptr(GError) error = NULL;

		assert_null(render("{\"name\": \"x\", \"vms\": {\"n1\": {}}}", runtimes[i],
				   &session, NULL, &error));
		assert_int_equal(error->code, ORCH_ERROR_HOST_UNFIT);
		assert_non_null(strstr(error->message, "no unit of systemd can hold"));
	}
	for (unsigned i = 0; i < 999; i++)
		g_string_append_printf(many, "%s\"n%u\": {\"sockets\": \"none\"}", i ? "," : "", i);
	for (unsigned extra = 0; extra < 2; extra++) {
		g_autofree char *text = g_strconcat(
			many->str, extra ? ",\"m\": {\"sockets\": \"none\"}" : "", "}}", NULL);
		g_autoptr(GError) error = NULL;
		g_autoptr(GPtrArray) files = render(text, "/r", &session, NULL, &error);

		assert_int_equal(files == NULL, extra); /* its control socket is the thousandth */
		if (extra)
			assert_non_null(
				strstr(error->message, "switch of network lan has more than"));
	}
}

/* --- every lab ------------------------------------------------------------------------------------------------------------ */

/* All strings under a key that names a socket. */
static void collect(struct json_object *o, GHashTable *paths)
{
	if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++)
			collect(json_object_array_get_idx(o, i), paths);
	} else if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreach(o, key, value)
		{
			if (strcmp(key, "socket-path") == 0 || strcmp(key, "uds-path") == 0)
				g_hash_table_add(paths, g_strdup(json_object_get_string(value)));
			collect(value, paths);
		}
	}
}

static const struct systemd_file *find(const GPtrArray *files, const char *name)
{
	for (guint i = 0; i < files->len; i++)
		if (strcmp(((struct systemd_file *)files->pdata[i])->name, name) == 0)
			return files->pdata[i];
	return NULL;
}

/* The listeners of a socket unit are what its daemon's configuration has, and the control socket; none is another's. */
static void check_socket(const GPtrArray *files, const struct systemd_file *socket,
			 GHashTable *others)
{
	g_autofree char *name = g_strdup(strchr(socket->name, '.') + 1), *json = NULL;
	g_autofree char *service = g_strndup(socket->name, strlen(socket->name) - strlen("socket"));
	g_autofree char *whole = g_strconcat(service, "service", NULL);
	g_autoptr(GHashTable) wanted = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_auto(GStrv) lines = g_strsplit(socket->text, "\n", -1);
	const struct systemd_file *config, *starts = find(files, whole);
	struct json_object *o;
	unsigned controls = 0;

	*strrchr(name, '.') = '\0';
	json = g_strconcat(name, ".json", NULL);
	config = find(files, json);
	assert_non_null(config);
	assert_non_null(starts);
	assert_non_null(strstr(starts->text, json));
	o = json_tokener_parse(config->text);
	assert_non_null(o);
	collect(o, wanted);
	json_object_put(o);
	for (char **line = lines; *line; line++) {
		char *path = *line + strlen("ListenStream=");

		if (!g_str_has_prefix(*line, "ListenStream="))
			continue;
		assert_true(g_hash_table_add(others, g_strdup(path)));
		if (!g_hash_table_remove(wanted, path)) {
			assert_non_null(strstr(starts->text, path));
			controls++;
		}
	}
	assert_int_equal(controls, 1);
	assert_int_equal(g_hash_table_size(wanted), 0);
}

static void test_every_lab(void **state)
{
	for (guint32 seed = 0; seed < 500; seed++) {
		g_autofree char *text = random_lab_text(seed, 12, 100);
		g_autoptr(GHashTable)
			paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
		g_autoptr(GPtrArray) files = render(text, "/r", &session, NULL, NULL);
		const struct systemd_file *target = find(files, "vhost-lab-random.target");

		assert_non_null(target);
		for (guint i = 0; i < files->len; i++) {
			const struct systemd_file *file = files->pdata[i];

			if (!g_str_has_suffix(file->name, ".socket"))
				continue;
			check_socket(files, file, paths);
			assert_non_null(strstr(target->text, file->name));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_session), cmocka_unit_test(test_golden_system),
		cmocka_unit_test(test_escapes),        cmocka_unit_test(test_refused),
		cmocka_unit_test(test_every_lab),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
