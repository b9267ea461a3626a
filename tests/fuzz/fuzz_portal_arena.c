/* SPDX-License-Identifier: MIT */
/* An arena in which anything may be written, seen by a client: attaching, looking names and clients up, resolving handles, and
 * what portal check makes of it.
 *
 * The input is a sequence of writes into a sound arena with a client, a name and a segment: offset in the file (3 bytes, in
 * units of 2), length (1 byte, up to 63; with bit 6 the head's sum is mended afterwards, so that lies get past it), bytes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arena.h"
#include "crc32c.h"
#include "tool_check.c"
#include "tool_words.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_SIZE (16u << 20)
#define EXTENTS   (FILE_SIZE / PORTAL_EXTENT - 1)

static uint8_t *sound, *image;

static void *at(uint8_t *file, size_t offset)
{
	return file + PORTAL_LABEL_SIZE + offset;
}

/* One client, which has a segment and published something in it. */
static void furnish(uint8_t *file)
{
	struct portal_lease *lease = at(file, PORTAL_LEASES_OFFSET);
	struct portal_extent *extent = at(file, PORTAL_EXTENTS_OFFSET);
	struct portal_name *name = at(file, PORTAL_NAMES_OFFSET);
	struct heap_head *head = at(file, (size_t)2 * PORTAL_EXTENT);
	uint64_t owner = portal_owner(0, 1);

	lease->word = le64_of(PORTAL_LEASE_WORD(owner, PORTAL_LEASE_LIVE));
	extent[2].owner = le64_of(owner);
	extent[2].what = le64_of(PORTAL_WHAT(PORTAL_EXTENT_SEGMENT, 0, 1, 1));
	name->type = le32_of(PORTAL_TYPE_BYTES);
	name->offset = le64_of((uint64_t)2 * PORTAL_EXTENT + 65536);
	name->len = le64_of(100);
	name->owner = le64_of(owner);
	name->generation = le64_of(1);
	memcpy(name->name, "thing", 5);
	head->what = le64_of(HEAP_WHAT(HEAP_FINE, HEAP_LIVE, 1));
	head->owner = le64_of(owner);
}

/* Page 0 of the tables is the arena module's own work; the rest needs no daemon. */
static void prepare(void)
{
	const struct arena_config config = { .name = "fuzz", .size = FILE_SIZE };
	struct arena arena;

	if (sound)
		return;
	sound = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	image = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(sound != MAP_FAILED && image != MAP_FAILED);
	assert(arena_open(&arena, &config) == 0);
	memcpy(sound, arena.file, FILE_SIZE);
	arena_close(&arena);
	furnish(sound);
	memcpy(image, sound, FILE_SIZE);
}

static void mend_head(void)
{
	struct portal_head *head = at(image, 0);

	head->crc = le32_of(crc32c(head, offsetof(struct portal_head, crc)));
}

static size_t length(uint8_t wanted, size_t left, size_t offset)
{
	size_t len = min((size_t)(wanted & 63), left);

	return min(len, FILE_SIZE - offset);
}

static void write_lies(const uint8_t *data, size_t size)
{
	while (size > 4) {
		size_t offset = ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) *
				2 % FILE_SIZE;
		size_t len = length(data[3], size - 4, offset);

		memcpy(image + offset, data + 4, len);
		if (data[3] & 64)
			mend_head();
		data += 4 + len;
		size -= 4 + len;
	}
}

/* Only what was written to is put back. */
static void undo_lies(const uint8_t *data, size_t size)
{
	while (size > 4) {
		size_t offset = ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) *
				2 % FILE_SIZE;
		size_t len = length(data[3], size - 4, offset);

		memcpy(image + offset, sound + offset, len);
		data += 4 + len;
		size -= 4 + len;
	}
	memcpy(at(image, 0), at(sound, 0), sizeof(struct portal_head));
}

static bool inside(const struct portal *p, const void *ptr, uint64_t len)
{
	const uint8_t *end = image + FILE_SIZE, *byte = ptr;

	return byte >= p->map.base + 2 * (size_t)PORTAL_EXTENT && byte < end &&
	       len <= (uint64_t)(end - byte);
}

static void look_around(struct portal *p)
{
	struct portal_object o;
	struct portal_client c;
	struct portal_info info;

	portal_info(p, &info);
	assert(info.state <= PORTAL_ARENA_FROZEN && info.size <= FILE_SIZE);
	for (uint32_t i = 0; i < PORTAL_NAMES; i++)
		if (portal_name_at(p, i, &o) == 0) {
			assert(inside(p, o.ptr, o.len) && memchr(o.name, 0, sizeof(o.name)));
			(void)portal_lookup(p, o.name, o.type, &o);
		}
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		if (portal_client_at(p, i, &c) == 0)
			assert(memchr(c.name, 0, sizeof(c.name)) &&
			       memchr(c.client, 0, sizeof(c.client)));
	assert(portal_lookup(p, "no such thing", PORTAL_OBJECT_ANY, &o) == -ENOENT);
}

static void resolve(struct portal *p)
{
	uint64_t offset = (uint64_t)2 * PORTAL_EXTENT + 4 * HEAP_SLOT;
	void *block = p->map.base + offset;
	uint64_t handle = portal_handle(p, block);
	void *found = portal_resolve(p, handle, 64);

	assert(!found || inside(p, found, 64));
	(void)portal_usable(p, block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct portal p = { .map = { .size = FILE_SIZE } };
	struct look l = { .p = &p };
	size_t offset;

	prepare();
	write_lies(data, size);
	p.map.start = image;
	if (geometry_find(image, FILE_SIZE, &offset, &p.geo) == 0) {
		assert(offset <= PORTAL_LABEL_SIZE && p.geo.arena_size <= FILE_SIZE - offset);
		p.map.base = image + offset;
		assert(memory_open(&p) == 0);
		look_around(&p);
		look(&l);
		assert(size > 0 || l.n == 0); /* nothing is wrong with the sound one */
		forget(&l);
		resolve(&p);
		memory_close(&p);
	}
	undo_lies(data, size);
	return 0;
}
