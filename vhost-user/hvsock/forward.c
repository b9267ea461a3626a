/* SPDX-License-Identifier: MIT */
#include "forward.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base.h"
#include "host.h"
#include "listen.h"
#include "request.h"

#define SOCKET_MODE 0600

struct forward *forward_find(const struct host *host, const char *id)
{
	for (struct hv_vm *vm = hv_vm_next(host->relay, NULL); vm;
	     vm = hv_vm_next(host->relay, vm)) {
		const struct host_vm *hvm = hv_vm_data(vm);

		for (struct forward *f = hvm->forwards; f; f = f->next)
			if (strcmp(f->id, id) == 0)
				return f;
	}
	return NULL;
}

struct forward *forward_of_port(const struct host_vm *vm, uint32_t guest_port)
{
	for (struct forward *f = vm->forwards; f; f = f->next)
		if (!f->to_guest && f->guest_port == guest_port)
			return f;
	return NULL;
}

static bool id_valid(const char *id)
{
	size_t len = strlen(id);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)id[i] < ' ' || id[i] == 0x7f)
			return false;
	return len > 0 && len < FORWARD_ID_MAX;
}

/* The given id, or the first of f1, f2, ... that was never used. */
static int set_id(struct forward *f, struct host *host, const char *id)
{
	if (id) {
		if (!id_valid(id))
			return -EINVAL;
		(void)snprintf(f->id, sizeof(f->id), "%s", id);
		return forward_find(host, f->id) ? -EEXIST : 0;
	}
	do
		(void)snprintf(f->id, sizeof(f->id), "f%u", ++host->last_id);
	while (forward_find(host, f->id));
	return 0;
}

/* Small messages are sent as they come: what is behind a forward may be a terminal. */
static void accepted(struct forward *f, int fd)
{
	const int one = 1;

	if (f->target.family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	client_connect(&f->clients, fd, SOCK_STREAM, f->guest_port);
}

static void on_first(struct acceptor *acceptor, int fd)
{
	accepted(container_of(acceptor, struct forward, acceptor[0]), fd);
}

static void on_second(struct acceptor *acceptor, int fd)
{
	accepted(container_of(acceptor, struct forward, acceptor[1]), fd);
}

static int listen_at(struct forward *f, unsigned i)
{
	const union target_addr *a = &f->target.addr[i];
	bool is_unix = f->target.family == AF_UNIX;
	int fd, r;

	r = is_unix ? listen_unix_type(a->un.sun_path, SOCKET_MODE, SOCK_STREAM, ACCEPTOR_BACKLOG,
				       &fd) :
		      listen_tcp(&a->sa, f->target.len[i], ACCEPTOR_BACKLOG, &fd);
	if (r < 0)
		return r;
	if (!is_unix && target_port(&f->target) == 0)
		target_learn_port(&f->target, fd);
	r = acceptor_open(&f->acceptor[i], f->vm->host->loop, fd, is_unix, f->id,
			  i == 0 ? on_first : on_second);
	if (r < 0 && is_unix)
		listen_unlink(a->un.sun_path);
	return r;
}

/* At all addresses.  Of localhost, IPv6 may be missing: many a container has none. */
static int listen_at_all(struct forward *f)
{
	int r = listen_at(f, 0);

	for (unsigned i = 1; r == 0 && i < f->target.n_addrs; i++) {
		r = listen_at(f, i);
		if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT)
			r = 0;
	}
	return r;
}

static void forward_free(struct forward *f)
{
	bool listening = f->acceptor[0].loop != NULL;

	for (unsigned i = 0; i < TARGET_ADDRS_MAX; i++)
		acceptor_close(&f->acceptor[i]);
	if (listening && f->target.family == AF_UNIX)
		listen_unlink(f->target.addr[0].un.sun_path);
	client_set_clear(&f->clients);
	request_forget_forward(f->vm, f);
	free(f);
}

static void append(struct forward *f)
{
	struct forward **p = &f->vm->forwards;

	while (*p)
		p = &(*p)->next;
	*p = f;
	f->vm->host->n_forwards++;
}

int forward_add(struct host_vm *vm, const struct forward_config *config,
		struct forward **ret_forward)
{
	struct host *host = vm->host;
	struct forward *f;
	int r;

	if (host->n_forwards >= FORWARDS_MAX)
		return -ENOSPC;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->vm = vm;
	f->to_guest = config->to_guest;
	f->guest_port = config->guest_port;
	f->target = config->target;
	client_set_init(&f->clients, host->loop, vm->vm);

	r = !f->to_guest && forward_of_port(vm, f->guest_port) ? -EEXIST : 0;
	if (r == 0)
		r = set_id(f, host, config->id);
	if (r == 0 && f->to_guest)
		r = listen_at_all(f);
	if (r < 0) {
		forward_free(f);
		return r;
	}
	append(f);
	*ret_forward = f;
	return 0;
}

void forward_remove(struct forward *forward)
{
	struct forward **p = &forward->vm->forwards;

	while (*p != forward)
		p = &(*p)->next;
	*p = forward->next;
	forward->vm->host->n_forwards--;
	forward_free(forward);
}
