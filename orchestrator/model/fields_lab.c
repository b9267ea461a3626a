/* SPDX-License-Identifier: MIT */
/* The table of fields.h: the lab, its VMs and what is in them.  Its other part, networks and links, is fields_net.c. */
#include "model/fields.h"

#include <assert.h>

#include "model/fields_net.h"
#include "model/lab.h"
#include "model/libvirt_uri.h"
#include "model/names.h"

#define TEXT_MAX   1024 /* of descriptions and command lines; the kernel reads 2048 on x86 */
#define PATH_BYTES 4095 /* PATH_MAX without its NUL */

/* --- the table ------------------------------------------------------------------------------------------------------ */

static const char *const arch_words[] = { "x86_64", "aarch64", NULL };
static const char *const accel_words[] = { "auto", "kvm", "tcg", NULL };
static const char *const engine_words[] = { "qemu", "libvirt", NULL };
static const char *const user_words[] = { "owner", "libvirt", NULL };
static const char *const sockets_words[] = { "vsock", "none", "hvsock", NULL };

static const char *const mode_words[] = { "rw", "ro", NULL };
static const char *const door_words[] = { "pmem", "ivshmem", "vhost-user", NULL };

static_assert(G_N_ELEMENTS(door_words) == PORTAL_DOOR_COUNT + 1, "enum portal_door and its words");
static_assert(G_N_ELEMENTS(arch_words) == LAB_ARCH_COUNT + 1, "enum lab_arch and its words");
static_assert(G_N_ELEMENTS(accel_words) == LAB_ACCEL_COUNT + 1, "enum lab_accel and its words");
static_assert(G_N_ELEMENTS(engine_words) == LAB_ENGINE_COUNT + 1,
	      "enum lab_engine_kind and its words");
static_assert(G_N_ELEMENTS(user_words) == LAB_ENGINE_USER_UNSAID + 1,
	      "enum lab_engine_user and its words");
static_assert(G_N_ELEMENTS(sockets_words) == LAB_SOCKETS_COUNT + 1,
	      "enum lab_sockets and its words");

#define MACHINE_FIELDS                                                                                                    \
	{ .key = "image",                                                                                                 \
	  .kind = FIELD_NAME,                                                                                             \
	  .unsaid = "tiny",                                                                                               \
	  .brief = "What the VM boots: `tiny`, the built-in guest, or a name from `images`." },                           \
		{ .key = "memory",                                                                                        \
		  .kind = FIELD_SIZE,                                                                                     \
		  .min = LAB_MEMORY_MIN,                                                                                  \
		  .max = LAB_MEMORY_MAX,                                                                                  \
		  .unsaid = LAB_MEMORY_DEFAULT,                                                                           \
		  .brief = "Memory of the VM, in whole MiB: `512MiB`, `4GiB`." },                                         \
		{ .key = "vcpus",                                                                                         \
		  .kind = FIELD_COUNT,                                                                                    \
		  .min = 1,                                                                                               \
		  .max = LAB_VCPUS_MAX,                                                                                   \
		  .unsaid = "1",                                                                                          \
		  .brief = "Number of virtual CPUs." },                                                                   \
		{ .key = "arch",                                                                                          \
		  .kind = FIELD_WORD,                                                                                     \
		  .words = arch_words,                                                                                    \
		  .unsaid = "x86_64",                                                                                     \
		  .brief = "Architecture of the VM. The `tiny` image is `x86_64`." },                                     \
		{ .key = "accel",                                                                                         \
		  .kind = FIELD_WORD,                                                                                     \
		  .words = accel_words,                                                                                   \
		  .unsaid = "auto",                                                                                       \
		  .brief =                                                                                                \
			  "How QEMU runs it: `kvm`, `tcg` (emulation), or `auto`, which is KVM where the host can." },    \
		{ .key = "qemu",                                                                                          \
		  .kind = FIELD_TEXT,                                                                                     \
		  .min = 1,                                                                                               \
		  .max = PATH_BYTES,                                                                                      \
		  .unsaid = "host; with hvsock, or a portal by vhost-user, patched",                                      \
		  .brief =                                                                                                \
			  "Which QEMU runs it: `host` is this host's, `patched` the one that `qemu-patches/build` "       \
			  "makes, anything with a `/` a path; a relative one starts at the directory of the lab file." }, \
	{                                                                                                                 \
		.key = "sockets", .kind = FIELD_WORD, .words = sockets_words, .unsaid = "vsock",                          \
		.brief =                                                                                                  \
			"Sockets between host and VM without any network, and with them the agent: `vsock` (virtio), "    \
			"`hvsock` (Hyper-V, as WSL has them) or `none`."                                                  \
	}

static const struct field defaults_fields[] = { MACHINE_FIELDS, {} };

static const struct field_object field_defaults = {
	.name = "defaults",
	.brief = "What holds for every VM that does not say otherwise.",
	.fields = defaults_fields,
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

static const struct field portal_fields[] = {
	{ .key = "size",
	  .kind = FIELD_SIZE,
	  .min = LAB_PORTAL_MIN,
	  .max = LAB_PORTAL_MAX,
	  .unsaid = LAB_PORTAL_SIZE,
	  .brief = "All of its memory, a multiple of 2 MiB; 6 MiB of it are the portal's own." },
	{ .key = "file",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = PATH_BYTES,
	  .unsaid = "a file in the runtime directory that goes with the lab",
	  .brief =
		  "Path of the file that it is; made if it is not there, kept when the lab goes down. A relative one "
		  "starts at the directory of the lab file." },
	{ .key = "port",
	  .kind = FIELD_COUNT,
	  .min = 1024,
	  .max = NAMES_CID_MAX,
	  .unsaid = "derived from the names of lab and portal",
	  .brief =
		  "The socket port of the host (CID 2) on which VMs ask for its memory. Programs in VMs find it by "
		  "themselves." },
	{ .key = "description", .kind = FIELD_TEXT, .max = TEXT_MAX, .brief = "For people." },
	{},
};

static const struct field_object field_portal = {
	.name = "portal",
	.brief = "Memory that VMs and processes of the host share, without a copy.",
	.fields = portal_fields,
};

static const struct field access_fields[] = {
	{ .key = "mode",
	  .kind = FIELD_WORD,
	  .words = mode_words,
	  .unsaid = "rw",
	  .brief = "`rw`, or `ro`: QEMU maps it so that the VM cannot write." },
	{ .key = "door",
	  .kind = FIELD_WORD,
	  .words = door_words,
	  .unsaid = "pmem",
	  .brief =
		  "How the VM gets to it: `pmem` (virtio-pmem, in the guest /dev/daxN.0), `ivshmem` (a PCI device), "
		  "`vhost-user` (virtio-pmem served by the portal's daemon)." },
	{ .key = "quota",
	  .kind = FIELD_SIZE,
	  .min = LAB_PORTAL_UNIT,
	  .max = LAB_PORTAL_MAX,
	  .unsaid = "as much as is free",
	  .brief = "How much of its memory the VM may be granted, a multiple of 2 MiB." },
	{},
};

static const struct field_object field_access = {
	.name = "access",
	.brief = "What a VM has of a portal. `{}` is to read and write it.",
	.fields = access_fields,
};

/* A list of names, or what is special about each. */
static const struct field access_choices[] = {
	{ .key = "names", .kind = FIELD_NAMES, .max = LAB_ACCESSES_MAX },
	{ .key = "map", .kind = FIELD_MAP, .max = LAB_ACCESSES_MAX, .object = &field_access },
	{},
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
	{ .key = "portals",
	  .kind = FIELD_EITHER,
	  .choices = access_choices,
	  .brief =
		  "Portals that it shares: a list of names, or an object from names to what is special about each." },
	{},
};

static const struct field_object field_vm = {
	.name = "vm",
	.brief =
		"A virtual machine. Everything it does not say comes from `defaults`, so `{}` is a whole VM.",
	.fields = vm_fields,
};

static const struct field engine_fields[] = {
	{ .key = "name",
	  .kind = FIELD_WORD,
	  .required = true,
	  .words = engine_words,
	  .brief = "`qemu`: processes of the lab's own. `libvirt`: domains of a libvirt." },
	{ .key = "uri",
	  .kind = FIELD_TEXT,
	  .min = 1,
	  .max = TEXT_MAX,
	  .unsaid = LIBVIRT_URI_DEFAULT,
	  .brief =
		  "Which libvirt: a URI of its QEMU driver, `qemu:///session` or `qemu:///system`." },
	{ .key = "user",
	  .kind = FIELD_WORD,
	  .words = user_words,
	  .brief =
		  "Whom the QEMUs of `qemu:///system` run as: the lab's `owner`, which is what holds unless that is root, or the "
		  "user that `libvirt` has for them." },
	{},
};

static const struct field_object field_engine = {
	.name = "engine",
	.brief = "Who holds the VMs of the lab.",
	.fields = engine_fields,
};

/* The word alone, or what is special about it. */
static const struct field engine_choices[] = {
	{ .key = "word", .kind = FIELD_WORD, .words = engine_words },
	{ .key = "object", .kind = FIELD_OBJECT, .object = &field_engine },
	{},
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
	{ .key = "engine",
	  .kind = FIELD_EITHER,
	  .choices = engine_choices,
	  .unsaid = "qemu",
	  .brief =
		  "Who holds the VMs: `qemu`, processes of the lab's own, or `libvirt`, domains that libvirt's other tools "
		  "see, too." },
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
	{ .key = "profiles",
	  .kind = FIELD_MAP,
	  .max = LAB_PROFILES_MAX,
	  .object = &field_profile,
	  .brief =
		  "Impairments of links by name, besides the built-in `default`, `constrained`, `lossy`, `wan`, "
		  "`satellite` and `wifi`." },
	{ .key = "qos",
	  .kind = FIELD_MAP,
	  .max = LAB_POLICIES_MAX,
	  .object = &field_policy,
	  .brief = "Policies by name, each sharing the rate of a link among classes of traffic." },
	{ .key = "portals",
	  .kind = FIELD_MAP,
	  .max = LAB_PORTALS_MAX,
	  .object = &field_portal,
	  .brief =
		  "Shared memory by name, for the VMs that name it and for processes of the host." },
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
	  .brief =
		  "Checks of the lab. `orchestrator test` runs up to 16 at once, and reports them in this order." },
	{},
};

const struct field_object field_lab = {
	.name = "lab",
	.brief = "A lab of virtual machines for `orchestrator`.",
	.fields = lab_fields,
};

const struct field_object *const field_objects[] = {
	&field_lab,     &field_engine,  &field_defaults,   &field_network,
	&field_uplink,  &field_mirror,  &field_rule,       &field_match,
	&field_storm,   &field_capture, &field_portal,     &field_access,
	&field_image,   &field_vm,      &field_nic,        &field_vlan,
	&field_sides,   &field_impair,  &field_impairment, &field_gemodel,
	&field_markov,  &field_slot,    &field_codel,      &field_flap,
	&field_profile, &field_moment,  &field_policy,     &field_class,
	&field_traffic, &field_probe,   &field_distro,     &field_test,
	NULL,
};
