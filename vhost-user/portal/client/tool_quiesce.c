/* SPDX-License-Identifier: MIT */
/* portal quiesce: a still arena for as long as a command runs. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base.h"
#include "clock.h"
#include "tool.h"

#define DEFAULT_DEADLINE_NS (2 * NS_PER_SEC)

struct quiesce {
	uint64_t deadline_ns;
	bool strict;
	const char *shell; /* --exec */
	char **command;    /* behind "--" */
};

/* 128 + n of a signal, as a shell says it; -errno. */
static int run_program(const struct quiesce *q)
{
	char *shell[] = { (char[]){ "sh" }, (char[]){ "-c" }, (char *)(uintptr_t)q->shell, NULL };
	char **argv = q->command ? q->command : shell;
	int status;
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		execvp(argv[0], argv);
		fprintf(stderr, "portal: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int while_still(struct portal *p, const struct quiesce *q)
{
	int laggards = portal_quiesce(p, tool_deadline(q->deadline_ns)), r, thaw;

	if (laggards < 0)
		return tool_fail(laggards, "quiesce");
	if (laggards)
		fprintf(stderr, "portal: %d client%s did not come to rest\n", laggards,
			laggards == 1 ? "" : "s");
	r = laggards && q->strict ? TOOL_FAILED : run_program(q);
	thaw = portal_thaw(p);
	if (r < 0)
		return tool_fail(r, "running it");
	if (thaw < 0) /* the time was over before: what ran did not have a still arena to its end */
		return tool_fail(thaw, "the arena did not stay frozen until the end");
	return r;
}

static int take_quiesce(struct tool *tool, int argc, char **argv, struct quiesce *q)
{
	static const struct option options[] = { { "deadline", required_argument, NULL, 'd' },
						 { "exec", required_argument, NULL, 'e' },
						 { "strict", no_argument, NULL, 's' },
						 { 0 } };
	int option;

	while ((option = getopt_long(argc, argv, "+d:e:s", options, NULL)) != -1) {
		if (option == 'e')
			q->shell = optarg;
		else if (option == 's')
			q->strict = true;
		else if (option != 'd' || !tool_duration(optarg, &q->deadline_ns))
			return tool_misuse(tool);
	}
	if (optind < argc)
		q->command = argv + optind;
	return !q->shell == !q->command ? tool_misuse(tool) : 0;
}

static int run_quiesce(struct tool *tool, int argc, char **argv)
{
	struct quiesce q = { .deadline_ns = DEFAULT_DEADLINE_NS };
	struct portal *p;
	int r = take_quiesce(tool, argc, argv, &q);

	if (r)
		return r;
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	r = while_still(p, &q);
	portal_detach(p);
	return r;
}

const struct tool_command tool_quiesce = {
	"quiesce", "[--deadline TIME] [--strict] --exec COMMAND | -- COMMAND...",
	"run a command while nobody writes", run_quiesce
};
