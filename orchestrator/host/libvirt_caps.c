/* SPDX-License-Identifier: MIT */
#include "host/libvirt_caps.h"

#include <string.h>
#include <unistd.h>

#include "err.h"
#include "host/caps.h"
#include "host/command.h"
#include "model/libvirt_uri.h"

#define ASK_MS 60000 /* a libvirt asks each QEMU of its host when it sees it first; usually 0.1 s */

void libvirt_caps_free(struct libvirt_caps *caps)
{
	if (!caps)
		return;
	for (unsigned i = 0; i < LAB_ARCH_COUNT; i++)
		g_free(caps->emulator[i]);
	g_free(caps->uri);
	g_free(caps->qemu_version);
	g_free(caps->label);
	g_free(caps);
}

/* --- versions --------------------------------------------------------------------------------------------------------- */

char *libvirt_version_text(unsigned long version)
{
	return g_strdup_printf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000,
			       version % 1000);
}

/* "9.0.0" behind that heading, at the beginning of a line; 0: none. */
static unsigned long version_behind(const char *text, const char *heading)
{
	const char *at = strstr(text, heading);
	unsigned long parts[3] = { 0 };

	if (!at || (at > text && at[-1] != '\n'))
		return 0;
	at += strlen(heading);
	for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
		char *end;

		parts[i] = MIN(g_ascii_strtoull(at, &end, 10), 999ul);
		if (end == at)
			break;
		at = *end == '.' ? end + 1 : end;
	}
	return LIBVIRT_VERSION(parts[0], parts[1], parts[2]);
}

/* --- its capabilities -------------------------------------------------------------------------------------------------- */

struct reader {
	struct libvirt_caps *caps;
	int arch;           /* whose <arch> this is; -1: none of ours */
	GString *model;     /* of the <secmodel> it is in */
	char *user, *group; /* that its QEMUs run as, "+64055"; NULL: not said */
};

static const char *attribute(const char *name, const char **names, const char **values)
{
	for (unsigned i = 0; names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return values[i];
	return "";
}

static int find_arch(const char *name)
{
	for (int i = 0; i < LAB_ARCH_COUNT; i++)
		if (strcmp(lab_arch_name((enum lab_arch)i), name) == 0)
			return i;
	return -1;
}

static void begin(GMarkupParseContext *context, const char *element, const char **names,
		  const char **values, gpointer data, GError **error)
{
	struct reader *r = data;

	if (strcmp(element, "arch") == 0)
		r->arch = find_arch(attribute("name", names, values));
	else if (strcmp(element, "domain") == 0 && r->arch >= 0 &&
		 strcmp(attribute("type", names, values), "kvm") == 0)
		r->caps->has_kvm[r->arch] = true;
	else if (strcmp(element, "secmodel") == 0)
		g_string_truncate(r->model, 0);
}

static void end(GMarkupParseContext *context, const char *element, gpointer data, GError **error)
{
	struct reader *r = data;

	if (strcmp(element, "guest") == 0)
		r->arch = -1;
	else if (strcmp(element, "secmodel") == 0 && strcmp(r->model->str, "apparmor") == 0)
		r->caps->apparmor = true;
	else if (strcmp(element, "secmodel") == 0 && strcmp(r->model->str, "selinux") == 0)
		r->caps->selinux = true;
}

/* "+64055:+64055" of a <baselabel>. */
static void take_label(struct reader *r, const char *label)
{
	const char *colon = strchr(label, ':');

	if (!colon || r->group || strcmp(r->model->str, "dac") != 0)
		return;
	r->user = g_strstrip(g_strndup(label, (gsize)(colon - label)));
	r->group = g_strstrip(g_strdup(colon + 1));
}

static void text(GMarkupParseContext *context, const char *said, gsize len, gpointer data,
		 GError **error)
{
	const GSList *stack = g_markup_parse_context_get_element_stack(context);
	const char *element = stack ? stack->data : "";
	const char *parent = stack && stack->next ? stack->next->data : "";
	g_autofree char *copy = g_strndup(said, len);
	struct reader *r = data;

	if (strcmp(parent, "secmodel") == 0 && strcmp(element, "model") == 0)
		g_string_assign(r->model, g_strstrip(copy));
	else if (strcmp(parent, "secmodel") == 0 && strcmp(element, "baselabel") == 0)
		take_label(r, copy);
	else if (strcmp(parent, "arch") == 0 && strcmp(element, "emulator") == 0 && r->arch >= 0 &&
		 !r->caps->emulator[r->arch])
		r->caps->emulator[r->arch] = g_strdup(g_strstrip(copy));
}

/* "+64055"; a name is no number. */
static gint64 uid_in(const char *user)
{
	guint64 uid;

	return user && *user == '+' &&
			       g_ascii_string_to_unsigned(user + 1, 10, 0, G_MAXUINT32 - 1, &uid,
							  NULL) ?
		       (gint64)uid :
		       -1;
}

static gboolean read_capabilities(struct libvirt_caps *caps, const char *xml, GError **error)
{
	static const GMarkupParser parser = { .start_element = begin,
					      .end_element = end,
					      .text = text };
	struct reader r = { .caps = caps, .arch = -1, .model = g_string_new(NULL) };
	g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(&parser, 0, &r, NULL);
	g_autoptr(GError) local = NULL;
	gboolean ok = g_markup_parse_context_parse(context, xml, -1, &local) &&
		      g_markup_parse_context_end_parse(context, &local);

	if (!ok)
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "what the libvirt at %s says of itself is no XML: %s", caps->uri,
			    local->message);
	else if (caps->system && r.group) {
		caps->label = g_strdup_printf("+%u:%s", (unsigned)getuid(), r.group);
		caps->qemu_uid = uid_in(r.user);
	}
	g_string_free(r.model, TRUE);
	g_free(r.user);
	g_free(r.group);
	return ok;
}

/* --- a libvirt --------------------------------------------------------------------------------------------------------- */

bool libvirt_is_system(const struct libvirt_uri *parts)
{
	return parts->system || (!parts->remote && geteuid() == 0);
}

static struct libvirt_caps *caps_new(const char *uri, unsigned long version)
{
	struct libvirt_caps *caps = g_new0(struct libvirt_caps, 1);
	struct libvirt_uri parts = { false };

	(void)libvirt_uri_fault(uri, &parts);
	caps->uri = g_strdup(uri);
	caps->system = libvirt_is_system(&parts);
	caps->qemu_uid = -1;
	caps->version = version;
	/* 9.0 kills the QEMU of a domain that has one, 11.3 does not; those between are not trusted. */
	caps->has_pmem = version >= LIBVIRT_VERSION(11, 0, 0);
	return caps;
}

struct libvirt_caps *libvirt_caps_assume(const char *uri)
{
	struct libvirt_caps *caps = caps_new(uri, LIBVIRT_VERSION_MIN);

	caps->assumed = true;
	for (unsigned i = 0; i < LAB_ARCH_COUNT; i++)
		caps->has_kvm[i] = true;
	return caps;
}

struct libvirt_caps *libvirt_caps_read(const char *uri, unsigned long version,
				       unsigned long qemu_version, const char *capabilities,
				       GError **error)
{
	struct libvirt_caps *caps = caps_new(uri, version);

	if (!read_capabilities(caps, capabilities, error)) {
		libvirt_caps_free(caps);
		return NULL;
	}
	if (qemu_version > 0)
		caps->qemu_version = libvirt_version_text(qemu_version);
	return caps;
}

/* --- asking it by virsh ------------------------------------------------------------------------------------------------- */

/* What virsh's complaint about a connection calls for. */
static const char *way_out(const char *complaint, bool system)
{
	static const char *const rights[] = { "Permission denied", "authenticat", "system bus",
					      "polkit" };

	for (unsigned i = 0; system && i < G_N_ELEMENTS(rights); i++)
		if (strstr(complaint, rights[i]))
			return "add yourself to the group libvirt, or use qemu:///session";
	return "start libvirtd";
}

/* Takes result. */
static struct libvirt_caps *read_answer(const char *uri, struct command_result *result,
					GError **error)
{
	const char *xml = strstr(result->out, "<capabilities>");
	g_autofree char *complaint = command_last_line(result->err);
	const char *bare = g_str_has_prefix(complaint, "error: ") ? complaint + strlen("error: ") :
								    complaint;
	struct libvirt_caps *caps = NULL;
	struct libvirt_uri parts = { false };
	unsigned long version;

	(void)libvirt_uri_fault(uri, &parts);
	if (result->status != 0 || !xml) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT, "no connection to %s: %s; %s",
			    uri, *bare ? bare : "virsh does not say why",
			    way_out(result->err, parts.system));
	} else {
		version = version_behind(result->out, "Running against daemon: ");
		caps = libvirt_caps_read(uri, version ? version : LIBVIRT_VERSION_MIN,
					 version_behind(result->out, "Running hypervisor: QEMU "),
					 g_strchomp((char *)(uintptr_t)xml), error);
	}
	command_result_clear(result);
	return caps;
}

gboolean libvirt_caps_probe(const char *uri, struct libvirt_caps **ret_caps, GError **error)
{
	const char *argv[] = {
		"virsh", "--readonly", "--connect", uri, "version --daemon; capabilities", NULL
	};
	struct command command = { .argv = argv, .timeout_ms = ASK_MS };
	struct libvirt_uri parts;
	const char *fault = libvirt_uri_fault(uri, &parts);
	struct command_result result;
	g_autoptr(GError) local = NULL;

	if (fault) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "%s: %s", uri, fault);
		return FALSE;
	}
	if (command_run(&command, &result, &local)) {
		*ret_caps = read_answer(uri, &result, error);
		return *ret_caps != NULL;
	}
	if (g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "no connection to %s: there is no virsh; install the packages "
			    "libvirt-daemon-system and libvirt-clients",
			    uri);
	else
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "no connection to %s: virsh: %s", uri, local->message);
	return FALSE;
}

/* --- its QEMU ----------------------------------------------------------------------------------------------------------- */

/* Whether the QEMU that was asked is the one that libvirt means: it tells the version of its host's own architecture alone. */
static bool is_the_same(const struct libvirt_caps *caps, const struct qemu_caps *qemu)
{
	return !caps->qemu_version || strcmp(caps->qemu_version, qemu->version) == 0 ||
	       strcmp(qemu->arch, lab_arch_name(LAB_ARCH_X86_64)) != 0;
}

/* Takes qemu, which may be NULL: nobody answers there. */
static struct qemu_caps *settle_qemu(const struct libvirt_caps *caps, enum lab_arch arch,
				     struct qemu_caps *qemu)
{
	if (qemu && is_the_same(caps, qemu)) {
		qemu->kvm_usable = qemu->kvm_usable && caps->has_kvm[arch];
		return qemu;
	}
	qemu_caps_free(qemu);
	if (!caps->qemu_version)
		return NULL;
	qemu = qemu_caps_assume(lab_arch_name(arch), caps->emulator[arch], caps->qemu_version);
	qemu->kvm_usable = caps->has_kvm[arch];
	return qemu;
}

gboolean libvirt_caps_qemu(const struct libvirt_caps *caps, enum lab_arch arch, const char *named,
			   const char *cache_dir, struct qemu_caps **ret_qemu, GError **error)
{
	const char *own = g_getenv("ORCHESTRATOR_QEMU"), *name = lab_arch_name(arch);
	g_autoptr(GError) local = NULL;
	struct qemu_caps *qemu = NULL;

	if (named || caps->assumed || (own && *own)) {
		if (!qemu_caps_probe_named(name, named, cache_dir, &qemu, error))
			return FALSE;
		qemu->kvm_usable = qemu->kvm_usable && caps->has_kvm[arch];
		*ret_qemu = qemu;
		return TRUE;
	}
	if (!caps->emulator[arch]) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			    "the libvirt at %s has no QEMU for %s; install the package %s",
			    caps->uri, name,
			    arch == LAB_ARCH_X86_64 ? "qemu-system-x86" : "qemu-system-arm");
		return FALSE;
	}
	if (!qemu_caps_probe_binary(name, caps->emulator[arch], cache_dir, &qemu, &local))
		qemu = NULL;
	qemu = settle_qemu(caps, arch, qemu);
	if (!qemu) {
		g_propagate_error(error, g_steal_pointer(&local));
		return FALSE;
	}
	*ret_qemu = qemu;
	return TRUE;
}
