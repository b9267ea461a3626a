/* SPDX-License-Identifier: MIT */
#include "portald.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "backend.h"
#include "base.h"
#include "blocks.h"
#include "ctl.h"
#include "log.h"

#define MS 1000000ull

/* ---- what happens ---- */

/* What has become of the file, in words; NULL: nothing.  A mapping whose file was cut reads as zeros where it is touched,
 * and is not noticed where it is not. */
static const char *loss(const struct arena *a)
{
	struct stat st;

	if (fstat(a->fd, &st) == 0 && (uint64_t)st.st_size != a->file_size)
		return "somebody has changed the size of its file";
	if (arena_damaged(a))
		return "a page of its file could not be had: it was cut for a moment, or the disk fails";
	return NULL;
}

/* What a file has lost is on no disk, whatever fdatasync() says. */
static void on_flushed(struct flush *f)
{
	struct portald *p = container_of(f, struct portald, flush);
	struct portal_live *live = arena_live(&p->arena);

	if (f->error == 0 && loss(&p->arena))
		f->error = -EIO;
	if (f->error && !le32_load(&live->flush_error))
		log_error(p->arena.head.name,
			  "flushing failed, and so does every flush from now on: %s",
			  strerror(-f->error));
	le32_store(&live->flush_error, (uint32_t)-f->error);
	if (f->error == 0)
		le64_store(&live->flushes, le64_load(&live->flushes) + 1);
}

static void on_changed(struct leases *l, const struct lease *lease)
{
	struct portald *p = l->config.context;

	if (lease)
		ctl_lease_changed(p->backend->control, lease);
	else
		ctl_quiesce_changed(p->backend->control, &l->quiesce);
}

static void on_look(struct loop_timer *timer)
{
	struct portald *p = container_of(timer, struct portald, look);
	const char *lost = loss(&p->arena);

	if (lost) {
		log_error(p->arena.head.name, "ending: %s", lost);
		p->backend->status = -EIO;
		loop_stop(&p->backend->loop);
		return;
	}
	/* Not while somebody copies it: he copies what is there. */
	if (p->leases.quiesce.state != PORTAL_FROZEN && arena_mend(&p->arena))
		log_limited(&p->log, LOG_LEVEL_WARNING, p->arena.head.name,
			    "a client has written over the arena's head or label; they are mended");
	loop_timer_set(&p->backend->loop, timer, loop_now_ns() + PORTALD_LOOK_MS * MS);
}

/* ---- starting ---- */

static int open_arena(struct portald *p, const struct config *c)
{
	const char *where = c->arena.path ? c->arena.path : "memfd";
	int r = arena_open(&p->arena, &c->arena);

	if (r < 0) {
		log_error(c->arena.name, "%s: %s", where, p->arena.why);
		return r;
	}
	log_info(c->arena.name, "%s: %s of %llu MiB%s", where,
		 p->arena.fresh  ? "a new arena" :
		 p->arena.copied ? "a copy of an arena, whose leases are void," :
				   "an arena",
		 (unsigned long long)p->arena.size >> 20,
		 p->arena.durable ? "" : ", not durable: it is memory alone");
	return 0;
}

/* The error that an earlier daemon latched.  The number lies where clients can write: any that is one counts. */
static int latched_error(const struct arena *a)
{
	uint32_t error = le32_load(&arena_live(a)->flush_error);

	return error == 0 ? 0 : error < 4096 ? -(int)error : -EIO;
}

static int start_flush(struct portald *p)
{
	int r = flush_init(&p->flush, &p->backend->loop, p->arena.fd, p->arena.durable,
			   latched_error(&p->arena));

	p->flush.changed = on_flushed;
	if (r < 0)
		log_error(p->arena.head.name, "the thread that flushes: %s", strerror(-r));
	else if (p->flush.error)
		log_warning(p->arena.head.name, "a flush of this arena has failed before: %s",
			    strerror(-p->flush.error));
	return r;
}

static int start_leases(struct portald *p, const struct config *c)
{
	const struct leases_config lc = {
		.grace_ms = c->grace_ms,
		.hold_max_ms = c->freeze_max_ms,
		.heap = &blocks_heap,
		.changed = on_changed,
		.context = p,
	};
	int r = 0;

	leases_prepare(&p->leases, &p->backend->loop, &p->arena, &p->flush, &lc);
	for (unsigned i = 0; i < c->n_clients && r == 0; i++) {
		const struct leases_client_config *client = &c->clients[i].lease;

		r = leases_add_client(&p->leases, client);
		if (r < 0)
			log_error(client->name, "%s: %s", client->socket_path, strerror(-r));
	}
	if (r == 0) {
		r = leases_start(&p->leases);
		if (r < 0)
			log_error(NULL, "leases: %s", strerror(-r));
	}
	return r;
}

int portald_start(struct portald *p, struct backend *b, const struct config *c)
{
	int r;

	memset(p, 0, sizeof(*p));
	p->backend = b;
	loop_timer_init(&p->look, on_look);
	r = open_arena(p, c);
	if (r < 0)
		return r;
	r = start_flush(p);
	if (r == 0)
		r = start_leases(p, c);
	if (r == 0)
		r = doors_open(&p->doors, &b->loop, c, &p->arena, &p->flush);
	if (r < 0) {
		portald_stop(p);
		return r;
	}
	loop_timer_set(&b->loop, &p->look, loop_now_ns() + PORTALD_LOOK_MS * MS);
	return 0;
}

void portald_stop(struct portald *p)
{
	loop_timer_cancel(&p->backend->loop, &p->look);
	doors_close(&p->doors);
	leases_done(&p->leases);
	flush_done(&p->flush);
	arena_close(&p->arena);
}
