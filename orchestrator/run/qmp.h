/* SPDX-License-Identifier: MIT */
/* The monitor of one QEMU: greeting, capabilities, commands in order, events.
 *
 * QEMU serves one client of a monitor at a time.  When the connection ends QEMU goes on, and listens again where it did.
 *
 * Trust:   QEMU is ours, but its guest may have taken it over: everything it says is checked as a stranger's.
 * Threads: the thread of the default main context.
 */
#ifndef RUN_QMP_H
#define RUN_QMP_H

#include <stdbool.h>
#include <glib.h>

struct json_object;
struct qmp;

struct qmp_ops {
	/* Commands are taken; status is query-status's: "running", "paused", … */
	void (*ready)(struct qmp *q, const char *status, void *data);
	/* "SHUTDOWN", "RESET", "POWERDOWN", …; event_data may be NULL. */
	void (*event)(struct qmp *q, const char *name, struct json_object *event_data, void *data);
	/* The connection has ended.  Every command has been answered.  May free the qmp. */
	void (*closed)(struct qmp *q, const char *why, void *data);
};

/* The answer to one command: exactly one of result ("return") and error is set; both borrowed. */
typedef void qmp_answer_fn(struct json_object *result, const GError *error, void *data);

/* Takes over a connected socket. */
struct qmp *qmp_new(int fd, const struct qmp_ops *ops, void *data);
/* Commands under way are never answered. */
void qmp_free(struct qmp *q);
/* The other side has hung up: an answer that comes now is not QEMU's. */
bool qmp_ended(const struct qmp *q);

/* arguments: NULL or a reference that is taken.  answer may be NULL.  Before ready() commands wait their turn. */
void qmp_execute(struct qmp *q, const char *command, struct json_object *arguments,
		 qmp_answer_fn *answer, void *data);

/* How the chardev of that label is, a socket that QEMU dials, by the answer to query-chardev: anything, or NULL. */
enum qmp_chardev { QMP_CHARDEV_NONE, QMP_CHARDEV_WAITS, QMP_CHARDEV_CONNECTED };
enum qmp_chardev qmp_chardev(struct json_object *answer, const char *label);

#endif
