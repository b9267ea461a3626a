/* SPDX-License-Identifier: MIT */
#include "switch_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

static void rig_egress(struct sw_port *sp, struct sw_frame *const *frame, unsigned n)
{
	struct rig_port *p = container_of(sp, struct rig_port, port);

	assert_in_range(n, 1, SW_BURST);
	p->n_call++;
	for (unsigned i = 0; i < n; i++, p->n++) {
		struct rig_frame *got = &p->got[p->n];

		if (p->n >= RIG_KEPT)
			continue;
		*got = (struct rig_frame){ .len = frame[i]->len,
					   .vid = frame[i]->vid,
					   .hdr = frame[i]->hdr };
		sw_frame_copy(frame[i], 0, min(frame[i]->len, (uint32_t)RIG_PREFIX), got->bytes);
	}
}

static void rig_carrier(struct sw_port *sp, bool up)
{
	struct rig_port *p = container_of(sp, struct rig_port, port);

	p->n_carrier++;
	p->carrier = up;
}

static const struct sw_port_ops rig_ops = { .type = "rig",
					    .egress = rig_egress,
					    .carrier = rig_carrier };

static struct rig *clock_of;

static uint64_t rig_clock(void)
{
	return clock_of->now_ns;
}

void rig_up(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	r->now_ns = 1000000000;
	clock_of = r;
	assert_int_equal(sw_init(&r->sw, &(struct fdb_config){ 64, 16, 300 }, 1), 0);
	r->sw.clock_ns = rig_clock;
	for (unsigned i = 0; i < RIG_PORTS; i++) {
		struct sw_port *p = &r->p[i].port;

		p->ops = &rig_ops;
		p->offloads = OFFLOAD_ALL;
		(void)snprintf(p->name, sizeof(p->name), "p%u", i);
		assert_int_equal(sw_attach(&r->sw, p), 0);
		sw_set_up(p, true);
	}
}

void rig_down(struct rig *r)
{
	for (unsigned i = 0; i < RIG_PORTS; i++)
		sw_detach(&r->p[i].port);
	assert_int_equal(r->sw.bufs.used, 0);
	sw_done(&r->sw);
}

void rig_clear(struct rig *r)
{
	for (unsigned i = 0; i < RIG_PORTS; i++)
		r->p[i].n = r->p[i].n_call = 0;
}

void rig_access(struct rig *r, unsigned port, uint16_t vid)
{
	sw_set_vlan(&r->p[port].port, &(struct vlan_port){ .mode = VLAN_ACCESS, .pvid = vid });
}

void rig_trunk(struct rig *r, unsigned port, uint16_t native, const uint16_t *vids)
{
	struct vlan_port v = { .mode = VLAN_TRUNK,
			       .pvid = native,
			       .set = calloc(1, sizeof(*v.set)) };

	assert_non_null(v.set);
	if (native)
		vlan_set_add(v.set, native);
	for (; *vids; vids++)
		vlan_set_add(v.set, *vids);
	sw_set_vlan(&r->p[port].port, &v);
}

void rig_send_pieces(struct rig *r, unsigned port, const void *bytes, uint32_t len, uint32_t piece,
		     const struct nethdr *hdr)
{
	struct sw_frame f = { .len = len, .hdr = hdr ? *hdr : (struct nethdr){ 0 } };
	unsigned n = piece ? (len + piece - 1) / piece : 1;
	struct iovec *iov = calloc(n, sizeof(*iov));

	assert_non_null(iov);
	for (unsigned i = 0; i < n; i++) {
		uint32_t off = i * piece;

		iov[i] = (struct iovec){ (char *)(uintptr_t)bytes + off,
					 piece ? min(piece, len - off) : len };
	}
	f.iov = iov;
	f.n_iov = (uint16_t)n;
	sw_input(&r->p[port].port, &f, 1);
	free(iov);
}

void rig_send(struct rig *r, unsigned port, const void *bytes, uint32_t len)
{
	rig_send_pieces(r, port, bytes, len, 0, NULL);
}

static uint8_t *put_be16(uint8_t *to, uint16_t v)
{
	*to++ = (uint8_t)(v >> 8);
	*to++ = (uint8_t)v;
	return to;
}

uint32_t rig_frame(uint8_t *to, uint64_t dst, uint64_t src, const uint32_t *tags, unsigned n,
		   uint32_t payload)
{
	uint8_t *at = to + 12;

	fdb_key_to_mac(dst, to);
	fdb_key_to_mac(src, to + 6);
	for (unsigned i = 0; i < n; i++) {
		at = put_be16(at, (uint16_t)(tags[i] >> 16));
		at = put_be16(at, (uint16_t)tags[i]);
	}
	at = put_be16(at, 0x88b5);
	for (uint32_t i = 0; i < payload; i++)
		*at++ = (uint8_t)i;
	return (uint32_t)(at - to);
}

void rig_say(struct rig *r, unsigned port, uint64_t dst, uint64_t src, int tci)
{
	uint32_t tag = 0x81000000u | (uint16_t)tci;
	uint8_t bytes[64];
	uint32_t len = rig_frame(bytes, dst, src, &tag, tci != RIG_UNTAGGED, 46);

	rig_send(r, port, bytes, len);
}

const char *rig_tally(const struct rig *r)
{
	static char text[RIG_PORTS * 11];
	int n = 0;

	for (unsigned i = 0; i < RIG_PORTS; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%u", i ? "," : "", r->p[i].n);
	return text;
}

int rig_tci(const struct rig_frame *f)
{
	if (f->bytes[12] != 0x81 || f->bytes[13] != 0)
		return -1;
	return f->bytes[14] << 8 | f->bytes[15];
}

uint64_t rig_ingress_drops(const struct sw_port *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < PORT_N_COUNTERS; i++)
		if (strncmp(port_counters[i].name, "ingress_drop_", 13) == 0)
			n += port_counter_value(&p->stats, &port_counters[i]);
	return n;
}
