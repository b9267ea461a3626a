/* SPDX-License-Identifier: MIT */
/* Bytes between rings and far ends.
 *
 * What the guest sent in many packets goes to the far end in one call, straight from the ring's pages; what comes from there
 * goes straight into them, as packets of the largest size that there is room for.  What a far end does not take stays in the
 * guest's ring, which is full then: nothing is copied, but for what is in a ring when its channel ends. */
#include <errno.h>

#include "eventfd.h"
#include "port_vmbus_impl.h"
#include "relax.h"

/* What one pass over a port's channels may move, each way and in how many packets: other VMs' messages wait for it. */
#define PASS_BYTES   (256u << 10)
#define PASS_PACKETS 2048

/* What one call from the guest may take. */
#define BATCH_BYTES (64u << 10)

/* Packets to the guest made by one call. */
#define PACKETS 16

/* Turns of one pass: then it is another port's. */
#define TURNS 64u

/* Pauses between two looks in vain. */
#define RELAX 4

static void call(struct vmbus_channel *ch)
{
	struct vmbus_port *port = ch->port;

	if (!port->blocked && eventfd_signal(ch->pipe.call_fd, &port->blocked))
		port->vm.stats.queue_calls++;
}

static void lost_memory(struct vmbus_port *port)
{
	vmbus_link_end(&port->link, -EFAULT, "guest memory was truncated by the frontend");
}

static void spend(uint32_t *left, uint32_t n)
{
	*left -= min(*left, n);
}

/* Is it still what it was, after somebody else was called? */
static bool is_on(const struct vmbus_channel *ch)
{
	return ch->state == CHANNEL_OPEN && ch->conn;
}

/* ---- from the guest ----------------------------------------------------------------------------- */

struct batch {
	unsigned n;    /* pieces in port->iov */
	uint32_t len;  /* of data in them */
	uint32_t size; /* of the ring */
	bool fin;
	unsigned n_packets; /* each but a last without data has a piece */
	struct {
		uint32_t len, size;
	} packet[VMBUS_IOVS];
};

/* As many packets as one call takes, up to the end of all.  -EBADMSG. */
static int gather(struct vmbus_channel *ch, uint32_t readable, struct batch *b)
{
	const struct vmbus_pipe *pipe = &ch->pipe;
	struct iovec *iov = ch->port->iov;
	uint32_t skip = pipe->skip;
	struct vmpipe_packet p;
	int r = 0;

	b->n = b->n_packets = b->len = b->size = 0;
	b->fin = false;
	while (b->len < BATCH_BYTES && !b->fin &&
	       b->n + VMBUS_RING_PIECES(VMPIPE_DATA_MAX) <= VMBUS_IOVS &&
	       (r = vmpipe_next(&pipe->from_guest, b->size, readable, &p)) > 0) {
		if (p.len < skip || (p.len > 0 && pipe->fin_taken))
			return -EBADMSG;
		b->fin = p.len == 0;
		b->n += vmbus_ring_pieces(&pipe->from_guest, p.at + skip, p.len - skip, iov + b->n);
		b->packet[b->n_packets].len = p.len - skip;
		b->packet[b->n_packets++].size = p.size;
		b->len += p.len - skip;
		b->size += p.size;
		skip = 0;
	}
	return r < 0 ? r : 0;
}

/* The far end has `took` bytes of it.  Returns how many packets are done with, and *ret_size, what they are of the ring. */
static unsigned done_with(struct vmbus_pipe *pipe, const struct batch *b, uint32_t took,
			  uint32_t *ret_size)
{
	uint32_t size = 0;
	unsigned n = 0;

	if (likely(took == b->len)) {
		pipe->skip = 0;
		*ret_size = b->size;
		return b->n_packets;
	}
	for (; took >= b->packet[n].len; n++) {
		took -= b->packet[n].len;
		size += b->packet[n].size;
	}
	pipe->skip = took + (n == 0 ? pipe->skip : 0);
	*ret_size = size;
	return n;
}

/* How a batch is passed on: as hv_far_send(). */
typedef ssize_t pass_fn(struct hv_conn *hv, struct iovec *iov, unsigned n, uint32_t len);

/* All of it, since its ring goes. */
static ssize_t pass_all(struct hv_conn *hv, struct iovec *iov, unsigned n, uint32_t len)
{
	ssize_t r = hv_far_write(hv, iov, n, len);

	return r < 0 ? r : (ssize_t)len;
}

/* False: the channel is of no use any more. */
static bool pass_on(struct vmbus_channel *ch, const struct batch *b, pass_fn *pass,
		    uint32_t *ret_size)
{
	struct vmbus_port *port = ch->port;
	ssize_t took = 0;
	unsigned n;

	if (b->len > 0)
		took = pass(&ch->conn->hv, port->iov, b->n, b->len);
	if (unlikely(took == -EFAULT)) {
		lost_memory(port);
		return false;
	}
	if (unlikely(took < 0)) {
		port->vm.stats.reset_limit_bytes++;
		vmbus_channel_end(ch);
		return false;
	}
	if (!is_on(ch))
		return false;
	n = done_with(&ch->pipe, b, (uint32_t)took, ret_size);
	port->vm.stats.packets_from_guest += n;
	port->vm.stats.bytes_from_guest += (uint64_t)took;
	return true;
}

static void take_end(struct vmbus_channel *ch)
{
	if (ch->pipe.fin_taken)
		return;
	ch->pipe.fin_taken = true;
	hv_guest_shutdown(&ch->conn->hv, HV_SHUTDOWN_SEND);
}

/* One call's worth.  *ret_size: what is done with, of the ring.  Returns what was looked at; 0: there is nothing, or the channel
 * is of no use any more. */
static uint32_t take_batch(struct vmbus_channel *ch, pass_fn *pass, struct batch *b,
			   uint32_t *ret_size)
{
	int readable = vmbus_ring_readable(&ch->pipe.from_guest);

	if (readable == 0)
		return 0;
	if (unlikely(readable < 0)) {
		ch->port->vm.stats.queue_broken++;
		vmbus_channel_break(ch, "its write index is wrong");
		return 0;
	}
	if (unlikely(gather(ch, (uint32_t)readable, b) < 0)) {
		ch->port->vm.stats.reset_malformed++;
		vmbus_channel_break(ch, "a packet contradicts itself");
		return 0;
	}
	return pass_on(ch, b, pass, ret_size) ? b->size : 0;
}

/* Can the far end be given something? */
static bool can_take(const struct vmbus_channel *ch)
{
	return is_on(ch) && hv_far_takes(&ch->conn->hv);
}

static bool take(struct vmbus_channel *ch)
{
	struct vmbus_budget *left = &ch->port->left;
	bool found = false;
	uint32_t size, done;
	struct batch b;

	while (can_take(ch) && left->from_guest > 0 && left->packets > 0) {
		size = take_batch(ch, hv_far_send, &b, &done);
		if (size == 0)
			break;
		found = true;
		spend(&left->from_guest, size);
		spend(&left->packets, b.n_packets);
		if (done > 0 && vmbus_ring_consume(&ch->pipe.from_guest, done))
			call(ch);
		if (done == b.size && b.fin)
			take_end(ch);
	}
	return found;
}

void vmbus_take_rest(struct vmbus_channel *ch)
{
	uint32_t left = ch->pipe.from_guest.size, size, done;
	struct batch b;

	while (is_on(ch) && left > 0) {
		size = take_batch(ch, pass_all, &b, &done);
		if (size == 0)
			break;
		spend(&left, size);
		vmbus_ring_skip(&ch->pipe.from_guest, done);
		if (b.fin)
			take_end(ch);
	}
}

bool vmbus_has_ended(struct vmbus_channel *ch)
{
	struct vmbus_ring *ring = &ch->pipe.from_guest;
	const int size = (int)vmpipe_size(0);
	int readable = vmbus_ring_readable(ring);
	struct vmpipe_packet p;

	if (ch->pipe.fin_taken)
		return true;
	return readable >= size &&
	       vmpipe_next(ring, (uint32_t)(readable - size), (uint32_t)readable, &p) > 0 &&
	       p.len == 0;
}

/* ---- to the guest ------------------------------------------------------------------------------- */

static void await_reader(struct vmbus_channel *ch)
{
	ch->pipe.read_index = ch->pipe.to_guest.theirs;
	ch->pipe.had_ended = vmbus_has_ended(ch);
	loop_timer_set(hv_vm_loop(&ch->port->vm), &ch->timer, loop_now_ns() + VMBUS_READER_NS);
}

/* The guest does not read, or does again.  Before a far end that takes nothing, perhaps since the guest does not read, its end may
 * be in a ring that nobody looks at. */
static void watch_reader(struct vmbus_channel *ch)
{
	bool late = ch->pipe.wanting && (ch->pipe.fin_taken || !can_take(ch));

	if (!late)
		loop_timer_cancel(hv_vm_loop(&ch->port->vm), &ch->timer);
	else if (!ch->timer.set)
		await_reader(ch);
}

bool vmbus_is_read(struct vmbus_channel *ch)
{
	const struct vmbus_pipe *p = &ch->pipe;
	bool was_read;

	if (vmbus_ring_free(&ch->pipe.to_guest) < 0)
		return false;
	was_read = p->to_guest.theirs != p->read_index;
	if (!was_read && p->had_ended)
		return false;
	await_reader(ch);
	if (was_read)
		vmbus_wake(ch); /* perhaps it has more room than it told of */
	return true;
}

/* Free bytes worth writing to; 0: the guest will kick when there are; -EBADMSG. */
static int free_bytes(struct vmbus_pipe *p)
{
	int space = vmbus_ring_free(&p->to_guest);

	if (space < 0)
		return space;
	if ((uint32_t)space <= p->low && !p->wanting) {
		p->wanting = true;
		vmbus_ring_want(&p->to_guest, p->low);
		space = vmbus_ring_free(&p->to_guest);
		if (space < 0)
			return space;
	}
	if ((uint32_t)space <= p->low)
		return 0;
	if (p->wanting)
		vmbus_ring_want(&p->to_guest, 0);
	p->wanting = false;
	return space;
}

/* Room for packets, all but the last of the largest size: where their data goes in port->iov, how much in room[].  Returns
 * *ret_len, the sum. */
static unsigned lay_out(struct vmbus_channel *ch, uint32_t space, uint32_t room[PACKETS],
			uint32_t *ret_len)
{
	struct vmbus_port *port = ch->port;
	uint32_t at = 0, len = 0;
	unsigned n = 0, n_iov = 0;

	while (n < PACKETS && n_iov + VMBUS_RING_PIECES(VMPIPE_DATA_MAX) <= VMBUS_IOVS) {
		room[n] = vmpipe_room(space - at);
		if (room[n] == 0)
			break;
		n_iov += vmbus_ring_pieces(&ch->pipe.to_guest, at + VMPIPE_HEAD, room[n],
					   port->iov + n_iov);
		at += vmpipe_size(room[n]);
		len += room[n++];
	}
	*ret_len = len;
	return n_iov;
}

/* Make packets of len bytes that were laid out, and show them to the guest. */
static void send_off(struct vmbus_channel *ch, uint32_t len, const uint32_t room[PACKETS])
{
	struct hv_stats *stats = &ch->port->vm.stats;
	uint32_t at = 0;

	stats->bytes_to_guest += len;
	spend(&ch->port->left.to_guest, len);
	for (unsigned i = 0; len > 0; i++) {
		uint32_t part = min(len, room[i]);

		at += vmpipe_put(&ch->pipe.to_guest, at, part);
		len -= part;
		stats->packets_to_guest++;
		spend(&ch->port->left.packets, 1);
	}
	if (vmbus_ring_publish(&ch->pipe.to_guest, at))
		call(ch);
}

static bool give(struct vmbus_channel *ch)
{
	const struct vmbus_budget *left = &ch->port->left;
	uint32_t room[PACKETS] = { 0 }, len;
	bool found = false;

	while (is_on(ch) && left->to_guest > 0 && left->packets > 0 &&
	       hv_far_readable(&ch->conn->hv)) {
		int space = free_bytes(&ch->pipe);
		unsigned n_iov;
		ssize_t r;

		if (space < 0) {
			ch->port->vm.stats.queue_broken++;
			vmbus_channel_break(ch, "its read index is wrong");
			return true;
		}
		watch_reader(ch);
		if (space == 0)
			break;
		n_iov = lay_out(ch, (uint32_t)space, room, &len);
		r = hv_far_read(&ch->conn->hv, ch->port->iov, n_iov, len);
		if (r == -EFAULT)
			lost_memory(ch->port);
		if (r <= 0)
			break;
		found = true;
		if (is_on(ch))
			send_off(ch, (uint32_t)r, room);
	}
	return found;
}

bool vmbus_lingers(struct vmbus_channel *ch)
{
	struct vmbus_pipe *p = &ch->pipe;
	uint64_t now_ns = loop_now_ns(), age_ns = now_ns - p->opened_ns;

	if (age_ns >= VMBUS_LINGER_NS || vmbus_ring_free(&p->to_guest) < 0 ||
	    p->to_guest.theirs != p->first_read || p->from_guest.theirs != p->first_write)
		return false;
	loop_timer_set(hv_vm_loop(&ch->port->vm), &ch->timer,
		       now_ns + max(age_ns / 2, (uint64_t)VMBUS_LINGER_MIN_NS));
	return true;
}

/* Has the guest read all?  If not, it will kick when it has. */
static bool is_drained(struct vmbus_pipe *p)
{
	const int all = (int)p->to_guest.size;

	if (vmbus_ring_free(&p->to_guest) != all && !p->wanting) {
		p->wanting = true;
		vmbus_ring_want(&p->to_guest, p->to_guest.size - VMBUS_RING_ALIGN);
	}
	if (vmbus_ring_free(&p->to_guest) != all)
		return false;
	if (p->wanting)
		vmbus_ring_want(&p->to_guest, 0);
	p->wanting = false;
	return true;
}

/* What the far end's end means to the guest.  Linux 6.17 to 7.0 take an end that lies right behind bytes for an error, and lose them:
 * it follows when all that the far end sent has been read. */
static void conclude(struct vmbus_channel *ch)
{
	if (ch->far_ended && !ch->pipe.fin_sent && is_drained(&ch->pipe)) {
		ch->pipe.fin_sent = true;
		if (vmbus_ring_publish(&ch->pipe.to_guest, vmpipe_put(&ch->pipe.to_guest, 0, 0)))
			call(ch);
	}
	if (ch->far_gone && !vmbus_lingers(ch))
		vmbus_channel_end(ch);
}

/* ---- awake and asleep --------------------------------------------------------------------------- */

static void unlink_awake(struct vmbus_channel *ch)
{
	struct vmbus_port *port = ch->port;

	*(ch->prev_awake ? &ch->prev_awake->next_awake : &port->first_awake) = ch->next_awake;
	*(ch->next_awake ? &ch->next_awake->prev_awake : &port->last_awake) = ch->prev_awake;
	ch->next_awake = ch->prev_awake = NULL;
	ch->awake = false;
	port->n_awake--;
}

static void link_awake(struct vmbus_channel *ch)
{
	struct vmbus_port *port = ch->port;

	ch->awake = true;
	ch->prev_awake = port->last_awake;
	*(port->last_awake ? &port->last_awake->next_awake : &port->first_awake) = ch;
	port->last_awake = ch;
	port->n_awake++;
}

void vmbus_asleep(struct vmbus_channel *ch)
{
	if (ch->awake)
		unlink_awake(ch);
}

void vmbus_sleep(struct vmbus_port *port)
{
	if (port->polling)
		loop_poller_del(hv_vm_loop(&port->vm), &port->poller);
	port->polling = false;
}

/* It slept: would it have been better to go on looking? */
static void learn(struct vmbus_port *port, uint64_t quiet_since_ns)
{
	if (quiet_since_ns == 0)
		return;
	if (loop_now_ns() - quiet_since_ns < VMBUS_SPIN_NS)
		port->spin_ns = min(max(2 * port->spin_ns, (uint64_t)VMBUS_SPIN_MIN_NS),
				    (uint64_t)VMBUS_SPIN_NS);
	else
		port->spin_ns /= 2;
}

/* One that waits for the guest to read is kicked when there is room for more than a packet or two. */
static uint64_t patience(const struct vmbus_channel *ch)
{
	return ch->pipe.wanting ? ch->port->spin_ns / 4 : ch->port->spin_ns;
}

/* Nothing came.  Go on looking for a while, then ask for a kick.  One whose far end takes no more needs none: that will
 * wake it. */
static void found_nothing(struct vmbus_channel *ch)
{
	uint64_t now_ns = loop_now_ns();

	/* A read that failed for want of memory, or was interrupted: nobody will tell. */
	if (unlikely(is_on(ch) && hv_far_readable(&ch->conn->hv) && !ch->pipe.wanting)) {
		ch->idle_since_ns = 0;
		return;
	}
	if (ch->idle_since_ns == 0)
		ch->idle_since_ns = now_ns;
	if (now_ns - ch->idle_since_ns < patience(ch))
		return;
	if (can_take(ch)) {
		vmbus_ring_mask(&ch->pipe.from_guest, false);
		if (vmbus_ring_readable(&ch->pipe.from_guest) != 0) {
			vmbus_ring_mask(&ch->pipe.from_guest, true);
			ch->idle_since_ns = 0;
			return;
		}
	}
	ch->quiet_since_ns = ch->idle_since_ns;
	unlink_awake(ch);
}

/* One turn.  False: there was nothing to do. */
static bool serve(struct vmbus_channel *ch)
{
	bool took = take(ch), gave = give(ch);

	if (is_on(ch))
		conclude(ch);
	return took || gave;
}

static bool poll_port(struct loop_poller *poller)
{
	struct vmbus_port *port = container_of(poller, struct vmbus_port, poller);
	struct vmbus_budget *left = &port->left;
	bool found = false;

	*left = (struct vmbus_budget){ PASS_BYTES, PASS_BYTES, PASS_PACKETS };
	for (unsigned turns = min(port->n_awake, TURNS); turns > 0 && port->first_awake; turns--) {
		struct vmbus_channel *ch = port->first_awake;

		if (left->from_guest == 0 || left->to_guest == 0 || left->packets == 0)
			break; /* that one is the first of the next pass */
		unlink_awake(ch);
		link_awake(ch);
		if (serve(ch)) {
			ch->idle_since_ns = 0;
			found = true;
		} else if (ch->awake) {
			found_nothing(ch);
		}
	}
	if (unlikely(mem_damaged(&port->mem)))
		lost_memory(port);
	if (unlikely(port->blocked))
		vmbus_link_end(&port->link, -EPROTO,
			       "a descriptor was made blocking by the frontend");
	if (port->n_awake == 0)
		vmbus_sleep(port);
	for (unsigned i = 0; !found && i < RELAX; i++)
		cpu_relax();
	return port->n_awake > 0;
}

void vmbus_wake(struct vmbus_channel *ch)
{
	struct vmbus_port *port = ch->port;

	ch->idle_since_ns = 0;
	if (!ch->awake) {
		learn(port, ch->quiet_since_ns);
		vmbus_ring_mask(&ch->pipe.from_guest, true);
		link_awake(ch);
	}
	if (!port->polling)
		loop_poller_add(hv_vm_loop(&port->vm), &port->poller, poll_port);
	port->polling = true;
}
