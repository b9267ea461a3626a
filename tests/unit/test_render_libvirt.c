/* SPDX-License-Identifier: MIT */
/* Domains as text: golden files, the mark, and of any lab whatever: libvirt's own schema.
 *
 * VHOST_LAB_TEST_LABS in the environment says how many random labs go before the schema (40). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "err.h"
#include "golden.h"
#include "host/caps.h"
#include "host/libvirt_caps.h"
#include "image/image.h"
#include "model/lab.h"
#include "patched_qemu.h"
#include "plan/plan.h"
#include "random_lab.h"
#include "render/libvirt.h"

#define SCHEMA    "/usr/share/libvirt/schemas/domain.rng"
#define LABS      40  /* where nobody says how many */
#define FILES_MAX 400 /* on one command line */

static struct lab_dirs dirs = { .state = "/state/vhost-lab",
				.runtime = "/run/user/1000/vhost-lab",
				.cache = "/c" };
static struct image tiny = {
	.key = "k", .kernel = "/c/kernel", .initrd = "/c/initrd", .append = "console=ttyS0 quiet"
};
static struct image bare = { .key = "", .kernel = "/c/kernel", .initrd = "", .append = "" };
static struct qemu_caps qemu_7_2 = { .arch = "x86_64",
				     .binary = "/usr/bin/qemu-system-x86_64",
				     .version = "7.2.22",
				     .major = 7,
				     .minor = 2,
				     .has_vsock = true,
				     .has_pmem = true,
				     .has_ivshmem = true };
static struct qemu_caps qemu_11_1 = { .arch = "x86_64",
				      .binary = "/usr/bin/qemu-system-x86_64",
				      .version = "11.1.3",
				      .major = 11,
				      .minor = 1,
				      .has_reconnect_ms = true,
				      .has_vsock = true,
				      .has_pmem = true,
				      .has_ivshmem = true,
				      .has_fsrs = true,
				      .has_vhost_user_device = true,
				      .kvm_usable = true };
static struct qemu_caps qemu_arm = { .arch = "aarch64",
				     .binary = "/usr/bin/qemu-system-aarch64",
				     .version = "7.2.22",
				     .major = 7,
				     .has_vsock = true,
				     .has_pmem = true,
				     .has_ivshmem = true };
static struct libvirt_caps session_9 = { .uri = "qemu:///session",
					 .version = LIBVIRT_VERSION(9, 0, 0) };
static struct libvirt_caps system_11 = { .uri = "qemu:///system",
					 .system = true,
					 .version = LIBVIRT_VERSION(11, 3, 0),
					 .has_pmem = true,
					 .has_kvm = { [LAB_ARCH_X86_64] = true },
					 .label = "+1000:+64055" };

static struct lab *parse_at(const char *text, const struct lab_dirs *where)
{
	struct lab_errors *errors;
	struct lab *lab;

	if (!lab_parse(text, strlen(text), "/labs/t.json", where, &lab, &errors)) {
		g_autofree char *said = lab_errors_format(errors);

		fail_msg("%s%s", said, text);
	}
	return lab;
}

static struct lab *parse(const char *text)
{
	return parse_at(text, &dirs);
}

/* --- golden domains ----------------------------------------------------------------------------------------------------- */

#define PORTALS                                                                                 \
	"{\"portals\": {\"a\": {}, \"b\": {\"size\": \"8MiB\", \"file\": \"b,1\"}, \"c\": {}}," \
	" \"vms\": {\"n1\": {\"vcpus\": 2, \"portals\": {\"b\": {\"mode\": \"ro\"},"            \
	" \"c\": {\"door\": \"ivshmem\"}, \"a\": {}}}}}"

static const struct golden {
	const char *golden, *text, *vm;
	const struct libvirt_caps *caps;
	const struct qemu_caps *qemu;
	const struct image *image;
	enum render_owner owner;
	const char *told; /* lines; "": nothing */
} golden[] = {
	{ "libvirt/plain.xml", "{\"vms\": {\"n1\": {}, \"n2\": {}}}", "n1", &session_9, &qemu_7_2,
	  &tiny, RENDER_OWNER_FILE,
	  "sockets: by qemu:commandline, without reconnecting: when vhost-user-hvsock has been "
	  "restarted, a VM has sockets again after its own next start\n" },
	{ "libvirt/supervised.xml", "{\"vms\": {\"n1\": {}, \"n2\": {}}}", "n1", &session_9,
	  &qemu_7_2, &tiny, RENDER_OWNER_SUPERVISOR, "" },
	{ "libvirt/system-kvm.xml",
	  "{\"vms\": {\"n1\": {\"vcpus\": 4, \"memory\": \"2GiB\", \"sockets\": \"none\"}}}", "n1",
	  &system_11, &qemu_11_1, &tiny, RENDER_OWNER_FILE, "" },
	{ "libvirt/distros.xml",
	  "{\"networks\": {}, \"vms\": {\"n1\": {\"distros\": {\"deb\": {\"image\": \"deb,ian.qcow2\"}, "
	  "\"alpine\": {\"image\": \"/a.squashfs\"}, \"raw\": {\"image\": \"r\", \"readonly\": true}}}}}",
	  "n1", &session_9, &qemu_7_2, &tiny, RENDER_OWNER_SUPERVISOR, "" },
	{ "libvirt/nics.xml",
	  "{\"networks\": {\"front\": {}, \"back\": {\"mtu\": 9000}}, \"vms\": {\"r\": {\"sockets\": \"none\", "
	  "\"append\": \"it's \\\"x\\\" <&>\", \"nics\": [{\"network\": \"front\", \"offloads\": false}, "
	  "{\"network\": \"back\", \"queues\": 4, \"mac\": \"52:54:00:AB:CD:EF\"}, "
	  "{\"network\": \"back\", \"queues\": 2, \"offloads\": false}]}}}",
	  "r", &session_9, &qemu_7_2, &bare, RENDER_OWNER_FILE, "" },
	{ "libvirt/portals-9.xml", PORTALS, "n1", &session_9, &qemu_7_2, &tiny,
	  RENDER_OWNER_SUPERVISOR,
	  "portal b of n1: by qemu:commandline: libvirt would let the guest write to memory that it "
	  "may only read\n"
	  "portal a of n1: by qemu:commandline: libvirt 9.0.0 cannot start a domain with "
	  "virtio-pmem\n" },
	{ "libvirt/portals-11.xml", PORTALS, "n1", &system_11, &qemu_11_1, &tiny,
	  RENDER_OWNER_SUPERVISOR,
	  "portal b of n1: by qemu:commandline: libvirt would let the guest write to memory that it "
	  "may only read\n" },
	{ "libvirt/portal-vhost-user.xml",
	  "{\"networks\": {}, \"portals\": {\"a\": {}}, \"vms\": {\"n1\": {\"accel\": \"tcg\", \"portals\": "
	  "{\"a\": {\"door\": \"vhost-user\"}}}}}",
	  "n1", &system_11, &qemu_11_1, &tiny, RENDER_OWNER_SUPERVISOR,
	  "portal a of n1: by qemu:commandline: libvirt has no vhost-user-test-device-pci\n" },
	{ "libvirt/hvsock.xml",
	  "{\"portals\": {\"a\": {\"size\": \"10MiB\"}}, \"vms\": {\"n1\": {\"sockets\": \"hvsock\", \"portals\": "
	  "{\"a\": {\"door\": \"vhost-user\"}}}}}",
	  "n1", &session_9, &patched_qemu, &tiny, RENDER_OWNER_SUPERVISOR,
	  "portal a of n1: by qemu:commandline: libvirt has no vhost-user-pmem-pci\n"
	  "sockets: by qemu:commandline: libvirt has no VMBus, and no Hyper-V but KVM's\n" },
	{ "libvirt/aarch64.xml",
	  "{\"images\": {\"own\": {\"kernel\": \"Image\"}}, \"vms\": {\"j\": {\"arch\": \"aarch64\", "
	  "\"sockets\": \"none\", \"image\": \"own\"}}}",
	  "j", &session_9, &qemu_arm, &bare, RENDER_OWNER_FILE, "" },
};

static char *lines_of(const GPtrArray *told)
{
	GString *out = g_string_new(NULL);

	for (guint i = 0; i < told->len; i++)
		g_string_append_printf(out, "%s\n", (char *)told->pdata[i]);
	return g_string_free(out, FALSE);
}

static void test_golden(void **state)
{
	unsigned differ = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(golden); i++) {
		const struct golden *g = &golden[i];
		struct lab *lab = parse(g->text);
		struct lab_paths *paths = lab_paths_new(lab, &dirs);
		g_autoptr(GPtrArray) told = g_ptr_array_new_with_free_func(g_free);
		g_autofree char *xml = NULL, *again = NULL, *lines = NULL;

		xml = render_libvirt(lab, lab_find_vm(lab, g->vm), g->caps, g->qemu, g->image,
				     paths, g->owner, told, NULL);
		assert_non_null(xml);
		again = render_libvirt(lab, lab_find_vm(lab, g->vm), g->caps, g->qemu, g->image,
				       paths, g->owner, NULL, NULL);
		assert_string_equal(xml, again);
		lines = lines_of(told);
		assert_string_equal(lines, g->told);
		differ += (unsigned)golden_check(g->golden, xml);
		lab_paths_free(paths);
		lab_free(lab);
	}
	assert_int_equal(differ, 0);
}

/* --- refusals ------------------------------------------------------------------------------------------------------------ */

static void expect_refusal(const char *text, const struct libvirt_caps *caps,
			   const struct qemu_caps *qemu, const char *says)
{
	struct lab *lab = parse(text);
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	g_autoptr(GError) error = NULL;

	assert_null(render_libvirt(lab, lab_vm(lab, 0), caps, qemu, &tiny, paths, RENDER_OWNER_FILE,
				   NULL, &error));
	assert_int_equal(err_exit_code(error), 4);
	if (!strstr(error->message, says))
		fail_msg("\"%s\" is not in: %s", says, error->message);
	lab_paths_free(paths);
	lab_free(lab);
}

static void test_refusals(void **state)
{
	expect_refusal("{\"vms\": {\"n1\": {\"accel\": \"kvm\"}}}", &session_9, &qemu_11_1,
		       "which the libvirt at qemu:///session does not have");
	expect_refusal("{\"vms\": {\"n1\": {\"accel\": \"kvm\"}}}", &system_11, &qemu_7_2,
		       "wants KVM");
	expect_refusal(
		"{\"networks\": {}, \"portals\": {\"p\": {}}, \"vms\": {\"n1\": {\"portals\": "
		"{\"p\": {\"door\": \"vhost-user\"}}}}}",
		&session_9, &qemu_7_2, "QEMU 7.2.22 has no vhost-user-pmem-pci");
	expect_refusal("{\"vms\": {\"n1\": {\"sockets\": \"hvsock\"}}}", &session_9, &qemu_7_2,
		       "QEMU 7.2.22 (/usr/bin/qemu-system-x86_64) has no vmbus-hvsock");
}

/* What XML cannot hold, or does not give back as it was. */
static void test_unsayable(void **state)
{
	static const char *const paths[] = { "/a\x01", "/a\nb", "/a\tb", "/\xff", "/\xef\xbf\xbf" };
	struct lab *lab = parse("{\"vms\": {\"n1\": {}}}");
	struct lab_paths *p = lab_paths_new(lab, &dirs);

	for (unsigned i = 0; i < G_N_ELEMENTS(paths); i++) {
		struct image image = { .kernel = (char *)(uintptr_t)paths[i],
				       .initrd = "",
				       .append = "" };
		g_autoptr(GError) error = NULL;

		assert_null(render_libvirt(lab, lab_vm(lab, 0), &session_9, &qemu_7_2, &image, p,
					   RENDER_OWNER_FILE, NULL, &error));
		assert_int_equal(err_exit_code(error), 4);
		assert_non_null(
			strstr(error->message,
			       "has a character that a libvirt domain, being XML, cannot hold"));
	}
	lab_paths_free(p);
	lab_free(lab);
}

/* A QEMU without the device gives a domain without sockets, and says so. */
static void test_no_sockets(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	g_autoptr(GPtrArray) told = g_ptr_array_new_with_free_func(g_free);
	struct qemu_caps without = qemu_7_2;
	g_autofree char *xml = NULL;

	without.has_vsock = false;
	xml = render_libvirt(lab, lab_vm(lab, 0), &session_9, &without, &tiny, paths,
			     RENDER_OWNER_SUPERVISOR, told, NULL);
	assert_null(strstr(xml, RENDER_LIBVIRT_SOCKETS_PORT));
	assert_null(strstr(xml, "-s.vu"));
	assert_int_equal(told->len, 1);
	assert_string_equal(told->pdata[0],
			    "n1 has no sockets: QEMU 7.2.22 has no vhost-user-vsock-pci");
	lab_paths_free(paths);
	lab_free(lab);
}

/* The device of Hyper-V's sockets connects by itself: whoever starts the domain, it is the same but for the mark. */
static void test_hvsock_by_hand(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {\"sockets\": \"hvsock\"}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	g_autofree char *file = render_libvirt(lab, lab_vm(lab, 0), &session_9, &patched_qemu,
					       &tiny, paths, RENDER_OWNER_FILE, NULL, NULL);
	g_autofree char *ours = render_libvirt(lab, lab_vm(lab, 0), &session_9, &patched_qemu,
					       &tiny, paths, RENDER_OWNER_SUPERVISOR, NULL, NULL);
	const char *a = strstr(file, "</metadata>"), *b = strstr(ours, "</metadata>");

	assert_string_equal(a, b);
	assert_null(strstr(a, RENDER_LIBVIRT_SOCKETS_PORT));
	assert_non_null(strstr(a, "'x86_64-cpu.hv-synic=on'"));
	lab_paths_free(paths);
	lab_free(lab);
}

/* A QEMU of the lab's choice under a libvirt that may not be let run it is told. */
static void test_confined(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {\"qemu\": \"/q\"}, \"n2\": {}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	struct libvirt_caps confined = system_11, session = session_9;
	const struct libvirt_caps *caps[] = { &confined, &session };

	confined.apparmor = true;
	session.apparmor = true;
	for (unsigned i = 0; i < G_N_ELEMENTS(caps); i++)
		for (unsigned vm = 0; vm < 2; vm++) {
			g_autoptr(GPtrArray) told = g_ptr_array_new_with_free_func(g_free);
			g_autofree char *xml = render_libvirt(lab, lab_vm(lab, vm), caps[i],
							      &qemu_11_1, &tiny, paths,
							      RENDER_OWNER_SUPERVISOR, told, NULL);
			g_autofree char *lines = lines_of(told);

			assert_int_equal(strstr(lines, "n1: qemu:///system confines its QEMUs") !=
						 NULL,
					 i == 0 && vm == 0);
		}
	lab_paths_free(paths);
	lab_free(lab);
}

/* --- the mark -------------------------------------------------------------------------------------------------------------- */

static char *rendered(const struct lab *lab, enum render_owner owner, struct render_mark *ret)
{
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	char *xml = render_libvirt(lab, lab_vm(lab, 0), &session_9, &qemu_7_2, &tiny, paths, owner,
				   NULL, NULL);

	assert_true(render_libvirt_read_mark(xml, ret));
	lab_paths_free(paths);
	return xml;
}

static void test_mark(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {\"append\": \"a < b & 'c'\"}}}");
	struct lab *other = parse("{\"vms\": {\"n1\": {\"append\": \"a < b & 'd'\"}}}");
	g_autofree char *settings = plan_vm_settings(lab, lab_vm(lab, 0));
	struct render_mark mark, file, changed;
	g_autofree char *xml = rendered(lab, RENDER_OWNER_SUPERVISOR, &mark);
	g_autofree char *xml_file = rendered(lab, RENDER_OWNER_FILE, &file);
	g_autofree char *xml_changed = rendered(other, RENDER_OWNER_SUPERVISOR, &changed);

	assert_string_equal(mark.lab, "t");
	assert_string_equal(mark.vm, "n1");
	assert_string_equal(mark.owner, "supervisor");
	assert_string_equal(mark.state_dir, "/state/vhost-lab/labs/t");
	assert_string_equal(mark.settings, settings);
	assert_int_equal(strlen(mark.text), 16);
	assert_string_equal(file.owner, "file");
	assert_string_not_equal(changed.text, mark.text);
	render_mark_clear(&mark);
	render_mark_clear(&file);
	render_mark_clear(&changed);
	lab_free(lab);
	lab_free(other);
}

/* libvirt gives it back without the prefix, and in quotes of its own choice. */
static void test_mark_from_libvirt(void **state)
{
	struct render_mark mark;

	assert_true(render_libvirt_read_mark(
		"<vm lab=\"l\" name=\"n\" owner=\"file\" state=\"/s&amp;t\" text=\"0\">\n"
		"  <settings>memory 1\nkernel a&lt;b</settings>\n</vm>",
		&mark));
	assert_string_equal(mark.state_dir, "/s&t");
	assert_string_equal(mark.settings, "memory 1\nkernel a<b");
	render_mark_clear(&mark);
	assert_null(mark.lab);
	assert_true(render_libvirt_read_mark("<vm lab='l' name='n' owner='file' x='y'/>", &mark));
	assert_null(mark.settings);
	render_mark_clear(&mark);
}

static void test_no_mark(void **state)
{
	static const char *const texts[] = {
		"",
		"vm",
		"<vm",
		"<vm/>",
		"<vm lab='l' name='n'/>",
		"<vm lab='l' name='n' owner='file'>",
		"<instance lab='l' name='n' owner='file'/>",
		"<vm lab='l' name='n' owner='file' lab='m'",
		"<x><vm lab='l' name='n' owner='file'/></x>",
		"<domain><metadata><vm lab='l' name='n' owner='file' xmlns='x'/></metadata></domain>",
		"<domain><vm lab='l' name='n' owner='file' xmlns='" RENDER_LIBVIRT_XMLNS
		"'/></domain>",
		"<vm lab='l' name='n' owner='&x;'/>",
	};
	struct render_mark mark = { .lab = (char *)(uintptr_t) "untouched" };

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
		if (render_libvirt_read_mark(texts[i], &mark))
			fail_msg("taken for a mark: %s", texts[i]);
		assert_string_equal(mark.lab, "untouched");
	}
}

/* --- any lab ------------------------------------------------------------------------------------------------------------ */

/* The domains of one lab, each in a file of its own; their names are added to argv. */
static void write_domains(guint32 seed, const char *dir, GPtrArray *argv)
{
	g_autofree char *text = random_lab_text(seed, 10, 80);
	struct lab *lab = parse(text);
	struct lab_paths *paths = lab_paths_new(lab, &dirs);

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);
		g_autofree char *name = g_strdup_printf("%u.%u.xml", seed, i);
		char *file = g_build_filename(dir, name, NULL);
		g_autofree char *xml = render_libvirt(
			lab, vm, seed % 2 ? &session_9 : &system_11,
			seed % 3 ? &qemu_7_2 : &qemu_11_1, i % 2 ? &tiny : &bare, paths,
			seed % 5 ? RENDER_OWNER_FILE : RENDER_OWNER_SUPERVISOR, NULL, NULL);

		assert_non_null(xml);
		assert_true(g_file_set_contents(file, xml, -1, NULL));
		g_ptr_array_add(argv, file);
	}
	lab_paths_free(paths);
	lab_free(lab);
}

/* What xmllint says of these files; they are removed. */
static void check_files(GPtrArray *argv)
{
	g_autofree char *said = NULL;
	GError *error = NULL;
	int status;

	g_ptr_array_add(argv, NULL);
	if (!g_spawn_sync(NULL, (char **)argv->pdata, NULL,
			  G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, &said,
			  &status, &error))
		fail_msg("%s", error->message);
	if (status != 0)
		fail_msg("%s", said);
	for (guint i = 0; i + 1 < argv->len; i++)
		if (g_str_has_suffix(argv->pdata[i], ".xml"))
			assert_int_equal(g_unlink(argv->pdata[i]), 0);
}

static GPtrArray *xmllint(void)
{
	static const char *const words[] = { "xmllint", "--noout", "--nonet", "--relaxng", SCHEMA };
	GPtrArray *argv = g_ptr_array_new_with_free_func(g_free);

	for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
		g_ptr_array_add(argv, g_strdup(words[i]));
	return argv;
}

static void test_any_lab_is_valid(void **state)
{
	const char *wanted = g_getenv("VHOST_LAB_TEST_LABS");
	guint32 n = wanted ? (guint32)g_ascii_strtoull(wanted, NULL, 10) : LABS;
	g_autofree char *dir = g_dir_make_tmp("vl-domains-XXXXXX", NULL);
	GPtrArray *argv = xmllint();

	if (!g_file_test(SCHEMA, G_FILE_TEST_EXISTS)) {
		print_message("# SKIP no " SCHEMA " (libvirt0) here\n");
		skip();
	}
	for (guint32 seed = 0; seed < n; seed++) {
		write_domains(seed, dir, argv);
		if (argv->len < FILES_MAX && seed + 1 < n)
			continue;
		check_files(argv);
		g_ptr_array_unref(argv);
		argv = xmllint();
	}
	g_ptr_array_unref(argv);
	assert_int_equal(g_rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),         cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_unsayable),      cmocka_unit_test(test_no_sockets),
		cmocka_unit_test(test_hvsock_by_hand), cmocka_unit_test(test_confined),
		cmocka_unit_test(test_mark),           cmocka_unit_test(test_mark_from_libvirt),
		cmocka_unit_test(test_no_mark),        cmocka_unit_test(test_any_lab_is_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
