/* SPDX-License-Identifier: MIT */
/* Letting one user more in at a file, as the kernel then has it; and that all others are where they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <glib.h>

#include "err.h"
#include "host/acl.h"
#include "tmp.h"

#define LIST "system.posix_acl_access"

struct fixture {
	struct tmp_dir dir;
	char *path;
};

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	tmp_dir_init(&f->dir);
	f->path = g_build_filename(f->dir.path, "x", NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	tmp_dir_done(&f->dir);
	g_free(f->path);
	g_free(f);
	return 0;
}

static void make_file(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* As getfacl prints it, in numbers: "u::6 u:7:6 g::0 m::6 o::0"; "-": there is none. */
static char *list_at(const char *path)
{
	static const struct {
		unsigned tag;
		const char *name;
	} names[] = { { ACL_USER_OBJ, "u:" }, { ACL_USER, "u:" }, { ACL_GROUP_OBJ, "g:" },
		      { ACL_GROUP, "g:" },    { ACL_MASK, "m:" }, { ACL_OTHER, "o:" } };
	struct {
		struct posix_acl_xattr_header header;
		struct posix_acl_xattr_entry entries[16];
	} list;
	ssize_t n = getxattr(path, LIST, &list, sizeof(list));
	GString *text = g_string_new(NULL);

	if (n < 0) {
		assert_int_equal(errno, ENODATA);
		return g_string_free(g_string_append(text, "-"), FALSE);
	}
	n = (n - (ssize_t)sizeof(list.header)) / (ssize_t)sizeof(list.entries[0]);
	for (ssize_t i = 0; i < n; i++) {
		uint32_t id = le32toh(list.entries[i].e_id);

		for (unsigned k = 0; k < G_N_ELEMENTS(names); k++)
			if (names[k].tag == le16toh(list.entries[i].e_tag))
				g_string_append(text, names[k].name);
		if (id != (uint32_t)ACL_UNDEFINED_ID)
			g_string_append_printf(text, "%u", id);
		g_string_append_printf(text, ":%u%s", le16toh(list.entries[i].e_perm),
				       i + 1 < n ? " " : "");
	}
	return g_string_free(text, FALSE);
}

static void assert_list(const char *path, const char *expected)
{
	g_autofree char *list = list_at(path);

	assert_string_equal(list, expected);
}

/* The file system may have none: then there is nothing to be seen here. */
static void grant(const char *path, uid_t uid, int may)
{
	GError *error = NULL;

	if (acl_grant(path, uid, may, &error))
		return;
	if (strstr(error->message, g_strerror(EOPNOTSUPP))) {
		print_message("# SKIP the file system of %s has no access control lists\n", path);
		skip();
	}
	fail_msg("%s", error->message);
}

static void test_private(void **state)
{
	const struct fixture *f = *state;

	make_file(f->path, 0600);
	grant(f->path, 64055, R_OK | W_OK);
	assert_list(f->path, "u::6 u:64055:6 g::0 m::6 o::0");
	/* Again, and less than he has: as it is. */
	grant(f->path, 64055, R_OK | W_OK);
	grant(f->path, 64055, R_OK);
	assert_list(f->path, "u::6 u:64055:6 g::0 m::6 o::0");
	/* Another one; and more. */
	grant(f->path, 7, R_OK);
	assert_list(f->path, "u::6 u:64055:6 u:7:4 g::0 m::6 o::0");
	grant(f->path, 7, X_OK);
	assert_list(f->path, "u::6 u:64055:6 u:7:5 g::0 m::7 o::0");
}

/* Where everybody may, there is nothing to be written; an entry for more takes nothing of that away. */
static void test_everybody(void **state)
{
	const struct fixture *f = *state;

	make_file(f->path, 0644);
	grant(f->path, 7, R_OK);
	assert_list(f->path, "-");
	grant(f->path, 7, W_OK);
	assert_list(f->path, "u::6 u:7:6 g::4 m::6 o::4");
}

/* chmod() narrows the mask of a file that has a list: whom it kept out stays out. */
static void test_mask(void **state)
{
	const struct fixture *f = *state;

	make_file(f->path, 0670);
	grant(f->path, 7, R_OK | W_OK);
	assert_list(f->path, "u::6 u:7:6 g::7 m::7 o::0");
	assert_int_equal(chmod(f->path, 0600), 0);
	assert_list(f->path, "u::6 u:7:6 g::7 m::0 o::0");
	grant(f->path, 8, W_OK);
	assert_list(f->path, "u::6 u:7:0 u:8:2 g::0 m::2 o::0");
}

static void test_socket_and_directory(void **state)
{
	const struct fixture *f = *state;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(fchmod(fd, 0600), 0);
	g_strlcpy(addr.sun_path, f->path, sizeof(addr.sun_path));
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	grant(f->path, 7, R_OK | W_OK);
	assert_list(f->path, "u::6 u:7:6 g::0 m::6 o::0");
	close(fd);
	assert_int_equal(chmod(f->dir.path, 0700), 0);
	grant(f->dir.path, 7, X_OK);
	assert_list(f->dir.path, "u::7 u:7:1 g::0 m::1 o::0");
}

static void test_none(void **state)
{
	const struct fixture *f = *state;
	GError *error = NULL;

	assert_false(acl_grant(f->path, 7, R_OK, &error));
	assert_int_equal(err_exit_code(error), 1);
	assert_non_null(strstr(error->message, f->path));
	g_error_free(error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_private, setup, teardown),
		cmocka_unit_test_setup_teardown(test_everybody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mask, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket_and_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_none, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
