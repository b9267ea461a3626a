/* SPDX-License-Identifier: MIT */
/* portal(1): what its commands share.
 *
 * A command takes its own arguments, does its work, and returns an exit code.  stdout is data, text for people or, with
 * --json, one object or one object a line for programs; stderr says in words what went wrong.
 */
#ifndef PORTAL_CLIENT_TOOL_H
#define PORTAL_CLIENT_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "portal.h"

enum tool_exit { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2, TOOL_TIMEOUT = 5 };

/* What was said before the command. */
struct tool {
	const char *where; /* NULL: the environment's PORTAL_PATH */
	struct portal_options options;
	bool json;
	const struct tool_command *command; /* the one that runs */
};

struct tool_command {
	const char *name, *arguments, *summary;
	int (*run)(struct tool *tool, int argc, char **argv); /* argv[0] is the command */
};

extern const struct tool_command tool_bench, tool_cat, tool_check, tool_create, tool_get, tool_info,
	tool_ls, tool_put, tool_quiesce, tool_recv, tool_send, tool_watch;

/* Attach, or say why not: then NULL. */
struct portal *tool_attach(struct tool *tool);

/* Open an end of a ring, waiting up to wait_ns for somebody to publish it.  0, or an error of portal_ring_open(). */
int tool_open_ring(struct portal *p, const char *name, enum portal_role role, uint64_t wait_ns,
		   struct portal_ring **ret_ring);

/* Say that `what` failed, and why; the exit code for it. */
int tool_fail(int error, const char *what, ...) __attribute__((format(printf, 2, 3)));

/* Say how the command is used; TOOL_USAGE. */
int tool_misuse(const struct tool *tool);

/* "64MiB", "4k", "100"; "2s", "150ms".  False: it is none. */
bool tool_size(const char *text, uint64_t *ret_bytes);
bool tool_duration(const char *text, uint64_t *ret_ns);

/* A deadline that is `ns` away; PORTAL_FOREVER stays what it is. */
uint64_t tool_deadline(uint64_t ns);

/* "64 MiB", into a buffer of at least 16 bytes, which is returned. */
const char *tool_bytes(uint64_t bytes, char *buf);

/* A string of JSON with its quotes: printable ASCII, all else escaped. */
void tool_json_string(FILE *to, const char *text);

void tool_json_bytes(FILE *to, const void *bytes, size_t len);

/* For names of enum portal_object_type, into a buffer of at least 16 bytes. */
const char *tool_type(uint32_t type, char *buf);

#endif
