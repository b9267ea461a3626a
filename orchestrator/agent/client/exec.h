/* SPDX-License-Identifier: MIT */
/* A program run in a guest: its streams, its signals, its end.
 *
 * One EXEC with a session of its own, which carries the program's streams, too: one connection and one round trip are all that the
 * shortest program costs.  A terminal has a data connection; where there is much to flow, or with an agent that knows no other
 * way (which its refusal tells), every stream has one.  Streams wait for whoever is slow, each on its own; nothing that the program wrote
 * before its end is lost.
 *
 * A program may leave others behind that hold its streams.  They are not waited for: what came before EXIT is taken, and then,
 * after EXEC_LEFT_MS of silence, it has ended.
 *
 * Trust:   as in session.h.  A guest that says EXIT and then neither ends a stream nor writes to it holds nobody longer than
 *          EXEC_LINGER_MS.
 * Threads: the thread of the default main context, whose loop all callbacks come from.
 */
#ifndef AGENT_CLIENT_EXEC_H
#define AGENT_CLIENT_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <glib.h>

#include "agent/client/link.h"

#define EXEC_LINGER_MS 5000
#define EXEC_LEFT_MS   200

/* What to run.  NULL: unsaid, as the agent does then (doc/agent.md). */
struct exec_command {
	const char *const *argv;
	const char *const *env; /* "NAME=VALUE" */
	const char *cwd, *user, *distro;
	bool input; /* there will be exec_input(); false: it reads the end of file */
	bool merge; /* its error goes where its output goes, in the order in which they are written: both EXEC_STDOUT */
	bool bulk; /* so much is to flow that connections of their own pay for the streams: nothing is copied in the guest then */
	bool tty;  /* output and input are a terminal's */
	const char *term;
	unsigned rows, cols;
};

enum exec_stream { EXEC_STDIN, EXEC_STDOUT, EXEC_STDERR, EXEC_STREAMS };

/* How it ended. */
struct exec_end {
	int code; /* 0..255, as a shell's $?: 128 and the signal that ended it; 127, 126: not found, not a program */
	int signal; /* 0: it exited */
	bool ran;   /* false: it was not started; the error says why */
};

struct exec;

struct exec_ops {
	/* What it wrote to EXEC_STDOUT (a terminal: everything) or EXEC_STDERR; returns how much was taken, and after less
	 * than all exec_resume() brings the rest. */
	size_t (*output)(struct exec *x, enum exec_stream stream, const uint8_t *bytes, size_t len,
			 void *data);
	/* There is room for input again after exec_input() took less than all.  May be NULL. */
	void (*room)(struct exec *x, void *data);
	/* It has ended and every byte of its output was taken; or *error says what went wrong, and end->ran whether before
	 * it began.  Comes once; may free the exec. */
	void (*ended)(struct exec *x, const struct exec_end *end, const GError *error, void *data);
};

/* NULL: nobody could be connected to, *error says why.  command is copied as far as needed. */
struct exec *exec_new(const struct link_address *address, const struct exec_command *command,
		      const struct exec_ops *ops, void *data, GError **error);
/* What runs gets SIGHUP from its agent. */
void exec_free(struct exec *x);

size_t exec_input(struct exec *x, const void *bytes, size_t len);
void exec_input_end(struct exec *x);
/* It does not read any more. */
bool exec_input_deaf(const struct exec *x);
void exec_resume(struct exec *x, enum exec_stream stream);
/* Nobody reads that output any more: the program's next write fails. */
void exec_refuse(struct exec *x, enum exec_stream stream);

/* Before it runs these are kept, and sent when it does. */
void exec_signal(struct exec *x, int signal);
void exec_window(struct exec *x, unsigned rows, unsigned cols);

/* Whether an agent has answered at all. */
bool exec_greeted(const struct exec *x);

#endif
