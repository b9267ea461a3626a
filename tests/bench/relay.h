/* SPDX-License-Identifier: MIT */
/* A process that does nothing but pass numbers on, from another processor: the least that a switch could do, and so what
 * the machine allows anybody who stands between a sender and a receiver.
 *
 * It sees that a number was sent, holds it for as long as was said, and shows it.  It looks all the time, or it sleeps
 * until it is rung for, as a switch does that no frame has come to for a while.  Its turns on its processor are as short
 * as ours are.
 *
 *	relay_start(&options)      NULL: errno says why
 *	relay_send(r)              the next number, of `n` in all
 *	relay_passed(r)            how many have come through
 *	relay_stop(r)
 */
#ifndef BENCH_RELAY_H
#define BENCH_RELAY_H

#include <stdbool.h>
#include <stdint.h>

struct relay;

struct relay_options {
	unsigned core;
	uint32_t n;
	uint64_t delay_ns;
	bool sleeps; /* until it is rung for; what is delayed it waits for awake */
};

struct relay *relay_start(const struct relay_options *o);
void relay_send(struct relay *r);
uint32_t relay_passed(const struct relay *r);

/* Ends the process, too. */
void relay_stop(struct relay *r);

#endif
