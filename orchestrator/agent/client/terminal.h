/* SPDX-License-Identifier: MIT */
/* The user's terminal while it is a guest's: raw, and given back as it was on every way out.
 *
 * One per process, the one behind a descriptor (the standard input).  From terminal_raw() on it is given back by
 * terminal_restore(), at exit(3), and by every signal that would end or stop the process; only SIGKILL has no such way.
 * A SIGTSTP from outside stops us with the terminal restored and makes it raw again when we go on (Ctrl-Z typed by the user is the
 * guest's, like every other key).
 *
 * Threads: main thread only.
 */
#ifndef AGENT_CLIENT_TERMINAL_H
#define AGENT_CLIENT_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* False, and nothing changed: fd is no terminal. */
bool terminal_raw(int fd);
/* Safe in a signal handler, and any number of times. */
void terminal_restore(void);

/* False: fd has no size. */
bool terminal_size(int fd, unsigned *ret_rows, unsigned *ret_cols);

/* --- the way out ------------------------------------------------------------------------------------------ */

#define TERMINAL_ESCAPE       0x1d /* Ctrl-] */
#define TERMINAL_ESCAPE_TIMES 3
#define TERMINAL_ESCAPE_US    1000000 /* all of them within that time */

/* Ctrl-] three times within a second leaves, whatever the guest does.  One or two of them are typed by people in vi. */
struct terminal_escape {
	long long first_us;
	unsigned n;
};

/* Look through what was typed at time now_us (of a clock that never goes back).  Returns how many of the len bytes are for
 * the guest: less than len when the last of the three was among them. */
size_t terminal_escape(struct terminal_escape *e, const char *typed, size_t len, long long now_us);

#endif
