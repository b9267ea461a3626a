/* SPDX-License-Identifier: MIT */
#include "ports.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base.h"

/* What follows a port's 8 digits in its GUID. */
#define GUID_TAIL       "-facb-11e6-bd58-64006a7986d3"
#define GUID_PORT_CHARS 8

static const struct {
	const char *name;
	uint32_t offset;
} profile[] = {
#define X(name, offset) { #name, offset },
	PORTS_PROFILE(X)
#undef X
};

int ports_from_number(const char *text, size_t len, uint32_t *ret_port)
{
	uint64_t n = 0;

	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		n = n * 10 + (uint64_t)(text[i] - '0');
		if (n > UINT32_MAX)
			return -EINVAL;
	}
	*ret_port = (uint32_t)n;
	return 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20); /* lower case */
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hyphens behind 8, 12, 16 and 20 of the 32 digits. */
static bool is_guid(const char *text, size_t len)
{
	if (len != PORTS_GUID_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (hyphen ? text[i] != '-' : hex_value(text[i]) < 0)
			return false;
	}
	return true;
}

int ports_from_guid(const char *text, size_t len, uint32_t *ret_port)
{
	uint32_t port = 0;

	if (!is_guid(text, len))
		return -EINVAL;
	if (strncasecmp(text + GUID_PORT_CHARS, GUID_TAIL, strlen(GUID_TAIL)) != 0)
		return -ENOENT;
	for (size_t i = 0; i < GUID_PORT_CHARS; i++)
		port = port << 4 | (uint32_t)hex_value(text[i]);
	*ret_port = port;
	return 0;
}

void ports_guid(uint32_t port, char ret_guid[PORTS_GUID_LEN + 1])
{
	(void)snprintf(ret_guid, PORTS_GUID_LEN + 1, "%08x" GUID_TAIL, port);
}

/* GUID_TAIL in memory: two more little-endian fields, then bytes in order. */
static const uint8_t guid_tail[PORTS_GUID_SIZE - sizeof(uint32_t)] = { 0xcb, 0xfa, 0xe6, 0x11,
								       0xbd, 0x58, 0x64, 0x00,
								       0x6a, 0x79, 0x86, 0xd3 };

void ports_guid_bytes(uint32_t port, uint8_t ret_guid[PORTS_GUID_SIZE])
{
	const uint32_t first = htole32(port);

	memcpy(ret_guid, &first, sizeof(first));
	memcpy(ret_guid + sizeof(first), guid_tail, sizeof(guid_tail));
}

int ports_from_guid_bytes(const uint8_t guid[PORTS_GUID_SIZE], uint32_t *ret_port)
{
	uint32_t first;

	if (memcmp(guid + sizeof(first), guid_tail, sizeof(guid_tail)) != 0)
		return -ENOENT;
	memcpy(&first, guid, sizeof(first));
	*ret_port = le32toh(first);
	return 0;
}

const char *ports_name(uint32_t base, uint32_t port)
{
	for (size_t i = 0; i < array_size(profile); i++)
		if (port >= base && port - base == profile[i].offset)
			return profile[i].name;
	return NULL;
}

int ports_parse(uint32_t base, const char *text, uint32_t *ret_port)
{
	size_t len = strlen(text);

	if (ports_from_number(text, len, ret_port) == 0 ||
	    ports_from_guid(text, len, ret_port) == 0)
		return 0;
	for (size_t i = 0; i < array_size(profile); i++) {
		if (strcasecmp(text, profile[i].name) == 0) {
			*ret_port = base + profile[i].offset;
			return 0;
		}
	}
	return -EINVAL;
}
