/* SPDX-License-Identifier: MIT */
/* What the wire tests share: a session of a device that only takes notes, the
 * frontend that talks to it, and a second session beside it that must never
 * notice anything.  All of it runs in one thread; a frontend that waits lets the
 * loop run.
 *
 * A test begins at a stage:
 *
 *   WIRE_CONNECTED   nothing has been said
 *   WIRE_ACKS        protocol features are negotiated, REPLY_ACK among them
 *   WIRE_NEGOTIATED  features too, and guest memory is announced
 *   WIRE_RUNNING     ring 0 is started and enabled; it is a split one
 *
 * and ends by checking that not one descriptor was leaked.
 */
#ifndef TEST_WIRE_H
#define TEST_WIRE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device.h"
#include "fds.h"
#include "frontend.h"
#include "loop.h"
#include "session.h"

#define WIRE_QUEUES      4
#define WIRE_CONFIG_SIZE 16
#define WIRE_MEMORY      (1u << 20)
#define WIRE_STATE_MAX   VU_STATE_MAX
#define WIRE_MTU_MAX     9000
#define WIRE_RING_NUM    64
/* The first descriptor of ring i, as an offset into guest memory. */
#define WIRE_RING_AT(i) (0x10000ull * (i))

/* What a test asks for itself if it wants it. */
#define WIRE_SPECIAL \
	(BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) | BIT_ULL(VHOST_USER_F_LOG_ALL))

/* A feature bit of the device's own, and one that nobody offers. */
#define WIRE_FEATURE    (1ull << 15)
#define WIRE_NO_FEATURE (1ull << 50)

enum wire_stage { WIRE_CONNECTED, WIRE_ACKS, WIRE_NEGOTIATED, WIRE_RUNNING };

/* The device's shared memory regions: one at each end, and none between. */
#define WIRE_SHMEM_FIRST (1u << 16)
#define WIRE_SHMEM_LAST  (1u << 20) /* VU_SHMEM_REGIONS - 1 */

/* A frontend's answer, as the device was told it. */
struct wire_answer {
	uint8_t shmid;
	bool mapped;
	int result;
};

/* What the device was told about one ring. */
struct wire_queue {
	unsigned n_start, n_stop, n_kick, n_enable;
	bool enabled;
};

struct wire {
	enum wire_stage stage;
	struct loop loop;
	struct vu_session *session; /* NULL once closed() was called */
	struct log_limit log;
	struct frontend fe;
	struct frontend_ring ring[WIRE_QUEUES];
	struct vu_session *sibling;
	struct frontend sibling_fe;
	struct log_limit sibling_log;
	unsigned n_fds; /* open before anything was made */

	/* The device's notes. */
	struct wire_queue queue[WIRE_QUEUES];
	unsigned n_negotiated;
	unsigned n_state; /* changes of state */
	uint64_t features;
	uint8_t config[WIRE_CONFIG_SIZE];
	uint32_t config_flags;
	uint8_t mac[6]; /* the last that was announced */
	unsigned n_rarp, n_reset;
	uint16_t mtu;
	uint8_t saved[WIRE_STATE_MAX]; /* the device's state, */
	size_t saved_size;             /* and what was loaded, if load_result is 0 */
	int load_result, save_result;
	unsigned n_load;
	struct wire_answer answer[2 * VU_SHMEM_PENDING];
	unsigned n_answers;
	unsigned n_closed;
	int reason;
	void (*on_kick)(struct wire *w, struct vu_queue *q); /* a test's own */

	/* For a test with a second thread. */
	int stolen_fd;
	bool stop; /* atomic */
};

extern const struct vu_device_ops wire_ops;

/* cmocka's setup and teardown; wire_setup_* differ in the stage. */
int wire_setup_connected(void **state);
int wire_setup_acks(void **state);
int wire_setup_negotiated(void **state);
int wire_setup_running(void **state);
int wire_teardown(void **state);

#define WIRE_TEST(fn, at) cmocka_unit_test_setup_teardown(fn, wire_setup_##at, wire_teardown)

/* End the session, whatever its state, and begin a new one at the same stage. */
void wire_restart(struct wire *w);

/* One turn of the loop and all that is ready. */
void wire_turn(struct wire *w);

/* The session is alive and answers; and so is the sibling. */
void wire_expect_alive(struct wire *w);
void wire_expect_alive_sibling(struct wire *w);

/* The session has ended for `reason`, hung up, and closed what it held; the
 * sibling is alive. */
void wire_expect_ended(struct wire *w, int reason);

/* Send this, expect -EPROTO to be the end of the session, and begin a new one. */
void wire_drops(struct wire *w, uint32_t request, const void *payload, size_t size, const int *fds,
		unsigned n_fds);

/* Every wrong size next to `size` and every wrong number of descriptors next to
 * n_fds (up to VU_MAX_FDS) drops the session.  *payload is good. */
void wire_check_shape(struct wire *w, uint32_t request, const void *payload, size_t size,
		      unsigned n_fds_min, unsigned n_fds_max);

/* Without NEED_REPLY there is no reply; with it, `refused` or not, there is exactly
 * one.  The session lives. */
void wire_check_ack(struct wire *w, uint32_t request, const void *payload, size_t size,
		    const int *fds, unsigned n_fds, bool refused);

/* Each kind of file that is no eventfd is refused as the descriptor of ring `index`,
 * and closed. */
void wire_check_no_eventfd(struct wire *w, uint32_t request, uint32_t index);

/* In a session in which the request's protocol feature is not negotiated it is refused. */
void wire_check_not_negotiated(struct wire *w, uint32_t request, const void *payload, size_t size,
			       const int *fds, unsigned n_fds);

/* A request with a reply of its own gets that reply once, NEED_REPLY or not. */
void wire_check_one_reply(struct wire *w, uint32_t request, const void *payload, size_t size);

#endif
