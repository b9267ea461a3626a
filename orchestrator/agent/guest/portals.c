/* SPDX-License-Identifier: MIT */
#include "agent/guest/portals.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/loop.h"
#include "agent/guest/modules.h"
#include "agent/guest/writefile.h"

#define LINKS   "/dev/portal"
#define PCI     "/sys/bus/pci/devices"
#define DAX     "/sys/bus/dax/devices"
#define ID_SIZE 16 /* "0x1af4\n" */

#define WAIT_MS \
	10000 /* the kernel makes its devices behind our back, slowly where it is emulated */
#define STEP_US 20000

/* The one line of a PCI device's file, as a number; 0: it has none. */
static unsigned long id_of(const char *device, const char *file)
{
	char path[PATH_MAX];
	size_t size = 0;
	char *text;
	unsigned long id;
	int err = 0;

	snprintf(path, sizeof(path), PCI "/%s/%s", device, file);
	text = readfile(path, ID_SIZE, &size, &err);
	id = text ? strtoul(text, NULL, 16) : 0;
	free(text);
	return id;
}

static bool is_portal(const char *device, bool ivshmem)
{
	return id_of(device, "vendor") == 0x1af4 &&
	       id_of(device, "device") == (ivshmem ? 0x1110 : 0x105b);
}

/* The index-th (from 0) device of that kind on the bus; false: there are fewer. */
static bool find_device(bool ivshmem, unsigned index, char ret_device[NAME_MAX + 1])
{
	struct dirent **entries = NULL;
	int n = scandir(PCI, &entries, NULL, alphasort);
	bool found = false;

	for (int i = 0; i < n; i++) {
		if (!found && is_portal(entries[i]->d_name, ivshmem) && index-- == 0) {
			found = true;
			snprintf(ret_device, NAME_MAX + 1, "%s", entries[i]->d_name);
		}
		free(entries[i]);
	}
	free(entries);
	return found;
}

/* The /dev/daxN.0 that hangs on a PCI device. */
static bool find_dax(const char *device, char ret_path[PATH_MAX])
{
	DIR *dir = opendir(DAX);
	char link[PATH_MAX], part[NAME_MAX + 3];
	bool found = false;

	snprintf(part, sizeof(part), "/%s/", device);
	for (struct dirent *e; dir && !found && (e = readdir(dir));) {
		ssize_t len = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);

		if (len < 0)
			continue;
		link[len] = '\0';
		found = strstr(link, part) != NULL;
		if (found)
			snprintf(ret_path, PATH_MAX, "/dev/%s", e->d_name);
	}
	if (dir)
		closedir(dir);
	return found && access(ret_path, F_OK) == 0;
}

/* As libportal has it: vhost-user/portal/client/door.c. */
#if defined(__x86_64__) || defined(__i386__)
#define PCI_MEMORY "resource2"
#else
#define PCI_MEMORY "resource2_wc"
#endif

/* What programs map of the index-th portal of its kind. */
static bool find_memory(bool ivshmem, unsigned index, char ret_path[PATH_MAX])
{
	char device[NAME_MAX + 1];

	if (!find_device(ivshmem, index, device))
		return false;
	if (!ivshmem)
		return find_dax(device, ret_path);
	snprintf(ret_path, PATH_MAX, PCI "/%s/" PCI_MEMORY, device);
	return access(ret_path, F_OK) == 0;
}

static void attach(struct agent *agent, const char *name, bool ivshmem, unsigned index)
{
	uint64_t until = loop_now_ms() + WAIT_MS;
	char path[PATH_MAX], link[PATH_MAX];

	while (!find_memory(ivshmem, index, path)) {
		if (loop_now_ms() > until) {
			agent_trouble(agent, "portal %s: its device has not come up", name);
			return;
		}
		usleep(STEP_US);
	}
	snprintf(link, sizeof(link), LINKS "/%s", name);
	if (symlink(path, link) && errno != EEXIST)
		agent_trouble(agent, "%s: %s", link, strerror(errno));
}

void portals_expect(struct portals *p, char *line)
{
	char *door = line;
	const char *name = strsep(&door, " ");

	if (!door || p->n == PORTALS_MAX)
		return;
	p->expected[p->n].name = name;
	p->expected[p->n].ivshmem = strcmp(door, "ivshmem") == 0;
	p->n++;
}

void portals_attach(const struct portals *p, struct agent *agent)
{
	unsigned seen[2] = { 0 };
	int err;

	if (p->n == 0)
		return;
	err = modules_need("portal");
	if (err && err != -ENOENT) /* built in */
		agent_trouble(agent, "the modules of portals: %s", strerror(-err));
	(void)mkdir(LINKS, 0755);
	for (unsigned i = 0; i < p->n; i++) {
		bool ivshmem = p->expected[i].ivshmem;

		attach(agent, p->expected[i].name, ivshmem, seen[ivshmem]++);
	}
}
