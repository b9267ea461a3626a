/* SPDX-License-Identifier: MIT */
/* Random valid lab files, for properties that have to hold for every lab: the same seed gives the same text. */
#ifndef TESTS_UNIT_RANDOM_LAB_H
#define TESTS_UNIT_RANDOM_LAB_H

#include <glib.h>
#include <string.h>

/* A setting or nothing. */
static inline void random_machine(GRand *r, GString *out)
{
	static const char *const sizes[] = { "64MiB", "262144KiB", "1GiB", "32MiB" };
	static const char *const accels[] = { "auto", "tcg" };

	if (g_rand_int_range(r, 0, 3) == 0)
		g_string_append_printf(out, "\"memory\": \"%s\", ",
				       sizes[g_rand_int_range(r, 0, 4)]);
	if (g_rand_int_range(r, 0, 3) == 0)
		g_string_append_printf(out, "\"vcpus\": %d, ", g_rand_int_range(r, 1, 5));
	if (g_rand_int_range(r, 0, 4) == 0)
		g_string_append_printf(out, "\"accel\": \"%s\", ",
				       accels[g_rand_int_range(r, 0, 2)]);
	if (g_rand_int_range(r, 0, 3) == 0)
		g_string_append_printf(out, "\"image\": \"own\", \"arch\": \"%s\", ",
				       g_rand_boolean(r) ? "aarch64" : "x86_64");
}

/* What a link does, or nothing. */
static inline void random_link(GRand *fate, GString *out)
{
	static const char *const settings[] = {
		", \"vlan\": 10",
		", \"vlan\": { \"trunk\": [10, 20], \"native\": 1 }",
		", \"profile\": \"wan\"",
		", \"impair\": { \"loss\": \"2%\", \"to-guest\": { \"delay\": \"5ms\" } }",
		", \"isolated\": true, \"offloads\": false",
		", \"timeline\": [{ \"at\": \"1s\", \"set\": { \"rate\": \"1mbit\" } }]",
	};
	int i = g_rand_int_range(fate, 0, 3 * (int)G_N_ELEMENTS(settings));

	if (i < (int)G_N_ELEMENTS(settings))
		g_string_append(out, settings[i]);
}

/* What a network does beside joining its NICs, or nothing. */
static inline void random_duties(GRand *fate, GString *out, unsigned network)
{
	if (g_rand_int_range(fate, 0, 3) == 0)
		g_string_append_printf(
			out, ", \"uplink\": { \"type\": \"nat\", \"gateway\": \"10.%u.255.%d\" }",
			network, g_rand_int_range(fate, 1, 3));
	if (g_rand_int_range(fate, 0, 3) == 0)
		g_string_append_printf(
			out, ", \"rules\": [{ \"name\": \"r\", \"duplicate\": \"%d%%\" }]",
			g_rand_int_range(fate, 1, 4));
	if (g_rand_int_range(fate, 0, 4) == 0)
		g_string_append(out,
				", \"captures\": [{ \"name\": \"c\", \"file\": \"c.pcapng\" }]");
}

/* The NICs of a VM: addresses are given to some, so that given and dealt ones meet; now and then `fate` moves one.
 *  given_ip counts per network. */
static inline void random_nics(GRand *r, GRand *fate, GString *out, unsigned n_networks,
			       unsigned *given_ip)
{
	unsigned n = (unsigned)g_rand_int_range(r, 0, 4);

	g_string_append(out, "\"nics\": [");
	for (unsigned i = 0; i < n; i++) {
		unsigned network = (unsigned)g_rand_int_range(r, 0, (int)n_networks);

		if (g_rand_int_range(fate, 0, 20) == 0)
			network = (network + 1) % n_networks;
		g_string_append_printf(out, "%s{ \"network\": \"net%u\"", i > 0 ? ", " : "",
				       network);
		if (g_rand_int_range(r, 0, 3) == 0) {
			unsigned host = ++given_ip[network];

			g_string_append_printf(out, ", \"ip\": \"10.%u.%u.%u\"", network, host >> 8,
					       host & 0xff);
		}
		if (g_rand_int_range(r, 0, 4) == 0)
			g_string_append_printf(out, ", \"queues\": %d", g_rand_int_range(r, 1, 5));
		random_link(fate, out);
		g_string_append(out, " }");
	}
	g_string_append(out, "], ");
}

/* What has to do with sockets, or nothing. */
static inline void random_sockets(GRand *r, GString *out)
{
	switch (g_rand_int_range(r, 0, 6)) {
	case 0:
		g_string_append(out, "\"sockets\": \"none\", ");
		break;
	case 1:
		g_string_append(out, "\"probes\": [{ \"name\": \"web\", \"port\": 80 }], "
				     "\"distros\": { \"deb\": { \"image\": \"d,eb.qcow2\" } }, ");
		break;
	case 2:
		g_string_append(out, "\"peers\": [], \"forwards\": [\"80:tcp:127.0.0.1:8080\"], ");
		break;
	default:
		break;
	}
}

/* Portals that a VM has, or none: not of one without sockets. */
static inline void random_accesses(GRand *fate, GString *out)
{
	static const char *const accesses[] = {
		"\"portals\": [\"p0\"], ",
		"\"portals\": [\"p1\", \"p0\"], ",
		"\"portals\": { \"p1\": { \"mode\": \"ro\" } }, ",
		"\"portals\": { \"p0\": { \"door\": \"ivshmem\" }, \"p1\": { \"quota\": \"4MiB\" } }, ",
	};
	int i = g_rand_int_range(fate, 0, 2 * (int)G_N_ELEMENTS(accesses));

	if (i < (int)G_N_ELEMENTS(accesses) && !strstr(out->str, "\"none\""))
		g_string_append(out, accesses[i]);
}

/* Two portals, of which `fate` changes one. */
static inline void random_portals(GRand *fate, GString *out)
{
	g_string_append_printf(
		out,
		"\"portals\": { \"p0\": { \"size\": \"%dMiB\" }, \"p1\": { \"file\": \"p,1\" } }, ",
		8 << g_rand_int_range(fate, 0, 2));
}

/* Up to max_vms VMs on one to four networks.  keep (0..100): how many in a hundred VMs exist at all, so that two texts of the
 * same seed and different keep are versions of one lab. */
static inline char *random_lab_text(guint32 seed, unsigned max_vms, unsigned keep)
{
	g_autoptr(GRand) r = g_rand_new_with_seed(seed);
	g_autoptr(GRand) fate = g_rand_new_with_seed(seed ^ keep);
	g_autoptr(GArray) there = g_array_new(FALSE, FALSE, sizeof(unsigned));
	unsigned n_vms = (unsigned)g_rand_int_range(r, 1, (int)max_vms + 1);
	unsigned n_networks = (unsigned)g_rand_int_range(r, 1, 5), given_ip[4] = { 0 };
	GString *out = g_string_new("{ \"version\": 1, \"name\": \"random\", \"networks\": { ");

	for (unsigned i = 0; i < n_networks; i++) {
		g_string_append_printf(out,
				       "%s\"net%u\": { \"subnet\": \"10.%u.0.0/16\", \"mtu\": %d",
				       i > 0 ? ", " : "", i, i,
				       g_rand_int_range(fate, 0, 4) ? 1500 : 9000);
		random_duties(fate, out, i);
		g_string_append(out, " }");
	}
	g_string_append(
		out,
		" }, \"images\": { \"own\": { \"kernel\": \"/k,ernel\", \"initrd\": \"i'nitrd\" } }, ");
	random_portals(fate, out);
	g_string_append(out, "\"vms\": { ");
	for (unsigned i = 0; i < n_vms; i++) {
		g_autoptr(GString) vm = g_string_new(NULL);

		random_machine(r, vm);
		random_nics(r, fate, vm, n_networks, given_ip);
		random_sockets(fate, vm);
		random_accesses(fate, vm);
		if (i > 0 && (unsigned)g_rand_int_range(fate, 0, 100) >= keep)
			continue;
		if (g_rand_int_range(fate, 0, 5) == 0)
			g_string_append(vm, "\"append\": \"quiet \\\"$HOME'\", ");
		g_string_append_printf(out, "%s\"vm%u\": { %s", there->len > 0 ? ", " : "", i,
				       vm->str);
		g_string_append(out, "\"after\": [");
		if (there->len > 0 && g_rand_boolean(fate))
			g_string_append_printf(
				out, "\"vm%u\"",
				g_array_index(there, unsigned,
					      g_rand_int_range(fate, 0, (int)there->len)));
		g_string_append(out, "] }");
		g_array_append_val(there, i);
	}
	g_string_append(out, " } }");
	return g_string_free(out, FALSE);
}

#endif
