/* SPDX-License-Identifier: MIT */
/* GET_SHMEM_CONFIG: the whole table of sizes, by any of the bits that it has had. */
#include <string.h>

#include "base.h"
#include "wire.h"

static void get(struct wire *w, struct proto_shmem_config *ret)
{
	struct proto_header hdr;

	memset(ret, 0xee, sizeof(*ret));
	assert_int_equal(frontend_send(&w->fe, VHOST_USER_GET_SHMEM_CONFIG, VU_FLAG_VERSION, NULL,
				       0, NULL, 0),
			 0);
	assert_int_equal(frontend_recv(&w->fe, &hdr, ret, sizeof(*ret)), sizeof(*ret));
	assert_int_equal(hdr.request, VHOST_USER_GET_SHMEM_CONFIG);
	assert_int_equal(hdr.flags, VU_FLAG_VERSION | VU_FLAG_REPLY);
	assert_int_equal(ret->padding, 0);
}

static void expect(const struct proto_shmem_config *c, uint64_t first, uint64_t last)
{
	assert_int_equal(c->n_regions, (first > 0) + (last > 0));
	assert_int_equal(c->size[0], first);
	assert_int_equal(c->size[VU_SHMEM_REGIONS - 1], last);
	for (unsigned i = 1; i < VU_SHMEM_REGIONS - 1; i++)
		assert_int_equal(c->size[i], 0);
}

static void good(void **state)
{
	struct proto_shmem_config c;

	get(*state, &c);
	expect(&c, WIRE_SHMEM_FIRST, WIRE_SHMEM_LAST);
	wire_expect_alive(*state);
}

/* Not negotiated: this reply has a way to say so. */
static void needs_its_feature(void **state)
{
	struct proto_shmem_config c;

	get(*state, &c);
	expect(&c, 0, 0);
	wire_expect_alive(*state);
}

/* A device whose frontends know another bit offers that one alone, and goes by it. */
static void other_bits(void **state)
{
	static const unsigned bits[] = {
#define X(bit, whose) bit,
		PROTO_SHMEM_BITS(X)
#undef X
	};
	struct wire *w = *state;

	for (unsigned i = 0; i < array_size(bits); i++) {
		struct vu_device_ops ops = wire_ops;
		uint64_t all = 0, offered;

		for (unsigned j = 0; j < array_size(bits); j++)
			all |= BIT_ULL(bits[j]);
		ops.shmem_bit = bits[i];
		offered = vu_offered_protocol_features(&ops);
		assert_int_equal(offered & all, BIT_ULL(bits[i]));
		assert_true(offered & BIT_ULL(VHOST_USER_PROTOCOL_F_BACKEND_REQ));
		assert_non_null(proto_shmem_bit_name(bits[i]));
	}
	assert_null(proto_shmem_bit_name(19));
	assert_null(proto_shmem_bit_name(23));
	/* The sibling's device has no regions. */
	assert_int_equal(frontend_ask_u64(&w->sibling_fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					  BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK)),
			 0);
	assert_int_equal(frontend_ask_u64(&w->sibling_fe, VHOST_USER_SET_PROTOCOL_FEATURES,
					  BIT_ULL(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
						  BIT_ULL(VHOST_USER_PROTOCOL_F_SHMEM_MAP)),
			 1);
}

static void one_reply(void **state)
{
	wire_check_one_reply(*state, VHOST_USER_GET_SHMEM_CONFIG, NULL, 0);
}

static void shape(void **state)
{
	wire_check_shape(*state, VHOST_USER_GET_SHMEM_CONFIG, NULL, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(good, acks),
		WIRE_TEST(good, running),
		WIRE_TEST(needs_its_feature, connected),
		WIRE_TEST(other_bits, acks),
		WIRE_TEST(one_reply, acks),
		WIRE_TEST(shape, acks),
	};

	return cmocka_run_group_tests_name("GET_SHMEM_CONFIG", tests, NULL, NULL);
}
