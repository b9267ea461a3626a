/* SPDX-License-Identifier: MIT */
#include "agent/guest/guestconf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guest/agent.h"
#include "agent/guest/modules.h"
#include "agent/guest/netif.h"
#include "agent/guest/portals.h"
#include "agent/guest/settings.h"
#include "agent/guest/writefile.h"

#define PATH     "/sys/firmware/qemu_fw_cfg/by_name/opt/org.vhost-lab/config/raw"
#define MAX_SIZE (1 << 20)
#define NICS_MAX 64

struct conf {
	struct agent *agent;
	const char *hostname, *lab, *dns, *sockets;
	FILE *hosts;
	struct {
		unsigned nic;
		const char *address; /* NULL: none */
	} gateway;
	bool nics[NICS_MAX]; /* spoken of */
	struct portals portals;
};

/* Make the NIC with this MAC be ethN. */
static void claim(struct conf *c, const char *name, const char *text)
{
	struct netif_mac mac;
	char now[IFNAMSIZ];
	int err = netif_parse_mac(text, &mac);

	if (!err)
		err = netif_find(&mac, now);
	if (err) {
		agent_trouble(c->agent, "no NIC has MAC %s", text);
		return;
	}
	err = netif_rename(now, name);
	if (err)
		agent_trouble(c->agent, "%s: cannot be called %s: %s", now, name, strerror(-err));
}

/* "nic.N.KEY VALUE" */
static void set_nic(struct conf *c, const char *key, const char *value)
{
	char name[IFNAMSIZ], *end;
	unsigned long i = strtoul(key + strlen("nic."), &end, 10);
	int err = 0;

	if (i >= NICS_MAX || *end != '.')
		return;
	c->nics[i] = true;
	snprintf(name, sizeof(name), "eth%lu", i);
	if (strcmp(end, ".mac") == 0)
		claim(c, name, value);
	else if (strcmp(end, ".ip") == 0)
		err = netif_add_address(name, value);
	else if (strcmp(end, ".mtu") == 0)
		err = netif_set_mtu(name, (unsigned)strtoul(value, NULL, 10));
	else if (strcmp(end, ".gateway") == 0 && !c->gateway.address) {
		c->gateway.nic = (unsigned)i;
		c->gateway.address = value;
	}
	if (err)
		agent_trouble(c->agent, "%s: %s %s: %s", name, end + 1, value, strerror(-err));
}

/* The port of the host that we dial, and ours that the host dials. */
static void set_port(struct agent *agent, const char *value)
{
	unsigned long port = strtoul(value, NULL, 10);

	if (port > 0 && port < UINT32_MAX)
		agent->door.port = agent->host.port = (uint32_t)port;
}

static void take_line(struct conf *c, char *line)
{
	char *value = line;
	const char *key = strsep(&value, " ");

	if (!value)
		return;
	if (strcmp(key, "hostname") == 0)
		c->hostname = value;
	else if (strcmp(key, "lab") == 0)
		c->lab = value;
	else if (strcmp(key, "agent-port") == 0)
		set_port(c->agent, value);
	else if (strcmp(key, "sockets") == 0)
		c->sockets = value;
	else if (strcmp(key, "dns") == 0)
		c->dns = value;
	else if (strcmp(key, "host") == 0)
		fprintf(c->hosts, "%s\n", value);
	else if (strcmp(key, "portal") == 0)
		portals_expect(&c->portals, value);
	else if (strncmp(key, "nic.", 4) == 0)
		set_nic(c, key, value);
}

static void bring_up(struct conf *c)
{
	char name[IFNAMSIZ];

	for (unsigned i = 0; i < NICS_MAX; i++) {
		if (!c->nics[i])
			continue;
		snprintf(name, sizeof(name), "eth%u", i);
		if (netif_up(name))
			agent_trouble(c->agent, "%s: cannot be brought up", name);
	}
}

/* The way out, now that what leads to it is up. */
static void set_way_out(struct conf *c)
{
	char name[IFNAMSIZ];
	int err = 0;

	snprintf(name, sizeof(name), "eth%u", c->gateway.nic);
	if (c->gateway.address)
		err = netif_add_gateway(name, c->gateway.address);
	if (err)
		agent_trouble(c->agent, "%s: gateway %s: %s", name, c->gateway.address,
			      strerror(-err));
	err = c->dns ? settings_nameserver(c->dns) : 0;
	if (err)
		agent_trouble(c->agent, "name server %s: %s", c->dns, strerror(-err));
}

static void greet(const struct conf *c)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "\n%s%s%s%s: tiny guest of vhost-lab, root shell; poweroff ends it\n\n",
		 c->hostname, c->lab ? " (" : "", c->lab ? c->lab : "", c->lab ? ")" : "");
	(void)writefile("/etc/motd", text, strlen(text), 0644, (uid_t)-1, (gid_t)-1);
}

static void set_names(struct conf *c, const char *hosts)
{
	int err = settings_hostname(c->hostname);

	if (!err)
		err = settings_hosts(hosts);
	if (err)
		agent_trouble(c->agent, "host names: %s", strerror(-err));
	greet(c);
}

/* The modules of one kind: who loads first has them all. */
static void load_sockets(const struct conf *c)
{
	int err = modules_need(c->sockets);

	if (err && err != -ENOENT)
		agent_trouble(c->agent, "the modules of %s: %s", c->sockets, strerror(-err));
}

void guestconf_apply(struct agent *agent)
{
	struct conf c = { .agent = agent, .hostname = "tiny", .sockets = "vsock" };
	char *hosts = NULL, *text, *rest;
	size_t size = 0;
	int err = 0;

	(void)netif_up("lo");
	text = readfile(PATH, MAX_SIZE, &size, &err);
	c.hosts = open_memstream(&hosts, &size);
	if (!c.hosts) {
		agent_trouble(agent, "no memory");
		free(text);
		return;
	}
	rest = text;
	for (char *line; rest && (line = strsep(&rest, "\n"));)
		take_line(&c, line);
	load_sockets(&c);
	bring_up(&c);
	set_way_out(&c);
	portals_attach(&c.portals, agent);
	if (fclose(c.hosts) == 0)
		set_names(&c, hosts);
	free(hosts);
	free(text);
}
