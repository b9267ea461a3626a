/* SPDX-License-Identifier: MIT */
/* orchestrator capture: what passes a link, as pcapng, to a file or to a program that reads it.
 *
 * To standard output it comes through a Unix socket of ours that the switch connects to: we copy, and when the reader goes,
 * or Ctrl-C comes, the socket's end ends the capture.  To a file the switch writes by itself, with rotation. */
#include "cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <glib/gstdio.h>

#include "cmd/switches.h"
#include "err.h"
#include "model/lab.h"
#include "model/units.h"
#include "out.h"
#include "run/json.h"
#include "run/watch.h"

#define CALL_MS    10000
#define COPY_BYTES (256 << 10)
#define ACCEPT_MS  5000

/* What the switch takes: vhost-user-net(8), CAPTURES. */
#define SNAPLEN_MIN 14
#define SNAPLEN_MAX 262144
#define ROTATE_MIN  65536
#define FILES_MIN   2
#define FILES_MAX   1000

static char *opt_lab, *opt_write, *opt_direction, *opt_rotate;
static int opt_snaplen, opt_files;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "write", 'w', 0, G_OPTION_ARG_FILENAME, &opt_write,
	  "Write to this file instead of standard output", "FILE" },
	{ "direction", 'd', 0, G_OPTION_ARG_STRING, &opt_direction,
	  "Only frames from-guest, or to-guest", "DIRECTION" },
	{ "snaplen", 's', 0, G_OPTION_ARG_INT, &opt_snaplen, "Keep so many bytes of a frame", "N" },
	{ "rotate", 'C', 0, G_OPTION_ARG_STRING, &opt_rotate,
	  "With -w: begin another file when this one is so large", "SIZE" },
	{ "files", 'W', 0, G_OPTION_ARG_INT, &opt_files, "With --rotate: keep so many (10)", "N" },
	G_OPTION_ENTRY_NULL,
};

struct capture {
	struct rpc_client *rpc;
	char *id;
	char *why;  /* it has failed */
	bool stop;  /* asked to, or the reader is gone */
	bool ended; /* the switch says so */
	int listen_fd, fd;
};

/* --- what is asked -------------------------------------------------------------------------------------------------- */

static gboolean check_options(GError **error)
{
	const char *why = NULL;

	if (opt_rotate && !opt_write)
		why = "--rotate goes with --write";
	else if (opt_files && !opt_rotate)
		why = "--files goes with --rotate";
	else if (opt_files && (opt_files < FILES_MIN || opt_files > FILES_MAX))
		why = "--files: " G_STRINGIFY(FILES_MIN) " to " G_STRINGIFY(FILES_MAX);
	else if (opt_snaplen && (opt_snaplen < SNAPLEN_MIN || opt_snaplen > SNAPLEN_MAX))
		why = "--snaplen: " G_STRINGIFY(SNAPLEN_MIN) " to " G_STRINGIFY(SNAPLEN_MAX);
	if (!why)
		return TRUE;
	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_USAGE, why);
	return FALSE;
}

/* The switch's words: seen from it, what comes from a guest comes in. */
static gboolean put_direction(struct json_object *params, GError **error)
{
	if (!opt_direction || strcmp(opt_direction, "both") == 0)
		return TRUE;
	if (strcmp(opt_direction, "from-guest") == 0) {
		json_put_str(params, "direction", "in");
		return TRUE;
	}
	if (strcmp(opt_direction, "to-guest") == 0) {
		json_put_str(params, "direction", "out");
		return TRUE;
	}
	g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
		    "--direction is from-guest, to-guest or both, not \"%s\"", opt_direction);
	return FALSE;
}

static gboolean put_file(struct json_object *params, GError **error)
{
	struct json_object *to = json_object_new_object();
	g_autofree char *path = g_canonicalize_filename(opt_write, NULL);
	uint64_t bytes;

	json_put_str(to, "file", path);
	json_object_object_add(params, "to", to);
	json_put_bool(params, "tied", true); /* if we are killed nobody is left to stop it */
	if (opt_files)
		json_put_int(to, "files", opt_files);
	if (!opt_rotate)
		return TRUE;
	if (unit_parse_size(opt_rotate, &bytes)) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE, "--rotate: \"%s\" %s", opt_rotate,
			    unit_parse_size(opt_rotate, &bytes));
		return FALSE;
	}
	if (bytes < ROTATE_MIN) {
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_USAGE,
			    "--rotate: \"%s\" is less than %uKiB", opt_rotate, ROTATE_MIN >> 10);
		return FALSE;
	}
	json_put_int(to, "rotate-bytes", (int64_t)MIN(bytes, (uint64_t)G_MAXINT64));
	return TRUE;
}

/* The rest of the words are the filter, as of tcpdump. */
static struct json_object *make_params(const struct link_ref *link, char **filter, GError **error)
{
	struct json_object *params = json_object_new_object();
	g_autofree char *text = g_strjoinv(" ", filter);
	g_autofree char *comment = NULL;

	json_put_str(params, "port", link->port);
	if (*text)
		json_put_str(params, "filter", text);
	if (opt_snaplen)
		json_put_int(params, "snaplen", opt_snaplen);
	comment = g_strdup_printf("%s on %s", link->port, link->network->name);
	json_put_str(params, "comment", comment);
	if (put_direction(params, error) && (!opt_write || put_file(params, error)))
		return params;
	json_object_put(params);
	return NULL;
}

/* --- while it runs -------------------------------------------------------------------------------------------------- */

static void on_notify(const char *method, struct json_object *params, void *data)
{
	struct capture *c = data;
	const char *state = json_str(params, "state");

	if (strcmp(method, "capture") != 0 || !c->id || !state ||
	    g_strcmp0(json_str(params, "id"), c->id) != 0 || strcmp(state, "running") == 0)
		return;
	c->ended = true;
	if (strcmp(state, "failed") == 0) {
		g_free(c->why);
		c->why = g_strdup(json_str(params, "error"));
	}
}

static void on_closed(const char *why, void *data)
{
	struct capture *c = data;

	c->ended = true;
	if (!c->why)
		c->why = why ? g_strdup_printf("the switch has ended: %s", why) :
			       g_strdup("the switch has ended");
}

static gboolean on_signal(gpointer p)
{
	((struct capture *)p)->stop = true;
	return G_SOURCE_CONTINUE;
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer p)
{
	struct capture *c = p;
	static char buffer[COPY_BYTES];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return G_SOURCE_CONTINUE;
	if (n <= 0) {
		c->ended = true;
		return G_SOURCE_REMOVE;
	}
	for (char *at = buffer; n > 0;) {
		ssize_t put = write(STDOUT_FILENO, at, (size_t)n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0) {
			/* Whoever read it has had enough. */
			if (errno != EPIPE)
				c->why = g_strdup(g_strerror(errno));
			c->stop = true;
			return G_SOURCE_REMOVE;
		}
		at += put;
		n -= put;
	}
	return G_SOURCE_CONTINUE;
}

static void wait_for_end(struct capture *c)
{
	guint interrupt = g_unix_signal_add(SIGINT, on_signal, c);
	guint terminate = g_unix_signal_add(SIGTERM, on_signal, c);
	/* A terminal that is closed must not leave the switch writing for nobody. */
	guint hangup = g_unix_signal_add(SIGHUP, on_signal, c);
	guint reader = c->fd >= 0 ? g_unix_fd_add(c->fd, G_IO_IN | G_IO_HUP, on_readable, c) : 0;

	while (!c->stop && !c->ended)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(interrupt);
	g_source_remove(terminate);
	g_source_remove(hangup);
	if (reader && g_main_context_find_source_by_id(NULL, reader))
		g_source_remove(reader);
}

/* Stop it, and say what there was. */
static void finish(struct capture *c)
{
	struct json_object *params = json_object_new_object();
	auto_json result = NULL;

	json_put_str(params, "id", c->id);
	if (!rpc_client_call_sync(c->rpc, "capture.stop", params, CALL_MS, &result, NULL))
		return;
	out_info("%" PRId64 " frames, %" PRId64 " dropped", json_int(result, "frames", 0),
		 json_int(result, "dropped", 0));
}

/* --- standard output ------------------------------------------------------------------------------------------------ */

/* A socket in a directory of its own that nobody else can enter; *ret_dir is g_free()'s. */
static int make_socket(char **ret_dir, char **ret_path, GError **error)
{
	int fd;

	*ret_dir = g_dir_make_tmp("vhost-lab-XXXXXX", error);
	if (!*ret_dir)
		return -1;
	*ret_path = g_build_filename(*ret_dir, "pcapng", NULL);
	fd = listen_now(*ret_path, error);
	return fd;
}

struct acceptance {
	int fd;
	bool late;
};

static gboolean on_connection(int listen_fd, GIOCondition condition, gpointer p)
{
	struct acceptance *a = p;

	a->fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return G_SOURCE_CONTINUE;
}

static gboolean on_late(gpointer p)
{
	((struct acceptance *)p)->late = true;
	return G_SOURCE_CONTINUE;
}

/* The switch's connection; -1: none came. */
static int accept_switch(struct capture *c)
{
	struct acceptance a = { .fd = -1 };
	guint source = g_unix_fd_add(c->listen_fd, G_IO_IN, on_connection, &a);
	guint timer = g_timeout_add(ACCEPT_MS, on_late, &a);

	while (a.fd < 0 && !a.late && !c->ended)
		g_main_context_iteration(NULL, TRUE);
	g_source_remove(source);
	g_source_remove(timer);
	return a.fd;
}

/* --- the verb ------------------------------------------------------------------------------------------------------- */

static gboolean start(struct capture *c, struct json_object *params, GError **error)
{
	g_autoptr(GError) problem = NULL;
	auto_json result = NULL;

	if (!rpc_client_call_sync(c->rpc, "subscribe", NULL, CALL_MS, NULL, error)) {
		json_object_put(params);
		return FALSE;
	}
	if (!rpc_client_call_sync(c->rpc, "capture.start", params, CALL_MS, &result, &problem)) {
		/* The member's name is the switch's; who typed the path knows the path. */
		const char *text = problem->message;

		g_set_error_literal(
			error, problem->domain, problem->code,
			g_str_has_prefix(text, "to/file: ") ? text + strlen("to/file: ") : text);
		return FALSE;
	}
	c->id = g_strdup(json_str(result, "id"));
	return TRUE;
}

static gboolean run(struct capture *c, struct json_object *params, GError **error)
{
	g_autofree char *dir = NULL, *path = NULL;
	gboolean good;

	if (!opt_write) {
		struct json_object *to = json_object_new_object();

		c->listen_fd = make_socket(&dir, &path, error);
		if (c->listen_fd < 0) {
			json_object_put(to);
			json_object_put(params);
			return FALSE;
		}
		json_put_str(to, "socket", path);
		json_object_object_add(params, "to", to);
	}
	good = start(c, params, error);
	if (good && !opt_write)
		c->fd = accept_switch(c);
	if (path)
		(void)g_unlink(path);
	if (dir)
		(void)g_rmdir(dir);
	if (!good)
		return FALSE;
	if (opt_write)
		out_info("capturing to %s, until Ctrl-C", opt_write);
	wait_for_end(c);
	if (!c->ended)
		finish(c);
	if (!c->why)
		return TRUE;
	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_FAILED, c->why);
	return FALSE;
}

static int capture(const struct links_of *l, char **args, GError **error)
{
	struct capture c = { .listen_fd = -1, .fd = -1 };
	struct json_object *params;
	struct link_ref link;
	gboolean good = FALSE;

	if (!links_find(l, args[0], &link, error))
		return -1;
	params = make_params(&link, args + 1, error);
	if (!params)
		return -1;
	c.rpc = switch_connect(l, link.network->name, on_notify, on_closed, &c, error);
	if (c.rpc)
		good = run(&c, params, error);
	else
		json_object_put(params);
	rpc_client_free(c.rpc);
	if (c.listen_fd >= 0)
		close(c.listen_fd);
	if (c.fd >= 0)
		close(c.fd);
	g_free(c.id);
	g_free(c.why);
	return good ? 0 : -1;
}

static int run_capture(char **args, GError **error)
{
	struct links_of l = { 0 };
	int code;

	if (!check_options(error))
		return -1;
	if (!opt_write && isatty(STDOUT_FILENO)) {
		g_set_error_literal(
			error, ORCH_ERROR, ORCH_ERROR_USAGE,
			"a terminal is no place for a capture: -w FILE, or `… | wireshark -k -i -`, `… | tcpdump -r -`");
		return -1;
	}
	if (!links_open(opt_lab, &l, error))
		return -1;
	(void)signal(SIGPIPE, SIG_IGN);
	code = capture(&l, args, error);
	links_close(&l);
	return code;
}

const struct cmd cmd_capture = {
	.name = "capture",
	.args = "LINK [FILTER...]",
	.summary = "Write what passes a link as pcapng, until Ctrl-C",
	.help = "    orchestrator capture n1 | wireshark -k -i -\n"
		"    orchestrator capture n1 tcp port 80 | tcpdump -n -r -\n"
		"    orchestrator capture -w n1.pcapng n1:lan\n"
		"\n"
		"LINK is as for `link`; FILTER as of tcpdump. Frames are seen as they are at the\n"
		"guest's end of the link: what its impairment loses on the way to the guest is not\n"
		"there, what it loses on the way from the guest is. A file is written by the switch.",
	.options = options,
	.min_args = 1,
	.max_args = 64,
	.arg = CMD_ARG_LINK,
	.ours_first = true,
	.run = run_capture,
};
