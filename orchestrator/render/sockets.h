/* SPDX-License-Identifier: MIT */
/* The sockets of VMs as their daemon is told them (vhost-user-hvsock(8)).  Pure. */
#ifndef RENDER_SOCKETS_H
#define RENDER_SOCKETS_H

struct forward;
struct json_object;
struct lab;
struct lab_paths;
struct vm;

/* Its configuration without its VMs.  The caller owns it. */
struct json_object *render_sockets_config(const struct lab *lab, const struct lab_paths *paths);

/* What vm.add takes.  The caller owns it. */
struct json_object *render_sockets_vm(const struct vm *vm, const struct lab_paths *paths);

/* What forward.add takes.  The caller owns it. */
struct json_object *render_sockets_forward(const char *id, const char *vm, const struct forward *f);

#endif
