/* SPDX-License-Identifier: MIT */
/* Captures: what passes a port, written as pcapng to a file or to a viewer.
 *
 *   capture.start {"id"?,"port"?,"ports"?,"direction"?,"snaplen"?,"filter"?,"to","tied"?,"buffer-bytes"?,"comment"?}
 *                                        → {"id"}
 *   capture.stop {"id"} → CAPTURE        what it had counted; the file is complete when the event says "stopped"
 *   capture.list {} → {"captures":[CAPTURE…]}
 *
 *   id             its name, like a port's; "c1", "c2", ... if not said
 *   ports          an array of names; "port": NAME is the same as "ports": [NAME]
 *   direction      "in" (into the switch: from the guest), "out" (to the guest), "both" (the default)
 *   snaplen        bytes kept of a frame, 14..262144; all if not said
 *   filter         pcap-filter(7), with addresses: names of hosts are not looked up
 *   to             {"file": PATH, "rotate-bytes"?, "files"?} or {"socket": PATH}
 *     file           made anew, mode 0600.  With rotate-bytes (from 65536) a full one becomes PATH.1, PATH.1 becomes
 *                    PATH.2, and so on; `files` are kept in all (2..1000; 10 if not said)
 *     socket         a viewer listens on that Unix socket; when it goes away the capture is over
 *   tied           true: it ends with the connection that asked for it, however that ends
 *   buffer-bytes   of the ring between switch and writer, 262144..1073741824; 4 MiB if not said
 *   comment        stands in the file's header
 *
 *   CAPTURE = {"id","ports","direction","snaplen"?,"filter"?,"to","tied"?,"state","frames","bytes","dropped"}
 *
 *   event "capture" {"id","state","error"?}: "running", "stopped" (asked to), "ended" (its viewer, its last port or
 *   who it is tied to is gone), "failed" (error says of which file or socket, and why).  Each but the first is told once, when its file is
 *   complete and closed; the capture is no longer in the list then.
 *
 * What it costs the port: the filter, if there is one, and a copy of snaplen bytes into a ring of buffer-bytes.  Never
 * a system call but one that wakes the writer, once in CAPTURE_NAP_NS (capture_writer.h) at most.  All else (checksums, segments, blocks,
 * files) is done by a thread of the capture.  What does not fit the ring is not captured, and counted: "dropped" here,
 * isb_ifdrop in the file.
 *
 * Frames are recorded as they would be on a wire: an unfinished checksum is completed, a GSO frame comes as its
 * segments.  For that such frames are copied whole, whatever snaplen is.
 *
 * Threads: the loop thread; the writer's thread touches nothing but its ring and its file (capture_writer.h). */
#ifndef NET_CAPTURE_H
#define NET_CAPTURE_H

#include "control.h"

struct net;

/* Rows of ctl.c's table. */
int capture_start_method(struct control_call *call, struct json_object *params,
			 struct json_object **ret_result);
int capture_stop_method(struct control_call *call, struct json_object *params,
			struct json_object **ret_result);
int capture_list_method(struct control_call *call, struct json_object *params,
			struct json_object **ret_result);

#define CAPTURE_START_MEMBERS \
	"id?,port?,ports?,direction?,snaplen?,filter?,to,tied?,buffer-bytes?,comment?"

/* Stop all, and wait for their writers, but not for long: one whose disk hangs is left behind.  When the daemon ends. */
void capture_stop_all(struct net *net);

#endif
