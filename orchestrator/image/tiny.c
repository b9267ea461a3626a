/* SPDX-License-Identifier: MIT */
#include "image/tiny.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "guest-resource.h"
#include "host/caps.h"
#include "host/command.h"
#include "image/cache.h"
#include "image/deb.h"
#include "image/initramfs.h"
#include "image/kernel.h"
#include "image/kmod.h"
#include "image/package.h"

/* Changes with anything in this file that changes the result. */
#define BUILDER "tiny 4"

/* The kernel command line.  What it leaves out costs boot time under TCG and serves no lab: self-tests of ciphers, the
 * event tracer's kprobe test, ports that are not there, waiting for grace periods. */
#define APPEND                                                                        \
	"console=ttyS0 quiet cryptomgr.notests initcall_blacklist=init_kprobe_trace " \
	"8250.nr_uarts=2 tsc=reliable no_timer_check rcupdate.rcu_expedited=1"

#define COUNT_US 200000 /* between two counting reports */

/* Loaded at boot.  A name with '?' may be missing. */
static const char *const modules[] = { "qemu_fw_cfg", "virtio_pci", "virtio_net", "virtio_rng?",
				       "button?",     "evdev?",     NULL };

/* Loaded when the agent needs them: disks and what may be on them, what turns a virtio-pmem into /dev/daxN.0, and sockets,
 * of which a kernel takes the first kind and no other.  A name that stands for several is none of theirs. */
static const struct {
	const char *name, *modules[5];
} demanded[] = {
	{ "virtio_blk", { "virtio_blk?" } },
	{ "ext4", { "ext4?" } },
	{ "squashfs", { "squashfs?" } },
	{ "overlay", { "overlay?" } },
	{ "isofs", { "isofs?" } },
	{ "vfat", { "vfat?" } },
	{ "loop", { "loop?" } },
	{ "vsock", { "vmw_vsock_virtio_transport?" } },
	{ "hvsock", { "hv_vmbus?", "hv_sock?" } },
	{ "portal", { "virtio_pmem?", "nd_pmem?", "dax_pmem?", "device_dax?" } },
};

/* Where each of the guest's own files goes. */
static const struct {
	const char *resource, *path;
	guint mode;
} guest_files[] = {
	{ "profile", "etc/profile", 0644 },
	{ "udhcpc", "etc/udhcpc/default.script", 0755 },
};

struct build {
	const struct tiny_env *env;
	image_progress_fn *progress;
	void *data;
	GCancellable *cancellable;

	char *images_dir;
	char *dir;     /* .build-XXXXXX */
	char *busybox; /* path on the host */
	GBytes *agent, *portal;
	char *link; /* "tiny-FASTKEY" */

	char *modules_dir; /* /lib/modules/VERSION, unpacked or the host's */
	char *vmlinuz;
	char *origin;

	enum image_stage stage; /* what the counting callbacks report */
	guint64 done_before;    /* bytes of the packages before this one */
	guint64 total;
	const char *detail;
	gint64 next_count; /* monotonic time */
};

static void report(struct build *b, enum image_stage stage, guint64 done, guint64 total,
		   const char *detail)
{
	b->stage = stage;
	b->total = total;
	b->detail = detail;
	if (b->progress)
		b->progress(b->data, stage, done, total, detail);
}

/* The tick of those who only count.  They do it for every block; people and logs want less. */
static void count(void *data, guint64 done)
{
	struct build *b = data;
	gint64 now = g_get_monotonic_time();

	if (!b->progress || now < b->next_count)
		return;
	b->next_count = now + COUNT_US;
	b->progress(b->data, b->stage, b->done_before + done, b->total, b->detail);
}

static void waiting(void *data)
{
	report(data, IMAGE_STAGE_WAIT, 0, 0, "another process builds the image");
}

static const char *root(const struct build *b)
{
	return b->env->root ? b->env->root : "";
}

/* --- busybox ---------------------------------------------------------------------------------------------- */

/* Static: an ELF file that asks for no interpreter.  In the guest there is none. */
static gboolean is_static(const char *path)
{
	g_autoptr(GMappedFile) file = g_mapped_file_new(path, FALSE, NULL);
	gsize size = file ? g_mapped_file_get_length(file) : 0;
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (size < sizeof(eh))
		return FALSE;
	memcpy(&eh, g_mapped_file_get_contents(file), sizeof(eh));
	if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh.e_phoff > size || eh.e_phnum > (size - eh.e_phoff) / sizeof(ph))
		return FALSE;
	for (guint i = 0; i < eh.e_phnum; i++) {
		memcpy(&ph, g_mapped_file_get_contents(file) + eh.e_phoff + i * sizeof(ph),
		       sizeof(ph));
		if (ph.p_type == PT_INTERP)
			return FALSE;
	}
	return TRUE;
}

static gboolean find_busybox(struct build *b, GError **error)
{
	b->busybox = command_find("busybox", b->env->path);
	if (b->busybox && is_static(b->busybox))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
		    "%s; install the package busybox-static",
		    b->busybox ? "busybox is not a static program" : "there is no busybox");
	return FALSE;
}

/* One link for each applet. */
static gboolean add_applets(struct build *b, struct initramfs *fs, GError **error)
{
	const char *argv[] = { b->busybox, "--list", NULL };
	struct command command = { .argv = argv,
				   .timeout_ms = 10000,
				   .cancellable = b->cancellable };
	struct command_result result;
	g_auto(GStrv) applets = NULL;

	if (!command_run(&command, &result, error))
		return FALSE;
	applets = g_strsplit(result.out, "\n", -1);
	command_result_clear(&result);
	for (char **applet = applets; *applet; applet++) {
		g_autofree char *path = g_strconcat("bin/", *applet, NULL);

		if (**applet && strcmp(*applet, "busybox") != 0 && !strchr(*applet, '/'))
			initramfs_add_link(fs, path, "busybox");
	}
	return TRUE;
}

/* --- our own programs -------------------------------------------------------------------------------------------- */

/* A static program of ours: at PATH, or wherever the daemon NAME would be.  NULL: *error says why. */
static GBytes *find_own(const char *path, const char *name, GError **error)
{
	g_autofree char *found = NULL;
	g_autoptr(GMappedFile) file = NULL;

	if (!path && !host_find_daemon(name, &found, error))
		return NULL;
	file = g_mapped_file_new(path ? path : found, FALSE, error);
	return file ? g_mapped_file_get_bytes(file) : NULL;
}

static gboolean find_programs(struct build *b, GError **error)
{
	return (b->agent = find_own(b->env->agent, "vhost-lab-agent", error)) &&
	       (b->portal = find_own(b->env->portal, "portal-static", error));
}

/* --- the fast key ----------------------------------------------------------------------------------------- */

static void hash_guest_files(GChecksum *sum)
{
	for (guint i = 0; i < G_N_ELEMENTS(guest_files); i++) {
		g_autofree char *name =
			g_strconcat("/org/vhost-lab/guest/", guest_files[i].resource, NULL);
		g_autoptr(GBytes)
			bytes = g_resource_lookup_data(guest_get_resource(), name, 0, NULL);

		g_checksum_update(sum, g_bytes_get_data(bytes, NULL),
				  (gssize)g_bytes_get_size(bytes));
	}
}

/* What can be told without reading more than our own programs and the busybox's inode: this builder, those, that busybox. */
static gboolean make_link_name(struct build *b, GError **error)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
	g_autofree char *text = NULL;
	struct stat st;

	if (stat(b->busybox, &st)) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", b->busybox);
		return FALSE;
	}
	text = g_strdup_printf(BUILDER "\n" APPEND "\n%s\n%s\n%lld %lld.%09ld", root(b), b->busybox,
			       (long long)st.st_size, (long long)st.st_mtim.tv_sec,
			       st.st_mtim.tv_nsec);
	g_checksum_update(sum, (const guchar *)text, -1);
	hash_guest_files(sum);
	g_checksum_update(sum, g_bytes_get_data(b->agent, NULL),
			  (gssize)g_bytes_get_size(b->agent));
	g_checksum_update(sum, g_bytes_get_data(b->portal, NULL),
			  (gssize)g_bytes_get_size(b->portal));
	b->link = g_strdup_printf("tiny-%.16s", g_checksum_get_string(sum));
	return TRUE;
}

/* --- the kernel ------------------------------------------------------------------------------------------- */

static gboolean want_from_deb(const char *path)
{
	if (g_str_has_prefix(path, "usr/lib/"))
		path += strlen("usr/");
	return g_str_has_prefix(path, "boot/vmlinuz-") ||
	       (g_str_has_prefix(path, "lib/modules/") &&
		(strstr(path, ".ko") || g_str_has_suffix(path, "/modules.builtin")));
}

/* The entry of DIR that begins with PREFIX, the highest version if there are several; NULL if none. */
static char *last_entry(const char *dir, const char *prefix)
{
	g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);
	g_autofree char *best = NULL;
	const char *name;

	while (d && (name = g_dir_read_name(d))) {
		if (g_str_has_prefix(name, prefix) && (!best || strverscmp(name, best) > 0)) {
			g_free(best);
			best = g_strdup(name);
		}
	}
	return best ? g_build_filename(dir, best, NULL) : NULL;
}

/* Kernel and modules of one version below DIR. */
static gboolean look_for_kernel(struct build *b, const char *dir)
{
	g_autofree char *boot = g_build_filename(dir, "boot", NULL);
	g_autofree char *vmlinuz = last_entry(boot, "vmlinuz-");
	const char *version = vmlinuz ? strrchr(vmlinuz, '/') + strlen("/vmlinuz-") : "";
	static const char *const libs[] = { "lib/modules", "usr/lib/modules" };

	for (guint i = 0; vmlinuz && i < G_N_ELEMENTS(libs); i++) {
		g_autofree char *mods = g_build_filename(dir, libs[i], version, NULL);

		if (access(vmlinuz, R_OK) || !g_file_test(mods, G_FILE_TEST_IS_DIR))
			continue;
		b->vmlinuz = g_steal_pointer(&vmlinuz);
		b->modules_dir = g_steal_pointer(&mods);
		return TRUE;
	}
	return FALSE;
}

static gboolean unpack_one(struct build *b, const char *deb, const char *dest, GError **error)
{
	struct deb_unpack how = { .dest = dest,
				  .want = want_from_deb,
				  .tick = count,
				  .tick_data = b,
				  .cancellable = b->cancellable };
	struct stat st;

	if (!deb_unpack(deb, &how, error))
		return FALSE;
	b->done_before += stat(deb, &st) ? 0 : st.st_size;
	return !unlink(deb) || TRUE;
}

static gboolean unpack(struct build *b, char **debs, const struct package *kernel, guint64 total,
		       GError **error)
{
	g_autofree char *dest = g_build_filename(b->dir, "package", NULL);
	gboolean ok = !g_mkdir_with_parents(dest, 0755);

	if (!ok)
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", dest);
	report(b, IMAGE_STAGE_UNPACK, 0, total, kernel->name);
	for (; ok && *debs; debs++)
		ok = unpack_one(b, *debs, dest, error);
	b->done_before = 0;
	if (!ok)
		return FALSE;
	if (look_for_kernel(b, dest)) {
		b->origin = g_strdup_printf("%s %s", kernel->name, kernel->version);
		return TRUE;
	}
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED,
		    "%s: no kernel with modules in this package", kernel->name);
	return FALSE;
}

static gboolean kernel_from_packages(struct build *b, GError **error)
{
	g_autoptr(GPtrArray) packages = NULL;
	g_auto(GStrv) debs = NULL;
	const struct package *kernel;
	guint64 total = 0;

	report(b, IMAGE_STAGE_RESOLVE, 0, 0, "asking apt for a kernel");
	if (!package_find_kernel(b->env->path, b->cancellable, &packages, error))
		return FALSE;
	for (guint i = 0; i < packages->len; i++)
		total += ((struct package *)packages->pdata[i])->size;
	kernel = packages->pdata[0];
	report(b, IMAGE_STAGE_DOWNLOAD, 0, total, kernel->name);
	return package_download(b->env->path, packages, b->dir, count, b, b->cancellable, &debs,
				error) &&
	       unpack(b, debs, kernel, total, error);
}

/* The newest one installed. */
static gboolean kernel_from_host(struct build *b)
{
	if (!look_for_kernel(b, *root(b) ? root(b) : "/"))
		return FALSE;
	b->origin = g_strdup_printf("%s (installed)", b->vmlinuz);
	return TRUE;
}

/* apt first; where it cannot help, what is installed, and a word about it. */
static gboolean find_kernel(struct build *b, GError **error)
{
	g_autoptr(GError) why = NULL;
	g_autofree char *detail = NULL;

	if (kernel_from_packages(b, &why))
		return TRUE;
	if (!g_error_matches(why, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT)) {
		g_propagate_error(error, g_steal_pointer(&why));
		return FALSE;
	}
	if (!kernel_from_host(b)) {
		g_set_error(
			error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT,
			"no kernel for the tiny guest: %s; and none that can be read is in %s/boot",
			why->message, root(b));
		return FALSE;
	}
	detail = g_strdup_printf("%s; taking the installed %s", why->message, b->vmlinuz);
	report(b, IMAGE_STAGE_UNPACK, 0, 0, detail);
	return TRUE;
}

/* --- the initramfs ---------------------------------------------------------------------------------------- */

static void add_guest_files(struct initramfs *fs)
{
	for (guint i = 0; i < G_N_ELEMENTS(guest_files); i++) {
		g_autofree char *name =
			g_strconcat("/org/vhost-lab/guest/", guest_files[i].resource, NULL);
		g_autoptr(GBytes)
			bytes = g_resource_lookup_data(guest_get_resource(), name, 0, NULL);

		initramfs_add_file(fs, guest_files[i].path, guest_files[i].mode, bytes);
	}
}

static void add_skeleton(struct initramfs *fs)
{
	static const char *const dirs[] = { "dev", "proc", "sys", "run", "root", "mnt", "var/log" };

	for (guint i = 0; i < G_N_ELEMENTS(dirs); i++)
		initramfs_add_dir(fs, dirs[i], 0755);
	initramfs_add_dir(fs, "tmp", 01777);
	initramfs_add_chardev(fs, "dev/console", 0600, 5, 1);
	initramfs_add_link(fs, "init", "bin/vhost-lab-agent");
	initramfs_add_link(fs, "sbin", "bin");
	initramfs_add_link(fs, "usr/bin", "../bin");
	initramfs_add_link(fs, "usr/sbin", "../bin");
	initramfs_add_link(fs, "var/run", "../run");
	initramfs_add_text(fs, "etc/passwd", 0644, "root::0:0:root:/root:/bin/sh\n");
	initramfs_add_text(fs, "etc/group", 0644, "root:x:0:\ntty:x:5:\n");
	initramfs_add_text(fs, "etc/nsswitch.conf", 0644, "hosts: files dns\n");
}

static gboolean add_busybox(struct build *b, struct initramfs *fs, GError **error)
{
	g_autoptr(GMappedFile) file = g_mapped_file_new(b->busybox, FALSE, error);
	g_autoptr(GBytes) bytes = file ? g_mapped_file_get_bytes(file) : NULL;

	if (!bytes)
		return FALSE;
	initramfs_add_file(fs, "bin/busybox", 0755, bytes);
	return add_applets(b, fs, error);
}

/* The files of NAMES and all that they need; to ORDER, each in the order of loading and followed by END. */
static gboolean add_kmods(struct build *b, struct initramfs *fs, const char *const *names,
			  GString *order, char end, GError **error)
{
	g_autoptr(GPtrArray) kmods = NULL;

	if (!kmod_collect(b->modules_dir, names, &kmods, error))
		return FALSE;
	for (guint i = 0; i < kmods->len; i++) {
		const struct kmod *m = kmods->pdata[i];
		g_autofree char *path = g_strdup_printf("lib/modules/%s.ko", m->name);

		initramfs_add_file(fs, path, 0644, m->bytes);
		g_string_append_printf(order, "%s.ko%c", m->name, end);
	}
	return TRUE;
}

/* The modules, and which of them the agent is to load when: see agent/guest/modules.h. */
static gboolean add_modules(struct build *b, struct initramfs *fs, GError **error)
{
	g_autoptr(GString) order = g_string_new(NULL);
	g_autoptr(GString) demand = g_string_new(NULL);

	if (!add_kmods(b, fs, modules, order, '\n', error))
		return FALSE;
	for (guint i = 0; i < G_N_ELEMENTS(demanded); i++) {
		const char *name = demanded[i].name;
		gsize before;

		g_string_append_printf(demand, "%s: ", name);
		before = demand->len;
		if (!add_kmods(b, fs, demanded[i].modules, demand, ' ', error))
			return FALSE;
		if (demand->len == before) /* built in, or not there */
			g_string_truncate(demand, before - strlen(name) - 2);
		else
			demand->str[demand->len - 1] = '\n';
	}
	initramfs_add_text(fs, "lib/modules/order", 0644, order->str);
	initramfs_add_text(fs, "lib/modules/demand", 0644, demand->str);
	return TRUE;
}

static gboolean fill(struct build *b, struct initramfs *fs, GError **error)
{
	add_skeleton(fs);
	add_guest_files(fs);
	initramfs_add_file(fs, "bin/vhost-lab-agent", 0755, b->agent);
	initramfs_add_file(fs, "bin/portal", 0755, b->portal);
	return add_busybox(b, fs, error) && add_modules(b, fs, error);
}

/* --- the image -------------------------------------------------------------------------------------------- */

/* What QEMU starts fastest: the ELF kernel if there is one inside. */
static GBytes *read_kernel(struct build *b, GError **error)
{
	g_autoptr(GMappedFile) file = g_mapped_file_new(b->vmlinuz, FALSE, error);
	g_autoptr(GBytes) bzimage = file ? g_mapped_file_get_bytes(file) : NULL;
	GBytes *vmlinux = bzimage ? kernel_vmlinux(bzimage) : NULL;

	return vmlinux ? vmlinux : g_steal_pointer(&bzimage);
}

static gboolean write_kernel(const char *dir, GBytes *kernel, GError **error)
{
	g_autofree char *path = g_build_filename(dir, "kernel", NULL);
	gssize size = (gssize)g_bytes_get_size(kernel);

	return g_file_set_contents_full(
		path, g_bytes_get_data(kernel, NULL), size,
		G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0644, error);
}

static char *image_key(const struct initramfs *fs, GBytes *kernel)
{
	g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

	g_checksum_update(sum, (const guchar *)BUILDER "\n" APPEND "\n", -1);
	g_checksum_update(sum, g_bytes_get_data(kernel, NULL), (gssize)g_bytes_get_size(kernel));
	initramfs_hash(fs, sum);
	return g_strdup_printf("%.32s", g_checksum_get_string(sum));
}

static gboolean pack_into(struct build *b, const struct initramfs *fs, GBytes *kernel,
			  GError **error)
{
	g_autofree char *key = image_key(fs, kernel);
	g_autofree char *out = g_build_filename(b->dir, "image", NULL);
	g_autofree char *initrd = g_build_filename(out, "initrd", NULL);

	if (g_mkdir_with_parents(out, 0755)) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", out);
		return FALSE;
	}
	return write_kernel(out, kernel, error) && initramfs_write(fs, initrd, count, b, error) &&
	       !g_cancellable_set_error_if_cancelled(b->cancellable, error) &&
	       cache_publish(b->images_dir, out, key, b->link, b->origin, APPEND, error);
}

static gboolean pack(struct build *b, GError **error)
{
	struct initramfs *fs = initramfs_new();
	g_autoptr(GBytes) kernel = NULL;
	gboolean ok;

	report(b, IMAGE_STAGE_PACK, 0, 0, b->origin);
	ok = fill(b, fs, error) && (kernel = read_kernel(b, error)) &&
	     pack_into(b, fs, kernel, error);
	initramfs_free(fs);
	return ok;
}

static gboolean make_build_dir(struct build *b, GError **error)
{
	b->dir = g_build_filename(b->images_dir, CACHE_BUILD_PREFIX "XXXXXX", NULL);
	if (g_mkdtemp_full(b->dir, 0755))
		return TRUE;
	err_set_errno(error, ORCH_ERROR_FAILED, errno, "%s", b->images_dir);
	g_clear_pointer(&b->dir, g_free);
	return FALSE;
}

/* With the lock held: somebody may have built it while we waited. */
static gboolean build_locked(struct build *b, struct image **ret_image, GError **error)
{
	gboolean ok;

	*ret_image = cache_find(b->images_dir, b->link);
	if (*ret_image)
		return TRUE;
	ok = make_build_dir(b, error) && find_kernel(b, error) && pack(b, error);
	if (b->dir)
		cache_remove(b->dir, NULL);
	if (!ok)
		return FALSE;
	*ret_image = cache_find(b->images_dir, b->link);
	if (*ret_image)
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "%s: the image just built cannot be read",
		    b->images_dir);
	return FALSE;
}

static guint64 file_size(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : st.st_size;
}

static gboolean ensure(struct build *b, struct image **ret_image, GError **error)
{
	struct image *image;
	gboolean ok;
	int lock;

	if (!find_busybox(b, error) || !find_programs(b, error) || !make_link_name(b, error))
		return FALSE;
	image = cache_find(b->images_dir, b->link);
	if (!image) {
		lock = cache_lock(b->images_dir, waiting, b, b->cancellable, error);
		if (lock < 0)
			return FALSE;
		ok = build_locked(b, &image, error);
		close(lock);
		if (!ok)
			return FALSE;
	}
	report(b, IMAGE_STAGE_DONE, 0, file_size(image->kernel) + file_size(image->initrd),
	       image->origin);
	*ret_image = image;
	return TRUE;
}

/* One domain for callers: GIO's cancellation is our interruption, the rest a failure. */
static void own_error(GError **error, GError *local)
{
	if (local->domain == ORCH_ERROR)
		g_propagate_error(error, local);
	else {
		enum orch_error code = g_error_matches(local, G_IO_ERROR, G_IO_ERROR_CANCELLED) ?
					       ORCH_ERROR_INTERRUPTED :
					       ORCH_ERROR_FAILED;

		g_set_error(error, ORCH_ERROR, code, "%s", local->message);
		g_error_free(local);
	}
	g_prefix_error(error, "image \"tiny\": ");
}

gboolean tiny_ensure_in(const struct tiny_env *env, image_progress_fn *progress, void *data,
			GCancellable *cancellable, struct image **ret_image, GError **error)
{
	struct build b = { .env = env,
			   .progress = progress,
			   .data = data,
			   .cancellable = cancellable,
			   .images_dir = cache_images_dir(env->cache_dir),
			   .detail = "" };
	GError *local = NULL;
	gboolean ok = ensure(&b, ret_image, &local);

	if (!ok)
		own_error(error, local);
	g_free(b.images_dir);
	g_free(b.dir);
	g_free(b.busybox);
	g_bytes_unref(b.agent);
	g_bytes_unref(b.portal);
	g_free(b.link);
	g_free(b.modules_dir);
	g_free(b.vmlinuz);
	g_free(b.origin);
	return ok;
}

gboolean tiny_ensure(const char *cache_dir, image_progress_fn *progress, void *data,
		     GCancellable *cancellable, struct image **ret_image, GError **error)
{
	struct tiny_env env = { .cache_dir = cache_dir };

	return tiny_ensure_in(&env, progress, data, cancellable, ret_image, error);
}
