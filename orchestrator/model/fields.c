/* SPDX-License-Identifier: MIT */
#include "model/fields.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "model/errors.h"
#include "model/jsontree.h"
#include "model/lab.h"
#include "model/names.h"

#define TEXT_MAX   1024 /* of descriptions and command lines; the kernel reads 2048 on x86 */
#define PATH_BYTES 4095 /* PATH_MAX without its NUL */
#define KEYS_MAX   24   /* rows of one table */

/* --- the table ------------------------------------------------------------------------------------------------------ */

static const char *const arch_words[] = { "x86_64", "aarch64", NULL };
static const char *const accel_words[] = { "auto", "kvm", "tcg", NULL };
static const char *const sockets_words[] = { "vsock", "none", "hvsock", NULL };

static_assert(G_N_ELEMENTS(arch_words) == LAB_ARCH_COUNT + 1, "enum lab_arch and its words");
static_assert(G_N_ELEMENTS(accel_words) == LAB_ACCEL_COUNT + 1, "enum lab_accel and its words");
static_assert(G_N_ELEMENTS(sockets_words) == LAB_SOCKETS_COUNT + 1,
	      "enum lab_sockets and its words");

#define MACHINE_FIELDS                                                                                                  \
	{ .key = "image",                                                                                               \
	  .kind = FIELD_NAME,                                                                                           \
	  .unsaid = "tiny",                                                                                             \
	  .brief = "What the VM boots: `tiny`, the built-in guest, or a name from `images`." },                         \
		{ .key = "memory",                                                                                      \
		  .kind = FIELD_SIZE,                                                                                   \
		  .min = LAB_MEMORY_MIN,                                                                                \
		  .max = LAB_MEMORY_MAX,                                                                                \
		  .unsaid = LAB_MEMORY_DEFAULT,                                                                         \
		  .brief = "Memory of the VM, in whole MiB: `512MiB`, `4GiB`." },                                       \
		{ .key = "vcpus",                                                                                       \
		  .kind = FIELD_COUNT,                                                                                  \
		  .min = 1,                                                                                             \
		  .max = LAB_VCPUS_MAX,                                                                                 \
		  .unsaid = "1",                                                                                        \
		  .brief = "Number of virtual CPUs." },                                                                 \
		{ .key = "arch",                                                                                        \
		  .kind = FIELD_WORD,                                                                                   \
		  .words = arch_words,                                                                                  \
		  .unsaid = "x86_64",                                                                                   \
		  .brief = "Architecture of the VM. The `tiny` image is `x86_64`." },                                   \
		{ .key = "accel",                                                                                       \
		  .kind = FIELD_WORD,                                                                                   \
		  .words = accel_words,                                                                                 \
		  .unsaid = "auto",                                                                                     \
		  .brief =                                                                                              \
			  "How QEMU runs it: `kvm`, `tcg` (emulation), or `auto`, which is KVM where the host can." },  \
	{                                                                                                               \
		.key = "sockets", .kind = FIELD_WORD, .words = sockets_words, .unsaid = "vsock",                        \
		.brief =                                                                                                \
			"Sockets between host and VM without any network, and with them the agent: `vsock` or `none`. " \
			"`hvsock` is not to be had yet."                                                                \
	}

static const struct field defaults_fields[] = { MACHINE_FIELDS, {} };

static const struct field_object field_defaults = {
	.name = "defaults",
	.brief = "What holds for every VM that does not say otherwise.",
	.fields = defaults_fields,
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
	  .unsaid = "1500",
	  .brief = "Largest packet on the network in bytes, set in the guests." },
	{ .key = "description", .kind = FIELD_TEXT, .max = TEXT_MAX, .brief = "For people." },
	{},
};

static const struct field_object field_network = {
	.name = "network",
	.brief = "One Ethernet segment: a switch of its own.",
	.fields = network_fields,
};

static const struct field image_fields[] = {
	{ .key = "kernel",
	  .kind = FIELD_TEXT,
	  .required = true,
	  .min = 1,
	  .max = PATH_BYTES,
	  .brief = "Path of the kernel; a relative one starts at the directory of the lab file." },
	{ .key = "initrd",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = PATH_BYTES,
	  .brief =
		  "Path of the initial ram disk; a relative one starts at the directory of the lab file." },
	{ .key = "append",
	  .kind = FIELD_TEXT,
	  .max = TEXT_MAX,
	  .brief = "Kernel command line. The console is the first serial port." },
	{},
};

static const struct field_object field_image = {
	.name = "image",
	.brief = "A guest of your own: a kernel and what it needs.",
	.fields = image_fields,
};

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
	{},
};

static const struct field_object field_nic = {
	.name = "nic",
	.brief = "A network interface: `eth0` is the first in the list, `eth1` the second.",
	.fields = nic_fields,
};

#define MS_MAX (24ull * 3600 * 1000)

static const struct field probe_fields[] = {
	{ .key = "name",
	  .kind = FIELD_NAME,
	  .required = true,
	  .brief = "What it is called where it is waited for." },
	{ .key = "port",
	  .kind = FIELD_COUNT,
	  .min = 1,
	  .max = 65535,
	  .brief = "Holds when this TCP port of the guest takes connections." },
	{ .key = "file",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = PATH_BYTES,
	  .brief = "Holds when this file exists in the guest." },
	{ .key = "command",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = TEXT_MAX,
	  .brief = "Holds when this command, run by `sh -c` in the guest, exits with 0." },
	{ .key = "timeout",
	  .kind = FIELD_TIME,
	  .min = 1,
	  .max = MS_MAX,
	  .unsaid = LAB_PROBE_TIMEOUT,
	  .brief = "How long one attempt may take." },
	{ .key = "interval",
	  .kind = FIELD_TIME,
	  .min = 10,
	  .max = MS_MAX,
	  .unsaid = LAB_PROBE_INTERVAL,
	  .brief = "How long to wait after an attempt that failed." },
	{ .key = "hint",
	  .kind = FIELD_TEXT,
	  .max = TEXT_MAX,
	  .brief = "What to look at while it does not hold. For people." },
	{},
};

static const struct field_object field_probe = {
	.name = "probe",
	.brief =
		"Something that has to hold before the VM counts as ready: one of `port`, `file` and `command`.",
	.fields = probe_fields,
};

static const struct field distro_fields[] = {
	{ .key = "image",
	  .kind = FIELD_TEXT,
	  .required = true,
	  .min = 1,
	  .max = PATH_BYTES,
	  .brief =
		  "Path of a disk image with its root file system: `.qcow2`, `.squashfs`, anything else is "
		  "raw. A relative one starts at the directory of the lab file." },
	{ .key = "readonly",
	  .kind = FIELD_FLAG,
	  .unsaid = "false, true for a squashfs",
	  .brief = "Leave the image as it is: what the guest writes stays in its memory." },
	{},
};

static const struct field_object field_distro = {
	.name = "distro",
	.brief = "A distribution inside the VM: `orchestrator exec VM/DISTRO` runs commands in it.",
	.fields = distro_fields,
};

static const struct field test_fields[] = {
	{ .key = "name",
	  .kind = FIELD_NAME,
	  .required = true,
	  .brief = "What it is called in the report." },
	{ .key = "vm", .kind = FIELD_NAME, .required = true, .brief = "Name of the VM it runs in." },
	{ .key = "command",
	  .kind = FIELD_TEXTS,
	  .required = true,
	  .min = 1,
	  .max = LAB_ARGV_MAX,
	  .brief = "The command and its arguments; no shell reads them." },
	{ .key = "user",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = 32,
	  .unsaid = "root",
	  .brief = "User of the guest who runs it." },
	{ .key = "exit",
	  .kind = FIELD_COUNT,
	  .max = 255,
	  .unsaid = "0",
	  .brief = "The exit status it has to end with." },
	{ .key = "stdout",
	  .kind = FIELD_TEXT,
	  .max = TEXT_MAX,
	  .unsaid = "any output",
	  .brief =
		  "A Perl-compatible regular expression that has to match somewhere in what it prints." },
	{ .key = "timeout",
	  .kind = FIELD_TIME,
	  .min = 1,
	  .max = MS_MAX,
	  .unsaid = LAB_TEST_TIMEOUT,
	  .brief = "How long it may take." },
	{ .key = "hint",
	  .kind = FIELD_TEXT,
	  .max = TEXT_MAX,
	  .brief = "What to look at when it fails. For people." },
	{},
};

static const struct field_object field_test = {
	.name = "test",
	.brief = "A check of the lab, run by `orchestrator test`.",
	.fields = test_fields,
};

static const struct field vm_fields[] = {
	MACHINE_FIELDS,
	{ .key = "role",
	  .kind = FIELD_NAME,
	  .brief = "What the VM is for, in a word. For people and scripts." },
	{ .key = "description", .kind = FIELD_TEXT, .max = TEXT_MAX, .brief = "For people." },
	{ .key = "after",
	  .kind = FIELD_NAMES,
	  .max = LAB_VMS_MAX,
	  .brief = "Names of VMs that have to be ready before this one is started." },
	{ .key = "nics",
	  .kind = FIELD_LIST,
	  .max = LAB_NICS_MAX,
	  .object = &field_nic,
	  .unsaid = "one, in the only network of the lab",
	  .brief = "Network interfaces in order. An empty list is a VM without network." },
	{ .key = "append",
	  .kind = FIELD_TEXT,
	  .max = TEXT_MAX,
	  .brief =
		  "Words added to the kernel command line of the image. No place for secrets: every user of the guest "
		  "can read them." },
	{ .key = "cid",
	  .kind = FIELD_COUNT,
	  .min = NAMES_CID_MIN,
	  .max = NAMES_CID_MAX,
	  .unsaid = "derived from the names of lab and VM",
	  .brief =
		  "Its address among sockets (context identifier), by which VMs of the lab reach each other." },
	{ .key = "peers",
	  .kind = FIELD_NAMES,
	  .max = LAB_VMS_MAX,
	  .unsaid = "every VM of the lab",
	  .brief =
		  "Names of the VMs that it may connect to, and that may connect to it, by sockets: the pair has "
		  "to allow it on both sides. An empty list leaves the host alone." },
	{ .key = "probes",
	  .kind = FIELD_LIST,
	  .max = LAB_PROBES_MAX,
	  .object = &field_probe,
	  .brief =
		  "What has to hold, beside the agent being there, before the VM counts as ready." },
	{ .key = "distros",
	  .kind = FIELD_MAP,
	  .max = LAB_DISTROS_MAX,
	  .object = &field_distro,
	  .brief = "Distributions inside the VM, by name." },
	{ .key = "forwards",
	  .kind = FIELD_TEXTS,
	  .max = LAB_FORWARDS_MAX,
	  .brief =
		  "Ways between sockets of the host and of the VM, from the listening end to the other: "
		  "`tcp:127.0.0.1:2222:22`, `unix:/path:22`, `8080:tcp:127.0.0.1:80`, `8080:unix:/path`." },
	{},
};

static const struct field_object field_vm = {
	.name = "vm",
	.brief =
		"A virtual machine. Everything it does not say comes from `defaults`, so `{}` is a whole VM.",
	.fields = vm_fields,
};

static const struct field lab_fields[] = {
	{ .key = "$schema",
	  .kind = FIELD_TEXT,
	  .max = TEXT_MAX,
	  .brief = "Where editors find the JSON Schema. Not read by us." },
	{ .key = "version",
	  .kind = FIELD_COUNT,
	  .min = LAB_VERSION,
	  .max = LAB_VERSION,
	  .unsaid = "1",
	  .brief = "Version of the file format." },
	{ .key = "name",
	  .kind = FIELD_NAME,
	  .unsaid = "from the file's name, or its directory's for a lab.json",
	  .brief = "Name of the lab, under which it runs." },
	{ .key = "description", .kind = FIELD_TEXT, .max = TEXT_MAX, .brief = "For people." },
	{ .key = "defaults",
	  .kind = FIELD_OBJECT,
	  .object = &field_defaults,
	  .brief = "What holds for every VM that does not say otherwise." },
	{ .key = "port-base",
	  .kind = FIELD_COUNT,
	  .min = 1024,
	  .max = 65530,
	  .unsaid = "50000",
	  .brief =
		  "The first of the six socket ports that agents use. Where another program of the guests wants "
		  "these, `51000` is a usual choice." },
	{ .key = "networks",
	  .kind = FIELD_MAP,
	  .max = LAB_NETWORKS_MAX,
	  .object = &field_network,
	  .unsaid = "one, called lan",
	  .brief = "The networks by name. `{}` is a lab without any." },
	{ .key = "images",
	  .kind = FIELD_MAP,
	  .max = LAB_VMS_MAX,
	  .object = &field_image,
	  .brief = "Guests of your own by name, besides the built-in `tiny`." },
	{ .key = "vms",
	  .kind = FIELD_MAP,
	  .required = true,
	  .min = 1,
	  .max = LAB_VMS_MAX,
	  .object = &field_vm,
	  .brief = "The virtual machines by name. The name is also the guest's host name." },
	{ .key = "tests",
	  .kind = FIELD_LIST,
	  .max = LAB_TESTS_MAX,
	  .object = &field_test,
	  .brief = "Checks of the lab, in the order in which `orchestrator test` runs them." },
	{},
};

const struct field_object field_lab = {
	.name = "lab",
	.brief = "A lab of virtual machines for `orchestrator`.",
	.fields = lab_fields,
};

const struct field_object *const field_objects[] = { &field_lab,   &field_defaults, &field_network,
						     &field_image, &field_vm,       &field_nic,
						     &field_probe, &field_distro,   &field_test,
						     NULL };

/* --- sizes ---------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *unit;
	unsigned shift;
} units[] = { { "TiB", 40 }, { "GiB", 30 }, { "MiB", 20 }, { "KiB", 10 }, { "B", 0 } };

const char *field_parse_size(const char *text, uint64_t *ret_bytes)
{
	const char *p = text;
	uint64_t n = 0;

	while (g_ascii_isdigit(*p)) {
		if (__builtin_mul_overflow(n, 10u, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return "is too large";
		p++;
	}
	if (p == text || (text[0] == '0' && p > text + 1))
		return "is not a size: write it like \"512MiB\"";
	for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
		if (strcmp(p, units[i].unit) != 0)
			continue;
		if (n > UINT64_MAX >> units[i].shift)
			return "is too large";
		*ret_bytes = n << units[i].shift;
		return NULL;
	}
	return "is not a size: its unit is B, KiB, MiB, GiB or TiB, as in \"512MiB\"";
}

char *field_format_size(uint64_t bytes)
{
	for (unsigned i = 0; i < G_N_ELEMENTS(units); i++)
		if (bytes > 0 && bytes % (1ull << units[i].shift) == 0)
			return g_strdup_printf("%" G_GUINT64_FORMAT "%s", bytes >> units[i].shift,
					       units[i].unit);
	return g_strdup("0B");
}

/* --- times ---------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *unit;
	uint64_t ms;
} time_units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };

const char *field_parse_time(const char *text, uint64_t *ret_ms)
{
	char *unit;
	guint64 n;

	if (!g_ascii_isdigit(*text) || (text[0] == '0' && g_ascii_isdigit(text[1])))
		return "is not a time: write it like \"30s\"";
	n = g_ascii_strtoull(text, &unit, 10);
	for (unsigned i = 0; i < G_N_ELEMENTS(time_units); i++) {
		if (strcmp(unit, time_units[i].unit) != 0)
			continue;
		if (n > UINT64_MAX / time_units[i].ms)
			return "is too large";
		*ret_ms = n * time_units[i].ms;
		return NULL;
	}
	return "is not a time: its unit is ms, s, m or h, as in \"30s\"";
}

static char *format_time(uint64_t ms)
{
	unsigned i = G_N_ELEMENTS(time_units) - 1;

	while (i > 0 && (ms == 0 || ms % time_units[i].ms != 0))
		i--;
	return g_strdup_printf("%" G_GUINT64_FORMAT "%s", ms / time_units[i].ms,
			       time_units[i].unit);
}

/* --- the checker ---------------------------------------------------------------------------------------------------- */

static bool has_type(struct jt_node *node, enum jt_type type, const char *wanted,
		     struct lab_errors *errors)
{
	if (node->type == type)
		return true;
	lab_error_at(errors, node, "expected %s, got %s", wanted, jt_type_name(node->type));
	return false;
}

static bool has_control(const char *text)
{
	for (const char *p = text; *p; p = g_utf8_find_next_char(p, NULL))
		if (g_unichar_iscntrl(g_utf8_get_char(p)))
			return true;
	return false;
}

static bool check_text(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	size_t len;

	if (!has_type(node, JT_STRING, "a string", errors))
		return false;
	len = strlen(node->string);
	if (len < f->min)
		lab_error_at(errors, node, "must not be empty");
	else if (len > f->max)
		lab_error_at(errors, node,
			     "is %zu bytes long, at most %" G_GUINT64_FORMAT " are allowed", len,
			     f->max);
	else if (has_control(node->string))
		lab_error_at(errors, node, "control characters are not allowed here");
	else
		return true;
	return false;
}

/* What is wrong with a name, or NULL. */
static const char *name_fault(const char *name)
{
	if (names_valid(name))
		return NULL;
	if (strlen(name) > NAMES_LABEL_MAX)
		return "is too long for a name: at most 63 characters";
	return "is not a name: use a-z, 0-9 and '-', the latter not at the ends";
}

static bool check_name(struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;
	const char *fault;

	if (!has_type(node, JT_STRING, "a name", errors))
		return false;
	fault = name_fault(node->string);
	if (!fault)
		return true;
	quoted = jt_quote(node->string);
	lab_error_at(errors, node, "%s %s", quoted, fault);
	return false;
}

static bool check_size(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL, *min = NULL, *max = NULL;
	const char *fault;

	if (!has_type(node, JT_STRING, "a size like \"512MiB\"", errors))
		return false;
	quoted = jt_quote(node->string);
	fault = field_parse_size(node->string, &node->decoded);
	if (fault) {
		lab_error_at(errors, node, "%s %s", quoted, fault);
		return false;
	}
	if (node->decoded < f->min || node->decoded > f->max) {
		min = field_format_size(f->min);
		max = field_format_size(f->max);
		lab_error_at(errors, node, "%s is out of range: %s to %s", quoted, min, max);
		return false;
	}
	if (node->decoded % (1u << 20) != 0) {
		lab_error_at(errors, node, "%s is not a whole number of MiB", quoted);
		return false;
	}
	return true;
}

static bool check_count(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	int64_t min = (int64_t)f->min, max = (int64_t)f->max;

	if (!has_type(node, JT_NUMBER, "an integer", errors))
		return false;
	if (!node->is_integer)
		lab_error_at(errors, node, "expected an integer, got a fraction");
	else if (min == max && node->integer != min)
		lab_error_at(errors, node,
			     "%" G_GINT64_FORMAT " is not known: the only one is %" G_GINT64_FORMAT,
			     node->integer, min);
	else if (node->integer < min || node->integer > max)
		lab_error_at(errors, node,
			     "%" G_GINT64_FORMAT " is out of range: %" G_GINT64_FORMAT
			     " to %" G_GINT64_FORMAT,
			     node->integer, min, max);
	else
		node->decoded = (uint64_t)node->integer;
	return node->is_integer && node->integer >= min && node->integer <= max;
}

static bool check_word(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL, *list = NULL;
	unsigned n = g_strv_length((char **)(uintptr_t)f->words);
	const char *near;

	if (!has_type(node, JT_STRING, "a string", errors))
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (strcmp(f->words[i], node->string) == 0) {
			node->decoded = i;
			return true;
		}
	}
	quoted = jt_quote(node->string);
	near = lab_errors_nearest(errors, node->string, f->words, n);
	if (near) {
		lab_error_at(errors, node, "%s is not known here (did you mean \"%s\"?)", quoted,
			     near);
	} else {
		list = g_strjoinv(", ", (char **)(uintptr_t)f->words);
		lab_error_at(errors, node, "%s is not known here: one of %s", quoted, list);
	}
	return false;
}

static bool check_flag(struct jt_node *node, struct lab_errors *errors)
{
	if (!has_type(node, JT_BOOL, "true or false", errors))
		return false;
	node->decoded = node->boolean;
	return true;
}

static bool check_time(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL, *min = NULL, *max = NULL;
	const char *fault;

	if (!has_type(node, JT_STRING, "a time like \"30s\"", errors))
		return false;
	quoted = jt_quote(node->string);
	fault = field_parse_time(node->string, &node->decoded);
	if (fault) {
		lab_error_at(errors, node, "%s %s", quoted, fault);
		return false;
	}
	if (node->decoded >= f->min && node->decoded <= f->max)
		return true;
	min = format_time(f->min);
	max = format_time(f->max);
	lab_error_at(errors, node, "%s is out of range: %s to %s", quoted, min, max);
	return false;
}

/* An IPv4 address in host byte order; leading zeros and short forms are refused. */
static bool parse_ip(const char *text, uint32_t *ret)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		return false;
	*ret = ntohl(a.s_addr);
	return true;
}

static bool check_subnet(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;
	g_auto(GStrv) part = NULL;
	uint32_t address, mask;
	guint64 prefix;
	char right[INET_ADDRSTRLEN];

	if (!has_type(node, JT_STRING, "a subnet like \"192.168.100.0/24\"", errors))
		return false;
	quoted = jt_quote(node->string);
	part = g_strsplit(node->string, "/", 3);
	if (g_strv_length(part) != 2 || !parse_ip(part[0], &address) || strlen(part[1]) > 2 ||
	    !g_ascii_string_to_unsigned(part[1], 10, 0, 32, &prefix, NULL)) {
		lab_error_at(errors, node, "%s is not a subnet: write it like \"192.168.100.0/24\"",
			     quoted);
		return false;
	}
	if (prefix > f->max) {
		lab_error_at(errors, node, "%s is too small: a subnet has a prefix of /8 to /30",
			     quoted);
		return false;
	}
	if (prefix < f->min) {
		lab_error_at(errors, node, "%s is too large: a subnet has a prefix of /8 to /30",
			     quoted);
		return false;
	}
	mask = UINT32_MAX << (32 - prefix);
	if (address & ~mask) {
		inet_ntop(AF_INET, &(struct in_addr){ htonl(address & mask) }, right,
			  sizeof(right));
		lab_error_at(errors, node, "%s has host bits (did you mean \"%s/%u\"?)", quoted,
			     right, (unsigned)prefix);
		return false;
	}
	if (address >> 24 == 0 || address >> 24 == 127 || address >> 28 >= 14) {
		lab_error_at(errors, node, "%s is not for hosts: loopback, multicast or reserved",
			     quoted);
		return false;
	}
	node->decoded = (uint64_t)address << 8 | prefix;
	return true;
}

static bool check_ip(struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;
	uint32_t address;

	if (!has_type(node, JT_STRING, "an IPv4 address", errors))
		return false;
	if (parse_ip(node->string, &address)) {
		node->decoded = address;
		return true;
	}
	quoted = jt_quote(node->string);
	lab_error_at(errors, node,
		     strchr(node->string, '/') ?
			     "%s: give the address alone, its prefix is the subnet's" :
			     "%s is not an IPv4 address",
		     quoted);
	return false;
}

static bool parse_mac(const char *text, uint64_t *ret)
{
	uint64_t mac = 0;

	if (strlen(text) != NAMES_MAC_LEN)
		return false;
	for (unsigned i = 0; i < NAMES_MAC_LEN; i++) {
		int digit = g_ascii_xdigit_value(text[i]);

		if (i % 3 == 2 ? text[i] != ':' : digit < 0)
			return false;
		if (i % 3 != 2)
			mac = mac << 4 | (unsigned)digit;
	}
	*ret = mac;
	return true;
}

static bool check_mac(struct jt_node *node, struct lab_errors *errors)
{
	g_autofree char *quoted = NULL;

	if (!has_type(node, JT_STRING, "a MAC address", errors))
		return false;
	quoted = jt_quote(node->string);
	if (!parse_mac(node->string, &node->decoded))
		lab_error_at(errors, node,
			     "%s is not a MAC address: write it like \"52:54:00:12:34:56\"",
			     quoted);
	else if (node->decoded >> 40 & 1)
		lab_error_at(errors, node, "%s is a multicast address: the first pair must be even",
			     quoted);
	else if (node->decoded == 0)
		lab_error_at(errors, node, "%s is no address", quoted);
	else
		return true;
	return false;
}

static bool check_names(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

	if (!has_type(node, JT_ARRAY, "an array of names", errors))
		return false;
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "has %u names, at most %u are allowed", node->n_children,
			     (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next) {
		n->ok = !n->broken && check_name(n, errors);
		if (n->ok && !g_hash_table_add(seen, (char *)(uintptr_t)n->string)) {
			lab_error_at(errors, n, "\"%s\" is named twice", n->string);
			n->ok = false;
		}
	}
	return true;
}

static bool check_texts(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	static const struct field item = { .min = 0, .max = FIELD_TEXTS_BYTES };

	if (!has_type(node, JT_ARRAY, "an array of strings", errors))
		return false;
	if (node->n_children < f->min) {
		lab_error_at(errors, node, "must not be empty");
		return false;
	}
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "has %u elements, at most %u are allowed",
			     node->n_children, (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next)
		n->ok = !n->broken && check_text(&item, n, errors);
	return true;
}

static bool check_list(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	if (!has_type(node, JT_ARRAY, "an array", errors))
		return false;
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "has %u elements, at most %u are allowed",
			     node->n_children, (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next)
		field_check(f->object, n, errors);
	return true;
}

static bool check_map(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	if (!has_type(node, JT_OBJECT, "an object", errors))
		return false;
	if (node->n_children < f->min) {
		lab_error_at(errors, node, "must name at least one");
		return false;
	}
	if (node->n_children > f->max) {
		lab_error_at(errors, node, "names %u, at most %u are allowed", node->n_children,
			     (unsigned)f->max);
		return false;
	}
	for (struct jt_node *n = node->child; n; n = n->next) {
		const char *fault = n->broken ? NULL : name_fault(n->key);

		if (fault) {
			g_autofree char *quoted = jt_quote(n->key);

			lab_error_at_key(errors, n, "%s %s", quoted, fault);
		}
		field_check(f->object, n, errors);
	}
	return true;
}

static bool check_field(const struct field *f, struct jt_node *node, struct lab_errors *errors)
{
	switch (f->kind) {
	case FIELD_TEXT:
		return check_text(f, node, errors);
	case FIELD_NAME:
		return check_name(node, errors);
	case FIELD_SIZE:
		return check_size(f, node, errors);
	case FIELD_COUNT:
		return check_count(f, node, errors);
	case FIELD_WORD:
		return check_word(f, node, errors);
	case FIELD_FLAG:
		return check_flag(node, errors);
	case FIELD_TIME:
		return check_time(f, node, errors);
	case FIELD_SUBNET:
		return check_subnet(f, node, errors);
	case FIELD_IP:
		return check_ip(node, errors);
	case FIELD_MAC:
		return check_mac(node, errors);
	case FIELD_NAMES:
		return check_names(f, node, errors);
	case FIELD_TEXTS:
		return check_texts(f, node, errors);
	case FIELD_OBJECT:
		field_check(f->object, node, errors);
		return node->ok;
	case FIELD_LIST:
		return check_list(f, node, errors);
	case FIELD_MAP:
		return check_map(f, node, errors);
	case FIELD_KIND_COUNT:
		break;
	}
	g_assert_not_reached();
}

static void unknown_key(const struct field_object *object, struct jt_node *node,
			struct lab_errors *errors)
{
	g_autofree char *quoted = jt_quote(node->key);
	const char *keys[KEYS_MAX], *near;
	unsigned n = 0;

	for (const struct field *f = object->fields; f->key; f++) {
		g_assert(n < KEYS_MAX);
		keys[n++] = f->key;
	}
	near = lab_errors_nearest(errors, node->key, keys, n);
	if (near)
		lab_error_at_key(errors, node, "unknown key %s (did you mean \"%s\"?)", quoted,
				 near);
	else
		lab_error_at_key(errors, node, "unknown key %s", quoted);
}

static void check_member(const struct field_object *object, struct jt_node *node,
			 struct lab_errors *errors)
{
	if (g_str_has_prefix(node->key, "x-"))
		return;
	for (const struct field *f = object->fields; f->key; f++) {
		if (strcmp(f->key, node->key) != 0)
			continue;
		node->ok = !node->broken && check_field(f, node, errors);
		return;
	}
	if (!node->broken)
		unknown_key(object, node, errors);
}

void field_check(const struct field_object *object, struct jt_node *node, struct lab_errors *errors)
{
	node->ok = has_type(node, JT_OBJECT, "an object", errors);
	if (!node->ok)
		return;
	for (struct jt_node *n = node->child; n; n = n->next)
		check_member(object, n, errors);
	for (const struct field *f = object->fields; f->key; f++)
		if (f->required && !jt_get(node, f->key))
			lab_error_at(errors, node, "the key \"%s\" is missing", f->key);
}
