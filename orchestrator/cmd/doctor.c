/* SPDX-License-Identifier: MIT */
/* `orchestrator doctor`: what this host can do for labs, and what to do about the rest. */
#include "cmd.h"

#include <json-c/json.h>

#include "err.h"
#include "host/doctor.h"
#include "host/facts.h"
#include "model/lab.h"
#include "out.h"

static gboolean opt_json;

static const GOptionEntry options[] = {
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON instead of text", NULL },
	{ NULL },
};

static enum out_style style_of(enum doctor_status status)
{
	static const enum out_style styles[DOCTOR_STATUS_COUNT] = {
		[DOCTOR_OK] = OUT_GOOD,
		[DOCTOR_INFO] = OUT_DIM,
		[DOCTOR_WARN] = OUT_WARN,
		[DOCTOR_FAIL] = OUT_BAD,
	};

	return styles[status];
}

/* What it is to be done with, or by, may be lines. */
static void print_todo(const char *todo)
{
	g_auto(GStrv) lines = g_strsplit(todo, "\n", -1);

	printf("      %s->%s %s\n", out_style(stdout, OUT_BOLD), out_style(stdout, OUT_PLAIN),
	       lines[0]);
	for (char **line = lines + 1; *line; line++)
		printf("         %s\n", *line);
}

static void print_row(const struct doctor_row *row)
{
	printf("%s%-4s%s  %s%s%s: %s\n", out_style(stdout, style_of(row->status)),
	       doctor_status_name(row->status), out_style(stdout, OUT_PLAIN),
	       out_style(stdout, OUT_BOLD), row->id, out_style(stdout, OUT_PLAIN), row->what);
	if (*row->why)
		printf("      %s\n", row->why);
	if (*row->todo && row->status != DOCTOR_OK)
		print_todo(row->todo);
}

static struct json_object *row_to_json(const struct doctor_row *row)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "id", json_object_new_string(row->id));
	json_object_object_add(o, "status",
			       json_object_new_string(doctor_status_name(row->status)));
	json_object_object_add(o, "what", json_object_new_string(row->what));
	json_object_object_add(o, "why", json_object_new_string(row->why));
	json_object_object_add(o, "todo", json_object_new_string(row->todo));
	return o;
}

static void print_json(const GPtrArray *rows)
{
	struct json_object *o = json_object_new_object();
	struct json_object *list = json_object_new_array();

	for (guint i = 0; i < rows->len; i++)
		json_object_array_add(list, row_to_json(rows->pdata[i]));
	json_object_object_add(o, "fit", json_object_new_boolean(!doctor_has_failed(rows)));
	json_object_object_add(o, "rows", list);
	out_json(o);
}

static void print_text(const GPtrArray *rows)
{
	for (guint i = 0; i < rows->len; i++)
		print_row(rows->pdata[i]);
}

static int run(char **args, GError **error)
{
	struct lab_dirs *dirs;
	struct lab *lab = NULL;
	struct host_facts *facts;
	GPtrArray *rows;
	int code;

	if (args[0] && !cmd_load_lab(args[0], &lab, error))
		return -1;
	dirs = lab_dirs_new();
	facts = host_facts_gather(&(struct host_probe){
		.runtime_dir = dirs->runtime, .cache_dir = dirs->cache, .state_dir = dirs->state });
	rows = doctor_examine(facts, lab);
	if (opt_json)
		print_json(rows);
	else
		print_text(rows);
	code = doctor_has_failed(rows) ? ORCH_ERROR_HOST_UNFIT : 0;
	g_ptr_array_unref(rows);
	host_facts_free(facts);
	lab_dirs_free(dirs);
	lab_free(lab);
	return code;
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.args = "[LAB]",
	.summary = "Tell what this host can do for labs, and what to do about the rest",
	.help = "One row for each thing that matters: ok; info, to know; warn, labs run but slower\n"
		"or smaller than they could; fail, labs do not run. With LAB, also whether that lab\n"
		"fits here.\n"
		"\n"
		"Exits with 4 if a row fails, with 0 otherwise. orchestrator-doctor(1) explains the rows.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_LAB,
	.run = run,
};
