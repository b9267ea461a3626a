/* SPDX-License-Identifier: MIT */
/* `orchestrator render`: what `up` would run, as text that runs without us. */
#include "cmd.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "err.h"
#include "host/caps.h"
#include "image/guest_conf.h"
#include "image/image.h"
#include "image/tiny.h"
#include "model/lab.h"
#include "out.h"
#include "render/qemu.h"

static gboolean opt_json;
static char *opt_out;

static const GOptionEntry options[] = {
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print the words as JSON instead of scripts",
	  NULL },
	{ "out", 0, 0, G_OPTION_ARG_FILENAME, &opt_out,
	  "Write DIR/VM.sh and DIR/VM.conf for each VM instead", "DIR" },
	{ NULL },
};

/* What rendering the VMs of one lab needs from the host, found once. */
struct renderer {
	const struct lab *lab;
	struct lab_dirs *dirs;
	struct lab_paths *paths;
	struct qemu_caps *caps[LAB_ARCH_COUNT]; /* NULL: not asked for yet */
	GHashTable *images;                     /* struct lab_image -> struct image */
};

static void renderer_init(struct renderer *r, const struct lab *lab)
{
	*r = (struct renderer){ .lab = lab, .dirs = lab_dirs_new() };
	r->paths = lab_paths_new(lab, r->dirs);
	r->images = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)image_free);
}

static void renderer_done(struct renderer *r)
{
	g_hash_table_unref(r->images);
	for (unsigned i = 0; i < LAB_ARCH_COUNT; i++)
		qemu_caps_free(r->caps[i]);
	lab_paths_free(r->paths);
	lab_dirs_free(r->dirs);
}

static void tell_progress(void *data, enum image_stage stage, guint64 done, guint64 total,
			  const char *detail)
{
	enum image_stage *last = data;

	if (stage == *last || stage == IMAGE_STAGE_DONE)
		return;
	*last = stage;
	out_info("image tiny: %s %s", image_stage_name(stage), detail);
}

/* Borrowed; NULL with *error set. */
static struct image *get_image(struct renderer *r, struct lab_image *ref, GError **error)
{
	struct image *image = g_hash_table_lookup(r->images, ref);
	enum image_stage stage = IMAGE_STAGE_COUNT;
	gboolean ok;

	if (image)
		return image;
	if (ref->kernel)
		ok = image_from_files(ref->kernel, ref->initrd, ref->append, &image, error);
	else
		ok = tiny_ensure(r->dirs->cache, tell_progress, &stage, NULL, &image, error);
	if (!ok)
		return NULL;
	g_hash_table_insert(r->images, ref, image);
	return image;
}

/* NULL with *error set. */
static GStrv vm_argv(struct renderer *r, const struct vm *vm, GError **error)
{
	struct image *image = get_image(r, vm->image, error);
	GStrv argv;

	if (!image)
		return NULL;
	if (!r->caps[vm->arch] &&
	    !qemu_caps_probe(lab_arch_name(vm->arch), r->dirs->cache, &r->caps[vm->arch], error))
		return NULL;
	if (!render_qemu(r->lab, vm, r->caps[vm->arch], image, r->paths, RENDER_BY_HAND, &argv,
			 error))
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

/* DIR/VM.SUFFIX */
static gboolean write_file(const struct vm *vm, const char *suffix, const char *text, int mode,
			   GError **error)
{
	g_autofree char *file = g_strconcat(vm->name, suffix, NULL);
	g_autofree char *path = g_build_filename(opt_out, file, NULL);

	if (!g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, mode, error))
		return FALSE;
	out_info("%s", path);
	return TRUE;
}

/* One VM, in the form that was asked for. */
static gboolean render_vm(struct renderer *r, const struct vm *vm, struct json_object *json,
			  GError **error)
{
	g_auto(GStrv) argv = vm_argv(r, vm, error);
	g_autofree char *script = NULL, *conf = NULL;

	if (!argv)
		return FALSE;
	if (json) {
		json_object_array_add(json, argv_to_json(vm, argv));
		return TRUE;
	}
	script = render_qemu_script(r->lab, vm, r->paths, argv);
	if (!opt_out) {
		fputs(script, stdout);
		return TRUE;
	}
	conf = guest_conf(r->lab, vm);
	return write_file(vm, ".conf", conf, 0644, error) &&
	       write_file(vm, ".sh", script, 0755, error);
}

static gboolean make_out_dir(GError **error)
{
	if (!opt_out || g_mkdir_with_parents(opt_out, 0777) == 0)
		return TRUE;
	err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot make the directory %s", opt_out);
	return FALSE;
}

/* name: the VM that is meant; NULL: all. */
static gboolean render_lab(const struct lab *lab, const char *name, struct json_object *json,
			   GError **error)
{
	struct renderer r;
	gboolean ok;

	if (name && !lab_find_vm(lab, name)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "lab %s has no VM \"%s\"",
			    lab->name, name);
		return FALSE;
	}
	renderer_init(&r, lab);
	ok = make_out_dir(error);
	for (unsigned i = 0; ok && i < lab->vms->len; i++)
		if (!name || strcmp(name, lab_vm(lab, i)->name) == 0)
			ok = render_vm(&r, lab_vm(lab, i), json, error);
	renderer_done(&r);
	return ok;
}

static int run_render(char **args, GError **error)
{
	struct json_object *json, *vms;
	struct lab *lab;
	gboolean ok;

	if (strcmp(args[0], "qemu") != 0) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "cannot render \"%s\": the one form there is is qemu", args[0]);
		return -1;
	}
	if (opt_json && opt_out) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "--json and --out exclude each other");
		return -1;
	}
	if (!cmd_load_lab(args[1], &lab, error))
		return -1;
	vms = json_object_new_array();
	ok = render_lab(lab, args[1] ? args[2] : NULL, opt_json ? vms : NULL, error);
	json = json_object_new_object();
	json_object_object_add(json, "lab", json_object_new_string(lab->name));
	json_object_object_add(json, "vms", vms);
	if (ok && opt_json)
		out_json(json);
	else
		json_object_put(json);
	lab_free(lab);
	return ok && out_finish(error) ? 0 : -1;
}

const struct cmd cmd_render = {
	.name = "render",
	.args = "qemu [LAB [VM]]",
	.summary = "Print what up would run: QEMU command lines as scripts",
	.help = "Each script makes the VM's directories and becomes its QEMU; it is the text that up\n"
		"runs. With --out the guest configurations are written beside the scripts, which\n"
		"put them in their place: that is all a script needs but the switch, which has to\n"
		"listen on the sockets it names. QEMU waits for them without a word.\n"
		"\n"
		"Without --out the scripts are printed one after the other, to be read. The tiny\n"
		"image is built if it is not in the cache yet.",
	.options = options,
	.min_args = 1,
	.max_args = 3,
	.arg = CMD_ARG_OTHER,
	.run = run_render,
};
