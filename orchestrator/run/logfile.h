/* SPDX-License-Identifier: MIT */
/* Log files that another process writes: their last words, and a bound on their size.
 *
 * Every log of a lab is opened with O_APPEND by its writer (QEMU's logfile with logappend=on, a daemon's stderr), so it can
 * be cut short under the writer's hands: the next write lands at the new end.  What is written between the copy and the cut
 * is lost; that is accepted, a guest that floods its console does not fill the disk.
 */
#ifndef RUN_LOGFILE_H
#define RUN_LOGFILE_H

#include <glib.h>

#define LOGFILE_MAX  (16u << 20) /* beyond that a log is cut */
#define LOGFILE_KEEP (4u << 20)  /* and this much of its end is kept as FILE.1 */

/* The last line with something in it that was written at or after offset 'from': without control characters and escape
 * sequences, valid UTF-8, at most 'max' characters.  NULL: there is none.  Caller frees. */
char *logfile_last_line(const char *path, gint64 from, unsigned max);

/* The same cleaning for a line at hand. */
char *logfile_clean(const char *text, gssize len, unsigned max);

/* Bytes in the file, 0 if there is none. */
gint64 logfile_size(const char *path);

/* Cut the file if it is longer than LOGFILE_MAX.  Errors are ignored: the next round tries again. */
void logfile_bound(const char *path);

#endif
