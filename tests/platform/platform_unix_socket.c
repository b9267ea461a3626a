/* SPDX-License-Identifier: MIT */
/* Unix stream sockets: vhost-user/lib/listen.c and control.c.
 *
 * connect() to a socket file whose listener is gone says ECONNREFUSED, and to a full backlog EAGAIN (never
 * ECONNREFUSED), so that stale and alive can be told apart.  fchmod() before bind() is the mode the file is made
 * with.  What was sent before close() can be read after it, even if the closing side left input unread.  A
 * directory can be locked with flock(). */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "expect.h"

static char dir[] = "/tmp/platform_unix_XXXXXX";
static struct sockaddr_un addr = { .sun_family = AF_UNIX };

static int make_listener(int backlog)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	EXPECT(fchmod(fd, 0600) == 0);
	EXPECT(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	EXPECT(listen(fd, backlog) == 0);
	return fd;
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void mode_is_the_sockets_own(void)
{
	mode_t old = umask(0);
	int fd = make_listener(1);
	struct stat st;

	umask(old);
	EXPECT(stat(addr.sun_path, &st) == 0);
	EXPECT((st.st_mode & 07777) == 0600);
	close(fd);
	unlink(addr.sun_path);
}

static void stale_and_busy_differ(void)
{
	int fd = make_listener(0), peer[16], n = 0;

	while (n < 16 && (peer[n] = dial()) >= 0)
		n++;
	EXPECT(n > 0 && n < 16 && errno == EAGAIN);
	while (n-- > 0)
		close(peer[n]);
	close(fd);
	EXPECT(dial() == -1 && errno == ECONNREFUSED);
	unlink(addr.sun_path);
	EXPECT(dial() == -1 && errno == ENOENT);
}

/* Why the file's type is looked at first. */
static void ordinary_files_refuse_too(void)
{
	int fd = open(addr.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	EXPECT(fd >= 0);
	EXPECT(dial() == -1 && errno == ECONNREFUSED);
	close(fd);
	unlink(addr.sun_path);
}

static void last_words_are_heard(void)
{
	int pair[2];
	char text[8];

	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	EXPECT(send(pair[1], "unread", 6, 0) == 6);
	EXPECT(send(pair[0], "bye", 3, 0) == 3);
	close(pair[0]);
	EXPECT(recv(pair[1], text, sizeof(text), 0) == 3);
	close(pair[1]);
}

static void peer_credentials_are_those_of_connect(void)
{
	int fd = make_listener(1), peer = dial(), conn = accept(fd, NULL, NULL);
	struct ucred cred;
	socklen_t len = sizeof(cred);

	EXPECT(getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0);
	EXPECT(cred.uid == geteuid() && cred.pid == getpid());
	close(conn);
	close(peer);
	close(fd);
	unlink(addr.sun_path);
}

static void directories_can_be_locked(void)
{
	int a = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int b = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	EXPECT(flock(a, LOCK_EX) == 0);
	EXPECT(flock(b, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
	close(a);
	EXPECT(flock(b, LOCK_EX | LOCK_NB) == 0);
	close(b);
}

int main(void)
{
	EXPECT(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	mode_is_the_sockets_own();
	stale_and_busy_differ();
	ordinary_files_refuse_too();
	last_words_are_heard();
	peer_credentials_are_those_of_connect();
	directories_can_be_locked();
	EXPECT(rmdir(dir) == 0);
	return 0;
}
