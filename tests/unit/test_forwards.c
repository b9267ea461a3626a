/* SPDX-License-Identifier: MIT */
/* What clients add to and remove from a lab's forwards: a supervisor without processes, before a daemon of sockets that is
 * played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>

#include "err.h"
#include "model/lab.h"
#include "run/json.h"
#include "run/jsonrpc.h"
#include "run/state.h"
#include "run/supervisor.h"
#include "supervisor_fixture.h"
#include "tmp.h"

#define PATIENCE_US (10 * G_USEC_PER_SEC)

#define OF_FILE "tcp:127.0.0.1:2222:22"
#define LAB                                                                \
	"{\"name\": \"web\", \"vms\": {\"n1\": {\"forwards\": [\"" OF_FILE \
	"\"]}, \"n2\": {}, \"n3\": {\"sockets\": \"none\"}}}"
#define MORE "tcp:127.0.0.1:8080:80"

struct fixture {
	struct tmp_dir dir;
	struct lab_dirs dirs;
	struct supervisor sup;
	struct rpc_server *daemon; /* NULL: it is dead */
	GString *has;              /* " ID ID ", as the daemon has them */
	const char *refuses;       /* with that text, whatever is to be added; NULL: nothing */
	struct rpc_server *service;
	struct rpc_client *client;
};

/* --- the daemon ------------------------------------------------------------------------------------------- */

static char *word_of(const char *id)
{
	return g_strdup_printf(" %s ", id);
}

static void do_add(struct rpc_call *call, struct json_object *params, void *data)
{
	struct fixture *f = data;
	g_autofree char *word = word_of(json_str(params, "id"));

	if (f->refuses || strstr(f->has->str, word)) {
		rpc_fail_text(call, ORCH_ERROR_FAILED, "%s", f->refuses ? f->refuses : "taken");
		return;
	}
	g_string_append(f->has, word);
	rpc_reply(call, NULL);
}

static void do_remove(struct rpc_call *call, struct json_object *params, void *data)
{
	struct fixture *f = data;
	g_autofree char *word = word_of(json_str(params, "id"));
	char *found = strstr(f->has->str, word);

	if (!found) {
		rpc_fail_text(call, ORCH_ERROR_FAILED, "no forward \"%s\"", json_str(params, "id"));
		return;
	}
	g_string_erase(f->has, found - f->has->str, (gssize)strlen(word));
	rpc_reply(call, NULL);
}

static void do_list(struct rpc_call *call, struct json_object *params, void *data)
{
	const struct fixture *f = data;
	g_auto(GStrv) words = g_strsplit(f->has->str, " ", -1);
	struct json_object *list = json_object_new_array(), *o = json_object_new_object();

	for (char **w = words; *w; w++) {
		g_autofree char *vm = g_strndup(*w, strcspn(*w, "."));
		struct json_object *forward;

		if (!**w)
			continue;
		forward = json_object_new_object();
		json_put_str(forward, "id", *w);
		json_put_str(forward, "vm", vm);
		json_put_int(forward, "connected", 7);
		json_object_array_add(list, forward);
	}
	json_object_object_add(o, "forwards", list);
	rpc_reply(call, o);
}

static const struct rpc_method daemon_methods[] = {
	{ "forward.add", "id,vm,direction,guest-port,host", do_add },
	{ "forward.remove", "id", do_remove },
	{ "forward.list", "", do_list },
	{ NULL, NULL, NULL },
};

static void start_daemon(struct fixture *f)
{
	f->daemon = rpc_server_new(-1, daemon_methods, f);
	f->sup.sockets->rpc = supervisor_connect(f->daemon);
	f->sup.sockets->stage = DAEMON_RUNNING;
	sup_sync_forwards(&f->sup);
	while (!f->sup.forwards_known) /* then it has been told all it lacks, before whatever is asked next */
		g_main_context_iteration(NULL, TRUE);
}

/* It forgets everything, as one that was killed. */
static void stop_daemon(struct fixture *f)
{
	rpc_client_free(f->sup.sockets->rpc);
	rpc_server_free(f->daemon);
	f->daemon = NULL;
	f->sup.sockets->rpc = NULL;
	f->sup.sockets->stage = DAEMON_STARTING;
	g_string_truncate(f->has, 0);
	sup_lose_forwards(&f->sup, "it has ended");
}

/* --- the supervisor --------------------------------------------------------------------------------------- */

static const struct vm *vm_of(const struct fixture *f, struct json_object *params)
{
	return lab_find_vm(f->sup.lab, json_str(params, "vm"));
}

static void ask_add(struct rpc_call *call, struct json_object *params, void *data)
{
	struct fixture *f = data;

	sup_forward_add(&f->sup, call, vm_of(f, params), json_str(params, "forward"));
}

static void ask_remove(struct rpc_call *call, struct json_object *params, void *data)
{
	struct fixture *f = data;

	sup_forward_remove(&f->sup, call, vm_of(f, params), json_str(params, "forward"));
}

static void ask_list(struct rpc_call *call, struct json_object *params, void *data)
{
	struct fixture *f = data;

	sup_forward_list(&f->sup, call, json_str(params, "vm"));
}

static const struct rpc_method methods[] = {
	{ "add", "vm,forward", ask_add },
	{ "remove", "vm,forward", ask_remove },
	{ "list", "vm", ask_list },
	{ NULL, NULL, NULL },
};

static void new_supervisor(struct fixture *f)
{
	struct supervisor *sup = &f->sup;

	supervisor_begin(sup, &f->dirs, LAB);
	sup->sockets = supervisor_daemon(sup, "sockets", &daemon_hvsock,
					 daemon_paths_copy(sup->paths->hvsock));
	supervisor_daemon_serves(sup->sockets, "n1");
	supervisor_daemon_serves(sup->sockets, "n2");
}

static void end_supervisor(struct fixture *f)
{
	sup_lose_forwards(&f->sup, "the supervisor has ended");
	daemon_free(f->sup.sockets);
	supervisor_end(&f->sup);
}

static void apply(struct fixture *f, const char *text)
{
	lab_free(f->sup.lab);
	f->sup.lab = text ? supervisor_lab(&f->dirs, text) : NULL;
	sup_prune_forwards(&f->sup);
	sup_sync_forwards(&f->sup);
}

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	g_autofree char *labs = NULL;

	tmp_dir_init(&f->dir);
	f->dirs = (struct lab_dirs){ f->dir.path, f->dir.path, f->dir.path };
	f->has = g_string_new(NULL);
	new_supervisor(f);
	labs = g_path_get_dirname(f->sup.paths->state_json);
	assert_int_equal(g_mkdir_with_parents(labs, 0700), 0);
	f->service = rpc_server_new(-1, methods, f);
	f->client = supervisor_connect(f->service);
	start_daemon(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	end_supervisor(f);
	if (f->daemon)
		rpc_server_free(f->daemon);
	rpc_client_free(f->client);
	rpc_server_free(f->service);
	g_string_free(f->has, TRUE);
	tmp_dir_done(&f->dir);
	g_free(f);
	return 0;
}

/* --- asking ----------------------------------------------------------------------------------------------- */

/* The kind of failure, or 0. */
static int ask(struct fixture *f, const char *method, const char *vm, const char *text,
	       const char *expected_words)
{
	struct json_object *params = json_object_new_object();
	g_autoptr(GError) error = NULL;

	json_put_str(params, "vm", vm);
	json_put_str(params, "forward", text);
	if (rpc_client_call_sync(f->client, method, params, PATIENCE_US / 1000, NULL, &error))
		return 0;
	if (!strstr(error->message, expected_words))
		fail_msg("%s is not in %s", expected_words, error->message);
	return error->code;
}

static gint by_text(gconstpointer a, gconstpointer b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "n1:tcp:127.0.0.1:2222:22=file/active …", sorted. */
static char *listed(struct fixture *f, const char *vm)
{
	struct json_object *params = json_object_new_object(), *list;
	g_autoptr(GPtrArray) words = g_ptr_array_new_with_free_func(g_free);
	auto_json result = NULL;

	json_put_str(params, "vm", vm);
	assert_true(
		rpc_client_call_sync(f->client, "list", params, PATIENCE_US / 1000, &result, NULL));
	list = json_member(result, "forwards", json_type_array);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		bool active = json_flag(o, "active", false);

		assert_int_equal(json_int(o, "connected", 0), active ? 7 : 0);
		g_ptr_array_add(words,
				g_strdup_printf("%s:%s=%s/%s", json_str(o, "vm"),
						json_str(o, "forward"), json_str(o, "origin"),
						active ? "active" : "absent"));
	}
	g_ptr_array_sort(words, by_text);
	g_ptr_array_add(words, NULL);
	return g_strjoinv(" ", (char **)words->pdata);
}

static void assert_listed(struct fixture *f, const char *vm, const char *expected)
{
	g_autofree char *text = listed(f, vm);

	assert_string_equal(text, expected);
}

#define FILE_ACTIVE "n1:" OF_FILE "=file/active"
#define FILE_ABSENT "n1:" OF_FILE "=file/absent"
#define MORE_ACTIVE "n2:" MORE "=added/active"
#define MORE_ABSENT "n2:" MORE "=added/absent"

static void assert_changes(const struct fixture *f, guint n)
{
	struct state *s;

	assert_true(state_load(f->sup.paths->state_json, &s, NULL));
	assert_int_equal(s->forwards->len, n);
	state_free(s);
}

static void test_added(void **state)
{
	struct fixture *f = *state;

	assert_listed(f, NULL, FILE_ACTIVE);
	assert_int_equal(ask(f, "add", "n2", MORE, ""), 0);
	assert_changes(f, 1); /* on disk, when it is answered */
	assert_listed(f, NULL, FILE_ACTIVE " " MORE_ACTIVE);
	assert_listed(f, "n2", MORE_ACTIVE);
	assert_int_equal(ask(f, "add", "n2", MORE, "taken"), ORCH_ERROR_FAILED);
	assert_int_equal(ask(f, "remove", "n2", MORE, ""), 0);
	assert_changes(f, 0);
	assert_listed(f, NULL, FILE_ACTIVE);
	assert_int_equal(ask(f, "remove", "n2", MORE, "no forward \"n2." MORE "\""),
			 ORCH_ERROR_FAILED);
}

static void test_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, "add", "n1", "nonsense", "nonsense"), ORCH_ERROR_USAGE);
	assert_int_equal(ask(f, "add", "n1", NULL, "missing"), ORCH_ERROR_USAGE);
	assert_int_equal(ask(f, "remove", "n1", NULL, "missing"), ORCH_ERROR_USAGE);
	assert_int_equal(ask(f, "add", "n3", MORE, "no sockets"), ORCH_ERROR_FAILED);
	f->refuses = "tcp:127.0.0.1:8080: Address already in use";
	assert_int_equal(ask(f, "add", "n2", MORE, f->refuses), ORCH_ERROR_FAILED);
	assert_int_equal(g_hash_table_size(f->sup.changes), 0);
	assert_listed(f, NULL, FILE_ACTIVE);
}

static void test_removed_of_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, "remove", "n1", OF_FILE, ""), 0);
	assert_changes(f, 1);
	assert_listed(f, NULL, "");
	assert_string_equal(f->has->str, "");
	assert_int_equal(ask(f, "remove", "n1", OF_FILE, "no forward"), ORCH_ERROR_FAILED);
	stop_daemon(f);
	start_daemon(f);
	assert_listed(f, NULL, "");
	assert_int_equal(ask(f, "add", "n1", OF_FILE, ""), 0);
	assert_changes(f, 0); /* as the file says */
	assert_listed(f, NULL, FILE_ACTIVE);
}

static void test_daemon_killed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, "add", "n2", MORE, ""), 0);
	stop_daemon(f);
	assert_listed(f, NULL, FILE_ABSENT " " MORE_ABSENT);
	assert_int_equal(ask(f, "add", "n1", MORE, "no sockets that are up"), ORCH_ERROR_FAILED);
	start_daemon(f);
	assert_listed(f, NULL, FILE_ACTIVE " " MORE_ACTIVE);
	/* Its address is somebody else's by now: it is wanted all the same, until it is removed. */
	stop_daemon(f);
	f->refuses = "in use";
	start_daemon(f);
	assert_listed(f, "n2", MORE_ABSENT);
	assert_int_equal(ask(f, "remove", "n2", MORE, ""), 0);
	assert_listed(f, "n2", "");
	/* Removed while it is away. */
	f->refuses = NULL;
	stop_daemon(f);
	assert_int_equal(ask(f, "remove", "n1", OF_FILE, ""), 0);
	assert_int_equal(ask(f, "remove", "n1", MORE, "no forward"), ORCH_ERROR_FAILED);
	start_daemon(f);
	assert_listed(f, NULL, "");
}

static void answered(struct json_object *result, const GError *error, void *data)
{
	assert_non_null(error);
	assert_non_null(strstr(error->message, "it has ended"));
	*(bool *)data = true;
}

/* It dies with the call on its way: the client hears of it, and nothing is kept. */
static void test_killed_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct json_object *params = json_object_new_object();
	bool done = false;

	json_put_str(params, "vm", "n2");
	json_put_str(params, "forward", MORE);
	rpc_client_call(f->client, "add", params, answered, &done);
	while (f->sup.forward_calls->len == 0)
		g_main_context_iteration(NULL, TRUE);
	stop_daemon(f);
	while (!done)
		g_main_context_iteration(NULL, TRUE);
	assert_int_equal(g_hash_table_size(f->sup.changes), 0);
	start_daemon(f);
	assert_listed(f, NULL, FILE_ACTIVE);
}

/* The next supervisor finds a daemon that has what it has: what is not wanted, and ours, goes. */
static void test_supervisor_killed(void **state)
{
	struct fixture *f = *state;
	struct state *left;

	assert_int_equal(ask(f, "add", "n2", MORE, ""), 0);
	assert_true(state_load(f->sup.paths->state_json, &left, NULL));
	end_supervisor(f);
	rpc_server_free(f->daemon);
	g_string_append(f->has, " n2.unix:/unsaved:9  f1 ");
	new_supervisor(f);
	sup_adopt_forwards(&f->sup, left);
	state_free(left);
	start_daemon(f);
	assert_listed(f, NULL, "f1:f1=other/active " FILE_ACTIVE " " MORE_ACTIVE);
}

static void test_another_lab(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, "add", "n2", MORE, ""), 0);
	assert_int_equal(ask(f, "remove", "n1", OF_FILE, ""), 0);
	apply(f,
	      "{\"name\": \"web\", \"vms\": {\"n1\": {}, \"n2\": {\"forwards\": [\"" MORE "\"]}}}");
	assert_int_equal(g_hash_table_size(f->sup.changes), 0); /* the file says both now */
	assert_listed(f, NULL, "n2:" MORE "=file/active");
	assert_int_equal(ask(f, "add", "n1", "unix:/x:1", ""), 0);
	assert_int_equal(ask(f, "remove", "n2", MORE, ""), 0);
	apply(f, "{\"name\": \"web\", \"vms\": {\"n1\": {}}}");
	assert_int_equal(g_hash_table_size(f->sup.changes), 1);
	assert_listed(f, NULL, "n1:unix:/x:1=added/active");
	apply(f, NULL);
	assert_int_equal(g_hash_table_size(f->sup.changes), 0);
	apply(f, LAB);
	assert_listed(f, NULL, FILE_ACTIVE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_added),         TEST(test_refused),          TEST(test_removed_of_file),
		TEST(test_daemon_killed), TEST(test_killed_meanwhile), TEST(test_supervisor_killed),
		TEST(test_another_lab),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
