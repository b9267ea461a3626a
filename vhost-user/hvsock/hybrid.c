/* SPDX-License-Identifier: MIT */
#include "hybrid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base.h"
#include "listen.h"
#include "ports.h"

/* Who may connect: as for every socket of the daemon. */
#define SOCKET_MODE 0600

#define SEQPACKET_SUFFIX ".seq"

static void on_stream(struct acceptor *acceptor, int fd)
{
	struct hybrid *h = container_of(acceptor, struct hybrid, stream);

	client_greet(&h->clients, fd, SOCK_STREAM);
}

static void on_seqpacket(struct acceptor *acceptor, int fd)
{
	struct hybrid *h = container_of(acceptor, struct hybrid, seqpacket);

	client_greet(&h->clients, fd, SOCK_SEQPACKET);
}

static void seqpacket_path(const struct hybrid *h,
			   char ret_path[sizeof(h->path) + sizeof(SEQPACKET_SUFFIX)])
{
	(void)snprintf(ret_path, sizeof(h->path) + sizeof(SEQPACKET_SUFFIX), "%s" SEQPACKET_SUFFIX,
		       h->path);
}

static int open_socket(struct acceptor *acceptor, struct loop *loop, const char *path, int type,
		       const char *tag, acceptor_fn *fn)
{
	int fd, r = listen_unix_type(path, SOCKET_MODE, type, ACCEPTOR_BACKLOG, &fd);

	if (r < 0)
		return r;
	r = acceptor_open(acceptor, loop, fd, true, tag, fn);
	if (r < 0)
		listen_unlink(path);
	return r;
}

int hybrid_open(struct hybrid *hybrid, struct loop *loop, struct hv_vm *vm, const char *path)
{
	char seqpacket[sizeof(hybrid->path) + sizeof(SEQPACKET_SUFFIX)];
	const char *tag = hv_vm_name(vm);
	size_t len = strlen(path);
	int r;

	if (len > HYBRID_PATH_MAX)
		return -ENAMETOOLONG;
	*hybrid = (struct hybrid){ 0 };
	client_set_init(&hybrid->clients, loop, vm);
	memcpy(hybrid->path, path, len + 1);
	seqpacket_path(hybrid, seqpacket);

	r = open_socket(&hybrid->stream, loop, path, SOCK_STREAM, tag, on_stream);
	if (r == 0)
		r = open_socket(&hybrid->seqpacket, loop, seqpacket, SOCK_SEQPACKET, tag,
				on_seqpacket);
	if (r < 0)
		hybrid_close(hybrid);
	return r;
}

void hybrid_close(struct hybrid *hybrid)
{
	char seqpacket[sizeof(hybrid->path) + sizeof(SEQPACKET_SUFFIX)];

	if (hybrid->stream.loop) {
		acceptor_close(&hybrid->stream);
		listen_unlink(hybrid->path);
	}
	if (hybrid->seqpacket.loop) {
		acceptor_close(&hybrid->seqpacket);
		seqpacket_path(hybrid, seqpacket);
		listen_unlink(seqpacket);
	}
	client_set_clear(&hybrid->clients);
	hybrid->path[0] = '\0';
}

int hybrid_target(const struct hybrid *hybrid, uint32_t port, bool guid, struct target *ret_target)
{
	char path[sizeof(hybrid->path) + 1 + PORTS_GUID_LEN], id[PORTS_GUID_LEN + 1];

	if (guid)
		ports_guid(port, id);
	else
		(void)snprintf(id, sizeof(id), "%" PRIu32, port);
	(void)snprintf(path, sizeof(path), "%s_%s", hybrid->path, id);
	return target_unix(path, ret_target);
}
