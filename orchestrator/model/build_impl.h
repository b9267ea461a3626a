/* SPDX-License-Identifier: MIT */
/* What the files of the builder share: build.c (networks, images, machines, NICs, order), build_network.c (uplinks, mirrors,
 * rules, captures), build_link.c (VLANs, impairment, policies), build_portal.c (portals) and build_sockets.c (sockets, probes,
 * distros, forwards, tests).  Nobody else includes it. */
#ifndef MODEL_BUILD_IMPL_H
#define MODEL_BUILD_IMPL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct jt_node;
struct lab;
struct lab_dirs;
struct lab_errors;
struct link;
struct network;
struct vm;

struct builder {
	struct lab *lab;
	const struct lab_dirs *dirs;
	struct lab_errors *errors;
	struct jt_node *root;
	struct jt_node *defaults; /* NULL: none */
	GPtrArray *
		network_nodes; /* of struct jt_node, by network->index; NULL for the network nobody wrote */
	GPtrArray *vm_nodes;      /* of struct jt_node, by vm->index */
	GPtrArray *portal_nodes;  /* of struct jt_node, by portal->index */
	GHashTable *uplink_nodes; /* struct uplink -> struct jt_node */
	GHashTable
		*by_ip; /* host byte order -> whose it is, for people: "n1.0", "the gateway of …" */
	GHashTable *by_mac; /* 48 bits -> struct nic */
	GHashTable *by_cid; /* CID -> struct vm */
	bool networks_known; /* false: "networks" itself is wrong, so no reference to one can be judged */
	bool images_known;
	bool portals_known;
};

/* The member if it is there and right, else NULL. */
struct jt_node *build_good(const struct jt_node *object, const char *key);
/* Its text, g_free(); NULL without it. */
char *build_good_string(const struct jt_node *object, const char *key);
/* What it means. */
uint64_t build_good_number(const struct jt_node *object, const char *key, uint64_t otherwise);
/* Said by the VM, else by the defaults, else NULL. */
struct jt_node *build_machine_setting(const struct builder *b, const struct jt_node *vm_node,
				      const char *key);
/* Whether to walk into a map's member: duplicates and what is no object have been reported. */
bool build_usable(const struct jt_node *member);
/* Takes path (may be NULL) and returns it absolute, seen from the directory of the lab file. */
char *build_lab_relative(const struct lab *lab, char *path);
/* The error for a reference to none of items (structs that begin with their name): a text, or a map's member by its key. */
void build_no_such(struct builder *b, const struct jt_node *node, const char *kind,
		   const GPtrArray *items);

/* build.c: whether an address that is written is one for a host of the network; if not, that is reported. */
bool build_check_ip(struct builder *b, const struct network *n, const struct jt_node *said);
/* It is owner's from now on.  False: somebody has it; that is reported where it is said (NULL: nowhere). */
bool build_take_ip(struct builder *b, uint32_t ip, const struct jt_node *said, const char *owner);

/* build_link.c: profiles and policies; then a link's own settings, from the NIC's or uplink's node. */
void build_link_kinds(struct builder *b);
void build_link(struct builder *b, struct link *link, const struct jt_node *node);

/* build_network.c, in this order: uplinks, before anything is known of VMs; their addresses, before those of NICs; what a
 * network does, once every NIC is known. */
void build_uplinks(struct builder *b, struct network *n);
void build_uplink_addresses(struct builder *b, struct network *n);
void build_network_duties(struct builder *b);

/* build_portal.c: the portals; then, once every VM and its sockets are known, their ports and who has them. */
void build_portals(struct builder *b);
void build_portal_duties(struct builder *b);

/* build_sockets.c: everything about sockets, and the QEMU that has them.  The VMs, their names and the engine are known; every VM
 * gets a CID. */
void build_sockets(struct builder *b);

#endif
