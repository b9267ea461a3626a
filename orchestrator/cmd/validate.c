/* SPDX-License-Identifier: MIT */
/* `orchestrator validate`: every mistake of lab files, with its place, and nothing else. */
#include "cmd.h"

#include <json-c/json.h>

#include "err.h"
#include "model/lab.h"
#include "out.h"

static gboolean opt_json;

static const GOptionEntry options[] = {
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON instead of text", NULL },
	{ NULL },
};

static struct json_object *error_to_json(const struct lab_error *e)
{
	struct json_object *o = json_object_new_object();

	if (e->line > 0) {
		json_object_object_add(o, "line", json_object_new_int64(e->line));
		json_object_object_add(o, "column", json_object_new_int64(e->column));
	}
	json_object_object_add(o, "pointer", json_object_new_string(e->pointer));
	json_object_object_add(o, "text", json_object_new_string(e->text));
	return o;
}

static struct json_object *result_to_json(const char *path, const struct lab *lab,
					  const struct lab_errors *errors)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	json_object_object_add(o, "file", json_object_new_string(path));
	json_object_object_add(o, "valid", json_object_new_boolean(lab != NULL));
	if (lab) {
		json_object_object_add(o, "name", json_object_new_string(lab->name));
		json_object_object_add(o, "vms", json_object_new_int64(lab->vms->len));
		json_object_object_add(o, "networks", json_object_new_int64(lab->networks->len));
	}
	for (unsigned i = 0; errors && i < errors->list->len; i++)
		json_object_array_add(list, error_to_json(errors->list->pdata[i]));
	json_object_object_add(o, "errors", list);
	return o;
}

static void print_result(const char *path, const struct lab *lab, const struct lab_errors *errors)
{
	if (lab) {
		printf("%s: %s: %u VM%s, %u network%s\n", path, lab->name, lab->vms->len,
		       lab->vms->len == 1 ? "" : "s", lab->networks->len,
		       lab->networks->len == 1 ? "" : "s");
	} else {
		g_autofree char *text = lab_errors_format(errors);

		fputs(text, stderr);
	}
}

/* The file that a reference stands for; g_free(). */
static char *file_of(const struct cmd_lab_ref *ref, const struct lab_dirs *dirs)
{
	struct lab_paths *paths;
	char *path;

	if (ref->path)
		return g_strdup(ref->path);
	paths = lab_paths_new_named(ref->name, dirs);
	path = g_strdup(paths->lab_json);
	lab_paths_free(paths);
	return path;
}

/* One file: its result on stdout or stderr, or into results for --json.  False: *error is set, or the lab is not valid. */
static bool validate(const char *arg, const struct lab_dirs *dirs, struct json_object *results,
		     GError **error)
{
	struct cmd_lab_ref ref = { 0 };
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;
	g_autofree char *path = NULL;
	bool valid;

	if (!cmd_find_lab(arg, &ref, error))
		return false;
	path = file_of(&ref, dirs);
	cmd_lab_ref_clear(&ref);
	valid = lab_load(path, dirs, &lab, &errors);
	if (results)
		json_object_array_add(results, result_to_json(path, lab, errors));
	else
		print_result(path, lab, errors);
	lab_free(lab);
	lab_errors_free(errors);
	return valid;
}

static int run_validate(char **args, GError **error)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct json_object *results = opt_json ? json_object_new_array() : NULL;
	bool all = true;
	unsigned i = 0;

	do
		all &= validate(args[i], dirs, results, error);
	while (!*error && args[i] && args[++i]);
	lab_dirs_free(dirs);
	if (results)
		out_json(results);
	if (*error || !out_finish(error))
		return -1;
	return all ? 0 : ORCH_ERROR_INVALID_LAB;
}

const struct cmd cmd_validate = {
	.name = "validate",
	.args = "[LAB...]",
	.summary = "Check lab files and show every mistake with its place",
	.help = "Nothing is started and nothing is written. Each mistake is a line\n"
		"\n"
		"    FILE:LINE:COLUMN: error: /vms/n2/nics/0/network: no network \"lan2\"\n"
		"\n"
		"on stderr, which editors and compilers' output windows know how to follow.\n"
		"The exit status is 3 if there is any.",
	.options = options,
	.max_args = 1000,
	.arg = CMD_ARG_LAB,
	.run = run_validate,
};
