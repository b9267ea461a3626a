/* SPDX-License-Identifier: MIT */
/* portal send, portal recv. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "clock.h"
#include "tool.h"

#define LOOK_NS (20 * NS_PER_MS)

int tool_open_ring(struct portal *p, const char *name, enum portal_role role, uint64_t wait_ns,
		   struct portal_ring **ret_ring)
{
	uint64_t deadline = tool_deadline(wait_ns);
	struct timespec pause = timespec_of_ns(LOOK_NS);
	int r = portal_ring_open(p, name, role, ret_ring);

	while ((r == -ENOENT || r == -EBUSY) && clock_ns() < deadline) {
		nanosleep(&pause, NULL);
		if (portal_dispatch(p) == -ESTALE)
			return -ESTALE;
		r = portal_ring_open(p, name, role, ret_ring);
	}
	return r;
}

/* What both commands are told. */
struct transfer {
	const char *name;
	bool create, raw;
	struct portal_ring_options ring;
	uint64_t wait_ns, count, timeout_ns;
	uint32_t type;
};

static int open_or_create(struct portal *p, const struct transfer *t, struct portal_ring **ret_ring)
{
	if (t->create)
		return portal_ring_create(p, t->name, &t->ring, ret_ring);
	return tool_open_ring(p, t->name, t->ring.role, t->wait_ns, ret_ring);
}

/* -1: it is none of those that both know. */
static int take_common(struct transfer *t, int option)
{
	uint64_t value;

	switch (option) {
	case 'r':
		t->raw = true;
		return 0;
	case 's':
		return tool_size(optarg, &t->ring.size) ? 0 : TOOL_USAGE;
	case 'm':
		if (!tool_size(optarg, &value) || value > UINT32_MAX)
			return TOOL_USAGE;
		t->ring.max_record = (uint32_t)value;
		return 0;
	case 'w':
		return tool_duration(optarg, &t->wait_ns) ? 0 : TOOL_USAGE;
	default:
		return -1;
	}
}

/* ---- send -------------------------------------------------------------------- */

/* A place in the ring, however long it takes. */
static int reserve(struct portal_ring *ring, uint32_t len, void **ret_data)
{
	int r;

	while ((r = portal_reserve(ring, len, ret_data)) == -EAGAIN) {
		r = portal_wait(ring, PORTAL_FOREVER);
		if (r < 0)
			return r;
	}
	return r;
}

static int send_text(struct portal_ring *ring, const char *text, size_t len, uint32_t type)
{
	void *place;
	int r;

	if (len > UINT32_MAX)
		return -EMSGSIZE;
	r = reserve(ring, (uint32_t)len, &place);
	if (r < 0)
		return r;
	memcpy(place, text, len);
	return portal_commit(ring, (uint32_t)len, type);
}

static int send_lines(struct portal_ring *ring, uint32_t type)
{
	auto_free char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = getline(&line, &room, stdin)) >= 0) {
		if (n > 0 && line[n - 1] == '\n')
			n--;
		r = send_text(ring, line, (size_t)n, type);
	}
	return r == 0 && ferror(stdin) ? -EIO : r;
}

/* Bytes go from the input into the ring at once.  Nothing is reserved while the input is waited for: a pause could not begin. */
static int send_blocks(struct portal_ring *ring, uint32_t type)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
	struct portal_ring_info info;
	void *place;
	ssize_t n;
	int r;

	portal_ring_info(ring, &info);
	for (;;) {
		(void)poll(&input, 1, -1);
		r = reserve(ring, info.max_record, &place);
		if (r < 0)
			return r;
		n = read(STDIN_FILENO, place, info.max_record);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = portal_commit(ring, (uint32_t)n, type);
		if (r < 0)
			return r;
	}
}

static int send_all(struct portal_ring *ring, const struct transfer *t, char **texts)
{
	int r = 0;

	if (!*texts)
		return t->raw ? send_blocks(ring, t->type) : send_lines(ring, t->type);
	for (; *texts && r == 0; texts++)
		r = send_text(ring, *texts, strlen(*texts), t->type);
	return r;
}

static int take_send(struct tool *tool, int argc, char **argv, struct transfer *t)
{
	static const struct option options[] = { { "broadcast", no_argument, NULL, 'b' },
						 { "raw", no_argument, NULL, 'r' },
						 { "size", required_argument, NULL, 's' },
						 { "max-record", required_argument, NULL, 'm' },
						 { "type", required_argument, NULL, 't' },
						 { "wait", required_argument, NULL, 'w' },
						 { 0 } };
	int option, r;
	uint64_t type;

	while ((option = getopt_long(argc, argv, "+brs:m:t:w:", options, NULL)) != -1) {
		r = take_common(t, option);
		if (option == 'b') {
			t->create = true;
			t->ring.kind = PORTAL_BROADCAST;
		} else if (option == 't' && tool_size(optarg, &type) && type <= 255)
			t->type = (uint32_t)type;
		else if (r != 0)
			return tool_misuse(tool);
	}
	if (optind >= argc)
		return tool_misuse(tool);
	t->name = argv[optind];
	return 0;
}

static int run_send(struct tool *tool, int argc, char **argv)
{
	struct transfer t = { .ring.role = PORTAL_PRODUCER };
	struct portal_ring *ring;
	struct portal *p;
	int r = take_send(tool, argc, argv, &t), first = optind + 1;

	if (r)
		return r;
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	r = open_or_create(p, &t, &ring);
	if (r == 0) {
		r = send_all(ring, &t, argv + first);
		portal_ring_close(ring);
	}
	portal_detach(p);
	return r < 0 ? tool_fail(r, "%s", t.name) : TOOL_OK;
}

const struct tool_command tool_send = {
	"send", "[--broadcast] [--raw] [--type N] [--wait TIME] RING [TEXT...]",
	"send records, or each line of stdin as one", run_send
};

/* ---- recv -------------------------------------------------------------------- */

static void print_record(const struct tool *tool, const struct transfer *t, const void *data,
			 size_t len, uint32_t type)
{
	if (tool->json) {
		printf("{\"type\":%u,\"len\":%zu,\"data\":", type, len);
		tool_json_bytes(stdout, data, len);
		printf("}\n");
		return;
	}
	fwrite(data, 1, len, stdout);
	if (!t->raw)
		putchar('\n');
}

/* A broadcast that was too fast says so, and goes on. */
static bool is_passing(int64_t r)
{
	if (r == -EOVERFLOW)
		fputs("portal: records went by\n", stderr);
	return r == -EOVERFLOW;
}

/* All there is now, up to the count.  -EAGAIN: nothing more at the moment. */
static int print_some(struct tool *tool, struct transfer *t, struct portal_ring *ring, void *buffer,
		      uint32_t room)
{
	while (t->count > 0) {
		uint32_t type;
		int64_t n = portal_recv(ring, buffer, room, &type);

		if (is_passing(n))
			continue;
		if (n < 0)
			return (int)n;
		print_record(tool, t, buffer, (size_t)n, type);
		t->count--;
	}
	return 0;
}

static int print_all(struct tool *tool, struct transfer *t, struct portal_ring *ring)
{
	uint64_t deadline = tool_deadline(t->timeout_ns);
	struct portal_ring_info info;
	auto_free void *buffer = NULL;
	int r;

	portal_ring_info(ring, &info);
	buffer = malloc(info.max_record);
	if (!buffer)
		return -ENOMEM;
	while ((r = print_some(tool, t, ring, buffer, info.max_record)) == -EAGAIN) {
		if (fflush(stdout) != 0)
			return -errno;
		r = portal_wait(ring, deadline);
		if (r == -EOVERFLOW)
			continue;
		if (r < 0 && r != -EPIPE) /* the end: what is left is read first */
			return r;
	}
	return r == -EPIPE ? 0 : r;
}

static int take_recv(struct tool *tool, int argc, char **argv, struct transfer *t)
{
	static const struct option options[] = { { "create", no_argument, NULL, 'c' },
						 { "lanes", required_argument, NULL, 'l' },
						 { "count", required_argument, NULL, 'n' },
						 { "raw", no_argument, NULL, 'r' },
						 { "size", required_argument, NULL, 's' },
						 { "max-record", required_argument, NULL, 'm' },
						 { "timeout", required_argument, NULL, 't' },
						 { "wait", required_argument, NULL, 'w' },
						 { 0 } };
	uint64_t lanes;
	int option, r;

	while ((option = getopt_long(argc, argv, "cl:n:rs:m:t:w:", options, NULL)) != -1) {
		r = take_common(t, option);
		if (option == 'c')
			t->create = true;
		else if (option == 'l' && tool_size(optarg, &lanes) && lanes > 0 && lanes <= 64) {
			t->ring.kind = PORTAL_MPSC;
			t->ring.lanes = (uint32_t)lanes;
			t->create = true;
		} else if (!(option == 'n' && tool_size(optarg, &t->count)) &&
			   !(option == 't' && tool_duration(optarg, &t->timeout_ns)) && r != 0)
			return tool_misuse(tool);
	}
	if (optind + 1 != argc)
		return tool_misuse(tool);
	t->name = argv[optind];
	return 0;
}

static int run_recv(struct tool *tool, int argc, char **argv)
{
	struct transfer t = { .ring.role = PORTAL_CONSUMER,
			      .count = UINT64_MAX,
			      .timeout_ns = UINT64_MAX };
	struct portal_ring *ring;
	struct portal *p;
	int r = take_recv(tool, argc, argv, &t);

	if (r)
		return r;
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	r = open_or_create(p, &t, &ring);
	if (r == 0) {
		r = print_all(tool, &t, ring);
		portal_ring_close(ring);
	}
	portal_detach(p);
	return r < 0 ? tool_fail(r, "%s", t.name) : TOOL_OK;
}

const struct tool_command tool_recv = {
	"recv", "[--create] [--lanes N] [--count N] [--raw] [--timeout TIME] [--wait TIME] RING",
	"print records until their sender has gone", run_recv
};
