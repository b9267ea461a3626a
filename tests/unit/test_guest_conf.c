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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(tells_everything),
					    cmocka_unit_test(tells_the_port) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
