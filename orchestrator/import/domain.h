/* SPDX-License-Identifier: MIT */
/* A libvirt domain, as far as a lab can say it.
 *
 * Where a domain was rendered by us, its mark (render/libvirt.h) says what XML cannot: networks, addresses, portals, images by
 * their names.  Where both say something, the XML wins: it may have been edited since.
 *
 * What is not kept is told, a line each: "FILE:LINE: VM: what, and what is there instead".  Told is what the machine had and
 * will not have; not, what libvirt writes into every domain by itself, or what every VM of a lab has anyway.
 *
 * Trust:     the XML is anybody's; whatever it says, it comes out within a lab's bounds or not at all.
 * Ownership: everything belongs to the struct import_domain.
 */
#ifndef IMPORT_DOMAIN_H
#define IMPORT_DOMAIN_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/lab.h"

struct import_nic {
	char *mac;     /* NULL: not said */
	char *network; /* a DNS label */
	char *ip;      /* of our own domains; NULL: not known */
	unsigned prefix;
	unsigned mtu; /* 0: not said */
	unsigned queues;
	bool no_offloads;
	unsigned vlan;          /* 0: none */
	uint64_t rate_to_guest; /* bits a second; 0: no bound */
	uint64_t rate_from_guest;
};

struct import_distro {
	char *name, *image;
	bool readonly;
};

/* A portal, and what the VM has of it. */
struct import_access {
	char *name;
	char *door, *mode;          /* the lab file's words; NULL: not said */
	char *file;                 /* NULL: the lab's own */
	uint64_t quota, size, port; /* 0: not said */
};

struct import_domain {
	char *where; /* the file */
	char *name;  /* a DNS label */
	char *lab;   /* which it was rendered from; NULL: none of ours */
	char *description;
	const char *arch, *accel; /* the lab file's words */
	uint64_t memory;          /* bytes, whole MiB */
	unsigned vcpus;
	char *image;                          /* its name in the lab it is from; NULL: not known */
	char *kernel, *initrd, *image_append; /* NULL: "tiny", or none */
	char *append;
	GPtrArray *nics, *distros, *accesses;
	enum lab_sockets sockets;
	uint32_t cid;       /* 0: not said */
	unsigned port_base; /* 0: not said */
	GArray *peers;      /* of uint32_t: their CIDs; NULL: everybody */
};

/* text: of a file.  lost: of char *, added to.  NULL with *error set: ORCH_ERROR_INVALID_LAB: "FILE:LINE: why it is no domain of
 * ours": other errors as of xml_read(). */
struct import_domain *import_domain_read(const char *path, const char *text, size_t len,
					 GPtrArray *lost, GError **error);
void import_domain_free(struct import_domain *domain);

#endif
