/* SPDX-License-Identifier: MIT */
/* orchestrator gc: clear away labs that have died, and images that nobody uses. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "image/image.h"
#include "model/lab.h"
#include "model/names.h"
#include "out.h"
#include "run/client.h"
#include "run/dirs.h"
#include "run/engine_libvirt.h"
#include "run/remains.h"
#include "run/state.h"

#define DAYS_UNSAID   30
#define GRACE_MS      3000
#define LOCK_TRIES    300
#define LOCK_PAUSE_US 10000

static gboolean opt_dry_run;
static int opt_days = DAYS_UNSAID;

static const GOptionEntry options[] = {
	{ "dry-run", 'n', 0, G_OPTION_ARG_NONE, &opt_dry_run,
	  "Say what would be done, and do nothing", NULL },
	{ "days", 'd', 0, G_OPTION_ARG_INT, &opt_days, "Keep images used in the last N days (30)",
	  "N" },
	G_OPTION_ENTRY_NULL,
};

/* End one process of a dead lab: only if it is the one that the lab started. */
static bool end_process(const char *lab, const char *what, const char *name,
			const struct proc_id *id)
{
	if (!proc_id_alive(id))
		return true;
	out_info("lab %s: %s %s, pid %d, %s", lab, what, name, (int)id->pid,
		 opt_dry_run ? "would be ended" : "is ended");
	return opt_dry_run || proc_id_end(id, GRACE_MS);
}

static bool end_processes(const char *lab, const struct state *state)
{
	bool all = true;

	for (guint i = 0; i < state->vms->len; i++) {
		const struct state_vm *v = state->vms->pdata[i];

		all &= end_process(lab, "VM", v->name, &v->id);
	}
	for (guint i = 0; i < state->nets->len; i++) {
		const struct state_net *n = state->nets->pdata[i];

		all &= end_process(lab, "switch", n->name, &n->id);
	}
	for (guint i = 0; i < state->portals->len; i++) {
		const struct state_net *n = state->portals->pdata[i];

		all &= end_process(lab, "daemon of portal", n->name, &n->id);
	}
	if (state->sockets)
		all &= end_process(lab, "daemon of", state->sockets->name, &state->sockets->id);
	return all;
}

/* What its libvirts keep of it; an engine that no state names any more is the lab file's. */
static gboolean sweep_domains(const char *name, const struct lab_paths *paths,
			      const struct remains *remains, GError **error)
{
	g_autoptr(GHashTable) engines = g_hash_table_new(g_str_hash, g_str_equal);
	g_autofree char *own = remains->lab ? lab_engine_text(&remains->lab->engine) : NULL;
	gboolean good = TRUE;
	GHashTableIter iter;
	gpointer engine;

	if (own)
		g_hash_table_add(engines, own);
	for (guint i = 0; i < remains->state->vms->len; i++)
		if (((struct state_vm *)remains->state->vms->pdata[i])->engine)
			g_hash_table_add(
				engines,
				((struct state_vm *)remains->state->vms->pdata[i])->engine);
	g_hash_table_iter_init(&iter, engines);
	while (good && g_hash_table_iter_next(&iter, &engine, NULL)) {
		const char *uri = lab_engine_text_uri(engine);

		if (!uri)
			continue;
		out_info("lab %s: its domains in %s %s", name, uri,
			 opt_dry_run ? "would be undefined" : "are undefined");
		if (!opt_dry_run)
			good = engine_libvirt_sweep(uri, name, paths->state_dir, error);
	}
	return good;
}

/* The lab's lock is ours: no supervisor lives, and none will start meanwhile. */
static gboolean reap(const char *name, const struct lab_dirs *dirs, const struct lab_paths *paths,
		     GError **error)
{
	struct remains *remains = remains_read(name, dirs);
	bool ended = end_processes(name, remains->state);
	gboolean swept = ended && sweep_domains(name, paths, remains, error);

	remains_free(remains);
	if (ended && !swept)
		return FALSE;
	if (!ended) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
			    "lab %s: a process cannot be ended", name);
		return FALSE;
	}
	if (!opt_dry_run && dirs_in_use(paths)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
			    "lab %s: something still listens in %s: try `orchestrator down %s`",
			    name, paths->run_dir, name);
		return FALSE;
	}
	out_info("lab %s is dead: %s %s", name, paths->state_dir,
		 opt_dry_run ? "would be removed" : "is removed");
	if (!opt_dry_run)
		(void)dirs_clear(dirs, paths, true);
	return TRUE;
}

/* Whether a supervisor keeps the lab.  One that is just dying still takes connections: only who answers lives. */
static bool is_kept(const char *name, GError **error)
{
	struct client *c = client_connect(name, error);

	client_free(c);
	return c != NULL;
}

/* The lab's lock.  A supervisor that has just been killed may hold it for a while yet.  -1 without an error: nothing is to be
 * done, as the lab lives, somebody else is at it, or it has gone. */
static int take_lock(const char *name, const struct lab_paths *paths, GError **error)
{
	for (unsigned tries = 0;; tries++) {
		g_autoptr(GError) held = NULL, silent = NULL;
		int lock_fd = state_lock(paths->lock, &held);

		if (!held)
			return lock_fd;
		if (held->code == ORCH_ERROR_CONFLICT) {
			if (is_kept(name, &silent))
				return -1;
			if (!silent && tries < LOCK_TRIES) {
				g_usleep(LOCK_PAUSE_US);
				continue;
			}
			if (silent)
				g_propagate_prefixed_error(error, g_steal_pointer(&silent),
							   "lab %s is left alone: ", name);
		} else if (access(paths->state_dir, F_OK) == 0) {
			g_propagate_error(error, g_steal_pointer(&held));
		}
		return -1;
	}
}

static gboolean look_at_lab(const char *name, const struct lab_dirs *dirs, GError **error)
{
	struct lab_paths *paths = lab_paths_new_named(name, dirs);
	g_autoptr(GError) problem = NULL;
	bool had_state = access(paths->state_dir, F_OK) == 0;
	bool had_lock = access(paths->lock, F_OK) == 0;
	int lock_fd = had_state ? take_lock(name, paths, &problem) : -1;
	gboolean good = !problem;

	if (problem)
		g_propagate_error(error, g_steal_pointer(&problem));
	else if (lock_fd >= 0 || !had_state)
		good = reap(name, dirs, paths, error);
	if (lock_fd >= 0) {
		if (!had_lock && opt_dry_run)
			(void)unlink(paths->lock);
		close(lock_fd);
	}
	lab_paths_free(paths);
	return good;
}

/* The kernel that a QEMU of ours was started with: what it uses must stay. */
static void keep_kernel(GPtrArray *keep, const struct proc_id *id)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)id->pid);
	g_autofree char *words = NULL;
	gsize len;

	if (!proc_id_alive(id) || !g_file_get_contents(path, &words, &len, NULL))
		return;
	for (const char *w = words; w < words + len; w += strlen(w) + 1)
		if (strcmp(w, "-kernel") == 0 && w + sizeof("-kernel") < words + len)
			g_ptr_array_add(keep, g_strdup(w + sizeof("-kernel")));
}

static GPtrArray *kernels_in_use(const GPtrArray *labs, const struct lab_dirs *dirs)
{
	GPtrArray *keep = g_ptr_array_new_with_free_func(g_free);

	for (guint i = 0; i < labs->len; i++) {
		struct remains *remains = remains_read(labs->pdata[i], dirs);

		for (guint j = 0; j < remains->state->vms->len; j++)
			keep_kernel(keep, &((struct state_vm *)remains->state->vms->pdata[j])->id);
		remains_free(remains);
	}
	g_ptr_array_add(keep, NULL);
	return keep;
}

static gboolean clear_images(const GPtrArray *labs, const struct lab_dirs *dirs, GError **error)
{
	g_autoptr(GPtrArray) keep = kernels_in_use(labs, dirs);
	struct image_gc result = { 0 };
	g_autofree char *size = NULL;

	if (!image_gc(dirs->cache, (const char *const *)keep->pdata, (guint64)opt_days * 86400,
		      opt_dry_run, &result, error))
		return FALSE;
	size = g_format_size_full(result.freed, G_FORMAT_SIZE_IEC_UNITS);
	if (result.removed)
		out_info("%u image%s %s, %s", result.removed, result.removed == 1 ? "" : "s",
			 opt_dry_run ? "would be removed" : "removed", size);
	return TRUE;
}

static int run_gc(char **args, GError **error)
{
	struct lab_dirs *dirs;
	g_autoptr(GPtrArray) labs = NULL;
	int code = 0;

	if (opt_days < 0) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--days=%d: a number of days",
			    opt_days);
		return -1;
	}
	dirs = lab_dirs_new();
	labs = dirs_labs(dirs);
	for (guint i = 0; i < labs->len; i++) {
		g_autoptr(GError) problem = NULL;

		if (look_at_lab(labs->pdata[i], dirs, &problem))
			continue;
		out_error("%s", problem->message);
		code = ORCH_ERROR_PARTIAL;
	}
	if (!clear_images(labs, dirs, error))
		code = -1;
	lab_dirs_free(dirs);
	return code;
}

const struct cmd cmd_gc = {
	.name = "gc",
	.args = "",
	.summary = "Clear away dead labs and unused images",
	.help = "A lab is dead when no supervisor keeps it: it is down and only its logs are left, or\n"
		"its supervisor was killed. Its processes are ended, if any are left (only those that\n"
		"this lab has started, known by pid and start time), its domains of libvirt\n"
		"undefined, and its directories removed, logs included. To keep what a killed\n"
		"supervisor has left running, run `orchestrator up` first: that takes it over. A lab\n"
		"whose supervisor is there and does not answer is named and left alone.\n"
		"\n"
		"Images of the cache that no running VM uses, and none has used for some days, are\n"
		"removed, and so are leftovers of builds.",
	.options = options,
	.run = run_gc,
};
