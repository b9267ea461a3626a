/* SPDX-License-Identifier: MIT */
#include "agent/guest/mounting.h"

#include <errno.h>
#include <mntent.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "agent/guest/writefile.h"

static const struct {
	const char *word;
	unsigned long set, clear;
} words[] = {
	{ "defaults", 0, 0 },
	{ "ro", MS_RDONLY, 0 },
	{ "rw", 0, MS_RDONLY },
	{ "nosuid", MS_NOSUID, 0 },
	{ "suid", 0, MS_NOSUID },
	{ "nodev", MS_NODEV, 0 },
	{ "dev", 0, MS_NODEV },
	{ "noexec", MS_NOEXEC, 0 },
	{ "exec", 0, MS_NOEXEC },
	{ "noatime", MS_NOATIME, 0 },
	{ "nodiratime", MS_NODIRATIME, 0 },
	{ "relatime", MS_RELATIME, 0 },
	{ "sync", MS_SYNCHRONOUS, 0 },
	{ "bind", MS_BIND, 0 },
	{ "rbind", MS_BIND | MS_REC, 0 },
};

static bool is_flag(const char *word, size_t len, unsigned long *flags)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i].word) != len || memcmp(words[i].word, word, len) != 0)
			continue;
		*flags = (*flags | words[i].set) & ~words[i].clear;
		return true;
	}
	return false;
}

int mounting_options(const char *options, unsigned long *ret_flags, char *data, size_t size)
{
	unsigned long flags = 0;
	size_t used = 0;

	data[0] = '\0';
	for (const char *word = options ? options : ""; *word;) {
		size_t len = strcspn(word, ",");

		if (len && !is_flag(word, len, &flags)) {
			int n = snprintf(data + used, size - used, "%s%.*s", used ? "," : "",
					 (int)len, word);

			if ((size_t)n >= size - used)
				return -ENAMETOOLONG;
			used += (size_t)n;
		}
		word += len;
		word += *word == ',';
	}
	*ret_flags = flags;
	return 0;
}

static bool is_mounted(const char *target, const char *type)
{
	FILE *mounts = setmntent("/proc/mounts", "re");
	struct mntent *m;
	bool found = false;

	while (mounts && !found && (m = getmntent(mounts)))
		found = strcmp(m->mnt_dir, target) == 0 && strcmp(m->mnt_type, type) == 0;
	if (mounts)
		endmntent(mounts);
	return found;
}

int mounting_mount(const char *source, const char *target, const char *type, const char *options)
{
	unsigned long flags;
	char data[1024];
	int err = mounting_options(options, &flags, data, sizeof(data));

	if (err || is_mounted(target, type))
		return err;
	err = writefile_dirs(target);
	if (err)
		return err;
	if (mount(source, target, type, flags, *data ? data : NULL))
		return -errno;
	/* A bind mount takes its flags in a second step. */
	if (flags & MS_BIND && flags & MS_RDONLY &&
	    mount(NULL, target, NULL, MS_REMOUNT | flags, NULL))
		return -errno;
	return 0;
}
