/* SPDX-License-Identifier: MIT */
#include "port_vmbus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "port_vmbus_impl.h"

/* ---- what the relay asks of a transport --------------------------------------------------------- */

static const char *on_state(const struct hv_vm *vm)
{
	const struct vmbus_port *port = (const void *)vm; /* its first member */

	return vm->closing ? "closed" : seat_state(&port->seat);
}

static int on_request(struct hv_conn *hv)
{
	struct vmbus_port *port = vmbus_port_of(hv->vm);

	if (!port->ready || !port->link.open)
		return -ENOTCONN;
	if (hv->seqpacket)
		return -EPROTONOSUPPORT;
	return vmbus_channel_to_guest(port, vmbus_conn_of(hv));
}

static void on_accepted(struct hv_conn *hv)
{
	struct vmbus_channel *ch = vmbus_conn_of(hv)->channel;

	if (ch) /* or it was over for the guest before */
		vmbus_channel_accepted(ch);
}

/* Something has changed for an open channel; for another it is found when it opens.  Without QEMU it is too late. */
static void look(struct vmbus_channel *ch)
{
	if (ch && ch->state == CHANNEL_OPEN && ch->port->link.open)
		vmbus_wake(ch);
}

static void on_readable(struct hv_conn *hv)
{
	look(vmbus_conn_of(hv)->channel);
}

static void on_taken(struct hv_conn *hv, uint32_t len)
{
	if (hv->out_len == 0)
		look(vmbus_conn_of(hv)->channel);
}

static void on_far_shutdown(struct hv_conn *hv, unsigned how)
{
	struct vmbus_channel *ch = vmbus_conn_of(hv)->channel;

	if (!ch)
		return;
	ch->far_ended = how & HV_SHUTDOWN_SEND;
	ch->far_gone = how == HV_SHUTDOWN_BOTH;
	look(ch);
}

static void on_reset(struct hv_conn *hv)
{
	struct vmbus_channel *ch = vmbus_conn_of(hv)->channel;

	if (ch)
		vmbus_channel_end(ch);
	else
		hv_guest_done(hv);
}

static void on_released(struct hv_conn *hv)
{
	struct vmbus_conn *conn = vmbus_conn_of(hv);

	if (!conn->channel)
		return;
	conn->channel->conn = NULL; /* nobody is there to be told */
	vmbus_channel_end(conn->channel);
}

static void port_free(struct vmbus_port *port)
{
	hv_vm_done(&port->vm);
	conntab_done(&port->endpoints);
	conntab_done(&port->offers);
	free(port);
}

static void on_free(struct loop_work *work)
{
	port_free(container_of(work, struct vmbus_port, work));
}

static void on_close(struct hv_vm *vm)
{
	struct vmbus_port *port = vmbus_port_of(vm);

	vmbus_channels_drop(port);
	vmbus_sleep(port);
	if (!seat_close(&port->seat))
		loop_defer(hv_vm_loop(vm), &port->work, on_free);
}

static const struct hv_transport_ops transport = {
	.name = "hvsock",
	.without_cid = true,
	.conn_size = sizeof(struct vmbus_conn),
	.state = on_state,
	.request = on_request,
	.accepted = on_accepted,
	.readable = on_readable,
	.taken = on_taken,
	.far_shutdown = on_far_shutdown,
	.reset = on_reset,
	.released = on_released,
	.close = on_close,
};

/* ---- messages about the machine ----------------------------------------------------------------- */

/* The guest has gone, and all that it had with it. */
static void lose_guest(struct vmbus_port *port)
{
	vmbus_channels_drop(port);
	vmbus_sleep(port);
	port->ready = false;
	hv_vm_guest_lost(&port->vm, true);
}

void vmbus_port_ready(struct vmbus_port *port)
{
	port->ready = true;
	hv_vm_tell_state(&port->vm);
}

static void on_hello(struct vmbus_port *port, struct msg *msg)
{
	const struct vmbus_hello hello = { .version = VMBUS_USER_VERSION };

	if (port->greeted) {
		vmbus_link_end(&port->link, -EPROTO, "HELLO: it was said");
		return;
	}
	port->greeted = true;
	vmbus_link_send(&port->link, VMBUS_HELLO, &hello);
	hv_vm_tell_state(&port->vm);
}

static struct mem_region_desc region_of(const struct msg *msg)
{
	const struct proto_region *r = &msg->payload.mem_reg.region;

	return (struct mem_region_desc){
		.gpa = GPA(r->gpa),
		.uva = UVA(r->uva),
		.size = r->size,
		.mmap_offset = r->mmap_offset,
	};
}

/* A region that cannot be mapped leaves the guest without channels whose rings lie there; one that cannot be ends the
 * connection. */
static void on_add_mem_reg(struct vmbus_port *port, struct msg *msg)
{
	struct mem_region_desc region = region_of(msg);
	int r = mem_add_region(&port->mem, &region, msg_take_fd(msg, 0));

	if (r == -EINVAL)
		vmbus_link_end(&port->link, -EPROTO, "ADD_MEM_REG: no such region can be");
	else if (r < 0)
		log_limited(&port->seat.log, LOG_LEVEL_WARNING, port->vm.name,
			    "guest memory of %llu bytes cannot be used: %s",
			    (unsigned long long)region.size, strerror(-r));
}

static void on_rem_mem_reg(struct vmbus_port *port, struct msg *msg)
{
	struct mem_region_desc region = region_of(msg);

	if (mem_del_region(&port->mem, &region) == 0) /* one that is not there has gone already */
		vmbus_channels_lose(port, region.gpa.v, region.size);
}

static void on_reset_message(struct vmbus_port *port, struct msg *msg)
{
	struct vmbus_reset reset;

	memcpy(&reset, &msg->payload, sizeof(reset));
	/* A QEMU that does not wait for the answer has given the memory to others. */
	if (!vmbus_link_hung_up(&port->link))
		vmbus_channels_drain(port);
	lose_guest(port);
	vmbus_link_send(&port->link, VMBUS_RESET_DONE, &reset);
	hv_vm_tell_state(&port->vm);
}

static void on_ready(struct vmbus_port *port, struct msg *msg)
{
	vmbus_port_ready(port);
}

typedef void message_fn(struct vmbus_port *port, struct msg *msg);

static message_fn *handler_of(uint32_t number)
{
	switch (number) {
	case VMBUS_HELLO:
		return on_hello;
	case VMBUS_ADD_MEM_REG:
		return on_add_mem_reg;
	case VMBUS_REM_MEM_REG:
		return on_rem_mem_reg;
	case VMBUS_CONNECT_REQUEST:
		return vmbus_on_connect_request;
	case VMBUS_OFFERED:
		return vmbus_on_offered;
	case VMBUS_OPEN:
		return vmbus_on_open;
	case VMBUS_CLOSE:
		return vmbus_on_close;
	case VMBUS_RELEASED:
		return vmbus_on_released;
	case VMBUS_RESET:
		return on_reset_message;
	case VMBUS_READY:
		return on_ready;
	default:
		return NULL; /* ours to send: vmbus_check() */
	}
}

/* ---- the connection with QEMU ------------------------------------------------------------------- */

static void on_message(struct vmbus_link *link, struct msg *msg)
{
	struct vmbus_port *port = container_of(link, struct vmbus_port, link);

	if (port->vm.closing)
		return;
	if (!port->greeted && msg->hdr.request != VMBUS_HELLO) {
		vmbus_link_end(link, -EPROTO, "%s before HELLO",
			       vmbus_message_name(msg->hdr.request));
		return;
	}
	handler_of(msg->hdr.request)(port, msg);
	if (mem_damaged(&port->mem))
		vmbus_link_end(link, -EFAULT, "guest memory was truncated by the frontend");
}

static void on_link_closed(struct vmbus_link *link, int reason)
{
	struct vmbus_port *port = container_of(link, struct vmbus_port, link);

	if (!port->vm.closing) {
		vmbus_channels_drain(port);
		lose_guest(port);
	}
	mem_done(&port->mem);
	if (port->vm.closing) {
		port_free(port);
		return;
	}
	seat_vacate(&port->seat);
	hv_vm_tell_state(&port->vm);
	seat_next(&port->seat, reason);
}

static const struct vmbus_link_ops link_ops = {
	.message = on_message,
	.closed = on_link_closed,
};

static int link_begin(struct seat *seat, int fd)
{
	struct vmbus_port *port = container_of(seat, struct vmbus_port, seat);
	int r = vmbus_link_open(&port->link, seat->loop, fd, &link_ops, port->vm.name, &seat->log);

	if (r < 0)
		return r;
	port->greeted = port->ready = port->blocked = false;
	(void)mem_init(&port->mem);
	return 0;
}

static void link_end(struct seat *seat)
{
	struct vmbus_port *port = container_of(seat, struct vmbus_port, seat);

	vmbus_link_close(&port->link, 0);
}

static const char *link_state(const struct seat *seat)
{
	const struct vmbus_port *port = container_of_const(seat, struct vmbus_port, seat);

	if (!port->link.open)
		return "closing";
	if (!port->greeted)
		return "connected";
	return port->ready ? "running" : "negotiated";
}

static const struct seat_protocol vmbus_user = {
	.begin = link_begin,
	.end = link_end,
	.state = link_state,
};

static void on_seated(struct seat *seat)
{
	struct vmbus_port *port = container_of(seat, struct vmbus_port, seat);

	hv_vm_tell_state(&port->vm);
}

/* ---- making ------------------------------------------------------------------------------------- */

static int port_new(struct hv_relay *relay, const struct hv_vm_config *config,
		    struct vmbus_port **ret_port)
{
	struct vmbus_port *port = calloc(1, sizeof(*port));
	uint64_t seed[2];
	int r;

	if (!port)
		return -ENOMEM;
	port->vm.ops = &transport;
	port->waiting_tail = &port->waiting;
	loop_timer_init(&port->waited, vmbus_on_waited);
	r = getrandom(seed, sizeof(seed), 0) == sizeof(seed) ? 0 : -errno;
	if (r == 0)
		r = conntab_init(&port->endpoints, seed[0]);
	if (r == 0)
		r = conntab_init(&port->offers, seed[1]);
	if (r == 0)
		r = hv_vm_init(&port->vm, relay, config);
	if (r < 0) {
		conntab_done(&port->endpoints);
		conntab_done(&port->offers);
		free(port);
		return r;
	}
	seat_init(&port->seat, hv_vm_loop(&port->vm), NULL, port, port->vm.name);
	port->seat.protocol = &vmbus_user;
	port->seat.seated = on_seated;
	port->seat.n_sessions = &port->vm.stats.sessions;
	port->seat.n_refused = &port->vm.stats.sessions_refused;
	*ret_port = port;
	return 0;
}

int port_vmbus_open(struct hv_relay *relay, const struct hv_vm_config *config, const char *path,
		    int listen_fd, struct hv_vm **ret_vm)
{
	auto_fd int fd = listen_fd;
	struct vmbus_port *port;
	int r = port_new(relay, config, &port);

	if (r < 0)
		return r;
	r = seat_open(&port->seat, path, fd_take(&fd));
	if (r < 0) {
		port_free(port);
		return r;
	}
	port->vm.state = on_state(&port->vm);
	*ret_vm = &port->vm;
	return 0;
}

int port_vmbus_adopt(struct hv_relay *relay, const struct hv_vm_config *config, int fd,
		     struct hv_vm **ret_vm)
{
	auto_fd int owned = fd;
	struct vmbus_port *port;
	int r = port_new(relay, config, &port);

	if (r < 0)
		return r;
	seat_adopt(&port->seat, fd_take(&owned));
	port->vm.state = on_state(&port->vm);
	*ret_vm = &port->vm;
	return 0;
}
