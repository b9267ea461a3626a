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

#include "model/lab.h"
#include "plan/plan.h"
#include "random_lab.h"

static struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };

static struct lab *parse(const char *text)
{
	struct lab_errors *errors;
	struct lab *lab;

	if (!lab_parse(text, strlen(text), "t.json", &dirs, &lab, &errors)) {
		g_autofree char *said = lab_errors_format(errors);

		fail_msg("%s%s", said, text);
	}
	return lab;
}

/* What runs once everything of the lab has been started. */
static struct observed *all_of(const struct lab *lab)
{
	struct observed *nothing = observed_new(), *all;
	struct plan *plan = plan_make(lab, nothing, PLAN_DEFAULT);

	all = plan_result(plan, lab, nothing);
	plan_free(plan);
	observed_free(nothing);
	return all;
}

static void assert_plan(const struct lab *lab, const struct observed *observed,
			enum plan_flags flags, const char *expected)
{
	struct plan *plan = plan_make(lab, observed, flags);
	g_autofree char *text = plan_format(plan);

	assert_string_equal(text, expected);
	plan_free(plan);
}

#define TWO "{\"vms\": {\"a\": {\"after\": [\"b\"]}, \"b\": {}}}"

static void test_from_nothing(void **state)
{
	struct lab *lab = parse(TWO);
	struct observed *nothing = observed_new();

	assert_plan(lab, nothing, PLAN_DEFAULT,
		    "   1  prepare image tiny  (VMs start from it)\n"
		    "   2  start switch lan  (not running)\n"
		    "   3  add port a.0 to lan  (not there; after 2)\n"
		    "   4  add port b.0 to lan  (not there; after 2)\n"
		    "   5  start daemon of sockets  (not running)\n"
		    "   6  add sockets of VM a  (not there; after 5)\n"
		    "   7  add sockets of VM b  (not there; after 5)\n"
		    "   8  start VM b  (not running; after 1, 4, 7)\n"
		    "   9  start VM a  (not running; after 1, 3, 6, 8)\n");
	observed_free(nothing);
	lab_free(lab);
}

static void test_second_time(void **state)
{
	struct lab *lab = parse(TWO);
	struct observed *all = all_of(lab);

	assert_plan(lab, all, PLAN_DEFAULT, "nothing to do\n");
	assert_plan(lab, all, PLAN_RESTART, "nothing to do\n");
	observed_free(all);
	lab_free(lab);
}

static void test_vm_added_and_removed(void **state)
{
	struct lab *
		before = parse(TWO),
	       *after = parse(
		       "{\"vms\": {\"b\": {\"nics\": [{\"ip\": \"192.168.100.11\"}]}, \"c\": {}}}");
	struct observed *running = all_of(before);

	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  stop VM a  (no longer wanted)\n"
		    "   2  remove port a.0 from lan  (no longer wanted; after 1)\n"
		    "   3  remove sockets of VM a  (no longer wanted; after 1)\n"
		    "   4  prepare image tiny  (VMs start from it)\n"
		    "   5  add port c.0 to lan  (not there)\n"
		    "   6  add sockets of VM c  (not there)\n"
		    "   7  start VM c  (not running; after 4, 5, 6)\n");
	observed_free(running);
	lab_free(before);
	lab_free(after);
}

static void test_change_is_told_or_done(void **state)
{
	struct lab *before = parse(TWO);
	struct lab *after = parse(
		"{\"vms\": {\"a\": {\"memory\": \"64MiB\", \"vcpus\": 2, \"append\": \"x\"}, \"b\": {}}}");
	struct observed *running = all_of(before);

	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  restart VM a  (memory, vcpus, append changed; not done: it runs)\n"
		    "nothing to do\n");
	assert_plan(after, running, PLAN_RESTART,
		    "   1  stop VM a  (memory, vcpus, append changed)\n"
		    "   2  prepare image tiny  (VMs start from it)\n"
		    "   3  start VM a  (memory, vcpus, append changed; after 1, 2)\n");
	observed_free(running);
	lab_free(before);
	lab_free(after);
}

/* --- portals ------------------------------------------------------------------------------------------------------------ */

#define PAIR(portal, a)                                                               \
	"{\"networks\": {}, \"portals\": {\"p\": {" portal "}}, \"vms\": {\"a\": {" a \
	"\"portals\": [\"p\"]}, \"b\": {}}}"

static void test_portal_from_nothing(void **state)
{
	struct lab *lab = parse(PAIR("", ""));
	struct observed *nothing = observed_new(), *all = all_of(lab);

	assert_plan(lab, nothing, PLAN_DEFAULT,
		    "   1  prepare image tiny  (VMs start from it)\n"
		    "   2  start daemon of sockets  (not running)\n"
		    "   3  add sockets of VM a  (not there; after 2)\n"
		    "   4  add sockets of VM b  (not there; after 2)\n"
		    "   5  start portal p  (not running)\n"
		    "   6  add access of VM a to portal p  (not there; after 5)\n"
		    "   7  start VM a  (not running; after 1, 3, 6)\n"
		    "   8  start VM b  (not running; after 1, 4)\n");
	assert_plan(lab, all, PLAN_DEFAULT, "nothing to do\n");
	assert_plan(NULL, all, PLAN_DEFAULT,
		    "   1  stop VM a  (no longer wanted)\n"
		    "   2  stop VM b  (no longer wanted)\n"
		    "   3  stop daemon of sockets  (no longer wanted; after 1, 2)\n"
		    "   4  stop portal p  (no longer wanted; after 1)\n");
	observed_free(nothing);
	observed_free(all);
	lab_free(lab);
}

/* What a portal holds is not thrown away while a VM has it. */
static void test_portal_changed(void **state)
{
	struct lab *before = parse(PAIR("", "")), *after = parse(PAIR("\"size\": \"8MiB\"", ""));
	struct observed *running = all_of(before), *bare = all_of(before);

	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  restart VM a  (portal.p.size changed; not done: it runs)\n"
		    "   2  make anew portal p  (size changed; not done: it runs)\n"
		    "nothing to do\n");
	assert_plan(after, running, PLAN_RESTART,
		    "   1  stop VM a  (portal.p.size changed)\n"
		    "   2  stop portal p  (size changed; after 1)\n"
		    "   3  prepare image tiny  (VMs start from it)\n"
		    "   4  start portal p  (not running; after 2)\n"
		    "   5  add access of VM a to portal p  (not there; after 4)\n"
		    "   6  start VM a  (portal.p.size changed; after 1, 3, 5)\n");
	g_ptr_array_set_size(bare->vms, 0);
	assert_plan(after, bare, PLAN_DEFAULT,
		    "   1  stop portal p  (size changed)\n"
		    "   2  prepare image tiny  (VMs start from it)\n"
		    "   3  start portal p  (not running; after 1)\n"
		    "   4  add access of VM a to portal p  (not there; after 3)\n"
		    "   5  start VM a  (not running; after 2, 4)\n"
		    "   6  start VM b  (not running; after 2)\n");
	observed_free(running);
	observed_free(bare);
	lab_free(before);
	lab_free(after);
}

/* Another mode is another access, and only the VM's own portal is touched; one that is gone waits for its VM. */
static void test_access_changed(void **state)
{
	struct lab *before = parse(PAIR("", "")),
		   *readonly =
			   parse("{\"networks\": {}, \"portals\": {\"p\": {}}, \"vms\": {"
				 "\"a\": {\"portals\": {\"p\": {\"mode\": \"ro\"}}}, \"b\": {}}}"),
		   *gone = parse("{\"networks\": {}, \"vms\": {\"a\": {}, \"b\": {}}}");
	struct observed *running = all_of(before);

	assert_plan(readonly, running, PLAN_RESTART,
		    "   1  stop VM a  (portal.p.mode changed)\n"
		    "   2  remove access of VM a to portal p  (its settings changed; after 1)\n"
		    "   3  prepare image tiny  (VMs start from it)\n"
		    "   4  add access of VM a to portal p  (not there; after 2)\n"
		    "   5  start VM a  (portal.p.mode changed; after 1, 3, 4)\n");
	assert_plan(
		gone, running, PLAN_DEFAULT,
		"   1  restart VM a  (portal.p.door, portal.p.mode, portal.p.size, portal.p.port "
		"changed; not done: it runs)\n"
		"nothing to do\n");
	assert_plan(
		gone, running, PLAN_RESTART,
		"   1  stop VM a  (portal.p.door, portal.p.mode, portal.p.size, portal.p.port changed)\n"
		"   2  stop portal p  (no longer wanted; after 1)\n"
		"   3  prepare image tiny  (VMs start from it)\n"
		"   4  start VM a  (portal.p.door, portal.p.mode, portal.p.size, portal.p.port changed; "
		"after 1, 3)\n");
	observed_free(running);
	lab_free(before);
	lab_free(readonly);
	lab_free(gone);
}

/* A VM that moves to another network keeps port and switch until it is restarted; its port's socket is one file, so the
 * new port waits for the old one. */
static void test_network_move(void **state)
{
	struct lab *before = parse(
		"{\"networks\": {\"x\": {\"subnet\": \"10.0.0.0/24\"}}, \"vms\": {\"a\": {}}}");
	struct lab *after = parse(
		"{\"networks\": {\"y\": {\"subnet\": \"10.0.0.0/24\"}}, \"vms\": {\"a\": {}}}");
	struct observed *running = all_of(before);

	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  start switch y  (not running)\n"
		    "   2  restart VM a  (nic.0.network changed; not done: it runs)\n");
	assert_plan(after, running, PLAN_RESTART,
		    "   1  stop VM a  (nic.0.network changed)\n"
		    "   2  stop switch x  (no longer wanted; after 1)\n"
		    "   3  prepare image tiny  (VMs start from it)\n"
		    "   4  start switch y  (not running)\n"
		    "   5  add port a.0 to y  (not there; after 2, 4)\n"
		    "   6  start VM a  (nic.0.network changed; after 1, 3, 5)\n");
	observed_free(running);
	lab_free(before);
	lab_free(after);
}

/* The switch died under its VMs: they get it back and have no step of their own. */
static void test_dead_switch(void **state)
{
	struct lab *lab = parse(TWO);
	struct observed *all = all_of(lab), *left = observed_new();

	for (unsigned i = 0; i < all->vms->len; i++) {
		const struct observed_vm *vm = all->vms->pdata[i];

		observed_add_vm(left, vm->name, vm->settings);
	}
	left->sockets = true;
	observed_add_sockets_of(left, "a");
	observed_add_sockets_of(left, "b");
	assert_plan(lab, left, PLAN_DEFAULT,
		    "   1  start switch lan  (not running)\n"
		    "   2  add port a.0 to lan  (not there; after 1)\n"
		    "   3  add port b.0 to lan  (not there; after 1)\n");
	left->sockets = false;
	g_ptr_array_set_size(left->sockets_of, 0);
	assert_plan(lab, left, PLAN_DEFAULT,
		    "   1  start switch lan  (not running)\n"
		    "   2  add port a.0 to lan  (not there; after 1)\n"
		    "   3  add port b.0 to lan  (not there; after 1)\n"
		    "   4  start daemon of sockets  (not running)\n"
		    "   5  add sockets of VM a  (not there; after 4)\n"
		    "   6  add sockets of VM b  (not there; after 4)\n");
	observed_free(left);
	observed_free(all);
	lab_free(lab);
}

/* A VM moves from one engine to another when it is restarted. */
static void test_engine_change(void **state)
{
	struct lab *before = parse("{\"vms\": {\"a\": {\"sockets\": \"none\"}}}");
	struct lab *after =
		parse("{\"engine\": \"libvirt\", \"vms\": {\"a\": {\"sockets\": \"none\"}}}");
	struct observed *running = all_of(before);

	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  restart VM a  (engine changed; not done: it runs)\n"
		    "nothing to do\n");
	assert_plan(after, running, PLAN_RESTART,
		    "   1  stop VM a  (engine changed)\n"
		    "   2  prepare image tiny  (VMs start from it)\n"
		    "   3  start VM a  (engine changed; after 1, 2)\n");
	observed_free(running);
	lab_free(before);
	lab_free(after);
}

/* So does its QEMU from one user to another. */
static void test_engine_user_change(void **state)
{
	struct lab *before =
		parse("{\"engine\": \"libvirt\", \"vms\": {\"a\": {\"sockets\": \"none\"}}}");
	struct lab *after = parse("{\"engine\": {\"name\": \"libvirt\", \"user\": \"libvirt\"}, "
				  "\"vms\": {\"a\": {\"sockets\": \"none\"}}}");
	struct observed *running = all_of(before);

	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  restart VM a  (user changed; not done: it runs)\n"
		    "nothing to do\n");
	observed_free(running);
	lab_free(before);
	lab_free(after);
}

/* Sockets whose CID has changed are made anew with their VM, not before; one that lost them is changed like any other. */
static void test_sockets_change(void **state)
{
	struct lab *before = parse("{\"vms\": {\"a\": {\"cid\": 5}, \"b\": {}}}");
	struct lab *after =
		parse("{\"vms\": {\"a\": {\"cid\": 6}, \"b\": {\"sockets\": \"none\"}}}");
	struct observed *running = all_of(before);

	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  restart VM a  (cid changed; not done: it runs)\n"
		    "   2  restart VM b  (sockets, cid, port-base changed; not done: it runs)\n"
		    "nothing to do\n");
	assert_plan(after, running, PLAN_RESTART,
		    "   1  stop VM a  (cid changed)\n"
		    "   2  stop VM b  (sockets, cid, port-base changed)\n"
		    "   3  remove sockets of VM a  (their settings changed; after 1)\n"
		    "   4  remove sockets of VM b  (no longer wanted; after 2)\n"
		    "   5  prepare image tiny  (VMs start from it)\n"
		    "   6  add sockets of VM a  (not there; after 3)\n"
		    "   7  start VM a  (cid changed; after 1, 5, 6)\n"
		    "   8  start VM b  (sockets, cid, port-base changed; after 2, 5)\n");
	observed_free(running);
	lab_free(before);
	lab_free(after);
}

/* Another kind of sockets is another daemon's item and another QEMU; a guest with Hyper-V's has no CID that could change. */
static void test_hvsock_change(void **state)
{
	struct lab *before = parse("{\"vms\": {\"a\": {}}}");
	struct lab *after = parse("{\"vms\": {\"a\": {\"sockets\": \"hvsock\"}}}");
	struct observed *running = all_of(before), *then = all_of(after);
	g_autofree char *settings = plan_vm_settings(after, lab_vm(after, 0)),
			*vsock = plan_vm_settings(before, lab_vm(before, 0));

	assert_non_null(strstr(settings, "\nqemu patched\n"));
	assert_non_null(strstr(settings, "\nsockets hvsock\nport-base 50000\n"));
	assert_true(plan_settings_has_hvsock(settings));
	assert_false(plan_settings_has_hvsock(vsock));
	assert_false(plan_settings_has_hvsock(NULL));
	assert_plan(after, running, PLAN_DEFAULT,
		    "   1  restart VM a  (qemu, sockets, cid changed; not done: it runs)\n"
		    "nothing to do\n");
	assert_plan(after, then, PLAN_DEFAULT, "nothing to do\n");
	observed_free(running);
	observed_free(then);
	lab_free(before);
	lab_free(after);
}

static void test_dead_vm(void **state)
{
	struct lab *lab = parse(TWO);
	struct observed *all = all_of(lab);

	g_ptr_array_remove_index(all->vms, 0); /* b: it was started first */
	assert_plan(lab, all, PLAN_DEFAULT,
		    "   1  prepare image tiny  (VMs start from it)\n"
		    "   2  start VM b  (not running; after 1)\n");
	observed_free(all);
	lab_free(lab);
}

static void test_down(void **state)
{
	struct lab *lab = parse(TWO);
	struct observed *all = all_of(lab);

	assert_plan(NULL, all, PLAN_DEFAULT,
		    "   1  stop VM b  (no longer wanted)\n"
		    "   2  stop VM a  (no longer wanted)\n"
		    "   3  stop switch lan  (no longer wanted; after 1, 2)\n"
		    "   4  stop daemon of sockets  (no longer wanted; after 1, 2)\n");
	observed_free(all);
	lab_free(lab);
}

static void test_json(void **state)
{
	struct lab *lab = parse("{\"vms\": {\"a\": {\"sockets\": \"none\"}}}");
	struct observed *nothing = observed_new();
	struct plan *plan = plan_make(lab, nothing, PLAN_DEFAULT);
	struct json_object *json = plan_to_json(plan);

	assert_string_equal(
		json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN),
		"{\"steps\":[{\"kind\":\"image\",\"subject\":\"tiny\",\"reason\":\"VMs start from it\",\"held\":false,\"deps\":[]},"
		"{\"kind\":\"net-start\",\"subject\":\"lan\",\"reason\":\"not running\",\"held\":false,\"deps\":[]},"
		"{\"kind\":\"port-add\",\"subject\":\"a.0\",\"network\":\"lan\",\"reason\":\"not there\",\"held\":false,\"deps\":[1]},"
		"{\"kind\":\"vm-start\",\"subject\":\"a\",\"reason\":\"not running\",\"held\":false,\"deps\":[0,2]}],\"todo\":4}");
	json_object_put(json);
	plan_free(plan);
	observed_free(nothing);
	lab_free(lab);
}

/* --- what runs, as it travels ------------------------------------------------------------------------------------------- */

static void test_observed_json(void **state)
{
	struct lab *lab = parse(
		"{\"portals\": {\"p\": {}}, \"vms\": {\"a\": {\"portals\": [\"p\"]}, \"b\": {}}}");
	struct observed *all = all_of(lab), *back = NULL;
	struct json_object *json = observed_to_json(all), *again;

	assert_true(observed_from_json(json, &back, NULL));
	again = observed_to_json(back);
	assert_string_equal(json_object_to_json_string(json), json_object_to_json_string(again));
	assert_plan(lab, back, PLAN_DEFAULT, "nothing to do\n");
	json_object_put(json);
	json_object_put(again);
	observed_free(back);
	observed_free(all);
	lab_free(lab);
}

static void test_observed_json_refused(void **state)
{
	static const char *const bad[] = {
		"null",
		"[]",
		"{}",
		"{\"networks\":[],\"ports\":[]}",
		"{\"networks\":{},\"ports\":[],\"vms\":[]}",
		"{\"networks\":[1],\"ports\":[],\"vms\":[]}",
		"{\"networks\":[],\"ports\":[{\"name\":\"a\"}],\"vms\":[]}",
		"{\"networks\":[],\"ports\":[],\"vms\":[{\"name\":\"a\",\"settings\":null}]}",
		"{\"networks\":[],\"ports\":[],\"vms\":[7]}",
		"{\"networks\":[],\"ports\":[],\"vms\":[]}",
		"{\"networks\":[],\"ports\":[],\"vms\":[],\"sockets\":true}",
		"{\"networks\":[],\"ports\":[],\"vms\":[],\"sockets\":[7]}",
		"{\"networks\":[],\"switches\":{},\"ports\":[],\"vms\":[],\"sockets\":null,\"portals\":[{\"name\":\"p\"}]}",
		"{\"networks\":[],\"switches\":{},\"ports\":[],\"vms\":[],\"sockets\":null,\"portals\":[{\"name\":\"p\",\"settings\":\"\",\"vms\":[7]}]}",
	};

	for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
		struct json_object *json = json_tokener_parse(bad[i]);
		struct observed *o = NULL;
		GError *error = NULL;

		assert_false(observed_from_json(json, &o, &error));
		assert_non_null(error);
		assert_null(o);
		g_error_free(error);
		json_object_put(json);
	}
}

/* --- properties --------------------------------------------------------------------------------------------------------- */

static unsigned index_of(const struct plan *plan, enum step_kind kind, const char *subject)
{
	for (unsigned i = 0; i < plan->steps->len; i++)
		if (plan_step(plan, i)->kind == kind &&
		    strcmp(plan_step(plan, i)->subject, subject) == 0)
			return i;
	return UINT_MAX;
}

static bool depends_on(const struct step *s, unsigned index)
{
	for (unsigned i = 0; i < s->deps->len; i++)
		if (g_array_index(s->deps, unsigned, i) == index)
			return true;
	return false;
}

/* Deps point backwards, ascend, and name what has to be there: everything `after` that is started too comes first. */
static void check_order(const struct plan *plan, const struct lab *lab)
{
	for (unsigned i = 0; i < plan->steps->len; i++) {
		const struct step *s = plan_step(plan, i);
		const struct vm *vm;

		assert_int_equal(s->index, i);
		for (unsigned j = 0; j < s->deps->len; j++) {
			assert_true(g_array_index(s->deps, unsigned, j) < i);
			assert_true(j == 0 || g_array_index(s->deps, unsigned, j - 1) <
						      g_array_index(s->deps, unsigned, j));
		}
		if (s->kind != STEP_VM_START)
			continue;
		vm = lab_find_vm(lab, s->subject);
		assert_true(depends_on(s, index_of(plan, STEP_IMAGE, vm->image->name)));
		if (index_of(plan, STEP_SOCKETS_ADD, vm->name) != UINT_MAX)
			assert_true(depends_on(s, index_of(plan, STEP_SOCKETS_ADD, vm->name)));
		for (unsigned j = 0; j < plan->steps->len; j++)
			if (plan_step(plan, j)->kind == STEP_PORTAL_ADD &&
			    strcmp(plan_step(plan, j)->subject, vm->name) == 0)
				assert_true(depends_on(s, j));
		for (unsigned j = 0; j < vm->after->len; j++) {
			unsigned n = index_of(plan, STEP_VM_START,
					      ((struct vm *)vm->after->pdata[j])->name);

			assert_true(n == UINT_MAX || depends_on(s, n));
		}
	}
}

/* Names of VMs that were not to be touched without being asked. */
static void check_untouched(const struct plan *plan, const struct lab *lab,
			    const struct observed *running)
{
	for (unsigned i = 0; i < running->vms->len; i++) {
		const struct observed_vm *vm = running->vms->pdata[i];

		if (!lab_find_vm(lab, vm->name))
			continue;
		assert_true(index_of(plan, STEP_VM_STOP, vm->name) == UINT_MAX);
		assert_true(index_of(plan, STEP_VM_START, vm->name) == UINT_MAX);
	}
}

static void check_fixpoint(const struct lab *lab, const struct observed *running,
			   enum plan_flags flags)
{
	struct plan *plan = plan_make(lab, running, flags), *again;
	struct observed *result = plan_result(plan, lab, running);
	unsigned held = 0;

	check_order(plan, lab);
	if (flags == PLAN_DEFAULT)
		check_untouched(plan, lab, running);
	again = plan_make(lab, result, flags);
	for (unsigned i = 0; i < again->steps->len; i++)
		held += plan_step(again, i)->held;
	assert_int_equal(again->n_todo, 0);
	assert_int_equal(again->steps->len, held);
	if (flags == PLAN_RESTART)
		assert_int_equal(held, 0);
	plan_free(again);
	plan_free(plan);
	observed_free(result);
}

/* Forget some of what runs, as if it had died. */
static void lose_some(struct observed *o, GRand *r)
{
	for (unsigned i = o->vms->len; i-- > 0;)
		if (g_rand_int_range(r, 0, 6) == 0)
			g_ptr_array_remove_index(o->vms, i);
	for (unsigned i = o->ports->len; i-- > 0;)
		if (g_rand_int_range(r, 0, 10) == 0)
			g_ptr_array_remove_index(o->ports, i);
	for (unsigned i = o->networks->len; i-- > 0;)
		if (g_rand_int_range(r, 0, 6) == 0)
			g_ptr_array_remove_index(o->networks, i);
	for (unsigned i = o->sockets_of->len; i-- > 0;)
		if (g_rand_int_range(r, 0, 10) == 0)
			g_ptr_array_remove_index(o->sockets_of, i);
	if (g_rand_int_range(r, 0, 6) == 0)
		o->sockets = false;
	for (unsigned i = o->portals->len; i-- > 0;) {
		struct observed_portal *p = o->portals->pdata[i];

		if (p->vms->len > 0 && g_rand_int_range(r, 0, 4) == 0)
			g_ptr_array_remove_index(p->vms, 0);
		if (g_rand_int_range(r, 0, 6) == 0)
			g_ptr_array_remove_index(o->portals, i);
	}
}

/* From any version of a lab, damaged in any way, to any other version. */
static void test_result_needs_no_plan(void **state)
{
	for (guint32 seed = 0; seed < 400; seed++) {
		g_autofree char *text = random_lab_text(seed, 12, 100),
				*changed = random_lab_text(seed, 12, 50);
		struct lab *before = parse(text), *after = parse(changed);
		struct observed *running = all_of(before), *nothing = observed_new();
		GRand *r = g_rand_new_with_seed(seed);

		if (seed % 2)
			lose_some(running, r);
		check_fixpoint(after, nothing, PLAN_DEFAULT);
		check_fixpoint(after, running, PLAN_DEFAULT);
		check_fixpoint(after, running, PLAN_RESTART);
		g_rand_free(r);
		observed_free(running);
		observed_free(nothing);
		lab_free(before);
		lab_free(after);
	}
}

static void test_down_leaves_nothing(void **state)
{
	for (guint32 seed = 0; seed < 100; seed++) {
		g_autofree char *text = random_lab_text(seed, 12, 100);
		struct lab *lab = parse(text);
		struct observed *running = all_of(lab), *result;
		struct plan *plan = plan_make(NULL, running, PLAN_DEFAULT);

		result = plan_result(plan, NULL, running);
		assert_int_equal(result->vms->len, 0);
		assert_int_equal(result->ports->len, 0);
		assert_int_equal(result->networks->len, 0);
		assert_int_equal(result->sockets_of->len, 0);
		assert_int_equal(result->portals->len, 0);
		assert_false(result->sockets);
		observed_free(result);
		observed_free(running);
		plan_free(plan);
		lab_free(lab);
	}
}

/* The longest chain of `after` there can be. */
static void test_long_chain(void **state)
{
	GString *text = g_string_new(
		"{\"networks\": {}, \"defaults\": {\"sockets\": \"none\"}, \"vms\": {");
	struct observed *nothing = observed_new();
	struct plan *plan;
	struct lab *lab;

	for (unsigned i = 0; i < LAB_VMS_MAX - 1; i++)
		g_string_append_printf(text, "\"v%u\": {\"after\": [\"v%u\"]},", i, i + 1);
	g_string_append_printf(text, "\"v%u\": {}}}", LAB_VMS_MAX - 1);
	lab = parse(text->str);
	plan = plan_make(lab, nothing, PLAN_DEFAULT);
	assert_int_equal(plan->steps->len, LAB_VMS_MAX + 1);
	assert_string_equal(plan_step(plan, LAB_VMS_MAX)->subject, "v0");
	plan_free(plan);
	lab_free(lab);
	observed_free(nothing);
	g_string_free(text, TRUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_nothing),
		cmocka_unit_test(test_second_time),
		cmocka_unit_test(test_vm_added_and_removed),
		cmocka_unit_test(test_change_is_told_or_done),
		cmocka_unit_test(test_portal_from_nothing),
		cmocka_unit_test(test_portal_changed),
		cmocka_unit_test(test_access_changed),
		cmocka_unit_test(test_network_move),
		cmocka_unit_test(test_dead_switch),
		cmocka_unit_test(test_sockets_change),
		cmocka_unit_test(test_hvsock_change),
		cmocka_unit_test(test_engine_change),
		cmocka_unit_test(test_engine_user_change),
		cmocka_unit_test(test_dead_vm),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_observed_json),
		cmocka_unit_test(test_observed_json_refused),
		cmocka_unit_test(test_result_needs_no_plan),
		cmocka_unit_test(test_down_leaves_nothing),
		cmocka_unit_test(test_long_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
