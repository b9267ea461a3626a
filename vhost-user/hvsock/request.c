/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "dial.h"
#include "host.h"
#include "listen.h"

struct request {
	struct host_vm *vm;
	struct hv_conn *conn;
	bool forwarded;          /* not by P_<port>: the operator has said where */
	struct forward *forward; /* NULL: by P_<port>, or removed since */
	bool by_guid;            /* P_<port> was tried */
	struct dial dial;
	struct loop_work bury;
	struct request *next, *prev;
};

static void on_bury(struct loop_work *work)
{
	free(container_of(work, struct request, bury));
}

/* Whether answered or gone: it is over. */
static void request_end(struct request *r)
{
	dial_cancel(&r->dial);
	*(r->prev ? &r->prev->next : &r->vm->requests) = r->next;
	if (r->next)
		r->next->prev = r->prev;
	loop_defer(r->vm->host->loop, &r->bury, on_bury);
}

/* Nobody there is everyday life; that we could not even look is the operator's business. */
static void log_refusal(struct request *r, int error)
{
	const char *tag = hv_vm_name(r->vm->vm);
	uint32_t port = hv_conn_port(r->conn);

	if (error == -EMFILE || error == -ENFILE || error == -ENOMEM)
		log_limited(&r->vm->hybrid.clients.log, LOG_LEVEL_WARNING, tag,
			    "refused port %u of the host: %s", port, strerror(-error));
	else
		log_debug(tag, "refused port %u of the host: %s", port, strerror(-error));
}

static void refuse(struct request *r, int error)
{
	log_refusal(r, error);
	if (r->forward)
		r->forward->n_failed++;
	hv_refuse(r->conn);
	request_end(r);
}

/* The far end is reached. */
static void deliver(struct request *r, int fd)
{
	const int one = 1;
	bool accepted;

	if (!r->forwarded && listen_check_peer(fd) < 0) {
		close(fd);
		log_limited(&r->vm->hybrid.clients.log, LOG_LEVEL_WARNING, hv_vm_name(r->vm->vm),
			    "at %s_%u listens a process of another user: refused",
			    r->vm->hybrid.path, hv_conn_port(r->conn));
		refuse(r, -EPERM);
		return;
	}
	if (r->dial.target.family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	accepted = hv_accept(r->conn, fd) == 0;
	if (r->forward)
		*(accepted ? &r->forward->n_connected : &r->forward->n_failed) += 1;
	request_end(r);
}

static void on_dialed(struct dial *dial, int fd);

static int dial_target(struct request *r, const struct target *target)
{
	return dial_start(&r->dial, r->vm->host->loop, target, hv_conn_type(r->conn), on_dialed);
}

static int dial_hybrid(struct request *r)
{
	struct target target;
	int error = hybrid_target(&r->vm->hybrid, hv_conn_port(r->conn), r->by_guid, &target);

	return error < 0 ? error : dial_target(r, &target);
}

/* fd: a descriptor, -EINPROGRESS, or why it failed. */
static void go_on(struct request *r, int fd)
{
	if (fd == -ENOENT && !r->forwarded && !r->by_guid) {
		r->by_guid = true;
		fd = dial_hybrid(r);
	}
	if (fd >= 0)
		deliver(r, fd);
	else if (fd != -EINPROGRESS)
		refuse(r, fd);
}

static void on_dialed(struct dial *dial, int fd)
{
	go_on(container_of(dial, struct request, dial), fd);
}

void request_new(struct hv_conn *conn, void *context)
{
	struct host_vm *vm = hv_vm_data(hv_conn_vm(conn));
	struct request *r = calloc(1, sizeof(*r));

	if (!r) {
		hv_refuse(conn);
		return;
	}
	r->vm = vm;
	r->conn = conn;
	r->next = vm->requests;
	if (r->next)
		r->next->prev = r;
	vm->requests = r;
	hv_conn_set_data(conn, r);

	r->forward = forward_of_port(vm, hv_conn_port(conn));
	r->forwarded = r->forward != NULL;
	if (r->forward) {
		r->forward->n_requests++;
		go_on(r, dial_target(r, &r->forward->target));
	} else {
		go_on(r, vm->hybrid.path[0] ? dial_hybrid(r) : -ECONNREFUSED);
	}
}

void request_gone(struct hv_conn *conn, void *context)
{
	request_end(hv_conn_data(conn));
}

void request_refuse_all(struct host_vm *vm)
{
	while (vm->requests)
		refuse(vm->requests, -ECONNRESET);
}

void request_forget_forward(struct host_vm *vm, const struct forward *forward)
{
	for (struct request *r = vm->requests; r; r = r->next)
		if (r->forward == forward)
			r->forward = NULL;
}
