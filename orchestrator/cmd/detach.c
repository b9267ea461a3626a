/* SPDX-License-Identifier: MIT */
/* orchestrator detach: what `attach` has plugged in is taken out. */
#include "cmd.h"

#include "out.h"
#include "run/client.h"
#include "run/json.h"

#define CALL_MS 300000 /* a guest may take its time to let go */

static char *opt_lab;
static gboolean opt_force;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "force", 'f', 0, G_OPTION_ARG_NONE, &opt_force,
	  "Forget it, whatever the guest does not let go of", NULL },
	G_OPTION_ENTRY_NULL,
};

static int run_detach(char **args, GError **error)
{
	g_autofree char *lab = cmd_lab_name(opt_lab, error);
	struct client *c = lab ? client_require(lab, error) : NULL;
	struct json_object *params;
	auto_json result = NULL;
	gboolean good;

	if (!c)
		return -1;
	params = json_object_new_object();
	json_put_str(params, "name", args[0]);
	json_put_bool(params, "force", opt_force);
	good = client_call(c, "guest.detach", params, CALL_MS, &result, error);
	client_free(c);
	if (good && json_str(result, "left"))
		out_info("%s is forgotten, but: %s", args[0], json_str(result, "left"));
	else if (good)
		out_info("%s is detached", args[0]);
	return good ? 0 : -1;
}

const struct cmd cmd_detach = {
	.name = "detach",
	.args = "NAME",
	.summary = "Take the devices of a lab out of a QEMU again",
	.help = "The guest has to let go of each device; one that is in its firmware, or has no driver for\n"
		"hot-plugging, does not within 30 seconds, and stays attached. With --force its ports are\n"
		"taken away nonetheless, and what is left in its QEMU is dead. A portal by pmem stays\n"
		"mapped until that QEMU ends.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_GUEST,
	.run = run_detach,
};
