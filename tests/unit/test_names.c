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
#include "model/names.h"

static void test_dirs(void **state)
{
	static const struct {
		const char *environment[5];
		const char *state, *runtime, *cache;
	} cases[] = {
		{ { "HOME=/h", "XDG_STATE_HOME=/s", "XDG_RUNTIME_DIR=/r", "XDG_CACHE_HOME=/c" },
		  "/s/vhost-lab",
		  "/r/vhost-lab",
		  "/c/vhost-lab" },
		{ { "HOME=/h" },
		  "/h/.local/state/vhost-lab",
		  "/tmp/vhost-lab-7",
		  "/h/.cache/vhost-lab" },
		/* Empty and relative values do not count. */
		{ { "HOME=/h", "XDG_STATE_HOME=", "XDG_RUNTIME_DIR=run", "XDG_CACHE_HOME=." },
		  "/h/.local/state/vhost-lab",
		  "/tmp/vhost-lab-7",
		  "/h/.cache/vhost-lab" },
		{ { NULL }, "/tmp/vhost-lab-7/state", "/tmp/vhost-lab-7", "/tmp/vhost-lab-7/cache" },
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_auto(GStrv) environment = g_strdupv((char **)(uintptr_t)cases[i].environment);
		struct lab_dirs *dirs = lab_dirs_new_from(environment, 7);

		assert_string_equal(dirs->state, cases[i].state);
		assert_string_equal(dirs->runtime, cases[i].runtime);
		assert_string_equal(dirs->cache, cases[i].cache);
		lab_dirs_free(dirs);
	}
}

static void test_paths(void **state)
{
	struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };
	struct lab_paths *p = lab_paths_new_named("l", &dirs);
	struct daemon_paths *n = net_paths_new(p, "lan");
	struct vm_paths *v = vm_paths_new(p, "n1", 2);
	g_autofree char *agent = vm_paths_vs_port(v, 50000);

	assert_string_equal(p->cache_dir, "/c");
	assert_string_equal(p->state_dir, "/s/labs/l");
	assert_string_equal(p->run_dir, "/r/l");
	assert_string_equal(p->sup_sock, "/r/l/sup.sock");
	assert_string_equal(p->lock, "/s/labs/l/lock");
	assert_string_equal(p->lab_json, "/s/labs/l/lab.json");
	assert_string_equal(p->state_json, "/s/labs/l/state.json");
	assert_string_equal(p->supervisor_log, "/s/labs/l/supervisor.log");
	assert_string_equal(p->ssh_config, "/s/labs/l/ssh_config");
	assert_string_equal(p->hvsock->ctl, "/r/l/hvsock.sock");
	assert_string_equal(p->hvsock->journal, "/r/l/hvsock.journal");
	assert_string_equal(p->hvsock->config, "/s/labs/l/hvsock/config.json");
	assert_null(n->journal);
	assert_string_equal(n->ctl, "/r/l/lan.ctl");
	assert_string_equal(n->config, "/s/labs/l/nets/lan/config.json");
	assert_string_equal(n->log, "/s/labs/l/nets/lan/log");
	assert_string_equal(v->qmp, "/r/l/n1.qmp");
	assert_string_equal(v->con, "/r/l/n1.con");
	assert_string_equal(vm_paths_port(v, 1), "/r/l/n1-1.vu");
	assert_string_equal(v->vsock, "/r/l/n1-s.vu");
	assert_string_equal(v->vs, "/r/l/n1.vs");
	assert_string_equal(agent, "/r/l/n1.vs_50000");
	assert_string_equal(v->qemu_log, "/s/labs/l/vms/n1/qemu.log");
	assert_string_equal(v->console_log, "/s/labs/l/vms/n1/console.log");
	assert_string_equal(v->ready, "/s/labs/l/vms/n1/ready");
	assert_string_equal(v->guest_conf, "/s/labs/l/vms/n1/guest.conf");
	assert_string_equal(v->script, "/s/labs/l/vms/n1/qemu.sh");
	vm_paths_free(v);
	daemon_paths_free(n);
	lab_paths_free(p);
}

/* No two things of a lab share a socket, whatever they are called. */
static void test_socket_names_do_not_meet(void **state)
{
	static const char *const names[] = { "a",   "a-0",    "a-0-0", "sup",  "lan", "0", "a-1",
					     "a-s", "hvsock", "s",     "a-p0", "a-p", "p0" };
	struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	struct lab_paths *p = lab_paths_new_named("l", &dirs);

	g_hash_table_add(seen, g_strdup(p->sup_sock));
	g_hash_table_add(seen, g_strdup(p->hvsock->ctl));
	g_hash_table_add(seen, g_strdup(p->hvsock->journal));
	for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
		struct vm_paths *v = vm_paths_new(p, names[i], 16);
		struct daemon_paths *n = net_paths_new(p, names[i]);
		struct portal_paths *portal = portal_paths_new(p, names[i]);

		assert_true(g_hash_table_add(seen, g_strdup(portal->daemon->ctl)));
		assert_true(g_hash_table_add(seen, g_strdup(portal->lease)));
		assert_true(g_hash_table_add(seen, g_strdup(portal->ivshmem)));
		assert_true(g_hash_table_add(seen, g_strdup(portal->memory)));
		for (unsigned j = 0; j < LAB_ACCESSES_MAX; j++)
			assert_true(g_hash_table_add(seen, vm_paths_pmem(v, j)));
		portal_paths_free(portal);
		assert_true(g_hash_table_add(seen, g_strdup(v->qmp)));
		assert_true(g_hash_table_add(seen, g_strdup(v->con)));
		assert_true(g_hash_table_add(seen, g_strdup(v->vsock)));
		assert_true(g_hash_table_add(seen, g_strdup(v->vs)));
		assert_true(g_hash_table_add(seen, vm_paths_vs_port(v, 50000)));
		assert_true(g_hash_table_add(seen, g_strdup(n->ctl)));
		for (unsigned j = 0; j < 16; j++)
			assert_true(g_hash_table_add(seen, g_strdup(vm_paths_port(v, j))));
		vm_paths_free(v);
		daemon_paths_free(n);
	}
	lab_paths_free(p);
}

static void test_valid(void **state)
{
	static const char *const good[] = { "a", "n1", "1n", "a-b", "a--b", "0" };
	static const char *const bad[] = { "",    "-a",  "a-",  "-",        "A",  "a_b",
					   "a.b", "a b", "a/b", "\xc3\xa9", "a\n" };

	for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
		assert_true(names_valid(good[i]));
	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
		assert_false(names_valid(bad[i]));
}

static void test_lab_default(void **state)
{
	static const struct {
		const char *path, *name;
	} cases[] = {
		{ "/x/three-nodes/lab.json", "three-nodes" },
		{ "/x/web.lab.json", "web" },
		{ "/x/web.json", "web" },
		{ "/x/web", "web" },
		{ "/x/My Lab (2)/lab.json", "my-lab-2" },
		{ "/x/__a__b__.json", "a-b" },
		{ "/lab.json", "lab" },
		{ "/x/\xc3\xa9\xc3\xa9.json", "lab" },
		{ "/x/.json", "lab" },
	};
	g_autofree char *many = g_strnfill(100, 'z'), *path = g_strconcat("/", many, ".json", NULL),
			*cut = NULL;

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *name = names_lab_default(cases[i].path);

		assert_string_equal(name, cases[i].name);
		assert_true(names_valid(name));
	}
	cut = names_lab_default(path);
	assert_int_equal(strlen(cut), NAMES_LABEL_MAX);
}

/* Derived MACs are part of what a lab is: this one must not change between versions. */
static void test_mac(void **state)
{
	uint8_t mac[6], again[6], other[6];
	char text[NAMES_MAC_LEN + 1];

	names_mac("three-nodes", "n1", 0, 0, mac);
	names_mac_format(mac, text);
	assert_string_equal(text, "52:54:00:04:db:42");
	names_mac("three-nodes", "n1", 0, 0, again);
	assert_memory_equal(mac, again, 6);
	names_mac("three-nodes", "n1", 0, 1, other);
	assert_memory_not_equal(mac, other, 6);
	names_mac("three-nodes", "n1", 1, 0, other);
	assert_memory_not_equal(mac, other, 6);
	names_mac("three-nodesn", "1", 0, 0, other);
	assert_memory_not_equal(mac, other, 6);
}

/* Steady, told apart by each of its inputs, and never one of the numbers that mean something else. */
static void test_cid(void **state)
{
	uint32_t cid = names_cid("three-nodes", "n1", 0);

	assert_true(cid == names_cid("three-nodes", "n1", 0));
	assert_true(cid != names_cid("three-nodes", "n1", 1));
	assert_true(cid != names_cid("three-nodes", "n2", 0));
	assert_true(cid != names_cid("three-nodesn", "1", 0));
	for (unsigned i = 0; i < 1000; i++) {
		cid = names_cid("lab", "n1", i);
		assert_in_range(cid, 1u << 30, NAMES_CID_MAX);
	}
}

static void test_domain(void **state)
{
	g_autofree char *name = names_domain("three-nodes", "n1");

	assert_string_equal(name, "three-nodes.n1");
}

/* Steady, well-formed, told apart by each of its inputs and by where one ends. */
static void test_uuid(void **state)
{
	static const char *const inputs[][3] = {
		{ "three-nodes", "n1", "/s" }, { "three-nodes", "n2", "/s" },
		{ "three-node", "n1", "/s" },  { "three-nodes", "n1", "/t" },
		{ "three-nodesn", "1", "/s" }, { "", "three-nodesn1", "/s" },
	};
	g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	char uuid[NAMES_UUID_LEN + 1], again[NAMES_UUID_LEN + 1];

	for (unsigned i = 0; i < G_N_ELEMENTS(inputs); i++) {
		names_uuid(inputs[i][0], inputs[i][1], inputs[i][2], uuid);
		names_uuid(inputs[i][0], inputs[i][1], inputs[i][2], again);
		assert_string_equal(uuid, again);
		assert_true(g_uuid_string_is_valid(uuid));
		assert_int_equal(uuid[14], '8');           /* the version */
		assert_non_null(strchr("89ab", uuid[19])); /* the variant */
		assert_true(g_hash_table_add(seen, g_strdup(uuid)));
	}
}

/* Every host once, the tenth first, the ones below it last; the network and the broadcast address never. */
/* As CIDs, and none of the agent's. */
static void test_portal_port(void **state)
{
	uint32_t port = names_portal_port("l", "shared", 0);

	assert_true(port == names_portal_port("l", "shared", 0));
	assert_true(port != names_portal_port("l", "shared", 1));
	assert_true(port != names_portal_port("m", "shared", 0));
	for (unsigned i = 0; i < 1000; i++) {
		port = names_portal_port("lab", "p", i);
		assert_in_range(port, 1u << 30, NAMES_CID_MAX);
	}
}

static void test_ip(void **state)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
	uint32_t net = 0xc0a86400u;

	assert_int_equal(names_ip_count(24), 254);
	assert_int_equal(names_ip_count(30), 2);
	assert_true(names_ip(net, 24, 0) == net + 10);
	assert_true(names_ip(net, 24, 244) == net + 254);
	assert_true(names_ip(net, 24, 245) == net + 1);
	assert_true(names_ip(net, 24, 253) == net + 9);
	for (unsigned i = 0; i < 254; i++) {
		uint32_t ip = names_ip(net, 24, i);

		assert_true(ip > net && ip < net + 255);
		assert_true(g_hash_table_add(seen, GUINT_TO_POINTER(ip)));
	}
	assert_true(names_ip(net, 30, 0) == net + 1);
	assert_true(names_ip(net, 30, 1) == net + 2);
	assert_true(names_ip(net, 28, 0) == net + 10);
	assert_true(names_ip(net, 28, 4) == net + 14);
	assert_true(names_ip(net, 28, 5) == net + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dirs),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_socket_names_do_not_meet),
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_lab_default),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_cid),
		cmocka_unit_test(test_portal_port),
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_ip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
