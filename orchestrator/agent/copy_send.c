/* SPDX-License-Identifier: MIT */
/* The sending end of a copy: walk the tree, read, hash, write. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/copy.h"
#include "agent/copy_hash.h"
#include "agent/copy_stream.h"
#include "agent/copy_wire.h"

struct sender {
	int fd;
	const struct copy_options *options;
	struct copy_report *report;
	char path[PATH_MAX]; /* where we are, for messages; cut where it gets too long */
	size_t path_len;
	bool given_up; /* the receiver has sent RESULT, or is gone: nothing is to be told */
	struct copy_entry entry;
	uint8_t buf[COPY_EXTENT_MAX];
};

/* Note why, unless something is noted already.  Returns ERR. */
static int fail(struct sender *s, int err)
{
	if (!s->report->text[0])
		snprintf(s->report->text, sizeof(s->report->text), "%.400s: %s", s->path,
			 strerror(-err));
	return err;
}

/* The last word of the receiver: its RESULT.  Returns its errno, negative. */
static int hear(struct sender *s)
{
	uint8_t bytes[AGENT_HEADER_SIZE], body[COPY_RESULT_HEAD + COPY_RESULT_MAX];
	const struct copy_order anywhere = { .state = COPY_AT_ROOT };
	struct agent_header header;
	size_t len;
	uint32_t err;
	int r = copy_stream_read(s->fd, bytes, sizeof(bytes));

	s->given_up = true;
	s->report->peer = true;
	agent_header_get(bytes, &header);
	if (r == 0 && (header.type != AGENT_RESULT || copy_order_check(&anywhere, &header) < 0))
		r = -EBADMSG;
	if (r == 0)
		r = copy_stream_read(s->fd, body, header.size - AGENT_HEADER_SIZE);
	if (r < 0) {
		snprintf(s->report->text, sizeof(s->report->text), "the connection: %s",
			 strerror(-r));
		return r;
	}
	err = copy_u32_get(body);
	s->report->peer = err != 0;
	len = header.size - AGENT_HEADER_SIZE - COPY_RESULT_HEAD;
	if (err != 0)
		snprintf(s->report->text, sizeof(s->report->text), "%.*s",
			 (int)strnlen((char *)body + COPY_RESULT_HEAD, len),
			 (char *)body + COPY_RESULT_HEAD);
	return err < 4096 ? -(int)err : -EPROTO;
}

static int put(struct sender *s, uint32_t type, const struct iovec *body, int n)
{
	int r;

	if (copy_stream_readable(s->fd)) {
		r = hear(s); /* before END there is nothing good to hear */
		return r < 0 ? r : fail(s, -EPROTO);
	}
	r = copy_stream_write(s->fd, type, body, n);
	if (r == -EPIPE || r == -ECONNRESET)
		return hear(s) < 0 ? -ECONNRESET : fail(s, -ECONNRESET);
	return r < 0 ? fail(s, r) : 0;
}

static void report_progress(struct sender *s)
{
	if (s->options->progress)
		s->options->progress(s->report, s->options->data);
}

/* --- files ------------------------------------------------------------------------------------------------ */

/* Send what lies in [from, to).  *from moves on; a file that ends early ends there. */
static int send_extent(struct sender *s, int file, XXH64_state_t *hash, off_t *from, off_t to)
{
	while (*from < to) {
		size_t want = to - *from < COPY_EXTENT_MAX ? (size_t)(to - *from) : COPY_EXTENT_MAX;
		ssize_t n = pread(file, s->buf, want, *from);
		uint8_t offset[COPY_EXTENT_HEAD];
		struct iovec body[] = { { offset, sizeof(offset) },
					{ s->buf, n > 0 ? (size_t)n : 0 } };
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(s, -errno);
		if (n == 0)
			return 0;
		copy_u64_put(offset, (uint64_t)*from);
		XXH64_update(hash, s->buf, (size_t)n);
		r = put(s, AGENT_EXTENT, body, 2);
		if (r < 0)
			return r;
		*from += n;
		s->report->bytes += (uint64_t)n;
		report_progress(s);
	}
	return 0;
}

/* Where the next data of FILE lies.  False: there is none.  A file system that cannot tell has one extent. */
static bool next_data(int file, off_t at, off_t size, off_t *ret_from, off_t *ret_to)
{
	off_t from = at < size ? lseek(file, at, SEEK_DATA) : -1;

	if (at >= size || (from < 0 && errno == ENXIO) || from >= size)
		return false;
	*ret_from = from < 0 ? at : from;
	*ret_to = from < 0 ? size : lseek(file, from, SEEK_HOLE);
	if (*ret_to < 0 || *ret_to > size)
		*ret_to = size;
	return true;
}

/* All of FILE as it was SIZE long: one that grows is not followed, one that shrinks is sent shorter. */
static int send_data(struct sender *s, int file, XXH64_state_t *hash, off_t size, off_t *ret_end)
{
	off_t at = 0, from, to;
	int r = 0;

	if (size == 0) /* true of what /proc makes up as it is read, too */
		r = send_extent(s, file, hash, &at, INT64_MAX);
	while (r == 0 && next_data(file, at, size, &from, &to)) {
		at = from;
		r = send_extent(s, file, hash, &at, to);
		if (r == 0 && at < to)
			size = at;
	}
	*ret_end = size > at ? size : at;
	return r;
}

static int send_file(struct sender *s, int file, off_t size)
{
	uint8_t body[COPY_HASH_SIZE];
	struct iovec iov = { body, sizeof(body) };
	XXH64_state_t hash;
	off_t end;
	int r;

	XXH64_reset(&hash, 0);
	r = send_data(s, file, &hash, size, &end);
	if (r < 0)
		return r;
	copy_u64_put(body, (uint64_t)end);
	copy_u64_put(body + 8, XXH64_digest(&hash));
	s->report->files++;
	report_progress(s);
	return put(s, AGENT_HASH, &iov, 1);
}

/* --- the tree --------------------------------------------------------------------------------------------- */

static int send_entry(struct sender *s, enum copy_kind kind, const struct stat *st)
{
	uint8_t body[COPY_ENTRY_MAX];
	struct iovec iov = { body, 0 };

	s->entry.kind = kind;
	s->entry.mode = st->st_mode & 07777;
	s->entry.uid = st->st_uid;
	s->entry.gid = st->st_gid;
	s->entry.size = kind == COPY_FILE ? (uint64_t)st->st_size : 0;
	s->entry.mtime_s = st->st_mtim.tv_sec;
	s->entry.mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	if (kind != COPY_SYMLINK)
		s->entry.target[0] = '\0';
	iov.iov_len = copy_entry_put(body, &s->entry);
	return put(s, AGENT_ENTRY, &iov, 1);
}

static int send_directory(struct sender *s, int fd, unsigned depth);

static int send_symlink(struct sender *s, int parent, const struct stat *st)
{
	ssize_t n = readlinkat(parent, s->entry.name, s->entry.target, COPY_TARGET_MAX);
	int r;

	if (n < 0)
		return fail(s, -errno);
	s->entry.target[n] = '\0';
	r = send_entry(s, COPY_SYMLINK, st);
	if (r == 0)
		s->report->links++;
	return r;
}

/* FD is an open file or directory, whose name is in s->entry; taken. */
static int send_open(struct sender *s, int fd, unsigned depth)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0) {
		r = fail(s, -errno);
		close(fd);
		return r;
	}
	if (S_ISDIR(st.st_mode)) {
		r = send_entry(s, COPY_DIRECTORY, &st);
		if (r == 0)
			return send_directory(s, fd, depth + 1);
	} else {
		r = send_entry(s, COPY_FILE, &st);
		if (r == 0)
			r = send_file(s, fd, st.st_size);
	}
	close(fd);
	return r;
}

/* Windows of the kernel, which are without end or make no sense elsewhere. */
static bool is_window(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC);
}

/* One name of a directory that is being walked; ancestor: its file system, so that only entering a window is refused. */
static int send_name(struct sender *s, int parent, unsigned depth)
{
	struct stat st;
	int fd;

	if (fstatat(parent, s->entry.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		goto gone;
	if (S_ISLNK(st.st_mode))
		return send_symlink(s, parent, &st);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		s->report->skipped++;
		return 0;
	}
	/* Non-blocking: it may be another thing by now. */
	fd = openat(parent, s->entry.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		goto gone;
	if (S_ISDIR(st.st_mode) && is_window(fd) && !is_window(parent)) {
		close(fd);
		s->report->skipped++;
		return 0;
	}
	return send_open(s, fd, depth);
gone:
	if (errno != ENOENT)
		return fail(s, -errno);
	s->report->skipped++; /* removed while we walked */
	return 0;
}

static void path_enter(struct sender *s, const char *name)
{
	int n = snprintf(s->path + s->path_len, sizeof(s->path) - s->path_len, "%s%s",
			 s->path_len > 0 && s->path[s->path_len - 1] == '/' ? "" : "/", name);

	s->path_len = s->path_len + (size_t)n < sizeof(s->path) ? s->path_len + (size_t)n :
								  sizeof(s->path) - 1;
}

static void path_leave(struct sender *s, size_t len)
{
	s->path_len = len;
	s->path[len] = '\0';
}

static int send_entries(struct sender *s, DIR *dir, unsigned depth)
{
	struct dirent *d;

	while ((void)(errno = 0), (d = readdir(dir))) {
		size_t len = s->path_len, name = strlen(d->d_name);
		int r;

		if (!copy_name_valid(d->d_name, name))
			continue; /* "." and ".." */
		memcpy(s->entry.name, d->d_name, name + 1);
		path_enter(s, d->d_name);
		r = send_name(s, dirfd(dir), depth);
		if (r < 0)
			return r;
		path_leave(s, len);
	}
	return errno ? fail(s, -errno) : 0;
}

/* Takes FD. */
static int send_directory(struct sender *s, int fd, unsigned depth)
{
	DIR *dir = depth <= COPY_DEPTH_MAX ? fdopendir(fd) : NULL;
	int r;

	if (!dir) {
		r = fail(s, depth <= COPY_DEPTH_MAX ? -errno : -ELOOP);
		close(fd);
		return r;
	}
	r = send_entries(s, dir, depth);
	closedir(dir);
	if (r < 0)
		return r;
	s->report->directories++;
	return put(s, AGENT_LEAVE, NULL, 0);
}

const char *copy_name(const char *path, unsigned *ret_len)
{
	size_t end = strlen(path), start;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--)
		;
	if (!copy_name_valid(path + start, end - start))
		start = end; /* "/", ".", ".." */
	*ret_len = (unsigned)(end - start);
	return path + start;
}

/* The root: a link is followed, and what is neither file nor directory refused. */
static int send_root(struct sender *s, const char *path)
{
	unsigned len;
	const char *name = copy_name(path, &len);
	struct stat st;
	int fd;

	memcpy(s->entry.name, name, len);
	s->entry.name[len] = '\0';
	if (stat(path, &st) < 0)
		return fail(s, -errno);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
		snprintf(s->report->text, sizeof(s->report->text),
			 "%.400s: neither a file nor a directory", path);
		return -EINVAL;
	}
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return fail(s, -errno);
	return send_open(s, fd, 0);
}

/* Tell the receiver why it goes no further. */
static void give_up(struct sender *s, int err)
{
	uint8_t head[COPY_RESULT_HEAD];
	struct iovec body[] = { { head, sizeof(head) },
				{ s->report->text, strlen(s->report->text) } };

	if (body[1].iov_len > COPY_RESULT_MAX)
		body[1].iov_len = COPY_RESULT_MAX;
	copy_u32_put(head, (uint32_t)-err);
	(void)copy_stream_write(s->fd, AGENT_RESULT, body, 2);
}

int copy_send(int fd, const char *path, const struct copy_options *options,
	      struct copy_report *ret_report)
{
	static const struct copy_options none;
	struct sender *s = malloc(sizeof(*s));
	int r;

	*ret_report = (struct copy_report){ 0 };
	if (!s) {
		snprintf(ret_report->text, sizeof(ret_report->text), "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	s->fd = fd;
	s->options = options ? options : &none;
	s->report = ret_report;
	s->given_up = false;
	s->path_len = 0;
	path_leave(s, (size_t)snprintf(s->path, sizeof(s->path), "%s", path) < sizeof(s->path) ?
			      strlen(s->path) :
			      0);
	r = send_root(s, path);
	if (r == 0)
		r = put(s, AGENT_END, NULL, 0);
	if (r == 0)
		r = hear(s);
	else if (!s->given_up)
		give_up(s, r);
	free(s);
	return r;
}
