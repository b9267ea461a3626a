/* SPDX-License-Identifier: MIT */
#include "pcapng.h"

#include <assert.h>
#include <string.h>

#include "base.h"

#define BLOCK_SECTION    0x0a0d0d0a
#define BLOCK_INTERFACE  1
#define BLOCK_STATISTICS 5
#define BLOCK_PACKET     6

#define BYTE_ORDER_MAGIC  0x1a2b3c4d
#define VERSION_MAJOR     1
#define VERSION_MINOR     0
#define LINKTYPE_ETHERNET 1

enum option {
	OPT_END = 0,
	OPT_COMMENT = 1,
	SHB_OS = 3,
	SHB_USERAPPL = 4,
	IF_NAME = 2,
	IF_DESCRIPTION = 3,
	IF_TSRESOL = 9,
	IF_FILTER = 11,
	EPB_FLAGS = 2,
	ISB_STARTTIME = 2,
	ISB_ENDTIME = 3,
	ISB_IFRECV = 4,
	ISB_IFDROP = 5,
};

static void put(struct pcapng *out, const void *bytes, size_t len)
{
	static const uint8_t zeros[3];
	size_t pad = -len & 3;

	assert(len + pad <= out->size - out->len);
	memcpy(out->bytes + out->len, bytes, len);
	memcpy(out->bytes + out->len + len, zeros, pad);
	out->len += len + pad;
}

static void put_u32(struct pcapng *out, uint32_t value)
{
	put(out, &value, sizeof(value));
}

static void put_u16s(struct pcapng *out, uint16_t a, uint16_t b)
{
	const uint16_t both[2] = { a, b };

	put(out, both, sizeof(both));
}

static void put_u64(struct pcapng *out, uint64_t value)
{
	put(out, &value, sizeof(value));
}

/* High half first, whatever the byte order: as times are stored. */
static void put_time(struct pcapng *out, uint64_t ns)
{
	put_u32(out, (uint32_t)(ns >> 32));
	put_u32(out, (uint32_t)ns);
}

static void put_option(struct pcapng *out, enum option code, const void *value, size_t len)
{
	put_u16s(out, (uint16_t)code, (uint16_t)len);
	put(out, value, len);
}

/* Bytes of a text to be kept: a UTF-8 character is not cut in two. */
static size_t text_len(const char *text)
{
	size_t n = strnlen(text, PCAPNG_TEXT_MAX + 1);

	if (n <= PCAPNG_TEXT_MAX)
		return n;
	for (n = PCAPNG_TEXT_MAX; n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80;)
		n--;
	return n;
}

static void put_text(struct pcapng *out, enum option code, const char *text)
{
	if (text)
		put_option(out, code, text, text_len(text));
}

static void put_number(struct pcapng *out, enum option code, uint64_t value)
{
	put_u16s(out, (uint16_t)code, sizeof(value));
	put_u64(out, value);
}

/* Begin a block; returns where its length goes. */
static size_t begin(struct pcapng *out, uint32_t type)
{
	size_t at = out->len;

	put_u32(out, type);
	put_u32(out, 0);
	return at;
}

static void end(struct pcapng *out, size_t at)
{
	uint32_t len = (uint32_t)(out->len - at) + 4;

	put_u32(out, len);
	memcpy(out->bytes + at + 4, &len, sizeof(len));
}

static void end_options(struct pcapng *out, size_t at)
{
	put_u16s(out, OPT_END, 0);
	end(out, at);
}

void pcapng_section(struct pcapng *out, const char *program, const char *os, const char *comment)
{
	size_t at = begin(out, BLOCK_SECTION);

	put_u32(out, BYTE_ORDER_MAGIC);
	put_u16s(out, VERSION_MAJOR, VERSION_MINOR);
	put_u64(out, UINT64_MAX); /* the section's length is not known yet */
	put_text(out, OPT_COMMENT, comment);
	put_text(out, SHB_OS, os);
	put_text(out, SHB_USERAPPL, program);
	end_options(out, at);
}

void pcapng_interface(struct pcapng *out, const char *name, const char *description,
		      const char *filter, uint32_t snaplen)
{
	const uint8_t nanoseconds = 9;
	size_t at = begin(out, BLOCK_INTERFACE);

	put_u16s(out, LINKTYPE_ETHERNET, 0);
	put_u32(out, snaplen);
	put_text(out, IF_NAME, name);
	put_text(out, IF_DESCRIPTION, description);
	put_option(out, IF_TSRESOL, &nanoseconds, 1);
	if (filter) {
		char text[1 + PCAPNG_TEXT_MAX] = { 0 }; /* a zero in front: a filter of libpcap's */
		size_t n = text_len(filter);

		memcpy(text + 1, filter, n);
		put_option(out, IF_FILTER, text, n + 1);
	}
	end_options(out, at);
}

uint8_t *pcapng_packet(struct pcapng *out, uint32_t interface, uint64_t time_ns, uint32_t cap_len,
		       uint32_t len, uint32_t direction)
{
	size_t at = begin(out, BLOCK_PACKET), data;

	put_u32(out, interface);
	put_time(out, time_ns);
	put_u32(out, cap_len);
	put_u32(out, len);
	data = out->len;
	assert(cap_len + 3 <= out->size - out->len);
	memset(out->bytes + data + cap_len, 0, -cap_len & 3);
	out->len += cap_len + (-cap_len & 3);
	put_option(out, EPB_FLAGS, &direction, sizeof(direction));
	end_options(out, at);
	return out->bytes + data;
}

void pcapng_statistics(struct pcapng *out, uint32_t interface, const struct pcapng_statistics *s)
{
	size_t at = begin(out, BLOCK_STATISTICS);

	put_u32(out, interface);
	put_time(out, s->end_ns);
	put_u16s(out, ISB_STARTTIME, sizeof(uint64_t));
	put_time(out, s->start_ns);
	put_u16s(out, ISB_ENDTIME, sizeof(uint64_t));
	put_time(out, s->end_ns);
	put_number(out, ISB_IFRECV, s->received);
	put_number(out, ISB_IFDROP, s->dropped);
	end_options(out, at);
}

size_t pcapng_whole(const uint8_t *bytes, size_t n)
{
	size_t at = 0;
	uint32_t len;

	while (n - at >= 8) {
		memcpy(&len, bytes + at + 4, sizeof(len));
		if (len > n - at)
			break;
		at += len;
	}
	return at;
}
