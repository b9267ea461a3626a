/* SPDX-License-Identifier: MIT */
/* Load for a vde_switch: two plugs in one thread, each of which sends frames to the other as fast as the switch takes them.
 *
 *	bench_vde --socket DIR --size N --seconds S
 *
 * Prints {"fps": N}: frames a second received by both, after half a second of settling.  Exit 1: something was wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libvdeplug.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAME_MAX 2048
#define BURST     32
#define SETTLE_S  0.5

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static VDECONN *plug(char *path)
{
	static char descr[] = "bench_vde";
	VDECONN *c = vde_open(path, descr, NULL);

	if (!c) {
		fprintf(stderr, "bench_vde: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	fcntl(vde_datafd(c), F_SETFL, O_NONBLOCK);
	return c;
}

static void make_frame(uint8_t *frame, uint8_t from, uint8_t to)
{
	const uint8_t head[14] = { 0x52, 0x54, 0, 0, 2, to, 0x52, 0x54, 0, 0, 2, from, 0x88, 0xb5 };

	memcpy(frame, head, sizeof(head));
}

static uint64_t drain(VDECONN *c, size_t size)
{
	uint8_t got[FRAME_MAX];
	uint64_t n = 0;

	while (n < BURST && vde_recv(c, got, sizeof(got), 0) == (ssize_t)size)
		n++;
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "size", required_argument, NULL, 'l' },
		{ "seconds", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	static uint8_t frame[2][FRAME_MAX];
	VDECONN *c[2];
	char *path = NULL;
	size_t size = 60;
	double seconds = 1, begin;
	uint64_t n = 0;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 's')
			path = optarg;
		else if (o == 'l')
			size = (size_t)atoi(optarg);
		else if (o == 't')
			seconds = atof(optarg);
		else
			return 2;
	}
	if (!path || size < 14 || size > FRAME_MAX)
		return 2;
	for (unsigned i = 0; i < 2; i++) {
		c[i] = plug(path);
		make_frame(frame[i], (uint8_t)i, (uint8_t)!i);
	}
	for (begin = now_s(); now_s() < begin + SETTLE_S + seconds;) {
		for (unsigned i = 0; i < 2; i++)
			for (unsigned k = 0; k < BURST && vde_send(c[i], frame[i], size, 0) > 0;
			     k++)
				;
		for (unsigned i = 0; i < 2; i++) {
			uint64_t got = drain(c[i], size);

			n += now_s() >= begin + SETTLE_S ? got : 0;
		}
	}
	printf("{\"fps\": %.0f}\n", (double)n / seconds);
	vde_close(c[0]);
	vde_close(c[1]);
	return 0;
}
