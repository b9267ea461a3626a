/* SPDX-License-Identifier: MIT */
/* Files and trees over a data connection: both ends of COPY, for the agent in the guest and for `orchestrator cp`.
 *
 * Plain C without glib.  One end calls copy_send(), the other copy_receive(); both block until the copy is done or has failed,
 * so each runs in a process or thread of its own, and is cancelled by shutdown(2) of the connection from elsewhere.  The
 * connection is a stream socket whose ATTACH has been sent; blocking or not makes no difference.
 *
 * What goes over: regular files (holes stay holes), directories, symbolic links (as links), their modes and times of last
 * change; owners if asked.  Left out, and counted: sockets, FIFOs, devices, and within a tree what /proc and /sys show.  Hard links become
 * files of their own; extended attributes are not copied.
 *
 * The target is whole or absent.  A file, or a tree that was not there before, is built under a hidden temporary name in the
 * directory where it will be, and renamed when each hash has been found equal; when anything fails, the connection's
 * end included, it is removed.  A process that was killed leaves its temporary behind; the next copy to the same name removes it.
 * A directory copied onto one that is there merges into it, file by file, each whole or absent.
 *
 * Trust:     the other end is hostile on both sides.  A name in the stream is one component, never ".." and never with a slash, and each
 *            is opened relative to its directory without following links: nothing outside the target is touched, even if
 *            somebody on this machine swaps directories for links meanwhile.
 * Threads:   nothing is shared between calls. */
#ifndef ORCHESTRATOR_AGENT_COPY_H
#define ORCHESTRATOR_AGENT_COPY_H

#include <stdbool.h>
#include <stdint.h>

#define COPY_TEXT_MAX 512

struct copy_report {
	uint64_t files, directories, links; /* done */
	uint64_t skipped;                   /* left out */
	uint64_t bytes;                     /* of files, holes left out */
	bool peer;                          /* it was the other end that failed */
	char text[COPY_TEXT_MAX]; /* what failed: "etc/shadow: Permission denied"; "" if nothing did */
};

struct copy_options {
	/* Owner and group are copied, and with them set-user-ID bits: for root on both ends.  Both ends must say the same. */
	bool owner;
	/* Receiving into a directory that is there: the root takes this name, whatever the peer says; "" merges a directory's contents
	 * into it.  NULL: the peer's word is good, which is for the guest.  A host gives copy_name() of the path it asked for. */
	const char *name;
	/* Called about every megabyte and at the end of each file, in the calling thread.  May be NULL. */
	void (*progress)(const struct copy_report *so_far, void *data);
	void *data;
};

/* Send PATH, a file or a directory; a link is followed here, but not below.  OPTIONS may be NULL.
 * Returns 0 when the receiver has said that all is in place, or a negative errno: ret_report->text tells (written in any case). */
int copy_send(int fd, const char *path, const struct copy_options *options,
	      struct copy_report *ret_report);

/* Receive to PATH.  If PATH is a directory, the copy goes into it under its own name; else it becomes PATH, whose directory must be
 * there.  A file replaces a file or link of that name.  Links in PATH itself are followed: it is the operator's word.
 * Returns 0: all is in place; or a negative errno, and nothing (when merging: no half file) is.
 * -EBADMSG, the stream is not as it must be; -ECONNRESET, it ended early; -EISDIR, -ENOTDIR, a file and a directory in each
 * other's place; -EEXIST; or what the file system said. */
int copy_receive(int fd, const char *path, const struct copy_options *options,
		 struct copy_report *ret_report);

/* Between two guests: pass the stream on from FROM, where a copy_send() is, to TO, where a copy_receive() is, and the result back.
 * Returns 0 when both have ended in order (what they say comes with their own answers to COPY), or a negative errno. */
int copy_relay(int from, int to);

/* The name that a copy of PATH has in a directory: its last component; "" where that is ".", ".." or nothing (contents are meant then).
 * Points into PATH and is *ret_len long. */
const char *copy_name(const char *path, unsigned *ret_len);

#endif
