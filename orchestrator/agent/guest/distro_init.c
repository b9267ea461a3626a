/* SPDX-License-Identifier: MIT */
#include "agent/guest/distro_init.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/guest/loop.h"
#include "agent/guest/writefile.h"

#define NEW_ROOT "root" /* below the stage */
#define CARRIED  "/run/vhost-lab"
#define STEP_MS  10

enum { FD_PIPE = 3, FD_FIRST_OTHER };

/* --- the new root ----------------------------------------------------------------------------------------- */

struct stage {
	char dir[PATH_MAX];  /* MOUNT_STAGE/NAME: a tmpfs in this namespace */
	char over[PATH_MAX]; /* for an overlay */
	char root[PATH_MAX];
	char *text;
};

static int fail(struct stage *s, int err, const char *what)
{
	if (!s->text[0])
		snprintf(s->text, MOUNT_TEXT_MAX, "%s: %s", what, strerror(-err));
	return err;
}

/* ROOT + PATH, a directory that is made if it is not there.  Each component is one of ours, so that no link of the image leads out. */
static int make_inside(const struct stage *s, const char *path, char out[PATH_MAX])
{
	struct stat st;

	if ((size_t)snprintf(out, PATH_MAX, "%s%s", s->root, path) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (mkdir(out, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(out, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int mount_inside(struct stage *s, const char *path, const char *type, unsigned long flags,
			const char *data)
{
	char target[PATH_MAX];
	int r = make_inside(s, path, target);

	if (r == 0 && mount(type, target, type, flags, data) < 0)
		r = -errno;
	return r < 0 ? fail(s, r, path) : 0;
}

static int bind_inside(struct stage *s, const char *path)
{
	char target[PATH_MAX];
	int r = make_inside(s, path, target);

	if (r == 0 && mount(path, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		r = -errno;
	return r < 0 ? fail(s, r, path) : 0;
}

/* Files of the guest that the distribution is to see, carried over in its /run. */
static const char *const shared[] = { "resolv.conf", "hosts" };

static void carry(const struct stage *s, const char *name)
{
	char from[64], to[PATH_MAX];
	int fd;

	snprintf(from, sizeof(from), "/etc/%s", name);
	if (access(from, R_OK) < 0 ||
	    (size_t)snprintf(to, sizeof(to), "%s" CARRIED "/%s", s->root, name) >= sizeof(to))
		return;
	fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	close(fd);
	if (mount(from, to, NULL, MS_BIND, NULL) < 0)
		(void)unlink(to);
}

/* What belongs to a running system.  A kernel that gives no sysfs here has the guest's bound. */
static int furnish(struct stage *s)
{
	char carried[PATH_MAX];
	int r = mount_inside(s, "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);

	if (r == 0 &&
	    mount_inside(s, "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
		s->text[0] = '\0';
		r = bind_inside(s, "/sys");
	}
	if (r == 0)
		r = bind_inside(s, "/dev");
	if (r == 0)
		r = mount_inside(s, "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
	if (r == 0)
		r = make_inside(s, CARRIED, carried);
	if (r < 0)
		return fail(s, r, CARRIED);
	for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
		carry(s, shared[i]);
	return 0;
}

/* An initramfs cannot be pivoted away from: the new root is moved over it. */
static int enter_root(struct stage *s)
{
	if (chdir(s->root) < 0)
		return fail(s, -errno, s->root);
	if (syscall(SYS_pivot_root, ".", ".") == 0) {
		if (umount2(".", MNT_DETACH) < 0)
			return fail(s, -errno, "cannot leave the old root");
	} else if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) {
		return fail(s, -errno, "cannot change the root");
	}
	return chdir("/") < 0 ? fail(s, -errno, "/") : 0;
}

/* A link to a file that only a running resolver makes: make it, in this system's own /run. */
static void make_link_target(const char *path)
{
	char target[PATH_MAX], dir[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	char *slash;
	int fd;

	if (n <= 0)
		return;
	target[n] = '\0';
	if (target[0] == '/')
		snprintf(dir, sizeof(dir), "%s", target);
	else if ((size_t)snprintf(dir, sizeof(dir), "/etc/%s", target) >= sizeof(dir))
		return;
	slash = strrchr(dir, '/');
	*slash = '\0';
	if (dir[0] && writefile_dirs(dir) < 0)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0)
		close(fd);
}

/* In the new root, where every link leads to a place within it. */
static void show_shared(void)
{
	for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++) {
		char from[64], to[32];
		int fd;

		snprintf(from, sizeof(from), CARRIED "/%s", shared[i]);
		snprintf(to, sizeof(to), "/etc/%s", shared[i]);
		if (access(from, R_OK) < 0)
			continue;
		if (access(to, F_OK) < 0) {
			make_link_target(to);
			fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
			if (fd >= 0)
				close(fd);
		}
		(void)mount(from, to, NULL, MS_BIND, NULL);
	}
}

static int prepare(const char *name, const struct mount_plan *plan, struct stage *s)
{
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail(s, -errno, "cannot take the mounts for my own");
	snprintf(s->dir, sizeof(s->dir), MOUNT_STAGE "/%s", name);
	snprintf(s->over, sizeof(s->over), MOUNT_STAGE "/%s/over", name);
	snprintf(s->root, sizeof(s->root), MOUNT_STAGE "/%s/" NEW_ROOT, name);
	r = writefile_dirs(s->dir);
	if (r == 0 && mount("tmpfs", s->dir, "tmpfs", 0, "mode=0755") < 0)
		r = -errno;
	if (r < 0)
		return fail(s, r, s->dir);
	r = mount_carry_out(plan, s->root, s->over, s->text);
	if (r == 0)
		r = furnish(s);
	if (r == 0)
		r = enter_root(s);
	if (r < 0)
		return r;
	show_shared();
	return sethostname(name, strlen(name)) < 0 ? fail(s, -errno, "cannot set the host name") :
						     0;
}

/* --- waiting ---------------------------------------------------------------------------------------------- */

static void pause_ms(long ms)
{
	const struct timespec t = { 0, ms * 1000000 };

	(void)nanosleep(&t, NULL);
}

static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* Programs of EXEC are not our children, but are in our namespace: kill() sees them. */
static bool alone(void)
{
	return kill(-1, 0) < 0 && errno == ESRCH;
}

static void stop(void)
{
	uint64_t until = loop_now_ms() + DISTRO_GRACE_MS;

	kill(-1, SIGTERM);
	kill(-1, SIGCONT);
	for (reap(); !alone() && loop_now_ms() < until; reap())
		pause_ms(STEP_MS);
	kill(-1, SIGKILL);
}

/* As PID 1 we hear only signals that we ask for. */
static void stay(void)
{
	sigset_t wanted;
	int signal;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGCHLD);
	sigaddset(&wanted, SIGTERM);
	sigprocmask(SIG_SETMASK, &wanted, NULL);
	do {
		reap();
		signal = sigwaitinfo(&wanted, NULL);
	} while (signal != SIGTERM);
	stop();
}

static void default_signals(void)
{
	for (int i = 1; i < NSIG; i++)
		(void)signal(i, SIG_DFL);
}

void distro_init(const char *name, const struct mount_plan *plan, int pipe)
{
	struct distro_report report = { 0 };
	struct stage stage = { .text = report.text };
	char title[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(title, sizeof(title), "distro:%.8s", name);
	prctl(PR_SET_NAME, title);
	(void)setsid();
	default_signals();
	(void)umask(022);
	if (pipe != FD_PIPE && dup2(pipe, FD_PIPE) < 0)
		_exit(1);
	(void)syscall(SYS_close_range, FD_FIRST_OTHER, ~0U, 0);
	report.r = prepare(name, plan, &stage);
	if (write(FD_PIPE, &report, sizeof(report)) != sizeof(report) || report.r < 0)
		_exit(1);
	close(FD_PIPE);
	stay();
	_exit(0);
}
