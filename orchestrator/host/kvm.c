/* SPDX-License-Identifier: MIT */
#include "host/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

const char *kvm_state_name(enum kvm_state state)
{
	static const char *const names[KVM_STATE_COUNT] = {
		[KVM_STATE_USABLE] = "usable",       [KVM_STATE_ABSENT] = "absent",
		[KVM_STATE_FORBIDDEN] = "forbidden", [KVM_STATE_PVM] = "pvm",
		[KVM_STATE_NO_CPU] = "no-cpu",       [KVM_STATE_BROKEN] = "broken",
	};

	return (guint)state < KVM_STATE_COUNT ? names[state] : "unknown";
}

static bool exists(const char *root, const char *path)
{
	g_autofree char *full = g_strconcat(root, path, NULL);

	return access(full, F_OK) == 0;
}

/* A whole word of the first "flags" line: all CPUs of a machine have the same. */
static bool cpu_virtualizes(const char *root)
{
	g_autofree char *path = g_strconcat(root, "/proc/cpuinfo", NULL);
	g_autofree char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return false;
	return g_regex_match_simple("^flags\\s*:.*\\b(vmx|svm)\\b", text, G_REGEX_MULTILINE, 0);
}

/* Make a VM with a vCPU.  0, an errno value, or -1 for an API that is not ours. */
static int try_vm(int kvm)
{
	int vm = -1, vcpu = -1, errnum = 0;

	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return -1;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm >= 0)
		vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		errnum = errno;
	if (vcpu >= 0)
		close(vcpu);
	if (vm >= 0)
		close(vm);
	return errnum;
}

static void try_device(const char *root, struct kvm_probe *p)
{
	g_autofree char *path = g_strconcat(root, "/dev/kvm", NULL);
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		p->errnum = errno;
		p->state = errno == EACCES || errno == EPERM ? KVM_STATE_FORBIDDEN :
							       KVM_STATE_BROKEN;
		return;
	}
	p->errnum = try_vm(fd);
	p->state = p->errnum ? KVM_STATE_BROKEN : KVM_STATE_USABLE;
	p->errnum = MAX(p->errnum, 0);
	close(fd);
}

void kvm_probe(const char *root, struct kvm_probe *ret_probe)
{
	struct kvm_probe p = { .state = KVM_STATE_ABSENT, .device = exists(root, "/dev/kvm") };

	if (exists(root, "/sys/module/kvm_pvm"))
		p.state = KVM_STATE_PVM;
	else if (!cpu_virtualizes(root))
		p.state = KVM_STATE_NO_CPU;
	else if (p.device)
		try_device(root, &p);
	*ret_probe = p;
}
