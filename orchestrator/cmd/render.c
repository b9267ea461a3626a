/* SPDX-License-Identifier: MIT */
/* `orchestrator render`: the lab as text that runs, or reads, without us. */
#include "cmd.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "cmd/render_form.h"
#include "err.h"
#include "host/caps.h"
#include "image/image.h"
#include "image/tiny.h"
#include "model/libvirt_uri.h"
#include "out.h"

const struct render_form *const render_forms[] = {
	&render_form_qemu,    &render_form_libvirt,
	&render_form_systemd, &render_form_ssh_config,
	&render_form_ansible, &render_form_hosts,
	&render_form_dot,     &render_form_mermaid,
	&render_form_svg,     NULL,
};

static gboolean opt_json;
static char *opt_out, *opt_uri;

static const GOptionEntry options[] = {
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON instead of the text itself",
	  NULL },
	{ "out", 0, 0, G_OPTION_ARG_FILENAME, &opt_out, "Write files into DIR instead", "DIR" },
	{ "uri", 0, 0, G_OPTION_ARG_STRING, &opt_uri,
	  "Of libvirt: render for the one at URI, in place of the lab's", "URI" },
	{ NULL },
};

/* --- what forms ask for ---------------------------------------------------------------------------------------------- */

struct file {
	char *name, *text; /* text: NULL: whatever is there, or nothing */
	int mode;
	bool beside;
};

static void file_free(struct file *file)
{
	g_free(file->name);
	g_free(file->text);
	g_free(file);
}

static void add_file(struct render_job *job, const char *name, char *text, int mode, bool beside)
{
	struct file *file = g_new(struct file, 1);

	*file = (struct file){
		.name = g_strdup(name), .text = text, .mode = mode, .beside = beside
	};
	g_ptr_array_add(job->files, file);
}

void render_job_file(struct render_job *job, const char *name, char *text, int mode)
{
	add_file(job, name, text, mode, false);
}

void render_job_beside(struct render_job *job, const char *name, char *text, int mode)
{
	add_file(job, name, text, mode, true);
}

void render_job_place(struct render_job *job, const char *name)
{
	add_file(job, name, NULL, 0600, true);
}

const char *render_job_uri(const struct render_job *job)
{
	const char *own = job->uri ? job->uri : job->lab->engine.uri;

	return own ? own : LIBVIRT_URI_DEFAULT;
}

bool render_job_wants(const struct render_job *job, const struct vm *vm)
{
	return !job->vm || job->vm == vm;
}

const struct qemu_caps *render_job_caps(struct render_job *job, const struct vm *vm, GError **error)
{
	return qemu_table_get(job->qemus, lab_arch_name(vm->arch), vm->qemu, job->dirs->cache,
			      error);
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

const struct image *render_job_image(struct render_job *job, const struct vm *vm, GError **error)
{
	struct lab_image *ref = vm->image;
	struct image *image = g_hash_table_lookup(job->images, ref);
	enum image_stage stage = IMAGE_STAGE_COUNT;
	gboolean ok;

	if (image)
		return image;
	if (ref->kernel)
		ok = image_from_files(ref->kernel, ref->initrd, ref->append, &image, error);
	else
		ok = tiny_ensure(job->dirs->cache, tell_progress, &stage, NULL, &image, error);
	if (!ok)
		return NULL;
	g_hash_table_insert(job->images, ref, image);
	return image;
}

/* --- what becomes of the files ---------------------------------------------------------------------------------------- */

static gboolean write_file(const struct file *file, GError **error)
{
	g_autofree char *path = g_build_filename(opt_out, file->name, NULL);

	if (!file->text && g_file_test(path, G_FILE_TEST_EXISTS))
		return TRUE;
	if (!g_file_set_contents_full(path, file->text ? file->text : "", -1,
				      G_FILE_SET_CONTENTS_CONSISTENT, file->mode, error))
		return FALSE;
	if (file->text)
		out_info("%s", path);
	return TRUE;
}

static gboolean write_files(const struct render_job *job, GError **error)
{
	if (g_mkdir_with_parents(opt_out, 0777) != 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot make the directory %s",
			      opt_out);
		return FALSE;
	}
	for (guint i = 0; i < job->files->len; i++)
		if (!write_file(job->files->pdata[i], error))
			return FALSE;
	return TRUE;
}

static void print_files(const struct render_form *form, const struct render_job *job)
{
	for (guint i = 0; i < job->files->len; i++) {
		const struct file *file = job->files->pdata[i];

		if (file->beside)
			continue;
		if (form->comment)
			printf("%s%s%s\n", i > 0 ? "\n" : "", form->comment, file->name);
		fputs(file->text, stdout);
	}
}

static void print_json(const struct render_form *form, const struct render_job *job)
{
	struct json_object *files = json_object_new_array();

	for (guint i = 0; i < job->files->len; i++) {
		const struct file *file = job->files->pdata[i];
		struct json_object *o;

		if (!file->text)
			continue;
		o = json_object_new_object();
		json_object_object_add(o, "name", json_object_new_string(file->name));
		json_object_object_add(o, "text", json_object_new_string(file->text));
		json_object_array_add(files, o);
	}
	if (form->own_json)
		json_object_put(files);
	else
		json_object_object_add(job->json, "files", files);
	out_json(json_object_get(job->json));
}

/* --- the verb --------------------------------------------------------------------------------------------------------- */

static void job_init(struct render_job *job, const struct lab *lab, const struct lab_dirs *dirs,
		     const struct lab_paths *paths)
{
	*job = (struct render_job){ .lab = lab, .dirs = dirs, .paths = paths, .uri = opt_uri };
	job->out = opt_out ? g_canonicalize_filename(opt_out, NULL) : NULL;
	job->json = json_object_new_object();
	json_object_object_add(job->json, "lab", json_object_new_string(lab->name));
	job->qemus = qemu_table_new();
	job->images = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)image_free);
	job->files = g_ptr_array_new_with_free_func((GDestroyNotify)file_free);
}

static void job_done(struct render_job *job)
{
	g_ptr_array_unref(job->files);
	g_hash_table_unref(job->images);
	g_hash_table_unref(job->qemus);
	json_object_put(job->json);
	g_free(job->out);
}

/* vm: the name of the one that is meant; NULL: all. */
static gboolean render_job_run(struct render_job *job, const struct render_form *form,
			       const char *vm, GError **error)
{
	if (vm && !(job->vm = lab_find_vm(job->lab, vm))) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "lab %s has no VM \"%s\"",
			    job->lab->name, vm);
		return FALSE;
	}
	if (!form->render(job, error))
		return FALSE;
	if (opt_out)
		return write_files(job, error);
	if (opt_json)
		print_json(form, job);
	else
		print_files(form, job);
	return out_finish(error);
}

static gboolean render_lab(const struct lab *lab, const struct render_form *form, const char *vm,
			   GError **error)
{
	struct lab_dirs *dirs = lab_dirs_new();
	struct lab_paths *paths = lab_paths_new(lab, dirs);
	struct render_job job;
	gboolean ok;

	job_init(&job, lab, dirs, paths);
	ok = render_job_run(&job, form, vm, error);
	job_done(&job);
	lab_paths_free(paths);
	lab_dirs_free(dirs);
	return ok;
}

/* NULL: no such form; *error names those that there are. */
static const struct render_form *find_form(const char *name, GError **error)
{
	g_autoptr(GString) names = g_string_new(NULL);

	for (unsigned i = 0; render_forms[i]; i++) {
		if (strcmp(render_forms[i]->name, name) == 0)
			return render_forms[i];
		g_string_append_printf(names, "%s%s", i > 0 ? ", " : "", render_forms[i]->name);
	}
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
		    "cannot render \"%s\": the forms there are: %s", name, names->str);
	return NULL;
}

/* What is wrong with the call, the form known; NULL: nothing.  Static. */
static const char *usage_fault(const struct render_form *form, const char *vm)
{
	if (opt_json && opt_out)
		return "--json and --out exclude each other";
	if (vm && !form->takes_vm)
		return "this form is of the whole lab: it takes no VM";
	if (opt_uri && !form->takes_uri)
		return "--uri means nothing for this form";
	return NULL;
}

static int run_render(char **args, GError **error)
{
	const struct render_form *form = find_form(args[0], error);
	const char *vm = args[1] ? args[2] : NULL;
	const char *fault;
	struct lab *lab;
	gboolean ok;

	if (!form)
		return -1;
	fault = usage_fault(form, vm);
	if (fault) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "render %s: %s", form->name,
			    fault);
		return -1;
	}
	if (!cmd_load_lab(args[1], &lab, error))
		return -1;
	ok = render_lab(lab, form, vm, error);
	lab_free(lab);
	return ok ? 0 : -1;
}

const struct cmd cmd_render = {
	.name = "render",
	.args = "FORM [LAB [VM]]",
	.summary = "Print the lab as text that runs, or reads, without us",
	.help = "Forms:\n"
		"  qemu        each VM's QEMU command line, as a script: it makes the VM's\n"
		"              directories and becomes its QEMU; it is the text that up runs. The\n"
		"              switches, sockets and portals that it names have to be there: QEMU\n"
		"              waits for a switch without a word\n"
		"  libvirt     each VM as a domain, for `virsh define`\n"
		"  systemd     the lab's daemons as units that start when they are needed\n"
		"  ssh-config  how ssh reaches each VM, by its sockets: ssh -F FILE VM\n"
		"  ansible     an inventory (YAML): ansible-playbook -i FILE\n"
		"  hosts       the VMs' names and addresses, as /etc/hosts has them\n"
		"  dot         a graph, for Graphviz\n"
		"  mermaid     a flowchart, for Markdown\n"
		"  svg         a picture, light or dark as its reader is\n"
		"\n"
		"Without --out all is printed one after the other, to be read. With --out each file\n"
		"lies in DIR under its own name, and what it needs beside it (of qemu: the guest's\n"
		"configuration, which the script puts in its place). The tiny image is built if a\n"
		"form needs it and it is not in the cache yet.",
	.options = options,
	.min_args = 1,
	.max_args = 3,
	.arg = CMD_ARG_FORM,
	.run = run_render,
};
