/* SPDX-License-Identifier: MIT */
/* The receiving end of a copy on arbitrary bytes.  Whatever they say, nothing appears outside the target and no temporary name
 * is left; and an entry that the decoder lets through is the same when it is written again.
 *
 * The first byte chooses: its lowest bit whether the target is a directory that is there or a new name, the next
 * whether a tree of this name is there already and is merged into. */
#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/copy.h"
#include "agent/copy_stream.h"
#include "agent/copy_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

struct input {
	const uint8_t *data;
	size_t size;
	int fd;
};

/* In a thread: more than a socket holds must not stop us. */
static void *feed(void *data)
{
	struct input *in = data;

	while (in->size > 0) {
		ssize_t n = send(in->fd, in->data, in->size, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		in->data += n;
		in->size -= (size_t)n;
	}
	shutdown(in->fd, SHUT_WR);
	return NULL;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static int open_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	if (flag == FTW_D || flag == FTW_DNR)
		CHECK(chmod(path, 0700) == 0);
	return 0;
}

/* No temporary of a copy is anywhere. */
static int look_at_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	CHECK(strncmp(path + ftw->base, ".vhost-lab.", 11) != 0);
	return 0;
}

static unsigned n_names(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

static void check_entry(const uint8_t *data, size_t size)
{
	static struct copy_entry entry;
	uint8_t again[COPY_ENTRY_MAX];

	if (size <= COPY_ENTRY_MAX && copy_entry_get(data, size, &entry) == 0) {
		CHECK(copy_entry_put(again, &entry) == size);
		CHECK(memcmp(again, data, size) == 0);
		CHECK(!strchr(entry.name, '/') && strcmp(entry.name, "..") != 0);
	}
}

static void receive(const uint8_t *data, size_t size, const char *target)
{
	struct input in = { data, size, -1 };
	struct copy_report report;
	pthread_t thread;
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	in.fd = pair[0];
	CHECK(pthread_create(&thread, NULL, feed, &in) == 0);
	if (copy_receive(pair[1], target, NULL, &report) < 0)
		CHECK(report.text[0]);
	close(pair[1]);
	pthread_join(thread, NULL);
	close(pair[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char top[] = "/dev/shm/fuzz-copy-XXXXXX", target[64], there[80];

	if (size == 0 || size > 1 << 20)
		return 0;
	if (access("/dev/shm", W_OK) < 0)
		memcpy(top, "/tmp/////", 9);
	check_entry(data + 1, size - 1);
	CHECK(mkdtemp(top));
	snprintf(target, sizeof(target), "%s/target", top);
	snprintf(there, sizeof(there), "%s/d", target);
	if (data[0] & 1)
		CHECK(mkdir(target, 0755) == 0);
	if ((data[0] & 3) == 3)
		CHECK(mkdir(there, 0755) == 0);
	receive(data + 1, size - 1, target);
	CHECK(n_names(top) <= 1);
	CHECK(nftw(top, look_at_one, 16, FTW_PHYS) == 0);
	(void)nftw(top, open_one, 16, FTW_PHYS);
	CHECK(nftw(top, remove_one, 16, FTW_PHYS | FTW_DEPTH) == 0);
	return 0;
}
