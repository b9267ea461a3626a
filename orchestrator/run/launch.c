/* SPDX-License-Identifier: MIT */
#include "run/supervisor.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>

#include "err.h"
#include "host/caps.h"
#include "image/guest_conf.h"
#include "image/image.h"
#include "image/tiny.h"
#include "plan/plan.h"
#include "render/qemu.h"
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

gboolean launch_check(const struct lab *lab, const struct lab_dirs *dirs,
		      struct qemu_caps *caps[LAB_ARCH_COUNT], GError **error)
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
	for (guint i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		if (!caps[vm->arch] &&
		    !qemu_caps_probe(lab_arch_name(vm->arch), dirs->cache, &caps[vm->arch], error))
			return FALSE;
		if (vm->accel == LAB_ACCEL_KVM && !caps[vm->arch]->kvm_usable) {
			g_set_error(
				error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
				"VM %s asks for KVM, which cannot be used here "
				"(`orchestrator doctor` says why); \"accel\": \"auto\" falls back to TCG",
				vm->name);
			return FALSE;
		}
		if (!render_qemu_check(vm, caps[vm->arch], error))
			return FALSE;
	}
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

static gboolean write_files(const struct supervisor *sup, const struct vm *vm,
			    const struct image *image, GError **error)
{
	const struct vm_paths *paths = lab_paths_vm(sup->paths, vm->index);
	g_autofree char *conf = guest_conf(sup->lab, vm), *script = NULL;
	g_auto(GStrv) argv = NULL;

	if (!render_qemu(sup->lab, vm, sup->caps[vm->arch], image, sup->paths, RENDER_BY_HAND,
			 &argv, error))
		return FALSE;
	script = render_qemu_script(sup->lab, vm, sup->paths, argv);

	if (g_mkdir_with_parents(paths->dir, 0700) < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot make %s", paths->dir);
		return FALSE;
	}
	return state_write_file(paths->guest_conf, conf, -1, error) &&
	       state_write_file(paths->script, script, -1, error);
}

gboolean launch_vm(struct supervisor *sup, const struct vm *vm, GError **error)
{
	const struct image_slot *slot = g_hash_table_lookup(sup->images, vm->image->name);
	g_autofree char *settings = plan_vm_settings(sup->lab, vm);
	const struct qemu_caps *caps = sup->caps[vm->arch];
	bool sockets = render_qemu_has_sockets(vm, caps);
	struct machine *m = sup_machine(sup, vm->name);
	g_auto(GStrv) argv = NULL;
	struct machine_start start = {
		.engine = sup->engine,
		.settings = settings,
		.cid = sockets ? vm->cid : 0,
	};

	g_assert(slot && slot->image);
	if (vm->sockets != LAB_SOCKETS_NONE && !sockets)
		sup_event(sup, "vm", vm->name, "starting",
			  "without sockets: this QEMU has no vhost-user-vsock-pci");
	if (!render_qemu(sup->lab, vm, caps, slot->image, sup->paths, RENDER_SUPERVISED, &argv,
			 error) ||
	    !write_files(sup, vm, slot->image, error))
		return FALSE;
	start.argv = (const char *const *)argv;
	start.ports = ports_of(sup, vm);
	if (!machine_start(m, &start, error))
		return FALSE;
	sup_attend_agent(sup, m);
	return TRUE;
}
