/* SPDX-License-Identifier: MIT */
#include "host/lsm.h"

#include <string.h>

static char *slurp(const char *root, const char *path)
{
	g_autofree char *full = g_strconcat(root, path, NULL);
	char *text = NULL;

	(void)g_file_get_contents(full, &text, NULL, NULL);
	return text;
}

struct lsm_facts lsm_look(const char *root)
{
	g_autofree char *apparmor = slurp(root, "/sys/module/apparmor/parameters/enabled");
	g_autofree char *selinux = slurp(root, "/sys/fs/selinux/enforce");

	return (struct lsm_facts){
		.apparmor = apparmor && apparmor[0] == 'Y',
		.selinux = selinux != NULL,
		.selinux_enforcing = selinux && selinux[0] == '1',
	};
}

/* A path as a pattern of AppArmor in quotes: its own characters stand for themselves. */
static char *apparmor_path(const char *path)
{
	GString *out = g_string_new(NULL);

	for (; *path; path++) {
		if (strchr("\"\\*?[]{}^", *path))
			g_string_append_c(out, '\\');
		g_string_append_c(out, *path);
	}
	return g_string_free(out, FALSE);
}

char *lsm_apparmor_rules(const struct lsm_places *places)
{
	g_autofree char *runtime = apparmor_path(places->runtime);
	g_autofree char *state = apparmor_path(places->state);
	g_autofree char *cache = apparmor_path(places->cache);

	return g_strdup_printf("\"%s/**\" rw,\n\"%s/labs/**\" rw,\n\"%s/images/**\" r,", runtime,
			       state, cache);
}

/* A path as semanage reads it, a regular expression, in sh's quotes. */
static char *selinux_path(const char *path)
{
	g_autofree char *expression = g_regex_escape_string(path, -1);
	g_autofree char *whole = g_strconcat(expression, "(/.*)?", NULL);

	return g_shell_quote(whole);
}

char *lsm_selinux_commands(const struct lsm_places *places)
{
	g_autofree char *runtime = selinux_path(places->runtime);
	g_autofree char *state = selinux_path(places->state);
	g_autofree char *runtime_dir = g_shell_quote(places->runtime);
	g_autofree char *state_dir = g_shell_quote(places->state);

	return g_strdup_printf(
		"semanage fcontext -a -t svirt_image_t %s\n"
		"semanage fcontext -a -t svirt_image_t %s\n"
		"restorecon -R %s %s\n"
		"echo '(typeattributeset cil_gen_require svirt_t) (typeattributeset cil_gen_require unconfined_t) "
		"(allow svirt_t unconfined_t (unix_stream_socket (connectto)))' >vhost-lab.cil\n"
		"semodule -i vhost-lab.cil",
		runtime, state, runtime_dir, state_dir);
}
