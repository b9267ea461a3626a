/* SPDX-License-Identifier: MIT */
#include "leases_fixture.h"

struct pf pf;
struct pf_client a, b, c;

int lf_setup(void **state)
{
	a.fd = b.fd = c.fd = a.arena_fd = b.arena_fd = c.arena_fd = -1;
	pf_init(&pf);
	pf_start(&pf);
	return 0;
}

int lf_teardown(void **state)
{
	pf_hang_up(&a);
	pf_hang_up(&b);
	pf_hang_up(&c);
	pf_done(&pf);
	return 0;
}

uint64_t word(uint32_t id)
{
	return le64_load(&arena_leases(&pf.arena)[id].word);
}

uint32_t free_extents(void)
{
	return le32_load(&arena_live(&pf.arena)->extents_free);
}

bool is_free(struct pf *p, void *arg)
{
	const uint32_t *id = arg;

	return PORTAL_LEASE_STATE(word(*id)) == PORTAL_LEASE_FREE;
}

void until_free(uint64_t owner)
{
	uint32_t id = portal_owner_id(owner);

	assert_true(pf_run(&pf, is_free, &id, PF_PATIENCE_MS));
}

int hello(struct pf_client *client, const char *door, uint64_t version, uint64_t owner,
	  uint64_t flags, struct portal_frame *ret)
{
	*ret = (struct portal_frame){
		.type = le32_of(PORTAL_HELLO),
		.args = { le64_of(version), le64_of(1), le64_of(owner), le64_of(flags) },
	};
	if (client->fd < 0)
		pf_connect(&pf, client, door);
	return pf_ask(client, ret);
}
