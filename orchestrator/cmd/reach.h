/* SPDX-License-Identifier: MIT */
/* Which guest a word means, where its agent is reached, and why it is not.
 *
 *   n1                 a VM
 *   n1/debian          a distribution inside it
 *   n1/debian:/etc     a path there (cp)
 */
#ifndef CMD_REACH_H
#define CMD_REACH_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "agent/client/link.h"

struct lab;
struct lab_dirs;
struct lab_paths;
struct vm_paths;

/* A word taken apart. */
struct target {
	char *vm;
	char *distro; /* NULL: the VM itself */
};
void target_clear(struct target *t);
/* ORCH_ERROR_USAGE if the word cannot be one. */
gboolean target_parse(const char *word, struct target *ret, GError **error);
/* The length of the "VM[/DISTRO]" before the colon that makes a word a place in a guest; 0: it is a file of this host.  A
 * file whose name looks like that is written with "./" before it. */
size_t target_prefix(const char *word);

/* The lab whose guests a verb speaks to. */
struct reach {
	char *lab_name;
	struct lab *lab; /* as applied; NULL: it is down, or its copy is damaged */
	struct lab_dirs *dirs;
	struct lab_paths *paths;
};

/* opt_lab: as for cmd_find_lab(). */
struct reach *reach_new(const char *opt_lab, GError **error);
void reach_free(struct reach *r);

/* The VM's sockets, or those of a guest that is attached.  Fails for one that the lab does not have, and one that has no
 * sockets.  Free with vm_paths_free(). */
struct vm_paths *reach_vm(const struct reach *r, const char *vm, GError **error);
/* Where its agent answers; address->path is borrowed from the paths. */
struct link_address reach_agent(const struct reach *r, const struct vm_paths *paths);

/* Put in place of *error, which came from a VM whose agent has not answered, what is missing and what to do about it: the
 * lab is down, the VM does not run, it is not ready yet, it runs without an agent. */
void reach_explain(const struct reach *r, const char *vm, GError **error);

/* The stage of a VM as its supervisor (or what it left) tells it, one of run/ladder.h's words; caller frees.  NULL: nobody
 * knows of it. */
char *reach_stage(const struct reach *r, const char *vm);

/* What a VM of that lab waits for on its way to ready, as `status` says it, a probe's hint included; caller frees.  NULL:
 * nothing, or nobody knows. */
char *reach_waits_for(const char *lab_name, const char *vm);

#endif
