/* SPDX-License-Identifier: MIT */
/* Terminals for programs that the host runs.
 *
 * The agent holds the master, and relays it to a data connection (relay.h); the program has the other end as its controlling
 * terminal (spawn.h). */
#ifndef ORCHESTRATOR_AGENT_GUEST_TTY_H
#define ORCHESTRATOR_AGENT_GUEST_TTY_H

#include <stdint.h>
#include <sys/types.h>

#include "agent/guest/json.h"

struct tty_size {
	uint16_t rows, cols;
};

/* "rows" and "cols" of OBJECT, 1 to 65535 each.  Returns 0 or -EINVAL. */
int tty_size_read(struct json object, struct tty_size *ret_size);

/* A new terminal that belongs to OWNER.  Returns the program's end; *ret_master: ours, non-blocking.  Both are close-on-exec.
 * Or a negative errno. */
int tty_open(const struct tty_size *size, uid_t owner, int *ret_master);

/* Tell the terminal, and by SIGWINCH its foreground group. */
void tty_resize(int master, const struct tty_size *size);

#endif
