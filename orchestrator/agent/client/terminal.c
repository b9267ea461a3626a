/* SPDX-License-Identifier: MIT */
#include "agent/client/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* What ends a process by default and can be caught.  SIGINT, SIGTERM and SIGHUP are the verb's, which ends by exit(). */
static const int ends[] = { SIGQUIT, SIGILL,  SIGABRT, SIGBUS,  SIGFPE,  SIGSEGV,
			    SIGSYS,  SIGALRM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ };

static int terminal_fd = -1;
static volatile sig_atomic_t is_raw;
static struct termios before, raw;

void terminal_restore(void)
{
	if (!is_raw)
		return;
	is_raw = 0;
	(void)tcsetattr(terminal_fd, TCSADRAIN, &before);
}

static void on_end(int sig)
{
	terminal_restore();
	/* The handler was taken away by SA_RESETHAND. */
	(void)raise(sig);
}

static void on_stop(int sig)
{
	int saved = errno;
	bool was_raw = is_raw;

	terminal_restore();
	(void)raise(SIGSTOP);
	if (was_raw && tcsetattr(terminal_fd, TCSADRAIN, &raw) == 0)
		is_raw = 1;
	errno = saved;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_end, .sa_flags = (int)SA_RESETHAND };
	struct sigaction old;

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		/* What somebody else catches (a sanitizer) is theirs. */
		if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(ends[i], &action, NULL);
	action.sa_handler = on_stop;
	action.sa_flags = SA_RESTART;
	(void)sigaction(SIGTSTP, &action, NULL);
}

bool terminal_raw(int fd)
{
	static bool prepared;

	if (is_raw)
		return true;
	if (!isatty(fd) || tcgetattr(fd, &before) < 0)
		return false;
	terminal_fd = fd;
	raw = before;
	cfmakeraw(&raw);
	if (!prepared) {
		prepared = true;
		catch_signals();
		(void)atexit(terminal_restore);
	}
	is_raw = 1;
	if (tcsetattr(fd, TCSADRAIN, &raw) == 0)
		return true;
	is_raw = 0;
	return false;
}

bool terminal_size(int fd, unsigned *ret_rows, unsigned *ret_cols)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
		return false;
	*ret_rows = size.ws_row;
	*ret_cols = size.ws_col;
	return true;
}

size_t terminal_escape(struct terminal_escape *e, const char *typed, size_t len, long long now_us)
{
	for (size_t i = 0; i < len; i++) {
		if (typed[i] != TERMINAL_ESCAPE) {
			e->n = 0;
			continue;
		}
		if (e->n == 0 || now_us - e->first_us > TERMINAL_ESCAPE_US) {
			e->first_us = now_us;
			e->n = 0;
		}
		if (++e->n == TERMINAL_ESCAPE_TIMES)
			return i;
	}
	return len;
}
