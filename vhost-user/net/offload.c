/* SPDX-License-Identifier: MIT */
#include "offload.h"

#include <assert.h>
#include <string.h>

#include "base.h"
#include "csum.h"
#include "gso.h"
#include "inet.h"

/* Where in the pieces of a frame we are.  The frame's own head is behind us. */
struct place {
	const struct iovec *iov;
	size_t at; /* in *iov */
};

/* The place of byte `skip`, which is at least f->head_len and at most f->len. */
static struct place place_of(const struct sw_frame *f, uint32_t skip)
{
	struct place p = { f->iov, skip - f->head_len + f->skip };
	const struct iovec *end = f->iov + f->n_iov;

	while (p.iov < end && p.at >= p.iov->iov_len)
		p.at -= p.iov++->iov_len;
	return p;
}

/* The next piece, of at most max bytes; max is not 0 and not beyond the frame. */
static struct iovec next_piece(struct place *p, uint32_t max)
{
	struct iovec v;

	while (p->at == p->iov->iov_len) {
		p->iov++;
		p->at = 0;
	}
	v.iov_base = (char *)p->iov->iov_base + p->at;
	v.iov_len = min(p->iov->iov_len - p->at, (size_t)max);
	p->at += v.iov_len;
	return v;
}

/* ---- what goes out ------------------------------------------------------------------------------ */

struct output {
	struct offload_work *o;
	offload_emit_fn *emit;
	void *arg;
	uint32_t offloads;
};

static void flush(struct output *out)
{
	if (out->o->n > 0)
		out->emit(out->arg, out->o->out, out->o->n);
	out->o->n = out->o->n_iov = 0;
}

static void pass(struct output *out, struct sw_frame *f)
{
	out->o->out[out->o->n++] = f;
	if (out->o->n == SW_BURST)
		flush(out);
}

/* Room for a frame of `head_len` fresh bytes in front of n_iov pieces at most; its head is to be
 * written.  NULL: there can be no room. */
static uint8_t *begin(struct output *out, uint32_t head_len, unsigned n_iov)
{
	struct offload_work *o = out->o;

	if (1 + n_iov > OFFLOAD_IOVS)
		return NULL;
	if (o->n_iov + 1 + n_iov > OFFLOAD_IOVS)
		flush(out);
	o->iov[o->n_iov] = (struct iovec){ o->head[o->n], head_len };
	return o->head[o->n];
}

/* Its payload: the next len bytes.  Returns their sum if it is wanted; the head ends at an even place. */
static csum_t add_payload(struct output *out, struct place *p, uint32_t len, bool sum_wanted)
{
	struct iovec *v = &out->o->iov[out->o->n_iov + 1];
	uint32_t done = 0;
	csum_t sum = 0;

	for (; done < len; v++) {
		*v = next_piece(p, len - done);
		if (sum_wanted) {
			csum_t piece = csum_add(0, v->iov_base, (uint32_t)v->iov_len);

			sum = csum_plus(sum, done & 1 ? csum_swap(piece) : piece);
		}
		done += (uint32_t)v->iov_len;
	}
	out->o->frame[out->o->n].n_iov = (uint16_t)(v - &out->o->iov[out->o->n_iov]);
	return sum;
}

/* The frame begun, of which head and payload are there, comes from f. */
static void finish(struct output *out, const struct sw_frame *f, uint32_t len,
		   const struct nethdr *hdr)
{
	struct offload_work *o = out->o;
	struct sw_frame *to = &o->frame[o->n];

	to->iov = &o->iov[o->n_iov];
	to->len = len;
	to->head_len = to->skip = f->head_len;
	memcpy(to->head, to->iov->iov_base, to->head_len);
	to->vid = f->vid;
	to->hdr = *hdr;
	to->buf = NULL;
	o->n_iov += to->n_iov;
	pass(out, to);
}

/* ---- segmentation ------------------------------------------------------------------------------- */

/* More pieces than this a segment cannot have. */
static unsigned pieces_max(const struct sw_frame *f, uint32_t len)
{
	return min((uint32_t)f->n_iov, len);
}

static bool segment(struct output *out, const struct sw_frame *f)
{
	bool sum = !(out->offloads & OFFLOAD_CSUM);
	uint32_t n = min(f->len, (uint32_t)OFFLOAD_HEAD_MAX);
	struct nethdr hdr = { 0 };
	uint8_t head[OFFLOAD_HEAD_MAX];
	struct place place;
	struct gso g;

	sw_frame_copy(f, 0, n, head);
	if (!gso_plan(&f->hdr, head, n, f->len, &g) || g.n > OFFLOAD_SEGMENTS_MAX)
		return false;
	if (!sum)
		hdr = (struct nethdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				       .csum_start = f->hdr.csum_start,
				       .csum_offset = f->hdr.csum_offset };
	place = place_of(f, g.head_len);
	for (uint32_t i = 0; i < g.n; i++) {
		uint32_t len = gso_len(&g, i);
		uint8_t *to = begin(out, g.head_len, pieces_max(f, len));
		csum_t payload;

		if (!to)
			return false;
		gso_head(&g, i, to);
		payload = add_payload(out, &place, len, sum);
		if (sum)
			gso_sum(&g, to, payload);
		finish(out, f, g.head_len + len, &hdr);
	}
	return true;
}

/* ---- a checksum alone --------------------------------------------------------------------------- */

/* Short frames whole, others up to the checksum: so many bytes are copied, an even number behind its start. */
static uint32_t bytes_to_copy(const struct sw_frame *f)
{
	uint32_t start = le16_get(f->hdr.csum_start);
	uint32_t end = start + le16_get(f->hdr.csum_offset) + (uint32_t)sizeof(uint16_t);

	if (f->len <= OFFLOAD_HEAD_MAX)
		return f->len;
	end = max(end, (uint32_t)f->head_len);
	return end + ((end - start) & 1);
}

static void put_sum(uint8_t *head, const struct nethdr *h, csum_t sum)
{
	uint16_t folded = csum_fold(sum);

	/* For UDP 0 is "none"; for the others it is the same number as its twin. */
	folded = folded ? folded : UINT16_MAX;
	memcpy(head + le16_get(h->csum_start) + le16_get(h->csum_offset), &folded, sizeof(folded));
}

static bool complete(struct output *out, const struct sw_frame *f)
{
	uint32_t start = le16_get(f->hdr.csum_start), n = bytes_to_copy(f);
	struct place place;
	uint8_t *head;
	csum_t sum;

	if (n > OFFLOAD_HEAD_MAX)
		return false;
	head = begin(out, n, pieces_max(f, f->len - n));
	if (!head)
		return false;
	sw_frame_copy(f, 0, n, head);
	place = place_of(f, n);
	sum = add_payload(out, &place, f->len - n, true);
	put_sum(head, &f->hdr, csum_add(sum, head + start, n - start));
	finish(out, f, f->len, &(struct nethdr){ 0 });
	return true;
}

unsigned offload_lower(struct offload_work *o, struct sw_frame *const *frame, unsigned n,
		       uint32_t offloads, offload_emit_fn *emit, void *arg)
{
	struct output out = { .o = o, .emit = emit, .arg = arg, .offloads = offloads };
	unsigned dropped = 0;

	o->n = o->n_iov = 0;
	for (unsigned i = 0; i < n; i++) {
		struct sw_frame *f = frame[i];

		if (offload_fits(f, offloads))
			pass(&out, f);
		else if (f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE)
			dropped += !complete(&out, f);
		else
			dropped += !segment(&out, f);
	}
	flush(&out);
	return dropped;
}

/* ---- questions ---------------------------------------------------------------------------------- */

static uint32_t head_len(const struct sw_frame *f)
{
	uint8_t head[OFFLOAD_HEAD_MAX];
	uint32_t n = min(f->len, (uint32_t)sizeof(head)), len;

	sw_frame_copy(f, 0, n, head);
	len = gso_head_len(&f->hdr, head, n);
	return len > 0 && len < f->len ? len : f->len;
}

unsigned offload_segments(const struct sw_frame *f)
{
	uint32_t size = le16_get(f->hdr.gso_size), payload;

	if (likely(f->hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE))
		return 1;
	payload = f->len - head_len(f);
	return payload > 0 ? (payload + size - 1) / size : 1;
}

uint32_t offload_wire_len(const struct sw_frame *f)
{
	unsigned n = offload_segments(f);

	return n == 1 ? f->len : f->len + (n - 1) * head_len(f);
}

void offload_complete(uint8_t *bytes, uint32_t len, const struct nethdr *h)
{
	uint32_t start = le16_get(h->csum_start);

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		put_sum(bytes, h, csum_add(0, bytes + start, len - start));
}

/* How many bytes the transport has: that is for IP to say; Ethernet pads short frames.  False: it says nonsense. */
static bool transport_len(const uint8_t *b, uint32_t len, const struct inet *at, uint32_t *ret)
{
	uint32_t end = at->version == 4 ? inet_be16(b + at->l3 + 2) :
					  INET_IPV6_LEN + inet_be16(b + at->l3 + 4u);

	end += at->l3;
	if (end > len || end < at->l4)
		return false;
	*ret = end - at->l4;
	return true;
}

/* Is there a checksum behind this IP header, and with or without the pseudo-header?  -1: none. */
static int sums_addresses(const uint8_t *l4, uint32_t n, const struct inet *at)
{
	switch (at->protocol) {
	case INET_TCP:
		return 1;
	case INET_UDP:
		return n >= INET_UDP_LEN && !(l4[6] | l4[7]) ? -1 : 1;
	case INET_ICMP6:
		return 1;
	case INET_ICMP:
		return 0;
	default:
		return -1;
	}
}

bool offload_verify(const uint8_t *b, uint32_t len)
{
	struct inet at;
	uint32_t n;
	csum_t sum = 0;
	int addresses;

	if (!inet_parse(b, len, &at))
		return true;
	if (at.version == 4 && csum_fold(csum_add(0, b + at.l3, at.l4 - at.l3)) != 0)
		return false;
	if (!transport_len(b, len, &at, &n))
		return false;
	addresses = sums_addresses(b + at.l4, n, &at);
	if (at.fragment || at.routed || addresses < 0)
		return true;
	if (addresses) {
		sum = (csum_t)htobe16(at.protocol) + htobe16((uint16_t)n);
		sum = at.version == 4 ? csum_add(sum, b + at.l3 + 12, 8) :
					csum_add(sum, b + at.l3 + 8, 32);
	}
	return csum_fold(csum_add(sum, b + at.l4, n)) == 0;
}
