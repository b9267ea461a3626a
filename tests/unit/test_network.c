/* SPDX-License-Identifier: MIT */
/* What switches are told, and what clients change about links: a supervisor without processes, before a switch that is played
 * by the test, and an engine that is, too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>

#include "engine_fixture.h"
#include "err.h"
#include "model/lab.h"
#include "run/json.h"
#include "run/jsonrpc.h"
#include "run/machine.h"
#include "run/state.h"
#include "run/supervisor.h"
#include "supervisor_fixture.h"
#include "tmp.h"

#define PATIENCE_MS 10000

#define LAB_OF(n1)                                                                             \
	"{\"name\": \"web\", \"networks\": {\"lan\": {\"subnet\": \"10.0.0.0/24\","            \
	"\"uplink\": {\"type\": \"nat\", \"forward\": [\"tcp:127.0.0.1:2222:n1:22\"]},"        \
	"\"mirrors\": [{\"name\": \"m\", \"from\": [\"n1\"], \"to\": \"n2\"}],"                \
	"\"rules\": [{\"name\": \"r\", \"in\": \"n1\", \"out\": \"n2\", \"loss\": \"5%\"}]}}," \
	"\"vms\": {\"n1\": {\"nics\": [{\"network\": \"lan\"" n1 "}]}, \"n2\": {}}}"
#define LAB LAB_OF(", \"impair\": {\"to-guest\": {\"delay\": \"20ms\"}}")

struct fixture {
	struct tmp_dir dir;
	struct lab_dirs dirs;
	struct supervisor sup;
	struct rpc_server *sw; /* NULL: it is dead */
	GString *heard;        /* "METHOD PARAMS\n" for each call, since it was looked at last */
	const char *refuses;   /* calls that this stands in; NULL: none */
	bool silent;           /* it answers nothing */
	GPtrArray *unanswered;
	struct rpc_server *service;
	struct rpc_client *client;
	struct fake_engine fake; /* of n1 */
};

/* --- the switch ----------------------------------------------------------------------------------------------------- */

static void hear(struct fixture *f, struct rpc_call *call, const char *method,
		 struct json_object *params)
{
	g_autofree char *line = g_strdup_printf(
		"%s %s\n", method,
		json_object_to_json_string_ext(params, JSON_C_TO_STRING_PLAIN |
							       JSON_C_TO_STRING_NOSLASHESCAPE));

	g_string_append(f->heard, line);
	if (f->silent)
		g_ptr_array_add(f->unanswered, call);
	else if (f->refuses && strstr(line, f->refuses))
		rpc_fail_text(call, ORCH_ERROR_FAILED, "not that");
	else
		rpc_reply(call, NULL);
}

#define METHODS(X)                                                                          \
	X(link_set, "link.set", "port,direction,replace,for-ns,profile,delay-ns,loss,seed") \
	X(link_reset, "link.reset", "port,direction")                                       \
	X(mirror_add, "mirror.add", "name,from,to,direction")                               \
	X(mirror_remove, "mirror.remove", "name")                                           \
	X(rule_set, "rule.set", "id,in,out,match,replace,profile,loss,delay-ns")            \
	X(rule_remove, "rule.remove", "id")                                                 \
	X(profile_set, "profile.set", "name,delay-ns,loss")                                 \
	X(port_set, "port.set", "name,vlan,isolated,offloads,storm")                        \
	X(port_down, "port.down", "name")                                                   \
	X(port_up, "port.up", "name")                                                       \
	X(hosts_set, "hosts.set", "port,hosts")                                             \
	X(forward_add, "forward.add",                                                       \
	  "id,port,proto,host,host-port,guest,guest-port,type,listen,to")                   \
	X(forward_remove, "forward.remove", "id,port,proto,host,host-port,type,listen")
#define X(name, method, members)                                                             \
	static void do_##name(struct rpc_call *call, struct json_object *params, void *data) \
	{                                                                                    \
		hear(data, call, method, params);                                            \
	}
METHODS(X)
#undef X

static const struct rpc_method switch_methods[] = {
#define X(name, method, members) { method, members, do_##name },
	METHODS(X)
#undef X
		{ NULL, NULL, NULL },
};

static struct daemon *the_switch(struct fixture *f)
{
	return sup_find_switch(&f->sup, "lan");
}

static void start_switch(struct fixture *f)
{
	f->sw = rpc_server_new(-1, switch_methods, f);
	the_switch(f)->rpc = supervisor_connect(f->sw);
	the_switch(f)->stage = DAEMON_RUNNING;
}

/* As switch_died() and switch_changed() of supervisor.c. */
static void kill_switch(struct fixture *f)
{
	struct daemon *sw = the_switch(f);

	rpc_client_free(sw->rpc);
	sw->rpc = NULL;
	sw->stage = DAEMON_STARTING;
	network_switch_died(&f->sup, "lan");
	network_connection_lost(&f->sup, "lan");
	link_calls_lost(&f->sup, "lan", "it has ended");
	rpc_server_free(f->sw);
	f->sw = NULL;
}

static bool settled(struct fixture *f)
{
	while (!network_is_told(&f->sup, "lan"))
		g_main_context_iteration(NULL, TRUE);
	return true;
}

/* What it has heard by now; g_free(). */
static char *told(struct fixture *f)
{
	char *text;

	assert_true(settled(f));
	text = g_strdup(f->heard->str);
	g_string_truncate(f->heard, 0);
	return text;
}

#define assert_told(f, needle)                                        \
	do {                                                          \
		g_autofree char *text_ = told(f);                     \
		if (!strstr(text_, needle))                           \
			fail_msg("%s is not in:\n%s", needle, text_); \
	} while (0)
#define assert_told_nothing(f)                    \
	do {                                      \
		g_autofree char *text_ = told(f); \
		assert_string_equal(text_, "");   \
	} while (0)

/* --- the supervisor ------------------------------------------------------------------------------------------------- */

#define SERVICE(X)                                                   \
	X(set, link_method_set(&f->sup, call, params))               \
	X(reset, link_method_reset(&f->sup, call, params))           \
	X(up, link_method_carrier(&f->sup, call, params, true))      \
	X(down, link_method_carrier(&f->sup, call, params, false))   \
	X(nat_add, link_method_nat(&f->sup, call, params, true))     \
	X(nat_remove, link_method_nat(&f->sup, call, params, false)) \
	X(nat_list, link_method_nat_list(&f->sup, call, params))
#define X(name, body)                                                                         \
	static void ask_##name(struct rpc_call *call, struct json_object *params, void *data) \
	{                                                                                     \
		struct fixture *f = data;                                                     \
                                                                                              \
		body;                                                                         \
	}
SERVICE(X)
#undef X

static const struct rpc_method service_methods[] = {
#define X(name, body) \
	{ #name, "link,direction,settings,profile,replace,for-ns,network,forward", ask_##name },
	SERVICE(X)
#undef X
		{ NULL, NULL, NULL },
};

static void new_supervisor(struct fixture *f)
{
	struct supervisor *sup = &f->sup;
	struct daemon *sw;

	supervisor_begin(sup, &f->dirs, LAB);
	sw = supervisor_daemon(sup, "lan", &daemon_switch, net_paths_new(sup->paths, "lan"));
	g_hash_table_insert(sup->switches, sw->name, sw);
	supervisor_daemon_serves(sw, "n1.0");
	supervisor_daemon_serves(sw, "n2.0");
	supervisor_daemon_serves(sw, "nat");
}

static void end_supervisor(struct fixture *f)
{
	struct supervisor *sup = &f->sup;
	struct machine *m = sup_find_machine(sup, "n1");

	link_calls_lost(sup, NULL, "the supervisor has ended");
	if (sup->expiry)
		g_source_remove(sup->expiry);
	daemon_free(the_switch(f));
	if (m)
		machine_free(m);
	supervisor_end(sup);
}

/* As sup_set_lab(), as far as switches go. */
static void apply(struct fixture *f, const char *text)
{
	lab_free(f->sup.lab);
	f->sup.lab = supervisor_lab(&f->dirs, text);
	network_prune_changes(&f->sup);
	network_compare_again(&f->sup, NULL);
}

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	g_autofree char *labs = NULL;

	tmp_dir_init(&f->dir);
	f->dirs = (struct lab_dirs){ f->dir.path, f->dir.path, f->dir.path };
	f->heard = g_string_new(NULL);
	f->unanswered = g_ptr_array_new();
	fake_engine_init(&f->fake);
	new_supervisor(f);
	labs = g_path_get_dirname(f->sup.paths->state_json);
	assert_int_equal(g_mkdir_with_parents(labs, 0700), 0);
	f->service = rpc_server_new(-1, service_methods, f);
	f->client = supervisor_connect(f->service);
	start_switch(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	end_supervisor(f);
	for (guint i = 0; i < f->unanswered->len; i++)
		rpc_reply(f->unanswered->pdata[i], NULL);
	if (f->sw)
		rpc_server_free(f->sw);
	rpc_client_free(f->client);
	rpc_server_free(f->service);
	fake_engine_done(&f->fake);
	g_ptr_array_unref(f->unanswered);
	g_string_free(f->heard, TRUE);
	tmp_dir_done(&f->dir);
	g_free(f);
	return 0;
}

/* Ask as a client does, params as text.  0, or the exit code; *ret_words may be NULL. */
static int ask(struct fixture *f, const char *method, const char *params, char **ret_words)
{
	struct json_object *o = json_tokener_parse(params);
	g_autoptr(GError) error = NULL;
	auto_json result = NULL;

	assert_non_null(o);
	if (rpc_client_call_sync(f->client, method, o, PATIENCE_MS, &result, &error)) {
		if (ret_words)
			*ret_words = g_strdup(json_object_to_json_string_ext(
				result, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
		return 0;
	}
	if (ret_words)
		*ret_words = g_strdup(error->message);
	return error->code;
}

/* The configuration that the next switch begins with, as text; g_free(). */
static char *begins_with(struct fixture *f)
{
	auto_json list = network_setup(&f->sup, "lan");

	return g_strdup(
		list ? json_object_to_json_string_ext(
			       list, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE) :
		       "");
}

/* --- what it is told ------------------------------------------------------------------------------------------------ */

static void test_told_once(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f);

	assert_non_null(strstr(first, "link.set {\"port\":\"n1.0\",\"direction\":\"to-guest\""));
	assert_non_null(strstr(first, "\"delay-ns\":20000000"));
	assert_non_null(strstr(first, "mirror.add {\"name\":\"m\""));
	assert_non_null(strstr(first, "rule.set {\"loss\":0.05,\"id\":\"r\""));
	assert_non_null(strstr(first, "forward.add "));
	network_compare_again(&f->sup, NULL);
	assert_told_nothing(f);
	assert_null(network_problem(&f->sup, "lan"));
}

/* The difference alone, and what is gone is taken back. */
static void test_another_file(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f), *second = NULL;

	apply(f, LAB_OF(", \"impair\": {\"to-guest\": {\"delay\": \"30ms\"}}"));
	second = told(f);
	assert_non_null(strstr(second, "\"delay-ns\":30000000"));
	assert_null(strchr(strchr(second, '\n') + 1, '\n')); /* one call */
	apply(f, LAB_OF(""));
	assert_told(f, "link.reset {\"port\":\"n1.0\",\"direction\":\"to-guest\"}");
}

/* A setting waits for its port, and is told when that comes. */
static void test_waits_for_its_port(void **state)
{
	struct fixture *f = *state;
	struct daemon_item *item = daemon_find_item(the_switch(f), "n1.0");
	char *state_of = g_steal_pointer(&item->state);
	g_autofree char *first = told(f);

	assert_null(strstr(first, "link.set {\"port\":\"n1.0\""));
	item->state = state_of;
	network_compare_again(&f->sup, "lan");
	assert_told(f, "link.set {\"port\":\"n1.0\"");
}

/* What is refused is reported, and not tried again before something is different. */
static void test_refused(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = NULL, *problem = NULL;

	f->refuses = "mirror.add";
	first = told(f);
	problem = network_problem(&f->sup, "lan");
	assert_string_equal(problem, "mirror:m: not that");
	network_compare_again(&f->sup, NULL);
	assert_told_nothing(f);
	f->refuses = NULL;
	kill_switch(f);
	start_switch(f);
	assert_told(f, "mirror.add");
	assert_null(network_problem(&f->sup, "lan"));
}

/* Nobody knows whether a call was heard whose answer never came: it is made again. */
static void test_unanswered(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = NULL;

	f->silent = true;
	assert_false(network_is_told(&f->sup, "lan"));
	while (!strstr(f->heard->str, "rule.set"))
		g_main_context_iteration(NULL, TRUE);
	g_string_truncate(f->heard, 0);
	rpc_client_free(the_switch(f)->rpc);
	network_connection_lost(&f->sup, "lan");
	f->silent = false;
	the_switch(f)->rpc = supervisor_connect(f->sw);
	first = told(f);
	assert_non_null(strstr(first, "link.set"));
	assert_non_null(strstr(first, "rule.set"));
}

/* A supervisor that takes over tells nothing that was told. */
static void test_taken_over(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f), *kept = network_text_told(&f->sup, "lan");
	struct supervisor *sup = &f->sup;

	g_hash_table_unref(sup->told);
	sup->told = network_told_new();
	network_adopt_told(sup, "lan", kept);
	assert_told_nothing(f);
}

/* --- a switch that is started again --------------------------------------------------------------------------------- */

/* What the one before had taken is in its configuration; what hangs on the host is told. */
static void test_started_again(void **state)
{
	struct fixture *f = *state;
	g_autofree char *none = begins_with(f), *first = NULL, *config = NULL, *rest = NULL;

	assert_string_equal(none, "");
	f->refuses = "mirror.add";
	first = told(f);
	kill_switch(f);
	config = begins_with(f);
	assert_non_null(strstr(config, "{\"method\":\"link.set\",\"params\":{\"port\":\"n1.0\""));
	assert_non_null(
		strstr(config, "{\"method\":\"rule.set\",\"params\":{\"loss\":0.05,\"id\":\"r\""));
	assert_null(strstr(config,
			   "mirror.add")); /* it might be refused again, and nothing would start */
	assert_null(strstr(config, "forward.add"));
	f->refuses = NULL;
	start_switch(f);
	rest = told(f);
	assert_non_null(strstr(rest, "mirror.add"));
	assert_non_null(strstr(rest, "forward.add"));
	assert_null(strstr(rest, "link.set"));
	assert_null(strstr(rest, "rule.set"));
}

/* One whose configuration is not taken at all dies, and the next is told everything. */
static void test_started_bare(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f), *config = NULL, *rest = NULL;

	kill_switch(f);
	config = begins_with(f);
	network_switch_died(&f->sup, "lan");
	start_switch(f);
	rest = told(f);
	assert_string_equal(first, rest);
}

/* What was changed holds, and what passes passes on. */
static void test_started_again_with_changes(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f), *config = NULL;

	assert_int_equal(ask(f, "set", "{\"link\":\"n2\",\"settings\":{\"loss\":0.5}}", NULL), 0);
	assert_int_equal(
		ask(f, "set",
		    "{\"link\":\"n1\",\"settings\":{\"delay-ns\":7},\"for-ns\":60000000000}", NULL),
		0);
	assert_int_equal(ask(f, "down", "{\"link\":\"n2\"}", NULL), 0);
	kill_switch(f);
	config = begins_with(f);
	assert_non_null(strstr(config, "\"loss\":0.5"));
	assert_non_null(strstr(config, "\"delay-ns\":7"));
	assert_non_null(strstr(config, "\"for-ns\":"));
	assert_non_null(strstr(config, "\"delay-ns\":20000000")); /* what it goes back to */
	assert_non_null(
		strstr(config, "{\"method\":\"port.down\",\"params\":{\"name\":\"n2.0\"}}"));
}

/* --- what clients change -------------------------------------------------------------------------------------------- */

static void test_set_and_reset(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f), *answer = NULL, *after = NULL, *report = NULL;
	auto_json link = NULL;

	assert_int_equal(
		ask(f, "set",
		    "{\"link\":\"n1\",\"direction\":\"to-guest\",\"settings\":{\"loss\":0.25}}",
		    &answer),
		0);
	assert_string_equal(answer, "{\"network\":\"lan\",\"port\":\"n1.0\"}");
	assert_told(f, "\"loss\":0.25");
	link = link_report(&f->sup, "lan", "n1.0");
	report = g_strdup(json_object_to_json_string_ext(link, JSON_C_TO_STRING_PLAIN));
	assert_non_null(
		strstr(report, "\"delay-ns\":20000000")); /* merged with what the file says */
	assert_non_null(strstr(report, "\"loss\":0.25"));

	/* It outlives another version of the file, unless that says something else about this link. */
	apply(f, LAB);
	assert_told_nothing(f);
	assert_int_equal(ask(f, "reset", "{\"link\":\"n1\",\"direction\":\"to-guest\"}", NULL), 0);
	after = told(f);
	assert_non_null(strstr(after, "link.reset"));
	assert_non_null(strstr(after, "\"delay-ns\":20000000"));
	assert_null(strstr(after, "loss"));
	network_compare_again(&f->sup, NULL);
	assert_told_nothing(f);

	assert_int_equal(
		ask(f, "set",
		    "{\"link\":\"n1\",\"direction\":\"to-guest\",\"settings\":{\"loss\":0.25}}",
		    NULL),
		0);
	apply(f, LAB_OF(", \"impair\": {\"to-guest\": {\"delay\": \"40ms\"}}"));
	g_string_truncate(f->heard, 0);
	assert_told(f, "\"delay-ns\":40000000");
}

static void test_wrong(void **state)
{
	static const struct {
		const char *method, *params;
		int code;
		const char *words;
	} wrong[] = {
		{ "set", "{\"link\":\"n9\"}", ORCH_ERROR_USAGE, "no VM \"n9\"" },
		{ "set", "{}", ORCH_ERROR_USAGE, "\"link\" is missing" },
		{ "set", "{\"link\":\"n1\",\"profile\":\"none\"}", ORCH_ERROR_USAGE, "no profile" },
		{ "set", "{\"link\":\"n1\",\"direction\":\"up\"}", ORCH_ERROR_USAGE, "direction" },
		{ "set", "{\"link\":\"n1\",\"for-ns\":-1}", ORCH_ERROR_USAGE, "for-ns" },
		{ "up", "{\"link\":\"n1\",\"for-ns\":1}", ORCH_ERROR_USAGE, "for-ns" },
		{ "nat_add", "{\"network\":\"wan\",\"forward\":\"tcp:127.0.0.1:1:n1:1\"}",
		  ORCH_ERROR_USAGE, "no network \"wan\"" },
		{ "nat_add", "{\"network\":\"lan\",\"forward\":\"tcp:1\"}", ORCH_ERROR_USAGE,
		  "tcp:1" },
		{ "nat_add", "{\"network\":\"lan\",\"forward\":\"tcp:127.0.0.1:2222:n1:22\"}",
		  ORCH_ERROR_FAILED, "already" },
		{ "nat_remove", "{\"network\":\"lan\",\"forward\":\"tcp:127.0.0.1:7:n1:7\"}",
		  ORCH_ERROR_FAILED, "no forward" },
	};
	struct fixture *f = *state;
	g_autofree char *first = told(f);

	for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
		g_autofree char *words = NULL;

		assert_int_equal(ask(f, wrong[i].method, wrong[i].params, &words), wrong[i].code);
		if (!strstr(words, wrong[i].words))
			fail_msg("%s is not in %s", wrong[i].words, words);
	}
	assert_told_nothing(f);
}

/* What the switch refuses is an error, and kept nowhere. */
static void test_refused_change(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f), *words = NULL, *list = NULL;

	f->refuses = "\"loss\":0.25";
	assert_int_equal(ask(f, "set", "{\"link\":\"n1\",\"settings\":{\"loss\":0.25}}", &words),
			 ORCH_ERROR_FAILED);
	assert_string_equal(words, "not that");
	f->refuses = "forward.add";
	assert_int_equal(ask(f, "nat_add",
			     "{\"network\":\"lan\",\"forward\":\"tcp:127.0.0.1:80:n1:80\"}", NULL),
			 ORCH_ERROR_FAILED);
	assert_int_equal(g_hash_table_size(f->sup.changed_settings), 0);
	assert_int_equal(ask(f, "nat_list", "{}", &list), 0);
	assert_null(strstr(list, ":80"));
}

/* Who waits for a switch that dies is told so. */
static void on_failed(struct json_object *result, const GError *error, void *data)
{
	assert_non_null(error);
	assert_non_null(strstr(error->message, "it has ended"));
	*(bool *)data = true;
}

static void test_dies_before_it_answers(void **state)
{
	struct fixture *f = *state;
	g_autofree char *first = told(f);
	struct json_object *params = json_object_new_object();
	bool failed = false;

	f->silent = true;
	json_put_str(params, "link", "n1");
	rpc_client_call(f->client, "down", params, on_failed, &failed);
	while (!strstr(f->heard->str, "port.down"))
		g_main_context_iteration(NULL, TRUE);
	kill_switch(f);
	while (!failed)
		g_main_context_iteration(NULL, TRUE);
	assert_int_equal(g_hash_table_size(f->sup.changed_settings), 0);
	assert_int_equal(ask(f, "down", "{\"link\":\"n1\"}", NULL), ORCH_ERROR_FAILED);
}

static void test_forwards(void **state)
{
	struct fixture *f = *state;
	const char *of_file = "{\"network\":\"lan\",\"forward\":\"tcp:127.0.0.1:2222:n1:22\"}";
	const char *more = "{\"network\":\"lan\",\"forward\":\"udp:127.0.0.1:53:n2:53\"}";
	g_autofree char *first = told(f), *list = NULL, *second = NULL;

	assert_int_equal(ask(f, "nat_add", more, NULL), 0);
	assert_int_equal(ask(f, "nat_remove", of_file, NULL), 0);
	assert_int_equal(ask(f, "nat_list", "{\"network\":\"lan\"}", &list), 0);
	assert_non_null(strstr(
		list,
		"\"forward\":\"udp:127.0.0.1:53:n2:53\",\"origin\":\"added\",\"active\":true"));
	assert_null(strstr(list, "2222"));
	kill_switch(f);
	start_switch(f);
	g_string_truncate(f->heard, 0);
	second = told(f);
	assert_non_null(strstr(second, "53"));
	assert_null(strstr(second, "2222"));
	assert_int_equal(ask(f, "nat_add", of_file, NULL), 0);
	assert_int_equal(ask(f, "nat_remove", more, NULL), 0);
	assert_int_equal(g_hash_table_size(f->sup.changed_settings), 0);
}

/* Changes outlive the supervisor; those for a time end by the clock. */
static void test_changes_are_kept(void **state)
{
	struct fixture *f = *state;
	struct supervisor *sup = &f->sup;
	struct state *kept = state_new("web", "/web.json");
	g_autofree char *first = told(f), *settings = network_text_told(sup, "lan");

	assert_int_equal(ask(f, "down", "{\"link\":\"n2\",\"for-ns\":50000000}", NULL), 0);
	assert_int_equal(ask(f, "set", "{\"link\":\"n1\",\"settings\":{\"loss\":0.5}}", NULL), 0);
	g_free(settings);
	settings = network_text_told(sup, "lan");
	network_save_changes(sup, kept);
	g_clear_handle_id(&sup->expiry, g_source_remove);
	g_hash_table_unref(sup->told);
	g_hash_table_unref(sup->changed_settings);
	sup->told = network_told_new();
	sup->changed_settings = network_changes_new();
	network_adopt_changes(sup, kept);
	network_adopt_told(sup, "lan", settings);
	state_free(kept);

	g_string_truncate(f->heard, 0);
	while (!strstr(f->heard->str, "port.up")) {
		(void)network_is_told(sup, "lan");
		g_main_context_iteration(NULL, TRUE);
	}
	assert_null(strstr(f->heard->str, "link."));
	assert_int_equal(ask(f, "reset", "{\"link\":\"n1\"}", NULL), 0);
	assert_int_equal(g_hash_table_size(sup->changed_settings), 1); /* the one that is over */
}

/* --- carriers ------------------------------------------------------------------------------------------------------- */

static void machine_nothing(struct machine *m, void *data)
{
}

/* n1 runs, under an engine of ours. */
static struct machine *run_n1(struct fixture *f)
{
	static const struct machine_ops machine_ops = { .changed = machine_nothing };
	struct machine *m = machine_new("n1", vm_paths_new(f->sup.paths, "n1", 0), &machine_ops, f);

	m->vm = fake_engine_vm(&f->fake);
	g_hash_table_insert(f->sup.machines, m->name, m);
	return m;
}

/* What QEMU has been told about links since the last time. */
#define assert_shown(f, expected)                         \
	do {                                              \
		link_show_carriers(&(f)->sup);            \
		assert_engine_told(&(f)->fake, expected); \
	} while (0)

static void set_state(struct fixture *f, const char *state)
{
	struct daemon_item *item = daemon_find_item(the_switch(f), "n1.0");

	g_free(item->state);
	item->state = g_strdup(state);
}

/* The guest sees what the switch says, whoever took the link down: a client, or an impairment that flaps. */
static void test_carrier_follows_the_switch(void **state)
{
	struct fixture *f = *state;
	struct daemon_item *item = daemon_find_item(the_switch(f), "n1.0");

	run_n1(f);
	assert_shown(f, "");
	item->link_down = true;
	assert_shown(f, ""); /* QEMU has no daemon, and shows none by itself */
	set_state(f, "running");
	assert_shown(f, "link:0:off ");
	assert_shown(f, "");
	item->link_down = false;
	assert_shown(f, "link:0:on ");
	item->link_down = true;
	assert_shown(f, "link:0:off ");
	assert_shown(f, "");
}

/* QEMU's own end of a lost daemon: when it has connected again it shows a carrier, whatever it was told. */
static void test_carrier_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct daemon_item *item = daemon_find_item(the_switch(f), "n1.0");
	struct machine *m = run_n1(f);
	struct state_port port = { .name = (char *)(uintptr_t) "n1.0" };
	bool up = false;

	g_ptr_array_add(m->ports, &port);
	g_array_append_val(m->port_up, up);
	set_state(f, "running");
	item->link_down = true;
	assert_shown(f, "link:0:off ");
	machine_port_changed(m, "n1.0", false);
	set_state(f, "listening");
	assert_shown(f, "");
	set_state(f, "running");
	machine_port_changed(m, "n1.0", true);
	assert_shown(f, "link:0:off ");
	g_ptr_array_set_size(m->ports, 0);
}

/* A supervisor that takes over does not know what QEMU was told: it tells it once. */
static void test_carrier_taken_over(void **state)
{
	struct fixture *f = *state;
	struct machine *m = run_n1(f);

	set_state(f, "running");
	m->links_unknown = UINT32_MAX;
	assert_shown(f, "link:0:on ");
	assert_shown(f, "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_told_once),
		TEST(test_another_file),
		TEST(test_waits_for_its_port),
		TEST(test_refused),
		TEST(test_unanswered),
		TEST(test_taken_over),
		TEST(test_started_again),
		TEST(test_started_bare),
		TEST(test_started_again_with_changes),
		TEST(test_set_and_reset),
		TEST(test_wrong),
		TEST(test_refused_change),
		TEST(test_dies_before_it_answers),
		TEST(test_forwards),
		TEST(test_changes_are_kept),
		TEST(test_carrier_follows_the_switch),
		TEST(test_carrier_after_a_restart),
		TEST(test_carrier_taken_over),
	};

	return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
