/* SPDX-License-Identifier: MIT */
/* The agent in the guest: doc/agent.md, vhost-lab-agent(8). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/child.h"
#include "agent/guest/init.h"
#include "agent/guest/link.h"
#include "agent/guest/shutdown.h"

static const char usage[] =
	"usage: vhost-lab-agent [--listen ADDRESS] [--connect ADDRESS] [--port PORT]\n"
	"  ADDRESS: vsock, vsock:PORT, unix:PATH or none; vsock if not given\n"
	"  --port PORT   of a plain \"vsock\": 50000 if not given\n"
	"  --version, --help\n"
	"As PID 1 it starts the tiny guest.\n";

static struct agent agent;
static struct loop_source signals;

struct options {
	const char *listen, *connect;
	uint32_t port;
};

static int bad_usage(void)
{
	fputs(usage, stderr);
	return 2;
}

/* -1: go on; else the exit code. */
static int parse_port(const char *text, uint32_t *ret_port)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (*text < '1' || *text > '9' || *end || port >= UINT32_MAX)
		return bad_usage();
	*ret_port = (uint32_t)port;
	return -1;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "connect", required_argument, NULL, 'c' },
		{ "port", required_argument, NULL, 'p' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int c, code = -1;

	while (code < 0 && (c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'l')
			o->listen = optarg;
		else if (c == 'c')
			o->connect = optarg;
		else if (c == 'p')
			code = parse_port(optarg, &o->port);
		else if (c == 'V' || c == 'h')
			code = fputs(c == 'h' ? usage : "vhost-lab-agent " VHOST_LAB_VERSION "\n",
				     stdout) < 0;
		else
			code = bad_usage();
	}
	return code < 0 && optind < argc ? bad_usage() : code;
}

/* --- signals ----------------------------------------------------------------------------------------------- */

/* As PID 1: the signals by which busybox' poweroff, halt and reboot speak to init, and Ctrl-Alt-Del.  Else TERM and INT end the agent. */
static void take_signal(int signal)
{
	if (signal == SIGCHLD) {
		children_reap(&agent);
		shutdown_check(&agent);
	} else if (!agent.init) {
		agent.loop.quit |= signal == SIGTERM || signal == SIGINT;
	} else if (signal == SIGTERM || signal == SIGINT) {
		(void)shutdown_start(&agent, SHUTDOWN_REBOOT, SHUTDOWN_GRACE_MS, "guest");
	} else {
		(void)shutdown_start(&agent, SHUTDOWN_POWEROFF, SHUTDOWN_GRACE_MS, "guest");
	}
}

static void on_signal(struct loop_source *source, uint32_t events)
{
	struct signalfd_siginfo info[8];
	ssize_t n = read(source->fd, info, sizeof(info));

	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(info[0]); i++)
		take_signal((int)info[i].ssi_signo);
}

/* Dispositions are inherited: a program started here finds them as usual, but for SIGPIPE, which spawn() sets right. */
static int watch_signals(void)
{
	static const int ours[] = { SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2 };
	sigset_t set;
	int fd;

	for (int s = 1; s < 32; s++)
		(void)signal(s, SIG_DFL);
	(void)signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		sigaddset(&set, ours[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	return loop_add(&agent.loop, &signals, fd, EPOLLIN, on_signal);
}

/* --- the process ------------------------------------------------------------------------------------------- */

/* No descriptor of ours may be one of the standard ones: they are what programs get. */
static void hold_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 3);
	if (fd >= 3)
		close(fd);
}

/* Every connection is a descriptor.  Programs get the usual limit back?  They keep the hard one, as under any init. */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 4096) {
		files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int run(const struct options *o)
{
	int err = agent_init(&agent);

	if (!err)
		err = watch_signals();
	if (err) {
		fprintf(stderr, "vhost-lab-agent: %s\n", strerror(-err));
		return 1;
	}
	if (transport_parse(o->listen, o->port, &agent.door) ||
	    transport_parse(o->connect, o->port, &agent.host))
		return bad_usage();
	raise_limits();
	umask(022);
	if (getpid() == 1)
		init_boot(&agent);
	link_start(&agent);
	if (agent.init)
		init_serve(&agent);
	loop_run(&agent.loop);
	agent_done(&agent);
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = { .listen = "vsock", .connect = "vsock", .port = AGENT_PORT };
	/* The kernel hands PID 1 words of its command line that it does not know itself. */
	int code = getpid() == 1 ? -1 : parse_options(argc, argv, &o);

	if (code >= 0)
		return code;
	hold_standard_fds();
	return run(&o);
}
