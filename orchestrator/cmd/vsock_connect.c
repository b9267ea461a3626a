/* SPDX-License-Identifier: MIT */
/* orchestrator vsock-connect: the standard input and output as a connection to a guest, for ssh's ProxyCommand. */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/client/relay.h"
#include "cmd/reach.h"
#include "err.h"
#include "model/names.h"

#define ANSWER_MS 15000
#define PIECE     (1u << 20)

static char *opt_lab;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	G_OPTION_ENTRY_NULL,
};

/* --- bytes ------------------------------------------------------------------------------------------------ */

static void wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	(void)poll(&p, 1, -1);
}

static bool come_back(int fd, short events)
{
	if (errno == EAGAIN)
		wait_for(fd, events);
	return errno == EAGAIN || errno == EINTR;
}

static bool write_all(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n < 0 && !come_back(fd, POLLOUT))
			return false;
		bytes += MAX(n, 0);
		len -= (size_t)MAX(n, 0);
	}
	return true;
}

static void copy_through_us(int from, int to)
{
	static const size_t size = 65536;
	g_autofree char *bytes = g_malloc(size);
	ssize_t n;

	while ((n = read(from, bytes, size)) != 0)
		if ((n < 0 && !come_back(from, POLLIN)) ||
		    (n > 0 && !write_all(to, bytes, (size_t)n)))
			return;
}

/* Until the end of file or an error.  Where one end is a pipe, as under ssh, the bytes stay in the kernel.
 *
 * splice(2) holds the pipe's lock while it waits for its other end, and whoever reads that pipe waits, too, even for what is
 * in it: so it never waits here, poll(2) does. */
static void copy(int from, int to)
{
	ssize_t n = 1;

	while (n != 0) {
		wait_for(from, POLLIN);
		n = splice(from, NULL, to, NULL, PIECE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINVAL) {
			copy_through_us(from, to);
			return;
		}
		if (n < 0 && !come_back(to, POLLOUT))
			return;
	}
}

static gpointer copy_input(gpointer p)
{
	int fd = GPOINTER_TO_INT(p);

	copy(STDIN_FILENO, fd);
	(void)shutdown(fd, SHUT_WR);
	return NULL;
}

/* One direction each, so that neither waits for the other; what the guest says ends it, as the other side of a connection
 * that was closed. */
static void splice_both(int fd)
{
	(void)signal(SIGPIPE, SIG_IGN);
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	g_thread_unref(g_thread_new("input", copy_input, GINT_TO_POINTER(fd)));
	copy(fd, STDOUT_FILENO);
	close(STDOUT_FILENO);
}

/* --- the verb --------------------------------------------------------------------------------------------- */

static bool vsock_port(const char *word, uint32_t *ret_port)
{
	guint64 port;

	if (!g_ascii_string_to_unsigned(word, 10, 1, G_MAXUINT32 - 1, &port, NULL))
		return false;
	*ret_port = (uint32_t)port;
	return true;
}

/* A port of the guest itself. */
static int connect_vsock(const struct link_address *address, GError **error)
{
	int fd = link_open(address, NULL, 0, error);

	if (fd < 0 || link_wait(fd, address, ANSWER_MS, error))
		return fd;
	close(fd);
	return -1;
}

/* What 'to' is in the guest, by its agent. */
static int connect_relay(const struct reach *r, const char *vm, const struct link_address *address,
			 const char *to, GError **error)
{
	bool answered = false;
	int fd = relay_open(address, to, ANSWER_MS, &answered, error);

	if (fd < 0 && !answered)
		reach_explain(r, vm, error);
	else if (fd < 0)
		g_prefix_error(error, "%s of %s: ", to, vm);
	return fd;
}

/* A number is a vsock port first.  Where nobody listens on it, as most ssh servers do not, it is the TCP port. */
static int connect_number(const struct reach *r, const char *vm, const struct link_address *agent,
			  uint32_t port, GError **error)
{
	struct link_address address = { .path = agent->path, .port = port };
	g_autofree char *tcp = g_strdup_printf("tcp:127.0.0.1:%u", port);
	int fd = connect_vsock(&address, port <= G_MAXUINT16 ? NULL : error);

	if (fd >= 0 || port > G_MAXUINT16)
		return fd;
	return connect_relay(r, vm, agent, tcp, error);
}

static int connect_to(const struct reach *r, const char *vm, const char *word, GError **error)
{
	struct vm_paths *paths = reach_vm(r, vm, error);
	struct link_address agent;
	uint32_t port;
	int fd;

	if (!paths)
		return -1;
	agent = reach_agent(r, paths);
	if (vsock_port(word, &port))
		fd = connect_number(r, vm, &agent, port, error);
	else
		fd = connect_relay(r, vm, &agent, word, error);
	vm_paths_free(paths);
	return fd;
}

static gboolean check_port(const char *word, GError **error)
{
	uint32_t port;

	if (vsock_port(word, &port) || g_str_has_prefix(word, "tcp:") ||
	    g_str_has_prefix(word, "unix:/"))
		return TRUE;
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
		    "\"%s\": a vsock port, tcp:ADDRESS:PORT or unix:PATH", word);
	return FALSE;
}

static int run_vsock_connect(char **args, GError **error)
{
	struct reach *r;
	int fd;

	if (!check_port(args[1], error))
		return -1;
	r = reach_new(opt_lab, error);
	if (!r)
		return -1;
	fd = connect_to(r, args[0], args[1], error);
	reach_free(r);
	if (fd < 0)
		return -1;
	splice_both(fd);
	return 0;
}

const struct cmd cmd_vsock_connect = {
	.name = "vsock-connect",
	.args = "VM PORT",
	.summary = "Connect the standard input and output to a port of a VM",
	.help = "PORT is a vsock port of the guest or, where nobody listens on that, the TCP port of its\n"
		"loopback interface; or tcp:ADDRESS:PORT or unix:PATH as the guest sees them. All but\n"
		"vsock ports are its agent's work. It needs no network. For ssh:\n"
		"\n"
		"    ssh -o ProxyCommand='orchestrator vsock-connect n1 22' root@n1\n"
		"\n"
		"It ends when the guest closes the connection; the end of the input is passed on.",
	.options = options,
	.min_args = 2,
	.max_args = 2,
	.arg = CMD_ARG_VM,
	.run = run_vsock_connect,
};
