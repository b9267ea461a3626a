/* SPDX-License-Identifier: MIT */
/* MOUNT and UMOUNT as requests: a job for a directory, distro.c for a distribution. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/copy_hash.h"
#include "agent/guest/agent.h"
#include "agent/guest/distro.h"
#include "agent/guest/job.h"
#include "agent/guest/mount.h"

struct mounting {
	struct operation op;
	struct job job;
	struct mount_plan plan;
	char target[PATH_MAX];
	char text[MOUNT_TEXT_MAX]; /* the job's result */
};

/* Each target's overlay has a stage of its own. */
static void stage_of(const char *target, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, MOUNT_STAGE "/overlay-%016llx",
		 (unsigned long long)XXH64(target, strlen(target), 0));
}

static int mount_work(struct job *job, int fd)
{
	struct mounting *m = container_of(job, struct mounting, job);
	char stage[PATH_MAX];

	stage_of(m->target, stage);
	return mount_carry_out(&m->plan, m->target, stage, m->text);
}

static int umount_work(struct job *job, int fd)
{
	struct mounting *m = container_of(job, struct mounting, job);
	char stage[PATH_MAX], lower[PATH_MAX + 8];

	if (umount2(m->target, UMOUNT_NOFOLLOW) < 0)
		return -errno;
	stage_of(m->target, stage);
	snprintf(lower, sizeof(lower), "%s/lower", stage);
	if (umount2(lower, UMOUNT_NOFOLLOW) == 0 && umount2(stage, UMOUNT_NOFOLLOW) == 0)
		(void)rmdir(stage);
	return 0;
}

static void finish(struct mounting *m)
{
	operation_stop(&m->op);
	free(m);
}

static void done(struct job *job, int r)
{
	struct mounting *m = container_of(job, struct mounting, job);

	if (r < 0 && m->text[0])
		operation_error(&m->op, agent_error_from_errno(-r), "%s", m->text);
	else if (r < 0)
		operation_errno(&m->op, -r, "%s", m->target);
	else if (m->op.request.type == AGENT_UMOUNT)
		operation_ok(&m->op);
	if (r == 0 && m->op.request.type == AGENT_MOUNT) {
		json_put_string(operation_begin(&m->op, AGENT_MOUNT, 2), "target", m->target);
		operation_end(&m->op);
	}
	finish(m);
}

/* What was begun is carried through; nobody hears of it. */
static void orphaned(struct operation *op)
{
}

/* In the target's place: the target itself, absolute. */
static bool parse_target(struct mounting *m, struct json body)
{
	return json_string(json_get(body, "target"), m->target, sizeof(m->target)) > 0 &&
	       m->target[0] == '/';
}

static void start(struct mounting *m, struct session *session, const struct request *request,
		  int (*work)(struct job *job, int fd))
{
	int r;

	m->job.work = work;
	m->job.done = done;
	m->job.result = m->text;
	m->job.result_size = sizeof(m->text);
	operation_start(&m->op, session, request, orphaned);
	r = job_start(session_agent(session), &m->job, NULL, -1);
	if (r < 0) {
		operation_errno(&m->op, -r, "%s", m->target);
		finish(m);
	}
}

void mount_request(struct session *session, const struct request *request)
{
	struct mounting *m;
	const char *bad;

	if (json_present(json_get(request->body, "distro"))) {
		distro_mount(session, request);
		return;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		session_errno(session, request, ENOMEM, "MOUNT");
		return;
	}
	bad = mount_plan_parse(&m->plan, request->body);
	if (!bad && !parse_target(m, request->body))
		bad = "target";
	if (bad) {
		session_bad(session, request, bad);
		free(m);
		return;
	}
	start(m, session, request, mount_work);
}

void umount_request(struct session *session, const struct request *request)
{
	struct mounting *m;

	if (json_present(json_get(request->body, "distro"))) {
		distro_umount(session, request);
		return;
	}
	m = calloc(1, sizeof(*m));
	if (!m) {
		session_errno(session, request, ENOMEM, "UMOUNT");
		return;
	}
	if (!parse_target(m, request->body)) {
		session_bad(session, request, "target");
		free(m);
		return;
	}
	start(m, session, request, umount_work);
}
