/* SPDX-License-Identifier: MIT */
/* CONFIG: the guest is made what the lab says.  Each part is idempotent; one that fails does not stop the others. */
#ifndef ORCHESTRATOR_AGENT_GUEST_CONFIG_H
#define ORCHESTRATOR_AGENT_GUEST_CONFIG_H

#include "agent/guest/session.h"

void config_request(struct session *session, const struct request *request);

#endif
