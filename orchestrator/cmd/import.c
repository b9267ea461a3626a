/* SPDX-License-Identifier: MIT */
/* `orchestrator import`: libvirt domains as a lab file. */
#include "cmd.h"

#include <errno.h>
#include <string.h>

#include "err.h"
#include "import/domain.h"
#include "import/lab_text.h"
#include "import/xml.h"
#include "model/lab.h"
#include "out.h"

static char *opt_out;

static const GOptionEntry options[] = {
	{ "out", 0, 0, G_OPTION_ARG_FILENAME, &opt_out, "Write the lab into FILE instead", "FILE" },
	{ NULL },
};

struct import {
	GPtrArray *domains; /* of struct import_domain */
	GPtrArray *lost;
	unsigned n_refused;
};

/* All of a file, "-" being stdin; NULL with *error set.  Of one that is too large, one byte more than may be. */
static GString *read_file(const char *path, GError **error)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	g_autoptr(GString) text = g_string_new(NULL);
	char part[65536];
	size_t n;

	if (!file) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot read %s", path);
		return NULL;
	}
	while (text->len <= XML_TEXT_MAX && (n = fread(part, 1, sizeof(part), file)) > 0)
		g_string_append_len(text, part, (gssize)n);
	n = (size_t)ferror(file);
	if (n)
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot read %s", path);
	if (file != stdin)
		(void)fclose(file);
	return n ? NULL : g_steal_pointer(&text);
}

static struct import_domain *read_domain(struct import *import, const char *path, GError **error)
{
	GString *text = read_file(path, error);
	struct import_domain *domain = NULL;

	if (text)
		domain = import_domain_read(strcmp(path, "-") == 0 ? "stdin" : path, text->str,
					    text->len, import->lost, error);
	if (text)
		g_string_free(text, TRUE);
	return domain;
}

/* The one that is wrong is told, and the others are read; if none is left, *error says why. */
static gboolean read_domains(struct import *import, char **paths, GError **error)
{
	g_autoptr(GError) first = NULL;

	for (; *paths; paths++) {
		g_autoptr(GError) problem = NULL;
		struct import_domain *domain = read_domain(import, *paths, &problem);

		if (domain) {
			g_ptr_array_add(import->domains, domain);
			continue;
		}
		import->n_refused++;
		if (first)
			out_error("%s", problem->message);
		else
			first = g_steal_pointer(&problem);
	}
	if (import->domains->len > 0) {
		if (first)
			out_error("%s", first->message);
		return TRUE;
	}
	g_propagate_error(error, g_steal_pointer(&first));
	return FALSE;
}

/* That it is a lab: of strangers' words all that a lab has bounds for has been bent into them, or told. */
static gboolean check_lab(const char *text, GError **error)
{
	g_autofree char *path = g_canonicalize_filename(opt_out ? opt_out : "lab.json", NULL);
	struct lab_dirs *dirs = lab_dirs_new();
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;
	gboolean ok = lab_parse(text, strlen(text), path, dirs, &lab, &errors);

	if (!ok) {
		g_autofree char *said = lab_errors_format(errors);

		g_set_error(error, ORCH_ERROR, ORCH_ERROR_INVALID_LAB,
			    "these domains are no lab together:\n%s", g_strchomp(said));
		lab_errors_free(errors);
	}
	lab_free(lab);
	lab_dirs_free(dirs);
	return ok;
}

static gboolean write_lab(const char *text, GError **error)
{
	if (opt_out && strcmp(opt_out, "-") != 0)
		return g_file_set_contents(opt_out, text, -1, error);
	fputs(text, stdout);
	return out_finish(error);
}

static int import_all(struct import *import, char **paths, GError **error)
{
	g_autofree char *text = NULL;

	if (!read_domains(import, paths, error))
		return -1;
	text = import_lab_text(import->domains, import->lost);
	for (guint i = 0; i < import->lost->len; i++)
		out_info("%s", (const char *)import->lost->pdata[i]);
	if (!check_lab(text, error) || !write_lab(text, error))
		return -1;
	return import->n_refused > 0 ? ORCH_ERROR_PARTIAL : 0;
}

static int run(char **args, GError **error)
{
	struct import import = {
		.domains = g_ptr_array_new_with_free_func((GDestroyNotify)import_domain_free),
		.lost = g_ptr_array_new_with_free_func(g_free),
	};
	int code = import_all(&import, args, error);

	g_ptr_array_unref(import.domains);
	g_ptr_array_unref(import.lost);
	return code;
}

const struct cmd cmd_import = {
	.name = "import",
	.args = "DOMAIN.xml…",
	.summary = "Make a lab file of libvirt domains",
	.help = "Reads domains as `virsh dumpxml` prints them (\"-\": from stdin), and prints a lab\n"
		"whose VMs are like them. What a domain has and a VM of a lab does not is told on\n"
		"stderr, a line each, with what is there instead. A domain that `orchestrator render\n"
		"libvirt` made comes back as the VM that it was; what hangs on the networks (uplinks,\n"
		"impairments, VLANs) is in no domain.\n"
		"\n"
		"Exits with 6 if some of the files could not be read, with 3 if none could.",
	.options = options,
	.min_args = 1,
	.max_args = 4096,
	.arg = CMD_ARG_OTHER,
	.run = run,
};
