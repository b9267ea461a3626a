/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "crc32c.h"
#include "label.h"

/* ---- what is wrong, in words ---- */

static int wrong(struct arena *a, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int wrong(struct arena *a, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(a->why, sizeof(a->why), fmt, ap);
	va_end(ap);
	return r;
}

static int failed(struct arena *a, const char *what)
{
	int r = -errno;

	return wrong(a, r, "%s: %s", what, strerror(-r));
}

/* ---- the head ---- */

static uint32_t head_crc(const struct portal_head *h)
{
	return crc32c(h, offsetof(struct portal_head, crc));
}

static bool label_terminated(const char text[PORTAL_LABEL_MAX])
{
	return text[0] != '\0' && memchr(text, '\0', PORTAL_LABEL_MAX) != NULL;
}

/* Version 1 has one geometry. */
static bool geometry_valid(const struct portal_head *h, uint64_t file_size)
{
	return le32_get(h->head_size) == sizeof(*h) && le64_get(h->incompat) == 0 &&
	       le32_get(h->extent_size) == PORTAL_EXTENT &&
	       le64_get(h->arena_size) == file_size - PORTAL_LABEL_SIZE &&
	       le32_get(h->n_extents) == le64_get(h->arena_size) / PORTAL_EXTENT &&
	       le32_get(h->n_leases) == PORTAL_LEASES && le32_get(h->n_names) == PORTAL_NAMES &&
	       le64_get(h->live_offset) == PORTAL_LIVE_OFFSET &&
	       le64_get(h->leases_offset) == PORTAL_LEASES_OFFSET &&
	       le64_get(h->extents_offset) == PORTAL_EXTENTS_OFFSET &&
	       le64_get(h->names_offset) == PORTAL_NAMES_OFFSET &&
	       le64_get(h->pages_offset) == PORTAL_PAGES_OFFSET && label_terminated(h->name);
}

int arena_check_head(const struct portal_head *copy, uint64_t file_size, const char **ret_why)
{
	uint32_t version = le32_get(copy->version);

	if (memcmp(copy->magic, PORTAL_MAGIC, sizeof(copy->magic)) != 0) {
		*ret_why = "not an arena";
		return -ENOTUNIQ;
	}
	if (version == __builtin_bswap32(PORTAL_VERSION)) {
		*ret_why = "an arena of another byte order";
		return -EPROTONOSUPPORT;
	}
	if (version != PORTAL_VERSION) {
		*ret_why = "an arena of another version of the format";
		return -EPROTONOSUPPORT;
	}
	if (le32_get(copy->crc) != head_crc(copy) || !geometry_valid(copy, file_size)) {
		*ret_why = "an arena whose head is damaged, or that was cut or lengthened";
		return -EBADMSG;
	}
	return 0;
}

static void make_uuid(uint8_t uuid[16])
{
	/* Before the system has gathered randomness, at its boot, any bytes will do: the uuid tells arenas apart. */
	if (getrandom(uuid, 16, GRND_NONBLOCK) != 16)
		memset(uuid, 0x5a, 16);
	uuid[6] = (uuid[6] & 0x0f) | 0x40;
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static void make_head(struct portal_head *h, const struct arena *a, const struct arena_config *c)
{
	*h = (struct portal_head){
		.version = le32_of(PORTAL_VERSION),
		.head_size = le32_of(sizeof(*h)),
		.arena_size = le64_of(a->size),
		.extent_size = le32_of(PORTAL_EXTENT),
		.n_extents = le32_of(a->n_extents),
		.n_leases = le32_of(PORTAL_LEASES),
		.n_names = le32_of(PORTAL_NAMES),
		.live_offset = le64_of(PORTAL_LIVE_OFFSET),
		.leases_offset = le64_of(PORTAL_LEASES_OFFSET),
		.extents_offset = le64_of(PORTAL_EXTENTS_OFFSET),
		.names_offset = le64_of(PORTAL_NAMES_OFFSET),
		.pages_offset = le64_of(PORTAL_PAGES_OFFSET),
		.vsock_port = le32_of(c->vsock_port),
	};
	memcpy(h->magic, PORTAL_MAGIC, sizeof(h->magic));
	make_uuid(h->uuid);
	(void)snprintf(h->name, sizeof(h->name), "%s", c->name);
	h->crc = le32_of(head_crc(h));
}

/* ---- the file ---- */

/* The same file by a description of its own, which a process that gets it cannot widen or unlock. */
static int reopen(int fd, int flags)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Nothing where an arena has its label and its head, or the label of one that was begun. */
static bool is_blank(const uint8_t *label, const uint8_t *head_page, uint64_t file_size)
{
	return is_zero(head_page, PORTAL_PAGE) &&
	       (is_zero(label, LABEL_SIZE) || label_valid(label, file_size));
}

static int check_config(struct arena *a, const struct arena_config *c)
{
	size_t len = strlen(c->name);

	if (len == 0 || len >= PORTAL_LABEL_MAX)
		return wrong(a, -EINVAL, "name: 1 to %u bytes", PORTAL_LABEL_MAX - 1);
	for (size_t i = 0; i < len; i++)
		if (c->name[i] <= ' ' || c->name[i] > '~')
			return wrong(a, -EINVAL, "name: printable ASCII without spaces");
	if (c->size % PORTAL_EXTENT != 0)
		return wrong(a, -EINVAL, "size: %" PRIu64 " is not a multiple of 2 MiB", c->size);
	if (c->size < ARENA_SIZE_MIN || c->size > ARENA_SIZE_MAX)
		return wrong(a, -EINVAL, "size: %" PRIu64 " is outside %llu..%llu", c->size,
			     (unsigned long long)ARENA_SIZE_MIN, ARENA_SIZE_MAX);
	return 0;
}

/* All of its space, so that nobody who stores into the mapping can meet a full disk. */
static int allocate(struct arena *a)
{
	if (fallocate(a->fd, 0, 0, (off_t)a->file_size) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return failed(a, "allocating its space");
	return ftruncate(a->fd, (off_t)a->file_size) < 0 ? failed(a, "setting its size") : 0;
}

static int make_memfd(struct arena *a, const struct arena_config *c)
{
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), "portal-%s", c->name);
	a->fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (a->fd < 0)
		return failed(a, "memfd");
	a->fresh = true;
	r = allocate(a);
	if (r < 0)
		return r;
	if (fcntl(a->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return failed(a, "sealing it");
	/* Who is given the read-only descriptor does not open it anew for writing by mistake.  One of our user who means to
	 * makes it writable first, and no seal prevents that: F_SEAL_FUTURE_WRITE is for those as well who may write. */
	if (fchmod(a->fd, 0400) < 0)
		return failed(a, "fchmod");
	return 0;
}

static int lock(struct arena *a)
{
	a->lock_fd = reopen(a->fd, O_RDONLY);
	if (a->lock_fd < 0)
		return failed(a, "opening it twice");
	if (flock(a->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno != EWOULDBLOCK)
		return failed(a, "locking it");
	return wrong(a, -EBUSY, "another daemon has it");
}

/* Whether the disk, if there is one, keeps what is flushed. */
static bool is_durable(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 && st.f_type != TMPFS_MAGIC && st.f_type != RAMFS_MAGIC &&
	       st.f_type != HUGETLBFS_MAGIC;
}

static int open_path(struct arena *a, const char *path, bool *ret_made)
{
	struct stat st;

	a->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (a->fd < 0 && errno == ENOENT) {
		a->fd = open(path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0600);
		*ret_made = a->fd >= 0;
	}
	if (a->fd < 0)
		return failed(a, "opening it");
	if (fstat(a->fd, &st) < 0)
		return failed(a, "fstat");
	if (S_ISBLK(st.st_mode))
		return wrong(
			a, -ENODEV,
			"a block device: mappings of it (of /dev/pmem0, too) go to the page cache, and "
			"machines would not see each other's stores");
	if (!S_ISREG(st.st_mode))
		return wrong(a, -ENODEV, "not a regular file");
	return lock(a);
}

static int read_page(struct arena *a, uint64_t offset, uint8_t page[PORTAL_PAGE])
{
	ssize_t n = pread(a->fd, page, PORTAL_PAGE, (off_t)offset);

	if (n < 0)
		return failed(a, "reading it");
	memset(page + n, 0, PORTAL_PAGE - (size_t)n);
	return 0;
}

/* A file that holds something: is it the arena that is asked for? */
static int check_existing(struct arena *a, const struct arena_config *c, uint64_t size,
			  const uint8_t *head_page)
{
	struct portal_head head;
	const char *why = "";
	int r;

	memcpy(&head, head_page, sizeof(head));
	r = arena_check_head(&head, size, &why);
	if (r == -ENOTUNIQ)
		return wrong(a, -ENOTEMPTY, "not an arena, and not empty: it is left as it is");
	if (r < 0)
		return wrong(a, r, "%s", why);
	if (strcmp(head.name, c->name) != 0)
		return wrong(a, -EEXIST, "the arena \"%s\", not \"%s\"", head.name, c->name);
	if (size != c->size)
		return wrong(a, -EEXIST, "an arena of %" PRIu64 " bytes, not %" PRIu64, size,
			     c->size);
	if (!c->any_vsock_port && le32_get(head.vsock_port) != c->vsock_port)
		return wrong(a, -EEXIST, "an arena of vsock port %u, not %u",
			     le32_get(head.vsock_port), c->vsock_port);
	a->head = head;
	return 0;
}

/* Find out what there is.  a->fresh: nothing, yet. */
static int look_at_file(struct arena *a, const struct arena_config *c)
{
	uint8_t label[LABEL_SIZE] = { 0 }, head_page[PORTAL_PAGE] = { 0 };
	struct stat st;
	uint64_t size;
	int r;

	if (fstat(a->fd, &st) < 0)
		return failed(a, "fstat");
	size = (uint64_t)st.st_size;
	r = read_page(a, LABEL_OFFSET, label);
	if (r == 0)
		r = read_page(a, PORTAL_LABEL_SIZE, head_page);
	if (r < 0)
		return r;
	a->fresh = size == 0 || (size == c->size && is_blank(label, head_page, size));
	if (!a->fresh)
		r = check_existing(a, c, size, head_page);
	return r < 0 ? r : allocate(a);
}

static int use_file(struct arena *a, const struct arena_config *c)
{
	bool made = false;
	int r = open_path(a, c->path, &made);

	if (r == 0)
		r = look_at_file(a, c);
	if (r < 0 && made)
		(void)unlink(c->path);
	a->durable = r == 0 && is_durable(a->fd);
	return r;
}

/* ---- the mapping ---- */

static int map(struct arena *a)
{
	const struct mem_region_desc region = { .size = a->file_size };
	int fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 0), r;

	if (fd < 0)
		return failed(a, "dup");
	(void)mem_init(&a->mem);
	r = mem_set_table(&a->mem, &region, 1, &fd);
	if (r < 0)
		return wrong(a, r, "mapping it: %s", strerror(-r));
	a->file = a->mem.region[0].va;
	a->base = a->file + PORTAL_LABEL_SIZE;
	return 0;
}

/* What tells a file from its copies; the live page has it. */
static uint64_t file_id(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return 0;
	return ((uint64_t)st.st_dev * 0x9e3779b97f4a7c15ull) ^ (uint64_t)st.st_ino;
}

/* The head comes last, and after it nothing is missing. */
static void format(struct arena *a, const struct arena_config *c)
{
	make_head(&a->head, a, c);
	memset(a->base, 0, 2 * (size_t)PORTAL_EXTENT);
	le64_store(&arena_live(a)->file_id, file_id(a->fd));
	label_make(a->file + LABEL_OFFSET, a->file_size, a->head.uuid);
	if (a->durable)
		(void)fdatasync(
			a->fd); /* an error comes again, and is told, with the first flush */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(a->base, &a->head, sizeof(a->head));
}

/* Another daemon's turn, or, in a copy, another generation. */
static void begin(struct arena *a)
{
	struct portal_live *live = arena_live(a);
	uint64_t id = file_id(a->fd);

	a->copied = !a->fresh && le64_load(&live->file_id) != id;
	le64_store(&live->file_id, id);
	le64_store(&live->incarnation, le64_load(&live->incarnation) + 1);
	if (a->fresh || a->copied) {
		le64_store(&live->generation, le64_load(&live->generation) + 1);
		le32_store(&live->flush_error, 0); /* the disk's who had the original */
	}
	le32_store(&live->durable, a->durable);
	a->generation = le64_load(&live->generation);
	a->file_id = id;
}

int arena_open(struct arena *a, const struct arena_config *c)
{
	int r;

	*a = (struct arena){ .fd = -1, .ro_fd = -1, .lock_fd = -1 };
	r = check_config(a, c);
	if (r < 0)
		return r;
	a->file_size = c->size;
	a->size = c->size - PORTAL_LABEL_SIZE;
	a->n_extents = (uint32_t)(a->size / PORTAL_EXTENT);
	r = c->path ? use_file(a, c) : make_memfd(a, c);
	if (r == 0) {
		a->ro_fd = reopen(a->fd, O_RDONLY);
		r = a->ro_fd < 0 ? failed(a, "opening it read-only") : map(a);
	}
	if (r < 0) {
		arena_close(a);
		return r;
	}
	if (a->fresh)
		format(a, c);
	begin(a);
	return 0;
}

void arena_close(struct arena *a)
{
	if (a->file_size == 0)
		return;
	if (a->file)
		mem_done(&a->mem);
	a->file = NULL;
	fd_drop(&a->fd);
	fd_drop(&a->ro_fd);
	fd_drop(&a->lock_fd);
	a->file_size = 0;
}

bool arena_damaged(const struct arena *a)
{
	return mem_damaged(&a->mem);
}

/* In a file that is taken for a copy all leases are void, and of one of another generation clients know nothing. */
static bool mend_live(const struct arena *a)
{
	struct portal_live *live = arena_live(a);
	bool changed = le64_load(&live->generation) != a->generation ||
		       le64_load(&live->file_id) != a->file_id;

	if (changed) {
		le64_store(&live->generation, a->generation);
		le64_store(&live->file_id, a->file_id);
	}
	return changed;
}

bool arena_mend(struct arena *a)
{
	uint8_t label[LABEL_SIZE];
	bool changed;

	label_make(label, a->file_size, a->head.uuid);
	changed = memcmp(a->file + LABEL_OFFSET, label, sizeof(label)) != 0 ||
		  memcmp(a->base, &a->head, sizeof(a->head)) != 0;
	if (changed) {
		memcpy(a->file + LABEL_OFFSET, label, sizeof(label));
		memcpy(a->base, &a->head, sizeof(a->head));
	}
	return mend_live(a) || changed;
}
