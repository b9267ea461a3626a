/* SPDX-License-Identifier: MIT */
#include "agent/guest/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TTY_GROUP 5 /* of every distribution */

int tty_size_read(struct json object, struct tty_size *ret_size)
{
	int64_t rows, cols;

	if (json_int(json_get(object, "rows"), 1, UINT16_MAX, &rows) ||
	    json_int(json_get(object, "cols"), 1, UINT16_MAX, &cols))
		return -EINVAL;
	*ret_size = (struct tty_size){ .rows = (uint16_t)rows, .cols = (uint16_t)cols };
	return 0;
}

void tty_resize(int master, const struct tty_size *size)
{
	const struct winsize winsize = { .ws_row = size->rows, .ws_col = size->cols };

	(void)ioctl(master, TIOCSWINSZ, &winsize);
}

/* TIOCGPTPEER: by the master itself, whatever is mounted on /dev/pts here. */
static int open_slave(int master, uid_t owner)
{
	int unlock = 0, slave;

	if (ioctl(master, TIOCSPTLCK, &unlock))
		return -errno;
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	if (geteuid() == 0 && (fchown(slave, owner, TTY_GROUP) || fchmod(slave, 0620))) {
		int err = -errno;

		close(slave);
		return err;
	}
	return slave;
}

int tty_open(const struct tty_size *size, uid_t owner, int *ret_master)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	int slave;

	if (master < 0)
		return -errno;
	slave = open_slave(master, owner);
	if (slave < 0) {
		close(master);
		return slave;
	}
	tty_resize(master, size);
	*ret_master = master;
	return slave;
}
