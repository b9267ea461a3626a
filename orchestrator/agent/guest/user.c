/* SPDX-License-Identifier: MIT */
#include "agent/guest/user.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_SIZE 4096 /* a longer line of passwd or group is nobody's */
#define PASSWD_FIELDS 7
#define GROUP_FIELDS  4

static FILE *open_below(const char *root, const char *path)
{
	char full[512];

	if ((size_t)snprintf(full, sizeof(full), "%s%s", root, path) >= sizeof(full)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	return fopen(full, "re");
}

/* Cut LINE at its colons.  True if there are N fields. */
static bool split(char *line, char **fields, int n)
{
	line[strcspn(line, "\n")] = '\0';
	for (int i = 0; i < n; i++) {
		fields[i] = line ? strsep(&line, ":") : NULL;
		if (!fields[i])
			return false;
	}
	return true;
}

static bool number(const char *s, unsigned *ret_number)
{
	unsigned long v;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v >= (unsigned)-1)
		return false;
	*ret_number = (unsigned)v;
	return true;
}

static bool copy(char *to, size_t size, const char *from)
{
	return (size_t)snprintf(to, size, "%s", from) < size;
}

/* Is this line of passwd WHO's?  By name, else by number. */
static bool take(char **f, const char *who, struct user *user)
{
	unsigned uid, gid, wanted;

	if (!number(f[2], &uid) || !number(f[3], &gid))
		return false;
	if (strcmp(f[0], who) != 0 && !(number(who, &wanted) && wanted == uid))
		return false;
	user->uid = uid;
	user->gid = gid;
	return copy(user->name, sizeof(user->name), f[0]) &&
	       copy(user->home, sizeof(user->home), *f[5] ? f[5] : "/") &&
	       copy(user->shell, sizeof(user->shell), *f[6] ? f[6] : "/bin/sh");
}

static int find_passwd(const char *root, const char *who, struct user *user)
{
	FILE *file = open_below(root, "/etc/passwd");
	char line[LINE_MAX_SIZE], *fields[PASSWD_FIELDS];
	bool found = false;

	if (!file)
		return -errno;
	while (!found && fgets(line, sizeof(line), file))
		found = split(line, fields, PASSWD_FIELDS) && take(fields, who, user);
	fclose(file);
	return found ? 0 : -ENOENT;
}

static bool is_member(char *members, const char *name)
{
	for (char *m; (m = strsep(&members, ","));) {
		if (strcmp(m, name) == 0)
			return true;
	}
	return false;
}

static void find_groups(const char *root, struct user *user)
{
	FILE *file = open_below(root, "/etc/group");
	char line[LINE_MAX_SIZE], *fields[GROUP_FIELDS];
	unsigned gid;

	user->groups[0] = user->gid;
	user->n_groups = 1;
	if (!file)
		return;
	while (user->n_groups < USER_GROUPS_MAX && fgets(line, sizeof(line), file)) {
		if (split(line, fields, GROUP_FIELDS) && number(fields[2], &gid) &&
		    gid != user->gid && is_member(fields[3], user->name))
			user->groups[user->n_groups++] = gid;
	}
	fclose(file);
}

int user_find(const char *root, const char *who, struct user *ret_user)
{
	struct user user = { 0 };
	unsigned uid;
	int err = find_passwd(root, who, &user);

	if (err && number(who, &uid)) {
		user = (struct user){ .uid = uid, .gid = uid, .home = "/", .shell = "/bin/sh" };
		copy(user.name, sizeof(user.name), who);
		err = 0;
	}
	if (err)
		return err;
	find_groups(root, &user);
	*ret_user = user;
	return 0;
}
