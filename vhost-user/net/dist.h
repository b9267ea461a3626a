/* SPDX-License-Identifier: MIT */
/* The distributions that a delay may have, each with mean 0 and, but for the uniform one, standard deviation 1.
 *
 *   uniform       from -1 to +1, as netem's jitter without a distribution is
 *   normal        the normal distribution
 *   pareto        Pareto's with exponent 3: most are a little early, a few very late
 *   paretonormal  a quarter of the normal and three quarters of the Pareto quantile, scaled to deviation 1 again
 *
 * A distribution is kept as its quantile function, computed from the formulas above at DIST_POINTS points when first
 * asked for, and interpolated between them.  So a uniform number becomes a delay by one look-up.  The far tails end at
 * the outermost points, at 1 of 2 DIST_POINTS, and what is left is scaled to mean 0 and deviation 1: the latest of a
 * Pareto's is 24 deviations late.
 *
 * Correlation: dist_draw() keeps a normal variable that is correlated with its predecessor and looks up the quantile of
 * *its* probability.  So the distribution of the delays is the same whatever the correlation is, which mixing a delay
 * with the last one would not give, and their rank correlation (Spearman's) is what was asked for. */
#ifndef NET_DIST_H
#define NET_DIST_H

#include <stdint.h>

#include "chance.h"

#define DIST_POINTS 4096

#define DISTS(X)              \
	X(UNIFORM, "uniform") \
	X(NORMAL, "normal") X(PARETO, "pareto") X(PARETONORMAL, "paretonormal")

enum dist {
#define X(name, text) DIST_##name,
	DISTS(X)
#undef X
		DIST_COUNT,
};

extern const char *const dist_names[DIST_COUNT];

/* Call once before the others; later calls do nothing.  Takes a millisecond.  Any thread. */
void dist_init(void);

/* The value below which a share u of all lie; u in [0, 1]. */
double dist_quantile(enum dist d, double u);

/* What a correlated series remembers. */
struct dist_series {
	double z; /* the last normal variable */
	bool any;
};

/* The next number.  correlation in [0, 1). */
double dist_draw(enum dist d, struct chance *chance, struct dist_series *series,
		 double correlation);

#endif
