/* SPDX-License-Identifier: MIT */
#include "dist.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>

#define PARETO_EXPONENT 3.0

const char *const dist_names[DIST_COUNT] = {
#define X(name, text) [DIST_##name] = text,
	DISTS(X)
#undef X
};

/* Point i stands for the probability (i + 1/2) / DIST_POINTS. */
static float table[DIST_COUNT][DIST_POINTS];
static pthread_once_t made = PTHREAD_ONCE_INIT;

static double normal_probability(double z)
{
	return erfc(-z * M_SQRT1_2) / 2;
}

/* Newton's method from the quantile before, which is near. */
static double normal_quantile(double u, double z)
{
	for (unsigned i = 0; i < 50; i++) {
		double density = exp(-z * z / 2) / sqrt(2 * M_PI);
		double step = (normal_probability(z) - u) / density;

		z -= fmax(-0.5, fmin(0.5, step));
		if (fabs(step) < 1e-12)
			break;
	}
	return z;
}

static double pareto_quantile(double u)
{
	const double a = PARETO_EXPONENT;
	const double mean = a / (a - 1), variance = a / ((a - 1) * (a - 1) * (a - 2));

	return (pow(1 - u, -1 / a) - mean) / sqrt(variance);
}

/* To mean 0 and deviation 1, which cutting the tails has moved: the integrals of straight lines between the points. */
static void normalise(float *t)
{
	double first = t[0], last = t[DIST_POINTS - 1];
	double sum = (first + last) / 2, squares = (first * first + last * last) / 2, mean,
	       deviation;

	for (unsigned i = 1; i < DIST_POINTS; i++) {
		double a = t[i - 1], b = t[i];

		sum += (a + b) / 2;
		squares += (a * a + a * b + b * b) / 3;
	}
	mean = sum / DIST_POINTS;
	deviation = sqrt(squares / DIST_POINTS - mean * mean);
	for (unsigned i = 0; i < DIST_POINTS; i++)
		t[i] = (float)((t[i] - mean) / deviation);
}

static void make_tables(void)
{
	double z = -4;

	for (unsigned i = 0; i < DIST_POINTS; i++) {
		double u = (i + 0.5) / DIST_POINTS, pareto = pareto_quantile(u);

		z = normal_quantile(u, z);
		table[DIST_NORMAL][i] = (float)z;
		table[DIST_PARETO][i] = (float)pareto;
		table[DIST_PARETONORMAL][i] = (float)(0.25 * z + 0.75 * pareto);
	}
	for (enum dist d = DIST_NORMAL; d < DIST_COUNT; d++)
		normalise(table[d]);
}

void dist_init(void)
{
	pthread_once(&made, make_tables);
}

double dist_quantile(enum dist d, double u)
{
	const float *t = table[d];
	double at = u * DIST_POINTS - 0.5;
	unsigned i;

	assert(d < DIST_COUNT);
	if (d == DIST_UNIFORM)
		return 2 * u - 1;
	if (at <= 0)
		return t[0];
	i = (unsigned)at;
	if (i >= DIST_POINTS - 1)
		return t[DIST_POINTS - 1];
	return t[i] + (at - i) * (t[i + 1] - t[i]);
}

double dist_draw(enum dist d, struct chance *chance, struct dist_series *series, double correlation)
{
	double u = chance_uniform(chance), z, c;

	if (correlation <= 0)
		return dist_quantile(d, u);

	/* Normal variables correlated by c have ranks correlated by 6/pi asin(c/2). */
	c = 2 * sin(M_PI / 6 * correlation);
	z = dist_quantile(DIST_NORMAL, u);
	if (series->any)
		z = c * series->z + sqrt(1 - c * c) * z;
	series->z = z;
	series->any = true;
	return dist_quantile(d, normal_probability(z));
}
