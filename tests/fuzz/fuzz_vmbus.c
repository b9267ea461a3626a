/* SPDX-License-Identifier: MIT */
/* A QEMU with a vmbus-hvsock device that says anything, with a guest that writes anything into its rings, and a host's side
 * that does what it likes: the whole port, down to descriptors.
 *
 * Input: steps.  Most are messages, from a few shapes that make sense to ones that do not; others write into guest memory, kick,
 * connect from the host, speak and hang up there.  Checked: what the daemon says is well-formed; at the end nothing is left,
 * neither connections nor descriptors nor memory. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "cleanup.h"
#include "fds.h"
#include "frontend.h"
#include "log.h"
#include "port_vmbus.h"
#include "transport.h"
#include "vmbus_proto.h"

#define PAGES 64
#define PAGE  4096u
#define GPA0  0x100000u
#define HOSTS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size;
};

static struct loop loop;
static struct hv_relay *relay;
static struct hv_vm *vm;
static struct frontend qemu;
static int host[HOSTS];
static uint64_t cookie; /* of the last offer */
static uint8_t answer;  /* what the host does with a request */

static uint8_t take8(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

/* ---- the host's side ---------------------------------------------------------------------------- */

/* One that is full soon, so that packets are taken in parts. */
static int new_host(unsigned i)
{
	int fd[2], least = 1;

	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
	assert(setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)) == 0);
	fd_drop(&host[i % HOSTS]);
	host[i % HOSTS] = fd[0];
	return fd[1];
}

static void on_request(struct hv_conn *conn, void *context)
{
	conn->widened = true; /* new_host() */
	if (answer % 4 == 0)
		hv_refuse(conn);
	else
		(void)hv_accept(conn, new_host(answer));
}

static void on_gone(struct hv_conn *conn, void *context)
{
}

static const struct hv_host_ops host_ops = { .request = on_request, .gone = on_gone };

struct client {
	int fd;
};

static void on_done(struct hv_conn *conn, int result, void *data)
{
	struct client *c = data;

	if (result < 0)
		close(c->fd);
	free(c);
}

static void step_host(struct input *in)
{
	uint8_t what = take8(in), bytes[256];
	int *fd = &host[what % HOSTS];

	memset(bytes, what, sizeof(bytes));
	switch (what >> 3 & 3) {
	case 0:
		if (*fd >= 0)
			(void)send(*fd, bytes, what, MSG_NOSIGNAL);
		break;
	case 1:
		if (*fd >= 0)
			(void)recv(*fd, bytes, sizeof(bytes), 0);
		break;
	case 2:
		if (*fd >= 0)
			(void)shutdown(*fd, what & 0x20 ? SHUT_WR : SHUT_RDWR);
		break;
	case 3:
		fd_drop(fd);
		break;
	}
}

static void step_connect(struct input *in)
{
	struct client *c = malloc(sizeof(*c));
	struct hv_conn *conn;

	assert(c);
	c->fd = new_host(take8(in));
	if (hv_connect(vm, take8(in), SOCK_STREAM, c->fd, on_done, c, &conn) < 0) {
		close(c->fd);
		free(c);
	} else {
		conn->widened = true;
	}
}

/* ---- QEMU --------------------------------------------------------------------------------------- */

static void say(uint32_t number, const void *payload, size_t size, const int *fds, unsigned n_fds)
{
	(void)frontend_send(&qemu, number, VU_FLAG_VERSION, payload, size, fds, n_fds);
}

static void say_memory(uint32_t number)
{
	struct proto_mem_reg r = {
		.region = { .gpa = GPA0, .uva = 0x7f0000000000, .size = (uint64_t)PAGES * PAGE }
	};

	say(number, &r, sizeof(r), &qemu.mem_fd, number == VMBUS_ADD_MEM_REG);
}

static void say_open(struct input *in)
{
	union vmbus_payload p = { 0 };
	uint8_t shape = take8(in);
	int fd[2] = { eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		      eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };

	p.open.channel = take8(in) % 4;
	p.open.n_pages = 4 + shape % 8;
	p.open.in_page = 2 + shape / 32 % 3;
	for (unsigned i = 0; i < p.open.n_pages; i++)
		p.words[2 + i] = GPA0 / PAGE + (shape + i) % (PAGES + (shape == 255));
	/* A ring that is new, as a guest has it; channel n's kick is written by STEP_KICK through our copy. */
	if (!(shape & 0x10)) {
		memset(qemu.mem + shape % PAGES * PAGE, 0, PAGE);
		memset(qemu.mem + (shape + p.open.in_page) % PAGES * PAGE, 0, PAGE);
	}
	say(VMBUS_OPEN, &p, sizeof(p.open) + p.open.n_pages * sizeof(uint64_t), fd, 2);
	(void)!write(fd[0], &(uint64_t){ 1 }, sizeof(uint64_t));
	close(fd[0]);
	close(fd[1]);
}

static void say_guids(struct input *in)
{
	struct vmbus_connect_request c;
	uint8_t endpoint = take8(in);
	static const uint8_t tail[12] = { 0xcb, 0xfa, 0xe6, 0x11, 0xbd, 0x58,
					  0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3 };

	memset(&c, 0, sizeof(c));
	memcpy(c.endpoint.b + 4, tail, sizeof(tail));
	memcpy(c.service.b + 4, tail, sizeof(tail));
	c.endpoint.b[0] = endpoint % 4;
	c.endpoint.b[15] ^= endpoint >> 7;
	c.service.b[0] = take8(in);
	if (c.service.b[0] == 99)
		c.service.b[9] = 1;
	say(VMBUS_CONNECT_REQUEST, &c, sizeof(c), NULL, 0);
}

static void step_message(struct input *in)
{
	struct vmbus_offered offered = { 0 };
	struct vmbus_channel_id id = { 0 };
	struct vmbus_hello hello = { .version = 1 };
	uint8_t what = take8(in), bytes[64] = { 0 };

	switch (what % 12) {
	case 0:
		say(VMBUS_HELLO, &hello, sizeof(hello), NULL, 0);
		break;
	case 1:
		say_memory(what & 0x80 ? VMBUS_REM_MEM_REG : VMBUS_ADD_MEM_REG);
		break;
	case 2:
	case 3:
		say_guids(in);
		break;
	case 4:
	case 5:
		offered.cookie = cookie - (what >> 7);
		offered.channel = take8(in) % 4;
		offered.status = offered.channel == 0 ? -28 : 0;
		say(VMBUS_OFFERED, &offered, sizeof(offered), NULL, 0);
		break;
	case 6:
	case 7:
		say_open(in);
		break;
	case 8:
		id.channel = take8(in) % 4;
		say(VMBUS_CLOSE, &id, sizeof(id), NULL, 0);
		break;
	case 9:
		id.channel = take8(in) % 4;
		say(VMBUS_RELEASED, &id, sizeof(id), NULL, 0);
		break;
	case 10:
		say(what & 0x80 ? VMBUS_RESET : VMBUS_READY, &(uint64_t){ 1 }, 8, NULL, 0);
		break;
	case 11:
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = take8(in);
		say(60 + take8(in) % 20, bytes, take8(in) % sizeof(bytes), &qemu.mem_fd, what >> 7);
		break;
	}
}

/* What the daemon says. */
static void listen_to_it(void)
{
	union vmbus_payload p;
	struct proto_header hdr;

	while (recv(qemu.sock, &hdr, sizeof(hdr), MSG_DONTWAIT) == sizeof(hdr)) {
		assert(hdr.flags == VU_FLAG_VERSION);
		assert(hdr.size > 0 && hdr.size == vmbus_message_size(hdr.request));
		assert(recv(qemu.sock, &p, hdr.size, MSG_DONTWAIT) == (ssize_t)hdr.size);
		if (hdr.request == VMBUS_OFFER)
			cookie = p.offer.cookie;
		assert(hdr.request != VMBUS_RESCIND || p.channel.channel < 4);
	}
}

static void step_memory(struct input *in)
{
	uint8_t *at = qemu.mem + take8(in) % PAGES * PAGE + take8(in);
	unsigned n = take8(in) % 48;

	for (unsigned i = 0; i < n; i++)
		at[i] = take8(in);
}

static void passes(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert(loop_once(&loop, 0) == 0);
	listen_to_it();
}

static void step_run(struct input *in)
{
	uint8_t step = take8(in);

	switch (step % 8) {
	case 0:
	case 1:
	case 2:
		step_message(in);
		break;
	case 3:
		step_memory(in);
		break;
	case 4:
		step_host(in);
		break;
	case 5:
		answer = take8(in);
		break;
	case 6:
		step_connect(in);
		break;
	case 7:
		break;
	}
	passes(1 + (step >> 6));
}

static void begin(void)
{
	struct hv_vm_config c = { .name = "f", .limits = { .connections = 16 } };
	struct vmbus_hello hello = { .version = 1 };
	int backend;

	log_set_level(LOG_LEVEL_ERROR);
	assert(loop_init(&loop) == 0);
	assert(hv_relay_new(&loop, &host_ops, NULL, NULL, &relay) == 0);
	assert(frontend_pair(&qemu, &backend) == 0);
	qemu.mem_fd = memfd_create("fuzz", MFD_CLOEXEC);
	qemu.mem_size = PAGES * PAGE;
	assert(qemu.mem_fd >= 0 && ftruncate(qemu.mem_fd, (off_t)qemu.mem_size) == 0);
	qemu.mem = mmap(NULL, qemu.mem_size, PROT_READ | PROT_WRITE, MAP_SHARED, qemu.mem_fd, 0);
	assert(qemu.mem != MAP_FAILED);
	assert(port_vmbus_adopt(relay, &c, backend, &vm) == 0);
	for (unsigned i = 0; i < HOSTS; i++)
		host[i] = -1;
	cookie = 0;
	answer = 1;
	say(VMBUS_HELLO, &hello, sizeof(hello), NULL, 0);
	say_memory(VMBUS_ADD_MEM_REG);
	say(VMBUS_READY, &(uint64_t){ 1 }, 8, NULL, 0);
	passes(2);
}

static void end(void)
{
	hv_vm_close(vm);
	for (unsigned i = 0; i < 4; i++)
		assert(loop_once(&loop, 0) == 0);
	hv_relay_free(relay);
	loop_done(&loop);
	frontend_done(&qemu);
	for (unsigned i = 0; i < HOSTS; i++)
		fd_drop(&host[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned before = count_fds();

	begin();
	while (in.size > 0)
		step_run(&in);
	end();
	assert(count_fds() == before);
	return 0;
}
