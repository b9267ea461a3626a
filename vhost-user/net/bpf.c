/* SPDX-License-Identifier: MIT */
#include "bpf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pcap/pcap.h>

#include "base.h"
#include "port.h"

struct bpf {
	struct bpf_program program;
};

/* The words of pcap-filter(7) that make sense on Ethernet. */
static const char *const words[] = {
	"src",
	"dst",
	"host",
	"net",
	"port",
	"portrange",
	"mask",
	"ether",
	"ip",
	"ip6",
	"arp",
	"rarp",
	"tcp",
	"udp",
	"icmp",
	"icmp6",
	"igmp",
	"igrp",
	"pim",
	"ah",
	"esp",
	"vrrp",
	"carp",
	"sctp",
	"proto",
	"protochain",
	"broadcast",
	"multicast",
	"less",
	"greater",
	"len",
	"vlan",
	"mpls",
	"pppoed",
	"pppoes",
	"geneve",
	"llc",
	"stp",
	"ipx",
	"netbeui",
	"iso",
	"clnp",
	"esis",
	"isis",
	"and",
	"or",
	"not",
	"tcpflags",
	"tcp-fin",
	"tcp-syn",
	"tcp-rst",
	"tcp-push",
	"tcp-ack",
	"tcp-urg",
	"tcp-ece",
	"tcp-cwr",
	"icmptype",
	"icmpcode",
	"icmp6type",
	"icmp6code",
	"icmp-echo",
	"icmp-echoreply",
	"icmp-unreach",
	"icmp-timxceed",
	"icmp-redirect",
	"icmp6-echo",
	"icmp6-echoreply",
	"icmp6-neighborsolicit",
	"icmp6-neighboradvert",
	"icmp6-routersolicit",
	"icmp6-routeradvert",
};

static bool is_word(const char *text, size_t len)
{
	for (unsigned i = 0; i < array_size(words); i++)
		if (strlen(words[i]) == len && memcmp(words[i], text, len) == 0)
			return true;
	return false;
}

/* A MAC or an IPv6 address, or a number. */
static bool is_number(const char *text, size_t len)
{
	bool colon = memchr(text, ':', len) != NULL;

	if (isdigit((unsigned char)text[0]) && !colon)
		return true; /* or a mistake, which needs no name service to be found */
	for (size_t i = 0; i < len; i++)
		if (!isxdigit((unsigned char)text[i]) && text[i] != ':' && text[i] != '.')
			return false;
	return colon;
}

/* The first word that libpcap would have to look up; NULL: none.  A name with a digit in front is none: such an
 * expression does not parse, or is a number. */
static const char *find_name(const char *text, size_t *ret_len)
{
	while (*text) {
		size_t len = 0;

		while (isalnum((unsigned char)text[len]) ||
		       (text[len] != '\0' && strchr("_.:-", text[len])))
			len++;
		/* An operator, or "tcp[4:2]": single characters are never names. */
		if (len > 1 && !is_word(text, len) && !is_number(text, len)) {
			*ret_len = len;
			return text;
		}
		text += len ? len : 1;
	}
	return NULL;
}

static int compile(pcap_t *pcap, const char *text, struct bpf *b, char why[BPF_WHY_MAX])
{
	if (pcap_compile(pcap, &b->program, text, 1, PCAP_NETMASK_UNKNOWN) < 0) {
		(void)snprintf(why, BPF_WHY_MAX, "%.*s", BPF_WHY_MAX - 1, pcap_geterr(pcap));
		return -EINVAL;
	}
	return 0;
}

int bpf_new(const char *text, struct bpf **ret, char why[BPF_WHY_MAX])
{
	struct bpf *b;
	pcap_t *pcap;
	size_t len;
	const char *name = find_name(text, &len);
	int r;

	if (name || strlen(text) > BPF_TEXT_MAX) {
		if (name)
			(void)snprintf(why, BPF_WHY_MAX, "\"%.*s\": names are not looked up",
				       (int)min(len, (size_t)64), name);
		else
			(void)snprintf(why, BPF_WHY_MAX, "longer than %d bytes", BPF_TEXT_MAX);
		return -EINVAL;
	}
	b = calloc(1, sizeof(*b));
	pcap = b ? pcap_open_dead(DLT_EN10MB, SW_FRAME_MAX) : NULL;
	if (!pcap) {
		free(b);
		return -ENOMEM;
	}
	r = compile(pcap, text, b, why);
	pcap_close(pcap);
	if (r < 0)
		free(b);
	else
		*ret = b;
	return r;
}

void bpf_free(struct bpf *b)
{
	if (!b)
		return;
	pcap_freecode(&b->program);
	free(b);
}

bool bpf_matches(const struct bpf *b, const uint8_t *bytes, uint32_t len, uint32_t wire_len)
{
	return bpf_filter(b->program.bf_insns, bytes, wire_len, len) != 0;
}
