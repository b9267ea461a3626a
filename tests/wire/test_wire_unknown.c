/* SPDX-License-Identifier: MIT */
/* Requests that are not served: read, answered if an answer was asked for, their
 * descriptors closed, the session untouched.  Among them those that have hurt
 * others. */
#include <string.h>
#include <sys/eventfd.h>

#include "base.h"
#include "cleanup.h"
#include "wire.h"

static bool known(uint32_t request)
{
	return proto_request_info(request) != NULL;
}

/* Send it `times` times, with n descriptors each. */
static void refuses(struct wire *w, uint32_t request, const void *payload, size_t size,
		    unsigned n_fds, unsigned times)
{
	auto_fd int fd = eventfd(0, EFD_CLOEXEC);
	int fds[VU_MAX_FDS];
	unsigned before = count_fds();

	for (unsigned i = 0; i < array_size(fds); i++)
		fds[i] = fd;
	for (unsigned i = 0; i < times; i++)
		assert_int_equal(frontend_ask(&w->fe, request, payload, size, fds, n_fds), 1);
	assert_int_equal(count_fds(), before);
	wire_expect_alive(w);
}

static void every_number(void **state)
{
	struct wire *w = *state;
	const uint64_t word = 0;

	for (uint32_t request = 0; request < VU_REQUEST_LIMIT + 8; request++)
		if (!known(request))
			wire_check_ack(w, request, &word, sizeof(word), NULL, 0, true);
	wire_check_ack(w, UINT32_MAX, NULL, 0, NULL, 0, true);
	wire_check_ack(w, 0x80000000 | VHOST_USER_SET_OWNER, NULL, 0, NULL, 0, true);
}

static void every_size(void **state)
{
	struct wire *w = *state;
	const uint8_t payload[VU_PAYLOAD_MAX] = { 0 };

	for (size_t size = 0; size <= VU_PAYLOAD_MAX; size += 512)
		assert_int_equal(frontend_ask(&w->fe, 60, payload, size, NULL, 0), 1);
	wire_expect_alive(w);
}

static void beyond_any_size(void **state)
{
	const uint8_t payload[VU_PAYLOAD_MAX + 1] = { 0 };

	wire_drops(*state, 60, payload, sizeof(payload), NULL, 0);
}

/* CVE-2020-10724, CVE-2020-14374 to -14378: the crypto session. */
static void crypto_session_cve_2020_14374(void **state)
{
	const uint8_t session[600] = { 0xff };

	refuses(*state, 26, session, sizeof(session), 0, 3);
	refuses(*state, 27, session, 8, 0, 3);
}

static void others(void **state)
{
	const uint64_t word = 0;

	refuses(*state, 22, &word, 8, 0, 3); /* IOTLB_MSG */
	refuses(*state, 28, NULL, 0, 0, 3);  /* POSTCOPY_ADVISE */
	refuses(*state, 33, NULL, 0, 1, 10); /* GPU_SET_SOCKET */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_TEST(every_number, acks),
		WIRE_TEST(every_number, running),
		WIRE_TEST(every_size, acks),
		WIRE_TEST(beyond_any_size, acks),
		WIRE_TEST(crypto_session_cve_2020_14374, acks),
		WIRE_TEST(others, running),
	};

	return cmocka_run_group_tests_name("unknown requests", tests, NULL, NULL);
}
