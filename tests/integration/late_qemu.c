/* SPDX-License-Identifier: MIT */
/* To be loaded into a QEMU before its own libraries: a busy host's QEMU.
 *
 * LATE_IDLE_MS: what it wants to do when it is idle it does so much later.  A chardev that has connected again waits for that.
 * LATE_MONITOR_MS: the monitors' thread takes over its listeners so much later, and the main thread is twice as slow to accept: who
 * calls at a QEMU's start is seen by both. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib.h>

static unsigned late_ms(const char *variable)
{
	const char *text = getenv(variable);

	return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

static bool is_main_thread(void)
{
	return gettid() == getpid();
}

GSource *g_idle_source_new(void)
{
	return g_timeout_source_new(late_ms("LATE_IDLE_MS"));
}

void g_source_destroy(GSource *source)
{
	void (*real)(GSource *) = (void (*)(GSource *))dlsym(RTLD_NEXT, "g_source_destroy");

	if (!is_main_thread())
		g_usleep(late_ms("LATE_MONITOR_MS") * 1000UL);
	real(source);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	int (*real)(int, struct sockaddr *, socklen_t *, int) =
		(int (*)(int, struct sockaddr *, socklen_t *, int))dlsym(RTLD_NEXT, "accept4");

	if (is_main_thread())
		g_usleep(late_ms("LATE_MONITOR_MS") * 2000UL);
	return real(fd, addr, len, flags);
}
