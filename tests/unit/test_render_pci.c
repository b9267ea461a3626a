/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "model/lab.h"
#include "render/pci.h"

/* A VM with as many distributions; nothing else of it is looked at. */
static struct vm *vm_with(unsigned n_distros)
{
	struct vm *vm = g_new0(struct vm, 1);

	vm->distros = g_ptr_array_new();
	g_ptr_array_set_size(vm->distros, (int)n_distros);
	return vm;
}

static void vm_done(struct vm *vm)
{
	g_ptr_array_unref(vm->distros);
	g_free(vm);
}

static void take(GHashTable *taken, struct pci_place place)
{
	g_assert_cmpuint(place.slot, >=, 1);
	g_assert_cmpuint(place.slot, <=, 0x1e); /* 0x1f is q35's, 0 the host bridge */
	g_assert_cmpuint(place.function, <, 8);
	assert_true(g_hash_table_add(taken, GUINT_TO_POINTER(place.slot * 8 + place.function)));
}

/* The largest VM there can be has a place for each device, and no place has two. */
static void test_no_two_share_a_place(void **state)
{
	g_autoptr(GHashTable) taken = g_hash_table_new(NULL, NULL);
	struct vm *vm = vm_with(LAB_DISTROS_MAX);

	for (unsigned i = 0; i < LAB_NICS_MAX; i++)
		take(taken, pci_nic(i));
	for (unsigned i = 0; i < LAB_ACCESSES_MAX; i++)
		take(taken, pci_portal(i));
	for (unsigned i = 0; i < LAB_DISTROS_MAX; i++)
		take(taken, pci_distro(vm, i));
	for (unsigned i = 0; i < PCI_HOT_PORTS; i++)
		take(taken, pci_hot_port(i));
	take(taken, pci_sockets());
	take(taken, pci_rng());
	take(taken, pci_serial());
	assert_int_equal(g_hash_table_size(taken),
			 LAB_NICS_MAX + LAB_ACCESSES_MAX + LAB_DISTROS_MAX + PCI_HOT_PORTS + 3);
	vm_done(vm);
}

/* Function 0 says that there are others, where there are, and nobody else says it. */
static void test_multifunction(void **state)
{
	for (unsigned n = 1; n <= LAB_DISTROS_MAX; n++) {
		struct vm *vm = vm_with(n);

		for (unsigned i = 0; i < n; i++) {
			struct pci_place p = pci_distro(vm, i);
			bool followed = i + 1 < n && pci_distro(vm, i + 1).slot == p.slot;

			assert_int_equal(p.multifunction, p.function == 0 && followed);
		}
		vm_done(vm);
	}
	for (unsigned i = 0; i < PCI_HOT_PORTS; i++)
		assert_int_equal(pci_hot_port(i).multifunction, i == 0);
}

/* A guest numbers its NICs and finds its portals in the order of the bus. */
static void test_order(void **state)
{
	for (unsigned i = 1; i < LAB_NICS_MAX; i++)
		assert_true(pci_nic(i).slot > pci_nic(i - 1).slot);
	for (unsigned i = 1; i < LAB_ACCESSES_MAX; i++)
		assert_true(pci_portal(i).slot > pci_portal(i - 1).slot);
}

static void check_option(struct pci_place place, const char *expected)
{
	g_autofree char *option = pci_option(place);

	assert_string_equal(option, expected);
}

static void test_option(void **state)
{
	struct vm *one = vm_with(1), *many = vm_with(16);

	check_option(pci_nic(0), ",bus=pcie.0,addr=0x1");
	check_option(pci_sockets(), ",bus=pcie.0,addr=0x19");
	check_option(pci_distro(one, 0), ",bus=pcie.0,addr=0x1b");
	check_option(pci_distro(many, 0), ",bus=pcie.0,addr=0x1b,multifunction=on");
	check_option(pci_distro(many, 7), ",bus=pcie.0,addr=0x1b.7");
	check_option(pci_distro(many, 8), ",bus=pcie.0,addr=0x1c,multifunction=on");
	check_option(pci_distro(many, 15), ",bus=pcie.0,addr=0x1c.7");
	vm_done(one);
	vm_done(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_two_share_a_place),
		cmocka_unit_test(test_multifunction),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
