/* SPDX-License-Identifier: MIT */
/* random_lab_text SEED [MAX_VMS]: a valid lab file on standard output, the same for the same words. */
#include <stdio.h>
#include <stdlib.h>

#include "random_lab.h"

int main(int argc, char **argv)
{
	g_autofree char *text = NULL;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: %s SEED [MAX_VMS]\n", argv[0]);
		return 2;
	}
	text = random_lab_text((guint32)strtoul(argv[1], NULL, 10),
			       argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 10, 100);
	puts(text);
	return 0;
}
