/* SPDX-License-Identifier: MIT */
/* What the files that read a domain share: for domain.c, domain_device.c and mark.c alone. */
#ifndef IMPORT_DOMAIN_IMPL_H
#define IMPORT_DOMAIN_IMPL_H

#include "import/domain.h"
#include "import/xml.h"
#include "render/libvirt.h"

struct reader {
	const char *path;
	struct import_domain *domain;
	GPtrArray *lost;
	bool ours;               /* it has our mark */
	struct render_mark mark; /* if so */
	uint64_t memory;         /* <memory>: bytes */
	uint64_t cells;          /* of NUMA cells; 0: there are none */
	uint64_t plugged;        /* in <memory>, and not RAM */
	struct import_nic *nic;  /* the one that is being read */
};

/* What becomes of an element.  read: it is looked at; else, if lost says so, it is told; else it is nothing to speak of. */
struct import_rule {
	const char *name; /* "devices"; "qemu:commandline" in QEMU's namespace */
	void (*read)(struct reader *r, const struct xml_node *node);
	const char *lost;
};

/* Every child of node by its rule; one without any is told.  rules ends with a NULL name. */
void import_walk(struct reader *r, const struct xml_node *node, const struct import_rule *rules);

/* "FILE:LINE: VM: <name>: …" */
void import_tell(struct reader *r, const struct xml_node *node, const char *format, ...)
	G_GNUC_PRINTF(3, 4);

/* A decimal number; otherwise where it is none, or more than max. */
uint64_t import_number(const char *text, uint64_t max, uint64_t otherwise);
/* A number of bytes: the text of node, in its unit; 0: it makes no sense; more than LAB_MEMORY_MAX: so much. */
uint64_t import_bytes(const struct xml_node *node);

void import_devices(struct reader *r, const struct xml_node *node);

/* The metadata: a mark of ours, or somebody else's. */
void import_mark_read(struct reader *r, const struct xml_node *metadata);
/* What the mark says, and the XML could not; the VM's own name too. */
void import_mark_apply(struct reader *r);

struct import_nic *import_nic_new(struct import_domain *domain);

#endif
