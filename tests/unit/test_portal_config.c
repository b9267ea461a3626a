/* SPDX-License-Identifier: MIT */
/* The portal's configuration: what is read, and each mistake with its place. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config.h"
#include "log.h"

static struct config config;
static struct json_object *root;

static int teardown(void **state)
{
	json_object_put(root);
	root = NULL;
	return 0;
}

/* What is logged meanwhile goes to a file. */
static int read_text(const char *text, char *said, size_t size)
{
	int file = memfd_create("stderr", 0), old = dup(STDERR_FILENO), r;
	ssize_t n;

	json_object_put(root);
	root = json_tokener_parse(text);
	assert_non_null(root);
	dup2(file, STDERR_FILENO);
	r = config_read(root, "p.json", &config);
	dup2(old, STDERR_FILENO);
	n = pread(file, said, size - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	close(file);
	close(old);
	return r;
}

static void wrong(const char *text, const char *words)
{
	char said[512];

	assert_int_equal(read_text(text, said, sizeof(said)), -EINVAL);
	if (!strstr(said, words))
		fail_msg("%s: \"%s\" is not in \"%s\"", text, words, said);
}

#define BASE "\"name\":\"n\",\"size\":8388608,\"path\":\"/p\""

static void test_whole(void **state)
{
	char said[512];

	assert_int_equal(
		read_text("{" BASE
			  ",\"vsock-port\":7,\"grace-ms\":5,\"freeze-max-ms\":6,\"clients\":["
			  "{\"name\":\"a\",\"socket-path\":\"/a\"},"
			  "{\"name\":\"b\",\"socket-path\":\"/b\",\"mode\":\"ro\",\"quota\":4194304,"
			  "\"leases\":3,\"linger-ms\":9,\"quiesce\":true,\"pmem-path\":\"/d\"}],"
			  "\"ivshmem\":{\"socket-path\":\"/i\",\"vectors\":2},"
			  "\"pmem\":[{\"name\":\"v\",\"socket-path\":\"/v\",\"mode\":\"ro\"}]}",
			  said, sizeof(said)),
		0);
	assert_string_equal(config.arena.name, "n");
	assert_string_equal(config.arena.path, "/p");
	assert_int_equal(config.arena.size, 8388608);
	assert_int_equal(config.arena.vsock_port, 7);
	assert_false(config.arena.any_vsock_port);
	assert_int_equal(config.grace_ms, 5);
	assert_int_equal(config.freeze_max_ms, 6);
	assert_int_equal(config.n_clients, 2);
	assert_int_equal(config.clients[0].lease.mode, PORTAL_READ_WRITE);
	assert_int_equal(config.clients[0].lease.quota, PORTAL_EXTENTS_MAX);
	assert_false(config.clients[0].lease.may_quiesce);
	assert_string_equal(config.clients[1].lease.name, "b");
	assert_string_equal(config.clients[1].lease.socket_path, "/b");
	assert_int_equal(config.clients[1].lease.mode, PORTAL_READ_ONLY);
	assert_int_equal(config.clients[1].lease.quota, 2);
	assert_int_equal(config.clients[1].lease.max_leases, 3);
	assert_int_equal(config.clients[1].lease.linger_ms, 9);
	assert_true(config.clients[1].lease.may_quiesce);
	assert_null(config.clients[0].pmem_path);
	assert_string_equal(config.clients[1].pmem_path, "/d");
	assert_string_equal(config.ivshmem_path, "/i");
	assert_int_equal(config.ivshmem_vectors, 2);
	assert_int_equal(config.n_pmem, 1);
	assert_string_equal(config.pmem[0].name, "v");
	assert_int_equal(config.pmem[0].mode, PORTAL_READ_ONLY);
}

static void test_least(void **state)
{
	char said[512];

	assert_int_equal(read_text("{\"name\":\"n\",\"size\":10485760,\"memfd\":true}", said,
				   sizeof(said)),
			 0);
	assert_null(config.arena.path);
	assert_null(config.ivshmem_path);
	assert_int_equal(config.arena.vsock_port, 50100);
	assert_true(config.arena.any_vsock_port);
	assert_int_equal(config.grace_ms, LEASES_GRACE_MS);
	assert_int_equal(config_read(NULL, NULL, &config), -EINVAL);
}

static void test_mistakes(void **state)
{
	wrong("{}", "p.json: /an arena needs name and size");
	wrong("{\"name\":\"n\",\"size\":8388608}", "either path or");
	wrong("{" BASE ",\"memfd\":true}", "either path or");
	wrong("{" BASE ",\"colour\":1}", "p.json: /colour: not one of name, size");
	wrong("{\"size\":1}", "/size: outside 8388608..17179869184");
	wrong("{\"size\":-1}", "/size: outside");
	wrong("{\"size\":\"8M\"}", "/size: not a whole number");
	wrong("{\"name\":\"\"}", "/name: empty");
	wrong("{\"name\":\"n\",\"size\":8388609,\"path\":\"/p\"}", "/size: not a multiple");
	wrong("{\"name\":\"0123456789012345678901234567890x\",\"size\":8388608,\"path\":\"/p\"}",
	      "/name: longer than 31");
	wrong("{\"memfd\":1}", "/memfd: neither true nor false");
	wrong("{\"clients\":{}}", "/clients: not an array");
	wrong("{\"clients\":[1]}", "/clients/0/not an object");
	wrong("{\"clients\":[{\"name\":\"a\"}]}", "/clients/0/a client needs");
	wrong("{\"clients\":[{\"name\":\"a\",\"socket-path\":\"/a\"},"
	      "{\"name\":\"a\",\"socket-path\":\"/b\"}]}",
	      "/clients/1/name: there is a client \"a\"");
	wrong("{\"clients\":[{\"name\":\"\xc3\xa4\",\"socket-path\":\"/a\"}]}",
	      "/clients/0/name: not printable ASCII");
	wrong("{\"clients\":[{\"mode\":\"rwx\"}]}", "/clients/0/mode: neither rw nor ro");
	wrong("{\"clients\":[{\"quota\":4096}]}", "/clients/0/quota: not a multiple");
	wrong("{\"clients\":[{\"leases\":257}]}", "/clients/0/leases: outside 1..256");
	wrong("{\"clients\":[{\"mod\":1}]}", "/clients/0/mod: not one of name");
	wrong("{" BASE ",\"ivshmem\":{}}", "/ivshmem/it needs socket-path");
	wrong("{\"ivshmem\":{\"vectors\":33}}", "/ivshmem/vectors: outside 1..32");
	wrong("{\"pmem\":[{\"name\":\"v\"}]}", "/pmem/0/a device needs");
	wrong("{\"name\":\"n\",\"size\":10485760,\"path\":\"/p\",\"ivshmem\":{\"socket-path\":\"/i\"}}",
	      "power of two");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_whole, teardown),
		cmocka_unit_test_teardown(test_least, teardown),
		cmocka_unit_test_teardown(test_mistakes, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
