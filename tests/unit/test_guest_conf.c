/* SPDX-License-Identifier: MIT */
/* What a guest is told about itself. */
#include "image_fixture.h"

#include "image/guest_conf.h"
#include "model/lab.h"

static struct lab *parse(const char *text)
{
	struct lab_dirs dirs = { (char *)"/s", (char *)"/r", (char *)"/c" };
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	assert_true(lab_parse(text, strlen(text), "/x/lab.json", &dirs, &lab, &errors));
	return lab;
}

/* A guest with two NICs, one with one, one with none. */
static void tells_everything(void **state)
{
	struct lab *lab = parse(
		"{\"version\":1,\"name\":\"x\",\"networks\":{\"lan\":{\"subnet\":\"192.168.100.0/24\"},"
		"\"back\":{\"subnet\":\"10.0.0.0/8\",\"mtu\":9000}},\"vms\":{"
		"\"n1\":{\"nics\":[{\"network\":\"lan\",\"ip\":\"192.168.100.10\",\"mac\":\"52:54:00:00:00:0a\"},"
		"{\"network\":\"back\",\"ip\":\"10.1.2.3\",\"mac\":\"52:54:00:00:00:0b\"}]},"
		"\"n2\":{\"nics\":[{\"network\":\"lan\",\"ip\":\"192.168.100.11\"}]},"
		"\"n3\":{\"nics\":[]}}}");
	g_autofree char *one = guest_conf(lab, lab_find_vm(lab, "n1"));
	g_autofree char *three = guest_conf(lab, lab_find_vm(lab, "n3"));

	assert_string_equal(one, "format 1\n"
				 "lab x\n"
				 "hostname n1\n"
				 "nic.0.mac 52:54:00:00:00:0a\n"
				 "nic.0.ip 192.168.100.10/24\n"
				 "nic.0.mtu 1500\n"
				 "nic.0.network lan\n"
				 "nic.1.mac 52:54:00:00:00:0b\n"
				 "nic.1.ip 10.1.2.3/8\n"
				 "nic.1.mtu 9000\n"
				 "nic.1.network back\n"
				 "host 192.168.100.10 n1\n"
				 "host 192.168.100.10 n1.lan\n"
				 "host 10.1.2.3 n1.back\n"
				 "host 192.168.100.11 n2\n");
	assert_string_equal(three, "format 1\n"
				   "lab x\n"
				   "hostname n3\n"
				   "host 192.168.100.10 n1\n"
				   "host 192.168.100.10 n1.lan\n"
				   "host 10.1.2.3 n1.back\n"
				   "host 192.168.100.11 n2\n");
	lab_free(lab);
}

/* The port is told where it is not the usual one. */
static void tells_the_port(void **state)
{
	struct lab *lab =
		parse("{\"name\":\"x\",\"networks\":{},\"port-base\":51000,\"vms\":{\"n1\":{}}}");
	g_autofree char *conf = guest_conf(lab, lab_find_vm(lab, "n1"));

	assert_string_equal(conf, "format 1\nlab x\nhostname n1\nagent-port 51000\n");
	lab_free(lab);
}

/* Which modules of sockets it loads; virtio's go without saying. */
static void tells_the_sockets(void **state)
{
	struct lab *lab =
		parse("{\"name\":\"x\",\"networks\":{},\"vms\":{\"a\":{\"sockets\":\"hvsock\"},"
		      "\"b\":{},\"c\":{\"sockets\":\"none\"}}}");
	g_autofree char *a = guest_conf(lab, lab_find_vm(lab, "a"));
	g_autofree char *b = guest_conf(lab, lab_find_vm(lab, "b"));
	g_autofree char *c = guest_conf(lab, lab_find_vm(lab, "c"));

	assert_string_equal(a, "format 1\nlab x\nhostname a\nsockets hvsock\n");
	assert_string_equal(b, "format 1\nlab x\nhostname b\n");
	assert_string_equal(c, "format 1\nlab x\nhostname c\n");
	lab_free(lab);
}

/* Who leaves the lab where: by the first NIC on a network with an uplink. */
static void tells_the_way_out(void **state)
{
	struct lab *lab = parse(
		"{\"name\":\"x\",\"networks\":{\"in\":{\"subnet\":\"10.0.0.0/24\"},\"out\":{\"subnet\":\"10.1.0.0/24\","
		"\"uplink\":{\"type\":\"nat\",\"dns\":\"10.1.0.3\"}},\"far\":{\"subnet\":\"10.2.0.0/24\",\"uplinks\":["
		"{\"type\":\"tap\",\"ifname\":\"t\"},{\"type\":\"vxlan\",\"vni\":1,\"peers\":[\"192.0.2.1\"],"
		"\"gateway\":\"10.2.0.1\"}]}},\"vms\":{"
		"\"a\":{\"nics\":[{\"network\":\"in\"},{\"network\":\"out\"},{\"network\":\"out\"}]},"
		"\"b\":{\"nics\":[{\"network\":\"in\"}]},\"c\":{\"nics\":[{\"network\":\"far\"}]}}}");
	g_autofree char *a = guest_conf(lab, lab_find_vm(lab, "a"));
	g_autofree char *b = guest_conf(lab, lab_find_vm(lab, "b"));
	g_autofree char *c = guest_conf(lab, lab_find_vm(lab, "c"));

	assert_non_null(strstr(a, "\nnic.1.gateway 10.1.0.1\ndns 10.1.0.3\n"));
	assert_null(strstr(a, "nic.2.gateway"));
	assert_null(strstr(b, "gateway"));
	assert_null(strstr(b, "dns"));
	assert_non_null(strstr(c, "\nnic.0.gateway 10.2.0.1\n"));
	assert_null(strstr(c, "dns"));
	assert_non_null(strstr(c, "\nnic.0.mtu 1450\n"));
	lab_free(lab);
}

/* In the order of their devices, which is the VM's own, not the lab's. */
static void tells_the_portals(void **state)
{
	struct lab *lab = parse(
		"{\"name\":\"x\",\"networks\":{},\"portals\":{\"p\":{},\"q\":{}},\"vms\":{"
		"\"a\":{\"portals\":{\"q\":{\"door\":\"ivshmem\"},\"p\":{\"mode\":\"ro\"}}},\"b\":{}}}");
	g_autofree char *a = guest_conf(lab, lab_find_vm(lab, "a"));
	g_autofree char *b = guest_conf(lab, lab_find_vm(lab, "b"));

	assert_non_null(strstr(a, "\nportal q ivshmem\nportal p pmem\n"));
	assert_null(strstr(b, "portal"));
	lab_free(lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(tells_everything),
					    cmocka_unit_test(tells_the_port),
					    cmocka_unit_test(tells_the_sockets),
					    cmocka_unit_test(tells_the_way_out),
					    cmocka_unit_test(tells_the_portals) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
