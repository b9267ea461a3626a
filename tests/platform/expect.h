/* SPDX-License-Identifier: MIT */
/* The one assertion of the platform programs: what was expected of the kernel, and did not hold. */
#ifndef TEST_PLATFORM_EXPECT_H
#define TEST_PLATFORM_EXPECT_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                                       \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: expected %s (errno: %s)\n", __FILE__, __LINE__, \
				#condition, strerror(errno));                                   \
			exit(1);                                                                \
		}                                                                               \
	} while (0)

#endif
