/* SPDX-License-Identifier: MIT */
/* The agent's side of the protocol on arbitrary bytes of the host.
 *
 * Byte 0: bit 0, the connection is one that the agent dialled (else one that came in); the rest, in how many pieces of
 * how many bytes the others arrive.  Whatever is answered must be well-formed: a header that fits a control
 * connection, a body that our own reader takes.
 *
 * Requests are read to their end by the agent's own handlers; what they would do to this machine is replaced below: no
 * program starts, no file is written, nothing is mounted, no interface is touched.  The program "cat" is played by this one, and
 * has ended when all was said. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/child.h"
#include "agent/guest/config.h"
#include "agent/guest/exec.h"
#include "agent/guest/mounting.h"
#include "agent/guest/netif.h"
#include "agent/guest/settings.h"
#include "agent/guest/shutdown.h"
#include "agent/guest/spawn.h"
#include "agent/guest/stream.h"
#include "agent/guest/writefile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

/* --- in place of what changes the machine ------------------------------------------------------------------ */

/* Those that play cat: their descriptors.  Their PIDs are above what any kernel gives away. */
#define CATS_MAX 8
#define CAT_PID  (1 << 30)
static int cats[CATS_MAX][2];
static int n_cats;

static void cats_run(void)
{
	char bytes[4096];

	for (int i = 0; i < n_cats; i++) {
		ssize_t n = cats[i][0] < 0 ? 0 : read(cats[i][0], bytes, sizeof(bytes));

		if (n > 0 && cats[i][1] >= 0)
			(void)!write(cats[i][1], bytes, (size_t)n);
	}
}

static void cats_end(struct agent *agent)
{
	list_each(&agent->children, it) {
		struct child *child = container_of(it, struct child, link);

		list_remove(&child->link);
		child->ended(child, 0);
	}
	while (n_cats > 0) {
		n_cats--;
		close(cats[n_cats][0]);
		close(cats[n_cats][1]);
	}
}

pid_t spawn(const struct spawn *s, enum spawn_step *ret_step)
{
	CHECK(s->argv && s->argv[0] && s->env);
	if (n_cats < CATS_MAX && strcmp(s->argv[0], "cat") == 0) {
		for (int i = 0; i < 2; i++)
			cats[n_cats][i] = s->fds[i] < 0 ? -1 : fcntl(s->fds[i], F_DUPFD_CLOEXEC, 3);
		return CAT_PID + n_cats++;
	}
	if (ret_step)
		*ret_step = SPAWN_EXEC;
	return -ENOENT;
}

int settings_hostname(const char *name)
{
	return *name ? 0 : -EINVAL;
}

int settings_hosts(const char *lines)
{
	return strlen(lines) ? 0 : -EINVAL;
}

int settings_nameserver(const char *address)
{
	return *address ? 0 : -EINVAL;
}

int settings_clock(int64_t realtime_ns)
{
	return realtime_ns > 0 ? 0 : -EINVAL;
}

int settings_user(const char *name, uid_t uid, gid_t gid, const char *home, const char *shell)
{
	return *name && *home && *shell ? 0 : -EINVAL;
}

int writefile(const char *path, const char *data, size_t size, mode_t mode, uid_t uid, gid_t gid)
{
	CHECK(path[0] == '/' && strlen(data) == size && mode <= 07777);
	return 0;
}

int writefile_dirs(const char *path)
{
	return 0;
}

char *readfile(const char *path, size_t max, size_t *ret_size, int *ret_err)
{
	*ret_err = -ENOENT;
	return NULL;
}

int writefile_value(const char *path, const char *value)
{
	return 0;
}

int mounting_options(const char *options, unsigned long *ret_flags, char *data, size_t size)
{
	return -EINVAL;
}

int mounting_mount(const char *source, const char *target, const char *type, const char *options)
{
	return *source && *target && *type ? 0 : -EINVAL;
}

int netif_parse_mac(const char *text, struct netif_mac *ret_mac)
{
	memset(ret_mac, 0, sizeof(*ret_mac));
	return strlen(text) == 17 ? 0 : -EINVAL;
}

int netif_find(const struct netif_mac *mac, char ret_name[IFNAMSIZ])
{
	strcpy(ret_name, "eth0");
	return 0;
}

int netif_rename(const char *from, const char *to)
{
	return strlen(to) < IFNAMSIZ ? 0 : -ENAMETOOLONG;
}

int netif_add_address(const char *name, const char *address)
{
	return *address ? 0 : -EINVAL;
}

int netif_add_gateway(const char *name, const char *address)
{
	return *address ? 0 : -EINVAL;
}

int netif_set_mtu(const char *name, unsigned mtu)
{
	return 0;
}

int netif_up(const char *name)
{
	return 0;
}

static void ping(struct session *session, const struct request *request)
{
	session_ok(session, request);
}

/* Those whose handlers need nothing but what is replaced above. */
handler_fn *handler_find(uint32_t type)
{
	switch (type) {
	case AGENT_PING:
		return ping;
	case AGENT_CONFIG:
		return config_request;
	case AGENT_EXEC:
		return exec_request;
	case AGENT_SIGNAL:
		return exec_signal_request;
	case AGENT_WINSIZE:
		return exec_winsize_request;
	case AGENT_SHUTDOWN:
		return shutdown_request;
	default:
		return NULL;
	}
}

/* --- the conversation -------------------------------------------------------------------------------------- */

static uint8_t answers[8 * AGENT_MESSAGE_MAX];
static size_t n_answers;

static bool is_piece(const struct agent_header *header, const uint8_t *body)
{
	struct agent_piece piece;

	return agent_piece_get(header, body, &piece) == 0;
}

static void check_answers(struct json_doc *doc)
{
	size_t at = 0;

	while (n_answers - at >= AGENT_HEADER_SIZE) {
		struct agent_header header;
		struct json root;

		agent_header_get(answers + at, &header);
		CHECK(agent_header_check(&header, AGENT_CONTROL) == 0);
		CHECK(agent_type_find(header.type));
		if (n_answers - at < header.size)
			break;
		CHECK(is_piece(&header, answers + at + AGENT_HEADER_SIZE) ||
		      json_parse(doc, (char *)answers + at + AGENT_HEADER_SIZE,
				 header.size - AGENT_HEADER_SIZE, &root) == 0);
		at += header.size;
	}
	n_answers -= at;
	memmove(answers, answers + at, n_answers);
}

static void fetch(int fd, struct json_doc *doc)
{
	ssize_t n;

	while ((n = recv(fd, answers + n_answers, sizeof(answers) - n_answers, MSG_DONTWAIT)) > 0) {
		n_answers += (size_t)n;
		check_answers(doc);
	}
}

static void lost(struct agent *agent)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct json_doc *doc;
	static struct agent agent;
	size_t piece = size ? (size_t)(data[0] >> 1) * 8 + 1 : 1;
	int pair[2];

	if (!doc)
		doc = json_doc_new();
	CHECK(doc && signal(SIGPIPE, SIG_IGN) != SIG_ERR); /* as main() does */
	if (!size)
		return 0;
	CHECK(agent_init(&agent) == 0 &&
	      socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	n_answers = 0;
	if (data[0] & 1)
		session_dialled(&agent, pair[0], lost);
	else
		session_accept(&agent, pair[0]);
	for (size_t at = 1; at < size; at += piece) {
		size_t n = size - at < piece ? size - at : piece;

		if (send(pair[1], data + at, n, MSG_NOSIGNAL) < 0)
			break;
		loop_turn(&agent.loop, 0);
		cats_run();
		fetch(pair[1], doc);
	}
	loop_turn(&agent.loop, 0);
	cats_end(&agent);
	loop_turn(&agent.loop, 0);
	fetch(pair[1], doc);
	close(pair[1]);
	loop_turn(&agent.loop, 0);
	CHECK(agent.n_execs == 0);
	agent_done(&agent);
	return 0;
}
