/* SPDX-License-Identifier: MIT */
/* A portal in this process (portal_fixture.h) with up to three clients, for the tests of its leases. */
#ifndef LEASES_FIXTURE_H
#define LEASES_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "leases_impl.h"
#include "portal_fixture.h"

#define E ((uint64_t)PORTAL_EXTENT)

extern struct pf pf;
extern struct pf_client a, b, c;

/* For each test: a portal that runs and clients without a connection; and their end. */
int lf_setup(void **state);
int lf_teardown(void **state);

/* Of the arena's mirrors: a lease's word, and how many extents are free. */
uint64_t word(uint32_t id);
uint32_t free_extents(void);

/* pf_run()'s condition: the lease whose id `arg` points to is free. */
bool is_free(struct pf *p, void *arg);
/* Until a lease has been recovered. */
void until_free(uint64_t owner);

/* Connect to a client's door and say HELLO; the reply's status. */
int hello(struct pf_client *client, const char *door, uint64_t version, uint64_t owner,
	  uint64_t flags, struct portal_frame *ret);

#endif
