/* SPDX-License-Identifier: MIT */
#include "vmbus_proto.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#pragma GCC diagnostic warning "-Wconversion"

enum sender { FROM_FRONTEND, FROM_BACKEND, FROM_BOTH };

static const struct row {
	const char *name;
	uint32_t number;
	enum sender from;
	uint32_t size;
	unsigned n_fds;
} rows[] = {
#define X(name, number, from, payload, n_fds) \
	{ #name, number, FROM_##from, sizeof(struct vmbus_##payload), n_fds },
	VMBUS_MESSAGES(X)
#undef X
};

static const struct row *row_of(uint32_t number)
{
	for (size_t i = 0; i < array_size(rows); i++)
		if (rows[i].number == number)
			return &rows[i];
	return NULL;
}

const char *vmbus_message_name(uint32_t number)
{
	const struct row *row = row_of(number);

	return row ? row->name : "unknown message";
}

uint32_t vmbus_message_size(uint32_t number)
{
	const struct row *row = row_of(number);

	return row ? row->size : 0;
}

static int refuse(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EPROTO;
}

int vmbus_check_header(const struct proto_header *hdr, const char **ret_why)
{
	const struct row *row = row_of(hdr->request);
	uint32_t max;

	if (hdr->flags != VU_FLAG_VERSION)
		return refuse("flags are not those of version 1", ret_why);
	if (!row)
		return refuse("no such message", ret_why);
	if (row->from == FROM_BACKEND)
		return refuse("it is ours to send", ret_why);
	max = row->number == VMBUS_OPEN ? sizeof(union vmbus_payload) : row->size;
	if (hdr->size < row->size)
		return refuse("payload too short", ret_why);
	if (hdr->size > max)
		return refuse("payload too long", ret_why);
	return 0;
}

static bool is_channel(uint32_t channel)
{
	return channel >= 1 && channel <= VMBUS_CHANNELS;
}

static const char *check_open(const struct vmbus_open *open, uint32_t size)
{
	if (!is_channel(open->channel))
		return "no such channel";
	if (open->n_pages == 0 || open->n_pages > VMBUS_PAGES_MAX)
		return "too many pages, or none";
	if (size != sizeof(*open) + open->n_pages * sizeof(open->pfn[0]))
		return "payload is not the size of its pages";
	return NULL;
}

static const char *check_offered(const struct vmbus_offered *offered)
{
	if (offered->status > 0)
		return "status is no -errno";
	if (offered->status == 0 ? !is_channel(offered->channel) : offered->channel != 0)
		return "channel and status contradict each other";
	return NULL;
}

/* What is wrong with a payload of the right size, or NULL. */
static const char *check_payload(const struct proto_header *hdr, const union vmbus_payload *p)
{
	static const char reserved[] = "reserved bits are not 0";

	switch (hdr->request) {
	case VMBUS_HELLO:
		if (p->hello.version != VMBUS_USER_VERSION)
			return "version is not 1";
		return p->hello.reserved ? reserved : NULL;
	case VMBUS_OFFERED:
		return check_offered(&p->offered);
	case VMBUS_OPEN:
		return check_open(&p->open, hdr->size);
	case VMBUS_CLOSE:
	case VMBUS_RELEASED:
		if (!is_channel(p->channel.channel))
			return "no such channel";
		return p->channel.reserved ? reserved : NULL;
	case VMBUS_RESET:
		return p->reset.reserved ? reserved : NULL;
	case VMBUS_READY:
		return p->ready.up != 1 || p->ready.reserved ? reserved : NULL;
	default:
		return NULL;
	}
}

int vmbus_check(const struct proto_header *hdr, const union proto_payload *payload, unsigned n_fds,
		const char **ret_why)
{
	const struct row *row = row_of(hdr->request);
	int r = vmbus_check_header(hdr, ret_why);
	union vmbus_payload p;
	const char *why;

	if (r < 0)
		return r;
	if (n_fds != row->n_fds && (n_fds > 0 || row->number != VMBUS_OPEN))
		return refuse("wrong number of descriptors", ret_why);
	memcpy(&p, payload->bytes, hdr->size);
	why = check_payload(hdr, &p);
	return why ? refuse(why, ret_why) : 0;
}

const struct msg_protocol vmbus_protocol = {
	.check_header = vmbus_check_header,
	.check = vmbus_check,
	.without_fds = true,
};
