/* SPDX-License-Identifier: MIT */
/* Guests behind real sessions, the relay between them and sockets of the host: all in this thread, the guests played by
 * vsock_driver.  For the tests of the device of sockets: test_port_vsock*.c.
 *
 * A function that finds what it does not expect fails the test. */
#ifndef TEST_VSOCK_FIXTURE_H
#define TEST_VSOCK_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port_vsock.h"
#include "tmp.h"
#include "vsock_driver.h"

#define N_VM 3
#define PORT 1234
#define MIB  (1u << 20)

/* What the host's side does with a guest's request. */
enum host_answer { HOST_ACCEPT, HOST_REFUSE, HOST_WAIT };

struct fixture {
	struct loop loop;
	struct hv_relay *relay;
	struct tmp_dir dir;
	struct hv_vm *vm[N_VM]; /* CIDs 3, 4, 5 */
	struct vsd guest[N_VM];
	void (*other_guest)(void); /* has its turn in settle(), too */
	char journal[128];

	enum host_answer answer;
	struct hv_conn *request; /* the last */
	unsigned n_requests, n_gone, n_states;
	int host; /* the host's end of what was accepted last, or -1 */
	int far;  /* the relay's end of it, which is the relay's */
};

extern struct fixture fx;

/* What the relay, and a guest's socket, call: they note it in fx, and in a struct socket_of_guest. */
extern const struct hv_host_ops host_ops;
extern const struct vsd_ops guest_ops;

/* Of the first VM. */
#define STAT(name) (hv_vm_stats(fx.vm[0])->name)

/* setup: three VMs, of which the first has a guest.  setup_relay: none yet. */
int setup_relay(void **state);
int setup(void **state);
int teardown(void **state);

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* ---- VMs and their guests ---- */

struct hv_vm_config config_of(unsigned i);
/* Of the frontend's socket, until the next call. */
char *path_of(unsigned i);
void add_vm(unsigned i, const struct hv_vm_config *config);
void start_guest(unsigned i, const struct vsd_options *o);
/* The device has kept to the rules; teardown() looks as well, at guests that are left. */
void check_guest(unsigned i);

/* ---- passes ---- */

/* Everybody does what there is to do, for some time. */
void settle(void);
/* The guests do nothing. */
void settle_host(void);
void wait_ns(uint64_t ns);
/* The first of the loop's timers, which has one, is due now. */
void timer_fires(void);

/* ---- connections ---- */

/* What a guest's socket sees. */
struct socket_of_guest {
	struct vsd_conn *c;
	uint8_t *bytes;
	size_t len, size;
	unsigned n_messages;
	uint32_t last_flags;
	bool closed, was_connected;
	uint32_t shutdown;
};

/* The guest connects to `port` of cid; or to PORT of the host, which accepts. */
void connect_from(unsigned guest, uint64_t cid, uint32_t port, int type, struct socket_of_guest *s);
void connect_to_host(int type, struct socket_of_guest *s);
void forget(struct socket_of_guest *s);

/* For vsd_listen(); accept_one()'s ctx is a struct socket_of_guest. */
enum vsd_answer accept_one(struct vsd_conn *c, void *ctx);
enum vsd_answer accept_never(struct vsd_conn *c, void *ctx);

/* The outcome of hv_connect(), and the callback that fills it in; a client that is connected is told "OK". */
struct outcome {
	int n, result;
	int fd; /* the relay's end */
};

void on_done(struct hv_conn *conn, int result, void *data);
/* The host connects to PORT of the first guest; its end goes to fx.host. */
struct hv_conn *connect_to_guest(int type, struct outcome *o);

/* What fx.host, and a guest's socket, have to read now, and no more; what they say, and all settles. */
void expect_host(const char *text);
void expect_host_end(void);
void expect_guest(struct socket_of_guest *s, const char *text);
void host_says(const char *text);
void guest_says(struct socket_of_guest *s, const char *text);
void expect_no_connections(void);

/* ---- bytes: those of a stream, from its byte `at` on ---- */

void fill(uint8_t *bytes, uint64_t at, size_t len);
void check(const uint8_t *bytes, uint64_t at, size_t len);
/* Up to max that fx.host has to read now; up to max that the guest's credit allows.  Returns how many. */
size_t host_reads(uint64_t at, size_t max);
size_t guest_writes(struct socket_of_guest *s, uint64_t at, size_t max);

/* ---- packets of the first guest, right or wrong ---- */

/* A header for a connection that is not there. */
struct virtio_vsock_hdr stranger(uint16_t op);
void send_packet(const struct virtio_vsock_hdr *h, const void *bytes, size_t n);
/* The next packet, and the only one, resets what was sent. */
void expect_reset(const struct virtio_vsock_hdr *sent);

#endif
