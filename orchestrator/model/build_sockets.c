/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <string.h>

#include "model/build_impl.h"
#include "model/errors.h"
#include "model/fields.h"
#include "model/jsontree.h"
#include "model/lab.h"
#include "model/names.h"
#include "model/units.h"

/* Keys of a VM that mean nothing without sockets. */
static const char *const needs_sockets[] = { "peers", "probes", "distros", "forwards", "portals" };

static struct jt_node *vm_node(const struct builder *b, const struct vm *vm)
{
	return b->vm_nodes->pdata[vm->index];
}

/* A time of the table; the default is right by construction. */
static unsigned time_of(const struct jt_node *object, const char *key, const char *otherwise)
{
	uint64_t ms = 0;

	g_assert(unit_parse_time(otherwise, &ms) == NULL);
	return (unsigned)build_good_number(object, key, ms);
}

/* --- which sockets ------------------------------------------------------------------------------------------------- */

/* What is wrong with a setting itself, which several VMs may have from the defaults: said once. */
static void fault_once(struct builder *b, struct jt_node *setting, const char *text)
{
	lab_error_at(b->errors, setting, "%s", text);
	setting->ok = false;
}

static void check_hvsock(struct builder *b, const struct vm *vm)
{
	static const char *const senseless[] = { "cid", "peers" };

	if (vm->arch != LAB_ARCH_X86_64)
		lab_error_at_key(b->errors, vm_node(b, vm),
				 "\"sockets\": \"hvsock\" is Hyper-V's, which %s has not",
				 lab_arch_name(vm->arch));
	for (unsigned i = 0; i < G_N_ELEMENTS(senseless); i++) {
		struct jt_node *member = jt_get(vm_node(b, vm), senseless[i]);

		if (member)
			lab_error_at_key(
				b->errors, member,
				"has no use with \"sockets\": \"hvsock\": such a VM reaches the host alone");
	}
}

static void build_kind(struct builder *b, struct vm *vm)
{
	struct jt_node *n = build_machine_setting(b, vm_node(b, vm), "sockets");

	vm->sockets = n ? (enum lab_sockets)n->decoded : LAB_SOCKETS_VSOCK;
	if (vm->sockets == LAB_SOCKETS_HVSOCK)
		check_hvsock(b, vm);
	for (unsigned i = 0; vm->sockets == LAB_SOCKETS_NONE && i < G_N_ELEMENTS(needs_sockets);
	     i++) {
		struct jt_node *member = jt_get(vm_node(b, vm), needs_sockets[i]);

		if (member)
			lab_error_at_key(b->errors, member,
					 "has no use without sockets (\"sockets\": \"none\")");
	}
}

/* --- which QEMU ---------------------------------------------------------------------------------------------------- */

static void build_qemu(struct builder *b, struct vm *vm)
{
	struct jt_node *n = build_machine_setting(b, vm_node(b, vm), "qemu");

	if (!n && vm->sockets == LAB_SOCKETS_HVSOCK)
		vm->qemu = g_strdup(LAB_QEMU_PATCHED);
	if (!n || strcmp(n->string, LAB_QEMU_HOST) == 0)
		return;
	if (strcmp(n->string, LAB_QEMU_PATCHED) == 0)
		vm->qemu = g_strdup(LAB_QEMU_PATCHED);
	else if (strchr(n->string, '/'))
		vm->qemu = build_lab_relative(b->lab, g_strdup(n->string));
	else
		fault_once(b, n, "none of \"host\", \"patched\" and a path, which has a '/'");
}

/* --- CIDs ----------------------------------------------------------------------------------------------------------- */

/* The VM that has it already, or NULL: then it is vm's. */
static struct vm *take_cid(struct builder *b, struct vm *vm, uint32_t cid)
{
	struct vm *owner = g_hash_table_lookup(b->by_cid, GUINT_TO_POINTER(cid));

	if (owner)
		return owner;
	g_hash_table_insert(b->by_cid, GUINT_TO_POINTER(cid), vm);
	vm->cid = cid;
	return NULL;
}

static void take_given_cid(struct builder *b, struct vm *vm)
{
	struct jt_node *node = build_good(vm_node(b, vm), "cid");
	const struct vm *owner = node ? take_cid(b, vm, (uint32_t)node->decoded) : NULL;

	if (owner)
		lab_error_at(b->errors, node, "%" G_GINT64_FORMAT " is the CID of %s already",
			     node->integer, owner->name);
}

static void derive_cid(struct builder *b, struct vm *vm)
{
	for (unsigned attempt = 0; vm->cid == 0; attempt++)
		(void)take_cid(b, vm, names_cid(b->lab->name, vm->name, attempt));
}

/* --- peers ---------------------------------------------------------------------------------------------------------- */

static void build_peers(struct builder *b, struct vm *vm)
{
	struct jt_node *list = build_good(vm_node(b, vm), "peers");

	if (!list)
		return;
	vm->peers = g_ptr_array_new();
	for (struct jt_node *n = list->child; n; n = n->next) {
		struct vm *other = n->ok ? lab_find_vm(b->lab, n->string) : NULL;

		if (other && other->sockets == LAB_SOCKETS_HVSOCK)
			lab_error_at(b->errors, n, "%s has \"hvsock\": it reaches the host alone",
				     other->name);
		else if (other)
			g_ptr_array_add(vm->peers, other);
		else if (n->ok)
			build_no_such(b, n, "VM", b->lab->vms);
	}
}

/* --- probes --------------------------------------------------------------------------------------------------------- */

static const struct {
	const char *key;
	enum probe_kind kind;
} probe_kinds[] = { { "port", PROBE_PORT }, { "file", PROBE_FILE }, { "command", PROBE_COMMAND } };

/* The one key that says what to look for; anything but one of them is reported. */
static struct jt_node *probe_subject(struct builder *b, struct jt_node *node, struct probe *probe)
{
	struct jt_node *subject = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(probe_kinds); i++) {
		struct jt_node *member = jt_get(node, probe_kinds[i].key);

		if (!member)
			continue;
		subject = member;
		probe->kind = probe_kinds[i].kind;
		n++;
	}
	if (n != 1)
		lab_error_at(b->errors, node,
			     "needs one of \"port\", \"file\" and \"command\", has %s",
			     n == 0 ? "none" : "several");
	return n == 1 && subject->ok ? subject : NULL;
}

static void add_probe(struct builder *b, struct vm *vm, struct jt_node *node, GHashTable *names)
{
	struct jt_node *name = build_good(node, "name"), *subject;
	struct probe *probe = g_new0(struct probe, 1);

	subject = probe_subject(b, node, probe);
	probe->name = build_good_string(node, "name");
	probe->timeout_ms = time_of(node, "timeout", LAB_PROBE_TIMEOUT);
	probe->interval_ms = time_of(node, "interval", LAB_PROBE_INTERVAL);
	probe->hint = build_good_string(node, "hint");
	if (subject && probe->kind == PROBE_PORT)
		probe->port = (unsigned)subject->decoded;
	else if (subject)
		probe->text = g_strdup(subject->string);
	if (subject && probe->kind == PROBE_FILE && probe->text[0] != '/')
		lab_error_at(b->errors, subject, "is a path of the guest: begin it with '/'");
	if (name && !g_hash_table_add(names, (char *)(uintptr_t)name->string))
		lab_error_at(b->errors, name, "a probe called \"%s\" is there already",
			     name->string);
	g_ptr_array_add(vm->probes, probe);
}

static void build_probes(struct builder *b, struct vm *vm)
{
	g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
	struct jt_node *list = build_good(vm_node(b, vm), "probes");

	for (struct jt_node *n = list ? list->child : NULL; n; n = n->next)
		if (n->ok)
			add_probe(b, vm, n, names);
}

/* --- distros -------------------------------------------------------------------------------------------------------- */

static enum distro_format distro_format(const char *image)
{
	if (g_str_has_suffix(image, ".qcow2"))
		return DISTRO_QCOW2;
	if (g_str_has_suffix(image, ".squashfs") || g_str_has_suffix(image, ".sqfs"))
		return DISTRO_SQUASHFS;
	return DISTRO_RAW;
}

static void add_distro(struct builder *b, struct vm *vm, struct jt_node *node)
{
	struct jt_node *image = build_good(node, "image");
	struct distro *distro;

	if (strlen(node->key) > LAB_DISTRO_NAME_MAX)
		lab_error_at_key(
			b->errors, node,
			"is too long for the name of a distribution: its disk's serial number has %u bytes",
			LAB_DISTRO_NAME_MAX);
	if (!image)
		return;
	distro = g_new0(struct distro, 1);
	distro->name = g_strdup(node->key);
	distro->image = build_lab_relative(b->lab, g_strdup(image->string));
	distro->format = distro_format(distro->image);
	distro->readonly = distro->format == DISTRO_SQUASHFS ||
			   build_good_number(node, "readonly", 0);
	distro->index = vm->distros->len;
	g_ptr_array_add(vm->distros, distro);
}

static void build_distros(struct builder *b, struct vm *vm)
{
	struct jt_node *map = build_good(vm_node(b, vm), "distros");

	for (struct jt_node *n = map ? map->child : NULL; n; n = n->next)
		if (build_usable(n))
			add_distro(b, vm, n);
}

/* --- forwards ------------------------------------------------------------------------------------------------------- */

static bool parse_port(const char *text, uint64_t max, uint32_t *ret)
{
	guint64 port;

	if (!g_ascii_string_to_unsigned(text, 10, 1, max, &port, NULL) || text[0] == '0')
		return false;
	*ret = (uint32_t)port;
	return true;
}

/* "tcp:127.0.0.1:2222", "unix:/path": NULL, or what is wrong with it. */
static const char *host_fault(const char *host)
{
	struct in_addr address;
	uint32_t port;
	g_auto(GStrv) part = NULL;

	/* Not g_str_has_prefix(), which takes NULL for a string: gcc 14 then takes it for possible here, too. */
	if (strncmp(host, "unix:", 5) == 0) {
		if (host[5] != '/')
			return "the path after \"unix:\" has to be absolute";
		return strlen(host + 5) <= NAMES_SOCKET_PATH_MAX ?
			       NULL :
			       "the path is too long for a socket";
	}
	part = g_strsplit(host, ":", -1);
	if (g_strv_length(part) != 3 || strcmp(part[0], "tcp") != 0)
		return "the host's end is \"tcp:ADDRESS:PORT\" or \"unix:/PATH\"";
	if (inet_pton(AF_INET, part[1], &address) != 1)
		return "the address after \"tcp:\" has to be an IPv4 address";
	return parse_port(part[2], 65535, &port) ? NULL : "a TCP port is 1 to 65535";
}

const char *forward_parse(const char *text, struct forward *ret)
{
	const char *first = strchr(text, ':'), *last = strrchr(text, ':');
	g_autofree char *head = first ? g_strndup(text, (gsize)(first - text)) : NULL;
	g_autofree char *host = NULL;
	const char *fault;
	uint32_t port;
	bool to_guest;

	if (!first)
		return "a forward is written HOST:PORT or PORT:HOST, as in \"tcp:127.0.0.1:2222:22\"";
	to_guest = !g_ascii_isdigit(text[0]);
	if (!parse_port(to_guest ? last + 1 : head, NAMES_CID_MAX, &port))
		return "the guest's end is a port number: 1 to 4294967294";
	host = to_guest ? g_strndup(text, (gsize)(last - text)) : g_strdup(first + 1);
	fault = host_fault(host);
	if (fault)
		return fault;
	ret->to_guest = to_guest;
	ret->port = port;
	ret->host = g_steal_pointer(&host);
	return NULL;
}

/* Each end that listens is one: a socket of the host, or a port on which a VM reaches the host. */
static void take_listener(struct builder *b, const struct vm *vm, const struct forward *f,
			  struct jt_node *node, GHashTable *listeners)
{
	unsigned base = b->lab->port_base;
	g_autofree char *key = f->to_guest ? g_strdup(f->host) :
					     g_strdup_printf("port %u of VM %s", f->port, vm->name);

	if (!f->to_guest && f->port >= base && f->port < base + LAB_PORTS)
		lab_error_at(b->errors, node, "ports %u to %u belong to the agent", base,
			     base + LAB_PORTS - 1);
	else if (g_hash_table_contains(listeners, key))
		lab_error_at(b->errors, node, "%s is forwarded already", key);
	g_hash_table_add(listeners, g_steal_pointer(&key));
}

static void add_forward(struct builder *b, struct vm *vm, struct jt_node *node,
			GHashTable *listeners)
{
	struct forward *forward = g_new0(struct forward, 1);
	g_autofree char *quoted = jt_quote(node->string);
	const char *fault = forward_parse(node->string, forward);

	if (fault)
		lab_error_at(b->errors, node, "%s: %s", quoted, fault);
	else
		take_listener(b, vm, forward, node, listeners);
	forward->id = g_strdup_printf("%s.%s", vm->name, node->string);
	g_ptr_array_add(vm->forwards, forward);
}

static void build_forwards(struct builder *b, struct vm *vm, GHashTable *listeners)
{
	struct jt_node *list = build_good(vm_node(b, vm), "forwards");

	for (struct jt_node *n = list ? list->child : NULL; n; n = n->next)
		if (n->ok)
			add_forward(b, vm, n, listeners);
}

/* --- tests ---------------------------------------------------------------------------------------------------------- */

static void check_regex(struct builder *b, struct jt_node *node)
{
	g_autoptr(GError) error = NULL;
	g_autoptr(GRegex) regex = NULL;

	if (!node)
		return;
	regex = g_regex_new(node->string, 0, 0, &error);
	if (!regex)
		lab_error_at(b->errors, node, "is no regular expression: %s", error->message);
}

static GStrv texts_of(const struct jt_node *list)
{
	GPtrArray *texts = g_ptr_array_new();

	for (struct jt_node *n = list ? list->child : NULL; n; n = n->next)
		if (n->ok)
			g_ptr_array_add(texts, g_strdup(n->string));
	g_ptr_array_add(texts, NULL);
	return (GStrv)g_ptr_array_free(texts, FALSE);
}

/* Its VM, or NULL: then it has been reported. */
static struct vm *test_vm(struct builder *b, struct jt_node *node)
{
	struct jt_node *name = build_good(node, "vm");
	struct vm *vm = name ? lab_find_vm(b->lab, name->string) : NULL;

	if (name && !vm)
		build_no_such(b, name, "VM", b->lab->vms);
	if (vm && vm->sockets == LAB_SOCKETS_NONE)
		lab_error_at(b->errors, name,
			     "VM %s has no sockets, so no command can be run in it", vm->name);
	return vm;
}

static void add_test(struct builder *b, struct jt_node *node, GHashTable *names)
{
	struct jt_node *name = build_good(node, "name");
	struct lab_test *test = g_new0(struct lab_test, 1);

	test->name = build_good_string(node, "name");
	test->vm = test_vm(b, node);
	test->command = texts_of(build_good(node, "command"));
	test->user = build_good_string(node, "user");
	test->status = (unsigned)build_good_number(node, "exit", 0);
	test->stdout_regex = build_good_string(node, "stdout");
	test->timeout_ms = time_of(node, "timeout", LAB_TEST_TIMEOUT);
	test->hint = build_good_string(node, "hint");
	check_regex(b, build_good(node, "stdout"));
	if (name && !g_hash_table_add(names, (char *)(uintptr_t)name->string))
		lab_error_at(b->errors, name, "a test called \"%s\" is there already",
			     name->string);
	g_ptr_array_add(b->lab->tests, test);
}

static void build_tests(struct builder *b)
{
	g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
	struct jt_node *list = build_good(b->root, "tests");

	for (struct jt_node *n = list ? list->child : NULL; n; n = n->next)
		if (n->ok)
			add_test(b, n, names);
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

void build_sockets(struct builder *b)
{
	g_autoptr(GHashTable)
		listeners = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	const GPtrArray *vms = b->lab->vms;

	b->lab->port_base = (unsigned)build_good_number(b->root, "port-base", LAB_PORT_BASE);
	for (unsigned i = 0; i < vms->len; i++) {
		build_kind(b, vms->pdata[i]);
		build_qemu(b, vms->pdata[i]);
		take_given_cid(b, vms->pdata[i]);
	}
	for (unsigned i = 0; i < vms->len; i++) {
		derive_cid(b, vms->pdata[i]);
		build_peers(b, vms->pdata[i]);
		build_probes(b, vms->pdata[i]);
		build_distros(b, vms->pdata[i]);
		build_forwards(b, vms->pdata[i], listeners);
	}
	build_tests(b);
}
