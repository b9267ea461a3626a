/* SPDX-License-Identifier: MIT */
/* What the agent does beside running programs: copies, waiting, ports, mounts, distributions; through its socket. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/copy.h"
#include "agent/copy_stream.h"
#include "agent/copy_wire.h"
#include "agent/guest/address.h"
#include "agent/guest/disk.h"
#include "agent/protocol.h"
#include "agent_peer.h"

#define PATH 256

static int setup(void **state)
{
	struct peer *peer = calloc(1, sizeof(*peer));

	peer_start(peer, NULL);
	*state = peer;
	return 0;
}

static int teardown(void **state)
{
	struct peer *peer = *state;

	peer_stop(peer);
	free(peer);
	return 0;
}

static char *path_of(struct peer *peer, const char *name, char out[PATH])
{
	return tmp_path(&peer->tmp, name, out, PATH);
}

static int64_t number(struct json_object *body, const char *key)
{
	struct json_object *value;

	assert_true(json_object_object_get_ex(body, key, &value));
	return json_object_get_int64(value);
}

static const char *word(struct json_object *body, const char *key)
{
	struct json_object *value;

	assert_true(json_object_object_get_ex(body, key, &value));
	return json_object_get_string(value);
}

static void assert_text(const char *path, const char *text)
{
	char buf[256] = "";
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(read(fd, buf, sizeof(buf) - 1), strlen(text));
	assert_string_equal(buf, text);
	close(fd);
}

/* Names of DIR that begin with ".vhost-lab.". */
static unsigned n_hidden(const char *dir)
{
	struct dirent *d;
	unsigned n = 0;
	DIR *p = opendir(dir);

	while ((d = readdir(p)))
		n += strncmp(d->d_name, ".vhost-lab.", 11) == 0;
	closedir(p);
	return n;
}

static void pause_ms(long ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* --- COPY ------------------------------------------------------------------------------------------------- */

static uint32_t ask_copy(int control, const char *direction, const char *path, const char *token)
{
	return peer_ask(control, AGENT_COPY,
			"{\"direction\": \"%s\", \"path\": \"%s\", \"token\": \"%s\"}", direction,
			path, token);
}

static void copy_in_and_out(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fd;
	char from[PATH], to[PATH], back[PATH], inner[PATH];
	const struct copy_options back_name = { .name = "back" };
	struct copy_report report;
	struct json_object *body;
	const char *token;
	uint32_t t;

	assert_int_equal(mkdir(path_of(peer, "from", from), 0755), 0);
	tmp_file(&peer->tmp, "from/a", "one", inner, sizeof(inner));
	path_of(peer, "to", to);
	token = peer_token();
	t = ask_copy(control, "in", to, token);
	fd = peer_attach(peer, token, 0);
	assert_int_equal(copy_send(fd, from, NULL, &report), 0);
	close(fd);
	body = peer_answer(control, t, AGENT_COPY, NULL);
	assert_int_equal(number(body, "files"), 1);
	assert_int_equal(number(body, "directories"), 1);
	assert_int_equal(number(body, "bytes"), 3);
	json_object_put(body);
	assert_text(path_of(peer, "to/a", inner), "one");

	token = peer_token();
	fd = peer_attach(peer, token, 0); /* before its request this time */
	t = ask_copy(control, "out", to, token);
	assert_int_equal(copy_receive(fd, peer->tmp.path, &back_name, &report), 0);
	close(fd);
	peer_expect(control, t, AGENT_COPY, NULL);
	assert_text(path_of(peer, "back/a", back), "one");
	close(control);
}

static void copy_says_what_failed(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fd;
	struct copy_report report;
	struct json_object *body;
	const char *token = peer_token();
	uint32_t t = ask_copy(control, "out", "/no/such", token);

	fd = peer_attach(peer, token, 0);
	assert_int_equal(copy_receive(fd, peer->tmp.path, NULL, &report), -ENOENT);
	assert_true(report.peer);
	close(fd);
	body = peer_answer(control, t, AGENT_COPY, "not-found");
	assert_non_null(strstr(word(body, "text"), "/no/such: No such file"));
	json_object_put(body);
	peer_expect(control, ask_copy(control, "up", "/", token), AGENT_COPY, "bad-request");
	peer_expect(control, ask_copy(control, "in", "", token), AGENT_COPY, "bad-request");
	peer_expect(control, ask_copy(control, "in", "/", "12"), AGENT_COPY, "bad-request");
	t = peer_ask(
		control, AGENT_COPY,
		"{\"direction\": \"in\", \"path\": \"/\", \"token\": \"%s\", \"user\": \"no one\"}",
		peer_token());
	peer_expect(control, t, AGENT_COPY, "not-found");
	t = peer_ask(
		control, AGENT_COPY,
		"{\"direction\": \"in\", \"path\": \"/\", \"token\": \"%s\", \"distro\": \"none\"}",
		peer_token());
	peer_expect(control, t, AGENT_COPY, "not-found");
	close(control);
}

static void garbage_on_a_copy_is_its_own_trouble(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fd;
	const char *token = peer_token();
	char to[PATH];
	uint32_t t = ask_copy(control, "in", path_of(peer, "to", to), token);
	struct stat st;

	fd = peer_attach(peer, token, 0);
	assert_int_equal(send(fd,
			      "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
			      16, MSG_NOSIGNAL),
			 16);
	shutdown(fd, SHUT_WR);
	peer_expect(control, t, AGENT_COPY, "damaged");
	close(fd);
	assert_int_equal(stat(to, &st), -1);
	peer_expect(control, peer_ask(control, AGENT_PING, "{}"), AGENT_PING, NULL);
	close(control);
}

/* Half a file is with the agent's child, under its hidden name. */
static int begin_copy(struct peer *peer, int control, const char *dir)
{
	struct copy_entry entry = { .kind = COPY_FILE, .mode = 0644, .name = "f" };
	uint8_t body[COPY_ENTRY_MAX], head[COPY_EXTENT_HEAD] = { 0 };
	char text[] = "half", path[PATH];
	struct iovec first = { body, copy_entry_put(body, &entry) },
		     second[] = { { head, sizeof(head) }, { text, 4 } };
	const char *token = peer_token();
	int fd;

	snprintf(path, sizeof(path), "%s/f", dir);
	ask_copy(control, "in", path, token);
	fd = peer_attach(peer, token, 0);
	assert_int_equal(copy_stream_write(fd, AGENT_ENTRY, &first, 1), 0);
	assert_int_equal(copy_stream_write(fd, AGENT_EXTENT, second, 2), 0);
	for (unsigned i = 0; n_hidden(dir) == 0 && i < PEER_MS; i++)
		pause_ms(1);
	assert_int_equal(n_hidden(dir), 1);
	return fd;
}

static void copy_ends_with_its_control_connection(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fd;
	char dir[PATH];

	assert_int_equal(mkdir(path_of(peer, "to", dir), 0755), 0);
	fd = begin_copy(peer, control, dir);
	close(control);
	for (unsigned i = 0; n_hidden(dir) > 0 && i < PEER_MS; i++)
		pause_ms(1);
	assert_int_equal(n_hidden(dir), 0);
	close(fd);
	assert_int_equal(rmdir(dir), 0); /* nothing else either */
}

/* The pid of the only child of PID. */
static pid_t child_of(pid_t pid)
{
	char path[64];
	FILE *file;
	int child = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%d", &child), 1);
	fclose(file);
	return child;
}

static void copy_of_a_killed_agent_is_absent(void **state)
{
	struct peer own, *peer = *state;
	int control, fd;
	char dir[PATH], from[PATH], to[PATH];
	struct copy_report report;
	struct stat st;
	const char *token;
	uint32_t t;

	/* In a directory of the other agent's, which takes the next copy to that name. */
	assert_int_equal(mkdir(path_of(peer, "to", dir), 0755), 0);
	path_of(peer, "to/f", to);
	for (unsigned i = 0; i < 2; i++) {
		pid_t child;

		peer_start(&own, NULL);
		control = peer_control(&own);
		fd = begin_copy(&own, control, dir);
		child = child_of(own.pid);
		if (i == 0)
			kill(child, SIGKILL); /* and with it nothing of ours that could clean up */
		peer_kill(&own);
		close(fd);
		close(control);
		assert_int_equal(stat(to, &st), -1);
		while (kill(child, 0) == 0) /* the second time it sees the end, and cleans up */
			pause_ms(1);
		assert_int_equal(n_hidden(dir), i == 0);
		control = peer_control(peer);
		token = peer_token();
		t = ask_copy(control, "in", to, token);
		fd = peer_attach(peer, token, 0);
		tmp_file(&peer->tmp, "whole", "whole", from, sizeof(from));
		assert_int_equal(copy_send(fd, from, NULL, &report), 0);
		peer_expect(control, t, AGENT_COPY, NULL);
		close(fd);
		close(control);
		assert_text(to, "whole");
		assert_int_equal(n_hidden(dir), 0);
		assert_int_equal(unlink(to), 0);
	}
}

static void many_copies_at_once(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fds[40];
	uint32_t t[40];
	char from[PATH], to[PATH], name[32];

	tmp_file(&peer->tmp, "from", "text", from, sizeof(from));
	for (unsigned i = 0; i < 40; i++) {
		const char *token = peer_token();

		snprintf(name, sizeof(name), "to%u", i);
		t[i] = ask_copy(control, "in", path_of(peer, name, to), token);
		fds[i] = peer_attach(peer, token, 0);
	}
	for (unsigned i = 40; i-- > 0;) {
		struct copy_report report;

		assert_int_equal(copy_send(fds[i], from, NULL, &report), 0);
		peer_expect(control, t[i], AGENT_COPY, NULL);
		close(fds[i]);
		snprintf(name, sizeof(name), "to%u", i);
		assert_text(path_of(peer, name, to), "text");
	}
	close(control);
}

/* --- WAIT ------------------------------------------------------------------------------------------------- */

static void wait_for_file(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer);
	char path[PATH];
	uint32_t t = peer_ask(control, AGENT_WAIT, "{\"file\": \"%s\", \"timeout-ms\": 50}",
			      path_of(peer, "file", path));

	peer_expect(control, t, AGENT_WAIT, "timeout");
	t = peer_ask(control, AGENT_WAIT, "{\"file\": \"%s\"}", path);
	peer_expect(control, peer_ask(control, AGENT_PING, "{}"), AGENT_PING, NULL);
	tmp_file(&peer->tmp, "file", "", path, sizeof(path));
	peer_expect(control, t, AGENT_WAIT, NULL);
	close(control);
}

static int listen_tcp(uint16_t *ret_port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	*ret_port = ntohs(in.sin_port);
	return fd;
}

static void wait_for_port(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fd;
	uint16_t port;
	uint32_t t;

	fd = listen_tcp(&port); /* bound, but not listening yet */
	t = peer_ask(control, AGENT_WAIT, "{\"port\": %u, \"timeout-ms\": 50}", port);
	peer_expect(control, t, AGENT_WAIT, "timeout");
	t = peer_ask(control, AGENT_WAIT, "{\"port\": %u}", port);
	assert_int_equal(listen(fd, 1), 0);
	peer_expect(control, t, AGENT_WAIT, NULL);
	close(fd);
	close(control);
}

static void wait_for_command(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer);
	struct json_object *body;
	char path[PATH];
	uint32_t t;

	path_of(peer, "flag", path);
	t = peer_ask(
		control, AGENT_WAIT,
		"{\"command\": [\"sh\", \"-c\", \"test -e $0 || exit 3\", \"%s\"], \"timeout-ms\": 300}",
		path);
	body = peer_answer(control, t, AGENT_WAIT, "timeout");
	assert_non_null(strstr(word(body, "text"), "code 3"));
	json_object_put(body);
	t = peer_ask(control, AGENT_WAIT,
		     "{\"command\": [\"sleep\", \"1000\"], \"timeout-ms\": 50}");
	peer_expect(control, t, AGENT_WAIT, "timeout");
	t = peer_ask(control, AGENT_WAIT, "{\"command\": [\"test\", \"-e\", \"%s\"]}", path);
	tmp_file(&peer->tmp, "flag", "", path, sizeof(path));
	peer_expect(control, t, AGENT_WAIT, NULL);
	close(control);
}

/* Processes whose command line has MARK in it. */
static unsigned n_processes(const char *mark)
{
	struct dirent *d;
	unsigned n = 0;
	DIR *dir = opendir("/proc");

	while ((d = readdir(dir))) {
		char path[300], line[512] = "";
		int fd;

		snprintf(path, sizeof(path), "/proc/%s/cmdline", d->d_name);
		fd = d->d_name[0] >= '1' && d->d_name[0] <= '9' ? open(path, O_RDONLY) : -1;
		if (fd < 0)
			continue;
		if (read(fd, line, sizeof(line) - 1) > 0)
			n += memmem(line, sizeof(line), mark, strlen(mark)) != NULL;
		close(fd);
	}
	closedir(dir);
	return n;
}

static void waiting_ends_with_its_control_connection(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer);
	char mark[32];

	snprintf(mark, sizeof(mark), "1000.%06d", (int)getpid());
	peer_ask(control, AGENT_WAIT, "{\"command\": [\"sleep\", \"%s\"]}", mark);
	for (unsigned i = 0; n_processes(mark) == 0 && i < PEER_MS / 10; i++)
		pause_ms(10);
	assert_int_equal(n_processes(mark), 1);
	close(control);
	for (unsigned i = 0; n_processes(mark) > 0 && i < PEER_MS / 10; i++)
		pause_ms(10);
	assert_int_equal(n_processes(mark), 0);
}

static void wait_for_one_thing(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"file\": \"/x\", \"port\": 1}",
		"{\"port\": 0}",
		"{\"port\": 65536}",
		"{\"command\": []}",
		"{\"command\": \"true\"}",
		"{\"file\": \"\"}",
		"{\"file\": \"/\", \"timeout-ms\": -1}",
		"{\"file\": \"/\", \"timeout-ms\": \"1\"}",
	};
	int control = peer_control(*state);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		peer_expect(control, peer_ask(control, AGENT_WAIT, "%s", bad[i]), AGENT_WAIT,
			    "bad-request");
	close(control);
}

/* --- RELAY and LISTEN ------------------------------------------------------------------------------------- */

static int accept_within(int fd)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	assert_int_equal(poll(&wait, 1, PEER_MS), 1);
	fd = accept(fd, NULL, NULL);
	assert_true(fd >= 0);
	return fd;
}

/* All until the end of file is TEXT. */
static void assert_reads(int fd, const char *text)
{
	char buf[4096];
	size_t len = 0;
	ssize_t n;

	do {
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		assert_int_equal(poll(&wait, 1, PEER_MS), 1);
		n = read(fd, buf + len, sizeof(buf) - len);
		assert_true(n >= 0);
		len += (size_t)n;
	} while (n > 0);
	if (len != strlen(text) || memcmp(buf, text, len) != 0)
		fail_msg("\"%.*s\" instead of \"%s\"", (int)len, buf, text);
}

/* Bytes and ends of file pass, each way on its own. */
static void assert_one(int a, int b)
{
	assert_int_equal(send(a, "there", 5, MSG_NOSIGNAL), 5);
	shutdown(a, SHUT_WR);
	assert_reads(b, "there");
	assert_int_equal(send(b, "back", 4, MSG_NOSIGNAL), 4);
	shutdown(b, SHUT_WR);
	assert_reads(a, "back");
	close(a);
	close(b);
}

static void relay_to_tcp(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fd, server;
	const char *token = peer_token();
	uint16_t port;
	uint32_t t;

	server = listen_tcp(&port);
	t = peer_ask(control, AGENT_RELAY, "{\"to\": \"tcp:127.0.0.1:%u\", \"token\": \"%s\"}",
		     port, token);
	fd = peer_attach(peer, token, 0);
	peer_expect(control, t, AGENT_RELAY, "failed"); /* refused */
	assert_reads(fd, "");
	close(fd);
	assert_int_equal(listen(server, 1), 0);
	token = peer_token();
	t = peer_ask(control, AGENT_RELAY, "{\"to\": \"tcp:%u\", \"token\": \"%s\"}", port, token);
	fd = peer_attach(peer, token, 0);
	peer_expect(control, t, AGENT_RELAY, NULL);
	close(control); /* the connection's life is its own */
	assert_one(fd, accept_within(server));
	close(server);
}

static int listen_unix(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void relay_to_unix(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), fd, server;
	const char *token = peer_token();
	char path[PATH];
	uint32_t t;

	server = listen_unix(path_of(peer, "server", path));
	t = peer_ask(control, AGENT_RELAY, "{\"to\": \"unix:%s\", \"token\": \"%s\"}", path, token);
	fd = peer_attach(peer, token, 0);
	peer_expect(control, t, AGENT_RELAY, NULL);
	assert_one(fd, accept_within(server));
	close(server);
	t = peer_ask(control, AGENT_RELAY, "{\"to\": \"vsock:1\", \"token\": \"%s\"}", token);
	peer_expect(control, t, AGENT_RELAY, "bad-request");
	close(control);
}

static void listen_relays_to_the_host(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer), host, client;
	struct json_object *body;
	struct address address;
	char path[PATH], on[ADDRESS_TEXT_MAX];
	int64_t id;
	uint32_t t;

	host = listen_unix(path_of(peer, "host.4711", path));
	t = peer_ask(control, AGENT_LISTEN, "{\"on\": \"tcp:127.0.0.1:0\", \"port\": 4711}");
	body = peer_answer(control, t, AGENT_LISTEN, NULL);
	id = number(body, "id");
	snprintf(on, sizeof(on), "%s", word(body, "on"));
	json_object_put(body);
	assert_int_equal(address_parse(on, &address), 0);
	for (unsigned i = 0; i < 3; i++) {
		client = address_connect(&address);
		assert_true(client >= 0);
		assert_one(accept_within(host), client);
	}
	/* Nobody there on the host: the client is told, the listener lives. */
	close(host);
	client = address_connect(&address);
	assert_reads(client, "");
	close(client);
	t = peer_ask(control, AGENT_LISTEN, "{\"on\": \"%s\", \"port\": 4711}", on);
	peer_expect(control, t, AGENT_LISTEN, "busy");
	t = peer_ask(control, AGENT_UNLISTEN, "{\"id\": %lld}", (long long)id);
	peer_expect(control, t, AGENT_UNLISTEN, NULL);
	t = peer_ask(control, AGENT_UNLISTEN, "{\"id\": %lld}", (long long)id);
	peer_expect(control, t, AGENT_UNLISTEN, "not-found");
	t = peer_ask(control, AGENT_LISTEN, "{\"on\": \"%s\", \"port\": 4711}", on);
	peer_expect(control, t, AGENT_LISTEN, NULL); /* free again */
	close(control);
}

static void listener_ends_with_its_connection(void **state)
{
	struct peer *peer = *state;
	int control = peer_control(peer);
	char path[PATH];
	struct stat st;
	uint32_t t;

	path_of(peer, "socket", path);
	t = peer_ask(control, AGENT_LISTEN, "{\"on\": \"unix:%s\", \"port\": 1}", path);
	peer_expect(control, t, AGENT_LISTEN, NULL);
	assert_int_equal(stat(path, &st), 0);
	close(control);
	for (unsigned i = 0; stat(path, &st) == 0 && i < PEER_MS; i++)
		pause_ms(1);
	assert_int_equal(stat(path, &st), -1);
}

static void listeners_are_limited(void **state)
{
	int control = peer_control(*state);

	for (unsigned i = 0; i <= 64; i++) {
		uint32_t t = peer_ask(control, AGENT_LISTEN,
				      "{\"on\": \"tcp:127.0.0.1:0\", \"port\": 1}");

		peer_expect(control, t, AGENT_LISTEN, i < 64 ? NULL : "limit");
	}
	close(control);
}

static void addresses(void **state)
{
	static const char *const good[][2] = {
		{ "tcp:22", "tcp:127.0.0.1:22" },   { "tcp:10.0.0.1:65535", "tcp:10.0.0.1:65535" },
		{ "tcp:[::1]:80", "tcp:[::1]:80" }, { "tcp:localhost:0", "tcp:127.0.0.1:0" },
		{ "unix:/a/b", "unix:/a/b" },
	};
	static const char *const bad[] = { "",
					   "tcp:",
					   "tcp::22",
					   "tcp:1.2.3:4",
					   "tcp:1.2.3.4:65536",
					   "tcp:1.2.3.4:-1",
					   "tcp:1.2.3.4:",
					   "tcp:::1:22",
					   "tcp:[::1:22",
					   "unix:",
					   "unix:relative",
					   "udp:1",
					   "tcp:example.org:22" };
	char text[ADDRESS_TEXT_MAX], longest[200] = "unix:/";
	struct address address;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(address_parse(good[i][0], &address), 0);
		address_format(&address, text);
		assert_string_equal(text, good[i][1]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(address_parse(bad[i], &address), -EINVAL);
	memset(longest + 6, 'x', 106); /* 107 with the slash: what sun_path holds beside its NUL */
	assert_int_equal(address_parse(longest, &address), 0);
	longest[112] = 'x';
	assert_int_equal(address_parse(longest, &address), -EINVAL);
}

/* --- disks ------------------------------------------------------------------------------------------------ */

static void disk_types(void **state)
{
	static const struct {
		const char *type;
		size_t offset;
		const char *bytes;
	} cases[] = { { "squashfs", 0, "hsqs" },
		      { "ext4", 0x438, "\x53\xef" },
		      { "xfs", 0, "XFSB" },
		      { "btrfs", 0x10040, "_BHRfS_M" },
		      { "iso9660", 0x8001, "CD001" } };
	uint8_t *head = calloc(1, DISK_HEAD);

	assert_null(disk_type_of(head, DISK_HEAD));
	assert_null(disk_type_of(head, 0));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len = strlen(cases[i].bytes);

		memset(head, 0, DISK_HEAD);
		memcpy(head + cases[i].offset, cases[i].bytes, len);
		assert_string_equal(disk_type_of(head, DISK_HEAD), cases[i].type);
		assert_null(disk_type_of(head, cases[i].offset + len - 1));
	}
	free(head);
}

static void make_file(struct tmp_dir *tmp, const char *name, const char *text)
{
	char path[PATH];

	tmp_file(tmp, name, text, path, sizeof(path));
}

static void disks_by_serial(void **state)
{
	static const char *const dirs[] = { "sys",
					    "sys/block",
					    "sys/block/vda",
					    "sys/block/vdb",
					    "sys/block/nvme0n1",
					    "sys/block/nvme0n1/device",
					    "sys/block/vdb/vdb1",
					    "sys/block/vdb/vdb2",
					    "dev" };
	char path[DISK_PATH_MAX], dir[PATH];
	const char *type;
	struct tmp_dir tmp;

	tmp_dir_init(&tmp);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		assert_int_equal(mkdir(tmp_path(&tmp, dirs[i], dir, PATH), 0755), 0);
	make_file(&tmp, "sys/block/vda/serial", "");
	make_file(&tmp, "sys/block/vdb/serial", "a-name-of-20-letters");
	make_file(&tmp, "sys/block/nvme0n1/device/serial", "nvme\n");
	assert_int_equal(disk_find(tmp.path, "a-name-of-20-letters", path), 0);
	assert_string_equal(path, "/dev/vdb");
	assert_int_equal(disk_find(tmp.path, "a-name-of-20-letters-and-more", path), 0);
	assert_int_equal(disk_find(tmp.path, "a-name-of-20-letter", path), -ENODEV);
	assert_int_equal(disk_find(tmp.path, "nvme", path), 0);
	assert_string_equal(path, "/dev/nvme0n1");
	assert_int_equal(disk_find(tmp.path, "", path), -ENODEV);
	/* The larger partition has nothing that we know. */
	make_file(&tmp, "sys/block/vdb/vdb1/size", "100\n");
	make_file(&tmp, "sys/block/vdb/vdb2/size", "200\n");
	make_file(&tmp, "dev/vdb1", "hsqs");
	make_file(&tmp, "dev/vdb2", "none");
	assert_int_equal(disk_partition(tmp.path, "/dev/vdb", path, &type), 0);
	assert_string_equal(path, "/dev/vdb1");
	assert_string_equal(type, "squashfs");
	tmp_dir_done(&tmp);
}

/* --- MOUNT and distributions: an agent that may, in namespaces of its own ---------------------------------- */

static const char *const as_root[] = { "unshare", "--mount", "--propagation", "private", NULL };

/* Root only: root of a user namespace may not set groups, which EXEC does. */
static int setup_mounts(void **state)
{
	struct peer *peer = geteuid() == 0 ? calloc(1, sizeof(*peer)) : NULL;

	if (peer)
		peer_start(peer, as_root);
	*state = peer;
	return 0;
}

static int teardown_mounts(void **state)
{
	return *state ? teardown(state) : 0;
}

#define NEEDS_MOUNTS(state)                                          \
	do {                                                         \
		if (!*(state)) {                                     \
			print_message("# SKIP mounts are root's\n"); \
			skip();                                      \
		}                                                    \
	} while (0)

static void run_in(struct peer *peer, int control, const char *distro, const char *argv,
		   const char *output, int code)
{
	const char *token = peer_token();
	struct json_object *body;
	uint32_t t = peer_ask(
		control, AGENT_EXEC,
		"{\"argv\": [%s], \"token\": \"%s\", \"streams\": [\"output\"]%s%s%s}", argv, token,
		distro ? ", \"distro\": \"" : "", distro ? distro : "", distro ? "\"" : "");
	int fd = peer_attach(peer, token, 0);

	peer_expect(control, t, AGENT_EXEC, NULL);
	assert_reads(fd, output);
	body = peer_answer(control, t, AGENT_EXIT, NULL);
	assert_int_equal(number(body, "code"), code);
	json_object_put(body);
	close(fd);
}

static void mount_and_umount(void **state)
{
	struct peer *peer = *state;
	char target[PATH], source[PATH], shell[2 * PATH];
	int control;
	uint32_t t;

	NEEDS_MOUNTS(state);
	control = peer_control(peer);
	t = peer_ask(control, AGENT_MOUNT,
		     "{\"type\": \"tmpfs\", \"target\": \"%s\", \"options\": \"size=1m,noexec\"}",
		     path_of(peer, "a/b", target));
	peer_expect(control, t, AGENT_MOUNT, NULL);
	snprintf(shell, sizeof(shell),
		 "\"sh\", \"-c\", \"grep -c ' %s tmpfs .*noexec.*size=1024k' /proc/mounts\"",
		 target);
	run_in(peer, control, NULL, shell, "1\n", 0);
	t = peer_ask(control, AGENT_UMOUNT, "{\"target\": \"%s\"}", target);
	peer_expect(control, t, AGENT_UMOUNT, NULL);
	t = peer_ask(control, AGENT_UMOUNT, "{\"target\": \"%s\"}", target);
	peer_expect(control, t, AGENT_UMOUNT, "bad-request"); /* EINVAL: nothing is mounted there */

	/* Read-only, and written to all the same: in memory. */
	assert_int_equal(mkdir(path_of(peer, "lower", source), 0755), 0);
	make_file(&peer->tmp, "lower/f", "below\n");
	t = peer_ask(
		control, AGENT_MOUNT,
		"{\"source\": \"%s\", \"type\": \"bind\", \"overlay\": true, \"target\": \"%s\"}",
		source, target);
	peer_expect(control, t, AGENT_MOUNT, NULL);
	snprintf(shell, sizeof(shell), "\"sh\", \"-c\", \"cd %s && cat f && echo up >f && cat f\"",
		 target);
	run_in(peer, control, NULL, shell, "below\nup\n", 0);
	assert_text(path_of(peer, "lower/f", source), "below\n");
	t = peer_ask(control, AGENT_UMOUNT, "{\"target\": \"%s\"}", target);
	peer_expect(control, t, AGENT_UMOUNT, NULL);
	run_in(peer, control, NULL, "\"sh\", \"-c\", \"grep vhost-lab/overlay /proc/mounts\"", "",
	       1);
	close(control);
}

static void mount_says_what_is_wrong(void **state)
{
	struct peer *peer = *state;
	static const char *const bad[] = {
		"{\"target\": \"/x\"}",
		"{\"type\": \"tmpfs\"}",
		"{\"type\": \"tmpfs\", \"target\": \"relative\"}",
		"{\"type\": \"tmpfs\", \"target\": \"/x\", \"readonly\": 1}",
		"{\"serial\": \"a\", \"source\": \"b\", \"target\": \"/x\"}",
		"{\"serial\": \"a\", \"distro\": \"../x\"}",
		"{\"serial\": \"a\", \"distro\": \"\"}",
	};
	struct json_object *body;
	char source[PATH];
	int control;
	uint32_t t;

	NEEDS_MOUNTS(state);
	control = peer_control(peer);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		peer_expect(control, peer_ask(control, AGENT_MOUNT, "%s", bad[i]), AGENT_MOUNT,
			    "bad-request");
	make_file(&peer->tmp, "no-image", "nothing known");
	t = peer_ask(control, AGENT_MOUNT, "{\"source\": \"%s\", \"target\": \"%s/x\"}",
		     path_of(peer, "no-image", source), peer->tmp.path);
	body = peer_answer(control, t, AGENT_MOUNT, "failed");
	assert_non_null(strstr(word(body, "text"), "no file system that this agent knows"));
	json_object_put(body);
	t = peer_ask(control, AGENT_MOUNT, "{\"type\": \"nosuchfs\", \"target\": \"%s/x\"}",
		     peer->tmp.path);
	peer_expect(control, t, AGENT_MOUNT, "not-found"); /* ENODEV */
	t = peer_ask(control, AGENT_MOUNT, "{\"serial\": \"no-such\", \"distro\": \"d\"}");
	body = peer_answer(control, t, AGENT_MOUNT, "not-found");
	assert_string_equal(word(body, "text"), "d: no disk has the serial number \"no-such\"");
	json_object_put(body);
	peer_expect(control, peer_ask(control, AGENT_UMOUNT, "{\"distro\": \"d\"}"), AGENT_UMOUNT,
		    "not-found");
	close(control);
}

/* A root file system: busybox, and files to recognise it by. */
static void make_root(struct peer *peer, const char *name)
{
	char path[PATH], shell[12 * PATH];

	snprintf(
		shell, sizeof(shell),
		"set -e; mkdir -p %s/bin %s/etc %s/home/kim; cp $(command -v busybox) %s/bin/busybox; "
		"for a in sh cat hostname ps echo ls sleep touch id; do ln -s busybox %s/bin/$a; done; "
		"echo NAME=%s >%s/etc/os-release; ln -s /run/no/where/resolv.conf %s/etc/resolv.conf; "
		"echo kim:x:1234:1234::/home/kim:/bin/sh >%s/etc/passwd",
		path_of(peer, name, path), path, path, path, path, name, path, path, path);
	assert_int_equal(system(shell), 0);
}

static void mount_root(struct peer *peer, int control, const char *name, bool readonly)
{
	char path[PATH];
	uint32_t t = peer_ask(
		control, AGENT_MOUNT,
		"{\"distro\": \"%s\", \"source\": \"%s\", \"type\": \"bind\", \"readonly\": %s}",
		name, path_of(peer, name, path), readonly ? "true" : "false");

	peer_expect(control, t, AGENT_MOUNT, NULL);
}

static void distribution(void **state)
{
	struct peer *peer = *state;
	struct json_object *body, *list;
	char path[PATH];
	int control;
	uint32_t t;

	NEEDS_MOUNTS(state);
	make_root(peer, "one");
	make_root(peer, "two");
	control = peer_control(peer);
	mount_root(peer, control, "one", true);
	mount_root(peer, control, "one", true); /* it is up: fine */
	mount_root(peer, control, "two", false);
	run_in(peer, control, "one", "\"cat\", \"/etc/os-release\"", "NAME=one\n", 0);
	run_in(peer, control, "two", "\"cat\", \"/etc/os-release\"", "NAME=two\n", 0);
	run_in(peer, control, "one", "\"hostname\"", "one\n", 0);
	/* Its own processes: init is 1, and nobody else's are seen. */
	run_in(peer, control, "two",
	       "\"sh\", \"-c\", \"cat /proc/1/comm; for p in /proc/[0-9]*; do echo x; done\"",
	       "distro:two\nx\nx\n", 0);
	run_in(peer, control, "two",
	       "\"sh\", \"-c\", \"[ -c /dev/null ] && [ -d /sys/class ] && "
	       "[ -w /run ] && echo furnished\"",
	       "furnished\n", 0);
	/* resolv.conf was a dangling link. */
	run_in(peer, control, "one",
	       "\"sh\", \"-c\", \"[ -r /etc/resolv.conf ] && [ -r /etc/hosts ] && echo told\"",
	       access("/etc/resolv.conf", R_OK) == 0 ? "told\n" : "",
	       access("/etc/resolv.conf", R_OK) == 0 ? 0 : 1);
	/* What a read-only one writes stays in memory; what the other writes is in its image. */
	run_in(peer, control, "one", "\"touch\", \"/written\"", "", 0);
	run_in(peer, control, "one", "\"ls\", \"/written\"", "/written\n", 0);
	run_in(peer, control, "two", "\"touch\", \"/written\"", "", 0);
	assert_int_equal(access(path_of(peer, "one/written", path), F_OK), -1);
	assert_int_equal(access(path_of(peer, "two/written", path), F_OK), 0);

	body = peer_answer(control, peer_ask(control, AGENT_DISTROS, "{}"), AGENT_DISTROS, NULL);
	list = json_object_object_get(body, "distros");
	assert_int_equal(json_object_array_length(list), 2);
	assert_string_equal(word(json_object_array_get_idx(list, 0), "name"), "one");
	assert_true(json_object_get_boolean(
		json_object_object_get(json_object_array_get_idx(list, 0), "readonly")));
	json_object_put(body);
	t = peer_ask(control, AGENT_UMOUNT, "{\"distro\": \"one\"}");
	peer_expect(control, t, AGENT_UMOUNT, NULL);
	t = peer_ask(control, AGENT_EXEC, "{\"argv\": [\"true\"], \"distro\": \"one\"}");
	peer_expect(control, t, AGENT_EXEC, "not-found");
	mount_root(peer, control, "one", true); /* and nothing of what it wrote is left */
	run_in(peer, control, "one", "\"sh\", \"-c\", \"[ ! -e /written ] && echo new\"", "new\n",
	       0);
	close(control);
}

static void stopping_ends_all_that_runs_there(void **state)
{
	struct peer *peer = *state;
	struct json_object *body;
	uint32_t t, u, type;
	int control;

	NEEDS_MOUNTS(state);
	make_root(peer, "one");
	control = peer_control(peer);
	mount_root(peer, control, "one", true);
	t = peer_ask(
		control, AGENT_EXEC,
		"{\"argv\": [\"sh\", \"-c\", \"trap '' TERM; touch /run/up; sleep 1000; sleep 1000\"], \"distro\": \"one\"}");
	peer_expect(control, t, AGENT_EXEC, NULL);
	u = peer_ask(control, AGENT_WAIT, "{\"file\": \"/run/up\", \"distro\": \"one\"}");
	peer_expect(control, u, AGENT_WAIT, NULL);
	u = peer_ask(control, AGENT_UMOUNT, "{\"distro\": \"one\"}");
	for (unsigned i = 0; i < 2; i++) { /* EXIT, and UMOUNT's answer: in either order */
		uint32_t got;

		body = peer_read(control, &type, &got);
		assert_int_equal(got, type == AGENT_EXIT ? t : u);
		assert_true(type == AGENT_EXIT || type == AGENT_UMOUNT);
		if (type == AGENT_EXIT)
			assert_int_equal(number(body, "signal"), SIGKILL);
		json_object_put(body);
	}
	close(control);
}

static void copy_and_wait_in_a_distribution(void **state)
{
	struct peer *peer = *state;
	struct copy_report report;
	char from[PATH], to[PATH];
	const char *token;
	int control, fd;
	struct stat st;
	uint32_t t;

	NEEDS_MOUNTS(state);
	make_root(peer, "two");
	control = peer_control(peer);
	mount_root(peer, control, "two", false);
	tmp_file(&peer->tmp, "from", "text", from, sizeof(from));
	t = peer_ask(control, AGENT_WAIT, "{\"file\": \"/home/kim/x\", \"distro\": \"two\"}");
	token = peer_token();
	/* As root of a user namespace there is no kim: one id is all that it has. */
	peer_ask(
		control, AGENT_COPY,
		"{\"direction\": \"in\", \"path\": \"%s\", \"token\": \"%s\", \"distro\": \"two\"%s}",
		geteuid() == 0 ? "x" : "/home/kim/x", token,
		geteuid() == 0 ? ", \"user\": \"kim\"" : "");
	if (geteuid() == 0)
		assert_int_equal(chown(path_of(peer, "two/home/kim", to), 1234, 1234), 0);
	fd = peer_attach(peer, token, 0);
	assert_int_equal(copy_send(fd, from, NULL, &report), 0);
	close(fd);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t type, got;
		struct json_object *body = peer_read(control, &type, &got);

		assert_int_equal(type, got == t ? AGENT_WAIT : AGENT_COPY);
		json_object_put(body);
	}
	assert_text(path_of(peer, "two/home/kim/x", to), "text");
	assert_int_equal(stat(to, &st), 0);
	assert_int_equal(st.st_uid, geteuid() == 0 ? 1234 : geteuid());
	close(control);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define M(f) cmocka_unit_test_setup_teardown(f, setup_mounts, teardown_mounts)
	const struct CMUnitTest tests[] = {
		T(copy_in_and_out),
		T(copy_says_what_failed),
		T(garbage_on_a_copy_is_its_own_trouble),
		T(copy_ends_with_its_control_connection),
		T(copy_of_a_killed_agent_is_absent),
		T(many_copies_at_once),
		T(wait_for_file),
		T(wait_for_port),
		T(wait_for_command),
		T(waiting_ends_with_its_control_connection),
		T(wait_for_one_thing),
		T(relay_to_tcp),
		T(relay_to_unix),
		T(listen_relays_to_the_host),
		T(listener_ends_with_its_connection),
		T(listeners_are_limited),
		cmocka_unit_test(addresses),
		cmocka_unit_test(disk_types),
		cmocka_unit_test(disks_by_serial),
		M(mount_and_umount),
		M(mount_says_what_is_wrong),
		M(distribution),
		M(stopping_ends_all_that_runs_there),
		M(copy_and_wait_in_a_distribution),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
