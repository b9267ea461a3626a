/* SPDX-License-Identifier: MIT */
#include "vmbus_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "cleanup.h"
#include "listen.h"
#include "port_vmbus_impl.h"

#define PAGE 4096u

enum { WRITE_INDEX, READ_INDEX, INTERRUPT_MASK, PENDING_SEND_SZ, FEATURE_BITS = 16 };

struct vb vb;

/* ---- guest memory ------------------------------------------------------------------------------- */

static void make_memory(void)
{
	uint32_t random = 12345;

	vb.mem_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(vb.mem_fd, VB_PAGES * (off_t)PAGE), 0);
	vb.mem = mmap(NULL, VB_PAGES * (size_t)PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, vb.mem_fd,
		      0);
	assert_ptr_not_equal(vb.mem, MAP_FAILED);
	for (unsigned i = 0; i < VB_PAGES; i++) {
		unsigned at;

		random = random * 1664525 + 1013904223;
		at = (random >> 8) % (i + 1);
		vb.free_page[i] = vb.free_page[at];
		vb.free_page[at] = i;
	}
	vb.n_free = VB_PAGES;
}

static uint8_t *page_of(const struct vb_channel *ch, unsigned i)
{
	return vb.mem + (ch->pfn[i] - VB_GPA / PAGE) * PAGE;
}

uint8_t *vb_byte(const struct vb_channel *ch, const struct vb_ring *r, uint32_t index)
{
	return page_of(ch, r->first + 1 + index / PAGE) + index % PAGE;
}

static uint32_t *word_of(const struct vb_channel *ch, const struct vb_ring *r, unsigned word)
{
	return (uint32_t *)(void *)page_of(ch, r->first) + word;
}

uint32_t vb_head(const struct vb_channel *ch, const struct vb_ring *r, unsigned word)
{
	return __atomic_load_n(word_of(ch, r, word), __ATOMIC_SEQ_CST);
}

void vb_set_head(const struct vb_channel *ch, const struct vb_ring *r, unsigned word,
		 uint32_t value)
{
	__atomic_store_n(word_of(ch, r, word), value, __ATOMIC_SEQ_CST);
}

static uint32_t size_of(const struct vb_ring *r)
{
	return (r->n_pages - 1) * PAGE;
}

/* ---- the wire ----------------------------------------------------------------------------------- */

void vb_send_message(uint32_t number, uint32_t flags, const void *payload, size_t size,
		     const int *fds, unsigned n_fds)
{
	struct proto_header hdr = { number, flags, (uint32_t)size };
	struct iovec iov[2] = { { &hdr, sizeof(hdr) }, { (void *)(uintptr_t)payload, size } };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(4 * sizeof(int))];
	} control = { 0 };
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	struct cmsghdr *c;

	if (n_fds > 0) {
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(vb.sock, &mh, MSG_NOSIGNAL), sizeof(hdr) + size);
}

static void say(uint32_t number, const void *payload, size_t size)
{
	vb_send_message(number, VU_FLAG_VERSION, payload, size, NULL, 0);
}

void vb_send_channel(uint32_t number, uint32_t channel)
{
	struct vmbus_channel_id id = { .channel = channel };

	say(number, &id, sizeof(id));
}

void vb_connect(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	strcpy(sa.sun_path, path_of(0));
	vb.sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(vb.sock, (struct sockaddr *)&sa, sizeof(sa)), 0);
	vb.hung_up = false;
	settle();
}

void vb_hello(void)
{
	struct vmbus_hello hello = { .version = 1, .features = ~0ull };

	say(VMBUS_HELLO, &hello, sizeof(hello));
	settle();
}

struct proto_mem_reg vb_region(void)
{
	return (struct proto_mem_reg){
		.region = { .gpa = VB_GPA, .size = VB_PAGES * (uint64_t)PAGE, .uva = VB_UVA }
	};
}

void vb_memory(void)
{
	struct proto_mem_reg r = vb_region();

	vb_send_message(VMBUS_ADD_MEM_REG, VU_FLAG_VERSION, &r, sizeof(r), &vb.mem_fd, 1);
	settle();
}

void vb_ready(void)
{
	struct vmbus_ready ready = { .up = 1 };

	say(VMBUS_READY, &ready, sizeof(ready));
	settle();
}

void vb_hang_up(void)
{
	fd_drop(&vb.sock);
	settle();
}

void vb_expect_dropped(void)
{
	settle();
	assert_true(vb.hung_up);
}

/* ---- what QEMU and the guest do ----------------------------------------------------------------- */

static struct vb_channel *by_id(uint32_t id)
{
	struct vb_channel *ch = vb.channels;

	while (ch && (ch->id != id || ch->released))
		ch = ch->next;
	assert_non_null(ch);
	return ch;
}

static void on_offer(const struct vmbus_offer *o)
{
	struct vmbus_offered answer = { .cookie = o->cookie, .status = vb.offer_status };
	struct vb_channel *ch;

	vb.n_offers++;
	assert_int_equal(o->reserved, 0);
	assert_in_range(o->to_guest, 0, 1);
	if (vb.offer_status == 0) {
		for (ch = vb.channels; ch; ch = ch->next)
			assert_true(ch->released ||
				    memcmp(&ch->instance, &o->instance, sizeof(o->instance)) != 0);
		ch = calloc(1, sizeof(*ch));
		ch->id = answer.channel = ++vb.last_id;
		ch->cookie = o->cookie;
		ch->type = o->type;
		ch->instance = o->instance;
		ch->to_guest = o->to_guest;
		ch->kick = ch->call = -1;
		ch->next = vb.channels;
		vb.channels = vb.last = ch;
	}
	if (!vb.no_offered)
		say(VMBUS_OFFERED, &answer, sizeof(answer));
	if (vb.offer_status == 0 && !vb.no_open && !vb.no_offered)
		vb_open(vb.last);
}

static void on_rescind(struct vb_channel *ch)
{
	vb.n_rescinds++;
	assert_false(ch->rescinded);
	ch->rescinded = true;
	if (vb.no_release)
		return;
	if (ch->opened && !ch->closing)
		vb_close(ch);
	else if (!ch->closing)
		vb_release(ch);
}

static void on_message(const struct proto_header *hdr, const union vmbus_payload *p)
{
	struct vb_channel *ch;

	assert_int_equal(hdr->flags, VU_FLAG_VERSION);
	assert_int_equal(hdr->size, vmbus_message_size(hdr->request));
	switch (hdr->request) {
	case VMBUS_HELLO:
		assert_int_equal(p->hello.version, 1);
		assert_int_equal(p->hello.features, 0);
		break;
	case VMBUS_CONNECT_RESULT:
		vb.n_refused++;
		vb.refused = p->connect_result;
		assert_int_equal((uint32_t)vb.refused.status, 0xc0000236u);
		break;
	case VMBUS_OFFER:
		on_offer(&p->offer);
		break;
	case VMBUS_OPEN_RESULT:
		ch = by_id(p->open_result.channel);
		assert_true(ch->opened && !ch->answered);
		ch->answered = true;
		ch->status = p->open_result.status;
		break;
	case VMBUS_RESCIND:
		on_rescind(by_id(p->channel.channel));
		break;
	case VMBUS_CLOSED:
		ch = by_id(p->channel.channel);
		assert_true(ch->closing && !ch->closed);
		ch->closed = true;
		if (!vb.no_release)
			vb_release(ch);
		break;
	case VMBUS_RESET_DONE:
		vb.reset_done = p->reset.sequence;
		break;
	default:
		fail_msg("message %u", hdr->request);
	}
}

/* One message, if there is one. */
static bool receive(void)
{
	union vmbus_payload p = { 0 };
	struct proto_header hdr;
	ssize_t n = recv(vb.sock, &hdr, sizeof(hdr), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno == ECONNRESET))
		vb.hung_up = true;
	if (n <= 0)
		return false;
	assert_int_equal(n, sizeof(hdr));
	assert_true(hdr.size > 0 && hdr.size <= sizeof(p));
	assert_int_equal(recv(vb.sock, &p, hdr.size, MSG_WAITALL), hdr.size);
	on_message(&hdr, &p);
	return true;
}

/* A look at whether the guest has seen that all is over comes late on a slow machine. */
#define SOON_NS 100000000ull

static void wait_for_looks(void)
{
	const struct loop_timer *first = fx.loop.timers;

	if (!vb.no_read && first && first->at_ns <= loop_now_ns() + SOON_NS)
		loop_once(&fx.loop, first->at_ns);
}

/* Where nothing but the end is left to be read, it is. */
static void read_end(struct vb_channel *ch)
{
	uint32_t size;

	if (vb.no_read || !ch->answered || ch->status || ch->rescinded || ch->closing || ch->fin)
		return;
	size = size_of(&ch->in);
	if ((vb_head(ch, &ch->in, WRITE_INDEX) + size - ch->in.index) % size == vmpipe_size(0))
		vb_read_some(ch, 1);
}

void vb_poll(void)
{
	uint64_t n;

	wait_for_looks();
	while (vb.sock >= 0 && receive())
		;
	for (struct vb_channel *ch = vb.channels; ch; ch = ch->next)
		if (ch->call >= 0 && read(ch->call, &n, sizeof(n)) == sizeof(n))
			ch->n_calls += (unsigned)n;
	for (struct vb_channel *ch = vb.channels; ch; ch = ch->next)
		read_end(ch);
}

/* ---- the guest ---------------------------------------------------------------------------------- */

struct vmbus_guid vb_guid(uint32_t port)
{
	struct vmbus_guid g = { { 0, 0, 0, 0, 0xcb, 0xfa, 0xe6, 0x11, 0xbd, 0x58, 0x64, 0x00, 0x6a,
				  0x79, 0x86, 0xd3 } };

	for (unsigned i = 0; i < 4; i++)
		g.b[i] = (uint8_t)(port >> 8 * i);
	return g;
}

void vb_ask(uint32_t from, uint32_t port)
{
	struct vmbus_connect_request c = { vb_guid(from), vb_guid(port) };

	say(VMBUS_CONNECT_REQUEST, &c, sizeof(c));
}

struct vb_channel *vb_dial(uint32_t from, uint32_t port)
{
	vb.last = NULL;
	vb_ask(from, port);
	settle();
	return vb.last;
}

struct vb_channel *vb_dial_host(void)
{
	static uint32_t from = 0x80000000u;
	struct vb_channel *ch = vb_dial(from++, PORT);

	assert_non_null(ch);
	assert_true(ch->answered);
	assert_int_equal(ch->status, 0);
	return ch;
}

struct vb_channel *vb_accept(void)
{
	struct vmbus_guid service = vb_guid(PORT);

	vb.last = NULL;
	settle();
	assert_non_null(vb.last);
	assert_true(vb.last->to_guest);
	assert_memory_equal(&vb.last->type, &service, sizeof(service));
	return vb.last;
}

size_t vb_open_payload(struct vb_channel *ch, union vmbus_payload *p)
{
	memset(p, 0, sizeof(*p));
	p->open = (struct vmbus_open){ .channel = ch->id,
				       .n_pages = ch->n_pages,
				       .in_page = ch->in_page };
	memcpy(p->words + sizeof(p->open) / sizeof(uint64_t), ch->pfn,
	       ch->n_pages * sizeof(uint64_t));
	return sizeof(p->open) + ch->n_pages * sizeof(uint64_t);
}

static void lay_out(struct vb_channel *ch)
{
	ch->in_page = vb.ring_pages;
	ch->n_pages = 2 * vb.ring_pages;
	ch->out = (struct vb_ring){ .first = 0, .n_pages = ch->in_page };
	ch->in = (struct vb_ring){ .first = ch->in_page, .n_pages = ch->n_pages - ch->in_page };
	for (unsigned i = 0; i < ch->n_pages; i++) {
		assert_true(vb.n_free > 0);
		ch->pfn[i] = VB_GPA / PAGE + vb.free_page[--vb.n_free];
		memset(page_of(ch, i), 0, PAGE);
	}
	ch->laid_out = true;
	vb_set_head(ch, &ch->out, PENDING_SEND_SZ, vb.pending);
	ch->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ch->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(ch->kick >= 0 && ch->call >= 0);
}

void vb_open(struct vb_channel *ch)
{
	union vmbus_payload p;
	size_t size;

	lay_out(ch);
	size = vb_open_payload(ch, &p);
	ch->opened = true;
	vb_send_message(VMBUS_OPEN, VU_FLAG_VERSION, &p, size, (int[]){ ch->kick, ch->call }, 2);
}

void vb_close(struct vb_channel *ch)
{
	ch->closing = true;
	vb_send_channel(VMBUS_CLOSE, ch->id);
}

static void forget_channel(struct vb_channel *ch)
{
	if (ch->released)
		return;
	ch->released = true;
	for (unsigned i = 0; ch->laid_out && i < ch->n_pages; i++)
		vb.free_page[vb.n_free++] = ch->pfn[i] - VB_GPA / PAGE;
	fd_drop(&ch->kick);
	fd_drop(&ch->call);
}

void vb_release(struct vb_channel *ch)
{
	vb_send_channel(VMBUS_RELEASED, ch->id);
	forget_channel(ch);
}

void vb_forget(void)
{
	for (struct vb_channel *ch = vb.channels; ch; ch = ch->next)
		forget_channel(ch);
	vb.last_id = 0;
}

void vb_kick(struct vb_channel *ch)
{
	uint64_t one = 1;

	ch->n_kicks++;
	assert_int_equal(write(ch->kick, &one, sizeof(one)), sizeof(one));
}

/* ---- its ends of the rings ---------------------------------------------------------------------- */

static void put_bytes(struct vb_channel *ch, const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		*vb_byte(ch, &ch->out, ch->out.index) = ((const uint8_t *)bytes)[i];
		ch->out.index = (ch->out.index + 1) % size_of(&ch->out);
	}
}

static void get_bytes(struct vb_channel *ch, void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		((uint8_t *)bytes)[i] = *vb_byte(ch, &ch->in, ch->in.index);
		ch->in.index = (ch->in.index + 1) % size_of(&ch->in);
	}
}

static uint32_t space_of(uint32_t size, uint32_t write_index, uint32_t read_index)
{
	return write_index >= read_index ? size - (write_index - read_index) :
					   read_index - write_index;
}

/* False: it does not fit, with a packet of no bytes behind it. */
static bool put_packet(struct vb_channel *ch, const void *bytes, size_t len, bool last)
{
	uint32_t start = ch->out.index, padded = (uint32_t)((len + 7) & ~7ul), total = padded + 32;
	uint32_t space = space_of(size_of(&ch->out), start, vb_head(ch, &ch->out, READ_INDEX));
	uint16_t head[4] = { 6, 2, (uint16_t)((24 + padded) / 8), 0 };
	uint64_t trans_id = 0, tail = (uint64_t)start << 32, none = 0;
	uint32_t pipe[2] = { 1, (uint32_t)len };

	if (space <= total + (last ? 0 : 32))
		return false;
	put_bytes(ch, head, sizeof(head));
	put_bytes(ch, &trans_id, sizeof(trans_id));
	put_bytes(ch, pipe, sizeof(pipe));
	put_bytes(ch, bytes, len);
	put_bytes(ch, &none, padded - len);
	put_bytes(ch, &tail, sizeof(tail));
	vb_set_head(ch, &ch->out, WRITE_INDEX, ch->out.index);
	if (!vb_head(ch, &ch->out, INTERRUPT_MASK) && vb_head(ch, &ch->out, READ_INDEX) == start)
		vb_kick(ch);
	return true;
}

size_t vb_write(struct vb_channel *ch, const void *bytes, size_t len, size_t max)
{
	size_t done = 0;

	while (done < len) {
		size_t part = min(max, len - done);

		if (!put_packet(ch, (const uint8_t *)bytes + done, part, false))
			break;
		done += part;
	}
	return done;
}

size_t vb_fill(struct vb_channel *ch)
{
	static uint8_t bytes[4000];
	size_t sent = 0, n;

	do {
		fill(bytes, sent, sizeof(bytes));
		n = vb_write(ch, bytes, sizeof(bytes), sizeof(bytes));
		sent += n;
		settle();
	} while (n > 0);
	return sent;
}

void vb_fin(struct vb_channel *ch)
{
	assert_true(put_packet(ch, "", 0, true));
	settle();
}

static void get_packet(struct vb_channel *ch)
{
	uint32_t start = ch->in.index;
	uint16_t head[4];
	uint64_t trans_id, tail, padding;
	uint32_t pipe[2];

	get_bytes(ch, head, sizeof(head));
	get_bytes(ch, &trans_id, sizeof(trans_id));
	get_bytes(ch, pipe, sizeof(pipe));
	assert_int_equal(head[0], 6);
	assert_int_equal(head[1], 2);
	assert_int_equal(head[3], 0);
	assert_int_equal(pipe[0], 1);
	assert_int_equal(head[2] * 8, 24 + ((pipe[1] + 7) & ~7u));
	assert_in_range(pipe[1], 0, 16384);
	assert_false(ch->fin);
	if (ch->len + pipe[1] > ch->size) {
		ch->size = 2 * (ch->len + pipe[1]);
		ch->bytes = realloc(ch->bytes, ch->size);
	}
	get_bytes(ch, ch->bytes + ch->len, pipe[1]);
	ch->len += pipe[1];
	get_bytes(ch, &padding, (8 - pipe[1] % 8) % 8);
	get_bytes(ch, &tail, sizeof(tail));
	assert_int_equal(tail, (uint64_t)start << 32);
	ch->n_packets++;
	ch->longest = max(ch->longest, pipe[1]);
	ch->fin = pipe[1] == 0;
	ch->fin_behind = ch->fin && start != vb_head(ch, &ch->in, READ_INDEX);
}

void vb_read_some(struct vb_channel *ch, unsigned n)
{
	for (; n > 0 && ch->in.index != vb_head(ch, &ch->in, WRITE_INDEX); n--)
		get_packet(ch);
	vb_set_head(ch, &ch->in, READ_INDEX, ch->in.index);
}

void vb_read(struct vb_channel *ch)
{
	uint32_t start = ch->in.index, size = size_of(&ch->in), read, space, pending;

	while (ch->in.index != vb_head(ch, &ch->in, WRITE_INDEX))
		get_packet(ch);
	vb_set_head(ch, &ch->in, READ_INDEX, ch->in.index);
	pending = vb_head(ch, &ch->in, PENDING_SEND_SZ);
	if (!(vb_head(ch, &ch->in, FEATURE_BITS) & 1) || pending == 0)
		return;
	space = space_of(size, vb_head(ch, &ch->in, WRITE_INDEX), ch->in.index);
	read = (ch->in.index + size - start) % size;
	if (space - read > pending || space <= pending)
		return;
	vb_kick(ch);
}

void vb_says(struct vb_channel *ch, const char *text)
{
	assert_int_equal(vb_write(ch, text, strlen(text), 4088), strlen(text));
	settle();
}

void vb_expect(struct vb_channel *ch, const char *text)
{
	settle();
	vb_read(ch);
	assert_int_equal(ch->len, strlen(text));
	assert_memory_equal(ch->bytes, text, ch->len);
	ch->len = 0;
}

/* ---- setting up --------------------------------------------------------------------------------- */

int vb_setup_alone(void **state)
{
	struct hv_vm_config c = { .name = "h1" };
	int fd;

	setup_relay(state);
	vb = (struct vb){ .sock = -1, .ring_pages = VB_RING_PAGES, .pending = 4088 + 32 };
	make_memory();
	assert_int_equal(listen_unix(path_of(0), 0600, &fd), 0);
	assert_int_equal(port_vmbus_open(fx.relay, &c, path_of(0), fd, &fx.vm[0]), 0);
	fx.other_guest = vb_poll;
	return 0;
}

int vb_setup(void **state)
{
	vb_setup_alone(state);
	vb_connect();
	vb_hello();
	vb_memory();
	vb_ready();
	assert_string_equal(hv_vm_state(fx.vm[0]), "running");
	return 0;
}

int vb_teardown(void **state)
{
	int r = teardown(state);

	while (vb.channels) {
		struct vb_channel *ch = vb.channels;

		vb.channels = ch->next;
		fd_drop(&ch->kick);
		fd_drop(&ch->call);
		free(ch->bytes);
		free(ch);
	}
	fd_drop(&vb.sock);
	munmap(vb.mem, VB_PAGES * (size_t)PAGE);
	fd_drop(&vb.mem_fd);
	return r;
}
