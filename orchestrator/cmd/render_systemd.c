/* SPDX-License-Identifier: MIT */
/* `orchestrator render systemd`: the lab's daemons as units. */
#include "cmd/render_form.h"

#include <unistd.h>

#include "err.h"
#include "host/caps.h"
#include "host/libvirt_caps.h"
#include "model/libvirt_uri.h"
#include "out.h"
#include "render/systemd.h"

/* The daemons that the lab needs; g_free() each. */
struct programs {
	char *path[SYSTEMD_DAEMONS];
};

static gboolean find_programs(const struct lab *lab, struct programs *p, GError **error)
{
	const struct {
		const char *name;
		bool needed;
	} daemons[SYSTEMD_DAEMONS] = {
		[SYSTEMD_NET] = { "vhost-user-net", lab->networks->len > 0 },
		[SYSTEMD_HVSOCK] = { "vhost-user-hvsock", lab_has_sockets(lab) },
		[SYSTEMD_PORTAL] = { "vhost-user-portal", lab->portals->len > 0 },
	};

	for (unsigned i = 0; i < SYSTEMD_DAEMONS; i++)
		if (daemons[i].needed && !host_find_daemon(daemons[i].name, &p->path[i], error))
			return FALSE;
	return TRUE;
}

static gboolean read_uri(const char *text, struct libvirt_uri *ret, GError **error)
{
	const char *fault = libvirt_uri_fault(text, ret);

	if (fault)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--uri %s: %s", text, fault);
	return !fault;
}

static void add_files(struct render_job *job, const GPtrArray *files)
{
	for (guint i = 0; i < files->len; i++) {
		const struct systemd_file *file = files->pdata[i];
		int mode = file->executable ? 0755 : 0644;

		if (file->shown)
			render_job_file(job, file->name, g_strdup(file->text), mode);
		else
			render_job_beside(job, file->name, g_strdup(file->text), mode);
	}
}

static gboolean render_with(struct render_job *job, const struct programs *programs, GError **error)
{
	struct systemd_host host = {
		.dir = job->out ? job->out : job->paths->state_dir,
		.uri = render_job_uri(job),
		.uid = getuid(),
		.gid = getgid(),
	};
	struct libvirt_uri uri;
	g_autoptr(GPtrArray) files = NULL;

	if (!read_uri(host.uri, &uri, error))
		return FALSE;
	host.system = libvirt_is_system(&uri);
	for (unsigned i = 0; i < SYSTEMD_DAEMONS; i++)
		host.program[i] = programs->path[i];
	files = render_systemd(job->lab, job->paths, &host, error);
	if (!files)
		return FALSE;
	add_files(job, files);
	if (files->len == 0)
		out_info("lab %s has no networks, portals or sockets: it needs no daemon",
			 job->lab->name);
	return TRUE;
}

static gboolean render(struct render_job *job, GError **error)
{
	struct programs programs = { { NULL } };
	gboolean ok = find_programs(job->lab, &programs, error) &&
		      render_with(job, &programs, error);

	for (unsigned i = 0; i < SYSTEMD_DAEMONS; i++)
		g_free(programs.path[i]);
	return ok;
}

const struct render_form render_form_systemd = {
	.name = "systemd",
	.comment = "# ",
	.takes_uri = true,
	.render = render,
};
