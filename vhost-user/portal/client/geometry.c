/* SPDX-License-Identifier: MIT */
#include "geometry.h"

#include <errno.h>
#include <string.h>

#include "checked.h"
#include "crc32c.h"

/* Where version 1 has its tables, and how long they are: a head that says otherwise is none. */
static bool is_version_1(const struct portal_head *head)
{
	return le32_get(head->head_size) == sizeof(*head) &&
	       le32_get(head->extent_size) == PORTAL_EXTENT &&
	       le32_get(head->n_leases) == PORTAL_LEASES &&
	       le32_get(head->n_names) == PORTAL_NAMES &&
	       le64_get(head->live_offset) == PORTAL_LIVE_OFFSET &&
	       le64_get(head->leases_offset) == PORTAL_LEASES_OFFSET &&
	       le64_get(head->extents_offset) == PORTAL_EXTENTS_OFFSET &&
	       le64_get(head->names_offset) == PORTAL_NAMES_OFFSET &&
	       le64_get(head->pages_offset) == PORTAL_PAGES_OFFSET;
}

/* Takes a head that is private memory by now. */
static int check_head(const struct portal_head *head, struct geometry *ret_geo)
{
	uint32_t n_extents = le32_get(head->n_extents);

	if (memcmp(head->magic, PORTAL_MAGIC, sizeof(head->magic)) != 0)
		return -EPROTO;
	if (le32_get(head->version) != PORTAL_VERSION)
		return -EOPNOTSUPP;
	if (crc32c(head, offsetof(struct portal_head, crc)) != le32_get(head->crc) ||
	    !is_version_1(head) || n_extents < PORTAL_EXTENTS_MIN ||
	    n_extents > PORTAL_EXTENTS_MAX ||
	    le64_get(head->arena_size) != (uint64_t)n_extents * PORTAL_EXTENT ||
	    !memchr(head->name, '\0', sizeof(head->name)))
		return -EPROTO;
	if (le64_get(head->incompat) & ~PORTAL_INCOMPAT_KNOWN)
		return -EOPNOTSUPP;

	*ret_geo = (struct geometry){
		.arena_size = le64_get(head->arena_size),
		.n_extents = n_extents,
		.vsock_port = le32_get(head->vsock_port),
		.ro_compat = le64_get(head->ro_compat) & ~PORTAL_RO_COMPAT_KNOWN,
	};
	memcpy(ret_geo->uuid, head->uuid, sizeof(ret_geo->uuid));
	memcpy(ret_geo->name, head->name, sizeof(ret_geo->name));
	return 0;
}

static int find_at(const uint8_t *start, size_t size, size_t offset, struct geometry *ret_geo)
{
	struct portal_head head;
	struct geometry geo;
	int r;

	if (!range_within(offset, sizeof(head), size))
		return -EPROTO;
	memcpy(&head, start + offset, sizeof(head));
	r = check_head(&head, &geo);
	if (r < 0)
		return r;
	if (geo.arena_size > size - offset)
		return -EFBIG;
	*ret_geo = geo;
	return 0;
}

int geometry_find(const void *start, size_t size, size_t *ret_offset, struct geometry *ret_geo)
{
	static const size_t places[] = { 0, PORTAL_LABEL_SIZE };
	int r = -EPROTO;

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]) && r == -EPROTO; i++) {
		r = find_at(start, size, places[i], ret_geo);
		if (r == 0)
			*ret_offset = places[i];
	}
	return r;
}
