/* SPDX-License-Identifier: MIT */
/* CRC-32C, the polynomial of iSCSI, bit by bit: for heads of a few hundred bytes that are looked at once, by the daemon and
 * by its clients alike.
 */
#ifndef PORTAL_CRC32C_H
#define PORTAL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t crc32c(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

#endif
