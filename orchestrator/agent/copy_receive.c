/* SPDX-License-Identifier: MIT */
/* The receiving end of a copy: read, check, write, hash, put in place. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/copy.h"
#include "agent/copy_hash.h"
#include "agent/copy_place.h"
#include "agent/copy_stream.h"
#include "agent/copy_wire.h"

#define CHUNK (256ul * 1024) /* read, hashed and written at once: fits a second-level cache */

/* A directory that has been entered and not left. */
struct level {
	int fd;
	bool made; /* by this copy: its mode, owner and time are set when it is left */
	struct copy_entry *entry; /* what to set then; owned, NULL if not made */
	size_t path_len;          /* of the path before it */
};

struct receiver {
	int fd;
	const struct copy_options *options;
	struct copy_report *report;
	struct copy_order order;
	bool fresh; /* the whole tree is a temporary: names in it need none of their own */
	int parent; /* the root's directory */
	char root[COPY_NAME_MAX + 1]; /* the root's name in it; "": parent itself is merged into */
	struct place tree;            /* the temporary of a fresh tree */
	struct place file;            /* the temporary of the file at hand */
	int out; /* the file at hand: file.fd, or one of a fresh tree; -1: none */
	XXH64_state_t hash;
	struct level levels[COPY_DEPTH_MAX];
	unsigned n_levels;
	struct copy_entry entry; /* the last one */
	char path[PATH_MAX];     /* for messages; cut where it gets too long */
	size_t path_len;
	size_t path_before; /* its length without the last entry's name */
	uint8_t buf[CHUNK];
};

static int fail(struct receiver *r, int err)
{
	if (!r->report->text[0])
		snprintf(r->report->text, sizeof(r->report->text), "%.400s: %s", r->path,
			 strerror(-err));
	return err;
}

static int fail_text(struct receiver *r, int err, const char *text)
{
	if (!r->report->text[0])
		snprintf(r->report->text, sizeof(r->report->text), "%.400s: %s", r->path, text);
	return err;
}

/* The stream itself: it broke off, or is not as it must be. */
static int fail_stream(struct receiver *r, int err)
{
	r->report->peer = true;
	return fail_text(r, err,
			 err == -ECONNRESET ? "the connection ended before the copy was whole" :
			 err == -ELOOP      ? "directories lie too deep in each other" :
			 err == -EBADMSG    ? "the stream is damaged" :
					      strerror(-err));
}

static void path_enter(struct receiver *r, const char *name)
{
	size_t room = sizeof(r->path) - r->path_len;
	int n = snprintf(r->path + r->path_len, room, "/%s", name);

	r->path_len += (size_t)n < room ? (size_t)n : room - 1;
}

static void path_leave(struct receiver *r, size_t len)
{
	r->path_len = len;
	r->path[len] = '\0';
}

/* Where names go now. */
static int here(const struct receiver *r)
{
	return r->n_levels > 0 ? r->levels[r->n_levels - 1].fd : r->parent;
}

static const char *name_of(const struct receiver *r)
{
	return r->n_levels > 0 ? r->entry.name : r->root;
}

/* --- what is set on files and directories ----------------------------------------------------------------- */

static void times_of(const struct copy_entry *entry, struct timespec times[2])
{
	times[0] = (struct timespec){ .tv_nsec = UTIME_OMIT };
	times[1] = (struct timespec){ .tv_sec = entry->mtime_s, .tv_nsec = entry->mtime_ns };
}

/* Owner before mode: changing the owner takes set-ID bits away. */
static int set_attributes(const struct receiver *r, int fd, const struct copy_entry *entry)
{
	mode_t mode = entry->mode & (r->options->owner ? 07777 : 01777);
	struct timespec times[2];

	times_of(entry, times);
	if (r->options->owner && fchown(fd, entry->uid, entry->gid) < 0)
		return -errno;
	if (fchmod(fd, mode) < 0 || futimens(fd, times) < 0)
		return -errno;
	return 0;
}

static int set_link_attributes(const struct receiver *r, int parent, const char *name)
{
	struct timespec times[2];

	times_of(&r->entry, times);
	if (r->options->owner &&
	    fchownat(parent, name, r->entry.uid, r->entry.gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* --- the root --------------------------------------------------------------------------------------------- */

/* The target is a directory: the copy goes into it. */
static int root_into(struct receiver *r, int dir)
{
	const char *name = r->options->name ? r->options->name : r->entry.name;

	r->parent = dir;
	if (!name[0] && r->entry.kind != COPY_DIRECTORY)
		return fail(r, -EISDIR);
	if (name[0] && !copy_name_valid(name, strlen(name)))
		return fail(r, -EINVAL);
	snprintf(r->root, sizeof(r->root), "%s", name);
	if (name[0])
		path_enter(r, name);
	return 0;
}

/* The target is a name in a directory. */
static int root_as(struct receiver *r, const char *path)
{
	unsigned len;
	const char *name = copy_name(path, &len);
	char parent[PATH_MAX];

	if (len == 0)
		return fail(r, -ENOENT); /* "..", and no directory */
	if (name[len] == '/' && r->entry.kind != COPY_DIRECTORY)
		return fail(r, -ENOTDIR);
	memcpy(r->root, name, len);
	r->root[len] = '\0';
	snprintf(parent, sizeof(parent), "%.*s", (int)(name - path), path);
	r->parent = open(parent[0] ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r->parent < 0 ? fail(r, -errno) : 0;
}

static int find_root(struct receiver *r, const char *path)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	path_leave(r, (size_t)snprintf(r->path, sizeof(r->path), "%s", path) < sizeof(r->path) ?
			      strlen(r->path) :
			      0);
	if (strlen(path) >= PATH_MAX)
		return fail(r, -ENAMETOOLONG);
	while (r->path_len > 1 && r->path[r->path_len - 1] == '/')
		path_leave(r, r->path_len - 1);
	if (dir >= 0)
		return root_into(r, dir);
	if (errno != ENOENT && errno != ENOTDIR)
		return fail(r, -errno);
	return root_as(r, path);
}

/* What stands where the root will be?  Sets *ret_merge for a directory that is to be merged into. */
static int look_at_root(struct receiver *r, bool *ret_merge)
{
	struct stat st;
	bool there;

	*ret_merge = !r->root[0];
	if (!r->root[0])
		return 0;
	place_sweep(r->parent, r->root);
	there = fstatat(r->parent, r->root, &st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!there)
		return errno == ENOENT ? 0 : fail(r, -errno);
	if (r->entry.kind != COPY_DIRECTORY)
		return S_ISDIR(st.st_mode) ? fail(r, -EISDIR) : 0;
	*ret_merge = S_ISDIR(st.st_mode);
	return *ret_merge ? 0 : fail(r, -ENOTDIR);
}

/* --- entries ---------------------------------------------------------------------------------------------- */

/* Takes FD. */
static int push(struct receiver *r, int fd, bool made)
{
	struct level *level = &r->levels[r->n_levels];

	*level = (struct level){ .fd = fd, .made = made, .path_len = r->path_before };
	if (made) {
		level->entry = malloc(sizeof(*level->entry));
		if (!level->entry) {
			close(fd);
			return fail(r, -ENOMEM);
		}
		*level->entry = r->entry;
	}
	r->n_levels++;
	return 0;
}

static int enter_root(struct receiver *r, bool merge)
{
	int fd, err;

	if (merge) {
		fd = openat(r->parent, r->root[0] ? r->root : ".",
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		return fd < 0 ? fail(r, -errno) : push(r, fd, false);
	}
	err = place_directory(&r->tree, r->parent, r->root);
	if (err < 0)
		return fail(r, err);
	r->fresh = true;
	fd = fcntl(r->tree.fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? fail(r, -errno) : push(r, fd, true);
}

static int enter_directory(struct receiver *r)
{
	bool made = mkdirat(here(r), r->entry.name, 0700) == 0;
	int fd;

	if (!made && (errno != EEXIST || r->fresh))
		return fail(r, -errno);
	fd = openat(here(r), r->entry.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(r, errno == ELOOP ? -ENOTDIR : -errno);
	return push(r, fd, made);
}

static int begin_file(struct receiver *r)
{
	int err;

	XXH64_reset(&r->hash, 0);
	if (r->fresh) {
		r->out =
			openat(here(r), r->entry.name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		return r->out < 0 ? fail(r, -errno) : 0;
	}
	if (r->n_levels > 0)
		place_sweep(here(r), name_of(r));
	err = place_file(&r->file, here(r), name_of(r));
	if (err < 0)
		return fail(r, err);
	r->out = r->file.fd;
	return 0;
}

static int make_link(struct receiver *r)
{
	struct place place;
	int err;

	r->report->links++;
	if (r->fresh) {
		if (symlinkat(r->entry.target, here(r), r->entry.name) < 0)
			return fail(r, -errno);
		err = set_link_attributes(r, here(r), r->entry.name);
		return err < 0 ? fail(r, err) : 0;
	}
	err = place_symlink(&place, here(r), name_of(r), r->entry.target);
	if (err == 0) {
		err = set_link_attributes(r, here(r), place.name);
		if (err < 0)
			place_drop(&place);
		else
			err = place_commit(&place, name_of(r));
	}
	return err < 0 ? fail(r, err) : 0;
}

static int do_entry(struct receiver *r, const uint8_t *body, size_t size, const char *target)
{
	bool root = r->order.state == COPY_AT_ROOT, merge = false;
	int err = copy_entry_get(body, size, &r->entry);

	if (err == 0)
		err = copy_order_entry(&r->order, &r->entry);
	if (err < 0)
		return fail_stream(r, err);
	err = root ? find_root(r, target) : 0;
	if (err == 0 && root)
		err = look_at_root(r, &merge);
	if (err < 0)
		return err;
	r->path_before = r->path_len;
	if (!root)
		path_enter(r, r->entry.name);
	if (r->entry.kind == COPY_DIRECTORY)
		return root ? enter_root(r, merge) : enter_directory(r);
	err = r->entry.kind == COPY_FILE ? begin_file(r) : make_link(r);
	if (err == 0 && r->entry.kind == COPY_SYMLINK)
		path_leave(r, r->path_before);
	return err;
}

/* --- data ------------------------------------------------------------------------------------------------- */

static int write_out(struct receiver *r, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(r->out, r->buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno != EINTR)
			return fail(r, -errno);
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int do_extent(struct receiver *r, size_t size)
{
	uint8_t head[COPY_EXTENT_HEAD];
	size_t left = size - sizeof(head);
	uint64_t offset;
	int err = copy_stream_read(r->fd, head, sizeof(head));

	offset = copy_u64_get(head);
	if (err == 0)
		err = copy_order_extent(&r->order, offset, left);
	while (err == 0 && left > 0) {
		size_t n = left < CHUNK ? left : CHUNK;

		err = copy_stream_read(r->fd, r->buf, n);
		if (err < 0)
			break;
		XXH64_update(&r->hash, r->buf, n);
		err = write_out(r, n, offset);
		if (err < 0)
			return err;
		offset += n;
		left -= n;
		r->report->bytes += n;
	}
	if (err == 0 && r->options->progress)
		r->options->progress(r->report, r->options->data);
	return err < 0 ? fail_stream(r, err) : 0;
}

static int finish_file(struct receiver *r, uint64_t size)
{
	int err = 0;

	if (ftruncate(r->out, (off_t)size) < 0) /* a hole at the end */
		err = -errno;
	if (err == 0)
		err = set_attributes(r, r->out, &r->entry);
	if (r->fresh)
		close(r->out);
	else if (err == 0)
		err = place_commit(&r->file, name_of(r));
	else
		place_drop(&r->file);
	r->out = -1;
	return err < 0 ? fail(r, err) : 0;
}

static int do_hash(struct receiver *r, const uint8_t *body)
{
	uint64_t size = copy_u64_get(body);
	int err = copy_order_hash(&r->order, size);

	if (err < 0)
		return fail_stream(r, err);
	if (copy_u64_get(body + 8) != XXH64_digest(&r->hash)) {
		r->report->peer = true;
		return fail_text(r, -EBADMSG, "what came is not what was sent: the hash differs");
	}
	err = finish_file(r, size);
	if (err < 0)
		return err;
	r->report->files++;
	path_leave(r, r->path_before);
	if (r->options->progress)
		r->options->progress(r->report, r->options->data);
	return 0;
}

static int do_leave(struct receiver *r)
{
	struct level *level = &r->levels[--r->n_levels];
	int err = level->made ? set_attributes(r, level->fd, level->entry) : 0;

	copy_order_leave(&r->order);
	close(level->fd);
	free(level->entry);
	r->report->directories++;
	if (err < 0)
		return fail(r, err);
	path_leave(r, level->path_len);
	return 0;
}

static int do_end(struct receiver *r)
{
	int err = r->fresh ? place_commit(&r->tree, r->root) : 0;

	copy_order_end(&r->order);
	return err < 0 ? fail(r, err) : 0;
}

/* The sender has given up and says why. */
static int do_result(struct receiver *r, const uint8_t *body, size_t size)
{
	uint32_t err = copy_u32_get(body);

	r->report->peer = true;
	snprintf(r->report->text, sizeof(r->report->text), "%.*s",
		 (int)strnlen((const char *)body + COPY_RESULT_HEAD, size - COPY_RESULT_HEAD),
		 (const char *)body + COPY_RESULT_HEAD);
	if (err > 0 && err < 4096)
		return fail_text(r, -(int)err, "the sender gave up"); /* unless it has said why */
	return fail_text(r, -EPROTO, "the sender gave up without an error");
}

static int do_record(struct receiver *r, const char *target)
{
	_Static_assert(COPY_ENTRY_MAX > COPY_RESULT_HEAD + COPY_RESULT_MAX,
		       "the largest but EXTENT");
	uint8_t bytes[AGENT_HEADER_SIZE], body[COPY_ENTRY_MAX];
	struct agent_header header;
	size_t size;
	int err = copy_stream_read(r->fd, bytes, sizeof(bytes));

	agent_header_get(bytes, &header);
	if (err == 0)
		err = copy_order_check(&r->order, &header);
	if (err < 0)
		return fail_stream(r, err);
	size = header.size - AGENT_HEADER_SIZE;
	if (header.type == AGENT_EXTENT)
		return do_extent(r, size);
	err = copy_stream_read(r->fd, body, size);
	if (err < 0)
		return fail_stream(r, err);
	switch (header.type) {
	case AGENT_ENTRY:
		return do_entry(r, body, size, target);
	case AGENT_HASH:
		return do_hash(r, body);
	case AGENT_LEAVE:
		return do_leave(r);
	case AGENT_END:
		return do_end(r);
	default:
		return do_result(r, body, size);
	}
}

/* --- beginning and end ------------------------------------------------------------------------------------ */

/* Close what is open, remove what is not whole. */
static void receiver_done(struct receiver *r)
{
	while (r->n_levels > 0) {
		struct level *level = &r->levels[--r->n_levels];

		close(level->fd);
		free(level->entry);
	}
	if (r->out >= 0 && r->out != r->file.fd)
		close(r->out);
	place_drop(&r->file);
	place_drop(&r->tree);
	if (r->parent >= 0)
		close(r->parent);
	free(r);
}

/* The last word. */
static void tell(int fd, const struct copy_report *report, int err)
{
	uint8_t head[COPY_RESULT_HEAD];
	struct iovec body[] = { { head, sizeof(head) },
				{ (void *)(uintptr_t)report->text,
				  err ? strlen(report->text) : 0 } };

	if (body[1].iov_len > COPY_RESULT_MAX)
		body[1].iov_len = COPY_RESULT_MAX;
	copy_u32_put(head, (uint32_t)-err);
	if (copy_stream_write(fd, AGENT_RESULT, body, 2) == 0 && err < 0 && !report->peer)
		copy_stream_drain(fd);
}

int copy_receive(int fd, const char *path, const struct copy_options *options,
		 struct copy_report *ret_report)
{
	static const struct copy_options none;
	struct receiver *r = calloc(1, sizeof(*r));
	int err = 0;

	*ret_report = (struct copy_report){ 0 };
	if (!r) {
		snprintf(ret_report->text, sizeof(ret_report->text), "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	r->fd = fd;
	r->options = options ? options : &none;
	r->report = ret_report;
	r->parent = r->out = -1;
	r->tree = r->file = (struct place){ .parent = -1, .fd = -1 };
	snprintf(r->path, sizeof(r->path), "%s", path);
	while (err == 0 && r->order.state != COPY_DONE)
		err = do_record(r, path);
	receiver_done(r);
	tell(fd, ret_report, err);
	return err;
}
