/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>
#include <json-c/json.h>

#include "err.h"
#include "golden.h"
#include "host/caps.h"
#include "image/image.h"
#include "model/lab.h"
#include "patched_qemu.h"
#include "random_lab.h"
#include "render/qemu.h"
#include "render/sockets.h"

static struct lab_dirs dirs = { .state = "/state/vhost-lab",
				.runtime = "/run/user/1000/vhost-lab",
				.cache = "/c" };
static struct image tiny = {
	.key = "k", .kernel = "/c/kernel", .initrd = "/c/initrd", .append = "console=ttyS0 quiet"
};
static struct image bare = { .key = "", .kernel = "/c/kernel", .initrd = "", .append = "" };
static struct qemu_caps old_qemu = { .arch = "x86_64",
				     .binary = "/usr/bin/qemu-system-x86_64",
				     .version = "7.2.22",
				     .major = 7,
				     .has_pmem = true,
				     .has_ivshmem = true };
static struct qemu_caps newest_qemu = { .arch = "x86_64",
					.binary = "/usr/bin/qemu-system-x86_64",
					.version = "11.1.3",
					.major = 11,
					.has_reconnect_ms = true,
					.has_vsock = true,
					.has_pmem = true,
					.has_ivshmem = true,
					.has_fsrs = true,
					.has_vhost_user_device = true };
static struct qemu_caps new_qemu = { .arch = "x86_64",
				     .binary = "/usr/bin/qemu-system-x86_64",
				     .version = "10.0.2",
				     .major = 10,
				     .has_reconnect_ms = true,
				     .has_vsock = true,
				     .has_pmem = true,
				     .has_ivshmem = true,
				     .kvm_usable = true };
static struct qemu_caps arm_qemu = { .arch = "aarch64",
				     .has_pmem = true,
				     .has_ivshmem = true,
				     .has_vsock = true,
				     .binary = "/usr/bin/qemu-system-aarch64",
				     .version = "7.2.22",
				     .major = 7 };

static struct lab *parse(const char *text)
{
	struct lab_errors *errors;
	struct lab *lab;

	if (!lab_parse(text, strlen(text), "/labs/t.json", &dirs, &lab, &errors)) {
		g_autofree char *said = lab_errors_format(errors);

		fail_msg("%s%s", said, text);
	}
	return lab;
}

/* The script of one VM. */
static char *script_of(const struct lab *lab, const char *vm_name, const struct qemu_caps *caps,
		       const struct image *image)
{
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	const struct vm *vm = lab_find_vm(lab, vm_name);
	g_auto(GStrv) argv = NULL;
	char *script;

	assert_true(render_qemu(lab, vm, caps, image, paths, RENDER_BY_HAND, &argv, NULL));
	script = render_qemu_script(lab, vm, paths, argv);
	lab_paths_free(paths);
	return script;
}

/* --- golden scripts ----------------------------------------------------------------------------------------------------- */

static void test_golden(void **state)
{
	static const struct {
		const char *golden, *text, *vm;
		const struct qemu_caps *caps;
		const struct image *image;
	} cases[] = {
		{ "qemu/plain.txt", "{\"vms\": {\"n1\": {}, \"n2\": {}}}", "n1", &old_qemu, &tiny },
		{ "qemu/kvm.txt",
		  "{\"vms\": {\"n1\": {\"accel\": \"kvm\", \"vcpus\": 4, \"memory\": \"2GiB\"}}}",
		  "n1", &new_qemu, &tiny },
		{ "qemu/auto-kvm.txt", "{\"vms\": {\"n1\": {}}}", "n1", &new_qemu, &tiny },
		{ "qemu/auto-tcg.txt", "{\"vms\": {\"n1\": {\"accel\": \"tcg\"}}}", "n1", &new_qemu,
		  &tiny },
		{ "qemu/distros.txt",
		  "{\"vms\": {\"n1\": {\"sockets\": \"vsock\", \"distros\": {\"deb\": {\"image\": \"deb,ian.qcow2\"}, "
		  "\"alpine\": {\"image\": \"/a.squashfs\"}, \"raw\": {\"image\": \"r\", \"readonly\": true}}}}}",
		  "n1", &new_qemu, &tiny },
		{ "qemu/no-sockets.txt", "{\"vms\": {\"n1\": {\"sockets\": \"none\"}}}", "n1",
		  &new_qemu, &tiny },
		{ "qemu/no-network.txt", "{\"networks\": {}, \"vms\": {\"n1\": {}}}", "n1",
		  &old_qemu, &bare },
		{ "qemu/nics.txt",
		  "{\"networks\": {\"front\": {}, \"back\": {\"mtu\": 9000}}, \"vms\": {\"r\": {\"append\": \"it's \\\"x\\\"\", "
		  "\"nics\": [{\"network\": \"front\", \"offloads\": false}, {\"network\": \"back\", \"queues\": 4, \"mac\": \"52:54:00:AB:CD:EF\", "
		  "\"ip\": \"192.168.101.200\"}]}}}",
		  "r", &new_qemu, &tiny },
		{ "qemu/portals.txt",
		  "{\"portals\": {\"a\": {}, \"b\": {\"size\": \"8MiB\", \"file\": \"b,1\"}, \"c\": {}}, \"vms\": {\"n1\": "
		  "{\"portals\": {\"b\": {\"mode\": \"ro\"}, \"c\": {\"door\": \"ivshmem\"}, \"a\": {}}}}}",
		  "n1", &old_qemu, &tiny },
		{ "qemu/portal-vhost-user.txt",
		  "{\"networks\": {}, \"portals\": {\"a\": {}}, \"vms\": {\"n1\": {\"portals\": {\"a\": {\"door\": \"vhost-user\"}}}}}",
		  "n1", &newest_qemu, &tiny },
		{ "qemu/portal-vhost-user-patched.txt",
		  "{\"portals\": {\"a\": {\"size\": \"10MiB\"}, \"b\": {}, \"c\": {}}, \"vms\": {\"n1\": {\"portals\": "
		  "{\"a\": {\"door\": \"vhost-user\", \"mode\": \"ro\"}, \"b\": {}, \"c\": {\"door\": \"vhost-user\"}}}}}",
		  "n1", &patched_qemu, &tiny },
		{ "qemu/hvsock.txt",
		  "{\"portals\": {\"a\": {}}, \"vms\": {\"n1\": {\"sockets\": \"hvsock\", \"vcpus\": 2, \"portals\": [\"a\"]}}}",
		  "n1", &patched_qemu, &tiny },
		{ "qemu/aarch64.txt",
		  "{\"images\": {\"own\": {\"kernel\": \"Image\"}}, \"vms\": {\"j\": {\"arch\": \"aarch64\", \"image\": \"own\"}}}",
		  "j", &arm_qemu, &bare },
	};
	unsigned differ = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		struct lab *lab = parse(cases[i].text);
		g_autofree char *script =
			script_of(lab, cases[i].vm, cases[i].caps, cases[i].image);

		differ += (unsigned)golden_check(cases[i].golden, script);
		lab_free(lab);
	}
	assert_int_equal(differ, 0);
}

/* The same words but for the monitor that is the supervisor's own, which must be there once; what it has been given is freed. */
static GStrv without_monitor(GStrv argv)
{
	static const char *const monitor[] = { "-chardev", "socket,id=sup0,fd=3", "-mon",
					       "chardev=sup0,mode=control" };
	GStrvBuilder *kept = g_strv_builder_new();
	unsigned n = 0;
	GStrv rest;

	for (unsigned i = 0; argv[i]; i++) {
		if (g_strcmp0(argv[i + 1], monitor[1]) != 0) {
			g_strv_builder_add(kept, argv[i]);
			continue;
		}
		for (unsigned j = 0; j < G_N_ELEMENTS(monitor); j++)
			assert_string_equal(argv[i + j], monitor[j]);
		i += G_N_ELEMENTS(monitor) - 1;
		n++;
	}
	assert_int_equal(n, 1);
	rest = g_strv_builder_end(kept);
	g_strv_builder_unref(kept);
	g_strfreev(argv);
	return rest;
}

/* A supervised QEMU waits before it makes its devices, and reconnects; one by hand does neither.  Nothing else differs. */
static void test_supervised(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {}, \"n2\": {\"sockets\": \"none\"}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	static const struct qemu_caps *const caps[] = { &new_qemu, &arm_qemu };
	static const char *const reconnect[] = { ",reconnect-ms=200", ",reconnect=1" };

	for (unsigned i = 0; i < G_N_ELEMENTS(caps); i++) {
		g_auto(GStrv) hand = NULL, supervised = NULL, none = NULL;
		unsigned h = 0, n_differ = 0;

		assert_true(render_qemu(lab, lab_vm(lab, 0), caps[i], &tiny, paths, RENDER_BY_HAND,
					&hand, NULL));
		assert_true(render_qemu(lab, lab_vm(lab, 0), caps[i], &tiny, paths,
					RENDER_SUPERVISED, &supervised, NULL));
		assert_true(render_qemu(lab, lab_vm(lab, 1), caps[i], &tiny, paths,
					RENDER_SUPERVISED, &none, NULL));
		supervised = without_monitor(supervised);
		assert_false(g_strv_contains((const char *const *)none, "-preconfig"));
		for (unsigned s = 0; supervised[s]; s++) {
			if (strcmp(supervised[s], "-preconfig") == 0)
				continue;
			if (g_str_has_prefix(supervised[s], "socket,id=" RENDER_VSOCK_CHARDEV)) {
				g_autofree char *longer = g_strconcat(hand[h], reconnect[i], NULL);

				assert_string_equal(supervised[s], longer);
				n_differ++;
			} else {
				assert_string_equal(supervised[s], hand[h]);
			}
			h++;
		}
		assert_null(hand[h]);
		assert_int_equal(n_differ, 1);
		assert_true(g_strv_contains((const char *const *)supervised, "-preconfig"));
	}
	lab_paths_free(paths);
	lab_free(lab);
}

/* The device of Hyper-V's sockets waits for nobody: with a supervisor its words are the same. */
static void test_hvsock_supervised(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {\"sockets\": \"hvsock\"}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	struct qemu_caps kvm = patched_qemu;
	g_auto(GStrv) hand = NULL, supervised = NULL, accelerated = NULL;

	assert_true(render_qemu(lab, lab_vm(lab, 0), &patched_qemu, &tiny, paths, RENDER_BY_HAND,
				&hand, NULL));
	assert_true(render_qemu(lab, lab_vm(lab, 0), &patched_qemu, &tiny, paths, RENDER_SUPERVISED,
				&supervised, NULL));
	supervised = without_monitor(supervised);
	assert_true(g_strv_equal((const char *const *)hand, (const char *const *)supervised));
	kvm.kvm_usable = true;
	assert_true(render_qemu(lab, lab_vm(lab, 0), &kvm, &tiny, paths, RENDER_BY_HAND,
				&accelerated, NULL));
	assert_true(g_strv_contains((const char *const *)accelerated, "host," RENDER_HYPERV_CPU));
	lab_paths_free(paths);
	lab_free(lab);
}

/* A QEMU without it is told with its path, as there may be several. */
static void test_hvsock_missing(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {\"sockets\": \"hvsock\"}}}");
	GError *error = NULL;

	assert_true(render_qemu_check(lab_vm(lab, 0), &patched_qemu, NULL));
	assert_false(render_qemu_check(lab_vm(lab, 0), &new_qemu, &error));
	assert_int_equal(err_exit_code(error), 4);
	assert_string_equal(
		error->message,
		"VM n1 has Hyper-V's sockets (\"sockets\": \"hvsock\"): QEMU 10.0.2 "
		"(/usr/bin/qemu-system-x86_64) has no vmbus-hvsock; `orchestrator doctor` says how to "
		"build one that has");
	g_error_free(error);
	lab_free(lab);
}

/* What the daemon is told of each kind. */
static void test_sockets_of_the_daemon(void **state)
{
	struct lab *lab =
		parse("{\"vms\": {\"n1\": {\"sockets\": \"hvsock\"}, \"n2\": {\"cid\": 9}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	static const char *const wanted[] = {
		"{\"name\":\"n1\",\"transport\":\"hvsock\",\"socket-path\":\"/run/user/1000/vhost-lab/t/n1-s.vu\","
		"\"uds-path\":\"/run/user/1000/vhost-lab/t/n1.vs\"}",
		"{\"name\":\"n2\",\"cid\":9,\"socket-path\":\"/run/user/1000/vhost-lab/t/n2-s.vu\","
		"\"uds-path\":\"/run/user/1000/vhost-lab/t/n2.vs\"}",
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(wanted); i++) {
		struct json_object *o = render_sockets_vm(lab_vm(lab, i), paths);

		assert_string_equal(
			json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
								  JSON_C_TO_STRING_NOSLASHESCAPE),
			wanted[i]);
		json_object_put(o);
	}
	lab_paths_free(paths);
	lab_free(lab);
}

static void test_kvm_wanted_and_missing(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"n1\": {\"accel\": \"kvm\"}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	GError *error = NULL;
	GStrv argv = NULL;

	assert_false(render_qemu(lab, lab_vm(lab, 0), &old_qemu, &tiny, paths, RENDER_BY_HAND,
				 &argv, &error));
	assert_int_equal(err_exit_code(error), 4);
	assert_non_null(strstr(error->message, "n1"));
	assert_non_null(strstr(error->message, "KVM"));
	assert_null(argv);
	g_error_free(error);
	lab_paths_free(paths);
	lab_free(lab);
}

/* A door that this QEMU has no device for is told with the VM, the portal and the device. */
static void test_door_missing(void **state)
{
	struct lab *lab = parse("{\"networks\": {}, \"portals\": {\"p\": {}}, \"vms\": {\"n1\": "
				"{\"portals\": {\"p\": {\"door\": \"vhost-user\"}}}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	GError *error = NULL;
	GStrv argv = NULL;

	assert_true(render_qemu_check(lab_vm(lab, 0), &newest_qemu, NULL));
	assert_false(render_qemu(lab, lab_vm(lab, 0), &old_qemu, &tiny, paths, RENDER_BY_HAND,
				 &argv, &error));
	assert_int_equal(err_exit_code(error), 4);
	assert_string_equal(error->message,
			    "VM n1 reaches portal p by \"vhost-user\": QEMU 7.2.22 has no "
			    "vhost-user-pmem-pci (\"qemu\": \"patched\" has it), nor "
			    "vhost-user-test-device-pci (QEMU 11.1 has it)");
	assert_null(argv);
	g_error_free(error);
	lab_paths_free(paths);
	lab_free(lab);
}

/* QEMU's device for any backend is no door where its memory, its mode or a network card beside it are in the way; the patched
 * QEMU's is, and goes before the other. */
static void test_door_of_the_test_device(void **state)
{
	static const struct {
		const char *portal, *access, *nics, *why;
	} cases[] = {
		{ "{\"size\": \"10MiB\"}", "{\"door\": \"vhost-user\"}", "[]",
		  "is a PCI BAR, whose size is a power of two: take \"qemu\": \"patched\"" },
		{ "{}", "{\"door\": \"vhost-user\", \"mode\": \"ro\"}", "[]",
		  "shows a VM that may only read nothing" },
		{ "{}", "{\"door\": \"vhost-user\"}", "[{}]",
		  "kills QEMU when a VM starts anew that has it and a network card" },
	};
	struct qemu_caps both = newest_qemu;

	both.has_vhost_user_pmem = true;
	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = g_strdup_printf(
			"{\"portals\": {\"p\": %s}, \"vms\": {\"n1\": {\"qemu\": \"host\", \"nics\": %s, \"portals\": {\"p\": %s}}}}",
			cases[i].portal, cases[i].nics, cases[i].access);
		struct lab *lab = parse(text);
		GError *error = NULL;

		assert_null(lab_vm(lab, 0)->qemu);
		assert_false(render_qemu_check(lab_vm(lab, 0), &newest_qemu, &error));
		assert_int_equal(err_exit_code(error), 4);
		if (!strstr(error->message, cases[i].why))
			fail_msg("%s", error->message);
		g_error_free(error);
		assert_true(render_qemu_check(lab_vm(lab, 0), &patched_qemu, NULL));
		assert_true(render_qemu_check(lab_vm(lab, 0), &both, NULL));
		assert_true(render_qemu_takes_room(vm_portal(lab_vm(lab, 0), 0), &both));
		assert_false(render_qemu_takes_room(vm_portal(lab_vm(lab, 0), 0), &newest_qemu));
		lab_free(lab);
	}
}

/* Who asks for the door and names no QEMU is given the one that has it. */
static void test_door_wants_a_qemu(void **state)
{
	static const struct {
		const char *vm, *qemu;
	} cases[] = {
		{ "{\"portals\": {\"p\": {\"door\": \"vhost-user\"}}}", LAB_QEMU_PATCHED },
		{ "{\"qemu\": \"host\", \"portals\": {\"p\": {\"door\": \"vhost-user\"}}}", NULL },
		{ "{\"qemu\": \"/q\", \"portals\": {\"p\": {\"door\": \"vhost-user\"}}}", "/q" },
		{ "{\"portals\": {\"p\": {\"door\": \"pmem\"}}}", NULL },
		{ "{\"arch\": \"aarch64\", \"image\": \"own\", \"portals\": {\"p\": {\"door\": \"vhost-user\"}}}",
		  NULL },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *text = g_strdup_printf(
			"{\"images\": {\"own\": {\"kernel\": \"k\"}}, \"portals\": {\"p\": {}}, \"vms\": {\"n1\": %s}}",
			cases[i].vm);
		struct lab *lab = parse(text);

		assert_int_equal(g_strcmp0(lab_vm(lab, 0)->qemu, cases[i].qemu), 0);
		lab_free(lab);
	}
}

/* --- quoting ------------------------------------------------------------------------------------------------------------ */

/* What /bin/sh makes of a line, words separated by newlines, without its last newline. */
static char *shell_words(const char *line)
{
	g_autofree char *command = g_strdup_printf("printf '%%s\\n' %s", line);
	const char *argv[] = { "/bin/sh", "-c", command, NULL };
	char *out = NULL;
	int status;

	assert_true(g_spawn_sync(NULL, (char **)(uintptr_t)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
				 &out, NULL, &status, NULL));
	assert_int_equal(status, 0);
	assert_true(g_str_has_suffix(out, "\n"));
	out[strlen(out) - 1] = '\0';
	return out;
}

static void test_sh_quote(void **state)
{
	static const char *const words[] = { "",     "a",        "-x",    "a b",
					     "it's", "''",       "'",     "$HOME",
					     "`id`", "a\\b",     "*",     "~",
					     "#x",   "a;b",      "!",     "\"",
					     "a\nb", "\xc3\xa9", "{a,b}", "a=b,c:d/e.f@g%h+i_j",
					     "\\",   "$(false)" };

	for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
		g_autofree char *quoted = render_sh_quote(words[i]), *back = shell_words(quoted);

		assert_string_equal(back, words[i]);
	}
}

/* The script, with QEMU replaced by printf and the preparation left out, gives the words back. */
static void test_script_is_the_argv(void **state)
{
	struct lab *lab =
		parse("{\"vms\": {\"n1\": {\"append\": \"a 'b' \\\"c\\\" $D `e` \\\\ *\"}}}");
	struct lab_paths *paths = lab_paths_new(lab, &dirs);
	g_autofree char *script = NULL, *words = NULL, *expected = NULL;
	g_auto(GStrv) argv = NULL;
	const char *exec;

	assert_true(render_qemu(lab, lab_vm(lab, 0), &old_qemu, &tiny, paths, RENDER_BY_HAND, &argv,
				NULL));
	script = render_qemu_script(lab, lab_vm(lab, 0), paths, argv);
	exec = strstr(script, "\nexec ");
	assert_non_null(exec);
	words = shell_words(exec + strlen("\nexec "));
	expected = g_strjoinv("\n", argv);
	assert_string_equal(words, expected);
	lab_paths_free(paths);
	lab_free(lab);
}

/* Commas in directories are doubled inside option lists and nowhere else. */
static void test_commas(void **state)
{
	struct lab_dirs odd = { .state = "/s,1", .runtime = "/r,2", .cache = "/c" };
	struct image image = { .key = "", .kernel = "/k,3", .initrd = "/i,4", .append = "a,b" };
	struct lab *lab = parse("{\"vms\": {\"n1\": {}}}");
	struct lab_paths *paths = lab_paths_new(lab, &odd);
	g_autofree char *all = NULL;
	g_auto(GStrv) argv = NULL;

	assert_true(render_qemu(lab, lab_vm(lab, 0), &old_qemu, &image, paths, RENDER_BY_HAND,
				&argv, NULL));
	all = g_strjoinv("\n", argv);
	assert_non_null(strstr(all, "-kernel\n/k,3\n-initrd\n/i,4\n-append\na,b\n"));
	assert_non_null(
		strstr(all, "name=opt/org.vhost-lab/config,file=/s,,1/labs/t/vms/n1/guest.conf\n"));
	assert_non_null(strstr(
		all,
		"socket,id=con0,path=/r,,2/t/n1.con,server=on,wait=off,logfile=/s,,1/labs/t/vms/n1/console.log,"));
	assert_non_null(strstr(all, "socket,id=vu0,path=/r,,2/t/n1-0.vu,reconnect=1"));
	lab_paths_free(paths);
	lab_free(lab);
}

/* --- any lab ------------------------------------------------------------------------------------------------------------ */

/* The value of key in "a,key=value,b"; NULL without it.  Random labs have no commas in values but the kernel's path. */
static char *value_of(const char *list, const char *key)
{
	g_auto(GStrv) parts = g_strsplit(list, ",", -1);

	for (char **p = parts; *p; p++)
		if (g_str_has_prefix(*p, key) && (*p)[strlen(key)] == '=')
			return g_strdup(*p + strlen(key) + 1);
	return NULL;
}

/* An option of QEMU's whose value says which ids it makes and uses. */
static void check_option(GHashTable *ids, const char *option, const char *value)
{
	static const char *const uses[] = { "chardev", "netdev", "memory-backend", "memdev" };
	g_autofree char *id = value_of(value, "id");

	if (id)
		assert_true(g_hash_table_add(ids, g_strdup(id)));
	for (unsigned i = 0; i < G_N_ELEMENTS(uses); i++) {
		g_autofree char *used = value_of(value, uses[i]);

		/* -machine names the memory before -object makes it: QEMU does not mind. */
		if (used && strcmp(option, "-machine") != 0)
			assert_true(g_hash_table_contains(ids, used));
	}
	if (strcmp(option, "-serial") == 0)
		assert_true(g_str_has_prefix(value, "chardev:") &&
			    g_hash_table_contains(ids, value + strlen("chardev:")));
}

static const char *const flags[] = { "-nodefaults", "-no-user-config" };
static const char *const options[] = { "-name",   "-display", "-msg",     "-machine", "-cpu",
				       "-smp",    "-m",       "-object",  "-kernel",  "-initrd",
				       "-append", "-fw_cfg",  "-chardev", "-serial",  "-netdev",
				       "-device", "-mon",     "-blockdev" };

static bool one_of(const char *word, const char *const *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (strcmp(word, list[i]) == 0)
			return true;
	return false;
}

/* Known options with one value each, ids made once and before their use, a NIC for each NIC, its port's socket in it. */
static void check_argv(GStrv argv, const struct vm *vm, const struct vm_paths *paths)
{
	g_autoptr(GHashTable) ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	unsigned n_nics = 0, n_sockets = 0, n_disks = 0;

	for (char **word = argv + 1; *word; word++) {
		const char *option = *word;

		if (one_of(option, flags, G_N_ELEMENTS(flags)))
			continue;
		if (!one_of(option, options, G_N_ELEMENTS(options)))
			fail_msg("stray word: %s", option);
		word++;
		assert_non_null(*word);
		if (strcmp(option, "-append") == 0 || strcmp(option, "-kernel") == 0 ||
		    strcmp(option, "-initrd") == 0)
			continue;
		check_option(ids, option, *word);
		n_nics += g_str_has_prefix(*word, "virtio-net-pci,");
		n_disks += g_str_has_prefix(*word, "virtio-blk-pci,");
		for (unsigned i = 0; i < vm->nics->len; i++)
			n_sockets += strstr(*word, vm_paths_port(paths, i)) != NULL;
	}
	assert_int_equal(n_nics, vm->nics->len);
	assert_int_equal(n_sockets, vm->nics->len);
	assert_int_equal(n_disks, vm->distros->len);
}

static void test_any_lab_gives_a_command_line(void **state)
{
	for (guint32 seed = 1000; seed < 1300; seed++) {
		g_autofree char *text = random_lab_text(seed, 10, 80);
		struct lab *lab = parse(text);
		struct lab_paths *paths = lab_paths_new(lab, &dirs);

		for (unsigned i = 0; i < lab->vms->len; i++) {
			const struct vm *vm = lab_vm(lab, i);
			g_auto(GStrv) argv = NULL, again = NULL;

			assert_true(render_qemu(lab, vm, seed % 2 ? &old_qemu : &new_qemu, &tiny,
						paths, RENDER_BY_HAND, &argv, NULL));
			check_argv(argv, vm, lab_paths_vm(paths, i));
			assert_true(render_qemu(lab, vm, seed % 2 ? &old_qemu : &new_qemu, &tiny,
						paths, RENDER_BY_HAND, &again, NULL));
			assert_true(g_strv_equal((const char *const *)argv,
						 (const char *const *)again));
		}
		lab_paths_free(paths);
		lab_free(lab);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_supervised),
		cmocka_unit_test(test_hvsock_supervised),
		cmocka_unit_test(test_hvsock_missing),
		cmocka_unit_test(test_sockets_of_the_daemon),
		cmocka_unit_test(test_kvm_wanted_and_missing),
		cmocka_unit_test(test_door_missing),
		cmocka_unit_test(test_door_of_the_test_device),
		cmocka_unit_test(test_door_wants_a_qemu),
		cmocka_unit_test(test_sh_quote),
		cmocka_unit_test(test_script_is_the_argv),
		cmocka_unit_test(test_commas),
		cmocka_unit_test(test_any_lab_gives_a_command_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
