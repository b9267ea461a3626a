/* SPDX-License-Identifier: MIT */
#include "render/pci.h"

#include <assert.h>
#include <glib.h>

#include "model/lab.h"

#define FUNCTIONS 8u /* of a slot */

enum {
	SLOT_NIC = 0x01,
	SLOT_PORTAL = 0x11,
	SLOT_SOCKETS = 0x19,
	SLOT_RNG = 0x1a,
	SLOT_DISTRO = 0x1b,
	SLOT_HOT = 0x1d,
	SLOT_SERIAL = 0x1e,
};

static_assert(SLOT_NIC + LAB_NICS_MAX <= SLOT_PORTAL, "NICs have a slot each");
static_assert(SLOT_PORTAL + LAB_ACCESSES_MAX <= SLOT_SOCKETS, "portals have a slot each");
static_assert(SLOT_DISTRO + LAB_DISTROS_MAX / FUNCTIONS <= SLOT_HOT,
	      "distributions have a function each");
static_assert(PCI_HOT_PORTS <= FUNCTIONS, "one slot holds the empty ports");

struct pci_place pci_nic(unsigned index)
{
	return (struct pci_place){ .slot = SLOT_NIC + index };
}

struct pci_place pci_portal(unsigned index)
{
	return (struct pci_place){ .slot = SLOT_PORTAL + index };
}

struct pci_place pci_sockets(void)
{
	return (struct pci_place){ .slot = SLOT_SOCKETS };
}

struct pci_place pci_rng(void)
{
	return (struct pci_place){ .slot = SLOT_RNG };
}

struct pci_place pci_distro(const struct vm *vm, unsigned index)
{
	return (struct pci_place){ .slot = SLOT_DISTRO + index / FUNCTIONS,
				   .function = index % FUNCTIONS,
				   .multifunction = index % FUNCTIONS == 0 &&
						    index + 1 < vm->distros->len };
}

struct pci_place pci_hot_port(unsigned index)
{
	return (struct pci_place){ .slot = SLOT_HOT,
				   .function = index,
				   .multifunction = index == 0 };
}

struct pci_place pci_serial(void)
{
	return (struct pci_place){ .slot = SLOT_SERIAL };
}

char *pci_option(struct pci_place place)
{
	g_autofree char *function = place.function > 0 ? g_strdup_printf(".%u", place.function) :
							 g_strdup("");

	return g_strdup_printf(",bus=" PCI_BUS ",addr=0x%x%s%s", place.slot, function,
			       place.multifunction ? ",multifunction=on" : "");
}
