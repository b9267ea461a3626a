/* SPDX-License-Identifier: MIT */
/* portal put, portal get, portal cat. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "checked.h"
#include "cleanup.h"
#include "tool.h"
#include "tool_hold.h"

/* ---- put ------------------------------------------------------------------- */

/* All of size bytes, or an error; -ENODATA: there were fewer. */
static int read_all(int fd, void *to, uint64_t size)
{
	for (uint64_t done = 0; done < size;) {
		ssize_t n = read(fd, (uint8_t *)to + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		done += (uint64_t)n;
	}
	return 0;
}

/* A pipe does not say how long it is: gather it first. */
static int gather(int fd, uint8_t **ret_bytes, uint64_t *ret_len)
{
	auto_free uint8_t *bytes = NULL;
	uint64_t len = 0, room = 0;
	ssize_t n;

	for (;;) {
		if (len == room) {
			uint8_t *more = realloc(bytes, room = room ? 2 * room : 65536);

			if (!more)
				return -ENOMEM;
			bytes = more;
		}
		n = read(fd, bytes + len, room - len);
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		len += n > 0 ? (uint64_t)n : 0;
	}
	if (n < 0)
		return -errno;
	*ret_bytes = bytes;
	*ret_len = len;
	bytes = NULL;
	return 0;
}

static int place_pipe(struct portal *p, int fd, void **ret_ptr, uint64_t *ret_len)
{
	auto_free uint8_t *bytes = NULL;
	void *ptr;
	int r = gather(fd, &bytes, ret_len);

	if (r < 0)
		return r;
	ptr = portal_alloc(p, *ret_len);
	if (!ptr)
		return -errno;
	memcpy(ptr, bytes, *ret_len);
	*ret_ptr = ptr;
	return 0;
}

static int place_file(struct portal *p, int fd, uint64_t size, void **ret_ptr)
{
	void *ptr = portal_alloc(p, size);
	int r;

	if (!ptr)
		return -errno;
	r = read_all(fd, ptr, size);
	if (r < 0)
		(void)portal_free(p, ptr);
	else
		*ret_ptr = ptr;
	return r;
}

static int place(struct portal *p, int fd, void **ret_ptr, uint64_t *ret_len)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return place_pipe(p, fd, ret_ptr, ret_len);
	*ret_len = (uint64_t)st.st_size;
	return place_file(p, fd, *ret_len, ret_ptr);
}

#define AWAY_NS (600ull * 1000000000) /* long enough to start a daemon anew by hand */

struct put {
	const char *name, *file;
	uint32_t type;
	bool background;
	uint64_t away_ns;
};

static int publish_input(struct portal *p, const struct put *put, uint64_t *ret_len)
{
	void *ptr = NULL;
	int r;
	auto_fd int fd = put->file && strcmp(put->file, "-") != 0 ?
				 open(put->file, O_RDONLY | O_CLOEXEC) :
				 dup(STDIN_FILENO);

	if (fd < 0)
		return -errno;
	r = place(p, fd, &ptr, ret_len);
	if (r < 0)
		return r;
	r = portal_publish(p, put->name, put->type, ptr, *ret_len);
	if (r < 0)
		(void)portal_free(p, ptr);
	return r;
}

/* The lease goes on in a child, and with it the object. */
static bool leave_to_child(void)
{
	pid_t child = fork();

	if (child != 0)
		return child > 0;
	(void)setsid();
	(void)!freopen("/dev/null", "r", stdin);
	(void)!freopen("/dev/null", "w", stdout);
	(void)!freopen("/dev/null", "w", stderr);
	return false;
}

static int put_and_stay(struct portal *p, const struct put *put, int signals)
{
	char size[16];
	uint64_t len = 0;
	int r = publish_input(p, put, &len);

	if (r < 0)
		return tool_fail(r, "%s", put->name);
	if (put->background && leave_to_child())
		_exit(TOOL_OK); /* without a word to the daemon */
	if (!put->background)
		fprintf(stderr, "%s: %s, until this ends\n", put->name, tool_bytes(len, size));
	r = tool_hold(p, signals, put->away_ns);
	return r < 0 ? tool_fail(r, "%s", put->name) : TOOL_OK;
}

static int take_put(struct tool *tool, int argc, char **argv, struct put *put)
{
	static const struct option options[] = { { "away", required_argument, NULL, 'a' },
						 { "background", no_argument, NULL, 'b' },
						 { "type", required_argument, NULL, 't' },
						 { 0 } };
	uint64_t type;
	int option;

	while ((option = getopt_long(argc, argv, "a:bt:", options, NULL)) != -1) {
		if (option == 'b')
			put->background = true;
		else if (option == 'a' && tool_duration(optarg, &put->away_ns))
			continue;
		else if (option != 't' || !tool_size(optarg, &type) ||
			 type > UINT32_MAX - PORTAL_OBJECT_USER)
			return tool_misuse(tool);
		else
			put->type = PORTAL_OBJECT_USER + (uint32_t)type;
	}
	if (argc - optind != 1 && argc - optind != 2)
		return tool_misuse(tool);
	put->name = argv[optind];
	put->file = argv[optind + 1];
	return 0;
}

static int run_put(struct tool *tool, int argc, char **argv)
{
	struct put put = { .type = PORTAL_OBJECT_BYTES, .away_ns = AWAY_NS };
	struct portal *p;
	int signals, r = take_put(tool, argc, argv, &put);

	if (r)
		return r;
	signals = tool_hold_prepare();
	if (signals < 0)
		return tool_fail(signals, "signals");
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	r = put_and_stay(p, &put, signals);
	portal_detach(p);
	return r;
}

const struct tool_command tool_put = { "put", "[--away TIME] [--background] [--type N] NAME [FILE]",
				       "publish a file's bytes, and stay for them", run_put };

/* ---- get, cat ---------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Piece by piece: a piece is believed when the object was still there after it had been copied. */
static int copy_out(const struct portal *p, const struct portal_object *o, int fd)
{
	static uint8_t piece[256 * 1024];
	int r = 0;

	for (uint64_t done = 0; done < o->len && r == 0; done += sizeof(piece)) {
		size_t n = (size_t)min(o->len - done, (uint64_t)sizeof(piece));

		memcpy(piece, (const uint8_t *)o->ptr + done, n);
		r = portal_still(p, o);
		if (r == 0)
			r = write_all(fd, piece, n);
	}
	return r;
}

/* The file has its name only once it is whole. */
static int copy_to_file(const struct portal *p, const struct portal_object *o, const char *file)
{
	auto_free char *temporary = NULL;
	auto_fd int fd = -1;
	mode_t mask = umask(0);
	int r;

	umask(mask);
	if (asprintf(&temporary, "%s.XXXXXX", file) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = copy_out(p, o, fd);
	if (r == 0 && (fchmod(fd, 0666 & ~mask) < 0 || rename(temporary, file) < 0))
		r = -errno;
	if (r < 0)
		unlink(temporary);
	return r;
}

static int fetch(struct tool *tool, const char *name, const char *file)
{
	struct portal *p = tool_attach(tool);
	struct portal_object o;
	int r;

	if (!p)
		return TOOL_FAILED;
	r = portal_lookup(p, name, PORTAL_OBJECT_ANY, &o);
	if (r == 0 && o.type == PORTAL_OBJECT_RING)
		r = -EPROTOTYPE;
	if (r == 0)
		r = file ? copy_to_file(p, &o, file) : copy_out(p, &o, STDOUT_FILENO);
	portal_detach(p);
	if (r == -ESTALE) {
		fprintf(stderr, "portal: %s: withdrawn while it was read\n", name);
		return TOOL_FAILED;
	}
	return r < 0 ? tool_fail(r, "%s", name) : TOOL_OK;
}

static int run_get(struct tool *tool, int argc, char **argv)
{
	if (argc != 2 && argc != 3)
		return tool_misuse(tool);
	return fetch(tool, argv[1], argc == 3 ? argv[2] : argv[1]);
}

const struct tool_command tool_get = { "get", "NAME [FILE]", "copy an object to a file", run_get };

static int run_cat(struct tool *tool, int argc, char **argv)
{
	return argc == 2 ? fetch(tool, argv[1], NULL) : tool_misuse(tool);
}

const struct tool_command tool_cat = { "cat", "NAME", "copy an object to stdout", run_cat };
