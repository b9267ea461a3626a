/* SPDX-License-Identifier: MIT */
/* What this host is and has: one table of facts, gathered once, judged elsewhere (doctor.h).
 *
 * Gathering reads files below a root prefix, so that a test can show it a WSL2, a PVM host or a bare machine; only what
 * no file tells (CPUID, limits, memfd) is asked of the running system, and can be given instead.
 *
 * Ownership: every string belongs to the struct; NULL means "not there" where the comment does not say otherwise. */
#ifndef ORCHESTRATOR_HOST_FACTS_H
#define ORCHESTRATOR_HOST_FACTS_H

#include <stdbool.h>
#include <glib.h>

#include "host/caps.h"
#include "host/kvm.h"
#include "host/lsm.h"

/* Whether a libvirt can be spoken to. */
struct libvirt_reach {
	char *version; /* "9.0.0, QEMU 7.2.22"; NULL: see error */
	char *error;   /* virsh's word; NULL: there is no virsh */
};

struct host_facts {
	char *kernel;     /* "6.18.20.1-microsoft-standard-WSL2"; never NULL */
	char *hypervisor; /* what CPUID says runs us: "Microsoft Hv"; NULL: bare metal */
	bool wsl2;
	bool evmcs; /* KVM here uses Hyper-V's enlightened VMCS */
	unsigned cpus;

	struct kvm_probe kvm;
	char *nested; /* kvm_intel's or kvm_amd's parameter "nested": "Y", "0" */

	guint64 mem_total, mem_available; /* bytes */
	guint64 mem_limit;                /* of our cgroup; G_MAXUINT64: none */

	char *cgroup_controllers; /* "cpu memory pids" */
	bool cgroup2;
	bool tun;         /* /dev/net/tun can be opened */
	int memfd_errnum; /* 0: sealed memfds work */
	guint64 nofile_soft, nofile_hard;

	char *runtime_dir;    /* where the sockets of labs go; never NULL */
	int runtime_errnum;   /* 0: it can be written (or made) */
	guint64 runtime_free; /* bytes */
	char *cache_dir;      /* where images go; never NULL */
	guint64 cache_free;

	struct qemu_caps *qemu; /* x86_64; NULL: see qemu_error */
	char *qemu_error;
	struct qemu_caps *patched; /* what "qemu": "patched" means now; NULL: nothing that runs */
	char *qemu_build;          /* path of qemu-patches/build; NULL: it is not here */
	char *daemon;              /* path of vhost-user-net; NULL: see daemon_error */
	char *daemon_error;
	char *hvsock; /* path of vhost-user-hvsock; NULL: see hvsock_error */
	char *hvsock_error;
	char *portal; /* path of vhost-user-portal; NULL: see portal_error */
	char *portal_error;
	char *agent; /* path of vhost-lab-agent, for the tiny guest; NULL: see agent_error */
	char *agent_error;
	char *libvirt; /* version of virsh */
	struct libvirt_reach libvirt_session, libvirt_system;
	struct lsm_facts lsm;
	char *state_dir; /* what labs leave behind; never NULL */

	bool busybox;          /* a busybox in $PATH */
	bool apt;              /* apt-get in $PATH */
	bool installed_kernel; /* a readable /boot/vmlinuz-* with modules */
	bool tiny_built;       /* the cache has a tiny image */

	GPtrArray *unneeded; /* of char *: kernel parts found that labs do without ("openvswitch") */
};

struct host_probe {
	const char *root;        /* NULL: this host */
	const char *hypervisor;  /* NULL: ask the CPU; "": none */
	const char *runtime_dir; /* the parent of the labs' socket directories; required */
	const char *cache_dir;   /* required */
	const char *state_dir;   /* required */
};

/* Never fails: what cannot be found out is a fact too.  Takes some tens of milliseconds, more the first time (a QEMU is
 * asked; see caps.h). */
struct host_facts *host_facts_gather(const struct host_probe *probe);
void host_facts_free(struct host_facts *facts);

/* Kernel parts that other lab tools need and this one does not; NULL-terminated. */
extern const char *const host_unneeded[];

#endif
