/* SPDX-License-Identifier: MIT */
/* vhost-user-portal: one arena of memory that virtual machines and host processes share. */
#include "backend.h"
#include "config.h"
#include "ctl.h"
#include "portald.h"

static int portal_start(struct backend *b)
{
	static struct portald portald; /* one per process; connections' last work runs after stop() */
	static struct config config;
	int r = config_read(b->config, b->config_path, &config);

	if (r < 0)
		return r;
	b->device = &portald;
	return portald_start(&portald, b, &config);
}

static void portal_stop(struct backend *b)
{
	portald_stop(b->device);
}

int main(int argc, char **argv)
{
	struct backend_desc desc = {
		.name = "vhost-user-portal",
		.summary = "An arena of memory that virtual machines and host processes share.",
		.type = "portal",
		.methods = ctl_methods,
		.n_methods = ctl_n_methods,
		.start = portal_start,
		.stop = portal_stop,
	};

	return backend_main(&desc, argc, argv);
}
