/* SPDX-License-Identifier: MIT */
/* The arena's file: made whole, found again, and refused when it is something else. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arena.h"
#include "base.h"
#include "crc32c.h"
#include "label.h"
#include "tmp.h"

#define SIZE (16ull << 20)

static struct tmp_dir dir;
static char path[96];
static struct arena arena;

static int setup(void **state)
{
	tmp_dir_init(&dir);
	tmp_path(&dir, "arena", path, sizeof(path));
	return 0;
}

static int teardown(void **state)
{
	arena_close(&arena);
	arena_close(&arena); /* legal */
	tmp_dir_done(&dir);
	return 0;
}

static struct arena_config config(void)
{
	return (struct arena_config){
		.name = "test", .path = path, .size = SIZE, .vsock_port = 50100
	};
}

static int open_it(void)
{
	const struct arena_config c = config();

	return arena_open(&arena, &c);
}

static int open_as(const struct arena_config *c)
{
	return arena_open(&arena, c);
}

static void refused(const struct arena_config *c, int r, const char *words)
{
	assert_int_equal(arena_open(&arena, c), r);
	if (!strstr(arena.why, words))
		fail_msg("\"%s\" is not in \"%s\"", words, arena.why);
}

static void make(void)
{
	assert_int_equal(open_it(), 0);
	arena_close(&arena);
}

/* Change bytes of the file while nobody has it open. */
static void scribble(uint64_t offset, const void *bytes, size_t len)
{
	int fd = open(path, O_RDWR);

	assert_int_equal(pwrite(fd, bytes, len, (off_t)offset), len);
	close(fd);
}

static struct portal_head read_head(void)
{
	struct portal_head h;
	int fd = open(path, O_RDONLY);

	assert_int_equal(pread(fd, &h, sizeof(h), PORTAL_LABEL_SIZE), sizeof(h));
	close(fd);
	return h;
}

static void write_head(struct portal_head *h)
{
	h->crc = le32_of(crc32c(h, offsetof(struct portal_head, crc)));
	scribble(PORTAL_LABEL_SIZE, h, sizeof(*h));
}

static void test_new_file(void **state)
{
	struct portal_head h;
	struct stat st;
	const char *why;

	assert_int_equal(open_it(), 0);
	assert_true(arena.fresh);
	assert_int_equal(arena.n_extents, 7);
	assert_ptr_equal(arena.base, arena.file + PORTAL_LABEL_SIZE);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_true((uint64_t)st.st_blocks * 512 >= SIZE); /* no hole to meet a full disk in */
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(label_valid(arena.file + LABEL_OFFSET, SIZE));
	h = read_head();
	assert_int_equal(arena_check_head(&h, SIZE, &why), 0);
	assert_memory_equal(&h, &arena.head, sizeof(h));
	assert_memory_equal(arena.file + LABEL_OFFSET + 16, h.uuid,
			    16); /* the namespace is the arena */
	assert_string_equal(h.name, "test");
	assert_int_equal(le32_get(h.vsock_port), 50100);
	assert_int_equal(le64_load(&arena_live(&arena)->generation), 1);
	assert_int_equal(le64_load(&arena_live(&arena)->incarnation), 1);
}

static void test_found_again(void **state)
{
	uint8_t uuid[16];

	make();
	memcpy(uuid, arena.head.uuid, sizeof(uuid));
	scribble(SIZE - 5, "hello", 5);
	assert_int_equal(open_it(), 0);
	assert_false(arena.fresh);
	assert_false(arena.copied);
	assert_memory_equal(arena.head.uuid, uuid, sizeof(uuid));
	assert_memory_equal(arena.file + SIZE - 5, "hello", 5);
	assert_int_equal(le64_load(&arena_live(&arena)->generation), 1);
	assert_int_equal(le64_load(&arena_live(&arena)->incarnation), 2);
}

static void copy_file(const char *from_path, const char *to_path)
{
	static uint8_t bytes[SIZE];
	int from = open(from_path, O_RDONLY), to = open(to_path, O_WRONLY | O_CREAT, 0600);

	assert_int_equal(pread(from, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(pwrite(to, bytes, sizeof(bytes), 0), sizeof(bytes));
	close(from);
	close(to);
}

static void test_copy_is_another_generation(void **state)
{
	char copy[96];
	struct arena_config c = config();

	make();
	tmp_path(&dir, "copy", copy, sizeof(copy));
	copy_file(path, copy);
	c.path = copy;
	assert_int_equal(open_as(&c), 0);
	assert_true(arena.copied);
	assert_int_equal(le64_load(&arena_live(&arena)->generation), 2);
	arena_close(&arena);
	assert_int_equal(open_as(&c), 0); /* and is itself from then on */
	assert_false(arena.copied);
	assert_int_equal(le64_load(&arena_live(&arena)->generation), 2);
}

/* QEMU makes the file of a memory backend that does not exist, and a daemon may be killed before it wrote the head. */
static void test_blank_files(void **state)
{
	uint8_t block[LABEL_SIZE];
	const uint8_t uuid[16] = { 1 };
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	assert_int_equal(ftruncate(fd, SIZE), 0);
	close(fd);
	assert_int_equal(open_it(), 0);
	assert_true(arena.fresh);
	arena_close(&arena);

	label_make(block, SIZE, uuid);
	scribble(LABEL_OFFSET, block, sizeof(block));
	memset(block, 0, sizeof(block));
	scribble(PORTAL_LABEL_SIZE, block, sizeof(block)); /* no head yet ... */
	memset(block, 0xee, sizeof(block));
	scribble(PORTAL_LABEL_SIZE + PORTAL_EXTENTS_OFFSET, block,
		 sizeof(block)); /* ... and other bytes */
	assert_int_equal(open_it(), 0);
	assert_true(arena.fresh);
	assert_memory_equal(arena.head.uuid, arena.file + LABEL_OFFSET + 16, 16);
	assert_int_equal(le64_load(&arena_extents(&arena)[0].owner), 0);
}

static void test_wrong_sizes(void **state)
{
	struct arena_config c = config();

	c.size = SIZE + 4096;
	refused(&c, -EINVAL, "2 MiB");
	c.size = 6ull << 20;
	refused(&c, -EINVAL, "outside");
	c.size = 32ull << 30;
	refused(&c, -EINVAL, "outside");
	c = config();
	c.name = "";
	refused(&c, -EINVAL, "name");
	c.name = "with space";
	refused(&c, -EINVAL, "name");
	c.name = "0123456789012345678901234567890x";
	refused(&c, -EINVAL, "name");
	assert_int_equal(access(path, F_OK), -1); /* nothing was made */
}

static void test_another_arena(void **state)
{
	struct arena_config c = config();

	make();
	c.name = "other";
	refused(&c, -EEXIST, "the arena \"test\", not \"other\"");
	c = config();
	c.size = 2 * SIZE;
	refused(&c, -EEXIST, "16777216 bytes, not 33554432");
	c = config();
	c.vsock_port = 1;
	refused(&c, -EEXIST, "port");
	c.any_vsock_port = true;
	assert_int_equal(open_as(&c), 0);
	assert_int_equal(le32_get(arena.head.vsock_port), 50100);
	arena_close(&arena);
	assert_int_equal(open_it(), 0); /* and it is as it was */
}

static void test_another_format(void **state)
{
	const struct arena_config c = config();
	struct portal_head good, h;

	make();
	good = h = read_head();
	h.version = le32_of(2);
	write_head(&h);
	refused(&c, -EPROTONOSUPPORT, "version");
	h.version = le32_of(__builtin_bswap32(1));
	write_head(&h);
	refused(&c, -EPROTONOSUPPORT, "byte order");
	h = good;
	h.incompat = le64_of(1);
	write_head(&h);
	refused(&c, -EBADMSG, "damaged");
	h = good;
	memset(h.name, 'x', sizeof(h.name));
	write_head(&h);
	refused(&c, -EBADMSG, "damaged");
	write_head(&good);
	assert_int_equal(open_it(), 0);
}

/* Any byte of the head: refused, or reserved.  With a right checksum: no word of the geometry may differ. */
static void test_damaged_heads(void **state)
{
	struct portal_head good, h;
	const char *why;

	make();
	good = read_head();
	for (size_t i = 0; i < sizeof(h); i++) {
		h = good;
		((uint8_t *)&h)[i] ^= 0x40;
		assert_true(arena_check_head(&h, SIZE, &why) < 0);
	}
	for (size_t i = offsetof(struct portal_head, extent_size);
	     i < offsetof(struct portal_head, vsock_port); i++) {
		h = good;
		((uint8_t *)&h)[i] ^= 0x40;
		h.crc = le32_of(crc32c(&h, offsetof(struct portal_head, crc)));
		assert_int_equal(arena_check_head(&h, SIZE, &why), -EBADMSG);
	}
	assert_int_equal(arena_check_head(&good, SIZE, &why), 0);
	assert_int_equal(arena_check_head(&good, SIZE - PORTAL_EXTENT, &why), -EBADMSG);
	assert_int_equal(arena_check_head(&good, SIZE + PORTAL_EXTENT, &why), -EBADMSG);
}

static void test_somebody_elses_file(void **state)
{
	const struct arena_config c = config();
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	char text[8] = "";

	assert_int_equal(write(fd, "thesis", 7), 7);
	refused(&c, -ENOTEMPTY, "left as it is");
	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(pwrite(fd, "x", 1, PORTAL_LABEL_SIZE + 100), 1);
	refused(&c, -ENOTEMPTY, "left as it is");
	assert_int_equal(pread(fd, text, 7, 0), 7);
	assert_string_equal(text, "thesis");
	close(fd);
}

static void test_no_file(void **state)
{
	struct arena_config c = config();
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	c.path = dir.path;
	refused(&c, -EISDIR, "opening");
	c.path = "/dev/null";
	refused(&c, -ENODEV, "regular");
	c.path = "/nowhere/at/all";
	refused(&c, -ENOENT, "opening");
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	c.path = path;
	refused(&c, -ENXIO, "opening");
	close(fd);
}

static void test_two_daemons(void **state)
{
	const struct arena_config c = config();
	struct arena second;
	int client;

	assert_int_equal(open_it(), 0);
	assert_int_equal(arena_open(&second, &c), -EBUSY);
	assert_non_null(strstr(second.why, "another daemon"));
	/* A client that has the descriptor does not hold the arena when the daemon has gone. */
	client = dup(arena.fd);
	arena_close(&arena);
	assert_int_equal(arena_open(&second, &c), 0);
	arena_close(&second);
	close(client);
}

/* A disk without room, as far as one can be had without root: a limit of the file's size. */
static void test_full_disk(void **state)
{
	const struct arena_config c = config();
	struct rlimit before, small;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = SIZE / 2;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_true(arena_open(&arena, &c) < 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_non_null(strstr(arena.why, "allocating its space"));
	assert_int_equal(access(path, F_OK), -1); /* no half of an arena is left behind */
	assert_int_equal(open_it(), 0);
}

static uint64_t allocated(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

/* An arena that somebody has copied sparsely has its space again before anybody writes to it. */
static void test_sparse_file(void **state)
{
	int fd;

	make();
	scribble(SIZE / 2, "here", 4);
	fd = open(path, O_RDWR);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   SIZE / 2 + PORTAL_EXTENT, SIZE / 4),
			 0);
	close(fd);
	assert_true(allocated() < SIZE);
	assert_int_equal(open_it(), 0);
	assert_false(arena.fresh);
	assert_true(allocated() >= SIZE);
	assert_memory_equal(arena.file + SIZE / 2, "here", 4);
}

static void run_on_small_disk(void)
{
	const struct arena_config c = config();
	int fd;

	if (unshare(getuid() ? CLONE_NEWUSER | CLONE_NEWNS : CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("small", dir.path, "tmpfs", 0, "size=24m") < 0)
		_exit(77);
	make();
	fd = open(path, O_RDWR);
	assert_int_equal(
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, SIZE / 2, SIZE / 2), 0);
	close(fd);
	scribble(PORTAL_LABEL_SIZE + SIZE / 4, "here", 4);
	tmp_path(&dir, "ballast", path, sizeof(path));
	fd = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(fallocate(fd, 0, 0, SIZE), 0);
	close(fd);
	tmp_path(&dir, "arena", path, sizeof(path));
	refused(&c, -ENOSPC, "allocating its space: No space left on device");
	assert_int_equal(access(path, F_OK), 0); /* it is not ours to remove */
}

/* One that has no room for what it is lacking: an error at the start, and the file stays what it was. */
static void test_sparse_file_on_full_disk(void **state)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		run_on_small_disk();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message(
			"# SKIP needs a mount namespace: neither root nor user namespaces here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void test_cut_file(void **state)
{
	const struct arena_config c = config();

	assert_int_equal(mem_guard_install(), 0); /* here: cmocka takes the signal for each test */
	assert_int_equal(open_it(), 0);
	assert_false(arena_damaged(&arena));
	assert_int_equal(truncate(path, SIZE / 2), 0);
	assert_int_equal(((volatile uint8_t *)arena.file)[SIZE - 1], 0); /* no SIGBUS that kills */
	assert_true(arena_damaged(&arena));
	memset(arena.file, 0xff, SIZE);
	arena_close(&arena);
	refused(&c, -EBADMSG, "cut");
}

static void test_memfd(void **state)
{
	struct arena_config c = config();

	c.path = NULL;
	assert_int_equal(open_as(&c), 0);
	assert_true(arena.fresh);
	assert_false(arena.durable);
	assert_int_equal(le32_load(&arena_live(&arena)->durable), 0);
	assert_int_equal(ftruncate(arena.fd, SIZE / 2), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(arena.fd, SIZE * 2), -1);
	assert_int_equal(fcntl(arena.fd, F_ADD_SEALS, F_SEAL_WRITE), -1); /* nobody adds another */
}

static void test_mended(void **state)
{
	assert_int_equal(open_it(), 0);
	assert_false(arena_mend(&arena));
	arena.base[PORTAL_LABEL_MAX] ^= 1;
	assert_true(arena_mend(&arena));
	arena.file[LABEL_OFFSET + 100] ^= 1;
	assert_true(arena_mend(&arena));
	le64_store(&arena_live(&arena)->file_id, 4711);
	assert_true(arena_mend(&arena));
	le64_store(&arena_live(&arena)->generation, 4711);
	assert_true(arena_mend(&arena));
	assert_false(arena_mend(&arena));
	arena_close(&arena);
	assert_int_equal(open_it(), 0);
	assert_true(label_valid(arena.file + LABEL_OFFSET, SIZE));
	assert_false(arena.copied);
	assert_int_equal(arena.generation, 1);
}

/* The read-only descriptor cannot be mapped for writing. */
static void test_read_only_view(void **state)
{
	void *p;

	assert_int_equal(open_it(), 0);
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, arena.ro_fd, 0);
	assert_ptr_equal(p, MAP_FAILED);
	assert_int_equal(errno, EACCES);
	p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, arena.ro_fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	arena.file[SIZE - 1] = 77;
	assert_int_equal(((volatile uint8_t *)p)[SIZE - 1], 77); /* the same memory */
	assert_int_equal(mprotect(p, SIZE, PROT_READ | PROT_WRITE), -1);
	munmap(p, SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_found_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy_is_another_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_blank_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_arena, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_format, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_heads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_somebody_elses_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_daemons, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sparse_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sparse_file_on_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_memfd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only_view, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
