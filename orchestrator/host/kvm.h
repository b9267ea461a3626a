/* SPDX-License-Identifier: MIT */
/* Whether KVM runs guests here.
 *
 * That /dev/kvm opens proves little: on a PVM host (a cloud VM whose own hypervisor gives no hardware virtualization)
 * it opens, makes VMs, and stock kernels hang in them.  So the order is: is it a PVM host, does the CPU have vmx or
 * svm, does the device open, does it speak version 12, does making a VM with a vCPU work. */
#ifndef ORCHESTRATOR_HOST_KVM_H
#define ORCHESTRATOR_HOST_KVM_H

#include <stdbool.h>
#include <glib.h>

enum kvm_state {
	KVM_STATE_USABLE,
	KVM_STATE_ABSENT,    /* no /dev/kvm */
	KVM_STATE_FORBIDDEN, /* we may not open it */
	KVM_STATE_PVM,       /* kvm_pvm, see above */
	KVM_STATE_NO_CPU,    /* the CPU offers neither vmx nor svm */
	KVM_STATE_BROKEN,    /* it opens and then fails; errnum says how */
	KVM_STATE_COUNT
};

struct kvm_probe {
	enum kvm_state state;
	bool device; /* /dev/kvm exists */
	int errnum;  /* of FORBIDDEN and BROKEN; 0: wrong API version */
};

/* ROOT: prefix of /dev, /proc and /sys; "" is this host.  Milliseconds; leaves nothing open. */
void kvm_probe(const char *root, struct kvm_probe *ret_probe);

/* "usable", "absent", … for JSON. */
const char *kvm_state_name(enum kvm_state state);

#endif
