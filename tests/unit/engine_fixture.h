/* SPDX-License-Identifier: MIT */
/* An engine without QEMUs: it writes down what it is told, and the test says what becomes of its VM.  One VM at a time. */
#ifndef TEST_ENGINE_FIXTURE_H
#define TEST_ENGINE_FIXTURE_H

#include <glib.h>

#include "run/engine.h"

struct fake_engine {
	struct engine engine;
	struct engine_vm vm;
	GString *told; /* a word an order, and a blank: "start adopt button quit kill link:0:off refresh free " */
	bool reachable;         /* what its VM is, from fake_engine_up() on */
	const char *refusal;    /* why nothing can be started; NULL: it can */
	bool adopts;            /* one that is to be adopted runs */
	struct proc_id process; /* of its VM; pid 0: not known */
	/* The machine's; NULL: it has no VM. */
	const struct engine_vm_ops *ops;
	void *data;
};

void fake_engine_init(struct fake_engine *f);
void fake_engine_done(struct fake_engine *f);

/* What it was told since the last time; g_free(). */
char *fake_engine_told(struct fake_engine *f);

/* Its VM as one that has been started, to give to a machine that the test made itself. */
struct engine_vm *fake_engine_vm(struct fake_engine *f);

/* Events. */
void fake_engine_up(struct fake_engine *f);
void fake_engine_reset(struct fake_engine *f);
void fake_engine_pause(struct fake_engine *f, bool paused);
void fake_engine_end(struct fake_engine *f, enum engine_ending how, const char *words, int code);

#define assert_engine_told(f, expected)                       \
	do {                                                  \
		g_autofree char *told_ = fake_engine_told(f); \
		assert_string_equal(told_, expected);         \
	} while (0)

#endif
