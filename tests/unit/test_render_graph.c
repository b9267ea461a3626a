/* SPDX-License-Identifier: MIT */
/* Pictures of a lab, and lists for other programs: golden text, and what holds of any lab. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <glib.h>

#include "golden.h"
#include "model/lab.h"
#include "random_lab.h"
#include "render/ansible.h"
#include "render/dot.h"
#include "render/graph.h"
#include "render/hosts.h"
#include "render/mermaid.h"
#include "render/ssh_config.h"
#include "render/svg.h"
#include "render/svg_layout.h"
#include "render/svg_text.h"

#define LABS 500u /* random ones, of each kind */

static struct lab_dirs dirs = { .state = "/s", .runtime = "/r", .cache = "/c" };

static struct lab *parse(const char *text)
{
	struct lab_errors *errors = NULL;
	struct lab *lab = NULL;

	if (!lab_parse(text, strlen(text), "/x/lab.json", &dirs, &lab, &errors))
		fail_msg("%s%s", lab_errors_format(errors), text);
	return lab;
}

/* --- golden text -------------------------------------------------------------------------------------------------- */

static char *ansible_text(const struct lab *lab)
{
	return render_ansible(lab, "/opt/it's here/orchestrator");
}

static char *ssh_text(const struct lab *lab)
{
	return render_ssh_config(lab, NULL, "/opt/it's here/orchestrator");
}

static void test_golden(void **state)
{
	static const struct {
		const char *golden;
		char *(*of_graph)(const struct graph *);
		char *(*of_lab)(const struct lab *);
	} cases[] = {
		{ "graph/campus.dot", render_dot, NULL },
		{ "graph/campus.mmd", render_mermaid, NULL },
		{ "graph/campus.svg", render_svg, NULL },
		{ "graph/campus.hosts", NULL, render_hosts },
		{ "graph/campus.yaml", NULL, ansible_text },
		{ "graph/campus.ssh_config", NULL, ssh_text },
	};
	g_autofree char *text = source_text("tests/unit/golden/graph/campus.json");
	struct lab *lab = parse(text);
	struct graph *graph = graph_new(lab);
	unsigned differ = 0;

	for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
		g_autofree char *out = cases[i].of_graph ? cases[i].of_graph(graph) :
							   cases[i].of_lab(lab);

		differ += (unsigned)golden_check(cases[i].golden, out);
	}
	assert_int_equal(differ, 0);
	graph_free(graph);
	lab_free(lab);
}

/* The picture in examples/README.md is what the tool makes of the lab beside it. */
static void test_picture_of_the_examples(void **state)
{
	g_autofree char *path = source_path("examples/wan/lab.json"), *out = NULL;
	struct lab_errors *errors = NULL;
	struct graph *graph;
	struct lab *lab;

	if (!lab_load(path, &dirs, &lab, &errors))
		fail_msg("%s", lab_errors_format(errors));
	graph = graph_new(lab);
	out = render_svg(graph);
	assert_int_equal(golden_check("../../../doc/wan.svg", out), 0);
	graph_free(graph);
	lab_free(lab);
}

/* --- the graph ---------------------------------------------------------------------------------------------------- */

static const struct graph_edge *edge_of(const struct graph *g, const char *from, const char *to)
{
	for (unsigned i = 0; i < g->edges->len; i++) {
		const struct graph_edge *e = graph_edge(g, i);

		if (strcmp(e->from->id, from) == 0 && strcmp(e->to->id, to) == 0)
			return e;
	}
	fail_msg("no edge from %s to %s", from, to);
	return NULL;
}

static void assert_words(const struct graph *g, const char *from, const char *to,
			 const char *expected)
{
	g_autofree char *words = graph_edge_words(edge_of(g, from, to), "|");

	assert_string_equal(words, expected);
}

static void test_words(void **state)
{
	g_autofree char *text = source_text("tests/unit/golden/graph/campus.json");
	struct lab *lab = parse(text);
	struct graph *g = graph_new(lab);

	assert_words(g, "vm-alice", "net-office", "eth0 10.1.0.10|VLAN 10");
	assert_words(g, "vm-gw", "net-office", "eth1 10.1.0.2|VLAN trunk 10 20 30, native 10");
	assert_words(g, "vm-bob", "net-office",
		     "eth0 10.1.0.11|VLAN 20|to guest: dsl|from guest: dsl, qos voice");
	assert_words(g, "vm-printer", "net-office", "eth0 10.1.0.12|VLAN 30|isolated");
	assert_words(g, "vm-web-2", "net-core",
		     "eth0 10.0.0.11|to guest: delay 5ms, loss 2%|from guest: loss 2%");
	assert_words(g, "vm-web-2", "portal-scratch", "pmem|read-only");
	assert_words(g, "up-office-tap", "net-office", "radio");
	assert_words(g, "up-core-vxlan", "net-core", "VLAN 30");
	assert_words(g, "up-core-nat", "net-core", "");
	/* VLANs of one network by number, each with those that are in it. */
	assert_int_equal(g->groups->len, 4);
	assert_int_equal(((struct graph_group *)g->groups->pdata[1])->vlan, 10);
	assert_int_equal(((struct graph_group *)g->groups->pdata[1])->edges->len, 2);
	assert_ptr_equal(edge_of(g, "vm-alice", "net-office")->group, g->groups->pdata[1]);
	assert_null(edge_of(g, "vm-gw", "net-office")->group);
	graph_free(g);
	lab_free(lab);
}

/* --- text --------------------------------------------------------------------------------------------------------- */

static void test_cut(void **state)
{
	static const char *const texts[] = { "", "n1", "a name that is rather long", "äöü€→…字字字",
					     "iiiiiiiiiiiiiiiiiiiiiiii" };

	for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++)
		for (double width = 20; width < 300; width += 7) {
			g_autofree char *cut = svg_text_cut(texts[i], width, 12);

			assert_true(g_utf8_validate(cut, -1, NULL));
			assert_true(svg_text_width(cut, 12, false) <= width);
			if (svg_text_width(texts[i], 12, false) <= width)
				assert_string_equal(cut, texts[i]);
			else
				assert_true(g_str_has_suffix(cut, "…"));
		}
}

static void test_wrap(void **state)
{
	g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

	svg_text_wrap("rate 16mbit, delay 15ms, jitter 2ms", 90, 12, 5, lines);
	assert_int_equal(lines->len, 3);
	assert_string_equal(lines->pdata[0], "rate 16mbit,");
	assert_string_equal(lines->pdata[1], "delay 15ms,");
	assert_string_equal(lines->pdata[2], "jitter 2ms");
	g_ptr_array_set_size(lines, 0);
	svg_text_wrap("rate 16mbit, delay 15ms, jitter 2ms", 90, 12, 2, lines);
	assert_int_equal(lines->len, 2);
	assert_true(g_str_has_suffix(lines->pdata[1], "…"));
	g_ptr_array_set_size(lines, 0);
	svg_text_wrap("averyveryverylongwordthatfitsnowhere and more", 90, 12, 3, lines);
	assert_int_equal(lines->len, 2);
	assert_true(g_str_has_suffix(lines->pdata[0], "…"));
	assert_string_equal(lines->pdata[1], "and more");
}

/* --- what holds of every layout ----------------------------------------------------------------------------------- */

static const struct svg_box *box_at(const struct svg_layout *l, unsigned i)
{
	return &g_array_index(l->boxes, struct svg_box, i);
}

static bool meet(struct svg_rect a, struct svg_rect b, double gap)
{
	return a.x < b.x + b.w + gap && b.x < a.x + a.w + gap && a.y < b.y + b.h + gap &&
	       b.y < a.y + a.h + gap;
}

static bool within(struct svg_rect a, struct svg_rect b)
{
	return a.x >= b.x && a.y >= b.y && a.x + a.w <= b.x + b.w && a.y + a.h <= b.y + b.h;
}

static void check_boxes(const struct svg_layout *l, const struct graph *g)
{
	const struct svg_rect page = { 0, 0, l->width, l->height };

	assert_int_equal(l->boxes->len, g->nodes->len);
	for (unsigned i = 0; i < l->boxes->len; i++) {
		if (!within(box_at(l, i)->rect, page))
			fail_msg("%s leaves the page", box_at(l, i)->node->id);
		for (unsigned j = 0; j < i; j++)
			if (meet(box_at(l, i)->rect, box_at(l, j)->rect, 8))
				fail_msg("%s meets %s", box_at(l, i)->node->id,
					 box_at(l, j)->node->id);
	}
}

static void check_text_in_box(const struct svg_layout *l, const struct svg_text *t)
{
	if (!within(svg_text_rect(t), box_at(l, (unsigned)t->box)->rect))
		fail_msg("\"%s\" leaves %s", t->text, box_at(l, (unsigned)t->box)->node->id);
}

static void check_free_text(const struct svg_layout *l, const struct svg_text *t)
{
	const struct svg_rect page = { 0, 0, l->width, l->height };

	if (!within(svg_text_rect(t), page))
		fail_msg("\"%s\" leaves the page", t->text);
	for (unsigned i = 0; i < l->boxes->len; i++)
		if (meet(svg_text_rect(t), box_at(l, i)->rect, 0))
			fail_msg("\"%s\" meets %s", t->text, box_at(l, i)->node->id);
}

static void check_texts(const struct svg_layout *l)
{
	for (unsigned i = 0; i < l->texts->len; i++) {
		const struct svg_text *t = l->texts->pdata[i];

		if (t->box >= 0)
			check_text_in_box(l, t);
		else
			check_free_text(l, t);
		for (unsigned j = 0; j < i; j++) {
			const struct svg_text *other = l->texts->pdata[j];

			if (meet(svg_text_rect(t), svg_text_rect(other), 0))
				fail_msg("\"%s\" meets \"%s\"", t->text, other->text);
		}
	}
}

static const struct svg_box *box_of(const struct svg_layout *l, const struct graph_node *node)
{
	for (unsigned i = 0; i < l->boxes->len; i++)
		if (box_at(l, i)->node == node)
			return box_at(l, i);
	fail_msg("%s has no box", node->id);
	return NULL;
}

/* Its ends are at the sides of its boxes, that face each other; no VM and no uplink is in its way. */
static void check_wire(const struct svg_layout *l, const struct svg_wire *w)
{
	struct svg_rect line = { w->x1, w->y, w->x2 - w->x1, 0 };
	const struct svg_box *a = box_of(l, w->edge->from), *b = box_of(l, w->edge->to);
	const struct svg_box *left = a->rect.x < b->rect.x ? a : b, *right = left == a ? b : a;

	assert_true(w->x1 < w->x2);
	assert_true(w->x1 == left->rect.x + left->rect.w && w->x2 == right->rect.x);
	for (unsigned i = 0; i < 2; i++) {
		struct svg_rect r = i == 0 ? a->rect : b->rect;

		assert_true(w->y > r.y && w->y < r.y + r.h);
	}
	for (unsigned i = 0; i < l->boxes->len; i++) {
		const struct svg_box *box = box_at(l, i);

		if (box != a && box != b &&
		    (box->node->kind == GRAPH_VM || box->node->kind == GRAPH_UPLINK) &&
		    meet(line, box->rect, 0))
			fail_msg("the wire from %s to %s passes %s", a->node->id, b->node->id,
				 box->node->id);
	}
}

static void check_wires(const struct svg_layout *l, const struct graph *g)
{
	assert_int_equal(l->wires->len, g->edges->len);
	for (unsigned i = 0; i < l->wires->len; i++) {
		const struct svg_wire *w = &g_array_index(l->wires, struct svg_wire, i);

		check_wire(l, w);
		for (unsigned j = 0; j < i; j++) {
			const struct svg_wire *other = &g_array_index(l->wires, struct svg_wire, j);

			if (w->x1 < other->x2 && other->x1 < w->x2 && w->y - other->y < 3 &&
			    other->y - w->y < 3)
				fail_msg("one wire is on another: %s, %s", w->edge->from->id,
					 other->edge->from->id);
		}
	}
}

/* --- what holds of every text ------------------------------------------------------------------------------------- */

static void note_id(GMarkupParseContext *context, const char *element, const char **names,
		    const char **values, void *data, GError **error)
{
	(void)context;
	(void)error;
	if (strcmp(element, "script") == 0 || strcmp(element, "image") == 0)
		fail_msg("a picture with <%s>", element);
	for (unsigned i = 0; names[i]; i++)
		if (strcmp(names[i], "id") == 0)
			assert_true(g_hash_table_add(data, g_strdup(values[i])));
}

static void check_xml(const char *svg, const struct graph *g)
{
	static const GMarkupParser parser = { .start_element = note_id };
	g_autoptr(GHashTable) ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	GMarkupParseContext *context =
		g_markup_parse_context_new(&parser, G_MARKUP_DEFAULT_FLAGS, ids, NULL);
	g_autoptr(GError) error = NULL;

	if (!g_markup_parse_context_parse(context, svg, -1, &error) ||
	    !g_markup_parse_context_end_parse(context, &error))
		fail_msg("%s", error->message);
	g_markup_parse_context_free(context);
	assert_int_equal(g_hash_table_size(ids), g->nodes->len);
	for (unsigned i = 0; i < g->nodes->len; i++)
		assert_true(g_hash_table_contains(ids, graph_node(g, i)->id));
}

/* Every line is one of the few kinds that there are. */
static void check_lines(const char *text, const char *pattern)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	g_autoptr(GRegex) regex = g_regex_new(pattern, G_REGEX_OPTIMIZE, 0, NULL);

	for (unsigned i = 0; lines[i]; i++)
		if (!g_regex_match(regex, lines[i], 0, NULL))
			fail_msg("line %u: %s", i + 1, lines[i]);
}

/* Each address once, each VM by its name where it has any. */
static void check_hosts(const struct lab *lab, const char *text)
{
	unsigned n_nics = 0, n_lines = 0;

	check_lines(text,
		    "^(|# .*|[0-9.]+ *\t[a-z0-9-]+(\\.[a-z0-9-]+)?( [a-z0-9-]+\\.[a-z0-9-]+)?)$");
	for (const char *line = text; *line; line = strchr(line, '\n') + 1)
		n_lines += *line != '#';
	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);
		g_autofree char *name = g_strdup_printf("\t%s ", vm->name);

		n_nics += vm->nics->len;
		assert_true(vm->nics->len == 0 || strstr(text, name));
	}
	assert_int_equal(n_lines, n_nics);
}

/* Each VM is a host of the inventory; of ssh those are that have sockets. */
static void check_reach(const struct lab *lab, const char *ssh, const char *ansible)
{
	check_lines(
		ssh,
		"^(|# .*|Host [a-z0-9*-]+|\t(HostKeyAlias|ProxyCommand|User|StrictHostKeyChecking|"
		"UserKnownHostsFile|LogLevel) .+)$");
	check_lines(ansible,
		    "^(|# .*|( {2})*([a-z0-9_]+|\"[a-z0-9-]+\"):"
		    "( (\\{\\}|\"([^\"\\\\]|\\\\.)*\"|\\{(\"[^\"]+\": \"[^\"]+\"(, )?)+\\}))?)$");
	for (unsigned i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);
		g_autofree char *host = g_strdup_printf("\nHost %s\n", vm->name);
		g_autofree char *key = g_strdup_printf("\n    \"%s\":", vm->name);

		assert_int_equal(strstr(ssh, host) != NULL, vm->sockets != LAB_SOCKETS_NONE);
		assert_non_null(strstr(ansible, key));
	}
}

static void check_lists(const struct lab *lab)
{
	g_autofree char *hosts = render_hosts(lab), *ssh = ssh_text(lab),
			*ansible = ansible_text(lab);

	check_hosts(lab, hosts);
	check_reach(lab, ssh, ansible);
}

static void check_lab(const char *text)
{
	static const char mermaid[] =
		"^(|flowchart LR|\taccTitle: [a-z0-9-]+|\tclassDef \\w+ [\\w:,#]+"
		"|\tn\\d+(\\[|\\{\\{|\\(\\[|\\[\\()\"[^\"]*\"(\\]|\\}\\}|\\]\\)|\\)\\]):::(vm|network|uplink|portal)"
		"|\tn\\d+ (---|===|-\\.-)(\\|\"[^\"]+\"\\|)? n\\d+)$";
	static const char dot[] =
		"^(|\\}|graph \"[a-z0-9-]+\" \\{"
		"|\t((graph|node|edge)|\"[^\"]+\"( -- \"[^\"]+\")?) \\[(\\w+=(\\w+|\"([^\"\\\\]|\\\\.)*\")(, |(?=\\]))){1,}\\];)$";
	struct lab *lab = parse(text);
	struct graph *g = graph_new(lab);
	struct svg_layout *layout = svg_layout_new(g);
	g_autofree char *svg = render_svg(g), *flow = render_mermaid(g), *graph = render_dot(g);

	check_boxes(layout, g);
	check_texts(layout);
	check_wires(layout, g);
	check_xml(svg, g);
	check_lines(flow, mermaid);
	check_lines(graph, dot);
	check_lists(lab);
	svg_layout_free(layout);
	graph_free(g);
	lab_free(lab);
}

/* Guests that were attached are reached as VMs are. */
static void test_ssh_guests(void **state)
{
	struct lab *lab = parse("{\"name\": \"l\", \"vms\": {\"n1\": {}}}");
	g_autoptr(GPtrArray) guests = g_ptr_array_new();
	g_autofree char *text = NULL;

	g_ptr_array_add(guests, (char[]){ "web" });
	text = render_ssh_config(lab, guests, "orchestrator");
	assert_non_null(strstr(text, "\nHost n1\n"));
	assert_non_null(strstr(text, "\nHost web\n\tHostKeyAlias web.l.vhost-lab\n"
				     "\tProxyCommand orchestrator vsock-connect --lab l web 22\n"));
	lab_free(lab);
}

static void test_random_labs(void **state)
{
	for (guint32 seed = 0; seed < LABS; seed++) {
		g_autofree char *text = random_lab_text(seed, 10, 100);

		check_lab(text);
	}
}

/* --- labs of many networks ---------------------------------------------------------------------------------------- */

static void random_uplinks(GRand *r, GString *out)
{
	static const char *const uplinks[] = {
		"{ \"type\": \"nat\" }",
		"{ \"type\": \"tap\", \"ifname\": \"a-tap\", \"vlan\": 3, \"profile\": \"wan\" }",
		"{ \"type\": \"vxlan\", \"vni\": 7, \"peers\": [\"192.0.2.1\"], \"isolated\": true }",
	};
	int n = g_rand_int_range(r, 0, 8);

	g_string_append(out, ", \"uplinks\": [");
	for (int i = 0; i < n && i < 4; i++)
		g_string_append_printf(out, "%s%s", i > 0 ? ", " : "",
				       uplinks[g_rand_int_range(r, i > 0, 3)]);
	g_string_append(out, "]");
}

static void random_vm(GRand *r, GString *out, unsigned i, int n_networks, int n_portals)
{
	static const char *const doors[] = { "pmem", "ivshmem" };
	int n = g_rand_int_range(r, 0, 7);

	g_string_append_printf(out, "%s\"%s%u\": { \"nics\": [", i > 0 ? ", " : "",
			       g_rand_boolean(r) ? "vm" : "a-machine-of-a-name-", i);
	for (int j = 0; j < n; j++) {
		g_string_append_printf(out, "%s{ \"network\": \"net%d\"", j > 0 ? ", " : "",
				       g_rand_int_range(r, 0, n_networks));
		random_link(r, out);
		g_string_append(out, " }");
	}
	g_string_append(out, "], \"portals\": {");
	for (int j = 0, begun = 0; j < n_portals && j < 8; j++)
		if (g_rand_int_range(r, 0, 3) == 0)
			g_string_append_printf(out, "%s\"p%d\": { \"door\": \"%s\" }",
					       begun++ ? ", " : "", j,
					       doors[g_rand_int_range(r, 0, 2)]);
	g_string_append_printf(out, "}%s }",
			       g_rand_int_range(r, 0, 3) == 0 ? ", \"role\": \"router-and-more\"" :
								"");
}

static char *wide_lab_text(guint32 seed)
{
	g_autoptr(GRand) r = g_rand_new_with_seed(seed);
	int n_networks = g_rand_int_range(r, 1, 13), n_portals = g_rand_int_range(r, 0, 6);
	unsigned n_vms = (unsigned)g_rand_int_range(r, 1, 13);
	GString *out = g_string_new(
		"{ \"name\": \"wide\", \"description\": \"<&\\\"'\\\\>\", \"networks\": {");

	for (int i = 0; i < n_networks; i++) {
		g_string_append_printf(out, "%s\"net%d\": { \"subnet\": \"10.%d.0.0/16\"",
				       i > 0 ? ", " : "", i, i);
		random_uplinks(r, out);
		g_string_append(out, " }");
	}
	g_string_append(out, "}, \"portals\": {");
	for (int i = 0; i < n_portals; i++)
		g_string_append_printf(out, "%s\"p%d\": { \"description\": \"\\u00e4 <\\\">\" }",
				       i > 0 ? ", " : "", i);
	g_string_append(out, "}, \"vms\": {");
	for (unsigned i = 0; i < n_vms; i++)
		random_vm(r, out, i, n_networks, n_portals);
	g_string_append(out, "} }");
	return g_string_free(out, FALSE);
}

static void test_wide_labs(void **state)
{
	for (guint32 seed = 0; seed < LABS; seed++) {
		g_autofree char *text = wide_lab_text(seed);

		check_lab(text);
	}
}

/* As many VMs as there can be: the picture gets long, not slow. */
static void test_largest(void **state)
{
	GString *text = g_string_new(
		"{ \"networks\": { \"lan\": { \"subnet\": \"10.0.0.0/16\" } }, \"vms\": {");
	struct graph *g;
	struct lab *lab;
	g_autofree char *svg = NULL;

	for (unsigned i = 0; i < LAB_VMS_MAX; i++)
		g_string_append_printf(text, "%s\"n%u\": {}", i > 0 ? ", " : "", i);
	g_string_append(text, "} }");
	lab = parse(text->str);
	g = graph_new(lab);
	svg = render_svg(g);
	check_xml(svg, g);
	graph_free(g);
	lab_free(lab);
	g_string_free(text, TRUE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_ssh_guests),
		cmocka_unit_test(test_picture_of_the_examples),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_random_labs),
		cmocka_unit_test(test_wide_labs),
		cmocka_unit_test(test_largest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
