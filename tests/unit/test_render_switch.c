/* SPDX-License-Identifier: MIT */
/* What the switch of a network is told, as golden text; and which links words mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <json-c/json.h>

#include "err.h"
#include "golden.h"
#include "model/lab.h"
#include "render/switch.h"

static struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };

static struct lab *parse(const char *text)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (!lab_parse(text, strlen(text), "/x/lab.json", &dirs, &lab, &errors))
		fail_msg("%s", lab_errors_format(errors));
	return lab;
}

static const char everything[] =
	"{\"name\": \"x\", \"profiles\": {\"slow\": {\"rate\": \"1mbit\", \"delay\": \"20ms\"}},"
	"\"qos\": {\"p\": {\"rate\": \"10mbit\", \"classes\": [{\"name\": \"a\", \"priority\": 7, \"match\": {\"dscp\": 46}}]}},"
	"\"networks\": {\"lan\": {\"subnet\": \"10.0.0.0/24\", \"storm\": {\"broadcast\": 100},"
	"\"uplinks\": [{\"type\": \"nat\", \"forward\": [\"tcp:127.0.0.1:2222:n1:22\"], \"vlan\": 10},"
	"{\"type\": \"tap\", \"ifname\": \"tap0\"}, {\"type\": \"stream\", \"socket-path\": \"s.sock\"},"
	"{\"type\": \"vxlan\", \"vni\": 7, \"peers\": [\"192.0.2.1\"]}],"
	"\"rules\": [{\"name\": \"r\", \"in\": \"n1\", \"out\": \"tap\", \"loss\": \"5%\", \"match\": {\"protocol\": \"udp\", \"ethertype\": \"ipv6\"}}],"
	"\"mirrors\": [{\"name\": \"m\", \"from\": [\"n1\", \"nat\"], \"to\": \"n2.0\", \"direction\": \"in\"}],"
	"\"captures\": [{\"name\": \"c\", \"links\": [\"n1\"], \"file\": \"c.pcapng\", \"rotate\": \"1MiB\"}]}, \"far\": {}},"
	"\"vms\": {\"n1\": {\"nics\": [{\"network\": \"lan\", \"mac\": \"52:54:00:00:00:01\", \"vlan\": {\"trunk\": [10, 20], \"native\": 10},"
	"\"profile\": \"slow\", \"impair\": {\"loss\": \"2%\", \"to-guest\": {\"delay\": \"5ms\"}}, \"qos\": {\"to-guest\": \"p\"}},"
	"{\"network\": \"far\"}]},"
	"\"n2\": {\"nics\": [{\"network\": \"lan\", \"mac\": \"52:54:00:00:00:02\", \"isolated\": true, \"offloads\": false,"
	"\"timeline\": [{\"at\": \"10s\", \"set\": {\"loss\": \"5%\"}}, {\"at\": \"20s\", \"set\": {\"from-guest\": {\"loss\": \"0%\"}}}],"
	"\"timeline-repeat\": \"1m\"}]}}}";

static void test_golden(void **state)
{
	struct lab *lab = parse(everything);
	g_autofree char *text = render_switch_text(lab, lab_find_network(lab, "lan"), NULL);

	assert_int_equal(golden_check("switch/everything.txt", text), 0);
	lab_free(lab);
}

/* Settings of ports that are not there are left out; the others are the same. */
static void test_ports_that_are_there(void **state)
{
	struct lab *lab = parse(everything);
	g_autoptr(GHashTable) ports = g_hash_table_new(g_str_hash, g_str_equal);
	g_autofree char *text = NULL;

	g_hash_table_add(ports, (char *)(uintptr_t) "n2.0");
	text = render_switch_text(lab, lab_find_network(lab, "lan"), ports);
	assert_non_null(strstr(text, "\nport:n2.0 "));
	assert_non_null(strstr(text, "\nrule:r "));
	assert_null(strstr(text, "n1.0:"));
	assert_null(strstr(text, "forward:"));
	lab_free(lab);
}

static void assert_undo(const char *key, const char *params, const char *method,
			const char *expected)
{
	const struct setting_kind *kind = setting_kind_of(key);
	struct json_object *undo;

	assert_non_null(kind);
	assert_string_equal(kind->undo, method);
	undo = setting_undo_params(kind, params);
	assert_string_equal(json_object_to_json_string_ext(undo, JSON_C_TO_STRING_PLAIN), expected);
	json_object_put(undo);
}

static void test_undo(void **state)
{
	assert_undo("link:n1.0:to-guest",
		    "{\"port\":\"n1.0\",\"direction\":\"to-guest\",\"loss\":1.0}", "link.reset",
		    "{\"port\":\"n1.0\",\"direction\":\"to-guest\"}");
	assert_undo("shape:n1.0:to-guest",
		    "{\"port\":\"n1.0\",\"direction\":\"to-guest\",\"policy\":\"p\"}", "qos.set",
		    "{\"port\":\"n1.0\",\"direction\":\"to-guest\",\"policy\":null}");
	assert_undo("rule:r", "{\"id\":\"r\",\"loss\":1.0}", "rule.remove", "{\"id\":\"r\"}");
	assert_undo("carrier:n1.0", "{\"name\":\"n1.0\"}", "port.up", "{\"name\":\"n1.0\"}");
	assert_null(setting_kind_of("nonsense:x"));
}

/* --- words ---------------------------------------------------------------------------------------------------------- */

static void finds(const struct lab *lab, const char *within, const char *word, const char *port)
{
	const struct network *n = within ? lab_find_network(lab, within) : NULL;
	g_autoptr(GError) error = NULL;
	struct link_ref link;

	if (!lab_find_link(lab, n, word, &link, &error))
		fail_msg("%s: %s", word, error->message);
	assert_string_equal(link.port, port);
	assert_true((link.nic != NULL) != (link.uplink != NULL));
}

static void misses(const struct lab *lab, const char *within, const char *word, const char *said)
{
	const struct network *n = within ? lab_find_network(lab, within) : NULL;
	g_autoptr(GError) error = NULL;
	struct link_ref link;

	assert_false(lab_find_link(lab, n, word, &link, &error));
	assert_int_equal(error->code, ORCH_ERROR_USAGE);
	if (!strstr(error->message, said))
		fail_msg("%s: %s", word, error->message);
}

static void test_links(void **state)
{
	struct lab *lab = parse(everything);

	finds(lab, NULL, "n2", "n2.0");
	finds(lab, NULL, "n1.1", "n1.1");
	finds(lab, NULL, "n1:far", "n1.1");
	finds(lab, "lan", "n1", "n1.0");
	finds(lab, "lan", "nat", "nat");
	finds(lab, NULL, "lan:vxlan", "vxlan");
	misses(lab, NULL, "n1", "several NICs, name one of them: n1.0 (lan), n1.1 (far)");
	misses(lab, NULL, "n3", "did you mean \"n1\"?");
	misses(lab, NULL, "zzzz", "there are: n1, n2");
	misses(lab, NULL, "n1.7", "no such NIC: n1.0 (lan)");
	misses(lab, NULL, "n2:far", "no NIC there: n2.0 (lan)");
	misses(lab, NULL, "nat", "no VM \"nat\"");
	misses(lab, "far", "nat", "no VM");
	misses(lab, "far", "n2", "no NIC there");
	misses(lab, NULL, "", "no VM");
	lab_free(lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_ports_that_are_there),
		cmocka_unit_test(test_undo),
		cmocka_unit_test(test_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
