/* SPDX-License-Identifier: MIT */
#include "agent/guest/writefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int writefile_dirs(const char *path)
{
	char dir[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i])
			continue;
		memcpy(dir, path, i);
		dir[i] = '\0';
		if (mkdir(dir, 0755) && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static int make_parents(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	if (!slash || slash == path)
		return 0;
	if ((size_t)(slash - path) >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	return access(dir, F_OK) == 0 ? 0 : writefile_dirs(dir);
}

static int write_all(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

static int fill(int fd, const char *data, size_t size, mode_t mode, uid_t uid, gid_t gid)
{
	int err = write_all(fd, data, size);

	if (!err && ((uid != (uid_t)-1 || gid != (gid_t)-1) && fchown(fd, uid, gid)))
		err = -errno;
	if (!err && fchmod(fd, mode))
		err = -errno;
	return err;
}

int writefile(const char *path, const char *data, size_t size, mode_t mode, uid_t uid, gid_t gid)
{
	char temporary[PATH_MAX];
	int err = make_parents(path);
	int fd;

	if (!err && (size_t)snprintf(temporary, sizeof(temporary), "%s.vhost-lab-new", path) >=
			    sizeof(temporary))
		err = -ENAMETOOLONG;
	if (err)
		return err;
	(void)unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = fill(fd, data, size, mode, uid, gid);
	close(fd);
	if (!err && rename(temporary, path))
		err = -errno;
	if (err)
		(void)unlink(temporary);
	return err;
}

char *readfile(const char *path, size_t max, size_t *ret_size, int *ret_err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data = fd < 0 ? NULL : malloc(max + 1);
	size_t size = 0;
	ssize_t n = 1;

	if (!data) {
		*ret_err = fd < 0 ? -errno : -ENOMEM;
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	while (size < max && (n = read(fd, data + size, max - size)) > 0)
		size += (size_t)n;
	if (n < 0 || (n > 0 && size == max)) {
		*ret_err = n < 0 ? -errno : -EFBIG;
		free(data);
		data = NULL;
	} else {
		data[size] = '\0';
		*ret_size = size;
	}
	close(fd);
	return data;
}

int writefile_value(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, value, strlen(value));
	close(fd);
	return err;
}
