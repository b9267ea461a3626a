/* SPDX-License-Identifier: MIT */
/* Run every file of a corpus directory through a fuzz target: `fuzz_x DIRECTORY|FILE...`.
 *
 * The names are sorted, so that a failure comes at the same place each time, and the name is printed before its input
 * runs, so that a crash says which one it was.  An empty corpus is an error: it would test nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	uint8_t *data;

	if (!file || fstat(fileno(file), &st) < 0)
		fail(path);
	/* Exactly as large as the input, so that the address sanitizer sees the first byte beyond it. */
	data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
	if (!data || fread(data, 1, (size_t)st.st_size, file) != (size_t)st.st_size)
		fail(path);
	fclose(file);

	printf("%s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	free(data);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int replay_directory(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_visible, alphasort);

	if (n < 0)
		fail(path);
	for (int i = 0; i < n; i++) {
		char *name;

		if (asprintf(&name, "%s/%s", path, entries[i]->d_name) < 0)
			fail(path);
		replay_file(name);
		free(name);
		free(entries[i]);
	}
	free(entries);
	return n;
}

int main(int argc, char **argv)
{
	int n = 0;

	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) < 0)
			fail(argv[i]);
		if (S_ISDIR(st.st_mode)) {
			n += replay_directory(argv[i]);
		} else {
			replay_file(argv[i]);
			n++;
		}
	}
	if (n == 0) {
		fprintf(stderr, "no inputs\n");
		return 1;
	}
	printf("%d inputs replayed\n", n);
	return 0;
}
