/* SPDX-License-Identifier: MIT */
/* A lab file of any bytes.
 *
 * Refused: at least one error, each with a place inside the text, in order, in valid UTF-8.  Taken: the lab keeps its
 * promises (names, unique addresses, no cycle in `after`), its plan is a fixpoint, and each VM has a command line.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <glib.h>
#include <json-c/json.h>

#include "host/caps.h"
#include "image/image.h"
#include "model/lab.h"
#include "plan/plan.h"
#include "render/qemu.h"

static struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };

static void check_errors(const struct lab_errors *errors, size_t size)
{
	g_autofree char *text = lab_errors_format(errors);
	uint32_t last = 0;

	assert(lab_errors_count(errors) > 0);
	assert(g_utf8_validate(text, -1, NULL));
	for (const char *p = text; *p; p++)
		assert((unsigned char)*p >= 0x20 || *p == '\n');
	for (unsigned i = 0; i < errors->list->len; i++) {
		const struct lab_error *e = errors->list->pdata[i];

		assert(e->offset >= last && e->offset <= size);
		assert(e->line > 0 && e->column > 0);
		assert(!strchr(e->text, '\n') && !strchr(e->pointer, '\n'));
		last = e->offset;
	}
}

static void check_names(const struct lab *lab)
{
	g_autoptr(GHashTable) macs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	g_autoptr(GHashTable) ips = g_hash_table_new(NULL, NULL);

	assert(names_valid(lab->name));
	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);

		assert(names_valid(vm->name) && lab_find_vm(lab, vm->name) == vm);
		for (unsigned j = 0; j < vm->nics->len; j++) {
			const struct nic *nic = vm_nic(vm, j);
			uint32_t host = ntohl(nic->ip.s_addr) - ntohl(nic->network->subnet.s_addr);
			char mac[NAMES_MAC_LEN + 1];

			names_mac_format(nic->mac, mac);
			assert(g_hash_table_add(macs, g_strdup(mac)));
			assert(g_hash_table_add(ips, GUINT_TO_POINTER(nic->ip.s_addr)));
			assert(host > 0 && host <= names_ip_count(nic->network->prefix));
		}
	}
}

static void check_plan(const struct lab *lab)
{
	struct observed *nothing = observed_new(), *all;
	struct plan *plan = plan_make(lab, nothing, PLAN_DEFAULT), *again;

	all = plan_result(plan, lab, nothing);
	again = plan_make(lab, all, PLAN_DEFAULT);
	assert(all->vms->len == lab->vms->len);
	assert(again->steps->len == 0);
	plan_free(again);
	plan_free(plan);
	observed_free(all);
	observed_free(nothing);
}

static void check_render(const struct lab *lab)
{
	static struct image image = { .key = "", .kernel = "/k", .initrd = "/i", .append = "a" };
	static struct qemu_caps caps = { .binary = "/q", .has_vsock = true, .kvm_usable = true };
	struct lab_paths *paths = lab_paths_new(lab, &dirs);

	for (unsigned i = 0; i < MIN(lab->vms->len, 4); i++) {
		const struct vm *vm = lab_vm(lab, i);
		g_autofree char *script = NULL;
		g_auto(GStrv) argv = NULL;

		if (!render_qemu(lab, vm, &caps, &image, paths, RENDER_BY_HAND, &argv, NULL))
			continue;
		script = render_qemu_script(lab, vm, paths, argv);
		assert(g_str_has_prefix(script, "#!/bin/sh\n"));
	}
	lab_paths_free(paths);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (!lab_parse((const char *)data, size, "f.json", &dirs, &lab, &errors)) {
		check_errors(errors, size);
		lab_errors_free(errors);
		return 0;
	}
	check_names(lab);
	check_plan(lab);
	check_render(lab);
	lab_free(lab);
	return 0;
}
