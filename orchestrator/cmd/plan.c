/* SPDX-License-Identifier: MIT */
/* `orchestrator plan`: what `up` would do now. */
#include "cmd.h"

#include <json-c/json.h>

#include "model/lab.h"
#include "out.h"
#include "plan/plan.h"
#include "run/client.h"

static gboolean opt_json;

static const GOptionEntry options[] = {
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON instead of text", NULL },
	{ NULL },
};

static void print_plan(const struct lab *lab, const struct observed *observed)
{
	struct plan *plan = plan_make(lab, observed, PLAN_DEFAULT);

	if (opt_json) {
		out_json(plan_to_json(plan));
	} else {
		g_autofree char *text = plan_format(plan);

		fputs(text, stdout);
	}
	plan_free(plan);
}

static int run_plan(char **args, GError **error)
{
	struct observed *observed;
	struct lab *lab;
	gboolean ok;

	if (!cmd_load_lab(args[0], &lab, error))
		return -1;
	ok = client_observe(lab->name, &observed, error);
	if (ok) {
		print_plan(lab, observed);
		observed_free(observed);
	}
	lab_free(lab);
	return ok && out_finish(error) ? 0 : -1;
}

const struct cmd cmd_plan = {
	.name = "plan",
	.args = "[LAB]",
	.summary = "Show what up would do, and do nothing",
	.help = "Compares the lab file with what runs and prints the steps between the two in an\n"
		"order that works, each with its reason and the steps it comes after. A VM that\n"
		"runs with other settings than the file's is named, but up does not restart it.",
	.options = options,
	.max_args = 1,
	.arg = CMD_ARG_LAB,
	.run = run_plan,
};
