/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/copy.h"
#include "agent/copy_hash.h"
#include "agent/copy_stream.h"
#include "agent/copy_wire.h"
#include "tmp.h"

#define PATH 256

struct place {
	struct tmp_dir tmp;
	char from[PATH], to[PATH];
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	tmp_dir_init(&p->tmp);
	tmp_path(&p->tmp, "from", p->from, PATH);
	tmp_path(&p->tmp, "to", p->to, PATH);
	assert_int_equal(mkdir(p->from, 0755), 0);
	assert_int_equal(mkdir(p->to, 0755), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	tmp_dir_done(&p->tmp);
	free(p);
	return 0;
}

static char *path_in(const char *dir, const char *name, char out[PATH])
{
	assert_in_range(snprintf(out, PATH, "%s/%s", dir, name), 1, PATH - 1);
	return out;
}

static void write_bytes(const char *dir, const char *name, const void *bytes, size_t size,
			mode_t mode)
{
	char path[PATH];
	int fd = open(path_in(dir, name, path), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void write_text(const char *dir, const char *name, const char *text)
{
	write_bytes(dir, name, text, strlen(text), 0644);
}

static void assert_text(const char *dir, const char *name, const char *text)
{
	char path[PATH], buf[256] = "";
	int fd = open(path_in(dir, name, path), O_RDONLY | O_NOFOLLOW);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, sizeof(buf) - 1), strlen(text));
	assert_string_equal(buf, text);
	close(fd);
}

static void assert_absent(const char *dir, const char *name)
{
	char path[PATH];
	struct stat st;

	assert_int_equal(lstat(path_in(dir, name, path), &st), -1);
	assert_int_equal(errno, ENOENT);
}

/* How many names a directory has, hidden ones included. */
static unsigned n_names(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* --- both ends in this process ---------------------------------------------------------------------------- */

struct end {
	pthread_t thread;
	int fd;
	const char *path;
	struct copy_options options;
	struct copy_report report;
	int r;
};

static void *run_send(void *data)
{
	struct end *end = data;

	end->r = copy_send(end->fd, end->path, &end->options, &end->report);
	close(end->fd);
	return NULL;
}

static void start_send(struct end *end, const char *path, int *ret_other)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	end->fd = pair[0];
	end->path = path;
	*ret_other = pair[1];
	assert_int_equal(pthread_create(&end->thread, NULL, run_send, end), 0);
}

static int copy_with(const char *from, const char *to, const struct copy_options *options,
		     struct copy_report *report, struct copy_report *sent)
{
	struct end sender = { .options = { .owner = options && options->owner } };
	int fd, r;

	start_send(&sender, from, &fd);
	r = copy_receive(fd, to, options, report);
	close(fd);
	pthread_join(sender.thread, NULL);
	assert_int_equal(sender.r, r);
	if (sent)
		*sent = sender.report;
	return r;
}

static int copy(const char *from, const char *to)
{
	struct copy_report report;

	return copy_with(from, to, NULL, &report, NULL);
}

static void file_keeps_mode_and_time(void **state)
{
	struct place *p = *state;
	const struct timespec times[2] = { { .tv_sec = 1 }, { 1000000007, 123456789 } };
	char from[PATH], to[PATH];
	struct copy_report report;
	struct stat st;

	write_bytes(p->from, "a", "hello", 5, 0751);
	assert_int_equal(utimensat(AT_FDCWD, path_in(p->from, "a", from), times, 0), 0);
	assert_int_equal(copy_with(from, path_in(p->to, "b", to), NULL, &report, NULL), 0);
	assert_text(p->to, "b", "hello");
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0751);
	assert_int_equal(st.st_mtim.tv_sec, 1000000007);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);
	assert_int_equal(report.files, 1);
	assert_int_equal(report.bytes, 5);
	assert_string_equal(report.text, "");
	assert_int_equal(n_names(p->to), 1);
}

static void into_directory_or_as_name(void **state)
{
	struct place *p = *state;
	const struct copy_options asked = { .name = "asked" };
	struct copy_report report;
	char from[PATH], to[PATH];

	write_text(p->from, "a", "1");
	path_in(p->from, "a", from);
	assert_int_equal(copy(from, p->to), 0);
	assert_text(p->to, "a", "1");
	assert_int_equal(copy_with(from, p->to, &asked, &report, NULL), 0);
	assert_text(p->to, "asked", "1");
	assert_int_equal(copy(from, path_in(p->to, "no/where", to)), -ENOENT);
	assert_int_equal(copy(from, path_in(p->to, "new/", to)), -ENOTDIR);
	assert_int_equal(n_names(p->to), 2);
}

static void file_replaces_file_and_link(void **state)
{
	struct place *p = *state;
	char from[PATH], to[PATH];

	write_text(p->from, "a", "new");
	path_in(p->from, "a", from);
	write_text(p->to, "a", "old, and longer");
	assert_int_equal(copy(from, path_in(p->to, "a", to)), 0);
	assert_text(p->to, "a", "new");
	write_text(p->to, "victim", "untouched");
	assert_int_equal(symlink("victim", path_in(p->to, "link", to)), 0);
	assert_int_equal(copy(from, to), 0);
	assert_text(p->to, "link", "new"); /* a file now: assert_text does not follow */
	assert_text(p->to, "victim", "untouched");
}

static void empty_and_odd_sizes(void **state)
{
	struct place *p = *state;
	static const size_t sizes[] = { 0,      1,      4095,   4096,   262143, 262144,
					262145, 524287, 524288, 524289, 1600001 };
	uint8_t *bytes = malloc(1600001), *got = malloc(1600001);
	char from[PATH], to[PATH];

	for (size_t i = 0; i < 1600001; i++)
		bytes[i] = (uint8_t)(i * 31 + i / 251);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct stat st;
		int fd;

		write_bytes(p->from, "f", bytes, sizes[i], 0644);
		assert_int_equal(copy(path_in(p->from, "f", from), path_in(p->to, "f", to)), 0);
		fd = open(to, O_RDONLY);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, sizes[i]);
		assert_int_equal(read(fd, got, 1600001), sizes[i]);
		assert_memory_equal(got, bytes, sizes[i]);
		close(fd);
	}
	free(bytes);
	free(got);
}

static void holes_stay_holes(void **state)
{
	struct place *p = *state;
	char from[PATH], to[PATH], got[8];
	struct copy_report report;
	struct stat st;
	int fd = open(path_in(p->from, "s", from), O_RDWR | O_CREAT, 0644);

	assert_int_equal(pwrite(fd, "begin", 5, 1 << 20), 5);
	assert_int_equal(pwrite(fd, "mid", 3, (64 << 20) + 100), 3);
	assert_int_equal(ftruncate(fd, 1 << 28), 0);
	close(fd);
	assert_int_equal(copy_with(from, path_in(p->to, "s", to), NULL, &report, NULL), 0);
	fd = open(to, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 1 << 28);
	assert_in_range(st.st_blocks, 1, 8192); /* 4 MiB at most of 256 */
	assert_in_range(report.bytes, 8, 4 << 20);
	assert_int_equal(pread(fd, got, 5, 1 << 20), 5);
	assert_memory_equal(got, "begin", 5);
	assert_int_equal(pread(fd, got, 3, (64 << 20) + 100), 3);
	assert_memory_equal(got, "mid", 3);
	close(fd);
}

static void make_tree(const char *dir)
{
	char path[PATH], fifo[PATH];

	assert_int_equal(mkdir(path_in(dir, "t", path), 0755), 0);
	write_text(path, "f1", "one");
	write_bytes(path, "exe", "#!", 2, 0555);
	assert_int_equal(symlink("f1", path_in(dir, "t/link", fifo)), 0);
	assert_int_equal(symlink("/no/where", path_in(dir, "t/dangling", fifo)), 0);
	assert_int_equal(mkfifo(path_in(dir, "t/fifo", fifo), 0600), 0);
	assert_int_equal(mkdir(path_in(dir, "t/d", path), 0700), 0);
	write_text(path, "name with \xff bytes\n", "two");
	assert_int_equal(mkdir(path_in(dir, "t/d/closed", path), 0755), 0);
	write_text(path, "in", "three");
	assert_int_equal(chmod(path, 0555), 0);
}

static void open_tree_again(const char *dir)
{
	char path[PATH];

	assert_int_equal(chmod(path_in(dir, "d/closed", path), 0755), 0);
}

static void assert_tree(const char *dir)
{
	char path[PATH], target[16] = "";
	struct stat st;

	assert_text(dir, "f1", "one");
	assert_text(dir, "d/name with \xff bytes\n", "two");
	assert_text(dir, "d/closed/in", "three");
	assert_int_equal(stat(path_in(dir, "exe", path), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_int_equal(stat(path_in(dir, "d/closed", path), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0555);
	assert_int_equal(readlink(path_in(dir, "link", path), target, sizeof(target)), 2);
	assert_string_equal(target, "f1");
	assert_int_equal(readlink(path_in(dir, "dangling", path), target, sizeof(target)), 9);
	assert_absent(dir, "fifo");
}

static void tree_arrives_whole(void **state)
{
	struct place *p = *state;
	char from[PATH], to[PATH], sub[PATH];
	struct copy_report report, sent;
	struct stat a, b;

	make_tree(p->from);
	path_in(p->from, "t", from);
	assert_int_equal(copy_with(from, p->to, NULL, &report, &sent), 0);
	assert_tree(path_in(p->to, "t", to));
	assert_int_equal(report.files, 4);
	assert_int_equal(report.directories, 3);
	assert_int_equal(report.links, 2);
	assert_int_equal(sent.files, 4);
	assert_int_equal(sent.directories, 3);
	assert_int_equal(sent.links, 2);
	assert_int_equal(sent.skipped, 1);
	assert_int_equal(stat(path_in(from, "d", sub), &a), 0);
	assert_int_equal(stat(path_in(to, "d", sub), &b), 0);
	assert_int_equal(a.st_mtim.tv_sec, b.st_mtim.tv_sec);
	assert_int_equal(a.st_mtim.tv_nsec, b.st_mtim.tv_nsec);
	open_tree_again(from);
	open_tree_again(to);
}

static void tree_merges(void **state)
{
	struct place *p = *state;
	char from[PATH], to[PATH], path[PATH];
	struct stat st;

	make_tree(p->from);
	path_in(p->from, "t", from);
	path_in(p->to, "t", to);
	assert_int_equal(mkdir(to, 0711), 0);
	write_text(to, "f1", "older");
	write_text(to, "own", "stays");
	assert_int_equal(mkdir(path_in(to, "d", path), 0755), 0);
	assert_int_equal(copy(from, p->to), 0);
	assert_tree(to);
	assert_text(to, "own", "stays");
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711); /* it was there before */
	open_tree_again(to);
	assert_int_equal(copy(path_in(p->from, "t/.", path), p->to), 0); /* contents */
	assert_tree(p->to);
	open_tree_again(from);
	open_tree_again(p->to);
	open_tree_again(to);
}

static void kinds_do_not_replace_each_other(void **state)
{
	struct place *p = *state;
	const struct copy_options as_x = { .name = "x" };
	char from[PATH], path[PATH];
	struct copy_report report;

	assert_int_equal(mkdir(path_in(p->from, "d", from), 0755), 0);
	write_text(from, "x", "file");
	write_text(p->to, "x", "stays");
	assert_int_equal(copy_with(from, p->to, &as_x, &report, NULL), -ENOTDIR);
	assert_int_equal(unlink(path_in(p->to, "x", path)), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(copy_with(path_in(p->from, "d/x", from), p->to, &as_x, &report, NULL),
			 -EISDIR);
	assert_int_equal(mkdir(path_in(p->to, "d", path), 0755), 0);
	assert_int_equal(mkdir(path_in(p->to, "d/x", path), 0755), 0);
	assert_int_equal(copy(path_in(p->from, "d", from), p->to), -EISDIR); /* below the root */
	assert_int_equal(n_names(p->to), 2);
	assert_int_equal(n_names(path_in(p->to, "d", path)), 1);
}

static void sender_says_what_it_cannot_read(void **state)
{
	struct place *p = *state;
	char from[PATH];
	struct copy_report report, sent;

	assert_int_equal(copy_with(path_in(p->from, "none", from), p->to, NULL, &report, &sent),
			 -ENOENT);
	assert_non_null(strstr(report.text, "from/none: No such file"));
	assert_true(report.peer);
	assert_false(sent.peer);
	assert_int_equal(copy_with("/dev/null", p->to, NULL, &report, &sent), -EINVAL);
	assert_non_null(strstr(report.text, "neither"));
	assert_int_equal(n_names(p->to), 0);
}

static void what_proc_makes_up(void **state)
{
	struct place *p = *state;
	char to[PATH];
	struct stat st;

	assert_int_equal(copy("/proc/self/status", path_in(p->to, "status", to)), 0);
	assert_int_equal(stat(to, &st), 0);
	assert_in_range(st.st_size, 100, 100000);
}

static void owner_and_set_id(void **state)
{
	struct place *p = *state;
	const struct copy_options owner = { .owner = true };
	char from[PATH], to[PATH];
	struct copy_report report;
	struct stat st;

	write_bytes(p->from, "s", "x", 1, 0644);
	path_in(p->from, "s", from);
	path_in(p->to, "s", to);
	if (geteuid() == 0)
		assert_int_equal(chown(from, 1234, 4321), 0);
	assert_int_equal(chmod(from, 06755), 0);
	assert_int_equal(copy(from, to), 0);
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(st.st_uid, geteuid());
	assert_int_equal(copy_with(from, to, &owner, &report, NULL), 0);
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_mode & 07777, 06755);
	assert_int_equal(st.st_uid, geteuid() == 0 ? 1234 : geteuid());
}

/* --- a hostile or dying sender ---------------------------------------------------------------------------- */

static struct copy_entry entry_of(enum copy_kind kind, const char *name)
{
	struct copy_entry entry = { .kind = kind, .mode = 0644 };

	snprintf(entry.name, sizeof(entry.name), "%s", name);
	return entry;
}

static void put_entry(int fd, struct copy_entry entry)
{
	uint8_t body[COPY_ENTRY_MAX];
	struct iovec iov = { body, copy_entry_put(body, &entry) };

	(void)copy_stream_write(fd, AGENT_ENTRY, &iov, 1); /* it may have stopped listening */
}

static void put_extent(int fd, uint64_t offset, const char *text)
{
	uint8_t head[8];
	char copy[64];
	struct iovec iov[2] = { { head, 8 }, { copy, strlen(text) } };

	copy_u64_put(head, offset);
	snprintf(copy, sizeof(copy), "%s", text);
	(void)copy_stream_write(fd, AGENT_EXTENT, iov, 2);
}

static void put_hash(int fd, uint64_t size, uint64_t hash)
{
	uint8_t body[16];
	struct iovec iov = { body, 16 };

	copy_u64_put(body, size);
	copy_u64_put(body + 8, hash);
	(void)copy_stream_write(fd, AGENT_HASH, &iov, 1);
}

static void put_plain(int fd, uint32_t type)
{
	(void)copy_stream_write(fd, type, NULL, 0);
}

static void put_file(int fd, const char *name, const char *text)
{
	put_entry(fd, entry_of(COPY_FILE, name));
	put_extent(fd, 0, text);
	put_hash(fd, strlen(text), XXH64(text, strlen(text), 0));
}

struct script {
	void (*run)(int fd);
	int fd;
};

static void *run_script(void *data)
{
	struct script *script = data;

	script->run(script->fd);
	shutdown(script->fd, SHUT_WR);
	return NULL;
}

/* What SCRIPT writes, and then the stream's end: received into p->to. */
static int receive_script(struct place *p, void (*run)(int fd), struct copy_report *report)
{
	struct script script = { .run = run };
	pthread_t thread;
	int pair[2], r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	script.fd = pair[0];
	assert_int_equal(pthread_create(&thread, NULL, run_script, &script), 0);
	r = copy_receive(pair[1], p->to, NULL, report);
	close(pair[1]);
	pthread_join(thread, NULL);
	close(pair[0]);
	return r;
}

static void script_good(int fd)
{
	put_file(fd, "f", "text");
	put_plain(fd, AGENT_END);
}
static void script_ends_in_file(int fd)
{
	put_entry(fd, entry_of(COPY_FILE, "f"));
	put_extent(fd, 0, "text");
}
static void script_ends_in_record(int fd)
{
	put_entry(fd, entry_of(COPY_FILE, "f"));
	(void)!write(fd, "\x42\0\0\0\xff\xff\0\0\0\0\0\0", 12);
}
static void script_ends_before_end(int fd)
{
	put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
	put_file(fd, "f", "text");
	put_plain(fd, AGENT_LEAVE);
}
static void script_wrong_hash(int fd)
{
	put_entry(fd, entry_of(COPY_FILE, "f"));
	put_extent(fd, 0, "text");
	put_hash(fd, 4, XXH64("texT", 4, 0));
	put_plain(fd, AGENT_END);
}
static void script_offset_falls(int fd)
{
	put_entry(fd, entry_of(COPY_FILE, "f"));
	put_extent(fd, 4, "text");
	put_extent(fd, 7, "text");
}
static void script_offset_huge(int fd)
{
	put_entry(fd, entry_of(COPY_FILE, "f"));
	put_extent(fd, INT64_MAX, "text");
}
static void script_size_short(int fd)
{
	put_entry(fd, entry_of(COPY_FILE, "f"));
	put_extent(fd, 0, "text");
	put_hash(fd, 3, XXH64("text", 4, 0));
}
static void script_dots(int fd)
{
	put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
	put_file(fd, "..", "text");
}
static void script_root_dots(int fd)
{
	put_entry(fd, entry_of(COPY_DIRECTORY, ".."));
	put_file(fd, "evil", "text");
}
static void script_slash(int fd)
{
	put_file(fd, "../evil", "text");
}
static void script_empty_name(int fd)
{
	put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
	put_entry(fd, entry_of(COPY_DIRECTORY, ""));
}
static void script_empty_file_name(int fd)
{
	put_file(fd, "", "text");
}
static void script_leave_too_often(int fd)
{
	put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
	put_plain(fd, AGENT_LEAVE);
	put_plain(fd, AGENT_LEAVE);
}
static void script_two_roots(int fd)
{
	put_file(fd, "a", "1");
	put_file(fd, "b", "2");
}
static void script_extent_in_directory(int fd)
{
	put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
	put_extent(fd, 0, "text");
}
static void script_size_4g(int fd)
{
	(void)!write(fd, "\x41\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0", 16);
}
static void script_control_type(int fd)
{
	put_plain(fd, AGENT_PING);
}
static void script_unknown_type(int fd)
{
	put_plain(fd, 9999);
}
static void script_deep(int fd)
{
	for (unsigned i = 0; i <= COPY_DEPTH_MAX; i++)
		put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
}
static void script_twice_the_same(int fd)
{
	put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
	put_file(fd, "f", "1");
	put_file(fd, "f", "2");
}
static void script_through_link(int fd)
{
	struct copy_entry link = entry_of(COPY_SYMLINK, "out");

	snprintf(link.target, sizeof(link.target), "/tmp");
	put_entry(fd, entry_of(COPY_DIRECTORY, "d"));
	put_entry(fd, link);
	put_entry(fd, entry_of(COPY_DIRECTORY, "out"));
	put_file(fd, "evil", "text");
}
static void script_target_of_file(int fd)
{
	struct copy_entry file = entry_of(COPY_FILE, "f");

	snprintf(file.target, sizeof(file.target), "x");
	put_entry(fd, file);
}
static void script_mode(int fd)
{
	struct copy_entry file = entry_of(COPY_FILE, "f");

	file.mode = S_IFBLK | 0644;
	put_entry(fd, file);
}
static void script_nothing(int fd)
{
}

static void bad_streams_leave_nothing(void **state)
{
	struct place *p = *state;
	static const struct {
		void (*script)(int fd);
		int r;
	} cases[] = {
		{ script_nothing, -ECONNRESET },
		{ script_ends_in_file, -ECONNRESET },
		{ script_ends_in_record, -ECONNRESET },
		{ script_ends_before_end, -ECONNRESET },
		{ script_wrong_hash, -EBADMSG },
		{ script_offset_falls, -EBADMSG },
		{ script_offset_huge, -EBADMSG },
		{ script_size_short, -EBADMSG },
		{ script_dots, -EBADMSG },
		{ script_root_dots, -EBADMSG },
		{ script_slash, -EBADMSG },
		{ script_empty_name, -EBADMSG },
		{ script_empty_file_name, -EBADMSG },
		{ script_leave_too_often, -EBADMSG },
		{ script_two_roots, -EBADMSG },
		{ script_extent_in_directory, -EBADMSG },
		{ script_size_4g, -EBADMSG },
		{ script_control_type, -EBADMSG },
		{ script_unknown_type, -EBADMSG },
		{ script_deep, -ELOOP },
		{ script_twice_the_same, -EEXIST },
		{ script_through_link, -EEXIST },
		{ script_target_of_file, -EBADMSG },
		{ script_mode, -EBADMSG },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct copy_report report;

		assert_int_equal(receive_script(p, cases[i].script, &report), cases[i].r);
		assert_true(report.text[0] != '\0');
		if (cases[i].script == script_two_roots) { /* the first one was whole */
			char path[PATH];

			assert_text(p->to, "a", "1");
			assert_int_equal(unlink(path_in(p->to, "a", path)), 0);
		}
		assert_int_equal(n_names(p->to), 0);
		assert_int_equal(n_names(p->tmp.path), 2);
	}
}

static void good_script_is_good(void **state)
{
	struct place *p = *state;
	struct copy_report report;

	assert_int_equal(receive_script(p, script_good, &report), 0);
	assert_text(p->to, "f", "text");
}

static void merge_does_not_follow_links(void **state)
{
	struct place *p = *state;
	char path[PATH];
	struct copy_report report;

	/* Where the stream has a directory, somebody has put a link that leads out. */
	assert_int_equal(mkdir(path_in(p->to, "d", path), 0755), 0);
	assert_int_equal(symlink(p->from, path_in(p->to, "d/out", path)), 0);
	assert_int_equal(receive_script(p, script_through_link, &report), -ENOTDIR);
	assert_int_equal(n_names(p->from), 0);
	assert_int_equal(n_names(path_in(p->to, "d", path)), 1);
}

static void script_deepest(int fd)
{
	struct copy_entry entry = entry_of(COPY_DIRECTORY, "d");

	entry.mode = 0755;
	for (unsigned i = 0; i < COPY_DEPTH_MAX; i++)
		put_entry(fd, entry);
	for (unsigned i = 0; i < COPY_DEPTH_MAX; i++)
		put_plain(fd, AGENT_LEAVE);
	put_plain(fd, AGENT_END);
}

static void deepest_tree_passes(void **state)
{
	struct place *p = *state;
	struct copy_report report;

	assert_int_equal(receive_script(p, script_deepest, &report), 0);
	assert_int_equal(report.directories, COPY_DEPTH_MAX);
}

/* A receiver in a process of its own is killed in the middle of a file. */
static void killed_receiver_leaves_nothing_to_the_next(void **state)
{
	struct place *p = *state;
	struct copy_report report;
	char hidden[PATH] = "";
	struct dirent *d;
	int pair[2];
	DIR *dir;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		copy_receive(pair[1], p->to, NULL, &report);
		_exit(0);
	}
	put_entry(pair[0], entry_of(COPY_FILE, "f"));
	put_extent(pair[0], 0, "text");
	for (unsigned i = 0; n_names(p->to) == 0 && i < 5000; i++)
		usleep(1000);
	/* Under way: a copy to the same name does not take it away. */
	assert_int_equal(receive_script(p, script_good, &report), 0);
	assert_int_equal(n_names(p->to), 2);
	assert_text(p->to, "f", "text");
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	dir = opendir(p->to);
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.' && strlen(d->d_name) > 2)
			snprintf(hidden, sizeof(hidden), "%s", d->d_name);
	}
	closedir(dir);
	assert_int_equal(strncmp(hidden, ".vhost-lab.", 11), 0);
	assert_int_equal(receive_script(p, script_good, &report), 0);
	assert_absent(p->to, hidden);
	assert_int_equal(n_names(p->to), 1);
	close(pair[0]);
	close(pair[1]);
}

/* The receiver cannot write: the sender hears why, though it is sending. */
static void receivers_trouble_reaches_the_sender(void **state)
{
	struct place *p = *state;
	struct copy_report report, sent;
	char from[PATH];
	int fd = open(path_in(p->from, "big", from), O_RDWR | O_CREAT, 0644);
	char *block = calloc(1, 1 << 20);

	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(write(fd, block, 1 << 20), 1 << 20);
	free(block);
	close(fd);
	assert_int_equal(copy_with(from, "/proc/no/such", NULL, &report, &sent), -ENOENT);
	assert_true(sent.peer);
	assert_non_null(strstr(sent.text, "/proc/no/such: No such file or directory"));
	assert_in_range(sent.bytes, 0, 16 << 20);
}

static void cancelled_copy_is_absent(void **state)
{
	struct place *p = *state;
	struct copy_report report;
	struct end sender = { 0 };
	char from[PATH];
	int fd, r;

	write_text(p->from, "f", "text");
	start_send(&sender, path_in(p->from, "f", from), &fd);
	shutdown(fd, SHUT_RDWR);
	r = copy_receive(fd, p->to, NULL, &report);
	assert_true(r < 0);
	pthread_join(sender.thread, NULL);
	assert_true(sender.r < 0);
	assert_int_equal(n_names(p->to), 0);
	close(fd);
}

/* --- relay ------------------------------------------------------------------------------------------------ */

struct middle {
	int from, to, r;
};

static void *run_relay(void *data)
{
	struct middle *m = data;

	m->r = copy_relay(m->from, m->to);
	close(m->from);
	close(m->to);
	return NULL;
}

static void relay_between_two(void **state)
{
	struct place *p = *state;
	struct end sender = { 0 };
	struct middle middle;
	struct copy_report report;
	pthread_t thread;
	int pair[2], r;
	char from[PATH], to[PATH];

	make_tree(p->from);
	path_in(p->from, "t", from);
	for (unsigned i = 0; i < 2; i++) {
		const char *target = i == 0 ? p->to : "/proc/no/such";

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		start_send(&sender, from, &middle.from);
		middle.to = pair[0];
		assert_int_equal(pthread_create(&thread, NULL, run_relay, &middle), 0);
		r = copy_receive(pair[1], target, NULL, &report);
		close(pair[1]);
		pthread_join(sender.thread, NULL);
		pthread_join(thread, NULL);
		assert_int_equal(r, i == 0 ? 0 : -ENOENT);
		assert_int_equal(sender.r, r);
	}
	assert_int_equal(middle.r, 0);
	assert_tree(path_in(p->to, "t", to));
	open_tree_again(from);
	open_tree_again(to);
}

static void names(void **state)
{
	static const struct {
		const char *path, *name;
	} cases[] = { { "a", "a" }, { "/x/y", "y" },  { "/x/y//", "y" }, { "/", "" },
		      { ".", "" },  { "a/.", "" },    { "a/..", "" },    { "", "" },
		      { "..", "" }, { "...", "..." }, { "a/.b", ".b" } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned len;
		const char *name = copy_name(cases[i].path, &len);

		assert_int_equal(len, strlen(cases[i].name));
		assert_memory_equal(name, cases[i].name, len);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(file_keeps_mode_and_time),
		T(into_directory_or_as_name),
		T(file_replaces_file_and_link),
		T(empty_and_odd_sizes),
		T(holes_stay_holes),
		T(tree_arrives_whole),
		T(tree_merges),
		T(kinds_do_not_replace_each_other),
		T(sender_says_what_it_cannot_read),
		T(what_proc_makes_up),
		T(owner_and_set_id),
		T(bad_streams_leave_nothing),
		T(good_script_is_good),
		T(merge_does_not_follow_links),
		T(deepest_tree_passes),
		T(killed_receiver_leaves_nothing_to_the_next),
		T(receivers_trouble_reaches_the_sender),
		T(cancelled_copy_is_absent),
		T(relay_between_two),
		cmocka_unit_test(names),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
