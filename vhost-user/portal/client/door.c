/* SPDX-License-Identifier: MIT */
#include "door.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"

#define PCI_DEVICES    "/sys/bus/pci/devices"
#define IVSHMEM_VENDOR 0x1af4
#define IVSHMEM_DEVICE 0x1110

/* The number in a file of sysfs; 0: there is none. */
static uint64_t read_number(const char *path)
{
	char text[32] = "";
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		return 0;
	return strtoull(text, NULL, 0);
}

/* A character device is good if it belongs to the dax bus. */
static int size_of_device(const struct stat *st, uint64_t *ret_size)
{
	char path[96], target[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem", major(st->st_rdev),
		 minor(st->st_rdev));
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -ENODEV;
	target[n] = '\0';
	if (n < 4 || strcmp(target + n - 4, "/dax") != 0)
		return -ENODEV;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/size", major(st->st_rdev),
		 minor(st->st_rdev));
	*ret_size = read_number(path);
	return *ret_size ? 0 : -ENODEV;
}

static int size_of(int fd, uint64_t *ret_size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISCHR(st.st_mode))
		return size_of_device(&st, ret_size);
	if (!S_ISREG(st.st_mode))
		return -ENODEV;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

int door_open_fd(int fd, struct mapping *ret_map, struct geometry *ret_geo)
{
	int access = fcntl(fd, F_GETFL);
	struct mapping map = { .may_write = access >= 0 && (access & O_ACCMODE) == O_RDWR };
	struct geometry geo;
	uint64_t size;
	size_t offset;
	int r = size_of(fd, &size);

	if (r < 0)
		return r;
	if (size < sizeof(struct portal_head))
		return -EPROTO;
	map.size = size;
	map.start = mmap(NULL, map.size, PROT_READ, MAP_SHARED, fd, 0);
	if (map.start == MAP_FAILED)
		return -errno;
	r = geometry_find(map.start, map.size, &offset, &geo);
	if (r < 0) {
		door_close(&map);
		return r;
	}
	map.base = (uint8_t *)map.start + offset;
	*ret_map = map;
	*ret_geo = geo;
	return 0;
}

/* With what rights we have.  O_NONBLOCK: who names a FIFO by mistake does not wait for its writer. */
static int open_widest(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS || errno == ETXTBSY))
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int door_open_path(const char *path, struct mapping *ret_map, struct geometry *ret_geo)
{
	auto_fd int fd = open_widest(path);

	return fd < 0 ? fd : door_open_fd(fd, ret_map, ret_geo);
}

static uint64_t pci_number(const char *address, const char *file)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", address, file);
	return read_number(path);
}

/* No driver may have claimed the device, and then nothing has made it answer to its addresses yet. */
static void enable_pci(const char *address)
{
	char path[PATH_MAX];
	auto_fd int fd = -1;

	if (pci_number(address, "enable") > 0)
		return;
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/enable", address);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "1", 1);
}

/* Write-combining memory of x86 does not keep the order of stores, which rings rely on; of ARM it is what can be accessed as
 * memory is, unaligned and by atomic instructions, while the other is registers. */
#if defined(__x86_64__) || defined(__i386__)
#define PCI_MEMORY "resource2"
#else
#define PCI_MEMORY "resource2_wc"
#endif

int door_open_pci(const char *address, struct mapping *ret_map, struct geometry *ret_geo)
{
	char path[PATH_MAX];

	if (strchr(address, '/') || strlen(address) > 32)
		return -EINVAL;
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/" PCI_MEMORY, address);
	if (access(path, F_OK) < 0)
		return -ENOENT;
	if (pci_number(address, "vendor") != IVSHMEM_VENDOR ||
	    pci_number(address, "device") != IVSHMEM_DEVICE)
		return -ENODEV;
	enable_pci(address);
	return door_open_path(path, ret_map, ret_geo);
}

static int open_dax(const char *device, struct mapping *ret_map, struct geometry *ret_geo)
{
	char path[PATH_MAX];

	if (strncmp(device, "dax", 3) != 0)
		return -ENOENT;
	snprintf(path, sizeof(path), "/dev/%s", device);
	return door_open_path(path, ret_map, ret_geo);
}

/* Try each entry of a folder.  0: one is the arena; else why the last one that might have been was not. */
static int search(const char *folder, const char *name,
		  int (*open_one)(const char *, struct mapping *, struct geometry *),
		  struct mapping *ret_map, struct geometry *ret_geo)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int found = -ENOENT;

	while (dir && found != 0 && (entry = readdir(dir))) {
		struct mapping map = { 0 };
		struct geometry geo = { 0 };
		int r = open_one(entry->d_name, &map, &geo);

		if (r == 0 && strcmp(geo.name, name) == 0) {
			*ret_map = map;
			*ret_geo = geo;
			found = 0;
		} else if (r == 0)
			door_close(&map);
		else if (r == -EACCES || r == -EPERM || r == -EOPNOTSUPP)
			found = r;
	}
	if (dir)
		closedir(dir);
	return found;
}

int door_open_name(const char *name, struct mapping *ret_map, struct geometry *ret_geo)
{
	int dax = search("/dev", name, open_dax, ret_map, ret_geo);
	int pci;

	if (dax == 0)
		return 0;
	pci = search(PCI_DEVICES, name, door_open_pci, ret_map, ret_geo);
	return pci == -ENOENT ? dax : pci;
}

int door_unlock(struct mapping *map)
{
	if (!map->may_write)
		return -EACCES;
	if (mprotect(map->start, map->size, PROT_READ | PROT_WRITE) < 0)
		return -errno;
	map->writable = true;
	return 0;
}

void door_fence(struct mapping *map)
{
	(void)mmap(map->start, map->size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

void door_close(struct mapping *map)
{
	if (map->start)
		munmap(map->start, map->size);
	*map = (struct mapping){ 0 };
}
