/* SPDX-License-Identifier: MIT */
/* The tiny image, whole: made from made-up packages that scripts in place of apt hand out, and the cache around it. */
#include "image_fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <utime.h>

#include "err.h"
#include "image/cache.h"
#include "image/image.h"
#include "image/tiny.h"

/* A world of its own: a $PATH with apt's scripts and a busybox, an archive of packages, a root, a cache. */
struct world {
	char *dir, *bin, *cache, *root, *agent, *portal;
	GString *stages; /* what the progress callback saw: "resolve download …", repetitions left out */
	GString *details;
	enum image_stage stage; /* the last one */
	guint64 last_total;
	GCancellable *cancel_at_download;
};

/* Answers for the packages below $ARCHIVE; every call is noted, so that a test can count them. */
static const char apt_cache[] =
	"#!/bin/sh\n"
	"dir=${0%/bin/*}\n"
	"echo \"cache $*\" >>$dir/calls\n"
	"for name; do :; done\n"
	"cat $dir/archive/$name 2>/dev/null || { echo 'E: No packages found' >&2; exit 100; }\n";
static const char apt_get[] =
	"#!/bin/sh\n"
	"dir=${0%/bin/*}\n"
	"echo \"get $*\" >>$dir/calls\n"
	"for arg; do case $arg in *=*-*) ;; linux-*=*)\n"
	"  name=${arg%%=*}\n"
	"  cp $dir/archive/$name.deb . 2>/dev/null ||\n"
	"    { echo \"E: Failed to fetch $name  Could not connect\" >&2; exit 100; } ;;\n"
	"esac; done\n";

static void put_package(struct world *w, const char *name, const char *depends, GBytes *deb)
{
	g_autofree char *record =
		g_strdup_printf("Package: %s\nVersion: 1.0\nDepends: %s\nSize: %zu\n\n"
				"Package: %s\nVersion: 0.9\nDepends: nothing\n\n",
				name, depends, deb ? g_bytes_get_size(deb) : 0, name);
	g_autofree char *path = g_strconcat("archive/", name, NULL);
	g_autofree char *deb_path = g_strconcat(path, ".deb", NULL);

	put_text(w->dir, path, record, 0644);
	if (deb)
		put_file(w->dir, deb_path, deb, 0644);
}

static const char *const module_names[] = { "qemu_fw_cfg", "virtio_pci", "virtio_net", "virtio_rng",
					    "button",      "evdev",      "overlay",    "squashfs",
					    "virtio_pmem", "device_dax", "hv_sock" };

/* Debian 12: one package, plain modules; VERSION is the kernel's. */
static GBytes *debian_deb(const char *version, const char *without)
{
	g_autofree char *vmlinuz = g_strconcat("./boot/vmlinuz-", version, NULL);
	g_autoptr(GBytes) vmlinux = fake_vmlinux(TRUE);
	g_autoptr(GBytes) kernel = fake_bzimage(vmlinux, "xz");
	struct deb_file files[1 + G_N_ELEMENTS(module_names)] = { { vmlinuz, kernel } };
	size_t n = 1;
	GBytes *deb;

	for (guint i = 0; i < G_N_ELEMENTS(module_names); i++) {
		if (!g_strcmp0(module_names[i], without))
			continue;
		files[n].path =
			g_strdup_printf("./lib/modules/%s/kernel/%s.ko", version, module_names[i]);
		files[n++].bytes = fake_module(module_names[i], i == 2 ? "virtio_pci" : "");
	}
	deb = fake_deb(files, n, "xz", ".xz");
	for (size_t i = 1; i < n; i++) {
		g_free((void *)(uintptr_t)files[i].path);
		g_bytes_unref(files[i].bytes);
	}
	return deb;
}

static void put_debian(struct world *w)
{
	g_autoptr(GBytes) deb = debian_deb("6.1.0-9", NULL);

	put_package(w, "linux-image-cloud-amd64", "linux-image-6.1.0-9 (= 1.0)", NULL);
	put_package(w, "linux-image-6.1.0-9", "kmod, linux-base (>= 4.3~)", deb);
}

static int setup(void **state)
{
	struct world *w = g_new0(struct world, 1);
	g_autofree char *link = NULL;

	w->dir = tmp_new();
	w->bin = g_build_filename(w->dir, "bin", NULL);
	w->cache = g_build_filename(w->dir, "cache", NULL);
	w->root = g_build_filename(w->dir, "root", NULL);
	w->agent = g_build_filename(w->dir, "vhost-lab-agent", NULL);
	put_text(w->dir, "vhost-lab-agent", "\177ELF agent", 0755);
	w->portal = g_build_filename(w->dir, "portal-static", NULL);
	put_text(w->dir, "portal-static", "\177ELF portal", 0755);
	w->stages = g_string_new(NULL);
	w->details = g_string_new(NULL);
	g_mkdir(w->root, 0755);
	put_text(w->dir, "bin/apt-cache", apt_cache, 0755);
	put_text(w->dir, "bin/apt-get", apt_get, 0755);
	link = g_build_filename(w->bin, "busybox", NULL);
	assert_int_equal(symlink("/bin/busybox", link), 0);
	put_debian(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	tmp_remove(w->dir);
	g_free(w->dir);
	g_free(w->bin);
	g_free(w->cache);
	g_free(w->root);
	g_free(w->agent);
	g_free(w->portal);
	g_string_free(w->stages, TRUE);
	g_string_free(w->details, TRUE);
	g_free(w);
	return 0;
}

static void note(void *data, enum image_stage stage, guint64 done, guint64 total,
		 const char *detail)
{
	struct world *w = data;
	const char *name = image_stage_name(stage);

	assert_non_null(detail);
	if (total)
		assert_true(done <= total);
	if (!w->stages->len || stage != w->stage)
		g_string_append_printf(w->stages, "%s%s", w->stages->len ? " " : "", name);
	w->stage = stage;
	g_string_append_printf(w->details, "%s\n", detail);
	w->last_total = total;
	if (w->cancel_at_download && stage == IMAGE_STAGE_DOWNLOAD)
		g_cancellable_cancel(w->cancel_at_download);
}

static gboolean ensure(struct world *w, struct image **image, GError **error)
{
	struct tiny_env env = { .cache_dir = w->cache,
				.root = w->root,
				.path = w->bin,
				.agent = w->agent,
				.portal = w->portal };

	g_string_truncate(w->stages, 0);
	g_string_truncate(w->details, 0);
	return tiny_ensure_in(&env, note, w, w->cancel_at_download, image, error);
}

static guint calls(const struct world *w)
{
	g_autofree char *path = g_build_filename(w->dir, "calls", NULL);
	g_autofree char *text = NULL;
	guint n = 0;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		return 0;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		n++;
	return n;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Entries of the cache besides the lock, sorted. */
static char *cache_listing(const struct world *w)
{
	g_autofree char *images = cache_images_dir(w->cache);
	g_autoptr(GDir) dir = g_dir_open(images, 0, NULL);
	g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
	const char *name;

	while (dir && (name = g_dir_read_name(dir))) {
		if (strcmp(name, "lock") != 0)
			g_ptr_array_add(names,
					g_strndup(name, g_str_has_prefix(name, "tiny-") ? 5 : 64));
	}
	g_ptr_array_sort(names, by_name);
	g_ptr_array_add(names, NULL);
	return g_strjoinv(" ", (char **)names->pdata);
}

static char *contents(const char *path, gsize *len)
{
	char *text = NULL;

	assert_true(g_file_get_contents(path, &text, len, NULL));
	return text;
}

static gboolean archive_has(const char *initrd, const char *path, char **ret_text)
{
	struct archive *a = archive_read_new();
	struct archive_entry *e;
	gboolean found = FALSE;

	archive_read_support_format_cpio(a);
	assert_int_equal(archive_read_open_filename(a, initrd, 65536), ARCHIVE_OK);
	while (!found && archive_read_next_header(a, &e) == ARCHIVE_OK) {
		found = !strcmp(archive_entry_pathname(e), path);
		if (found && ret_text) {
			*ret_text = g_malloc0(archive_entry_size(e) + 1);
			assert_int_equal(archive_read_data(a, *ret_text, archive_entry_size(e)),
					 archive_entry_size(e));
		}
	}
	archive_read_free(a);
	return found;
}

/* --- the good way ----------------------------------------------------------------------------------------- */

static void builds_from_a_package(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	GError *error = NULL;
	g_autoptr(GBytes) vmlinux = fake_vmlinux(TRUE);
	g_autofree char *kernel = NULL;
	g_autofree char *order = NULL;
	g_autofree char *demand = NULL;
	g_autofree char *agent = NULL;
	g_autofree char *portal = NULL;
	g_autofree char *left = NULL;
	gsize len;

	assert_true(ensure(w, &image, &error));
	assert_string_equal(w->stages->str, "resolve download unpack pack done");
	assert_string_equal(image->origin, "linux-image-6.1.0-9 1.0");
	assert_true(g_str_has_prefix(image->append, "console=ttyS0 "));
	kernel = contents(image->kernel, &len);
	assert_int_equal(len, g_bytes_get_size(vmlinux));
	assert_memory_equal(kernel, g_bytes_get_data(vmlinux, NULL), len);
	assert_true(archive_has(image->initrd, "lib/modules/order", &order));
	assert_string_equal(
		order,
		"qemu_fw_cfg.ko\nvirtio_pci.ko\nvirtio_net.ko\nvirtio_rng.ko\nbutton.ko\nevdev.ko\n");
	assert_true(archive_has(image->initrd, "lib/modules/demand", &demand));
	assert_string_equal(demand,
			    "squashfs: squashfs.ko\noverlay: overlay.ko\nhvsock: hv_sock.ko\n"
			    "portal: virtio_pmem.ko device_dax.ko\n");
	assert_true(archive_has(image->initrd, "bin/vhost-lab-agent", &agent));
	assert_string_equal(agent, "\177ELF agent");
	assert_true(archive_has(image->initrd, "bin/portal", &portal));
	assert_string_equal(portal, "\177ELF portal");
	assert_true(archive_has(image->initrd, "init", NULL));
	assert_true(archive_has(image->initrd, "bin/busybox", NULL));
	assert_true(archive_has(image->initrd, "bin/udhcpc", NULL));
	assert_true(archive_has(image->initrd, "lib/modules/virtio_net.ko", NULL));
	left = cache_listing(w);
	assert_string_equal(left + strlen(left) - 6, " tiny-");
	assert_int_equal(strlen(image->key), 32);
	assert_int_equal(strlen(left), 32 + 6);
	image_free(image);
}

static void second_call_asks_nobody(void **state)
{
	struct world *w = *state;
	struct image *one = NULL, *two = NULL;
	guint before;

	assert_true(ensure(w, &one, NULL));
	before = calls(w);
	assert_true(before > 0);
	assert_true(ensure(w, &two, NULL));
	assert_string_equal(w->stages->str, "done");
	assert_int_equal(calls(w), before);
	assert_string_equal(one->key, two->key);
	assert_string_equal(one->append, two->append);
	assert_string_equal(one->origin, two->origin);
	image_free(one);
	image_free(two);
}

static void same_inputs_same_bytes(void **state)
{
	struct world *w = *state;
	struct image *one = NULL, *two = NULL;
	g_autofree char *a = NULL;
	g_autofree char *b = NULL;
	gsize len_a, len_b;

	assert_true(ensure(w, &one, NULL));
	g_free(w->cache);
	w->cache = g_build_filename(w->dir, "cache2", NULL);
	assert_true(ensure(w, &two, NULL));
	assert_string_equal(one->key, two->key);
	assert_string_not_equal(one->initrd, two->initrd);
	a = contents(one->initrd, &len_a);
	b = contents(two->initrd, &len_b);
	assert_int_equal(len_a, len_b);
	assert_memory_equal(a, b, len_a);
	image_free(one);
	image_free(two);
}

/* A new kernel in the archive does not change what labs use; after the image is gone, it makes another key. */
static void key_follows_the_kernel(void **state)
{
	struct world *w = *state;
	struct image *one = NULL, *two = NULL, *three = NULL;
	g_autoptr(GBytes) deb = debian_deb("6.1.0-10", "evdev");
	struct image_gc gc;

	assert_true(ensure(w, &one, NULL));
	put_package(w, "linux-image-cloud-amd64", "linux-image-6.1.0-10", NULL);
	put_package(w, "linux-image-6.1.0-10", "kmod", deb);
	assert_true(ensure(w, &two, NULL));
	assert_string_equal(one->key, two->key);
	assert_true(image_gc(w->cache, NULL, 0, FALSE, &gc, NULL));
	assert_true(ensure(w, &three, NULL));
	assert_string_not_equal(one->key, three->key);
	assert_string_equal(three->origin, "linux-image-6.1.0-10 1.0");
	image_free(one);
	image_free(two);
	image_free(three);
}

/* Another agent is another image, without anybody being asked to remove the old one. */
static void key_follows_the_agent(void **state)
{
	struct world *w = *state;
	struct image *one = NULL, *two = NULL;

	assert_true(ensure(w, &one, NULL));
	put_text(w->dir, "vhost-lab-agent", "\177ELF AGENT", 0755);
	assert_true(ensure(w, &two, NULL));
	assert_string_not_equal(one->key, two->key);
	image_free(one);
	image_free(two);
}

/* Nor without the tool, which is said by its path. */
static void no_tool_no_image(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	GError *error = NULL;

	g_unlink(w->portal);
	assert_false(ensure(w, &image, &error));
	assert_non_null(strstr(error->message, w->portal));
	g_error_free(error);
	assert_null(image);
}

static void no_agent_no_image(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	GError *error = NULL;

	g_unlink(w->agent);
	assert_false(ensure(w, &image, &error));
	assert_non_null(strstr(error->message, w->agent));
	g_clear_error(&error);
	assert_int_equal(calls(w), 0);
}

/* Ubuntu: the meta package leads to an image and, through it, to two packages of compressed modules: the second one,
 * which nothing depends on, has qemu_fw_cfg. */
static void builds_from_three_packages(void **state)
{
	struct world *w = *state;
	g_autoptr(GBytes) vmlinux = fake_vmlinux(TRUE);
	g_autoptr(GBytes) kernel = fake_bzimage(vmlinux, "zstd");
	const struct deb_file boot[] = { { "./boot/vmlinuz-6.8.0-31-generic", kernel } };
	struct deb_file lib[G_N_ELEMENTS(module_names)];
	g_autoptr(GBytes) image_deb = fake_deb(boot, 1, "zstd", ".zst");
	g_autoptr(GBytes) modules_deb = NULL;
	g_autoptr(GBytes) extra_deb = NULL;
	g_autofree char *meta = g_build_filename(w->dir, "archive/linux-image-cloud-amd64", NULL);
	struct image *image = NULL;
	g_autofree char *order = NULL;

	for (guint i = 0; i < G_N_ELEMENTS(lib); i++) {
		g_autoptr(GBytes) elf = fake_module(module_names[i], "");

		lib[i].path = g_strdup_printf("./lib/modules/6.8.0-31-generic/kernel/%s.ko.zst",
					      module_names[i]);
		lib[i].bytes = packed(elf, "zstd");
	}
	extra_deb = fake_deb(lib, 1, "zstd", ".zst");
	modules_deb = fake_deb(lib + 1, G_N_ELEMENTS(lib) - 1, "zstd", ".zst");
	g_remove(meta);
	put_package(w, "linux-image-virtual", "linux-image-6.8.0-31-generic", NULL);
	put_package(
		w, "linux-image-6.8.0-31-generic",
		"kmod, linux-modules-6.8.0-31-generic | linux-modules-other, linux-modules-extra-6.8.0",
		image_deb);
	put_package(w, "linux-modules-6.8.0-31-generic", "wireless-regdb", modules_deb);
	put_package(w, "linux-modules-extra-6.8.0-31-generic", "wireless-regdb", extra_deb);
	assert_true(ensure(w, &image, NULL));
	assert_string_equal(image->origin, "linux-image-6.8.0-31-generic 1.0");
	assert_true(archive_has(image->initrd, "lib/modules/order", &order));
	assert_string_equal(
		order,
		"qemu_fw_cfg.ko\nvirtio_pci.ko\nvirtio_net.ko\nvirtio_rng.ko\nbutton.ko\nevdev.ko\n");
	assert_true(w->last_total > 0);
	image_free(image);
	for (guint i = 0; i < G_N_ELEMENTS(lib); i++) {
		g_free((void *)(uintptr_t)lib[i].path);
		g_bytes_unref(lib[i].bytes);
	}
}

/* --- without apt ------------------------------------------------------------------------------------------ */

/* Debian 13 as installed: .ko.xz, /usr/lib/modules by way of /lib, two versions of which the newer one counts. */
static void install_kernel(struct world *w, const char *version)
{
	g_autoptr(GBytes) vmlinux = fake_vmlinux(TRUE);
	g_autoptr(GBytes) kernel = fake_bzimage(vmlinux, "zstd");
	g_autofree char *vmlinuz = g_strconcat("boot/vmlinuz-", version, NULL);

	put_file(w->root, vmlinuz, kernel, 0644);
	for (guint i = 0; i < G_N_ELEMENTS(module_names); i++) {
		g_autofree char *path =
			g_strdup_printf("lib/modules/%s/kernel/%s.ko.xz", version, module_names[i]);
		g_autoptr(GBytes) elf = fake_module(module_names[i], "");
		g_autoptr(GBytes) xz = packed(elf, "xz");

		put_file(w->root, path, xz, 0644);
	}
}

static void without(struct world *w, const char *program)
{
	g_autofree char *path = g_build_filename(w->bin, program, NULL);

	assert_int_equal(g_remove(path), 0);
}

static void falls_back_to_an_installed_kernel(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;

	install_kernel(w, "6.12.9+deb13-amd64");
	install_kernel(w, "6.12.10+deb13-amd64");
	without(w, "apt-cache");
	assert_true(ensure(w, &image, NULL));
	assert_non_null(strstr(image->origin, "vmlinuz-6.12.10+deb13-amd64 (installed)"));
	assert_non_null(
		strstr(w->details->str, "there is no apt on this host; taking the installed"));
	image_free(image);
}

static void says_what_is_missing(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	g_autoptr(GError) error = NULL;
	g_autofree char *left = NULL;

	without(w, "apt-cache");
	assert_false(ensure(w, &image, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, "there is no apt on this host"));
	assert_non_null(strstr(error->message, "/boot"));
	left = cache_listing(w);
	assert_string_equal(left, "");
	assert_null(image);
}

static void apt_that_knows_nothing(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	g_autofree char *meta = g_build_filename(w->dir, "archive/linux-image-cloud-amd64", NULL);
	g_autoptr(GError) error = NULL;

	g_remove(meta);
	assert_false(ensure(w, &image, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, "apt-get update"));
}

static void apt_that_cannot_fetch(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	g_autofree char *deb = g_build_filename(w->dir, "archive/linux-image-6.1.0-9.deb", NULL);
	g_autoptr(GError) error = NULL;
	g_autofree char *left = NULL;

	g_remove(deb);
	assert_false(ensure(w, &image, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, "Could not connect"));
	left = cache_listing(w);
	assert_string_equal(left, "");
	install_kernel(w, "6.12.9");
	assert_true(ensure(w, &image, NULL));
	assert_non_null(strstr(w->details->str, "Could not connect"));
	image_free(image);
}

static void no_busybox(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	g_autoptr(GError) error = NULL;

	without(w, "busybox");
	assert_false(ensure(w, &image, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_HOST_UNFIT));
	assert_non_null(strstr(error->message, "busybox-static"));
	g_clear_error(&error);
	put_text(w->dir, "bin/busybox", "#!/bin/sh\n", 0755);
	assert_false(ensure(w, &image, &error));
	assert_non_null(strstr(error->message, "not a static program"));
}

/* --- what goes wrong half-way ----------------------------------------------------------------------------- */

static void assert_fails_clean(struct world *w, enum orch_error code, const char *word)
{
	struct image *image = NULL;
	g_autoptr(GError) error = NULL;
	g_autofree char *left = NULL;

	assert_false(ensure(w, &image, &error));
	assert_int_equal(error->domain, ORCH_ERROR);
	assert_int_equal(error->code, code);
	if (!strstr(error->message, word))
		fail_msg("\"%s\" not in \"%s\"", word, error->message);
	left = cache_listing(w);
	assert_string_equal(left, "");
	assert_null(image);
}

static void damaged_package(void **state)
{
	struct world *w = *state;
	g_autoptr(GBytes) deb = debian_deb("6.1.0-9", NULL);
	g_autoptr(GBytes) half = g_bytes_new_from_bytes(deb, 0, g_bytes_get_size(deb) / 2);
	g_autoptr(GBytes) text = g_bytes_new_static("<html>captive portal</html>", 27);

	put_package(w, "linux-image-6.1.0-9", "", half);
	assert_fails_clean(w, ORCH_ERROR_FAILED, "damaged package");
	put_package(w, "linux-image-6.1.0-9", "", text);
	assert_fails_clean(w, ORCH_ERROR_FAILED, "damaged package");
}

static void package_without_what_we_need(void **state)
{
	struct world *w = *state;
	g_autoptr(GBytes) text = g_bytes_new_static("x", 1);
	const struct deb_file readme[] = { { "./usr/share/doc/readme", text } };
	g_autoptr(GBytes) empty = fake_deb(readme, 1, "xz", ".xz");
	g_autoptr(GBytes) no_net = debian_deb("6.1.0-9", "virtio_net");

	put_package(w, "linux-image-6.1.0-9", "", empty);
	assert_fails_clean(w, ORCH_ERROR_FAILED, "no kernel with modules");
	put_package(w, "linux-image-6.1.0-9", "", no_net);
	assert_fails_clean(w, ORCH_ERROR_HOST_UNFIT, "virtio_net");
}

/* A file size limit stands in for a full disk, at several places on the way.  busybox is larger than all of them, so
 * the last one is the initramfs itself. */
static void full_disk(void **state)
{
	struct world *w = *state;
	static const rlim_t limits[] = { 200, 2000, 500000 };
	struct rlimit old, low;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	for (guint i = 0; i < G_N_ELEMENTS(limits); i++) {
		struct image *image = NULL;
		g_autoptr(GError) error = NULL;
		g_autofree char *left = NULL;
		gboolean ok;

		low = (struct rlimit){ .rlim_cur = limits[i], .rlim_max = old.rlim_max };
		setrlimit(RLIMIT_FSIZE, &low);
		ok = ensure(w, &image, &error);
		setrlimit(RLIMIT_FSIZE, &old);
		assert_false(ok);
		assert_int_equal(error->domain, ORCH_ERROR);
		left = cache_listing(w);
		assert_string_equal(left, "");
	}
}

static void cache_that_cannot_be_made(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	g_autoptr(GError) error = NULL;

	put_text(w->dir, "cache", "a file in the way", 0644);
	assert_false(ensure(w, &image, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_FAILED));
	assert_non_null(strstr(error->message, w->cache));
}

static void can_be_cancelled(void **state)
{
	struct world *w = *state;

	w->cancel_at_download = g_cancellable_new();
	put_text(w->dir, "bin/apt-get", "#!/bin/sh\nexec sleep 60\n", 0755);
	assert_fails_clean(w, ORCH_ERROR_INTERRUPTED, "cancelled");
	g_clear_object(&w->cancel_at_download);
}

/* A manifest whose files are shorter than it says is no image: it is built again, under the same key. */
static void heals_a_damaged_cache(void **state)
{
	struct world *w = *state;
	struct image *one = NULL, *two = NULL;
	g_autofree char *before = NULL;
	g_autofree char *after = NULL;
	gsize len_before, len_after;

	assert_true(ensure(w, &one, NULL));
	before = contents(one->initrd, &len_before);
	assert_int_equal(truncate(one->initrd, 1000), 0);
	assert_true(ensure(w, &two, NULL));
	assert_string_equal(one->key, two->key);
	after = contents(two->initrd, &len_after);
	assert_int_equal(len_before, len_after);
	assert_memory_equal(before, after, len_after);
	image_free(one);
	image_free(two);
}

/* --- together --------------------------------------------------------------------------------------------- */

struct racer {
	struct world world; /* a copy with its own notes; the directories are shared */
	struct image *image;
	gboolean ok;
};

static void *race(void *data)
{
	struct racer *r = data;

	r->ok = ensure(&r->world, &r->image, NULL);
	return NULL;
}

/* Four at a time: one builds, the others wait and take its result. */
static void builders_do_not_collide(void **state)
{
	struct world *w = *state;
	struct racer racers[4];
	GThread *threads[4];
	guint alone, built = 0;
	struct image *image = NULL;
	struct image_gc gc;

	assert_true(ensure(w, &image, NULL));
	image_free(image);
	alone = calls(w);
	assert_true(image_gc(w->cache, NULL, 0, FALSE, &gc, NULL));
	for (guint i = 0; i < 4; i++) {
		racers[i] = (struct racer){ .world = *w };
		racers[i].world.stages = g_string_new(NULL);
		racers[i].world.details = g_string_new(NULL);
		threads[i] = g_thread_new("race", race, &racers[i]);
	}
	for (guint i = 0; i < 4; i++) {
		g_thread_join(threads[i]);
		assert_true(racers[i].ok);
		assert_string_equal(racers[i].image->key, racers[0].image->key);
		built += strstr(racers[i].world.stages->str, "pack") != NULL;
	}
	assert_int_equal(built, 1);
	assert_int_equal(calls(w), 2 * alone);
	for (guint i = 0; i < 4; i++) {
		image_free(racers[i].image);
		g_string_free(racers[i].world.stages, TRUE);
		g_string_free(racers[i].world.details, TRUE);
	}
}

static void waits_for_a_lock(void **state)
{
	struct world *w = *state;
	g_autofree char *images = cache_images_dir(w->cache);
	int lock = cache_lock(images, NULL, NULL, NULL, NULL);
	struct racer r = { .world = *w };
	GThread *thread;

	assert_true(lock >= 0);
	thread = g_thread_new("race", race, &r);
	g_usleep(500000);
	close(lock);
	g_thread_join(thread);
	assert_true(r.ok);
	assert_string_equal(w->stages->str, "wait resolve download unpack pack done");
	image_free(r.image);
}

/* --- garbage ---------------------------------------------------------------------------------------------- */

static void gc_keeps_what_is_used(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	struct image_gc gc;
	g_autofree char *left = NULL;
	g_autofree char *manifest = NULL;
	const struct utimbuf old = { 1000000000, 1000000000 };

	assert_true(image_gc(w->cache, NULL, 0, FALSE, &gc, NULL)); /* no cache yet */
	assert_int_equal(gc.removed + gc.kept, 0);
	assert_true(ensure(w, &image, NULL));

	/* used lately */
	assert_true(image_gc(w->cache, NULL, 3600, FALSE, &gc, NULL));
	assert_int_equal(gc.removed, 0);
	assert_int_equal(gc.kept, 1);
	/* long ago, but by a running lab */
	manifest = g_build_filename(w->cache, "images", image->key, "manifest", NULL);
	assert_int_equal(utime(manifest, &old), 0);
	assert_true(image_gc(w->cache, (const char *[]){ image->kernel, NULL }, 3600, FALSE, &gc,
			     NULL));
	assert_int_equal(gc.kept, 1);
	/* only a question */
	assert_true(image_gc(w->cache, NULL, 3600, TRUE, &gc, NULL));
	assert_int_equal(gc.removed, 1);
	assert_true(gc.freed > 1000000);
	assert_true(g_file_test(image->kernel, G_FILE_TEST_EXISTS));
	/* for good; the link goes with it */
	assert_true(image_gc(w->cache, NULL, 3600, FALSE, &gc, NULL));
	assert_int_equal(gc.removed, 1);
	assert_true(gc.freed > 1000000);
	left = cache_listing(w);
	assert_string_equal(left, "");
	image_free(image);
}

static void asking_counts_as_use(void **state)
{
	struct world *w = *state;
	struct image *image = NULL;
	struct image_gc gc;
	g_autofree char *manifest = NULL;
	const struct utimbuf old = { 1000000000, 1000000000 };

	assert_true(ensure(w, &image, NULL));
	manifest = g_build_filename(w->cache, "images", image->key, "manifest", NULL);
	assert_int_equal(utime(manifest, &old), 0);
	image_free(image);
	assert_true(ensure(w, &image, NULL));
	assert_true(image_gc(w->cache, NULL, 3600, FALSE, &gc, NULL));
	assert_int_equal(gc.kept, 1);
	image_free(image);
}

static void gc_removes_leftovers(void **state)
{
	struct world *w = *state;
	struct image_gc gc;
	g_autofree char *left = NULL;

	put_text(w->cache, "images/.build-AbCdEf/package/boot/vmlinuz-1", "0123456789", 0644);
	assert_true(image_gc(w->cache, NULL, 3600, FALSE, &gc, NULL));
	assert_int_equal(gc.removed, 1);
	assert_int_equal(gc.freed, 10);
	left = cache_listing(w);
	assert_string_equal(left, "");
}

/* --- files of a lab's own --------------------------------------------------------------------------------- */

static void files_of_a_lab(void **state)
{
	struct world *w = *state;
	g_autofree char *kernel = g_build_filename(w->dir, "vmlinuz", NULL);
	g_autofree char *initrd = g_build_filename(w->dir, "initrd.img", NULL);
	g_autoptr(GError) error = NULL;
	struct image *image = NULL;

	assert_false(image_from_files(kernel, NULL, NULL, &image, &error));
	assert_true(g_error_matches(error, ORCH_ERROR, ORCH_ERROR_FAILED));
	assert_non_null(strstr(error->message, kernel));
	g_clear_error(&error);
	put_text(w->dir, "vmlinuz", "k", 0644);
	assert_false(image_from_files(kernel, initrd, NULL, &image, &error));
	assert_non_null(strstr(error->message, initrd));
	g_clear_error(&error);
	assert_false(image_from_files(w->dir, NULL, NULL, &image, &error));
	assert_non_null(strstr(error->message, g_strerror(EISDIR)));
	put_text(w->dir, "initrd.img", "i", 0644);
	assert_true(image_from_files(kernel, initrd, "quiet", &image, NULL));
	assert_string_equal(image->kernel, kernel);
	assert_string_equal(image->initrd, initrd);
	assert_string_equal(image->append, "quiet");
	assert_string_equal(image->key, "");
	image_free(image);
	assert_true(image_from_files(kernel, NULL, NULL, &image, NULL));
	assert_string_equal(image->initrd, "");
	image_free(image);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(builds_from_a_package),
		WORLD_TEST(second_call_asks_nobody),
		WORLD_TEST(same_inputs_same_bytes),
		WORLD_TEST(key_follows_the_kernel),
		WORLD_TEST(key_follows_the_agent),
		WORLD_TEST(no_agent_no_image),
		WORLD_TEST(no_tool_no_image),
		WORLD_TEST(builds_from_three_packages),
		WORLD_TEST(falls_back_to_an_installed_kernel),
		WORLD_TEST(says_what_is_missing),
		WORLD_TEST(apt_that_knows_nothing),
		WORLD_TEST(apt_that_cannot_fetch),
		WORLD_TEST(no_busybox),
		WORLD_TEST(damaged_package),
		WORLD_TEST(package_without_what_we_need),
		WORLD_TEST(full_disk),
		WORLD_TEST(cache_that_cannot_be_made),
		WORLD_TEST(can_be_cancelled),
		WORLD_TEST(heals_a_damaged_cache),
		WORLD_TEST(builders_do_not_collide),
		WORLD_TEST(waits_for_a_lock),
		WORLD_TEST(gc_keeps_what_is_used),
		WORLD_TEST(asking_counts_as_use),
		WORLD_TEST(gc_removes_leftovers),
		WORLD_TEST(files_of_a_lab),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
