/* SPDX-License-Identifier: MIT */
/* Files and trees between this host and guests, or between two guests: what `cp` does for one source.
 *
 * The bytes go by agent/copy.h in a thread of their own; sessions with the agents, progress and cancelling are the main loop's.  The
 * target is whole or absent, however it ends.
 *
 * Trust:   copy.h's, on both ends.  What a guest says of itself is freed of control characters.
 * Threads: the thread of the default main context.
 */
#ifndef AGENT_CLIENT_TRANSFER_H
#define AGENT_CLIENT_TRANSFER_H

#include <stdbool.h>
#include <glib.h>

#include "agent/client/link.h"
#include "agent/copy.h"

#define TRANSFER_ANSWER_MS 30000 /* for the agents' last words, when all bytes are through */

/* One end. */
struct transfer_end {
	const char *path;
	const char *vm;              /* NULL: on this host; else for messages */
	const char *distro;          /* NULL: the VM itself */
	const char *user;            /* whose rights count there; NULL: root's */
	struct link_address address; /* of its agent */
};

struct transfer;

/* Begin.  At least one end is a guest.  Both are borrowed until transfer_free().  NULL: a guest cannot be reached, and
 * *ret_unreached (may not be NULL) says which. */
struct transfer *transfer_new(const struct transfer_end *from, const struct transfer_end *to,
			      const struct transfer_end **ret_unreached, GError **error);
/* Cancels what has not ended, and waits until this host's part of it is cleared away. */
void transfer_free(struct transfer *t);

/* Looked at after every round of the main context. */
bool transfer_done(struct transfer *t);
/* End it soon: transfer_done() says when. */
void transfer_cancel(struct transfer *t);
/* As far as this host knows it; between two guests, the bytes alone. */
struct copy_report transfer_so_far(struct transfer *t);

/* When it is done: whether all is in place.  *ret_unreached (may not be NULL): the end whose agent never answered, or NULL. */
gboolean transfer_result(struct transfer *t, struct copy_report *ret_report,
			 const struct transfer_end **ret_unreached, GError **error);

#endif
