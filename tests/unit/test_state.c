/* SPDX-License-Identifier: MIT */
/* The state file: written and read back, damaged in every way, of another boot; its lock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "err.h"
#include "run/json.h"
#include "run/state.h"

static char *directory, *path;

static int setup(void **state)
{
	directory = g_dir_make_tmp("vl-state-XXXXXX", NULL);
	assert_non_null(directory);
	path = g_build_filename(directory, "state.json", NULL);
	return 0;
}

static int teardown(void **state)
{
	GDir *dir = g_dir_open(directory, 0, NULL);
	const char *name;

	while ((name = g_dir_read_name(dir))) {
		g_autofree char *file = g_build_filename(directory, name, NULL);

		g_unlink(file);
	}
	g_dir_close(dir);
	g_rmdir(directory);
	g_free(directory);
	g_free(path);
	return 0;
}

static struct state_guest *sample_guest(void)
{
	struct state_guest *g = state_guest_new("guest", "/run/guest.qmp");
	struct guest_nic *nic = state_guest_add_nic(g, "lan", "guest.0", "/run/x/guest-0.vu");

	nic->mac = g_strdup("52:54:00:00:00:01");
	nic->ip = g_strdup("10.0.0.127/24");
	nic->state = g_strdup("running");
	state_guest_add_portal(g, "shared", "ivshmem");
	g->id.pid = 9;
	g->id.start = 10;
	g->stage = GUEST_FAILED;
	g->reason = g_strdup("it stays");
	g->cid = 4000000000u;
	g->uds_path = g_strdup("/run/x/guest.vs");
	g->sockets = g_strdup("connected");
	g->steps = json_tokener_parse(
		"[{\"kind\":\"device\",\"id\":\"vl.web.guest.nic0\",\"part\":1}]");
	return g;
}

static struct state *sample(void)
{
	struct state *s = state_new("web", "/home/u/web/lab.json");
	struct state_vm *v = state_add_vm(s, "n1");
	struct state_net *n = state_add_net(s, "lan");

	assert_true(proc_id_read(getpid(), &s->supervisor));
	n->id = s->supervisor;
	n->restarts = 3;
	n = state_add_portal(s, "shared");
	n->id = s->supervisor;
	n->restarts = 1;
	n->settings = g_strdup("size 8388608\nport 7\n");
	v->id.pid = 7;
	v->id.start = 1234567890123;
	v->stage = STAGE_READY;
	v->engine = g_strdup("libvirt qemu:///session");
	v->console = g_strdup("/dev/pts/3");
	v->settings = g_strdup("memory 256\nimage \"tiny\"\n");
	v->ready_us = 3456789;
	state_add_port(v, "n1.0", "lan", "/run/x/n1-0.vu");
	state_add_port(v, "n1.1", "back", "/run/x/n1-1.vu");
	v = state_add_vm(s, "n2");
	v->stage = STAGE_FAILED;
	v->reason = g_strdup("QEMU ended: exit status 1: tää \"x\"");
	state_add_forward(s, "n1", "tcp:127.0.0.1:2222:22", false);
	state_add_forward(s, "n2", "8080:unix:/run/\"x\".sock", true);
	state_add_guest(s, sample_guest());
	return s;
}

/* What is not in the file is not there afterwards, but in a copy it is, and in what `status` says. */
static void test_guest(void **unused)
{
	struct state_guest *g = sample_guest(), *copy = state_guest_copy(g), *r;
	auto_json o = state_guest_to_json(g);
	auto_json report = state_guest_report(g);
	const struct guest_nic *nic = copy->nics->pdata[0];
	struct json_object *nics = json_member(report, "nics", json_type_array);

	assert_string_equal(nic->state, "running");
	assert_string_equal(copy->sockets, "connected");
	assert_string_equal(json_object_to_json_string(copy->steps),
			    json_object_to_json_string(g->steps));
	assert_string_equal(json_str(report, "stage"), "failed");
	assert_string_equal(json_str(json_object_array_get_idx(nics, 0), "state"), "running");
	assert_string_equal(json_str(json_member(report, "sockets", json_type_object), "state"),
			    "connected");
	assert_false(json_object_object_get_ex(report, "steps", NULL));
	assert_false(json_object_object_get_ex(report, "start", NULL));

	r = state_guest_from_json(o);
	assert_string_equal(r->qmp, "/run/guest.qmp");
	assert_int_equal(r->stage, GUEST_FAILED);
	assert_string_equal(r->reason, "it stays");
	assert_int_equal(r->id.pid, 9);
	assert_true(r->cid == 4000000000u);
	assert_string_equal(r->uds_path, "/run/x/guest.vs");
	assert_null(r->sockets);
	nic = r->nics->pdata[0];
	assert_string_equal(nic->port, "guest.0");
	assert_string_equal(nic->ip, "10.0.0.127/24");
	assert_null(nic->state);
	assert_string_equal(((struct guest_portal *)r->portals->pdata[0])->door, "ivshmem");
	state_guest_free(r);
	json_put_str(o, "stage", "asleep");
	assert_null(state_guest_from_json(o));
	assert_null(state_guest_from_json(NULL));
	state_guest_free(copy);
	state_guest_free(g);
	state_guest_free(NULL);
}

static void test_round_trip(void **unused)
{
	struct state *s = sample(), *r = NULL;
	const struct state_forward *f;
	const struct state_net *n;
	const struct state_vm *v;
	struct stat st;

	assert_true(state_save(path, s, NULL));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(state_load(path, &r, NULL));
	assert_string_equal(r->lab, "web");
	assert_string_equal(r->path, "/home/u/web/lab.json");
	assert_string_equal(r->boot_id, s->boot_id);
	assert_true(state_supervisor_alive(r));
	assert_int_equal(r->nets->len, 1);
	assert_int_equal(((struct state_net *)r->nets->pdata[0])->restarts, 3);
	assert_true(state_anything_alive(r));
	assert_int_equal(r->portals->len, 1);
	n = r->portals->pdata[0];
	assert_string_equal(n->name, "shared");
	assert_int_equal(n->restarts, 1);
	assert_true(proc_id_alive(&n->id));
	assert_string_equal(n->settings, "size 8388608\nport 7\n");
	v = state_find_vm(r, "n1");
	assert_int_equal(v->id.pid, 7);
	assert_true(v->id.start == 1234567890123);
	assert_int_equal(v->stage, STAGE_READY);
	assert_string_equal(v->engine, "libvirt qemu:///session");
	assert_string_equal(v->console, "/dev/pts/3");
	assert_string_equal(v->settings, "memory 256\nimage \"tiny\"\n");
	assert_true(v->ready_us == 3456789);
	assert_null(v->reason);
	assert_int_equal(v->ports->len, 2);
	assert_string_equal(((struct state_port *)v->ports->pdata[1])->network, "back");
	assert_string_equal(((struct state_port *)v->ports->pdata[1])->path, "/run/x/n1-1.vu");
	assert_false(proc_id_alive(&v->id));
	v = state_find_vm(r, "n2");
	assert_int_equal(v->id.pid, 0);
	assert_string_equal(v->reason, "QEMU ended: exit status 1: tää \"x\"");
	assert_null(v->settings);
	assert_null(v->engine);
	assert_null(state_find_vm(r, "n3"));
	assert_int_equal(r->guests->len, 1);
	assert_string_equal(((struct state_guest *)r->guests->pdata[0])->name, "guest");
	assert_int_equal(r->forwards->len, 2);
	f = r->forwards->pdata[0];
	assert_string_equal(f->vm, "n1");
	assert_string_equal(f->text, "tcp:127.0.0.1:2222:22");
	assert_false(f->removed);
	f = r->forwards->pdata[1];
	assert_string_equal(f->text, "8080:unix:/run/\"x\".sock");
	assert_true(f->removed);
	state_free(s);
	state_free(r);
}

static void test_absent(void **unused)
{
	struct state *s = NULL;

	assert_true(state_load(path, &s, NULL));
	assert_null(s->lab);
	assert_int_equal(s->vms->len, 0);
	assert_false(state_anything_alive(s));
	assert_false(state_supervisor_alive(s));
	state_free(s);
}

/* Cut off after any byte, the file is refused, not believed in part. */
static void test_cut_off(void **unused)
{
	struct state *s = sample();
	g_autofree char *text = NULL;
	gsize len;

	assert_true(state_save(path, s, NULL));
	state_free(s);
	assert_true(g_file_get_contents(path, &text, &len, NULL));
	for (gsize cut = 0; cut < len; cut++) {
		g_autoptr(GError) error = NULL;
		struct state *r = NULL;

		assert_true(g_file_set_contents(path, text, (gssize)cut, NULL));
		assert_false(state_load(path, &r, &error));
		assert_null(r);
		assert_non_null(strstr(error->message, "damaged"));
	}
}

#define HEAD "{\"format\":1,\"lab\":\"x\",\"boot\":\"b\","

static void test_damaged(void **unused)
{
	static const char *const texts[] = {
		"rubbish",
		"[]",
		"null",
		"{}",
		"{\"format\":2,\"lab\":\"x\",\"boot\":\"b\",\"networks\":[],\"vms\":[]}",
		HEAD "\"networks\":[],\"vms\":{}}",
		HEAD "\"networks\":[1],\"vms\":[]}",
		HEAD "\"networks\":[{\"name\":7}],\"vms\":[]}",
		HEAD "\"networks\":[],\"vms\":[{\"name\":\"a\",\"stage\":\"ready\"}]}",
		HEAD
		"\"networks\":[],\"vms\":[{\"name\":\"a\",\"stage\":\"reading\",\"ports\":[]}]}",
		HEAD
		"\"networks\":[],\"vms\":[{\"name\":\"a\",\"stage\":\"ready\",\"ports\":[{\"name\":\"a.0\"}]}]}",
		HEAD "\"networks\":[],\"vms\":[]} x",
		HEAD "\"networks\":[],\"vms\":[],\"forwards\":[{\"vm\":\"a\"}]}",
		HEAD
		"\"networks\":[],\"vms\":[{\"name\":\"\xff\",\"stage\":\"ready\",\"ports\":[]}]}",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
		struct state *s = NULL;

		assert_true(g_file_set_contents(path, texts[i], -1, NULL));
		assert_false(state_load(path, &s, NULL));
		assert_null(s);
	}
}

/* Numbers that are no pid name no process. */
static void test_odd_pids(void **unused)
{
	static const char *const ids[] = {
		"\"pid\":0,\"start\":5",          "\"pid\":-1,\"start\":5",
		"\"pid\":4294967297,\"start\":5", "\"pid\":1,\"start\":0",
		"\"pid\":\"1\",\"start\":5",      "\"pid\":1.5,\"start\":5",
		"\"pid\":1,\"start\":-5",
	};

	for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
		g_autofree char *text = g_strdup_printf(
			HEAD "\"networks\":[{\"name\":\"n\",%s}],\"vms\":[]}", ids[i]);
		struct state *s = NULL;

		assert_true(g_file_set_contents(path, text, -1, NULL));
		assert_true(state_load(path, &s, NULL));
		assert_int_equal(((struct state_net *)s->nets->pdata[0])->id.pid, 0);
		state_free(s);
	}
}

static void test_other_boot(void **unused)
{
	struct state *s = sample(), *r = NULL;

	g_strlcpy(s->boot_id, "another", sizeof(s->boot_id));
	assert_true(state_save(path, s, NULL));
	assert_true(state_load(path, &r, NULL));
	assert_false(state_supervisor_alive(r));
	assert_false(state_anything_alive(r));
	assert_int_equal(state_find_vm(r, "n1")->id.pid, 0);
	assert_int_equal(state_find_vm(r, "n1")->stage, STAGE_STOPPED);
	assert_int_equal(state_find_vm(r, "n2")->stage, STAGE_FAILED);
	assert_string_not_equal(r->boot_id, "another");
	state_free(s);
	state_free(r);
}

static void test_write_failures(void **unused)
{
	g_autofree char *nowhere = g_build_filename(directory, "none", "x", NULL);
	g_autoptr(GError) error = NULL, full = NULL;
	g_autofree char *text = NULL;

	assert_false(state_write_file(nowhere, "x", -1, &error));
	assert_non_null(strstr(error->message, nowhere));
	assert_non_null(strstr(error->message, "No such file"));
	/* What was there stays when the new one cannot be written. */
	assert_true(state_write_file(path, "old", -1, NULL));
	text = g_strdup_printf("%s.new", path);
	assert_int_equal(symlink("/dev/full", text), 0);
	assert_false(state_write_file(path, "new", -1, &full));
	assert_non_null(strstr(full->message, "No space left"));
	g_free(text);
	text = NULL;
	assert_true(g_file_get_contents(path, &text, NULL, NULL));
	assert_string_equal(text, "old");
}

static void test_lock(void **unused)
{
	g_autoptr(GError) error = NULL;
	int first = state_lock(path, NULL), third;

	assert_true(first >= 0);
	assert_int_equal(state_lock(path, &error), -1);
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_CONFLICT));
	/* Its file removed by the holder, the lock of the next one is another file's. */
	assert_int_equal(unlink(path), 0);
	third = state_lock(path, NULL);
	assert_true(third >= 0);
	close(first);
	assert_int_equal(state_lock(path, NULL), -1);
	close(third);
	third = state_lock(path, NULL);
	assert_true(third >= 0);
	close(third);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest),
		cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_absent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_pids, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_boot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_failures, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
