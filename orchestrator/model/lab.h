/* SPDX-License-Identifier: MIT */
/* The lab as plain structs: what lab.json says, with everything it leaves unsaid filled in.
 *
 * This is the only currency between the verbs, the planner, the renderers and the supervisor.  A struct lab that
 * lab_load() handed out is complete and consistent: every name is a DNS label, every reference is a pointer to the
 * thing itself, every NIC has an address and a MAC that are unique, every VM a CID that is, `after` has no cycle, and
 * every socket path fits in a sockaddr_un.  Nobody after this module checks any of that again.
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
#include "model/fields_net.h"
#include "model/names.h"

struct json_object;

/* What holds where the file says nothing. */
#define LAB_IMAGE_DEFAULT   "tiny"
#define LAB_MEMORY_DEFAULT  "256MiB"
#define LAB_MTU_DEFAULT     1500
#define LAB_NETWORK_DEFAULT "lan"
#define LAB_PORT_BASE       50000 /* sockets: the first of the ports that are the agent's */
#define LAB_PROBE_TIMEOUT   "5s"
#define LAB_PROBE_INTERVAL  "500ms"
#define LAB_TEST_TIMEOUT    "60s"
#define LAB_PORTAL_SIZE     "64MiB"

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
#define LAB_PORTS \
	6 /* how many these are: INIT, PLAN9, PLAN9_DRVFS, DRVFS_ADMIN, VIRTIOFS, CRASH_DUMP */
#define LAB_PROBES_MAX      16   /* of a VM */
#define LAB_DISTROS_MAX     16   /* of a VM: disks on QEMU's root bus */
#define LAB_DISTRO_NAME_MAX 20   /* the serial number of a virtio disk */
#define LAB_FORWARDS_MAX    64   /* of a VM */
#define LAB_TESTS_MAX       1024 /* of a lab */
#define LAB_ARGV_MAX        256  /* words of a command */
#define LAB_PROFILES_MAX    256  /* of a lab */
#define LAB_POLICIES_MAX    256  /* of a lab */
#define LAB_CLASSES_MAX     16   /* of a policy */
#define LAB_UPLINKS_MAX     8    /* of a network */
#define LAB_THREADS_MAX     16   /* of a switch */
#define LAB_MIRRORS_MAX     64   /* of a network: the switch's own bound */
#define LAB_RULES_MAX       256  /* of a network */
#define LAB_CAPTURES_MAX    32   /* of a network */
#define LAB_LINKS_MAX       1024 /* of a mirror or capture */
#define LAB_MOMENTS_MAX     1024 /* of a timeline */
#define LAB_PORTALS_MAX     32   /* of a lab: one daemon process each */
#define LAB_PORTAL_VMS_MAX  127  /* of a portal: its daemon's clients, of which the host is one */
#define LAB_ACCESSES_MAX    8    /* portals of a VM: slots of QEMU's root bus, and of its memory */
#define LAB_PORTAL_NAME_MAX \
	31 /* of a portal, and of a VM that has one: what an arena has room for */
#define LAB_PORTAL_MIN     (8ull << 20) /* bytes: label, tables, pages of leases, and 2 MiB to share */
#define LAB_PORTAL_MAX     (16ull << 30)
#define LAB_PORTAL_UNIT    (2ull << 20) /* what a portal's memory is granted in */
#define LAB_TIMELINE_MAX_S 86400
#define LAB_VLAN_MAX       4094 /* 0 and 4095 are not VLANs */
#define LAB_MTU_VXLAN      1450 /* what fits an Ethernet of 1500 inside VXLAN over IPv4 */
#define LAB_MTU_MIN        576
#define LAB_MTU_MAX        65521 /* a frame with its header fits in 65535 bytes */

/* vm->qemu: what qemu-patches/build makes, wherever that is. */
#define LAB_QEMU_PATCHED "patched"
#define LAB_QEMU_HOST    "host" /* in the file; in a struct vm it is NULL */

enum lab_arch { LAB_ARCH_X86_64, LAB_ARCH_AARCH64, LAB_ARCH_COUNT };
enum lab_accel { LAB_ACCEL_AUTO, LAB_ACCEL_KVM, LAB_ACCEL_TCG, LAB_ACCEL_COUNT };
/* hvsock: Hyper-V sockets by VMBus, which no stock QEMU has.  Its guests reach the host alone, and have no CID. */
enum lab_sockets { LAB_SOCKETS_VSOCK, LAB_SOCKETS_NONE, LAB_SOCKETS_HVSOCK, LAB_SOCKETS_COUNT };

/* Who holds the lab's QEMUs: we ourselves, or a libvirt. */
enum lab_engine_kind { LAB_ENGINE_QEMU, LAB_ENGINE_LIBVIRT, LAB_ENGINE_COUNT };
/* Whom the QEMUs of a system's libvirt run as: the lab's owner, or a user of libvirt's own. */
enum lab_engine_user {
	LAB_ENGINE_USER_OWNER,
	LAB_ENGINE_USER_LIBVIRT,
	LAB_ENGINE_USER_UNSAID, /* the owner, unless that is root */
};
struct lab_engine {
	enum lab_engine_kind kind;
	char *uri; /* of libvirt; NULL: there is none in it */
	enum lab_engine_user user;
};

/* "qemu", "libvirt qemu:///session": what it is called in settings and in the state; g_free().  And back: the URI in it, NULL for
 * "qemu". */
char *lab_engine_text(const struct lab_engine *engine);
const char *lab_engine_text_uri(const char *text);
/* "owner", "libvirt" */
const char *lab_engine_user_name(enum lab_engine_user user);

/* The words of the lab file: "x86_64", "aarch64"; "auto", "kvm", "tcg"; "vsock", "none", "hvsock". */
const char *lab_arch_name(enum lab_arch arch);
const char *lab_accel_name(enum lab_accel accel);
const char *lab_sockets_name(enum lab_sockets sockets);

/* The two ways through a link, seen from who is plugged in: on an uplink "guest" is the world outside. */
enum lab_direction { LAB_TO_GUEST, LAB_FROM_GUEST, LAB_DIRECTIONS };
const char *lab_direction_name(enum lab_direction direction); /* "to-guest" */

/* What the file says about a plug in a switch, of a NIC or of an uplink, in the numbers that a switch takes
 * (vhost-user-net(8)).  NULL everywhere: nothing is said. */
struct link {
	struct json_object *port; /* members of port.add: "vlan", "isolated", "offloads" */
	struct json_object *impair[LAB_DIRECTIONS]; /* members of link.set: "profile" and fields */
	struct json_object *timeline[LAB_DIRECTIONS]; /* members of timeline.set */
	char *qos[LAB_DIRECTIONS];                    /* names in lab->policies */
};

/* A way from a port of the host, through NAT, to one of a guest. */
struct nat_forward {
	char *text; /* as in the file: "tcp:127.0.0.1:2222:n1:22" */
	bool udp;   /* else TCP */
	char *host; /* "127.0.0.1" */
	unsigned host_port;
	struct in_addr guest; /* network byte order */
	unsigned guest_port;
};

/* A way out of a network: a port of its switch that no VM is behind. */
struct uplink {
	char *port; /* "nat", "vxlan-2" */
	enum uplink_type type;
	struct in_addr gateway; /* network byte order; 0: guests are told none */
	struct in_addr dns;     /* the same */
	struct json_object
		*own; /* what port.add takes for this type, but for what depends on the VMs */
	GPtrArray *forwards; /* of struct nat_forward */
	struct link link;
};

/* A mirror, a rule, a capture, a profile, a policy: what is called how. */
struct named {
	char *name;
	struct json_object *
		params; /* what the switch's method takes, links being ports; NULL: it is built in */
};

/* An L2 segment: one switch process. */
struct network {
	char *name;
	char *description;     /* NULL: none */
	struct in_addr subnet; /* network byte order, host bits zero */
	unsigned prefix;       /* 8..30 */
	unsigned mtu;
	unsigned threads;                      /* of its switch */
	struct json_object *storm;             /* as port.add takes it; NULL: no bounds */
	GPtrArray *uplinks;                    /* of struct uplink */
	GPtrArray *mirrors, *rules, *captures; /* of struct named, in the order of the file */
	unsigned index;                        /* in lab->networks */
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
	bool offloads;     /* false: the guest finishes its frames itself */
	struct link link;
};

/* What has to hold before a VM counts as ready, beyond its agent: asked through the agent, again and again. */
enum probe_kind { PROBE_PORT, PROBE_FILE, PROBE_COMMAND };

struct probe {
	char *name;
	enum probe_kind kind;
	unsigned port; /* PROBE_PORT: a TCP port of the guest */
	char *text;    /* PROBE_FILE: an absolute path; PROBE_COMMAND: a line for sh; else NULL */
	unsigned timeout_ms;  /* of one attempt */
	unsigned interval_ms; /* between attempts */
	char *hint;           /* for people, while it fails; NULL: none */
};

enum distro_format { DISTRO_RAW, DISTRO_QCOW2, DISTRO_SQUASHFS };

/* A distribution inside a VM: a disk image that the agent mounts and runs commands in ("n1/debian"). */
struct distro {
	char *name;  /* also the disk's serial number, by which the guest finds it */
	char *image; /* absolute path */
	enum distro_format format;
	bool readonly; /* the guest writes to an overlay in its memory; a squashfs always is */
	unsigned index;
};

/* A way between a socket of the host and a port of the guest. */
struct forward {
	bool to_guest; /* the host's socket listens; false: the guest connects to port of CID 2 */
	char *host;    /* "tcp:127.0.0.1:2222" or "unix:/path" */
	uint32_t port; /* the guest's */
	char *id;      /* its name in the daemon: "n1.tcp:127.0.0.1:2222:22", as in the file */
};

/* One of the lab's own checks, for `orchestrator test`: a command in a VM, and what is expected of it. */
struct lab_test {
	char *name;
	struct vm *vm;
	GStrv command;
	char *user;      /* NULL: root */
	unsigned status; /* expected exit status */
	char *stdout_regex; /* a PCRE (GRegex) that its output has to match somewhere; NULL: any output will do */
	unsigned timeout_ms;
	char *hint; /* NULL: none */
};

/* Memory that VMs and processes of the host share: one file, and a daemon that grants it. */
struct portal {
	char *name;
	char *description; /* NULL: none */
	uint64_t size;     /* bytes of the file, a multiple of LAB_PORTAL_UNIT */
	char *file; /* absolute path, kept when the lab goes down; NULL: it is made and goes with the lab */
	uint32_t port; /* of CID 2, on which its daemon grants leases to guests; unique in the lab */
	unsigned index; /* in lab->portals */
	unsigned n_vms; /* that have it */
};

/* How a VM gets to a portal's memory. */
enum portal_door {
	PORTAL_DOOR_PMEM,       /* QEMU maps the file: virtio-pmem-pci, in the guest /dev/daxN.0 */
	PORTAL_DOOR_IVSHMEM,    /* ivshmem-doorbell: a PCI BAR */
	PORTAL_DOOR_VHOST_USER, /* the daemon is the device: virtio-pmem over vhost-user */
	PORTAL_DOOR_COUNT
};
const char *portal_door_name(enum portal_door door); /* "pmem", "ivshmem", "vhost-user" */

struct portal_access {
	struct portal *portal;
	enum portal_door door;
	bool readonly;
	uint64_t quota; /* bytes it may be granted; 0: as much as there is */
	unsigned index; /* in vm->portals */
};

struct vm {
	char *name;        /* also the guest's host name */
	char *role;        /* NULL: none.  A word for the guest and for people */
	char *description; /* NULL: none */
	enum lab_arch arch;
	enum lab_accel accel;
	struct lab_image *image;
	char *qemu; /* that runs it: NULL: this host's, or libvirt's; LAB_QEMU_PATCHED; else its absolute path */
	uint64_t memory; /* bytes, a multiple of 1 MiB */
	unsigned vcpus;
	char *append;     /* added to the image's kernel command line; NULL: none */
	GPtrArray *nics;  /* of struct nic; may be empty */
	GPtrArray *after; /* of struct vm, borrowed: these are ready before this one starts */
	enum lab_sockets sockets; /* with LAB_SOCKETS_NONE all of the following is empty */
	uint32_t cid; /* unique in the lab, also without sockets; nobody is told that of a guest with hvsock */
	GPtrArray *
		peers; /* of struct vm, borrowed: whom it exchanges sockets with; NULL: every VM of the lab */
	GPtrArray *probes;   /* of struct probe */
	GPtrArray *distros;  /* of struct distro */
	GPtrArray *forwards; /* of struct forward */
	GPtrArray *portals;  /* of struct portal_access */
	unsigned index;      /* in lab->vms, the order of the file */
};

struct lab {
	char *name;
	char *description; /* NULL: none */
	char *path;        /* absolute path of the lab file */
	char *text;        /* the file as read, for the copy in the state directory */
	size_t text_len;
	struct lab_engine engine;
	unsigned port_base; /* the agent's port in guests and on the host, the first of six (50000 to 50005) */
	GPtrArray *profiles;     /* of struct named: the built-in ones, then the file's */
	GPtrArray *policies;     /* of struct named */
	GPtrArray *tests;        /* of struct lab_test, in the order of the file */
	GPtrArray *networks;     /* of struct network, in the order of the file */
	GPtrArray *portals;      /* of struct portal, in the order of the file */
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
struct portal *lab_find_portal(const struct lab *lab, const char *name);

/* The i-th of each, typed. */
static inline struct vm *lab_vm(const struct lab *lab, unsigned i)
{
	return lab->vms->pdata[i];
}

static inline struct network *lab_network(const struct lab *lab, unsigned i)
{
	return lab->networks->pdata[i];
}

static inline struct portal *lab_portal(const struct lab *lab, unsigned i)
{
	return lab->portals->pdata[i];
}

static inline struct nic *vm_nic(const struct vm *vm, unsigned i)
{
	return vm->nics->pdata[i];
}

static inline const struct portal_access *vm_portal(const struct vm *vm, unsigned i)
{
	return vm->portals->pdata[i];
}

/* NULL: the VM has nothing to do with it. */
const struct portal_access *vm_find_portal(const struct vm *vm, const struct portal *portal);

/* The uplink whose gateway guests of the network take as their way out: the first that has one; NULL: none. */
const struct uplink *network_way_out(const struct network *network);
/* What keeps an address, in host byte order, from being a host's of that network, as a word before "10.0.0.0/24": "is outside".
 * Static; NULL: nothing does. */
const char *network_ip_fault(const struct network *network, uint32_t ip);

/* The NIC by which a VM leaves the lab: the first on a network that has a way out; NULL: none. */
const struct nic *vm_way_out(const struct vm *vm);

static inline const struct uplink *network_uplink(const struct network *network, unsigned i)
{
	return network->uplinks->pdata[i];
}

/* The plug that a LINK means. */
struct link_ref {
	const struct network *network;
	const char *port;
	const struct link *link;
	const struct vm *vm;         /* NULL: an uplink */
	const struct nic *nic;       /* the same */
	const struct uplink *uplink; /* NULL: a NIC */
	const char *
		guest; /* whose QEMU is somebody else's (run/guests.h), with neither of the three; or NULL */
};

/* Find "n1" (its only NIC), "n1.1", "n1:lan", or an uplink: "lan:nat".  within: of that network alone, where "nat" will do,
 * and "n1" means its NIC there; NULL: of the whole lab.  FALSE: ORCH_ERROR_USAGE, naming what there is. */
gboolean lab_find_link(const struct lab *lab, const struct network *within, const char *text,
		       struct link_ref *ret, GError **error);

/* Read "tcp:127.0.0.1:2222:n1:22" as a forward of a NAT uplink of that network.  NULL, and *ret is the caller's
 * (nat_forward_free()); or what is wrong, g_free(). */
char *nat_forward_parse(const struct lab *lab, const struct network *network, const char *text,
			struct nat_forward **ret);
void nat_forward_free(struct nat_forward *forward);

/* Why these members of link.set cannot be together, beginning with a key of the lab file; NULL: they can.  Static.
 * whole: nothing else comes to them, from a profile or from what holds already. */
const char *impair_fault(struct json_object *numbers, bool whole);

/* The names of the built-in profiles, NULL-terminated. */
extern const char *const lab_profiles_built_in[];

/* Whether any VM of the lab has sockets, so that it needs the daemon. */
bool lab_has_sockets(const struct lab *lab);
/* NULL: no such. */
const struct distro *vm_find_distro(const struct vm *vm, const char *name);

/* Read "tcp:ADDRESS:PORT:GUESTPORT", "unix:/PATH:GUESTPORT" (to the guest) or "GUESTPORT:tcp:ADDRESS:PORT",
 * "GUESTPORT:unix:/PATH" (to the host): NULL, and ret has to_guest, host (g_free()) and port; or what is wrong (static). */
const char *forward_parse(const char *text, struct forward *ret);

/* Of all NICs of the lab that are on this network, in VM order: struct nic, borrowed.  Free with g_ptr_array_unref(). */
GPtrArray *lab_network_nics(const struct lab *lab, const struct network *network);

#endif
