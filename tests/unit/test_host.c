/* SPDX-License-Identifier: MIT */
/* What a host can do: facts gathered from made-up hosts, the rows that doctor makes of them, and asking QEMU. */
#include "image_fixture.h"

#include <stdlib.h>

#include "err.h"
#include "host/caps.h"
#include "host/command.h"
#include "host/doctor.h"
#include "host/facts.h"
#include "host/kvm.h"
#include "model/lab.h"

#define GIB ((guint64)1 << 30)

/* --- running programs ------------------------------------------------------------------------------------- */

static gboolean sh(const char *script, const char *input, guint timeout_ms,
		   struct command_result *result, GError **error)
{
	const char *argv[] = { "sh", "-c", script, NULL };
	struct command command = { .argv = argv, .input = input, .timeout_ms = timeout_ms };

	return command_run(&command, result, error);
}

static void command_takes_output_and_status(void **state)
{
	struct command_result r;

	assert_true(sh("cat; echo oops >&2; exit 3", "hello", 0, &r, NULL));
	assert_int_equal(r.status, 3);
	assert_string_equal(r.out, "hello");
	assert_string_equal(r.err, "oops\n");
	command_result_clear(&r);
	assert_true(sh("kill -9 $$", NULL, 0, &r, NULL));
	assert_int_equal(r.status, 128 + 9);
	command_result_clear(&r);
	assert_true(sh("echo $LC_ALL", NULL, 0, &r, NULL));
	assert_string_equal(r.out, "C\n");
	command_result_clear(&r);
}

/* More than a pipe holds on both streams at once, and more than we keep. */
static void command_never_blocks_the_child(void **state)
{
	struct command_result r;

	assert_true(sh(
		"head -c 6000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero | tr '\\0' y >&2",
		NULL, 60000, &r, NULL));
	assert_int_equal(r.status, 0);
	assert_true(strlen(r.out) >= COMMAND_OUTPUT_MAX);
	assert_true(strlen(r.out) < 6000000);
	assert_int_equal(strlen(r.err), 300000);
	command_result_clear(&r);
}

/* A child and its own child are both gone after the timeout: the pipe they share is closed.  Were one waited for, the suite's
 * own timeout would end this. */
static void command_times_out(void **state)
{
	struct command_result r;
	g_autoptr(GError) error = NULL;

	assert_false(sh("sleep 5000 & sleep 5000", NULL, 300, &r, &error));
	assert_true(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT));
}

static void command_without_program(void **state)
{
	const char *argv[] = { "no-such-program-here", NULL };
	struct command command = { .argv = argv };
	struct command_result r;
	g_autoptr(GError) error = NULL;

	assert_false(command_run(&command, &r, &error));
	assert_true(g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT));
}

static void last_line(void **state)
{
	static const char *const cases[][2] = { { "", "" },
						{ "\n\n", "" },
						{ "one", "one" },
						{ "one\ntwo\n", "two" },
						{ "one\n  two  \n \n", "two" } };

	for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *line = command_last_line(cases[i][0]);

		assert_string_equal(line, cases[i][1]);
	}
}

/* --- made-up hosts ---------------------------------------------------------------------------------------- */

struct sample {
	char *root;
	struct host_facts *facts;
	GPtrArray *rows;
};

static int setup(void **state)
{
	struct sample *s = g_new0(struct sample, 1);

	s->root = tmp_new();
	put_text(s->root, "proc/sys/kernel/osrelease", "6.12.9-amd64\n", 0644);
	put_text(s->root, "proc/meminfo",
		 "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:   8388608 kB\n", 0644);
	put_text(s->root, "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse2 vmx smx\n", 0644);
	put_text(s->root, "proc/self/cgroup", "0::/user.slice/me.scope\n", 0644);
	put_text(s->root, "sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n", 0644);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct sample *s = *state;

	host_facts_free(s->facts);
	if (s->rows)
		g_ptr_array_unref(s->rows);
	tmp_remove(s->root);
	g_free(s->root);
	g_free(s);
	return 0;
}

static void gather(struct sample *s, const char *hypervisor)
{
	g_autofree char *run = g_build_filename(s->root, "run", NULL);
	g_autofree char *cache = g_build_filename(s->root, "cache", NULL);
	g_autofree char *left = g_build_filename(s->root, "state", NULL);
	struct host_probe probe = { .root = s->root,
				    .hypervisor = hypervisor,
				    .runtime_dir = run,
				    .cache_dir = cache,
				    .state_dir = left };

	host_facts_free(s->facts);
	s->facts = host_facts_gather(&probe);
}

static const struct doctor_row *row(struct sample *s, const char *id)
{
	if (s->rows)
		g_ptr_array_unref(s->rows);
	s->rows = doctor_examine(s->facts, NULL);
	for (guint i = 0; i < s->rows->len; i++) {
		const struct doctor_row *r = s->rows->pdata[i];

		if (!strcmp(r->id, id))
			return r;
	}
	fail_msg("no row %s", id);
	return NULL;
}

static void assert_row(struct sample *s, const char *id, enum doctor_status status,
		       const char *word)
{
	const struct doctor_row *r = row(s, id);

	if (r->status != status ||
	    !(strstr(r->what, word) || strstr(r->why, word) || strstr(r->todo, word)))
		fail_msg("%s: %s, \"%s\", \"%s\", \"%s\"; wanted %s, \"%s\"", id,
			 doctor_status_name(r->status), r->what, r->why, r->todo,
			 doctor_status_name(status), word);
}

static void bare_metal_without_module(void **state)
{
	struct sample *s = *state;

	gather(s, "");
	assert_null(s->facts->hypervisor);
	assert_false(s->facts->wsl2);
	assert_string_equal(s->facts->kernel, "6.12.9-amd64");
	assert_int_equal(s->facts->kvm.state, KVM_STATE_ABSENT);
	assert_row(s, "platform", DOCTOR_INFO, "bare metal");
	assert_row(s, "kvm", DOCTOR_WARN, "modprobe");
	assert_row(s, "nesting", DOCTOR_INFO, "depth 0");
}

static void pvm_host(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "proc/cpuinfo", "flags\t: fpu sse2 hypervisor\n", 0644);
	put_text(s->root, "dev/kvm", "", 0666);
	put_text(s->root, "sys/module/kvm_pvm/refcnt", "0\n", 0644);
	gather(s, "KVMKVMKVM");
	assert_int_equal(s->facts->kvm.state, KVM_STATE_PVM);
	assert_true(s->facts->kvm.device);
	assert_row(s, "kvm", DOCTOR_WARN, "PVM host");
	assert_row(s, "kvm", DOCTOR_WARN, "hang");
	assert_row(s, "platform", DOCTOR_INFO, "KVMKVMKVM");
}

/* vmx as a part of another word is no vmx. */
static void cpu_without_virtualization(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "proc/cpuinfo",
		 "model name: vmx svm\nflags\t: fpu vmxnet hypervisor\nvmx flags\t: vnmi\n", 0644);
	put_text(s->root, "dev/kvm", "", 0666);
	gather(s, "Microsoft Hv");
	assert_int_equal(s->facts->kvm.state, KVM_STATE_NO_CPU);
	assert_row(s, "kvm", DOCTOR_WARN, "ExposeVirtualizationExtensions");
}

/* A file that is no KVM: it opens and then fails. */
static void kvm_that_does_not_answer(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "dev/kvm", "", 0666);
	gather(s, "");
	assert_int_equal(s->facts->kvm.state, KVM_STATE_BROKEN);
	assert_row(s, "kvm", DOCTOR_WARN, "opens and then fails");
	s->facts->kvm = (struct kvm_probe){ .state = KVM_STATE_FORBIDDEN,
					    .device = true,
					    .errnum = EACCES };
	assert_row(s, "kvm", DOCTOR_WARN, "usermod -aG kvm");
	assert_row(s, "kvm", DOCTOR_WARN, "Permission denied");
}

static void wsl2_by_name_and_by_interop(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "proc/sys/kernel/osrelease", "6.18.20.1-microsoft-standard-WSL2\n", 0644);
	gather(s, "Microsoft Hv");
	assert_true(s->facts->wsl2);
	assert_row(s, "platform", DOCTOR_INFO, "WSL2");
	assert_row(s, "kvm", DOCTOR_WARN, "nestedVirtualization=true");
	put_text(s->root, "proc/sys/kernel/osrelease", "6.18.20-mine\n", 0644);
	gather(s, "Microsoft Hv");
	assert_false(s->facts->wsl2);
	put_text(s->root, "proc/sys/fs/binfmt_misc/WSLInterop", "enabled\n", 0644);
	gather(s, "Microsoft Hv");
	assert_true(s->facts->wsl2);
}

/* KVM works at level 1 of Hyper-V, and level 2 is the end. */
static void evmcs_ends_at_two_levels(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "proc/sys/kernel/osrelease", "6.18.20.1-microsoft-standard-WSL2\n", 0644);
	put_text(s->root, "sys/module/kvm_intel/parameters/enlightened_vmcs", "Y\n", 0644);
	put_text(s->root, "sys/module/kvm_intel/parameters/nested", "Y\n", 0644);
	gather(s, "Microsoft Hv");
	assert_true(s->facts->evmcs);
	s->facts->kvm.state = KVM_STATE_USABLE;
	assert_row(s, "kvm", DOCTOR_OK, "enlightened");
	assert_row(s, "nesting", DOCTOR_INFO, "two levels");
	assert_row(s, "nesting", DOCTOR_INFO, "level 1");
}

static void nesting_follows_the_parameter(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "sys/module/kvm_amd/parameters/nested", "1\n", 0644);
	gather(s, "");
	assert_string_equal(s->facts->nested, "1");
	s->facts->kvm.state = KVM_STATE_USABLE;
	assert_row(s, "nesting", DOCTOR_OK, "depth 1");
	put_text(s->root, "sys/module/kvm_amd/parameters/nested", "0\n", 0644);
	gather(s, "");
	s->facts->kvm.state = KVM_STATE_USABLE;
	assert_row(s, "nesting", DOCTOR_INFO, "nested=1");
}

static void sockets_need_daemon_agent_and_device(void **state)
{
	struct sample *s = *state;
	char *daemon, *agent;

	gather(s, "");
	daemon = s->facts->hvsock;
	agent = s->facts->agent;
	s->facts->hvsock = g_strdup("/d/vhost-user-hvsock");
	s->facts->agent = g_strdup("/d/vhost-lab-agent");
	if (s->facts->qemu)
		s->facts->qemu->has_vsock = true;
	assert_row(s, "sockets", DOCTOR_OK, "/d/vhost-user-hvsock");
	if (s->facts->qemu) {
		s->facts->qemu->has_vsock = false;
		assert_row(s, "sockets", DOCTOR_WARN, "vhost-user-vsock-pci");
	}
	g_clear_pointer(&s->facts->agent, g_free);
	g_free(s->facts->agent_error);
	s->facts->agent_error = g_strdup("there is no vhost-lab-agent");
	assert_row(s, "sockets", DOCTOR_FAIL, "there is no vhost-lab-agent");
	g_clear_pointer(&s->facts->hvsock, g_free);
	g_free(s->facts->hvsock_error);
	s->facts->hvsock_error = g_strdup("there is no vhost-user-hvsock");
	assert_row(s, "sockets", DOCTOR_FAIL, "ORCHESTRATOR_DAEMON_DIR");
	s->facts->hvsock = daemon;
	s->facts->agent = agent;
}

/* Nothing that a lab without Hyper-V's sockets needs; the row says how to get it. */
static void hvsock_needs_a_qemu(void **state)
{
	struct sample *s = *state;
	struct qemu_caps *was;
	struct qemu_caps patched = { .binary = (char *)"/c/qemu", .version = (char *)"10.0.13" };

	gather(s, "");
	was = s->facts->patched;
	g_free(s->facts->qemu_build);
	s->facts->qemu_build = g_strdup("/src/qemu-patches/build");
	s->facts->patched = NULL;
	assert_row(s, "hvsock", DOCTOR_INFO, "run /src/qemu-patches/build");
	s->facts->patched = &patched;
	assert_row(s, "hvsock", DOCTOR_INFO, "QEMU 10.0.13 has no vmbus-hvsock");
	patched.has_hvsock = true;
	assert_row(s, "hvsock", DOCTOR_OK, "/c/qemu");
	s->facts->patched = was;
}

/* Labs without portals run without: nothing of it makes a host unfit. */
static void portals_need_daemon_and_device(void **state)
{
	struct sample *s = *state;
	struct qemu_caps patched = { .binary = (char *)"/c/qemu", .version = (char *)"10.0.13" };
	struct qemu_caps *was;
	char *daemon;

	gather(s, "");
	was = s->facts->patched;
	daemon = s->facts->portal;
	s->facts->portal = g_strdup("/d/vhost-user-portal");
	if (s->facts->qemu) {
		s->facts->qemu->has_pmem = false;
		assert_row(s, "portals", DOCTOR_WARN, "virtio-pmem-pci");
		s->facts->qemu->has_pmem = true;
	}
	assert_row(s, "portals", DOCTOR_OK, "/d/vhost-user-portal");
	s->facts->patched = &patched;
	assert_row(s, "portals", DOCTOR_OK, "no QEMU here has the door \"vhost-user\"");
	patched.has_vhost_user_pmem = true;
	assert_row(s, "portals", DOCTOR_OK, "the door \"vhost-user\" has QEMU 10.0.13, /c/qemu");
	s->facts->patched = was;
	g_clear_pointer(&s->facts->portal, g_free);
	g_free(s->facts->portal_error);
	s->facts->portal_error = g_strdup("there is no vhost-user-portal");
	assert_row(s, "portals", DOCTOR_WARN, "there is no vhost-user-portal");
	s->facts->portal = daemon;
}

static void memory_counts_the_cgroup(void **state)
{
	struct sample *s = *state;

	gather(s, "");
	assert_int_equal(s->facts->mem_total, 16 * GIB);
	assert_int_equal(s->facts->mem_available, 8 * GIB);
	assert_true(s->facts->mem_limit == G_MAXUINT64);
	assert_row(s, "memory", DOCTOR_OK, "16 VMs");
	/* the lowest limit on the way up counts */
	put_text(s->root, "sys/fs/cgroup/user.slice/me.scope/memory.max", "max\n", 0644);
	put_text(s->root, "sys/fs/cgroup/user.slice/memory.max", "1073741824\n", 0644);
	gather(s, "");
	assert_int_equal(s->facts->mem_limit, GIB);
	assert_row(s, "memory", DOCTOR_OK, "2 VMs");
	assert_row(s, "memory", DOCTOR_OK, "cgroup");
	put_text(s->root, "sys/fs/cgroup/user.slice/me.scope/memory.max", "536870911\n", 0644);
	gather(s, "");
	assert_row(s, "memory", DOCTOR_WARN, "0 VMs");
}

static void cgroups_and_tun_are_no_reason_to_fail(void **state)
{
	struct sample *s = *state;
	g_autofree char *controllers =
		g_build_filename(s->root, "sys/fs/cgroup/cgroup.controllers", NULL);

	gather(s, "");
	assert_row(s, "cgroups", DOCTOR_OK, "memory");
	assert_row(s, "tun", DOCTOR_INFO, "cannot be opened");
	g_remove(controllers);
	put_text(s->root, "dev/net/tun", "", 0666);
	gather(s, "");
	assert_row(s, "cgroups", DOCTOR_INFO, "not version 2");
	assert_row(s, "tun", DOCTOR_INFO, "can be opened");
	assert_row(s, "libvirt", DOCTOR_INFO, "");
}

/* What virsh said is told as it is, and asks nothing of anybody who does without. */
static void libvirts_are_told(void **state)
{
	struct sample *s = *state;
	struct host_facts *f;

	gather(s, "");
	f = s->facts;
	assert_null(f->libvirt_session.version);
	assert_row(s, "libvirt-session", DOCTOR_INFO, "no virsh");
	assert_row(s, "libvirt-system", DOCTOR_INFO, "no virsh");
	f->libvirt_session.error = g_strdup(
		"error: Failed to connect socket to '/run/user/1000/libvirt/libvirt-sock': "
		"No such file or directory");
	f->libvirt_system.error = g_strdup("error: Cannot get system bus connection");
	assert_row(s, "libvirt-session", DOCTOR_INFO, "does not run");
	assert_row(s, "libvirt-system", DOCTOR_INFO, "system bus");
	assert_row(s, "libvirt-system", DOCTOR_INFO, "join the group libvirt");
	f->libvirt_session.version = g_strdup("9.0.0, QEMU 7.2.22");
	assert_row(s, "libvirt-session", DOCTOR_INFO, "9.0.0, QEMU 7.2.22");
}

static void security_modules_get_rules(void **state)
{
	struct sample *s = *state;
	const struct lsm_places odd = { "/r*un/vhost-lab", "/st at\"e", "/c.ache" };
	g_autofree char *apparmor = lsm_apparmor_rules(&odd);
	g_autofree char *selinux = lsm_selinux_commands(&odd);
	g_autofree char *rule = NULL;

	gather(s, "");
	assert_row(s, "apparmor", DOCTOR_INFO, "not active");
	assert_row(s, "selinux", DOCTOR_INFO, "not active");
	put_text(s->root, "sys/module/apparmor/parameters/enabled", "Y\n", 0444);
	put_text(s->root, "sys/fs/selinux/enforce", "1", 0644);
	gather(s, "");
	g_free(s->facts->libvirt);
	s->facts->libvirt = g_strdup("9.0.0");
	rule = g_strdup_printf("\n\"%s/run/**\" rw,\n", s->root);
	assert_row(s, "apparmor", DOCTOR_INFO, rule);
	assert_row(s, "apparmor", DOCTOR_INFO, "/etc/apparmor.d/local/abstractions/libvirt-qemu");
	assert_row(s, "selinux", DOCTOR_INFO, "enforcing");
	assert_row(s, "selinux", DOCTOR_INFO, "\nsemanage fcontext -a -t svirt_image_t '");
	/* Who has no libvirt needs none; nor who is but watched. */
	g_clear_pointer(&s->facts->libvirt, g_free);
	assert_string_equal(row(s, "apparmor")->todo, "");
	put_text(s->root, "sys/fs/selinux/enforce", "0", 0644);
	gather(s, "");
	assert_row(s, "selinux", DOCTOR_INFO, "permissive");
	assert_string_equal(row(s, "selinux")->todo, "");

	assert_string_equal(apparmor, "\"/r\\*un/vhost-lab/**\" rw,\n\"/st at\\\"e/labs/**\" rw,\n"
				      "\"/c.ache/images/**\" r,");
	assert_non_null(strstr(selinux, "'/r\\*un/vhost-lab(/.*)?'"));
	assert_non_null(strstr(selinux, "\nrestorecon -R '/r*un/vhost-lab' '/st at\"e'\n"));
}

static void unneeded_parts_are_told(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "sys/module/vhost_net/refcnt", "0\n", 0644);
	gather(s, "");
	assert_row(s, "not-needed-vhost_net", DOCTOR_INFO, ": loaded, not needed");
	assert_row(s, "not-needed-openvswitch", DOCTOR_INFO, ": not loaded, not needed");
	assert_row(s, "not-needed-sch_netem", DOCTOR_INFO, "not loaded");
	assert_row(s, "not-needed-vhost_vsock", DOCTOR_INFO, "not loaded");
}

/* Every row that may fail does, and only then the host is unfit. */
static void what_fails(void **state)
{
	struct sample *s = *state;
	struct qemu_caps old = { .major = 6, .minor = 2 };
	struct qemu_caps *qemu;

	gather(s, "");
	qemu = s->facts->qemu;
	s->facts->qemu = NULL;
	g_free(s->facts->qemu_error);
	s->facts->qemu_error = g_strdup("there is no qemu-system-x86_64");
	assert_row(s, "qemu", DOCTOR_FAIL, "there is no");
	assert_true(doctor_has_failed(s->rows));
	old.version = (char *)"6.2.0";
	old.binary = (char *)"/usr/bin/qemu";
	s->facts->qemu = &old;
	assert_row(s, "qemu", DOCTOR_FAIL, "6.2.0");
	old.major = 7;
	old.minor = 1;
	assert_row(s, "qemu", DOCTOR_FAIL, "7.2");
	old.minor = 2;
	assert_row(s, "qemu", DOCTOR_OK, "");
	s->facts->qemu = qemu;

	s->facts->memfd_errnum = EPERM;
	assert_row(s, "memfd", DOCTOR_FAIL, "not permitted");
	s->facts->memfd_errnum = 0;
	s->facts->runtime_errnum = EROFS;
	assert_row(s, "runtime-dir", DOCTOR_FAIL, "Read-only");
	s->facts->runtime_errnum = 0;
	s->facts->runtime_free = 1000;
	assert_row(s, "runtime-dir", DOCTOR_FAIL, "free");
	s->facts->busybox = false;
	assert_row(s, "tiny-image", DOCTOR_FAIL, "busybox-static");
	s->facts->busybox = true;
	s->facts->apt = s->facts->installed_kernel = s->facts->tiny_built = false;
	assert_row(s, "tiny-image", DOCTOR_FAIL, "no apt");
	s->facts->installed_kernel = true;
	assert_row(s, "tiny-image", DOCTOR_OK, "/boot");
	s->facts->cache_free = 1000;
	assert_row(s, "tiny-image", DOCTOR_WARN, "XDG_CACHE_HOME");
	s->facts->nofile_soft = 256;
	assert_row(s, "open-files", DOCTOR_WARN, "ulimit");
}

static void warnings_do_not_fail(void **state)
{
	struct sample *s = *state;
	GPtrArray *rows;

	gather(s, "");
	rows = doctor_examine(s->facts, NULL);
	for (guint i = 0; i < rows->len; i++) {
		struct doctor_row *r = rows->pdata[i];

		if (r->status == DOCTOR_FAIL)
			r->status = DOCTOR_WARN;
	}
	assert_false(doctor_has_failed(rows));
	((struct doctor_row *)rows->pdata[rows->len - 1])->status = DOCTOR_FAIL;
	assert_true(doctor_has_failed(rows));
	g_ptr_array_unref(rows);
}

static void an_installed_kernel_is_seen(void **state)
{
	struct sample *s = *state;

	put_text(s->root, "boot/vmlinuz-6.12.9", "k", 0644);
	gather(s, "");
	assert_false(s->facts->installed_kernel); /* no modules */
	put_text(s->root, "lib/modules/6.12.9/modules.dep", "", 0644);
	gather(s, "");
	assert_true(s->facts->installed_kernel);
}

/* --- one lab ---------------------------------------------------------------------------------------------- */

static void lab_fits_or_not(void **state)
{
	struct sample *s = *state;
	struct lab_dirs dirs = { (char *)"/s", (char *)"/r", (char *)"/c" };
	static const char text[] =
		"{\"version\":1,\"name\":\"x\",\"vms\":{\"a\":{\"memory\":\"2GiB\"},"
		"\"b\":{\"memory\":\"3GiB\",\"accel\":\"kvm\"}}}";
	struct lab *lab = NULL;
	struct lab_errors *errors = NULL;
	const struct doctor_row *r;

	assert_true(lab_parse(text, strlen(text), "/x/lab.json", &dirs, &lab, &errors));
	gather(s, "");
	s->rows = doctor_examine(s->facts, lab);
	for (guint i = 0; i < 3; i++) {
		static const enum doctor_status wanted[] = { DOCTOR_FAIL, DOCTOR_OK, DOCTOR_WARN };

		s->facts->kvm.state = i ? KVM_STATE_USABLE : KVM_STATE_ABSENT;
		s->facts->mem_available = i < 2 ? 5 * GIB : 5 * GIB - 1;
		g_ptr_array_unref(s->rows);
		s->rows = doctor_examine(s->facts, lab);
		r = s->rows->pdata[s->rows->len - 5];
		assert_string_equal(r->id, "lab");
		assert_int_equal(r->status, wanted[i]);
	}
	lab_free(lab);
}

/* --- QEMU ------------------------------------------------------------------------------------------------- */

/* Answers like QEMU VERSION; its chardevs know reconnect-ms or not; MORE is what else it says.  Notes each start. */
static void put_qemu_at(struct sample *s, const char *file, const char *version,
			const char *parameter, const char *more)
{
	g_autofree char *v = g_strdelimit(g_strdup(version), ".", ',');
	g_auto(GStrv) n = g_strsplit(v, ",", 3);
	g_autofree char *script = g_strdup_printf(
		"#!/bin/sh\n"
		"echo start >>%s/starts\n"
		"echo '{\"QMP\": {\"version\": {\"qemu\": {\"micro\": %s, \"minor\": %s, \"major\": %s}, \"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}'\n"
		"read one; read two; read three\n"
		"case $two in *query-command-line-options*) ;; *) exit 1 ;; esac\n"
		"echo '{\"return\": {}}'\n"
		"echo '{\"return\": [{\"parameters\": [{\"name\": \"path\", \"type\": \"string\"}, {\"name\": \"%s\", \"type\": \"number\"}], \"option\": \"chardev\"}]}'\n"
		"echo '{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"SHUTDOWN\"}'\n"
		"%s",
		s->root, n[2], n[1], n[0], parameter, more);

	put_text(s->root, file, script, 0755);
}

static void put_qemu(struct sample *s, const char *version, const char *parameter)
{
	g_autofree char *path = g_build_filename(s->root, "bin/qemu", NULL);

	put_qemu_at(s, "bin/qemu", version, parameter, "");
	setenv("ORCHESTRATOR_QEMU", path, 1);
}

static guint starts(struct sample *s)
{
	g_autofree char *path = g_build_filename(s->root, "starts", NULL);
	g_autofree char *text = NULL;

	return g_file_get_contents(path, &text, NULL, NULL) ?
		       (guint)(strlen(text) / strlen("start\n")) :
		       0;
}

static void qemu_is_asked_once(void **state)
{
	struct sample *s = *state;
	g_autofree char *cache = g_build_filename(s->root, "cache", NULL);
	struct qemu_caps *caps;

	put_qemu(s, "7.2.22", "reconnect");
	for (guint i = 0; i < 2; i++) {
		assert_true(qemu_caps_probe("x86_64", cache, &caps, NULL));
		assert_string_equal(caps->version, "7.2.22");
		assert_int_equal(caps->major, 7);
		assert_int_equal(caps->minor, 2);
		assert_int_equal(caps->micro, 22);
		assert_false(caps->has_reconnect_ms);
		assert_false(caps->has_fsrs);
		assert_true(g_path_is_absolute(caps->binary));
		assert_int_equal(starts(s), 1);
		qemu_caps_free(caps);
	}
	/* another program at the same path */
	g_usleep(20000);
	put_qemu_at(
		s, "bin/qemu", "10.0.2", "reconnect-ms",
		"echo '{\"return\": [{\"name\": \"fsrm\"}, {\"name\": \"fsrs\"}], \"id\": \"cpu\"}'\n");
	assert_true(qemu_caps_probe("x86_64", cache, &caps, NULL));
	assert_int_equal(starts(s), 2);
	assert_int_equal(caps->major, 10);
	assert_true(caps->has_reconnect_ms);
	assert_true(caps->has_fsrs);
	qemu_caps_free(caps);
	/* and from memory */
	assert_true(qemu_caps_probe("x86_64", cache, &caps, NULL));
	assert_int_equal(starts(s), 2);
	assert_true(caps->has_reconnect_ms);
	assert_true(caps->has_fsrs);
	qemu_caps_free(caps);
	/* without a memory */
	assert_true(qemu_caps_probe("x86_64", NULL, &caps, NULL));
	assert_int_equal(starts(s), 3);
	qemu_caps_free(caps);
	unsetenv("ORCHESTRATOR_QEMU");
}

#define HAS_HVSOCK "echo '{\"return\": [], \"id\": \"hvsock\"}'\n"
#define HAS_ALL    HAS_HVSOCK "echo '{\"return\": [], \"id\": \"vhost-user-pmem\"}'\n"

/* What runs a VM that names this QEMU; g_free(). */
static char *binary_of(const char *name, const char *cache)
{
	struct qemu_caps *caps = NULL;
	char *binary = qemu_caps_probe_named("x86_64", name, cache, &caps, NULL) ?
			       g_strdup(caps->binary) :
			       NULL;

	qemu_caps_free(caps);
	return binary;
}

/* "patched" is what the variable says, else what was built, else the host's; a path is itself. */
static void qemus_have_names(void **state)
{
	struct sample *s = *state;
	g_autofree char *cache = g_build_filename(s->root, "cache", NULL);
	g_autofree char *host = g_build_filename(s->root, "bin/qemu-system-x86_64", NULL);
	g_autofree char *built =
		g_build_filename(cache, "qemu", QEMU_SERIES, "bin/qemu-system-x86_64", NULL);
	g_autofree char *own = g_build_filename(s->root, "own", NULL);
	g_autofree char *path = g_strdup(g_getenv("PATH"));
	g_autofree char *bin = g_build_filename(s->root, "bin", NULL);
	g_autofree char *first = g_strdup_printf("%s:%s", bin, path);
	g_autofree char *before = NULL, *after = NULL, *named = NULL, *plain = NULL, *told = NULL;

	put_qemu_at(s, "bin/qemu-system-x86_64", "7.2.22", "reconnect", "");
	put_qemu_at(s, "own", "10.0.13", "reconnect-ms", HAS_HVSOCK);
	setenv("PATH", first, 1);
	before = binary_of("patched", cache);
	assert_string_equal(before, host);
	assert_true(qemu_patched_is_missing("x86_64", cache));
	/* One of an earlier series, and of this one. */
	put_qemu_at(s, "cache/qemu/" QEMU_SERIES "/bin/qemu-system-x86_64", "10.0.13",
		    "reconnect-ms", HAS_HVSOCK);
	assert_true(qemu_patched_is_missing("x86_64", cache));
	put_qemu_at(s, "cache/qemu/" QEMU_SERIES "/bin/qemu-system-x86_64", "10.0.13",
		    "reconnect-ms", HAS_ALL);
	after = binary_of("patched", cache);
	assert_string_equal(after, built);
	assert_false(qemu_patched_is_missing("x86_64", cache));
	plain = binary_of(NULL, cache);
	assert_string_equal(plain, host);
	setenv("ORCHESTRATOR_QEMU", host, 1);
	told = binary_of("patched", cache);
	assert_string_equal(told, host);
	assert_false(qemu_patched_is_missing("x86_64",
					     cache)); /* who says so is not helped by a build */
	named = binary_of(own, cache);
	assert_string_equal(named, own);
	unsetenv("ORCHESTRATOR_QEMU");
	setenv("PATH", path, 1);
}

/* Each is asked once, and anew when that is wanted. */
static void qemu_table(void **state)
{
	struct sample *s = *state;
	g_autofree char *own = g_build_filename(s->root, "own", NULL);
	g_autoptr(GHashTable) table = qemu_table_new();
	const struct qemu_caps *caps;

	put_qemu_at(s, "own", "10.0.13", "reconnect-ms", HAS_HVSOCK);
	assert_null(qemu_table_find(table, "x86_64", own));
	caps = qemu_table_get(table, "x86_64", own, NULL, NULL);
	assert_true(caps && caps->has_hvsock && !caps->has_vsock);
	assert_ptr_equal(qemu_table_get(table, "x86_64", own, NULL, NULL), caps);
	assert_ptr_equal(qemu_table_find(table, "x86_64", own), caps);
	assert_int_equal(starts(s), 1);
	qemu_table_forget(table, "x86_64", own);
	assert_null(qemu_table_find(table, "x86_64", own));
	assert_non_null(qemu_table_get(table, "x86_64", own, NULL, NULL));
	assert_int_equal(starts(s), 2);
}

static void damaged_memory_is_no_memory(void **state)
{
	struct sample *s = *state;
	g_autofree char *cache = g_build_filename(s->root, "cache", NULL);
	struct qemu_caps *caps;

	put_qemu(s, "9.2.0", "reconnect-ms");
	put_text(cache, "qemu-caps", "[[[ nonsense\n=\n", 0644);
	assert_true(qemu_caps_probe("x86_64", cache, &caps, NULL));
	assert_int_equal(caps->major, 9);
	qemu_caps_free(caps);
	unsetenv("ORCHESTRATOR_QEMU");
}

static void not_a_qemu(void **state)
{
	struct sample *s = *state;
	struct qemu_caps *caps = NULL;
	g_autofree char *path = g_build_filename(s->root, "bin/qemu", NULL);
	g_autoptr(GError) error = NULL;

	setenv("ORCHESTRATOR_QEMU", path, 1);
	assert_false(qemu_caps_probe("x86_64", NULL, &caps, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, path));
	g_clear_error(&error);
	put_text(s->root, "bin/qemu", "#!/bin/sh\necho 'libfoo.so: cannot open' >&2\nexit 127\n",
		 0755);
	assert_false(qemu_caps_probe("x86_64", NULL, &caps, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, "libfoo.so: cannot open"));
	g_clear_error(&error);
	unsetenv("ORCHESTRATOR_QEMU");
	assert_false(qemu_caps_probe("z80", NULL, &caps, &error));
	assert_non_null(strstr(error->message, "qemu-system-z80"));
	assert_null(caps);
}

/* The real one, if this machine has it: what it says about reconnect-ms is what its version lets expect. */
static void real_qemu(void **state)
{
	struct qemu_caps *caps;
	g_autofree char *binary = command_find("qemu-system-x86_64", NULL);

	if (!binary) {
		print_message("# SKIP no qemu-system-x86_64 here\n");
		skip();
	}
	assert_true(qemu_caps_probe("x86_64", NULL, &caps, NULL));
	assert_true(caps->major >= 7);
	assert_int_equal(caps->has_reconnect_ms,
			 caps->major > 9 || (caps->major == 9 && caps->minor >= 2));
	assert_int_equal(caps->has_fsrs, caps->major > 8 || (caps->major == 8 && caps->minor >= 1));
	qemu_caps_free(caps);
}

static void finds_daemons(void **state)
{
	struct sample *s = *state;
	g_autofree char *bin = g_build_filename(s->root, "bin", NULL);
	g_autofree char *want = g_build_filename(bin, "vhost-user-net", NULL);
	g_autofree char *path = NULL;
	g_autoptr(GError) error = NULL;

	setenv("ORCHESTRATOR_DAEMON_DIR", bin, 1);
	assert_false(host_find_daemon("vhost-user-net", &path, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, want));
	put_text(bin, "vhost-user-net", "#!/bin/sh\n", 0644);
	assert_false(host_find_daemon("vhost-user-net", &path, NULL)); /* not executable */
	put_text(bin, "vhost-user-net", "#!/bin/sh\n", 0755);
	assert_true(host_find_daemon("vhost-user-net", &path, NULL));
	assert_string_equal(path, want);
	unsetenv("ORCHESTRATOR_DAEMON_DIR");
}

#define HOST_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(command_takes_output_and_status),
		cmocka_unit_test(command_never_blocks_the_child),
		cmocka_unit_test(command_times_out),
		cmocka_unit_test(command_without_program),
		cmocka_unit_test(last_line),
		HOST_TEST(bare_metal_without_module),
		HOST_TEST(pvm_host),
		HOST_TEST(cpu_without_virtualization),
		HOST_TEST(kvm_that_does_not_answer),
		HOST_TEST(wsl2_by_name_and_by_interop),
		HOST_TEST(evmcs_ends_at_two_levels),
		HOST_TEST(nesting_follows_the_parameter),
		HOST_TEST(sockets_need_daemon_agent_and_device),
		HOST_TEST(hvsock_needs_a_qemu),
		HOST_TEST(portals_need_daemon_and_device),
		HOST_TEST(memory_counts_the_cgroup),
		HOST_TEST(cgroups_and_tun_are_no_reason_to_fail),
		HOST_TEST(libvirts_are_told),
		HOST_TEST(security_modules_get_rules),
		HOST_TEST(unneeded_parts_are_told),
		HOST_TEST(what_fails),
		HOST_TEST(warnings_do_not_fail),
		HOST_TEST(an_installed_kernel_is_seen),
		HOST_TEST(lab_fits_or_not),
		HOST_TEST(qemu_is_asked_once),
		HOST_TEST(qemus_have_names),
		HOST_TEST(qemu_table),
		HOST_TEST(damaged_memory_is_no_memory),
		HOST_TEST(not_a_qemu),
		cmocka_unit_test(real_qemu),
		HOST_TEST(finds_daemons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
