/* SPDX-License-Identifier: MIT */
/* The table of fields.h: networks, uplinks, NICs, and what a network does besides joining them. */
#include "model/fields_net.h"

#include "model/lab.h"

#define TEXT_MAX   1024
#define PATH_BYTES 4095 /* PATH_MAX without its NUL */
#define WORDS_MAX  64   /* names that libslirp, the kernel and VDE take are shorter */

#define SECOND_NS 1000000000ull

/* --- what a NIC and an uplink have in common ------------------------------------------------------------------------ */

static const struct field trunk_choices[] = {
	{ .key = "list", .kind = FIELD_COUNTS, .min = 1, .max = LAB_VLAN_MAX },
	{ .key = "all", .kind = FIELD_WORD, .words = (const char *const[]){ "all", NULL } },
	{},
};

static const struct field vlan_fields[] = {
	{ .key = "access",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = LAB_VLAN_MAX,
	  .brief =
		  "The VLAN it is in: what it sends and gets has no tag. The same as the number in place of the object." },
	{ .key = "tunnel",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = LAB_VLAN_MAX,
	  .brief = "The same, but its own tags pass inside (QinQ)." },
	{ .key = "trunk",
	  .kind = FIELD_EITHER,
	  .choices = trunk_choices,
	  .brief = "The VLANs it is in with tags: a list, or `all`." },
	{ .key = "native",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = LAB_VLAN_MAX,
	  .brief = "On a trunk: the VLAN of what has no tag. Without it such frames are dropped." },
	{},
};

const struct field_object field_vlan = {
	.name = "vlan",
	.brief = "How a link takes part in VLANs: one of `access`, `tunnel` and `trunk`.",
	.fields = vlan_fields,
};

static const struct field sides_fields[] = {
	{ .key = "to-guest",
	  .kind = FIELD_NAME,
	  .brief = "Of what goes to the guest (on an uplink: out of the lab)." },
	{ .key = "from-guest",
	  .kind = FIELD_NAME,
	  .brief = "Of what comes from the guest (on an uplink: into the lab)." },
	{},
};

const struct field_object field_sides = {
	.name = "sides",
	.brief = "A name for each direction of a link; a direction that is not said has none.",
	.fields = sides_fields,
};

static const struct field name_or_sides[] = {
	{ .key = "name", .kind = FIELD_NAME },
	{ .key = "sides", .kind = FIELD_OBJECT, .object = &field_sides },
	{},
};

static const struct field vlan_choices[] = {
	{ .key = "number", .kind = FIELD_COUNT, .min = 1, .max = LAB_VLAN_MAX },
	{ .key = "object", .kind = FIELD_OBJECT, .object = &field_vlan },
	{},
};

static const struct field moment_fields[] = {
	{ .key = "at",
	  .kind = FIELD_DELAY,
	  .required = true,
	  .max = LAB_TIMELINE_MAX_S * SECOND_NS,
	  .member = "at-ns",
	  .brief = "When, from the start of the timeline." },
	{ .key = "set",
	  .kind = FIELD_OBJECT,
	  .required = true,
	  .object = &field_impair,
	  .brief = "What changes then; what it does not name stays as it is." },
	{},
};

const struct field_object field_moment = {
	.name = "moment",
	.brief = "A change of a link's impairment at a time.",
	.fields = moment_fields,
};

#define LINK_FIELDS                                                                                               \
	{ .key = "vlan",                                                                                          \
	  .kind = FIELD_EITHER,                                                                                   \
	  .choices = vlan_choices,                                                                                \
	  .unsaid = "tags pass as they are",                                                                      \
	  .brief = "The VLAN it is in, or more about that." },                                                    \
		{ .key = "isolated",                                                                              \
		  .kind = FIELD_FLAG,                                                                             \
		  .unsaid = "false",                                                                              \
		  .brief = "Exchange nothing with other isolated links." },                                       \
		{ .key = "profile",                                                                               \
		  .kind = FIELD_EITHER,                                                                           \
		  .choices = name_or_sides,                                                                       \
		  .unsaid = "default",                                                                            \
		  .brief =                                                                                        \
			  "Name of the impairment it has: built in, or one from `profiles`; one, or one for "     \
			  "each direction." },                                                                    \
		{ .key = "impair",                                                                                \
		  .kind = FIELD_OBJECT,                                                                           \
		  .object = &field_impair,                                                                        \
		  .brief =                                                                                        \
			  "What the link does to frames, beyond or instead of what its profile says." },          \
		{ .key = "qos",                                                                                   \
		  .kind = FIELD_EITHER,                                                                           \
		  .choices = name_or_sides,                                                                       \
		  .brief = "Name of a policy from `qos`; one, or one for each direction." },                      \
		{ .key = "timeline",                                                                              \
		  .kind = FIELD_LIST,                                                                             \
		  .max = LAB_MOMENTS_MAX,                                                                         \
		  .object = &field_moment,                                                                        \
		  .brief =                                                                                        \
			  "Changes of its impairment in the course of time, in order of `at`, from its start." }, \
	{                                                                                                         \
		.key = "timeline-repeat", .kind = FIELD_DELAY, .min = 1000000,                                    \
		.max = LAB_TIMELINE_MAX_S * SECOND_NS, .unsaid = "it is gone through once",                       \
		.brief = "Begin the timeline anew after that time."                                               \
	}

static const struct field nic_fields[] = {
	{ .key = "network",
	  .kind = FIELD_NAME,
	  .unsaid = "the only network of the lab",
	  .brief = "Name of the network it is plugged into." },
	{ .key = "ip",
	  .kind = FIELD_IP,
	  .unsaid = "the next free address of the subnet, from the tenth on",
	  .brief = "IPv4 address, inside the network's subnet." },
	{ .key = "mac",
	  .kind = FIELD_MAC,
	  .unsaid = "derived from the names of lab and VM",
	  .brief = "Ethernet address, six pairs of hexadecimal digits: `52:54:00:12:34:56`." },
	{ .key = "queues",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = LAB_QUEUES_MAX,
	  .unsaid = "1",
	  .brief = "Number of queue pairs." },
	{ .key = "offloads",
	  .kind = FIELD_FLAG,
	  .unsaid = "true",
	  .brief =
		  "Let the guest leave checksums and segmentation to the switch, which does them only where they are "
		  "needed." },
	LINK_FIELDS,
	{},
};

const struct field_object field_nic = {
	.name = "nic",
	.brief = "A network interface: `eth0` is the first in the list, `eth1` the second.",
	.fields = nic_fields,
};

/* --- uplinks -------------------------------------------------------------------------------------------------------- */

static const char *const uplink_words[] = {
#define X(id, word) word,
	UPLINK_TYPES(X)
#undef X
		NULL,
};

static const struct field uplink_fields[] = {
	{ .key = "type",
	  .kind = FIELD_WORD,
	  .required = true,
	  .words = uplink_words,
	  .brief =
		  "What it leads to: `nat` (the host's network, by addresses of the host), `tap` (a device of the "
		  "host), `vde`, `stream` and `dgram` (QEMU's socket netdevs), `vxlan` (labs on other hosts)." },
	{ .key = "gateway",
	  .kind = FIELD_IP,
	  .unsaid = "the subnet's first with nat, else none",
	  .brief =
		  "Address by which guests leave the network: their default route. With `nat` nobody else has it." },
	{ .key = "dns",
	  .kind = FIELD_IP,
	  .unsaid = "the subnet's last with nat, else none",
	  .brief =
		  "Address of the name server that guests are told. With `nat` it knows the lab's VMs, and nobody else "
		  "has its address." },
	{ .key = "forward",
	  .kind = FIELD_TEXTS,
	  .max = LAB_FORWARDS_MAX,
	  .brief =
		  "`nat`: ports of the host that lead into VMs, each `PROTOCOL:ADDRESS:PORT:VM:PORT`, as in "
		  "`tcp:127.0.0.1:2222:n1:22`." },
	{ .key = "domain",
	  .kind = FIELD_NAME,
	  .unsaid = "lab",
	  .brief = "`nat`: domain of the VMs' names." },
	{ .key = "restricted",
	  .kind = FIELD_FLAG,
	  .unsaid = "false",
	  .brief = "`nat`: nothing but addresses, names of the lab, and forwards." },
	{ .key = "host-loopback",
	  .kind = FIELD_FLAG,
	  .unsaid = "false",
	  .brief = "`nat`: the gateway's address is the host's 127.0.0.1." },
	{ .key = "ifname",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = 15,
	  .brief = "`tap`: name of the device." },
	{ .key = "create",
	  .kind = FIELD_FLAG,
	  .unsaid = "false",
	  .brief = "`tap`: make the device if it is not there, which takes privileges." },
	{ .key = "switch",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = PATH_BYTES,
	  .brief = "`vde`: directory of a vde_switch's socket, or one of libvdeplug's networks." },
	{ .key = "switch-port",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = 65535,
	  .unsaid = "any",
	  .brief = "`vde`: port of the vde_switch." },
	{ .key = "socket-path",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = NAMES_SOCKET_PATH_MAX,
	  .brief = "`stream`: path of a Unix socket." },
	{ .key = "address",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = WORDS_MAX,
	  .brief = "`stream`: TCP instead, as in `127.0.0.1:1234`." },
	{ .key = "client",
	  .kind = FIELD_FLAG,
	  .unsaid = "false",
	  .brief = "`stream`: connect instead of listening." },
	{ .key = "local",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = NAMES_SOCKET_PATH_MAX,
	  .brief = "`dgram`, `vxlan`: where it receives." },
	{ .key = "remote",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = NAMES_SOCKET_PATH_MAX,
	  .brief = "`dgram`: where it sends." },
	{ .key = "vni",
	  .kind = FIELD_COUNT,
	  .max = (1 << 24) - 1,
	  .brief = "`vxlan`: number of the network, the same on all hosts." },
	{ .key = "peers",
	  .kind = FIELD_TEXTS,
	  .min = 1,
	  .max = 64,
	  .brief = "`vxlan`: addresses of the other hosts." },
	{ .key = "underlay-mtu",
	  .kind = FIELD_COUNT,
	  .min = 576,
	  .max = 65535,
	  .unsaid = "as the kernel says",
	  .brief = "`vxlan`: how long a datagram between the hosts may be." },
	LINK_FIELDS,
	{},
};

const struct field_object field_uplink = {
	.name = "uplink",
	.brief =
		"A way out of the network. Its name as a link is its type, with `-2`, `-3` where there are several.",
	.fields = uplink_fields,
};

/* --- what a network does besides ------------------------------------------------------------------------------------ */

static const char *const mirror_words[] = { "in", "out", "both", NULL };

static const struct field mirror_fields[] = {
	{ .key = "name", .kind = FIELD_NAME, .required = true, .brief = "What it is called." },
	{ .key = "from",
	  .kind = FIELD_LINKS,
	  .required = true,
	  .min = 1,
	  .max = LAB_LINKS_MAX,
	  .brief = "The links whose frames are shown." },
	{ .key = "to",
	  .kind = FIELD_LINK,
	  .required = true,
	  .brief = "The link they are shown to." },
	{ .key = "direction",
	  .kind = FIELD_WORD,
	  .words = mirror_words,
	  .unsaid = "both",
	  .brief = "Which frames: `in` (into the switch, from the guest), `out`, or `both`." },
	{},
};

const struct field_object field_mirror = {
	.name = "mirror",
	.brief = "Show one link what passes others.",
	.fields = mirror_fields,
};

static const struct field ethertype_choices[] = {
	{ .key = "number", .kind = FIELD_COUNT, .min = 0x600, .max = 0xffff },
	{ .key = "word",
	  .kind = FIELD_WORD,
	  .words = (const char *const[]){ "ipv4", "arp", "ipv6", NULL } },
	{},
};

static const struct field protocol_choices[] = {
	{ .key = "number", .kind = FIELD_COUNT, .max = 255 },
	{ .key = "word",
	  .kind = FIELD_WORD,
	  .words = (const char *const[]){ "icmp", "tcp", "udp", "icmpv6", NULL } },
	{},
};

static const struct field match_fields[] = {
	{ .key = "src", .kind = FIELD_MAC, .brief = "Ethernet address of the sender." },
	{ .key = "dst", .kind = FIELD_MAC, .brief = "Ethernet address of the receiver." },
	{ .key = "vlan", .kind = FIELD_COUNT, .min = 1, .max = LAB_VLAN_MAX, .brief = "VLAN." },
	{ .key = "pcp", .kind = FIELD_COUNT, .max = 7, .brief = "Priority in the VLAN tag." },
	{ .key = "dscp", .kind = FIELD_COUNT, .max = 63, .brief = "Class in the IP header." },
	{ .key = "ethertype",
	  .kind = FIELD_EITHER,
	  .choices = ethertype_choices,
	  .brief = "What the frame carries: `ipv4`, `arp`, `ipv6`, or a number." },
	{ .key = "protocol",
	  .kind = FIELD_EITHER,
	  .choices = protocol_choices,
	  .brief = "What the packet carries: `icmp`, `tcp`, `udp`, `icmpv6`, or a number." },
	{ .key = "port",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = 65535,
	  .brief = "TCP or UDP port at either end." },
	{ .key = "bpf",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = TEXT_MAX,
	  .brief = "A filter as of tcpdump." },
	{},
};

const struct field_object field_match = {
	.name = "match",
	.brief = "Which frames: those for which everything that is said holds.",
	.fields = match_fields,
};

static const struct field rule_fields[] = {
	{ .key = "name", .kind = FIELD_NAME, .required = true, .brief = "What it is called." },
	{ .key = "in", .kind = FIELD_LINK, .brief = "Only what comes in at this link." },
	{ .key = "out", .kind = FIELD_LINK, .brief = "Only what goes out at this link." },
	{ .key = "match",
	  .kind = FIELD_OBJECT,
	  .object = &field_match,
	  .brief = "Only such frames." },
	{},
};

const struct field_object field_rule = {
	.name = "rule",
	.brief = "Impairment between two links, or of some frames only.",
	.fields = rule_fields,
	.also = &field_impairment,
};

static const struct field storm_fields[] = {
	{ .key = "broadcast",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = 1000000000,
	  .member = "broadcast-pps",
	  .brief = "Broadcasts a second." },
	{ .key = "multicast",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = 1000000000,
	  .member = "multicast-pps",
	  .brief = "Multicasts a second." },
	{ .key = "unknown",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = 1000000000,
	  .member = "unknown-pps",
	  .brief = "Frames a second to stations that nobody knows." },
	{},
};

const struct field_object field_storm = {
	.name = "storm",
	.brief = "How much each link may make the switch flood.",
	.fields = storm_fields,
};

static const struct field capture_fields[] = {
	{ .key = "name", .kind = FIELD_NAME, .required = true, .brief = "What it is called." },
	{ .key = "links",
	  .kind = FIELD_LINKS,
	  .min = 1,
	  .max = LAB_LINKS_MAX,
	  .unsaid = "all of the network",
	  .brief = "The links whose frames are written." },
	{ .key = "file",
	  .kind = FIELD_TEXT,
	  .required = true,
	  .min = 1,
	  .max = PATH_BYTES,
	  .brief =
		  "Path of the pcapng file; a relative one starts at the directory of the lab file." },
	{ .key = "direction",
	  .kind = FIELD_WORD,
	  .words = mirror_words,
	  .unsaid = "both",
	  .brief = "Which frames: `in` (into the switch, from the guest), `out`, or `both`." },
	{ .key = "snaplen",
	  .kind = FIELD_COUNT,
	  .min = 14,
	  .max = 262144,
	  .unsaid = "all",
	  .brief = "Bytes kept of a frame." },
	{ .key = "filter",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = TEXT_MAX,
	  .brief = "A filter as of tcpdump." },
	{ .key = "rotate",
	  .kind = FIELD_BYTES,
	  .min = 65536,
	  .max = 1ull << 50,
	  .member = "rotate-bytes",
	  .brief = "Begin another file when this one is so large." },
	{ .key = "files",
	  .kind = FIELD_COUNT,
	  .min = 2,
	  .max = 1000,
	  .unsaid = "10",
	  .brief = "How many files are kept where they are rotated." },
	{},
};

const struct field_object field_capture = {
	.name = "capture",
	.brief = "Write what passes some links to a file, as long as the lab runs.",
	.fields = capture_fields,
};

static const struct field network_fields[] = {
	{ .key = "subnet",
	  .kind = FIELD_SUBNET,
	  .min = 8,
	  .max = 30,
	  .unsaid = "the next free one of 192.168.100.0/24, 192.168.101.0/24, …",
	  .brief =
		  "IPv4 subnet of the network, as `ADDRESS/PREFIX`. Subnets of one lab do not overlap." },
	{ .key = "mtu",
	  .kind = FIELD_COUNT,
	  .min = LAB_MTU_MIN,
	  .max = LAB_MTU_MAX,
	  .unsaid = "1500, with a vxlan uplink 1450",
	  .brief = "Largest packet on the network in bytes, set in the guests." },
	{ .key = "description", .kind = FIELD_TEXT, .max = TEXT_MAX, .brief = "For people." },
	{ .key = "uplink",
	  .kind = FIELD_OBJECT,
	  .object = &field_uplink,
	  .brief = "A way out of the network." },
	{ .key = "uplinks",
	  .kind = FIELD_LIST,
	  .max = LAB_UPLINKS_MAX,
	  .object = &field_uplink,
	  .brief = "Several of them." },
	{ .key = "threads",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = LAB_THREADS_MAX,
	  .unsaid = "1",
	  .brief = "Threads that move frames. Taken when the switch starts." },
	{ .key = "storm",
	  .kind = FIELD_OBJECT,
	  .object = &field_storm,
	  .unsaid = "no bounds",
	  .brief = "How much each link may make the switch flood." },
	{ .key = "mirrors",
	  .kind = FIELD_LIST,
	  .max = LAB_MIRRORS_MAX,
	  .object = &field_mirror,
	  .brief = "Links that are shown what passes others." },
	{ .key = "rules",
	  .kind = FIELD_LIST,
	  .max = LAB_RULES_MAX,
	  .object = &field_rule,
	  .brief =
		  "Impairment between two links, or of some frames only; the first that fits counts." },
	{ .key = "captures",
	  .kind = FIELD_LIST,
	  .max = LAB_CAPTURES_MAX,
	  .object = &field_capture,
	  .brief = "What is written to files as long as the lab runs." },
	{},
};

const struct field_object field_network = {
	.name = "network",
	.brief = "One Ethernet segment: a switch of its own.",
	.fields = network_fields,
};
