/* SPDX-License-Identifier: MIT */
#include "uplink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "ctl.h"
#include "net.h"
#include "portspec.h"

static struct loop *loop_of(const struct uplink *u)
{
	return &u->net->backend->loop;
}

/* What does not become right by waiting, when a port is made. */
static bool is_fatal(const struct uplink *u, int r)
{
	return u->firm || r == -EPERM || r == -EACCES || r == -EINVAL || r == -ENOMEM;
}

void uplink_state(struct uplink *u, const char *state)
{
	if (u->state == state)
		return;
	u->state = state;
	log_debug(u->port.name, "%s", state);
	ctl_port_changed(u->net->backend->control, u->port.name, state);
}

void uplink_why(struct uplink *u, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(u->why, sizeof(u->why), fmt, ap);
	va_end(ap);
}

void uplink_up(struct uplink *u)
{
	if (u->logged[0] != '\0') /* who was told that it is down is told that it is not */
		log_limited(&u->limit, LOG_LEVEL_INFO, u->port.name, "running");
	u->why[0] = '\0';
	u->logged[0] = '\0';
	u->retry_ns = UPLINK_RETRY_MIN_NS;
	loop_timer_cancel(loop_of(u), &u->retry);
	sw_set_up(&u->port, true);
	uplink_state(u, "running");
}

static void go_down(struct uplink *u)
{
	sw_set_up(&u->port, false);
	u->ops->disconnect(u);
	if (strcmp(u->why, u->logged) != 0) {
		memcpy(u->logged, u->why, sizeof(u->logged));
		log_limited(&u->limit, LOG_LEVEL_WARNING, u->port.name, "%s", u->why);
	}
	uplink_state(u, "down");
	loop_timer_set(loop_of(u), &u->retry, loop_now_ns() + u->retry_ns);
	u->retry_ns = min(2 * u->retry_ns, (uint64_t)UPLINK_RETRY_MAX_NS);
}

void uplink_lost(struct uplink *u, int error, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(u->why, sizeof(u->why), fmt, ap);
	va_end(ap);
	if (error && n >= 0 && (size_t)n < sizeof(u->why))
		snprintf(u->why + n, sizeof(u->why) - (size_t)n, ": %s", strerror(error));
	go_down(u);
}

static int try_connect(struct uplink *u)
{
	int r;

	u->why[0] = '\0';
	r = u->ops->connect(u);
	if (r == 0)
		uplink_up(u);
	else if (r != -EINPROGRESS && u->why[0] == '\0')
		uplink_why(u, "%s", strerror(-r));
	return r == -EINPROGRESS ? 0 : r;
}

static void on_retry(struct loop_timer *timer)
{
	struct uplink *u = container_of(timer, struct uplink, retry);

	if (try_connect(u) < 0)
		go_down(u);
}

int uplink_open(struct uplink *u, const struct uplink_ops *ops, struct net *net, const char *name,
		char **why)
{
	int r;

	u->ops = ops;
	u->port.ops = &ops->port;
	u->net = net;
	u->state = "down";
	u->retry_ns = UPLINK_RETRY_MIN_NS;
	loop_timer_init(&u->retry, on_retry);
	snprintf(u->port.name, sizeof(u->port.name), "%s",
		 name); /* port_spec_read() has judged it */
	r = sw_attach(&net->sw, &u->port);
	if (r < 0)
		goto fail;
	r = try_connect(u);
	if (r == 0)
		return 0;
	if (!is_fatal(u, r)) {
		go_down(u);
		return 0;
	}
	spec_wrong(why, "%s", u->why);
	u->ops->disconnect(u);
	sw_detach(&u->port);
fail:
	ops->free(u);
	return r;
}

static void free_now(struct loop_work *work)
{
	struct uplink *u = container_of(work, struct uplink, freeing);

	u->ops->free(u);
}

void uplink_close(struct uplink *u)
{
	loop_timer_cancel(loop_of(u), &u->retry);
	sw_detach(&u->port);
	u->ops->disconnect(u);
	loop_defer(loop_of(u), &u->freeing, free_now);
}

struct uplink *uplink_of(struct sw_port *p)
{
	return container_of(p, struct uplink, port);
}

void uplink_describe(const struct uplink *u, struct json_object *o)
{
	json_object_object_add(o, "state", json_object_new_string(u->state));
	if (u->why[0] != '\0')
		json_object_object_add(o, "why", json_object_new_string(u->why));
}
