/* SPDX-License-Identifier: MIT */
#include "leases.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "leases_impl.h"
#include "listen.h"
#include "log.h"

#define MS           1000000ull
#define DOOR_BACKLOG 128

/* ---- showing it ---- */

void leases_show(const struct leases *l)
{
	struct portal_live *live = arena_live(l->arena);

	le32_store(&live->leases_live, l->n_live);
	le32_store(&live->names_used, l->names.n_used);
	le32_store(&live->extents_free, l->extents.n_free);
	le32_store(&live->extents_quarantined, l->extents.n_quarantined);
}

/* The word comes last: pairs with the acquire of who asks whether an owner lives. */
void lease_show(const struct lease *lease)
{
	const struct leases *l = lease->leases;
	struct portal_lease *m = &arena_leases(l->arena)[lease_id(lease)];

	le64_store(&m->kernel, lease->kernel);
	le32_store(&m->mode, lease->client ? lease->client->mode : PORTAL_READ_ONLY);
	le32_store(&m->extents, lease->n_extents);
	le32_store(&m->quota, lease->client ? lease->client->quota : 0);
	memcpy(m->client, lease->client_name, sizeof(m->client));
	memcpy(m->name, lease->name, sizeof(m->name));
	le64_store_release(&m->word, PORTAL_LEASE_WORD(lease->owner, lease->state));
}

void lease_set_state(struct lease *lease, enum portal_lease_state state)
{
	struct leases *l = lease->leases;

	l->n_live += state == PORTAL_LEASE_LIVE;
	l->n_live -= lease->state == PORTAL_LEASE_LIVE;
	lease->state = state;
	lease_show(lease);
	leases_show(l);
	if (l->config.changed)
		l->config.changed(l, lease);
}

const char *leases_state_name(enum portal_lease_state state)
{
	static const char *const names[] = { "free", "live", "lost", "recovering" };

	return names[state];
}

const char *leases_quiesce_name(enum portal_quiesce_state state)
{
	static const char *const names[] = { "running", "draining", "frozen" };

	return names[state];
}

/* ---- asking ---- */

bool leases_label_valid(const char *label)
{
	size_t len = strnlen(label, PORTAL_LABEL_MAX);

	for (size_t i = 0; i < len; i++)
		if (label[i] < ' ' || label[i] > '~')
			return false;
	return len < PORTAL_LABEL_MAX;
}

static bool may_have(const struct lease *lease)
{
	return lease->state == PORTAL_LEASE_LIVE || lease->state == PORTAL_LEASE_LOST;
}

bool leases_alive(const struct leases *l, uint64_t owner)
{
	const struct lease *lease;

	if (!portal_owner_valid(owner))
		return false;
	lease = &l->lease[portal_owner_id(owner)];
	return lease->owner == owner && may_have(lease);
}

void leases_living(const struct leases *l, uint64_t ret_owners[PORTAL_LEASES])
{
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		ret_owners[i] = may_have(&l->lease[i]) ? l->lease[i].owner : 0;
}

void leases_writers(const struct leases *l, uint32_t but, uint64_t ret_bits[PORTAL_LEASES / 64])
{
	memset(ret_bits, 0, PORTAL_LEASES / 8);
	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		const struct lease *lease = &l->lease[i];

		if (i != but && may_have(lease) &&
		    (!lease->client || lease->client->mode == PORTAL_READ_WRITE))
			ret_bits[i / 64] |= BIT_ULL(i % 64);
	}
}

/* ---- taking and losing ---- */

static uint32_t next_generation(uint64_t owner)
{
	uint32_t generation = portal_owner_generation(owner) + 1;

	return generation ? generation : 1;
}

/* Round the table, so that an id rests for as long as it can; the entry of one that has orphans tells whose they are. */
static struct lease *find_free(struct leases *l)
{
	struct lease *found = NULL;

	for (uint32_t i = 0; i < PORTAL_LEASES && !(found && found->n_extents == 0); i++) {
		struct lease *lease = &l->lease[(l->next_id + i) % PORTAL_LEASES];

		if (lease->state == PORTAL_LEASE_FREE && (!found || lease->n_extents == 0))
			found = lease;
	}
	if (found)
		l->next_id = (lease_id(found) + 1) % PORTAL_LEASES;
	return found;
}

/* What is taken back is worth a line; a client that comes and goes with empty hands is not. */
static void log_end(const struct lease *lease)
{
	struct leases_client *client = lease->client;

	if (client && lease->n_extents)
		log_limited(&client->log, LOG_LEVEL_INFO, client->name,
			    "lease %u of \"%s\" has ended: its %u extents are taken back",
			    lease_id(lease), lease->name, lease->n_extents);
}

static void begin_recovery(struct lease *lease)
{
	struct leases *l = lease->leases;

	log_end(lease);
	loop_timer_cancel(l->loop, &lease->linger);
	lease->recover_at = 0;
	lease_set_state(lease, PORTAL_LEASE_RECOVERING);
	quiesce_left(&l->quiesce, lease_id(lease));
	loop_defer(l->loop, &l->recovery, l->recovery.fn);
}

/* All ids are taken.  Is one being taken back?  If not, one of the last daemon's is, whose client this one does not know.
 * False: there is no such either. */
static bool make_room(struct leases *l)
{
	struct lease *unknown = NULL;

	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		struct lease *lease = &l->lease[i];

		if (lease->state == PORTAL_LEASE_RECOVERING)
			return true;
		if (lease->state == PORTAL_LEASE_LOST && !lease->client)
			unknown = lease;
	}
	if (unknown)
		begin_recovery(unknown);
	return unknown != NULL;
}

static int take_new(struct leases *l, struct leases_conn *conn, struct lease **ret_lease)
{
	struct leases_client *client = conn->client;
	struct portal_lease_page *page;
	struct lease *lease;

	if (client->n_leases >= client->max_leases)
		return -EUSERS;
	lease = find_free(l);
	if (!lease)
		return make_room(l) ? -EAGAIN : -EUSERS;
	lease->owner = portal_owner(lease_id(lease), next_generation(lease->owner));
	lease->client = client;
	lease->n_extents = 0;
	(void)snprintf(lease->client_name, sizeof(lease->client_name), "%s", client->name);
	client->n_leases++;
	page = arena_page(l->arena, lease_id(lease));
	memset(page, 0, sizeof(*page));
	le64_store(&page->owner, lease->owner);
	l->stats.hellos++;
	*ret_lease = lease;
	return 0;
}

static int take_back(struct leases *l, const struct leases_conn *conn, uint64_t owner,
		     struct lease **ret_lease)
{
	struct lease *lease;

	if (!leases_alive(l, owner))
		return -ESTALE;
	lease = &l->lease[portal_owner_id(owner)];
	if (lease->client != conn->client)
		return -ESTALE;
	if (lease->state == PORTAL_LEASE_LIVE)
		return -EBUSY;
	loop_timer_cancel(l->loop, &lease->linger);
	l->stats.returns++;
	*ret_lease = lease;
	return 0;
}

int lease_take(struct leases *l, struct leases_conn *conn, uint64_t owner, uint64_t kernel,
	       const char name[PORTAL_LABEL_MAX])
{
	struct lease *lease = NULL;
	int r;

	if (l->quiesce.state == PORTAL_FROZEN)
		return -EAGAIN;
	r = owner ? take_back(l, conn, owner, &lease) : take_new(l, conn, &lease);
	if (r < 0)
		return r;
	lease->kernel = kernel;
	lease->pid = conn->pid;
	lease->conn = conn;
	conn->lease = lease;
	memcpy(lease->name, name, sizeof(lease->name));
	lease_set_state(lease, PORTAL_LEASE_LIVE);
	return 0;
}

static void on_linger_over(struct loop_timer *timer)
{
	struct lease *lease = container_of(timer, struct lease, linger);

	begin_recovery(lease);
}

void lease_lose(struct lease *lease)
{
	struct leases *l = lease->leases;
	uint32_t linger = lease->client->linger_ms;

	lease->conn = NULL;
	lease_set_state(lease, PORTAL_LEASE_LOST);
	if (l->quiesce.starter == lease_id(lease))
		quiesce_left(&l->quiesce, lease_id(lease));
	if (linger == 0)
		begin_recovery(lease);
	else
		loop_timer_set(l->loop, &lease->linger, loop_now_ns() + linger * MS);
}

void lease_give_back(struct lease *lease)
{
	lease->conn = NULL;
	begin_recovery(lease);
}

int leases_revoke(struct leases *l, uint32_t id)
{
	struct lease *lease;
	struct leases_conn *conn;

	if (id >= PORTAL_LEASES || !may_have(&l->lease[id]))
		return -ENOENT;
	lease = &l->lease[id];
	conn = lease->conn;
	l->stats.revoked++;
	lease->conn = NULL;
	begin_recovery(lease);
	if (conn) {
		const struct portal_frame frame = {
			.type = le32_of(PORTAL_REVOKED),
			.args = { le64_of(EPERM) },
		};

		conn->lease = NULL;
		(void)leases_conn_tell(conn, &frame);
		leases_conn_end(conn);
	}
	return 0;
}

/* ---- starting ---- */

void leases_prepare(struct leases *l, struct loop *loop, struct arena *arena, struct flush *flush,
		    const struct leases_config *config)
{
	memset(l, 0, sizeof(*l));
	l->loop = loop;
	l->arena = arena;
	l->flush = flush;
	l->config = *config;
	l->recovery.fn = leases_on_recovery;
	loop_timer_init(&l->orphan_timer, leases_on_orphans);
	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		l->lease[i].leases = l;
		loop_timer_init(&l->lease[i].linger, on_linger_over);
	}
	quiesce_init(&l->quiesce, loop, arena_live(arena), config->hold_max_ms, leases_on_quiesce);
}

struct leases_client *leases_find_client(const struct leases *l, const char *name)
{
	for (uint32_t i = 0; i < l->n_clients; i++)
		if (strcmp(l->client[i]->name, name) == 0)
			return l->client[i];
	return NULL;
}

static int open_door(struct leases_client *client)
{
	int fd = -1;
	int r = listen_unix_type(client->socket_path, 0600, SOCK_STREAM, DOOR_BACKLOG, &fd);

	if (r == 0)
		r = acceptor_open(&client->acceptor, client->leases->loop, fd, true, client->name,
				  leases_conn_accept);
	return r;
}

/* What a client of this name had under the last daemon, and what is left of that, is its own. */
static void reunite(struct leases_client *client)
{
	struct leases *l = client->leases;

	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		struct lease *lease = &l->lease[i];

		if (lease->state != PORTAL_LEASE_LOST || lease->client ||
		    strcmp(lease->client_name, client->name) != 0)
			continue;
		lease->client = client;
		if (++client->n_leases > client->max_leases)
			begin_recovery(lease);
		else
			lease_show(lease);
	}
	leases_charge_late(l, client);
}

int leases_add_client(struct leases *l, const struct leases_client_config *c)
{
	struct leases_client *client;
	size_t len = strlen(c->name);
	int r;

	if (len == 0 || !leases_label_valid(c->name) || strlen(c->socket_path) >= LEASES_PATH_MAX)
		return -EINVAL;
	if (leases_find_client(l, c->name))
		return -EEXIST;
	if (l->n_clients == LEASES_CLIENTS_MAX)
		return -ENOSPC;
	client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	*client = (struct leases_client){
		.leases = l,
		.mode = c->mode,
		.quota = min(c->quota, l->arena->n_extents - 2),
		.max_leases = c->max_leases ? c->max_leases : LEASES_EACH,
		.linger_ms = c->linger_ms,
		.may_quiesce = c->may_quiesce,
	};
	memcpy(client->name, c->name, len);
	(void)snprintf(client->socket_path, sizeof(client->socket_path), "%s", c->socket_path);
	r = open_door(client);
	if (r < 0) {
		free(client);
		return r;
	}
	l->client[l->n_clients++] = client;
	reunite(client);
	return 0;
}

/* Of one that is about to go: neither a connection nor a lease knows it any more. */
static void drop_client(struct leases *l, const struct leases_client *client)
{
	struct leases_conn *next;

	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		if (l->lease[i].client != client)
			continue;
		(void)leases_revoke(l, i); /* or it is RECOVERING already */
		l->lease[i].client = NULL;
	}
	leases_forgive(l, client);
	for (struct leases_conn *c = l->conns; c; c = next) {
		next = c->next;
		if (c->client == client)
			leases_conn_end(c);
	}
}

static void free_client(struct leases_client *client)
{
	acceptor_close(&client->acceptor);
	listen_unlink(client->socket_path);
	free(client);
}

int leases_remove_client(struct leases *l, const char *name)
{
	struct leases_client *client = leases_find_client(l, name);
	uint32_t i = 0;

	if (!client)
		return -ENOENT;
	while (l->client[i] != client)
		i++;
	drop_client(l, client);
	l->client[i] = l->client[--l->n_clients];
	free_client(client);
	return 0;
}

/* Whoever has the arena may have written it: what is no label is none at all. */
static void copy_label(char ret[PORTAL_LABEL_MAX], const char shared[PORTAL_LABEL_MAX])
{
	memcpy(ret, shared, PORTAL_LABEL_MAX);
	if (!leases_label_valid(ret))
		memset(ret, 0, PORTAL_LABEL_MAX);
}

/* A lease of the last daemon's: who may come back is LOST, also one whose client may be added yet. */
static void adopt(struct leases *l, uint32_t id)
{
	const struct portal_lease *m = &arena_leases(l->arena)[id];
	struct lease *lease = &l->lease[id];
	uint64_t word = le64_load(&m->word), owner = PORTAL_LEASE_OWNER(word);
	unsigned state = PORTAL_LEASE_STATE(word);

	lease->owner = owner;
	if (word == portal_owner(id, 0)) /* never given */
		return;
	if (!portal_owner_valid(owner) || portal_owner_id(owner) != id) {
		/* Nothing is known of its generations: begin where no client of this arena has been. */
		lease->owner = portal_owner(id, UINT32_MAX / 2);
		return;
	}
	copy_label(lease->client_name, m->client);
	copy_label(lease->name, m->name);
	if (state == PORTAL_LEASE_FREE || state > PORTAL_LEASE_RECOVERING)
		return;
	lease->kernel = le64_load(&m->kernel);
	lease->client = leases_find_client(l, lease->client_name);
	lease->state = state == PORTAL_LEASE_RECOVERING ? PORTAL_LEASE_RECOVERING :
							  PORTAL_LEASE_LOST;
	if (lease->client && ++lease->client->n_leases > lease->client->max_leases)
		lease->state = PORTAL_LEASE_RECOVERING;
}

static bool name_is_held(const struct name *entry, void *context)
{
	const struct leases *l = context;

	return leases_alive(l, entry->owner) &&
	       extents_hold(&l->extents, entry->owner, entry->offset, entry->len);
}

static void wait_for_clients(struct leases *l)
{
	uint64_t until = loop_now_ns() + l->config.grace_ms * MS;
	uint32_t n = 0;

	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		struct lease *lease = &l->lease[i];

		lease_show(lease);
		n += lease->state == PORTAL_LEASE_LOST;
		if (lease->state == PORTAL_LEASE_LOST)
			loop_timer_set(l->loop, &lease->linger, until);
		else if (lease->state == PORTAL_LEASE_RECOVERING)
			loop_defer(l->loop, &l->recovery, leases_on_recovery);
	}
	if (n)
		log_info(NULL,
			 "%u leases of the last daemon's: their clients have %u ms to come back", n,
			 l->config.grace_ms);
}

int leases_start(struct leases *l)
{
	bool load = !l->arena->fresh && !l->arena->copied;
	int r = extents_init(&l->extents, arena_extents(l->arena), l->arena->n_extents, load);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		if (!l->arena->fresh)
			adopt(l, i);
		else
			l->lease[i].owner = portal_owner(i, 0);
		if (l->arena->copied && may_have(&l->lease[i]))
			l->lease[i].state = PORTAL_LEASE_RECOVERING;
	}
	leases_read_accounts(l);
	r = names_init(&l->names, arena_names(l->arena), load ? name_is_held : NULL, l);
	if (r < 0)
		return r;
	leases_pardon(l);
	if (l->extents.n_quarantined)
		log_warning(NULL, "%u extents in quarantine: it cannot be told whose they are",
			    l->extents.n_quarantined);
	wait_for_clients(l);
	leases_show(l);
	return 0;
}

void leases_done(struct leases *l)
{
	if (!l->loop)
		return;
	/* What is in the tables stays as it is: the leases are the next daemon's to wait for. */
	while (l->conns) {
		struct leases_conn *conn = l->conns;

		if (conn->lease) {
			conn->lease->conn = NULL;
			conn->lease = NULL;
		}
		leases_conn_end(conn);
	}
	for (uint32_t i = 0; i < l->n_clients; i++)
		free_client(l->client[i]);
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		loop_timer_cancel(l->loop, &l->lease[i].linger);
	loop_timer_cancel(l->loop, &l->orphan_timer);
	loop_defer_cancel(l->loop, &l->recovery);
	quiesce_done(&l->quiesce);
	names_done(&l->names);
	extents_done(&l->extents);
	l->loop = NULL;
}
