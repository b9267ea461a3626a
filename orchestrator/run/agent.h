/* SPDX-License-Identifier: MIT */
/* The supervisor's end of one VM's agent: who waits for its call, tells it what the guest is to be, and asks its probes.
 *
 * The agent dials CID 2, and the daemon of sockets connects it to VM.vs_PORT, where this listens.  What happens then
 * (doc/agent.md):
 *
 *   absent       nobody has called (yet), or the connection has ended
 *   configuring  HELLO was said; CONFIG and the MOUNTs of distributions are under way, and the guest's own boot
 *   probing      the guest is as it should be; one probe after the other is asked until it holds
 *   ready        all of that
 *   failed       the guest said what it could not do: it will not become ready by itself
 *
 * An agent that calls again (the guest rebooted, the daemon or the supervisor was restarted) goes through all of it again; what
 * has been set already stays.
 *
 * Trust:   the guest may have been taken over.  Its frames are held to protocol.h's limits (agent/client/session.h), it has
 *          one connection and one candidate at a time, and its words are freed of control characters and cut.
 * Threads: the thread of the default main context.  ops->changed() comes from the main loop and may not free the agent.
 */
#ifndef RUN_AGENT_H
#define RUN_AGENT_H

#include <stdbool.h>
#include <glib.h>

struct json_object;
struct vm_agent;

enum vm_agent_state {
	VM_AGENT_ABSENT,
	VM_AGENT_CONFIGURING,
	VM_AGENT_PROBING,
	VM_AGENT_READY,
	VM_AGENT_FAILED
};
const char *vm_agent_state_word(enum vm_agent_state state);

struct vm_agent_ops {
	/* The state, or what is waited for, has changed. */
	void (*changed)(void *data);
};

/* Listen on path; what was there is removed.  config: the body of CONFIG but for the clock, a reference that is taken.  probes: of
 * struct probe; distros: of struct distro; both are copied.  NULL: *error says why. */
struct vm_agent *vm_agent_new(const char *path, struct json_object *config, const GPtrArray *probes,
			      const GPtrArray *distros, const struct vm_agent_ops *ops, void *data,
			      GError **error);
/* Stops listening, and removes the socket. */
void vm_agent_free(struct vm_agent *a);

enum vm_agent_state vm_agent_state(const struct vm_agent *a);
/* Whether it has ever called. */
bool vm_agent_seen(const struct vm_agent *a);
bool vm_agent_has_probes(const struct vm_agent *a);
/* What it is waited for, for people: "probe http: connection refused (hint: see its log)"; VM_AGENT_FAILED: what the guest could
 * not do.  "" when nothing is. */
const char *vm_agent_words(const struct vm_agent *a);
/* "0.1.0"; NULL: nobody has called. */
const char *vm_agent_version(const struct vm_agent *a);

/* Ask the guest to power off.  False: there is nobody to ask.  refused() is called if it turns out that it will not. */
bool vm_agent_shutdown(struct vm_agent *a, unsigned grace_ms, void (*refused)(void *data),
		       void *data);

#endif
