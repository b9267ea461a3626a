/* SPDX-License-Identifier: MIT */
#include "pkt.h"

#include <assert.h>

static_assert(sizeof(struct pkt_hdr) == PKT_HDR_LEN, "virtio 1.3, 5.10.6");
static_assert(sizeof(struct pkt_hdr) == sizeof(struct virtio_vsock_hdr), "as Linux has it");
static_assert(offsetof(struct pkt_hdr, len) == 24 && offsetof(struct pkt_hdr, op) == 30 &&
		      offsetof(struct pkt_hdr, fwd_cnt) == 40,
	      "odd offsets");

void pkt_decode(const uint8_t bytes[PKT_HDR_LEN], struct pkt *ret)
{
	struct pkt_hdr h;

	memcpy(&h, bytes, sizeof(h));
	*ret = (struct pkt){
		.src_cid = le64_get(h.src_cid),
		.dst_cid = le64_get(h.dst_cid),
		.src_port = le32_get(h.src_port),
		.dst_port = le32_get(h.dst_port),
		.len = le32_get(h.len),
		.type = le16_get(h.type),
		.op = le16_get(h.op),
		.flags = le32_get(h.flags),
		.buf_alloc = le32_get(h.buf_alloc),
		.fwd_cnt = le32_get(h.fwd_cnt),
	};
}

void pkt_encode(const struct pkt *p, uint8_t ret_bytes[PKT_HDR_LEN])
{
	struct pkt_hdr h = {
		.src_cid = le64_of(p->src_cid),
		.dst_cid = le64_of(p->dst_cid),
		.src_port = le32_of(p->src_port),
		.dst_port = le32_of(p->dst_port),
		.len = le32_of(p->len),
		.type = le16_of(p->type),
		.op = le16_of(p->op),
		.flags = le32_of(p->flags),
		.buf_alloc = le32_of(p->buf_alloc),
		.fwd_cnt = le32_of(p->fwd_cnt),
	};

	memcpy(ret_bytes, &h, sizeof(h));
}

/* The header in pieces. */
static bool take_pieces(struct iovec **iov, unsigned *n, uint8_t to[PKT_HDR_LEN])
{
	struct iovec *v = *iov;
	size_t total = 0, have = 0;

	for (unsigned i = 0; i < *n && total < PKT_HDR_LEN; i++)
		total += v[i].iov_len;
	if (total < PKT_HDR_LEN)
		return false;
	while (have < PKT_HDR_LEN) {
		size_t got = min(v->iov_len, PKT_HDR_LEN - have);

		memcpy(to + have, v->iov_base, got);
		have += got;
		v->iov_base = (uint8_t *)v->iov_base + got;
		v->iov_len -= got;
		if (v->iov_len == 0) {
			v++;
			--*n;
		}
	}
	*iov = v;
	return true;
}

bool pkt_take(struct iovec **iov, unsigned *n, struct pkt *ret)
{
	uint8_t bytes[PKT_HDR_LEN];

	if (likely(*n > 0 && (*iov)->iov_len > PKT_HDR_LEN)) {
		pkt_decode((*iov)->iov_base, ret);
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + PKT_HDR_LEN;
		(*iov)->iov_len -= PKT_HDR_LEN;
		return true;
	}
	if (!take_pieces(iov, n, bytes))
		return false;
	pkt_decode(bytes, ret);
	return true;
}

unsigned pkt_room(const struct iovec *iov, unsigned n, struct iovec *ret, uint32_t *ret_len)
{
	size_t skip = PKT_HDR_LEN, len = 0;
	unsigned n_ret = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t cut = min(skip, iov[i].iov_len), left = iov[i].iov_len - cut;

		skip -= cut;
		if (left == 0)
			continue;
		ret[n_ret++] = (struct iovec){ (uint8_t *)iov[i].iov_base + cut, left };
		len += left;
	}
	*ret_len = (uint32_t)len;
	return n_ret;
}

void pkt_put(const struct pkt *p, const struct iovec *iov, unsigned n)
{
	uint8_t bytes[PKT_HDR_LEN];
	size_t done = 0;

	if (likely(iov->iov_len >= PKT_HDR_LEN)) {
		pkt_encode(p, iov->iov_base);
		return;
	}
	pkt_encode(p, bytes);
	for (; n > 0 && done < PKT_HDR_LEN; iov++, n--) {
		size_t len = min(iov->iov_len, PKT_HDR_LEN - done);

		memcpy(iov->iov_base, bytes + done, len);
		done += len;
	}
	assert(done == PKT_HDR_LEN);
}

const char *pkt_op_name(unsigned op)
{
	static const char *const names[] = {
#define X(name) [VIRTIO_VSOCK_OP_##name] = #name,
		PKT_OPS(X)
#undef X
	};

	static_assert(array_size(names) == PKT_OP_COUNT, "a name for each operation");
	return op < PKT_OP_COUNT ? names[op] : "?";
}
