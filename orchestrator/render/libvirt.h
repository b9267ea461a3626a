/* SPDX-License-Identifier: MIT */
/* A VM as a libvirt domain.
 *
 * The machine is the one of render/qemu.h, device for device and slot for slot (render/pci.h), in libvirt's words where it has
 * them, by qemu:commandline and qemu:override where it has none:
 *   - the socket device: libvirt has no vhost-user-vsock, and no VMBus; nor a Hyper-V but KVM's, so that what of the CPU says so is
 *     a -global;
 *   - a portal by virtio-pmem that may only be read (libvirt takes <readonly/> and maps it writable), by a libvirt that cannot
 *     start such a domain (caps->has_pmem), or by a vhost-user device of another kind;
 *   - interrupt vectors and MTU of a NIC: <mtu> of a vhostuser interface wants a tap device, which there is not.
 * <bandwidth> is never written: libvirt accepts it for a vhostuser interface and does nothing.  The switch shapes.
 *
 * Who starts such a domain has to see that the sockets and files named in its <description> are there: libvirt waits for
 * a switch without a word, and QEMU makes an empty file where a portal's is missing.
 *
 * With RENDER_OWNER_FILE the domain is whole, for virsh alone.  Its socket device does not reconnect (see render/qemu.h),
 * so it has no sockets from a restart of their daemon to its own next start.  With RENDER_OWNER_SUPERVISOR it has in place
 * of the device an empty root port, RENDER_LIBVIRT_SOCKETS_PORT, into which the engine plugs it before the guest runs.
 * That of Hyper-V's sockets reconnects by itself, and is the same with both.
 *
 * The mark, by which a domain is known as ours, stands in its <metadata>:
 *   <vl:vm xmlns:vl=RENDER_LIBVIRT_XMLNS lab='…' name='…' owner='supervisor' state='STATE_DIR' text='HASH'>
 *     <vl:settings>what plan_vm_settings() says</vl:settings></vl:vm>
 * text is a hash over the rest of the domain: one that has the same is as we would define it.  (What libvirt gives back is not
 * our text, and not even twice the same.)
 *
 * Pure: the same arguments give the same text, lines end in '\n', no XML declaration, UTF-8.
 */
#ifndef RENDER_LIBVIRT_H
#define RENDER_LIBVIRT_H

#include <glib.h>
#include <stdbool.h>

struct image;
struct lab;
struct lab_paths;
struct libvirt_caps;
struct qemu_caps;
struct vm;

#define RENDER_LIBVIRT_XMLNS "https://vhost-lab.org/xmlns/libvirt/1"

/* Aliases of a domain's devices; QEMU's ids are the same. */
#define RENDER_LIBVIRT_NIC          "ua-nic%u"     /* nic->index */
#define RENDER_LIBVIRT_PORTAL       "ua-portal-%s" /* the portal's name */
#define RENDER_LIBVIRT_HOT_PORT     "ua-hot%u"     /* PCI_HOT_PORTS of them */
#define RENDER_LIBVIRT_SOCKETS_PORT "ua-sockets"

/* Whose the domain is: the user's, who defined the file, or the supervisor's, which may redefine and undefine it. */
enum render_owner { RENDER_OWNER_FILE, RENDER_OWNER_SUPERVISOR, RENDER_OWNERS };

/* The domain of a VM; g_free().  qemu: of libvirt_caps_qemu().  told: of char *, g_free()d with it; what this libvirt lacks
 * for the VM, and what stands in its place, is added, a line each; NULL: nobody listens.  NULL with *error set:
 * ORCH_ERROR_HOST_UNFIT: the VM insists on KVM and this libvirt has none, or what render_qemu_check() finds. */
char *render_libvirt(const struct lab *lab, const struct vm *vm, const struct libvirt_caps *caps,
		     const struct qemu_caps *qemu, const struct image *image,
		     const struct lab_paths *paths, enum render_owner owner, GPtrArray *told,
		     GError **error);

/* What a domain's mark says; all of it NULL where it says nothing. */
struct render_mark {
	char *lab, *vm, *owner, *state_dir, *text, *settings;
};

/* Read the mark, as virDomainGetMetadata() of RENDER_LIBVIRT_XMLNS gives it, or out of a whole domain.  False: there is no
 * mark of ours; *ret untouched. */
bool render_libvirt_read_mark(const char *xml, struct render_mark *ret);
void render_mark_clear(struct render_mark *mark);

#endif
