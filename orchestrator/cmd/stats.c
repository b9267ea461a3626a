/* SPDX-License-Identifier: MIT */
/* orchestrator stats: what the switches count. */
#include "cmd.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <glib-unix.h>

#include "cmd/switches.h"
#include "err.h"
#include "model/lab.h"
#include "out.h"
#include "run/json.h"

#define WATCH_MS 1000

static char *opt_lab;
static gboolean opt_json, opt_watch, opt_metrics;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "watch", 'w', 0, G_OPTION_ARG_NONE, &opt_watch,
	  "Print it again every second, with what came since, until Ctrl-C", NULL },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json,
	  "Print JSON: one document, with --watch one a line", NULL },
	{ "openmetrics", 0, 0, G_OPTION_ARG_NONE, &opt_metrics,
	  "Print OpenMetrics text, as monitoring systems read it", NULL },
	G_OPTION_ENTRY_NULL,
};

/* What is asked about: one link, one network, or all. */
struct subject {
	const struct links_of *l;
	const struct network *network; /* NULL: all */
	const char *port;              /* NULL: all */
};

static gboolean find_subject(const struct links_of *l, const char *word, struct subject *ret,
			     GError **error)
{
	struct link_ref link;

	*ret = (struct subject){ .l = l };
	if (!word)
		return TRUE;
	ret->network = lab_find_network(l->lab, word);
	if (ret->network && !lab_find_vm(l->lab, word))
		return TRUE;
	if (!links_find(l, word, &link, error))
		return FALSE;
	ret->network = link.network;
	ret->port = link.port;
	return TRUE;
}

/* --- asking --------------------------------------------------------------------------------------------------------- */

static gboolean ask_network(const struct subject *s, const struct network *n,
			    struct json_object *all, GError **error)
{
	struct json_object *params = json_object_new_object(), *result = NULL;

	json_put_str(params, "port", s->port);
	if (!switch_ask(s->l, n->name, "stats", params, &result, error))
		return FALSE;
	json_put_str(result, "network", n->name);
	json_object_array_add(all, result);
	return TRUE;
}

/* [{"network","ports":[…],…}…] */
static struct json_object *ask(const struct subject *s, GError **error)
{
	struct json_object *all = json_object_new_array();

	for (guint i = 0; i < s->l->lab->networks->len; i++) {
		const struct network *n = lab_network(s->l->lab, i);

		if ((s->network && s->network != n) || ask_network(s, n, all, error))
			continue;
		json_object_put(all);
		return NULL;
	}
	return all;
}

/* --- showing -------------------------------------------------------------------------------------------------------- */

static struct json_object *counters_of(struct json_object *all, const char *network,
				       const char *port)
{
	for (size_t i = 0; all && i < json_object_array_length(all); i++) {
		struct json_object *net = json_object_array_get_idx(all, i);
		struct json_object *ports = json_member(net, "ports", json_type_array);

		for (size_t j = 0; ports && j < json_object_array_length(ports); j++) {
			struct json_object *p = json_object_array_get_idx(ports, j);

			if (g_strcmp0(json_str(net, "network"), network) == 0 &&
			    g_strcmp0(json_str(p, "name"), port) == 0)
				return json_member(p, "counters", json_type_object);
		}
	}
	return NULL;
}

/* What was counted since before; NULL before: in all. */
static int64_t since(struct json_object *now, struct json_object *before, const char *key)
{
	return json_int(now, key, 0) - json_int(before, key, 0);
}

/* All of one side that begin so: "ingress_drop_". */
static int64_t sum_since(struct json_object *now, struct json_object *before, const char *prefix)
{
	int64_t sum = 0;

	if (!now)
		return 0;
	json_object_object_foreach(now, key, value)
	{
		(void)value;
		if (g_str_has_prefix(key, prefix))
			sum += since(now, before, key);
	}
	return sum;
}

/* As `link` calls it: an uplink by its network. */
static char *link_name(const char *network, const char *port)
{
	return strchr(port, '.') ? g_strdup(port) : g_strdup_printf("%s:%s", network, port);
}

static void add_row(struct out_table *t, const char *network, const char *port,
		    struct json_object *now, struct json_object *before)
{
	g_autofree char *link = link_name(network, port);
	int64_t dropped =
		sum_since(now, before, "ingress_drop_") + sum_since(now, before, "egress_drop_");
	g_autofree char *in = g_strdup_printf("%" PRId64, since(now, before, "ingress_frames"));
	g_autofree char *in_bytes =
		g_strdup_printf("%" PRId64, since(now, before, "ingress_bytes"));
	g_autofree char *out = g_strdup_printf("%" PRId64, since(now, before, "egress_frames"));
	g_autofree char *out_bytes =
		g_strdup_printf("%" PRId64, since(now, before, "egress_bytes"));
	g_autofree char *lost = g_strdup_printf("%" PRId64, dropped);
	const char *cells[] = { link, network, in, in_bytes, out, out_bytes, lost };

	out_table_row(t, cells);
	if (dropped > 0)
		out_table_style(t, 6, OUT_WARN);
}

static void print_table(struct json_object *now, struct json_object *before)
{
	static const char *const headings[] = { "LINK",     "NETWORK", "FROM GUEST", "BYTES",
						"TO GUEST", "BYTES",   "DROPPED" };
	struct out_table *t = out_table_new(headings, G_N_ELEMENTS(headings));

	for (size_t i = 0; i < json_object_array_length(now); i++) {
		struct json_object *net = json_object_array_get_idx(now, i);
		struct json_object *ports = json_member(net, "ports", json_type_array);
		const char *network = json_str(net, "network");

		for (size_t j = 0; ports && j < json_object_array_length(ports); j++) {
			struct json_object *p = json_object_array_get_idx(ports, j);
			const char *name = json_str(p, "name");

			add_row(t, network, name, json_member(p, "counters", json_type_object),
				counters_of(before, network, name));
		}
	}
	out_table_print(t, stdout);
	out_table_free(t);
}

/* Every counter of one link that is not zero, and why frames were lost. */
static void print_link(const struct subject *s, struct json_object *now)
{
	struct json_object *counters = counters_of(now, s->network->name, s->port);
	g_autofree char *link = link_name(s->network->name, s->port);

	printf("%s on %s\n", link, s->network->name);
	if (!counters)
		return;
	json_object_object_foreach(counters, key, value)
	{
		if (json_object_get_int64(value) != 0)
			printf("  %-24s %" PRId64 "\n", key, json_object_get_int64(value));
	}
}

/* The metrics of one name, of all networks: OpenMetrics has them together. */
struct family {
	char *name;
	unsigned first; /* the network that described it */
	GString *head, *samples;
};

static void family_free(void *p)
{
	struct family *f = p;

	g_free(f->name);
	g_string_free(f->head, TRUE);
	g_string_free(f->samples, TRUE);
	g_free(f);
}

static struct family *find_family(GPtrArray *families, const char *name, unsigned network)
{
	struct family *f;

	for (guint i = 0; i < families->len; i++) {
		f = families->pdata[i];
		if (strcmp(f->name, name) == 0)
			return f;
	}
	f = g_new0(struct family, 1);
	f->name = g_strdup(name);
	f->first = network;
	f->head = g_string_new(NULL);
	f->samples = g_string_new(NULL);
	g_ptr_array_add(families, f);
	return f;
}

/* "name{port="n1.0"} 5" with the network's name among its labels. */
static void add_sample(struct family *f, const char *line, const char *network)
{
	size_t name = strcspn(line, "{ ");
	bool labels = line[name] == '{';

	g_string_append_len(f->samples, line, (gssize)name);
	g_string_append_printf(f->samples, "{network=\"%s\"%s%s\n", network,
			       labels ? (line[name + 1] == '}' ? "" : ",") : "}",
			       line + name + (labels ? 1 : 0));
}

static void add_metrics(GPtrArray *families, const char *text, const char *network, unsigned index)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	struct family *f = NULL;

	for (char **line = lines; *line; line++) {
		g_auto(GStrv) words = g_strsplit(*line, " ", 4);
		bool comment = (*line)[0] == '#' && g_strv_length(words) >= 3;

		if (comment)
			f = find_family(families, words[2], index);
		if (comment && f->first == index)
			g_string_append_printf(f->head, "%s\n", *line);
		else if (!comment && f && **line && **line != '#')
			add_sample(f, *line, network);
	}
}

static int print_metrics(const struct subject *s, GError **error)
{
	g_autoptr(GPtrArray) families = g_ptr_array_new_with_free_func(family_free);

	for (guint i = 0; i < s->l->lab->networks->len; i++) {
		const struct network *n = lab_network(s->l->lab, i);
		auto_json result = NULL;

		if (s->network && s->network != n)
			continue;
		if (!switch_ask(s->l, n->name, "stats.metrics", NULL, &result, error))
			return -1;
		if (json_str(result, "text"))
			add_metrics(families, json_str(result, "text"), n->name, i);
	}
	for (guint i = 0; i < families->len; i++) {
		const struct family *f = families->pdata[i];

		printf("%s%s", f->head->str, f->samples->str);
	}
	puts("# EOF");
	return 0;
}

/* --- live ----------------------------------------------------------------------------------------------------------- */

struct watching {
	bool stop, due;
};

static gboolean on_signal(gpointer p)
{
	((struct watching *)p)->stop = true;
	return G_SOURCE_CONTINUE;
}

static gboolean on_timer(gpointer p)
{
	((struct watching *)p)->due = true;
	return G_SOURCE_CONTINUE;
}

static void show(struct json_object *now, struct json_object *before)
{
	if (opt_json) {
		out_json_line(json_object_get(now));
		return;
	}
	if (out_is_terminal(stdout))
		fputs("\033[H\033[2J", stdout);
	print_table(now, before);
	putchar('\n');
	(void)fflush(stdout);
}

static int watch(const struct subject *s, GError **error)
{
	struct watching w = { .due = true };
	guint interrupt = g_unix_signal_add(SIGINT, on_signal, &w);
	guint terminate = g_unix_signal_add(SIGTERM, on_signal, &w);
	guint timer = g_timeout_add(WATCH_MS, on_timer, &w);
	struct json_object *before = NULL;
	int code = 0;

	while (!w.stop && code == 0) {
		struct json_object *now;

		if (!w.due) {
			g_main_context_iteration(NULL, TRUE);
			continue;
		}
		w.due = false;
		now = ask(s, error);
		if (now)
			show(now, before);
		else
			code = -1;
		json_object_put(before);
		before = now;
	}
	json_object_put(before);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	g_source_remove(timer);
	return code;
}

static int once(const struct subject *s, GError **error)
{
	auto_json now = ask(s, error);

	if (!now)
		return -1;
	if (opt_json)
		out_json(json_object_get(now));
	else if (s->port)
		print_link(s, now);
	else
		print_table(now, NULL);
	return 0;
}

static int run_stats(char **args, GError **error)
{
	struct links_of l = { 0 };
	struct subject s;
	int code = -1;

	if (opt_metrics && (opt_json || opt_watch)) {
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "--openmetrics goes with neither --json nor --watch");
		return -1;
	}
	if (!links_open(opt_lab, &l, error))
		return -1;
	if (!find_subject(&l, args[0], &s, error))
		code = -1;
	else if (opt_metrics)
		code = print_metrics(&s, error);
	else
		code = opt_watch ? watch(&s, error) : once(&s, error);
	links_close(&l);
	return code;
}

const struct cmd cmd_stats = {
	.name = "stats",
	.args = "[LINK|NETWORK]",
	.summary = "Show what the switches have counted",
	.help = "One link a line: frames and bytes from and to its guest, and frames lost at it. Of\n"
		"one LINK (as for `link`) every counter that is not zero; they are explained in\n"
		"vhost-user-net(8). What an impairment does to frames is counted by `link show`.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_LINK,
	.run = run_stats,
};
