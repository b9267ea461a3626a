/* SPDX-License-Identifier: MIT */
/* Names in a directory that appear whole or not at all.
 *
 * What will be NAME is built as ".vhost-lab.<hash of NAME>.<random>" beside it, and renamed.  The builder holds a lock
 * (flock) on it, so that whoever comes later can tell what is under way from what a killed process left behind: the
 * latter can be locked, and is removed. */
#ifndef ORCHESTRATOR_AGENT_COPY_PLACE_H
#define ORCHESTRATOR_AGENT_COPY_PLACE_H

#include <stdbool.h>

#define PLACE_NAME_SIZE 48

struct place {
	int parent; /* the directory, borrowed; -1: nothing is being built */
	int fd;     /* of the file or directory, owned; -1: a symlink */
	char name[PLACE_NAME_SIZE];
};

/* Begin to build what will be NAME in PARENT: a file (read and write, mode 0600), a directory (mode 0700), a symlink to TARGET.
 * Returns 0 or a negative errno; place is as after place_drop() then. */
int place_file(struct place *place, int parent, const char *name);
int place_directory(struct place *place, int parent, const char *name);
int place_symlink(struct place *place, int parent, const char *name, const char *target);

/* Give it its name, in the place of a file or symlink of that name; closes fd.  On failure it is removed.
 * Returns 0 or a negative errno. */
int place_commit(struct place *place, const char *name);

/* Remove it with all that is in it.  Harmless when nothing is being built. */
void place_drop(struct place *place);

/* Remove what killed processes left of NAME in PARENT.  Errors do not matter: it is a courtesy. */
void place_sweep(int parent, const char *name);

#endif
