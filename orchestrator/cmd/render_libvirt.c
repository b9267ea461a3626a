/* SPDX-License-Identifier: MIT */
/* `orchestrator render libvirt`: each VM as a domain for virsh.
 *
 * With --out a domain needs nothing of ours but the daemons: the guest's configuration lies beside it, and so do the console's
 * log and the file in which the guest says that it is up.  These two are made, empty, where they are not there yet: what a
 * system's virtlogd makes is root's alone. */
#include "cmd/render_form.h"

#include <string.h>

#include "err.h"
#include "host/caps.h"
#include "host/libvirt_caps.h"
#include "image/guest_conf.h"
#include "out.h"
#include "render/libvirt.h"

struct rendering {
	struct render_job *job;
	struct libvirt_caps *caps;
	GHashTable *qemus;       /* as those of the job, but seen by this libvirt */
	struct lab_paths *paths; /* the lab's, with files beside the domains */
	GPtrArray *told;
};

/* A file of the VM that lies beside its domain: takes the place of *path. */
static void place_beside(const struct vm *vm, const char *dir, const char *suffix, char **path)
{
	g_autofree char *name = g_strconcat(vm->name, suffix, NULL);

	g_free(*path);
	*path = g_build_filename(dir, name, NULL);
}

static struct lab_paths *paths_beside(const struct render_job *job)
{
	struct lab_paths *paths = lab_paths_new(job->lab, job->dirs);

	for (unsigned i = 0; job->out && i < job->lab->vms->len; i++) {
		const struct vm *vm = lab_vm(job->lab, i);
		struct vm_paths *p = paths->vms->pdata[i];

		place_beside(vm, job->out, ".conf", &p->guest_conf);
		place_beside(vm, job->out, ".console.log", &p->console_log);
		place_beside(vm, job->out, ".ready", &p->ready);
	}
	return paths;
}

/* The libvirt that is meant.  One that the caller has not named need not be there: files may be for another host. */
static struct libvirt_caps *ask(const struct render_job *job, GError **error)
{
	const char *uri = render_job_uri(job);
	g_autofree char *version = libvirt_version_text(LIBVIRT_VERSION_MIN);
	g_autoptr(GError) local = NULL;
	struct libvirt_caps *caps;

	if (libvirt_caps_probe(uri, &caps, job->uri ? error : &local))
		return caps;
	if (job->uri)
		return NULL;
	out_info("%s", local->message);
	out_info("rendered for libvirt %s, the oldest that will do, and the QEMU of this host",
		 version);
	return libvirt_caps_assume(uri);
}

/* Borrowed; NULL with *error set. */
static const struct qemu_caps *find_qemu(struct rendering *r, const struct vm *vm, GError **error)
{
	const char *arch = lab_arch_name(vm->arch);
	const struct qemu_caps *known = qemu_table_find(r->qemus, arch, vm->qemu);
	struct qemu_caps *qemu = NULL;

	if (known)
		return known;
	if (libvirt_caps_qemu(r->caps, vm->arch, vm->qemu, r->job->dirs->cache, &qemu, error))
		qemu_table_put(r->qemus, arch, vm->qemu, qemu);
	return qemu;
}

static gboolean render_vm(struct rendering *r, const struct vm *vm, GError **error)
{
	struct render_job *job = r->job;
	const struct image *image = render_job_image(job, vm, error);
	const struct qemu_caps *qemu = image ? find_qemu(r, vm, error) : NULL;
	g_autofree char *xml = g_strconcat(vm->name, ".xml", NULL);
	g_autofree char *conf = g_strconcat(vm->name, ".conf", NULL);
	g_autofree char *log = g_strconcat(vm->name, ".console.log", NULL);
	g_autofree char *ready = g_strconcat(vm->name, ".ready", NULL);
	char *text;

	if (!qemu)
		return FALSE;
	text = render_libvirt(job->lab, vm, r->caps, qemu, image, r->paths, RENDER_OWNER_FILE,
			      r->told, error);
	if (!text)
		return FALSE;
	render_job_file(job, xml, text, 0644);
	render_job_beside(job, conf, guest_conf(job->lab, vm), 0644);
	render_job_place(job, log);
	render_job_place(job, ready);
	return TRUE;
}

/* Each thing once, whatever the number of VMs that it is true of. */
static void tell(const GPtrArray *told)
{
	g_autoptr(GHashTable) said = g_hash_table_new(g_str_hash, g_str_equal);

	for (guint i = 0; i < told->len; i++)
		if (g_hash_table_add(said, told->pdata[i]))
			out_info("%s", (const char *)told->pdata[i]);
}

static gboolean render_vms(struct rendering *r, GError **error)
{
	const struct lab *lab = r->job->lab;

	if (r->caps->system && !r->caps->label)
		g_ptr_array_add(
			r->told,
			g_strdup(
				"qemu:///system: the group of its QEMUs is not known, so no <seclabel> makes "
				"them run as you: they do not reach the lab's sockets"));
	for (unsigned i = 0; i < lab->vms->len; i++)
		if (render_job_wants(r->job, lab_vm(lab, i)) &&
		    !render_vm(r, lab_vm(lab, i), error))
			return FALSE;
	tell(r->told);
	return TRUE;
}

static gboolean render(struct render_job *job, GError **error)
{
	struct rendering r = { .job = job, .caps = ask(job, error) };
	gboolean ok;

	if (!r.caps)
		return FALSE;
	r.paths = paths_beside(job);
	r.qemus = qemu_table_new();
	r.told = g_ptr_array_new_with_free_func(g_free);
	ok = render_vms(&r, error);
	g_ptr_array_unref(r.told);
	lab_paths_free(r.paths);
	g_hash_table_unref(r.qemus);
	libvirt_caps_free(r.caps);
	return ok;
}

const struct render_form render_form_libvirt = {
	.name = "libvirt",
	.takes_vm = true,
	.takes_uri = true,
	.render = render,
};
