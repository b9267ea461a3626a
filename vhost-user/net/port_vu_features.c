/* SPDX-License-Identifier: MIT */
#include "port_vu_features.h"

#include "nethdr.h"

struct row {
	unsigned bit;
	uint32_t offloads;
};

static uint32_t sum_up(const struct row *row, unsigned n, uint64_t features)
{
	uint32_t offloads = 0;

	for (unsigned i = 0; i < n; i++)
		if (features & BIT_ULL(row[i].bit))
			offloads |= row[i].offloads;
	return offloads;
}

uint32_t port_vu_takes(uint64_t features)
{
	static const struct row rows[] = {
		{ VIRTIO_NET_F_GUEST_CSUM, OFFLOAD_CSUM },
		{ VIRTIO_NET_F_GUEST_TSO4, OFFLOAD_TSO4 },
		{ VIRTIO_NET_F_GUEST_TSO6, OFFLOAD_TSO6 },
		{ VIRTIO_NET_F_GUEST_ECN, OFFLOAD_ECN },
		{ PORT_VU_F_GUEST_USO4, OFFLOAD_USO4 },
		{ PORT_VU_F_GUEST_USO6, OFFLOAD_USO6 },
	};

	return sum_up(rows, array_size(rows), features);
}

uint32_t port_vu_may_ask(uint64_t features)
{
	static const struct row rows[] = {
		{ VIRTIO_NET_F_CSUM, OFFLOAD_CSUM },
		{ VIRTIO_NET_F_HOST_TSO4, OFFLOAD_TSO4 },
		{ VIRTIO_NET_F_HOST_TSO6, OFFLOAD_TSO6 },
		{ VIRTIO_NET_F_HOST_ECN, OFFLOAD_ECN },
		{ PORT_VU_F_HOST_USO, OFFLOAD_USO4 | OFFLOAD_USO6 },
	};

	return sum_up(rows, array_size(rows), features);
}
