/* SPDX-License-Identifier: MIT */
/* What a guest is given of a lab: its names and addresses, what is refused, and what a lab that comes later must leave it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <glib.h>

#include "err.h"
#include "render/portal.h"
#include "run/guests_impl.h"
#include "run/json.h"
#include "run/state.h"
#include "supervisor_fixture.h"
#include "tmp.h"

#define LAB_OF(vms)                                                                                                   \
	"{\"name\": \"web\", \"networks\": {\"lan\": {\"subnet\": \"10.0.0.0/24\", \"uplink\": {\"type\": \"nat\"}}," \
	"\"tiny\": {\"subnet\": \"10.0.1.0/29\"}, \"off\": {}},"                                                      \
	"\"portals\": {\"shared\": {\"size\": \"16MiB\"}, \"odd\": {\"size\": \"12MiB\"}},"                           \
	"\"vms\": {\"n1\": {\"nics\": [{\"network\": \"lan\"}, {\"network\": \"tiny\"}]}" vms "}}"
#define LAB LAB_OF("")

struct fixture {
	struct tmp_dir dir;
	struct lab_dirs dirs;
	struct supervisor sup;
	struct guests *guests;
};

static void never(struct proc *p, int status, const char *how, void *data)
{
	fail_msg("the test itself has ended");
}

/* As if it ran: it is this process. */
static void run_daemon(struct fixture *f, GHashTable *table, const char *name,
		       const struct daemon_kind *kind)
{
	struct daemon *d =
		supervisor_daemon(&f->sup, name, kind, net_paths_new(f->sup.paths, name));
	struct proc_id id;

	assert_true(proc_id_read(getpid(), &id));
	d->proc = proc_adopt(&id, never, d);
	assert_non_null(d->proc);
	g_hash_table_insert(table, d->name, d);
}

static void run_portal(struct fixture *f, const char *name)
{
	const struct portal *p = lab_find_portal(f->sup.lab, name);

	run_daemon(f, f->sup.portals, name, &daemon_portal);
	g_hash_table_insert(f->sup.portal_texts, g_strdup(name), render_portal_text(f->sup.lab, p));
}

static void free_daemon(void *p)
{
	daemon_free(p);
}

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	tmp_dir_init(&f->dir);
	f->dirs = (struct lab_dirs){ f->dir.path, f->dir.path, f->dir.path };
	supervisor_begin(&f->sup, &f->dirs, LAB);
	lab_paths_free(f->sup.paths);
	f->sup.paths = lab_paths_new(f->sup.lab, &f->dirs);
	g_hash_table_unref(f->sup.switches);
	f->sup.switches = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_daemon);
	f->sup.portals = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_daemon);
	f->sup.portal_texts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
	run_daemon(f, f->sup.switches, "lan", &daemon_switch);
	run_daemon(f, f->sup.switches, "tiny", &daemon_switch);
	run_portal(f, "shared");
	run_portal(f, "odd");
	f->guests = guests_new(&f->sup);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	guests_free(f->guests);
	daemon_free(f->sup.sockets);
	g_hash_table_unref(f->sup.portals);
	g_hash_table_unref(f->sup.portal_texts);
	supervisor_end(&f->sup);
	tmp_dir_done(&f->dir);
	g_free(f);
	return 0;
}

static struct state_guest *plan(struct fixture *f, const char *params, GError **error)
{
	auto_json o = json_tokener_parse(params);

	assert_non_null(o);
	return guest_plan(f->guests, o, error);
}

/* From a state, as a supervisor that takes over: the guest is there. */
static void adopt(struct fixture *f, struct state_guest *is)
{
	struct state *s = state_new("web", NULL);

	is->stage = GUEST_ATTACHED;
	state_add_guest(s, is);
	guests_adopt(f->guests, s);
	state_free(s);
}

static void test_addresses(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GError) error = NULL;
	struct state_guest *is = plan(
		f,
		"{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[\"lan\",\"lan\",\"tiny\"],\"sockets\":\"vsock\"}",
		&error);
	const struct guest_nic *first, *second, *third;

	assert_null(error);
	first = is->nics->pdata[0];
	second = is->nics->pdata[1];
	third = is->nics->pdata[2];
	/* From the middle down: NAT's DHCP deals above, labs from below. */
	assert_string_equal(first->ip, "10.0.0.127/24");
	assert_string_equal(second->ip, "10.0.0.126/24");
	assert_string_equal(third->ip, "10.0.1.3/29");
	assert_string_equal(first->port, "g.0");
	assert_true(g_str_has_suffix(third->path, "/web/g-2.vu"));
	assert_true(g_str_has_prefix(first->mac, "52:54:00:"));
	assert_string_not_equal(first->mac, second->mac);
	assert_true(is->cid >= 1u << 30);
	assert_true(is->cid != lab_vm(f->sup.lab, 0)->cid);
	adopt(f, is);

	/* Another one gets others; the same one, the same again. */
	is = plan(f, "{\"name\":\"h\",\"qmp\":\"/q\",\"networks\":[\"lan\"]}", &error);
	assert_null(error);
	assert_string_equal(((const struct guest_nic *)is->nics->pdata[0])->ip, "10.0.0.125/24");
	assert_int_equal(is->cid, 0);
	state_guest_free(is);
	assert_true(guests_own(f->guests, "g"));
	assert_true(guests_own(f->guests, "g.2"));
	assert_false(guests_own(f->guests, "gg.0"));
	assert_false(guests_own(f->guests, "n1.0"));
	assert_false(guests_map(f->guests, "shared"));
	assert_false(guests_own(NULL, "g"));
}

static const struct guest_nic *card(const struct state_guest *is, unsigned i)
{
	return is->nics->pdata[i];
}

static void test_said(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GError) error = NULL;
	struct state_guest *is =
		plan(f,
		     "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":["
		     "{\"network\":\"lan\",\"mac\":\"52:54:00:AA:bb:0c\",\"ip\":\"10.0.0.200\"},"
		     "{\"network\":\"lan\",\"ip\":\"10.0.0.127\"},\"lan\"]}",
		     &error);

	assert_null(error);
	assert_string_equal(card(is, 0)->mac, "52:54:00:aa:bb:0c");
	assert_string_equal(card(is, 0)->ip, "10.0.0.200/24");
	assert_string_equal(card(is, 1)->ip, "10.0.0.127/24");
	assert_string_equal(card(is, 2)->ip, "10.0.0.126/24"); /* the next that is free */
	assert_string_equal(card(is, 2)->port, "g.2");
	adopt(f, is);
}

/* g has 10.0.0.200 and 52:54:00:aa:bb:0c by now. */
static void test_said_in_vain(void **state)
{
	static const struct {
		const char *card, *words;
		int code;
	} cases[] = {
		{ "\"mac\":\"52:54:00:aa:bb:0c\"", "is the MAC address of g.0 already",
		  ORCH_ERROR_CONFLICT },
		{ "\"mac\":\"53:54:00:aa:bb:0c\"", "no MAC address of a card", ORCH_ERROR_USAGE },
		{ "\"mac\":\"00:00:00:00:00:00\"", "no MAC address of a card", ORCH_ERROR_USAGE },
		{ "\"mac\":\"52:54:00\"", "no MAC address of a card", ORCH_ERROR_USAGE },
		{ "\"ip\":\"10.0.0.200\"", "10.0.0.200 is the address of g.0 already",
		  ORCH_ERROR_CONFLICT },
		{ "\"ip\":\"10.0.0.10\"", "10.0.0.10 is the address of n1.0 already",
		  ORCH_ERROR_CONFLICT },
		{ "\"ip\":\"10.0.0.254\"", "10.0.0.254 is the address of nat already",
		  ORCH_ERROR_CONFLICT },
		{ "\"ip\":\"10.0.1.1\"", "10.0.1.1 is outside 10.0.0.0/24, the subnet of \"lan\"",
		  ORCH_ERROR_USAGE },
		{ "\"ip\":\"10.0.0.255\"", "is the broadcast address of", ORCH_ERROR_USAGE },
		{ "\"ip\":\"10.0.0.0\"", "is the network address of", ORCH_ERROR_USAGE },
		{ "\"ip\":\"10.0.0.5/24\"", "no IPv4 address", ORCH_ERROR_USAGE },
	};
	struct fixture *f = *state;

	test_said(state);
	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;
		g_autofree char *params = g_strdup_printf(
			"{\"name\":\"h\",\"qmp\":\"/q\",\"networks\":[{\"network\":\"lan\",%s}]}",
			cases[i].card);

		assert_null(plan(f, params, &error));
		if (error->code != cases[i].code || !strstr(error->message, cases[i].words))
			fail_msg("%s: %d, %s", params, error->code, error->message);
	}
}

static void find(struct fixture *f, const char *text, const char *port, const char *network)
{
	g_autoptr(GError) error = NULL;
	struct link_ref ref;

	if (!guests_find_link(f->guests, f->sup.lab, text, &ref, &error))
		fail_msg("%s: %s", text, error->message);
	assert_string_equal(ref.port, port);
	assert_string_equal(ref.network->name, network);
	assert_int_equal(ref.guest != NULL, g_str_has_prefix(port, "g."));
	assert_int_equal(ref.nic != NULL, g_str_has_prefix(port, "n1."));
}

static void find_none(struct fixture *f, const char *text, const char *words)
{
	g_autoptr(GError) error = NULL;
	struct link_ref ref;

	assert_false(guests_find_link(f->guests, f->sup.lab, text, &ref, &error));
	if (error->code != ORCH_ERROR_USAGE || !strstr(error->message, words))
		fail_msg("%s: %s", text, error->message);
}

static void test_links(void **state)
{
	struct fixture *f = *state;

	adopt(f, plan(f, "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[\"lan\",\"tiny\",\"tiny\"]}",
		      NULL));
	find(f, "g:lan", "g.0", "lan");
	find(f, "g.2", "g.2", "tiny");
	find(f, "n1:tiny", "n1.1", "tiny");
	find(f, "lan:nat", "nat", "lan");
	find_none(f, "g", "several cards, name one of them: g.0 (lan), g.1 (tiny), g.2 (tiny)");
	find_none(f, "g:tiny", "several cards");
	find_none(f, "g:off", "no card there");
	find_none(f, "g.3", "no card there");
	find_none(f, "gg", "no VM \"gg\"");
}

/* NAT deals its address to a guest, and knows it by name; the plan compares what the lab says alone. */
static void test_hosts(void **state)
{
	static const char own[] =
		"{\"port\":\"nat\",\"hosts\":[{\"name\":\"n1\",\"mac\":\"52:54:00:00:00:01\",\"ip\":\"10.0.0.10\"}]}";
	struct fixture *f = *state;
	g_autofree char *with = NULL, *without = NULL, *elsewhere = NULL, *none = NULL;

	adopt(f,
	      plan(f,
		   "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[{\"network\":\"lan\",\"mac\":\"52:54:00:00:00:0a\"},"
		   "\"tiny\",{\"network\":\"lan\",\"mac\":\"52:54:00:00:00:0b\"}]}",
		   NULL));
	with = guests_add_hosts(f->guests, "lan", own);
	assert_string_equal(
		with,
		"{\"port\":\"nat\",\"hosts\":[{\"name\":\"n1\",\"mac\":\"52:54:00:00:00:01\",\"ip\":\"10.0.0.10\"},"
		"{\"name\":\"g\",\"mac\":\"52:54:00:00:00:0a\",\"ip\":\"10.0.0.127\"},"
		"{\"name\":\"g.2\",\"mac\":\"52:54:00:00:00:0b\",\"ip\":\"10.0.0.126\"}]}");
	without = guests_drop_hosts(f->guests, "lan", with);
	assert_string_equal(without, own);
	elsewhere = guests_add_hosts(f->guests, "off", own);
	assert_string_equal(elsewhere, own);
	none = guests_add_hosts(NULL, "lan", own);
	assert_string_equal(none, own);
}

/* What QEMU was told of a carrier outlives a supervisor. */
static void test_carrier(void **state)
{
	struct fixture *f = *state;
	struct state_guest *is =
		plan(f, "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[\"lan\"]}", NULL);
	struct guest_nic *nic = is->nics->pdata[0];
	struct state_guest *copy;

	nic->shows_down = true;
	copy = state_guest_copy(is);
	assert_true(card(copy, 0)->shows_down);
	assert_true(card(copy, 0)->down); /* nobody has said otherwise yet */
	state_guest_free(copy);
	adopt(f, is);
	nic = ((struct guest *)f->guests->list->pdata[0])->is->nics->pdata[0];
	guests_set_carrier(f->guests, "g.0", false, false);
	assert_false(nic->again);
	guests_set_carrier(f->guests, "g.0", true, false);
	assert_false(nic->down);
	guests_set_carrier(f->guests, "g.0", true, true);
	assert_true(nic->again);
	guests_set_carrier(f->guests, "n1.0", true, true); /* nobody's here */
	guests_set_carrier(NULL, "g.0", true, true);
}

static void test_full(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GError) error = NULL;
	struct state_guest *is = plan(
		f,
		"{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[\"tiny\",\"tiny\",\"tiny\",\"tiny\"]}",
		&error);

	/* Of six hosts the lower three can be kept free, one of which is n1's; the fourth card is without. */
	assert_null(error);
	assert_string_equal(((const struct guest_nic *)is->nics->pdata[0])->ip, "10.0.1.3/29");
	assert_null(((const struct guest_nic *)is->nics->pdata[3])->ip);
	state_guest_free(is);
}

static void test_refused(void **state)
{
	static const struct {
		const char *params, *words;
		int code;
	} cases[] = {
		{ "{\"name\":\"g\"}", "absolute path", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"q\"}", "absolute path", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\"}", "nothing to plug in", ORCH_ERROR_USAGE },
		{ "{\"name\":\"G\",\"qmp\":\"/q\"}", "no name for a guest", ORCH_ERROR_USAGE },
		{ "{\"name\":\"n1\",\"qmp\":\"/q\"}", "another name", ORCH_ERROR_CONFLICT },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[\"x\"]}", "no network \"x\"",
		  ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[1]}", "no network",
		  ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[\"off\"]}", "no switch",
		  ORCH_ERROR_FAILED },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"hvsock\"}", "vsock",
		  ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"portals\":[{\"portal\":\"shared\"}]}",
		  "--sockets vsock, too", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"portals\":[{\"portal\":\"x\"}]}",
		  "no portal \"x\"", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"portals\":[{\"portal\":\"odd\"}]}",
		  "power of two", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"portals\":[{\"portal\":\"shared\",\"door\":\"window\"}]}",
		  "no door", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"portals\":[{\"portal\":\"shared\",\"door\":\"pmem\"}]}",
		  "--permanent", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"portals\":[{\"portal\":\"shared\"},{\"portal\":\"shared\"}]}",
		  "said twice", ORCH_ERROR_USAGE },
		{ "{\"name\":\"g2345678901234567890123456789012\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"portals\":[{\"portal\":\"shared\"}]}",
		  "too long", ORCH_ERROR_USAGE },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autoptr(GError) error = NULL;

		assert_null(plan(f, cases[i].params, &error));
		assert_int_equal(error->code, cases[i].code);
		if (!strstr(error->message, cases[i].words))
			fail_msg("%s: %s", cases[i].params, error->message);
	}
}

static void test_portals(void **state)
{
	struct fixture *f = *state;
	g_autoptr(GError) error = NULL;
	struct state_guest *is = plan(
		f,
		"{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"permanent\":true,"
		"\"portals\":[{\"portal\":\"shared\"},{\"portal\":\"odd\",\"door\":\"pmem\"}]}",
		&error);

	assert_null(error);
	assert_string_equal(((const struct guest_portal *)is->portals->pdata[0])->door, "ivshmem");
	assert_string_equal(((const struct guest_portal *)is->portals->pdata[1])->door, "pmem");
	state_guest_free(is);
	/* By its daemon: of any size, and let go of. */
	is = plan(f,
		  "{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\","
		  "\"portals\":[{\"portal\":\"odd\",\"door\":\"vhost-user\"}]}",
		  &error);
	assert_null(error);
	assert_string_equal(((const struct guest_portal *)is->portals->pdata[0])->door,
			    "vhost-user");
	state_guest_free(is);
	/* One that runs as another lab had it. */
	g_hash_table_replace(f->sup.portal_texts, g_strdup("shared"), g_strdup("size 1\n"));
	assert_null(plan(
		f,
		"{\"name\":\"g\",\"qmp\":\"/q\",\"sockets\":\"vsock\",\"portals\":[{\"portal\":\"shared\"}]}",
		&error));
	assert_int_equal(error->code, ORCH_ERROR_CONFLICT);
}

static void assert_disagree(struct fixture *f, const char *text, const char *words)
{
	struct lab *lab = supervisor_lab(&f->dirs, text);
	g_autoptr(GError) error = NULL;

	assert_false(guests_agree(f->guests, lab, &error));
	assert_int_equal(error->code, ORCH_ERROR_CONFLICT);
	assert_non_null(strstr(error->message, "`orchestrator detach g` first"));
	if (!strstr(error->message, words))
		fail_msg("%s", error->message);
	lab_free(lab);
}

static void test_agree(void **state)
{
	struct fixture *f = *state;
	struct state_guest *is = plan(
		f, "{\"name\":\"g\",\"qmp\":\"/q\",\"networks\":[\"lan\"],\"sockets\":\"vsock\"}",
		NULL);
	g_autofree char *cid = g_strdup_printf(", \"x\": {\"nics\": [], \"cid\": %u}", is->cid);
	g_autofree char *with_cid = g_strdup_printf(
		"{\"name\": \"web\", \"networks\": {\"lan\": {\"subnet\": \"10.0.0.0/24\"}}, \"vms\": {\"n1\": {\"nics\": []}%s}}",
		cid);
	struct lab *more =
		supervisor_lab(&f->dirs, LAB_OF(", \"n2\": {\"nics\": [{\"network\": \"lan\"}]}"));
	g_autoptr(GError) error = NULL;

	state_guest_add_portal(is, "shared", "ivshmem");
	adopt(f, is);
	assert_true(guests_agree(f->guests, f->sup.lab, &error));
	assert_true(guests_agree(f->guests, more, &error));
	assert_true(guests_map(f->guests, "shared"));
	assert_disagree(f, LAB_OF(", \"g\": {\"nics\": []}"), "a VM of that name");
	assert_disagree(
		f, LAB_OF(", \"x\": {\"nics\": [{\"network\": \"lan\", \"ip\": \"10.0.0.127\"}]}"),
		"its address 10.0.0.127");
	assert_disagree(f, with_cid, "its CID");
	assert_disagree(f, "{\"name\": \"web\", \"networks\": {}, \"vms\": {\"n1\": {}}}",
			"no network lan");
	assert_disagree(
		f,
		"{\"name\": \"web\", \"networks\": {\"lan\": {\"subnet\": \"10.0.0.0/24\"}}, \"vms\": {\"n1\": {}}}",
		"portal shared no more");
	lab_free(more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_said, setup, teardown),
		cmocka_unit_test_setup_teardown(test_said_in_vain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hosts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_carrier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_portals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_agree, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
