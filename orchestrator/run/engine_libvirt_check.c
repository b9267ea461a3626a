/* SPDX-License-Identifier: MIT */
/* What is asked of a libvirt outside of a main loop, with a deadline: libvirt's own calls have none. */
#include "run/engine_libvirt.h"

#include <string.h>

#include "err.h"
#include "host/libvirt_caps.h"
#include "model/libvirt_uri.h"
#include "run/engine_libvirt_work.h"

/* A libvirtd that sees its QEMUs for the first time asks each of them. */
#define PATIENCE_S 60

/* A question under way; who gives up waiting leaves it to the thread. */
struct question {
	gatomicrefcount refs;
	struct work_lab lab;
	gboolean (*answer)(struct question *q, GError **error);
	GAsyncQueue *answered; /* of itself */
	struct libvirt_caps *caps;
	GError *error;
};

static void question_unref(struct question *q)
{
	if (!g_atomic_ref_count_dec(&q->refs))
		return;
	g_async_queue_unref(q->answered);
	libvirt_caps_free(q->caps);
	g_clear_error(&q->error);
	g_free(q->lab.uri);
	g_free(q->lab.lab);
	g_free(q->lab.state_dir);
	g_free(q);
}

static gpointer in_thread(gpointer p)
{
	struct question *q = p;

	(void)q->answer(q, &q->error);
	g_async_queue_push(q->answered, q);
	question_unref(q);
	return NULL;
}

static struct question *question_new(const char *uri, const char *lab, const char *state_dir,
				     gboolean (*answer)(struct question *q, GError **error))
{
	struct question *q = g_new0(struct question, 1);

	g_atomic_ref_count_init(&q->refs);
	q->lab.uri = g_strdup(uri);
	q->lab.lab = g_strdup(lab);
	q->lab.state_dir = g_strdup(state_dir);
	q->answer = answer;
	q->answered = g_async_queue_new();
	return q;
}

/* FALSE: no, or no answer. */
static gboolean ask(struct question *q, GError **error)
{
	if (!libvirt_load(error))
		return FALSE;
	g_atomic_ref_count_inc(&q->refs);
	g_thread_unref(g_thread_new("libvirt", in_thread, q));
	if (!g_async_queue_timeout_pop(q->answered, (guint64)PATIENCE_S * G_USEC_PER_SEC)) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"libvirtd does not answer at %s: restart it, or say \"engine\": \"qemu\"",
			q->lab.uri);
		return FALSE;
	}
	if (!q->error)
		return TRUE;
	g_propagate_error(error, g_steal_pointer(&q->error));
	return FALSE;
}

/* The sockets of a lab are on this host: QEMU has to be, too. */
static gboolean check_host(virConnectPtr conn, const char *uri, GError **error)
{
	struct libvirt_uri parts = { 0 };
	g_autofree char *host = NULL;
	char *said;

	if (libvirt_uri_fault(uri, &parts) || !parts.remote)
		return TRUE;
	said = vir.virConnectGetHostname(conn);
	host = g_strdup(said ? said : "another host");
	free(said);
	if (strcmp(host, g_get_host_name()) == 0)
		return TRUE;
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
		"the lab's sockets are on %s, and %s is on %s: `orchestrator render libvirt --out DIR` "
		"and `orchestrator render systemd --out DIR` make files for that host",
		g_get_host_name(), uri, host);
	return FALSE;
}

static gboolean read_caps(virConnectPtr conn, struct question *q, GError **error)
{
	unsigned long version = 0, qemu = 0;
	char *xml = vir.virConnectGetCapabilities(conn);

	if (!xml || vir.virConnectGetLibVersion(conn, &version) < 0) {
		libvirt_set_error(error, ORCH_ERROR_HOST_UNFIT, "%s does not say what it can",
				  q->lab.uri);
		free(xml);
		return FALSE;
	}
	(void)vir.virConnectGetVersion(conn, &qemu); /* it may have no QEMU of this host's kind */
	q->caps = libvirt_caps_read(q->lab.uri, version, qemu, xml, error);
	free(xml);
	return q->caps != NULL;
}

static gboolean answer_check(struct question *q, GError **error)
{
	virConnectPtr conn = work_open(q->lab.uri, error);
	gboolean good;

	if (!conn)
		return FALSE;
	good = check_host(conn, q->lab.uri, error) && read_caps(conn, q, error);
	(void)vir.virConnectClose(conn);
	return good;
}

gboolean engine_libvirt_check(const char *uri, struct libvirt_caps **ret_caps, GError **error)
{
	struct question *q = question_new(uri, NULL, NULL, answer_check);
	gboolean good = ask(q, error);

	if (good)
		*ret_caps = g_steal_pointer(&q->caps);
	question_unref(q);
	return good;
}

static gboolean answer_sweep(struct question *q, GError **error)
{
	virConnectPtr conn = work_open(q->lab.uri, error);
	gboolean good;

	if (!conn)
		return FALSE;
	good = work_undefine(conn, &q->lab, NULL, error);
	(void)vir.virConnectClose(conn);
	return good;
}

gboolean engine_libvirt_sweep(const char *uri, const char *lab, const char *state_dir,
			      GError **error)
{
	struct question *q = question_new(uri, lab, state_dir, answer_sweep);
	gboolean good = ask(q, error);

	question_unref(q);
	return good;
}
