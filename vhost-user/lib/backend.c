/* SPDX-License-Identifier: MIT */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "listen.h"
#include "log.h"
#include "mem.h"

#define CONFIG_SIZE_MAX (16 << 20) /* bytes: some 100,000 ports */
#define EXIT_USAGE      2

/* What the command line and the environment ask for. */
struct options {
	const struct backend_desc *desc;
	struct backend_socket sockets[BACKEND_SOCKETS_MAX];
	unsigned n_sockets;
	const char *control_path;
	int control_fd;
	bool control_connected; /* control_fd is a connection, not a listener */
	const char *config_path;
	unsigned threads;
};

/* ---- what is said and done with ---- */

static int say_usage(const struct backend_desc *desc, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* One line about a mistake on the command line; the exit status. */
static int say_usage(const struct backend_desc *desc, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", desc->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (try --help)\n", stderr);
	return EXIT_USAGE;
}

/* The status of a program whose whole work was to print: a full disk is a failure. */
static int printed(void)
{
	return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_help(const struct backend_desc *desc)
{
	printf("Usage: %s [OPTION]...\n"
	       "%s\n\n"
	       "%s%s%s"
	       "  --control PATH        control socket (JSON-RPC 2.0, one object a line)\n"
	       "  --control-fd N        the same on an inherited socket\n"
	       "  --config FILE         read FILE (JSON) first\n"
	       "  --log-level LEVEL     error, warning, info (default) or debug\n"
	       "%s"
	       "  --print-capabilities  describe this backend in JSON and exit\n"
	       "  --version             print the version and exit\n"
	       "  --help                print this and exit\n"
	       "\nSockets can also be passed by socket activation: one that listens at a path which is\n"
	       "given here or in FILE is taken for it, and the one named \"control\" is the control\n"
	       "socket.  Stays in the foreground; SIGTERM ends it.\n",
	       desc->name, desc->summary,
	       desc->max_sockets ? "  --socket-path PATH    serve a vhost-user frontend at PATH" :
				   "",
	       desc->max_sockets > 1 ? "; may be repeated" : "",
	       desc->max_sockets ?
		       "\n  --fd N                the same on an inherited socket, listening or connected\n" :
		       "",
	       desc->max_threads ?
		       "  --threads N           how many threads move data; 1 (default)\n" :
		       "");
	return printed();
}

static int print_version(const struct backend_desc *desc)
{
	printf("%s %s\n", desc->name, VHOST_LAB_VERSION);
	return printed();
}

static int print_capabilities(const struct backend_desc *desc)
{
	struct json_object *o = json_object_new_object(), *features = json_object_new_array();

	json_object_object_add(o, "type", json_object_new_string(desc->type));
	for (const char *const *f = desc->features; f && *f; f++)
		json_object_array_add(features, json_object_new_string(*f));
	json_object_object_add(o, "features", features);
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
	return printed();
}

/* ---- options ---- */

enum {
	OPT_SOCKET_PATH = 256,
	OPT_FD,
	OPT_CONTROL,
	OPT_CONTROL_FD,
	OPT_CONFIG,
	OPT_LOG_LEVEL,
	OPT_THREADS,
	OPT_PRINT_CAPABILITIES,
	OPT_VERSION,
	OPT_HELP
};

static const struct option long_options[] = {
	{ "socket-path", required_argument, NULL, OPT_SOCKET_PATH },
	{ "fd", required_argument, NULL, OPT_FD },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "control-fd", required_argument, NULL, OPT_CONTROL_FD },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "print-capabilities", no_argument, NULL, OPT_PRINT_CAPABILITIES },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL },
};

/* A descriptor's number, or a count; -1 if it is none. */
static int parse_fd(const char *s)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(s, &end, 10);
	return *s >= '0' && *s <= '9' && !*end && !errno && n <= INT_MAX ? (int)n : -1;
}

static bool name_taken(const struct options *o, const char *name)
{
	for (unsigned i = 0; i < o->n_sockets; i++)
		if (strcmp(o->sockets[i].name, name) == 0)
			return true;
	return false;
}

/* name: "" for the one its number gives. */
static int add_socket(struct options *o, const char *name, const char *path, int fd)
{
	struct backend_socket *s = &o->sockets[o->n_sockets];

	if (o->n_sockets >= min(o->desc->max_sockets, (unsigned)BACKEND_SOCKETS_MAX))
		return say_usage(o->desc, "more than %u frontend sockets", o->desc->max_sockets);
	*s = (struct backend_socket){ .path = path, .fd = fd };
	if (*name && !name_taken(o, name))
		(void)snprintf(s->name, sizeof(s->name), "%s", name);
	else
		(void)snprintf(s->name, sizeof(s->name), "port%u", o->n_sockets);
	o->n_sockets++;
	return 0;
}

static int take_threads(struct options *o, const char *arg)
{
	int n = parse_fd(arg);

	if (o->desc->max_threads == 0)
		return say_usage(o->desc, "--threads: no such option, or ambiguous");
	if (n < 1 || (unsigned)n > o->desc->max_threads)
		return say_usage(o->desc, "--threads: not 1 to %u: '%s'", o->desc->max_threads,
				 arg);
	o->threads = (unsigned)n;
	return 0;
}

static int take_option(struct options *o, int opt, const char *arg)
{
	enum log_level level;
	int fd = -1;

	if (opt == OPT_FD || opt == OPT_CONTROL_FD) {
		fd = parse_fd(arg);
		if (fd < 0)
			return say_usage(o->desc, "not a descriptor's number: '%s'", arg);
	} else if (*arg == '\0') {
		return say_usage(o->desc, "an option's argument is empty");
	}
	switch (opt) {
	case OPT_SOCKET_PATH:
		return add_socket(o, "", arg, -1);
	case OPT_FD:
		return add_socket(o, "", NULL, fd);
	case OPT_CONTROL:
	case OPT_CONTROL_FD:
		if (o->control_path || o->control_fd >= 0)
			return say_usage(o->desc, "more than one control socket");
		o->control_path = opt == OPT_CONTROL ? arg : NULL;
		o->control_fd = fd;
		return 0;
	case OPT_THREADS:
		return take_threads(o, arg);
	case OPT_CONFIG:
		o->config_path = arg;
		return 0;
	case OPT_LOG_LEVEL:
		if (log_level_parse(arg, &level) < 0)
			return say_usage(o->desc, "no log level '%s'", arg);
		log_set_level(level);
		return 0;
	}
	abort();
}

/* What must hold between options.  A descriptor given twice would be closed twice. */
static int check_options(const struct options *o)
{
	bool paths = false, fds = false;

	for (unsigned i = 0; i < o->n_sockets; i++) {
		paths |= o->sockets[i].path != NULL;
		fds |= o->sockets[i].fd >= 0;
		for (unsigned j = 0; o->sockets[i].fd >= 0 && j <= i; j++)
			if (o->sockets[i].fd == (j < i ? o->sockets[j].fd : o->control_fd))
				return say_usage(o->desc, "descriptor %d is given twice",
						 o->sockets[i].fd);
	}
	if (paths && fds)
		return say_usage(o->desc, "--socket-path and inherited sockets exclude each other");
	if (!o->n_sockets && !o->control_path && o->control_fd < 0 && !o->config_path)
		return say_usage(
			o->desc,
			"nothing to serve: give --socket-path, --fd, --control or --config");
	return 0;
}

/* 0: go on.  Otherwise *ret_status is what to exit with. */
static bool parse_options(struct options *o, int argc, char **argv, int *ret_status)
{
	int opt;

	/* Management software asks before it knows which options there are. */
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--print-capabilities") == 0) {
			*ret_status = print_capabilities(o->desc);
			return false;
		}
	}
	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		switch (opt) {
		case OPT_PRINT_CAPABILITIES: /* abbreviated */
			*ret_status = print_capabilities(o->desc);
			return false;
		case OPT_VERSION:
			*ret_status = print_version(o->desc);
			return false;
		case OPT_HELP:
			*ret_status = print_help(o->desc);
			return false;
		case ':':
			*ret_status = say_usage(o->desc, "%s: needs an argument", argv[optind - 1]);
			return false;
		case '?':
			*ret_status = say_usage(o->desc, "%s: no such option, or ambiguous",
						argv[optind - 1]);
			return false;
		default:
			*ret_status = take_option(o, opt, optarg);
			if (*ret_status)
				return false;
		}
	}
	if (optind < argc) {
		*ret_status = say_usage(o->desc, "unexpected argument '%s'", argv[optind]);
		return false;
	}
	return true;
}

/* ---- configuration ---- */

/* All of an open file; *ret_text is never NULL. */
static int read_all(int fd, char **ret_text, size_t *ret_len)
{
	auto_free char *text = NULL;
	size_t size = 0, len = 0;
	ssize_t n = 1;

	while (n != 0) {
		if (len == size) {
			char *bigger = realloc(text, size += 65536);

			if (!bigger)
				return -ENOMEM;
			text = bigger;
		}
		n = read(fd, text + len, size - len);
		if (n < 0)
			return -errno;
		len += (size_t)n;
		if (len > CONFIG_SIZE_MAX)
			return -EFBIG;
	}
	*ret_text = text;
	*ret_len = len;
	text = NULL;
	return 0;
}

/* gcc's shape, so that editors jump there. */
static void log_parse_error(const char *path, const char *text, size_t at, const char *what)
{
	unsigned line = 1, column = 1;

	for (size_t i = 0; i < at; i++) {
		column = text[i] == '\n' ? 1 : column + 1;
		line += text[i] == '\n';
	}
	log_error(NULL, "%s:%u:%u: error: %s", path, line, column, what);
}

static int read_config(struct backend *b, const char *path)
{
	struct json_tokener *tok;
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *text = NULL;
	enum json_tokener_error error;
	size_t len = 0, at;
	int r = fd < 0 ? -errno : read_all(fd, &text, &len);

	if (r < 0 || !text) {
		log_error(NULL, "%s: %s", path, strerror(-r));
		return r;
	}
	tok = json_tokener_new();
	if (!tok)
		return -ENOMEM;
	json_tokener_set_flags(tok, control_json_flags() | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	b->config = json_tokener_parse_ex(tok, text, (int)len);
	error = json_tokener_get_error(tok);
	at = json_tokener_get_parse_end(tok);
	json_tokener_free(tok);
	b->config_path = path;
	if (error != json_tokener_success) {
		log_parse_error(path, text, min(at, len), json_tokener_error_desc(error));
		return -EINVAL;
	}
	at += strspn(text + at, " \t\r\n");
	if (at < len) {
		log_parse_error(path, text, at, "more than one value");
		return -EINVAL;
	}
	if (!json_object_is_type(b->config, json_type_object)) {
		log_parse_error(path, text, 0, "must be an object");
		return -EINVAL;
	}
	return 0;
}

struct process {
	struct backend b;
	struct options options;
	struct loop_source signals;
	int signal_fd;
	struct control_method *methods;
};

/* ---- socket activation ---- */

/* Whether the configuration names that path anywhere: it is a socket that something in it is to serve. */
static bool config_names(struct json_object *o, const char *path)
{
	if (json_object_is_type(o, json_type_string))
		return strcmp(json_object_get_string(o), path) == 0;
	if (json_object_is_type(o, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(o); i++)
			if (config_names(json_object_array_get_idx(o, i), path))
				return true;
	} else if (json_object_is_type(o, json_type_object)) {
		struct json_object_iter member;

		json_object_object_foreachC(o,
					    member) if (config_names(member.val, path)) return true;
	}
	return false;
}

/* Whether an inherited socket is one that this daemon was told to make. */
static bool is_told(const struct process *p, int fd)
{
	const struct options *o = &p->options;
	char path[LISTEN_PATH_MAX];

	if (!listen_path(fd, path))
		return false;
	if (o->control_path && strcmp(o->control_path, path) == 0)
		return true;
	for (unsigned i = 0; i < o->n_sockets; i++)
		if (o->sockets[i].path && strcmp(o->sockets[i].path, path) == 0)
			return true;
	return config_names(p->b.config, path);
}

/* The exit status: 0, go on. */
static int take_one(struct process *p, const struct listen_inherited *in)
{
	struct options *o = &p->options;
	int r;

	if (is_told(p, in->fd)) {
		r = listen_keep(in->fd);
		if (r < 0)
			log_error(NULL, "inherited socket %d: %s", in->fd, strerror(-r));
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	if (strcmp(in->name, "control") != 0)
		return add_socket(o, in->name, NULL, in->fd);
	if (o->control_path || o->control_fd >= 0)
		return say_usage(o->desc, "more than one control socket");
	o->control_fd = in->fd;
	return EXIT_SUCCESS;
}

/* Add what socket activation passed.  The exit status: 0, go on. */
static int take_inherited(struct process *p)
{
	struct listen_inherited inherited[LISTEN_INHERITED_MAX];
	int n = listen_inherited(inherited), status = EXIT_SUCCESS;

	if (n < 0) {
		log_error(NULL, "socket activation (LISTEN_FDS): %s", strerror(-n));
		return EXIT_FAILURE;
	}
	for (int i = 0; i < n && status == EXIT_SUCCESS; i++)
		status = take_one(p, &inherited[i]);
	return status;
}

/* ---- setting up ---- */

static int adopt(int fd, bool *ret_connected)
{
	enum listen_kind kind = LISTEN_KIND_LISTENING;
	int r = fd >= 0 ? listen_adopt(fd, &kind) : 0;

	if (r < 0)
		log_error(NULL, "descriptor %d is no Unix stream socket to serve on: %s", fd,
			  strerror(-r));
	else
		*ret_connected = kind == LISTEN_KIND_CONNECTED;
	return r;
}

/* Before anything else is opened: a number that is free now will be somebody's soon. */
static int adopt_sockets(struct options *o)
{
	int r = adopt(o->control_fd, &o->control_connected);

	for (unsigned i = 0; r == 0 && i < o->n_sockets; i++)
		r = adopt(o->sockets[i].fd, &o->sockets[i].connected);
	return r;
}

static void signal_event(struct loop_source *src, uint32_t events)
{
	struct process *p = container_of(src, struct process, signals);
	struct signalfd_siginfo info;

	if (read(p->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	log_info(NULL, "ending: %s", strsignal((int)info.ssi_signo));
	loop_stop(&p->b.loop);
}

static int watch_signals(struct process *p)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (p->signal_fd < 0)
		return -errno;
	return loop_add(&p->b.loop, &p->signals, p->signal_fd, EPOLLIN, signal_event);
}

/* ---- control ---- */

static int method_hello(struct control_call *call, struct json_object *params,
			struct json_object **ret_result)
{
	struct backend *b = control_context(call);
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "daemon", json_object_new_string(b->desc->name));
	json_object_object_add(o, "version", json_object_new_string(VHOST_LAB_VERSION));
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	*ret_result = o;
	return 0;
}

static int method_log_level(struct control_call *call, struct json_object *params,
			    struct json_object **ret_result)
{
	const char *name = "";
	enum log_level level;
	int r = control_string(call, params, "level", &name);

	if (r < 0)
		return r;
	if (log_level_parse(name, &level) < 0)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "level: no level \"%s\"",
				     name);
	log_set_level(level);
	return 0;
}

static int method_shutdown(struct control_call *call, struct json_object *params,
			   struct json_object **ret_result)
{
	struct backend *b = control_context(call);

	log_info(NULL, "ending: asked to on the control socket");
	loop_stop(&b->loop);
	return 0;
}

static const struct control_method common_methods[] = {
	{ "hello", method_hello, "" },
	{ "log.level", method_log_level, "level" },
	{ "shutdown", method_shutdown, "" },
};

static int serve_control(struct process *p)
{
	const struct backend_desc *desc = p->b.desc;
	unsigned n = (unsigned)array_size(common_methods) + desc->n_methods;
	bool connected = p->options.control_connected;
	int fd = p->options.control_fd, r = 0;

	p->methods = calloc(n, sizeof(*p->methods));
	if (!p->methods)
		return -ENOMEM;
	memcpy(p->methods, common_methods, sizeof(common_methods));
	for (unsigned i = 0; i < desc->n_methods; i++)
		p->methods[array_size(common_methods) + i] = desc->methods[i];
	if (p->options.control_path)
		r = listen_unix(p->options.control_path, 0600, &fd);
	if (r < 0 || fd < 0)
		return r;
	r = control_new(&p->b.loop, connected ? -1 : fd, p->methods, n, &p->b, &p->b.control);
	if (r == 0 && connected)
		r = control_attach(p->b.control, fd);
	return r;
}

/* ---- readiness ---- */

/* sd_notify(3)'s protocol: one datagram to the socket in $NOTIFY_SOCKET. */
static void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;
	auto_fd int fd = -1;

	if (!len || len >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, len);
	if (addr.sun_path[0] == '@') /* abstract */
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warning(NULL, "cannot tell readiness to %s: %m", path);
}

/* ---- the life of the process ---- */

/* Guests take a dozen descriptors each, their connections a thousand: take what we may have. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_warning(NULL, "number of descriptors: %s", strerror(errno));
}

static int set_up(struct process *p)
{
	int r = adopt_sockets(&p->options);

	if (r < 0)
		return r;
	raise_descriptor_limit();
	r = loop_init(&p->b.loop);
	if (r == 0)
		r = watch_signals(p);
	if (r == 0)
		r = mem_guard_install();
	if (r == 0)
		r = loop_guard(&p->b.loop);
	if (r < 0)
		log_error(NULL, "cannot set up: %s", strerror(-r));
	return r;
}

static int serve(struct process *p)
{
	struct backend *b = &p->b;
	bool served;
	int r = b->desc->start(b);

	json_object_put(b->config);
	b->config = NULL;
	if (r < 0)
		return r;
	r = serve_control(p);
	if (r < 0) {
		log_error(NULL, "control socket%s%s: %s", p->options.control_path ? " " : "",
			  p->options.control_path ? p->options.control_path : "", strerror(-r));
	} else {
		notify("READY=1\n");
		log_info(NULL, "%s %s serves", b->desc->name, VHOST_LAB_VERSION);
		r = loop_run(&b->loop);
		if (r == 0)
			r = b->status;
		notify("STOPPING=1\n");
	}
	b->desc->stop(b);
	served = b->control != NULL;
	control_free(b->control);
	if (served && p->options.control_path)
		listen_unlink(p->options.control_path);
	return r;
}

static int run(struct process *p)
{
	int r = set_up(p);

	if (r == 0)
		r = serve(p);
	loop_done(&p->b.loop);
	if (p->signal_fd >= 0)
		close(p->signal_fd);
	free(p->methods);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The exit status of a process whose options are read. */
static int begin(struct process *p)
{
	const char *config_path = p->options.config_path;
	int status;

	if (config_path && read_config(&p->b, config_path) < 0)
		return EXIT_FAILURE;
	status = take_inherited(p);
	if (status == EXIT_SUCCESS)
		status = check_options(&p->options);
	p->b.sockets = p->options.sockets;
	p->b.n_sockets = p->options.n_sockets;
	p->b.threads = p->options.threads;
	return status == EXIT_SUCCESS ? run(p) : status;
}

int backend_main(const struct backend_desc *desc, int argc, char **argv)
{
	struct process *p = calloc(1, sizeof(*p));
	int status = EXIT_SUCCESS;

	log_init();
	if (!p)
		return EXIT_FAILURE;
	p->options = (struct options){ .desc = desc, .control_fd = -1 };
	p->signal_fd = -1;
	p->b.desc = desc;
	if (parse_options(&p->options, argc, argv, &status))
		status = begin(p);
	json_object_put(p->b.config);
	free(p);
	return status;
}
