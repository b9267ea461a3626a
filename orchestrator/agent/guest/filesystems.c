/* SPDX-License-Identifier: MIT */
#include "agent/guest/filesystems.h"

#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/agent.h"

#define DISKS_MAX 64

static const struct {
	const char *type, *target, *options;
	unsigned long flags;
	bool make; /* the directory */
} own[] = {
	{ "devtmpfs", "/dev", NULL, MS_NOSUID, false },
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, false },
	{ "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC, true },
	{ "tmpfs", "/dev/shm", NULL, MS_NOSUID | MS_NODEV, true },
	{ "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV, false },
};

/* Names that the kernel leaves to user space: a program's streams, by name. */
static const struct {
	const char *path, *to;
} links[] = {
	{ "/dev/fd", "/proc/self/fd" },
	{ "/dev/stdin", "/proc/self/fd/0" },
	{ "/dev/stdout", "/proc/self/fd/1" },
	{ "/dev/stderr", "/proc/self/fd/2" },
};

static void make_links(struct agent *agent)
{
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		if (symlink(links[i].to, links[i].path) && errno != EEXIST)
			agent_trouble(agent, "cannot make %s: %s", links[i].path, strerror(errno));
	}
}

/* A kernel that mounts devtmpfs by itself has done so: EBUSY. */
void filesystems_mount(struct agent *agent)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (own[i].make)
			(void)mkdir(own[i].target, 0755);
		if (mount(own[i].type, own[i].target, own[i].type, own[i].flags, own[i].options) &&
		    errno != EBUSY)
			agent_trouble(agent, "cannot mount %s: %s", own[i].target, strerror(errno));
	}
	make_links(agent);
}

void filesystems_detach(void)
{
	char *targets[DISKS_MAX];
	int n = 0;
	FILE *mounts = setmntent("/proc/mounts", "re");
	struct mntent *m;

	while (mounts && n < DISKS_MAX && (m = getmntent(mounts))) {
		if (strncmp(m->mnt_fsname, "/dev/", 5) == 0)
			targets[n++] = strdup(m->mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	while (n--) {
		if (targets[n] && umount2(targets[n], 0))
			(void)mount(NULL, targets[n], NULL, MS_REMOUNT | MS_RDONLY, NULL);
		free(targets[n]);
	}
}
