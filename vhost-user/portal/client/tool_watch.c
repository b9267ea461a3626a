/* SPDX-License-Identifier: MIT */
/* portal watch: what comes and goes, a line each. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "tool.h"
#include "tool_hold.h"

/* Leases and pauses are not told to us one by one: look as often. */
#define LOOK_NS (250 * NS_PER_MS)

/* What was seen last. */
struct seen {
	bool json;
	uint32_t n_names, n_clients;
	struct portal_object *names;   /* generation 0: free */
	struct portal_client *clients; /* state 0: free */
	enum portal_arena_state state;
	uint64_t generation, incarnation;
};

static void tell(const struct seen *s, const char *event, const char *name, const char *extra)
{
	if (!s->json) {
		printf("%-12s %s%s%s\n", event, name, *extra ? " " : "", extra);
	} else {
		printf("{\"event\":\"%s\",\"name\":", event);
		tool_json_string(stdout, name);
		if (*extra) {
			printf(",\"detail\":");
			tool_json_string(stdout, extra);
		}
		printf("}\n");
	}
}

static void look_at_name(struct seen *s, const struct portal *p, uint32_t i)
{
	struct portal_object now = { 0 };
	char type[16];

	if (portal_name_at(p, i, &now) < 0)
		now.generation = 0;
	if (now.generation == s->names[i].generation)
		return;
	if (s->names[i].generation)
		tell(s, "withdrawn", s->names[i].name, "");
	if (now.generation)
		tell(s, "published", now.name, tool_type(now.type, type));
	s->names[i] = now;
}

static void look_at_client(struct seen *s, const struct portal *p, uint32_t i)
{
	static const char *const events[] = { "left", "joined", "lost", "recovering" };
	struct portal_client now = { 0 }, *was = &s->clients[i];

	if (portal_client_at(p, i, &now) < 0)
		now = (struct portal_client){ 0 };
	if (now.state == was->state && now.generation == was->generation)
		return;
	if ((int)was->state && now.generation != was->generation)
		tell(s, events[0], was->client, was->name);
	if ((int)now.state)
		tell(s, events[now.state], now.client, now.name);
	*was = now;
}

static void look_at_arena(struct seen *s, const struct portal *p)
{
	static const char *const states[] = { "running", "draining", "frozen" };
	struct portal_info now;

	portal_info(p, &now);
	if (now.state != s->state)
		tell(s, states[now.state], now.name, "");
	if (now.incarnation != s->incarnation)
		tell(s, "restarted", now.name, "");
	s->state = now.state;
	s->incarnation = now.incarnation;
}

static void look(struct seen *s, const struct portal *p)
{
	look_at_arena(s, p);
	for (uint32_t i = 0; i < s->n_clients; i++)
		look_at_client(s, p, i);
	for (uint32_t i = 0; i < s->n_names; i++)
		look_at_name(s, p, i);
	fflush(stdout);
}

static int watch(struct portal *p, struct seen *s, int signals)
{
	struct portal_info info;
	int r;

	portal_info(p, &info);
	s->n_names = info.names;
	s->n_clients = info.clients;
	s->state = info.state;
	s->incarnation = info.incarnation;
	s->names = calloc(s->n_names, sizeof(*s->names));
	s->clients = calloc(s->n_clients, sizeof(*s->clients));
	if (!s->names || !s->clients)
		return -ENOMEM;
	do {
		look(s, p);
		r = tool_hold_once(p, signals, clock_ns() + LOOK_NS);
	} while ((r == 0 || r == -ENOTCONN || r == -ETIMEDOUT) && !ferror(stdout));
	return r == 1 ? 0 : r;
}

static int run_watch(struct tool *tool, int argc, char **argv)
{
	struct seen seen = { .json = tool->json };
	struct portal *p;
	int r, signals;

	(void)argv;
	if (argc != 1)
		return tool_misuse(tool);
	signals = tool_hold_prepare();
	if (signals < 0)
		return tool_fail(signals, "signals");
	tool->options.flags |= PORTAL_ATTACH_WATCH_NAMES;
	p = tool_attach(tool);
	if (!p)
		return TOOL_FAILED;
	r = watch(p, &seen, signals);
	portal_detach(p);
	free(seen.names);
	free(seen.clients);
	return r < 0 ? tool_fail(r, "watch") : TOOL_OK;
}

const struct tool_command tool_watch = { "watch", "", "clients and objects as they come and go",
					 run_watch };
