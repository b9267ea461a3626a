/* SPDX-License-Identifier: MIT */
#include "run/agent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib-unix.h>

#include "agent/client/session.h"
#include "model/lab.h"
#include "run/json.h"
#include "run/logfile.h"
#include "run/watch.h"

#define VERSION_MAX 40 /* characters of the guest's words */
#define WORDS_MAX   300

struct vm_agent {
	char *path;
	int fd;
	guint source;
	struct json_object *config;
	GPtrArray *
		probes; /* of struct json_object: WAIT's body, with "interval-ms", "name" and "hint" beside */
	GPtrArray *distros; /* of struct json_object: MOUNT's body */
	const struct vm_agent_ops *ops;
	void *data;

	struct agent_session *session;   /* it has said HELLO */
	struct agent_session *candidate; /* it has not */
	enum vm_agent_state state;
	char *words;
	char *version;
	bool guest_ready;  /* EVENT ready since HELLO */
	unsigned n_asked;  /* CONFIG and MOUNTs without an answer */
	unsigned n_passed; /* probes that hold */
	guint probe_timer;
	void (*refused)(void *data); /* SHUTDOWN is under way */
	void *refused_data;
};

const char *vm_agent_state_word(enum vm_agent_state state)
{
	static const char *const words[] = {
		[VM_AGENT_ABSENT] = "absent",   [VM_AGENT_CONFIGURING] = "configuring",
		[VM_AGENT_PROBING] = "probing", [VM_AGENT_READY] = "ready",
		[VM_AGENT_FAILED] = "failed",
	};

	return words[state];
}

/* Takes the words, NULL for none. */
static void set_state(struct vm_agent *a, enum vm_agent_state state, char *words)
{
	bool same = a->state == state && g_strcmp0(a->words, words) == 0;

	a->state = state;
	g_free(a->words);
	a->words = words;
	if (!same)
		a->ops->changed(a->data);
}

/* The first thing that went wrong is the cause of the others. */
static void fail(struct vm_agent *a, const char *text)
{
	if (a->state != VM_AGENT_FAILED)
		set_state(a, VM_AGENT_FAILED, logfile_clean(text, -1, WORDS_MAX));
}

/* --- probes ------------------------------------------------------------------------------------------------ */

/* again: it has failed before, and its words say how. */
static void next_probe(struct vm_agent *a, bool again);

static gboolean probe_again(gpointer p)
{
	struct vm_agent *a = p;

	a->probe_timer = 0;
	next_probe(a, true);
	return G_SOURCE_REMOVE;
}

/* error: of its last attempt, NULL before the first.  g_free(). */
static char *probe_words(struct json_object *probe, const GError *error)
{
	const char *hint = json_str(probe, "hint");

	return g_strdup_printf("probe %s%s%s%s%s%s", json_str(probe, "name"), error ? ": " : "",
			       error ? error->message : "", hint ? " (hint: " : "",
			       hint ? hint : "", hint ? ")" : "");
}

static void on_probe(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct vm_agent *a = data;
	struct json_object *probe;

	if (a->state != VM_AGENT_PROBING)
		return;
	if (!error) {
		a->n_passed++;
		next_probe(a, false);
		return;
	}
	probe = a->probes->pdata[a->n_passed];
	set_state(a, VM_AGENT_PROBING, probe_words(probe, error));
	if (a->session)
		a->probe_timer =
			g_timeout_add((guint)json_int(probe, "interval-ms", 0), probe_again, a);
}

static void next_probe(struct vm_agent *a, bool again)
{
	struct json_object *probe, *body;

	if (a->n_passed == a->probes->len) {
		set_state(a, VM_AGENT_READY, NULL);
		return;
	}
	probe = a->probes->pdata[a->n_passed];
	if (!again)
		set_state(a, VM_AGENT_PROBING, probe_words(probe, NULL));
	body = json_object_get(json_member(probe, "wait", json_type_object));
	agent_session_request(a->session, AGENT_WAIT, body, 2, on_probe, a);
}

static struct json_object *probe_to_json(const struct probe *probe)
{
	struct json_object *o = json_object_new_object(), *wait = json_object_new_object(), *argv;

	switch (probe->kind) {
	case PROBE_PORT:
		json_put_int(wait, "port", probe->port);
		break;
	case PROBE_FILE:
		json_put_str(wait, "file", probe->text);
		break;
	case PROBE_COMMAND:
		argv = json_object_new_array();
		json_object_array_add(argv, json_object_new_string("/bin/sh"));
		json_object_array_add(argv, json_object_new_string("-c"));
		json_object_array_add(argv, json_object_new_string(probe->text));
		json_object_object_add(wait, "command", argv);
		break;
	}
	json_put_int(wait, "timeout-ms", probe->timeout_ms);
	json_put_str(o, "name", probe->name);
	json_put_str(o, "hint", probe->hint);
	json_put_int(o, "interval-ms", probe->interval_ms);
	json_object_object_add(o, "wait", wait);
	return o;
}

/* --- what the guest is to be ------------------------------------------------------------------------------ */

static void look(struct vm_agent *a)
{
	if (a->state != VM_AGENT_CONFIGURING || a->n_asked > 0 || !a->guest_ready)
		return;
	a->n_passed = 0;
	next_probe(a, false);
}

static void on_config(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct vm_agent *a = data;
	struct json_object *failed = json_member(body, "failed", json_type_array);
	struct json_object *first = failed ? json_object_array_get_idx(failed, 0) : NULL;

	a->n_asked--;
	if (!a->session)
		return;
	if (error)
		fail(a, error->message);
	else if (json_object_is_type(first, json_type_string))
		fail(a, json_object_get_string(first));
	look(a);
}

static void on_mount(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct vm_agent *a = data;
	g_autofree char *text = error ? g_strdup_printf("distribution: %s", error->message) : NULL;

	a->n_asked--;
	/* A distribution that is mounted already stays so: the agent called again. */
	if (a->session && error && !g_error_matches(error, AGENT_REFUSAL, AGENT_ERROR_EXISTS))
		fail(a, text);
	if (a->session)
		look(a);
}

static struct json_object *clock_now(void)
{
	struct json_object *clock = json_object_new_object();

	json_put_int(clock, "realtime-ns", g_get_real_time() * 1000);
	return clock;
}

static void configure(struct vm_agent *a)
{
	struct json_object *config = NULL;

	(void)json_object_deep_copy(a->config, &config, NULL);
	json_object_object_add(config, "clock", clock_now());
	a->n_asked++;
	agent_session_request(a->session, AGENT_CONFIG, config, 2, on_config, a);
	for (guint i = 0; i < a->distros->len; i++) {
		a->n_asked++;
		agent_session_request(a->session, AGENT_MOUNT,
				      json_object_get(a->distros->pdata[i]), 2, on_mount, a);
	}
}

static struct json_object *distro_to_json(const struct distro *distro)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "serial", distro->name);
	json_put_str(o, "distro", distro->name);
	json_put_bool(o, "readonly", distro->readonly);
	return o;
}

/* --- the connection --------------------------------------------------------------------------------------- */

static void end_session(struct vm_agent *a)
{
	g_clear_handle_id(&a->probe_timer, g_source_remove);
	g_clear_pointer(&a->session, agent_session_free);
	a->n_asked = 0;
	a->guest_ready = false;
	a->refused = NULL;
}

static void on_hello(struct agent_session *s, struct json_object *body, void *data)
{
	struct vm_agent *a = data;
	const char *version = json_str(body, "agent");

	end_session(a);
	a->session = s;
	a->candidate = NULL;
	g_free(a->version);
	a->version = logfile_clean(version ? version : "unknown", -1, VERSION_MAX);
	set_state(a, VM_AGENT_CONFIGURING, NULL);
	configure(a);
}

static void on_notice(struct agent_session *s, uint32_t type, struct json_object *body, void *data)
{
	struct vm_agent *a = data;
	const char *event = json_str(body, "event"), *text = json_str(body, "text");

	if (type != AGENT_EVENT || !event)
		return;
	if (strcmp(event, agent_event_word(AGENT_EVENT_READY)) == 0) {
		a->guest_ready = true;
		look(a);
	} else if (strcmp(event, agent_event_word(AGENT_EVENT_FAILED)) == 0) {
		/* Of what it is after it has become ready `exec` will tell. */
		if (a->state == VM_AGENT_CONFIGURING)
			fail(a, text ? text : "something, and it did not say what");
	}
}

static void on_closed(const GError *error, void *data)
{
	struct vm_agent *a = data;
	void (*refused)(void *) = a->refused;

	if (a->session && agent_session_error(a->session)) {
		end_session(a);
		/* What it could not do stays true until it says something else. */
		if (a->state != VM_AGENT_FAILED)
			set_state(a, VM_AGENT_ABSENT, NULL);
		if (refused)
			refused(a->refused_data);
	}
	if (a->candidate && agent_session_error(a->candidate))
		g_clear_pointer(&a->candidate, agent_session_free);
}

static const struct agent_session_events events = {
	.hello = on_hello,
	.notice = on_notice,
	.closed = on_closed,
};

static gboolean on_call(gint fd, GIOCondition condition, gpointer data)
{
	struct vm_agent *a = data;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (client < 0)
		return G_SOURCE_CONTINUE;
	/* The newest is the one that lives: a guest that rebooted leaves the old one hanging. */
	agent_session_free(a->candidate);
	a->candidate = agent_session_accept(client, &events, a);
	return G_SOURCE_CONTINUE;
}

/* --- the whole -------------------------------------------------------------------------------------------- */

static void json_free(void *o)
{
	json_object_put(o);
}

struct vm_agent *vm_agent_new(const char *path, struct json_object *config, const GPtrArray *probes,
			      const GPtrArray *distros, const struct vm_agent_ops *ops, void *data,
			      GError **error)
{
	auto_json taken = config;
	int fd = listen_now(path, error);
	struct vm_agent *a;

	if (fd < 0)
		return NULL;
	a = g_new0(struct vm_agent, 1);
	a->path = g_strdup(path);
	a->fd = fd;
	a->config = json_object_get(taken);
	a->ops = ops;
	a->data = data;
	a->probes = g_ptr_array_new_with_free_func(json_free);
	a->distros = g_ptr_array_new_with_free_func(json_free);
	for (guint i = 0; i < probes->len; i++)
		g_ptr_array_add(a->probes, probe_to_json(probes->pdata[i]));
	for (guint i = 0; i < distros->len; i++)
		g_ptr_array_add(a->distros, distro_to_json(distros->pdata[i]));
	a->source = g_unix_fd_add(fd, G_IO_IN, on_call, a);
	return a;
}

void vm_agent_free(struct vm_agent *a)
{
	if (!a)
		return;
	end_session(a);
	agent_session_free(a->candidate);
	g_source_remove(a->source);
	close(a->fd);
	(void)unlink(a->path);
	json_object_put(a->config);
	g_ptr_array_unref(a->probes);
	g_ptr_array_unref(a->distros);
	g_free(a->path);
	g_free(a->words);
	g_free(a->version);
	g_free(a);
}

enum vm_agent_state vm_agent_state(const struct vm_agent *a)
{
	return a->state;
}

bool vm_agent_seen(const struct vm_agent *a)
{
	return a->version != NULL;
}

bool vm_agent_has_probes(const struct vm_agent *a)
{
	return a->probes->len > 0;
}

const char *vm_agent_words(const struct vm_agent *a)
{
	return a->words ? a->words : "";
}

const char *vm_agent_version(const struct vm_agent *a)
{
	return a->version;
}

static void on_shutdown(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct vm_agent *a = data;
	void (*refused)(void *) = a->refused;

	a->refused = NULL;
	if (error && refused)
		refused(a->refused_data);
}

bool vm_agent_shutdown(struct vm_agent *a, unsigned grace_ms, void (*refused)(void *data),
		       void *data)
{
	struct json_object *body;

	if (!a->session || !agent_session_can(a->session, AGENT_CAPABILITY_SHUTDOWN))
		return false;
	body = json_object_new_object();
	json_put_str(body, "how", "poweroff");
	json_put_int(body, "grace-ms", grace_ms);
	a->refused = refused;
	a->refused_data = data;
	agent_session_request(a->session, AGENT_SHUTDOWN, body, 2, on_shutdown, a);
	return true;
}
