/* SPDX-License-Identifier: MIT */
#include "pmem.h"

#include <errno.h>
#include <linux/virtio_pmem.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "checked.h"
#include "flush.h"
#include "le.h"
#include "listen.h"
#include "log.h"
#include "seat.h"

/* virtio 1.3, 5.19.3: newer than some headers that we are built with. */
#define F_SHMEM_REGION 0
#define REGION         0 /* 5.19.5.2: "a shared memory region with shmid 0" */
#define RESPONSE_OK    0u
#define RESPONSE_EIO   1u

#define SIZE_UNIT (2ull << 20) /* what devdax aligns to */

/* What the driver reads that does not know that feature: there is no memory. */
struct config_space {
	le64_t start, size;
};
static_assert(sizeof(struct config_space) == 16, "virtio 1.3, 5.19.4");

struct pmem {
	struct seat seat;
	struct loop *loop;
	char *name;
	int memory_fd;
	uint64_t size;
	bool writable;
	struct flush *flush;
	struct vu_device_ops ops; /* with this device's shmem_bit */
	struct pmem_stats stats;
	bool mapped;

	struct vu_queue *q;           /* NULL: not started */
	struct vq_burst burst;        /* what waits for the flush that is under way, */
	bool is_flush[VQ_BURST];      /* and whether it asked for it */
	struct flush_request request; /* that is, if it is queued */
	struct loop_work more;
	bool closing;
	struct loop_work freeing;
};

static struct pmem *of(const struct vu_session *s)
{
	return vu_session_device(s);
}

/* ---- requests ----------------------------------------------------------------------------------- */

/* The type of a request: false if the chain is too short for one, or for the answer. */
static bool read_type(const struct vq_chain *c, uint32_t *ret)
{
	le32_t type;
	size_t done = 0;

	if (c->out_len < sizeof(type) || c->in_len < sizeof(type))
		return false;
	for (unsigned i = 0; done < sizeof(type); i++) {
		size_t n = min(sizeof(type) - done, c->iov[i].iov_len);

		memcpy((uint8_t *)&type + done, c->iov[i].iov_base, n);
		done += n;
	}
	*ret = le32_get(type);
	return true;
}

/* Returns the bytes written: none where there is no room. */
static uint32_t write_response(const struct vq_chain *c, uint32_t value)
{
	const le32_t ret = le32_of(value);
	size_t done = 0;

	if (c->in_len < sizeof(ret))
		return 0;
	for (unsigned i = c->n_out; done < sizeof(ret); i++) {
		size_t n = min(sizeof(ret) - done, c->iov[i].iov_len);

		memcpy(c->iov[i].iov_base, (const uint8_t *)&ret + done, n);
		done += n;
	}
	return sizeof(ret);
}

/* Answer the whole burst, in its order. */
static void answer(struct pmem *p, int result)
{
	struct vq *vq = &p->q->vq;

	for (unsigned i = 0; i < p->burst.n; i++) {
		const struct vq_chain *c = &p->burst.chain[i];
		bool ok = p->is_flush[i] && result == 0;

		p->stats.failed += p->is_flush[i] && !ok;
		vq_push(vq, c->head, write_response(c, ok ? RESPONSE_OK : RESPONSE_EIO));
	}
	p->burst.n = 0;
	vq_publish(vq);
	vq_call(vq);
}

/* Read what was popped; how many of it are flushes. */
static unsigned judge(struct pmem *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->burst.n; i++) {
		uint32_t type;

		p->is_flush[i] = read_type(&p->burst.chain[i], &type) &&
				 type == VIRTIO_PMEM_REQ_TYPE_FLUSH;
		n += p->is_flush[i];
	}
	p->stats.requests += n;
	p->stats.bad += p->burst.n - n;
	return n;
}

static void on_more(struct loop_work *work);

static void on_flushed(struct flush_request *request, int status)
{
	struct pmem *p = container_of(request, struct pmem, request);

	answer(p, status);
	loop_defer(p->loop, &p->more, on_more);
}

/* One burst, and one flush for all of it. */
static void work(struct pmem *p)
{
	struct vu_queue *q = p->q;
	int n;

	if (!q || !q->enabled || p->request.queued)
		return;
	n = vq_pop(&q->vq, &p->burst, VQ_BURST);
	if (n < 0) {
		vu_session_queue_broken(q->session, q);
		return;
	}
	if (n == 0 && !vq_kick_on(&q->vq)) {
		(void)vu_session_check(q->session); /* a ring of which nothing is left looks idle */
		return;
	}
	if (n > 0 && judge(p) > 0 && p->writable) {
		p->stats.flushes++;
		flush_request(p->flush, &p->request, on_flushed);
		return;
	}
	if (n > 0)
		answer(p, 0);
	loop_defer(p->loop, &p->more, on_more);
}

static void on_more(struct loop_work *w)
{
	struct pmem *p = container_of(w, struct pmem, more);

	work(p);
}

/* ---- memory ------------------------------------------------------------------------------------- */

static void on_shmem_config(struct vu_session *s, uint64_t size[VU_SHMEM_REGIONS])
{
	size[REGION] = of(s)->size;
}

static void map(struct pmem *p, struct vu_session *s)
{
	const struct vu_shmem_map m = { .shmid = REGION, .writable = p->writable, .len = p->size };
	int r;

	if (!(vu_session_features(s) & BIT_ULL(F_SHMEM_REGION)))
		return;
	r = vu_session_shmem_map(s, &m, p->memory_fd);
	if (r < 0)
		log_limited(&p->seat.log, LOG_LEVEL_WARNING, p->name,
			    "the guest sees no memory: %s",
			    r == -EOPNOTSUPP ? "this frontend has no shared memory regions" :
					       strerror(-r));
}

static void on_shmem_answered(struct vu_session *s, uint8_t shmid, bool mapped, int result)
{
	struct pmem *p = of(s);

	if (result == 0) {
		p->stats.maps++;
		p->mapped = true;
		return;
	}
	p->stats.maps_refused++;
	if (!p->mapped)
		log_limited(&p->seat.log, LOG_LEVEL_WARNING, p->name,
			    "the frontend does not map the memory: it has it already, or %s",
			    p->writable ? "cannot" : "cannot map what is read-only");
}

/* ---- the device --------------------------------------------------------------------------------- */

static int on_get_config(struct vu_session *s, void *buf, uint32_t off, uint32_t len)
{
	static const struct config_space c;

	if (!range_within(off, len, sizeof(c)))
		return -EINVAL;
	memcpy(buf, (const uint8_t *)&c + off, len);
	return 0;
}

static void on_queue_start(struct vu_session *s, struct vu_queue *q)
{
	struct pmem *p = of(s);

	p->q = q;
	loop_defer(p->loop, &p->more, on_more);
}

static void on_queue_stop(struct vu_session *s, struct vu_queue *q)
{
	struct pmem *p = of(s);

	p->q = NULL;
	p->burst.n = 0; /* given back, and popped again by the next that starts */
	if (p->request.queued)
		flush_cancel(p->flush, &p->request);
}

/* Each start of the device enables its queue; a change of the memory table, as the mapping itself is one, does not. */
static void on_queue_enable(struct vu_session *s, struct vu_queue *q, bool on)
{
	struct pmem *p = of(s);

	if (on)
		map(p, s);
	loop_defer(p->loop, &p->more, on_more);
}

static void on_queue_kick(struct vu_session *s, struct vu_queue *q)
{
	work(of(s));
}

static void on_freeing(struct loop_work *w)
{
	struct pmem *p = container_of(w, struct pmem, freeing);

	loop_defer_cancel(p->loop, &p->more);
	free(p->name);
	free(p);
}

static void on_closed(struct vu_session *s, int reason)
{
	struct pmem *p = of(s);

	p->mapped = false;
	if (p->closing) {
		loop_defer(p->loop, &p->freeing, on_freeing);
		return;
	}
	seat_vacate(&p->seat);
	seat_next(&p->seat, reason);
}

static const struct vu_device_ops pmem_ops = {
	.name = "pmem",
	.features = BIT_ULL(F_SHMEM_REGION) | BIT_ULL(VIRTIO_F_RING_PACKED),
	/* QEMU makes what it maps a memory region, and takes it away at a reset.  By slots it then tells us of the region
	 * that it has no longer, and dies of looking for it (11.1). */
	.no_mem_slots = true,
	.max_queues = 1,
	.get_config = on_get_config,
	.shmem_config = on_shmem_config,
	.shmem_answered = on_shmem_answered,
	.queue_start = on_queue_start,
	.queue_stop = on_queue_stop,
	.queue_enable = on_queue_enable,
	.queue_kick = on_queue_kick,
	.closed = on_closed,
};

/* ---- life --------------------------------------------------------------------------------------- */

static int open_seat(struct pmem *p, const char *path)
{
	int fd, r;

	seat_init(&p->seat, p->loop, &p->ops, p, p->name);
	r = listen_unix(path, 0600, &fd);
	if (r < 0)
		return r;
	r = seat_open(&p->seat, path, fd);
	if (r < 0)
		listen_unlink(path);
	return r;
}

int pmem_new(struct loop *loop, const struct pmem_config *config, struct pmem **ret)
{
	struct pmem *p;
	int r;

	if (config->size == 0 || config->size % SIZE_UNIT != 0 ||
	    (config->shmem_bit && !proto_shmem_bit_name(config->shmem_bit)))
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->name = strdup(config->name);
	p->memory_fd = config->memory_fd;
	p->size = config->size;
	p->writable = config->writable;
	p->flush = config->flush;
	p->ops = pmem_ops;
	p->ops.shmem_bit = config->shmem_bit;
	r = p->name ? open_seat(p, config->path) : -ENOMEM;
	if (r < 0) {
		free(p->name);
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void pmem_close(struct pmem *p)
{
	if (!p)
		return;
	p->closing = true;
	p->q = NULL;
	if (p->request.queued)
		flush_cancel(p->flush, &p->request);
	if (!seat_close(&p->seat))
		loop_defer(p->loop, &p->freeing, on_freeing);
}

const char *pmem_name(const struct pmem *p)
{
	return p->name;
}

bool pmem_is_writable(const struct pmem *p)
{
	return p->writable;
}

const char *pmem_state(const struct pmem *p)
{
	return seat_state(&p->seat);
}

bool pmem_is_mapped(const struct pmem *p)
{
	return p->mapped;
}

const struct pmem_stats *pmem_stats(const struct pmem *p)
{
	return &p->stats;
}
