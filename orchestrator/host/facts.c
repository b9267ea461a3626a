/* SPDX-License-Identifier: MIT */
#include "host/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "host/command.h"
#include "model/lab.h"

const char *const host_unneeded[] = { "openvswitch", "sch_netem", "vhost_net", "vhost_vsock",
				      NULL };

static char *under(const char *root, const char *path)
{
	return g_strconcat(root, path, NULL);
}

static bool exists(const char *root, const char *path)
{
	g_autofree char *full = under(root, path);

	return access(full, F_OK) == 0;
}

/* The file without its last newline; NULL if it cannot be read. */
static char *slurp(const char *root, const char *path)
{
	g_autofree char *full = under(root, path);
	char *text;

	if (!g_file_get_contents(full, &text, NULL, NULL))
		return NULL;
	return g_strchomp(text);
}

/* --- what runs us ----------------------------------------------------------------------------------------- */

#ifdef __x86_64__
static char *cpuid_hypervisor(void)
{
	unsigned a, b, c, d;
	char name[13] = { 0 };

	__cpuid(1, a, b, c, d);
	if (!(c & (1u << 31)))
		return NULL;
	__cpuid(0x40000000, a, b, c, d);
	memcpy(name, &b, 4);
	memcpy(name + 4, &c, 4);
	memcpy(name + 8, &d, 4);
	for (char *p = name; *p; p++)
		*p = g_ascii_isprint(*p) ? *p : '?';
	return g_strdup(g_strchomp(name));
}
#else
static char *cpuid_hypervisor(void)
{
	return NULL;
}
#endif

/* Custom WSL kernels may drop the suffix, so the interpreter that runs .exe files is a second witness. */
static bool is_wsl2(const char *root, const char *kernel)
{
	return strstr(kernel, "microsoft-standard") || strstr(kernel, "WSL2") ||
	       exists(root, "/proc/sys/fs/binfmt_misc/WSLInterop");
}

static void gather_kernel(struct host_facts *f, const struct host_probe *p, const char *root)
{
	struct utsname uts = { 0 };

	f->kernel = slurp(root, "/proc/sys/kernel/osrelease");
	if (!f->kernel)
		f->kernel = g_strdup(uname(&uts) ? "unknown" : uts.release);
	if (!p->hypervisor)
		f->hypervisor = cpuid_hypervisor();
	else if (*p->hypervisor)
		f->hypervisor = g_strdup(p->hypervisor);
	f->wsl2 = is_wsl2(root, f->kernel);
	f->cpus = g_get_num_processors();
}

static void gather_kvm(struct host_facts *f, const char *root)
{
	g_autofree char *evmcs = slurp(root, "/sys/module/kvm_intel/parameters/enlightened_vmcs");

	kvm_probe(root, &f->kvm);
	f->nested = slurp(root, "/sys/module/kvm_intel/parameters/nested");
	if (!f->nested)
		f->nested = slurp(root, "/sys/module/kvm_amd/parameters/nested");
	f->evmcs = evmcs && (*evmcs == 'Y' || *evmcs == '1');
}

/* --- memory ----------------------------------------------------------------------------------------------- */

/* A line "MemTotal:  123 kB"; 0 if it is not there. */
static guint64 meminfo(const char *text, const char *key)
{
	const char *line = text ? strstr(text, key) : NULL;

	return line ? g_ascii_strtoull(line + strlen(key), NULL, 10) * 1024 : 0;
}

/* The lowest memory.max from our cgroup up to the root, where there is none. */
static guint64 cgroup_limit(const char *root)
{
	g_autofree char *self = slurp(root, "/proc/self/cgroup");
	const char *line = self ? strstr(self, "0::") : NULL;
	g_autofree char *group = line ? g_strndup(line + 3, strcspn(line + 3, "\n")) :
					g_strdup("/");
	guint64 limit = G_MAXUINT64;

	for (char *slash = group + strlen(group); slash; slash = strrchr(group, '/')) {
		g_autofree char *path = NULL;
		g_autofree char *text = NULL;

		*slash = '\0';
		path = g_strconcat("/sys/fs/cgroup", group, "/memory.max", NULL);
		text = slurp(root, path);
		if (text && g_ascii_isdigit(*text))
			limit = MIN(limit, g_ascii_strtoull(text, NULL, 10));
	}
	return limit;
}

static void gather_memory(struct host_facts *f, const char *root)
{
	g_autofree char *text = slurp(root, "/proc/meminfo");

	f->mem_total = meminfo(text, "MemTotal:");
	f->mem_available = meminfo(text, "MemAvailable:");
	f->mem_limit = cgroup_limit(root);
}

/* --- limits and places ------------------------------------------------------------------------------------ */

static int try_memfd(void)
{
	int fd = memfd_create("vhost-lab-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int errnum = 0;

	if (fd < 0)
		return errno;
	if (ftruncate(fd, 4096) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		errnum = errno;
	close(fd);
	return errnum;
}

static bool can_open(const char *root, const char *path)
{
	g_autofree char *full = under(root, path);
	int fd = open(full, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void gather_limits(struct host_facts *f, const char *root)
{
	struct rlimit lim = { 0 };

	f->cgroup_controllers = slurp(root, "/sys/fs/cgroup/cgroup.controllers");
	f->cgroup2 = f->cgroup_controllers != NULL;
	f->tun = can_open(root, "/dev/net/tun");
	f->memfd_errnum = try_memfd();
	getrlimit(RLIMIT_NOFILE, &lim);
	f->nofile_soft = lim.rlim_cur;
	f->nofile_hard = lim.rlim_max;
}

/* The nearest directory above PATH that is there already: where PATH would be made. */
static char *nearest(const char *path)
{
	char *dir = g_strdup(path);

	while (access(dir, F_OK) && strcmp(dir, "/") != 0 && strcmp(dir, ".") != 0) {
		char *up = g_path_get_dirname(dir);

		g_free(dir);
		dir = up;
	}
	return dir;
}

static guint64 free_bytes(const char *path, int *ret_errnum)
{
	g_autofree char *dir = nearest(path);
	struct statvfs st;

	if (access(dir, W_OK | X_OK) || statvfs(dir, &st)) {
		*ret_errnum = errno;
		return 0;
	}
	*ret_errnum = st.f_flag & ST_RDONLY ? EROFS : 0;
	return (guint64)st.f_bavail * st.f_frsize;
}

static void gather_places(struct host_facts *f, const struct host_probe *p)
{
	int ignored;

	f->runtime_dir = g_strdup(p->runtime_dir);
	f->cache_dir = g_strdup(p->cache_dir);
	f->state_dir = g_strdup(p->state_dir);
	f->runtime_free = free_bytes(p->runtime_dir, &f->runtime_errnum);
	f->cache_free = free_bytes(p->cache_dir, &ignored);
}

/* --- programs --------------------------------------------------------------------------------------------- */

static bool in_path(const char *name)
{
	g_autofree char *path = command_find(name, NULL);

	return path != NULL;
}

/* libvirt is optional; its own client knows its version. */
static char *libvirt_version(void)
{
	const char *argv[] = { "virsh", "--version", NULL };
	struct command command = { .argv = argv, .timeout_ms = 5000 };
	struct command_result result;
	char *version = NULL;

	if (!command_run(&command, &result, NULL))
		return NULL;
	if (result.status == 0)
		version = g_strdup(g_strstrip(result.out));
	command_result_clear(&result);
	return version;
}

/* What stands behind a word of its answer, to the end of the line; NULL: it does not say. */
static char *answer_of(const char *out, const char *word)
{
	const char *at = strstr(out, word);

	return at ? g_strstrip(g_strndup(at + strlen(word), strcspn(at + strlen(word), "\n"))) :
		    NULL;
}

/* Asked as it stands: a session's libvirt that does not run is not started by our asking. */
static void reach_libvirt(const char *uri, struct libvirt_reach *ret)
{
	const char *argv[] = {
		"env", "LIBVIRT_AUTOSTART=0", "virsh", "--connect", uri, "version", "--daemon", NULL
	};
	struct command command = { .argv = argv, .timeout_ms = 20000 };
	g_autofree char *daemon = NULL, *qemu = NULL;
	struct command_result result;

	if (!command_run(&command, &result, NULL)) {
		ret->error = g_strdup("it does not answer");
		return;
	}
	daemon = answer_of(result.out, "Running against daemon:");
	qemu = answer_of(result.out, "Running hypervisor:");
	if (result.status == 0 && daemon)
		ret->version = g_strjoin(", ", daemon, qemu, NULL);
	else
		ret->error = command_last_line(result.err);
	command_result_clear(&result);
}

static void gather_programs(struct host_facts *f, const struct host_probe *p)
{
	g_autoptr(GError) qemu = NULL;
	g_autoptr(GError) daemon = NULL, hvsock = NULL, portal = NULL, agent = NULL;

	if (!qemu_caps_probe("x86_64", p->cache_dir, &f->qemu, &qemu))
		f->qemu_error = g_strdup(qemu->message);
	(void)qemu_caps_probe_named("x86_64", LAB_QEMU_PATCHED, p->cache_dir, &f->patched, NULL);
	f->qemu_build = host_find_qemu_build();
	if (!host_find_daemon("vhost-user-net", &f->daemon, &daemon))
		f->daemon_error = g_strdup(daemon->message);
	if (!host_find_daemon("vhost-user-hvsock", &f->hvsock, &hvsock))
		f->hvsock_error = g_strdup(hvsock->message);
	if (!host_find_daemon("vhost-user-portal", &f->portal, &portal))
		f->portal_error = g_strdup(portal->message);
	if (!host_find_daemon("vhost-lab-agent", &f->agent, &agent))
		f->agent_error = g_strdup(agent->message);
	f->libvirt = libvirt_version();
	if (f->libvirt && !p->root) { /* a made-up host has none to ask */
		reach_libvirt("qemu:///session", &f->libvirt_session);
		reach_libvirt("qemu:///system", &f->libvirt_system);
	}
	f->busybox = in_path("busybox");
	f->apt = in_path("apt-get");
}

/* --- images and kernel parts ------------------------------------------------------------------------------ */

static bool has_installed_kernel(const char *root)
{
	g_autofree char *boot = under(root, "/boot");
	g_autoptr(GDir) dir = g_dir_open(boot, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *kernel = g_build_filename(boot, name, NULL);
		g_autofree char *modules = NULL;

		if (!g_str_has_prefix(name, "vmlinuz-") || access(kernel, R_OK))
			continue;
		modules = g_strconcat("/lib/modules/", name + strlen("vmlinuz-"), NULL);
		if (exists(root, modules))
			return true;
	}
	return false;
}

static bool has_tiny(const char *cache_dir)
{
	g_autofree char *images = g_build_filename(cache_dir, "images", NULL);
	g_autoptr(GDir) dir = g_dir_open(images, 0, NULL);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		g_autofree char *link = g_build_filename(images, name, NULL);

		if (g_str_has_prefix(name, "tiny-") && !access(link, F_OK))
			return true;
	}
	return false;
}

static void gather_unneeded(struct host_facts *f, const char *root)
{
	f->unneeded = g_ptr_array_new_with_free_func(g_free);
	for (const char *const *name = host_unneeded; *name; name++) {
		g_autofree char *path = g_strconcat("/sys/module/", *name, NULL);

		if (exists(root, path))
			g_ptr_array_add(f->unneeded, g_strdup(*name));
	}
}

struct host_facts *host_facts_gather(const struct host_probe *probe)
{
	struct host_facts *f = g_new0(struct host_facts, 1);
	const char *root = probe->root ? probe->root : "";

	gather_kernel(f, probe, root);
	gather_kvm(f, root);
	gather_memory(f, root);
	gather_limits(f, root);
	gather_places(f, probe);
	gather_programs(f, probe);
	f->lsm = lsm_look(root);
	f->installed_kernel = has_installed_kernel(root);
	f->tiny_built = has_tiny(probe->cache_dir);
	gather_unneeded(f, root);
	return f;
}

void host_facts_free(struct host_facts *f)
{
	if (!f)
		return;
	g_free(f->kernel);
	g_free(f->hypervisor);
	g_free(f->nested);
	g_free(f->cgroup_controllers);
	g_free(f->runtime_dir);
	g_free(f->cache_dir);
	qemu_caps_free(f->qemu);
	g_free(f->qemu_error);
	qemu_caps_free(f->patched);
	g_free(f->qemu_build);
	g_free(f->daemon);
	g_free(f->daemon_error);
	g_free(f->hvsock);
	g_free(f->hvsock_error);
	g_free(f->portal);
	g_free(f->portal_error);
	g_free(f->agent);
	g_free(f->agent_error);
	g_free(f->libvirt);
	g_free(f->libvirt_session.version);
	g_free(f->libvirt_session.error);
	g_free(f->libvirt_system.version);
	g_free(f->libvirt_system.error);
	g_free(f->state_dir);
	if (f->unneeded)
		g_ptr_array_unref(f->unneeded);
	g_free(f);
}
