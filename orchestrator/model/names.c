/* SPDX-License-Identifier: MIT */
#include "model/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "model/lab.h"

/* The address that is dealt out first is this one of a subnet, where it has that many. */
#define FIRST_HOST 10

/* --- directories ---------------------------------------------------------------------------------------------------- */

/* $variable/vhost-lab; where that is unset, empty or relative (the XDG specification: ignore it), fallback. */
static char *base_dir(char **environment, const char *variable, const char *fallback)
{
	const char *value = g_environ_getenv(environment, variable);

	if (!value || !g_path_is_absolute(value))
		return g_strdup(fallback);
	return g_build_filename(value, "vhost-lab", NULL);
}

struct lab_dirs *lab_dirs_new_from(char **environment, uid_t uid)
{
	const char *home = g_environ_getenv(environment, "HOME");
	g_autofree char *tmp = g_strdup_printf("/tmp/vhost-lab-%u", (unsigned)uid);
	g_autofree char *state = NULL, *cache = NULL;
	struct lab_dirs *dirs = g_new0(struct lab_dirs, 1);

	if (!home || !g_path_is_absolute(home)) {
		state = g_build_filename(tmp, "state", NULL);
		cache = g_build_filename(tmp, "cache", NULL);
	} else {
		state = g_build_filename(home, ".local/state/vhost-lab", NULL);
		cache = g_build_filename(home, ".cache/vhost-lab", NULL);
	}
	dirs->state = base_dir(environment, "XDG_STATE_HOME", state);
	dirs->runtime = base_dir(environment, "XDG_RUNTIME_DIR", tmp);
	dirs->cache = base_dir(environment, "XDG_CACHE_HOME", cache);
	return dirs;
}

struct lab_dirs *lab_dirs_new(void)
{
	g_auto(GStrv) environment = g_get_environ();

	return lab_dirs_new_from(environment, getuid());
}

void lab_dirs_free(struct lab_dirs *dirs)
{
	if (!dirs)
		return;
	g_free(dirs->state);
	g_free(dirs->runtime);
	g_free(dirs->cache);
	g_free(dirs);
}

/* --- paths ---------------------------------------------------------------------------------------------------------- */

/* dir/name followed by suffix. */
static char *under(const char *dir, const char *name, const char *suffix)
{
	return g_strconcat(dir, "/", name, suffix, NULL);
}

/* Takes over ctl, dir and journal. */
static struct daemon_paths *daemon_paths_new(char *ctl, char *dir, char *journal)
{
	struct daemon_paths *d = g_new0(struct daemon_paths, 1);

	d->ctl = ctl;
	d->dir = dir;
	d->config = under(d->dir, "config.json", "");
	d->log = under(d->dir, "log", "");
	d->journal = journal;
	return d;
}

struct daemon_paths *net_paths_new(const struct lab_paths *paths, const char *network_name)
{
	return daemon_paths_new(under(paths->run_dir, network_name, ".ctl"),
				under(paths->nets_dir, network_name, ""), NULL);
}

struct daemon_paths *daemon_paths_copy(const struct daemon_paths *paths)
{
	return daemon_paths_new(g_strdup(paths->ctl), g_strdup(paths->dir),
				g_strdup(paths->journal));
}

void daemon_paths_free(struct daemon_paths *paths)
{
	if (!paths)
		return;
	g_free(paths->ctl);
	g_free(paths->dir);
	g_free(paths->config);
	g_free(paths->log);
	g_free(paths->journal);
	g_free(paths);
}

struct portal_paths *portal_paths_new(const struct lab_paths *paths, const char *portal_name)
{
	struct portal_paths *p = g_new0(struct portal_paths, 1);

	p->daemon = daemon_paths_new(under(paths->run_dir, portal_name, ".pctl"),
				     under(paths->portals_dir, portal_name, ""), NULL);
	p->lease = under(paths->run_dir, portal_name, ".portal");
	p->ivshmem = under(paths->run_dir, portal_name, ".ivshmem");
	p->memory = under(paths->run_dir, portal_name, ".arena");
	return p;
}

void portal_paths_free(struct portal_paths *paths)
{
	if (!paths)
		return;
	daemon_paths_free(paths->daemon);
	g_free(paths->lease);
	g_free(paths->ivshmem);
	g_free(paths->memory);
	g_free(paths);
}

struct vm_paths *vm_paths_new(const struct lab_paths *paths, const char *vm_name, unsigned n_nics)
{
	struct vm_paths *v = g_new0(struct vm_paths, 1);

	v->qmp = under(paths->run_dir, vm_name, ".qmp");
	v->con = under(paths->run_dir, vm_name, ".con");
	v->ports = g_ptr_array_new_with_free_func(g_free);
	for (unsigned i = 0; i < n_nics; i++)
		g_ptr_array_add(v->ports,
				g_strdup_printf("%s/%s-%u.vu", paths->run_dir, vm_name, i));
	v->vsock = under(paths->run_dir, vm_name, "-s.vu");
	v->pmem = under(paths->run_dir, vm_name, "-p");
	v->vs = under(paths->run_dir, vm_name, ".vs");
	v->dir = under(paths->vms_dir, vm_name, "");
	v->qemu_log = under(v->dir, "qemu.log", "");
	v->console_log = under(v->dir, "console.log", "");
	v->ready = under(v->dir, "ready", "");
	v->guest_conf = under(v->dir, "guest.conf", "");
	v->script = under(v->dir, "qemu.sh", "");
	return v;
}

void vm_paths_free(struct vm_paths *paths)
{
	if (!paths)
		return;
	g_free(paths->qmp);
	g_free(paths->con);
	g_ptr_array_unref(paths->ports);
	g_free(paths->vsock);
	g_free(paths->pmem);
	g_free(paths->vs);
	g_free(paths->dir);
	g_free(paths->qemu_log);
	g_free(paths->console_log);
	g_free(paths->ready);
	g_free(paths->guest_conf);
	g_free(paths->script);
	g_free(paths);
}

char *vm_paths_pmem(const struct vm_paths *paths, unsigned access_index)
{
	return g_strdup_printf("%s%u.vu", paths->pmem, access_index);
}

char *vm_paths_vs_port(const struct vm_paths *paths, uint32_t port)
{
	return g_strdup_printf("%s_%" G_GUINT32_FORMAT, paths->vs, port);
}

struct lab_paths *lab_paths_new_named(const char *lab_name, const struct lab_dirs *dirs)
{
	struct lab_paths *p = g_new0(struct lab_paths, 1);

	p->cache_dir = g_strdup(dirs->cache);
	p->state_dir = g_build_filename(dirs->state, "labs", lab_name, NULL);
	p->run_dir = g_build_filename(dirs->runtime, lab_name, NULL);
	p->sup_sock = under(p->run_dir, "sup.sock", "");
	p->lock = under(p->state_dir, "lock", "");
	p->lab_json = under(p->state_dir, "lab.json", "");
	p->state_json = under(p->state_dir, "state.json", "");
	p->supervisor_log = under(p->state_dir, "supervisor.log", "");
	p->ssh_config = under(p->state_dir, "ssh_config", "");
	p->hvsock = daemon_paths_new(under(p->run_dir, "hvsock.sock", ""),
				     under(p->state_dir, "hvsock", ""),
				     under(p->run_dir, "hvsock.journal", ""));
	p->nets_dir = under(p->state_dir, "nets", "");
	p->vms_dir = under(p->state_dir, "vms", "");
	p->portals_dir = under(p->state_dir, "portals", "");
	p->nets = g_ptr_array_new_with_free_func((GDestroyNotify)daemon_paths_free);
	p->vms = g_ptr_array_new_with_free_func((GDestroyNotify)vm_paths_free);
	p->portals = g_ptr_array_new_with_free_func((GDestroyNotify)portal_paths_free);
	return p;
}

/* Its file may be one that the lab names. */
static struct portal_paths *portal_paths_of(const struct lab_paths *paths,
					    const struct portal *portal)
{
	struct portal_paths *p = portal_paths_new(paths, portal->name);

	if (!portal->file)
		return p;
	g_free(p->memory);
	p->memory = g_strdup(portal->file);
	return p;
}

struct lab_paths *lab_paths_new(const struct lab *lab, const struct lab_dirs *dirs)
{
	struct lab_paths *p = lab_paths_new_named(lab->name, dirs);

	for (unsigned i = 0; i < lab->networks->len; i++)
		g_ptr_array_add(p->nets, net_paths_new(p, lab_network(lab, i)->name));
	for (unsigned i = 0; i < lab->portals->len; i++)
		g_ptr_array_add(p->portals, portal_paths_of(p, lab_portal(lab, i)));
	for (unsigned i = 0; i < lab->vms->len; i++)
		g_ptr_array_add(p->vms,
				vm_paths_new(p, lab_vm(lab, i)->name, lab_vm(lab, i)->nics->len));
	return p;
}

void lab_paths_free(struct lab_paths *paths)
{
	if (!paths)
		return;
	g_free(paths->cache_dir);
	g_free(paths->state_dir);
	g_free(paths->run_dir);
	g_free(paths->sup_sock);
	g_free(paths->lock);
	g_free(paths->lab_json);
	g_free(paths->state_json);
	g_free(paths->supervisor_log);
	g_free(paths->ssh_config);
	daemon_paths_free(paths->hvsock);
	g_free(paths->nets_dir);
	g_free(paths->vms_dir);
	g_free(paths->portals_dir);
	g_ptr_array_unref(paths->nets);
	g_ptr_array_unref(paths->vms);
	g_ptr_array_unref(paths->portals);
	g_free(paths);
}

/* --- names ---------------------------------------------------------------------------------------------------------- */

bool names_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > NAMES_LABEL_MAX || name[0] == '-' || name[len - 1] == '-')
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

char *names_lab_default(const char *absolute_path)
{
	g_autofree char *base = g_path_get_basename(absolute_path);
	g_autofree char *dir = g_path_get_dirname(absolute_path);
	g_autofree char *dir_base = g_path_get_basename(dir);
	char *from = base;

	if (g_str_has_suffix(base, ".json"))
		base[strlen(base) - strlen(".json")] = '\0';
	if (strcmp(base, "lab") == 0)
		from = dir_base;
	else if (g_str_has_suffix(base, ".lab"))
		base[strlen(base) - strlen(".lab")] = '\0';
	return names_label(from, "lab");
}

char *names_label(const char *text, const char *otherwise)
{
	GString *name = g_string_new(NULL);

	/* Whatever a label cannot hold becomes one '-', none at the start. */
	for (const char *p = text; *p && name->len < NAMES_LABEL_MAX; p++) {
		char c = g_ascii_tolower(*p);

		if (g_ascii_isalnum(c))
			g_string_append_c(name, c);
		else if (name->len > 0 && name->str[name->len - 1] != '-')
			g_string_append_c(name, '-');
	}
	if (name->len > 0 && name->str[name->len - 1] == '-')
		g_string_truncate(name, name->len - 1);
	if (name->len == 0)
		g_string_append(name, otherwise);
	return g_string_free(name, FALSE);
}

char *names_port(const char *vm_name, unsigned nic_index)
{
	return g_strdup_printf("%s.%u", vm_name, nic_index);
}

/* --- addresses ------------------------------------------------------------------------------------------------------ */

/* FNV-1a, 64 bits, its NUL included as a separator. */
static uint64_t hash_string(uint64_t h, const char *s)
{
	do
		h = (h ^ (unsigned char)*s) * 0x100000001b3ull;
	while (*s++);
	return h;
}

/* The low bits of FNV alone mix little. */
static uint64_t mixed(uint64_t h)
{
	return (h ^ h >> 32) * 0x9e3779b97f4a7c15ull;
}

#define HASH_START 0xcbf29ce484222325ull

void names_mac(const char *lab_name, const char *vm_name, unsigned nic_index, unsigned attempt,
	       uint8_t ret_mac[6])
{
	char tail[24];
	uint64_t h;

	snprintf(tail, sizeof(tail), "%u.%u", nic_index, attempt);
	h = mixed(hash_string(hash_string(hash_string(HASH_START, lab_name), vm_name), tail));
	ret_mac[0] = 0x52;
	ret_mac[1] = 0x54;
	ret_mac[2] = 0x00;
	ret_mac[3] = (uint8_t)(h >> 56);
	ret_mac[4] = (uint8_t)(h >> 48);
	ret_mac[5] = (uint8_t)(h >> 40);
}

void names_mac_format(const uint8_t mac[6], char ret_text[NAMES_MAC_LEN + 1])
{
	snprintf(ret_text, NAMES_MAC_LEN + 1, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1],
		 mac[2], mac[3], mac[4], mac[5]);
}

bool names_mac_parse(const char *text, uint64_t *ret_mac)
{
	uint64_t mac = 0;

	if (strlen(text) != NAMES_MAC_LEN)
		return false;
	for (unsigned i = 0; i < NAMES_MAC_LEN; i++) {
		int digit = g_ascii_xdigit_value(text[i]);

		if (i % 3 == 2 ? text[i] != ':' : digit < 0)
			return false;
		if (i % 3 != 2)
			mac = mac << 4 | (unsigned)digit;
	}
	*ret_mac = mac;
	return true;
}

char *names_domain(const char *lab_name, const char *vm_name)
{
	return g_strdup_printf("%s.%s", lab_name, vm_name);
}

void names_uuid(const char *lab_name, const char *vm_name, const char *state_dir,
		char ret_text[NAMES_UUID_LEN + 1])
{
	uint64_t h = hash_string(hash_string(HASH_START, lab_name), vm_name);
	uint64_t a = mixed(hash_string(hash_string(h, state_dir), "uuid.0"));
	uint64_t b = mixed(hash_string(hash_string(h, state_dir), "uuid.1"));

	snprintf(ret_text, NAMES_UUID_LEN + 1, "%08x-%04x-8%03x-%04x-%012" PRIx64,
		 (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff), (unsigned)(a >> 4 & 0xfff),
		 0x8000 | (unsigned)(b >> 50), b & 0xffffffffffff);
}

uint32_t names_cid(const char *lab_name, const char *vm_name, unsigned attempt)
{
	char tail[24];
	uint64_t h;

	snprintf(tail, sizeof(tail), "cid.%u", attempt);
	h = mixed(hash_string(hash_string(hash_string(HASH_START, lab_name), vm_name), tail));
	return 1u << 30 | (uint32_t)(h >> 34);
}

uint32_t names_portal_port(const char *lab_name, const char *portal_name, unsigned attempt)
{
	char tail[24];
	uint64_t h;

	snprintf(tail, sizeof(tail), "portal.%u", attempt);
	h = mixed(hash_string(hash_string(hash_string(HASH_START, lab_name), portal_name), tail));
	return 1u << 30 | (uint32_t)(h >> 34);
}

uint32_t names_ip_count(unsigned prefix)
{
	return (1u << (32 - prefix)) - 2;
}

uint32_t names_ip(uint32_t subnet, unsigned prefix, uint32_t n)
{
	uint32_t count = names_ip_count(prefix), first = count >= FIRST_HOST ? FIRST_HOST : 1;

	return subnet + (first - 1 + n) % count + 1;
}
