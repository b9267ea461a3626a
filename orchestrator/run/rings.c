/* SPDX-License-Identifier: MIT */
#include "run/rings.h"

void rings_settled(struct rings *r)
{
	g_clear_handle_id(&r->timer, g_source_remove);
	r->owed = r->connected = false;
	r->n_told = 0;
}

void rings_lost(struct rings *r)
{
	rings_settled(r);
	r->owed = true;
}

void rings_connected(struct rings *r)
{
	r->connected = true;
	rings_pursue(r);
}

static gboolean due(gpointer p)
{
	struct rings *r = p;

	r->timer = 0;
	rings_pursue(r);
	return G_SOURCE_REMOVE;
}

void rings_pursue(struct rings *r)
{
	if (!r->owed || !r->connected || r->timer || r->n_told == RINGS_TELL_MAX ||
	    !r->tell(r->data))
		return;
	r->timer = g_timeout_add(r->again_ms << r->n_told, due, r);
	r->n_told++;
}
