/* SPDX-License-Identifier: MIT */
/* libportal against the daemon's own code: attaching, names, rest, and what becomes of a client whose daemon goes away. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "impl.h"
#include "portal.h"
#include "portal_server.h"
#include "tether_impl.h"

static struct portal_server server;

static int set_up(void **state)
{
	portal_server_init(&server);
	return 0;
}

static int tear_down(void **state)
{
	portal_server_done(&server);
	return 0;
}

static struct portal *attach(const char *client)
{
	struct portal_options options = { .client = "test", .timeout_ms = 3000 };
	struct portal *p = NULL;

	assert_int_equal(portal_attach(portal_server_where(&server, client), &options, &p), 0);
	return p;
}

static uint32_t live_clients(struct portal *p)
{
	struct portal_info info;

	portal_info(p, &info);
	return info.clients_live;
}

/* What others do takes a moment. */
static void wait_until(bool (*is_so)(struct portal *p), struct portal *p)
{
	struct timespec moment = { .tv_nsec = 1000000 };

	for (int i = 0; i < 10000 && !is_so(p); i++)
		nanosleep(&moment, NULL);
	assert_true(is_so(p));
}

static bool one_is_left(struct portal *p)
{
	return live_clients(p) == 1;
}

/* ---- attaching ----------------------------------------------------------------- */

static void test_attach(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_info info;
	struct portal_client client;

	portal_info(a, &info);
	assert_string_equal(info.name, "test");
	assert_int_equal(info.size, PF_EXTENTS * PORTAL_EXTENT);
	assert_int_equal(info.mode, PORTAL_CLIENT_WRITER);
	assert_int_equal(info.quota, 8 * PORTAL_EXTENT);
	assert_int_equal(info.clients_live, 2);
	assert_int_equal(info.state, PORTAL_ARENA_RUNNING);
	assert_int_equal(portal_client_at(a, info.id, &client), 0);
	assert_string_equal(client.client, "a");
	assert_string_equal(client.name, "test");
	assert_int_equal(client.state, PORTAL_CLIENT_LIVE);
	assert_true(client.same_kernel);
	assert_int_equal(portal_client_at(a, 200, &client), -ENOENT);
	assert_int_equal(portal_client_at(a, 256, &client), -EINVAL);
	assert_true(portal_fd(a) >= 0);
	assert_int_equal(portal_dispatch(a), 0);
	portal_detach(b);
	wait_until(one_is_left, a);
	portal_detach(a);
	portal_detach(NULL);
}

/* A program may be called as it likes: others see what can be shown anywhere. */
static void test_name_of_any_letters(void **state)
{
	struct portal_options options = { .client = "gr\xc3\xb6\xc3\x9f"
						    "e\n",
					  .timeout_ms = 3000 };
	struct portal_client client;
	struct portal_info info;
	struct portal *p = NULL;

	assert_int_equal(portal_attach(portal_server_where(&server, "a"), &options, &p), 0);
	portal_info(p, &info);
	assert_int_equal(portal_client_at(p, info.id, &client), 0);
	assert_string_equal(client.name, "gr????e?");
	portal_detach(p);
}

static void test_attach_refused(void **state)
{
	struct portal_options options = { .flags = 0x80 };
	struct portal *p = NULL;
	char where[160];

	unsetenv("PORTAL_PATH");
	assert_int_equal(portal_attach(NULL, NULL, &p), -ENOENT);
	assert_int_equal(portal_attach("", NULL, &p), -ENOENT);
	assert_int_equal(portal_attach("unix:/nowhere/at.all", NULL, &p), -ENOENT);
	assert_int_equal(portal_attach("file:/nowhere/at.all", NULL, &p), -ENOENT);
	assert_int_equal(portal_attach("telnet:host", NULL, &p), -EINVAL);
	assert_int_equal(portal_attach("pci:../../etc", NULL, &p), -EINVAL);
	assert_int_equal(portal_attach("pci:ffff:ff:1f.7", NULL, &p), -ENOENT);
	assert_int_equal(portal_attach("no-arena-of-this-name", NULL, &p), -ENOENT);
	assert_int_equal(portal_attach("file:/dev/null", NULL, &p), -ENODEV);
	assert_int_equal(portal_attach("file:/proc/self/mounts", NULL, &p), -EPROTO);
	assert_int_equal(portal_attach(portal_server_where(&server, "a"), &options, &p), -EINVAL);
	options = (struct portal_options){ .reserved = { 0, 1 } };
	assert_int_equal(portal_attach(portal_server_where(&server, "a"), &options, &p), -EINVAL);
	options = (struct portal_options){ .lease = "none" };
	assert_int_equal(portal_attach(portal_server_where(&server, "a"), &options, &p), -EINVAL);
	options = (struct portal_options){ .lease = "vsock:2" };
	(void)snprintf(where, sizeof(where), "file:%s", server.pf.path);
	assert_int_equal(portal_attach(where, &options, &p), -EINVAL);
	assert_null(p);
}

static void test_environment(void **state)
{
	struct portal *p;

	setenv("PORTAL_PATH", portal_server_where(&server, "a"), 1);
	assert_int_equal(portal_attach(NULL, NULL, &p), 0);
	portal_detach(p);
	unsetenv("PORTAL_PATH");
}

static void test_observer(void **state)
{
	struct portal *p, *a = attach("a");
	struct portal_object object;
	struct portal_info info;
	char where[160];
	void *block = portal_alloc(a, 100);

	assert_non_null(block);
	strcpy(block, "seen");
	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, block, 5), 0);
	(void)snprintf(where, sizeof(where), "file:%s", server.pf.path);
	assert_int_equal(portal_attach(where, NULL, &p), 0);
	portal_info(p, &info);
	assert_int_equal(info.mode, PORTAL_CLIENT_OBSERVER);
	assert_int_equal(info.offset, PORTAL_LABEL_SIZE);
	assert_int_equal(portal_fd(p), -ENOTCONN);
	assert_int_equal(portal_lookup(p, "thing", PORTAL_OBJECT_BYTES, &object), 0);
	assert_string_equal(object.ptr, "seen");
	assert_null(portal_alloc(p, 10));
	assert_int_equal(errno, EROFS);
	assert_int_equal(portal_publish(p, "x", PORTAL_OBJECT_BYTES, object.ptr, 5), -ENOTCONN);
	assert_int_equal(portal_flush(p), -ENOTCONN);
	assert_int_equal(portal_quiesce(p, 0), -ENOTCONN);
	portal_detach(p);
	portal_detach(a);
}

/* The door opens a file with a lease from elsewhere as well: what a guest does with its device. */
static void test_door_and_lease(void **state)
{
	struct portal_options options = { .lease = portal_server_where(&server, "a") };
	char where[160];
	struct portal *p;
	void *block;

	(void)snprintf(where, sizeof(where), "file:%s", server.pf.path);
	assert_int_equal(portal_attach(where, &options, &p), 0);
	block = portal_alloc(p, 64);
	assert_non_null(block);
	assert_int_equal(portal_free(p, block), 0);
	portal_detach(p);
}

/* Does the kernel let this process write there? */
static bool can_write(void *at)
{
	int fds[2];
	bool can;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	can = read(fds[0], at, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return can;
}

static void test_reader(void **state)
{
	struct portal_options options = { .flags = PORTAL_ATTACH_READ_ONLY };
	struct portal *r = attach("r"), *a = attach("a"), *modest;
	struct portal_object object;
	void *block = portal_alloc(a, 8);

	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, block, 8), 0);
	assert_int_equal(portal_lookup(r, "thing", PORTAL_OBJECT_ANY, &object), 0);
	assert_false(can_write(object.ptr));
	assert_true(can_write(block));
	assert_null(portal_alloc(r, 8));
	assert_int_equal(portal_publish(r, "x", PORTAL_OBJECT_BYTES, object.ptr, 8), -EROFS);
	assert_int_equal(portal_attach(portal_server_where(&server, "a"), &options, &modest), 0);
	assert_int_equal(portal_lookup(modest, "thing", PORTAL_OBJECT_ANY, &object), 0);
	assert_false(can_write(object.ptr));
	portal_detach(modest);
	portal_detach(r);
	portal_detach(a);
}

static void write_at(off_t offset, const void *bytes, size_t len)
{
	int fd = open(server.pf.path, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, len, offset), len);
	close(fd);
}

static int attach_file(void)
{
	struct portal *p = NULL;
	char where[160];
	int r;

	(void)snprintf(where, sizeof(where), "file:%s", server.pf.path);
	r = portal_attach(where, NULL, &p);
	portal_detach(p);
	return r;
}

static void test_broken_files(void **state)
{
	portal_server_stop(&server);
	assert_int_equal(attach_file(), 0);
	write_at(PORTAL_LABEL_SIZE + offsetof(struct portal_head, version), "\x02\0\0\0", 4);
	assert_int_equal(attach_file(), -EOPNOTSUPP);
	write_at(PORTAL_LABEL_SIZE + offsetof(struct portal_head, version), "\0\0\0\x01", 4);
	assert_int_equal(attach_file(), -EOPNOTSUPP); /* another byte order */
	write_at(PORTAL_LABEL_SIZE + offsetof(struct portal_head, version), "\x01\0\0\0", 4);
	assert_int_equal(attach_file(), 0);
	write_at(PORTAL_LABEL_SIZE + offsetof(struct portal_head, n_extents), "\xff\xff", 2);
	assert_int_equal(attach_file(), -EPROTO); /* the sum is wrong */
	assert_int_equal(truncate(server.pf.path, PORTAL_LABEL_SIZE + 100), 0);
	assert_int_equal(attach_file(), -EPROTO);
	assert_int_equal(truncate(server.pf.path, 0), 0);
	assert_int_equal(attach_file(), -EPROTO);
}

static void test_cut_file(void **state)
{
	portal_server_stop(&server);
	assert_int_equal(truncate(server.pf.path, PF_FILE_SIZE - PORTAL_EXTENT), 0);
	assert_int_equal(attach_file(), -EFBIG);
}

/* ---- names ------------------------------------------------------------------------ */

static void test_names(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_object o, at;
	char longest[PORTAL_NAME_SIZE + 1];
	uint8_t *block = portal_alloc(a, 4096);
	int on_stack;

	assert_int_equal(portal_lookup(b, "thing", PORTAL_OBJECT_ANY, &o), -ENOENT);
	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_USER + 7, block + 16, 100), 0);
	assert_int_equal(portal_lookup(b, "thing", PORTAL_OBJECT_USER + 7, &o), 0);
	assert_int_equal(o.len, 100);
	assert_int_equal(o.offset, portal_offset(a, block + 16));
	assert_int_equal(portal_lookup(b, "thing", PORTAL_OBJECT_BYTES, &at), -EPROTOTYPE);
	assert_int_equal(portal_name_at(b, o.index, &at), 0);
	assert_memory_equal(&o, &at, sizeof(o));
	assert_int_equal(portal_still(b, &o), 0);

	assert_int_equal(portal_publish(b, "thing", PORTAL_OBJECT_BYTES, portal_alloc(b, 10), 10),
			 -EEXIST);
	assert_int_equal(portal_publish(b, "stolen", PORTAL_OBJECT_BYTES, o.ptr, 10), -EPERM);
	assert_int_equal(portal_publish(b, "stack", PORTAL_OBJECT_BYTES, &on_stack, 4), -EFAULT);
	assert_int_equal(portal_publish(a, "far", PORTAL_OBJECT_BYTES, block, UINT64_MAX), -EFAULT);
	assert_int_equal(portal_publish(a, "none", PORTAL_OBJECT_BYTES, block, 0), -EFAULT);
	assert_int_equal(portal_publish(a, "two words", PORTAL_OBJECT_BYTES, block, 1), -EINVAL);
	assert_int_equal(portal_publish(a, "", PORTAL_OBJECT_BYTES, block, 1), -EINVAL);
	assert_int_equal(portal_publish(a, "any", PORTAL_OBJECT_ANY, block, 1), -EINVAL);
	memset(longest, 'n', sizeof(longest));
	longest[PORTAL_NAME_SIZE] = '\0';
	assert_int_equal(portal_publish(a, longest, PORTAL_OBJECT_BYTES, block, 1), -EINVAL);
	longest[PORTAL_NAME_SIZE - 1] = '\0';
	assert_int_equal(portal_publish(a, longest, PORTAL_OBJECT_BYTES, block, 1), 0);
	assert_int_equal(portal_lookup(b, longest, PORTAL_OBJECT_BYTES, &at), 0);

	assert_int_equal(portal_unpublish(b, "thing"), -EPERM);
	assert_int_equal(portal_unpublish(a, "things"), -ENOENT);
	assert_int_equal(portal_unpublish(a, "thing"), 0);
	assert_int_equal(portal_still(b, &o), -ESTALE);
	/* The same name again is another publication. */
	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_USER + 7, block + 16, 100), 0);
	assert_int_equal(portal_still(b, &o), -ESTALE);
	portal_detach(b);
	portal_detach(a);
}

static struct portal_object orphan;

static bool orphan_is_gone(struct portal *p)
{
	return portal_still(p, &orphan) == -ESTALE;
}

static void test_names_end_with_their_owner(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");

	assert_int_equal(portal_publish(b, "thing", PORTAL_OBJECT_BYTES, portal_alloc(b, 10), 10),
			 0);
	assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_ANY, &orphan), 0);
	portal_detach(b);
	wait_until(orphan_is_gone, a);
	assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_ANY, &orphan), -ENOENT);
	portal_detach(a);
}

/* Whatever a peer writes into the table: no name is found that is not one, and nobody looks for ever. */
static void test_hostile_names(void **state)
{
	struct portal *a = attach("a");
	struct portal_name *entry;
	struct portal_object o;
	void *block = portal_alloc(a, 10);

	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, block, 10), 0);
	assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_ANY, &o), 0);
	entry = (struct portal_name *)(void *)(a->map.base + PORTAL_NAMES_OFFSET) + o.index;

	const struct portal_name sound = *entry;
	const struct {
		size_t offset, len;
		const char *bytes;
	} lies[] = {
		{ offsetof(struct portal_name, seq), 1, "\x03" },
		{ offsetof(struct portal_name, offset), 8, "\xff\xff\xff\xff\xff\xff\xff\xff" },
		{ offsetof(struct portal_name, offset), 8, "\0\0\0\0\0\0\0\0" },
		{ offsetof(struct portal_name, len), 8, "\xff\xff\xff\xff\xff\xff\xff\x7f" },
		{ offsetof(struct portal_name, len), 8, "\0\0\0\0\0\0\0\0" },
		{ offsetof(struct portal_name, owner), 8, "\xff\xff\xff\xff\xff\xff\xff\xff" },
		{ offsetof(struct portal_name, name), 1, "\x1b" },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		memcpy((char *)entry + lies[i].offset, lies[i].bytes, lies[i].len);
		assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_ANY, &o), -ENOENT);
		*entry = sound;
	}
	memset(entry->name, 'x', sizeof(entry->name)); /* without an end */
	assert_int_equal(portal_name_at(a, o.index, &o), -ENOENT);
	*entry = sound;
	assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_ANY, &o), 0);
	assert_int_equal(portal_name_at(a, PORTAL_NAMES, &o), -EINVAL);
	portal_detach(a);
}

/* ---- when the daemon goes away ------------------------------------------------------ */

static bool is_back(struct portal *p)
{
	return portal_dispatch(p) >= 0;
}

static void test_restart(void **state)
{
	struct portal *a = attach("a");
	struct portal_object o;
	struct portal_info before, after;
	char *block = portal_alloc(a, 100);

	strcpy(block, "still here");
	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, block, 11), 0);
	portal_info(a, &before);
	portal_server_stop(&server);
	assert_int_equal(portal_dispatch(a), -ENOTCONN);
	assert_string_equal(block, "still here");
	assert_non_null(portal_alloc(a, 100)); /* of what we have */
	portal_server_start(&server);
	wait_until(is_back, a);
	portal_info(a, &after);
	assert_int_equal(after.id, before.id);
	assert_int_equal(after.id_generation, before.id_generation);
	assert_int_equal(after.incarnation, before.incarnation + 1);
	assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_BYTES, &o), 0);
	assert_ptr_equal(o.ptr, block);
	assert_int_equal(portal_unpublish(a, "thing"), 0);
	portal_detach(a);
}

static void *start_later(void *arg)
{
	struct timespec while_asked = { .tv_nsec = 300 * 1000000 };

	nanosleep(&while_asked, NULL);
	portal_server_start(arg);
	return NULL;
}

/* Who asks while the daemon is being restarted waits for it. */
static void test_ask_during_restart(void **state)
{
	struct portal *a = attach("a");
	void *block = portal_alloc(a, 100);
	pthread_t thread;

	portal_server_stop(&server);
	assert_int_equal(pthread_create(&thread, NULL, start_later, &server), 0);
	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, block, 100), 0);
	pthread_join(thread, NULL);
	portal_detach(a);
}

static void test_daemon_stays_away(void **state)
{
	struct portal_options options = { .timeout_ms = 200 };
	struct portal *a;
	void *block;
	uint64_t begin;

	assert_int_equal(portal_attach(portal_server_where(&server, "a"), &options, &a), 0);
	block = portal_alloc(a, 100);
	portal_server_stop(&server);
	begin = clock_ns();
	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, block, 100), -ENOTCONN);
	assert_true(clock_ns() - begin < 2 * NS_PER_SEC);
	assert_int_equal(portal_free(a, block), 0);
	portal_detach(a);
}

static void revoke_lease(struct pf *pf, void *arg)
{
	assert_int_equal(leases_revoke(&pf->leases, *(uint32_t *)arg), 0);
}

static bool is_over(struct portal *p)
{
	return portal_dispatch(p) == -ESTALE;
}

/* What a client does that has lost its lease is seen by nobody. */
static void test_revoked(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_info info;
	struct portal_object o;
	char *block = portal_alloc(b, 100);
	const char *seen;

	strcpy(block, "mine");
	assert_int_equal(portal_publish(b, "thing", PORTAL_OBJECT_BYTES, block, 5), 0);
	assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_BYTES, &o), 0);
	seen = o.ptr;
	portal_info(b, &info);
	portal_server_do(&server, revoke_lease, &info.id);
	wait_until(is_over, b);
	assert_int_equal(block[0], 0);
	strcpy(block, "yours");
	assert_string_not_equal(seen, "yours");
	assert_null(portal_alloc(b, 3 * PORTAL_EXTENT));
	assert_int_equal(portal_publish(b, "again", PORTAL_OBJECT_BYTES, block, 5), -ESTALE);
	assert_int_equal(portal_quiesce_wait(b, PORTAL_FOREVER), -ESTALE);
	assert_int_equal(portal_quiesce_point(b), -ESTALE);
	portal_detach(b);
	assert_int_equal(portal_lookup(a, "thing", PORTAL_OBJECT_BYTES, &o), -ENOENT);
	portal_detach(a);
}

/* A daemon that does not know us any more: its file was made anew. */
static void test_forgotten(void **state)
{
	struct portal *a = attach("a");

	portal_server_stop(&server);
	assert_int_equal(unlink(server.pf.path), 0);
	portal_server_start(&server);
	wait_until(is_over, a);
	portal_detach(a);
}

/* A client that detaches says so: its lease is not kept for it, as it is for one whose connection was cut. */
static bool lingers(struct portal *p, uint32_t id)
{
	struct timespec moment = { .tv_nsec = 1000000 };
	struct portal_client client;

	for (int i = 0; i < 10000; i++) {
		if (portal_client_at(p, id, &client) == -ENOENT)
			return false;
		if (client.state == PORTAL_CLIENT_LOST)
			return true;
		nanosleep(&moment, NULL);
	}
	fail_msg("it never ends");
	return false;
}

static void test_takes_leave(void **state)
{
	struct portal *p = attach("a"), *l = attach("l");
	struct portal_info info;

	portal_info(l, &info);
	portal_detach(l);
	assert_false(lingers(p, info.id));
	portal_detach(p);
}

static void test_is_cut_off(void **state)
{
	struct portal *p = attach("a"), *l = attach("l");
	struct portal_info info;

	portal_info(l, &info);
	assert_int_equal(shutdown(l->tether->sock, SHUT_RDWR), 0);
	assert_true(lingers(p, info.id));
	wait_until(is_back, l);
	portal_detach(l);
	portal_detach(p);
}

/* ---- rest ------------------------------------------------------------------------------ */

static void *rest_and_go_on(void *arg)
{
	struct portal *p = arg;
	int r;

	while ((r = portal_quiesce_point(p)) == 0)
		(void)portal_dispatch(p);
	assert_int_equal(r, -EAGAIN);
	assert_null(portal_alloc(p, 10));
	assert_int_equal(errno, EAGAIN);
	return (void *)(intptr_t)portal_quiesce_wait(p, clock_ns() + 10 * NS_PER_SEC);
}

static void test_quiesce(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	struct portal_info info;
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, NULL, rest_and_go_on, b), 0);
	assert_int_equal(portal_quiesce(a, clock_ns() + 5 * NS_PER_SEC), 0);
	portal_info(a, &info);
	assert_int_equal(info.state, PORTAL_ARENA_FROZEN);
	assert_int_equal(portal_quiesce_wait(a, clock_ns() + NS_PER_MS), -ETIMEDOUT);
	assert_int_equal(portal_quiesce(a, clock_ns()), -EBUSY);
	assert_int_equal(portal_thaw(a), 0);
	pthread_join(thread, &result);
	assert_int_equal((intptr_t)result, 0);
	assert_int_equal(portal_quiesce_point(a), 0);
	assert_int_equal(portal_thaw(a), -EINVAL);
	assert_non_null(portal_alloc(b, 10));
	assert_int_equal(portal_quiesce(b, clock_ns()), -EPERM); /* not admitted to it */
	portal_detach(b);
	portal_detach(a);
}

static bool is_running(struct portal *p)
{
	return portal_quiesce_point(p) == 0;
}

static void test_laggards(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	void *block = portal_alloc(b, 10);

	assert_int_equal(portal_quiesce(a, clock_ns() + 20 * NS_PER_MS), 1);
	assert_int_equal(portal_free(b, block), -EAGAIN);
	portal_detach(a); /* and whoever froze it has gone: it thaws */
	wait_until(is_running, b);
	assert_int_equal(portal_free(b, block), 0);
	portal_detach(b);
}

/* Who comes while the arena is frozen waits, within his patience. */
static void *attach_during_freeze(void *arg)
{
	return attach("b");
}

static void test_attach_during_freeze(void **state)
{
	struct portal_options hasty = { .timeout_ms = 50 };
	struct timespec moment = { .tv_nsec = 150 * 1000000 };
	struct portal *a = attach("a"), *p = NULL;
	pthread_t thread;
	void *b;

	assert_int_equal(portal_quiesce(a, clock_ns() + NS_PER_SEC), 0);
	assert_int_equal(portal_attach(portal_server_where(&server, "b"), &hasty, &p), -EAGAIN);
	assert_int_equal(pthread_create(&thread, NULL, attach_during_freeze, NULL), 0);
	nanosleep(&moment, NULL);
	assert_int_equal(portal_thaw(a), 0);
	pthread_join(thread, &b);
	assert_non_null(b);
	portal_detach(b);
	portal_detach(a);
}

static void test_flush(void **state)
{
	struct portal *a = attach("a");
	struct portal_info info;

	portal_info(a, &info);
	assert_int_equal(portal_flush(a), info.durable ? 0 : -ENODATA);
	portal_detach(a);
}

/* ---- what is given back -------------------------------------------------------- */

static uint32_t free_extents(struct portal *p)
{
	struct portal_info info;

	portal_info(p, &info);
	return info.extents_free;
}

/* A grant that the daemon does not take, for now or for ever, does not keep others from being given back. */
static void test_give_back(void **state)
{
	struct portal *a = attach("a");
	uint32_t before = free_extents(a), first;
	void *named = portal_alloc(a, PORTAL_EXTENT), *gone = portal_alloc(a, PORTAL_EXTENT);
	void *third = portal_alloc(a, PORTAL_EXTENT);

	assert_non_null(third);
	assert_int_equal(free_extents(a), before - 6);
	assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, named, 10), 0);
	first = (uint32_t)(portal_offset(a, gone) / PORTAL_EXTENT);
	assert_int_equal(tether_extent_put(a->tether, first, 2), 0);
	assert_int_equal(tether_extent_put(a->tether, first, 2), -EPERM);
	assert_int_equal(portal_free(a, named), 0);
	assert_int_equal(portal_free(a, gone), 0);
	assert_int_equal(free_extents(a), before - 4);
	assert_int_equal(portal_free(a, third), 0);
	assert_int_equal(free_extents(a), before - 2);
	assert_int_equal(portal_unpublish(a, "thing"), 0);
	third = portal_alloc(a, PORTAL_EXTENT);
	assert_int_equal(portal_free(a, third), 0);
	assert_int_equal(free_extents(a), before);
	portal_detach(a);
}

/* ---- errors ----------------------------------------------------------------------------------- */

static void fail_disk(struct pf *pf, void *arg)
{
	pf->flush.error = *(int *)arg;
}

static int alloc_error(struct portal *p, size_t size)
{
	errno = 0;
	return portal_alloc(p, size) ? 0 : errno;
}

static int take_error(struct portal *p, uint64_t handle)
{
	errno = 0;
	return portal_take(p, handle, 1) ? 0 : errno;
}

/* What portal.h promises of errors that are the daemon's, or another client's. */
static void test_errors_of_memory(void **state)
{
	struct portal *a = attach("a"), *b = attach("b"), *r = attach("r");
	uint64_t handle = portal_handle(a, portal_alloc(a, 100));

	assert_int_equal(alloc_error(a, 0), EINVAL);
	assert_int_equal(alloc_error(a, 8 * PORTAL_EXTENT), EDQUOT);
	assert_int_equal(alloc_error(a, 64 * PORTAL_EXTENT), ENOMEM);
	assert_int_equal(alloc_error(r, 1), EROFS);
	assert_int_equal(alloc_error(a, 7 * PORTAL_EXTENT - 8192), 0);
	assert_int_equal(alloc_error(b, 6 * PORTAL_EXTENT), ENOSPC);
	assert_int_equal(take_error(r, handle), EROFS);
	assert_int_equal(take_error(b, handle), 0);
	assert_int_equal(take_error(a, handle), ESTALE); /* it is b's */
	assert_int_equal(portal_quiesce(a, clock_ns()), 1);
	assert_int_equal(alloc_error(b, 1), EAGAIN);
	assert_int_equal(take_error(b, handle), EAGAIN);
	assert_int_equal(portal_thaw(a), 0);
	portal_detach(r);
	portal_detach(b);
	portal_detach(a);
}

static void test_errors_of_names_and_pauses(void **state)
{
	static const int disk[] = { -EIO, -ENOSPC, -EDQUOT };
	struct portal *a = attach("a"), *b = attach("b"), *r = attach("r");
	char *mine = portal_alloc(a, 10), *his = portal_alloc(b, 10);
	void *his_here = portal_resolve(a, portal_handle(b, his), 10);

	assert_int_equal(portal_publish(a, "x", 0, mine, 1), -EINVAL);
	assert_int_equal(portal_publish(a, "x", 1, &a, 1), -EFAULT);
	assert_int_equal(portal_publish(a, "x", 1, his_here, 1), -EPERM);
	assert_int_equal(portal_publish(r, "x", 1, mine, 1), -EROFS);
	assert_int_equal(portal_publish(a, "x", 1, mine, 1), 0);
	assert_int_equal(portal_publish(b, "x", 1, his, 1), -EEXIST);
	assert_int_equal(portal_unpublish(b, "x"), -EPERM);
	assert_int_equal(portal_unpublish(b, "y"), -ENOENT);
	assert_int_equal(portal_quiesce(b, clock_ns()), -EPERM);
	assert_int_equal(portal_thaw(a), -EINVAL);
	assert_int_equal(portal_quiesce(a, clock_ns()), 1);
	assert_int_equal(portal_quiesce(a, clock_ns()), -EBUSY);
	assert_int_equal(portal_publish(b, "y", 1, his, 1), -EAGAIN);
	assert_int_equal(portal_unpublish(a, "x"), -EAGAIN);
	assert_int_equal(portal_thaw(a), 0);
	for (unsigned i = 0; i < sizeof(disk) / sizeof(disk[0]); i++) {
		portal_server_do(&server, fail_disk, (void *)(uintptr_t)&disk[i]);
		assert_int_equal(portal_flush(a), disk[i]);
	}
	portal_detach(r);
	portal_detach(b);
	portal_detach(a);
}

static int create_ring(struct portal *p, const struct portal_ring_options *options)
{
	struct portal_ring *ring;

	return portal_ring_create(p, "ring", options, &ring);
}

static int open_end_of(struct portal *p, const char *name, enum portal_role role)
{
	struct portal_ring *ring;

	return portal_ring_open(p, name, role, &ring);
}

/* And of rings. */
static void test_errors_of_rings(void **state)
{
	const struct portal_ring_options sound = { 0 }, kind = { .kind = 3 }, role = { .role = 2 };
	const struct portal_ring_options large = { .size = 2ull << 30 };
	struct portal *a = attach("a"), *b = attach("b"), *r = attach("r"), *looks;
	void *block = portal_alloc(a, 100);
	char where[160], *theirs;

	(void)snprintf(where, sizeof(where), "file:%s", server.pf.path);
	assert_int_equal(portal_attach(where, NULL, &looks), 0);
	theirs = b->map.base + portal_offset(a, block);
	assert_int_equal(portal_publish(a, "bytes", PORTAL_OBJECT_BYTES, block, 8), 0);
	assert_int_equal(create_ring(b, &sound), 0);

	const struct {
		const char *what;
		int got, want;
	} table[] = {
		{ "an observer's", -alloc_error(looks, 8), -EROFS },
		{ "no block", portal_free(a, (char *)block + 1), -EINVAL },
		{ "another's", portal_free(b, theirs), -EPERM },
		{ "free, by a reader", portal_free(r, r->map.base + portal_offset(a, block)),
		  -EROFS },
		{ "no kind", create_ring(a, &kind), -EINVAL },
		{ "no role", create_ring(a, &role), -EINVAL },
		{ "too large", create_ring(a, &large), -EINVAL },
		{ "by a reader", create_ring(r, &sound), -EROFS },
		{ "no name", open_end_of(a, "none", PORTAL_CONSUMER), -ENOENT },
		{ "no ring", open_end_of(a, "bytes", PORTAL_CONSUMER), -EPROTOTYPE },
		{ "no such end", open_end_of(a, "ring", (enum portal_role)2), -EINVAL },
		{ "taken", open_end_of(a, "ring", PORTAL_PRODUCER), -EBUSY },
		{ "of a reader", open_end_of(r, "ring", PORTAL_CONSUMER), -EROFS },
		{ "of an observer", open_end_of(looks, "ring", PORTAL_CONSUMER), -EROFS },
		{ "nobody's", portal_thaw(looks), -ENOTCONN },
		{ "pause", portal_quiesce(a, clock_ns()), 1 },
		{ "free, during one", portal_free(a, block), -EAGAIN },
		{ "make, during one", create_ring(a, &sound), -EAGAIN },
		{ "open, during one", open_end_of(a, "ring", PORTAL_CONSUMER), -EAGAIN },
		{ "thaw", portal_thaw(a), 0 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].got != table[i].want)
			fail_msg("%s: %d, not %d", table[i].what, table[i].got, table[i].want);
	portal_detach(looks);
	portal_detach(r);
	portal_detach(b);
	portal_detach(a);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void *wait_for_bell(void *arg)
{
	struct portal *p = arg;

	return (void *)(intptr_t)tether_wait(p->tether, tether_bells(p->tether),
					     clock_ns() + 10 * NS_PER_SEC);
}

/* One sleeps for a bell, and so reads the socket; another one asks meanwhile, and gets its answers. */
static void test_wait_and_ask(void **state)
{
	struct portal *a = attach("a"), *b = attach("b");
	void *block = portal_alloc(a, 10), *result;
	struct timespec moment = { .tv_nsec = 100000 };
	pthread_t thread;

	for (int i = 0; i < 20; i++) {
		assert_int_equal(pthread_create(&thread, NULL, wait_for_bell, a), 0);
		assert_int_equal(portal_publish(a, "thing", PORTAL_OBJECT_BYTES, block, 10), 0);
		assert_int_equal(portal_unpublish(a, "thing"), 0);
		while (pthread_tryjoin_np(thread, &result) == EBUSY) {
			(void)tether_bell(b->tether, portal_self(a),
					  1); /* not when the socket is full */
			nanosleep(&moment, NULL);
		}
		assert_int_equal((intptr_t)result, 0);
	}
	portal_detach(b);
	portal_detach(a);
}

int main(void)
{
#define PORTAL_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		PORTAL_TEST(test_attach),
		PORTAL_TEST(test_name_of_any_letters),
		PORTAL_TEST(test_attach_refused),
		PORTAL_TEST(test_environment),
		PORTAL_TEST(test_observer),
		PORTAL_TEST(test_door_and_lease),
		PORTAL_TEST(test_reader),
		PORTAL_TEST(test_broken_files),
		PORTAL_TEST(test_cut_file),
		PORTAL_TEST(test_names),
		PORTAL_TEST(test_names_end_with_their_owner),
		PORTAL_TEST(test_hostile_names),
		PORTAL_TEST(test_restart),
		PORTAL_TEST(test_ask_during_restart),
		PORTAL_TEST(test_daemon_stays_away),
		PORTAL_TEST(test_revoked),
		PORTAL_TEST(test_forgotten),
		PORTAL_TEST(test_takes_leave),
		PORTAL_TEST(test_is_cut_off),
		PORTAL_TEST(test_quiesce),
		PORTAL_TEST(test_laggards),
		PORTAL_TEST(test_attach_during_freeze),
		PORTAL_TEST(test_flush),
		PORTAL_TEST(test_errors_of_memory),
		PORTAL_TEST(test_errors_of_names_and_pauses),
		PORTAL_TEST(test_give_back),
		PORTAL_TEST(test_errors_of_rings),
		PORTAL_TEST(test_wait_and_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
