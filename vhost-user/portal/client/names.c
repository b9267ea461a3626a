/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "impl.h"
#include "relax.h"

static_assert(PORTAL_NAME_SIZE == PORTAL_NAME_MAX, "one length of names");
static_assert(PORTAL_OBJECT_BYTES == (int)PORTAL_TYPE_BYTES &&
		      PORTAL_OBJECT_RING == (int)PORTAL_TYPE_RING &&
		      PORTAL_OBJECT_USER == (int)PORTAL_TYPE_USER,
	      "one numbering");

/* The daemon changes an entry in a moment; who finds it changing this often looks at somebody's mischief. */
#define TRIES 64

static bool is_name(const char *name)
{
	size_t len = strnlen(name, PORTAL_NAME_MAX);

	if (len == 0 || len == PORTAL_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return true;
}

static const struct portal_name *entry_at(const struct portal *p, uint32_t index)
{
	return (const struct portal_name *)(p->map.base + PORTAL_NAMES_OFFSET) + index;
}

/* One name, eight bytes at a time. */
static void load_name(const struct portal_name *entry, char *ret_name)
{
	const uint64_t *words = (const uint64_t *)(const void *)entry->name;

	for (unsigned i = 0; i < PORTAL_NAME_MAX / sizeof(*words); i++) {
		uint64_t word = __atomic_load_n(&words[i], __ATOMIC_RELAXED);

		memcpy(ret_name + i * sizeof(word), &word, sizeof(word));
	}
}

/* Copy an entry that stands still: even before, and the same after.  Partner: the daemon's names.c. */
static bool copy_entry(const struct portal_name *entry, struct portal_object *ret_object,
		       uint64_t *ret_owner)
{
	for (unsigned i = 0; i < TRIES; i++, cpu_relax()) {
		uint32_t seq = le32_load_acquire(&entry->seq);

		if (seq & 1)
			continue;
		*ret_object = (struct portal_object){
			.type = le32_load(&entry->type),
			.generation = le64_load(&entry->generation),
			.offset = le64_load(&entry->offset),
			.len = le64_load(&entry->len),
		};
		*ret_owner = le64_load(&entry->owner);
		load_name(entry, ret_object->name);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (le32_load(&entry->seq) == seq)
			return true;
	}
	return false;
}

int portal_name_at(const struct portal *p, uint32_t index, struct portal_object *ret_object)
{
	struct portal_object object;
	uint64_t owner;

	if (index >= PORTAL_NAMES)
		return -EINVAL;
	if (!copy_entry(entry_at(p, index), &object, &owner) || object.type == PORTAL_TYPE_NONE)
		return -ENOENT;
	object.ptr = portal_range(p, object.offset, object.len);
	if (!object.ptr || !is_name(object.name) || !portal_owner_valid(owner))
		return -ENOENT; /* the daemon never writes such a thing */
	object.index = index;
	object.id = portal_owner_id(owner);
	object.id_generation = portal_owner_generation(owner);
	*ret_object = object;
	return 0;
}

/* Might that entry have the name?  Its first bytes tell nearly always. */
static bool begins_alike(const struct portal_name *entry, const char name[PORTAL_NAME_MAX])
{
	uint64_t theirs =
		__atomic_load_n((const uint64_t *)(const void *)entry->name, __ATOMIC_RELAXED);
	uint64_t ours;

	memcpy(&ours, name, sizeof(ours));
	return theirs == ours && le32_load(&entry->type) != PORTAL_TYPE_NONE;
}

int portal_lookup(const struct portal *p, const char *name, uint32_t type,
		  struct portal_object *ret_object)
{
	char padded[PORTAL_NAME_MAX] = "";
	struct portal_object object;

	if (!is_name(name))
		return -ENOENT;
	memcpy(padded, name, strlen(name) + 1);
	for (uint32_t i = 0; i < PORTAL_NAMES; i++) {
		if (!begins_alike(entry_at(p, i), padded) || portal_name_at(p, i, &object) < 0 ||
		    strcmp(object.name, name) != 0)
			continue;
		if (type != PORTAL_OBJECT_ANY && object.type != type)
			return -EPROTOTYPE;
		*ret_object = object;
		return 0;
	}
	return -ENOENT;
}

int portal_still(const struct portal *p, const struct portal_object *object)
{
	struct portal_object now;

	/* What was copied from the object was read before this looks again. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (portal_name_at(p, object->index, &now) < 0 || now.generation != object->generation)
		return -ESTALE;
	return 0;
}

/* 0, or why this client cannot publish. */
static int may_publish(const struct portal *p)
{
	return !p->tether ? -ENOTCONN : !p->page ? -EROFS : 0;
}

int portal_publish(struct portal *p, const char *name, uint32_t type, const void *ptr, uint64_t len)
{
	uint64_t offset = portal_offset(p, ptr);
	struct portal_frame frame = {
		.type = le32_of(PORTAL_PUBLISH),
		.args = { le64_of(type), le64_of(offset), le64_of(len) },
	};
	int r = may_publish(p);

	if (r < 0)
		return r;
	if (!is_name(name) || type == PORTAL_OBJECT_ANY)
		return -EINVAL;
	if (offset == UINT64_MAX || !portal_range(p, offset, len))
		return -EFAULT;
	memcpy(frame.name, name, strlen(name));
	return tether_ask(p->tether, &frame, 0);
}

int portal_unpublish(struct portal *p, const char *name)
{
	struct portal_frame frame = { .type = le32_of(PORTAL_UNPUBLISH) };
	int r = may_publish(p);

	if (r < 0)
		return r;
	if (!is_name(name))
		return -ENOENT;
	memcpy(frame.name, name, strlen(name));
	return tether_ask(p->tether, &frame, 0);
}
