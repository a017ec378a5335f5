"""C text of the stages: products, softmax, scaling, pooling, normalisation; and all pieces together.

The algorithms and the order of the operations are those of csrc/kernels: dense.h, softmax.h, elementwise.h, pooling.h,
lstm/norm.h. In the text ``@`` stands for the prefix of the model and an underscore, ``@@`` for the same in capitals.
"""

from __future__ import annotations

from .functions import FUNCTIONS
from .pieces import Piece

__all__ = ["PIECES"]

PIECES: dict[str, Piece] = dict(FUNCTIONS)
"""All pieces by name, each after those that it needs."""

PIECES["sqrt"] = Piece(
    """\
/* The square root of a positive normal number, correctly rounded: the root of an integer of 49 or 50 bits. */
static float @sqrt(float x)
{
    const uint32_t bits = @bits(x);
    const uint32_t exponent = bits >> 23;
    uint64_t rest = (uint64_t)((bits & 0x7fffff) | 0x800000) << (exponent % 2 == 0 ? 26 : 25);
    uint64_t root = 0, bit;
    if (!(x >= FLT_MIN && x <= FLT_MAX))
        return x;
    for (bit = UINT64_C(1) << 48; bit != 0; bit >>= 2) {
        if (rest >= root + bit) {
            rest -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    /* 25 bits: round by the last one, since no root lies halfway between two numbers */
    return @from_bits(((((exponent + 127) >> 1) - 1) << 23) + (uint32_t)((root + 1) >> 1));
}
""",
    ("bits", "from_bits"),
)

PIECES["dense"] = Piece(
    """\
static void @dense(const float *w, const float *bias, uint_fast16_t inputs, uint_fast16_t outputs, const float *x,
    float *y)
{
    for (uint_fast16_t j = 0; j < outputs; ++j) {
        float sum = bias != NULL ? @rom(bias + j) : 0;
        for (uint_fast16_t k = 0; k < inputs; ++k, ++w)
            sum = @fma(x[k], @rom(w), sum);
        y[j] = sum;
    }
}
""",
    ("rom", "fma"),
)

PIECES["copy"] = Piece("""\
static void @copy(float *to, const float *from, uint_fast16_t n)
{
    for (uint_fast16_t k = 0; k < n; ++k)
        to[k] = from[k];
}
""")

PIECES["add"] = Piece("""\
static void @add(const float *a, const float *b, uint_fast16_t n, float *y)
{
    for (uint_fast16_t k = 0; k < n; ++k)
        y[k] = a[k] + b[k];
}
""")

PIECES["lanes"] = Piece("""\
/* The sum of all lanes, as the server takes it: of those that are half of them apart, and so on. */
static float @lanes(float *lanes)
{
    for (uint_fast16_t half = @@LANES / 2; half > 0; half /= 2)
        for (uint_fast16_t lane = 0; lane < half; ++lane)
            lanes[lane] += lanes[lane + half];
    return lanes[0];
}
""")

PIECES["softmax"] = Piece(
    """\
/* The terms are summed lane by lane and then across the lanes, as by the server's vectors. */
static void @softmax(const float *x, uint_fast16_t n, float *y)
{
    float lanes[@@LANES], largest = x[0], factor;
    for (uint_fast16_t k = 1; k < n; ++k)
        largest = x[k] > largest || x[k] != x[k] ? x[k] : largest;
    for (uint_fast16_t lane = 0; lane < @@LANES; ++lane)
        lanes[lane] = 0;
    for (uint_fast16_t k = 0; k < n; ++k) {
        y[k] = @flush(@exp(x[k] - largest));
        lanes[k % @@LANES] += y[k];
    }
    factor = 1.0f / @lanes(lanes);
    for (uint_fast16_t k = 0; k < n; ++k)
        y[k] = @flush(y[k] * factor);
}
""",
    ("exp", "flush", "lanes"),
)

PIECES["standardize"] = Piece(
    """\
#if @@DOUBLE
static void @standardize(const double *mean, const double *scale, const float *x, uint_fast16_t n, float *y)
{
    for (uint_fast16_t k = 0; k < n; ++k)
        y[k] = (float)(((double)x[k] - mean[k]) / scale[k]);
}
#else
static void @standardize(const float *mean, const float *low, const float *scale, const float *x, uint_fast16_t n,
    float *y)
{
    for (uint_fast16_t k = 0; k < n; ++k)
        y[k] = ((x[k] - @rom(mean + k)) - @rom(low + k)) / @rom(scale + k);
}
#endif
""",
    ("rom",),
)

PIECES["unstandardize"] = Piece(
    """\
#if @@DOUBLE
static void @unstandardize(const double *mean, const double *scale, const float *x, uint_fast16_t n, float *y)
{
    for (uint_fast16_t k = 0; k < n; ++k)
        y[k] = (float)((double)x[k] * scale[k] + mean[k]);
}
#else
static void @unstandardize(const float *mean, const float *low, const float *scale, const float *x, uint_fast16_t n,
    float *y)
{
    for (uint_fast16_t k = 0; k < n; ++k)
        y[k] = (x[k] * @rom(scale + k) + @rom(low + k)) + @rom(mean + k);
}
#endif
""",
    ("rom",),
)

PIECES["missing"] = Piece("""\
/* A missing value becomes 0, and its channel behind the n features 1. */
static void @missing(const uint16_t *features, uint_fast16_t count, uint_fast16_t n, float *y)
{
    for (uint_fast16_t k = 0; k < count; ++k) {
#if defined(__AVR__)
        float *value = y + pgm_read_word(features + k);
#else
        float *value = y + features[k];
#endif
        const int absent = *value != *value;
        y[n + k] = absent ? 1.0f : 0.0f;
        if (absent)
            *value = 0;
    }
}
""")

PIECES["pool_mean"] = Piece("""\
static void @pool_mean(const float *x, uint_fast16_t n, double *sums, uint64_t *count, float *y)
{
    ++*count;
    for (uint_fast16_t k = 0; k < n; ++k) {
        sums[k] += (double)x[k];
        y[k] = (float)(sums[k] / (double)*count);
    }
}
""")

PIECES["pool_max"] = Piece("""\
/* NaN stays NaN. */
static void @pool_max(const float *x, uint_fast16_t n, float *largest, uint8_t *begun, float *y)
{
    for (uint_fast16_t k = 0; k < n; ++k) {
        if (*begun == 0 || x[k] > largest[k] || x[k] != x[k])
            largest[k] = x[k];
        y[k] = largest[k];
    }
    *begun = 1;
}
""")

PIECES["pool_attention"] = Piece("""\
#if !@@DOUBLE
#error "attention pooling needs a double of 64 bits, which this target or its settings do not have"
#endif
/* exp for y <= 0, by + and * of double alone, as the server computes it:
 * exp(y) = 2^n 2^(j/32) (1 + expm1(r)), y = (32 n + j) ln 2 / 32 + r. */
static double @exp64(double y)
{
    static const double powers[32] = { /* 2^(j/32) */
        1.0, 1.0218971486541166, 1.0442737824274138, 1.0671404006768237,
        1.0905077326652577, 1.1143867425958924, 1.1387886347566916, 1.1637248587775775,
        1.189207115002721, 1.215247359980469, 1.241857812073484, 1.2690509571917332,
        1.2968395546510096, 1.3252366431597413, 1.3542555469368927, 1.383909881963832,
        1.4142135623730951, 1.4451808069770467, 1.4768261459394993, 1.5091644275934228,
        1.5422108254079407, 1.5759808451078865, 1.6104903319492543, 1.645755478153965,
        1.681792830507429, 1.718619298122478, 1.7562521603732995, 1.7947090750031072,
        1.8340080864093424, 1.8741676341103, 1.9152065613971474, 1.9571441241754002};
    double shifted, steps, r, square, m, scale;
    uint64_t step, bits;
    if (!(y >= -708.39))
        return y < 0 ? 0 : y;
    shifted = y * 46.16624130844683 + 6755399441055744.0; /* 1.5 * 2^52: the nearest integer is in the low bits */
    steps = shifted - 6755399441055744.0;
    r = (y - steps * 0.021660849335603416) - steps * 5.689487495325457e-11;
    @@COPY(&step, &shifted, sizeof step);
    @@COPY(&bits, &powers[step & 31], sizeof bits);
    bits += step >> 5 << 52; /* n, modulo 2^12 */
    @@COPY(&scale, &bits, sizeof scale);
    square = r * r;
    m = r + square * ((0.5 + r * (1.0 / 6)) + square * ((1.0 / 24 + r * (1.0 / 120)) + square * (1.0 / 720)));
    return scale + scale * m;
}

/* A mean weighted by the softmax of the scores: the terms are relative to the largest score so far. counts holds the
 * number of steps, the sum of the terms and that score. */
static void @pool_attention(const float *x, uint_fast16_t n, float of_step, double *sums, double *counts, float *y)
{
    const double score = (double)of_step;
    const int first = counts[0] < 0.5;
    double term;
    counts[0] += 1;
    if (first || score > counts[2]) {
        const double factor = first ? 0 : @exp64(counts[2] - score);
        counts[2] = score;
        counts[1] *= factor;
        for (uint_fast16_t k = 0; k < n; ++k)
            sums[k] *= factor;
    }
    term = @exp64(score - counts[2]);
    counts[1] += term;
    for (uint_fast16_t k = 0; k < n; ++k) {
        sums[k] += term * (double)x[k];
        y[k] = (float)(sums[k] / counts[1]);
    }
}
""")

PIECES["norm"] = Piece(
    """\
/* Mean and variance of n groups of `gates` numbers each, times `down`; summed as by the server's vectors. */
static float @moments(const float *a, uint_fast16_t n, uint_fast16_t gates, float down, float *mean)
{
    const float count = (float)((uint32_t)n * (uint32_t)gates);
    float sums[@@LANES], squares[@@LANES];
    for (uint_fast16_t lane = 0; lane < @@LANES; ++lane)
        sums[lane] = squares[lane] = 0;
    for (uint_fast16_t j = 0; j < n; ++j)
        for (uint_fast16_t gate = 0; gate < gates; ++gate)
            sums[j % @@LANES] += a[j * gates + gate] * down;
    *mean = @lanes(sums) / count;
    for (uint_fast16_t j = 0; j < n; ++j)
        for (uint_fast16_t gate = 0; gate < gates; ++gate) {
            const float off = a[j * gates + gate] * down - *mean;
            squares[j % @@LANES] = @fma(off, off, squares[j % @@LANES]);
        }
    return @lanes(squares) / count;
}

/* a = (a - mean) / sqrt(variance + eps). Where squares exceed the largest number, the sums are taken again of smaller
 * numbers. */
static void @norm(float *a, uint_fast16_t n, uint_fast16_t gates, float eps)
{
    const float down = 7.88860905e-31f; /* 2^-100 */
    float mean, variance = @moments(a, n, gates, 1.0f, &mean);
    float scale = 1.0f / @sqrt(variance + eps);
    if (!(variance <= FLT_MAX)) {
        variance = @moments(a, n, gates, down, &mean);
        mean /= down;
        scale = down / @sqrt(variance);
    }
    for (uint32_t k = 0; k < (uint32_t)n * (uint32_t)gates; ++k)
        a[k] = (a[k] - mean) * scale;
}
""",
    ("fma", "sqrt", "lanes"),
)
