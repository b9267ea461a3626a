/* SPDX-License-Identifier: MIT */
/* A program in a guest in place of this process: its streams are ours, our signals are its, its end is our exit status. */
#ifndef CMD_ATTACHED_H
#define CMD_ATTACHED_H

#include <glib.h>

struct exec_command;
struct reach;
struct target;

/* Run it to its end.  With command->tty our terminal, if the standard input is one, becomes the guest's: raw, its size and every
 * change of it are told, Ctrl-] three times within a second leaves; command->rows, cols and term are filled in here.
 *
 * Without, SIGINT, SIGTERM and SIGHUP go to the program; who sends the third is rid of us at once, and the program gets SIGHUP.
 *
 * Returns the program's exit status (128 and the signal's number if one ended it), 127 or 126 with a message where there is no such
 * program; or -1 with *error, which says what is missing if no agent answers. */
int attached_run(const struct reach *r, const struct target *target, struct exec_command *command,
		 GError **error);

#endif
