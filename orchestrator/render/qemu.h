/* SPDX-License-Identifier: MIT */
/* A VM as a QEMU command line.
 *
 * Pure: the same lab, capabilities, image and paths give the same words; nothing is probed, no file is looked at.  What
 * `render qemu` prints is what the supervisor executes: both come from here, the script only quotes it.  There are two
 * differences.  With RENDER_SUPERVISED QEMU has a second monitor, on a socket that it inherits, connected; why, and what for,
 * says run/engine_qemu.c.  And a vhost-user-vsock device does not wait for a chardev that reconnects, and fails; one that does not
 * reconnect never comes back when the daemon has been restarted.  Who holds a monitor has both: QEMU then stops before it
 * makes its devices (-preconfig), and goes on when it is told to (x-exit-preconfig), once the chardev is connected.  A script,
 * with nobody at the monitor, does without reconnecting.
 *
 * What a command line says, for every VM:
 *   - nothing of QEMU's defaults (-nodefaults, -no-user-config), no display;
 *   - guest memory as one shared memfd, which vhost-user needs;
 *   - serial 0: the console, a socket that takes one client at a time and logs everything to a file;
 *     serial 1: output only, to the `ready` file, where the guest says that it is up;
 *   - QMP on a socket;
 *   - its sockets as a vhost-user client of the daemon, where this QEMU has the device; Hyper-V's as a device of a VMBus, and a CPU
 *     that says so;
 *   - each distribution as a virtio disk whose serial number is the distribution's name;
 *   - each NIC as a vhost-user client of its port's socket; QEMU reconnects by itself when the switch is restarted;
 *   - each portal as its door: a virtio-pmem device over its file, which QEMU maps shared and, where the VM may only read,
 *     read-only; or a device that gets the memory from its daemon: vhost-user-pmem-pci, or else the device for any backend;
 *   - the guest's configuration by fw_cfg, from a file: never on the kernel command line;
 *   - every device at its place on the root bus (render/pci.h).
 *
 * The files of the portals must have been made, by their daemons: a QEMU that finds none makes an empty one.
 * The sockets of the ports must be listening before QEMU starts: a QEMU that finds none waits forever without a word.
 */
#ifndef RENDER_QEMU_H
#define RENDER_QEMU_H

#include <glib.h>
#include <stdbool.h>

#include "model/lab.h"

struct image;
struct qemu_caps;

/* Whether vm runs under KVM: what it says, or for "auto" what the host can (caps->kvm_usable and the host's own arch). */
bool render_qemu_uses_kvm(const struct vm *vm, const struct qemu_caps *caps);

enum render_for {
	RENDER_BY_HAND,    /* runs as it stands */
	RENDER_SUPERVISED, /* wants RENDER_MONITOR_FD; with sockets: waits for x-exit-preconfig */
};

/* The supervisor's end of a socket pair has the other end there. */
#define RENDER_MONITOR_FD 3

/* Whether vm has a socket device: it wants one, and its QEMU has it.  Of Hyper-V's sockets it has; see render_qemu_check(). */
bool render_qemu_has_sockets(const struct vm *vm, const struct qemu_caps *caps);

/* The id of the chardev that has to be connected before x-exit-preconfig, and the device behind it, its place left out. */
#define RENDER_VSOCK_CHARDEV "vs0"
#define RENDER_VSOCK_DEVICE  "vhost-user-vsock-pci,id=vsock0,chardev=" RENDER_VSOCK_CHARDEV

/* The same of Hyper-V's sockets: the device on the VMBus, which connects by itself whenever its daemon is there; and what of the CPU
 * makes a guest look for a VMBus, whoever runs it: Linux that finds KVM beside Hyper-V takes it for KVM. */
#define RENDER_HVSOCK_DEVICE  "vmbus-hvsock"
#define RENDER_HVSOCK_CHARDEV "hv0"
#define RENDER_HYPERV_CPU     "kvm=off,hv-relaxed=on,hv-vpindex=on,hv-synic=on,hv-tsc-invariant=on"

/* What else is said of the CPU under TCG: properties and values, with commas; fsrs is one of newer QEMUs.  TCG takes a string
 * instruction's bytes one at a time; an x86 guest that is not told how quick they are copies and clears memory by other means, at
 * three times the speed. */
#define RENDER_TCG_X86_64  "erms=off,fsrm=off"
#define RENDER_TCG_FSRS    "fsrs=off"
#define RENDER_TCG_AARCH64 "pauth-impdef=on" /* the quick form of pointer authentication */
const char *render_qemu_tcg_cpu(enum lab_arch arch, const struct qemu_caps *caps);
/* The same for a VM whose -cpu is somebody else's: "-global", …  g_strfreev(). */
GStrv render_qemu_tcg_words(enum lab_arch arch, const struct qemu_caps *caps);

/* The words that are Hyper-V's sockets of a VM whose -cpu is somebody else's: "-global", …, "-device", ….  g_strfreev(). */
GStrv render_qemu_hvsock(const struct qemu_caps *caps, const struct vm_paths *p);

/* Whether this QEMU has what the VM's portals and its Hyper-V sockets are made of.  ORCH_ERROR_HOST_UNFIT, naming what it lacks.
 * Of the two devices for the door "vhost-user" the stock one cannot all that the door can: it then lacks the other. */
gboolean render_qemu_check(const struct vm *vm, const struct qemu_caps *caps, GError **error);

/* Doorbells of each ivshmem device: one interrupt of the guest. */
#define RENDER_IVSHMEM_VECTORS 1u
/* The device that is made for a portal's daemon, and QEMU's for a vhost-user backend of any kind. */
#define RENDER_PMEM_DEVICE "vhost-user-pmem-pci"
#define RENDER_TEST_DEVICE "vhost-user-test-device-pci"

/* The words, argv[0] (caps->binary) included; free with g_strfreev().  The errors are
 * ORCH_ERROR_HOST_UNFIT: the VM insists on KVM and the host has none, or what render_qemu_check() finds. */
gboolean render_qemu(const struct lab *lab, const struct vm *vm, const struct qemu_caps *caps,
		     const struct image *image, const struct lab_paths *paths, enum render_for whom,
		     GStrv *ret_argv, GError **error);

/* An sh script that makes the VM's directories and becomes that QEMU (exec): one option a line, every word quoted where it
 * needs to be.  It says in comments which sockets have to be there.  A guest configuration that lies beside it (n1.conf for
 * n1.sh) is put in its place first; it is no part of the script, because each one names every VM of the lab.  g_free(). */
char *render_qemu_script(const struct lab *lab, const struct vm *vm, const struct lab_paths *paths,
			 GStrv argv);

/* --- what a domain of libvirt's has in common with it ----------------------------------------------------------------- */

const char *render_qemu_machine(enum lab_arch arch); /* "q35" */
/* Whether -serial twice gives two; else the second is a PCI card. */
bool render_qemu_has_two_uarts(enum lab_arch arch);

/* How many MSI-X vectors a NIC gets.  Before QEMU 10 none without KVM: vhost_net_start() switches the masking of
 * vhost-user's notifiers off, and virtio-pci then goes for an irqfd that only KVM has (7.2 dies there, 10.0 does not;
 * those between are not trusted).  The NIC interrupts by INTx instead. */
unsigned render_qemu_n_vectors(const struct nic *nic, const struct qemu_caps *caps, bool kvm);

/* The words that are one portal of a VM: "-object", …, "-device", ….  p: of that VM.  g_strfreev(). */
GStrv render_qemu_portal(const struct portal_access *access, const struct qemu_caps *caps,
			 const struct lab_paths *paths, const struct vm_paths *p);

/* Whether it is a memory device, for which the machine keeps room; else it is in a PCI BAR. */
bool render_qemu_takes_room(const struct portal_access *access, const struct qemu_caps *caps);

/* A value inside key=value,key=value: QEMU reads a doubled comma as one.  g_free(). */
char *render_qemu_escape(const char *value);

/* word as sh reads it back unchanged: bare if harmless, else in single quotes.  Free with g_free(). */
char *render_sh_quote(const char *word);

#endif
