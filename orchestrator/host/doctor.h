/* SPDX-License-Identifier: MIT */
/* Judge the host: facts in, rows for `orchestrator doctor` out.  Pure.
 *
 * A row that fails says that labs cannot run; one that warns, that they run slower or smaller than they could.  Nothing
 * else may be more than "info": a part that is missing and not needed is no reason to worry anybody. */
#ifndef ORCHESTRATOR_HOST_DOCTOR_H
#define ORCHESTRATOR_HOST_DOCTOR_H

#include <stdbool.h>
#include <glib.h>

struct host_facts;
struct lab;

enum doctor_status { DOCTOR_OK, DOCTOR_INFO, DOCTOR_WARN, DOCTOR_FAIL, DOCTOR_STATUS_COUNT };

struct doctor_row {
	const char *id; /* stable, for scripts: "kvm", "memory", "not-needed-openvswitch" */
	enum doctor_status status;
	char *what; /* the finding: "usable" */
	char *why;  /* what it means for a lab; "" if that is plain */
	char *todo; /* what to do about it; "" for nothing */
};

/* "ok", "info", "warn", "fail". */
const char *doctor_status_name(enum doctor_status status);

/* The rows, always the same ones in the same order.  LAB, if not NULL, adds the row "lab": whether that one fits here.
 * Array of struct doctor_row; free with g_ptr_array_unref(). */
GPtrArray *doctor_examine(const struct host_facts *facts, const struct lab *lab);

bool doctor_has_failed(const GPtrArray *rows);

#endif
