/* SPDX-License-Identifier: MIT */
#include "supervisor_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "model/lab.h"
#include "run/json.h"

struct lab *supervisor_lab(const struct lab_dirs *dirs, const char *text)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (!lab_parse(text, strlen(text), "/web.json", dirs, &lab, &errors))
		fail_msg("%s", lab_errors_format(errors));
	return lab;
}

void supervisor_begin(struct supervisor *sup, const struct lab_dirs *dirs, const char *text)
{
	sup->name = g_strdup("web");
	sup->paths = lab_paths_new_named("web", dirs);
	sup->lab = supervisor_lab(dirs, text);
	sup->switches = g_hash_table_new(g_str_hash, g_str_equal);
	sup->engines = engines_new();
	sup->machines = g_hash_table_new(g_str_hash, g_str_equal);
	sup->forwards = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	sup->changes = forward_changes_new();
	sup->forward_calls = forward_calls_new();
	sup->told = network_told_new();
	sup->changed_settings = network_changes_new();
	sup->link_calls = link_calls_new();
	sup->poke = 1; /* a round is as good as asked for */
}

void supervisor_end(struct supervisor *sup)
{
	g_hash_table_unref(sup->switches);
	g_hash_table_unref(sup->machines);
	g_hash_table_unref(sup->engines);
	g_hash_table_unref(sup->forwards);
	g_hash_table_unref(sup->changes);
	g_ptr_array_unref(sup->forward_calls);
	g_hash_table_unref(sup->told);
	g_hash_table_unref(sup->changed_settings);
	g_ptr_array_unref(sup->link_calls);
	lab_free(sup->lab);
	lab_paths_free(sup->paths);
	g_free(sup->name);
	*sup = (struct supervisor){ 0 };
}

static void changed(struct daemon *d, void *data)
{
}

struct daemon *supervisor_daemon(struct supervisor *sup, const char *name,
				 const struct daemon_kind *kind, struct daemon_paths *paths)
{
	static const struct daemon_ops ops = { .changed = changed };

	return daemon_new(name, kind, paths, &ops, sup);
}

void supervisor_daemon_serves(struct daemon *d, const char *item)
{
	struct json_object *params = json_object_new_object();

	json_put_str(params, "name", item);
	daemon_add_item(d, params, NULL);
	daemon_find_item(d, item)->state = g_strdup("listening");
}

struct rpc_client *supervisor_connect(struct rpc_server *server)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	rpc_server_adopt(server, pair[0]);
	return rpc_client_new(pair[1], NULL, NULL, NULL);
}
