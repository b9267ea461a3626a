/* SPDX-License-Identifier: MIT */
/* The methods of a control socket, called as a client calls them, and what they answer. */
#ifndef TEST_CALL_H
#define TEST_CALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "control.h"
#include "tmp.h"

/* Call it with these params, in which each DIR stands for the directory's path, unless that is NULL.  Returns the whole
 * answer, plain, valid until the next call. */
const char *control_call(struct control *control, const struct tmp_dir *dir, const char *method,
			 const char *params);

#define assert_says(answer, part)                                            \
	do {                                                                 \
		const char *said_ = (answer);                                \
		if (!strstr(said_, part))                                    \
			fail_msg("%.5000s\n  does not say %s", said_, part); \
	} while (0)

#endif
