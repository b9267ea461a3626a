/* SPDX-License-Identifier: MIT */
#include "agent/guest/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_SIZE 32 /* DISK_NAME_LEN of Linux */

/* Up to the first newline.  Returns its length or a negative errno. */
static ssize_t read_line(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
	int err = errno;

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return -err;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return (ssize_t)strlen(out);
}

/* virtio-blk has the file beside the queue, NVMe and others below the device. */
static bool has_serial(const char *root, const char *disk, const char *serial)
{
	static const char *const places[] = { "serial", "device/serial" };
	char path[PATH_MAX], text[64];

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/sys/block/%s/%s", root, disk, places[i]);
		if (read_line(path, text, sizeof(text)) > 0 &&
		    strncmp(text, serial, DISK_SERIAL_MAX) == 0)
			return true;
	}
	return false;
}

int disk_find(const char *root, const char *serial, char ret_path[DISK_PATH_MAX])
{
	char path[PATH_MAX];
	struct dirent *d;
	int r = -ENODEV;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/sys/block", root);
	dir = serial[0] ? opendir(path) : NULL;
	while (dir && r < 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.' || strlen(d->d_name) >= NAME_SIZE ||
		    !has_serial(root, d->d_name, serial))
			continue;
		snprintf(ret_path, DISK_PATH_MAX, "/dev/%.32s", d->d_name);
		r = 0;
	}
	if (dir)
		closedir(dir);
	return r;
}

int disk_partition(const char *root, const char *device, char ret_path[DISK_PATH_MAX],
		   const char **ret_type)
{
	const char *disk = strrchr(device, '/') + 1;
	unsigned long long largest = 0;
	char path[PATH_MAX], text[64];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/sys/block/%s", root, disk);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		unsigned long long size;
		const char *type = NULL;

		if (strncmp(d->d_name, disk, strlen(disk)) != 0 || strlen(d->d_name) >= NAME_SIZE)
			continue;
		snprintf(path, sizeof(path), "%s/sys/block/%s/%.32s/size", root, disk, d->d_name);
		size = read_line(path, text, sizeof(text)) > 0 ? strtoull(text, NULL, 10) : 0;
		snprintf(path, sizeof(path), "%s/dev/%.32s", root, d->d_name);
		if (size <= largest || disk_type(path, &type) < 0)
			continue;
		largest = size;
		*ret_type = type;
		snprintf(ret_path, DISK_PATH_MAX, "/dev/%.32s", d->d_name);
	}
	if (dir)
		closedir(dir);
	return largest ? 0 : -ENODEV;
}

/* --- signatures ------------------------------------------------------------------------------------------- */

static const struct {
	const char *type;
	size_t offset, len;
	const char *bytes;
} signatures[] = {
	{ "ext4", 0x438, 2, "\x53\xef" }, /* ext2 and ext3, too: the driver is one */
	{ "squashfs", 0, 4, "hsqs" },
	{ "erofs", 1024, 4, "\xe2\xe1\xf5\xe0" },
	{ "xfs", 0, 4, "XFSB" },
	{ "btrfs", 0x10040, 8, "_BHRfS_M" },
	{ "f2fs", 1024, 4, "\x10\x20\xf5\xf2" },
	{ "iso9660", 0x8001, 5, "CD001" },
	{ "vfat", 0x52, 5, "FAT32" },
	{ "vfat", 0x36, 4, "FAT1" },
};

const char *disk_type_of(const uint8_t *head, size_t size)
{
	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		size_t offset = signatures[i].offset, len = signatures[i].len;

		if (len <= size && offset <= size - len &&
		    memcmp(head + offset, signatures[i].bytes, len) == 0)
			return signatures[i].type;
	}
	return NULL;
}

int disk_type(const char *path, const char **ret_type)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	uint8_t *head = malloc(DISK_HEAD);
	const char *type = NULL;
	ssize_t n = 0;

	if (fd < 0 || !head)
		err = fd < 0 ? errno : ENOMEM;
	else
		n = pread(fd, head, DISK_HEAD, 0);
	if (n < 0)
		err = errno;
	else if (!err)
		type = disk_type_of(head, (size_t)n);
	free(head);
	if (fd >= 0)
		close(fd);
	if (err)
		return -err;
	if (!type)
		return -EMEDIUMTYPE;
	*ret_type = type;
	return 0;
}
