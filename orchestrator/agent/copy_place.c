/* SPDX-License-Identifier: MIT */
#include "agent/copy_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/copy_hash.h"

#define TRIES     16
#define DEPTH_MAX 250 /* of what is removed: deeper than anything a copy builds */

/* ".vhost-lab.0123456789abcdef." */
static void prefix_of(const char *name, char out[PLACE_NAME_SIZE])
{
	unsigned long long hash = XXH64(name, strlen(name), 0);

	snprintf(out, PLACE_NAME_SIZE, ".vhost-lab.%016llx.", hash);
}

static int make_name(const char *name, char out[PLACE_NAME_SIZE])
{
	uint64_t random;
	size_t len;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	prefix_of(name, out);
	len = strlen(out);
	snprintf(out + len, PLACE_NAME_SIZE - len, "%016llx", (unsigned long long)random);
	return 0;
}

/* Between making and locking it, somebody's sweep may have taken it for a leftover. */
static bool lock(int fd)
{
	struct stat st;

	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

enum what { A_FILE, A_DIRECTORY };

static int make(int parent, const char *name, enum what what)
{
	if (what == A_FILE)
		return openat(parent, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (mkdirat(parent, name, 0700) < 0)
		return -1;
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int begin(struct place *place, int parent, const char *name, enum what what)
{
	*place = (struct place){ .parent = -1, .fd = -1 };
	for (int i = 0; i < TRIES; i++) {
		int fd, r = make_name(name, place->name);

		if (r < 0)
			return r;
		fd = make(parent, place->name, what);
		if (fd < 0 && errno != EEXIST && errno != ENOENT)
			return -errno;
		if (fd >= 0 && lock(fd)) {
			place->parent = parent;
			place->fd = fd;
			return 0;
		}
		if (fd >= 0)
			close(fd);
	}
	return -EBUSY;
}

int place_file(struct place *place, int parent, const char *name)
{
	return begin(place, parent, name, A_FILE);
}

int place_directory(struct place *place, int parent, const char *name)
{
	return begin(place, parent, name, A_DIRECTORY);
}

int place_symlink(struct place *place, int parent, const char *name, const char *target)
{
	int r;

	*place = (struct place){ .parent = -1, .fd = -1 };
	r = make_name(name, place->name);
	if (r < 0)
		return r;
	if (symlinkat(target, parent, place->name) < 0)
		return -errno;
	place->parent = parent;
	return 0;
}

static void forget(struct place *place)
{
	if (place->fd >= 0)
		close(place->fd);
	*place = (struct place){ .parent = -1, .fd = -1 };
}

int place_commit(struct place *place, const char *name)
{
	int err;

	if (renameat(place->parent, place->name, place->parent, name) == 0) {
		forget(place);
		return 0;
	}
	err = errno;
	place_drop(place);
	return -err;
}

/* --- removal ---------------------------------------------------------------------------------------------- */

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void empty_directory(int fd, unsigned depth);

static void remove_name(int parent, const char *name, unsigned depth)
{
	int fd;

	if (unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM) || depth == 0)
		return;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	empty_directory(fd, depth - 1);
	unlinkat(parent, name, AT_REMOVEDIR);
}

/* Takes FD. */
static void empty_directory(int fd, unsigned depth)
{
	struct dirent *entry;
	DIR *dir;

	(void)fchmod(fd, 0700); /* it may have its final mode already */
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (!is_dots(entry->d_name))
			remove_name(dirfd(dir), entry->d_name, depth);
	}
	closedir(dir);
}

void place_drop(struct place *place)
{
	if (place->parent >= 0)
		remove_name(place->parent, place->name, DEPTH_MAX);
	forget(place);
}

/* A symlink cannot be locked: it lives for two system calls, and one that is swept meanwhile is an error of that copy. */
static bool is_leftover(int parent, const char *name)
{
	int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool left;

	if (fd < 0)
		return errno == ELOOP;
	left = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return left;
}

void place_sweep(int parent, const char *name)
{
	char prefix[PLACE_NAME_SIZE];
	struct dirent *entry;
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	prefix_of(name, prefix);
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
		    is_leftover(parent, entry->d_name))
			remove_name(parent, entry->d_name, DEPTH_MAX);
	}
	closedir(dir);
}
