/* SPDX-License-Identifier: MIT */
#include "agent/guest/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/guest/agent.h"

#define DIR "/lib/modules/"

static int load(const char *file)
{
	char path[256];
	int fd, err = 0;

	if ((size_t)snprintf(path, sizeof(path), DIR "%s", file) >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		err = -errno;
	close(fd);
	return err;
}

void modules_boot(struct agent *agent)
{
	FILE *order = fopen(DIR "order", "re");
	char file[128];
	int err;

	while (order && fgets(file, sizeof(file), order)) {
		file[strcspn(file, "\n")] = '\0';
		err = load(file);
		if (err)
			agent_trouble(agent, "cannot load %s: %s", file, strerror(-err));
	}
	if (order)
		fclose(order);
}

static int load_all(char *files)
{
	int err = 0;

	for (char *file; !err && (file = strsep(&files, " \n"));) {
		if (*file)
			err = load(file);
	}
	return err;
}

int modules_need(const char *name)
{
	FILE *demand = fopen(DIR "demand", "re");
	char line[1024];
	int err = -ENOENT;

	while (demand && err == -ENOENT && fgets(line, sizeof(line), demand)) {
		char *files = line;
		char *first = strsep(&files, ":");

		if (files && strcmp(first, name) == 0)
			err = load_all(files);
	}
	if (demand)
		fclose(demand);
	return err;
}
