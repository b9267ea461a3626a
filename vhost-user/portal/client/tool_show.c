/* SPDX-License-Identifier: MIT */
/* portal info, portal ls. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "tool.h"

static const char *const state_names[] = { "running", "draining", "frozen" };
static const char *const mode_names[] = { "observer", "ro", "rw" };
static const char *const client_states[] = { "", "live", "lost", "recovering" };

static void format_uuid(const uint8_t *uuid, char *buf)
{
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*buf++ = '-';
		buf += sprintf(buf, "%02x", uuid[i]);
	}
}

/* Durability as words: a promise only where there is one. */
static const char *durable_words(const struct portal_info *info)
{
	return !info->durable    ? "no: memory only" :
	       info->flush_error ? "no: a flush has failed" :
				   "yes";
}

static void print_info(const struct portal_info *info)
{
	char uuid[40], size[16], free_size[16], quota[16];
	uint64_t extent = info->size / info->extents;

	format_uuid(info->uuid, uuid);
	printf("name        %s\n", info->name);
	printf("uuid        %s\n", uuid);
	printf("size        %s, %s free\n", tool_bytes(info->size, size),
	       tool_bytes(info->extents_free * extent, free_size));
	printf("state       %s\n", state_names[info->state]);
	printf("durable     %s\n", durable_words(info));
	printf("generation  %" PRIu64 ", daemon started %" PRIu64 " times\n", info->generation,
	       info->incarnation);
	printf("clients     %u live of %u, %" PRIu64 " recovered\n", info->clients_live,
	       info->clients, info->clients_recovered);
	printf("names       %u of %u\n", info->names_used, info->names);
	if (info->extents_quarantined)
		printf("quarantine  %s\n", tool_bytes(info->extents_quarantined * extent, size));
	if (info->vsock_port)
		printf("leases      vsock port %u\n", info->vsock_port);
	if (info->mode == PORTAL_CLIENT_OBSERVER)
		printf("this client observer\n");
	else
		printf("this client lease %u.%u, %s, may have %s\n", info->id, info->id_generation,
		       mode_names[info->mode], tool_bytes(info->quota, quota));
}

static void print_info_json(const struct portal_info *info)
{
	char uuid[40];

	format_uuid(info->uuid, uuid);
	printf("{\"name\":");
	tool_json_string(stdout, info->name);
	printf(",\"uuid\":\"%s\",\"size\":%" PRIu64 ",\"generation\":%" PRIu64
	       ",\"incarnation\":%" PRIu64 ",\"state\":\"%s\",\"epoch\":%" PRIu64
	       ",\"durable\":%s,\"flush_error\":%u",
	       uuid, info->size, info->generation, info->incarnation, state_names[info->state],
	       info->epoch, info->durable ? "true" : "false", info->flush_error);
	printf(",\"extents\":%u,\"extents_free\":%u,\"extents_quarantined\":%u,\"extents_recovered\":%" PRIu64
	       ",\"names\":%u,\"names_used\":%u,\"clients\":%u,\"clients_live\":%u,\"clients_recovered\":%" PRIu64
	       ",\"vsock_port\":%u",
	       info->extents, info->extents_free, info->extents_quarantined,
	       info->extents_recovered, info->names, info->names_used, info->clients,
	       info->clients_live, info->clients_recovered, info->vsock_port);
	printf(",\"mode\":\"%s\",\"lease\":%u,\"lease_generation\":%u,\"quota\":%" PRIu64 "}\n",
	       mode_names[info->mode], info->id, info->id_generation, info->quota);
}

static int run_info(struct tool *tool, int argc, char **argv)
{
	struct portal_info info;
	struct portal *p;

	(void)argv;
	if (argc != 1)
		return tool_misuse(tool);
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	portal_info(p, &info);
	if (tool->json)
		print_info_json(&info);
	else
		print_info(&info);
	portal_detach(p);
	return TOOL_OK;
}

const struct tool_command tool_info = { "info", "", "what the arena is, and how it is", run_info };

static void print_object(const struct portal_object *o)
{
	char type[16], size[16];

	printf("%-8s %8s  %-4u %s\n", tool_type(o->type, type), tool_bytes(o->len, size), o->id,
	       o->name);
}

static void print_object_json(const struct portal_object *o)
{
	char type[16];

	printf("{\"name\":");
	tool_json_string(stdout, o->name);
	printf(",\"type\":\"%s\",\"len\":%" PRIu64 ",\"offset\":%" PRIu64
	       ",\"owner\":%u,\"owner_generation\":%u,\"generation\":%" PRIu64 "}\n",
	       tool_type(o->type, type), o->len, o->offset, o->id, o->id_generation, o->generation);
}

static void list_objects(const struct tool *tool, const struct portal *p)
{
	struct portal_object o;
	int r;

	for (uint32_t i = 0; (r = portal_name_at(p, i, &o)) != -EINVAL; i++) {
		if (r == 0 && tool->json)
			print_object_json(&o);
		else if (r == 0)
			print_object(&o);
	}
}

static void print_client(const struct portal_client *c)
{
	char used[16], quota[16];

	printf("%4u %-10s %-2s  %8s of %-8s  %s (%s)\n", c->id, client_states[c->state],
	       mode_names[c->mode], tool_bytes(c->used, used), tool_bytes(c->quota, quota),
	       c->client, c->name);
}

static void print_client_json(const struct portal_client *c)
{
	printf("{\"lease\":%u,\"generation\":%u,\"state\":\"%s\",\"mode\":\"%s\",\"used\":%" PRIu64
	       ",\"quota\":%" PRIu64 ",\"same_kernel\":%s,\"client\":",
	       c->id, c->generation, client_states[c->state], mode_names[c->mode], c->used,
	       c->quota, c->same_kernel ? "true" : "false");
	tool_json_string(stdout, c->client);
	printf(",\"name\":");
	tool_json_string(stdout, c->name);
	printf("}\n");
}

static void list_clients(const struct tool *tool, const struct portal *p)
{
	struct portal_client c;
	int r;

	for (uint32_t i = 0; (r = portal_client_at(p, i, &c)) != -EINVAL; i++) {
		if (r == 0 && tool->json)
			print_client_json(&c);
		else if (r == 0)
			print_client(&c);
	}
}

static int run_ls(struct tool *tool, int argc, char **argv)
{
	static const struct option options[] = { { "clients", no_argument, NULL, 'c' }, { 0 } };
	struct portal *p;
	bool clients = false;
	int option;

	while ((option = getopt_long(argc, argv, "c", options, NULL)) != -1) {
		if (option != 'c')
			return tool_misuse(tool);
		clients = true;
	}
	if (optind != argc)
		return tool_misuse(tool);
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	if (clients)
		list_clients(tool, p);
	else
		list_objects(tool, p);
	portal_detach(p);
	return TOOL_OK;
}

const struct tool_command tool_ls = { "ls", "[--clients]", "the named objects, or the clients",
				      run_ls };
