/* SPDX-License-Identifier: MIT */
/* Are the random fates distributed as asked for?  Chi-square and Kolmogorov-Smirnov, with fixed seeds, at the 0.1 %
 * level: a right engine passes with these seeds for ever, and a wrong one does not pass by luck. */
#include <math.h>
#include <stdio.h>

#include "impair_fixture.h"

#define N 400000u

static struct road road;
static bool lost[N];

/* Which of N frames are lost with r->c. */
static void lose(struct road *r)
{
	road_set(r, 0);
	for (unsigned i = 0; i < N; i++)
		lost[i] = road_send(r, i, i, 60) == 0;
	road_done(r);
}

static double share(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N; i++)
		n += lost[i];
	return (double)n / N;
}

/* Of whether a frame is lost with whether the one `lag` later is. */
static double correlation(unsigned lag)
{
	double p = share(), both = 0;

	for (unsigned i = 0; i + lag < N; i++)
		both += lost[i] && lost[i + lag];
	return (both / (N - lag) - p * p) / (p * (1 - p));
}

/* The value that a chi-square of `df` degrees exceeds in one of a thousand cases (Wilson and Hilferty). */
static double chi_square_limit(unsigned df)
{
	double a = 2.0 / (9.0 * df);

	return df * pow(1 - a + 3.0902 * sqrt(a), 3);
}

static void check_chi_square(const unsigned *seen, const double *expected, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++) {
		assert_true(expected[i] >= 5);
		sum += (seen[i] - expected[i]) * (seen[i] - expected[i]) / expected[i];
	}
	if (sum >= chi_square_limit(n - 1))
		fail_msg("chi-square %.1f of %u classes, at most %.1f", sum, n,
			 chi_square_limit(n - 1));
}

/* Are the runs of `what` as long as if each went on with probability `stay`? */
static void check_runs(bool what, double stay)
{
	unsigned seen[60] = { 0 }, run = 0, n = 0, n_class = 1;
	double expected[60];

	for (unsigned i = 0; i < N; i++) {
		if (lost[i] == what) {
			run++;
		} else if (run > 0) {
			seen[min(run, 59u)]++;
			n++;
			run = 0;
		}
	}
	assert_true(n > 500);
	while (n_class < 50 && n * pow(stay, n_class - 1) * (1 - stay) >= 5 &&
	       n * pow(stay, n_class) >= 5)
		n_class++;
	for (unsigned i = n_class + 1; i < 60; i++)
		seen[n_class] += seen[i];
	for (unsigned i = 1; i <= n_class; i++)
		expected[i] = n * pow(stay, i - 1) * (i < n_class ? 1 - stay : 1);
	check_chi_square(seen + 1, expected + 1, n_class);
}

/* Within four deviations of an estimate from N independent frames, or `times` as many. */
static void check_share(double got, double p, double times)
{
	double off = 4 * sqrt(p * (1 - p) / N * times);

	if (fabs(got - p) > off)
		fail_msg("a share of %.5f, not %.5f +- %.5f", got, p, off);
}

static void test_loss(void **state)
{
	const double p[] = { 0.001, 0.02, 0.3, 0.9 };

	for (unsigned i = 0; i < array_size(p); i++) {
		road_init(&road, 100 + i);
		road.c.loss = p[i];
		lose(&road);
		check_share(share(), p[i], 1);
		if (p[i] * N > 1000)
			check_runs(true, p[i]);
		if (p[i] > 0.1)
			check_runs(false, 1 - p[i]);
		assert_true(fabs(correlation(1)) < 4 / sqrt(N));
	}
	road_init(&road, 1);
	road.c.loss = 1;
	lose(&road);
	assert_true(share() == 1);
}

/* Correlation makes runs, and leaves the share alone. */
static void test_correlated_loss(void **state)
{
	const double c[] = { 0.25, 0.5, 0.9 };

	for (unsigned i = 0; i < array_size(c); i++) {
		road_init(&road, 200 + i);
		road.c.loss = 0.1;
		road.c.loss_correlation = c[i];
		lose(&road);
		check_share(share(), 0.1, (1 + c[i]) / (1 - c[i]));
		assert_true(fabs(correlation(1) - c[i]) < 0.02);
		assert_true(fabs(correlation(3) - pow(c[i], 3)) < 0.03);
		check_runs(true, 0.1 + c[i] * 0.9);
		check_runs(false, 0.9 + c[i] * 0.1);
	}
}

static void test_gilbert_elliott(void **state)
{
	const double p = 0.02, r = 0.25, bad = p / (p + r);

	road_init(&road, 300);
	road.c.gemodel = true;
	road.c.gemodel_p = p;
	road.c.gemodel_r = r;
	lose(&road);
	check_share(share(), bad, (2 - p - r) / (p + r));
	check_runs(true, 1 - r);
	check_runs(false, 1 - p);
	assert_true(fabs(correlation(1) - (1 - p - r)) < 0.02);

	/* Elliott's: some pass while it is bad, some are lost while it is good. */
	road_init(&road, 301);
	road.c.gemodel = true;
	road.c.gemodel_p = p;
	road.c.gemodel_r = r;
	road.c.gemodel_h = 0.4;
	road.c.gemodel_k = 0.99;
	lose(&road);
	check_share(share(), bad * 0.6 + (1 - bad) * 0.01, (2 - p - r) / (p + r));
}

/* The long-run shares of the four states, by repetition. */
static double markov_share(const struct impair_config *c)
{
	double s[4] = { 1, 0, 0, 0 };

	for (unsigned i = 0; i < 100000; i++) {
		const double one = s[0], two = s[1], three = s[2], four = s[3];

		s[0] = one * (1 - c->markov_p13 - c->markov_p14) + three * c->markov_p31 + four;
		s[1] = two * (1 - c->markov_p23) + three * c->markov_p32;
		s[2] = one * c->markov_p13 + two * c->markov_p23 +
		       three * (1 - c->markov_p31 - c->markov_p32);
		s[3] = one * c->markov_p14;
	}
	return s[2] + s[3];
}

static void test_markov(void **state)
{
	/* Without states 2 and 4 it is Gilbert's. */
	road_init(&road, 400);
	road.c.markov = true;
	road.c.markov_p13 = 0.02;
	road.c.markov_p31 = 0.3;
	lose(&road);
	check_share(share(), markov_share(&road.c), 8);
	check_runs(true, 0.7);
	check_runs(false, 0.98);

	/* Losses in a gap are single ones. */
	road_init(&road, 401);
	road.c.markov = true;
	road.c.markov_p13 = 0;
	road.c.markov_p31 = 1;
	road.c.markov_p14 = 0.05;
	lose(&road);
	check_share(share(), 0.05 / 1.05, 1);
	for (unsigned i = 1; i < N; i++)
		assert_false(lost[i] && lost[i - 1]);

	/* All four.  A run of losses ends by going to 1 or 2. */
	road_init(&road, 402);
	road.c.markov = true;
	road.c.markov_p13 = 0.02;
	road.c.markov_p31 = 0.1;
	road.c.markov_p32 = 0.3;
	road.c.markov_p23 = 0.5;
	lose(&road);
	check_share(share(), markov_share(&road.c), 12);
	check_runs(true, 0.6);
}

static void test_duplicate_and_corrupt(void **state)
{
	static unsigned bits[64 * 8];
	static double expected[64 * 8];
	struct impair_verdict v;
	unsigned n = 0;

	road_init(&road, 500);
	road.c.duplicate = 0.07;
	road.c.corrupt = 0.2;
	road_set(&road, 0);
	for (unsigned i = 0; i < N; i++) {
		impair_judge(&road.im, i, 64, false, &v);
		for (unsigned k = 0; k < v.copies; k++, impair_went(&road.im, 64))
			if (v.corrupt[k]) {
				assert_true(v.bit[k] < 64 * 8);
				bits[v.bit[k]]++;
				n++;
			}
	}
	check_share((double)road.im.stats.duplicated / N, 0.07, 1);
	check_share(n / (N * 1.07), 0.2, 1);
	assert_int_equal(road.im.stats.corrupted, n);
	for (unsigned i = 0; i < array_size(bits); i++)
		expected[i] = (double)n / array_size(bits);
	check_chi_square(bits, expected, array_size(bits));
	road_done(&road);
}

static void test_reorder(void **state)
{
	road_init(&road, 600);
	road.c.delay_ns = 1000 * S;
	road.c.reorder = 0.25;
	road.c.reorder_correlation = 0.5;
	road_set(&road, 0);
	for (unsigned i = 0; i < N; i++)
		lost[i] = road_send(&road, i, i, 60) && road_take(&road, i) == 1;
	check_share(share(), 0.25, 3);
	assert_true(fabs(correlation(1) - 0.5) < 0.01);
	check_runs(true, 0.25 + 0.5 * 0.75);
	road_done(&road);
}

/* ---- delays ---- */

static double normal(double z)
{
	return erfc(-z / sqrt(2)) / 2;
}

/* The quantile functions as the header defines them, without a table. */
static double raw_quantile(enum dist d, double u)
{
	double low = -10, high = 10, z, pareto = pow(1 - u, -1.0 / 3) - 1.5;

	while (high - low > 1e-12) {
		z = (low + high) / 2;
		if (normal(z) < u)
			low = z;
		else
			high = z;
	}
	pareto /= sqrt(0.75);
	if (d == DIST_NORMAL)
		return low;
	return d == DIST_PARETO ? pareto : 0.25 * low + 0.75 * pareto;
}

static double quantile(enum dist d, double u)
{
	static double mean[DIST_COUNT], deviation[DIST_COUNT];
	const double end = 0.5 / DIST_POINTS;

	if (d == DIST_UNIFORM)
		return 2 * u - 1;
	if (deviation[d] == 0) {
		double sum = 0, squares = 0;

		for (unsigned i = 0; i < 100000; i++) {
			double x = raw_quantile(d, fmin(fmax((i + 0.5) / 100000, end), 1 - end));

			sum += x;
			squares += x * x;
		}
		mean[d] = sum / 100000;
		deviation[d] = sqrt(squares / 100000 - mean[d] * mean[d]);
	}
	return (raw_quantile(d, fmin(fmax(u, end), 1 - end)) - mean[d]) / deviation[d];
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

#define N_DELAYS 50000u

/* The delays of frames so far apart that none meets another, in units of the jitter from the mean. */
static void draw_delays(enum dist d, double correlated, double *delay)
{
	road_init(&road, 700 + d);
	road.c.delay_ns = 1000 * MS;
	road.c.jitter_ns = 10 * MS;
	road.c.distribution = d;
	road.c.delay_correlation = correlated;
	road_set(&road, 0);
	for (unsigned i = 0; i < N_DELAYS; i++) {
		uint64_t now = i * 10 * S;

		road_send(&road, now, i, 60);
		assert_int_equal(road_take(&road, now + 9 * S), 1);
		delay[i] = ((double)(road.taken[0].at_ns - now) - 1e9) / 1e7;
	}
	road_done(&road);
}

/* Kolmogorov and Smirnov's distance, by quantiles: F(x) is found by bisection. */
static double ks_distance(enum dist d, double *x, unsigned n)
{
	double worst = 0;

	qsort(x, n, sizeof(*x), by_value);
	for (unsigned i = 0; i < n; i += 25) {
		double low = 0, high = 1, u = 0.5;

		while (high - low > 1e-6) {
			u = (low + high) / 2;
			if (quantile(d, u) < x[i])
				low = u;
			else
				high = u;
		}
		worst = fmax(worst, fabs(u - (i + 0.5) / n));
	}
	return worst;
}

static void test_delays_are_distributed(void **state)
{
	static double x[N_DELAYS];

	for (enum dist d = 0; d < DIST_COUNT; d++) {
		double sum = 0, squares = 0, mean, deviation, ks;

		draw_delays(d, 0, x);
		for (unsigned i = 0; i < N_DELAYS; i++) {
			sum += x[i];
			squares += x[i] * x[i];
		}
		mean = sum / N_DELAYS;
		deviation = sqrt(squares / N_DELAYS - mean * mean);
		assert_true(fabs(mean) < 0.02);
		assert_true(fabs(deviation - (d == DIST_UNIFORM ? 1 / sqrt(3) : 1)) < 0.05);
		ks = ks_distance(d, x, N_DELAYS);
		if (ks >= 1.95 / sqrt(N_DELAYS))
			fail_msg("%s: distance %.5f", dist_names[d], ks);
	}
}

/* Spearman's. */
static double rank_correlation(const double *x, unsigned n)
{
	static double sorted[N_DELAYS], rank[N_DELAYS];
	double sum = 0;

	memcpy(sorted, x, n * sizeof(*x));
	qsort(sorted, n, sizeof(*x), by_value);
	for (unsigned i = 0; i < n; i++) {
		const double *at = bsearch(&x[i], sorted, n, sizeof(*x), by_value);

		rank[i] = (double)(at - sorted) / n - 0.5;
	}
	for (unsigned i = 1; i < n; i++)
		sum += rank[i] * rank[i - 1];
	return 12 * sum / (n - 1);
}

static void test_correlated_delays(void **state)
{
	static double x[N_DELAYS];
	const double c[] = { 0.25, 0.8 };

	for (enum dist d = 0; d < DIST_COUNT; d++)
		for (unsigned i = 0; i < array_size(c); i++) {
			draw_delays(d, c[i], x);
			assert_true(fabs(rank_correlation(x, N_DELAYS) - c[i]) < 0.02);
			/* Far enough apart they are independent, and as without correlation. */
			for (unsigned k = 0; k < N_DELAYS / 25; k++)
				x[k] = x[25 * k];
			assert_true(ks_distance(d, x, N_DELAYS / 25) < 1.95 / sqrt(N_DELAYS / 25));
		}
}

static void test_uniform_numbers(void **state)
{
	static unsigned seen[1000];
	static double expected[1000];
	struct chance c;

	chance_seed(&c, 1, 2);
	for (unsigned i = 0; i < N; i++)
		seen[(unsigned)(chance_uniform(&c) * 1000)]++;
	for (unsigned i = 0; i < 1000; i++)
		expected[i] = N / 1000.0;
	check_chi_square(seen, expected, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uniform_numbers),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_correlated_loss),
		cmocka_unit_test(test_gilbert_elliott),
		cmocka_unit_test(test_markov),
		cmocka_unit_test(test_duplicate_and_corrupt),
		cmocka_unit_test(test_reorder),
		cmocka_unit_test(test_delays_are_distributed),
		cmocka_unit_test(test_correlated_delays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
