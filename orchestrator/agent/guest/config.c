/* SPDX-License-Identifier: MIT */
#include "agent/guest/config.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/guest/agent.h"
#include "agent/guest/mounting.h"
#include "agent/guest/netif.h"
#include "agent/guest/settings.h"
#include "agent/guest/user.h"
#include "agent/guest/writefile.h"

#define FAILURES_MAX 32

/* What could not be done, of the CONFIG at hand. */
static struct {
	unsigned n;
	char text[FAILURES_MAX][256];
} failures;

/* Of CONFIGs with "more", since the last one without. */
static bool failed_before;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void fail(const char *format, ...)
{
	va_list ap;

	if (failures.n == FAILURES_MAX)
		return;
	va_start(ap, format);
	vsnprintf(failures.text[failures.n++], sizeof(failures.text[0]), format, ap);
	va_end(ap);
}

/* A string of OBJECT; FALLBACK, if not NULL, where it is absent.  False: not there, or none; then it is a failure of WHAT. */
static bool get(const char *what, struct json object, const char *key, const char *fallback,
		char *out, size_t size)
{
	int err = json_string(json_get(object, key), out, size);

	if (err == -ENOENT && fallback) {
		snprintf(out, size, "%s", fallback);
		return true;
	}
	if (err < 0)
		fail("%s: \"%s\" is missing or wrong", what, key);
	return err >= 0;
}

static bool get_number(const char *what, struct json object, const char *key, int64_t max,
		       int64_t *ret_number)
{
	int err = json_int(json_get(object, key), 0, max, ret_number);

	if (err)
		fail("%s: \"%s\" is missing or wrong", what, key);
	return !err;
}

static void set_hostname(struct json hostname)
{
	char name[256];
	int err = json_string(hostname, name, sizeof(name));

	if (err >= 0)
		err = settings_hostname(name);
	if (err < 0)
		fail("hostname: %s", strerror(-err));
}

/* --- hosts ------------------------------------------------------------------------------------------------- */

static bool put_host(FILE *out, struct json host)
{
	char word[256];

	if (!get("hosts", host, "address", NULL, word, sizeof(word)))
		return false;
	fputs(word, out);
	for (struct json v = json_first(json_get(host, "names")); v.at >= 0;
	     v = json_next(json_get(host, "names"), v)) {
		if (json_string(v, word, sizeof(word)) < 1 || strpbrk(word, " \t\r\n#")) {
			fail("hosts: this is no name");
			return false;
		}
		fprintf(out, " %s", word);
	}
	fputc('\n', out);
	return true;
}

static void set_hosts(struct json hosts)
{
	char *lines = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&lines, &size);
	bool ok = out != NULL;
	int err;

	for (struct json v = json_first(hosts); ok && v.at >= 0; v = json_next(hosts, v))
		ok = put_host(out, v);
	if (!out || fclose(out)) {
		fail("hosts: no memory");
	} else if (ok) {
		err = settings_hosts(lines);
		if (err)
			fail("/etc/hosts: %s", strerror(-err));
	}
	free(lines);
}

/* --- interfaces -------------------------------------------------------------------------------------------- */

/* Which one, under the name it is to have. */
static bool claim(struct json interface, char name[IFNAMSIZ])
{
	struct netif_mac mac;
	char text[32], now[IFNAMSIZ];
	int err;

	if (!get("interfaces", interface, "mac", NULL, text, sizeof(text)))
		return false;
	if (netif_parse_mac(text, &mac) || netif_find(&mac, now)) {
		fail("no NIC has MAC %s", text);
		return false;
	}
	if (!get(text, interface, "name", now, name, IFNAMSIZ))
		return false;
	err = netif_rename(now, name);
	if (err)
		fail("%s: cannot be called %s: %s", now, name, strerror(-err));
	return !err;
}

static void set_interface(struct json interface)
{
	struct json addresses = json_get(interface, "addresses");
	char name[IFNAMSIZ], address[64];
	int64_t mtu;
	int err;

	if (!claim(interface, name))
		return;
	if (json_int(json_get(interface, "mtu"), 68, 65535, &mtu) == 0) {
		err = netif_set_mtu(name, (unsigned)mtu);
		if (err)
			fail("%s: MTU %d: %s", name, (int)mtu, strerror(-err));
	}
	for (struct json v = json_first(addresses); v.at >= 0; v = json_next(addresses, v)) {
		err = json_string(v, address, sizeof(address));
		if (err >= 0)
			err = netif_add_address(name, address);
		if (err)
			fail("%s: address: %s", name, strerror(-err));
	}
	err = netif_up(name);
	if (err)
		fail("%s: cannot be brought up: %s", name, strerror(-err));
	if (json_string(json_get(interface, "gateway"), address, sizeof(address)) > 0) {
		err = netif_add_gateway(name, address);
		if (err)
			fail("%s: gateway %s: %s", name, address, strerror(-err));
	}
}

static void set_nameserver(struct json value)
{
	char address[64];
	int err = json_string(value, address, sizeof(address));

	if (err >= 0)
		err = settings_nameserver(address);
	if (err)
		fail("name server: %s", strerror(-err));
}

/* --- users, files, mounts, clock --------------------------------------------------------------------------- */

static void set_user(struct json user)
{
	char name[64], home[256], shell[256], fallback[80];
	int64_t uid, gid;
	int err;

	if (!get("users", user, "name", NULL, name, sizeof(name)) ||
	    !get_number(name, user, "uid", UINT32_MAX - 1, &uid))
		return;
	gid = uid;
	if (json_present(json_get(user, "gid")) &&
	    !get_number(name, user, "gid", UINT32_MAX - 1, &gid))
		return;
	snprintf(fallback, sizeof(fallback), "/home/%s", name);
	if (!get(name, user, "home", fallback, home, sizeof(home)) ||
	    !get(name, user, "shell", "/bin/sh", shell, sizeof(shell)))
		return;
	err = settings_user(name, (uid_t)uid, (gid_t)gid, home, shell);
	if (err)
		fail("user %s: %s", name, strerror(-err));
}

static void set_file(struct json file)
{
	char path[PATH_MAX], mode[16], who[64], *text, *end;
	struct user owner = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	unsigned long bits;
	int err = 0;

	if (!get("files", file, "path", NULL, path, sizeof(path)) ||
	    !get(path, file, "mode", "0644", mode, sizeof(mode)) ||
	    !get(path, file, "user", "", who, sizeof(who)))
		return;
	bits = strtoul(mode, &end, 8);
	text = json_strdup(json_get(file, "text"), &err);
	if (path[0] != '/' || *end || bits > 07777)
		err = -EINVAL;
	if (!err && *who)
		err = user_find("", who, &owner);
	if (!err)
		err = writefile(path, text, strlen(text), (mode_t)bits, owner.uid, owner.gid);
	free(text);
	if (err)
		fail("%s: %s", path, strerror(-err));
}

static void set_mount(struct json mount)
{
	char source[PATH_MAX], target[PATH_MAX], type[64], options[512];
	int err;

	if (!get("mounts", mount, "target", NULL, target, sizeof(target)) ||
	    !get(target, mount, "type", NULL, type, sizeof(type)) ||
	    !get(target, mount, "source", type, source, sizeof(source)) ||
	    !get(target, mount, "options", "", options, sizeof(options)))
		return;
	err = mounting_mount(source, target, type, options);
	if (err)
		fail("mount %s: %s", target, strerror(-err));
}

static void set_clock(struct json clock)
{
	int64_t now;
	int err;

	if (!get_number("clock", clock, "realtime-ns", INT64_MAX, &now))
		return;
	err = settings_clock(now);
	if (err)
		fail("clock: %s", strerror(-err));
}

/* --- the request ------------------------------------------------------------------------------------------- */

/* Users before files, which may be theirs; mounts before files, which may lie on them. */
static const struct {
	const char *key;
	bool list; /* one call for each item */
	void (*set)(struct json value);
} parts[] = {
	{ "clock", false, set_clock },           { "hostname", false, set_hostname },
	{ "hosts", false, set_hosts },           { "interfaces", true, set_interface },
	{ "nameserver", false, set_nameserver }, { "users", true, set_user },
	{ "mounts", true, set_mount },           { "files", true, set_file },
};

static void apply(struct json body)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct json value = json_get(body, parts[i].key);

		if (!json_present(value))
			continue;
		if (!parts[i].list) {
			parts[i].set(value);
			continue;
		}
		for (struct json v = json_first(value); v.at >= 0; v = json_next(value, v))
			parts[i].set(v);
	}
}

static void answer(struct session *s, const struct request *request)
{
	struct json_writer *w = session_begin(s, request);

	json_open(w, "failed", '[');
	for (unsigned i = 0; i < failures.n; i++)
		json_put_string(w, NULL, failures.text[i]);
	json_close(w, ']');
	session_end(s);
}

static void tell(struct agent *agent, bool more)
{
	for (unsigned i = 0; i < failures.n; i++)
		agent_trouble(agent, "%s", failures.text[i]);
	failed_before |= failures.n > 0;
	if (more)
		return;
	if (!failed_before && event_begin(agent, AGENT_EVENT_READY))
		event_end(agent);
	failed_before = false;
}

void config_request(struct session *s, const struct request *request)
{
	bool more;

	if (json_bool(json_get(request->body, "more"), false, &more)) {
		session_bad(s, request, "more");
		return;
	}
	failures.n = 0;
	apply(request->body);
	answer(s, request);
	tell(session_agent(s), more);
}
