/* SPDX-License-Identifier: MIT */
/* The names of a port: a number, a GUID, a word.
 *
 * virtio-vsock numbers its ports.  Hyper-V sockets name services by GUID, and hold one GUID for each number:
 * `<port as 8 hex digits>-facb-11e6-bd58-64006a7986d3`.  Whoever addresses a guest from the host may use either.
 *
 * Six ports in a row have words, as WSL uses them; they begin at a base that the operator may move (the daemon's
 * "ports-base").  Words stand in forwards and listings.  In a CONNECT line they do not: there the words are those of
 * firecracker, which knows numbers alone, and of OpenVMM, which added GUIDs.
 *
 * Pure: no system calls, no allocation. */
#ifndef HV_PORTS_H
#define HV_PORTS_H

#include <stddef.h>
#include <stdint.h>

#define PORTS_GUID_LEN     36 /* characters, without the terminator */
#define PORTS_BASE_DEFAULT 50000

/* X(WORD, offset from the base) */
#define PORTS_PROFILE(X)  \
	X(INIT, 0)        \
	X(PLAN9, 1)       \
	X(PLAN9_DRVFS, 2) \
	X(DRVFS_ADMIN, 3) \
	X(VIRTIOFS, 4)    \
	X(CRASH_DUMP, 5)

/* The highest base with which all words have a port; VMADDR_PORT_ANY (the highest number) is none. */
#define PORTS_BASE_MAX (UINT32_MAX - 1 - 5)

/* Decimal digits that make a number up to 4294967295, and nothing else.  -EINVAL. */
int ports_from_number(const char *text, size_t len, uint32_t *ret_port);

/* A GUID, its hex digits in either case.  -EINVAL: it is none; -ENOENT: it is one, but no port's. */
int ports_from_guid(const char *text, size_t len, uint32_t *ret_port);

/* The GUID of a port, in lower case. */
void ports_guid(uint32_t port, char ret_guid[PORTS_GUID_LEN + 1]);

/* A GUID as it lies in memory: the port in the first four bytes, little-endian. */
#define PORTS_GUID_SIZE 16

void ports_guid_bytes(uint32_t port, uint8_t ret_guid[PORTS_GUID_SIZE]);
/* -ENOENT: it is no port's. */
int ports_from_guid_bytes(const uint8_t guid[PORTS_GUID_SIZE], uint32_t *ret_port);

/* The word for a port, or NULL. */
const char *ports_name(uint32_t base, uint32_t port);

/* A number, a GUID or a word (in either case).  -EINVAL. */
int ports_parse(uint32_t base, const char *text, uint32_t *ret_port);

#endif
