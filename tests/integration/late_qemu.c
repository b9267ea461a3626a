/* SPDX-License-Identifier: MIT */
/* To be loaded into a QEMU before its own libraries: what it wants to do when it is idle it does after LATE_MS, as if it had been
 * busy for so long.  A chardev that has connected again waits for that. */
#include <stdlib.h>
#include <glib.h>

GSource *g_idle_source_new(void)
{
	const char *late = getenv("LATE_MS");

	return g_timeout_source_new(late ? (guint)strtoul(late, NULL, 10) : 0);
}
