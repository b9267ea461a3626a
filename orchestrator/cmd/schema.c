/* SPDX-License-Identifier: MIT */
/* orchestrator schema: the JSON Schema of lab files. */
#include <stdio.h>

#include "cmd.h"
#include "model/schema.h"
#include "out.h"

static gboolean opt_table;

static const GOptionEntry options[] = {
	{ "table", 0, 0, G_OPTION_ARG_NONE, &opt_table,
	  "Print the table of keys that the schema is made of", NULL },
	G_OPTION_ENTRY_NULL,
};

static int run_schema(char **args, GError **error)
{
	g_autofree char *text = opt_table ? schema_table_text() : schema_text();

	fputs(text, stdout);
	return out_finish(error) ? 0 : -1;
}

const struct cmd cmd_schema = {
	.name = "schema",
	.args = "",
	.summary = "Print the JSON Schema of lab files",
	.help = "For editors: it gives completion, explanations and marks under mistakes. Write it\n"
		"beside a lab file and name it there:\n"
		"\n"
		"    orchestrator schema >lab.schema.json\n"
		"    { \"$schema\": \"./lab.schema.json\", \"vms\": { \"n1\": {} } }",
	.options = options,
	.run = run_schema,
};
