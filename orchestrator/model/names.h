/* SPDX-License-Identifier: MIT */
/* Every name that is derived rather than written in the lab file: MACs, addresses, CIDs, ports, directories, sockets.
 *
 * One place, so that the daemon's configuration, QEMU's command line, the guest's configuration and the verbs that look
 * for a socket agree by construction.  All of it is a pure function of the lab and of four environment variables.
 *
 * MACs, addresses and CIDs do not depend on the host or on time: the same file gives the same lab everywhere.
 *
 * Directories (LAB is the lab's name):
 *   state    $XDG_STATE_HOME/vhost-lab/labs/LAB       survives a reboot: logs, the lab as applied, what runs
 *   runtime  $XDG_RUNTIME_DIR/vhost-lab/LAB           sockets only; names flat and short, a sockaddr_un has 108 bytes
 *   cache    $XDG_CACHE_HOME/vhost-lab                images, probe results; shared by all labs
 * Where a variable is unset or not absolute: ~/.local/state, /tmp/vhost-lab-UID (in place of …/vhost-lab), ~/.cache.
 */
#ifndef MODEL_NAMES_H
#define MODEL_NAMES_H

#include <glib.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct lab;
struct network;
struct nic;
struct vm;

#define NAMES_LABEL_MAX       63  /* a DNS label */
#define NAMES_SOCKET_PATH_MAX 107 /* sun_path without its NUL */
#define NAMES_LINK_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-.:" /* of "n1.0", "n1:lan" */

/* The three base directories, "vhost-lab" included, the lab's name not. */
struct lab_dirs {
	char *state;
	char *runtime;
	char *cache;
};

/* From $XDG_STATE_HOME, $XDG_RUNTIME_DIR, $XDG_CACHE_HOME, $HOME and the user id.  Creates nothing. */
struct lab_dirs *lab_dirs_new(void);
/* The same from a given environment ("A=B" strings, NULL-terminated) and user id. */
struct lab_dirs *lab_dirs_new_from(char **environment, uid_t uid);
void lab_dirs_free(struct lab_dirs *dirs);

/* Where everything of one lab lies.  All paths are absolute. */
struct lab_paths {
	char *cache_dir;
	char *state_dir;
	char *run_dir;
	char *sup_sock;       /* run_dir/sup.sock: the supervisor */
	char *lock;           /* state_dir/lock */
	char *lab_json;       /* state_dir/lab.json: the file as applied */
	char *state_json;     /* state_dir/state.json: what the supervisor started */
	char *supervisor_log; /* state_dir/supervisor.log */
	char *ssh_config; /* state_dir/ssh_config: `ssh -F` it to reach VMs by name over their sockets */
	char *nets_dir;              /* state_dir/nets */
	char *vms_dir;               /* state_dir/vms */
	char *portals_dir;           /* state_dir/portals */
	struct daemon_paths *hvsock; /* of the lab's one vhost-user-hvsock */
	GPtrArray *
		nets; /* of struct daemon_paths, by network->index; empty for lab_paths_new_named() */
	GPtrArray *vms;     /* of struct vm_paths, by vm->index; empty for lab_paths_new_named() */
	GPtrArray *portals; /* of struct portal_paths, by portal->index; the same */
};

/* A daemon of the lab: the switch of a network, the one vhost-user-hvsock, or a portal's. */
struct daemon_paths {
	char *ctl; /* run_dir/NET.ctl, run_dir/hvsock.sock, run_dir/PORTAL.pctl: its control socket */
	char *dir;    /* state_dir/nets/NET, state_dir/hvsock, state_dir/portals/PORTAL */
	char *config; /* dir/config.json */
	char *log;    /* dir/log */
	char *journal; /* run_dir/hvsock.journal: the connections it has open; NULL: a switch keeps none */
};

struct portal_paths {
	struct daemon_paths *daemon;
	char *lease;   /* run_dir/PORTAL.portal: processes of the host attach there */
	char *ivshmem; /* run_dir/PORTAL.ivshmem: QEMUs with that door ask there */
	char *memory;  /* run_dir/PORTAL.arena, or the file that the lab names for it */
};

struct vm_paths {
	char *qmp;        /* run_dir/VM.qmp */
	char *con;        /* run_dir/VM.con: the serial console */
	GPtrArray *ports; /* of char *, by nic->index: run_dir/VM-I.vu */
	char *vsock;      /* run_dir/VM-s.vu: the vhost-user socket of its vsock device */
	char *pmem;       /* run_dir/VM-p: what vm_paths_pmem() begins with */
	char *vs; /* run_dir/VM.vs: say "CONNECT PORT\n" there to reach a port of the guest; vm_paths_vs_port() */
	char *dir;         /* state_dir/vms/VM */
	char *qemu_log;    /* dir/qemu.log: QEMU's own words */
	char *console_log; /* dir/console.log: the guest's */
	char *ready;       /* dir/ready: what the guest wrote to its second serial port */
	char *guest_conf;  /* dir/guest.conf: given to the guest by fw_cfg */
	char *script;      /* dir/qemu.sh: the command line, runnable without us */
};

struct lab_paths *lab_paths_new(const struct lab *lab, const struct lab_dirs *dirs);
/* Of a lab of which only the name is known. */
struct lab_paths *lab_paths_new_named(const char *lab_name, const struct lab_dirs *dirs);
void lab_paths_free(struct lab_paths *paths);

static inline const struct daemon_paths *lab_paths_net(const struct lab_paths *paths,
						       unsigned index)
{
	return paths->nets->pdata[index];
}

static inline const struct vm_paths *lab_paths_vm(const struct lab_paths *paths, unsigned index)
{
	return paths->vms->pdata[index];
}

static inline const char *vm_paths_port(const struct vm_paths *paths, unsigned nic_index)
{
	return paths->ports->pdata[nic_index];
}

static inline const struct portal_paths *lab_paths_portal(const struct lab_paths *paths,
							  unsigned index)
{
	return paths->portals->pdata[index];
}

/* run_dir/VM-pI.vu: where the daemon of the VM's portal of that index is its virtio-pmem device.  g_free(). */
char *vm_paths_pmem(const struct vm_paths *paths, unsigned access_index);

/* run_dir/VM.vs_PORT: whoever listens there is reached by the guest on that port of CID 2.  g_free(). */
char *vm_paths_vs_port(const struct vm_paths *paths, uint32_t port);

/* Paths of a VM, network or portal by name alone (one that is in the state, but no longer in the lab file). */
struct vm_paths *vm_paths_new(const struct lab_paths *paths, const char *vm_name, unsigned n_nics);
void vm_paths_free(struct vm_paths *paths);
struct daemon_paths *net_paths_new(const struct lab_paths *paths, const char *network_name);
struct portal_paths *portal_paths_new(const struct lab_paths *paths, const char *portal_name);
void portal_paths_free(struct portal_paths *paths);
/* A copy, to keep beyond the struct lab_paths. */
struct daemon_paths *daemon_paths_copy(const struct daemon_paths *paths);
void daemon_paths_free(struct daemon_paths *paths);

/* A name is one lower-case DNS label: a-z, 0-9 and '-', not at the ends, at most 63 bytes. */
bool names_valid(const char *name);

/* The name of a lab whose file says none: from the file ("web.lab.json", "web.json") or, where it is called lab.json, from
 * its directory; made valid; "lab" when nothing is left of it. */
char *names_lab_default(const char *absolute_path);

/* Any text as a name: "Web Server" is "web-server"; where nothing is left of it, otherwise. */
char *names_label(const char *text, const char *otherwise);

/* "n1.0" */
char *names_port(const char *vm_name, unsigned nic_index);

/* "three-nodes.n1": what libvirt calls the VM's domain.  No label has a dot, so no two VMs of one user share one. */
char *names_domain(const char *lab_name, const char *vm_name);

/* The domain's UUID (version 8, RFC 9562): a hash over lab, VM and the lab's state directory.  So defining it again is an
 * update, and two users' domains are two. */
#define NAMES_UUID_LEN 36
void names_uuid(const char *lab_name, const char *vm_name, const char *state_dir,
		char ret_text[NAMES_UUID_LEN + 1]);

/* 52:54:00 and 24 bits of a hash over lab, VM, NIC and attempt (0, then up while the MAC is taken). */
void names_mac(const char *lab_name, const char *vm_name, unsigned nic_index, unsigned attempt,
	       uint8_t ret_mac[6]);

/* "52:54:00:aa:bb:cc" */
#define NAMES_MAC_LEN 17
void names_mac_format(const uint8_t mac[6], char ret_text[NAMES_MAC_LEN + 1]);
/* And back, as a number, the first pair in its highest bits; either case. */
bool names_mac_parse(const char *text, uint64_t *ret_mac);

/* A CID out of 2^30 from 2^30 upward, by a hash over lab, VM and attempt (0, then up while the CID is taken): adding a VM
 * does not move those of the others, and small numbers stay free for what the lab file names itself. */
#define NAMES_CID_MIN 3u /* 0 to 2: hypervisor, loopback, host */
#define NAMES_CID_MAX 0xfffffffeu
uint32_t names_cid(const char *lab_name, const char *vm_name, unsigned attempt);

/* The port of a portal: out of 2^30 from 2^30 upward, by a hash over lab, portal and attempt, for the same reasons. */
uint32_t names_portal_port(const char *lab_name, const char *portal_name, unsigned attempt);

/* The n-th (from 0) address that is dealt out in a subnet, host byte order: from the tenth host upward, then, after the
 * last one, from the first (so that the low addresses, where gateways live, are used last).  n < number of hosts. */
uint32_t names_ip(uint32_t subnet, unsigned prefix, uint32_t n);
/* How many hosts fit: 2^(32-prefix) - 2. */
uint32_t names_ip_count(unsigned prefix);

#endif
