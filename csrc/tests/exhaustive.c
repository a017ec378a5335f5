/* exhaustive.c - sigmoid, tanh and the other curved activations, and their slopes, for every float and for many
 * doubles.
 *
 *   exhaustive [n [part parts]]    n = 1: all 2^32 floats, and 100 million doubles, a quarter of an hour on one
 *                                  processor; otherwise one of n runs of 1024 neighbours, by default one of 997. `part`
 *                                  of `parts`, from 0, so that processes can share the work
 *
 * On every instruction set of the machine, through fl_activation, and through fl_activation_backward with a gradient of
 * 1: the formulas of the LSTM's gates and of their gradients. Floats are measured against double, whose error is at
 * most 2^-27 of a float's unit in the last place, and doubles against long double, where that is wider. Prints the
 * worst of everything, and exits with 1 if a promise is broken.
 *
 * An ulp is the distance between two numbers of the type at the exact result. The promises:
 *
 *   value   error in ulp of the result, however small the result is, down to the smallest normal number; below that the
 *           error is at most that number (a function may give 0 there)
 *   order   by how many ulp a larger argument may give a smaller result: 0 with sigmoid, tanh and elu
 *   odd     tanh and softsign: f(-x) = -f(x), the same bits
 *   ends    never beyond 0, 1 or -1; sigmoid, tanh, elu: exactly there where the exact result rounds to it; at infinity
 *           every function and slope has its limit
 *   NaN     gives NaN, in values and slopes, of every activation (except a slope that is a constant)
 *   slope   error in units of 2^-23 (2^-52), the ulp of 1, the largest value of a slope. y (1 - y) and 1 - y^2 are
 *           computed from the rounded y, and however exact the difference is, the error of y remains: near y = 1 a
 *           slope far below 1 is not accurate relative to itself, and it is 0 where y is 1
 *   relative  error in ulp of the slope itself where that is bounded: for sigmoid x <= 0, for tanh |x| <= 1/2, for the
 *           others everywhere
 */
#include "../fastlstm.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIGMOID = 0, TANH = 1, AFFINE = 3, ELU = 8, SOFTSIGN = 9, SOFTPLUS = 10 };
enum { KINDS = 5, RUN = 1024, BATCH = 8 * RUN, MOST_SETS = 8 };
enum { VALUE, TINY, ORDER, SLOPE, RELATIVE, MEASURES };

typedef struct {
    int kind;
    const char *name;
    double bound[2][MEASURES]; /* float, double */
} promise;

static const promise promises[KINDS] = {
    {SIGMOID, "sigmoid", {{3, 1, 0, 1, 3}, {3, 1, 0, 1, 3}}},
    {TANH, "tanh", {{3, 1, 0, 2, 2}, {3, 1, 0, 2, 2}}},
    {ELU, "elu", {{2, 1, 0, 1, 2}, {2, 1, 0, 1, 2}}},
    {SOFTSIGN, "softsign", {{2, 1, 2, 2, 4}, {2, 1, 2, 2, 4}}},
    {SOFTPLUS, "softplus", {{4, 1, 3, 1, 3}, {4, 1, 3, 1, 3}}},
};
static const char *const measures[MEASURES] = {"value", "tiny", "order", "slope", "relative"};

/* The worst errors of one function, dtype and instruction set, with their arguments, and the number of other broken
 * promises. */
typedef struct {
    double worst[MEASURES], at[MEASURES];
    long long odd, ends;
} finding;

static int sets; /* instruction sets of this machine; counting them takes time, too */
static finding found[MOST_SETS][2][KINDS];
static long long found_nan[MOST_SETS][2][FL_FUNCTIONS];

/* Keep the larger error. NaN is larger than any. */
static void keep(finding *f, int measure, double error, double x)
{
    if (f->worst[measure] == f->worst[measure] && !(error <= f->worst[measure])) {
        f->worst[measure] = error;
        f->at[measure] = x;
    }
}

static void merge(finding *f, const finding *other)
{
    for (int measure = 0; measure < MEASURES; ++measure)
        keep(f, measure, other->worst[measure], other->at[measure]);
    f->odd += other->odd;
    f->ends += other->ends;
}

/* ---------------------------------------------------------------- exact results */

/* At the magnitude m >= 0: exp(-m), expm1(-m) and log1p(exp(-m)), from which all results follow without
 * cancellation. */
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

/* The value and the slope at m, or at -m (side 1), of the function `kind`, and the distance of the value from 1 or -1,
 * where that is its limit (else 1). */
#define EXACT(kind, side, p, value, slope, rest)                                                                       \
    switch (kind) {                                                                                                    \
    case SIGMOID:                                                                                                      \
        value = ((side) ? (p)->e : 1) / (1 + (p)->e);                                                                  \
        slope = (p)->e / ((1 + (p)->e) * (1 + (p)->e));                                                                \
        rest = (side) ? 1 : (p)->e / (1 + (p)->e);                                                                     \
        break;                                                                                                         \
    case TANH: /* expm1(-2 m) = e1 (e1 + 2) */                                                                         \
        value = (p)->e1 * ((p)->e1 + 2) / (2 + (p)->e1 * ((p)->e1 + 2)) * ((side) ? 1 : -1);                           \
        slope = 4 * (p)->e * (p)->e / ((1 + (p)->e * (p)->e) * (1 + (p)->e * (p)->e));                                 \
        rest = 2 * (p)->e * (p)->e / (1 + (p)->e * (p)->e);                                                            \
        break;                                                                                                         \
    case ELU:                                                                                                          \
        value = (side) ? (p)->e1 : (p)->m;                                                                             \
        slope = (side) ? (p)->e : 1;                                                                                   \
        rest = (side) ? (p)->e : 1;                                                                                    \
        break;                                                                                                         \
    case SOFTSIGN:                                                                                                     \
        value = (p)->m / (1 + (p)->m) * ((side) ? -1 : 1);                                                             \
        slope = 1 / ((1 + (p)->m) * (1 + (p)->m));                                                                     \
        rest = 1;                                                                                                      \
        break;                                                                                                         \
    default:                                                                                                           \
        value = ((side) ? 0 : (p)->m) + (p)->log1p_e;                                                                  \
        slope = ((side) ? (p)->e : 1) / (1 + (p)->e);                                                                  \
        rest = 1;                                                                                                      \
        break;                                                                                                         \
    }

/* The exact results of a function on one side of 0, and the units of the errors. */
typedef struct {
    double x[BATCH];
    double high[BATCH], low[BATCH];             /* the value; low: the part that a double leaves out */
    double slope_high[BATCH], slope_low[BATCH]; /* the slope */
    double ulp[BATCH], slope_ulp[BATCH];        /* of value and slope; infinity where that measure does not apply */
    double must[BATCH];                         /* the value where it must be exactly this number, else NaN */
} expected;

static double ulp_of(fl_dtype dtype, double value)
{
    uint64_t bits;
    int exponent;
    if (dtype == FL_F64) {
        frexp(value, &exponent);
        return ldexp(1, (exponent < DBL_MIN_EXP ? DBL_MIN_EXP : exponent) - DBL_MANT_DIG);
    }
    memcpy(&bits, &value, sizeof bits); /* the same for a float that is a normal number, without branches */
    bits = ((bits >> 52 & 0x7ff) - FLT_MANT_DIG + 1) << 52;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static inline void expect(fl_dtype dtype, int kind, int side, ptrdiff_t n, const parts_f64 *parts,
                          const parts_f80 *longer, expected *to)
{
    const double least = dtype == FL_F32 ? FLT_MIN : DBL_MIN, half = dtype == FL_F32 ? 0x1p-25 : 0x1p-54;
    const double end = side && kind != SIGMOID ? -1 : 1;
    for (ptrdiff_t k = 0; k < n; ++k) {
        double rest;
        if (dtype == FL_F32) {
            to->x[k] = side ? -parts[k].m : parts[k].m;
            to->low[k] = to->slope_low[k] = 0;
            EXACT(kind, side, &parts[k], to->high[k], to->slope_high[k], rest)
        } else {
            long double value, slope, from_end;
            to->x[k] = (double)(side ? -longer[k].m : longer[k].m);
            EXACT(kind, side, &longer[k], value, slope, from_end)
            to->high[k] = (double)value;
            to->low[k] = (double)(value - to->high[k]);
            to->slope_high[k] = (double)slope;
            to->slope_low[k] = (double)(slope - to->slope_high[k]);
            rest = (double)from_end;
        }
        const double high = to->high[k], slope = to->slope_high[k];
        to->ulp[k] = fabs(high) >= least ? ulp_of(dtype, high) : (double)INFINITY;
        to->slope_ulp[k] = slope >= least ? ulp_of(dtype, slope) : (double)INFINITY;
        const double rounded = dtype == FL_F32 ? (double)(float)high : high;
        to->must[k] = rest < half ? end : kind == SIGMOID && rounded == 0 ? 0 : (double)NAN;
    }
    for (ptrdiff_t k = 0; k < n; ++k)
        if ((kind == SIGMOID && side == 0 && to->x[k] != 0) || (kind == TANH && fabs(to->x[k]) > 0.5))
            to->slope_ulp[k] = (double)INFINITY;
}

/* ---------------------------------------------------------------- measuring */

/* Keep the largest of n errors, if it is larger than `known`. */
static void keep_most(finding *f, const double *known, int measure, const double *errors, const double *x, ptrdiff_t n)
{
    enum { SIDE_BY_SIDE = 8 };
    double most[SIDE_BY_SIDE] = {0}, zeros[SIDE_BY_SIDE] = {0}, all = 0;
    ptrdiff_t k = 0;
    for (; k + SIDE_BY_SIDE <= n; k += SIDE_BY_SIDE)
        for (int j = 0; j < SIDE_BY_SIDE; ++j) {
            most[j] = errors[k + j] > most[j] ? errors[k + j] : most[j];
            zeros[j] += errors[k + j] * 0; /* NaN, if one is NaN or infinite */
        }
    for (int j = 0; j < SIDE_BY_SIDE; ++j) {
        all = most[j] > all ? most[j] : all;
        zeros[0] += zeros[j];
    }
    if (all > known[measure] || zeros[0] != 0)
        k = 0; /* find its argument */
    for (; k < n; ++k)
        keep(f, measure, errors[k], x[k]);
}

/* Results of one function on one instruction set, values and slopes, for the arguments in `expected`. */
typedef union {
    float f32[BATCH];
    double f64[BATCH];
} numbers;

typedef struct {
    numbers value, slope;
} results;

/* Measure n results that follow `before`, the result at the next smaller |x|. */
static inline void measure_side(fl_dtype dtype, int kind, int side, const expected *to, const results *got, ptrdiff_t n,
                                double before, const double *known, finding *f)
{
    static double y[BATCH + 1], slope[BATCH], error[BATCH], tiny[BATCH], back[BATCH];
    const double least = dtype == FL_F32 ? FLT_MIN : DBL_MIN, one = dtype == FL_F32 ? FLT_EPSILON : DBL_EPSILON;
    const double low = kind == SIGMOID || kind == SOFTPLUS ? 0 : -1;
    const double high = kind == ELU || kind == SOFTPLUS ? (double)INFINITY : 1, up = side ? -1 : 1;
    y[0] = before;
    for (ptrdiff_t k = 0; k < n; ++k) {
        y[k + 1] = dtype == FL_F32 ? (double)got->value.f32[k] : got->value.f64[k];
        slope[k] = dtype == FL_F32 ? (double)got->slope.f32[k] : got->slope.f64[k];
    }
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double off = fabs(y[k + 1] - to->high[k] - to->low[k]);
        error[k] = off / to->ulp[k];
        tiny[k] = to->ulp[k] > DBL_MAX ? off / least : 0;
        back[k] = up * (y[k] - y[k + 1]) / (to->ulp[k] > DBL_MAX ? least : to->ulp[k]);
    }
    keep_most(f, known, VALUE, error, to->x, n);
    keep_most(f, known, TINY, tiny, to->x, n);
    keep_most(f, known, ORDER, back, to->x, n);
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double off = fabs(slope[k] - to->slope_high[k] - to->slope_low[k]);
        error[k] = off / one;
        tiny[k] = off / to->slope_ulp[k];
    }
    keep_most(f, known, SLOPE, error, to->x, n);
    keep_most(f, known, RELATIVE, tiny, to->x, n);
    double beyond = 0;
    for (ptrdiff_t k = 0; k < n; ++k) {
        const double inside = (y[k + 1] >= low) & (y[k + 1] <= high);
        const double exact = (to->must[k] != to->must[k]) | (y[k + 1] == to->must[k]);
        beyond += 2 - inside - exact;
    }
    f->ends += (long long)beyond;
}

/* Count how often the bits of f(-x) are not those of -f(x). */
static long long measure_odd(fl_dtype dtype, const numbers *plus, const numbers *minus, ptrdiff_t n)
{
    long long broken = 0;
    for (ptrdiff_t k = 0; k < n; ++k) {
        uint64_t a, b;
        if (dtype == FL_F32) {
            uint32_t c, d;
            memcpy(&c, &plus->f32[k], sizeof c);
            memcpy(&d, &minus->f32[k], sizeof d);
            broken += (c ^ d) != UINT32_C(1) << 31;
        } else {
            memcpy(&a, &plus->f64[k], sizeof a);
            memcpy(&b, &minus->f64[k], sizeof b);
            broken += (a ^ b) != UINT64_C(1) << 63;
        }
    }
    return broken;
}

static void evaluate(fl_dtype dtype, int kind, ptrdiff_t n, const double *x, results *out)
{
    static numbers in, one;
    for (ptrdiff_t k = 0; k < n; ++k) {
        if (dtype == FL_F32) {
            in.f32[k] = (float)x[k];
            one.f32[k] = 1;
        } else {
            in.f64[k] = x[k];
            one.f64[k] = 1;
        }
    }
    fl_activation(dtype, kind, 1, 0, n, &in, &out->value, 1);
    fl_activation_backward(dtype, kind, 1, 0, n, &in, &out->value, &one, &out->slope, 1);
}

static double get(fl_dtype dtype, const numbers *array, ptrdiff_t k)
{
    return dtype == FL_F32 ? (double)array->f32[k] : array->f64[k];
}

/* Measure all functions on all instruction sets at n arguments x >= 0, in ascending order, and at -x. `last` holds,
 * for each sign, the results at the largest x so far. Instruction sets that give the same bits are measured once. */
static inline void measure_all(fl_dtype dtype, ptrdiff_t n, const double *x)
{
    static double all_last[2][MOST_SETS][KINDS][2];
    static int begun[2];
    static parts_f64 parts[BATCH];
    static parts_f80 longer[BATCH];
    static double minus[BATCH];
    static expected to;
    static results got[MOST_SETS][KINDS][2];
    double (*last)[KINDS][2] = all_last[dtype];
    const size_t bytes = (size_t)n * (dtype == FL_F32 ? sizeof(float) : sizeof(double));
    for (ptrdiff_t k = 0; k < n; ++k) {
        minus[k] = -x[k];
        if (dtype == FL_F32)
            parts[k] = parts_in_double(x[k]);
        else
            longer[k] = parts_in_long_double(x[k]);
    }
    for (int set = 0; set < sets; ++set) {
        fl_isa_select(fl_isa_name(set)); /* takes time */
        for (int p = 0; p < KINDS; ++p)
            for (int side = 0; side < 2; ++side)
                evaluate(dtype, promises[p].kind, n, side ? minus : x, &got[set][p][side]);
    }
    for (int p = 0; p < KINDS; ++p) {
        const int kind = promises[p].kind;
        for (int side = 0; side < 2; ++side) {
            finding here[MOST_SETS];
            double known[MEASURES]; /* of all instruction sets */
            for (int measure = 0; measure < MEASURES; ++measure) {
                known[measure] = found[0][dtype][p].worst[measure];
                for (int set = 1; set < sets; ++set)
                    known[measure] = fmin(known[measure], found[set][dtype][p].worst[measure]);
            }
            expect(dtype, kind, side, n, parts, longer, &to);
            for (int set = 0; set < sets; ++set) {
                const results *out = &got[set][p][side], *as = &got[set ? set - 1 : 0][p][side];
                if (!begun[dtype])
                    last[set][p][side] = get(dtype, &out->value, 0);
                if (set && last[set][p][side] == last[set - 1][p][side] &&
                    memcmp(&out->value, &as->value, bytes) == 0 && memcmp(&out->slope, &as->slope, bytes) == 0) {
                    here[set] = here[set - 1];
                } else {
                    memset(&here[set], 0, sizeof here[set]);
                    measure_side(dtype, kind, side, &to, out, n, last[set][p][side], known, &here[set]);
                }
                merge(&found[set][dtype][p], &here[set]);
            }
            for (int set = 0; set < sets; ++set)
                last[set][p][side] = get(dtype, &got[set][p][side].value, n - 1);
        }
        for (int set = 0; set < sets && (kind == TANH || kind == SOFTSIGN); ++set)
            found[set][dtype][p].odd += measure_odd(dtype, &got[set][p][0].value, &got[set][p][1].value, n);
    }
    begun[dtype] = 1;
}

static void measure(fl_dtype dtype, ptrdiff_t n, const double *x)
{
    if (dtype == FL_F32)
        measure_all(FL_F32, n, x);
    else
        measure_all(FL_F64, n, x);
}

/* Check the limits at plus and minus infinity. */
static void measure_infinity(void)
{
    static const double limits[KINDS][4] = {/* value and slope, at plus and at minus infinity */
                                            {1, 0, 0, 0},
                                            {1, 0, -1, 0},
                                            {(double)INFINITY, 1, -1, 0},
                                            {1, 0, -1, 0},
                                            {(double)INFINITY, 1, 0, 0}};
    static results out;
    const double x[2] = {(double)INFINITY, -(double)INFINITY};
    for (int set = 0; set < sets; ++set) {
        fl_isa_select(fl_isa_name(set));
        for (int dtype = FL_F32; dtype <= FL_F64; ++dtype)
            for (int p = 0; p < KINDS; ++p) {
                evaluate((fl_dtype)dtype, promises[p].kind, 2, x, &out);
                for (int side = 0; side < 2; ++side)
                    found[set][dtype][p].ends += (get((fl_dtype)dtype, &out.value, side) != limits[p][2 * side]) +
                                                 (get((fl_dtype)dtype, &out.slope, side) != limits[p][2 * side + 1]);
            }
    }
}

/* Check that NaN gives NaN, for all activations, and for every payload or some. */
static void measure_nan(uint32_t stride)
{
    static double x[BATCH];
    static results out;
    for (int set = 0; set < sets; ++set) {
        fl_isa_select(fl_isa_name(set));
        for (int kind = 0; kind < FL_FUNCTIONS; ++kind)
            for (uint32_t sign = 0; sign < 2; ++sign)
                for (uint64_t bits = 0x7f800001; bits < 0x80000000;) {
                    static numbers in, one;
                    ptrdiff_t n = 0;
                    for (; n < BATCH && bits < 0x80000000; bits += stride, ++n) {
                        const uint32_t pattern = (uint32_t)bits | sign << 31;
                        memcpy(&in.f32[n], &pattern, sizeof pattern);
                        one.f32[n] = 1;
                    }
                    fl_activation(FL_F32, kind, 1, 0, n, &in, &out.value, 1);
                    fl_activation_backward(FL_F32, kind, 1, 0, n, &in, &out.value, &one, &out.slope, 1);
                    for (ptrdiff_t k = 0; k < n; ++k)
                        found_nan[set][FL_F32][kind] +=
                            !isnan(out.value.f32[k]) + !(isnan(out.slope.f32[k]) || kind == AFFINE);
                }
        for (int k = 0; k < 64; ++k) {
            const uint64_t pattern = UINT64_C(0x7ff0000000000001) | UINT64_C(1) << (k % 52) | (uint64_t)(k & 1) << 63;
            memcpy(&x[k], &pattern, sizeof pattern);
        }
        for (int kind = 0; kind < FL_FUNCTIONS; ++kind) {
            evaluate(FL_F64, kind, 63, x, &out);
            for (int k = 0; k < 63; ++k)
                found_nan[set][FL_F64][kind] += !isnan(out.value.f64[k]) + !(isnan(out.slope.f64[k]) || kind == AFFINE);
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

/* Measure the finite floats of a part, and the first of the next part, so that the order is checked across their
 * seam. */
static long long all_floats(uint32_t every, uint32_t part, uint32_t parts)
{
    static double x[BATCH];
    const uint32_t infinity = 0x7f800000, runs = infinity / RUN;
    const uint32_t end = part + 1 < parts ? (uint32_t)((uint64_t)runs * (part + 1) / parts) + 1 : runs;
    long long count = 0;
    ptrdiff_t n = 0;
    for (uint32_t run = (uint32_t)((uint64_t)runs * part / parts); run < end; run += every) {
        for (uint32_t bits = run * RUN; bits < (run + 1) * RUN; ++bits)
            x[n++] = of_bits(bits);
        if (n + RUN > BATCH || run + every >= end) {
            count += 2 * n;
            measure(FL_F32, n, x);
            n = 0;
        }
    }
    return count;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Measure runs of 8 neighbours in ascending order: from all exponents, densely where the functions bend, and at the
 * seams of their reduction, the multiples of ln(2) / 4. */
static long long many_doubles(uint32_t every, uint32_t part, uint32_t parts)
{
    const size_t runs = 5000000 / every / parts + 6000;
    uint64_t random = part + 1;
    double *all = malloc(runs * 8 * sizeof *all);
    if (!all)
        exit(2);
    for (size_t k = 0; k < runs; ++k) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const double share = (double)(random >> 11) / 9007199254740992.0;
        double x = k < 6000     ? 0.17328679513998632735 * (double)k
                   : k % 4 == 0 ? ldexp(1 + share, (int)(k / 4 % 2046) - 1022)
                   : k % 4 == 1 ? 2 * share
                   : k % 4 == 2 ? 45 * share
                                : 760 * share;
        for (int step = 0; step < 8; ++step, x = nextafter(x, INFINITY))
            all[8 * k + (size_t)step] = x;
    }
    qsort(all, runs * 8, sizeof *all, ascending);
    for (size_t first = 0; first < runs * 8; first += BATCH)
        measure(FL_F64, (ptrdiff_t)(runs * 8 - first < BATCH ? runs * 8 - first : BATCH), all + first);
    free(all);
    return 16 * (long long)runs;
}

static int report(void)
{
    int broken = 0;
    for (int dtype = FL_F32; dtype <= FL_F64; ++dtype)
        for (int p = 0; p < KINDS; ++p)
            for (int set = 0; set < sets; ++set) {
                const finding *f = &found[set][dtype][p];
                printf("%-9s %s %-9s", fl_isa_name(set), dtype == FL_F32 ? "f32" : "f64", promises[p].name);
                for (int m = 0; m < MEASURES; ++m) {
                    const int good = f->worst[m] <= promises[p].bound[dtype][m];
                    printf("  %s %.3f%s at %.9g", measures[m], f->worst[m], good ? "" : " BROKEN", f->at[m]);
                    broken += !good;
                }
                printf("  odd %lld ends %lld\n", f->odd, f->ends);
                broken += f->odd || f->ends;
            }
    for (int set = 0; set < sets; ++set)
        for (int dtype = FL_F32; dtype <= FL_F64; ++dtype)
            for (int kind = 0; kind < FL_FUNCTIONS; ++kind)
                if (found_nan[set][dtype][kind]) {
                    printf("%-9s %s activation %d: %lld of NaN are not NaN\n", fl_isa_name(set),
                           dtype == FL_F32 ? "f32" : "f64", kind, found_nan[set][dtype][kind]);
                    ++broken;
                }
    return broken;
}

int main(int count, char **arguments)
{
    const long every = count > 1 ? strtol(arguments[1], NULL, 10) : 997;
    const long part = count > 3 ? strtol(arguments[2], NULL, 10) : 0;
    const long parts = count > 3 ? strtol(arguments[3], NULL, 10) : 1;
    if (every < 1 || every > 10000 || part < 0 || part >= parts || parts > 1000 || (sets = fl_isa_count()) > MOST_SETS)
        return 2;
    const long long floats = all_floats((uint32_t)every, (uint32_t)part, (uint32_t)parts);
    long long doubles = 0;
    if (LDBL_MANT_DIG > DBL_MANT_DIG)
        doubles = many_doubles((uint32_t)every, (uint32_t)part, (uint32_t)parts);
    if (part == 0) {
        measure_infinity();
        measure_nan(every == 1 ? 1 : 4099);
    }
    const int broken = report();
    printf("%lld floats and %lld doubles on %d instruction sets: %d promises broken\n", floats, doubles, sets, broken);
    return broken != 0;
}
