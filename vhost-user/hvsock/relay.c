/* SPDX-License-Identifier: MIT */
#include "relay.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base.h"
#include "journal.h"
#include "log.h"
#include "relay_impl.h"

#define SECOND_NS 1000000000ull

/* ---- the relay ---------------------------------------------------------------------------------- */

int hv_relay_new(struct loop *loop, const struct hv_host_ops *ops, void *context,
		 const char *journal_path, struct hv_relay **ret_relay)
{
	struct hv_relay *relay = calloc(1, sizeof(*relay));
	int r;

	if (!relay)
		return -ENOMEM;
	relay->loop = loop;
	relay->ops = ops;
	relay->context = context;
	r = journal_open(journal_path, &relay->journal);
	if (r < 0) {
		free(relay);
		return r;
	}
	*ret_relay = relay;
	return 0;
}

void hv_relay_free(struct hv_relay *relay)
{
	if (!relay)
		return;
	assert(!relay->first);
	journal_free(relay->journal);
	free(relay);
}

/* ---- VMs ---------------------------------------------------------------------------------------- */

static bool name_is_good(const char *name)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");

	return n > 0 && n < HV_VM_NAME_MAX && name[n] == '\0';
}

struct hv_vm *hv_vm_find(const struct hv_relay *relay, const char *name)
{
	for (struct hv_vm *vm = relay->first; vm; vm = vm->next)
		if (strcmp(vm->name, name) == 0)
			return vm;
	return NULL;
}

struct hv_vm *hv_vm_of_cid(const struct hv_relay *relay, uint64_t cid)
{
	for (struct hv_vm *vm = relay->first; vm; vm = vm->next)
		if (vm->cid == cid && cid != 0)
			return vm;
	return NULL;
}

static bool cid_is_good(const struct hv_transport_ops *ops, uint32_t cid)
{
	return ops->without_cid ? cid == 0 : cid >= HV_CID_MIN && cid <= HV_CID_MAX;
}

static int check_config(const struct hv_relay *relay, const struct hv_transport_ops *ops,
			const struct hv_vm_config *c)
{
	if (!name_is_good(c->name) || !cid_is_good(ops, c->cid) ||
	    c->limits.connections > HV_CONNECTIONS_MAX)
		return -EINVAL;
	if (hv_vm_find(relay, c->name) || hv_vm_of_cid(relay, c->cid))
		return -EEXIST;
	return relay->n_vms < HV_VMS_MAX ? 0 : -ENOSPC;
}

static void vm_link(struct hv_vm *vm)
{
	struct hv_relay *relay = vm->relay;

	vm->prev = relay->last;
	if (relay->last)
		relay->last->next = vm;
	else
		relay->first = vm;
	relay->last = vm;
	relay->n_vms++;
}

static void vm_unlink(struct hv_vm *vm)
{
	struct hv_relay *relay = vm->relay;

	if (vm->next)
		vm->next->prev = vm->prev;
	else
		relay->last = vm->prev;
	if (vm->prev)
		vm->prev->next = vm->next;
	else
		relay->first = vm->next;
	relay->n_vms--;
}

int hv_vm_init(struct hv_vm *vm, struct hv_relay *relay, const struct hv_vm_config *c)
{
	uint32_t random;
	int r = check_config(relay, vm->ops, c);

	if (r < 0)
		return r;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -errno;
	vm->allow = calloc(max(c->n_allow, 1u), sizeof(*vm->allow));
	if (!vm->allow)
		return -ENOMEM;
	vm->relay = relay;
	memcpy(vm->name, c->name, strlen(c->name) + 1); /* name_is_good() has measured it */
	vm->cid = c->cid;
	vm->limits = c->limits;
	if (!vm->limits.connections)
		vm->limits.connections = HV_CONNECTIONS_DEFAULT;
	if (!vm->limits.buffer_bytes)
		vm->limits.buffer_bytes = HV_BUFFER_BYTES_DEFAULT;
	vm->allow_listed = c->allow_listed;
	vm->n_allow = c->n_allow;
	if (c->n_allow)
		memcpy(vm->allow, c->allow, c->n_allow * sizeof(*vm->allow));
	vm->state = "";
	vm->rate.tokens_ns = SECOND_NS;
	vm->host_port = HV_HOST_PORT_MIN | (random & (HV_HOST_PORT_MAX - HV_HOST_PORT_MIN));
	buffer_pool_init(&vm->pool, vm->limits.buffer_bytes);
	vm_link(vm);
	return 0;
}

struct loop *hv_vm_loop(const struct hv_vm *vm)
{
	return vm->relay->loop;
}

struct hv_journal *hv_vm_journal(const struct hv_vm *vm)
{
	return vm->relay->journal;
}

void hv_vm_tell_state(struct hv_vm *vm)
{
	const char *state = vm->ops->state(vm);

	if (vm->closing || strcmp(state, vm->state) == 0)
		return;
	vm->state = state;
	log_debug(vm->name, "%s", state);
	if (vm->relay->ops->vm_state)
		vm->relay->ops->vm_state(vm, vm->relay->context);
}

const char *hv_vm_state(const struct hv_vm *vm)
{
	return vm->ops->state(vm);
}

const char *hv_vm_transport(const struct hv_vm *vm)
{
	return vm->ops->name;
}

const char *hv_vm_name(const struct hv_vm *vm)
{
	return vm->name;
}

uint32_t hv_vm_cid(const struct hv_vm *vm)
{
	return vm->cid;
}

const struct hv_stats *hv_vm_stats(const struct hv_vm *vm)
{
	return &vm->stats;
}

const struct hv_limits *hv_vm_limits(const struct hv_vm *vm)
{
	return &vm->limits;
}

unsigned hv_vm_connections(const struct hv_vm *vm)
{
	return vm->n_conns;
}

uint64_t hv_vm_buffered(const struct hv_vm *vm)
{
	return vm->pool.used;
}

void hv_vm_set_data(struct hv_vm *vm, void *data)
{
	vm->data = data;
}

void *hv_vm_data(const struct hv_vm *vm)
{
	return vm->data;
}

struct hv_vm *hv_vm_next(const struct hv_relay *relay, const struct hv_vm *vm)
{
	return vm ? vm->next : relay->first;
}

/* ---- limits ------------------------------------------------------------------------------------- */

/* One token is a second's share.  A second's worth may be saved. */
static bool rate_take(struct hv_vm *vm)
{
	uint64_t price, now;

	if (vm->limits.connects_per_second == 0)
		return true;
	price = SECOND_NS / vm->limits.connects_per_second;
	now = loop_now_ns();
	vm->rate.tokens_ns =
		min(vm->rate.tokens_ns + (now - vm->rate.last_ns), (uint64_t)SECOND_NS);
	vm->rate.last_ns = now;
	if (vm->rate.tokens_ns < price)
		return false;
	vm->rate.tokens_ns -= price;
	return true;
}

static bool allows(const struct hv_vm *vm, uint32_t cid)
{
	if (!vm->allow_listed)
		return true;
	for (unsigned i = 0; i < vm->n_allow; i++)
		if (vm->allow[i] == cid)
			return true;
	return false;
}

int hv_conn_allowed(struct hv_vm *vm, uint64_t cid)
{
	if (vm->n_conns >= vm->limits.connections) {
		vm->stats.refused_limit_connections++;
		return -EMFILE;
	}
	if (!rate_take(vm)) {
		vm->stats.refused_limit_rate++;
		return -EBUSY;
	}
	if (cid != HV_CID_HOST) {
		const struct hv_vm *other = hv_vm_of_cid(vm->relay, cid);

		if (!other || !allows(vm, other->cid) || !allows(other, vm->cid)) {
			vm->stats.refused_sibling++;
			return -EHOSTUNREACH;
		}
	}
	return 0;
}

/* ---- the life of a connection ------------------------------------------------------------------- */

static void conn_link(struct hv_conn *conn)
{
	struct hv_vm *vm = conn->vm;

	conn->prev = vm->last;
	if (vm->last)
		vm->last->next = conn;
	else
		vm->first = conn;
	vm->last = conn;
	vm->n_conns++;
}

static void conn_unlink(struct hv_conn *conn)
{
	struct hv_vm *vm = conn->vm;

	if (conn->next)
		conn->next->prev = conn->prev;
	else
		vm->last = conn->prev;
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		vm->first = conn->next;
	vm->n_conns--;
}

static void on_timeout(struct loop_timer *timer);

static struct hv_conn *conn_make(struct hv_vm *vm, uint32_t guest_port, uint32_t cid, uint32_t port,
				 bool seqpacket)
{
	struct hv_conn *conn = calloc(1, vm->ops->conn_size);

	if (!conn)
		return NULL;
	conn->vm = vm;
	conn->guest_port = guest_port;
	conn->cid = cid;
	conn->port = port;
	conn->seqpacket = seqpacket;
	conn->fd = -1;
	conn->journal = JOURNAL_NONE;
	loop_timer_init(&conn->timer, on_timeout);
	conn_link(conn);
	return conn;
}

static void conn_free(struct hv_conn *conn)
{
	struct hv_vm *vm = conn->vm;

	assert(conn->fd < 0 && !conn->sibling);
	loop_timer_cancel(vm->relay->loop, &conn->timer);
	loop_defer_cancel(vm->relay->loop, &conn->work);
	vm->ops->released(conn);
	buffer_clear(&conn->out, &vm->pool);
	journal_remove(vm->relay->journal, conn->journal);
	conn_unlink(conn);
	free(conn);
}

static void on_over(struct loop_work *work)
{
	conn_free(container_of(work, struct hv_conn, work));
}

/* Both halves have ended. */
static void conn_over(struct hv_conn *conn)
{
	if (conn->queued_free)
		return;
	conn->queued_free = true;
	loop_defer(conn->vm->relay->loop, &conn->work, on_over);
}

void conn_far_gone(struct hv_conn *conn)
{
	conn->far_done = true;
	conn->state = HV_CONN_CLOSING;
	if (conn->guest_done)
		conn_over(conn);
	else
		loop_timer_set(conn->vm->relay->loop, &conn->timer, loop_now_ns() + HV_CLOSE_NS);
}

/* For a successor who has to tell a guest.  One without a CID needs nobody for that: its frontend tells it. */
static void keep_in_journal(struct hv_conn *conn)
{
	if (conn->vm->cid == 0)
		return;
	conn->journal = journal_add(conn->vm->relay->journal,
				    &(struct journal_entry){ .vm_cid = conn->vm->cid,
							     .guest_port = conn->guest_port,
							     .cid = conn->cid,
							     .port = conn->port,
							     .type = conn->seqpacket + 1u });
}

struct hv_conn *hv_conn_new(struct hv_vm *vm, uint32_t guest_port, uint32_t cid, uint32_t port,
			    bool seqpacket)
{
	struct hv_conn *conn = conn_make(vm, guest_port, cid, port, seqpacket);

	if (conn)
		conn->state = HV_CONN_REQUESTED;
	return conn;
}

void hv_conn_abandon(struct hv_conn *conn)
{
	conn_free(conn);
}

/* The far end joined: the guest's request is answered. */
static void conn_joined(struct hv_conn *conn)
{
	conn->state = HV_CONN_CONNECTED;
	conn->vm->stats.connections_from_guest++;
	keep_in_journal(conn);
	conn->vm->ops->accepted(conn);
}

/* Nobody takes the guest's request. */
static void conn_refused(struct hv_conn *conn)
{
	conn_far_gone(conn);
	conn->vm->ops->reset(conn);
}

static void ask_sibling(struct hv_conn *conn)
{
	struct hv_vm *vm = hv_vm_of_cid(conn->vm->relay, conn->cid);
	struct hv_conn *other = NULL;

	if (vm && vm->n_conns < vm->limits.connections)
		other = conn_make(vm, conn->port, conn->vm->cid, conn->guest_port, conn->seqpacket);
	else if (vm)
		vm->stats.refused_limit_connections++;
	if (other) {
		other->to_guest = true;
		other->state = HV_CONN_CONNECTING;
		if (vm->ops->request(other) == 0) {
			other->sibling = conn;
			conn->sibling = other;
			loop_timer_set(vm->relay->loop, &other->timer,
				       loop_now_ns() + HV_CONNECT_NS);
			return;
		}
		conn_free(other);
	}
	conn->vm->stats.refused_sibling++;
	conn_refused(conn);
}

void hv_conn_ask(struct hv_conn *conn)
{
	struct hv_relay *relay = conn->vm->relay;

	if (conn->cid == HV_CID_HOST)
		relay->ops->request(conn, relay->context);
	else
		ask_sibling(conn);
}

int hv_accept(struct hv_conn *conn, int fd)
{
	int r;

	assert(conn->state == HV_CONN_REQUESTED && !conn->sibling);
	conn->fd = fd;
	r = far_join(conn);
	if (r < 0) {
		far_drop(conn);
		conn->vm->stats.refused_by_host++;
		conn->vm->ops->reset(conn);
		return r;
	}
	conn_joined(conn);
	return 0;
}

void hv_refuse(struct hv_conn *conn)
{
	assert(conn->state == HV_CONN_REQUESTED && !conn->sibling);
	conn->vm->stats.refused_by_host++;
	conn_refused(conn);
}

/* ---- connections to the guest ------------------------------------------------------------------- */

/* Dial from the next port that is free.  Two connections to one port of a guest are told apart by it alone. */
static int request_from_any(struct hv_vm *vm, struct hv_conn *conn)
{
	int r = -EADDRINUSE;

	for (unsigned i = 0; r == -EADDRINUSE && i <= HV_CONNECTIONS_MAX; i++) {
		conn->port = vm->host_port;
		vm->host_port = vm->host_port == HV_HOST_PORT_MAX ? HV_HOST_PORT_MIN :
								    vm->host_port + 1;
		r = vm->ops->request(conn);
	}
	return r;
}

int hv_connect(struct hv_vm *vm, uint32_t port, int type, int fd, hv_connected_fn *done, void *data,
	       struct hv_conn **ret_conn)
{
	struct hv_conn *conn;
	int r;

	assert(type == SOCK_STREAM || type == SOCK_SEQPACKET);
	if (vm->closing)
		return -ENOTCONN;
	if (vm->n_conns >= vm->limits.connections) {
		vm->stats.refused_limit_connections++;
		return -EMFILE;
	}
	conn = conn_make(vm, port, HV_CID_HOST, 0, type == SOCK_SEQPACKET);
	if (!conn)
		return -ENOMEM;
	conn->to_guest = true;
	conn->state = HV_CONN_CONNECTING;
	conn->done = done;
	conn->data = data;
	r = request_from_any(vm, conn);
	if (r < 0) {
		conn_free(conn);
		return r;
	}
	conn->fd = fd; /* borrowed until done() */
	r = far_join(conn);
	if (r < 0) {
		conn->fd = -1;
		conn_free(conn);
		return r;
	}
	loop_timer_set(vm->relay->loop, &conn->timer, loop_now_ns() + HV_CONNECT_NS);
	*ret_conn = conn;
	return 0;
}

/* The guest's answer to a request, or its absence.  What was borrowed is given back if it is no. */
static void conn_answered(struct hv_conn *conn, int result)
{
	hv_connected_fn *done = conn->done;

	loop_timer_cancel(conn->vm->relay->loop, &conn->timer);
	conn->done = NULL;
	if (result < 0) {
		loop_del(&conn->source);
		conn->fd = -1;
	}
	if (result == -ECONNREFUSED || result == -ETIMEDOUT)
		conn->vm->stats.refused_by_guest++;
	if (done)
		done(conn, result, conn->data);
}

void hv_guest_accepted(struct hv_conn *conn)
{
	assert(conn->state == HV_CONN_CONNECTING);
	conn->vm->stats.connections_to_guest++;
	conn->state = HV_CONN_CONNECTED;
	keep_in_journal(conn);
	conn_answered(conn, 0);
	if (conn->sibling)
		conn_joined(conn->sibling);
	else if (conn->readable)
		conn->vm->ops->readable(conn);
}

/* The far end of a connection that the guest has not accepted gives up, or is given up. */
static void conn_unanswered(struct hv_conn *conn, int result)
{
	struct hv_conn *other = conn->sibling;

	conn_answered(conn, result);
	if (other) {
		other->sibling = NULL;
		conn->sibling = NULL;
		conn_refused(other);
	}
	conn_far_gone(conn);
}

void conn_give_up(struct hv_conn *conn, int result)
{
	conn_unanswered(conn, result);
	conn->vm->ops->reset(conn);
}

void hv_cancel(struct hv_conn *conn)
{
	assert(conn->state == HV_CONN_CONNECTING && !conn->sibling);
	conn->done = NULL;
	conn_give_up(conn, -ECANCELED);
}

static void on_timeout(struct loop_timer *timer)
{
	struct hv_conn *conn = container_of(timer, struct hv_conn, timer);

	if (conn->state == HV_CONN_CONNECTING) {
		conn_give_up(conn, -ETIMEDOUT);
		return;
	}
	conn->vm->stats.reset_timeout++;
	conn->vm->ops->reset(conn);
}

/* ---- the guest's half ends ---------------------------------------------------------------------- */

void hv_guest_shutdown(struct hv_conn *conn, unsigned how)
{
	conn->guest_shutdown = (uint8_t)(conn->guest_shutdown | how);
	if (conn->state == HV_CONN_CONNECTED)
		far_guest_shutdown(conn);
}

/* The guest gave up before the far end had answered. */
static void unasked(struct hv_conn *conn)
{
	struct hv_relay *relay = conn->vm->relay;
	struct hv_conn *other = conn->sibling;

	if (other) {
		other->sibling = NULL;
		conn->sibling = NULL;
		conn_far_gone(other);
		other->vm->ops->reset(other);
	} else {
		relay->ops->gone(conn, relay->context);
	}
	conn_far_gone(conn);
}

static void guest_done(struct hv_conn *conn, int result)
{
	if (conn->guest_done)
		return;
	conn->guest_done = true;
	if (conn->far_done) {
		conn_over(conn);
		return;
	}
	switch (conn->state) {
	case HV_CONN_REQUESTED:
		unasked(conn);
		break;
	case HV_CONN_CONNECTING:
		conn_unanswered(conn, result);
		break;
	case HV_CONN_CONNECTED:
	case HV_CONN_CLOSING:
	case HV_CONN_STATE_COUNT:
		hv_guest_shutdown(conn, HV_SHUTDOWN_BOTH);
		break;
	}
}

void hv_guest_done(struct hv_conn *conn)
{
	journal_remove(conn->vm->relay->journal, conn->journal);
	conn->journal = JOURNAL_NONE;
	guest_done(conn, -ECONNREFUSED);
}

void hv_vm_guest_lost(struct hv_vm *vm, bool known)
{
	struct hv_journal *journal = vm->relay->journal;

	for (struct hv_conn *conn = vm->first; conn; conn = conn->next) {
		if (known)
			journal_remove(journal, conn->journal);
		else
			journal_orphan(journal, conn->journal);
		conn->journal = JOURNAL_NONE;
		guest_done(conn, -ECONNRESET);
	}
	if (known)
		journal_drop_orphans(journal, vm->cid);
}

/* ---- closing a VM ------------------------------------------------------------------------------- */

void hv_vm_close(struct hv_vm *vm)
{
	if (vm->closing)
		return;
	hv_vm_guest_lost(vm, false);
	for (struct hv_conn *conn = vm->first; conn; conn = conn->next)
		if (!conn->far_done)
			far_drop(conn);
	vm->closing = true;
	vm_unlink(vm);
	vm->ops->close(vm);
}

void hv_vm_done(struct hv_vm *vm)
{
	while (vm->first)
		conn_free(vm->first);
	if (!vm->closing)
		vm_unlink(vm);
	buffer_pool_done(&vm->pool);
	free(vm->allow);
}

/* ---- what is told of a connection --------------------------------------------------------------- */

struct hv_vm *hv_conn_vm(const struct hv_conn *conn)
{
	return conn->vm;
}

int hv_conn_type(const struct hv_conn *conn)
{
	return conn->seqpacket ? SOCK_SEQPACKET : SOCK_STREAM;
}

uint32_t hv_conn_guest_port(const struct hv_conn *conn)
{
	return conn->guest_port;
}

uint32_t hv_conn_port(const struct hv_conn *conn)
{
	return conn->port;
}

uint32_t hv_conn_cid(const struct hv_conn *conn)
{
	return conn->cid;
}

bool hv_conn_to_guest(const struct hv_conn *conn)
{
	return conn->to_guest;
}

const char *hv_conn_state(const struct hv_conn *conn)
{
	static const char *const names[] = {
		[HV_CONN_REQUESTED] = "requested",
		[HV_CONN_CONNECTING] = "connecting",
		[HV_CONN_CONNECTED] = "connected",
		[HV_CONN_CLOSING] = "closing",
	};

	static_assert(array_size(names) == HV_CONN_STATE_COUNT, "a name for each state");
	return names[conn->state];
}

uint64_t hv_conn_bytes_from_guest(const struct hv_conn *conn)
{
	return conn->bytes_from_guest;
}

uint64_t hv_conn_bytes_to_guest(const struct hv_conn *conn)
{
	return conn->bytes_to_guest;
}

uint32_t hv_conn_buffered(const struct hv_conn *conn)
{
	return conn->out_len;
}

void hv_conn_set_data(struct hv_conn *conn, void *data)
{
	conn->data = data;
}

void *hv_conn_data(const struct hv_conn *conn)
{
	return conn->data;
}

struct hv_conn *hv_conn_next(const struct hv_vm *vm, const struct hv_conn *conn)
{
	return conn ? conn->next : vm->first;
}
