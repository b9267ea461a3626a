/* SPDX-License-Identifier: MIT */
#include "ring.h"

#include <stdlib.h>
#include <unistd.h>

#include "checked.h"

#define SIZE_DEFAULT  (1u << 20)
#define LANES_DEFAULT 8
#define SPIN_NS       20000 /* about what a wake-up takes */

int ring_plan(const struct portal_ring_options *options, struct ring_geometry *ret_geo)
{
	struct ring_geometry geo = { .kind = options->kind, .lanes = 1, .size = RING_SIZE_MIN };
	uint64_t size = options->size ? options->size : SIZE_DEFAULT;

	if (options->kind > PORTAL_BROADCAST || options->role > PORTAL_CONSUMER ||
	    size > RING_SIZE_MAX)
		return -EINVAL;
	while (geo.size < size)
		geo.size *= 2;
	if (options->kind == PORTAL_MPSC)
		geo.lanes = options->lanes ? options->lanes : LANES_DEFAULT;
	geo.max_record = options->max_record ? options->max_record : (uint32_t)(geo.size / 4);
	if (!options->max_record)
		geo.max_record = min(geo.max_record, ring_longest(geo.size));
	if (geo.lanes > RING_LANES_MAX || geo.max_record > ring_longest(geo.size))
		return -EINVAL;
	*ret_geo = geo;
	return 0;
}

static unsigned log2_of(uint64_t size)
{
	return 63 - (unsigned)__builtin_clzll(size);
}

void ring_format(void *mem, const struct ring_geometry *geo)
{
	struct ring_head *head = mem;

	/* Ends and the first word of each lane; what else lies there is never looked at. */
	memset(mem, 0, 2UL * RING_PAGE);
	for (uint32_t i = 0; i < geo->lanes; i++)
		memset((uint8_t *)mem + ring_lane_offset(i, geo->size), 0,
		       2UL * RING_PAGE + sizeof(le64_t));
	le32_store(&head->version, RING_VERSION);
	le32_store(&head->kind, geo->kind);
	le32_store(&head->lanes, geo->lanes);
	le32_store(&head->size_log2, log2_of(geo->size));
	le32_store(&head->max_record, geo->max_record);
	memcpy(head->magic, RING_MAGIC, sizeof(head->magic));
}

int ring_look(const void *mem, uint64_t len, struct ring_geometry *ret_geo)
{
	const struct ring_head *shared = mem;
	struct ring_geometry geo;
	struct ring_head head;
	uint32_t log2;

	if (len < 2UL * RING_PAGE)
		return -EPROTO;
	memcpy(&head, shared, sizeof(head));
	/* The copy is looked at again and again, the memory not. */
	__asm__ volatile("" : "+m"(head));
	log2 = le32_get(head.size_log2);
	if (memcmp(head.magic, RING_MAGIC, sizeof(head.magic)) != 0 ||
	    le32_get(head.version) != RING_VERSION || le32_get(head.kind) > PORTAL_BROADCAST ||
	    log2 > log2_of(RING_SIZE_MAX))
		return -EPROTO;
	geo = (struct ring_geometry){ le32_get(head.kind), le32_get(head.lanes),
				      le32_get(head.max_record), 1ULL << log2 };
	if (geo.size < RING_SIZE_MIN || geo.lanes == 0 || geo.lanes > RING_LANES_MAX ||
	    (geo.kind != PORTAL_MPSC && geo.lanes != 1) ||
	    geo.max_record > ring_longest(geo.size) || ring_total(geo.lanes, geo.size) > len)
		return -EPROTO;
	*ret_geo = geo;
	return 0;
}

/* ---- ends -------------------------------------------------------------------- */

/* Is what we open still there? */
static bool is_still(const struct portal_ring *r)
{
	const struct ring_env *env = &r->env;

	return !env->object || !env->ops || !env->ops->still ||
	       env->ops->still(env->ctx, env->object);
}

/* Put ourselves into an end that is free or a dead one's.  0, -EBUSY, -ENOENT. */
static int end_take(struct portal_ring *r, struct ring_end *end)
{
	uint64_t owner = le64_load_acquire(&end->owner);
	le64_t was = le64_of(owner), mine = le64_of(r->env.self);

	if (ring_alive(r, owner))
		return -EBUSY;
	if (!__atomic_compare_exchange_n(&end->owner.raw, &was.raw, mine.raw, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return -EBUSY;
	/* Partner: ring_heir().  Either we see that the name has been withdrawn, or are seen. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!is_still(r)) {
		/* What was there before us: by a dead owner's word the other end learns that there is nobody any more. */
		(void)__atomic_compare_exchange_n(&end->owner.raw, &mine.raw, was.raw, false,
						  __ATOMIC_RELAXED, __ATOMIC_RELAXED);
		return -ENOENT;
	}
	r->sleep_number = (le64_load(&end->sleep) >> 2) + 1; /* somebody may have died asleep */
	le64_store(&end->sleep, ring_awake(r));
	le32_store(&end->fault, RING_FAULT_NONE);
	le32_store_release(&end->state, RING_END_OPEN);
	r->end = end;
	return 0;
}

static void end_give(struct portal_ring *r, struct ring_end *end)
{
	le64_store(&end->sleep, ring_awake(r));
	if (le32_load(&end->state) != RING_END_POISONED)
		le32_store_release(&end->state, RING_END_CLOSED);
	/* Partner: end_gone(). */
	le64_store_release(&end->owner, 0);
	ring_wake_all(r);
}

/* Has an end been had, and is nobody there any more? */
static bool end_gone(const struct portal_ring *r, const struct ring_end *end)
{
	uint64_t owner = le64_load_acquire(&end->owner);

	if (owner)
		return !ring_alive(r, owner);
	return le32_load_acquire(&end->state) >= RING_END_CLOSED;
}

static bool poisoned(const struct ring_end *end)
{
	return le32_load_acquire(&end->state) == RING_END_POISONED;
}

int ring_check_peers(struct portal_ring *r)
{
	const struct ring_end *producer = ring_producer_end(r, 0);

	if (r->role == PORTAL_PRODUCER && !r->broadcast)
		return end_gone(r, r->far) || poisoned((const struct ring_end *)r->producer.place) ?
			       -EPIPE :
			       0;
	if (r->role == PORTAL_PRODUCER || r->many)
		return 0;
	if (r->broadcast && broadcast_gone(r))
		return -EPIPE;
	/* Gone first, then empty: what it committed last is there by then. */
	return (end_gone(r, producer) || poisoned(producer)) && !ring_ready(r) ? -EPIPE : 0;
}

/* ---- opening ------------------------------------------------------------------ */

static int lane_produce(struct portal_ring *r, uint32_t lane)
{
	struct ring_end *end = ring_producer_end(r, lane), *place = ring_place(r, lane);
	uint8_t *data = ring_lane_data(r, lane);
	uint64_t from, tail;
	int res;

	if (!r->broadcast && poisoned(place))
		return -EPIPE;
	res = end_take(r, end);
	if (res < 0)
		return res;
	from = le64_load_acquire(r->broadcast ? &end->position : &place->position);
	res = lane_find_tail(data, r->geo.size, r->geo.max_record, from, &tail);
	if (res < 0) {
		end_give(r, end);
		return res;
	}
	r->producer = (struct lane_producer){
		.data = data,
		.mask = r->geo.size - 1,
		.tail = tail,
		.max_record = r->geo.max_record,
		.short_most = r->broadcast ? -1 : (int64_t)min(r->geo.max_record, LANE_SHORT),
		.seen = from,
		.own = end,
		.place = place,
		.peer = r->far,
	};
	if (r->broadcast)
		le64_store_release(&end->position, tail);
	return 0;
}

static int producer_open(struct portal_ring *r)
{
	int res = -EBUSY;

	if (r->env.self == 0)
		return -EROFS;
	for (uint32_t i = 0; i < r->geo.lanes; i++) {
		int lane = lane_produce(r, i);

		if (lane == 0 || lane == -ENOENT)
			return lane;
		/* A lane that somebody has is an answer only if no other one says more. */
		if (lane != -EBUSY)
			res = lane;
	}
	return res;
}

static int consumer_open(struct portal_ring *r)
{
	int res;

	r->lanes = calloc(r->geo.lanes, sizeof(*r->lanes));
	if (!r->lanes)
		return -ENOMEM;
	if (r->broadcast) {
		/* Readers have no page in the ring: what a consumer writes goes into one of their own. */
		r->end = calloc(1, sizeof(*r->end));
		if (!r->end)
			return -ENOMEM;
	} else if (r->env.self == 0) {
		return -EROFS;
	} else {
		res = end_take(r, r->far);
		if (res < 0)
			return res;
	}
	for (uint32_t i = 0; i < r->geo.lanes; i++) {
		struct ring_end *place = r->broadcast ? r->end : ring_place(r, i);
		uint64_t position = le64_load_acquire(&place->position) & ~7ULL;

		le32_store(&place->fault, RING_FAULT_NONE);
		le32_store_release(&place->state, RING_END_OPEN);
		r->lanes[i] = (struct lane_consumer){
			.max_record = r->geo.max_record,
			.short_most = min(r->geo.max_record, LANE_SHORT),
			.index = i,
			.place = place,
			.peer = ring_producer_end(r, i),
			.quiesce = r->env.quiesce,
			.writing = &r->writing,
		};
		lane_consumer_init(&r->lanes[i], ring_lane_data(r, i), r->geo.size, position);
	}
	r->lane = r->lanes;
	if (!r->many && !r->broadcast)
		r->direct = r->lane;
	if (r->broadcast)
		broadcast_join(r);
	return 0;
}

/* A lane in which nothing ever comes, for who has none. */
static const uint64_t silence;
static struct lane_consumer silent = { .since = LANE_NEVER,
				       .data = (const uint8_t *)&silence,
				       .mask = sizeof(silence) - 1 };

static void lanes_free(struct portal_ring *r)
{
	if (r->broadcast && r->role == PORTAL_CONSUMER)
		free(r->end);
	free(r->lanes);
	r->end = NULL;
	r->lanes = NULL;
	r->lane = NULL;
	r->direct = &silent;
}

int ring_open(void *mem, uint64_t len, enum portal_role role, const struct ring_env *env,
	      struct portal_ring **ret_ring)
{
	/* For who may not write here: not RUNNING, for ever. */
	static const le64_t never = { ~0ULL };
	static const le64_t always;
	struct portal_ring *r;
	int res;

	if (role > PORTAL_CONSUMER)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	res = ring_look(mem, len, &r->geo);
	if (res < 0) {
		free(r);
		return res;
	}
	r->role = role;
	r->many = r->geo.kind == PORTAL_MPSC;
	r->broadcast = r->geo.kind == PORTAL_BROADCAST;
	r->env = *env;
	if (!r->env.quiesce)
		r->env.quiesce = &always;
	r->mem = mem;
	r->direct = &silent;
	r->far = (struct ring_end *)(void *)(r->mem + RING_PAGE);
	/* Where there is one processor, who spins keeps away whom it waits for. */
	r->futexes = ring_has_futexes(&r->far->bell);
	r->spin_ns = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? SPIN_NS : 0;
	r->quiesce = role == PORTAL_CONSUMER ? &never : r->env.quiesce;
	res = role == PORTAL_PRODUCER ? producer_open(r) : consumer_open(r);
	if (res < 0) {
		lanes_free(r);
		free(r);
		return res;
	}
	r->env.object = NULL;
	*ret_ring = r;
	return 0;
}

void ring_leave(struct portal_ring *r)
{
	if (r->role == PORTAL_PRODUCER) {
		end_give(r, r->end);
	} else if (!r->broadcast) {
		for (uint32_t i = 0; i < r->geo.lanes; i++)
			lane_say(&r->lanes[i]);
		end_give(r, r->end);
	}
	ring_end(&r->writing);
	lanes_free(r);
	r->closed = true;
}

void ring_close(struct portal_ring *r)
{
	if (!r)
		return;
	ring_leave(r);
	free(r);
}

void ring_unmake(void *mem)
{
	le64_store((le64_t *)mem, 0);
}

static uint32_t first_fault(const struct portal_ring *r)
{
	for (uint32_t i = 0; r->lanes && i < r->geo.lanes; i++)
		if (r->lanes[i].fault)
			return r->lanes[i].fault;
	return r->producer.fault;
}

void portal_ring_info(const struct portal_ring *r, struct portal_ring_info *ret_info)
{
	*ret_info = (struct portal_ring_info){
		.kind = r->geo.kind,
		.role = r->role,
		.lanes = r->geo.lanes,
		.max_record = r->geo.max_record,
		.size = r->geo.size,
		.wakes = r->wakes,
		.sleeps = r->sleeps,
		.lost = r->lost,
		.fault = (enum portal_fault)first_fault(r),
	};
}

uint64_t ring_heir(const void *mem, uint64_t len, bool (*alive)(void *ctx, uint64_t owner),
		   void *ctx)
{
	const uint8_t *start = mem;
	struct ring_geometry geo;
	uint64_t owner;

	/* Partner: end_take(). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring_look(mem, len, &geo) < 0)
		return 0;
	owner = le64_load(&((const struct ring_end *)(const void *)(start + RING_PAGE))->owner);
	for (uint32_t i = 0; !(owner && alive(ctx, owner)) && i < geo.lanes; i++)
		owner = le64_load(
			&((const struct ring_end *)(const void *)(start +
								  ring_lane_offset(i, geo.size)))
				 ->owner);
	return owner && alive(ctx, owner) ? owner : 0;
}
