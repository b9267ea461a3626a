/* SPDX-License-Identifier: MIT */
/* Where each device of a VM sits on its root bus, pcie.0: the same under QEMU and under libvirt, whatever else the VM has.
 *
 *   slot 0x01-0x10   its NICs
 *        0x11-0x18   its portals, in their order: a guest finds them by it
 *        0x19        its socket device, or the port that it is plugged into
 *        0x1a        its random number generator
 *        0x1b, 0x1c  its distributions, eight functions each
 *        0x1d        PCI_HOT_PORTS empty root ports, for what is plugged in while it runs (libvirt only)
 *        0x1e        its second serial port, where the machine has but one of its own
 *        0x1f        the machine's (q35)
 *
 * Said for every device, because two parties deal out what is left: libvirt knows nothing of a device on qemu:commandline
 * and gives the lowest free slot away, which QEMU then refuses.  Devices that libvirt knows begin at 1, the others lie high.
 * And because one device a slot is not enough: a VM may have more disks than there are slots.
 *
 * Pure.
 */
#ifndef RENDER_PCI_H
#define RENDER_PCI_H

#include <stdbool.h>

struct vm;

#define PCI_HOT_PORTS 4u
#define PCI_BUS       "pcie.0"

struct pci_place {
	unsigned slot, function;
	bool multifunction; /* it is function 0 of a slot that has more */
};

struct pci_place pci_nic(unsigned index);
struct pci_place pci_portal(unsigned index);
struct pci_place pci_sockets(void);
struct pci_place pci_rng(void);
struct pci_place pci_distro(const struct vm *vm, unsigned index);
struct pci_place pci_hot_port(unsigned index);
struct pci_place pci_serial(void);

/* As QEMU reads it behind a device: ",bus=pcie.0,addr=0x1b.1"; ",multifunction=on" where it has to be.  g_free(). */
char *pci_option(struct pci_place place);

#endif
