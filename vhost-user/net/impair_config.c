/* SPDX-License-Identifier: MIT */
#include "impair_config.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base.h"

const struct impair_field impair_fields[IMPAIR_N_FIELDS] = {
#define X(kind, field, name, low, high, unset, text) \
	{ IMPAIR_KIND_##kind, name, offsetof(struct impair_config, field), low, high, unset, text },
	IMPAIR_FIELDS(X)
#undef X
};

static void store(struct impair_config *c, const struct impair_field *f, double value)
{
	void *at = (char *)c + f->offset;

	switch (f->kind) {
	case IMPAIR_KIND_INTEGER:
		*(int64_t *)at = (int64_t)value;
		break;
	case IMPAIR_KIND_FRACTION:
		*(double *)at = value;
		break;
	case IMPAIR_KIND_NUMBER:
	case IMPAIR_KIND_FLAG:
	case IMPAIR_KIND_OBJECT:
	case IMPAIR_KIND_WORD:
		*(uint64_t *)at = (uint64_t)value;
		break;
	}
}

double impair_field_get(const struct impair_config *c, const struct impair_field *f)
{
	const void *at = (const char *)c + f->offset;

	switch (f->kind) {
	case IMPAIR_KIND_INTEGER:
		return (double)*(const int64_t *)at;
	case IMPAIR_KIND_FRACTION:
		return *(const double *)at;
	case IMPAIR_KIND_NUMBER:
	case IMPAIR_KIND_FLAG:
	case IMPAIR_KIND_OBJECT:
	case IMPAIR_KIND_WORD:
		break;
	}
	return (double)*(const uint64_t *)at;
}

/* What stands for "not given": 0 where the default is no value that can be stored. */
static double unset_value(const struct impair_field *f)
{
	return f->kind == IMPAIR_KIND_FRACTION || f->unset > 0 ? f->unset : 0;
}

void impair_config_init(struct impair_config *c)
{
	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < IMPAIR_N_FIELDS; i++)
		store(c, &impair_fields[i], unset_value(&impair_fields[i]));
}

void impair_field_unset(struct impair_config *c, const struct impair_field *f, bool in)
{
	size_t len = strlen(f->name);

	store(c, f, f->kind == IMPAIR_KIND_OBJECT ? in : unset_value(f));
	if (f->kind != IMPAIR_KIND_OBJECT)
		return;
	for (unsigned i = 0; i < IMPAIR_N_FIELDS; i++) {
		const struct impair_field *of = &impair_fields[i];

		if (strncmp(of->name, f->name, len) == 0 && of->name[len] == '.')
			store(c, of, unset_value(of));
	}
}

int impair_field_set(struct impair_config *c, const struct impair_field *f, double value)
{
	if (!(value >= f->low && value <= f->high))
		return -ERANGE;
	store(c, f, value);
	return 0;
}

static const char *slot_wrong(const struct impair_config *c)
{
	if (!c->slot)
		return NULL;
	if (c->slot_delay_ns != 0 && (c->slot_min_ns != 0 || c->slot_max_ns != 0))
		return "slot.delay-ns: either this or min-ns and max-ns";
	if (c->slot_delay_ns == 0 && c->slot_min_ns == 0)
		return "slot.min-ns: must be given, or delay-ns";
	if (c->slot_max_ns != 0 && c->slot_max_ns < c->slot_min_ns)
		return "slot.max-ns: shorter than min-ns";
	return NULL;
}

const char *impair_config_wrong(const struct impair_config *c)
{
	if (c->gemodel && c->gemodel_p < 0)
		return "gemodel.p: must be given";
	if (c->gemodel && c->gemodel_r < 0)
		return "gemodel.r: must be given";
	if (c->markov && c->markov_p13 < 0)
		return "markov.p13: must be given";
	if (c->markov && c->markov_p31 < 0)
		return "markov.p31: must be given";
	if (c->markov && c->markov_p13 + c->markov_p14 > 1)
		return "markov.p14: more than 1 together with p13";
	if (c->markov && c->markov_p31 + c->markov_p32 > 1)
		return "markov.p32: more than 1 together with p31";
	if ((c->loss > 0) + c->gemodel + c->markov > 1)
		return c->markov ? "markov: one of loss, gemodel and markov at a time" :
				   "gemodel: one of loss, gemodel and markov at a time";
	if (c->flap && c->flap_up_ns == 0)
		return "flap.up-ns: must be given";
	if (c->flap && c->flap_down_ns == 0)
		return "flap.down-ns: must be given";
	if ((c->reorder > 0 || c->gap > 0) && c->delay_ns == 0)
		return "delay-ns: a frame can only overtake others that are delayed: reorder and "
		       "gap need it";
	return slot_wrong(c);
}

bool impair_config_segments(const struct impair_config *c)
{
	return c->loss > 0 || c->gemodel || c->markov || c->corrupt > 0 || c->duplicate > 0 ||
	       c->reorder > 0 || c->gap > 0 || c->rate_bps != 0 ||
	       (c->slot && (c->slot_packets != 0 || c->slot_bytes != 0));
}

bool impair_config_idle(const struct impair_config *c)
{
	return !impair_config_segments(c) && c->delay_ns == 0 && c->jitter_ns == 0 && !c->slot &&
	       !c->flap;
}
