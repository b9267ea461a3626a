/* SPDX-License-Identifier: MIT */
/* What capture.c (the switch's side of captures) and capture_ctl.c (their methods) share. */
#ifndef NET_CAPTURE_IMPL_H
#define NET_CAPTURE_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf.h"
#include "capture_ring.h"
#include "capture_writer.h"
#include "control.h"
#include "loop.h"
#include "port.h"

struct capture;
struct net;

#define CAPTURES_MAX 64 /* each has a thread and a ring */

#define CAPTURE_ROTATE_MIN     65536
#define CAPTURE_FILES_DEFAULT  10
#define CAPTURE_FILES_MAX      1000
#define CAPTURE_BUFFER_DEFAULT (4u << 20)
#define CAPTURE_BUFFER_MIN     (256u << 10)
#define CAPTURE_BUFFER_MAX     (1u << 30)
#define CAPTURE_SNAPLEN_MAX    262144

enum {
	CAPTURE_IN = 1 << 0, /* by 1 << enum sw_direction */
	CAPTURE_OUT = 1 << 1,
	CAPTURE_BOTH = CAPTURE_IN | CAPTURE_OUT,
};

/* A port that is captured: a node in the list of its watch. */
struct capture_port {
	struct capture *capture;
	struct capture_watch *watch; /* NULL: the port is gone */
	uint32_t interface;
	struct capture_port *next;
};

/* Members from the most aligned to the least; those marked with (*) are set by who makes it, and its own from then on. */
struct capture {
	struct capture_ring ring;
	struct net *net;                     /* (*) */
	struct bpf *filter;                  /* (*) NULL: everything */
	char *filter_text, *comment;         /* (*) may be NULL */
	char *path;                          /* (*) */
	uint64_t rotate_bytes;               /* (*) 0: never */
	struct capture_port *port;           /* of n_ports */
	struct capture_interface *interface; /* (*) the same */
	struct capture *next;
	struct loop_source done;
	struct loop_work freeing;
	struct control_tie tie;
	struct capture_writer writer;
	unsigned direction;    /* (*) */
	uint32_t snaplen;      /* (*) 0: all */
	unsigned files;        /* (*) */
	uint32_t buffer_bytes; /* (*) */
	unsigned n_ports;
	unsigned n_watched; /* ports that are still there */
	int done_fd;
	bool is_socket; /* (*) */
	bool tied;      /* (*) ends with the connection that asked for it */
	bool stopping;
	bool asked;                /* by capture.stop */
	char id[SW_PORT_NAME_MAX]; /* (*) */
};

/* Zero-filled but for room for n_ports. */
struct capture *capture_new(struct net *net, unsigned n_ports);
void capture_free(struct capture *c);

/* Begin: port[] are its ports, fd where to write, owned by the capture on success.  0, -ENOMEM, -EMFILE, -EAGAIN. */
int capture_begin(struct capture *c, struct sw_port *const *port, int fd);

/* See no more frames; the writer writes what it has, and the event tells when it is done. */
void capture_stop(struct capture *c);

/* NULL: there is none of that name. */
struct capture *capture_find(const struct net *net, const char *id);

#endif
