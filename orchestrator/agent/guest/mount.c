/* SPDX-License-Identifier: MIT */
#include "agent/guest/mount.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/guest/disk.h"
#include "agent/guest/loop.h"
#include "agent/guest/modules.h"
#include "agent/guest/mounting.h"
#include "agent/guest/writefile.h"

#define DISK_MS    5000 /* for a disk to appear */
#define DISK_STEP  50
#define DATA_MAX   1024
#define PATH_SPARE 16 /* "/lower" and the like */

static int say(char text[MOUNT_TEXT_MAX], int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* "FORMAT: REASON" for a negative errno.  Returns it. */
static int say(char text[MOUNT_TEXT_MAX], int err, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, MOUNT_TEXT_MAX, format, args);
	va_end(args);
	if (n >= 0 && n < MOUNT_TEXT_MAX)
		snprintf(text + n, MOUNT_TEXT_MAX - (size_t)n, ": %s", strerror(-err));
	return err;
}

/* --- carrying out ----------------------------------------------------------------------------------------- */

struct found {
	char source[PATH_MAX];
	const char *type;
};

static int wait_for_disk(const char *serial, char path[DISK_PATH_MAX])
{
	const struct timespec step = { 0, DISK_STEP * 1000000L };
	uint64_t until = loop_now_ms() + DISK_MS;

	(void)modules_need("virtio_blk");
	while (disk_find("", serial, path) < 0) {
		if (loop_now_ms() >= until)
			return -ENODEV;
		(void)nanosleep(&step, NULL);
	}
	return 0;
}

/* A disk without a file system of its own may have one in a partition. */
static int look_at_disk(struct found *found, char text[MOUNT_TEXT_MAX])
{
	char partition[DISK_PATH_MAX];
	int r = disk_type(found->source, &found->type);

	if (r == -EMEDIUMTYPE && strncmp(found->source, "/dev/", 5) == 0 &&
	    disk_partition("", found->source, partition, &found->type) == 0) {
		snprintf(found->source, sizeof(found->source), "%s", partition);
		return 0;
	}
	if (r == -EMEDIUMTYPE) {
		snprintf(text, MOUNT_TEXT_MAX, "%.400s: no file system that this agent knows",
			 found->source);
		return r;
	}
	return r < 0 ? say(text, r, "%s", found->source) : 0;
}

static int find_source(const struct mount_plan *plan, struct found *found,
		       char text[MOUNT_TEXT_MAX])
{
	char disk[DISK_PATH_MAX];

	snprintf(found->source, sizeof(found->source), "%s", plan->source);
	if (plan->serial[0]) {
		if (wait_for_disk(plan->serial, disk) < 0) {
			snprintf(text, MOUNT_TEXT_MAX, "no disk has the serial number \"%s\"",
				 plan->serial);
			return -ENODEV;
		}
		snprintf(found->source, sizeof(found->source), "%s", disk);
	}
	found->type = plan->type;
	if (plan->type[0])
		return 0;
	return look_at_disk(found, text);
}

static int attach(const struct mount_plan *plan, const struct found *found, const char *target,
		  bool readonly, char text[MOUNT_TEXT_MAX])
{
	unsigned long bits;
	char data[DATA_MAX];
	bool bind;
	int r = mounting_options(plan->options, &bits, data, sizeof(data));

	if (r < 0)
		return say(text, r, "%s", plan->options);
	if (readonly)
		bits |= MS_RDONLY;
	(void)modules_need(found->type); /* what is not there, mount() tells */
	bind = bits & MS_BIND || strcmp(found->type, "bind") == 0;
	if (bind)
		bits |= MS_BIND;
	if (mount(found->source[0] ? found->source : found->type, target, bind ? NULL : found->type,
		  bits, data[0] ? data : NULL) < 0)
		return say(text, -errno, "cannot mount %s (%s) at %s", found->source, found->type,
			   target);
	/* The kernel looks at a bind mount's flags only when it is asked again. */
	if (bind && bits & ~(unsigned long)(MS_BIND | MS_REC) &&
	    mount(NULL, target, NULL, (bits & ~(unsigned long)MS_REC) | MS_REMOUNT, NULL) < 0)
		return say(text, -errno, "cannot set options of %s", target);
	return 0;
}

static int make_below(const char *stage, const char *name, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", stage, name);
	return mkdir(out, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* The source read-only at STAGE/lower; what is written goes to a tmpfs on STAGE. */
static int attach_overlay(const struct mount_plan *plan, const struct found *found,
			  const char *target, const char *stage, char text[MOUNT_TEXT_MAX])
{
	char lower[PATH_MAX], upper[PATH_MAX], work[PATH_MAX], data[3 * PATH_MAX + 64];
	int r = writefile_dirs(stage);

	if (strlen(stage) > PATH_MAX - PATH_SPARE)
		r = -ENAMETOOLONG;
	if (r == 0 && mount("tmpfs", stage, "tmpfs", 0, "mode=0755") < 0)
		r = -errno;
	if (r == 0)
		r = make_below(stage, "lower", lower);
	if (r == 0)
		r = make_below(stage, "upper", upper);
	if (r == 0)
		r = make_below(stage, "work", work);
	if (r < 0)
		return say(text, r, "cannot make %s for an overlay", stage);
	r = attach(plan, found, lower, true, text);
	if (r < 0)
		return r;
	(void)modules_need("overlay");
	snprintf(data, sizeof(data), "lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work);
	if (mount("overlay", target, "overlay", 0, data) < 0)
		return say(text, -errno, "cannot mount an overlay at %s", target);
	return 0;
}

int mount_carry_out(const struct mount_plan *plan, const char *target, const char *stage,
		    char text[MOUNT_TEXT_MAX])
{
	struct found found;
	int r = find_source(plan, &found, text);

	if (r < 0)
		return r;
	r = writefile_dirs(target);
	if (r < 0)
		return say(text, r, "%s", target);
	if (plan->overlay)
		return attach_overlay(plan, &found, target, stage, text);
	return attach(plan, &found, target, plan->readonly, text);
}

/* --- requests --------------------------------------------------------------------------------------------- */

/* An optional string: too long, or no string, is wrong. */
static bool optional(struct json body, const char *key, char *out, size_t size)
{
	int r = json_string(json_get(body, key), out, size);

	if (r == -ENOENT)
		out[0] = '\0';
	return r >= 0 || r == -ENOENT;
}

const char *mount_plan_parse(struct mount_plan *plan, struct json body)
{
	*plan = (struct mount_plan){ 0 };
	if (!optional(body, "serial", plan->serial, sizeof(plan->serial)))
		return "serial";
	if (!optional(body, "source", plan->source, sizeof(plan->source)))
		return "source";
	if (!optional(body, "type", plan->type, sizeof(plan->type)))
		return "type";
	if (!optional(body, "options", plan->options, sizeof(plan->options)))
		return "options";
	if (json_bool(json_get(body, "readonly"), false, &plan->readonly) < 0)
		return "readonly";
	if (json_bool(json_get(body, "overlay"), false, &plan->overlay) < 0)
		return "overlay";
	if (plan->serial[0] && plan->source[0])
		return "serial or source";
	return plan->serial[0] || plan->source[0] || plan->type[0] ? NULL : "serial or source";
}
