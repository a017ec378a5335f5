/* exhaustive.c - sigmoid, tanh and the other curved activations, and their slopes, for every float and for many doubles.
 *
 *   exhaustive [n [part parts]]    n = 1: all 2^32 floats, and 40 million doubles, some 20 minutes; else one run of 1024
 *                                  neighbours in n, by default 997. One part of several, from 0, so that processes can share
 *
 * On every instruction set of the machine, through fl_activation, and fl_activation_backward with a gradient of 1. Floats are
 * measured against double, which is off by 2^-27 of a float's unit in the last place at most; doubles against long double,
 * where that is wider. Exits with 1 if a promise is broken, and tells the worst of everything.
 *
 * An ulp is the distance between two numbers of the type at the exact result. The promises:
 *
 *   value   error in ulp of the result, however small that is, down to the smallest normal number; below, the error is less
 *           than that number (a function may give 0 there)
 *   order   how far a larger argument may give a smaller result, in ulp
 *   odd     tanh and softsign: f(-x) = -f(x), the same bits
 *   ends    sigmoid, tanh, elu: never beyond 0, 1 or -1, and exactly there where the exact result rounds to it
 *   NaN     gives NaN
 *   slope   error in units of 2^-23 (2^-52), the ulp of 1, which the largest slope is, at most 1. y (1 - y) and 1 - y^2 are
 *           computed from the rounded y, and however exact the difference is, what y is off by stays: near y = 1 a slope
 *           far below 1 is not accurate relative to itself, and 0 where y is 1. `own` is the error in ulp of the slope
 *           itself where that is bounded: for sigmoid x <= 0, for tanh |x| <= 1/2, for the others everywhere.
 */
#include "../fastlstm.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGMOID = 0, TANH = 1, ELU = 8, SOFTSIGN = 9, SOFTPLUS = 10 };
enum { KINDS = 5, RUN = 1024, BATCH = 1 << 16, MOST_SETS = 8 };
enum { VALUE, TINY, ORDER, SLOPE, OWN, MEASURES };

typedef struct {
    int kind;
    const char *name;
    double bound[2][MEASURES]; /* float, double */
} promise;

static const promise promises[KINDS] = {
    {SIGMOID, "sigmoid", {{5, 1, 1, 1, 5}, {5, 1, 1, 1, 5}}},
    {TANH, "tanh", {{5, 1, 2, 2, 5}, {5, 1, 2, 2, 5}}},
    {ELU, "elu", {{5, 1, 1, 1, 5}, {5, 1, 1, 1, 5}}},
    {SOFTSIGN, "softsign", {{5, 1, 2, 2, 5}, {5, 1, 2, 2, 5}}},
    {SOFTPLUS, "softplus", {{5, 1, 4, 1, 5}, {5, 1, 4, 1, 5}}},
};
static const char *const measures[MEASURES] = {"value", "tiny", "order", "slope", "own"};

/* The worst of one function, dtype and instruction set, and the arguments; and how often a promise without a measure broke. */
typedef struct {
    double worst[MEASURES], at[MEASURES];
    long long odd, ends, nan;
} finding;

static finding found[MOST_SETS][2][KINDS];

static void keep(finding *f, int measure, double error, double x)
{
    if (!(error <= f->worst[measure])) { /* NaN, too */
        f->worst[measure] = error;
        f->at[measure] = x;
    }
}

/* ---------------------------------------------------------------- exact results */

typedef struct {
    double high, low; /* low: what a double leaves out */
} exact;

/* At the magnitude m >= 0: exp(-m), expm1(-m), and log1p(exp(-m)), from which everything else comes without cancellation. */
typedef struct {
    double m, e, e1, log1p_e;
} parts_f64;

typedef struct {
    long double m, e, e1, log1p_e;
} parts_f80;

static parts_f64 parts_in_double(double m)
{
    const double e = exp(-m);
    return (parts_f64){m, e, expm1(-m), log1p(e)};
}

static parts_f80 parts_in_long_double(long double m)
{
    const long double e = expl(-m);
    return (parts_f80){m, e, expm1l(-m), log1pl(e)};
}

/* The value and the slope at m, or at -m (side 1), of the function `kind`. */
#define EXACT(kind, side, p, value, slope)                                                                     \
    switch (kind) {                                                                                            \
    case SIGMOID:                                                                                              \
        value = ((side) ? (p)->e : 1) / (1 + (p)->e);                                                          \
        slope = (p)->e / ((1 + (p)->e) * (1 + (p)->e));                                                        \
        break;                                                                                                 \
    case TANH: /* expm1(-2 m) = e1 (e1 + 2) */                                                                 \
        value = (p)->e1 * ((p)->e1 + 2) / (2 + (p)->e1 * ((p)->e1 + 2)) * ((side) ? 1 : -1);                   \
        slope = 4 * (p)->e * (p)->e / ((1 + (p)->e * (p)->e) * (1 + (p)->e * (p)->e));                         \
        break;                                                                                                 \
    case ELU:                                                                                                  \
        value = (side) ? (p)->e1 : (p)->m;                                                                     \
        slope = (side) ? (p)->e : 1;                                                                           \
        break;                                                                                                 \
    case SOFTSIGN:                                                                                             \
        value = (p)->m / (1 + (p)->m) * ((side) ? -1 : 1);                                                     \
        slope = 1 / ((1 + (p)->m) * (1 + (p)->m));                                                             \
        break;                                                                                                 \
    default:                                                                                                   \
        value = ((side) ? 0 : (p)->m) + (p)->log1p_e;                                                          \
        slope = ((side) ? (p)->e : 1) / (1 + (p)->e);                                                          \
        break;                                                                                                 \
    }

static exact split(long double value)
{
    const double high = (double)value;
    return (exact){high, isfinite(high) ? (double)(value - high) : 0};
}

static void exact_in_double(int kind, int side, const parts_f64 *p, exact *value, exact *slope)
{
    value->low = slope->low = 0;
    EXACT(kind, side, p, value->high, slope->high)
}

static void exact_in_long_double(int kind, int side, const parts_f80 *p, exact *value, exact *slope)
{
    long double v, d;
    EXACT(kind, side, p, v, d)
    *value = split(v);
    *slope = split(d);
}

/* ---------------------------------------------------------------- measuring */

static double ulp_of(fl_dtype dtype, double value)
{
    uint64_t bits;
    int exponent;
    if (dtype == FL_F64) {
        frexp(value, &exponent);
        return ldexp(1, (exponent < DBL_MIN_EXP ? DBL_MIN_EXP : exponent) - DBL_MANT_DIG);
    }
    memcpy(&bits, &value, sizeof bits);
    exponent = (int)(bits >> 52 & 0x7ff); /* the same for a float, quickly */
    exponent = exponent < 1022 + FLT_MIN_EXP ? 1022 + FLT_MIN_EXP : exponent;
    bits = (uint64_t)(exponent + 1 - FLT_MANT_DIG) << 52;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static double error_of(double got, exact expected)
{
    return got == expected.high && expected.low == 0 ? 0 : fabs(got - expected.high - expected.low);
}

static void measure_value(fl_dtype dtype, int kind, double x, double y, exact expected, finding *f)
{
    const double least = dtype == FL_F32 ? FLT_MIN : DBL_MIN, error = error_of(y, expected);
    if (kind == SOFTSIGN && isinf(x))
        return; /* infinity / infinity: NaN */
    if (fabs(expected.high) >= least)
        keep(f, VALUE, isinf(expected.high) ? (y == expected.high ? 0 : NAN) : error / ulp_of(dtype, expected.high), x);
    else
        keep(f, TINY, error / least, x);
    const double low = kind == SIGMOID || kind == SOFTPLUS ? 0 : -1;
    f->ends += !(y >= low) || ((kind == SIGMOID || kind == TANH || kind == SOFTSIGN) && !(y <= 1));
    if (kind == SIGMOID || kind == TANH || (kind == ELU && x < 0)) {
        const double rounded = dtype == FL_F32 ? (double)(float)expected.high : expected.high;
        f->ends += (rounded == 1 || rounded == -1 || (rounded == 0 && kind == SIGMOID)) && y != rounded;
    }
}

static void measure_slope(fl_dtype dtype, int kind, double x, double slope, exact expected, finding *f)
{
    const double least = dtype == FL_F32 ? FLT_MIN : DBL_MIN, error = error_of(slope, expected);
    if (kind == SOFTSIGN && isinf(x))
        return;
    keep(f, SLOPE, error / ulp_of(dtype, 1), x);
    if (fabs(expected.high) >= least && !(kind == SIGMOID && x > 0) && !(kind == TANH && fabs(x) > 0.5))
        keep(f, OWN, error / ulp_of(dtype, expected.high), x);
}

/* A batch of arguments in one dtype, and what a function makes of them. */
typedef struct {
    ptrdiff_t n;
    double x[BATCH];
    union {
        float f32[BATCH];
        double f64[BATCH];
    } in, out, one, slope;
} batch;

static double get(fl_dtype dtype, const void *array, ptrdiff_t k)
{
    return dtype == FL_F32 ? (double)((const float *)array)[k] : ((const double *)array)[k];
}

static void evaluate(fl_dtype dtype, int kind, batch *b)
{
    for (ptrdiff_t k = 0; k < b->n; ++k) {
        if (dtype == FL_F32) {
            b->in.f32[k] = (float)b->x[k];
            b->one.f32[k] = 1;
        } else {
            b->in.f64[k] = b->x[k];
            b->one.f64[k] = 1;
        }
    }
    fl_activation(dtype, kind, 1, 0, b->n, &b->in, &b->out, 1);
    fl_activation_backward(dtype, kind, 1, 0, b->n, &b->in, &b->out, &b->one, &b->slope, 1);
}

/* Measures all functions on all instruction sets at x and -x, for ascending x >= 0. The batches' x stay as they are; `last`
 * has, of each sign, the results at the largest x so far. */
static double last[MOST_SETS][2][KINDS][2];
static int begun[2];

static void measure(fl_dtype dtype, batch *sides[2])
{
    const ptrdiff_t n = sides[0]->n;
    sides[1]->n = n;
    for (ptrdiff_t k = 0; k < n; ++k)
        sides[1]->x[k] = -sides[0]->x[k];
    static exact values[2][KINDS][BATCH], slopes[2][KINDS][BATCH];
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double m = sides[0]->x[k];
        parts_f64 parts = {0};
        parts_f80 longer = {0};
        if (dtype == FL_F32)
            parts = parts_in_double(m);
        else
            longer = parts_in_long_double(m);
        for (int p = 0; p < KINDS; ++p)
            for (int side = 0; side < 2; ++side) {
                exact *value = &values[side][p][k], *slope = &slopes[side][p][k];
                if (dtype == FL_F32)
                    exact_in_double(promises[p].kind, side, &parts, value, slope);
                else
                    exact_in_long_double(promises[p].kind, side, &longer, value, slope);
            }
    }
    for (int p = 0; p < KINDS; ++p) {
        const int kind = promises[p].kind;
        for (int set = 0; set < fl_isa_count(); ++set) {
            fl_isa_select(fl_isa_name(set));
            for (int side = 0; side < 2; ++side) {
                evaluate(dtype, kind, sides[side]);
                const batch *b = sides[side], *positive = sides[0];
                double *before = &last[set][dtype][p][side];
                if (!begun[dtype])
                    *before = get(dtype, &b->out, 0);
                finding *f = &found[set][dtype][p];
                for (ptrdiff_t k = 0; k < n; ++k) {
                    const double x = b->x[k], y = get(dtype, &b->out, k), previous = k ? get(dtype, &b->out, k - 1) : *before;
                    measure_value(dtype, kind, x, y, values[side][p][k], f);
                    measure_slope(dtype, kind, x, get(dtype, &b->slope, k), slopes[side][p][k], f);
                    const double back = side ? y - previous : previous - y; /* down the branch of -x, y falls */
                    if (back > 0)
                        keep(f, ORDER, back / ulp_of(dtype, y), x);
                    if (side && (kind == TANH || kind == SOFTSIGN)) {
                        const double other = get(dtype, &positive->out, k);
                        f->odd += !(y == -other && signbit(y) != signbit(other)) && !(y != y && other != other);
                    }
                }
                *before = get(dtype, &b->out, n - 1);
            }
        }
    }
    begun[dtype] = 1;
}

/* NaN in, NaN out: of every payload, or some. */
static void measure_nan(batch *b, uint32_t stride)
{
    for (uint32_t sign = 0; sign < 2; ++sign)
        for (uint32_t bits = 0x7f800001; bits < 0x80000000;) {
            for (b->n = 0; b->n < BATCH && bits < 0x80000000; bits += stride) {
                const uint32_t pattern = bits | sign << 31;
                memcpy(&b->in.f32[b->n++], &pattern, sizeof pattern);
            }
            for (int set = 0; set < fl_isa_count(); ++set) {
                fl_isa_select(fl_isa_name(set));
                for (int p = 0; p < KINDS; ++p) {
                    fl_activation(FL_F32, promises[p].kind, 1, 0, b->n, &b->in, &b->out, 1);
                    for (ptrdiff_t k = 0; k < b->n; ++k)
                        found[set][FL_F32][p].nan += !isnan(b->out.f32[k]);
                }
            }
        }
    b->n = 2;
    b->in.f64[0] = (double)NAN;
    b->in.f64[1] = -(double)NAN;
    for (int set = 0; set < fl_isa_count(); ++set) {
        fl_isa_select(fl_isa_name(set));
        for (int p = 0; p < KINDS; ++p) {
            fl_activation(FL_F64, promises[p].kind, 1, 0, b->n, &b->in, &b->out, 1);
            found[set][FL_F64][p].nan += !isnan(b->out.f64[0]) + !isnan(b->out.f64[1]);
        }
    }
}

/* ---------------------------------------------------------------- arguments */

static double of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The runs of a part of several, and the first of the next part, so that the order is looked at across their seam. */
static long long all_floats(batch *sides[2], uint32_t every, uint32_t part, uint32_t parts)
{
    const uint32_t infinity = 0x7f800000, runs = infinity / RUN + 1;
    const uint32_t end = part + 1 < parts ? (uint32_t)((uint64_t)runs * (part + 1) / parts) + 1 : runs;
    long long count = 0;
    ptrdiff_t *n = &sides[0]->n;
    *n = 0;
    for (uint32_t run = (uint32_t)((uint64_t)runs * part / parts); run < end; run += every) {
        for (uint32_t bits = run * RUN; bits < (run + 1) * RUN && bits <= infinity; ++bits)
            sides[0]->x[(*n)++] = of_bits(bits);
        if (*n + RUN > BATCH || run + every >= end) {
            count += 2 * *n;
            measure(FL_F32, sides);
            *n = 0;
        }
    }
    return count;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs of 8 neighbours: from all exponents, densely from where the functions bend, and at the seams of their reduction, the
 * multiples of ln(2) / 4; in ascending order. */
static long long many_doubles(batch *sides[2], uint32_t every, uint32_t part, uint32_t parts)
{
    const size_t runs = 5000000 / every / parts + 6000;
    uint64_t random = part + 1;
    double *all = malloc(runs * 8 * sizeof *all);
    if (!all)
        exit(2);
    for (size_t k = 0; k < runs; ++k) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const double share = (double)(random >> 11) / 9007199254740992.0;
        double x = k < 6000 ? 0.17328679513998632735 * (double)k : k % 4 == 0 ? ldexp(1 + share, (int)(k / 4 % 2046) - 1022)
                   : k % 4 == 1 ? 2 * share : k % 4 == 2 ? 45 * share : 760 * share;
        for (int step = 0; step < 8; ++step, x = nextafter(x, INFINITY))
            all[8 * k + (size_t)step] = x;
    }
    qsort(all, runs * 8, sizeof *all, ascending);
    for (size_t first = 0; first < runs * 8; first += BATCH) {
        sides[0]->n = (ptrdiff_t)(runs * 8 - first < BATCH ? runs * 8 - first : BATCH);
        memcpy(sides[0]->x, all + first, (size_t)sides[0]->n * sizeof *all);
        measure(FL_F64, sides);
    }
    free(all);
    return 16 * (long long)runs;
}

static int report(void)
{
    int broken = 0;
    for (int dtype = FL_F32; dtype <= FL_F64; ++dtype)
        for (int p = 0; p < KINDS; ++p)
            for (int set = 0; set < fl_isa_count(); ++set) {
                const finding *f = &found[set][dtype][p];
                printf("%-9s %s %-9s", fl_isa_name(set), dtype == FL_F32 ? "f32" : "f64", promises[p].name);
                for (int m = 0; m < MEASURES; ++m) {
                    const int good = f->worst[m] <= promises[p].bound[dtype][m];
                    printf("  %s %.3f%s at %.9g", measures[m], f->worst[m], good ? "" : " BROKEN", f->at[m]);
                    broken += !good;
                }
                printf("  odd %lld ends %lld nan %lld\n", f->odd, f->ends, f->nan);
                broken += f->odd || f->ends || f->nan;
            }
    return broken;
}

int main(int count, char **arguments)
{
    const long every = count > 1 ? strtol(arguments[1], NULL, 10) : 997;
    const long part = count > 3 ? strtol(arguments[2], NULL, 10) : 0, parts = count > 3 ? strtol(arguments[3], NULL, 10) : 1;
    batch *sides[2] = {malloc(sizeof(batch)), malloc(sizeof(batch))};
    if (every < 1 || every > 10000 || part < 0 || part >= parts || parts > 1000 || fl_isa_count() > MOST_SETS || !sides[0] ||
        !sides[1])
        return 2;
    const long long floats = all_floats(sides, (uint32_t)every, (uint32_t)part, (uint32_t)parts);
    long long doubles = 0;
    if (LDBL_MANT_DIG > DBL_MANT_DIG)
        doubles = many_doubles(sides, (uint32_t)every, (uint32_t)part, (uint32_t)parts);
    if (part == 0)
        measure_nan(sides[0], every == 1 ? 1 : 4099);
    const int broken = report();
    printf("%lld floats and %lld doubles on %d instruction sets: %d promises broken\n", floats, doubles, fl_isa_count(),
           broken);
    free(sides[0]);
    free(sides[1]);
    return broken != 0;
}
