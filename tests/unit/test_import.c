/* SPDX-License-Identifier: MIT */
/* Domains of libvirt as a lab: those of strangers by golden text, our own by rendering them again, and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "err.h"
#include "golden.h"
#include "host/caps.h"
#include "host/libvirt_caps.h"
#include "image/image.h"
#include "import/domain.h"
#include "import/lab_text.h"
#include "import/xml.h"
#include "model/lab.h"
#include "patched_qemu.h"
#include "random_lab.h"
#include "render/libvirt.h"

static struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };

static struct lab *try_parse(const char *text)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (!lab_parse(text, strlen(text), "/x/lab.json", &dirs, &lab, &errors))
		lab_errors_free(errors);
	return lab;
}

static struct lab *parse(const char *text)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (!lab_parse(text, strlen(text), "/x/lab.json", &dirs, &lab, &errors))
		fail_msg("%s\n%s", lab_errors_format(errors), text);
	return lab;
}

static struct import_domain *read_text(const char *text, GPtrArray *lost, GError **error)
{
	return import_domain_read("d.xml", text, strlen(text), lost, error);
}

static void add_domain(GPtrArray *domains, const char *xml, GPtrArray *lost)
{
	g_autoptr(GError) error = NULL;
	struct import_domain *d = read_text(xml, lost, &error);

	if (!d)
		fail_msg("%s", error->message);
	g_ptr_array_add(domains, d);
}

/* The lab of one domain; NULL: refused. */
static char *import_one(const char *text, GPtrArray *lost)
{
	g_autoptr(GPtrArray)
		domains = g_ptr_array_new_with_free_func((GDestroyNotify)import_domain_free);
	struct import_domain *d = read_text(text, lost, NULL);

	if (!d)
		return NULL;
	g_ptr_array_add(domains, d);
	return import_lab_text(domains, lost);
}

static char *lines(const GPtrArray *lost)
{
	GString *out = g_string_new(NULL);

	for (guint i = 0; i < lost->len; i++)
		g_string_append_printf(out, "%s\n", (const char *)lost->pdata[i]);
	return g_string_free(out, FALSE);
}

/* --- strangers' ------------------------------------------------------------------------------------------------------------ */

static void test_foreign(void **state)
{
	g_autofree char *xml = source_text("tests/unit/golden/import/foreign.xml");
	g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *text = import_one(xml, lost), *said = lines(lost);
	struct lab *lab = parse(text);
	const struct vm *vm = lab_vm(lab, 0);

	assert_int_equal(golden_check("import/foreign.json", text), 0);
	assert_int_equal(golden_check("import/foreign.lost", said), 0);
	assert_string_equal(vm->name, "web-server");
	assert_int_equal(vm->memory, 1536ull << 20); /* without what is plugged in */
	assert_int_equal(vm->vcpus, 4);
	assert_int_equal(vm->cid, 77);
	assert_int_equal(vm->nics->len, 3);
	assert_int_equal(vm_nic(vm, 1)->network->mtu, 9000);
	assert_int_equal(vm_nic(vm, 1)->queues, 4);
	assert_false(vm_nic(vm, 1)->offloads);
	lab_free(lab);
}

static const char small[] = "<domain type='qemu'><name>%s</name><memory unit='MiB'>%s</memory>"
			    "<vcpu>%s</vcpu><os><type arch='x86_64' machine='q35'>hvm</type>"
			    "<kernel>/k</kernel></os></domain>";

/* What no VM can be is bent into what one can, and told. */
static void test_bounds(void **state)
{
	static const struct {
		const char *memory, *vcpus;
		uint64_t memory_mib;
		unsigned n_vcpus, n_lost;
	} cases[] = {
		{ "64", "1", 64, 1, 0 },
		{ "1", "0", 32, 1, 2 },
		{ "99999999999999999999999", "256", 32, 255, 2 },
		{ "9999999999", "255", LAB_MEMORY_MAX >> 20, 255, 1 },
		{ "-5", "-5", 32, 1, 1 },
		{ "", "", 32, 1, 1 },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
		g_autofree char *xml =
			g_strdup_printf(small, "n1", cases[i].memory, cases[i].vcpus);
		g_autofree char *text = import_one(xml, lost);
		struct lab *lab = parse(text);

		assert_int_equal(lab_vm(lab, 0)->memory >> 20, cases[i].memory_mib);
		assert_int_equal(lab_vm(lab, 0)->vcpus, cases[i].n_vcpus);
		if (i < 1)
			assert_int_equal(lost->len, cases[i].n_lost);
		else
			assert_true(lost->len >= cases[i].n_lost);
		lab_free(lab);
	}
}

/* Two of one name, MAC and CID, and one image between them. */
static void test_together(void **state)
{
	static const char xml[] =
		"<domain type='qemu'><name>N 1</name><memory unit='GiB'>1</memory><os><type arch='x86_64'>hvm</type>"
		"<kernel>/boot/Vmlinuz</kernel><cmdline>console=ttyS0</cmdline></os><devices>"
		"<interface type='bridge'><source bridge='br0'/><mac address='52:54:00:00:00:01'/></interface>"
		"<vsock><cid address='9'/></vsock></devices></domain>";
	g_autoptr(GPtrArray)
		domains = g_ptr_array_new_with_free_func((GDestroyNotify)import_domain_free);
	g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
	g_autofree char *text = NULL, *said = NULL;
	struct lab *lab;

	g_ptr_array_add(domains, read_text(xml, lost, NULL));
	g_ptr_array_add(domains, read_text(xml, lost, NULL));
	text = import_lab_text(domains, lost);
	said = lines(lost);
	lab = parse(text);
	assert_int_equal(lab->vms->len, 2);
	assert_non_null(lab_find_vm(lab, "n-1"));
	assert_non_null(lab_find_vm(lab, "n-1-2"));
	assert_int_equal(lab->images->len, 2); /* tiny, and theirs */
	assert_ptr_equal(lab_vm(lab, 0)->image, lab_vm(lab, 1)->image);
	assert_int_equal(lab->networks->len, 1);
	assert_non_null(strstr(said, "MAC 52:54:00:00:00:01: another NIC has it"));
	assert_non_null(strstr(said, "CID 9: another VM has it"));
	assert_non_null(strstr(said, "another VM is called so, and this one n-1-2"));
	lab_free(lab);
}

/* --- what is no domain of ours ---------------------------------------------------------------------------------------------- */

static void refuses(const char *xml, const char *why)
{
	g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GError) error = NULL;

	assert_null(read_text(xml, lost, &error));
	assert_int_equal(error->code, ORCH_ERROR_INVALID_LAB);
	if (!strstr(error->message, why))
		fail_msg("%s: %s; wanted %s", xml, error->message, why);
}

static void test_refused(void **state)
{
	refuses("", "d.xml:1: ");
	refuses("hello", "d.xml:1: ");
	refuses("<domain type='qemu'>\n<name>a</nam></domain>", "d.xml:2: ");
	refuses("<network><name>default</name></network>",
		"d.xml:1: <network>: that is no libvirt");
	refuses("\n<domain type='xen'/>", "d.xml:2: domain type xen: only qemu and kvm");
	refuses("<domain/>", "domain type not said: only qemu and kvm");
	refuses("<domain xmlns='urn:other' type='qemu'/>", "that is no libvirt domain");
	refuses("<domain type='kvm'>\n<os>\n<type arch='ppc64le'>hvm</type></os></domain>",
		"d.xml:3: arch ppc64le: only x86_64 and aarch64");
	refuses("<domain type='kvm'><os><type arch='aarch64'>hvm</type></os></domain>",
		"an aarch64 that boots from a disk");
	refuses("<!DOCTYPE d [<!ENTITY a 'aaaa'>]>\n<domain type='qemu'>&a;</domain>",
		"d.xml:1: a document type");
	refuses("<?xml version='1.0'?>\n<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>",
		"d.xml:2: a document type");
	refuses("<domain type='qemu'><name>&passwd;</name></domain>", "d.xml:1: ");
	refuses("\xff\xfe<\0d\0", "d.xml:1: ");
}

static void test_too_large_and_too_deep(void **state)
{
	g_autoptr(GString) large = g_string_new("<domain type='qemu'><name>");
	g_autoptr(GString) deep = g_string_new("<domain type='qemu'>");

	for (unsigned i = 0; i < 100000; i++)
		g_string_append(deep, "<devices>");
	refuses(deep->str, "d.xml:1: ");
	while (large->len <= XML_TEXT_MAX)
		g_string_append(large, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	g_string_append(large, "</name></domain>");
	refuses(large->str, "larger than 4 MiB");
}

/* --- our own ---------------------------------------------------------------------------------------------------------------- */

static char *kernel_of(const struct vm *vm)
{
	return vm->image->kernel ? vm->image->kernel : (char *)(uintptr_t) "/c/images/0/kernel";
}

/* The VM's domain, as libvirt 9.0 would be given it. */
static char *render(const struct lab *lab, const struct vm *vm)
{
	const struct qemu_caps stock = { .binary =
						 (char *)(uintptr_t) "/usr/bin/qemu-system-x86_64",
					 .version = (char *)(uintptr_t) "7.2.22",
					 .major = 7,
					 .minor = 2,
					 .has_vsock = true,
					 .has_pmem = true,
					 .has_ivshmem = true,
					 .has_vhost_user_device = true };
	struct libvirt_caps caps = { .uri = (char *)(uintptr_t) "qemu:///session",
				     .version = LIBVIRT_VERSION_MIN };
	struct image image = {
		.kernel = kernel_of(vm),
		.initrd = vm->image->initrd ? vm->image->initrd : (char *)(uintptr_t) "",
		.append = vm->image->append ? vm->image->append : (char *)(uintptr_t) ""
	};
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	g_autoptr(GError) error = NULL;
	char *xml = render_libvirt(lab, vm, &caps,
				   vm->sockets == LAB_SOCKETS_HVSOCK ? &patched_qemu : &stock,
				   &image, paths, RENDER_OWNER_FILE, NULL, &error);

	if (!xml)
		fail_msg("%s", error->message);
	lab_paths_free(paths);
	return xml;
}

/* A way out of a network is in no domain, but its guests are told of it. */
static char *without_uplinks(const char *xml)
{
	g_autoptr(GRegex)
		lines_of = g_regex_new("\nnic\\.[0-9]+\\.(gateway|dns) [0-9.]+", 0, 0, NULL);

	return g_regex_replace_literal(lines_of, xml, -1, 0, "", 0, NULL);
}

/* Every VM of a random lab comes back as it was: its domain, rendered again, is the same, word for word. */
static void test_round_trip(void **state)
{
	for (guint32 seed = 0; seed < 500; seed++) {
		g_autofree char *text = random_lab_text(seed, 8, 100), *back = NULL;
		g_autoptr(GPtrArray) domains =
			g_ptr_array_new_with_free_func((GDestroyNotify)import_domain_free);
		g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
		g_autoptr(GPtrArray) xmls = g_ptr_array_new_with_free_func(g_free);
		struct lab *lab = parse(text), *again;

		for (unsigned i = 0; i < lab->vms->len; i++) {
			char *xml = render(lab, lab_vm(lab, i));

			g_ptr_array_add(xmls, xml);
			add_domain(domains, xml, lost);
		}
		back = import_lab_text(domains, lost);
		if (lost->len > 0)
			fail_msg("seed %u: %s\n%s", seed, (char *)lost->pdata[0],
				 (char *)xmls->pdata[0]);
		again = parse(back);
		assert_string_equal(again->name, lab->name);
		assert_int_equal(again->vms->len, lab->vms->len);
		for (unsigned i = 0; i < lab->vms->len; i++) {
			g_autofree char *xml = render(again, lab_vm(again, i));
			g_autofree char *was = without_uplinks(xmls->pdata[i]);

			if (strcmp(xml, was) != 0)
				fail_msg("seed %u, VM %u:\n%s\nwas\n%s", seed, i, xml, was);
		}
		lab_free(again);
		lab_free(lab);
	}
}

/* The words by which Hyper-V's sockets are said are ours; others are not. */
static void test_hvsock_words(void **state)
{
	struct lab *lab = parse("{\"name\": \"x\", \"vms\": {\"n1\": {\"sockets\": \"hvsock\"}}}");
	g_autofree char *xml = render(lab, lab_vm(lab, 0)), *text = NULL, *other = NULL;
	g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GString) edited = g_string_new(xml);

	text = import_one(xml, lost);
	assert_int_equal(lost->len, 0);
	assert_non_null(strstr(text, "\"hvsock\""));
	assert_int_equal(g_string_replace(edited, ".fsrs=off", ".avx=off", 0), 1);
	other = import_one(edited->str, lost);
	assert_int_equal(lost->len, 1);
	assert_non_null(
		strstr(lost->pdata[0], "max-x86_64-cpu.avx=off: what QEMU is told is ours"));
	lab_free(lab);
}

/* Who has edited the domain is believed before the mark. */
static void test_edited(void **state)
{
	struct lab *lab = parse("{\"name\": \"x\", \"vms\": {\"n1\": {\"memory\": \"64MiB\"}}}"),
		   *again;
	g_autofree char *xml = render(lab, lab_vm(lab, 0)), *text = NULL;
	g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
	g_autoptr(GString) edited = g_string_new(xml);

	assert_int_equal(g_string_replace(edited, "'MiB'>64<", "'MiB'>128<", 0), 1);
	assert_int_equal(g_string_replace(edited, "<vcpu>1<", "<vcpu>3<", 0), 1);
	assert_int_equal(g_string_replace(edited, "    <audio ",
					  "    <sound model='ich9'/>\n    <audio ", 0),
			 1);
	text = import_one(edited->str, lost);
	again = parse(text);
	assert_int_equal(lab_vm(again, 0)->memory >> 20, 128);
	assert_int_equal(lab_vm(again, 0)->vcpus, 3);
	assert_int_equal(lost->len, 1);
	assert_non_null(strstr(lost->pdata[0], "n1: <sound>: a VM has no sound"));
	lab_free(again);
	lab_free(lab);
}

/* --- hostile ---------------------------------------------------------------------------------------------------------------- */

/* Some bytes changed, a piece left out, another twice. */
static char *mangle(GRand *r, const char *text)
{
	size_t len = strlen(text), a = (size_t)g_rand_int_range(r, 0, (int)len);
	size_t n = (size_t)g_rand_int_range(r, 1, 40);
	GString *out = g_string_new(text);

	n = MIN(n, len - a);
	switch (g_rand_int_range(r, 0, 4)) {
	case 0:
		g_string_erase(out, (gssize)a, (gssize)n);
		break;
	case 1:
		g_string_insert_len(out, (gssize)a, text + a, (gssize)n);
		break;
	case 2:
		out->str[a] = (char)g_rand_int_range(r, ' ', 127);
		break;
	default:
		/* A number becomes another. */
		for (size_t i = a; i < len; i++) {
			if (!g_ascii_isdigit(text[i]))
				continue;
			g_string_insert(out, (gssize)i, g_rand_boolean(r) ? "99999999" : "-");
			break;
		}
	}
	return g_string_free(out, FALSE);
}

/* Whatever it says: refused, or a lab, or domains that are no lab together; never anything worse. */
static void test_mangled(void **state)
{
	g_autoptr(GRand) r = g_rand_new_with_seed(6);
	g_autofree char *foreign = source_text("tests/unit/golden/import/foreign.xml");
	g_autofree char *lab_text = random_lab_text(7, 1, 100);
	struct lab *lab = parse(lab_text);
	g_autofree char *ours = render(lab, lab_vm(lab, 0));
	unsigned n_labs = 0, n_refused = 0;

	for (unsigned i = 0; i < 4000; i++) {
		g_autoptr(GPtrArray) lost = g_ptr_array_new_with_free_func(g_free);
		g_autofree char *once = mangle(r, i % 2 ? ours : foreign), *xml = mangle(r, once);
		g_autofree char *text = import_one(xml, lost);
		struct lab *got = text ? try_parse(text) : NULL;

		n_labs += got != NULL;
		n_refused += text == NULL;
		lab_free(got);
	}
	assert_true(n_labs > 100);
	assert_true(n_refused > 100);
	lab_free(lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_large_and_too_deep),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_hvsock_words),
		cmocka_unit_test(test_edited),
		cmocka_unit_test(test_mangled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
