/* SPDX-License-Identifier: MIT */
#include "agent/guest/copy.h"

#include <errno.h>
#include <limits.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/copy.h"
#include "agent/guest/agent.h"
#include "agent/guest/job.h"
#include "agent/guest/stream.h"

/* Credit of a connection that carries a copy: the host fills it while the guest writes to its disk. */
#define WINDOW (1024ul * 1024)

struct copying {
	struct operation op;
	struct stream_wait wait;
	struct job job;
	struct copy_report report;
	bool in, owner;
	bool in_distro, as_user;
	struct distro_door door;
	struct user user;
	int fd; /* the connection, also while the child has it: to break it off */
	char path[PATH_MAX];
};

/* Unix sockets have no such option; they are as fast without. */
static void widen(int fd)
{
	uint64_t size = WINDOW;

	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &size, sizeof(size));
	(void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size, sizeof(size));
}

static int work(struct job *job, int fd)
{
	struct copying *c = container_of(job, struct copying, job);
	const struct copy_options options = { .owner = c->owner };

	return c->in ? copy_receive(fd, c->path, &options, &c->report) :
		       copy_send(fd, c->path, &options, &c->report);
}

static void finish(struct copying *c)
{
	operation_stop(&c->op);
	stream_wait_stop(&c->wait);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

static void answer(struct copying *c)
{
	struct json_writer *w = operation_begin(&c->op, AGENT_COPY, 2);

	json_put_int(w, "files", (int64_t)c->report.files);
	json_put_int(w, "directories", (int64_t)c->report.directories);
	json_put_int(w, "links", (int64_t)c->report.links);
	json_put_int(w, "skipped", (int64_t)c->report.skipped);
	json_put_int(w, "bytes", (int64_t)c->report.bytes);
	operation_end(&c->op);
}

static void done(struct job *job, int r)
{
	struct copying *c = container_of(job, struct copying, job);

	if (r == 0)
		answer(c);
	else if (c->report.text[0])
		operation_error(&c->op, agent_error_from_errno(-r), "%s", c->report.text);
	else
		operation_errno(&c->op, -r, "%s", c->path);
	finish(c);
}

static void attached(struct stream_wait *wait, int err)
{
	struct copying *c = container_of(wait, struct copying, wait);
	const struct job_self self = { c->in_distro ? &c->door : NULL,
				       c->as_user ? &c->user : NULL };
	int r = err;

	if (r == 0) {
		c->fd = wait->fds[0];
		widen(c->fd);
		c->job.work = work;
		c->job.done = done;
		c->job.result = &c->report;
		c->job.result_size = sizeof(c->report);
		r = job_start(wait->agent, &c->job, &self, c->fd);
	}
	if (r < 0) {
		operation_errno(&c->op, -r, "%s", err ? "its data connection" : c->path);
		finish(c);
	}
}

/* The child sees its connection end, and cleans up behind itself. */
static void orphaned(struct operation *op)
{
	struct copying *c = container_of(op, struct copying, op);

	if (c->job.child.pid > 0)
		shutdown(c->fd, SHUT_RDWR);
	else
		finish(c);
}

/* Returns what is wrong with the request: the name of a member; NULL: nothing. */
static const char *parse(struct copying *c, struct json body, uint8_t token[AGENT_TOKEN_SIZE])
{
	char word[AGENT_TOKEN_HEX];

	if (json_string(json_get(body, "direction"), word, sizeof(word)) < 0 ||
	    (strcmp(word, "in") != 0 && strcmp(word, "out") != 0))
		return "direction";
	c->in = strcmp(word, "in") == 0;
	if (json_string(json_get(body, "path"), c->path, sizeof(c->path)) <= 0)
		return "path";
	if (json_bool(json_get(body, "owner"), false, &c->owner) < 0)
		return "owner";
	if (json_string(json_get(body, "token"), word, sizeof(word)) < 0 ||
	    !agent_token_from_hex(word, token))
		return "token";
	return NULL;
}

/* "distro" and "user".  Returns false when an error has been answered. */
static bool find_self(struct copying *c, struct session *session, const struct request *request)
{
	struct json user = json_get(request->body, "user"),
		    distro = json_get(request->body, "distro");
	char name[128] = "";
	int r;

	c->in_distro = json_present(distro);
	c->as_user = json_present(user);
	if (c->in_distro) {
		r = json_string(distro, name, sizeof(name));
		if (r >= 0)
			r = distro_find(session_agent(session), name, &c->door);
		if (r < 0) {
			session_errno(session, request, -r, "distribution \"%s\"", name);
			return false;
		}
	}
	if (c->as_user) {
		r = json_string(user, name, sizeof(name));
		if (r >= 0)
			r = user_find(c->in_distro ? c->door.root : "", name, &c->user);
		if (r < 0) {
			session_errno(session, request, -r, "user \"%s\"", name);
			return false;
		}
	}
	return true;
}

void copy_request(struct session *session, const struct request *request)
{
	struct copying *c = calloc(1, sizeof(*c));
	uint8_t token[AGENT_TOKEN_SIZE];
	const char *bad;
	int r;

	if (!c) {
		session_errno(session, request, ENOMEM, "COPY");
		return;
	}
	c->fd = -1;
	bad = parse(c, request->body, token);
	if (bad || !find_self(c, session, request)) {
		if (bad)
			session_bad(session, request, bad);
		free(c);
		return;
	}
	operation_start(&c->op, session, request, orphaned);
	r = stream_wait_start(session_agent(session), &c->wait, token, 1, attached);
	if (r < 0) {
		operation_errno(&c->op, -r, "token");
		finish(c);
	}
}
