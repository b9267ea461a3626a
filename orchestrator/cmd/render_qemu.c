/* SPDX-License-Identifier: MIT */
/* `orchestrator render qemu`: each VM as a script. */
#include "cmd/render_form.h"

#include <json-c/json.h>

#include "host/caps.h"
#include "image/guest_conf.h"
#include "image/image.h"
#include "render/qemu.h"

/* NULL with *error set. */
static GStrv vm_argv(struct render_job *job, const struct vm *vm, GError **error)
{
	const struct image *image = render_job_image(job, vm, error);
	const struct qemu_caps *caps = image ? render_job_caps(job, vm, error) : NULL;
	GStrv argv;

	if (!caps ||
	    !render_qemu(job->lab, vm, caps, image, job->paths, RENDER_BY_HAND, &argv, error))
		return NULL;
	return argv;
}

static struct json_object *argv_to_json(const struct vm *vm, GStrv argv)
{
	struct json_object *o = json_object_new_object(), *words = json_object_new_array();

	for (char **word = argv; *word; word++)
		json_object_array_add(words, json_object_new_string(*word));
	json_object_object_add(o, "name", json_object_new_string(vm->name));
	json_object_object_add(o, "argv", words);
	return o;
}

static gboolean render_vm(struct render_job *job, const struct vm *vm, struct json_object *vms,
			  GError **error)
{
	g_auto(GStrv) argv = vm_argv(job, vm, error);
	g_autofree char *script = g_strconcat(vm->name, ".sh", NULL);
	g_autofree char *conf = g_strconcat(vm->name, ".conf", NULL);

	if (!argv)
		return FALSE;
	json_object_array_add(vms, argv_to_json(vm, argv));
	render_job_beside(job, conf, guest_conf(job->lab, vm), 0644);
	render_job_file(job, script, render_qemu_script(job->lab, vm, job->paths, argv), 0755);
	return TRUE;
}

static gboolean render(struct render_job *job, GError **error)
{
	struct json_object *vms = json_object_new_array();

	json_object_object_add(job->json, "vms", vms);
	for (unsigned i = 0; i < job->lab->vms->len; i++)
		if (render_job_wants(job, lab_vm(job->lab, i)) &&
		    !render_vm(job, lab_vm(job->lab, i), vms, error))
			return FALSE;
	return TRUE;
}

const struct render_form render_form_qemu = {
	.name = "qemu",
	.takes_vm = true,
	.own_json = true,
	.render = render,
};
