/* SPDX-License-Identifier: MIT */
/* What virtio's feature bits mean for a port with a guest: the one place where they are spelled out.
 *
 * GUEST_* is what the driver takes in its receiveqs, HOST_* what it may ask for in its transmitqs.
 *
 * Threads: pure functions. */
#ifndef NET_PORT_VU_FEATURES_H
#define NET_PORT_VU_FEATURES_H

#include <stdint.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "base.h"
#include "proto.h"

/* Younger than the oldest linux/virtio_net.h we build with (virtio 1.3, 5.1.3). */
#define PORT_VU_F_GUEST_USO4 54
#define PORT_VU_F_GUEST_USO6 55
#define PORT_VU_F_HOST_USO   56

/* What every port offers.  That we offer GUEST_ANNOUNCE tells QEMU to leave it to the driver to make itself known
 * after a migration, instead of having us do it (SEND_RARP). */
#define PORT_VU_FEATURES                                                                         \
	(BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | BIT_ULL(VIRTIO_NET_F_MTU) |                           \
	 BIT_ULL(VIRTIO_NET_F_STATUS) | BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) |                   \
	 BIT_ULL(VIRTIO_NET_F_MQ) | BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) | \
	 BIT_ULL(VHOST_USER_F_LOG_ALL))

/* Of the protocol, beyond what the library offers by itself and what follows from port_vu_ops. */
#define PORT_VU_PROTOCOL_FEATURES                                                                \
	(BIT_ULL(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |                                              \
	 BIT_ULL(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) | BIT_ULL(VHOST_USER_PROTOCOL_F_STATUS) | \
	 BIT_ULL(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | BIT_ULL(VHOST_USER_PROTOCOL_F_BACKEND_REQ))

/* Bits that make frames wait for somebody to complete them: not offered where "offloads" is false. */
#define PORT_VU_OFFLOAD_FEATURES                                               \
	(BIT_ULL(VIRTIO_NET_F_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |       \
	 BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) | \
	 BIT_ULL(VIRTIO_NET_F_GUEST_ECN) | BIT_ULL(VIRTIO_NET_F_HOST_TSO4) |   \
	 BIT_ULL(VIRTIO_NET_F_HOST_TSO6) | BIT_ULL(VIRTIO_NET_F_HOST_ECN) |    \
	 BIT_ULL(PORT_VU_F_GUEST_USO4) | BIT_ULL(PORT_VU_F_GUEST_USO6) |       \
	 BIT_ULL(PORT_VU_F_HOST_USO))

/* As enum offload: what a driver that negotiated `features` takes, */
uint32_t port_vu_takes(uint64_t features);
/* and what it may ask for. */
uint32_t port_vu_may_ask(uint64_t features);

#endif
