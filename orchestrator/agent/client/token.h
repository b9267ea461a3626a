/* SPDX-License-Identifier: MIT */
/* The secret by which an operation and its data connections know each other. */
#ifndef AGENT_CLIENT_TOKEN_H
#define AGENT_CLIENT_TOKEN_H

#include <glib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/protocol.h"

/* A fresh one, from the kernel: as an ATTACH of stream 0, and as the text of "token". */
static inline void token_new(struct agent_attach *ret_attach, char ret_hex[AGENT_TOKEN_HEX])
{
	memset(ret_attach, 0, sizeof(*ret_attach));
	g_assert(getentropy(ret_attach->token, sizeof(ret_attach->token)) == 0);
	agent_token_to_hex(ret_attach->token, ret_hex);
}

#endif
