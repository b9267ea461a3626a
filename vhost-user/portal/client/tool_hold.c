/* SPDX-License-Identifier: MIT */
#include "tool_hold.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "clock.h"
#include "tool.h"

int tool_hold_prepare(void)
{
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int ms_left(uint64_t deadline_ns)
{
	uint64_t now = clock_ns(), ms;

	if (deadline_ns == PORTAL_FOREVER)
		return -1;
	ms = deadline_ns > now ? (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

int tool_hold_once(struct portal *p, int signals, uint64_t deadline_ns)
{
	struct pollfd fds[2] = { { .fd = signals, .events = POLLIN },
				 { .fd = portal_fd(p), .events = POLLIN } };
	int r, n = poll(fds, 2, ms_left(deadline_ns));

	if (n < 0 && errno != EINTR)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	if (n > 0 && fds[0].revents)
		return 1;
	r = portal_dispatch(p);
	if (r < 0)
		return r;
	(void)portal_quiesce_point(p); /* nothing of ours is half done */
	return 0;
}

int tool_hold(struct portal *p, int signals, uint64_t away_ns)
{
	uint64_t deadline_ns = PORTAL_FOREVER;

	for (;;) {
		int r = tool_hold_once(p, signals, deadline_ns);

		if (r == 0)
			deadline_ns = PORTAL_FOREVER;
		else if (r != -ENOTCONN)
			return r == 1 ? 0 : r == -ETIMEDOUT ? -ENOTCONN : r;
		else if (deadline_ns == PORTAL_FOREVER)
			deadline_ns = tool_deadline(away_ns);
	}
}
