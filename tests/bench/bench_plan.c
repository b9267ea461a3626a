/* SPDX-License-Identifier: MIT */
/* Time from a lab file's text to its plan and every VM's script: bench_plan N
 *
 * One JSON object, seconds: {"vms":1000,"load":…,"plan":…,"render":…,"total":…}.  The lab has four networks; every VM has two
 * NICs, and all but the first wait for another one.  Once a process, as the CLI does it: nothing is warm.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>

#include "host/caps.h"
#include "image/image.h"
#include "model/lab.h"
#include "plan/plan.h"
#include "render/qemu.h"

static const struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };

struct times {
	double load, plan, render;
};

static char *lab_text(unsigned n)
{
	GString *out = g_string_new("{ \"version\": 1, \"name\": \"bench\", \"networks\": {");

	for (unsigned i = 0; i < 4; i++)
		g_string_append_printf(out, "%s \"net%u\": { \"subnet\": \"10.%u.0.0/16\" }",
				       i > 0 ? "," : "", i, i);
	g_string_append(out, " }, \"vms\": {\n");
	for (unsigned i = 0; i < n; i++) {
		g_string_append_printf(
			out,
			"%s\"vm%u\": { \"memory\": \"512MiB\", \"vcpus\": 2, \"nics\": [{ \"network\": \"net%u\" }, { \"network\": \"net%u\" }]",
			i > 0 ? ",\n" : "", i, i % 4, (i + 1) % 4);
		if (i > 0)
			g_string_append_printf(out, ", \"after\": [\"vm%u\"]", i / 2);
		g_string_append(out, " }");
	}
	g_string_append(out, " } }\n");
	return g_string_free(out, FALSE);
}

static struct lab *load(const char *text)
{
	struct lab_errors *errors;
	struct lab *lab;

	if (!lab_parse(text, strlen(text), "bench.json", &dirs, &lab, &errors)) {
		g_autofree char *said = lab_errors_format(errors);

		fputs(said, stderr);
		exit(1);
	}
	return lab;
}

static void make_plan(const struct lab *lab)
{
	struct observed *nothing = observed_new();
	struct plan *plan = plan_make(lab, nothing, PLAN_DEFAULT);
	g_autofree char *text = plan_format(plan);

	if (plan->steps->len < lab->vms->len || *text == '\0')
		exit(1);
	plan_free(plan);
	observed_free(nothing);
}

static void render(const struct lab *lab)
{
	static struct image image = {
		.key = "k", .kernel = "/c/kernel", .initrd = "/c/initrd", .append = "console=ttyS0"
	};
	static struct qemu_caps caps = { .arch = "x86_64",
					 .binary = "/usr/bin/qemu-system-x86_64",
					 .major = 7 };
	struct lab_paths *paths = lab_paths_new(lab, &dirs);

	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);
		g_autofree char *script = NULL;
		g_auto(GStrv) argv = NULL;

		if (!render_qemu(lab, vm, &caps, &image, paths, RENDER_BY_HAND, &argv, NULL))
			exit(1);
		script = render_qemu_script(lab, vm, paths, argv);
	}
	lab_paths_free(paths);
}

static double since(gint64 *mark)
{
	gint64 now = g_get_monotonic_time();
	double seconds = (double)(now - *mark) / G_USEC_PER_SEC;

	*mark = now;
	return seconds;
}

static struct times measure(const char *text)
{
	gint64 mark = g_get_monotonic_time();
	struct times t;
	struct lab *lab = load(text);

	t.load = since(&mark);
	make_plan(lab);
	t.plan = since(&mark);
	render(lab);
	t.render = since(&mark);
	lab_free(lab);
	return t;
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000;
	g_autofree char *text = lab_text(n);
	struct times t = measure(text);

	printf("{\"vms\":%u,\"load\":%.6f,\"plan\":%.6f,\"render\":%.6f,\"total\":%.6f}\n", n,
	       t.load, t.plan, t.render, t.load + t.plan + t.render);
	return 0;
}
