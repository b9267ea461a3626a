/* SPDX-License-Identifier: MIT */
/* The progress of a lab's VMs on stderr: on a terminal one line per VM, redrawn; elsewhere one line per event.
 *
 *   n1   ready       3.4s
 *   n2   qmp         2.1s  [    1.204113] virtio_net virtio0 eth0: renamed
 *
 * The last column is the last line on the VM's console: what is being waited for is always visible.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <stdbool.h>
#include <glib.h>

#include "run/ladder.h"

struct json_object;
struct lab;
struct lab_paths;

struct progress_row {
	const char *name;
	const char *console_log; /* borrowed from the paths */
	gint64 console_from;     /* lines before that are of an earlier run */
	enum stage stage;
	gint64 begun_us; /* g_get_monotonic_time(); 0: not started */
	gint64 took_us;  /* when it has come to an end */
};

struct progress {
	const struct lab *lab;
	GArray *rows;   /* of struct progress_row, in the lab's order */
	bool live;      /* redraw */
	unsigned drawn; /* lines on the screen */
	guint timer;
	int name_width;
};

/* lab and paths are borrowed. */
struct progress *progress_new(const struct lab *lab, const struct lab_paths *paths);
/* The last picture, which stays; what is said from now on comes below it. */
void progress_end(struct progress *p);
void progress_free(struct progress *p);

/* Where the VMs stand before anything happens: the document of `status`. */
void progress_begin(struct progress *p, struct json_object *report);
/* A supervisor's "event". */
void progress_event(struct progress *p, struct json_object *event);
/* A line among the progress. */
void progress_say(struct progress *p, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The last line on a row's console, or NULL.  Caller frees. */
char *progress_last_line(const struct progress_row *row);

#endif
