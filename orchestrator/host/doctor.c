/* SPDX-License-Identifier: MIT */
#include "host/doctor.h"

#include <stdarg.h>
#include <string.h>

#include "host/facts.h"
#include "model/lab.h"

#define MIB          ((guint64)1 << 20)
#define GUEST        (512 * MIB) /* a VM that says nothing about its memory */
#define QEMU_MAJOR   7           /* the oldest QEMU we are tested with: 7.2 */
#define QEMU_MINOR   2
#define RUNTIME_NEED (4 * MIB)   /* sockets and their directories */
#define IMAGE_NEED   (512 * MIB) /* a kernel package, unpacked, and the image made of it */
#define NOFILE_NEED  1024        /* some 12 file descriptors for each port of a switch */

const char *doctor_status_name(enum doctor_status status)
{
	static const char *const names[DOCTOR_STATUS_COUNT] = {
		[DOCTOR_OK] = "ok",
		[DOCTOR_INFO] = "info",
		[DOCTOR_WARN] = "warn",
		[DOCTOR_FAIL] = "fail",
	};

	return (guint)status < DOCTOR_STATUS_COUNT ? names[status] : "unknown";
}

bool doctor_has_failed(const GPtrArray *rows)
{
	for (guint i = 0; i < rows->len; i++) {
		if (((struct doctor_row *)rows->pdata[i])->status == DOCTOR_FAIL)
			return true;
	}
	return false;
}

static void row_free(void *data)
{
	struct doctor_row *row = data;

	g_free(row->what);
	g_free(row->why);
	g_free(row->todo);
	g_free(row);
}

/* Add a row; WHAT is taken over, the other texts are copied. */
static void add(GPtrArray *rows, const char *id, enum doctor_status status, char *what,
		const char *why, const char *todo)
{
	struct doctor_row *row = g_new0(struct doctor_row, 1);

	row->id = id;
	row->status = status;
	row->what = what;
	row->why = g_strdup(why);
	row->todo = g_strdup(todo);
	g_ptr_array_add(rows, row);
}

static char *text(const char *format, ...) G_GNUC_PRINTF(1, 2);

static char *text(const char *format, ...)
{
	va_list ap;
	char *s;

	va_start(ap, format);
	s = g_strdup_vprintf(format, ap);
	va_end(ap);
	return s;
}

static char *bytes(guint64 n)
{
	return g_format_size_full(n, G_FORMAT_SIZE_IEC_UNITS);
}

/* --- programs --------------------------------------------------------------------------------------------- */

static void examine_qemu(GPtrArray *rows, const struct host_facts *f)
{
	const struct qemu_caps *q = f->qemu;

	if (!q)
		add(rows, "qemu", DOCTOR_FAIL, text("%s", f->qemu_error),
		    "nothing runs without QEMU",
		    "install QEMU 7.2 or newer, or set ORCHESTRATOR_QEMU to its path");
	else if (q->major < QEMU_MAJOR || (q->major == QEMU_MAJOR && q->minor < QEMU_MINOR))
		add(rows, "qemu", DOCTOR_FAIL, text("%s, %s", q->version, q->binary),
		    "labs are made for QEMU 7.2 and newer",
		    "install a newer one, or set ORCHESTRATOR_QEMU to its path");
	else
		add(rows, "qemu", DOCTOR_OK, text("%s, %s", q->version, q->binary), "", "");
}

static void examine_daemon(GPtrArray *rows, const struct host_facts *f)
{
	if (f->daemon)
		add(rows, "vhost-user-net", DOCTOR_OK, text("%s", f->daemon), "", "");
	else
		add(rows, "vhost-user-net", DOCTOR_FAIL, text("%s", f->daemon_error),
		    "the networks of a lab are switches of this program",
		    "build or install vhost-lab whole, or set ORCHESTRATOR_DAEMON_DIR");
}

static void examine_sockets(GPtrArray *rows, const struct host_facts *f)
{
	const char *id = "sockets", *without = "\"sockets\": \"none\" in the lab does without";
	const char *rebuild = "build or install vhost-lab whole, or set ORCHESTRATOR_DAEMON_DIR";

	if (!f->hvsock)
		add(rows, id, DOCTOR_FAIL, text("%s", f->hvsock_error),
		    "exec, cp and the agent's readiness run on sockets of this program", rebuild);
	else if (!f->agent)
		add(rows, id, DOCTOR_FAIL, text("%s", f->agent_error),
		    "it is the first program of the guest image \"tiny\"", rebuild);
	else if (f->qemu && !f->qemu->has_vsock)
		add(rows, id, DOCTOR_WARN,
		    text("QEMU %s has no vhost-user-vsock-pci", f->qemu->version),
		    "VMs start without sockets: exec, cp, probes and distributions do not work",
		    without);
	else
		add(rows, id, DOCTOR_OK, text("%s", f->hvsock), "", "");
}

static void examine_hvsock(GPtrArray *rows, const struct host_facts *f)
{
	const char *id = "hvsock", *only = "only VMs with \"sockets\": \"hvsock\" need it";
	g_autofree char *todo =
		text("run %s, which takes some minutes",
		     f->qemu_build ? f->qemu_build : "qemu-patches/build of vhost-lab's source");

	if (f->patched && f->patched->has_hvsock)
		add(rows, id, DOCTOR_OK,
		    text("QEMU %s, %s", f->patched->version, f->patched->binary), "", "");
	else if (f->patched)
		add(rows, id, DOCTOR_INFO, text("QEMU %s has no vmbus-hvsock", f->patched->version),
		    only, todo);
	else
		add(rows, id, DOCTOR_INFO, text("no QEMU that has vmbus-hvsock"), only, todo);
}

/* The QEMU that has the door "vhost-user"; NULL: none here. */
static const struct qemu_caps *served_by(const struct host_facts *f)
{
	if (f->patched && f->patched->has_vhost_user_pmem)
		return f->patched;
	return f->qemu && f->qemu->has_vhost_user_device ? f->qemu : NULL;
}

static char *portal_doors(const struct host_facts *f)
{
	const struct qemu_caps *q = served_by(f);

	return q ? text("%s; the door \"vhost-user\" has QEMU %s, %s", f->portal, q->version,
			q->binary) :
		   text("%s; no QEMU here has the door \"vhost-user\"", f->portal);
}

static void examine_portals(GPtrArray *rows, const struct host_facts *f)
{
	const char *id = "portals", *only = "only labs with \"portals\" need it";

	if (!f->portal)
		add(rows, id, DOCTOR_WARN, text("%s", f->portal_error), only,
		    "build or install vhost-lab whole, or set ORCHESTRATOR_DAEMON_DIR");
	else if (f->qemu && !f->qemu->has_pmem)
		add(rows, id, DOCTOR_WARN, text("QEMU %s has no virtio-pmem-pci", f->qemu->version),
		    only, "the door \"ivshmem\" does without, where QEMU has ivshmem-doorbell");
	else
		add(rows, id, DOCTOR_OK, portal_doors(f), "", "");
}

static void examine_libvirt(GPtrArray *rows, const struct host_facts *f)
{
	if (f->libvirt)
		add(rows, "libvirt", DOCTOR_INFO, text("%s", f->libvirt),
		    "labs run without it; `render libvirt` gives their VMs to virsh", "");
	else
		add(rows, "libvirt", DOCTOR_INFO, text("not installed"), "labs run without it", "");
}

#define NOT_TRIED "labs run without it"

static void examine_session(GPtrArray *rows, const struct host_facts *f)
{
	const struct libvirt_reach *r = &f->libvirt_session;

	if (r->version)
		add(rows, "libvirt-session", DOCTOR_INFO, text("%s", r->version),
		    "qemu:///session: VMs of yours, as free as you are", "");
	else if (r->error)
		add(rows, "libvirt-session", DOCTOR_INFO,
		    text("%s",
			 strstr(r->error, "Failed to connect socket") ? "does not run" : r->error),
		    "qemu:///session: whoever asks for it starts it", "");
	else
		add(rows, "libvirt-session", DOCTOR_INFO, text("no virsh"), NOT_TRIED,
		    "for VMs in virsh: install libvirt-daemon-system and libvirt-clients");
}

static void examine_system(GPtrArray *rows, const struct host_facts *f)
{
	const struct libvirt_reach *r = &f->libvirt_system;
	const char *todo = "start libvirtd, join the group libvirt, or use qemu:///session";

	if (r->version)
		add(rows, "libvirt-system", DOCTOR_INFO, text("%s", r->version),
		    "qemu:///system: VMs of this host", "");
	else if (r->error)
		add(rows, "libvirt-system", DOCTOR_INFO, text("%s", r->error), NOT_TRIED, todo);
	else
		add(rows, "libvirt-system", DOCTOR_INFO, text("no virsh"), NOT_TRIED, "");
}

/* Rules where they are needed: for a module that is at work, and a libvirt that runs QEMUs under it. */
static void examine_lsm(GPtrArray *rows, const struct host_facts *f)
{
	const struct lsm_places places = { f->runtime_dir, f->state_dir, f->cache_dir };
	g_autofree char *rules = lsm_apparmor_rules(&places);
	g_autofree char *into = g_strconcat("put into " LSM_APPARMOR_FILE ":\n", rules, NULL);
	g_autofree char *commands = lsm_selinux_commands(&places);
	g_autofree char *as_root = g_strconcat("as root:\n", commands, NULL);
	const char *why = "it confines the VMs of qemu:///system, of no other";

	if (f->lsm.apparmor)
		add(rows, "apparmor", DOCTOR_INFO, text("active"), why, f->libvirt ? into : "");
	else
		add(rows, "apparmor", DOCTOR_INFO, text("not active"), "", "");
	if (f->lsm.selinux)
		add(rows, "selinux", DOCTOR_INFO,
		    text("%s", f->lsm.selinux_enforcing ? "enforcing" : "permissive"), why,
		    f->libvirt && f->lsm.selinux_enforcing ? as_root : "");
	else
		add(rows, "selinux", DOCTOR_INFO, text("not active"), "", "");
}

static void examine_image(GPtrArray *rows, const struct host_facts *f)
{
	const char *id = "tiny-image";

	if (!f->busybox)
		add(rows, id, DOCTOR_FAIL, text("there is no busybox"),
		    "the guest image \"tiny\" is made of it", "install the package busybox-static");
	else if (f->tiny_built)
		add(rows, id, DOCTOR_OK, text("built, in %s", f->cache_dir), "", "");
	else if (!f->apt && !f->installed_kernel)
		add(rows, id, DOCTOR_FAIL, text("no apt, and no kernel in /boot that can be read"),
		    "the guest image \"tiny\" needs a kernel of the distribution",
		    "install a kernel package, make /boot/vmlinuz-* readable, or name kernel and initrd under \"images\" in the lab");
	else if (f->cache_free < IMAGE_NEED) {
		g_autofree char *have = bytes(f->cache_free);

		add(rows, id, DOCTOR_WARN, text("%s free at %s", have, f->cache_dir),
		    "making the guest image takes up to 512 MiB for a moment",
		    "free some space, or point XDG_CACHE_HOME elsewhere");
	} else
		add(rows, id, DOCTOR_OK, text("can be built, from %s", f->apt ? "apt" : "/boot"),
		    "", "");
}

/* --- virtualization --------------------------------------------------------------------------------------- */

static void examine_platform(GPtrArray *rows, const struct host_facts *f)
{
	if (f->wsl2)
		add(rows, "platform", DOCTOR_INFO, text("WSL2, Linux %s", f->kernel),
		    "a VM of Hyper-V: this is level 1, the VMs of a lab are level 2", "");
	else if (f->hypervisor)
		add(rows, "platform", DOCTOR_INFO,
		    text("a virtual machine of \"%s\", Linux %s", f->hypervisor, f->kernel),
		    "this is level 1 or deeper, the VMs of a lab are one level below", "");
	else
		add(rows, "platform", DOCTOR_INFO, text("bare metal, Linux %s", f->kernel),
		    "the VMs of a lab are level 1", "");
}

/* What each state means for a lab; the slowdown is said in every one but the first. */
#define SLOW \
	"VMs run under TCG, some ten times slower: seconds to boot a small guest, minutes for a distribution"

static const struct {
	const char *what, *todo;
} kvm_rows[KVM_STATE_COUNT] = {
	[KVM_STATE_USABLE] = { "usable: a VM with a vCPU was made", "" },
	[KVM_STATE_ABSENT] = { "no /dev/kvm", "load the module: modprobe kvm_intel or kvm_amd" },
	[KVM_STATE_FORBIDDEN] = { "/dev/kvm is there, but not for you",
				  "join its group: sudo usermod -aG kvm $USER, and log in again" },
	[KVM_STATE_PVM] = { "not usable: this is a PVM host",
			    "nothing; a host with nested or real virtualization would be faster" },
	[KVM_STATE_NO_CPU] = { "not usable: the CPU shows neither vmx nor svm",
			       "switch virtualization on: in the firmware, or as nesting in the outer hypervisor" },
	[KVM_STATE_BROKEN] = { "not usable: /dev/kvm opens and then fails",
			       "see the kernel log (dmesg) for kvm" },
};

/* Where nesting is switched on depends on what is outside. */
static const char *kvm_todo(const struct host_facts *f)
{
	if (f->kvm.state != KVM_STATE_NO_CPU && f->kvm.state != KVM_STATE_ABSENT)
		return kvm_rows[f->kvm.state].todo;
	if (f->wsl2)
		return "set nestedVirtualization=true under [wsl2] in .wslconfig (Windows 11), then wsl --shutdown";
	if (g_strcmp0(f->hypervisor, "Microsoft Hv") == 0 && f->kvm.state == KVM_STATE_NO_CPU)
		return "on the Hyper-V host: Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions $true";
	return kvm_rows[f->kvm.state].todo;
}

static void examine_kvm(GPtrArray *rows, const struct host_facts *f)
{
	enum kvm_state state = f->kvm.state;
	char *what = f->kvm.errnum ?
			     text("%s (%s)", kvm_rows[state].what, g_strerror(f->kvm.errnum)) :
			     text("%s", kvm_rows[state].what);

	if (state == KVM_STATE_USABLE)
		add(rows, "kvm", DOCTOR_OK, what, f->evmcs ? "by Hyper-V's enlightened VMCS" : "",
		    "");
	else if (state == KVM_STATE_PVM)
		add(rows, "kvm", DOCTOR_WARN, what,
		    "its /dev/kvm works by paravirtualization, where stock guest kernels hang. " SLOW,
		    kvm_todo(f));
	else
		add(rows, "kvm", DOCTOR_WARN, what, SLOW, kvm_todo(f));
}

static bool on_hyperv(const struct host_facts *f)
{
	return f->wsl2 || f->evmcs || g_strcmp0(f->hypervisor, "Microsoft Hv") == 0;
}

static void examine_nesting(GPtrArray *rows, const struct host_facts *f)
{
	bool offered = f->nested && strchr("Yy1", *f->nested);

	if (f->kvm.state != KVM_STATE_USABLE)
		add(rows, "nesting", DOCTOR_INFO,
		    text("depth 0: guests get no virtualization of their own"),
		    "without KVM there is nothing to nest; a VM inside a VM of a lab runs under TCG",
		    "");
	else if (on_hyperv(f))
		add(rows, "nesting", DOCTOR_INFO,
		    text("depth 0: Hyper-V ends at two levels, this one and the VMs of a lab"),
		    "level 2 has no virtualization of its own: a lab inside an outer VM of this host cannot use KVM",
		    "run labs here, at level 1, not in a VM of this host");
	else if (!offered)
		add(rows, "nesting", DOCTOR_INFO,
		    text("depth 0: kvm's parameter \"nested\" is off"),
		    "KVM does not work inside the VMs of a lab",
		    "options kvm_intel nested=1 (or kvm_amd) in /etc/modprobe.d");
	else
		add(rows, "nesting", DOCTOR_OK,
		    text("depth 1: KVM can work inside the VMs of a lab"), "", "");
}

/* --- resources -------------------------------------------------------------------------------------------- */

/* Guest memory is shared memory: it counts against the cgroup, and swap is the only other place for it. */
static guint64 usable_memory(const struct host_facts *f)
{
	return MIN(f->mem_available, f->mem_limit);
}

static void examine_memory(GPtrArray *rows, const struct host_facts *f)
{
	guint64 usable = usable_memory(f);
	g_autofree char *have = bytes(usable);
	g_autofree char *total = bytes(f->mem_total);
	const char *limited = f->mem_limit < f->mem_available ? ", by the limit of this cgroup" :
								"";
	char *what = text("%s of %s%s: %" G_GUINT64_FORMAT " VMs of 512 MiB", have, total, limited,
			  usable / GUEST);

	if (usable < GUEST)
		add(rows, "memory", DOCTOR_WARN, what, "a VM of the default size does not fit",
		    "give VMs less (\"memory\": \"128MiB\" is enough for tiny), or free some");
	else
		add(rows, "memory", DOCTOR_OK, what, "", "");
}

static void examine_memfd(GPtrArray *rows, const struct host_facts *f)
{
	if (!f->memfd_errnum)
		add(rows, "memfd", DOCTOR_OK, text("sealed memfds work"), "", "");
	else
		add(rows, "memfd", DOCTOR_FAIL,
		    text("memfd_create: %s", g_strerror(f->memfd_errnum)),
		    "guest memory is a memfd that the switch maps",
		    "use a kernel with memfd, and a container that does not forbid it");
}

static void examine_nofile(GPtrArray *rows, const struct host_facts *f)
{
	char *what = f->nofile_soft > 1000000 ?
			     text("no limit that matters") :
			     text("%" G_GUINT64_FORMAT " (at most %" G_GUINT64_FORMAT ")",
				  f->nofile_soft, f->nofile_hard);

	if (f->nofile_soft >= NOFILE_NEED)
		add(rows, "open-files", DOCTOR_OK, what, "", "");
	else
		add(rows, "open-files", DOCTOR_WARN, what,
		    "each port of a switch takes some 12 file descriptors",
		    "ulimit -n 4096 before starting large labs");
}

static void examine_runtime(GPtrArray *rows, const struct host_facts *f)
{
	g_autofree char *have = bytes(f->runtime_free);
	const char *id = "runtime-dir";

	if (f->runtime_errnum)
		add(rows, id, DOCTOR_FAIL,
		    text("%s: %s", f->runtime_dir, g_strerror(f->runtime_errnum)),
		    "the sockets of a lab are made there",
		    "point XDG_RUNTIME_DIR to a directory of yours");
	else if (f->runtime_free < RUNTIME_NEED)
		add(rows, id, DOCTOR_FAIL, text("%s: %s free", f->runtime_dir, have),
		    "the sockets of a lab are made there", "free some space there");
	else
		add(rows, id, DOCTOR_OK, text("%s, %s free", f->runtime_dir, have), "", "");
}

static void examine_cgroup(GPtrArray *rows, const struct host_facts *f)
{
	if (!f->cgroup2)
		add(rows, "cgroups", DOCTOR_INFO, text("not version 2"),
		    "labs do not need them; limiting a whole lab by systemd does", "");
	else
		add(rows, "cgroups", DOCTOR_OK,
		    text("version 2%s%s", *f->cgroup_controllers ? ": " : ", no controllers here",
			 f->cgroup_controllers),
		    "", "");
}

static void examine_tun(GPtrArray *rows, const struct host_facts *f)
{
	if (f->tun)
		add(rows, "tun", DOCTOR_INFO, text("/dev/net/tun can be opened"),
		    "labs do not need it: their switches run in user space", "");
	else
		add(rows, "tun", DOCTOR_INFO, text("/dev/net/tun cannot be opened"),
		    "labs do not need it: their switches run in user space",
		    "only for taps of your own: modprobe tun");
}

/* --- what others need ------------------------------------------------------------------------------------- */

/* One id for each of host_unneeded[]: ids are not built at run time, so that the manual can list them. */
static const char *const unneeded_ids[] = { "not-needed-openvswitch", "not-needed-sch_netem",
					    "not-needed-vhost_net", "not-needed-vhost_vsock" };

static bool is_loaded(const struct host_facts *f, const char *name)
{
	for (guint i = 0; f->unneeded && i < f->unneeded->len; i++) {
		if (!strcmp(f->unneeded->pdata[i], name))
			return true;
	}
	return false;
}

static void examine_unneeded(GPtrArray *rows, const struct host_facts *f)
{
	for (guint i = 0; i < G_N_ELEMENTS(unneeded_ids); i++)
		add(rows, unneeded_ids[i], DOCTOR_INFO,
		    text("%s: %s, not needed", host_unneeded[i],
			 is_loaded(f, host_unneeded[i]) ? "loaded" : "not loaded"),
		    "", "");
}

/* --- one lab ---------------------------------------------------------------------------------------------- */

static guint64 lab_memory(const struct lab *lab)
{
	guint64 sum = 0;

	for (guint i = 0; i < lab->vms->len; i++)
		sum += lab_vm(lab, i)->memory;
	return sum;
}

static const struct vm *wants_kvm(const struct lab *lab)
{
	for (guint i = 0; i < lab->vms->len; i++) {
		if (lab_vm(lab, i)->accel == LAB_ACCEL_KVM)
			return lab_vm(lab, i);
	}
	return NULL;
}

static void examine_lab(GPtrArray *rows, const struct host_facts *f, const struct lab *lab)
{
	guint64 need = lab_memory(lab);
	g_autofree char *needs = bytes(need);
	g_autofree char *has = bytes(usable_memory(f));
	const struct vm *kvm = wants_kvm(lab);

	if (kvm && f->kvm.state != KVM_STATE_USABLE)
		add(rows, "lab", DOCTOR_FAIL, text("%s: VM %s wants KVM", lab->name, kvm->name),
		    "KVM is not usable here: see the row kvm",
		    "\"accel\": \"auto\" takes what there is");
	else if (need > usable_memory(f))
		add(rows, "lab", DOCTOR_WARN,
		    text("%s: %u VMs may use %s, and %s are there", lab->name, lab->vms->len, needs,
			 has),
		    "memory is taken as the guests touch it; when it ends, the kernel kills a VM",
		    "give the VMs less memory, or run fewer");
	else
		add(rows, "lab", DOCTOR_OK,
		    text("%s: %u VMs with %s fit into %s", lab->name, lab->vms->len, needs, has),
		    "", "");
}

GPtrArray *doctor_examine(const struct host_facts *f, const struct lab *lab)
{
	GPtrArray *rows = g_ptr_array_new_with_free_func(row_free);

	examine_platform(rows, f);
	examine_kvm(rows, f);
	examine_nesting(rows, f);
	examine_qemu(rows, f);
	examine_daemon(rows, f);
	examine_sockets(rows, f);
	examine_hvsock(rows, f);
	examine_portals(rows, f);
	examine_image(rows, f);
	examine_memory(rows, f);
	examine_memfd(rows, f);
	examine_nofile(rows, f);
	examine_runtime(rows, f);
	examine_cgroup(rows, f);
	examine_tun(rows, f);
	examine_libvirt(rows, f);
	examine_session(rows, f);
	examine_system(rows, f);
	examine_lsm(rows, f);
	if (lab)
		examine_lab(rows, f, lab);
	examine_unneeded(rows, f);
	return rows;
}
