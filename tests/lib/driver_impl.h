/* SPDX-License-Identifier: MIT */
/* What driver.c (split rings, and all that does not depend on the format) and driver_packed.c share. */
#ifndef TEST_DRIVER_IMPL_H
#define TEST_DRIVER_IMPL_H

#include "driver.h"

#define must(condition) must_be((condition), #condition, __func__)

void must_be(bool condition, const char *text, const char *where);

/* Orders our store before our load of what the device stores; see vq_fence(). */
void driver_fence(void);

/* A table for an indirect chain with this head: its address, and our pointer to it. */
void *driver_table(const struct driver *d, unsigned head, gpa_t *ret_gpa);

/* In order: a chain was added; what entry (id, len) says is used from now on; the next chain that is. */
void driver_order_add(struct driver *d, uint16_t head, bool writable);
void driver_order_begin(struct driver *d, uint16_t id, uint32_t len);
int driver_order_next(struct driver *d, uint32_t *ret_len);

/* See the functions of driver.h of these names. */
void driver_packed_init(struct driver *d);
void driver_packed_params(const struct driver *d, struct vq_params *ret);
int driver_packed_add(struct driver *d, const struct driver_buf *bufs, unsigned n_out,
		      unsigned n_in);
int driver_packed_add_indirect(struct driver *d, const struct driver_buf *bufs, unsigned n_out,
			       unsigned n_in);
void driver_packed_publish(struct driver *d);
bool driver_packed_wants_kick(struct driver *d);
int driver_packed_used(struct driver *d, uint32_t *ret_len);
void driver_packed_call_off(struct driver *d);
bool driver_packed_call_on(struct driver *d);

#endif
