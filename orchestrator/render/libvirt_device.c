/* SPDX-License-Identifier: MIT */
/* The devices of a domain, each at its place (render/pci.h). */
#include <string.h>

#include "host/caps.h"
#include "host/libvirt_caps.h"
#include "model/lab.h"
#include "render/libvirt_impl.h"
#include "render/pci.h"
#include "render/qemu.h"

/* --- words ------------------------------------------------------------------------------------------------------------- */

static void add_address(struct domain *d, struct pci_place place)
{
	domain_add(d,
		   "      <address type='pci' domain='0x0000' bus='0x00' slot='0x%02x' "
		   "function='0x%x'",
		   place.slot, place.function);
	domain_add(d, place.multifunction ? " multifunction='on'/>\n" : "/>\n");
}

/* A word of QEMU's command line. */
static void G_GNUC_PRINTF(2, 3) add_word(struct domain *d, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	g_ptr_array_add(d->words, g_strdup_vprintf(format, ap));
	va_end(ap);
}

/* A device on QEMU's command line. */
static void add_device(struct domain *d, struct pci_place place, const char *properties)
{
	g_autofree char *where = pci_option(place);

	add_word(d, "-device");
	add_word(d, "%s%s", properties, where);
}

/* --- what every VM has -------------------------------------------------------------------------------------------------- */

static void add_port(struct domain *d, unsigned index, const char *alias, struct pci_place place)
{
	domain_add(d, "    <controller type='pci' index='%u' model='pcie-root-port'>\n", index);
	domain_add(d, "      <alias name='%s'/>\n", alias);
	add_address(d, place);
	domain_add(d, "    </controller>\n");
}

static void add_controllers(struct domain *d)
{
	unsigned index = 0;

	domain_add(d, "    <controller type='pci' index='%u' model='pcie-root'/>\n", index++);
	for (unsigned i = 0; i < PCI_HOT_PORTS; i++) {
		g_autofree char *alias = g_strdup_printf(RENDER_LIBVIRT_HOT_PORT, i);

		add_port(d, index++, alias, pci_hot_port(i));
	}
	if (d->owner == RENDER_OWNER_SUPERVISOR && d->vm->sockets == LAB_SOCKETS_VSOCK &&
	    render_qemu_has_sockets(d->vm, d->qemu))
		add_port(d, index++, RENDER_LIBVIRT_SOCKETS_PORT, pci_sockets());
	domain_add(d, "    <controller type='usb' model='none'/>\n");
}

/* The console, which `virsh console` wants to be a pty; and where the guest says that it is up. */
static void add_serial(struct domain *d)
{
	bool two = render_qemu_has_two_uarts(d->vm->arch);

	domain_add(d, "    <serial type='pty'>\n      <log file='%s' append='on'/>\n",
		   d->p->console_log);
	domain_add(d, "      <target type='%s' port='0'/>\n    </serial>\n",
		   two ? "isa-serial" : "system-serial");
	domain_add(d,
		   "    <serial type='file'>\n      <source path='%s' append='on'/>\n"
		   "      <target type='%s' port='1'/>\n",
		   d->p->ready, two ? "isa-serial" : "pci-serial");
	if (!two)
		add_address(d, pci_serial());
	domain_add(d, "    </serial>\n");
	domain_add(d,
		   "    <console type='pty'>\n      <log file='%s' append='on'/>\n"
		   "      <target type='serial' port='0'/>\n    </console>\n",
		   d->p->console_log);
}

static void add_rest(struct domain *d)
{
	domain_add(d, "    <memballoon model='none'/>\n");
	domain_add(d, "    <video>\n      <model type='none'/>\n    </video>\n");
	domain_add(d, "    <audio id='1' type='none'/>\n");
	domain_add(d, "    <rng model='virtio'>\n      <backend model='builtin'/>\n");
	add_address(d, pci_rng());
	domain_add(d, "    </rng>\n");
}

/* --- NICs --------------------------------------------------------------------------------------------------------------- */

static void override(GString *out, const char *property, unsigned value)
{
	g_string_append_printf(out,
			       "        <qemu:property name='%s' type='unsigned' value='%u'/>\n",
			       property, value);
}

/* What libvirt has no word for, or one that fails: <mtu> of a vhostuser interface is set on a tap device that it does not have. */
static void override_nic(struct domain *d, const struct nic *nic, const char *alias)
{
	g_autoptr(GString) properties = g_string_new(NULL);

	if (render_qemu_n_vectors(nic, d->qemu, d->kvm) == 0)
		override(properties, "vectors", 0);
	if (nic->network->mtu != LAB_MTU_DEFAULT)
		override(properties, "host_mtu", nic->network->mtu);
	if (properties->len > 0)
		g_string_append_printf(d->overrides,
				       "    <qemu:device alias='%s'>\n      <qemu:frontend>\n%s"
				       "      </qemu:frontend>\n    </qemu:device>\n",
				       alias, properties->str);
}

static void add_driver(struct domain *d, const struct nic *nic)
{
	g_autofree char *queues = nic->queues > 1 ? g_strdup_printf(" queues='%u'", nic->queues) :
						    g_strdup("");

	if (nic->offloads) {
		if (nic->queues > 1)
			g_string_append_printf(d->out, "      <driver%s/>\n", queues);
		return;
	}
	g_string_append_printf(
		d->out,
		"      <driver%s>\n"
		"        <host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off'/>\n"
		"        <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/>\n"
		"      </driver>\n",
		queues);
}

static void add_nic(struct domain *d, const struct nic *nic)
{
	g_autofree char *alias = g_strdup_printf(RENDER_LIBVIRT_NIC, nic->index);
	char mac[NAMES_MAC_LEN + 1];

	names_mac_format(nic->mac, mac);
	domain_add(d, "    <interface type='vhostuser'>\n      <mac address='%s'/>\n", mac);
	domain_add(d,
		   "      <source type='unix' path='%s' mode='client'>\n"
		   "        <reconnect enabled='yes' timeout='1'/>\n      </source>\n",
		   vm_paths_port(d->p, nic->index));
	domain_add(d, "      <model type='virtio'/>\n");
	add_driver(d, nic);
	domain_add(d, "      <alias name='%s'/>\n      <rom enabled='no'/>\n", alias);
	add_address(d, pci_nic(nic->index));
	domain_add(d, "    </interface>\n");
	override_nic(d, nic, alias);
}

/* --- distributions ------------------------------------------------------------------------------------------------------ */

static void add_distro(struct domain *d, const struct distro *distro)
{
	domain_add(d, "    <disk type='file' device='disk'>\n");
	domain_add(d, "      <driver name='qemu' type='%s'/>\n      <source file='%s'/>\n",
		   distro->format == DISTRO_QCOW2 ? "qcow2" : "raw", distro->image);
	domain_add(d, "      <target dev='vd%c' bus='virtio'/>\n", 'a' + (int)distro->index);
	domain_add(d, "      <serial>%s</serial>\n", distro->name);
	if (distro->readonly)
		domain_add(d, "      <readonly/>\n");
	add_address(d, pci_distro(d->vm, distro->index));
	domain_add(d, "    </disk>\n");
}

/* --- portals ------------------------------------------------------------------------------------------------------------ */

bool domain_portal_is_native(const struct domain *d, const struct portal_access *access)
{
	if (access->door == PORTAL_DOOR_PMEM)
		return d->caps->has_pmem && !access->readonly;
	return access->door == PORTAL_DOOR_IVSHMEM;
}

static void tell_portal(struct domain *d, const struct portal_access *a)
{
	g_autofree char *version = libvirt_version_text(d->caps->version);

	if (a->door == PORTAL_DOOR_VHOST_USER)
		domain_tell(d, "portal %s of %s: by qemu:commandline: libvirt has no %s",
			    a->portal->name, d->vm->name,
			    d->qemu->has_vhost_user_pmem ? RENDER_PMEM_DEVICE : RENDER_TEST_DEVICE);
	else if (a->readonly)
		domain_tell(
			d,
			"portal %s of %s: by qemu:commandline: libvirt would let the guest write "
			"to memory that it may only read",
			a->portal->name, d->vm->name);
	else
		domain_tell(
			d,
			"portal %s of %s: by qemu:commandline: libvirt %s cannot start a domain "
			"with virtio-pmem",
			a->portal->name, d->vm->name, version);
}

static void add_pmem(struct domain *d, const struct portal_access *a, const char *path)
{
	domain_add(d,
		   "    <memory model='virtio-pmem' access='shared'>\n"
		   "      <source>\n        <path>%s</path>\n      </source>\n",
		   path);
	domain_add(d,
		   "      <target>\n        <size unit='MiB'>%" G_GUINT64_FORMAT
		   "</size>\n      </target>\n",
		   a->portal->size >> 20);
	domain_add(d, "      <alias name='" RENDER_LIBVIRT_PORTAL "'/>\n", a->portal->name);
	add_address(d, pci_portal(a->index));
	domain_add(d, "    </memory>\n");
}

static void add_ivshmem(struct domain *d, const struct portal_access *a, const char *path)
{
	domain_add(d,
		   "    <shmem name='%s'>\n      <model type='ivshmem-doorbell'/>\n"
		   "      <server path='%s'/>\n",
		   a->portal->name, path);
	domain_add(d, "      <msi vectors='%u' ioeventfd='on'/>\n", RENDER_IVSHMEM_VECTORS);
	domain_add(d, "      <alias name='" RENDER_LIBVIRT_PORTAL "'/>\n", a->portal->name);
	add_address(d, pci_portal(a->index));
	domain_add(d, "    </shmem>\n");
}

/* As render/qemu.c says it. */
static void add_portal_words(struct domain *d, const struct portal_access *a)
{
	tell_portal(d, a);
	domain_add_words(d, render_qemu_portal(a, d->qemu, d->paths, d->p));
}

static void add_portal(struct domain *d, const struct portal_access *a)
{
	const struct portal_paths *own = lab_paths_portal(d->paths, a->portal->index);

	if (!domain_portal_is_native(d, a))
		add_portal_words(d, a);
	else if (a->door == PORTAL_DOOR_PMEM)
		add_pmem(d, a, own->memory);
	else
		add_ivshmem(d, a, own->ivshmem);
}

/* --- sockets ------------------------------------------------------------------------------------------------------------ */

static void add_hvsock(struct domain *d)
{
	domain_tell(d, "sockets: by qemu:commandline: libvirt has no VMBus, and no Hyper-V but "
		       "KVM's");
	/* Of whatever CPU libvirt chooses. */
	domain_add_words(d, render_qemu_hvsock(d->qemu, d->p));
}

static void add_sockets(struct domain *d)
{
	g_autofree char *path = render_qemu_escape(d->p->vsock);

	if (d->vm->sockets == LAB_SOCKETS_NONE)
		return;
	if (d->vm->sockets == LAB_SOCKETS_HVSOCK) {
		add_hvsock(d);
		return;
	}
	if (!render_qemu_has_sockets(d->vm, d->qemu)) {
		domain_tell(d, "%s has no sockets: QEMU %s has no vhost-user-vsock-pci",
			    d->vm->name, d->qemu->version);
		return;
	}
	if (d->owner == RENDER_OWNER_SUPERVISOR)
		return;
	domain_tell(
		d,
		"sockets: by qemu:commandline, without reconnecting: when vhost-user-hvsock has been "
		"restarted, a VM has sockets again after its own next start");
	add_word(d, "-chardev");
	add_word(d, "socket,id=" RENDER_VSOCK_CHARDEV ",path=%s", path);
	add_device(d, pci_sockets(), RENDER_VSOCK_DEVICE);
}

/* --- all of them -------------------------------------------------------------------------------------------------------- */

void domain_add_devices(struct domain *d)
{
	const struct vm *vm = d->vm;

	domain_add(d, "    <emulator>%s</emulator>\n", d->qemu->binary);
	add_controllers(d);
	add_serial(d);
	for (unsigned i = 0; i < vm->nics->len; i++)
		add_nic(d, vm_nic(vm, i));
	for (unsigned i = 0; i < vm->distros->len; i++)
		add_distro(d, vm->distros->pdata[i]);
	for (unsigned i = 0; i < vm->portals->len; i++)
		add_portal(d, vm_portal(vm, i));
	add_sockets(d);
	add_rest(d);
}
