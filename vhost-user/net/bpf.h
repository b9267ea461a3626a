/* SPDX-License-Identifier: MIT */
/* Filters in the language of pcap-filter(7), through libpcap: this is the one file that knows it.
 *
 * Compiling never asks a name service, which could take seconds and needs files and sockets that the daemon has not:
 * a word that is none of the language's is refused.  Addresses and ports are given as numbers.
 *
 * Trust:   expressions are an operator's.  What they compile to is bounded and cannot loop.
 * Threads: compile in one at a time (libpcap's compiler has globals in old versions); matching anywhere. */
#ifndef NET_BPF_H
#define NET_BPF_H

#include <stdbool.h>
#include <stdint.h>

#define BPF_TEXT_MAX 1024 /* bytes of an expression */

#define BPF_WHY_MAX 256

struct bpf;

/* 0; -EINVAL and *why what is wrong with it; -ENOMEM. */
int bpf_new(const char *text, struct bpf **ret, char why[BPF_WHY_MAX]);

/* NULL is fine. */
void bpf_free(struct bpf *b);

/* Does it hold for a frame of wire_len bytes, from its destination address on, the first len of which are here?  What
 * looks beyond them does not hold. */
bool bpf_matches(const struct bpf *b, const uint8_t *bytes, uint32_t len, uint32_t wire_len);

#endif
