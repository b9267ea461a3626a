/* SPDX-License-Identifier: MIT */
/* The journal: which connections guests have, told to whoever comes after us.
 *
 * Guests hold their half of a connection while a daemon dies and another takes its place; the new one knows nothing of
 * it, and the guest waits for ever for bytes of a peer that is gone.  So each connection has a slot in a small file,
 * mapped and written by plain stores: it is whole at any moment, also that of a SIGKILL.  A daemon that finds slots in
 * it resets those connections, VM by VM, as soon as the VM's guest can hear it.
 *
 * The same holds without a file for a frontend that comes again with a guest that did not notice.
 *
 * Trust:     the file is ours.  One of another version or size is begun anew; what a slot says is only ever sent to
 *            the guest whose CID it has, which ignores a reset that means nothing to it.
 * Ownership: the journal owns its mapping; the file stays when it is freed.
 * Threads:   one.  No system call but when it grows.
 */
#ifndef HVSOCK_JOURNAL_H
#define HVSOCK_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#define JOURNAL_NONE UINT32_MAX

/* Slots at most: all VMs' default limits together would be 1024 times that. */
#define JOURNAL_MAX (1u << 20)

struct hv_journal;

struct journal_entry {
	uint32_t vm_cid;
	uint32_t guest_port;
	uint32_t cid, port; /* of the far end */
	uint32_t type;      /* VIRTIO_VSOCK_TYPE_…, or SOCK_… of another transport */
};

/* path NULL: in memory alone.  All entries of a predecessor are orphans.  -ENOMEM, or what the file said. */
int journal_open(const char *path, struct hv_journal **ret_journal);
void journal_free(struct hv_journal *j);

/* Returns a slot, or JOURNAL_NONE: it is full, or could not grow; then the entry is not kept. */
uint32_t journal_add(struct hv_journal *j, const struct journal_entry *e);
/* JOURNAL_NONE is legal. */
void journal_remove(struct hv_journal *j, uint32_t slot);
/* The connection's guest was lost: keep it for when it comes again. */
void journal_orphan(struct hv_journal *j, uint32_t slot);

/* The number of a VM's orphans; take one out.  False: there is none. */
unsigned journal_orphans(const struct hv_journal *j, uint32_t vm_cid);
bool journal_take_orphan(struct hv_journal *j, uint32_t vm_cid, struct journal_entry *ret);
/* Forget them all. */
void journal_drop_orphans(struct hv_journal *j, uint32_t vm_cid);

#endif
