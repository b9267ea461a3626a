/* SPDX-License-Identifier: MIT */
/* A shared library that is loaded when it is first needed.
 *
 * Linked, it would take its time, and that of all the libraries behind it, of the start of every command, most of which have
 * nothing to do with it; loaded, it may be missing from a host that does without.
 *
 * Its functions are told as a table, which one list makes along with the pointers that it fills in:
 *   struct api { FUNCTIONS(X) };     with X(name) as  __typeof__(&name) name;
 *   { FUNCTIONS(X) { NULL } };       with X(name) as  { #name, &api.name },
 *
 * Threads: any. */
#ifndef ORCHESTRATOR_HOST_LIBRARY_H
#define ORCHESTRATOR_HOST_LIBRARY_H

#include <glib.h>
#include <stdbool.h>

struct library_function {
	const char *name;
	void *into; /* the address of a pointer to such a function */
};

/* Of static storage, and its own: a program has one of each. */
struct library {
	const char *soname;
	const char *
		dir; /* where it was when this was built, if the loader's own places do not have it */
	const struct library_function *functions; /* to a name that is NULL */
	bool loaded;                              /* private */
};

/* Have it there, with all of its functions; once loaded it stays.  NULL, or why it cannot be: g_free(). */
char *library_load(struct library *library);

#endif
