/* SPDX-License-Identifier: MIT */
#include "run/supervisor.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "host/caps.h"
#include "host/libvirt_caps.h"
#include "image/guest_conf.h"
#include "image/image.h"
#include "image/tiny.h"
#include "plan/plan.h"
#include "render/libvirt.h"
#include "render/qemu.h"
#include "run/admit.h"
#include "run/engine.h"
#include "run/engine_libvirt.h"
#include "run/state.h"

/* --- images ----------------------------------------------------------------------------------------------- */

/* An image on its way.  The thread that makes it holds a reference, so that a new lab may forget the slot meanwhile. */
struct image_slot {
	gatomicrefcount refs;
	struct supervisor *sup; /* main thread only; NULL: forgotten */
	char *cache_dir;
	struct lab_image from; /* a copy */
	bool done;
	struct image *image;
	GError *problem;
};

static void slot_unref(void *p)
{
	struct image_slot *slot = p;

	if (!g_atomic_ref_count_dec(&slot->refs))
		return;
	image_free(slot->image);
	g_clear_error(&slot->problem);
	g_free(slot->cache_dir);
	g_free(slot->from.name);
	g_free(slot->from.kernel);
	g_free(slot->from.initrd);
	g_free(slot->from.append);
	g_free(slot);
}

static void slot_forget(void *p)
{
	((struct image_slot *)p)->sup = NULL;
	slot_unref(p);
}

GHashTable *launch_images_new(void)
{
	return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, slot_forget);
}

gboolean launch_make_image(const struct lab_image *from, const char *cache_dir,
			   image_progress_fn *progress, GCancellable *cancellable,
			   struct image **ret_image, GError **error)
{
	g_autoptr(GError) problem = NULL;

	if (!from->kernel)
		return tiny_ensure(cache_dir, progress, NULL, cancellable, ret_image, error);
	if (image_from_files(from->kernel, from->initrd, from->append, ret_image, &problem))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "image %s: %s", from->name,
		    problem->message);
	return FALSE;
}

static void make_image(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
	struct image_slot *slot = data;
	struct image *image = NULL;
	GError *problem = NULL;

	(void)launch_make_image(&slot->from, slot->cache_dir, NULL, NULL, &image, &problem);
	slot->image = image;
	slot->problem = problem;
	g_task_return_boolean(task, image != NULL);
}

static void image_made(GObject *source, GAsyncResult *result, gpointer data)
{
	struct image_slot *slot = g_task_get_task_data(G_TASK(result));

	slot->done = true;
	if (slot->sup)
		sup_poke(slot->sup);
}

static struct image_slot *begin_image(struct supervisor *sup, const char *name)
{
	struct image_slot *slot = g_new0(struct image_slot, 1);
	GTask *task = g_task_new(NULL, NULL, image_made, NULL);

	g_atomic_ref_count_init(&slot->refs);
	slot->sup = sup;
	slot->cache_dir = g_strdup(sup->dirs->cache);
	slot->from.name = g_strdup(name);
	for (guint i = 0; sup->lab && i < sup->lab->images->len; i++) {
		const struct lab_image *image = sup->lab->images->pdata[i];

		if (strcmp(image->name, name) != 0)
			continue;
		slot->from.kernel = g_strdup(image->kernel);
		slot->from.initrd = g_strdup(image->initrd);
		slot->from.append = g_strdup(image->append);
	}
	g_hash_table_insert(sup->images, g_strdup(name), slot);
	g_atomic_ref_count_inc(&slot->refs);
	g_task_set_task_data(task, slot, slot_unref);
	g_task_run_in_thread(task, make_image);
	g_object_unref(task);
	return slot;
}

enum launch launch_image(struct supervisor *sup, const char *name, const GError **ret_problem)
{
	struct image_slot *slot = g_hash_table_lookup(sup->images, name);

	if (!slot)
		slot = begin_image(sup, name);
	if (!slot->done)
		return LAUNCH_WAIT;
	if (slot->image)
		return LAUNCH_READY;
	if (ret_problem)
		*ret_problem = slot->problem;
	return LAUNCH_FAILED;
}

/* --- checks ----------------------------------------------------------------------------------------------- */

static void forget_caps(struct launch_caps *caps)
{
	g_clear_pointer(&caps->qemu, g_hash_table_unref);
	g_clear_pointer(&caps->libvirt, libvirt_caps_free);
	g_clear_pointer(&caps->engine, g_free);
}

void launch_caps_free(struct launch_caps *caps)
{
	forget_caps(caps);
	g_free(caps);
}

/* Whether QEMUs run as a user of libvirt's own: a guest that breaks out of its QEMU shall not be root. */
static bool runs_as_libvirt(const struct lab_engine *engine, const struct libvirt_caps *libvirt)
{
	return libvirt->system && (engine->user == LAB_ENGINE_USER_LIBVIRT ||
				   (engine->user == LAB_ENGINE_USER_UNSAID && geteuid() == 0));
}

static gboolean check_libvirt(const struct lab_engine *engine, struct launch_caps *caps,
			      GError **error)
{
	if (!engine_libvirt_check(engine->uri, &caps->libvirt, error))
		return FALSE;
	if (!runs_as_libvirt(engine, caps->libvirt)) {
		caps->libvirt->qemu_uid = -1;
		return TRUE;
	}
	g_clear_pointer(&caps->libvirt->label, g_free);
	if (caps->libvirt->qemu_uid >= 0)
		return TRUE;
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
		"%s does not say whom its QEMUs run as: say \"user\": \"owner\" in the lab's \"engine\"",
		engine->uri);
	return FALSE;
}

/* Of another engine nothing of it is true. */
static gboolean check_engine(const struct lab *lab, struct launch_caps *caps, GError **error)
{
	g_autofree char *engine = lab_engine_text(&lab->engine);

	if (g_strcmp0(caps->engine, engine) == 0 && caps->user == lab->engine.user)
		return TRUE;
	forget_caps(caps);
	if (lab->engine.kind == LAB_ENGINE_LIBVIRT && !check_libvirt(&lab->engine, caps, error))
		return FALSE;
	caps->engine = g_steal_pointer(&engine);
	caps->user = lab->engine.user;
	return TRUE;
}

const struct qemu_caps *launch_qemu(const struct launch_caps *caps, const struct vm *vm)
{
	return qemu_table_find(caps->qemu, lab_arch_name(vm->arch), vm->qemu);
}

/* Borrowed; NULL with *error set. */
static const struct qemu_caps *find_qemu(const struct vm *vm, const struct lab_dirs *dirs,
					 struct launch_caps *caps, GError **error)
{
	const char *arch = lab_arch_name(vm->arch);
	struct qemu_caps *qemu = NULL;

	if (!caps->qemu)
		caps->qemu = qemu_table_new();
	/* It may have been built since. */
	if (launch_qemu(caps, vm) && !render_qemu_check(vm, launch_qemu(caps, vm), NULL))
		qemu_table_forget(caps->qemu, arch, vm->qemu);
	if (!caps->libvirt)
		return qemu_table_get(caps->qemu, arch, vm->qemu, dirs->cache, error);
	if (!launch_qemu(caps, vm) &&
	    libvirt_caps_qemu(caps->libvirt, vm->arch, vm->qemu, dirs->cache, &qemu, error))
		qemu_table_put(caps->qemu, arch, vm->qemu, qemu);
	return launch_qemu(caps, vm);
}

static gboolean check_qemu(const struct vm *vm, const struct lab_dirs *dirs,
			   struct launch_caps *caps, GError **error)
{
	const struct qemu_caps *qemu = find_qemu(vm, dirs, caps, error);

	if (!qemu)
		return FALSE;
	if (vm->accel == LAB_ACCEL_KVM && !qemu->kvm_usable) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"VM %s asks for KVM, which cannot be used here "
			"(`orchestrator doctor` says why); \"accel\": \"auto\" falls back to TCG",
			vm->name);
		return FALSE;
	}
	return render_qemu_check(vm, qemu, error);
}

gboolean launch_check(const struct lab *lab, const struct lab_dirs *dirs, struct launch_caps *caps,
		      GError **error)
{
	g_autofree char *daemon = NULL;

	if (!host_find_daemon("vhost-user-net", &daemon, error))
		return FALSE;
	g_clear_pointer(&daemon, g_free);
	if (lab_has_sockets(lab) && !host_find_daemon("vhost-user-hvsock", &daemon, error))
		return FALSE;
	g_clear_pointer(&daemon, g_free);
	if (lab->portals->len > 0 && !host_find_daemon("vhost-user-portal", &daemon, error))
		return FALSE;
	if (!check_engine(lab, caps, error))
		return FALSE;
	for (guint i = 0; i < lab->vms->len; i++)
		if (!check_qemu(lab_vm(lab, i), dirs, caps, error))
			return FALSE;
	return TRUE;
}

/* --- one VM ----------------------------------------------------------------------------------------------- */

static GPtrArray *ports_of(const struct supervisor *sup, const struct vm *vm)
{
	const struct vm_paths *paths = lab_paths_vm(sup->paths, vm->index);
	struct state *holder = state_new(NULL, NULL);
	struct state_vm *v = state_add_vm(holder, vm->name);
	GPtrArray *ports = g_ptr_array_ref(v->ports);

	for (guint i = 0; i < vm->nics->len; i++) {
		const struct nic *nic = vm_nic(vm, i);

		state_add_port(v, nic->port, nic->network->name, vm_paths_port(paths, i));
	}
	state_free(holder);
	return ports;
}

static gboolean write_files(const struct supervisor *sup, const struct vm *vm, const char *script,
			    GError **error)
{
	const struct vm_paths *paths = lab_paths_vm(sup->paths, vm->index);
	g_autofree char *conf = guest_conf(sup->lab, vm);

	if (g_mkdir_with_parents(paths->dir, 0700) < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot make %s", paths->dir);
		return FALSE;
	}
	return state_write_file(paths->guest_conf, conf, -1, error) &&
	       (!script || state_write_file(paths->script, script, -1, error));
}

/* As a command line, and a script that does without us. */
static gboolean render_process(const struct supervisor *sup, const struct vm *vm,
			       const struct image *image, GStrv *ret_argv, char **ret_script,
			       GError **error)
{
	const struct qemu_caps *caps = launch_qemu(sup->caps, vm);
	g_auto(GStrv) by_hand = NULL;

	if (!render_qemu(sup->lab, vm, caps, image, sup->paths, RENDER_SUPERVISED, ret_argv,
			 error) ||
	    !render_qemu(sup->lab, vm, caps, image, sup->paths, RENDER_BY_HAND, &by_hand, error))
		return FALSE;
	*ret_script = render_qemu_script(sup->lab, vm, sup->paths, by_hand);
	return TRUE;
}

/* As a domain. */
static gboolean render_domain(struct supervisor *sup, const struct vm *vm,
			      const struct image *image, char **ret_xml, GError **error)
{
	g_autoptr(GPtrArray) told = g_ptr_array_new_with_free_func(g_free);

	*ret_xml = render_libvirt(sup->lab, vm, sup->caps->libvirt, launch_qemu(sup->caps, vm),
				  image, sup->paths, RENDER_OWNER_SUPERVISOR, told, error);
	for (guint i = 0; i < told->len; i++)
		g_message("%s", (const char *)told->pdata[i]);
	return *ret_xml != NULL;
}

/* Where libvirt's QEMUs run as another user. */
static gboolean admit_libvirt(const struct supervisor *sup, const struct vm *vm,
			      const struct image *image, GError **error)
{
	const struct libvirt_caps *libvirt = sup->caps->libvirt;
	const struct qemu_caps *qemu = image && vm->qemu ? launch_qemu(sup->caps, vm) : NULL;

	return !libvirt || libvirt->qemu_uid < 0 ||
	       admit_vm(vm, sup->paths, qemu ? qemu->binary : NULL, image, (uid_t)libvirt->qemu_uid,
			error);
}

/* Whom a process runs as; ours, if that is not to be seen. */
static uid_t user_of(const struct proc_id *id)
{
	g_autofree char *path = g_strdup_printf("/proc/%d", (int)id->pid);
	struct stat st;

	return stat(path, &st) == 0 ? st.st_uid : geteuid();
}

void launch_admit_again(struct supervisor *sup, const char *name)
{
	const struct vm *vm = sup->lab ? lab_find_vm(sup->lab, name) : NULL;
	const struct machine *m = sup_find_machine(sup, name);
	const struct proc_id *qemu = m ? machine_process(m) : NULL;
	g_autoptr(GError) error = NULL;
	gboolean good = TRUE;

	/* What one started that runs still says more than what the next one would be started as. */
	if (vm && qemu && user_of(qemu) != geteuid())
		good = admit_vm(vm, sup->paths, NULL, NULL, user_of(qemu), &error);
	else if (vm && !qemu)
		good = admit_libvirt(sup, vm, NULL, &error);
	if (!good)
		g_warning("%s: %s", name, error->message);
}

gboolean launch_vm(struct supervisor *sup, const struct vm *vm, GError **error)
{
	const struct image_slot *slot = g_hash_table_lookup(sup->images, vm->image->name);
	g_autofree char *settings = plan_vm_settings(sup->lab, vm);
	bool sockets = render_qemu_has_sockets(vm, launch_qemu(sup->caps, vm));
	struct machine *m = sup_machine(sup, vm->name);
	g_autofree char *engine = lab_engine_text(&sup->lab->engine), *script = NULL, *xml = NULL;
	g_auto(GStrv) argv = NULL;
	struct machine_start start = {
		.engine = sup_engine(sup, engine),
		.settings = settings,
		.cid = sockets ? vm->cid : 0,
	};

	g_assert(slot && slot->image);
	if (vm->sockets != LAB_SOCKETS_NONE && !sockets)
		sup_event(sup, "vm", vm->name, "starting",
			  "without sockets: this QEMU has no vhost-user-vsock-pci");
	if (!(sup->caps->libvirt ? render_domain(sup, vm, slot->image, &xml, error) :
				   render_process(sup, vm, slot->image, &argv, &script, error)) ||
	    !write_files(sup, vm, script, error) || !admit_libvirt(sup, vm, slot->image, error))
		return FALSE;
	/* It may move: what another engine keeps of it would come in the way. */
	sup_drop_elsewhere(sup, vm->name, start.engine);
	start.argv = (const char *const *)argv;
	start.xml = xml;
	start.ports = ports_of(sup, vm);
	if (!machine_start(m, &start, error))
		return FALSE;
	sup_attend_agent(sup, m);
	return TRUE;
}

/* --- one that somebody else has started ------------------------------------------------------------------- */

/* What an earlier run has left there would be taken for this one's. */
static void forget_mark(const struct machine *m, const struct proc_id *id)
{
	gint64 started_us = id->pid ? proc_id_start_us(id) : proc_boottime_us();
	gint64 boot_us = g_get_real_time() - proc_boottime_us();
	struct stat st;

	if (stat(m->paths->ready, &st) < 0)
		(void)g_file_set_contents_full(m->paths->ready, "", 0, G_FILE_SET_CONTENTS_NONE,
					       0600, NULL);
	else if (st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000 <
		 boot_us + started_us)
		(void)!truncate(m->paths->ready, 0);
}

void launch_adopt(struct supervisor *sup, const char *engine, const struct engine_stray *stray)
{
	const struct vm *vm = sup->lab ? lab_find_vm(sup->lab, stray->name) : NULL;
	struct machine *m = vm ? sup_machine(sup, vm->name) : NULL;
	struct state_vm was = {
		.name = (char *)(uintptr_t)stray->name,
		.id = stray->id,
		.engine = (char *)(uintptr_t)engine,
		.settings = (char *)(uintptr_t)stray->settings,
	};

	if (!vm || machine_alive(m))
		return;
	was.stage = STAGE_PROCESS;
	was.cid = strstr(stray->settings, "\ncid ") || plan_settings_has_hvsock(stray->settings) ?
			  vm->cid :
			  0;
	was.ports = ports_of(sup, vm);
	forget_mark(m, &stray->id);
	if (machine_adopt(m, sup_engine(sup, engine), &was)) {
		sup_event(sup, "vm", m->name, stage_word(m->stage),
			  "started by another user of libvirt");
		sup_attend_agent(sup, m);
	}
	g_ptr_array_unref(was.ports);
}
