/* SPDX-License-Identifier: MIT */
#include "agent/guest/settings.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/guest/user.h"
#include "agent/guest/writefile.h"

#define ETC_FILE_MAX (4 << 20)
#define HOSTS_BEGIN  "# vhost-lab: begin\n"
#define HOSTS_END    "# vhost-lab: end\n"
#define LOCALHOST    "127.0.0.1 localhost\n::1 localhost\n"

/* Replace PATH if TEXT is another one. */
static int update(const char *path, const char *text)
{
	size_t size = 0;
	int err = 0;
	char *before = readfile(path, ETC_FILE_MAX, &size, &err);
	bool same = before && strcmp(before, text) == 0;

	free(before);
	return same ? 0 : writefile(path, text, strlen(text), 0644, (uid_t)-1, (gid_t)-1);
}

int settings_hostname(const char *name)
{
	char now[256] = "", line[80];
	size_t len = strlen(name);

	if (!len || len > 63 || name[0] == '-' ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") != len)
		return -EINVAL;
	if (gethostname(now, sizeof(now)) || (strcmp(now, name) != 0 && sethostname(name, len)))
		return -errno;
	snprintf(line, sizeof(line), "%s\n", name);
	return update("/etc/hostname", line);
}

/* BEFORE without the lab's part; localhost if there is nothing. */
static void keep_others(char *before, FILE *out)
{
	char *begin = before ? strstr(before, HOSTS_BEGIN) : NULL;
	char *end = begin ? strstr(begin, HOSTS_END) : NULL;

	if (begin) {
		*begin = '\0';
		fprintf(out, "%s%s", before, end ? end + strlen(HOSTS_END) : "");
	} else {
		fputs(before ? before : LOCALHOST, out);
	}
}

int settings_hosts(const char *lines)
{
	size_t size = 0;
	int err = 0;
	char *before = readfile("/etc/hosts", ETC_FILE_MAX, &size, &err);
	char *text = NULL;
	FILE *out;

	if (!before && err != -ENOENT)
		return err;
	out = open_memstream(&text, &size);
	if (out) {
		keep_others(before, out);
		fprintf(out, HOSTS_BEGIN "%s" HOSTS_END, lines);
	}
	free(before);
	if (!out || fclose(out))
		return -ENOMEM;
	err = update("/etc/hosts", text);
	free(text);
	return err;
}

int settings_nameserver(const char *address)
{
	struct stat st;
	char text[64];

	if (lstat("/etc/resolv.conf", &st) == 0 && S_ISLNK(st.st_mode))
		return 0;
	if ((size_t)snprintf(text, sizeof(text), "nameserver %s\n", address) >= sizeof(text))
		return -EINVAL;
	return update("/etc/resolv.conf", text);
}

int settings_clock(int64_t realtime_ns)
{
	struct timespec now;
	int64_t off;

	clock_gettime(CLOCK_REALTIME, &now);
	off = realtime_ns - (now.tv_sec * 1000000000LL + now.tv_nsec);
	if (off > -SETTINGS_CLOCK_SLACK_NS && off < SETTINGS_CLOCK_SLACK_NS)
		return 0;
	now.tv_sec = realtime_ns / 1000000000;
	now.tv_nsec = realtime_ns % 1000000000;
	return clock_settime(CLOCK_REALTIME, &now) ? -errno : 0;
}

/* --- users ------------------------------------------------------------------------------------------------- */

static bool is_field(const char *s)
{
	for (; *s; s++) {
		if (*s == ':' || (unsigned char)*s < ' ')
			return false;
	}
	return true;
}

/* PATH with LINE at its end; a last line without its newline gets one. */
static int append_line(const char *path, mode_t mode, const char *line)
{
	size_t size = 0;
	int err = 0;
	char *before = readfile(path, ETC_FILE_MAX, &size, &err);
	char *text;

	if (!before && err != -ENOENT)
		return err;
	text = malloc(size + strlen(line) + 2);
	if (!text) {
		free(before);
		return -ENOMEM;
	}
	sprintf(text, "%s%s%s", before ? before : "",
		before && size && before[size - 1] != '\n' ? "\n" : "", line);
	free(before);
	err = writefile(path, text, strlen(text), mode, (uid_t)-1, (gid_t)-1);
	free(text);
	return err;
}

static int make_home(const char *home, uid_t uid, gid_t gid)
{
	int err = access(home, F_OK) == 0 ? -EEXIST : writefile_dirs(home);

	if (err)
		return err == -EEXIST ? 0 : err;
	return chown(home, uid, gid) || chmod(home, 0750) ? -errno : 0;
}

int settings_user(const char *name, uid_t uid, gid_t gid, const char *home, const char *shell)
{
	char line[1024];
	struct user user;
	int err;

	if (!*name || strchr(name, '/') || !is_field(name) || !is_field(home) || !is_field(shell) ||
	    strspn(name, "0123456789") == strlen(name))
		return -EINVAL;
	if (user_find("", name, &user) == 0)
		return user.uid == uid ? 0 : -EEXIST;
	snprintf(line, sizeof(line), "%s:x:%u:\n", name, gid);
	err = append_line("/etc/group", 0644, line);
	if (!err && (size_t)snprintf(line, sizeof(line), "%s:x:%u:%u::%s:%s\n", name, uid, gid,
				     home, shell) >= sizeof(line))
		err = -ENAMETOOLONG;
	if (!err)
		err = append_line("/etc/passwd", 0644, line);
	return err ? err : make_home(home, uid, gid);
}
