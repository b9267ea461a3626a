/* SPDX-License-Identifier: MIT */
/* Random numbers of an impaired link: a seeded stream, and events that come in clusters.
 *
 * Each purpose of a link (loss, duplication, delay ...) draws from a stream of its own, all made from the one seed of
 * the link.  So a fate can be replayed, and switching corruption on does not change which frames are lost.  The
 * generator is SplitMix64: 64 bits of state, a period of 2^64, and good enough that a chi-square test of ours does not
 * see it.  It is no secret from anybody.
 *
 * A correlated event is a two-state Markov chain: after an event its probability is p + c(1 - p), after none p(1 - c).
 * The long-run share of events is then p exactly, whatever c is, and the correlation of events k frames apart is c^k.
 * (netem mixes the last number into the next one; that number is not uniform any more, which is why its correlated loss
 * loses too little and is deprecated.) */
#ifndef NET_CHANCE_H
#define NET_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

struct chance {
	uint64_t state;
	bool last; /* how the last event went */
	bool any;  /* there was one */
};

static inline uint64_t chance_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Start stream number `stream` of `seed`. */
static inline void chance_seed(struct chance *c, uint64_t seed, unsigned stream)
{
	*c = (struct chance){ .state = chance_mix(chance_mix(seed + 1) + stream) };
}

/* 64 random bits. */
static inline uint64_t chance_u64(struct chance *c)
{
	c->state += 0x9e3779b97f4a7c15u;
	return chance_mix(c->state);
}

/* Uniform in [0, 1). */
static inline double chance_uniform(struct chance *c)
{
	return (double)(chance_u64(c) >> 11) * 0x1p-53;
}

/* A whole number from 0 to n - 1; n > 0.  Multiplication, not division: the bias is n / 2^64. */
static inline uint64_t chance_below(struct chance *c, uint64_t n)
{
	return (uint64_t)(((unsigned __int128)chance_u64(c) * n) >> 64);
}

/* Does it happen, with probability p and correlation with the time before? */
static inline bool chance_event(struct chance *c, double p, double correlation)
{
	double now = p;

	if (correlation > 0 && c->any)
		now = c->last ? p + correlation * (1 - p) : p * (1 - correlation);
	c->any = true;
	c->last = chance_uniform(c) < now;
	return c->last;
}

#endif
