/* SPDX-License-Identifier: MIT */
/* The forms of `orchestrator render` that are one file and need nothing of this host: pictures, and lists for other programs. */
#include "cmd/render_form.h"

#include "render/ansible.h"
#include "render/dot.h"
#include "render/graph.h"
#include "render/hosts.h"
#include "render/mermaid.h"
#include "render/ssh_config.h"
#include "render/svg.h"

/* --- pictures ----------------------------------------------------------------------------------------------------- */

static gboolean draw(struct render_job *job, char *(*text_of)(const struct graph *),
		     const char *suffix)
{
	struct graph *graph = graph_new(job->lab);
	g_autofree char *name = g_strconcat(job->lab->name, suffix, NULL);

	render_job_file(job, name, text_of(graph), 0644);
	graph_free(graph);
	return TRUE;
}

static gboolean draw_dot(struct render_job *job, GError **error)
{
	(void)error;
	return draw(job, render_dot, ".dot");
}

static gboolean draw_mermaid(struct render_job *job, GError **error)
{
	(void)error;
	return draw(job, render_mermaid, ".mmd");
}

static gboolean draw_svg(struct render_job *job, GError **error)
{
	(void)error;
	return draw(job, render_svg, ".svg");
}

/* --- lists -------------------------------------------------------------------------------------------------------- */

static gboolean list_hosts(struct render_job *job, GError **error)
{
	(void)error;
	render_job_file(job, "hosts", render_hosts(job->lab), 0644);
	return TRUE;
}

static gboolean list_for_ssh(struct render_job *job,
			     char *(*text_of)(const struct lab *, const char *), const char *name)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);

	render_job_file(job, name, text_of(job->lab, self ? self : "orchestrator"), 0644);
	return TRUE;
}

static char *ssh_config_of(const struct lab *lab, const char *program)
{
	return render_ssh_config(lab, NULL, program);
}

static gboolean list_ssh_config(struct render_job *job, GError **error)
{
	(void)error;
	return list_for_ssh(job, ssh_config_of, "ssh_config");
}

static gboolean list_ansible(struct render_job *job, GError **error)
{
	(void)error;
	return list_for_ssh(job, render_ansible, "inventory.yaml");
}

const struct render_form render_form_ssh_config = { .name = "ssh-config",
						    .render = list_ssh_config };
const struct render_form render_form_ansible = { .name = "ansible", .render = list_ansible };
const struct render_form render_form_hosts = { .name = "hosts", .render = list_hosts };
const struct render_form render_form_dot = { .name = "dot", .render = draw_dot };
const struct render_form render_form_mermaid = { .name = "mermaid", .render = draw_mermaid };
const struct render_form render_form_svg = { .name = "svg", .render = draw_svg };
