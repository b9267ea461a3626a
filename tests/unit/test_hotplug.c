/* SPDX-License-Identifier: MIT */
/* Plugging in and taking out, before a QEMU that is played: it knows what it has, what that stands on, and when a real one would
 * have died. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>
#include <glib-unix.h>

#include "err.h"
#include "golden.h"
#include "run/hotplug.h"
#include "run/json.h"

#define PATH "/run/web.qmp"

/* What goes wrong with the command of that number, counted over those that change something; 0: nothing does. */
enum fault { REFUSED, CLOSED, SILENT, FAULTS };

struct qemu {
	int fd; /* -1: it has closed */
	guint source;
	GString *in;
	struct json_object *facts;
	GHashTable *there; /* id -> the id that it stands on, "" for none */
	GHashTable *devices;
	GString *said; /* "device_add vl.web.nic0\n" for each command that changes something */
	unsigned n, fault_at;
	enum fault fault;
	unsigned deaf;   /* so many orders to let go pass the guest by */
	bool refuses;    /* the guest says no */
	bool at_once;    /* DEVICE_DELETED comes before the answer */
	bool in_process; /* a second order is an error, as while the first is under way */
	bool lonely;     /* chardevs do not connect */
	unsigned connects_after;
	const char *greeting, *status;
	bool died;
};

struct fixture {
	struct qemu q;
	struct hotplug *h;
	bool done;
	char *error; /* what done() was told */
};

/* --- the QEMU ------------------------------------------------------------------------------------------------------ */

static void say(struct qemu *q, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void say(struct qemu *q, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	if (q->fd >= 0)
		assert_int_equal(write(q->fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void answer(struct qemu *q, const char *result)
{
	say(q, "{\"return\": %s}\r\n", result);
}

static void refuse(struct qemu *q, const char *text)
{
	say(q, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"%s\"}}\r\n", text);
}

static void hang_up(struct qemu *q)
{
	if (q->fd < 0)
		return;
	g_clear_handle_id(&q->source, g_source_remove);
	close(q->fd);
	q->fd = -1;
}

static bool is_used(const struct qemu *q, const char *id)
{
	GHashTableIter iter;
	gpointer below;

	g_hash_table_iter_init(&iter, q->there);
	while (g_hash_table_iter_next(&iter, NULL, &below))
		if (strcmp(below, id) == 0)
			return true;
	return false;
}

static void make(struct qemu *q, const char *id, const char *below, bool device)
{
	assert_false(g_hash_table_contains(q->there, id));
	assert_true(!*below || g_hash_table_contains(q->there, below));
	g_hash_table_insert(q->there, g_strdup(id), g_strdup(below));
	if (device)
		g_hash_table_add(q->devices, g_strdup(id));
	answer(q, "{}");
}

/* The netdev takes its chardev with it. */
static void unmake(struct qemu *q, const char *id)
{
	g_autofree char *below = NULL;

	if (!g_hash_table_contains(q->there, id)) {
		refuse(q, "Device 'it' not found");
		return;
	}
	/* QEMU 7.2 aborts when a netdev goes under its device. */
	q->died |= is_used(q, id);
	below = g_strdup(g_hash_table_lookup(q->there, id));
	g_hash_table_remove(q->there, id);
	if (g_str_has_suffix(id, ".netdev"))
		g_hash_table_remove(q->there, below);
	answer(q, "{}");
}

static void let_go(struct qemu *q, const char *id)
{
	g_hash_table_remove(q->there, id);
	g_hash_table_remove(q->devices, id);
	say(q, "{\"event\": \"DEVICE_DELETED\", \"data\": {\"path\": \"/machine/x\"}}\r\n");
	say(q,
	    "{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"%s\", \"path\": \"/y\"}}\r\n",
	    id);
}

static void unplug(struct qemu *q, const char *id)
{
	if (!g_hash_table_contains(q->devices, id)) {
		refuse(q, "Device 'it' not found");
		return;
	}
	if (q->at_once)
		let_go(q, id);
	if (q->in_process && q->deaf == 0)
		refuse(q, "Device it is already in the process of unplug");
	else
		answer(q, "{}");
	if (q->refuses)
		say(q,
		    "{\"event\": \"DEVICE_UNPLUG_GUEST_ERROR\", \"data\": {\"device\": \"%s\"}}\r\n",
		    id);
	else if (q->deaf > 0)
		q->deaf--;
	else if (!q->at_once)
		let_go(q, id);
}

static void list_chardevs(struct qemu *q)
{
	g_autoptr(GString) list = g_string_new(NULL);
	bool connected = !q->lonely && (q->connects_after == 0 || --q->connects_after == 0);
	GHashTableIter iter;
	gpointer id;

	g_hash_table_iter_init(&iter, q->there);
	while (g_hash_table_iter_next(&iter, &id, NULL))
		if (g_str_has_suffix(id, ".chardev"))
			g_string_append_printf(list,
					       "%s{\"label\": \"%s\", \"filename\": \"%sunix:/x\"}",
					       list->len ? ", " : "", (char *)id,
					       connected ? "" : "disconnected:");
	say(q, "{\"return\": [%s]}\r\n", list->str);
}

/* A question of hotplug_check.h. */
static void tell_fact(struct qemu *q, const char *command, struct json_object *arguments)
{
	for (size_t i = 0; i < HOTPLUG_QUESTIONS; i++) {
		const struct hotplug_question *w = &hotplug_questions[i];
		struct json_object *fact;

		if (strcmp(w->command, command) != 0 ||
		    g_strcmp0(w->property, json_str(arguments, "property")) != 0)
			continue;
		if (json_object_object_get_ex(q->facts, w->key, &fact))
			answer(q, json_object_to_json_string(fact));
		else
			refuse(q, "no such thing");
		return;
	}
	fail_msg("%s is nothing that this QEMU knows", command);
}

static const char *below_of(struct json_object *arguments)
{
	static const char *const keys[] = { "chardev", "netdev", "memdev" };

	for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
		if (json_str(arguments, keys[i]))
			return json_str(arguments, keys[i]);
	return "";
}

/* What a device lives on connects again when its daemon is another one. */
static void check_chardev(struct json_object *arguments)
{
	struct json_object *backend = json_member(arguments, "backend", json_type_object);
	struct json_object *data = json_member(backend, "data", json_type_object);

	assert_int_equal(json_int(data, "reconnect", -1), 1);
	assert_false(json_flag(data, "server", true));
}

static void change(struct qemu *q, const char *command, struct json_object *arguments)
{
	const char *id = json_str(arguments, "id");

	if (strcmp(command, "chardev-add") == 0)
		check_chardev(arguments);

	g_string_append_printf(q->said, "%s %s\n", command, id);
	if (++q->n == q->fault_at && q->fault == CLOSED)
		hang_up(q);
	else if (q->n == q->fault_at && q->fault == REFUSED)
		refuse(q, "not that");
	else if (q->n == q->fault_at)
		return;
	else if (strcmp(command, "device_del") == 0)
		unplug(q, id);
	else if (g_str_has_suffix(command, "_del") || g_str_has_suffix(command, "-del") ||
		 g_str_has_suffix(command, "-remove"))
		unmake(q, id);
	else
		make(q, id, below_of(arguments), strcmp(command, "device_add") == 0);
}

static void set_link(struct qemu *q, const char *id, bool up)
{
	g_string_append_printf(q->said, "set_link %s %s\n", id, up ? "up" : "down");
	if (g_hash_table_contains(q->devices, id))
		answer(q, "{}");
	else
		refuse(q, "Device 'it' not found");
}

static void obey(struct qemu *q, struct json_object *o)
{
	static const char *const changes[] = { "chardev-add", "chardev-remove", "netdev_add",
					       "netdev_del",  "object-add",     "object-del",
					       "device_add",  "device_del",     NULL };
	const char *command = json_str(o, "execute");
	struct json_object *arguments = json_member(o, "arguments", json_type_object);

	if (g_strv_contains(changes, command))
		change(q, command, arguments);
	else if (strcmp(command, "qmp_capabilities") == 0)
		answer(q, "{}");
	else if (strcmp(command, "query-status") == 0)
		say(q, "{\"return\": {\"status\": \"%s\"}}\r\n", q->status);
	else if (strcmp(command, "query-chardev") == 0)
		list_chardevs(q);
	else if (strcmp(command, "stop") == 0 || strcmp(command, "cont") == 0)
		g_string_append_printf(q->said, "%s\n", command), answer(q, "{}");
	else if (strcmp(command, "set_link") == 0)
		set_link(q, json_str(arguments, "name"), json_flag(arguments, "up", true));
	else
		tell_fact(q, command, arguments);
}

static gboolean on_input(gint fd, GIOCondition condition, gpointer p)
{
	struct qemu *q = p;
	char text[4096], *newline;
	ssize_t n = read(fd, text, sizeof(text));

	if (n <= 0) {
		q->source = 0;
		return G_SOURCE_REMOVE;
	}
	g_string_append_len(q->in, text, n);
	while (q->fd >= 0 && (newline = strchr(q->in->str, '\n'))) {
		auto_json o = NULL;

		*newline = '\0';
		o = json_tokener_parse(q->in->str);
		g_string_erase(q->in, 0, newline + 1 - q->in->str);
		obey(q, o);
	}
	return q->fd >= 0 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* --- a transaction -------------------------------------------------------------------------------------------------- */

static void connect_to(struct fixture *f)
{
	int pair[2];

	hotplug_free(f->h);
	hang_up(&f->q);
	g_string_truncate(f->q.in, 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->q.fd = pair[1];
	f->q.source = g_unix_fd_add(pair[1], G_IO_IN | G_IO_HUP, on_input, &f->q);
	f->h = hotplug_new(pair[0], PATH);
	say(&f->q, "%s", f->q.greeting);
}

static void done(const GError *error, void *data)
{
	struct fixture *f = data;

	assert_false(f->done);
	f->done = true;
	g_free(f->error);
	f->error = g_strdup(error ? error->message : NULL);
}

static void run(struct fixture *f)
{
	assert_false(f->done); /* never out of a call */
	while (!f->done)
		g_main_context_iteration(NULL, TRUE);
	f->done = false;
}

static void ask(struct fixture *f)
{
	hotplug_ask(f->h, done, f);
	run(f);
}

static void add_all(struct fixture *f)
{
	ask(f);
	assert_null(f->error);
	hotplug_add_nic(f->h, "nic", "/run/nic.vu", "52:54:00:00:00:01", 1400);
	hotplug_add_vsock(f->h, "sock", "/run/s.vu");
	hotplug_add_ivshmem(f->h, "mem", "/run/p.arena", 64 << 20);
	hotplug_add_served(f->h, "served", "/run/d.vu", 10 << 20);
	hotplug_add_pmem(f->h, "pmem", "/run/p.arena", 64 << 20);
}

static void plug(struct fixture *f)
{
	hotplug_plug(f->h, done, f);
	run(f);
}

static void unplug_list(struct fixture *f, struct json_object *steps)
{
	hotplug_unplug(f->h, steps, hotplug_patience.deleted, done, f);
	run(f);
}

#define ALL_STEPS                                                                            \
	"chardev-add nic.chardev\nnetdev_add nic.netdev\ndevice_add nic\n"                   \
	"chardev-add sock.chardev\ndevice_add sock\nobject-add mem.memory\ndevice_add mem\n" \
	"chardev-add served.chardev\ndevice_add served\n"                                    \
	"object-add pmem.memory\ndevice_add pmem\n"
#define N_STEPS 11

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);
	g_autofree char *text = source_text("tests/unit/golden/hotplug/7.2.json");

	/* Sixteen ports in place of two: the slots of the machine "pc". */
	g_autofree char *pc = source_text("tests/unit/golden/hotplug/7.2-pc.json");
	auto_json ports = json_tokener_parse(pc);

	hotplug_patience = (struct hotplug_patience){
		.greeting = 200,
		.answer = 200,
		.connected = 200,
		.look = 5,
		.deleted = 200,
		.again = 20,
	};
	f->q.fd = -1;
	f->q.in = g_string_new(NULL);
	f->q.said = g_string_new(NULL);
	f->q.facts = json_tokener_parse(text);
	json_object_object_add(f->q.facts, "pci",
			       json_object_get(json_member(ports, "pci", json_type_array)));
	f->q.there = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	f->q.devices = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	f->q.greeting = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";
	f->q.status = "running";
	connect_to(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_false(f->q.died);
	hotplug_free(f->h);
	hang_up(&f->q);
	g_string_free(f->q.in, TRUE);
	g_string_free(f->q.said, TRUE);
	json_object_put(f->q.facts);
	g_hash_table_unref(f->q.there);
	g_hash_table_unref(f->q.devices);
	g_free(f->error);
	g_free(f);
	return 0;
}

static void assert_error(struct fixture *f, const char *part)
{
	if (!f->error || !strstr(f->error, part))
		fail_msg("\"%s\" does not say \"%s\"", f->error, part);
}

/* --- cases ---------------------------------------------------------------------------------------------------------- */

static void test_all(void **state)
{
	struct fixture *f = *state;
	auto_json steps = NULL;
	auto_json left = NULL;

	add_all(f);
	steps = hotplug_steps(f->h);
	plug(f);
	assert_null(f->error);
	assert_string_equal(f->q.said->str, ALL_STEPS);
	assert_int_equal(g_hash_table_size(f->q.devices), 5);

	/* By another monitor, from what was written down; what cannot be taken out is not tried. */
	connect_to(f);
	g_string_truncate(f->q.said, 0);
	unplug_list(f, steps);
	assert_null(f->error);
	assert_string_equal(f->q.said->str,
			    "device_del served\nchardev-remove served.chardev\n"
			    "device_del mem\nobject-del mem.memory\ndevice_del sock\n"
			    "chardev-remove sock.chardev\ndevice_del nic\nnetdev_del nic.netdev\n"
			    "chardev-remove nic.chardev\n");
	assert_int_equal(g_hash_table_size(f->q.there), 2);
	left = hotplug_left(f->h);
	assert_null(left);

	/* Once more: nothing of it is there, which is as good. */
	unplug_list(f, steps);
	assert_null(f->error);
}

/* What each device is told. */
static void test_arguments(void **state)
{
	struct fixture *f = *state;
	auto_json o = NULL;
	struct json_object *steps;

	ask(f);
	assert_int_equal(hotplug_facts(f->h)->version, 702);
	hotplug_add_vsock(f->h, "sock", "/run/s.vu");
	steps = hotplug_steps(f->h);
	o = steps;
	assert_string_equal(json_object_to_json_string_ext(steps, JSON_C_TO_STRING_PLAIN),
			    "[{\"kind\":\"chardev\",\"id\":\"sock.chardev\",\"part\":1},"
			    "{\"kind\":\"device\",\"id\":\"sock\",\"part\":1}]");
}

/* Whatever step fails: what was done is undone, last first, and nothing else is touched. */
static void test_refused(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 1; i <= N_STEPS; i++) {
		g_auto(GStrv) forth = g_strsplit(ALL_STEPS, "\n", -1);
		auto_json left = NULL;
		char *failed;

		connect_to(f);
		g_string_truncate(f->q.said, 0);
		f->q.n = 0;
		f->q.fault_at = i;
		add_all(f);
		plug(f);
		assert_string_equal(f->error, "QEMU: not that");
		/* The first words are those of the steps up to the one that failed … */
		failed = strstr(f->q.said->str, forth[i - 1]);
		assert_non_null(failed);
		assert_int_equal(failed - f->q.said->str,
				 strstr(ALL_STEPS, forth[i - 1]) - ALL_STEPS);
		/* … and what follows undoes each of those before it. */
		assert_int_equal(f->q.n, i + (i - 1));
		assert_int_equal(g_hash_table_size(f->q.there), 0);
		left = hotplug_left(f->h);
		assert_null(left);
		f->q.fault_at = 0;
	}
}

/* The monitor closes, or QEMU hangs, in any step: all that may be there is remembered, and taken out by another monitor. */
static void test_lost(void **state)
{
	struct fixture *f = *state;

	for (unsigned kind = CLOSED; kind <= SILENT; kind++) {
		for (unsigned i = 1; i <= N_STEPS; i++) {
			auto_json left = NULL;

			connect_to(f);
			f->q.n = 0;
			f->q.fault_at = i;
			f->q.fault = (enum fault)kind;
			add_all(f);
			plug(f);
			assert_error(f, kind == CLOSED ? "the monitor " PATH " has closed" :
							 "does not answer");
			f->q.fault_at = 0;
			left = hotplug_left(f->h);
			assert_true(left || i >= N_STEPS - 1);
			connect_to(f);
			unplug_list(f, left);
			assert_null(f->error);
			/* Of pmem nothing can be taken out, so nothing is tried. */
			assert_true(g_hash_table_size(f->q.there) <= (i == N_STEPS ? 1u : 0u));
			g_hash_table_remove_all(f->q.there);
			g_hash_table_remove_all(f->q.devices);
		}
	}
}

static void plug_nic(struct fixture *f)
{
	ask(f);
	hotplug_add_nic(f->h, "nic", "/run/nic.vu", "52:54:00:00:00:01", 0);
	plug(f);
}

static struct json_object *nic_steps(void)
{
	return json_tokener_parse("[{\"kind\":\"chardev\",\"id\":\"nic.chardev\",\"part\":1},"
				  "{\"kind\":\"netdev\",\"id\":\"nic.netdev\",\"part\":1},"
				  "{\"kind\":\"device\",\"id\":\"nic\",\"part\":1},"
				  "{\"kind\":\"chardev\",\"id\":\"sock.chardev\",\"part\":2}]");
}

/* What is below a device that the guest keeps is not touched; other parts go nonetheless. */
static void test_kept(void **state)
{
	struct fixture *f = *state;
	auto_json steps = nic_steps();
	auto_json left = NULL;

	plug_nic(f);
	assert_null(f->error);
	g_hash_table_insert(f->q.there, g_strdup("sock.chardev"), g_strdup(""));
	f->q.deaf = G_MAXUINT;
	g_string_truncate(f->q.said, 0);
	unplug_list(f, steps);
	assert_error(f, "device nic stays in QEMU: the guest has not let go of it");
	assert_true(g_str_has_prefix(
		f->q.said->str, "chardev-remove sock.chardev\ndevice_del nic\ndevice_del nic\n"));
	assert_null(strstr(f->q.said->str, "netdev_del"));
	left = hotplug_left(f->h);
	assert_int_equal(json_object_array_length(left), 3);

	f->q.deaf = 0;
	unplug_list(f, left);
	assert_null(f->error);
	assert_int_equal(g_hash_table_size(f->q.there), 0);
}

/* The guest hears the third order only; while one is under way another is an error, which does not matter. */
static void test_late(void **state)
{
	struct fixture *f = *state;
	auto_json steps = nic_steps();

	plug_nic(f);
	f->q.deaf = 2;
	f->q.in_process = true;
	unplug_list(f, steps);
	assert_null(f->error);
	assert_int_equal(g_hash_table_size(f->q.there), 0);
}

static void test_at_once(void **state)
{
	struct fixture *f = *state;
	auto_json steps = nic_steps();

	plug_nic(f);
	f->q.at_once = true;
	unplug_list(f, steps);
	assert_null(f->error);
	assert_int_equal(g_hash_table_size(f->q.there), 0);
}

static void test_guest_says_no(void **state)
{
	struct fixture *f = *state;
	auto_json steps = nic_steps();

	plug_nic(f);
	f->q.refuses = true;
	unplug_list(f, steps);
	assert_error(f, "the guest refuses to let it go");
	assert_int_equal(g_hash_table_size(f->q.there), 3);
}

/* A netdev on a chardev that is not connected would stop QEMU: it is waited for, but not for ever. */
static void test_connecting(void **state)
{
	struct fixture *f = *state;

	f->q.connects_after = 4;
	plug_nic(f);
	assert_null(f->error);
	assert_true(g_hash_table_contains(f->q.devices, "nic"));

	g_hash_table_remove_all(f->q.there);
	g_hash_table_remove_all(f->q.devices);
	g_string_truncate(f->q.said, 0);
	connect_to(f);
	f->q.lonely = true;
	plug_nic(f);
	assert_error(f, "QEMU cannot connect to the lab's socket");
	assert_string_equal(f->q.said->str,
			    "chardev-add nic.chardev\nchardev-remove nic.chardev\n");
	assert_int_equal(g_hash_table_size(f->q.there), 0);
}

/* Held by somebody else, of another kind, gone at once. */
static void test_no_monitor(void **state)
{
	struct fixture *f = *state;

	f->q.greeting = "";
	connect_to(f);
	ask(f);
	assert_error(f, PATH " says nothing: somebody else holds this monitor");
	assert_null(hotplug_facts(f->h));

	f->q.greeting = "QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ";
	connect_to(f);
	ask(f);
	assert_error(f, PATH " is no QEMU monitor");

	f->q.greeting = "";
	connect_to(f);
	hang_up(&f->q);
	ask(f);
	assert_error(f, PATH " is no QEMU monitor");

	f->q.greeting = "{\"QMP\": {}}\r\n";
	connect_to(f);
	hotplug_ask(f->h, done, f);
	while (g_main_context_iteration(NULL, FALSE) && !f->done)
		;
	assert_true(f->done);
	assert_null(f->error);
}

static void test_refresh(void **state)
{
	struct fixture *f = *state;

	hotplug_refresh(f->h, done, f);
	run(f);
	assert_null(f->error);
	assert_string_equal(f->q.said->str, "stop\ncont\n");
	/* One that its owner has stopped stays so. */
	g_string_truncate(f->q.said, 0);
	f->q.status = "paused";
	connect_to(f);
	hotplug_refresh(f->h, done, f);
	run(f);
	assert_null(f->error);
	assert_string_equal(f->q.said->str, "");
}

static void test_carrier(void **state)
{
	struct fixture *f = *state;

	add_all(f);
	hotplug_plug(f->h, done, f);
	run(f);
	g_string_truncate(f->q.said, 0);
	hotplug_set_link(f->h, "nic", false, done, f);
	run(f);
	assert_null(f->error);
	hotplug_set_link(f->h, "nic", true, done, f);
	run(f);
	assert_null(f->error);
	assert_string_equal(f->q.said->str, "set_link nic down\nset_link nic up\n");
	/* Its owner has taken it out. */
	hotplug_set_link(f->h, "other", false, done, f);
	run(f);
	assert_non_null(strstr(f->error, "Device 'it' not found"));
	hang_up(&f->q);
	hotplug_set_link(f->h, "nic", false, done, f);
	run(f);
	assert_non_null(strstr(f->error, "has closed"));
}

/* Given up in the middle of anything: nothing comes any more. */
static void test_freed(void **state)
{
	struct fixture *f = *state;

	add_all(f);
	f->q.lonely = true;
	hotplug_plug(f->h, done, f);
	for (unsigned i = 0; i < 20; i++)
		g_main_context_iteration(NULL, TRUE);
	g_clear_pointer(&f->h, hotplug_free);
	while (g_main_context_iteration(NULL, FALSE))
		;
	assert_false(f->done);
	hotplug_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late, setup, teardown),
		cmocka_unit_test_setup_teardown(test_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guest_says_no, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connecting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_monitor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refresh, setup, teardown),
		cmocka_unit_test_setup_teardown(test_carrier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_freed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
