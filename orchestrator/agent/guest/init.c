/* SPDX-License-Identifier: MIT */
#include "agent/guest/init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include <linux/input.h>

#include "agent/guest/agent.h"
#include "agent/guest/child.h"
#include "agent/guest/filesystems.h"
#include "agent/guest/guestconf.h"
#include "agent/guest/modules.h"
#include "agent/guest/netif.h"
#include "agent/guest/shutdown.h"
#include "agent/guest/spawn.h"
#include "agent/guest/writefile.h"

#define CONSOLE     "/dev/ttyS0"
#define HOST_LINE   "/dev/ttyS1"
#define READY_MARK  "ready 1\n" /* the console's first shell says it: see image/guest/profile */
#define SHORT_LIFE  1000        /* ms: a shell that lived no longer is not started again at once */
#define BUTTONS_MAX 8

static struct {
	struct agent *agent;
	struct child shell;
	struct loop_timer again;
	uint64_t born_ms;
	struct loop_source buttons[BUTTONS_MAX];
	unsigned n_buttons;
} init;

/* --- boot -------------------------------------------------------------------------------------------------- */

/* The host's line.  Raw, so that what is written comes out as it is; it stays open, so that it stays raw. */
static void open_host_line(void)
{
	int fd = open(HOST_LINE, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios mode;

	if (fd < 0 || tcgetattr(fd, &mode))
		return;
	cfmakeraw(&mode);
	(void)tcsetattr(fd, TCSANOW, &mode);
	for (unsigned i = 0; i < init.agent->n_troubles; i++)
		dprintf(fd, "error %s\n", init.agent->troubles[i]);
}

static void mark_ready(void)
{
	if (!init.agent->n_troubles)
		(void)writefile("/run/ready", READY_MARK, strlen(READY_MARK), 0644, (uid_t)-1,
				(gid_t)-1);
}

void init_boot(struct agent *agent)
{
	init.agent = agent;
	agent->init = true;
	agent->capabilities |= 1U << AGENT_CAPABILITY_INIT;
	(void)reboot(RB_DISABLE_CAD);
	filesystems_mount(agent);
	modules_boot(agent);
	guestconf_apply(agent);
	open_host_line();
	mark_ready();
}

/* --- the console's shell ----------------------------------------------------------------------------------- */

static void start_shell(struct loop_timer *timer);

static void shell_ended(struct child *child, int status)
{
	uint64_t age = loop_now_ms() - init.born_ms;

	if (!init.agent->closing)
		loop_timer_start(&init.agent->loop, &init.again, age < SHORT_LIFE ? SHORT_LIFE : 0,
				 start_shell);
}

/* Whatever the last program did to it. */
static void make_sane(int fd)
{
	struct termios mode;

	if (tcgetattr(fd, &mode))
		return;
	mode.c_iflag = ICRNL | IXON;
	mode.c_oflag = OPOST | ONLCR;
	mode.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
	mode.c_cflag |= CREAD | HUPCL | CLOCAL;
	(void)tcsetattr(fd, TCSANOW, &mode);
}

static void start_shell(struct loop_timer *timer)
{
	static char *const argv[] = { "-sh", NULL };
	static char *const env[] = { "PATH=/bin",     "HOME=/root", "USER=root",
				     "SHELL=/bin/sh", "TERM=vt102", NULL };
	int fd = open(CONSOLE, O_RDWR | O_NOCTTY | O_CLOEXEC);
	const struct spawn s = {
		.program = "/bin/sh", .argv = argv, .env = env, .fds = { fd, fd, fd }, .tty = true
	};
	pid_t pid;

	if (fd < 0)
		return;
	make_sane(fd);
	init.born_ms = loop_now_ms();
	pid = spawn(&s, NULL);
	close(fd);
	if (pid > 0)
		child_watch(init.agent, &init.shell, pid, shell_ended);
	else
		agent_trouble(init.agent, "%s: %s", s.program, strerror(-pid));
}

/* --- the power button -------------------------------------------------------------------------------------- */

static void pressed(struct loop_source *source, uint32_t events)
{
	struct input_event event[16];
	ssize_t n = read(source->fd, event, sizeof(event));

	if (n <= 0 && errno != EAGAIN) {
		loop_remove(&init.agent->loop, source);
		close(source->fd);
	}
	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(event[0]); i++) {
		if (event[i].type == EV_KEY && event[i].code == KEY_POWER && event[i].value == 1)
			(void)shutdown_start(init.agent, SHUTDOWN_POWEROFF, SHUTDOWN_GRACE_MS,
					     "button");
	}
}

static void watch_buttons(void)
{
	DIR *dir = opendir("/dev/input");
	struct dirent *entry;

	while (dir && init.n_buttons < BUTTONS_MAX && (entry = readdir(dir))) {
		struct loop_source *source = &init.buttons[init.n_buttons];
		int fd = strncmp(entry->d_name, "event", 5) == 0 ?
				 openat(dirfd(dir), entry->d_name,
					O_RDONLY | O_NONBLOCK | O_CLOEXEC) :
				 -1;

		if (fd >= 0 && loop_add(&init.agent->loop, source, fd, EPOLLIN, pressed) == 0)
			init.n_buttons++;
		else if (fd >= 0)
			close(fd);
	}
	if (dir)
		closedir(dir);
}

void init_serve(struct agent *agent)
{
	start_shell(&init.again);
	watch_buttons();
}
