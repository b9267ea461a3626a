/* SPDX-License-Identifier: MIT */
/* SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE.
 *
 * What the device says of itself goes through a pipe of the frontend's, behind a head that tells what it is.  The pipe is
 * a source of the loop, so that nobody waits for who is at its other end; CHECK_DEVICE_STATE comes when that one is done,
 * and then all is said, or it has failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "le.h"
#include "log.h"
#include "session_impl.h"

#define STATE_MAGIC   0x74732d75u /* "u-st" */
#define STATE_VERSION 1u

struct state_head {
	le32_t magic;
	le32_t version; /* of this head; the device's bytes have their own */
	char device[8]; /* ops->name, filled with zeros */
	le32_t size;    /* of what follows */
};
static_assert(sizeof(struct state_head) == 20, "read by other versions");

static void head_fill(struct state_head *head, const struct vu_session *s, size_t size)
{
	memset(head, 0, sizeof(*head));
	head->magic = le32_of(STATE_MAGIC);
	head->version = le32_of(STATE_VERSION);
	memcpy(head->device, s->ops->name, strnlen(s->ops->name, sizeof(head->device)));
	head->size = le32_of((uint32_t)size);
}

/* The name of a pipe is the kernel's, as is that of an eventfd. */
static bool is_pipe(int fd)
{
	static const char prefix[] = "pipe:[";
	char link[32], text[sizeof(prefix)];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, text, sizeof(text)) == sizeof(text) &&
	       memcmp(text, prefix, sizeof(prefix) - 1) == 0;
}

void session_transfer_done(struct vu_session *s)
{
	struct session_transfer *t = &s->transfer;

	if (t->fd < 0)
		return;
	loop_del(&t->source);
	fd_drop(&t->fd);
	free(t->buf);
	t->buf = NULL;
}

static void finish(struct vu_session *s, int result)
{
	session_transfer_done(s);
	s->transfer.result = result;
	if (result < 0)
		log_limited(s->log, LOG_LEVEL_WARNING, s->tag, "device state: %s",
			    strerror(-result));
}

/* All of it has come. */
static int load(struct vu_session *s)
{
	const struct session_transfer *t = &s->transfer;
	const size_t head_size = sizeof(struct state_head);
	struct state_head head;

	if (t->done < head_size)
		return -EINVAL;
	head_fill(&head, s, t->done - head_size);
	if (memcmp(t->buf, &head, head_size) != 0)
		return -EINVAL;
	if (s->n_started)
		return -EBUSY;
	return s->ops->load_state(s, t->buf + head_size, t->done - head_size);
}

/* Read or write what can be.  It ends here, or goes on when the pipe is ready. */
static void pump(struct vu_session *s)
{
	struct session_transfer *t = &s->transfer;

	while (t->done < t->size) {
		size_t left = t->size - t->done;
		ssize_t n = t->saving ? write(t->fd, t->buf + t->done, left) :
					read(t->fd, t->buf + t->done, left);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR) {
			s->blocked = true; /* it was made blocking: see vq_call() */
			return;
		}
		if (n <= 0) {
			finish(s, n < 0 ? -errno : load(s));
			return;
		}
		t->done += (size_t)n;
	}
	finish(s, t->saving ? 0 : -EFBIG);
}

static void on_pipe(struct loop_source *src, uint32_t events)
{
	struct vu_session *s = container_of(src, struct vu_session, transfer.source);

	pump(s);
	(void)vu_session_check(s);
}

/* Take the device's state before anything is promised. */
static int fill(struct vu_session *s, struct session_transfer *t)
{
	const size_t head_size = sizeof(struct state_head);
	int n;

	t->size = head_size + VU_STATE_MAX + 1; /* room for one byte too many, so that it is seen */
	t->buf = malloc(t->size);
	if (!t->buf)
		return -ENOMEM;
	if (!t->saving)
		return 0;
	n = s->ops->save_state(s, t->buf + head_size, VU_STATE_MAX);
	if (n < 0)
		return n;
	head_fill((struct state_head *)t->buf, s, (size_t)n);
	t->size = head_size + (size_t)n;
	return 0;
}

static int begin(struct vu_session *s, int fd, bool saving)
{
	struct session_transfer *t = &s->transfer;
	int r;

	*t = (struct session_transfer){ .fd = fd, .saving = saving, .result = -EINPROGRESS };
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	r = fill(s, t);
	if (r == 0)
		r = loop_add(s->loop, &t->source, fd, saving ? EPOLLOUT : EPOLLIN, on_pipe);
	if (r < 0) {
		free(t->buf);
		t->buf = NULL;
		fd_drop(&t->fd);
	}
	return r;
}

int session_set_device_state_fd(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	const struct proto_device_state *ask = &msg->payload.device_state;
	auto_fd int fd = msg_take_fd(msg, 0);

	if (ask->direction > VU_STATE_LOAD || ask->phase != VU_STATE_STOPPED || !is_pipe(fd))
		return -EINVAL;
	session_transfer_done(s);
	return begin(s, fd_take(&fd), ask->direction == VU_STATE_SAVE);
}

int session_check_device_state(struct vu_session *s, struct vu_queue *q, struct msg *msg)
{
	struct session_transfer *t = &s->transfer;
	int result;

	if (t->fd >= 0)
		pump(s);
	if (t->fd >= 0)
		finish(s, -EINPROGRESS);
	result = t->result;
	t->result = -ENODATA;
	return result;
}
