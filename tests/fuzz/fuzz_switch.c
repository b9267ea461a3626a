/* SPDX-License-Identifier: MIT */
/* The core of the switch against a model of it that knows neither bursts nor pieces nor heads: frames are flat bytes, the
 * FDB an array, VLANs are put in and taken out by memmove().
 *
 * The input is a program: settings of ports, mirrors, pinned stations, links that go down, stages that hold frames up,
 * and bursts of frames cut anywhere.  After each step every port must have been given exactly the frames that the model
 * gives it, and every drop counter must agree: so each frame that came in is delivered, flooded or counted once. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "switch.h"

#define PORTS     5
#define STEPS_MAX 200
#define ROOM      320 /* bytes of the longest frame here, with a tag more */

struct input {
	const uint8_t *data;
	size_t size;
};

static uint8_t take(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

/* ---- flat frames -------------------------------------------------------------------------------- */

struct flat {
	uint8_t bytes[ROOM];
	uint32_t len;
	uint16_t vid;
	struct nethdr hdr;
};

/* Of all frames given to a port, in whatever order. */
struct given {
	uint64_t n, sum;
};

static void give(struct given *g, const void *bytes, uint32_t len, const struct nethdr *hdr)
{
	const uint8_t *b = bytes;
	uint64_t h = len;

	for (uint32_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3u;
	b = (const uint8_t *)hdr;
	for (uint32_t i = 0; i < sizeof(*hdr); i++)
		h = (h ^ b[i]) * 0x100000001b3u;
	g->n++;
	g->sum += h ^ h >> 29;
}

static void give_frame(struct given *g, const struct sw_frame *f)
{
	static uint8_t bytes[SW_FRAME_MAX + 4];

	assert(f->len <= sizeof(bytes));
	sw_frame_copy(f, 0, f->len, bytes);
	give(g, bytes, f->len, &f->hdr);
}

/* ---- the model ---------------------------------------------------------------------------------- */

struct model_port {
	enum vlan_mode mode;
	uint16_t pvid;
	uint8_t set[4096];
	bool isolated, ready, down, offloads;
	struct storm storm;
	struct given given;
	struct port_stats stats; /* the drop counters and ingress_flooded */
};

struct model_station {
	uint64_t mac;
	uint16_t vid;
	unsigned port;
	bool fixed;
};

struct model_mirror {
	bool used, in, out;
	unsigned to, from; /* from: a bit each */
};

static struct {
	struct model_port p[PORTS];
	struct model_station station[4096];
	unsigned n_station;
	struct model_mirror mirror[2];
	struct offload_work work;
} model;

static bool model_aware(void)
{
	for (unsigned i = 0; i < PORTS; i++)
		if (model.p[i].mode != VLAN_PLAIN)
			return true;
	return false;
}

static bool model_member(const struct model_port *p, uint16_t vid)
{
	return p->mode == VLAN_PLAIN || (p->mode == VLAN_TRUNK ? p->set[vid] : p->pvid == vid);
}

static bool has_tag_at(const struct flat *f, unsigned at)
{
	return f->bytes[at] == 0x81 && f->bytes[at + 1] == 0;
}

/* A member, and no tag comes to light by the way the frame leaves. */
static bool model_takes(const struct model_port *p, const struct flat *f, bool tagged)
{
	return model_member(p, f->vid) &&
	       !(p->mode == VLAN_TRUNK && p->pvid == f->vid && has_tag_at(f, tagged ? 16 : 12));
}

static void model_given(void *port, struct sw_frame *const *frame, unsigned n)
{
	struct model_port *p = port;

	for (unsigned i = 0; i < n; i++)
		give_frame(&p->given, frame[i]);
}

/* At the edge of a port. */
static void model_leave(struct model_port *p, const struct flat *f)
{
	struct flat copy = *f;
	struct iovec iov = { copy.bytes, copy.len };
	struct sw_frame frame = { .iov = &iov, .len = f->len, .n_iov = 1, .hdr = f->hdr },
			*one = &frame;

	if (p->down) {
		p->stats.egress_drop_link++;
		return;
	}
	frame.head_len = frame.skip = SW_HEAD_LEN;
	memcpy(frame.head, f->bytes, SW_HEAD_LEN);
	p->stats.egress_drop_offload +=
		offload_lower(&model.work, &one, 1, p->offloads ? OFFLOAD_ALL : 0, model_given, p);
}

static void model_show(unsigned port, bool in, const struct flat *f)
{
	for (unsigned i = 0; i < array_size(model.mirror); i++) {
		struct model_mirror *m = &model.mirror[i];

		if (m->used && (in ? m->in : m->out) && m->from >> port & 1) {
			model.p[m->to].stats.egress_mirrored++;
			model_leave(&model.p[m->to], f);
		}
	}
}

static struct model_station *model_find(uint64_t mac, uint16_t vid)
{
	for (unsigned i = 0; i < model.n_station; i++)
		if (model.station[i].mac == mac && model.station[i].vid == vid)
			return &model.station[i];
	return NULL;
}

static void model_flush(unsigned port)
{
	for (unsigned i = model.n_station; i-- > 0;)
		if (model.station[i].port == port && !model.station[i].fixed)
			model.station[i] = model.station[--model.n_station];
}

static void shift(struct nethdr *h, int by)
{
	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return;
	h->csum_start = le16_of((uint16_t)(le16_get(h->csum_start) + by));
	if (le16_get(h->hdr_len) != 0)
		h->hdr_len = le16_of((uint16_t)min(max(le16_get(h->hdr_len) + by, 0), UINT16_MAX));
}

/* The frame as it leaves `p`, in VLAN f->vid; `tagged`: it has the tag of that VLAN already. */
static struct flat model_form(const struct model_port *p, const struct flat *f, bool tagged)
{
	bool want = p->mode == VLAN_PLAIN || (p->mode == VLAN_TRUNK && p->pvid != f->vid);
	struct flat out = *f;

	if (f->vid == 0 || want == tagged)
		return out;
	if (want) {
		memmove(out.bytes + 16, out.bytes + 12, out.len - 12);
		out.bytes[12] = 0x81;
		out.bytes[13] = 0;
		out.bytes[14] = (uint8_t)(f->vid >> 8);
		out.bytes[15] = (uint8_t)f->vid;
		out.len += 4;
		shift(&out.hdr, 4);
	} else {
		memmove(out.bytes + 12, out.bytes + 16, out.len - 16);
		out.len -= 4;
		shift(&out.hdr, -4);
	}
	return out;
}

/* Which VLAN, and is its tag in the frame?  False: not for this port. */
static bool model_classify(const struct model_port *p, struct flat *f, bool *ret_tagged)
{
	bool tagged = has_tag_at(f, 12);
	uint16_t vid;

	*ret_tagged = false;
	f->vid = p->pvid;
	if (p->mode == VLAN_TUNNEL)
		return true;
	if (!tagged) {
		f->vid = p->mode == VLAN_PLAIN ? 0 : p->pvid;
		return p->mode != VLAN_TRUNK || f->vid != 0;
	}
	if (f->len < 18 ||
	    ((f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && le16_get(f->hdr.csum_start) < 18))
		return false;
	vid = (uint16_t)((f->bytes[14] & 15) << 8 | f->bytes[15]);
	*ret_tagged = true;
	switch (p->mode) {
	case VLAN_PLAIN:
		f->vid = vid;
		return vid != 4095;
	case VLAN_TRUNK:
		f->vid = vid ? vid : p->pvid;
		if (f->vid == 0 || f->vid == 4095 || !p->set[f->vid])
			return false;
		break;
	case VLAN_ACCESS:
	case VLAN_TUNNEL:
		if (vid != 0 || has_tag_at(f, 16))
			return false;
		break;
	}
	f->bytes[14] = (uint8_t)((f->bytes[14] & 0xf0) | f->vid >> 8);
	f->bytes[15] = (uint8_t)f->vid;
	return true;
}

static uint64_t mac_at(const uint8_t *b)
{
	uint64_t mac = 0;

	for (unsigned i = 0; i < 6; i++)
		mac = mac << 8 | b[i];
	return mac;
}

/* Does the source get in? */
static bool model_learn(unsigned port, uint64_t src, uint16_t vid)
{
	struct model_station *s = model_find(src, vid);
	struct model_port *p = &model.p[port];

	if (src == 0 || src >> 40 & 1) {
		p->stats.ingress_drop_source++;
		return false;
	}
	if (s && s->fixed && s->port != port) {
		p->stats.ingress_drop_pinned++;
		return false;
	}
	if (!s) {
		assert(model.n_station < array_size(model.station));
		s = &model.station[model.n_station++];
		*s = (struct model_station){ .mac = src, .vid = vid };
	}
	s->port = port;
	return true;
}

static void model_to(unsigned port, const struct flat *f, bool tagged)
{
	struct flat form = model_form(&model.p[port], f, tagged);

	model_show(port, false, &form);
	model_leave(&model.p[port], &form);
}

static void model_flood(unsigned port, const struct flat *f, bool tagged)
{
	const struct model_port *in = &model.p[port];

	model.p[port].stats.ingress_flooded++;
	for (unsigned i = 0; i < PORTS; i++) {
		const struct model_port *out = &model.p[i];

		if (i != port && out->ready && !out->down && !(in->isolated && out->isolated) &&
		    model_takes(out, f, tagged))
			model_to(i, f, tagged);
	}
}

/* A group, or a station that nobody knows. */
static void model_many(unsigned port, const struct flat *f, bool tagged, uint64_t dst,
		       uint64_t now_ns)
{
	struct model_port *in = &model.p[port];
	uint64_t src = mac_at(f->bytes + 6);

	if (!(dst >> 40 & 1)) { /* the source was learned already */
		if (storm_pass(&in->storm, STORM_UNKNOWN, now_ns))
			model_flood(port, f, tagged);
		else
			in->stats.ingress_drop_unknown++;
	} else if (dst == 0xffffffffffffu && !storm_pass(&in->storm, STORM_BROADCAST, now_ns)) {
		in->stats.ingress_drop_broadcast++;
	} else if (dst != 0xffffffffffffu && !storm_pass(&in->storm, STORM_MULTICAST, now_ns)) {
		in->stats.ingress_drop_multicast++;
	} else if (model_learn(port, src, f->vid)) {
		model_flood(port, f, tagged);
	}
}

static void model_input(unsigned port, struct flat f, uint64_t now_ns)
{
	struct model_port *in = &model.p[port];
	uint64_t dst = mac_at(f.bytes);
	struct model_station *s;
	bool tagged = false;

	if (f.len < SW_HEAD_LEN) {
		in->stats.ingress_drop_short++;
		return;
	}
	if (in->down) {
		in->stats.ingress_drop_link++;
		return;
	}
	model_show(port, true, &f);
	if (model_aware() && !model_classify(in, &f, &tagged)) {
		in->stats.ingress_drop_vlan++;
		return;
	}
	if (dst >> 40 & 1) {
		model_many(port, &f, tagged, dst, now_ns);
		return;
	}
	if (!model_learn(port, mac_at(f.bytes + 6), f.vid))
		return;
	s = model_find(dst, f.vid);
	if (!s)
		model_many(port, &f, tagged, dst, now_ns);
	else if (s->port == port)
		in->stats.ingress_drop_local++;
	else if (in->isolated && model.p[s->port].isolated)
		in->stats.ingress_drop_isolated++;
	else if (!model_takes(&model.p[s->port], &f, tagged))
		in->stats.ingress_drop_vlan++;
	else
		model_to(s->port, &f, tagged);
}

/* ---- the switch --------------------------------------------------------------------------------- */

static struct real_port {
	struct sw_port port;
	struct given given;
} real[PORTS];

static struct sw sw;
static uint64_t now_ns;

static void real_egress(struct sw_port *sp, struct sw_frame *const *frame, unsigned n)
{
	struct real_port *p = container_of(sp, struct real_port, port);

	assert(n >= 1 && n <= SW_BURST);
	for (unsigned i = 0; i < n; i++)
		give_frame(&p->given, frame[i]);
}

static const struct sw_port_ops real_ops = { .type = "fuzz", .egress = real_egress };

static uint64_t real_clock(void)
{
	return now_ns;
}

/* Stages and rules keep what they are told to keep until the step is over. */
#define HELD_MAX 8192

static struct held {
	struct sw_buf *buf;
	struct sw_port *port;
	enum { AT_INGRESS, AT_RULES, AT_EGRESS } where;
} held[HELD_MAX];
static unsigned n_held, n_released;
static bool keep;

static bool hold(struct sw_port *p, struct sw_frame *f, int where)
{
	if (!keep || n_held == HELD_MAX)
		return false;
	held[n_held] = (struct held){ sw_buf_keep(&sw.bufs, f), p, where };
	assert(held[n_held].buf);
	n_held++;
	return true;
}

static void on_ingress(struct sw_stage *s, struct sw_port *p, struct sw_frame *const *frame,
		       unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!hold(p, frame[i], AT_INGRESS))
			sw_stage_ingress_done(p, &frame[i], 1);
}

static void on_egress(struct sw_stage *s, struct sw_port *p, struct sw_frame *const *frame,
		      unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!hold(p, frame[i], AT_EGRESS))
			sw_stage_egress_done(p, &frame[i], 1);
}

static bool on_between(struct sw_between *b, struct sw_port *in, struct sw_port *out,
		       struct sw_frame *f)
{
	return !hold(out, f, AT_RULES);
}

static void on_stage_detached(struct sw_stage *s, struct sw_port *p)
{
}

static void on_between_detached(struct sw_between *b, struct sw_port *p)
{
}

static const struct sw_stage_ops ingress_ops = { on_ingress, on_stage_detached };
static const struct sw_stage_ops egress_ops = { on_egress, on_stage_detached };
static const struct sw_between_ops between_ops = { on_between, on_between_detached };
static struct sw_stage ingress_stage = { &ingress_ops }, egress_stage = { &egress_ops };
static struct sw_between between = { &between_ops };

/* In the order in which they came; what is held again on its way waits behind. */
static void release(void)
{
	while (n_released < n_held) {
		struct held h = held[n_released++];
		struct sw_frame *f = sw_buf_frame(h.buf);

		if (h.where == AT_INGRESS)
			sw_stage_ingress_done(h.port, &f, 1);
		else if (h.where == AT_RULES)
			sw_between_done(h.port, &f, 1);
		else
			sw_stage_egress_done(h.port, &f, 1);
		sw_buf_unref(h.buf);
	}
	n_held = n_released = 0;
	assert(sw.bufs.used == 0);
}

/* ---- steps -------------------------------------------------------------------------------------- */

static const uint64_t macs[] = { 2, 3, 4, 5, 6, 0xffffffffffffu, 0x01005e000001u, 0 };
static const uint16_t vids[] = { 1, 2, 3, 4094 };

static uint32_t make_frame(struct input *in, uint8_t *b)
{
	static const uint16_t types[] = { 0x8100, 0x88a8, 0x0800, 0x86dd };
	uint32_t len = take(in), shape = take(in), at = 12;

	for (uint32_t i = 0; i < len; i++)
		b[i] = (uint8_t)i;
	fdb_key_to_mac(macs[shape % 8], b);
	fdb_key_to_mac(macs[shape / 8 % 8], b + 6);
	/* One or two tags, or something else, as the input likes. */
	for (unsigned i = 0; i < 3; i++, at += 4) {
		unsigned t = take(in);

		b[at] = (uint8_t)(types[t % 4] >> 8);
		b[at + 1] = (uint8_t)types[t % 4];
		b[at + 2] = (uint8_t)(t & 0x80 ? take(in) : vids[t / 4 % 4] >> 8);
		b[at + 3] = (uint8_t)(t & 0x80 ? take(in) : vids[t / 4 % 4]);
		if (t % 4 > 1)
			break;
	}
	return len;
}

static void send_burst(struct input *in)
{
	static uint8_t bytes[SW_BURST][ROOM];
	static struct iovec iov[SW_BURST][ROOM];
	static struct flat flat;
	struct sw_frame frame[SW_BURST];
	unsigned port = take(in) % PORTS, n = 1 + take(in) % 4, cut = take(in);

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = make_frame(in, bytes[i]), piece = cut ? 1 + cut % 64 : ROOM, k = 0;
		uint8_t hdr[NETHDR_LEN];

		flat = (struct flat){ .len = len };
		memcpy(flat.bytes, bytes[i], len);
		if (take(in) & 1) {
			for (unsigned j = 0; j < NETHDR_LEN; j++)
				hdr[j] = take(in);
			if (!nethdr_read(hdr, len, OFFLOAD_ALL, &flat.hdr))
				flat.hdr = (struct nethdr){ 0 };
		}
		for (uint32_t off = 0; off < len; off += piece)
			iov[i][k++] = (struct iovec){ bytes[i] + off, min(piece, len - off) };
		frame[i] = (struct sw_frame){
			.iov = iov[i], .len = len, .n_iov = (uint16_t)k, .hdr = flat.hdr
		};
		model_input(port, flat, now_ns);
	}
	sw_input(&real[port].port, frame, n);
	release();
}

static void set_vlan(struct input *in)
{
	unsigned port = take(in) % PORTS, what = take(in), bits = take(in);
	struct model_port *m = &model.p[port];
	struct vlan_port v = { .mode = what % 4, .pvid = vids[what / 4 % 4] };
	bool changed = v.mode != m->mode;

	if (v.mode == VLAN_PLAIN)
		v.pvid = 0;
	if (v.mode == VLAN_TRUNK) {
		v.set = calloc(1, sizeof(*v.set));
		assert(v.set);
		if (what & 0x80)
			v.pvid = 0;
		else
			vlan_set_add(v.set, v.pvid);
		for (unsigned i = 0; i < 4; i++)
			if (bits >> i & 1)
				vlan_set_add(v.set, vids[i]);
		for (uint16_t vid = 0; vid < 4096; vid++) {
			changed |= m->set[vid] != vlan_set_has(v.set, vid);
			m->set[vid] = vlan_set_has(v.set, vid);
		}
	}
	if (changed || v.pvid != m->pvid)
		model_flush(port);
	m->mode = v.mode;
	m->pvid = v.pvid;
	sw_set_vlan(&real[port].port, &v);
}

static void set_port(struct input *in)
{
	unsigned port = take(in) % PORTS, what = take(in);
	struct model_port *m = &model.p[port];
	struct sw_port *p = &real[port].port;

	m->isolated = p->isolated = what & 1;
	m->offloads = what & 2;
	p->offloads = what & 2 ? OFFLOAD_ALL : 0;
	if ((what & 4) == 0 || (what & 8) == 0)
		model_flush(port);
	m->ready = what & 4;
	sw_set_up(p, m->ready);
	m->down = !(what & 8);
	sw_set_link(p, SW_DOWN_ADMIN, !m->down);
	if (what & 16) {
		enum storm_kind kind = take(in) % STORM_N_KINDS;
		uint32_t pps = take(in) * 10u;

		storm_set(&m->storm, kind, pps, now_ns);
		sw_set_storm(p, kind, pps);
	}
	p->ingress = what & 32 ? &ingress_stage : NULL;
	p->egress = what & 64 ? &egress_stage : NULL;
}

static void set_mirror(struct input *in)
{
	unsigned i = take(in) % array_size(model.mirror), what = take(in), from = take(in), n = 0;
	struct model_mirror *m = &model.mirror[i];
	const char *name = i ? "b" : "a";
	struct sw_port *port[PORTS];

	if (m->used)
		assert(sw_mirror_remove(&sw, name) == 0);
	*m = (struct model_mirror){ .in = what & 1, .out = what & 2, .to = what / 4 % PORTS };
	m->from = from & ((1u << PORTS) - 1) & ~(1u << m->to);
	for (unsigned j = 0; j < PORTS; j++)
		if (m->from >> j & 1)
			port[n++] = &real[j].port;
	m->used = n > 0 && (m->in || m->out);
	assert((sw_mirror_add(&sw, name, &real[m->to].port, port, n, m->in, m->out) == 0) ==
	       m->used);
}

static void pin(struct input *in)
{
	unsigned what = take(in), port = what % PORTS;
	uint64_t mac = macs[what / 8 % 5];
	uint16_t vid = what & 0x80 ? vids[take(in) % 4] : 0;
	struct model_station *s = model_find(mac, vid);

	if (s && s->fixed) {
		assert(fdb_unpin(&sw.fdb, mac | fdb_key_vlan(vid)) == 0);
		*s = model.station[--model.n_station];
		return;
	}
	assert(fdb_pin(&sw.fdb, mac | fdb_key_vlan(vid), real[port].port.id) == 0);
	if (!s)
		s = &model.station[model.n_station++];
	*s = (struct model_station){ mac, vid, port, true };
}

static void step(struct input *in)
{
	switch (take(in) % 8) {
	case 4:
		set_vlan(in);
		break;
	case 5:
		set_port(in);
		break;
	case 6:
		if (take(in) & 1)
			set_mirror(in);
		else
			pin(in);
		break;
	case 7:
		keep = take(in) & 1;
		sw.between = take(in) & 1 ? &between : NULL;
		now_ns += take(in) * 1000000ull;
		break;
	default:
		send_burst(in);
	}
}

static void compare(void)
{
	for (unsigned i = 0; i < PORTS; i++) {
		assert(real[i].given.n == model.p[i].given.n);
		assert(real[i].given.sum == model.p[i].given.sum);
		for (unsigned c = 0; c < PORT_N_COUNTERS; c++)
			if (strstr(port_counters[c].name, "_drop_") ||
			    strcmp(port_counters[c].name, "ingress_flooded") == 0 ||
			    strcmp(port_counters[c].name, "egress_mirrored") == 0)
				assert(port_counter_value(&real[i].port.stats, &port_counters[c]) ==
				       port_counter_value(&model.p[i].stats, &port_counters[c]));
	}
	assert(fdb_count(&sw.fdb) == model.n_station);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	memset(&model, 0, sizeof(model));
	memset(real, 0, sizeof(real));
	keep = false;
	now_ns = 1000000000;
	assert(sw_init(&sw, &(struct fdb_config){ 4096, 4096, 0 }, 1) == 0);
	sw.clock_ns = real_clock;
	for (unsigned i = 0; i < PORTS; i++) {
		real[i].port.ops = &real_ops;
		real[i].port.name[0] = (char)('0' + i);
		real[i].port.offloads = OFFLOAD_ALL;
		assert(sw_attach(&sw, &real[i].port) == 0);
		sw_set_up(&real[i].port, true);
		model.p[i].ready = model.p[i].offloads = true;
	}
	for (unsigned i = 0; i < STEPS_MAX && in.size > 0; i++) {
		step(&in);
		compare();
	}
	sw.between = NULL;
	for (unsigned i = 0; i < PORTS; i++)
		sw_detach(&real[i].port);
	sw_done(&sw);
	return 0;
}
