/* SPDX-License-Identifier: MIT */
/* Which lab is meant: a file, a name, or what is there. */
#include "cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "model/lab.h"
#include "out.h"
#include "run/dirs.h"
#include "run/state.h"

void cmd_lab_ref_clear(struct cmd_lab_ref *ref)
{
	g_clear_pointer(&ref->path, g_free);
	g_clear_pointer(&ref->name, g_free);
}

static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

static bool means_file(const char *arg)
{
	return strchr(arg, '/') || g_str_has_suffix(arg, ".json") || is_file(arg);
}

static struct state *state_of(const struct lab_dirs *dirs, const char *name)
{
	struct lab_paths *paths = lab_paths_new_named(name, dirs);
	struct state *state = NULL;

	(void)state_load(paths->state_json, &state, NULL);
	lab_paths_free(paths);
	return state;
}

static bool runs(const struct lab_dirs *dirs, const char *name)
{
	struct state *state = state_of(dirs, name);
	bool alive = state && (state_supervisor_alive(state) || state_anything_alive(state));

	state_free(state);
	return alive;
}

/* Nothing is said, and there is no ./lab.json. */
static gboolean only_lab(const struct lab_dirs *dirs, struct cmd_lab_ref *ret, GError **error)
{
	g_autoptr(GPtrArray) labs = dirs_labs(dirs);
	g_autoptr(GString) list = g_string_new(NULL);
	const char *found = NULL;
	unsigned n = 0;

	for (guint i = 0; i < labs->len; i++) {
		const char *name = labs->pdata[i];

		if (!runs(dirs, name))
			continue;
		found = name;
		g_string_append_printf(list, "%s%s", n++ ? ", " : "", name);
	}
	if (n == 1) {
		ret->name = g_strdup(found);
		return TRUE;
	}
	if (n == 0)
		g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE,
				    "which lab? There is no ./lab.json, and no lab runs");
	else
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "which lab? There is no ./lab.json, and these run: %s", list->str);
	return FALSE;
}

static gboolean named_lab(const struct lab_dirs *dirs, const char *name, struct cmd_lab_ref *ret,
			  GError **error)
{
	struct lab_paths *paths = names_valid(name) ? lab_paths_new_named(name, dirs) : NULL;
	bool there = paths && access(paths->state_dir, F_OK) == 0;

	lab_paths_free(paths);
	if (there)
		ret->name = g_strdup(name);
	else
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "there is neither a file nor a lab called \"%s\"", name);
	return there;
}

gboolean cmd_find_lab(const char *arg, struct cmd_lab_ref *ret, GError **error)
{
	struct lab_dirs *dirs;
	gboolean found;

	if (!arg) {
		arg = getenv("ORCHESTRATOR_LAB");
		arg = arg && *arg ? arg : NULL;
	}
	if (!arg && is_file("lab.json"))
		arg = "lab.json";
	if (arg && means_file(arg)) {
		ret->path = g_strdup(arg);
		return TRUE;
	}
	dirs = lab_dirs_new();
	found = arg ? named_lab(dirs, arg, ret, error) : only_lab(dirs, ret, error);
	lab_dirs_free(dirs);
	return found;
}

/* --- loading ---------------------------------------------------------------------------------------------- */

/* Print every mistake; consumes the list. */
static void print_errors(struct lab_errors *errors, GError **error)
{
	g_autofree char *text = lab_errors_format(errors);
	unsigned n = errors->list->len + errors->n_dropped;

	fputs(text, stderr);
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_INVALID_LAB, "%s: %u mistake%s", errors->file, n,
		    n == 1 ? "" : "s");
	lab_errors_free(errors);
}

static gboolean load_file(const char *path, const struct lab_dirs *dirs, struct lab **ret,
			  GError **error)
{
	struct lab_errors *errors = NULL;

	if (lab_load(path, dirs, ret, &errors))
		return TRUE;
	print_errors(errors, error);
	return FALSE;
}

/* The copy that a lab was made from, as if it had been read where it came from. */
static gboolean load_copy(const char *name, const struct lab_dirs *dirs, struct lab **ret,
			  GError **error)
{
	struct lab_paths *paths = lab_paths_new_named(name, dirs);
	struct state *state = state_of(dirs, name);
	struct lab_errors *errors = NULL;
	g_autofree char *text = NULL;
	gboolean good = FALSE;
	gsize len;

	if (!g_file_get_contents(paths->lab_json, &text, &len, NULL)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "lab %s is down: name its file",
			    name);
	} else {
		good = lab_parse(text, len, state && state->path ? state->path : paths->lab_json,
				 dirs, ret, &errors);
		if (!good)
			print_errors(errors, error);
	}
	state_free(state);
	lab_paths_free(paths);
	return good;
}

gboolean cmd_load_lab(const char *arg, struct lab **ret, GError **error)
{
	struct cmd_lab_ref ref = { 0 };
	struct lab_dirs *dirs;
	gboolean good;

	if (!cmd_find_lab(arg, &ref, error))
		return FALSE;
	dirs = lab_dirs_new();
	good = ref.path ? load_file(ref.path, dirs, ret, error) :
			  load_copy(ref.name, dirs, ret, error);
	lab_dirs_free(dirs);
	cmd_lab_ref_clear(&ref);
	return good;
}

gboolean cmd_load_source(const char *arg, struct lab **ret, GError **error)
{
	struct cmd_lab_ref ref = { 0 };
	struct lab_dirs *dirs;
	gboolean good;

	if (!cmd_find_lab(arg, &ref, error))
		return FALSE;
	dirs = lab_dirs_new();
	if (ref.name) {
		struct state *state = state_of(dirs, ref.name);

		ref.path = g_strdup(state ? state->path : NULL);
		state_free(state);
	}
	good = ref.path != NULL;
	if (!good)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "lab %s is down: name its file",
			    ref.name);
	else
		good = load_file(ref.path, dirs, ret, error);
	lab_dirs_free(dirs);
	cmd_lab_ref_clear(&ref);
	return good;
}

/* The running lab that was made from that file, whatever stands in the file now. */
static char *lab_made_from(const char *path, const struct lab_dirs *dirs)
{
	g_autofree char *absolute = g_canonicalize_filename(path, NULL);
	g_autoptr(GPtrArray) labs = dirs_labs(dirs);
	char *found = NULL;

	for (guint i = 0; i < labs->len && !found; i++) {
		struct state *state = state_of(dirs, labs->pdata[i]);

		if (state && g_strcmp0(state->path, absolute) == 0 && state_anything_alive(state))
			found = g_strdup(labs->pdata[i]);
		state_free(state);
	}
	return found;
}

static char *name_of_file(const char *path, const struct lab_dirs *dirs, GError **error)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;
	char *name;

	if (lab_load(path, dirs, &lab, &errors)) {
		name = runs(dirs, lab->name) ? NULL : lab_made_from(path, dirs);
		if (!name)
			name = g_strdup(lab->name);
		lab_free(lab);
		return name;
	}
	name = lab_made_from(path, dirs);
	if (name)
		lab_errors_free(errors);
	else
		print_errors(errors, error);
	return name;
}

char *cmd_lab_name(const char *arg, GError **error)
{
	struct cmd_lab_ref ref = { 0 };
	struct lab_dirs *dirs;
	char *name;

	if (!cmd_find_lab(arg, &ref, error))
		return NULL;
	if (ref.name)
		return ref.name;
	dirs = lab_dirs_new();
	name = name_of_file(ref.path, dirs, error);
	lab_dirs_free(dirs);
	cmd_lab_ref_clear(&ref);
	return name;
}

struct state *cmd_state(const char *lab_name)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct state *state = state_of(dirs, lab_name);

	lab_dirs_free(dirs);
	return state;
}

struct lab *cmd_applied_lab(const char *lab_name)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct lab_paths *paths = lab_paths_new_named(lab_name, dirs);
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;
	g_autofree char *text = NULL;
	gsize len;

	if (g_file_get_contents(paths->lab_json, &text, &len, NULL) &&
	    !lab_parse(text, len, paths->lab_json, dirs, &lab, &errors))
		lab_errors_free(errors);
	lab_paths_free(paths);
	lab_dirs_free(dirs);
	return lab;
}

gboolean cmd_check_vm(const char *lab_name, const char *vm, GError **error)
{
	struct lab *lab = cmd_applied_lab(lab_name);
	g_autoptr(GPtrArray) names = g_ptr_array_new();
	struct lab_errors *search;
	const char *near;
	gboolean known = !lab || lab_find_vm(lab, vm);

	if (!known) {
		search = lab_errors_new("");
		for (guint i = 0; i < lab->vms->len; i++)
			g_ptr_array_add(names, lab_vm(lab, i)->name);
		near = lab_errors_nearest(search, vm, (const char *const *)names->pdata,
					  names->len);
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "lab %s has no VM \"%s\"%s%s%s",
			    lab_name, vm, near ? " (did you mean \"" : "", near ? near : "",
			    near ? "\"?)" : "");
		lab_errors_free(search);
	}
	lab_free(lab);
	return known;
}
