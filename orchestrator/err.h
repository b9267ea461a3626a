/* SPDX-License-Identifier: MIT */
/* Why the orchestrator could not do what it was asked: one GError domain whose codes are the exit codes.
 *
 * A GError of this domain carries a sentence for people; its code is what the process returns, so that a script
 * can tell a bad lab file from a host that cannot run it.  Errors of other domains (GIO's, say) are failures of
 * no particular kind: exit code 1.  GError is never for our own mistakes: those are g_assert().
 */
#ifndef ORCH_ERR_H
#define ORCH_ERR_H

#include <glib.h>

#define ORCH_ERROR (orch_error_quark())

enum orch_error {
	ORCH_ERROR_FAILED = 1,        /* anything without a better name below */
	ORCH_ERROR_USAGE = 2,         /* the command line makes no sense */
	ORCH_ERROR_INVALID_LAB = 3,   /* the lab file is wrong; nothing was started */
	ORCH_ERROR_HOST_UNFIT = 4,    /* the host lacks something: QEMU, a kernel, /dev/kvm */
	ORCH_ERROR_TIMEOUT = 5,       /* it did not happen in time; what was started was kept */
	ORCH_ERROR_PARTIAL = 6,       /* some of it worked */
	ORCH_ERROR_CONFLICT = 7,      /* someone else holds it: a lock, a socket, a name */
	ORCH_ERROR_INTERRUPTED = 130, /* Ctrl-C */
};

GQuark orch_error_quark(void);

/* The exit code for 'error': its code within ORCH_ERROR, 1 in any other domain, 0 for NULL. */
int err_exit_code(const GError *error);

/* The way back: an exit code that came over a socket or from a child as an error code.  Unknown codes are
 * ORCH_ERROR_FAILED. */
enum orch_error err_from_exit_code(int code);

/* Set *error from errno value 'errnum': "<formatted text>: <strerror>".  EACCES and EPERM stay FAILED: only the
 * caller knows whether the host is to blame.  'error' may be NULL. */
void err_set_errno(GError **error, enum orch_error code, int errnum, const char *format, ...)
	G_GNUC_PRINTF(4, 5);

#endif
