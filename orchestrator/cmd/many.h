/* SPDX-License-Identifier: MIT */
/* Programs in many guests at once: each a job with its own end, none holding up another. */
#ifndef CMD_MANY_H
#define CMD_MANY_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "agent/client/exec.h"
#include "cmd/reach.h"

struct vm_paths;

#define MANY_AT_ONCE 64 /* four descriptors each, of the 1024 that a process has by default */
#define MANY_KEEP \
	(16u << 20) /* bytes of each stream that are kept; what is beyond is counted and dropped */

struct many_job {
	char *label; /* "n1", "n1/debian" */
	struct target target;
	struct vm_paths *paths;
	struct exec_command command; /* what it points to is the caller's */
	gint64 timeout_ms;           /* 0: as long as it takes */
	void *data;                  /* the caller's */

	/* Its end. */
	bool done;
	struct exec_end end;
	GError *error; /* NULL: it ran, to its end */
	bool timed_out;
	GByteArray *output[2]; /* collected */
	uint64_t dropped[2];
	gint64 took_us;

	/* Of many.c. */
	struct many *many;
	struct exec *exec;
	guint timer;
	gint64 begun_us;
};

struct many_ops {
	/* As of struct exec_ops; NULL: it is collected in job->output. */
	size_t (*output)(struct many_job *job, unsigned stream, const uint8_t *bytes, size_t len,
			 void *data);
	/* The job has come to its end.  May be NULL. */
	void (*done)(struct many_job *job, void *data);
};

/* NULL, with *error: such a VM there is not, or it has no sockets. */
struct many_job *many_job_new(const struct reach *r, const char *word, GError **error);
void many_job_free(void *p); /* a struct many_job */

/* Run all of them, at most 'at_once' at a time, in their order; a job that cannot run ends with its error.  SIGINT and SIGTERM go
 * to all that run; the third abandons them.  Returns 0, or the signal's number if it was abandoned. */
int many_run(const struct reach *r, GPtrArray *jobs, unsigned at_once, const struct many_ops *ops,
	     void *data);
/* Within ops->output(): offer again what was not taken, of every job. */
void many_resume(GPtrArray *jobs);

#endif
