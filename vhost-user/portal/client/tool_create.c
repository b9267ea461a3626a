/* SPDX-License-Identifier: MIT */
/* portal create: an arena in a file, as vhost-user-portal makes it; for files that are made before their daemon runs. */
#include <getopt.h>
#include <string.h>

#include "arena.h"
#include "tool.h"

static int take_create(struct tool *tool, int argc, char **argv, struct arena_config *c)
{
	static const struct option options[] = { { "size", required_argument, NULL, 's' },
						 { "name", required_argument, NULL, 'n' },
						 { "vsock-port", required_argument, NULL, 'v' },
						 { 0 } };
	uint64_t port;
	int option;

	while ((option = getopt_long(argc, argv, "s:n:v:", options, NULL)) != -1) {
		if (option == 'n')
			c->name = optarg;
		else if (option == 'v' && tool_size(optarg, &port) && port < UINT32_MAX)
			c->vsock_port = (uint32_t)port;
		else if (option != 's' || !tool_size(optarg, &c->size))
			return tool_misuse(tool);
	}
	if (optind + 1 != argc || !c->size)
		return tool_misuse(tool);
	c->path = argv[optind];
	return 0;
}

static int run_create(struct tool *tool, int argc, char **argv)
{
	struct arena_config config = { .name = "portal", .vsock_port = 0 };
	struct arena arena;
	int r = take_create(tool, argc, argv, &config);

	if (r)
		return r;
	r = arena_open(&arena, &config);
	if (r < 0) {
		fprintf(stderr, "portal: %s: %s\n", config.path, arena.why);
		return TOOL_FAILED;
	}
	if (!arena.fresh)
		fprintf(stderr, "%s: is an arena of that name and size already\n", config.path);
	arena_close(&arena);
	return TOOL_OK;
}

const struct tool_command tool_create = { "create",
					  "--size SIZE [--name NAME] [--vsock-port PORT] FILE",
					  "make an arena in a file", run_create };
