/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "dial.h"
#include "impl.h"

#define DEFAULT_TIMEOUT_MS 5000u
#define ADDRESS_MAX        256

/* What portal_attach() was asked for, with everything unsaid filled in. */
struct intent {
	const char *where;
	char lease[ADDRESS_MAX]; /* empty: none, or it is derived from the head */
	bool derive_lease, read_only;
	struct tether_request request;
};

/* Two clients are on one kernel if this is the same.  Machines that were copied share their boot id, but not their CID. */
static uint64_t kernel_id(bool in_guest)
{
	char id[37] = "";
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
	uint32_t cid = in_guest ? dial_own_cid() : 0;
	auto_fd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, id, sizeof(id) - 1) < (ssize_t)sizeof(id) - 1)
		return 0;
	for (const char *c = id; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3;
	return (hash ^ cid) * 0x100000001b3;
}

static int take_where(const char *where, struct intent *intent)
{
	if (!where)
		where = getenv("PORTAL_PATH");
	if (!where || !*where)
		return -ENOENT;
	intent->where = where;
	return 0;
}

static bool is_zero(const uint64_t *words, size_t n)
{
	while (n > 0 && words[n - 1] == 0)
		n--;
	return n == 0;
}

static int take_options(const struct portal_options *o, struct intent *intent)
{
	const char *lease = o->lease;
	bool from_socket = strncmp(intent->where, "unix:", 5) == 0;

	if (!is_zero(o->reserved, sizeof(o->reserved) / sizeof(o->reserved[0])) ||
	    o->flags & ~(uint32_t)(PORTAL_ATTACH_READ_ONLY | PORTAL_ATTACH_WATCH_NAMES))
		return -EINVAL;
	if (!lease && from_socket)
		lease = intent->where;
	else if (!lease && strncmp(intent->where, "file:", 5) == 0)
		lease = "none";
	intent->derive_lease = !lease;
	if (lease && strlen(lease) >= sizeof(intent->lease))
		return -EINVAL;
	if (lease && strcmp(lease, "none") != 0)
		memcpy(intent->lease, lease, strlen(lease) + 1);
	if (from_socket && !intent->lease[0])
		return -EINVAL; /* the memory comes with the lease */
	intent->read_only = o->flags & PORTAL_ATTACH_READ_ONLY;
	intent->request = (struct tether_request){
		.name = o->client ? o->client : program_invocation_short_name,
		.timeout_ms = o->timeout_ms ? o->timeout_ms : DEFAULT_TIMEOUT_MS,
		.want_fd = from_socket,
		.watch_names = o->flags & PORTAL_ATTACH_WATCH_NAMES,
	};
	return 0;
}

static int open_door(const char *where, struct mapping *ret_map, struct geometry *ret_geo)
{
	if (strncmp(where, "file:", 5) == 0)
		return door_open_path(where + 5, ret_map, ret_geo);
	if (strncmp(where, "dax:", 4) == 0)
		return door_open_path(where + 4, ret_map, ret_geo);
	if (strncmp(where, "pci:", 4) == 0)
		return door_open_pci(where + 4, ret_map, ret_geo);
	if (strchr(where, '/') || strchr(where, ':'))
		return -EINVAL;
	return door_open_name(where, ret_map, ret_geo);
}

/* Guests find the daemon at the port that the arena itself names. */
static int derive_lease(const struct geometry *geo, struct intent *intent)
{
	if (!geo->vsock_port)
		return -ENXIO;
	snprintf(intent->lease, sizeof(intent->lease), "vsock:2:%u", geo->vsock_port);
	return 0;
}

/* What was ours may be somebody else's already. */
static void lease_is_over(void *ctx)
{
	struct portal *p = ctx;

	if (p->map.start)
		door_fence(&p->map);
}

static int get_lease(struct portal *p, struct intent *intent, struct tether_grant *ret_grant)
{
	p->kernel = kernel_id(strncmp(intent->lease, "vsock:", 6) == 0);
	intent->request.where = intent->lease;
	intent->request.kernel = p->kernel;
	intent->request.over = lease_is_over;
	intent->request.ctx = p;
	return tether_open(&intent->request, ret_grant, &p->tether);
}

/* The memory comes with the lease. */
static int enter_by_socket(struct portal *p, struct intent *intent, struct tether_grant *ret_grant)
{
	int r = get_lease(p, intent, ret_grant);

	if (r < 0)
		return r;
	return ret_grant->fd < 0 ? -EPROTO : door_open_fd(ret_grant->fd, &p->map, &p->geo);
}

/* The memory is here; the lease, if any, comes behind it. */
static int enter_by_door(struct portal *p, struct intent *intent, struct tether_grant *ret_grant)
{
	int r = open_door(intent->where, &p->map, &p->geo);

	if (r == 0 && intent->derive_lease)
		r = derive_lease(&p->geo, intent);
	if (r == 0 && intent->lease[0])
		r = get_lease(p, intent, ret_grant);
	return r;
}

/* Is the daemon that answered the one of this arena? */
static bool is_same_arena(const struct portal *p, const struct tether_grant *grant)
{
	return grant->arena_size == p->geo.arena_size && strcmp(grant->arena, p->geo.name) == 0 &&
	       grant->generation == le64_load(&portal_live(p)->generation);
}

/* From here on this client may write: its page says so. */
static int become_writer(struct portal *p)
{
	uint32_t id = portal_owner_id(portal_self(p));
	int r = door_unlock(&p->map);

	if (r < 0)
		return r;
	/* Who comes during a pause has not been waited for: it waits. */
	r = portal_quiesce_wait(p, clock_ns() + tether_timeout_ms(p->tether) * NS_PER_MS);
	if (r < 0)
		return r == -ETIMEDOUT ? -EAGAIN : r;
	p->page = (struct portal_lease_page *)(void *)(p->map.base + PORTAL_PAGES_OFFSET +
						       (size_t)id * PORTAL_PAGE);
	le64_store(&p->page->owner, portal_self(p));
	return 0;
}

static int attach(struct portal *p, struct intent *intent)
{
	struct tether_grant grant = { .fd = -1 };
	int r = intent->request.want_fd ? enter_by_socket(p, intent, &grant) :
					  enter_by_door(p, intent, &grant);

	fd_drop(&grant.fd);
	if (r < 0 || !p->tether)
		return r;
	if (!is_same_arena(p, &grant))
		return -EPROTO;
	if (grant.mode != PORTAL_READ_WRITE || intent->read_only || p->geo.ro_compat)
		return 0;
	return become_writer(p);
}

int portal_attach(const char *where, const struct portal_options *options,
		  struct portal **ret_portal)
{
	static const struct portal_options nothing_said;
	struct intent intent = { 0 };
	struct portal *p;
	int r = take_where(where, &intent);

	if (r == 0)
		r = take_options(options ? options : &nothing_said, &intent);
	if (r < 0)
		return r;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->rings_lock, NULL);
	r = attach(p, &intent);
	if (r == 0)
		r = memory_open(p);
	if (r < 0) {
		portal_detach(p);
		return r;
	}
	*ret_portal = p;
	return 0;
}

/* Giving back waits once for the daemon.  During a pause nothing is given back: what would be written is seen by nobody,
 * and the lease's end does the same. */
static void hurry(struct portal *p)
{
	bool pauses = p->page && !portal_running(p);

	if (pauses)
		door_fence(&p->map);
	tether_hurry(p->tether, pauses ? 0 : tether_timeout_ms(p->tether));
}

void portal_detach(struct portal *p)
{
	if (!p)
		return;
	if (p->tether)
		hurry(p);
	ring_close_all(p);
	memory_close(p);
	tether_close(p->tether);
	door_close(&p->map);
	pthread_mutex_destroy(&p->rings_lock);
	free(p);
}

int portal_fd(const struct portal *p)
{
	return p->tether ? tether_fd(p->tether) : -ENOTCONN;
}

int portal_dispatch(struct portal *p)
{
	return p->tether ? tether_dispatch(p->tether) : 0;
}
