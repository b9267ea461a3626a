/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "impl.h"

static_assert(PORTAL_CLIENT_LIVE == (int)PORTAL_LEASE_LIVE &&
		      PORTAL_CLIENT_LOST == (int)PORTAL_LEASE_LOST &&
		      PORTAL_CLIENT_RECOVERING == (int)PORTAL_LEASE_RECOVERING,
	      "one numbering");
static_assert(PORTAL_ARENA_RUNNING == (int)PORTAL_RUNNING &&
		      PORTAL_ARENA_DRAINING == (int)PORTAL_DRAINING &&
		      PORTAL_ARENA_FROZEN == (int)PORTAL_FROZEN,
	      "one numbering");

static enum portal_arena_state state_of(uint64_t quiesce)
{
	unsigned state = PORTAL_QUIESCE_STATE(quiesce);

	return state <= PORTAL_FROZEN ? (enum portal_arena_state)state : PORTAL_ARENA_FROZEN;
}

static enum portal_client_mode own_mode(const struct portal *p)
{
	return !p->tether ? PORTAL_CLIENT_OBSERVER :
	       p->page    ? PORTAL_CLIENT_WRITER :
			    PORTAL_CLIENT_READER;
}

/* What does not change while we are attached. */
static void tell_constants(const struct portal *p, struct portal_info *info)
{
	memcpy(info->name, p->geo.name, sizeof(info->name));
	memcpy(info->uuid, p->geo.uuid, sizeof(info->uuid));
	info->size = p->geo.arena_size;
	info->vsock_port = p->geo.vsock_port;
	info->extents = p->geo.n_extents;
	info->names = PORTAL_NAMES;
	info->clients = PORTAL_LEASES;
	info->mode = own_mode(p);
	info->id = portal_owner_id(portal_self(p));
	info->id_generation = portal_owner_generation(portal_self(p));
	info->quota = p->tether ? (uint64_t)tether_quota(p->tether) * PORTAL_EXTENT : 0;
	info->offset = (size_t)(p->map.base - (uint8_t *)p->map.start);
}

void portal_info(const struct portal *p, struct portal_info *ret_info)
{
	const struct portal_live *live = portal_live(p);
	uint64_t quiesce = le64_load_acquire(&live->quiesce);
	struct portal_info info = {
		.generation = le64_load(&live->generation),
		.incarnation = le64_load(&live->incarnation),
		.epoch = PORTAL_QUIESCE_EPOCH(quiesce),
		.state = state_of(quiesce),
		.durable = le32_load(&live->durable) == 1,
		.flush_error = le32_load(&live->flush_error),
		.extents_free = le32_load(&live->extents_free),
		.extents_quarantined = le32_load(&live->extents_quarantined),
		.names_used = le32_load(&live->names_used),
		.clients_live = le32_load(&live->leases_live),
		.clients_recovered = le64_load(&live->leases_recovered),
		.extents_recovered = le64_load(&live->extents_recovered),
	};

	tell_constants(p, &info);
	*ret_info = info;
}

/* Somebody else's text: ended, and nothing a terminal would obey. */
static void copy_text(char *ret_text, const char *from, size_t size)
{
	memcpy(ret_text, from, size);
	ret_text[size - 1] = '\0';
	for (char *c = ret_text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

int portal_client_at(const struct portal *p, uint32_t index, struct portal_client *ret_client)
{
	const struct portal_lease *lease;
	uint64_t word;
	unsigned state;

	if (index >= PORTAL_LEASES)
		return -EINVAL;
	lease = portal_lease_of(p, index);
	word = le64_load_acquire(&lease->word);
	state = PORTAL_LEASE_STATE(word);
	if (state == PORTAL_LEASE_FREE || state > PORTAL_LEASE_RECOVERING)
		return -ENOENT;
	*ret_client = (struct portal_client){
		.id = index,
		.generation = portal_owner_generation(PORTAL_LEASE_OWNER(word)),
		.state = (enum portal_client_state)state,
		.mode = le32_load(&lease->mode) == PORTAL_READ_WRITE ? PORTAL_CLIENT_WRITER :
								       PORTAL_CLIENT_READER,
		.same_kernel = p->kernel && le64_load(&lease->kernel) == p->kernel,
		.used = (uint64_t)le32_load(&lease->extents) * PORTAL_EXTENT,
		.quota = (uint64_t)le32_load(&lease->quota) * PORTAL_EXTENT,
	};
	copy_text(ret_client->client, lease->client, sizeof(ret_client->client));
	copy_text(ret_client->name, lease->name, sizeof(ret_client->name));
	return 0;
}
