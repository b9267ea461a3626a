/* SPDX-License-Identifier: MIT */
/* From a checked tree to a lab: references, derived values, and what takes two values to judge.  For lab.c only. */
#ifndef MODEL_BUILD_H
#define MODEL_BUILD_H

struct jt_node;
struct lab;
struct lab_dirs;
struct lab_errors;
struct network;
struct uplink;
struct vm;

/* Of lab.c: empty ones, whose lists own what they hold once lab_free() comes; give them to lab->vms, lab->networks and
 * network->uplinks.  port is taken over. */
struct vm *vm_new(const char *name, unsigned index);
struct network *network_new(const char *name, unsigned index);
struct uplink *uplink_new(char *port);

/* Fill in lab (its path is set, everything else is zero) from root, which field_check() has been over.  Values that are
 * not ok are skipped, so that their mistakes show up once; the lab is good only if errors is empty afterwards. */
void lab_build(struct lab *lab, struct jt_node *root, const struct lab_dirs *dirs,
	       struct lab_errors *errors);

#endif
