/* SPDX-License-Identifier: MIT */
#include "run/watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <glib-unix.h>

#include "err.h"

/* Between bind() and listen() a socket refuses: ask again soon, and then less and less often. */
#define REFUSED_FIRST_MS 1
#define REFUSED_MOST_MS  250

struct watch {
	int wd;
	char *name;     /* of interest in this directory; NULL: a watched file */
	unsigned round; /* the event batch that has already reached it */
	watch_fn *fn;
	void *data;
};

static int inotify_fd = -1;
static GPtrArray *watches; /* of struct watch; several may share a wd */
static unsigned current_round;

/* Each watch of 'wd' once.  From the start again after each callback, which may have changed the list. */
static void tell(int wd, const char *name)
{
	guint i = 0;

	current_round++;
	while (i < watches->len) {
		struct watch *w = watches->pdata[i++];

		if (w->wd != wd || w->round == current_round)
			continue;
		if (w->name && g_strcmp0(w->name, name) != 0)
			continue;
		w->round = current_round;
		w->fn(w->data);
		i = 0;
	}
}

static gboolean on_inotify(gint fd, GIOCondition condition, gpointer data)
{
	_Alignas(struct inotify_event) char buffer[4096];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
		for (char *p = buffer; p < buffer + n;) {
			const struct inotify_event *event = (const void *)p;

			tell(event->wd, event->len ? event->name : NULL);
			p += sizeof(*event) + event->len;
		}
	}
	return G_SOURCE_CONTINUE;
}

static struct watch *watch_path(const char *path, const char *name, uint32_t mask, watch_fn *fn,
				void *data, GError **error)
{
	struct watch *w;
	int wd;

	if (inotify_fd < 0) {
		inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
		if (inotify_fd < 0) {
			err_set_errno(error, ORCH_ERROR_FAILED, errno,
				      "inotify (see sysctl fs.inotify.max_user_instances)");
			return NULL;
		}
		watches = g_ptr_array_new();
		g_unix_fd_add(inotify_fd, G_IO_IN, on_inotify, NULL);
	}
	wd = inotify_add_watch(inotify_fd, path, mask | IN_MASK_ADD);
	if (wd < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot watch %s%s", path,
			      errno == ENOSPC ? " (see sysctl fs.inotify.max_user_watches)" : "");
		return NULL;
	}
	w = g_new0(struct watch, 1);
	w->wd = wd;
	w->name = g_strdup(name);
	w->round = current_round;
	w->fn = fn;
	w->data = data;
	g_ptr_array_add(watches, w);
	return w;
}

struct watch *watch_file(const char *path, watch_fn *fn, void *data, GError **error)
{
	return watch_path(path, NULL, IN_MODIFY, fn, data, error);
}

void watch_free(struct watch *w)
{
	bool shared = false;

	if (!w)
		return;
	g_ptr_array_remove_fast(watches, w);
	for (guint i = 0; i < watches->len; i++)
		shared |= ((struct watch *)watches->pdata[i])->wd == w->wd;
	if (!shared)
		(void)inotify_rm_watch(inotify_fd, w->wd); /* gone already if the file is */
	g_free(w->name);
	g_free(w);
}

int listen_now(const char *path, GError **error)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	g_assert(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path) + 1);
	(void)unlink(path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, SOMAXCONN) < 0) {
		err_set_errno(error, ORCH_ERROR_FAILED, errno, "cannot listen on %s", path);
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

int dial_now(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/x": the flags, 10000 for one that listens, are the fourth of
 * seven words; the rest is the path. */
static bool listens_at(const char *line, const char *path)
{
	g_auto(GStrv) words = NULL;
	const char *at = strchr(line, '/');

	if (!at || strcmp(at, path) != 0)
		return false;
	words = g_strsplit(line, " ", 5);
	return g_strv_length(words) == 5 && g_ascii_strtoull(words[3], NULL, 16) & 0x10000;
}

bool listened_at(const char *path)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (!g_file_get_contents("/proc/net/unix", &text, NULL, NULL))
		return false;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++)
		if (listens_at(*line, path))
			return true;
	return false;
}

struct dial {
	char *path;
	struct watch *directory;
	guint timer;
	guint delay_ms;
	gboolean done;
	dial_fn *fn;
	void *data;
};

static void try_now(void *p);

static gboolean timer_due(gpointer p)
{
	struct dial *d = p;

	d->timer = 0;
	try_now(d);
	return G_SOURCE_REMOVE;
}

static void try_again_in(struct dial *d, guint ms)
{
	if (d->timer)
		g_source_remove(d->timer);
	d->timer = g_timeout_add(ms, timer_due, d);
}

static void try_now(void *p)
{
	struct dial *d = p;
	g_autoptr(GError) error = NULL;
	int fd;

	if (d->done)
		return;
	fd = dial_now(d->path);
	if (fd == -ENOENT && d->directory)
		return; /* the directory's watch will tell */
	/* Refused: not listening yet.  EAGAIN: its backlog is full. */
	if (fd == -ECONNREFUSED || fd == -EAGAIN || fd == -ENOENT) {
		try_again_in(d, d->delay_ms);
		d->delay_ms = MIN(d->delay_ms * 2, REFUSED_MOST_MS);
		return;
	}
	if (fd < 0)
		err_set_errno(&error, ORCH_ERROR_FAILED, -fd, "cannot connect to %s", d->path);
	d->done = TRUE;
	d->fn(fd < 0 ? -1 : fd, error, d->data);
}

struct dial *dial_new(const char *path, dial_fn *fn, void *data)
{
	g_autofree char *directory = g_path_get_dirname(path);
	g_autofree char *name = g_path_get_basename(path);
	struct dial *d = g_new0(struct dial, 1);

	d->path = g_strdup(path);
	d->delay_ms = REFUSED_FIRST_MS;
	d->fn = fn;
	d->data = data;
	/* Without inotify left it still works, only by asking. */
	d->directory = watch_path(directory, name, IN_CREATE | IN_MOVED_TO, try_now, d, NULL);
	if (!d->directory)
		d->delay_ms = REFUSED_MOST_MS / 10;
	try_again_in(d, 0);
	return d;
}

void dial_free(struct dial *d)
{
	if (!d)
		return;
	watch_free(d->directory);
	if (d->timer)
		g_source_remove(d->timer);
	g_free(d->path);
	g_free(d);
}
