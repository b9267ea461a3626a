/* SPDX-License-Identifier: MIT */
/* What is asked of a libvirtd, each in one blocking call: for threads of their own.
 *
 * Whether a domain is a lab's is decided here, by the mark that render/libvirt.h put into it: the lab's name, its state
 * directory and the word "supervisor".  Any other domain is somebody else's, whatever it is called, and is left alone.
 *
 * A domain with sockets is started paused: its socket device is plugged into a port that waits for it, behind a chardev that
 * reconnects, and then the guest begins.  (On the command line libvirt gives QEMU, such a device fails: render/qemu.h.)
 *
 * Threads: any.  Strings of a struct work_domain stay as they are while anything is done with it.
 */
#ifndef RUN_ENGINE_LIBVIRT_WORK_H
#define RUN_ENGINE_LIBVIRT_WORK_H

#include <stdbool.h>
#include <stdint.h>
#include <glib.h>

#include "run/engine_libvirt_api.h"
#include "run/proc.h"

/* Whose domains are meant. */
struct work_lab {
	char *uri;
	bool system; /* of qemu:///system */
	char *lab;
	char *state_dir;
};

struct work_domain {
	const struct work_lab *lab;
	char *vm;      /* "n1" */
	char *name;    /* "three-nodes.n1" */
	char *vsock;   /* its socket device's socket; NULL: it has none */
	gint unwanted; /* atomic: it shall not come up any more */
};

/* How a domain is. */
struct work_found {
	bool paused;
	struct proc_id id; /* pid 0: not to be found on this host */
	char *console;     /* "/dev/pts/3"; NULL: none */
};
void work_found_clear(struct work_found *found);

/* One of the lab's that runs. */
struct work_listed {
	char *vm;
	char *settings; /* plan_vm_settings() when it was defined */
	struct proc_id id;
};
void work_listed_free(void *listed);

/* Connect.  ORCH_ERROR_HOST_UNFIT, with the way out; no more than the first of what such an error says is libvirt's. */
virConnectPtr work_open(const char *uri, GError **error);

/* Define it as xml says, and bring it up; one that runs is left as it is.  Errors: ORCH_ERROR_CONFLICT: a domain of that
 * name is not the lab's; ORCH_ERROR_FAILED: libvirt or QEMU will not have it, and it is down. */
gboolean work_start(virConnectPtr conn, struct work_domain *d, const char *xml,
		    struct work_found *ret, GError **error);

/* How one that may run is.  Its sockets are plugged in if they are not; resume: what is paused goes on.  FALSE: it does not
 * run, or is not the lab's; or *ret_lost: the connection is gone. */
gboolean work_look(virConnectPtr conn, struct work_domain *d, bool resume, struct work_found *ret,
		   bool *ret_lost, GError **error);

/* Orders.  A domain that does not run, or is not the lab's, is left alone, and that is an error. */
gboolean work_press_button(virConnectPtr conn, const struct work_domain *d, GError **error);
gboolean work_destroy(virConnectPtr conn, const struct work_domain *d, bool gracefully,
		      GError **error);
/* The same at once, and what libvirt has lost sight of: its QEMU. */
gboolean work_kill(virConnectPtr conn, const struct work_domain *d, GError **error);
/* Suspend and resume it, as soon as its socket device is connected. */
gboolean work_refresh(virConnectPtr conn, struct work_domain *d, GError **error);
gboolean work_set_link(virConnectPtr conn, const struct work_domain *d, unsigned nic, bool up,
		       GError **error);

/* Those of the lab's that run: of struct work_listed, with work_listed_free().  NULL: *error says why. */
GPtrArray *work_list(virConnectPtr conn, const struct work_lab *lab, GError **error);

/* Undefine the lab's domain of that VM; NULL: all of the lab's, which are ended first.  One that runs, or is not there, is
 * no error. */
gboolean work_undefine(virConnectPtr conn, const struct work_lab *lab, const char *vm,
		       GError **error);

/* Where libvirt writes what QEMU says; g_free(). */
char *work_log_path(const struct work_domain *d);
/* The last line that QEMU itself wrote there at or after offset 'from'; NULL: none, or it may not be read.  g_free(). */
char *work_last_words(const struct work_domain *d, gint64 from);

#endif
