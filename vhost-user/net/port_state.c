/* SPDX-License-Identifier: MIT */
#include "port_state.h"

#include <errno.h>
#include <string.h>

#include "le.h"
#include "port_vu.h"

#define VERSION 1
#define VID_MAX 4094

struct wire_head {
	le16_t version;
	le16_t mtu;
	le32_t n;
};
static_assert(sizeof(struct wire_head) == 8, "read by other versions");

static_assert(sizeof(struct wire_head) + PORT_STATE_STATIONS * sizeof(le64_t) <= VU_STATE_MAX,
	      "fits");

static void note_entry(const struct fdb_entry *e, void *arg)
{
	struct port_vu *p = arg;
	struct port_state *st = &p->kept;

	if (e->port == p->port.id && !e->fixed && st->n < PORT_STATE_STATIONS)
		st->key[st->n++] = e->key;
}

void port_state_note(struct port_vu *p)
{
	p->kept.n = 0;
	fdb_walk(&p->port.sw->fdb, note_entry, p);
}

void port_state_restore(struct port_vu *p)
{
	struct sw *sw = p->port.sw;

	for (unsigned i = 0; i < p->kept.n; i++)
		if (vlan_member(&p->port.vlan, fdb_key_to_vid(p->kept.key[i])) &&
		    fdb_lookup(&sw->fdb, p->kept.key[i]) == FDB_NONE)
			(void)fdb_learn(&sw->fdb, p->kept.key[i], p->port.id, sw->now_s);
	p->kept.n = 0;
}

int port_state_save(struct vu_session *s, void *buf, size_t max)
{
	const struct port_vu *p = vu_session_device(s);
	const struct wire_head head = {
		.version = le16_of(VERSION),
		.mtu = le16_of(p->mtu),
		.n = le32_of(p->kept.n),
	};
	uint8_t *to = buf;

	memcpy(to, &head, sizeof(head));
	to += sizeof(head);
	for (unsigned i = 0; i < p->kept.n; i++, to += sizeof(le64_t)) {
		le64_t key = le64_of(p->kept.key[i]);

		memcpy(to, &key, sizeof(key));
	}
	return (int)(to - (uint8_t *)buf);
}

/* An address of one station, in a VLAN that can be. */
static bool key_is_good(uint64_t key)
{
	return fdb_key_to_vid(key) <= VID_MAX && !(key >> 40 & 1) && (key & 0xffffffffffff) != 0;
}

int port_state_load(struct vu_session *s, const void *buf, size_t size)
{
	struct port_vu *p = vu_session_device(s);
	const uint8_t *from = buf;
	struct port_state fresh = { 0 };
	struct wire_head head;

	if (size < sizeof(head))
		return -EINVAL;
	memcpy(&head, from, sizeof(head));
	fresh.n = le32_get(head.n);
	if (le16_get(head.version) != VERSION || fresh.n > PORT_STATE_STATIONS ||
	    size != sizeof(head) + fresh.n * sizeof(le64_t) ||
	    (le16_get(head.mtu) != 0 && le16_get(head.mtu) < PORT_VU_MTU_MIN))
		return -EINVAL;
	for (unsigned i = 0; i < fresh.n; i++) {
		le64_t key;

		memcpy(&key, from + sizeof(head) + i * sizeof(key), sizeof(key));
		fresh.key[i] = le64_get(key);
		if (!key_is_good(fresh.key[i]))
			return -EINVAL;
	}
	p->kept = fresh;
	p->mtu = le16_get(head.mtu);
	return 0;
}
