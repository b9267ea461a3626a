/* SPDX-License-Identifier: MIT */
#include "render/qemu.h"

#include <string.h>

#include "err.h"
#include "host/caps.h"
#include "image/guest_conf.h"
#include "image/image.h"
#include "model/lab.h"
#include "render/pci.h"

/* How long QEMU waits before it tries the switch again. */
#define RECONNECT_MS 200
#define RECONNECT_S  1 /* where it counts in seconds only */

/* What the architectures do differently. */
static const struct machine {
	const char *type;
	const char *max_cpu; /* QEMU's type, whose properties are those of -cpu max */
	bool two_uarts;      /* `-serial` twice gives two; else the second is a PCI card */
} machines[LAB_ARCH_COUNT] = {
	[LAB_ARCH_X86_64] = { .type = "q35", .max_cpu = "max-x86_64-cpu", .two_uarts = true },
	[LAB_ARCH_AARCH64] = { .type = "virt", .max_cpu = "max-arm-cpu" },
};

#if defined(__x86_64__)
#define HOST_ARCH LAB_ARCH_X86_64
#elif defined(__aarch64__)
#define HOST_ARCH LAB_ARCH_AARCH64
#else
#define HOST_ARCH LAB_ARCH_COUNT
#endif

/* --- words ---------------------------------------------------------------------------------------------------------- */

/* A word, or two: "-option", "value". */
static void add(GPtrArray *argv, const char *option, const char *value)
{
	g_ptr_array_add(argv, g_strdup(option));
	if (value)
		g_ptr_array_add(argv, g_strdup(value));
}

static void G_GNUC_PRINTF(3, 4) addf(GPtrArray *argv, const char *option, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	g_ptr_array_add(argv, g_strdup(option));
	g_ptr_array_add(argv, g_strdup_vprintf(format, ap));
	va_end(ap);
}

char *render_qemu_escape(const char *value)
{
	g_auto(GStrv) parts = g_strsplit(value, ",", -1);

	return g_strjoinv(",,", parts);
}

/* A device at its place. */
static void add_device(GPtrArray *argv, struct pci_place place, const char *device)
{
	g_autofree char *where = pci_option(place);

	addf(argv, "-device", "%s%s", device, where);
}

/* --- the parts of a command line ------------------------------------------------------------------------------------ */

const char *render_qemu_machine(enum lab_arch arch)
{
	return machines[arch].type;
}

bool render_qemu_has_two_uarts(enum lab_arch arch)
{
	return machines[arch].two_uarts;
}

bool render_qemu_uses_kvm(const struct vm *vm, const struct qemu_caps *caps)
{
	if (vm->accel != LAB_ACCEL_AUTO)
		return vm->accel == LAB_ACCEL_KVM;
	return caps->kvm_usable && vm->arch == HOST_ARCH;
}

bool render_qemu_takes_room(const struct portal_access *access, const struct qemu_caps *caps)
{
	return access->door == PORTAL_DOOR_PMEM ||
	       (access->door == PORTAL_DOOR_VHOST_USER && caps->has_vhost_user_pmem);
}

/* Portals that are memory devices: room for them comes on top of the guest's own memory. */
static void add_memory(GPtrArray *argv, const struct vm *vm, const struct qemu_caps *caps)
{
	uint64_t room = 0;
	unsigned slots = 0;

	for (unsigned i = 0; i < vm->portals->len; i++) {
		const struct portal_access *a = vm_portal(vm, i);

		if (!render_qemu_takes_room(a, caps))
			continue;
		room += a->portal->size >> 20;
		slots++;
	}
	if (slots > 0)
		addf(argv, "-m", "%" G_GUINT64_FORMAT "M,slots=%u,maxmem=%" G_GUINT64_FORMAT "M",
		     vm->memory >> 20, slots, (vm->memory >> 20) + room);
	else
		addf(argv, "-m", "%" G_GUINT64_FORMAT "M", vm->memory >> 20);
}

const char *render_qemu_tcg_cpu(enum lab_arch arch, const struct qemu_caps *caps)
{
	if (arch == LAB_ARCH_AARCH64)
		return RENDER_TCG_AARCH64;
	return caps->has_fsrs ? RENDER_TCG_X86_64 "," RENDER_TCG_FSRS : RENDER_TCG_X86_64;
}

static void add_globals(GPtrArray *words, const char *type, const char *properties)
{
	g_auto(GStrv) all = g_strsplit(properties, ",", -1);

	for (char **property = all; *property; property++)
		addf(words, "-global", "%s.%s", type, *property);
}

GStrv render_qemu_tcg_words(enum lab_arch arch, const struct qemu_caps *caps)
{
	GPtrArray *words = g_ptr_array_new();

	add_globals(words, machines[arch].max_cpu, render_qemu_tcg_cpu(arch, caps));
	g_ptr_array_add(words, NULL);
	return (GStrv)g_ptr_array_free(words, FALSE);
}

static void add_cpu(GPtrArray *argv, const struct vm *vm, const struct qemu_caps *caps, bool kvm)
{
	g_autoptr(GString) cpu = g_string_new(kvm ? "host" : "max");

	if (!kvm)
		g_string_append_printf(cpu, ",%s", render_qemu_tcg_cpu(vm->arch, caps));
	if (vm->sockets == LAB_SOCKETS_HVSOCK)
		g_string_append(cpu, "," RENDER_HYPERV_CPU);
	add(argv, "-cpu", cpu->str);
}

static void add_machine(GPtrArray *argv, const struct vm *vm, const struct qemu_caps *caps,
			bool kvm)
{
	const struct machine *m = &machines[vm->arch];

	addf(argv, "-name", "guest=%s", vm->name);
	add(argv, "-nodefaults", NULL);
	add(argv, "-no-user-config", NULL);
	add(argv, "-display", "none");
	addf(argv, "-machine", "%s,accel=%s,memory-backend=mem0", m->type, kvm ? "kvm" : "tcg");
	add_cpu(argv, vm, caps, kvm);
	addf(argv, "-smp", "%u", vm->vcpus);
	add_memory(argv, vm, caps);
	addf(argv, "-object", "memory-backend-memfd,id=mem0,size=%" G_GUINT64_FORMAT "M,share=on",
	     vm->memory >> 20);
}

static void add_boot(GPtrArray *argv, const struct vm *vm, const struct image *image,
		     const struct vm_paths *p)
{
	g_autofree char *conf = render_qemu_escape(p->guest_conf);
	const char *own = vm->append ? vm->append : "";

	add(argv, "-kernel", image->kernel);
	if (image->initrd[0] != '\0')
		add(argv, "-initrd", image->initrd);
	if (image->append[0] != '\0' || own[0] != '\0')
		addf(argv, "-append", "%s%s%s", image->append,
		     image->append[0] != '\0' && own[0] != '\0' ? " " : "", own);
	addf(argv, "-fw_cfg", "name=%s,file=%s", GUEST_CONF_FW_CFG, conf);
}

static void add_serial(GPtrArray *argv, const struct vm *vm, const struct vm_paths *p)
{
	g_autofree char *con = render_qemu_escape(p->con),
			*log = render_qemu_escape(p->console_log);
	g_autofree char *ready = render_qemu_escape(p->ready);

	addf(argv, "-chardev", "socket,id=con0,path=%s,server=on,wait=off,logfile=%s,logappend=on",
	     con, log);
	add(argv, "-serial", "chardev:con0");
	addf(argv, "-chardev", "file,id=ready0,path=%s,append=on", ready);
	if (machines[vm->arch].two_uarts)
		add(argv, "-serial", "chardev:ready0");
	else
		add_device(argv, pci_serial(), "pci-serial,chardev=ready0");
}

static void add_monitors(GPtrArray *argv, enum render_for whom, const struct vm_paths *p)
{
	g_autofree char *qmp = render_qemu_escape(p->qmp);

	addf(argv, "-chardev", "socket,id=qmp0,path=%s,server=on,wait=off", qmp);
	add(argv, "-mon", "chardev=qmp0,mode=control");
	if (whom == RENDER_SUPERVISED) {
		addf(argv, "-chardev", "socket,id=sup0,fd=%d", RENDER_MONITOR_FD);
		add(argv, "-mon", "chardev=sup0,mode=control");
	}
}

/* "reconnect-ms=200", in this QEMU's words; g_free(). */
static char *reconnect_option(const struct qemu_caps *caps)
{
	return caps->has_reconnect_ms ? g_strdup_printf("reconnect-ms=%d", RECONNECT_MS) :
					g_strdup_printf("reconnect=%d", RECONNECT_S);
}

unsigned render_qemu_n_vectors(const struct nic *nic, const struct qemu_caps *caps, bool kvm)
{
	if (!kvm && caps->major < 10)
		return 0;
	/* One for each ring, one for changes, one for the control queue. */
	return 2 * nic->queues + 2;
}

/* What virtio-net offers by itself where the switch has it, too; all of it off is a NIC whose guest finishes its frames itself. */
#define NO_OFFLOADS                                                               \
	",csum=off,gso=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off" \
	",guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off"

/* packed=on is left out: of a packed ring QEMU cannot say where a switch that was killed has been, so its restart would not
 * go unnoticed.  in_order= is nothing that every QEMU here knows. */
static void add_nic(GPtrArray *argv, const struct nic *nic, const struct qemu_caps *caps, bool kvm,
		    const struct vm_paths *p)
{
	g_autofree char *port = render_qemu_escape(vm_paths_port(p, nic->index));
	g_autofree char *reconnect = reconnect_option(caps);
	g_autoptr(GString) device = g_string_new(NULL);
	char mac[NAMES_MAC_LEN + 1];
	unsigned i = nic->index;

	names_mac_format(nic->mac, mac);
	addf(argv, "-chardev", "socket,id=vu%u,path=%s,%s", i, port, reconnect);
	addf(argv, "-netdev", "vhost-user,id=net%u,chardev=vu%u,queues=%u", i, i, nic->queues);
	/* romfile= spares the firmware a network boot ROM for each NIC. */
	g_string_append_printf(device, "virtio-net-pci,id=nic%u,netdev=net%u,mac=%s,romfile=", i, i,
			       mac);
	if (nic->queues > 1)
		g_string_append(device, ",mq=on");
	g_string_append_printf(device, ",vectors=%u", render_qemu_n_vectors(nic, caps, kvm));
	/* For guests that nobody else tells. */
	if (nic->network->mtu != LAB_MTU_DEFAULT)
		g_string_append_printf(device, ",host_mtu=%u", nic->network->mtu);
	if (!nic->offloads)
		g_string_append(device, NO_OFFLOADS);
	add_device(argv, pci_nic(i), device->str);
}

bool render_qemu_has_sockets(const struct vm *vm, const struct qemu_caps *caps)
{
	return vm->sockets == LAB_SOCKETS_VSOCK  ? caps->has_vsock :
	       vm->sockets == LAB_SOCKETS_HVSOCK ? caps->has_hvsock :
						   false;
}

/* Whether it reconnects or not, this one needs no -preconfig: its guest finds the bus first, and the daemon behind it later. */
static void add_hvsock(GPtrArray *argv, const struct qemu_caps *caps, const struct vm_paths *p)
{
	g_autofree char *path = render_qemu_escape(p->vsock), *reconnect = reconnect_option(caps);

	addf(argv, "-chardev", "socket,id=" RENDER_HVSOCK_CHARDEV ",path=%s,%s", path, reconnect);
	add(argv, "-device", "vmbus-bridge");
	add(argv, "-device", RENDER_HVSOCK_DEVICE ",id=hvsock0,chardev=" RENDER_HVSOCK_CHARDEV);
}

GStrv render_qemu_hvsock(const struct qemu_caps *caps, const struct vm_paths *p)
{
	GPtrArray *words = g_ptr_array_new();

	add_globals(words, "x86_64-cpu", RENDER_HYPERV_CPU);
	add_hvsock(words, caps, p);
	g_ptr_array_add(words, NULL);
	return (GStrv)g_ptr_array_free(words, FALSE);
}

static void add_sockets(GPtrArray *argv, const struct qemu_caps *caps, enum render_for whom,
			const struct vm_paths *p)
{
	g_autofree char *path = render_qemu_escape(p->vsock), *reconnect = reconnect_option(caps);
	bool by_hand = whom == RENDER_BY_HAND;

	if (!by_hand)
		add(argv, "-preconfig", NULL);
	addf(argv, "-chardev", "socket,id=" RENDER_VSOCK_CHARDEV ",path=%s%s%s", path,
	     by_hand ? "" : ",", by_hand ? "" : reconnect);
	add_device(argv, pci_sockets(), RENDER_VSOCK_DEVICE);
}

static void add_distro(GPtrArray *argv, const struct vm *vm, const struct distro *distro)
{
	g_autofree char *image = render_qemu_escape(distro->image);
	g_autofree char *device = NULL;
	unsigned i = distro->index;

	addf(argv, "-blockdev",
	     "driver=%s,node-name=distro%u,read-only=%s,file.driver=file,file.filename=%s",
	     distro->format == DISTRO_QCOW2 ? "qcow2" : "raw", i, distro->readonly ? "on" : "off",
	     image);
	device = g_strdup_printf("virtio-blk-pci,drive=distro%u,serial=%s", i, distro->name);
	add_device(argv, pci_distro(vm, i), device);
}

/* The daemon is the device.  A memory device goes on with a daemon that comes back; QEMU's own for any backend takes its
 * memory once, and does not reconnect. */
static void add_served_portal(GPtrArray *argv, const struct portal_access *a,
			      const struct qemu_caps *caps, const char *socket, GString *device)
{
	g_autofree char *path = render_qemu_escape(socket), *reconnect = reconnect_option(caps);
	const char *name = a->portal->name;
	unsigned i = a->index;

	if (caps->has_vhost_user_pmem) {
		addf(argv, "-chardev", "socket,id=portal%u,path=%s,%s", i, path, reconnect);
		g_string_printf(device,
				RENDER_PMEM_DEVICE
				",id=portal-%s,chardev=portal%u,size=%" G_GUINT64_FORMAT "M",
				name, i, a->portal->size >> 20);
	} else {
		addf(argv, "-chardev", "socket,id=portal%u,path=%s", i, path);
		g_string_printf(device,
				RENDER_TEST_DEVICE ",id=portal-%s,chardev=portal%u,virtio-id=27,"
						   "num_vqs=1,config_size=16",
				name, i);
	}
}

/* A portal: its file, mapped by QEMU, or a socket of its daemon.  That of ivshmem cannot reconnect: the device takes its memory
 * once. */
static void add_portal(GPtrArray *argv, const struct portal_access *a, const struct qemu_caps *caps,
		       const struct lab_paths *paths, const struct vm_paths *p)
{
	const struct portal_paths *own = lab_paths_portal(paths, a->portal->index);
	g_autofree char *file = render_qemu_escape(own->memory);
	g_autofree char *ivshmem = render_qemu_escape(own->ivshmem);
	g_autofree char *socket = vm_paths_pmem(p, a->index);
	g_autoptr(GString) device = g_string_new(NULL);
	const char *name = a->portal->name;
	unsigned i = a->index;

	switch (a->door) {
	case PORTAL_DOOR_PMEM:
		addf(argv, "-object",
		     "memory-backend-file,id=portal%u,mem-path=%s,size=%" G_GUINT64_FORMAT
		     "M,share=on%s",
		     i, file, a->portal->size >> 20, a->readonly ? ",readonly=on" : "");
		g_string_printf(device, "virtio-pmem-pci,id=portal-%s,memdev=portal%u", name, i);
		break;
	case PORTAL_DOOR_IVSHMEM:
		addf(argv, "-chardev", "socket,id=portal%u,path=%s", i, ivshmem);
		g_string_printf(device, "ivshmem-doorbell,id=portal-%s,chardev=portal%u,vectors=%u",
				name, i, RENDER_IVSHMEM_VECTORS);
		break;
	case PORTAL_DOOR_VHOST_USER:
		add_served_portal(argv, a, caps, socket, device);
		break;
	case PORTAL_DOOR_COUNT:
		g_assert_not_reached();
	}
	add_device(argv, pci_portal(i), device->str);
}

GStrv render_qemu_portal(const struct portal_access *access, const struct qemu_caps *caps,
			 const struct lab_paths *paths, const struct vm_paths *p)
{
	GPtrArray *words = g_ptr_array_new();

	add_portal(words, access, caps, paths, p);
	g_ptr_array_add(words, NULL);
	return (GStrv)g_ptr_array_free(words, FALSE);
}

/* The device that a portal's door is made of. */
static bool has_door(const struct qemu_caps *caps, enum portal_door door)
{
	return door == PORTAL_DOOR_PMEM ? caps->has_pmem :
	       door == PORTAL_DOOR_IVSHMEM ?
					  caps->has_ivshmem :
					  caps->has_vhost_user_pmem || caps->has_vhost_user_device;
}

/* Why QEMU's device for any backend cannot be the VM's door to the portal (vhost-user-portal's pmem.h); NULL: it can. */
static const char *test_device_fault(const struct vm *vm, const struct portal_access *a)
{
	uint64_t size = a->portal->size;

	if ((size & (size - 1)) != 0)
		return "is a PCI BAR, whose size is a power of two";
	if (a->readonly)
		return "shows a VM that may only read nothing";
	if (vm->nics->len > 0)
		return "kills QEMU when a VM starts anew that has it and a network card";
	return NULL;
}

/* Whether this QEMU has the VM's door to the portal. */
static gboolean check_door(const struct vm *vm, const struct portal_access *a,
			   const struct qemu_caps *caps, GError **error)
{
	static const char *const devices[PORTAL_DOOR_COUNT] = {
		"virtio-pmem-pci",
		"ivshmem-doorbell",
		RENDER_PMEM_DEVICE " (\"qemu\": \"patched\" has it), nor " RENDER_TEST_DEVICE
				   " (QEMU 11.1 has it)",
	};
	const char *fault = a->door == PORTAL_DOOR_VHOST_USER && !caps->has_vhost_user_pmem ?
				    test_device_fault(vm, a) :
				    NULL;

	if (!has_door(caps, a->door))
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "VM %s reaches portal %s by \"%s\": QEMU %s has no %s", vm->name,
			    a->portal->name, portal_door_name(a->door), caps->version,
			    devices[a->door]);
	else if (fault)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "VM %s reaches portal %s by \"%s\": " RENDER_TEST_DEVICE
			    " of QEMU %s %s: take \"qemu\": \"patched\", or the door \"pmem\"",
			    vm->name, a->portal->name, portal_door_name(a->door), caps->version,
			    fault);
	else
		return TRUE;
	return FALSE;
}

gboolean render_qemu_check(const struct vm *vm, const struct qemu_caps *caps, GError **error)
{
	if (vm->sockets == LAB_SOCKETS_HVSOCK && !caps->has_hvsock) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"VM %s has Hyper-V's sockets (\"sockets\": \"hvsock\"): QEMU %s (%s) has no " RENDER_HVSOCK_DEVICE
			"; `orchestrator doctor` says how to build one that has",
			vm->name, caps->version, caps->binary);
		return FALSE;
	}
	for (unsigned i = 0; i < vm->portals->len; i++)
		if (!check_door(vm, vm_portal(vm, i), caps, error))
			return FALSE;
	return TRUE;
}

gboolean render_qemu(const struct lab *lab, const struct vm *vm, const struct qemu_caps *caps,
		     const struct image *image, const struct lab_paths *paths, enum render_for whom,
		     GStrv *ret_argv, GError **error)
{
	const struct vm_paths *p = lab_paths_vm(paths, vm->index);
	bool kvm = render_qemu_uses_kvm(vm, caps);
	GPtrArray *argv;

	if (kvm && (!caps->kvm_usable || vm->arch != HOST_ARCH)) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"VM %s of lab %s wants KVM (\"accel\": \"kvm\"), which cannot be used here: see `orchestrator doctor`",
			vm->name, lab->name);
		return FALSE;
	}
	if (!render_qemu_check(vm, caps, error))
		return FALSE;
	argv = g_ptr_array_new();
	add(argv, caps->binary, NULL);
	add_machine(argv, vm, caps, kvm);
	add_boot(argv, vm, image, p);
	add_serial(argv, vm, p);
	add_monitors(argv, whom, p);
	for (unsigned i = 0; i < vm->nics->len; i++)
		add_nic(argv, vm_nic(vm, i), caps, kvm, p);
	if (vm->sockets == LAB_SOCKETS_HVSOCK)
		add_hvsock(argv, caps, p);
	else if (render_qemu_has_sockets(vm, caps))
		add_sockets(argv, caps, whom, p);
	for (unsigned i = 0; i < vm->distros->len; i++)
		add_distro(argv, vm, vm->distros->pdata[i]);
	for (unsigned i = 0; i < vm->portals->len; i++)
		add_portal(argv, vm_portal(vm, i), caps, paths, p);
	add_device(argv, pci_rng(), "virtio-rng-pci");
	g_ptr_array_add(argv, NULL);
	*ret_argv = (GStrv)g_ptr_array_free(argv, FALSE);
	return TRUE;
}

/* --- the script ----------------------------------------------------------------------------------------------------- */

char *render_sh_quote(const char *word)
{
	static const char harmless[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
	g_auto(GStrv) parts = NULL;
	g_autofree char *inner = NULL;

	if (word[0] != '\0' && strspn(word, harmless) == strlen(word))
		return g_strdup(word);
	parts = g_strsplit(word, "'", -1);
	inner = g_strjoinv("'\\''", parts);
	return g_strconcat("'", inner, "'", NULL);
}

static void append_quoted(GString *out, const char *before, const char *word)
{
	g_autofree char *quoted = render_sh_quote(word);

	g_string_append(out, before);
	g_string_append(out, quoted);
}

/* What has to be there before QEMU: directories and the guest's configuration. */
static void append_preparation(GString *out, const char *run_dir, const struct vm_paths *p)
{
	g_string_append(out, "set -e\numask 077\n");
	append_quoted(out, "mkdir -p ", run_dir);
	append_quoted(out, " ", p->dir);
	g_string_append(out, "\nif [ -r \"${0%.sh}.conf\" ]; then\n");
	append_quoted(out, "\tcp \"${0%.sh}.conf\" ", p->guest_conf);
	g_string_append(out, "\nfi\n");
}

static bool strv_has_prefix(char **words, const char *prefix)
{
	while (*words && !g_str_has_prefix(*words, prefix))
		words++;
	return *words != NULL;
}

/* What has to be there for its portals. */
static void append_portals(GString *out, const struct vm *vm, const struct lab_paths *paths)
{
	for (unsigned i = 0; i < vm->portals->len; i++) {
		const struct portal_access *a = vm_portal(vm, i);
		const struct portal_paths *own = lab_paths_portal(paths, a->portal->index);
		g_autofree char *socket = vm_paths_pmem(lab_paths_vm(paths, vm->index), a->index);

		if (a->door == PORTAL_DOOR_PMEM)
			g_string_append_printf(
				out, "# vhost-user-portal has to have made %s of portal %s\n",
				own->memory, a->portal->name);
		else
			g_string_append_printf(
				out, "# vhost-user-portal of portal %s has to listen on %s\n",
				a->portal->name,
				a->door == PORTAL_DOOR_IVSHMEM ? own->ivshmem : socket);
	}
}

char *render_qemu_script(const struct lab *lab, const struct vm *vm, const struct lab_paths *paths,
			 GStrv argv)
{
	const struct vm_paths *p = lab_paths_vm(paths, vm->index);
	GString *out = g_string_new("#!/bin/sh\n");

	g_string_append_printf(out, "# VM %s of lab %s, as `orchestrator up` starts it.\n",
			       vm->name, lab->name);
	for (unsigned i = 0; i < vm->nics->len; i++)
		g_string_append_printf(out, "# The switch of network %s has to listen on %s\n",
				       vm_nic(vm, i)->network->name, vm_paths_port(p, i));
	if (strv_has_prefix(argv, "vhost-user-vsock-pci,") ||
	    strv_has_prefix(argv, RENDER_HVSOCK_DEVICE ","))
		g_string_append_printf(out, "# vhost-user-hvsock has to listen on %s for VM %s\n",
				       p->vsock, vm->name);
	append_portals(out, vm, paths);
	append_preparation(out, paths->run_dir, p);
	append_quoted(out, "exec ", argv[0]);
	for (char **word = argv + 1; *word; word++)
		append_quoted(out, **word == '-' ? " \\\n\t" : " ", *word);
	g_string_append_c(out, '\n');
	return g_string_free(out, FALSE);
}
