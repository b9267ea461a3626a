/* SPDX-License-Identifier: MIT */
/* The shared main() of the backend daemons.
 *
 * A daemon is `int main(int argc, char **argv) { return backend_main(&desc, argc, argv); }`.  What backend_main()
 * does, in order: options; --config; inherited sockets; as many descriptors as the hard limit allows; signals (SIGPIPE
 * ignored; SIGTERM and SIGINT end the loop); the guards against truncated guest memory and against calls that wait
 * (mem_guard_install(), loop_guard()); desc->start(); the control socket; readiness (sd_notify over $NOTIFY_SOCKET); the
 * loop; desc->stop(); its socket files removed.  It never forks and never changes its working directory.
 *
 * Options of every daemon (QEMU's "Backend program conventions" and ours):
 *   --socket-path PATH   serve a frontend at PATH; may be repeated up to desc->max_sockets
 *   --fd N               the same on an inherited socket, listening or connected; not together with --socket-path
 *   --control PATH, --control-fd N, --config FILE, --log-level LEVEL, --print-capabilities, --version, --help
 * and socket activation, LISTEN_FDS: a listener at a path that is given to --socket-path or --control, or that the
 * configuration has as a string, is what listen_unix() of that path gives (listen_keep()); of the others the one named
 * "control" in LISTEN_FDNAMES is the control socket, and each of the rest a frontend's.
 *
 * Exit status: 0 after SIGTERM, SIGINT or the method "shutdown"; 1 if it could not start, the loop failed, or the daemon
 * has ended itself with b->status; 2 for usage.
 *
 * Control methods it adds to the daemon's own: "hello" {} → {"daemon","version","pid"}, "log.level" {"level"} → {},
 * "shutdown" {} → {}; and control.c's "subscribe".  control_context() of every method is the struct backend.
 *
 * Trust:   all input here is the operator's: mistakes are one line on stderr and an exit.  Only this file may exit().
 */
#ifndef VU_BACKEND_H
#define VU_BACKEND_H

#include <stdbool.h>

#include "loop.h"
#include "control.h"

#define BACKEND_SOCKETS_MAX 256

/* A frontend socket as given on the command line or by socket activation.  Either path is set and fd is -1:
 * start() makes the listener (listen_unix(), mode 0600); or fd is set and path is NULL: start() owns fd from its
 * call on. */
struct backend_socket {
	char name[64]; /* LISTEN_FDNAMES' name, else "port0", "port1", ... in order */
	const char *path;
	int fd;
	bool connected; /* fd is a connection, not a listener: there will be no other */
};

struct backend;

struct backend_desc {
	const char *name;            /* "vhost-user-net": in --help, --version, hello */
	const char *summary;         /* one line for --help */
	const char *type;            /* vhost-user.json's VHostUserBackendType, "net" */
	const char *const *features; /* for --print-capabilities; NULL-terminated, or NULL */
	/* Frontend sockets of the command line that it can serve, at most BACKEND_SOCKETS_MAX; 0: there are no such options. */
	unsigned max_sockets;
	unsigned max_threads;                 /* of --threads; 0: there is no such option */
	const struct control_method *methods; /* the daemon's own; may not repeat those above */
	unsigned n_methods;
	/* Set up and register in b->loop; b->device is for its use.  Runs before there is a control socket
	 * (b->control is NULL) and before readiness is told.  Logs its own errors.  0, or -errno: exit 1, stop()
	 * is not called. */
	int (*start)(struct backend *b);
	/* Close everything; deferred work still runs afterwards, and b->control is still there.  May not fail. */
	void (*stop)(struct backend *b);
};

struct backend {
	const struct backend_desc *desc;
	struct loop loop;
	struct control *control; /* NULL without --control */
	struct json_object
		*config; /* --config FILE, an object; NULL without.  Valid during start() only */
	const char *config_path; /* for its error messages */
	unsigned threads;        /* --threads; 0: not said */
	struct backend_socket *sockets;
	unsigned n_sockets;
	void *device;
	int status; /* 0, or -errno of a daemon that cannot go on: set before loop_stop() */
};

int backend_main(const struct backend_desc *desc, int argc, char **argv);

#endif
