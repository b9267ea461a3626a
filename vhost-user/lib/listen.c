/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"

/* Connections waiting to be accepted.  A port accepts one at a time; a burst of control clients
 * fits. */
#define BACKLOG 16

static int set_path(struct sockaddr_un *addr, const char *path)
{
	size_t len = strlen(path);

	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(addr->sun_path, path, len);
	return 0;
}

/* The directory of path, locked against other daemons until it is closed. */
static int lock_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)] = ".";
	int fd;

	if (slash) {
		size_t len = max((size_t)(slash - path), (size_t)1); /* "/x" lies in "/" */

		memcpy(dir, path, len);
		dir[len] = '\0';
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* A file system without locks is no reason to refuse; only the race is back. */
	while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
		;
	return fd;
}

/* 0: what lies at path is a socket nobody listens on. */
static int check_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	auto_fd int fd = -1;

	/* connect() refuses any other kind of file just as it refuses a stale socket. */
	if (lstat(addr->sun_path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return -EADDRINUSE;
	/* EAGAIN is a full backlog, EPROTOTYPE a datagram socket, EACCES somebody else's: alive,
	 * or not ours to judge. */
	return errno == ECONNREFUSED ? 0 : -EADDRINUSE;
}

static int bind_fresh(int fd, const struct sockaddr_un *addr)
{
	int r;

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	r = check_stale(addr);
	if (r < 0)
		return r;
	if (unlink(addr->sun_path) < 0)
		return -errno;
	return bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
}

/* ---- listeners that are kept ---- */

static struct kept {
	int fd;
	char path[LISTEN_PATH_MAX];
} * kept;
static unsigned n_kept;

bool listen_path(int fd, char ret_path[LISTEN_PATH_MAX])
{
	struct sockaddr_un addr = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(addr), size = sizeof(int);
	int listening = 0;

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 || addr.sun_family != AF_UNIX ||
	    len <= offsetof(struct sockaddr_un, sun_path) || addr.sun_path[0] == '\0' ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 || !listening)
		return false;
	len = min(len - (socklen_t)offsetof(struct sockaddr_un, sun_path),
		  (socklen_t)sizeof(addr.sun_path));
	memcpy(ret_path, addr.sun_path, len); /* need not end in a NUL there */
	ret_path[len] = '\0';
	return true;
}

int listen_keep(int fd)
{
	char path[LISTEN_PATH_MAX];
	struct kept *more;

	if (!listen_path(fd, path))
		return -EINVAL;
	if (n_kept == LISTEN_INHERITED_MAX)
		return -E2BIG;
	more = realloc(kept, (n_kept + 1) * sizeof(*kept));
	if (!more)
		return -ENOMEM;
	kept = more;
	kept[n_kept].fd = fd;
	memcpy(kept[n_kept++].path, path, sizeof(path));
	return 0;
}

static const struct kept *find_kept(const char *path)
{
	for (unsigned i = 0; i < n_kept; i++)
		if (strcmp(kept[i].path, path) == 0)
			return &kept[i];
	return NULL;
}

static int take_kept(const struct kept *k, int type, int *ret_fd)
{
	auto_fd int fd = fcntl(k->fd, F_DUPFD_CLOEXEC, 3);
	int has, flags = fcntl(k->fd, F_GETFL);
	socklen_t len = sizeof(has);

	if (fd < 0 || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &has, &len) < 0)
		return -errno;
	if (has != type)
		return -EPROTOTYPE;
	*ret_fd = fd_take(&fd);
	return 0;
}

/* ---- listeners of our own ---- */

int listen_unix(const char *path, mode_t mode, int *ret_fd)
{
	return listen_unix_type(path, mode, SOCK_STREAM, BACKLOG, ret_fd);
}

int listen_unix_type(const char *path, mode_t mode, int type, int backlog, int *ret_fd)
{
	const struct kept *k = find_kept(path);
	struct sockaddr_un addr;
	auto_fd int dir = -1, fd = -1;
	int r = set_path(&addr, path);

	if (r < 0)
		return r;
	if (k)
		return take_kept(k, type, ret_fd);
	dir = lock_directory(path);
	if (dir < 0)
		return dir;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The socket's own mode is the one its file is made with: no moment in which it is wider. */
	if (fd < 0 || fchmod(fd, mode) < 0)
		return -errno;
	r = bind_fresh(fd, &addr);
	if (r < 0)
		return r;
	if (listen(fd, backlog) < 0) {
		r = -errno;
		(void)unlink(path);
		return r;
	}
	*ret_fd = fd_take(&fd);
	return 0;
}

int listen_tcp(const struct sockaddr *addr, socklen_t len, int backlog, int *ret_fd)
{
	auto_fd int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int one = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (addr->sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(fd, addr, len) < 0 || listen(fd, backlog) < 0)
		return -errno;
	*ret_fd = fd_take(&fd);
	return 0;
}

void listen_unlink(const char *path)
{
	struct sockaddr_un addr;
	auto_fd int dir = -1;

	/* Not even a look: to connect to it is to have its maker start a daemon. */
	if (set_path(&addr, path) < 0 || find_kept(path))
		return;
	dir = lock_directory(path);
	if (dir >= 0 && check_stale(&addr) == 0)
		(void)unlink(path);
}

int listen_adopt(int fd, enum listen_kind *ret_kind)
{
	int domain, type, listening, flags = fcntl(fd, F_GETFL);
	socklen_t len = sizeof(int);

	if (flags < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return -errno;
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return -EPROTOTYPE;
	if (!listening) {
		struct sockaddr_un peer;

		len = sizeof(peer);
		if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
			return -errno;
	}
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	*ret_kind = listening ? LISTEN_KIND_LISTENING : LISTEN_KIND_CONNECTED;
	return 0;
}

int listen_accept(int listen_fd, int *ret_fd)
{
	static int reserve = -1;
	int fd, r;

	if (reserve < 0)
		reserve = eventfd(0, EFD_CLOEXEC);
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	if (errno == EMFILE && reserve >= 0) {
		/* The kernel looks for a descriptor first: perhaps there is no connection. */
		fd_drop(&reserve);
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		r = fd >= 0 ? -EMFILE : -EAGAIN;
		fd_drop(&fd);
		reserve = eventfd(0, EFD_CLOEXEC);
		return r;
	}
	/* Gone between the kernel's word and ours. */
	return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
}

int listen_check_peer(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	return peer.uid == geteuid() || peer.uid == 0 ? 0 : -EPERM;
}

/* A decimal number and nothing else. */
static int parse_number(const char *s, unsigned long *ret)
{
	char *end;
	unsigned long n;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*ret = n;
	return 0;
}

/* Copy the next of names separated by colons, as much of it as fits; the place behind it. */
static const char *next_name(const char *names, char *ret_name)
{
	size_t len = names ? strcspn(names, ":") : 0;
	size_t copied = min(len, (size_t)LISTEN_NAME_MAX - 1);

	if (names)
		memcpy(ret_name, names, copied);
	ret_name[copied] = '\0';
	return names && names[len] == ':' ? names + len + 1 : NULL;
}

/* What the variables say, before any descriptor is looked at. */
static int read_environment(struct listen_inherited *ret)
{
	const char *pid_text = getenv("LISTEN_PID"), *n_text = getenv("LISTEN_FDS");
	const char *names = getenv("LISTEN_FDNAMES");
	unsigned long pid, n;

	if (!pid_text || !n_text)
		return 0;
	if (parse_number(pid_text, &pid) < 0 || parse_number(n_text, &n) < 0)
		return -EINVAL;
	if (pid != (unsigned long)getpid())
		return 0; /* meant for a parent that did not clean up */
	if (n > LISTEN_INHERITED_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < n; i++) {
		ret[i].fd = 3 + (int)i; /* SD_LISTEN_FDS_START */
		names = next_name(names, ret[i].name);
	}
	return (int)n;
}

int listen_inherited(struct listen_inherited ret[LISTEN_INHERITED_MAX])
{
	int n = read_environment(ret);

	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	for (int i = 0; i < n; i++)
		if (fcntl(ret[i].fd, F_SETFD, FD_CLOEXEC) < 0)
			return -EINVAL; /* it names what is not there */
	return n;
}
