/* SPDX-License-Identifier: MIT */
/* orchestrator attach: devices of a lab for a QEMU that somebody else started. */
#include "cmd.h"

#include <stdio.h>
#include <string.h>

#include "err.h"
#include "out.h"
#include "run/client.h"
#include "run/json.h"

/* Every step of it has its own, shorter time; what was done is undone then. */
#define CALL_MS 300000

static char *opt_lab, *opt_qmp, *opt_sockets;
static char **opt_networks, **opt_macs, **opt_ips, **opt_portals;
static gboolean opt_permanent, opt_json;

static const GOptionEntry options[] = {
	{ "lab", 'l', 0, G_OPTION_ARG_FILENAME, &opt_lab, "The lab that is meant", "LAB" },
	{ "qmp", 'q', 0, G_OPTION_ARG_FILENAME, &opt_qmp, "The socket of its QEMU's monitor",
	  "SOCK" },
	{ "network", 'n', 0, G_OPTION_ARG_STRING_ARRAY, &opt_networks,
	  "Give it a card on that network; may be repeated", "NETWORK" },
	{ "mac", 0, 0, G_OPTION_ARG_STRING_ARRAY, &opt_macs,
	  "The MAC address of its card, or, as NETWORK=MAC, of the one on that network", "MAC" },
	{ "ip", 0, 0, G_OPTION_ARG_STRING_ARRAY, &opt_ips,
	  "The address that is kept free for it, in the same way", "IP" },
	{ "sockets", 's', 0, G_OPTION_ARG_STRING, &opt_sockets, "Give it a socket device: vsock",
	  "KIND" },
	{ "portal", 'p', 0, G_OPTION_ARG_STRING_ARRAY, &opt_portals,
	  "Give it that portal, by the door ivshmem or, as PORTAL:pmem or PORTAL:vhost-user, by that; may be repeated",
	  "PORTAL" },
	{ "permanent", 0, 0, G_OPTION_ARG_NONE, &opt_permanent,
	  "With PORTAL:pmem: take it that no QEMU lets go of that before it ends", NULL },
	{ "json", 0, 0, G_OPTION_ARG_NONE, &opt_json, "Print JSON instead of text", NULL },
	G_OPTION_ENTRY_NULL,
};

/* --- asking --------------------------------------------------------------------------------------------------------- */

/* The first card on that network of which that is not said yet; on NULL, the only one there is.  NULL: there is none such. */
static struct json_object *find_card(struct json_object *cards, const char *network,
				     const char *key)
{
	size_t n = json_object_array_length(cards);

	for (size_t i = 0; i < n; i++) {
		struct json_object *card = json_object_array_get_idx(cards, i);

		if (json_str(card, key) ||
		    (network ? g_strcmp0(json_str(card, "network"), network) != 0 : n > 1))
			continue;
		return card;
	}
	return NULL;
}

/* "52:54:00:12:34:56", "lan=10.0.0.5" */
static gboolean say_of_cards(struct json_object *cards, const char *key, char **words,
			     GError **error)
{
	for (; words && *words; words++) {
		const char *mark = strchr(*words, '=');
		g_autofree char *network = mark ? g_strndup(*words, (gsize)(mark - *words)) : NULL;
		struct json_object *card = find_card(cards, network, key);

		if (!card) {
			g_set_error(
				error, ORCH_ERROR, ORCH_ERROR_USAGE,
				"--%s %s: of which card? --%s NETWORK=… is of the one that --network gives it there",
				key, *words, key);
			return FALSE;
		}
		json_put_str(card, key, mark ? mark + 1 : *words);
	}
	return TRUE;
}

/* A reference to give away; NULL with *error set. */
static struct json_object *cards(GError **error)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; opt_networks && opt_networks[i]; i++) {
		struct json_object *o = json_object_new_object();

		json_put_str(o, "network", opt_networks[i]);
		json_object_array_add(list, o);
	}
	if (say_of_cards(list, "mac", opt_macs, error) && say_of_cards(list, "ip", opt_ips, error))
		return list;
	json_object_put(list);
	return NULL;
}

/* "shared:pmem" */
static struct json_object *portals(char **words)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; words && words[i]; i++) {
		struct json_object *o = json_object_new_object();
		g_auto(GStrv) parts = g_strsplit(words[i], ":", 2);

		json_put_str(o, "portal", parts[0]);
		json_put_str(o, "door", parts[0] ? parts[1] : NULL);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *params_of(const char *name, GError **error)
{
	struct json_object *networks = cards(error), *o;
	g_autofree char *qmp = g_canonicalize_filename(opt_qmp, NULL);

	if (!networks)
		return NULL;
	o = json_object_new_object();
	json_put_str(o, "name", name);
	json_put_str(o, "qmp", qmp);
	json_object_object_add(o, "networks", networks);
	json_put_str(o, "sockets", opt_sockets);
	json_object_object_add(o, "portals", portals(opt_portals));
	json_put_bool(o, "permanent", opt_permanent);
	return o;
}

/* --- telling -------------------------------------------------------------------------------------------------------- */

static void print_guest(struct json_object *guest)
{
	struct json_object *nics = json_member(guest, "nics", json_type_array);
	struct json_object *doors = json_member(guest, "portals", json_type_array);
	struct json_object *sockets = json_member(guest, "sockets", json_type_object);

	for (size_t i = 0; nics && i < json_object_array_length(nics); i++) {
		struct json_object *nic = json_object_array_get_idx(nics, i);

		printf("%s: a card on %s, MAC %s", json_str(guest, "name"),
		       json_str(nic, "network"), json_str(nic, "mac"));
		if (json_str(nic, "ip"))
			printf("; %s is kept free for it", json_str(nic, "ip"));
		putchar('\n');
	}
	if (sockets)
		printf("%s: sockets, CID %ld; CONNECT PORT at %s\n", json_str(guest, "name"),
		       (long)json_int(sockets, "cid", 0), json_str(sockets, "uds-path"));
	for (size_t i = 0; doors && i < json_object_array_length(doors); i++) {
		struct json_object *portal = json_object_array_get_idx(doors, i);

		printf("%s: portal %s, by %s\n", json_str(guest, "name"),
		       json_str(portal, "portal"), json_str(portal, "door"));
	}
}

static int run_attach(char **args, GError **error)
{
	g_autofree char *lab = NULL;
	struct json_object *params;
	struct client *c;
	auto_json guest = NULL;
	gboolean good;

	if (!opt_qmp) {
		g_set_error_literal(
			error, ORCH_ERROR, ORCH_ERROR_USAGE,
			"--qmp=SOCK names the monitor, which QEMU has been given by -qmp unix:SOCK,server=on,wait=off");
		return -1;
	}
	params = params_of(args[0], error);
	if (!params)
		return -1;
	lab = cmd_lab_name(opt_lab, error);
	c = lab ? client_require(lab, error) : NULL;
	if (!c) {
		json_object_put(params);
		return -1;
	}
	good = client_call(c, "guest.attach", params, CALL_MS, &guest, error);
	client_free(c);
	if (good && opt_json)
		out_json(json_object_get(guest));
	else if (good)
		print_guest(guest);
	return good ? 0 : -1;
}

const struct cmd cmd_attach = {
	.name = "attach",
	.args = "NAME",
	.summary = "Plug devices of a lab into a QEMU that somebody else started",
	.help = "    attach --qmp /run/web.qmp --network lan web\n"
		"\n"
		"NAME is what the guest is called in this lab. All is plugged in while the guest runs, or\n"
		"nothing: what its command line lacks (shared memory, PCI ports, memory slots) is told in the\n"
		"words to add to it. Addresses in the guest are its owner's to set, or come by DHCP of a NAT\n"
		"uplink. A portal is granted by sockets: --sockets vsock with it.\n"
		"\n"
		"`link`, `stats` and `capture` take it as they take a VM; so do `exec`, `shell`, `cp` and `ssh`\n"
		"where it has sockets and vhost-lab-agent runs in it.\n"
		"\n"
		"Its QEMU is not the lab's: nobody here stops it. When it ends it is forgotten; `detach` and\n"
		"`down` take the devices out again.",
	.options = options,
	.min_args = 1,
	.max_args = 1,
	.arg = CMD_ARG_OTHER,
	.run = run_attach,
};
