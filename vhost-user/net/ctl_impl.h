/* SPDX-License-Identifier: MIT */
/* What the files of the control methods share (ctl*.c, and those of other parts that have methods). */
#ifndef NET_CTL_IMPL_H
#define NET_CTL_IMPL_H

#include "control.h"
#include "net.h"

struct net *ctl_net(const struct control_call *call);

void ctl_add_string(struct json_object *o, const char *key, const char *value);
void ctl_add_number(struct json_object *o, const char *key, uint64_t value);

/* The member `key` of params as a port.  Absent: 0, and *ret_port untouched.  Otherwise 0, or what
 * control_error() returned. */
int ctl_port(struct control_call *call, struct json_object *params, const char *key,
	     struct sw_port **ret_port);

/* A port by name, for an error that says so. */
int ctl_find_port(struct control_call *call, const char *name, struct sw_port **ret_port);

struct json_object *ctl_counters(const struct sw_port *p);

/* ctl_port.c */
int ctl_port_add(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_port_set(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_port_remove(struct control_call *call, struct json_object *params,
		    struct json_object **ret);
int ctl_port_list(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_port_up(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_port_down(struct control_call *call, struct json_object *params, struct json_object **ret);

/* ctl_fdb.c */
int ctl_fdb_add(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_fdb_remove(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_fdb_list(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_fdb_flush(struct control_call *call, struct json_object *params, struct json_object **ret);

/* ctl_mirror.c */
int ctl_mirror_add(struct control_call *call, struct json_object *params, struct json_object **ret);
int ctl_mirror_remove(struct control_call *call, struct json_object *params,
		      struct json_object **ret);
int ctl_mirror_list(struct control_call *call, struct json_object *params,
		    struct json_object **ret);

#endif
