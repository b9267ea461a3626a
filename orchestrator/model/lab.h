/* SPDX-License-Identifier: MIT */
/* The lab as plain structs: what lab.json says, with everything it leaves unsaid filled in.
 *
 * This is the only currency between the verbs, the planner, the renderers and the supervisor.  A struct lab that
 * lab_load() handed out is complete and consistent: every name is a DNS label, every reference is a pointer to the
 * thing itself, every NIC has an address and a MAC that are unique, `after` has no cycle, and every socket path fits in
 * a sockaddr_un.  Nobody after this module checks any of that again.
 *
 * Trust:     the file is the operator's and may be wrong in any way, but it must never crash us or make us start
 *            something else than what it says.
 * Ownership: everything hangs on the struct lab and dies with lab_free().  Vms, networks and images point at each other
 *            freely.  A lab is immutable once handed out.
 */
#ifndef MODEL_LAB_H
#define MODEL_LAB_H

#include <glib.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/errors.h"
#include "model/names.h"

/* What holds where the file says nothing. */
#define LAB_IMAGE_DEFAULT   "tiny"
#define LAB_MEMORY_DEFAULT  "256MiB"
#define LAB_MTU_DEFAULT     1500
#define LAB_NETWORK_DEFAULT "lan"

/* Limits of a lab, each with the reason in lab.5. */
#define LAB_FILE_MAX     (16u << 20)   /* bytes of lab.json */
#define LAB_VERSION      1             /* the one format there is */
#define LAB_VMS_MAX      4096          /* in one lab */
#define LAB_NETWORKS_MAX 64            /* one switch process each */
#define LAB_NICS_MAX     16            /* per VM: slots of QEMU's root bus */
#define LAB_QUEUES_MAX   8             /* queue pairs of a NIC */
#define LAB_VCPUS_MAX    255           /* APIC ids without an IOMMU */
#define LAB_MEMORY_MIN   (32ull << 20) /* bytes; a kernel needs that much to boot */
#define LAB_MEMORY_MAX   (4ull << 40)
#define LAB_MTU_MIN      576
#define LAB_MTU_MAX      65521 /* a frame with its header fits in 65535 bytes */

enum lab_arch { LAB_ARCH_X86_64, LAB_ARCH_AARCH64, LAB_ARCH_COUNT };
enum lab_accel { LAB_ACCEL_AUTO, LAB_ACCEL_KVM, LAB_ACCEL_TCG, LAB_ACCEL_COUNT };

/* The words of the lab file: "x86_64", "aarch64"; "auto", "kvm", "tcg". */
const char *lab_arch_name(enum lab_arch arch);
const char *lab_accel_name(enum lab_accel accel);

/* An L2 segment: one switch process. */
struct network {
	char *name;
	char *description;     /* NULL: none */
	struct in_addr subnet; /* network byte order, host bits zero */
	unsigned prefix;       /* 8..30 */
	unsigned mtu;
	unsigned index; /* in lab->networks */
};

/* Where a VM boots from.  kernel == NULL: the built-in "tiny", made by image/. */
struct lab_image {
	char *name;
	char *kernel; /* absolute path */
	char *initrd; /* absolute path; NULL: none */
	char *append; /* kernel command line; NULL: none */
};

struct nic {
	struct network *network;
	unsigned index; /* in vm->nics: the guest's NICs come in this order */
	uint8_t mac[6];
	struct in_addr ip; /* network byte order; always set, inside network->subnet */
	unsigned queues;   /* queue pairs */
	char *port;        /* its port's name in the switch: "n1.0" */
};

struct vm {
	char *name;        /* also the guest's host name */
	char *role;        /* NULL: none.  A word for the guest and for people */
	char *description; /* NULL: none */
	enum lab_arch arch;
	enum lab_accel accel;
	struct lab_image *image;
	uint64_t memory; /* bytes, a multiple of 1 MiB */
	unsigned vcpus;
	char *append;     /* added to the image's kernel command line; NULL: none */
	GPtrArray *nics;  /* of struct nic; may be empty */
	GPtrArray *after; /* of struct vm, borrowed: these are ready before this one starts */
	unsigned index;   /* in lab->vms, the order of the file */
};

struct lab {
	char *name;
	char *description; /* NULL: none */
	char *path;        /* absolute path of the lab file */
	char *text;        /* the file as read, for the copy in the state directory */
	size_t text_len;
	GPtrArray *networks;     /* of struct network, in the order of the file */
	GPtrArray *images;       /* of struct lab_image; "tiny" is always the first */
	GPtrArray *vms;          /* of struct vm, in the order of the file; at least one */
	GHashTable *vms_by_name; /* borrowed keys and values */
};

/* Read and check a lab file.  On failure *errors (never NULL then) holds every error of the file, in the order of the
 * file; print it with lab_errors_format() or turn it into a GError with lab_errors_to_gerror().  A file that cannot be
 * read or is larger than LAB_FILE_MAX is one error without a position.  dirs: where the sockets will lie, for the check
 * of their length.  Blocks on the file only; writes nothing. */
gboolean lab_load(const char *path, const struct lab_dirs *dirs, struct lab **ret_lab,
		  struct lab_errors **ret_errors);

/* The same for text at hand (len bytes, need not end in NUL), as if it had been read from path.  Pure: path is only used
 * for messages, the default name and relative image paths. */
gboolean lab_parse(const char *text, size_t len, const char *path, const struct lab_dirs *dirs,
		   struct lab **ret_lab, struct lab_errors **ret_errors);

void lab_free(struct lab *lab);

/* NULL: no such. */
struct vm *lab_find_vm(const struct lab *lab, const char *name);
struct network *lab_find_network(const struct lab *lab, const char *name);

/* The i-th of each, typed. */
static inline struct vm *lab_vm(const struct lab *lab, unsigned i)
{
	return lab->vms->pdata[i];
}

static inline struct network *lab_network(const struct lab *lab, unsigned i)
{
	return lab->networks->pdata[i];
}

static inline struct nic *vm_nic(const struct vm *vm, unsigned i)
{
	return vm->nics->pdata[i];
}

/* Of all NICs of the lab that are on this network, in VM order: struct nic, borrowed.  Free with g_ptr_array_unref(). */
GPtrArray *lab_network_nics(const struct lab *lab, const struct network *network);

#endif
