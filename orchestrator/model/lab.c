/* SPDX-License-Identifier: MIT */
#include "model/lab.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "model/build.h"
#include "model/fields.h"
#include "model/jsontree.h"

#define LIBVIRT_PREFIX "libvirt " /* of lab_engine_text() */

const char *lab_arch_name(enum lab_arch arch)
{
	static const char *const names[LAB_ARCH_COUNT] = { "x86_64", "aarch64" };

	return names[arch];
}

char *lab_engine_text(const struct lab_engine *engine)
{
	return engine->kind == LAB_ENGINE_QEMU ? g_strdup("qemu") :
						 g_strdup_printf(LIBVIRT_PREFIX "%s", engine->uri);
}

const char *lab_engine_text_uri(const char *text)
{
	return g_str_has_prefix(text, LIBVIRT_PREFIX) ? text + strlen(LIBVIRT_PREFIX) : NULL;
}

const char *lab_engine_user_name(enum lab_engine_user user)
{
	static const char *const names[LAB_ENGINE_USER_UNSAID] = { "owner", "libvirt" };

	return names[user];
}

const char *lab_accel_name(enum lab_accel accel)
{
	static const char *const names[LAB_ACCEL_COUNT] = { "auto", "kvm", "tcg" };

	return names[accel];
}

const char *lab_sockets_name(enum lab_sockets sockets)
{
	static const char *const names[LAB_SOCKETS_COUNT] = { "vsock", "none", "hvsock" };

	return names[sockets];
}

const char *lab_direction_name(enum lab_direction direction)
{
	static const char *const names[LAB_DIRECTIONS] = { "to-guest", "from-guest" };

	return names[direction];
}

const char *portal_door_name(enum portal_door door)
{
	static const char *const names[PORTAL_DOOR_COUNT] = { "pmem", "ivshmem", "vhost-user" };

	return names[door];
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

static void link_clear(struct link *link)
{
	json_object_put(link->port);
	for (unsigned i = 0; i < LAB_DIRECTIONS; i++) {
		json_object_put(link->impair[i]);
		json_object_put(link->timeline[i]);
		g_free(link->qos[i]);
	}
}

static void named_free(void *data)
{
	struct named *n = data;

	g_free(n->name);
	json_object_put(n->params);
	g_free(n);
}

void nat_forward_free(struct nat_forward *forward)
{
	g_free(forward->text);
	g_free(forward->host);
	g_free(forward);
}

static void free_nat_forward(void *data)
{
	nat_forward_free(data);
}

static void uplink_free(void *data)
{
	struct uplink *u = data;

	g_free(u->port);
	json_object_put(u->own);
	g_ptr_array_unref(u->forwards);
	link_clear(&u->link);
	g_free(u);
}

static void network_free(void *data)
{
	struct network *n = data;

	g_free(n->name);
	g_free(n->description);
	json_object_put(n->storm);
	g_ptr_array_unref(n->uplinks);
	g_ptr_array_unref(n->mirrors);
	g_ptr_array_unref(n->rules);
	g_ptr_array_unref(n->captures);
	g_free(n);
}

struct network *network_new(const char *name, unsigned index)
{
	struct network *n = g_new0(struct network, 1);

	n->name = g_strdup(name);
	n->index = index;
	n->uplinks = g_ptr_array_new_with_free_func(uplink_free);
	n->mirrors = g_ptr_array_new_with_free_func(named_free);
	n->rules = g_ptr_array_new_with_free_func(named_free);
	n->captures = g_ptr_array_new_with_free_func(named_free);
	return n;
}

struct uplink *uplink_new(char *port)
{
	struct uplink *u = g_new0(struct uplink, 1);

	u->port = port;
	u->forwards = g_ptr_array_new_with_free_func(free_nat_forward);
	return u;
}

static void image_ref_free(void *data)
{
	struct lab_image *image = data;

	g_free(image->name);
	g_free(image->kernel);
	g_free(image->initrd);
	g_free(image->append);
	g_free(image);
}

static void nic_free(void *data)
{
	struct nic *nic = data;

	g_free(nic->port);
	link_clear(&nic->link);
	g_free(nic);
}

static void probe_free(void *data)
{
	struct probe *probe = data;

	g_free(probe->name);
	g_free(probe->text);
	g_free(probe->hint);
	g_free(probe);
}

static void distro_free(void *data)
{
	struct distro *distro = data;

	g_free(distro->name);
	g_free(distro->image);
	g_free(distro);
}

static void forward_free(void *data)
{
	struct forward *forward = data;

	g_free(forward->host);
	g_free(forward->id);
	g_free(forward);
}

static void test_free(void *data)
{
	struct lab_test *test = data;

	g_free(test->name);
	g_strfreev(test->command);
	g_free(test->user);
	g_free(test->stdout_regex);
	g_free(test->hint);
	g_free(test);
}

static void portal_free(void *data)
{
	struct portal *portal = data;

	g_free(portal->name);
	g_free(portal->description);
	g_free(portal->file);
	g_free(portal);
}

static void vm_free(void *data)
{
	struct vm *vm = data;

	g_free(vm->name);
	g_free(vm->role);
	g_free(vm->description);
	g_free(vm->qemu);
	g_free(vm->append);
	g_ptr_array_set_free_func(vm->nics, nic_free);
	g_ptr_array_unref(vm->nics);
	g_ptr_array_unref(vm->after);
	if (vm->peers)
		g_ptr_array_unref(vm->peers);
	g_ptr_array_unref(vm->probes);
	g_ptr_array_unref(vm->distros);
	g_ptr_array_unref(vm->forwards);
	g_ptr_array_unref(vm->portals);
	g_free(vm);
}

struct vm *vm_new(const char *name, unsigned index)
{
	struct vm *vm = g_new0(struct vm, 1);

	vm->name = g_strdup(name);
	vm->index = index;
	vm->nics = g_ptr_array_new();
	vm->after = g_ptr_array_new();
	vm->probes = g_ptr_array_new_with_free_func(probe_free);
	vm->distros = g_ptr_array_new_with_free_func(distro_free);
	vm->forwards = g_ptr_array_new_with_free_func(forward_free);
	vm->portals = g_ptr_array_new_with_free_func(g_free);
	return vm;
}

static struct lab *lab_new(const char *text, size_t len, const char *path)
{
	struct lab *lab = g_new0(struct lab, 1);

	lab->path = g_canonicalize_filename(path, NULL);
	lab->text = g_malloc(len + 1);
	memcpy(lab->text, text, len);
	lab->text[len] = '\0';
	lab->text_len = len;
	lab->port_base = LAB_PORT_BASE;
	lab->tests = g_ptr_array_new_with_free_func(test_free);
	lab->profiles = g_ptr_array_new_with_free_func(named_free);
	lab->policies = g_ptr_array_new_with_free_func(named_free);
	lab->networks = g_ptr_array_new_with_free_func(network_free);
	lab->portals = g_ptr_array_new_with_free_func(portal_free);
	lab->images = g_ptr_array_new_with_free_func(image_ref_free);
	lab->vms = g_ptr_array_new_with_free_func(vm_free);
	lab->vms_by_name = g_hash_table_new(g_str_hash, g_str_equal);
	return lab;
}

void lab_free(struct lab *lab)
{
	if (!lab)
		return;
	g_hash_table_unref(lab->vms_by_name);
	g_ptr_array_unref(lab->tests);
	g_ptr_array_unref(lab->profiles);
	g_ptr_array_unref(lab->policies);
	g_ptr_array_unref(lab->vms);
	g_ptr_array_unref(lab->images);
	g_ptr_array_unref(lab->portals);
	g_ptr_array_unref(lab->networks);
	g_free(lab->name);
	g_free(lab->path);
	g_free(lab->description);
	g_free(lab->engine.uri);
	g_free(lab->text);
	g_free(lab);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

gboolean lab_parse(const char *text, size_t len, const char *path, const struct lab_dirs *dirs,
		   struct lab **ret_lab, struct lab_errors **ret_errors)
{
	struct lab_errors *errors = lab_errors_new(path);
	struct lab *lab = NULL;
	struct jt_tree *tree;

	if (len > LAB_FILE_MAX) {
		lab_error_of_file(errors, "larger than %u MiB: no lab needs that much",
				  LAB_FILE_MAX >> 20);
		*ret_errors = errors;
		return FALSE;
	}
	lab = lab_new(text, len, path);
	lab_errors_set_text(errors, lab->text, len);
	tree = jt_parse(lab->text, len, errors);
	if (tree) {
		field_check(&field_lab, jt_root(tree), errors);
		lab_build(lab, jt_root(tree), dirs, errors);
	}
	jt_free(tree);
	if (lab_errors_count(errors) > 0) {
		lab_errors_locate(errors);
		lab_free(lab);
		*ret_errors = errors;
		return FALSE;
	}
	lab_errors_free(errors);
	*ret_lab = lab;
	return TRUE;
}

/* Up to one byte more than a lab may have.  NULL with errno set. */
static char *read_file(const char *path, size_t *ret_len)
{
	g_autofree char *text = NULL;
	FILE *f = fopen(path, "re");
	size_t room = 0, len = 0, n;
	int err;

	if (!f)
		return NULL;
	errno = 0;
	do {
		room = MIN(MAX(room * 2, 65536), (size_t)LAB_FILE_MAX + 1);
		text = g_realloc(text, room + 1);
		n = fread(text + len, 1, room - len, f);
		len += n;
	} while (n > 0 && len <= LAB_FILE_MAX);
	err = ferror(f) ? errno : 0;
	fclose(f);
	errno = err;
	if (err)
		return NULL;
	text[len] = '\0';
	*ret_len = len;
	return g_steal_pointer(&text);
}

gboolean lab_load(const char *path, const struct lab_dirs *dirs, struct lab **ret_lab,
		  struct lab_errors **ret_errors)
{
	g_autofree char *text = NULL;
	size_t len;

	text = read_file(path, &len);
	if (text)
		return lab_parse(text, len, path, dirs, ret_lab, ret_errors);
	*ret_errors = lab_errors_new(path);
	lab_error_of_file(*ret_errors, "cannot read it: %s", g_strerror(errno));
	return FALSE;
}

/* --- looking -------------------------------------------------------------------------------------------------------- */

struct vm *lab_find_vm(const struct lab *lab, const char *name)
{
	return g_hash_table_lookup(lab->vms_by_name, name);
}

struct network *lab_find_network(const struct lab *lab, const char *name)
{
	for (unsigned i = 0; i < lab->networks->len; i++)
		if (strcmp(lab_network(lab, i)->name, name) == 0)
			return lab_network(lab, i);
	return NULL;
}

struct portal *lab_find_portal(const struct lab *lab, const char *name)
{
	for (unsigned i = 0; i < lab->portals->len; i++)
		if (strcmp(lab_portal(lab, i)->name, name) == 0)
			return lab_portal(lab, i);
	return NULL;
}

const struct portal_access *vm_find_portal(const struct vm *vm, const struct portal *portal)
{
	for (unsigned i = 0; i < vm->portals->len; i++)
		if (vm_portal(vm, i)->portal == portal)
			return vm_portal(vm, i);
	return NULL;
}

bool lab_has_sockets(const struct lab *lab)
{
	for (unsigned i = 0; i < lab->vms->len; i++)
		if (lab_vm(lab, i)->sockets != LAB_SOCKETS_NONE)
			return true;
	return false;
}

const struct distro *vm_find_distro(const struct vm *vm, const char *name)
{
	for (unsigned i = 0; i < vm->distros->len; i++) {
		const struct distro *distro = vm->distros->pdata[i];

		if (strcmp(distro->name, name) == 0)
			return distro;
	}
	return NULL;
}

GPtrArray *lab_network_nics(const struct lab *lab, const struct network *network)
{
	GPtrArray *nics = g_ptr_array_new();

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		for (unsigned j = 0; j < vm->nics->len; j++)
			if (vm_nic(vm, j)->network == network)
				g_ptr_array_add(nics, vm_nic(vm, j));
	}
	return nics;
}
