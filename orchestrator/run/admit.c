/* SPDX-License-Identifier: MIT */
#include "run/admit.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "host/acl.h"
#include "image/image.h"
#include "model/lab.h"
#include "model/names.h"

#define OWNER_HINT "say \"user\": \"owner\" in the lab's \"engine\""

struct admission {
	uid_t uid;
	GHashTable *passed; /* directories that were looked at */
};

/* The directories above path, from the top. */
static gboolean admit_on_the_way(struct admission *a, const char *path, GError **error)
{
	g_autofree char *parent = g_path_get_dirname(path);
	struct stat st;

	if (g_hash_table_contains(a->passed, parent))
		return TRUE;
	if (strcmp(parent, path) != 0 && !admit_on_the_way(a, parent, error))
		return FALSE;
	if (stat(parent, &st) == 0 && !(st.st_mode & S_IXOTH) &&
	    !acl_grant(parent, a->uid, X_OK, error))
		return FALSE;
	g_hash_table_add(a->passed, g_steal_pointer(&parent));
	return TRUE;
}

static gboolean admit(struct admission *a, const char *path, int may, GError **error)
{
	g_autoptr(GError) local = NULL;

	if (access(path, F_OK) < 0)
		return TRUE;
	if (admit_on_the_way(a, path, &local) && acl_grant(path, a->uid, may, &local))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "%s; " OWNER_HINT, local->message);
	return FALSE;
}

/* libvirt may give the file away to its user, and the daemon is to open it again. */
static gboolean admit_memory(struct admission *a, const struct portal_access *access,
			     const char *path, GError **error)
{
	struct admission own = { .uid = geteuid(), .passed = a->passed };

	return admit(a, path, access->readonly ? R_OK : R_OK | W_OK, error) &&
	       admit(&own, path, R_OK | W_OK, error);
}

static gboolean admit_portal(struct admission *a, const struct vm *vm,
			     const struct portal_access *access, const struct lab_paths *paths,
			     GError **error)
{
	const struct portal_paths *own = lab_paths_portal(paths, access->portal->index);
	g_autofree char *socket = vm_paths_pmem(lab_paths_vm(paths, vm->index), access->index);

	if (access->door == PORTAL_DOOR_PMEM)
		return admit_memory(a, access, own->memory, error);
	if (access->door == PORTAL_DOOR_VHOST_USER)
		return admit(a, socket, R_OK | W_OK, error);
	/* Its server asks who comes. */
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
		"portal %s of VM %s: by ivshmem it lets in processes of the lab's owner alone; give "
		"the VM another \"door\", or " OWNER_HINT,
		access->portal->name, vm->name);
	return FALSE;
}

static gboolean admit_image(struct admission *a, const struct image *image, GError **error)
{
	return !image || (admit(a, image->kernel, R_OK, error) &&
			  (!*image->initrd || admit(a, image->initrd, R_OK, error)));
}

static gboolean admit_all(struct admission *a, const struct vm *vm, const struct lab_paths *paths,
			  const struct image *image, GError **error)
{
	const struct vm_paths *own = lab_paths_vm(paths, vm->index);
	gboolean good = admit_image(a, image, error) && admit(a, own->guest_conf, R_OK, error) &&
			admit(a, own->vsock, R_OK | W_OK, error);

	for (unsigned i = 0; good && i < vm->nics->len; i++)
		good = admit(a, vm_paths_port(own, i), R_OK | W_OK, error);
	for (unsigned i = 0; good && i < vm->portals->len; i++)
		good = admit_portal(a, vm, vm_portal(vm, i), paths, error);
	for (unsigned i = 0; good && i < vm->distros->len; i++) {
		const struct distro *d = vm->distros->pdata[i];

		good = admit(a, d->image, d->readonly ? R_OK : R_OK | W_OK, error);
	}
	return good;
}

gboolean admit_vm(const struct vm *vm, const struct lab_paths *paths, const char *emulator,
		  const struct image *image, uid_t uid, GError **error)
{
	struct admission a = {
		.uid = uid,
		.passed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
	};
	gboolean good = (!emulator || admit(&a, emulator, R_OK | X_OK, error)) &&
			admit_all(&a, vm, paths, image, error);

	g_hash_table_unref(a.passed);
	return good;
}
