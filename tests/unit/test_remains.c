/* SPDX-License-Identifier: MIT */
/* A lab's directories: made private, cleared of what is ours alone, and read when no supervisor can be asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib.h>

#include "cmd.h"
#include "model/lab.h"
#include "run/dirs.h"
#include "run/remains.h"
#include "run/state.h"
#include "tmp.h"

#define LAB "{\"name\": \"web\", \"vms\": {\"n1\": {}, \"n2\": {}}}"

struct place {
	struct tmp_dir root;
	struct lab_dirs *dirs;
	struct lab_paths *paths;
	int fds[8];
	unsigned n_fds;
};

static int setup(void **state)
{
	struct place *p = g_new0(struct place, 1);
	g_autofree char *state_home = NULL, *runtime = NULL;

	tmp_dir_init(&p->root);
	state_home = g_strdup_printf("XDG_STATE_HOME=%s/s", p->root.path);
	runtime = g_strdup_printf("XDG_RUNTIME_DIR=%s/r", p->root.path);
	p->dirs = lab_dirs_new_from((char *[]){ state_home, runtime, NULL }, getuid());
	p->paths = lab_paths_new_named("web", p->dirs);
	assert_true(dirs_make(p->dirs, p->paths, NULL));
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	for (unsigned i = 0; i < p->n_fds; i++)
		close(p->fds[i]);
	lab_paths_free(p->paths);
	lab_dirs_free(p->dirs);
	tmp_dir_done(&p->root);
	g_free(p);
	return 0;
}

/* A socket in the runtime directory: bound, and listened on or left behind. */
static void make_socket(struct place *p, const char *name, bool listens)
{
	g_autofree char *path = g_build_filename(p->paths->run_dir, name, NULL);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	if (listens) {
		assert_int_equal(listen(fd, 4), 0);
		p->fds[p->n_fds++] = fd;
	} else {
		close(fd);
	}
}

static void make_file(const char *directory, const char *name, const char *text)
{
	g_autofree char *path = g_build_filename(directory, name, NULL);
	g_autofree char *parent = g_path_get_dirname(path);

	assert_int_equal(g_mkdir_with_parents(parent, 0700), 0);
	assert_true(g_file_set_contents(path, text, -1, NULL));
}

static bool there(const char *directory, const char *name)
{
	g_autofree char *path = g_build_filename(directory, name, NULL);

	return access(path, F_OK) == 0;
}

/* --- directories ------------------------------------------------------------------------------------------ */

static void test_private(void **state)
{
	struct place *p = *state;
	g_autofree char *elsewhere = g_build_filename(p->root.path, "elsewhere", NULL);
	g_autoptr(GError) open_to_others = NULL, link = NULL;
	struct stat st;

	assert_int_equal(stat(p->paths->run_dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	/* Readable by others: closed.  Writable by them: who knows what is in it already. */
	assert_int_equal(chmod(p->dirs->runtime, 0755), 0);
	assert_true(dirs_make(p->dirs, p->paths, NULL));
	assert_int_equal(stat(p->dirs->runtime, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(chmod(p->dirs->runtime, 0777), 0);
	assert_false(dirs_make(p->dirs, p->paths, &open_to_others));
	assert_non_null(strstr(open_to_others->message, p->dirs->runtime));
	/* Somebody's link in our place. */
	assert_int_equal(rename(p->dirs->runtime, elsewhere), 0);
	assert_int_equal(chmod(elsewhere, 0700), 0);
	assert_int_equal(symlink(elsewhere, p->dirs->runtime), 0);
	assert_false(dirs_make(p->dirs, p->paths, &link));
}

static void test_clear(void **state)
{
	struct place *p = *state;

	make_file(p->paths->state_dir, "state.json", "{}");
	make_file(p->paths->state_dir, "lab.json", "{}");
	make_file(p->paths->state_dir, "supervisor.log", "words\n");
	make_file(p->paths->vms_dir, "n1/ready", "ready 1\n");
	make_file(p->paths->vms_dir, "n1/console.log", "words\n");
	make_file(p->paths->vms_dir, "n2/guest.conf", "");
	make_file(p->paths->nets_dir, "lan/config.json", "{}");
	make_file(p->paths->nets_dir, "lan/log", "words\n");
	make_socket(p, "n1.qmp", false);
	make_socket(p, "n1-0.vu", false);
	assert_false(dirs_in_use(p->paths));
	assert_false(dirs_clear(p->dirs, p->paths, false));
	assert_int_equal(access(p->dirs->runtime, F_OK), -1);
	assert_false(there(p->paths->state_dir, "state.json"));
	assert_false(there(p->paths->vms_dir, "n1/ready"));
	assert_false(there(p->paths->vms_dir, "n2"));
	assert_true(there(p->paths->vms_dir, "n1/console.log"));
	assert_true(there(p->paths->nets_dir, "lan/log"));
	assert_true(there(p->paths->state_dir, "supervisor.log"));
	assert_true(dirs_clear(p->dirs, p->paths, true));
	assert_int_equal(access(p->paths->state_dir, F_OK), -1);
}

/* A stranger's file and a stranger's socket survive everything, and so do their directories. */
static void test_strangers(void **state)
{
	struct place *p = *state;

	make_file(p->paths->vms_dir, "n1/notes.txt", "mine");
	make_socket(p, "busy.vu", true);
	make_file(p->paths->run_dir, "notes.txt", "mine");
	assert_true(dirs_in_use(p->paths));
	assert_false(dirs_clear(p->dirs, p->paths, true));
	assert_true(there(p->paths->vms_dir, "n1/notes.txt"));
	assert_true(there(p->paths->run_dir, "busy.vu"));
	assert_true(there(p->paths->run_dir, "notes.txt"));
}

static void test_labs(void **state)
{
	struct place *p = *state;
	g_autofree char *labs = g_build_filename(p->dirs->state, "labs", NULL);
	g_autoptr(GPtrArray) names = NULL;

	make_file(labs, "db/supervisor.log", "");
	make_file(labs, "Not A Lab/x", "");
	make_file(p->dirs->runtime, "only-sockets/x", "");
	names = dirs_labs(p->dirs);
	assert_int_equal(names->len, 3);
	assert_string_equal(names->pdata[0], "db");
	assert_string_equal(names->pdata[1], "only-sockets");
	assert_string_equal(names->pdata[2], "web");
}

/* --- what is left of a lab -------------------------------------------------------------------------------- */

static void test_nothing(void **state)
{
	struct place *p = *state;
	struct remains *r = remains_read("web", p->dirs);

	assert_null(r->damage);
	assert_null(r->lab);
	assert_string_equal(r->state->lab, "web");
	assert_int_equal(r->state->vms->len, 0);
	remains_free(r);
}

/* With its state, the state is believed, whatever sockets there are. */
static void test_state_counts(void **state)
{
	struct place *p = *state;
	struct state *s = state_new("web", "/from/here/lab.json");
	struct remains *r;

	state_add_vm(s, "n1")->stage = STAGE_STOPPED;
	assert_true(state_save(p->paths->state_json, s, NULL));
	state_free(s);
	make_file(p->paths->state_dir, "lab.json", LAB);
	make_socket(p, "n1.qmp", true);
	r = remains_read("web", p->dirs);
	assert_null(r->damage);
	assert_int_equal(r->state->vms->len, 1);
	assert_int_equal(state_find_vm(r->state, "n1")->id.pid, 0);
	assert_string_equal(r->lab->path, "/from/here/lab.json");
	assert_int_equal(r->paths->vms->len, 2);
	remains_free(r);
}

/* Without it, whoever listens on the lab's sockets is the lab. */
static void test_sockets_count(void **state)
{
	struct place *p = *state;
	const struct state_vm *v;
	struct remains *r;

	make_file(p->paths->state_dir, "state.json", "rubbish");
	make_file(p->paths->state_dir, "lab.json", LAB);
	make_file(p->paths->vms_dir, "n1/ready", "ready 1\n");
	make_socket(p, "n1.qmp", true);
	make_socket(p, "n1.con", true);
	make_socket(p, "n1-0.vu", true);
	make_socket(p, "n2.qmp", false);
	make_socket(p, "lan.ctl", true);
	make_socket(p, "shared.pctl", true);
	make_socket(p, "Odd Name.qmp", true);
	r = remains_read("web", p->dirs);
	assert_non_null(strstr(r->damage, "state.json is damaged"));
	assert_int_equal(r->state->vms->len, 1);
	v = state_find_vm(r->state, "n1");
	assert_int_equal(v->id.pid, getpid());
	assert_true(proc_id_alive(&v->id));
	assert_int_equal(v->stage, STAGE_READY);
	assert_non_null(v->settings);
	assert_int_equal(v->ports->len, 1);
	assert_string_equal(((struct state_port *)v->ports->pdata[0])->name, "n1.0");
	assert_int_equal(r->state->nets->len, 1);
	assert_string_equal(((struct state_net *)r->state->nets->pdata[0])->name, "lan");
	assert_int_equal(r->state->portals->len, 1);
	assert_string_equal(((struct state_net *)r->state->portals->pdata[0])->name, "shared");
	assert_int_equal(((struct state_net *)r->state->portals->pdata[0])->id.pid, getpid());
	remains_free(r);
}

/* What a service manager holds for units of the lab is none of a supervisor's: it would end the manager. */
static void test_managers_do_not_count(void **state)
{
	struct place *p = *state;
	char name[16];
	struct remains *r;

	make_socket(p, "lan.ctl", true);
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	assert_int_equal(prctl(PR_SET_NAME, "systemd"), 0);
	r = remains_read("web", p->dirs);
	assert_int_equal(prctl(PR_SET_NAME, name), 0);
	assert_int_equal(r->state->nets->len, 0);
	remains_free(r);
	r = remains_read("web", p->dirs);
	assert_int_equal(r->state->nets->len, 1);
	remains_free(r);
}

static void test_copy_damaged(void **state)
{
	struct place *p = *state;
	struct remains *r;

	make_file(p->paths->state_dir, "lab.json", "{\"vms\": ");
	make_socket(p, "n1.qmp", true);
	r = remains_read("web", p->dirs);
	assert_null(r->lab);
	assert_non_null(strstr(r->damage, "lab.json is damaged"));
	assert_int_equal(state_find_vm(r->state, "n1")->id.pid, getpid());
	assert_int_equal(state_find_vm(r->state, "n1")->stage, STAGE_PROCESS);
	remains_free(r);
}

/* --- gc ------------------------------------------------------------------------------------------------------------- */

extern const struct cmd cmd_gc;

static const char *const variables[] = { "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME" };

/* The verb finds the labs by the environment. */
static int setup_gc(void **state)
{
	static const char *const under[] = { "s", "r", "c" };

	setup(state);
	for (unsigned i = 0; i < G_N_ELEMENTS(variables); i++) {
		const struct place *p = *state;
		g_autofree char *dir = g_build_filename(p->root.path, under[i], NULL);

		g_setenv(variables[i], dir, TRUE);
	}
	return 0;
}

static int teardown_gc(void **state)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(variables); i++)
		g_unsetenv(variables[i]);
	return teardown(state);
}

/* A process that nobody of ours waits for. */
static void start_process(struct proc_id *ret_id)
{
	g_autofree char *out = NULL;

	assert_true(g_spawn_command_line_sync("sh -c 'sleep 600 >/dev/null 2>&1 & echo $!'", &out,
					      NULL, NULL, NULL));
	assert_true(proc_id_read((pid_t)g_ascii_strtoll(out, NULL, 10), ret_id));
}

/* Whatever a killed supervisor has left running is ended. */
static void test_gc(void **state)
{
	struct place *p = *state;
	struct state *s = state_new("web", "/from/here/lab.json");
	struct proc_id ids[4];
	g_autoptr(GError) error = NULL;
	char *args[] = { NULL };

	for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++)
		start_process(&ids[i]);
	state_add_vm(s, "n1")->id = ids[0];
	state_add_net(s, "lan")->id = ids[1];
	state_add_portal(s, "shared")->id = ids[2];
	state_add_sockets(s)->id = ids[3];
	assert_true(state_save(p->paths->state_json, s, NULL));
	state_free(s);
	assert_int_equal(cmd_gc.run(args, &error), 0);
	for (unsigned i = 0; i < G_N_ELEMENTS(ids); i++)
		assert_false(proc_id_alive(&ids[i]));
	assert_int_equal(access(p->paths->state_dir, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_private, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clear, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_labs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sockets_count, setup, teardown),
		cmocka_unit_test_setup_teardown(test_managers_do_not_count, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gc, setup_gc, teardown_gc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
