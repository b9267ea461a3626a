/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "err.h"
#include "golden.h"
#include "model/fields.h"
#include "model/lab.h"

/* Short directories, so that paths never decide a test that is not about them. */
static struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };

/* The lab, or what is wrong with it. */
static struct lab *parse(const char *text, char **ret_said)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (lab_parse(text, strlen(text), "dir/t.json", &dirs, &lab, &errors)) {
		*ret_said = NULL;
		return lab;
	}
	*ret_said = lab_errors_format(errors);
	lab_errors_free(errors);
	return NULL;
}

static struct lab *good(const char *text)
{
	g_autofree char *said = NULL;
	struct lab *lab = parse(text, &said);

	if (said)
		print_message("%s", said);
	assert_non_null(lab);
	return lab;
}

/* That text is refused, and one of the messages contains `what`. */
static void refused(const char *text, const char *what)
{
	g_autofree char *said = NULL;
	struct lab *lab = parse(text, &said);

	assert_null(lab);
	if (!strstr(said, what))
		print_message("wanted: %s\ngot: %s", what, said);
	assert_non_null(strstr(said, what));
}

static void assert_ip(const struct nic *nic, const char *text)
{
	char ip[INET_ADDRSTRLEN];

	assert_string_equal(inet_ntop(AF_INET, &nic->ip, ip, sizeof(ip)), text);
}

/* --- every error of a file, as people see it -------------------------------------------------------------------------- */

static void test_golden_errors(void **state)
{
	g_autofree char *path = source_path("tests/unit/golden/lab");
	g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
	unsigned n = 0, differ = 0;
	const char *name;

	assert_non_null(dir);
	while ((name = g_dir_read_name(dir))) {
		g_autofree char *file = NULL, *text = NULL, *golden = NULL, *said = NULL;
		struct lab_errors *errors;
		struct lab *lab;

		if (!g_str_has_suffix(name, ".json"))
			continue;
		file = g_build_filename("tests/unit/golden/lab", name, NULL);
		text = source_text(file);
		golden = g_strdup_printf("lab/%.*s.txt", (int)(strlen(name) - strlen(".json")),
					 name);
		assert_false(lab_parse(text, strlen(text), name, &dirs, &lab, &errors));
		said = lab_errors_format(errors);
		differ += (unsigned)golden_check(golden, said);
		lab_errors_free(errors);
		n++;
	}
	assert_true(n >= 10);
	assert_int_equal(differ, 0);
}

static void test_examples(void **state)
{
	static const char *const names[] = { "three-nodes", "one-vm", "tested", "wan",
					     "wsl-hvsock" };

	for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
		g_autofree char *file = g_build_filename("examples", names[i], "lab.json", NULL);
		g_autofree char *path = source_path(file);
		struct lab_errors *errors;
		struct lab *lab;

		assert_true(lab_load(path, &dirs, &lab, &errors));
		assert_string_equal(lab->name, names[i]);
		lab_free(lab);
	}
}

/* --- what is not said --------------------------------------------------------------------------------------------------- */

static void test_only_names(void **state)
{
	struct lab *lab = good("{\"vms\": {\"n1\": {}, \"n2\": {}, \"n3\": {}}}");
	const struct vm *vm = lab_vm(lab, 1);
	const struct nic *nic = vm_nic(vm, 0);

	assert_string_equal(lab->name, "t");
	assert_true(g_path_is_absolute(lab->path));
	assert_int_equal(lab->vms->len, 3);
	assert_ptr_equal(lab_find_vm(lab, "n2"), vm);
	assert_null(lab_find_vm(lab, "n4"));
	assert_int_equal(vm->index, 1);
	assert_int_equal(vm->memory, 256 << 20);
	assert_int_equal(vm->vcpus, 1);
	assert_int_equal(vm->arch, LAB_ARCH_X86_64);
	assert_int_equal(vm->accel, LAB_ACCEL_AUTO);
	assert_string_equal(vm->image->name, "tiny");
	assert_null(vm->image->kernel);
	assert_int_equal(vm->nics->len, 1);
	assert_string_equal(nic->port, "n2.0");
	assert_int_equal(nic->queues, 1);
	assert_ip(nic, "192.168.100.11");
	assert_string_equal(nic->network->name, "lan");
	assert_int_equal(nic->network->mtu, 1500);
	assert_int_equal(nic->network->prefix, 24);
	lab_free(lab);
}

static void test_defaults_and_overrides(void **state)
{
	struct lab *lab = good(
		"{\"name\": \"x\", \"defaults\": {\"memory\": \"1GiB\", \"vcpus\": 2, \"accel\": \"tcg\", \"image\": "
		"\"own\", \"arch\": \"aarch64\"},"
		"\"images\": {\"own\": {\"kernel\": \"k/../vm,linuz\", \"initrd\": \"/i\", \"append\": \"a b\"}},"
		"\"vms\": {\"a\": {}, \"b\": {\"memory\": \"64MiB\", \"vcpus\": 4.0, \"accel\": \"kvm\", \"image\": "
		"\"tiny\", \"arch\": \"x86_64\", \"role\": \"db\", \"description\": \"d\", \"append\": \"q\"}}}");
	const struct vm *a = lab_vm(lab, 0), *b = lab_vm(lab, 1);
	g_autofree char *cwd = g_get_current_dir(),
			*kernel = g_build_filename(cwd, "dir", "vm,linuz", NULL);

	assert_int_equal(a->memory, 1 << 30);
	assert_int_equal(a->vcpus, 2);
	assert_int_equal(a->accel, LAB_ACCEL_TCG);
	assert_int_equal(a->arch, LAB_ARCH_AARCH64);
	assert_string_equal(a->image->kernel, kernel);
	assert_string_equal(a->image->initrd, "/i");
	assert_string_equal(a->image->append, "a b");
	assert_int_equal(b->memory, 64 << 20);
	assert_int_equal(b->vcpus, 4);
	assert_int_equal(b->accel, LAB_ACCEL_KVM);
	assert_ptr_equal(b->image, lab->images->pdata[0]);
	assert_string_equal(b->role, "db");
	assert_string_equal(b->description, "d");
	assert_string_equal(b->append, "q");
	lab_free(lab);
}

static void test_subnets_dealt(void **state)
{
	struct lab *lab = good(
		"{\"networks\": {\"a\": {}, \"b\": {\"subnet\": \"192.168.100.0/23\"}, \"c\": {}, \"d\": {\"mtu\": "
		"9000}}, \"vms\": {\"v\": {\"nics\": []}}}");
	static const char *const expected[] = { "192.168.102.0", "192.168.100.0", "192.168.103.0",
						"192.168.104.0" };
	char text[INET_ADDRSTRLEN];

	for (unsigned i = 0; i < 4; i++)
		assert_string_equal(inet_ntop(AF_INET, &lab_network(lab, i)->subnet, text,
					      sizeof(text)),
				    expected[i]);
	assert_int_equal(lab_network(lab, 3)->mtu, 9000);
	assert_ptr_equal(lab_find_network(lab, "c"), lab_network(lab, 2));
	assert_int_equal(lab_vm(lab, 0)->nics->len, 0);
	lab_free(lab);
	refused("{\"networks\": {\"a\": {\"subnet\": \"192.168.0.0/16\"}, \"b\": {}}, \"vms\": {\"v\": {\"nics\": []}}}",
		"/networks/b: no subnet of 192.168.0.0/16 is left");
}

/* A /29 has six hosts: dealt from the first; given ones are left out wherever they stand. */
static void test_ips_dealt(void **state)
{
	struct lab *lab = good(
		"{\"networks\": {\"n\": {\"subnet\": \"10.0.0.0/29\"}}, \"vms\": {\"a\": {}, \"b\": {\"nics\": [{\"ip\": "
		"\"10.0.0.2\"}, {}]}, \"c\": {}, \"d\": {}, \"e\": {\"nics\": [{\"ip\": \"10.0.0.1\"}]}}}");

	assert_ip(vm_nic(lab_vm(lab, 0), 0), "10.0.0.3");
	assert_ip(vm_nic(lab_vm(lab, 1), 0), "10.0.0.2");
	assert_ip(vm_nic(lab_vm(lab, 1), 1), "10.0.0.4");
	assert_ip(vm_nic(lab_vm(lab, 3), 0), "10.0.0.6");
	lab_free(lab);
	refused("{\"networks\": {\"n\": {\"subnet\": \"10.0.0.0/29\"}}, \"vms\": {\"a\": {\"nics\": [{}, {}, {}, {}, {}, {}, {}]}}}",
		"/networks/n: the subnet of \"n\" is too small: 7 NICs, 6 addresses");
}

static void test_after(void **state)
{
	struct lab *lab = good(
		"{\"vms\": {\"a\": {\"after\": [\"c\", \"b\"]}, \"b\": {\"after\": [\"c\"]}, \"c\": {}}}");
	const struct vm *a = lab_vm(lab, 0);

	assert_int_equal(a->after->len, 2);
	assert_ptr_equal(a->after->pdata[0], lab_vm(lab, 2));
	assert_ptr_equal(a->after->pdata[1], lab_vm(lab, 1));
	lab_free(lab);
}

static void test_x_keys_are_free(void **state)
{
	lab_free(good(
		"{\"x-a\": [[[]]], \"vms\": {\"a\": {\"x-b\": 1e300, \"nics\": [{\"x-c\": null}]}}, \"defaults\": {\"x-\": {}}}"));
	/* In a map of names it is a name. */
	refused("{\"vms\": {\"x-a\": 7}}", "/vms/x-a: expected an object");
}

static void test_network_nics(void **state)
{
	struct lab *lab = good(
		"{\"networks\": {\"p\": {}, \"q\": {}}, \"vms\": {\"a\": {\"nics\": [{\"network\": \"q\"}, {\"network\": "
		"\"p\"}]}, \"b\": {\"nics\": [{\"network\": \"q\"}]}}}");
	g_autoptr(GPtrArray) nics = lab_network_nics(lab, lab_find_network(lab, "q"));

	assert_int_equal(nics->len, 2);
	assert_string_equal(((struct nic *)nics->pdata[0])->port, "a.0");
	assert_string_equal(((struct nic *)nics->pdata[1])->port, "b.0");
	lab_free(lab);
}

/* --- limits, at n and n + 1 --------------------------------------------------------------------------------------------- */

/* {"vms": {"v0": BODY, "v1": BODY, …}} */
static char *many_vms(unsigned n, const char *head, const char *body)
{
	GString *out = g_string_new("{");

	g_string_append_printf(out, "%s\"vms\": {", head);
	for (unsigned i = 0; i < n; i++)
		g_string_append_printf(out, "%s\"v%u\": %s", i > 0 ? ",\n" : "", i, body);
	g_string_append(out, "}}");
	return g_string_free(out, FALSE);
}

/* `before`, n times `left`, a number and `right` with commas between, `after`. */
static char *many(const char *before, unsigned n, const char *left, const char *right,
		  const char *after)
{
	GString *out = g_string_new(before);

	for (unsigned i = 0; i < n; i++)
		g_string_append_printf(out, "%s%s%u%s", i > 0 ? "," : "", left, i, right);
	g_string_append(out, after);
	return g_string_free(out, FALSE);
}

#define BIG_SUBNET "\"networks\": {\"n\": {\"subnet\": \"10.0.0.0/8\"}},"

static void test_limit_vms(void **state)
{
	g_autofree char *most = many_vms(LAB_VMS_MAX, BIG_SUBNET, "{}");
	g_autofree char *more = many_vms(LAB_VMS_MAX + 1, BIG_SUBNET, "{}");

	lab_free(good(most));
	refused(more, "/vms: names 4097, at most 4096 are allowed");
}

static void test_limit_networks_and_nics(void **state)
{
	g_autofree char *nets = many("{\"networks\": {", LAB_NETWORKS_MAX, "\"n", "\": {}",
				     "}, \"vms\": {\"a\": {\"nics\": []}}}");
	g_autofree char *nets_more = many("{\"networks\": {", LAB_NETWORKS_MAX + 1, "\"n", "\": {}",
					  "}, \"vms\": {\"a\": {}}}");
	g_autofree char *nics =
		many("{\"vms\": {\"a\": {\"nics\": [", LAB_NICS_MAX, "{\"x-", "\": 0}", "]}}}");
	g_autofree char *nics_more =
		many("{\"vms\": {\"a\": {\"nics\": [", LAB_NICS_MAX + 1, "{\"x-", "\": 0}", "]}}}");

	lab_free(good(nets));
	refused(nets_more, "/networks: names 65, at most 64 are allowed");
	lab_free(good(nics));
	refused(nics_more, "/vms/a/nics: has 17 elements, at most 16 are allowed");
}

static void test_limit_values(void **state)
{
	lab_free(good(
		"{\"vms\": {\"a\": {\"vcpus\": 255, \"memory\": \"4TiB\", \"nics\": [{\"queues\": 8}]}}}"));
	lab_free(good(
		"{\"vms\": {\"a\": {\"vcpus\": 1, \"memory\": \"32MiB\", \"nics\": [{\"queues\": 1}]}}}"));
	refused("{\"vms\": {\"a\": {\"vcpus\": 256}}}", "256 is out of range: 1 to 255");
	refused("{\"vms\": {\"a\": {\"vcpus\": 0}}}", "0 is out of range: 1 to 255");
	refused("{\"vms\": {\"a\": {\"vcpus\": -1}}}", "-1 is out of range: 1 to 255");
	refused("{\"vms\": {\"a\": {\"memory\": \"4194305MiB\"}}}",
		"is out of range: 32MiB to 4TiB");
	refused("{\"vms\": {\"a\": {\"memory\": \"31MiB\"}}}", "is out of range: 32MiB to 4TiB");
	refused("{\"vms\": {\"a\": {\"nics\": [{\"queues\": 9}]}}}", "9 is out of range: 1 to 8");
	lab_free(good(
		"{\"networks\": {\"a\": {\"mtu\": 576}, \"b\": {\"mtu\": 65521}}, \"vms\": {\"a\": {\"nics\": []}}}"));
	refused("{\"networks\": {\"a\": {\"mtu\": 575}}, \"vms\": {\"a\": {}}}",
		"575 is out of range: 576 to 65521");
	refused("{\"networks\": {\"a\": {\"mtu\": 65522}}, \"vms\": {\"a\": {}}}",
		"65522 is out of range");
}

/* A lab of n VMs that share one portal.  g_free(). */
static char *sharing(unsigned n)
{
	GString *out = g_string_new("{\"portals\": {\"p\": {}}, \"vms\": {");

	for (unsigned i = 0; i < n; i++)
		g_string_append_printf(out, "%s\"n%u\": {\"portals\": [\"p\"]}", i ? ", " : "", i);
	g_string_append(out, "}}");
	return g_string_free(out, FALSE);
}

static void test_limit_vms_of_a_portal(void **state)
{
	g_autofree char *fits = sharing(127), *too_many = sharing(128);

	lab_free(good(fits));
	refused(too_many, "/vms/n127/portals/0: portal p has more than 127 VMs");
}

static void test_limit_strings(void **state)
{
	g_autofree char *label = g_strnfill(63, 'n'), *text = g_strnfill(1024, 't');
	g_autofree char *fits =
		g_strdup_printf("{\"description\": \"%s\", \"vms\": {\"%s\": {}}}", text, label);
	g_autofree char *long_name = g_strdup_printf("{\"vms\": {\"%sn\": {}}}", label);
	g_autofree char *long_text =
		g_strdup_printf("{\"description\": \"%st\", \"vms\": {\"a\": {}}}", text);

	lab_free(good(fits));
	refused(long_name, "is too long for a name: at most 63 characters");
	refused(long_text, "is 1025 bytes long, at most 1024 are allowed");
}

static void test_limit_file(void **state)
{
	static const char lab_text[] = "{\"vms\": {\"a\": {}}}";
	g_autofree char *text = g_strnfill(LAB_FILE_MAX + 1, ' '), *said = NULL;
	struct lab_errors *errors;
	struct lab *lab;

	memcpy(text, lab_text, strlen(lab_text));
	assert_true(lab_parse(text, LAB_FILE_MAX, "t", &dirs, &lab, &errors));
	lab_free(lab);
	assert_false(lab_parse(text, LAB_FILE_MAX + 1, "t", &dirs, &lab, &errors));
	said = lab_errors_format(errors);
	assert_string_equal(said, "t: error: larger than 16 MiB: no lab needs that much\n");
	lab_errors_free(errors);
}

/* 107 bytes are the most a socket's path can have. */
static void test_limit_socket_path(void **state)
{
	struct lab_dirs deep = dirs;
	struct lab_errors *errors;
	struct lab *lab;
	static const char text[] = "{\"name\": \"lab\",\n\"vms\": {\"n123\": {}}}";

	/* DIR/lab/n123.vs_4294967295 */
	deep.runtime = g_strnfill(107 - strlen("/lab/n123.vs_4294967295"), 'd');
	deep.runtime[0] = '/';
	assert_true(lab_parse(text, strlen(text), "t", &deep, &lab, &errors));
	lab_free(lab);
	g_free(deep.runtime);

	deep.runtime = g_strnfill(108 - strlen("/lab/n123.vs_4294967295"), 'd');
	deep.runtime[0] = '/';
	assert_false(lab_parse(text, strlen(text), "t", &deep, &lab, &errors));
	assert_int_equal(lab_errors_count(errors), 1);
	assert_int_equal(((struct lab_error *)errors->list->pdata[0])->line, 2);
	assert_string_equal(((struct lab_error *)errors->list->pdata[0])->pointer, "/vms/n123");
	assert_non_null(strstr(((struct lab_error *)errors->list->pdata[0])->text,
			       "n123.vs_4294967295 would have a path of 108 bytes"));
	lab_errors_free(errors);
	g_free(deep.runtime);

	deep.runtime = g_strnfill(108 - strlen("/lab/sup.sock"), 'd');
	deep.runtime[0] = '/';
	assert_false(lab_parse(text, strlen(text), "t", &deep, &lab, &errors));
	assert_string_equal(((struct lab_error *)errors->list->pdata[0])->pointer, "/name");
	lab_errors_free(errors);
	g_free(deep.runtime);
}

/* A lab of the largest size in which every element of `after` is wrong is told within the suite's timeout, not after
 * hours. */
static void test_many_errors_are_quick(void **state)
{
	g_autofree char *text =
		many_vms(4000, BIG_SUBNET,
			 "{\"after\": [\"zzzzzzzzzzzzzzzzzzzzzzzzzzzz\", \"v1-\", \"w1\"]}");
	g_autofree char *said = NULL;

	assert_null(parse(text, &said));
	assert_true(g_str_has_suffix(said, " more errors\n"));
}

/* --- files -------------------------------------------------------------------------------------------------------------- */

static void test_load_failures(void **state)
{
	g_autofree char *said = NULL;
	struct lab_errors *errors;
	GError *error = NULL;
	struct lab *lab;

	assert_false(lab_load("/nonexistent/lab.json", &dirs, &lab, &errors));
	said = lab_errors_format(errors);
	assert_string_equal(
		said, "/nonexistent/lab.json: error: cannot read it: No such file or directory\n");
	assert_false(lab_errors_to_gerror(errors, &error));
	assert_int_equal(err_exit_code(error), 3);
	assert_string_equal(
		error->message,
		"/nonexistent/lab.json: error: cannot read it: No such file or directory");
	g_error_free(error);

	assert_false(lab_load("/", &dirs, &lab, &errors));
	lab_errors_free(errors);
	assert_false(lab_load("/dev/zero", &dirs, &lab, &errors));
	g_free(g_steal_pointer(&said));
	said = lab_errors_format(errors);
	assert_string_equal(said, "/dev/zero: error: larger than 16 MiB: no lab needs that much\n");
	lab_errors_free(errors);
}

/* --- names stay apart --------------------------------------------------------------------------------------------------- */

/* 4096 x 16 derived MACs: 65536 draws from 2^24 collide a hundred times or so. */
static void test_macs_are_unique(void **state)
{
	g_autofree char *nics = many("{\"nics\": [", LAB_NICS_MAX, "{\"x-", "\": 0}", "]}");
	g_autofree char *text = many_vms(LAB_VMS_MAX, BIG_SUBNET, nics);
	g_autoptr(GHashTable) macs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_autoptr(GHashTable) ips = g_hash_table_new(NULL, NULL);
	struct lab *lab = good(text);

	for (unsigned i = 0; i < lab->vms->len; i++) {
		for (unsigned j = 0; j < LAB_NICS_MAX; j++) {
			const struct nic *nic = vm_nic(lab_vm(lab, i), j);
			char mac[NAMES_MAC_LEN + 1];

			names_mac_format(nic->mac, mac);
			assert_true(g_str_has_prefix(mac, "52:54:00:"));
			assert_true(g_hash_table_add(macs, g_strdup(mac)));
			assert_true(g_hash_table_add(ips, GUINT_TO_POINTER(nic->ip.s_addr)));
			assert_int_not_equal(nic->ip.s_addr, 0);
		}
	}
	lab_free(lab);
}

/* A given MAC that would have been derived for somebody else makes that one give way. */
static void test_given_mac_wins(void **state)
{
	struct lab *lab = good("{\"name\": \"l\", \"vms\": {\"a\": {}}}");
	g_autofree char *text = NULL;
	char mac[NAMES_MAC_LEN + 1], other[NAMES_MAC_LEN + 1];

	names_mac_format(vm_nic(lab_vm(lab, 0), 0)->mac, mac);
	lab_free(lab);
	text = g_strdup_printf(
		"{\"name\": \"l\", \"vms\": {\"a\": {}, \"b\": {\"nics\": [{\"mac\": \"%s\"}]}}}",
		mac);
	lab = good(text);
	names_mac_format(vm_nic(lab_vm(lab, 1), 0)->mac, other);
	assert_string_equal(other, mac);
	names_mac_format(vm_nic(lab_vm(lab, 0), 0)->mac, other);
	assert_string_not_equal(other, mac);
	lab_free(lab);
}

/* --- sockets ------------------------------------------------------------------------------------------------------------ */

static void test_sockets_unsaid(void **state)
{
	struct lab *lab = good("{\"vms\": {\"n1\": {}, \"n2\": {\"sockets\": \"none\"}}}");
	const struct vm *vm = lab_vm(lab, 0);

	assert_int_equal(lab->port_base, 50000);
	assert_int_equal(lab->tests->len, 0);
	assert_int_equal(vm->sockets, LAB_SOCKETS_VSOCK);
	assert_int_equal(vm->cid, names_cid("t", "n1", 0));
	assert_null(vm->peers);
	assert_int_equal(vm->probes->len + vm->distros->len + vm->forwards->len, 0);
	assert_int_equal(lab_vm(lab, 1)->sockets, LAB_SOCKETS_NONE);
	assert_true(lab_has_sockets(lab));
	lab_free(lab);
	lab = good("{\"defaults\": {\"sockets\": \"none\"}, \"vms\": {\"n1\": {}}}");
	assert_false(lab_has_sockets(lab));
	lab_free(lab);
}

/* Hyper-V's sockets need the patched QEMU, unless the lab says which. */
static void test_hvsock(void **state)
{
	struct lab *lab = good(
		"{\"defaults\": {\"sockets\": \"hvsock\"}, \"vms\": {\"a\": {}, \"b\": {\"qemu\": \"host\"}, "
		"\"c\": {\"qemu\": \"bin/qemu\"}, \"d\": {\"sockets\": \"vsock\", \"qemu\": \"patched\", "
		"\"peers\": []}, \"e\": {\"sockets\": \"none\"}}}");
	g_autofree char *cwd = g_get_current_dir(),
			*path = g_build_filename(cwd, "dir", "bin/qemu", NULL);

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(lab_vm(lab, i)->sockets, LAB_SOCKETS_HVSOCK);
	assert_string_equal(lab_vm(lab, 0)->qemu, LAB_QEMU_PATCHED);
	assert_null(lab_vm(lab, 1)->qemu);
	assert_string_equal(lab_vm(lab, 2)->qemu, path);
	assert_string_equal(lab_vm(lab, 3)->qemu, LAB_QEMU_PATCHED);
	assert_null(lab_vm(lab, 4)->qemu);
	assert_true(lab_has_sockets(lab));
	lab_free(lab);
}

static void test_sockets_said(void **state)
{
	struct lab *lab = good(
		"{\"port-base\": 51000, \"vms\": {\"a\": {\"cid\": 3, \"peers\": [\"b\"],"
		"\"probes\": [{\"name\": \"p\", \"port\": 80, \"timeout\": \"2s\", \"interval\": \"1m\", \"hint\": \"h\"},"
		"{\"name\": \"f\", \"file\": \"/x\"}, {\"name\": \"c\", \"command\": \"true\"}],"
		"\"distros\": {\"deb\": {\"image\": \"d.qcow2\", \"readonly\": true}, \"sq\": {\"image\": \"/s.squashfs\"}},"
		"\"forwards\": [\"tcp:127.0.0.1:2222:22\", \"unix:/a:b:23\", \"8080:tcp:10.0.0.1:80\", \"81:unix:/c:d\"]},"
		"\"b\": {\"peers\": []}},"
		"\"tests\": [{\"name\": \"t\", \"vm\": \"a\", \"command\": [\"echo\", \"\"], \"user\": \"u\", \"exit\": 3,"
		"\"stdout\": \"^x$\", \"timeout\": \"1s\", \"hint\": \"h\"}]}");
	static const struct forward forwards[] = {
		{ .to_guest = true, .host = (char *)"tcp:127.0.0.1:2222", .port = 22 },
		{ .to_guest = true, .host = (char *)"unix:/a:b", .port = 23 },
		{ .to_guest = false, .host = (char *)"tcp:10.0.0.1:80", .port = 8080 },
		{ .to_guest = false, .host = (char *)"unix:/c:d", .port = 81 },
	};
	const struct vm *a = lab_vm(lab, 0);
	const struct lab_test *test = lab->tests->pdata[0];
	const struct probe *probe = a->probes->pdata[0];
	const struct distro *distro = a->distros->pdata[0];
	g_autofree char *cwd = g_get_current_dir(),
			*image = g_build_filename(cwd, "dir", "d.qcow2", NULL);

	assert_int_equal(lab->port_base, 51000);
	assert_int_equal(a->cid, 3);
	assert_int_equal(a->peers->len, 1);
	assert_ptr_equal(a->peers->pdata[0], lab_vm(lab, 1));
	assert_int_equal(lab_vm(lab, 1)->peers->len, 0);
	assert_int_equal(probe->kind, PROBE_PORT);
	assert_int_equal(probe->port, 80);
	assert_int_equal(probe->timeout_ms, 2000);
	assert_int_equal(probe->interval_ms, 60000);
	assert_string_equal(probe->hint, "h");
	probe = a->probes->pdata[1];
	assert_int_equal(probe->kind, PROBE_FILE);
	assert_string_equal(probe->text, "/x");
	assert_int_equal(probe->timeout_ms, 5000);
	assert_int_equal(probe->interval_ms, 500);
	probe = a->probes->pdata[2];
	assert_int_equal(probe->kind, PROBE_COMMAND);
	assert_string_equal(probe->text, "true");
	assert_string_equal(distro->image, image);
	assert_int_equal(distro->format, DISTRO_QCOW2);
	assert_true(distro->readonly);
	distro = vm_find_distro(a, "sq");
	assert_int_equal(distro->format, DISTRO_SQUASHFS);
	assert_true(distro->readonly);
	assert_null(vm_find_distro(a, "de"));
	for (unsigned i = 0; i < G_N_ELEMENTS(forwards); i++) {
		const struct forward *f = a->forwards->pdata[i];

		assert_int_equal(f->to_guest, forwards[i].to_guest);
		assert_string_equal(f->host, forwards[i].host);
		assert_int_equal(f->port, forwards[i].port);
	}
	assert_string_equal(((const struct forward *)a->forwards->pdata[0])->id,
			    "a.tcp:127.0.0.1:2222:22");
	assert_ptr_equal(test->vm, a);
	assert_int_equal(g_strv_length(test->command), 2);
	assert_string_equal(test->command[1], "");
	assert_int_equal(test->status, 3);
	assert_int_equal(test->timeout_ms, 1000);
	lab_free(lab);
}

/* A VM more or less does not move the CIDs of the others, and what is written goes before what is derived. */
static void test_cids_are_steady(void **state)
{
	struct lab *one = good("{\"name\": \"l\", \"vms\": {\"a\": {}, \"c\": {}}}");
	struct lab *two =
		good("{\"name\": \"l\", \"vms\": {\"0\": {}, \"a\": {}, \"b\": {}, \"c\": {}}}");
	g_autofree char *text =
		g_strdup_printf("{\"name\": \"l\", \"vms\": {\"a\": {}, \"b\": {\"cid\": %u}}}",
				names_cid("l", "a", 0));
	struct lab *taken = good(text);

	assert_int_equal(lab_find_vm(one, "a")->cid, lab_find_vm(two, "a")->cid);
	assert_int_equal(lab_find_vm(one, "c")->cid, lab_find_vm(two, "c")->cid);
	assert_int_equal(lab_find_vm(taken, "b")->cid, names_cid("l", "a", 0));
	assert_int_equal(lab_find_vm(taken, "a")->cid, names_cid("l", "a", 1));
	lab_free(one);
	lab_free(two);
	lab_free(taken);
}

/* The socket of a forwarded port is the longest of a VM; one without sockets has a shorter limit. */
static void test_socket_path_with_port(void **state)
{
	g_autofree char *name = g_strnfill(63, 'n'), *lab_name = g_strnfill(28, 'l');
	g_autofree char *with =
		g_strdup_printf("{\"name\": \"%s\", \"vms\": {\"%s\": {}}}", lab_name, name);
	g_autofree char *without = g_strdup_printf(
		"{\"name\": \"%s\", \"vms\": {\"%s\": {\"sockets\": \"none\"}}}", lab_name, name);

	lab_free(good(without));
	refused(with, ".vs_4294967295 would have a path of");
}

/* --- the engine ----------------------------------------------------------------------------------------------------- */

#define LAB_ON(engine) "{\"engine\": " engine ", \"vms\": {\"n1\": {}}}"

static void assert_engine(const char *text, const char *expected)
{
	struct lab *lab = good(text);
	g_autofree char *engine = lab_engine_text(&lab->engine);

	assert_string_equal(engine, expected);
	lab_free(lab);
}

static void test_engine(void **state)
{
	assert_engine("{\"vms\": {\"n1\": {}}}", "qemu");
	assert_engine(LAB_ON("\"qemu\""), "qemu");
	assert_engine(LAB_ON("\"libvirt\""), "libvirt qemu:///session");
	assert_engine(LAB_ON("{\"name\": \"libvirt\"}"), "libvirt qemu:///session");
	assert_engine(LAB_ON("{\"name\": \"libvirt\", \"uri\": \"qemu:///system\"}"),
		      "libvirt qemu:///system");
	assert_string_equal(lab_engine_text_uri("libvirt qemu:///system"), "qemu:///system");
	assert_null(lab_engine_text_uri("qemu"));
	refused(LAB_ON("\"xen\""), "/engine");
	refused(LAB_ON("{\"uri\": \"qemu:///session\"}"), "/engine");
	refused(LAB_ON("{\"name\": \"libvirt\", \"uri\": \"xen:///\"}"),
		"/engine/uri: \"xen:///\": must begin with \"qemu:\"");
	refused(LAB_ON("{\"name\": \"libvirt\", \"uri\": \"qemu:///sessio\"}"),
		"/engine/uri: \"qemu:///sessio\": must end in /session or /system");
	refused(LAB_ON("{\"name\": \"qemu\", \"uri\": \"qemu:///session\"}"),
		"/engine/uri: only \"libvirt\" has a \"uri\"");
	refused(LAB_ON("{\"name\": \"qemu\", \"user\": \"owner\"}"),
		"/engine/user: only \"libvirt\" has a \"user\"");
	refused(LAB_ON("{\"name\": \"libvirt\", \"user\": \"root\"}"), "/engine/user");
}

static void test_engine_user(void **state)
{
	static const struct {
		const char *text;
		enum lab_engine_user user;
	} cases[] = {
		{ LAB_ON("\"libvirt\""), LAB_ENGINE_USER_UNSAID },
		{ LAB_ON("{\"name\": \"libvirt\", \"user\": \"owner\"}"), LAB_ENGINE_USER_OWNER },
		{ LAB_ON("{\"name\": \"libvirt\", \"user\": \"libvirt\"}"),
		  LAB_ENGINE_USER_LIBVIRT },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct lab *lab = good(cases[i].text);

		assert_int_equal(lab->engine.user, cases[i].user);
		lab_free(lab);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_errors),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_only_names),
		cmocka_unit_test(test_defaults_and_overrides),
		cmocka_unit_test(test_subnets_dealt),
		cmocka_unit_test(test_ips_dealt),
		cmocka_unit_test(test_after),
		cmocka_unit_test(test_x_keys_are_free),
		cmocka_unit_test(test_network_nics),
		cmocka_unit_test(test_limit_vms),
		cmocka_unit_test(test_limit_networks_and_nics),
		cmocka_unit_test(test_limit_values),
		cmocka_unit_test(test_limit_vms_of_a_portal),
		cmocka_unit_test(test_limit_strings),
		cmocka_unit_test(test_limit_file),
		cmocka_unit_test(test_limit_socket_path),
		cmocka_unit_test(test_many_errors_are_quick),
		cmocka_unit_test(test_load_failures),
		cmocka_unit_test(test_macs_are_unique),
		cmocka_unit_test(test_given_mac_wins),
		cmocka_unit_test(test_sockets_unsaid),
		cmocka_unit_test(test_hvsock),
		cmocka_unit_test(test_sockets_said),
		cmocka_unit_test(test_cids_are_steady),
		cmocka_unit_test(test_socket_path_with_port),
		cmocka_unit_test(test_engine),
		cmocka_unit_test(test_engine_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
