/* SPDX-License-Identifier: MIT */
#include "proto.h"

#include <errno.h>

#include "base.h"

#pragma GCC diagnostic warning "-Wconversion"

/* PROTO_IN_ and friends are pasted in front of the table's words. */
static const struct proto_request_info requests[VU_REQUEST_LIMIT] = {
#define X(n, number, kind, lo, hi, rep, in, feature, handler)        \
	[number] = {                                                 \
		.name = #n,                                          \
		.payload = PROTO_PAYLOAD_##kind,                     \
		.fds_min = (lo),                                     \
		.fds_max = (hi),                                     \
		.reply = PROTO_REPLY_##rep,                          \
		.obeyed_in = PROTO_IN_##in,                          \
		.protocol_feature = VHOST_USER_PROTOCOL_F_##feature, \
	},
	PROTO_REQUESTS(X)
#undef X
};

/* The payload sizes a kind may have; what lies between depends on its content. */
static const struct {
	uint32_t min, max;
} sizes[] = {
	[PROTO_PAYLOAD_NONE] = { 0, 0 },
	[PROTO_PAYLOAD_U64] = { 8, 8 },
	[PROTO_PAYLOAD_VRING_STATE] = { sizeof(struct proto_vring_state),
					sizeof(struct proto_vring_state) },
	[PROTO_PAYLOAD_VRING_ADDR] = { sizeof(struct proto_vring_addr),
				       sizeof(struct proto_vring_addr) },
	[PROTO_PAYLOAD_VRING_FD] = { 8, 8 },
	[PROTO_PAYLOAD_MEM_TABLE] = { PROTO_MEM_TABLE_HEAD, sizeof(struct proto_mem_table) },
	[PROTO_PAYLOAD_MEM_REG] = { sizeof(struct proto_mem_reg), sizeof(struct proto_mem_reg) },
	[PROTO_PAYLOAD_CONFIG] = { PROTO_CONFIG_HEAD, sizeof(struct proto_config) },
	[PROTO_PAYLOAD_LOG] = { sizeof(struct proto_log), sizeof(struct proto_log) },
	[PROTO_PAYLOAD_INFLIGHT] = { PROTO_INFLIGHT_MIN, sizeof(struct proto_inflight) },
	[PROTO_PAYLOAD_DEVICE_STATE] = { sizeof(struct proto_device_state),
					 sizeof(struct proto_device_state) },
};

static int refuse(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EPROTO;
}

const struct proto_request_info *proto_request_info(uint32_t request)
{
	if (request >= VU_REQUEST_LIMIT || !requests[request].name)
		return NULL;
	return &requests[request];
}

const char *proto_request_name(uint32_t request)
{
	const struct proto_request_info *info = proto_request_info(request);

	return info ? info->name : "unknown request";
}

const char *proto_shmem_bit_name(unsigned bit)
{
	switch (bit) {
#define X(number, whose) \
	case number:     \
		return whose;
		PROTO_SHMEM_BITS(X)
#undef X
	default:
		return NULL;
	}
}

int proto_check_header(const struct proto_header *hdr, const char **ret_why)
{
	const struct proto_request_info *info = proto_request_info(hdr->request);

	if ((hdr->flags & VU_FLAG_VERSION_MASK) != VU_FLAG_VERSION)
		return refuse("protocol version is not 1", ret_why);
	if (hdr->flags & VU_FLAG_REPLY)
		return refuse("a reply where a request belongs", ret_why);
	if (hdr->size > VU_PAYLOAD_MAX)
		return refuse("payload beyond any known size", ret_why);
	if (info && hdr->size < sizes[info->payload].min)
		return refuse("payload too short", ret_why);
	if (info && hdr->size > sizes[info->payload].max)
		return refuse("payload too long", ret_why);
	return 0;
}

static int check_mem_table(const struct proto_header *hdr, const struct proto_mem_table *table,
			   unsigned n_fds, const char **ret_why)
{
	if (table->n_regions > VU_MEM_TABLE_MAX)
		return refuse("too many memory regions", ret_why);
	if (hdr->size != PROTO_MEM_TABLE_HEAD + table->n_regions * sizeof(table->region[0]))
		return refuse("payload is not the size of its regions", ret_why);
	if (n_fds != table->n_regions)
		return refuse("not one descriptor per memory region", ret_why);
	return 0;
}

static int check_config(const struct proto_header *hdr, const struct proto_config *config,
			const char **ret_why)
{
	/* hdr->size is known to be at least the head. */
	if (config->size != hdr->size - PROTO_CONFIG_HEAD)
		return refuse("payload is not the size of its configuration data", ret_why);
	return 0;
}

static int check_inflight(const struct proto_header *hdr, const char **ret_why)
{
	if (hdr->size != PROTO_INFLIGHT_MIN && hdr->size != sizeof(struct proto_inflight))
		return refuse("payload is neither form of an inflight description", ret_why);
	return 0;
}

static int check_vring_fd(uint64_t word, unsigned n_fds, const char **ret_why)
{
	if (word & ~(VU_VRING_INDEX_MASK | VU_VRING_NOFD))
		return refuse("reserved bits in the ring index", ret_why);
	if (n_fds != (word & VU_VRING_NOFD ? 0 : 1))
		return refuse("wrong number of descriptors", ret_why);
	return 0;
}

int proto_check(const struct proto_header *hdr, const union proto_payload *payload, unsigned n_fds,
		const char **ret_why)
{
	const struct proto_request_info *info = proto_request_info(hdr->request);
	int r = proto_check_header(hdr, ret_why);

	if (r < 0 || !info)
		return r;
	if (n_fds < info->fds_min || n_fds > info->fds_max)
		return refuse("wrong number of descriptors", ret_why);
	switch (info->payload) {
	case PROTO_PAYLOAD_MEM_TABLE:
		return check_mem_table(hdr, &payload->mem_table, n_fds, ret_why);
	case PROTO_PAYLOAD_CONFIG:
		return check_config(hdr, &payload->config, ret_why);
	case PROTO_PAYLOAD_VRING_FD:
		return check_vring_fd(payload->u64, n_fds, ret_why);
	case PROTO_PAYLOAD_INFLIGHT:
		return check_inflight(hdr, ret_why);
	case PROTO_PAYLOAD_NONE:
	case PROTO_PAYLOAD_U64:
	case PROTO_PAYLOAD_VRING_STATE:
	case PROTO_PAYLOAD_VRING_ADDR:
	case PROTO_PAYLOAD_MEM_REG:
	case PROTO_PAYLOAD_LOG:
	case PROTO_PAYLOAD_DEVICE_STATE:
		break;
	}
	return 0;
}

bool proto_vring_index(const struct proto_header *hdr, const union proto_payload *payload,
		       uint32_t *ret_index)
{
	const struct proto_request_info *info = proto_request_info(hdr->request);

	if (!info)
		return false;
	switch (info->payload) {
	case PROTO_PAYLOAD_VRING_STATE:
		*ret_index = payload->state.index;
		return true;
	case PROTO_PAYLOAD_VRING_ADDR:
		*ret_index = payload->addr.index;
		return true;
	case PROTO_PAYLOAD_VRING_FD:
		*ret_index = (uint32_t)(payload->u64 & VU_VRING_INDEX_MASK);
		return true;
	case PROTO_PAYLOAD_NONE:
	case PROTO_PAYLOAD_U64:
	case PROTO_PAYLOAD_MEM_TABLE:
	case PROTO_PAYLOAD_MEM_REG:
	case PROTO_PAYLOAD_CONFIG:
	case PROTO_PAYLOAD_LOG:
	case PROTO_PAYLOAD_INFLIGHT:
	case PROTO_PAYLOAD_DEVICE_STATE:
		break;
	}
	return false;
}
