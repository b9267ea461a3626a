/* SPDX-License-Identifier: MIT */
/* Blocks of a pcapng file (IETF draft-ietf-opsawg-pcapng), in the byte order of this machine, into memory of the caller.
 *
 * A file is: one section header, an interface description for each port, then packets and, last of all, statistics.
 * Timestamps are nanoseconds since 1970 (if_tsresol 9).
 *
 * Every function appends one block to a buffer and expects room for it: pcapng_room_for() says how much that may be.
 *
 * Threads: pure functions. */
#ifndef NET_PCAPNG_H
#define NET_PCAPNG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Longest text of an option: longer ones are cut, at a character. */
#define PCAPNG_TEXT_MAX 1024

/* Bytes of any block without a packet: five texts at most, and numbers. */
#define PCAPNG_BLOCK_MAX 8192

/* Bytes of a packet's block beyond its data: header, padding, options, trailer. */
#define PCAPNG_PACKET_OVERHEAD 64

struct pcapng {
	uint8_t *bytes;
	size_t len, size;
};

/* epb_flags: the direction, seen from the switch. */
#define PCAPNG_INBOUND  1
#define PCAPNG_OUTBOUND 2

/* The section's header; comment may be NULL. */
void pcapng_section(struct pcapng *out, const char *program, const char *os, const char *comment);

/* An Ethernet interface; they are numbered from 0 in the order of this call.  snaplen 0: no limit.  description and
 * filter may be NULL. */
void pcapng_interface(struct pcapng *out, const char *name, const char *description,
		      const char *filter, uint32_t snaplen);

/* The block of a packet of which cap_len of len bytes are recorded; returns where those bytes go. */
uint8_t *pcapng_packet(struct pcapng *out, uint32_t interface, uint64_t time_ns, uint32_t cap_len,
		       uint32_t len, uint32_t direction);

struct pcapng_statistics {
	uint64_t start_ns, end_ns;
	uint64_t received; /* packets that passed the filter */
	uint64_t dropped;  /* of these, what found no room */
};

void pcapng_statistics(struct pcapng *out, uint32_t interface, const struct pcapng_statistics *s);

/* The length of the longest row of whole blocks within the first n bytes, which begin with a block. */
size_t pcapng_whole(const uint8_t *bytes, size_t n);

#endif
