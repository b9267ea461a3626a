/* SPDX-License-Identifier: MIT */
/* A form of `orchestrator render`: one way to write a lab down so that it runs, or reads, without us.
 *
 * Each form is one const struct and one line in the table of cmd/render.c.  It makes its files in
 * memory: render.c then prints them one after the other, writes them below --out, or says them as JSON.  So nothing is
 * shown of a rendering that fails half way.  What a form has to say beyond its files goes to stderr (out_info(),
 * out_warning()).
 */
#ifndef CMD_RENDER_FORM_H
#define CMD_RENDER_FORM_H

#include <glib.h>
#include <stdbool.h>

#include "model/lab.h"

struct image;
struct json_object;
struct qemu_caps;

/* One call of `render`. */
struct render_job {
	const struct lab *lab;
	const struct lab_dirs *dirs;
	const struct lab_paths *paths;
	const struct vm *vm;      /* the one that is meant; NULL: all of the lab */
	const char *uri;          /* --uri; NULL: not said */
	char *out;                /* --out, absolute; NULL: files are printed */
	struct json_object *json; /* for forms with own_json: add members beside "lab" */
	/* render.c's own. */
	GHashTable *qemus;  /* qemu_table_new() */
	GHashTable *images; /* struct lab_image -> struct image */
	GPtrArray *files;
};

struct render_form {
	const char *name;    /* "qemu" */
	const char *comment; /* "# ": each printed file gets a line with its name; NULL: none */
	bool takes_vm;       /* a VM may be named */
	bool takes_uri;      /* --uri means something */
	bool own_json;       /* --json prints what it adds to job->json, and no "files" */
	gboolean (*render)(struct render_job *job, GError **error);
};

extern const struct render_form render_form_qemu;
extern const struct render_form render_form_libvirt;
extern const struct render_form render_form_systemd;
extern const struct render_form render_form_ssh_config;
extern const struct render_form render_form_ansible;
extern const struct render_form render_form_hosts;
extern const struct render_form render_form_dot;
extern const struct render_form render_form_mermaid;
extern const struct render_form render_form_svg;

/* NULL-terminated, in the order of the help. */
extern const struct render_form *const render_forms[];

/* The libvirt that is meant: --uri, else the lab's own, else the caller's session. */
const char *render_job_uri(const struct render_job *job);

/* Whether that VM of the lab is meant. */
bool render_job_wants(const struct render_job *job, const struct vm *vm);

/* What the VM's QEMU can, the VM's image (built if it is not in the cache): found once, borrowed.  NULL with *error set. */
const struct qemu_caps *render_job_caps(struct render_job *job, const struct vm *vm,
					GError **error);
const struct image *render_job_image(struct render_job *job, const struct vm *vm, GError **error);

/* Add a file; text is taken, name copied.  mode: 0644, or 0755 for what can be run. */
void render_job_file(struct render_job *job, const char *name, char *text, int mode);
/* The same for one that is only of use beside others: it is written with --out, and not printed. */
void render_job_beside(struct render_job *job, const char *name, char *text, int mode);
/* Where others will write: with --out an empty file of that name is made, for the caller alone, unless there is one. */
void render_job_place(struct render_job *job, const char *name);

#endif
