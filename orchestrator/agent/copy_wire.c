/* SPDX-License-Identifier: MIT */
#include "agent/copy_wire.h"

#include <errno.h>
#include <string.h>

void copy_u32_put(uint8_t out[4], uint32_t value)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> 8 * i);
}

uint32_t copy_u32_get(const uint8_t in[4])
{
	return in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

void copy_u64_put(uint8_t out[8], uint64_t value)
{
	copy_u32_put(out, (uint32_t)value);
	copy_u32_put(out + 4, (uint32_t)(value >> 32));
}

uint64_t copy_u64_get(const uint8_t in[8])
{
	return copy_u32_get(in) | (uint64_t)copy_u32_get(in + 4) << 32;
}

static void u16_put(uint8_t out[2], size_t value)
{
	out[0] = (uint8_t)value;
	out[1] = (uint8_t)(value >> 8);
}

static size_t u16_get(const uint8_t in[2])
{
	return in[0] | (size_t)in[1] << 8;
}

/* --- ENTRY ------------------------------------------------------------------------------------------------ */

bool copy_name_valid(const char *name, size_t len)
{
	if (len == 0 || len > COPY_NAME_MAX || memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

size_t copy_entry_put(uint8_t out[COPY_ENTRY_MAX], const struct copy_entry *entry)
{
	size_t name = strlen(entry->name), target = strlen(entry->target);

	copy_u32_put(out, entry->kind);
	copy_u32_put(out + 4, entry->mode);
	copy_u64_put(out + 8, entry->size);
	copy_u64_put(out + 16, (uint64_t)entry->mtime_s);
	copy_u32_put(out + 24, entry->mtime_ns);
	copy_u32_put(out + 28, entry->uid);
	copy_u32_put(out + 32, entry->gid);
	u16_put(out + 36, name);
	u16_put(out + 38, target);
	memcpy(out + COPY_ENTRY_FIXED, entry->name, name);
	memcpy(out + COPY_ENTRY_FIXED + name, entry->target, target);
	return COPY_ENTRY_FIXED + name + target;
}

static bool numbers_valid(const struct copy_entry *entry)
{
	return entry->kind >= COPY_FILE && entry->kind <= COPY_SYMLINK && entry->mode <= 07777 &&
	       entry->mtime_ns < 1000000000;
}

/* A link has a target, and nothing else has one. */
static bool target_valid(const struct copy_entry *entry, const uint8_t *target, size_t len)
{
	return len <= COPY_TARGET_MAX && !memchr(target, '\0', len) &&
	       (len > 0) == (entry->kind == COPY_SYMLINK);
}

int copy_entry_get(const uint8_t *body, size_t size, struct copy_entry *ret_entry)
{
	const uint8_t *name = body + COPY_ENTRY_FIXED;
	struct copy_entry entry;
	size_t name_len, target_len;

	if (size < COPY_ENTRY_FIXED)
		return -EBADMSG;
	entry.kind = (enum copy_kind)copy_u32_get(body);
	entry.mode = copy_u32_get(body + 4);
	entry.size = copy_u64_get(body + 8);
	entry.mtime_s = (int64_t)copy_u64_get(body + 16);
	entry.mtime_ns = copy_u32_get(body + 24);
	entry.uid = copy_u32_get(body + 28);
	entry.gid = copy_u32_get(body + 32);
	name_len = u16_get(body + 36);
	target_len = u16_get(body + 38);
	if (size - COPY_ENTRY_FIXED != name_len + target_len || !numbers_valid(&entry))
		return -EBADMSG;
	if (name_len > 0 && !copy_name_valid((const char *)name, name_len))
		return -EBADMSG;
	if (!target_valid(&entry, name + name_len, target_len))
		return -EBADMSG;
	memcpy(entry.name, name, name_len);
	entry.name[name_len] = '\0';
	memcpy(entry.target, name + name_len, target_len);
	entry.target[target_len] = '\0';
	*ret_entry = entry;
	return 0;
}

/* --- order ------------------------------------------------------------------------------------------------ */

static bool size_valid(const struct agent_header *header)
{
	size_t body = header->size - AGENT_HEADER_SIZE;

	switch (header->type) {
	case AGENT_ENTRY:
		return body >= COPY_ENTRY_FIXED && body <= COPY_ENTRY_MAX;
	case AGENT_EXTENT:
		return body > COPY_EXTENT_HEAD;
	case AGENT_HASH:
		return body == COPY_HASH_SIZE;
	case AGENT_RESULT:
		return body >= COPY_RESULT_HEAD && body <= COPY_RESULT_HEAD + COPY_RESULT_MAX;
	default:
		return body == 0;
	}
}

static bool type_expected(const struct copy_order *order, uint32_t type)
{
	if (type == AGENT_RESULT)
		return order->state != COPY_DONE;
	switch (order->state) {
	case COPY_AT_ROOT:
		return type == AGENT_ENTRY;
	case COPY_IN_DIRECTORY:
		return type == AGENT_ENTRY || type == AGENT_LEAVE;
	case COPY_IN_FILE:
		return type == AGENT_EXTENT || type == AGENT_HASH;
	case COPY_AT_END:
		return type == AGENT_END;
	case COPY_DONE:
		break;
	}
	return false;
}

int copy_order_check(const struct copy_order *order, const struct agent_header *header)
{
	if (agent_header_check(header, AGENT_DATA) < 0 || !type_expected(order, header->type) ||
	    !size_valid(header))
		return -EBADMSG;
	return 0;
}

/* Something within the current directory is complete. */
static void order_complete(struct copy_order *order)
{
	order->state = order->depth > 0 ? COPY_IN_DIRECTORY : COPY_AT_END;
}

int copy_order_entry(struct copy_order *order, const struct copy_entry *entry)
{
	bool contents = order->state == COPY_AT_ROOT && entry->kind == COPY_DIRECTORY;

	if (!entry->name[0] && !contents)
		return -EBADMSG;
	switch (entry->kind) {
	case COPY_FILE:
		order->state = COPY_IN_FILE;
		order->offset = 0;
		break;
	case COPY_DIRECTORY:
		if (order->depth == COPY_DEPTH_MAX)
			return -ELOOP;
		order->depth++;
		order->state = COPY_IN_DIRECTORY;
		break;
	case COPY_SYMLINK:
		order_complete(order);
		break;
	}
	return 0;
}

int copy_order_extent(struct copy_order *order, uint64_t offset, uint64_t len)
{
	if (offset < order->offset || offset > INT64_MAX || len > INT64_MAX - offset)
		return -EBADMSG;
	order->offset = offset + len;
	return 0;
}

int copy_order_hash(struct copy_order *order, uint64_t size)
{
	if (size < order->offset || size > INT64_MAX)
		return -EBADMSG;
	order_complete(order);
	return 0;
}

void copy_order_leave(struct copy_order *order)
{
	order->depth--;
	order_complete(order);
}

void copy_order_end(struct copy_order *order)
{
	order->state = COPY_DONE;
}
