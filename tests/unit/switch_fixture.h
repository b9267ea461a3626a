/* SPDX-License-Identifier: MIT */
/* A switch with ports that write down what they are given, for the tests of its parts. */
#ifndef TEST_SWITCH_FIXTURE_H
#define TEST_SWITCH_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "switch.h"

#define RIG_PORTS  6
#define RIG_KEPT   512 /* frames written down by a port */
#define RIG_PREFIX 128 /* bytes of each */

struct rig_frame {
	uint32_t len;
	uint16_t vid;
	struct nethdr hdr;
	uint8_t bytes[RIG_PREFIX];
};

struct rig_port {
	struct sw_port port;
	struct rig *rig;
	unsigned n_call; /* of egress */
	unsigned n;      /* frames got, those not written down, too */
	struct rig_frame got[RIG_KEPT];
	unsigned n_carrier; /* calls, and what the last one said */
	bool carrier;
};

struct rig {
	struct sw sw;
	struct rig_port p[RIG_PORTS];
	uint64_t now_ns; /* what sw.clock_ns says */
};

/* p0 ... p5, all up. */
void rig_up(struct rig *r);
/* Also tells that no buffer is in use any more. */
void rig_down(struct rig *r);

/* Forget what was written down. */
void rig_clear(struct rig *r);

/* Put an access port, a trunk (vids ended by 0; native 0: none) or a plain port there. */
void rig_access(struct rig *r, unsigned port, uint16_t vid);
void rig_trunk(struct rig *r, unsigned port, uint16_t native, const uint16_t *vids);

/* One burst of one frame: the bytes in pieces of `piece` bytes (0: in one). */
void rig_send_pieces(struct rig *r, unsigned port, const void *bytes, uint32_t len, uint32_t piece,
		     const struct nethdr *hdr);
void rig_send(struct rig *r, unsigned port, const void *bytes, uint32_t len);

/* Make a frame: Ethernet header to dst and from src (numbers, as fdb_key()), then n tags (TPID << 16 | TCI),
 * type 0x88b5 and `payload` bytes that count up.  Returns its length. */
uint32_t rig_frame(uint8_t *to, uint64_t dst, uint64_t src, const uint32_t *tags, unsigned n,
		   uint32_t payload);

/* Send such a frame with one tag (VID and priority bits; RIG_UNTAGGED: none) and 46 bytes of payload. */
#define RIG_UNTAGGED (-1)
void rig_say(struct rig *r, unsigned port, uint64_t dst, uint64_t src, int tci);

/* How many frames each port has got since rig_clear(), as a text: "0,1,0,0,2,0". */
const char *rig_tally(const struct rig *r);

#define rig_expect(r, text)                                \
	do {                                               \
		assert_string_equal(rig_tally(r), (text)); \
		rig_clear(r);                              \
	} while (0)

/* The TCI of a frame got, or -1: no tag of type 0x8100. */
int rig_tci(const struct rig_frame *f);

/* A frame that came in is in exactly one of: given to somebody, flooded, or a drop counter. */
uint64_t rig_ingress_drops(const struct sw_port *p);

#endif
