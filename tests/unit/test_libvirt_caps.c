/* SPDX-License-Identifier: MIT */
/* What a libvirt says of itself: its capabilities read, and virsh asked, here a script in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "err.h"
#include "host/caps.h"
#include "host/libvirt_caps.h"

/* As libvirt 9.0 answers, shortened. */
#define HOST(secmodels)                                  \
	"<capabilities>\n  <host>\n    <uuid>0</uuid>\n" \
	"    <cpu><arch>x86_64</arch><model>EPYC</model></cpu>\n" secmodels "  </host>\n"
#define GUEST(arch, emulator, kvm)                                                 \
	"  <guest>\n    <os_type>hvm</os_type>\n    <arch name='" arch "'>\n"      \
	"      <wordsize>64</wordsize>\n      <emulator>" emulator "</emulator>\n" \
	"      <machine maxCpus='288'>pc-q35-7.2</machine>\n"                      \
	"      <domain type='qemu'/>\n" kvm                                        \
	"    </arch>\n    <features><acpi default='on'/></features>\n  </guest>\n"
#define KVM "      <domain type='kvm'><emulator>/usr/bin/qemu-kvm</emulator></domain>\n"
#define DAC                                                              \
	"    <secmodel>\n      <model>dac</model>\n      <doi>0</doi>\n" \
	"      <baselabel type='kvm'>+64055:+108</baselabel>\n"          \
	"      <baselabel type='qemu'>+64055:+108</baselabel>\n    </secmodel>\n"
#define APPARMOR "    <secmodel><model>apparmor</model><doi>0</doi></secmodel>\n"
#define SELINUX                                              \
	"    <secmodel><model>selinux</model><doi>0</doi>\n" \
	"      <baselabel type='kvm'>system_u:system_r:svirt_t:s0</baselabel></secmodel>\n"
#define END "</capabilities>"

static struct libvirt_caps *read_caps(const char *uri, unsigned long version, const char *xml)
{
	GError *error = NULL;
	struct libvirt_caps *caps =
		libvirt_caps_read(uri, version, LIBVIRT_VERSION(7, 2, 22), xml, &error);

	if (!caps)
		fail_msg("%s", error->message);
	return caps;
}

static void test_session(void **state)
{
	struct libvirt_caps *caps =
		read_caps("qemu:///session", LIBVIRT_VERSION(9, 0, 0),
			  HOST("    <secmodel><model>none</model><doi>0</doi></secmodel>\n")
				  GUEST("i686", "/usr/bin/qemu-system-i386", KVM)
					  GUEST("x86_64", "/usr/bin/qemu-system-x86_64", "") END);

	assert_int_equal(caps->system, geteuid() == 0); /* root has no session of its own */
	assert_false(caps->assumed || caps->has_pmem);
	assert_false(caps->apparmor || caps->selinux);
	assert_null(caps->label);
	assert_string_equal(caps->uri, "qemu:///session");
	assert_string_equal(caps->qemu_version, "7.2.22");
	assert_string_equal(caps->emulator[LAB_ARCH_X86_64], "/usr/bin/qemu-system-x86_64");
	assert_null(caps->emulator[LAB_ARCH_AARCH64]);
	assert_false(caps->has_kvm[LAB_ARCH_X86_64]); /* the other guest's is not its */
	libvirt_caps_free(caps);
}

static void test_system(void **state)
{
	g_autofree char *label = g_strdup_printf("+%u:+108", (unsigned)getuid());
	struct libvirt_caps *caps = read_caps(
		"qemu:///system", LIBVIRT_VERSION(11, 3, 0),
		HOST(APPARMOR DAC SELINUX) GUEST("x86_64", "/usr/bin/qemu-system-x86_64", KVM)
			GUEST("aarch64", "/usr/bin/qemu-system-aarch64", "") END);

	assert_true(caps->system && caps->has_pmem && caps->apparmor && caps->selinux);
	assert_string_equal(caps->label, label);
	assert_true(caps->qemu_uid == 64055);
	assert_true(caps->has_kvm[LAB_ARCH_X86_64] && !caps->has_kvm[LAB_ARCH_AARCH64]);
	/* The first is what it runs; that of a domain type is another. */
	assert_string_equal(caps->emulator[LAB_ARCH_X86_64], "/usr/bin/qemu-system-x86_64");
	assert_string_equal(caps->emulator[LAB_ARCH_AARCH64], "/usr/bin/qemu-system-aarch64");
	libvirt_caps_free(caps);
}

/* A session's QEMUs are its user's, whatever it says; but root's session is the system's libvirt. */
static void test_no_label_in_a_session(void **state)
{
	struct libvirt_caps *caps =
		read_caps("qemu:///session", LIBVIRT_VERSION_MIN, HOST(DAC) END);
	bool root = geteuid() == 0;

	assert_int_equal(caps->label != NULL, root);
	assert_true(caps->qemu_uid == (root ? 64055 : -1));
	libvirt_caps_free(caps);
	/* Who one is on another host is not known here. */
	caps = read_caps("qemu+ssh://h/session", LIBVIRT_VERSION_MIN, HOST(DAC) END);
	assert_false(caps->system);
	assert_null(caps->label);
	libvirt_caps_free(caps);
}

/* Users by name are not known by number, and no number is too large to be one. */
static void test_qemu_uid(void **state)
{
	static const struct {
		const char *label;
		gint64 uid;
	} cases[] = { { "+0:+0", 0 },           { "qemu:qemu", -1 },
		      { "+:+1", -1 },           { "64055:64055", -1 },
		      { "+4294967295:+1", -1 }, { "++1:+1", -1 },
		      { " +5:+6\n", 5 },        { "+4294967294:+1", 4294967294 } };

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *xml = g_strdup_printf(
			HOST("<secmodel><model>dac</model><baselabel type='kvm'>%s</baselabel></secmodel>")
				END,
			cases[i].label);
		struct libvirt_caps *caps = read_caps("qemu:///system", LIBVIRT_VERSION_MIN, xml);

		if (caps->qemu_uid != cases[i].uid)
			fail_msg("%s: %" G_GINT64_FORMAT, cases[i].label, caps->qemu_uid);
		libvirt_caps_free(caps);
	}
}

static void test_not_xml(void **state)
{
	static const char *const texts[] = { "", "no", "<capabilities>", HOST(DAC),
					     "<capabilities>&x;</capabilities>" };

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		GError *error = NULL;

		assert_null(libvirt_caps_read("qemu:///system", 0, 0, texts[i], &error));
		assert_int_equal(err_exit_code(error), 4);
		assert_non_null(strstr(error->message, "qemu:///system"));
		g_error_free(error);
	}
}

static void test_versions(void **state)
{
	static const unsigned long without[] = { LIBVIRT_VERSION(9, 0, 0),
						 LIBVIRT_VERSION(10, 999, 999) };
	static const unsigned long with[] = { LIBVIRT_VERSION(11, 0, 0), LIBVIRT_VERSION(11, 3, 0),
					      LIBVIRT_VERSION(12, 0, 0) };
	g_autofree char *text = libvirt_version_text(LIBVIRT_VERSION(11, 3, 12));

	assert_string_equal(text, "11.3.12");
	for (unsigned i = 0; i < G_N_ELEMENTS(without); i++) {
		struct libvirt_caps *caps = read_caps("qemu:///session", without[i], HOST("") END);

		assert_false(caps->has_pmem);
		libvirt_caps_free(caps);
	}
	for (unsigned i = 0; i < G_N_ELEMENTS(with); i++) {
		struct libvirt_caps *caps = read_caps("qemu:///session", with[i], HOST("") END);

		assert_true(caps->has_pmem);
		libvirt_caps_free(caps);
	}
}

static void test_assumed(void **state)
{
	struct libvirt_caps *caps = libvirt_caps_assume("qemu:///system");

	assert_true(caps->assumed && caps->system && !caps->has_pmem);
	assert_true(caps->version == LIBVIRT_VERSION_MIN);
	assert_null(caps->label);
	libvirt_caps_free(caps);
}

/* --- virsh ------------------------------------------------------------------------------------------------------------- */

/* A directory that is all of $PATH, with that script as virsh; NULL: there is none. */
static char *path_with(const char *script)
{
	char *dir = g_dir_make_tmp("vl-virsh-XXXXXX", NULL);
	g_autofree char *virsh = g_build_filename(dir, "virsh", NULL);

	if (script) {
		assert_true(g_file_set_contents(virsh, script, -1, NULL));
		assert_int_equal(g_chmod(virsh, 0755), 0);
	}
	return dir;
}

/* Take it away again. */
static void path_done(const char *dir)
{
	g_autofree char *virsh = g_build_filename(dir, "virsh", NULL);

	g_unlink(virsh);
	assert_int_equal(g_rmdir(dir), 0);
}

/* libvirt_caps_probe() where virsh is that script. */
static gboolean probe_with(const char *script, const char *uri, struct libvirt_caps **ret,
			   GError **error)
{
	g_autofree char *dir = path_with(script), *before = g_strdup(g_getenv("PATH"));
	gboolean ok;

	g_setenv("PATH", dir, TRUE);
	ok = libvirt_caps_probe(uri, ret, error);
	g_setenv("PATH", before, TRUE);
	path_done(dir);
	return ok;
}

static void test_probe(void **state)
{
	struct libvirt_caps *caps;
	GError *error = NULL;

	if (!probe_with("#!/bin/sh\n"
			"[ \"$1 $2 $3\" = '--readonly --connect qemu:///session' ] || exit 9\n"
			"echo 'Compiled against library: libvirt 9.0.0\n"
			"Using library: libvirt 9.0.0\n"
			"Using API: QEMU 9.0.0\n"
			"Running hypervisor: QEMU 10.0.13\n"
			"Running against daemon: 11.3.0\n"
			"'\n"
			"echo \"" HOST("") GUEST("x86_64", "/q", "") END "\n\"\n",
			"qemu:///session", &caps, &error))
		fail_msg("%s", error->message);
	assert_true(caps->version == LIBVIRT_VERSION(11, 3, 0));
	assert_string_equal(caps->qemu_version, "10.0.13");
	assert_string_equal(caps->emulator[LAB_ARCH_X86_64], "/q");
	libvirt_caps_free(caps);
}

static void expect_failure(const char *script, const char *uri, int code, const char *message)
{
	struct libvirt_caps *caps = NULL;
	GError *error = NULL;

	assert_false(probe_with(script, uri, &caps, &error));
	assert_null(caps);
	assert_int_equal(err_exit_code(error), code);
	assert_string_equal(error->message, message);
	g_error_free(error);
}

#define FAILS(words)                                                         \
	"#!/bin/sh\necho 'error: failed to connect to the hypervisor' >&2\n" \
	"echo 'error: " words "' >&2\nexit 1\n"

static void test_probe_fails(void **state)
{
	expect_failure(NULL, "qemu:///session", 4,
		       "no connection to qemu:///session: there is no virsh; install the packages "
		       "libvirt-daemon-system and libvirt-clients");
	expect_failure(FAILS("Failed to connect socket to /x: No such file or directory"),
		       "qemu:///session", 4,
		       "no connection to qemu:///session: Failed to connect socket to /x: No such "
		       "file or directory; start libvirtd");
	expect_failure(
		FAILS("authentication unavailable: no polkit agent available"), "qemu:///system", 4,
		"no connection to qemu:///system: authentication unavailable: no polkit agent "
		"available; add yourself to the group libvirt, or use qemu:///session");
	expect_failure("#!/bin/sh\nexit 0\n", "qemu:///session", 4,
		       "no connection to qemu:///session: virsh does not say why; start libvirtd");
	expect_failure("#!/bin/sh\nexit 0\n", "xen:///", 2,
		       "xen:///: must begin with \"qemu:\": of libvirt's drivers a lab runs on "
		       "QEMU's alone");
}

/* --- its QEMU ---------------------------------------------------------------------------------------------------------- */

/* What QEMU answers to the questions of host/caps.c, or that: its own greeting, and no device at all. */
static const char qemu_script[] =
	"#!/bin/sh\n"
	"echo '{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 22}}}}'\n";

/* libvirt's QEMU is the binary that it names, if that is of the version it tells; else what that version has. */
static void test_qemu(void **state)
{
	g_autofree char *dir = g_dir_make_tmp("vl-qemu-XXXXXX", NULL);
	g_autofree char *binary = g_build_filename(dir, "qemu", NULL);
	g_autofree char *xml = g_strconcat(HOST(""), GUEST("x86_64", "@", KVM), END, NULL);
	g_auto(GStrv) parts = g_strsplit(xml, "@", 2);
	g_autofree char *told = g_strjoin(binary, parts[0], parts[1], NULL);
	struct libvirt_caps *caps = read_caps("qemu:///session", LIBVIRT_VERSION(11, 3, 0), told);
	struct qemu_caps *qemu;

	g_unsetenv("ORCHESTRATOR_QEMU");
	assert_true(g_file_set_contents(binary, qemu_script, -1, NULL));
	assert_int_equal(g_chmod(binary, 0755), 0);
	assert_true(libvirt_caps_qemu(caps, LAB_ARCH_X86_64, NULL, NULL, &qemu, NULL));
	assert_string_equal(qemu->version, "7.2.22");
	assert_string_equal(qemu->binary, binary);
	assert_false(qemu->has_vsock); /* as it answered */
	qemu_caps_free(qemu);

	g_free(caps->qemu_version);
	caps->qemu_version = g_strdup("10.0.13");
	assert_true(libvirt_caps_qemu(caps, LAB_ARCH_X86_64, NULL, NULL, &qemu, NULL));
	assert_string_equal(qemu->version, "10.0.13");
	assert_string_equal(qemu->binary, binary);
	assert_true(qemu->has_vsock && qemu->has_reconnect_ms && !qemu->has_vhost_user_device);
	assert_true(qemu->kvm_usable); /* as libvirt says */
	qemu_caps_free(qemu);

	/* One that a VM names is asked itself, whatever libvirt's own is. */
	assert_true(libvirt_caps_qemu(caps, LAB_ARCH_X86_64, binary, NULL, &qemu, NULL));
	assert_string_equal(qemu->version, "7.2.22");
	assert_false(qemu->has_vsock);
	qemu_caps_free(qemu);

	/* Nobody answers there, as where libvirt has another root directory. */
	assert_int_equal(g_unlink(binary), 0);
	assert_true(libvirt_caps_qemu(caps, LAB_ARCH_X86_64, NULL, NULL, &qemu, NULL));
	assert_string_equal(qemu->version, "10.0.13");
	qemu_caps_free(qemu);
	libvirt_caps_free(caps);
	assert_int_equal(g_rmdir(dir), 0);
}

static void test_no_qemu(void **state)
{
	struct libvirt_caps *caps = read_caps("qemu:///session", LIBVIRT_VERSION_MIN, HOST("") END);
	struct qemu_caps *qemu = NULL;
	GError *error = NULL;

	assert_false(libvirt_caps_qemu(caps, LAB_ARCH_AARCH64, NULL, NULL, &qemu, &error));
	assert_int_equal(err_exit_code(error), 4);
	assert_string_equal(error->message,
			    "the libvirt at qemu:///session has no QEMU for aarch64; "
			    "install the package qemu-system-arm");
	assert_null(qemu);
	g_error_free(error);
	libvirt_caps_free(caps);
}

static void test_assumed_qemu(void **state)
{
	static const struct {
		const char *version;
		bool fsrs, reconnect_ms, device;
	} cases[] = {
		{ "7.2.22", false, false, false }, { "8.0.4", false, false, false },
		{ "8.1.0", true, false, false },   { "9.1.3", true, false, false },
		{ "9.2.0", true, true, false },    { "10.0.13", true, true, false },
		{ "11.0.9", true, true, false },   { "11.1.0", true, true, true },
		{ "12.0.0", true, true, true },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct qemu_caps *q = qemu_caps_assume("x86_64", "/q", cases[i].version);

		assert_true(q->has_vsock && q->has_pmem && q->has_ivshmem && !q->kvm_usable);
		assert_int_equal(q->has_fsrs, cases[i].fsrs);
		assert_int_equal(q->has_reconnect_ms, cases[i].reconnect_ms);
		assert_int_equal(q->has_vhost_user_device, cases[i].device);
		qemu_caps_free(q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session),
		cmocka_unit_test(test_system),
		cmocka_unit_test(test_no_label_in_a_session),
		cmocka_unit_test(test_qemu_uid),
		cmocka_unit_test(test_not_xml),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_assumed),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_probe_fails),
		cmocka_unit_test(test_qemu),
		cmocka_unit_test(test_no_qemu),
		cmocka_unit_test(test_assumed_qemu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
