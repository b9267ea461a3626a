/* SPDX-License-Identifier: MIT */
#include "run/engine_libvirt_work.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "model/names.h"
#include "render/libvirt.h"
#include "run/engine_libvirt_monitor.h"
#include "run/json.h"
#include "run/logfile.h"

/* Of what libvirt says about its domains: bounds for what nobody else has bounded. */
#define MARK_MAX      (1u << 20)
#define XML_MAX       (4u << 20)
#define KILL_MS       1000 /* libvirt has ended it already, but for what it has lost sight of */
#define LAST_LINE_MAX 240
#define LOG_WINDOW    65536

void work_found_clear(struct work_found *found)
{
	g_free(found->console);
	*found = (struct work_found){ 0 };
}

void work_listed_free(void *listed)
{
	struct work_listed *l = listed;

	g_free(l->vm);
	g_free(l->settings);
	g_free(l);
}

/* --- connecting ------------------------------------------------------------------------------------------- */

virConnectPtr work_open(const char *uri, GError **error)
{
	virConnectPtr conn = vir.virConnectOpen(uri);
	virErrorPtr last = conn ? NULL : vir.virGetLastError();
	g_autofree char *words = NULL;
	bool system = g_str_has_suffix(uri, "/system");

	if (conn)
		return conn;
	words = libvirt_words();
	/* Without D-Bus libvirt cannot ask polkit, and says that. */
	if (last && (last->code == VIR_ERR_AUTH_FAILED || last->code == VIR_ERR_AUTH_CANCELLED ||
		     last->code == VIR_ERR_AUTH_UNAVAILABLE ||
		     last->code == VIR_ERR_ACCESS_DENIED || last->domain == VIR_FROM_DBUS ||
		     last->domain == VIR_FROM_POLKIT || strstr(words, "Permission denied")))
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "no connection to %s: %s; join the group libvirt (usermod -aG libvirt "
			    "$USER), or use \"qemu:///session\"",
			    uri, words);
	else
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"no connection to %s: %s; start libvirtd%s, or say \"engine\": \"qemu\"",
			uri, words, system ? " (systemctl start libvirtd)" : "");
	return NULL;
}

/* --- whose domain ----------------------------------------------------------------------------------------- */

/* The lab's mark; *ret untouched where it is another's. */
static bool is_ours(virDomainPtr domain, const struct work_lab *lab, struct render_mark *ret)
{
	struct render_mark mark = { 0 };
	char *metadata = vir.virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT,
						  RENDER_LIBVIRT_XMLNS, 0);
	bool ours;

	if (!metadata)
		return false;
	ours = strlen(metadata) <= MARK_MAX && render_libvirt_read_mark(metadata, &mark) &&
	       g_strcmp0(mark.owner, "supervisor") == 0 && g_strcmp0(mark.lab, lab->lab) == 0 &&
	       g_strcmp0(mark.state_dir, lab->state_dir) == 0 && mark.vm && names_valid(mark.vm);
	free(metadata);
	if (ours && ret) {
		*ret = mark;
		return true;
	}
	render_mark_clear(&mark);
	return ours;
}

/* The lab's domain; NULL: there is none, or it is another's, and *error says which. */
static virDomainPtr find(virConnectPtr conn, const struct work_domain *d, GError **error)
{
	virDomainPtr domain = vir.virDomainLookupByName(conn, d->name);

	if (!domain) {
		libvirt_set_error(error, ORCH_ERROR_FAILED, "no domain %s", d->name);
		return NULL;
	}
	if (is_ours(domain, d->lab, NULL))
		return domain;
	if (libvirt_lost()) {
		libvirt_set_error(error, ORCH_ERROR_FAILED, "domain %s", d->name);
		vir.virDomainFree(domain);
		return NULL;
	}
	g_set_error(
		error, ORCH_ERROR, ORCH_ERROR_CONFLICT,
		"%s has a domain %s that is not this lab's: `virsh -c %s undefine %s`, or give the "
		"lab another \"name\"",
		d->lab->uri, d->name, d->lab->uri, d->name);
	vir.virDomainFree(domain);
	return NULL;
}

/* --- its process and its console -------------------------------------------------------------------------- */

static char *runtime_path(const struct work_domain *d)
{
	return d->lab->system ? g_strdup_printf("/run/libvirt/qemu/%s.pid", d->name) :
				g_strdup_printf("%s/libvirt/qemu/run/%s.pid",
						g_get_user_runtime_dir(), d->name);
}

/* Whether that process is the domain's QEMU: a file may be of an earlier one. */
static bool is_qemu_of(pid_t pid, const char *name)
{
	g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
	g_autofree char *wanted = g_strdup_printf("guest=%s,", name), *words = NULL;
	gsize len;

	if (!g_file_get_contents(path, &words, &len, NULL))
		return false;
	for (const char *w = words; w < words + len; w += strlen(w) + 1)
		if (g_str_has_prefix(w, wanted))
			return true;
	return false;
}

static struct proc_id process_of(const struct work_domain *d)
{
	g_autofree char *path = runtime_path(d), *text = NULL;
	struct proc_id id = { 0 };
	guint64 pid;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return id;
	pid = g_ascii_strtoull(text, NULL, 10);
	if (pid == 0 || pid > G_MAXINT32 || !is_qemu_of((pid_t)pid, d->name) ||
	    !proc_id_read((pid_t)pid, &id))
		id.pid = 0;
	return id;
}

static void take_console(GMarkupParseContext *context, const char *element, const char **names,
			 const char **values, gpointer data, GError **error)
{
	char **ret = data;

	if (*ret || strcmp(element, "console") != 0)
		return;
	for (unsigned i = 0; names[i]; i++)
		if (strcmp(names[i], "tty") == 0 && g_str_has_prefix(values[i], "/dev/pts/"))
			*ret = g_strdup(values[i]);
}

/* libvirt's XML is well-formed; if it is not, there is no console in it. */
static char *console_of(virDomainPtr domain)
{
	static const GMarkupParser parser = { .start_element = take_console };
	char *xml = vir.virDomainGetXMLDesc(domain, 0), *console = NULL;
	GMarkupParseContext *context;

	if (!xml)
		return NULL;
	context = g_markup_parse_context_new(&parser, 0, &console, NULL);
	(void)g_markup_parse_context_parse(context, xml, (gssize)strnlen(xml, XML_MAX), NULL);
	g_markup_parse_context_free(context);
	free(xml);
	return console;
}

/* --- starting and finding --------------------------------------------------------------------------------- */

static gboolean set_unwanted(GError **error)
{
	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_FAILED, "stopped while it was started");
	return FALSE;
}

/* How one that runs is; resume: if it is paused, it goes on first. */
static gboolean settle(virDomainPtr domain, const struct work_domain *d, bool resume,
		       struct work_found *ret, GError **error)
{
	int state = VIR_DOMAIN_NOSTATE;

	if (resume && vir.virDomainGetState(domain, &state, NULL, 0) == 0 &&
	    state == VIR_DOMAIN_PAUSED && vir.virDomainResume(domain) < 0) {
		libvirt_set_error(error, ORCH_ERROR_FAILED, "it does not go on");
		return FALSE;
	}
	if (vir.virDomainGetState(domain, &state, NULL, 0) < 0) {
		libvirt_set_error(error, ORCH_ERROR_FAILED, "its state is not known");
		return FALSE;
	}
	ret->paused = state == VIR_DOMAIN_PAUSED;
	ret->id = process_of(d);
	ret->console = console_of(domain);
	return TRUE;
}

/* What it is given before the guest runs. */
static gboolean complete(virDomainPtr domain, struct work_domain *d, struct work_found *ret,
			 GError **error)
{
	if (!monitor_plug_sockets(domain, d, error))
		return FALSE;
	if (g_atomic_int_get(&d->unwanted))
		return set_unwanted(error);
	return settle(domain, d, true, ret, error);
}

/* The same for one that somebody else has started: it goes on also where it cannot have that. */
static gboolean join(virDomainPtr domain, struct work_domain *d, bool resume,
		     struct work_found *ret, GError **error)
{
	g_autoptr(GError) no_sockets = NULL;

	if (!monitor_plug_sockets(domain, d, &no_sockets))
		g_message("%s has no sockets: %s", d->name, no_sockets->message);
	return settle(domain, d, resume, ret, error);
}

static virDomainPtr define(virConnectPtr conn, const struct work_domain *d, const char *xml,
			   GError **error)
{
	virDomainPtr domain = vir.virDomainDefineXMLFlags(conn, xml, VIR_DOMAIN_DEFINE_VALIDATE);

	if (!domain)
		libvirt_set_error(error, ORCH_ERROR_FAILED, "%s does not take domain %s",
				  d->lab->uri, d->name);
	return domain;
}

/* The lab's domain, as xml says unless it runs; NULL: *error. */
static virDomainPtr define_ours(virConnectPtr conn, const struct work_domain *d, const char *xml,
				bool *ret_runs, GError **error)
{
	virDomainPtr domain = vir.virDomainLookupByName(conn, d->name);

	*ret_runs = false;
	if (!domain)
		return define(conn, d, xml, error);
	vir.virDomainFree(domain);
	domain = find(conn, d, error);
	if (!domain)
		return NULL;
	*ret_runs = vir.virDomainIsActive(domain) == 1;
	if (*ret_runs)
		return domain;
	vir.virDomainFree(domain);
	return define(conn, d, xml, error);
}

/* A memory image that somebody has saved would come without its sockets: it is not taken. */
static gboolean create(virDomainPtr domain, const struct work_domain *d, GError **error)
{
	if (vir.virDomainHasManagedSaveImage(domain, 0) == 1)
		(void)vir.virDomainManagedSaveRemove(domain, 0);
	if (vir.virDomainCreateWithFlags(domain, d->vsock ? VIR_DOMAIN_START_PAUSED : 0) == 0)
		return TRUE;
	libvirt_set_error(error, ORCH_ERROR_FAILED, "libvirt does not start it");
	return FALSE;
}

gboolean work_start(virConnectPtr conn, struct work_domain *d, const char *xml,
		    struct work_found *ret, GError **error)
{
	bool runs;
	virDomainPtr domain = define_ours(conn, d, xml, &runs, error);
	gboolean good;

	if (!domain)
		return FALSE;
	if (g_atomic_int_get(&d->unwanted))
		good = set_unwanted(error);
	else
		good = runs || create(domain, d, error);
	if (good && runs) {
		good = join(domain, d, false, ret, error);
	} else if (good && !complete(domain, d, ret, error)) {
		(void)vir.virDomainDestroyFlags(domain, 0);
		good = FALSE;
	}
	vir.virDomainFree(domain);
	return good;
}

gboolean work_look(virConnectPtr conn, struct work_domain *d, bool resume, struct work_found *ret,
		   bool *ret_lost, GError **error)
{
	virDomainPtr domain = find(conn, d, error);
	gboolean good = FALSE;
	int active;

	*ret_lost = !domain && libvirt_lost();
	if (!domain)
		return FALSE;
	active = vir.virDomainIsActive(domain);
	if (active == 1)
		good = join(domain, d, resume, ret, error);
	else
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "domain %s does not run",
			    d->name);
	*ret_lost = !good && active != 0 && libvirt_lost();
	vir.virDomainFree(domain);
	return good;
}

/* --- orders ----------------------------------------------------------------------------------------------- */

/* The end of one: what libvirt said, if it did not do it. */
static gboolean done(virDomainPtr domain, int result, const char *what, GError **error)
{
	if (result < 0)
		libvirt_set_error(error, ORCH_ERROR_FAILED, "%s", what);
	vir.virDomainFree(domain);
	return result >= 0;
}

gboolean work_press_button(virConnectPtr conn, const struct work_domain *d, GError **error)
{
	virDomainPtr domain = find(conn, d, error);

	return domain &&
	       done(domain, vir.virDomainShutdownFlags(domain, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN),
		    "shutdown", error);
}

gboolean work_destroy(virConnectPtr conn, const struct work_domain *d, bool gracefully,
		      GError **error)
{
	virDomainPtr domain = find(conn, d, error);

	return domain &&
	       done(domain,
		    vir.virDomainDestroyFlags(domain, gracefully ? VIR_DOMAIN_DESTROY_GRACEFUL : 0),
		    "destroy", error);
}

gboolean work_kill(virConnectPtr conn, const struct work_domain *d, GError **error)
{
	gboolean destroyed = work_destroy(conn, d, false, error);
	struct proc_id id = process_of(d);

	return proc_id_end(&id, KILL_MS) && destroyed;
}

/* The daemon sees a connection before QEMU does, and a QEMU that goes on in between tells it nothing. */
gboolean work_refresh(virConnectPtr conn, struct work_domain *d, GError **error)
{
	virDomainPtr domain = find(conn, d, error);
	int result;

	if (!domain)
		return FALSE;
	if (!monitor_await_sockets(domain, d, error)) {
		vir.virDomainFree(domain);
		return FALSE;
	}
	result = vir.virDomainSuspend(domain);
	/* Whatever became of it, this domain is to run. */
	if (vir.virDomainResume(domain) < 0)
		result = -1;
	return done(domain, result, "suspend and resume", error);
}

gboolean work_set_link(virConnectPtr conn, const struct work_domain *d, unsigned nic, bool up,
		       GError **error)
{
	virDomainPtr domain = find(conn, d, error);
	g_autofree char *name = g_strdup_printf(RENDER_LIBVIRT_NIC, nic);
	struct json_object *o;
	auto_json answer = NULL;

	if (!domain)
		return FALSE;
	o = json_object_new_object();
	json_put_str(o, "name", name);
	json_put_bool(o, "up", up);
	answer = monitor_ask(domain, "set_link", o, error);
	vir.virDomainFree(domain);
	return answer != NULL;
}

/* --- all of a lab ----------------------------------------------------------------------------------------- */

/* Domains of the lab, by name, which spares a question about each of a stranger's. */
static gboolean each_of_lab(virConnectPtr conn, const struct work_lab *lab,
			    bool (*fn)(virDomainPtr domain, const struct render_mark *mark,
				       void *data),
			    void *data, GError **error)
{
	g_autofree char *prefix = names_domain(lab->lab, "");
	virDomainPtr *all = NULL;
	int n = vir.virConnectListAllDomains(conn, &all, 0);
	bool good = true;

	if (n < 0) {
		libvirt_set_error(error, ORCH_ERROR_FAILED, "%s does not list its domains",
				  lab->uri);
		return FALSE;
	}
	for (int i = 0; i < n; i++) {
		struct render_mark mark = { 0 };

		if (g_str_has_prefix(vir.virDomainGetName(all[i]), prefix) &&
		    is_ours(all[i], lab, &mark))
			good &= fn(all[i], &mark, data);
		render_mark_clear(&mark);
		vir.virDomainFree(all[i]);
	}
	free(all);
	return good;
}

struct listing {
	const struct work_lab *lab;
	GPtrArray *list;
};

static bool list_one(virDomainPtr domain, const struct render_mark *mark, void *data)
{
	struct listing *listing = data;
	struct work_domain d = { .lab = listing->lab,
				 .name = (char *)(uintptr_t)vir.virDomainGetName(domain) };
	struct work_listed *l;

	if (vir.virDomainIsActive(domain) != 1)
		return true;
	l = g_new0(struct work_listed, 1);
	l->vm = g_strdup(mark->vm);
	l->settings = g_strdup(mark->settings ? mark->settings : "");
	l->id = process_of(&d);
	g_ptr_array_add(listing->list, l);
	return true;
}

GPtrArray *work_list(virConnectPtr conn, const struct work_lab *lab, GError **error)
{
	g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(work_listed_free);
	struct listing listing = { .lab = lab, .list = list };

	return each_of_lab(conn, lab, list_one, &listing, error) ? g_steal_pointer(&list) : NULL;
}

struct undefining {
	const char *vm;
	GError **error;
};

/* What hangs on a definition goes with it; not every driver knows what that could be. */
static int undefine_all_of(virDomainPtr domain)
{
	int result = vir.virDomainUndefineFlags(
		domain, VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
				VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA);
	virErrorPtr last = vir.virGetLastError();

	if (result < 0 && last && last->code == VIR_ERR_INVALID_ARG)
		result = vir.virDomainUndefineFlags(domain, 0);
	return result;
}

static bool undefine_one(virDomainPtr domain, const struct render_mark *mark, void *data)
{
	const char *name = vir.virDomainGetName(domain);
	const struct undefining *u = data;
	virErrorPtr last;

	if (u->vm && (strcmp(mark->vm, u->vm) != 0 || vir.virDomainIsActive(domain) == 1))
		return true;
	if (!u->vm && vir.virDomainIsActive(domain) == 1)
		(void)vir.virDomainDestroyFlags(domain, 0);
	if (undefine_all_of(domain) == 0)
		return true;
	last = vir.virGetLastError();
	if (last && last->code == VIR_ERR_NO_DOMAIN)
		return true; /* somebody else has */
	if (u->error && !*u->error)
		libvirt_set_error(u->error, ORCH_ERROR_FAILED, "domain %s stays defined", name);
	return false;
}

gboolean work_undefine(virConnectPtr conn, const struct work_lab *lab, const char *vm,
		       GError **error)
{
	struct undefining u = { .vm = vm, .error = error };

	return each_of_lab(conn, lab, undefine_one, &u, error);
}

/* --- last words ------------------------------------------------------------------------------------------- */

char *work_log_path(const struct work_domain *d)
{
	return d->lab->system ? g_strdup_printf("/var/log/libvirt/qemu/%s.log", d->name) :
				g_strdup_printf("%s/libvirt/qemu/log/%s.log",
						g_get_user_cache_dir(), d->name);
}

/* "2026-11-21T16:00:00.123456Z qemu-system-x86_64: words": what is not libvirt's own. */
char *work_last_words(const struct work_domain *d, gint64 from)
{
	g_autofree char *path = work_log_path(d), *text = NULL;
	g_auto(GStrv) lines = NULL;
	gsize len;

	if (!g_file_get_contents(path, &text, &len, NULL))
		return NULL;
	if (from < 0 || (gsize)from > len)
		from = 0; /* it was begun anew meanwhile */
	if (len - (gsize)from > LOG_WINDOW)
		from = (gint64)(len - LOG_WINDOW);
	lines = g_strsplit(text + from, "\n", -1);
	for (guint i = g_strv_length(lines); i > 0; i--) {
		const char *words = strstr(lines[i - 1], "Z qemu-system-");

		if (words)
			return logfile_clean(words + 2, -1, LAST_LINE_MAX);
	}
	return NULL;
}
