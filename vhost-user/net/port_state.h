/* SPDX-License-Identifier: MIT */
/* What a guest has made of its port: the MTU that its frontend was told, and the stations behind it.
 *
 * A port that goes down loses its stations (switch.h).  Where it goes down only for a moment (a change of
 * memory, the start of a migration's log) they are still there when it comes back, and everybody's frames
 * to them would be flooded until each has said something.  So they are noted, and put back.
 *
 * The same note is the device's state (device.h: DEVICE_STATE): a switch on another host that takes the
 * guest over knows its stations at once.
 *
 *	le16 version (1), le16 mtu (0: none), le32 n, n times le64: VLAN << 48 | address as a number
 *
 * Trust:   a state that is loaded is a stranger's: it is checked as a whole, and a station that is known
 *          on another port stays there.
 * Threads: the loop thread. */
#ifndef NET_PORT_STATE_H
#define NET_PORT_STATE_H

#include <stddef.h>
#include <stdint.h>

struct port_vu;
struct vu_session;

/* More than any guest but a bridge has, and a bridge's are found again by flooding. */
#define PORT_STATE_STATIONS 64

struct port_state {
	unsigned n;
	uint64_t key[PORT_STATE_STATIONS]; /* as fdb.h has it */
};

/* The port is about to go down; it has come up. */
void port_state_note(struct port_vu *p);
void port_state_restore(struct port_vu *p);

/* Of struct vu_device_ops. */
int port_state_save(struct vu_session *s, void *buf, size_t max);
int port_state_load(struct vu_session *s, const void *buf, size_t size);

#endif
