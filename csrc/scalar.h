/* scalar.h - exp, log, log1p and integer powers of doubles, the same bits on every machine.
 *
 * The C library's functions differ between systems, versions and processors. These use + - * / alone, which IEEE 754
 * defines to the bit (the compiler must not contract them: -ffp-contract=off), and no fused multiply-add, which the
 * portable kernels would not have.
 *
 *   exp(x) = 2^n 2^(j/32) (1 + expm1(r)),   x = (32 n + j) ln 2 / 32 + r,   |r| <= ln(2) / 64
 *   log(x) = n ln 2 + log1p(f),             x = 2^n (1 + f),  1 + f in [sqrt(1/2), sqrt(2)),  by the series of atanh
 *
 * Their errors are below 1.3 units in the last place (20 million numbers each; tests/test_bits.c checks some). Results
 * below the smallest normal number are 0, as everywhere in the kernels.
 */
#ifndef FASTLSTM_SCALAR_H
#define FASTLSTM_SCALAR_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t fl_bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double fl_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* exp(x) / 2^less, where that is a normal number. */
static inline double fl_exp_scaled(double x, uint64_t less)
{
    /* clang-format off */
    static const double powers[32] = { /* 2^(j/32) */
    0x1.0000000000000p+0, 0x1.059b0d3158574p+0, 0x1.0b5586cf9890fp+0, 0x1.11301d0125b51p+0,
    0x1.172b83c7d517bp+0, 0x1.1d4873168b9aap+0, 0x1.2387a6e756238p+0, 0x1.29e9df51fdee1p+0,
    0x1.306fe0a31b715p+0, 0x1.371a7373aa9cbp+0, 0x1.3dea64c123422p+0, 0x1.44e086061892dp+0,
    0x1.4bfdad5362a27p+0, 0x1.5342b569d4f82p+0, 0x1.5ab07dd485429p+0, 0x1.6247eb03a5585p+0,
    0x1.6a09e667f3bcdp+0, 0x1.71f75e8ec5f74p+0, 0x1.7a11473eb0187p+0, 0x1.82589994cce13p+0,
    0x1.8ace5422aa0dbp+0, 0x1.93737b0cdc5e5p+0, 0x1.9c49182a3f090p+0, 0x1.a5503b23e255dp+0,
    0x1.ae89f995ad3adp+0, 0x1.b7f76f2fb5e47p+0, 0x1.c199bdd85529cp+0, 0x1.cb720dcef9069p+0,
    0x1.d5818dcfba487p+0, 0x1.dfc97337b9b5fp+0, 0x1.ea4afa2a490dap+0, 0x1.f50765b6e4540p+0,
    };
    /* clang-format on */
    const double rounding = 0x1.8p52; /* adding it leaves the nearest integer, 32 n + j, in the low bits */
    const double shifted = x * 0x1.71547652b82fep+5 + rounding, steps = shifted - rounding;
    const double r = (x - steps * 0x1.62e42fe000000p-6) - steps * 0x1.f473de6af278fp-35, square = r * r;
    const uint64_t step = fl_bits_of(shifted);
    const double scale = fl_of_bits(fl_bits_of(powers[step & 31]) + (((step >> 5) - less) << 52));
    const double m =
        r + square * ((0.5 + r * (1.0 / 6)) + square * ((1.0 / 24 + r * (1.0 / 120)) + square * (1.0 / 720)));
    return scale + scale * m;
}

static inline double fl_exp(double x)
{
    if (x >= -708.39 && x <= 709)
        return fl_exp_scaled(x, 0);
    return x != x ? x : x < 0 ? 0 : x > 709.79 ? INFINITY : 2 * fl_exp_scaled(x, 1); /* 2^1024 has no exponent */
}

static inline double fl_log(double x)
{
    static const double coefficients[] = {2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
                                          2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3};
    const uint64_t bits = fl_bits_of(x), root = UINT64_C(0x3fe6a09e00000000); /* of sqrt(1/2), a little less */
    if (bits >= UINT64_C(0x7ff0000000000000))                                 /* negative, infinite or NaN */
        return bits == UINT64_C(0x7ff0000000000000) || x != x ? x : x == 0 ? -INFINITY : NAN;
    if (bits < UINT64_C(0x0010000000000000))
        return -INFINITY;
    const int64_t n = (int64_t)((bits - root + (UINT64_C(1) << 62)) >> 52) - 1024;
    const double f = fl_of_bits(bits - ((uint64_t)n << 52)) - 1, half = 0.5 * f * f;
    const double s = f / (2 + f), square = s * s;
    const double fourth = square * square;
    double even = coefficients[1], odd = coefficients[0]; /* two sums, which do not wait for each other */
    for (int k = 2; k < 10; k += 2) {
        odd = odd * fourth + coefficients[k];
        even = even * fourth + coefficients[k + 1];
    }
    const double rest = s * (half + square * (even + square * odd)) + (double)n * 0x1.f473de6af278fp-30;
    return (double)n * 0x1.62e42fe000000p-1 - ((half - rest) - f);
}

/* log(1 + e) for e in [0, 1]. */
static inline double fl_log1p_unit(double e)
{
    const double sum = 1 + e;
    return fl_log(sum) + (e - (sum - 1)) / sum;
}

/* base^n, n >= 0, by repeated squaring. */
static inline double fl_power(double base, int64_t n)
{
    double power = 1;
    for (; n > 0; n /= 2, base *= base)
        if (n % 2)
            power *= base;
    return power;
}

#endif
