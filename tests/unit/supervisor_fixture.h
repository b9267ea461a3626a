/* SPDX-License-Identifier: MIT */
/* A supervisor without processes, for tests of its parts: the lab "web", its tables, and the connections to what the test plays. */
#ifndef TEST_SUPERVISOR_FIXTURE_H
#define TEST_SUPERVISOR_FIXTURE_H

#include "run/jsonrpc.h"
#include "run/supervisor.h"

/* A lab that has no mistakes; lab_free(). */
struct lab *supervisor_lab(const struct lab_dirs *dirs, const char *text);

/* All zero before; daemons and machines are the test's, who frees them before supervisor_end().  No round is ever run. */
void supervisor_begin(struct supervisor *sup, const struct lab_dirs *dirs, const char *text);
void supervisor_end(struct supervisor *sup);

/* A daemon as others see it that has said nothing yet. */
struct daemon *supervisor_daemon(struct supervisor *sup, const char *name,
				 const struct daemon_kind *kind, struct daemon_paths *paths);

/* It listens for that port, or for that VM. */
void supervisor_daemon_serves(struct daemon *d, const char *item);

/* A client of that server; rpc_client_free(). */
struct rpc_client *supervisor_connect(struct rpc_server *server);

#endif
