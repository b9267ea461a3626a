/* SPDX-License-Identifier: MIT */
/* The connection, what libvirt says, and what it keeps of the lab.  libvirt's default event implementation is the main loop,
 * so its callbacks come here as all other events do. */
#include "run/engine_libvirt.h"

#include "err.h"
#include "host/libvirt_caps.h"
#include "model/libvirt_uri.h"
#include "model/names.h"
#include "run/engine_libvirt_impl.h"

/* Between two attempts to connect. */
#define RETRY_MIN_MS 200
#define RETRY_MAX_MS 5000
/* libvirtd does not answer any more: 3 times nothing for 5 s. */
#define KEEPALIVE_S 5
#define KEEPALIVES  3
/* For the connection, to forget a lab that has gone down. */
#define CLEAR_MS 5000
/* One reset of a guest is told several times within a second. */
#define RESET_MS 1000

static struct libvirt *libvirt_of(struct engine *e)
{
	return (struct libvirt *)e;
}

/* --- what libvirt says ------------------------------------------------------------------------------------ */

static gboolean do_list(struct job *job, GError **error)
{
	job->listed = work_list(job->conn, &job->libvirt->lab, error);
	return job->listed != NULL;
}

/* Those that no machine has. */
static void look_for_strays(struct libvirt *l, const GPtrArray *listed)
{
	for (guint i = 0; i < listed->len; i++) {
		const struct work_listed *found = listed->pdata[i];
		g_autofree char *name = names_domain(l->lab.lab, found->vm);
		const struct engine_stray stray = { found->vm, found->settings, found->id };

		if (!g_hash_table_contains(l->domains, name))
			l->ops->appeared(&stray, l->data);
	}
}

static void list_done(struct job *job, const GError *error)
{
	if (!error && !job->libvirt->closed)
		look_for_strays(job->libvirt, job->listed);
}

static void list(struct libvirt *l)
{
	if (l->conn)
		job_run(job_new(l, NULL, do_list, list_done));
	else
		l->list_again = true;
}

static void on_stopped(struct domain *d, int detail)
{
	if (d->start)
		d->stopped = detail;
	else
		domain_ended_with(d, detail);
}

static void on_paused(struct domain *d, bool paused)
{
	d->said_paused = paused;
	if (!d->up || d->paused == paused)
		return;
	d->paused = paused;
	d->ops->paused(paused, d->data);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data)
{
	struct libvirt *l = data;
	const char *name = vir.virDomainGetName(domain);
	struct domain *d = g_hash_table_lookup(l->domains, name);
	g_autofree char *prefix = names_domain(l->lab.lab, "");

	if (l->closed || !g_str_has_prefix(name, prefix))
		return 0;
	if (event == VIR_DOMAIN_EVENT_STARTED && !d)
		list(l);
	else if (event == VIR_DOMAIN_EVENT_STOPPED && d)
		on_stopped(d, detail);
	else if ((event == VIR_DOMAIN_EVENT_SUSPENDED || event == VIR_DOMAIN_EVENT_RESUMED) && d)
		on_paused(d, event == VIR_DOMAIN_EVENT_SUSPENDED);
	return 0;
}

static gboolean reset_over(gpointer p)
{
	((struct domain *)p)->reset_timer = 0;
	return G_SOURCE_REMOVE;
}

static void on_reboot(virConnectPtr conn, virDomainPtr domain, void *data)
{
	struct libvirt *l = data;
	struct domain *d = g_hash_table_lookup(l->domains, vir.virDomainGetName(domain));

	if (l->closed || !d || !d->up)
		return;
	if (!d->reset_timer)
		d->ops->reset(d->data);
	else
		g_source_remove(d->reset_timer);
	d->reset_timer = g_timeout_add(RESET_MS, reset_over, d);
}

/* --- the connection --------------------------------------------------------------------------------------- */

static void open_it(struct libvirt *l);

static gboolean retry_due(gpointer p)
{
	struct libvirt *l = p;

	l->retry_timer = 0;
	open_it(l);
	return G_SOURCE_REMOVE;
}

static void set_problem(struct libvirt *l, const char *words)
{
	if (g_strcmp0(l->problem, words) == 0)
		return;
	if (words)
		g_message("%s", words);
	g_free(l->problem);
	l->problem = g_strdup(words);
	l->ops->changed(l->data);
}

static void retry(struct libvirt *l)
{
	l->retry_ms = MIN(MAX(2 * l->retry_ms, RETRY_MIN_MS), RETRY_MAX_MS);
	l->retry_timer = g_timeout_add(l->retry_ms, retry_due, l);
}

static void on_closed(virConnectPtr conn, int reason, void *data);

/* What was registered holds a reference each. */
static void hang_up(virConnectPtr conn, int lifecycle, int reboot)
{
	(void)vir.virConnectUnregisterCloseCallback(conn, on_closed);
	if (lifecycle >= 0)
		(void)vir.virConnectDomainEventDeregisterAny(conn, lifecycle);
	if (reboot >= 0)
		(void)vir.virConnectDomainEventDeregisterAny(conn, reboot);
	(void)vir.virConnectClose(conn);
}

static gboolean do_hang_up(struct job *job, GError **error)
{
	hang_up(job->conn, job->lifecycle, job->reboot);
	return TRUE;
}

static void nothing_done(struct job *job, const GError *error)
{
}

static void lose_connection(struct libvirt *l)
{
	struct job *job = job_new(l, NULL, do_hang_up, nothing_done);

	job->lifecycle = l->lifecycle;
	job->reboot = l->reboot;
	job_run(job); /* with a reference of its own; ours is hung up there */
	l->conn = NULL;
}

static void on_closed(virConnectPtr conn, int reason, void *data)
{
	struct libvirt *l = data;
	g_autofree char *words = NULL;

	if (l->closed || conn != l->conn)
		return;
	lose_connection(l);
	words = g_strdup_printf(
		"the connection to %s is lost: libvirtd has ended, or does not answer", l->lab.uri);
	set_problem(l, words);
	l->retry_ms = 0;
	retry(l);
}

/* Events first, so that what happens while the list is made is not lost. */
static gboolean do_open(struct job *job, GError **error)
{
	struct libvirt *l = job->libvirt;
	virConnectPtr conn;

	job->lifecycle = job->reboot = -1;
	conn = work_open(l->lab.uri, error);
	if (!conn)
		return FALSE;
	(void)vir.virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVES);
	(void)vir.virConnectRegisterCloseCallback(conn, on_closed, l, NULL);
	job->lifecycle = vir.virConnectDomainEventRegisterAny(
		conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle),
		l, NULL);
	job->reboot = vir.virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_REBOOT,
							   VIR_DOMAIN_EVENT_CALLBACK(on_reboot), l,
							   NULL);
	job->listed = job->lifecycle < 0 ? NULL : work_list(conn, &l->lab, error);
	if (job->lifecycle < 0)
		libvirt_set_error(error, ORCH_ERROR_HOST_UNFIT, "%s tells no events", l->lab.uri);
	if (!job->listed) {
		hang_up(conn, job->lifecycle, job->reboot);
		return FALSE;
	}
	job->opened = conn;
	return TRUE;
}

/* All that was waiting for it. */
static void connected(struct libvirt *l, const GPtrArray *listed)
{
	g_autoptr(GList) all = g_hash_table_get_values(l->domains);

	set_problem(l, NULL);
	for (GList *i = all; i; i = i->next) {
		struct domain *d = i->data;

		if (d->start && d->start_timer && !d->begun)
			domain_time_start(d);
		if (!d->start && g_queue_is_empty(&d->jobs))
			domain_look(d);
		else
			domain_next_job(d);
	}
	look_for_strays(l, listed);
	if (l->list_again)
		list(l);
	l->list_again = false;
	l->ops->changed(l->data);
}

static void open_done(struct job *job, const GError *error)
{
	struct libvirt *l = job->libvirt;

	if (error) {
		if (!l->closed) {
			set_problem(l, error->message);
			retry(l);
		}
		return;
	}
	l->conn = job->opened;
	l->lifecycle = job->lifecycle;
	l->reboot = job->reboot;
	l->retry_ms = 0;
	if (l->closed)
		lose_connection(l);
	else
		connected(l, job->listed);
}

static void open_it(struct libvirt *l)
{
	job_run(job_new(l, NULL, do_open, open_done));
}

static const char *problem(const struct engine *e)
{
	return ((const struct libvirt *)e)->problem;
}

/* --- the end of a lab ------------------------------------------------------------------------------------- */

static gboolean do_undefine(struct job *job, GError **error)
{
	return work_undefine(job->conn, &job->libvirt->lab, job->text, error);
}

static void dropped(struct job *job, const GError *error)
{
	if (error)
		g_message("%s", error->message);
}

static void drop(struct engine *e, const char *vm)
{
	struct libvirt *l = libvirt_of(e);
	struct job *job;

	if (!l->conn)
		return; /* it goes with the lab */
	job = job_new(l, NULL, do_undefine, dropped);
	job->text = g_strdup(vm);
	job_run(job);
}

static void cleared(struct job *job, const GError *error)
{
	struct libvirt *l = job->libvirt;

	l->clear = CLEAR_DONE;
	if (l->closed)
		return;
	set_problem(l, error ? error->message : NULL);
	l->ops->changed(l->data);
}

static gboolean cannot_clear(gpointer p)
{
	struct libvirt *l = p;
	g_autofree char *words = NULL;

	l->clear_timer = 0;
	if (l->clear != CLEAR_WAITS)
		return G_SOURCE_REMOVE;
	l->clear = CLEAR_DONE;
	words = g_strdup_printf("the lab's domains stay defined: %s",
				l->problem ? l->problem : "no connection to libvirt");
	set_problem(l, words);
	l->ops->changed(l->data);
	return G_SOURCE_REMOVE;
}

static bool clear(struct engine *e)
{
	struct libvirt *l = libvirt_of(e);

	if (l->clear <= CLEAR_WAITS && l->conn) {
		l->clear = CLEAR_RUNS;
		job_run(job_new(l, NULL, do_undefine, cleared));
	} else if (l->clear == CLEAR_NOT) {
		l->clear = CLEAR_WAITS;
		l->clear_timer = g_timeout_add(CLEAR_MS, cannot_clear, l);
	}
	return l->clear == CLEAR_DONE;
}

/* --- its life --------------------------------------------------------------------------------------------- */

/* Jobs that are under way end by themselves, and find it closed. */
static void close_it(struct engine *e)
{
	struct libvirt *l = libvirt_of(e);

	l->closed = true;
	g_clear_handle_id(&l->retry_timer, g_source_remove);
	g_clear_handle_id(&l->clear_timer, g_source_remove);
	if (l->conn)
		hang_up(l->conn, l->lifecycle, l->reboot);
	l->conn = NULL;
	libvirt_unref(l);
}

const struct engine_class engine_class_libvirt = {
	.name = "libvirt",
	.close = close_it,
	.start = domain_start,
	.adopt = domain_adopt,
	.free = domain_forget,
	.process = domain_process,
	.reachable = domain_reachable,
	.press_button = domain_press_button,
	.quit = domain_quit,
	.kill = domain_kill,
	.set_link = domain_set_link,
	.refresh = domain_refresh,
	.console = domain_console,
	.problem = problem,
	.drop = drop,
	.clear = clear,
};

/* Once in a process. */
static gboolean have_event_loop(GError **error)
{
	static bool registered;

	if (!libvirt_load(error))
		return FALSE;
	if (!registered && vir.virEventRegisterDefaultImpl() < 0) {
		libvirt_set_error(error, ORCH_ERROR_HOST_UNFIT, "libvirt has no event loop");
		return FALSE;
	}
	registered = true;
	return TRUE;
}

struct engine *engine_libvirt_new(const char *uri, const char *lab, const char *state_dir,
				  const struct engine_ops *ops, void *data)
{
	struct libvirt *l = g_new0(struct libvirt, 1);
	struct libvirt_uri parts = { 0 };
	g_autoptr(GError) error = NULL;

	(void)libvirt_uri_fault(uri, &parts);
	l->engine.class = &engine_class_libvirt;
	l->refs = 1;
	l->lab = (struct work_lab){ g_strdup(uri), libvirt_is_system(&parts), g_strdup(lab),
				    g_strdup(state_dir) };
	l->ops = ops;
	l->data = data;
	l->domains = g_hash_table_new(g_str_hash, g_str_equal);
	if (have_event_loop(&error))
		open_it(l);
	else
		l->problem = g_strdup(error->message);
	return &l->engine;
}
