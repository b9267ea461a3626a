/* SPDX-License-Identifier: MIT */
/* portal(1): the command table. */
#include "tool.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "base.h"

static const struct tool_command *const commands[] = {
	&tool_create, &tool_info, &tool_ls,    &tool_put,   &tool_get,   &tool_cat,
	&tool_send,   &tool_recv, &tool_bench, &tool_watch, &tool_check, &tool_quiesce,
};

static void print_usage(FILE *to)
{
	fputs("usage: portal [-p WHERE] [-l LEASE] [-n NAME] [-r] [-t TIME] [--json] COMMAND ...\n"
	      "\n"
	      "  -p, --portal WHERE   unix:PATH, NAME, dax:DEVICE, pci:ADDRESS or file:PATH; else $PORTAL_PATH\n"
	      "  -l, --lease LEASE    unix:PATH, vsock:CID:PORT or none\n"
	      "  -n, --name NAME      as others see this client\n"
	      "  -r, --read-only      never write to the arena\n"
	      "  -t, --timeout TIME   for each answer of the daemon; 5s if not given\n"
	      "  -j, --json           output for programs\n"
	      "  -V, --version, -h, --help\n"
	      "\n",
	      to);
	for (unsigned i = 0; i < array_size(commands); i++)
		fprintf(to, "  %-8s %-38s %s\n", commands[i]->name, commands[i]->arguments,
			commands[i]->summary);
}

static bool take_timeout(struct tool *tool, const char *text)
{
	uint64_t ns;

	if (!tool_duration(text, &ns) || ns < 1000000 || ns > 86400 * 1000000000ull)
		return false;
	tool->options.timeout_ms = (uint32_t)(ns / 1000000);
	return true;
}

/* -1: go on; else the exit code. */
static int take_option(struct tool *tool, int option)
{
	switch (option) {
	case 'p':
		tool->where = optarg;
		return -1;
	case 'l':
		tool->options.lease = optarg;
		return -1;
	case 'n':
		tool->options.client = optarg;
		return -1;
	case 'r':
		tool->options.flags |= PORTAL_ATTACH_READ_ONLY;
		return -1;
	case 'j':
		tool->json = true;
		return -1;
	case 't':
		if (take_timeout(tool, optarg))
			return -1;
		fprintf(stderr, "portal: %s: not a time, like 5s or 500ms\n", optarg);
		return TOOL_USAGE;
	case 'V':
		puts("portal " VHOST_LAB_VERSION);
		return TOOL_OK;
	case 'h':
		print_usage(stdout);
		return TOOL_OK;
	default:
		print_usage(stderr);
		return TOOL_USAGE;
	}
}

static int take_options(struct tool *tool, int argc, char **argv)
{
	static const struct option options[] = {
		{ "portal", required_argument, NULL, 'p' },
		{ "lease", required_argument, NULL, 'l' },
		{ "name", required_argument, NULL, 'n' },
		{ "read-only", no_argument, NULL, 'r' },
		{ "timeout", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int option, r = -1;

	while (r < 0 && (option = getopt_long(argc, argv, "+p:l:n:rt:jVh", options, NULL)) != -1)
		r = take_option(tool, option);
	return r;
}

static const struct tool_command *find_command(const char *name)
{
	for (unsigned i = 0; i < array_size(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

int main(int argc, char **argv)
{
	struct tool tool = { 0 };
	int r = take_options(&tool, argc, argv), first = optind;

	if (r >= 0)
		return r;
	if (first == argc) {
		print_usage(stderr);
		return TOOL_USAGE;
	}
	tool.command = find_command(argv[first]);
	if (!tool.command) {
		fprintf(stderr, "portal: no command \"%s\"; portal --help lists them\n",
			argv[first]);
		return TOOL_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	optind = 0; /* start over, with the command's own */
	r = tool.command->run(&tool, argc - first, argv + first);
	if (fflush(stdout) != 0 && r == TOOL_OK)
		r = tool_fail(-errno, "writing");
	return r;
}
