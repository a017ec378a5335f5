"""The arithmetic of the exported C: pieces of C text, of which a file gets those that its model needs.

The algorithms, and the order of the operations, are those of csrc/kernels: vmath.h, activation.h, softmax.h, pooling.h,
lstm/norm.h. In the text ``@`` stands for the prefix of the model and an underscore, ``@@`` for the same in capitals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["PIECES", "Piece", "all_needs", "ordered", "used"]


class Piece(NamedTuple):
    """C text, and the names of the pieces that must precede it."""

    text: str
    needs: tuple[str, ...] = ()


PIECES: dict[str, Piece] = {}
"""All pieces by name, each after those that it needs."""


def all_needs(names: Iterable[str], pieces: Mapping[str, Piece] = PIECES) -> set[str]:
    """Return the names of some pieces and of all that they need."""
    wanted: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += pieces[name].needs
    return wanted


def ordered(pieces: Mapping[str, Piece], names: Iterable[str]) -> list[str]:
    """Return the text of some pieces and of those that they need, in an order in which C can read them."""
    wanted = all_needs(names, pieces)
    return [piece.text for name, piece in pieces.items() if name in wanted]


def used(texts: list[str], rest: str) -> list[str]:
    """Return those of some pieces, in their order, of which a later one or the rest of the file uses a function."""
    kept: list[str] = []
    for text in reversed(texts):
        functions = re.findall(r"^(?:@@UNUSED )?static [^(=;]*(@\w+)\(", text, re.MULTILINE)
        if any(re.search(rf"{name}\b", rest) for name in functions):
            kept.insert(0, text)
            rest = text + rest
    return kept


PIECES["rom"] = Piece("""\
@@UNUSED static inline float @rom(const float *p)
{
#if defined(__AVR__)
    const uint32_t bits = pgm_read_dword(p);
    float value;
    @@COPY(&value, &bits, sizeof value);
    return value;
#else
    return *p;
#endif
}
""")

PIECES["bits"] = Piece("""\
static inline uint32_t @bits(float value)
{
    uint32_t bits;
    @@COPY(&bits, &value, sizeof bits);
    return bits;
}
""")

PIECES["from_bits"] = Piece("""\
static inline float @from_bits(uint32_t bits)
{
    float value;
    @@COPY(&value, &bits, sizeof value);
    return value;
}
""")

PIECES["fma"] = Piece(
    """\
#if @@FMA == 2
/* v / 2^n; the last bit is 1 where bits were lost, which is enough to round by. */
static uint64_t @jam(uint64_t v, int n)
{
    if (n == 0)
        return v;
    if (n > 63)
        return v != 0;
    return v >> n | ((v & ((UINT64_C(1) << n) - 1)) != 0);
}

/* a b + c, rounded once. Numbers are sign, exponent e and mantissa m: m 2^(e - 150). */
static float @fma_exact(float a, float b, float c)
{
    const uint32_t bits_a = @bits(a), bits_b = @bits(b), bits_c = @bits(c);
    int exponent_a = (int)(bits_a >> 23 & 255), exponent_b = (int)(bits_b >> 23 & 255);
    int exponent_c = (int)(bits_c >> 23 & 255), exponent;
    const uint32_t negative_product = (bits_a ^ bits_b) >> 31, negative_c = bits_c >> 31;
    uint32_t negative = negative_product;
    uint64_t product, sum, addend, result;
    if (exponent_a == 255 || exponent_b == 255 || bits_a << 1 == 0 || bits_b << 1 == 0)
        return a * b + c;
    if (exponent_c == 255)
        return c;
    if (bits_c << 1 == 0)
        return a * b;
    product = (uint64_t)((bits_a & 0x7fffff) | (exponent_a > 0 ? 0x800000u : 0u)) *
              ((bits_b & 0x7fffff) | (exponent_b > 0 ? 0x800000u : 0u));
    addend = (bits_c & 0x7fffff) | (exponent_c > 0 ? 0x800000u : 0u);
    exponent = (exponent_a > 0 ? exponent_a : 1) + (exponent_b > 0 ? exponent_b : 1) - 150 - 14;
    exponent_c = (exponent_c > 0 ? exponent_c : 1) - 38;
    product <<= 14;
    addend <<= 38;
    while (product >> 61 == 0) { /* at most 61 times, and once or never unless a number is subnormal */
        product <<= 1;
        --exponent;
    }
    while (addend >> 61 == 0) {
        addend <<= 1;
        --exponent_c;
    }
    if (exponent >= exponent_c) {
        addend = @jam(addend, exponent - exponent_c);
    } else {
        product = @jam(product, exponent_c - exponent);
        exponent = exponent_c;
    }
    if (negative_product == negative_c) {
        sum = product + addend;
    } else if (product >= addend) {
        sum = product - addend;
    } else {
        sum = addend - product;
        negative = negative_c;
    }
    if (sum == 0)
        return 0;
    while (sum >> 62 == 0) { /* at most 62 times */
        sum <<= 1;
        --exponent;
    }
    exponent += 39; /* the biased exponent of the result */
    if (exponent > 254)
        return @from_bits(negative << 31 | UINT32_C(0x7f800000));
    if (exponent < 1) {
        sum = @jam(sum, 1 - exponent);
        exponent = 1;
    }
    result = sum >> 39;
    sum &= (UINT64_C(1) << 39) - 1;
    if (sum > UINT64_C(1) << 38 || (sum == UINT64_C(1) << 38 && (result & 1) != 0))
        ++result;
    return @from_bits(negative << 31 | ((((uint32_t)exponent - 1) << 23) + (uint32_t)result));
}
#endif

static inline float @fma(float a, float b, float c)
{
#if @@FMA == 1
    return __builtin_fmaf(a, b, c);
#elif @@FMA == 2
    return @fma_exact(a, b, c);
#else
    return a * b + c;
#endif
}
""",
    ("bits", "from_bits"),
)

PIECES["flush"] = Piece("""\
/* The server counts numbers below the smallest normal one as 0. */
static inline float @flush(float x)
{
    return x < FLT_MIN && x > -FLT_MIN ? 0 : x;
}
""")

PIECES["clip"] = Piece("""\
/* NaN stays NaN. */
static inline float @at_most(float x, float bound)
{
    return x > bound ? bound : x;
}

static inline float @at_least(float x, float bound)
{
    return x < bound ? bound : x;
}
""")

PIECES["exp_parts"] = Piece(
    """\
/* exp(y) 2^power = scale (1 + m), where m is returned: y = n ln 2 + r, m = exp(r) - 1 by a polynomial. */
static float @exp_parts(float y, uint32_t power, float *scale)
{
    const float shifted = @fma(y, 1.44269502f, 12582912.0f); /* the low bits hold round(y / ln 2) */
    const float n = shifted - 12582912.0f;
    const float r = @fma(n, 0.000212194442f, @fma(n, -0.693359375f, y));
    float q = 0.000198460068f;
    *scale = @from_bits((@bits(shifted) << 23) + ((127u + power) << 23));
    q = @fma(q, r, 0.00139407243f);
    q = @fma(q, r, 0.00833338965f);
    q = @fma(q, r, 0.0416663587f);
    q = @fma(q, r, 0.166666657f);
    q = @fma(q, r, 0.5f);
    return @fma(r * r, q, r);
}
""",
    ("fma",),
)

PIECES["exp"] = Piece(
    """\
static float @exp(float y)
{
    float scale, m;
    m = @exp_parts(@at_least(@at_most(y, 89.0f), -88.0f), 0, &scale);
    return scale * (1.0f + m);
}
""",
    ("exp_parts", "clip"),
)

PIECES["sigmoid"] = Piece(
    """\
static float @sigmoid(float x)
{
    return @flush(1.0f / (1.0f + @exp(-x)));
}
""",
    ("exp", "flush"),
)

PIECES["tanh"] = Piece(
    """\
/* With half = (exp(2 |x|) - 1) / 2, without cancellation near 0. */
static float @tanh(float x)
{
    const float magnitude = @from_bits(@bits(x) & UINT32_C(0x7fffffff));
    float scale, half, rest, result;
    const float m = @exp_parts(@at_most(magnitude + magnitude, 20.0f), UINT32_C(0xffffffff), &scale);
    half = @fma(scale, m, scale - 0.5f);
    rest = 1.0f / (half + 1.0f);
    result = half < 0.333333343f ? @fma(-half, half * rest, half) : 1.0f - rest;
    return @from_bits(@bits(result) | (@bits(x) & UINT32_C(0x80000000)));
}
""",
    ("exp_parts", "clip"),
)

_ONE_OPERAND = {
    "relu": ("@at_least(x, 0.0f)", ("clip",)),
    "affine": ("@fma(alpha, x, beta)", ("fma",)),
    "leaky_relu": ("x >= 0 ? x : alpha * x", ()),
    "thresholded_relu": ("x <= alpha ? 0 : x", ()),
    "scaled_tanh": ("alpha * @tanh(beta * x)", ("tanh",)),
    "hard_sigmoid": ("@at_most(@at_least(@fma(alpha, x, beta), 0.0f), 1.0f)", ("fma", "clip")),
}
for _name, (_value, _needs) in _ONE_OPERAND.items():
    PIECES[_name] = Piece(
        f"static float @{_name}(float x, float alpha, float beta)\n{{\n"
        + "".join(f"    (void){name};\n" for name in ("alpha", "beta") if name not in _value)
        + f"    return {_value};\n}}\n",
        _needs,
    )

PIECES["elu"] = Piece(
    """\
static float @elu(float x, float alpha, float beta)
{
    float scale, m;
    (void)beta;
    if (x >= 0)
        return x;
    m = @exp_parts(@at_least(x, -88.0f), 0, &scale);
    return alpha * @fma(scale, m, scale - 1.0f);
}
""",
    ("exp_parts", "clip"),
)

PIECES["softsign"] = Piece(
    """\
static float @softsign(float x, float alpha, float beta)
{
    const float finite = @at_least(@at_most(x, FLT_MAX), -FLT_MAX);
    (void)alpha;
    (void)beta;
    return finite / (1.0f + @from_bits(@bits(finite) & UINT32_C(0x7fffffff)));
}
""",
    ("bits", "from_bits", "clip"),
)

PIECES["softplus"] = Piece(
    """\
/* log(1 + e) for e in [0, 1]. */
static float @log1p_unit(float e)
{
    const float twice = (e + e) / (2.0f + e), s = 0.5f * twice, square = s * s;
    float sum = 0.0588235296f;
    sum = @fma(sum, square, 0.0666666701f);
    sum = @fma(sum, square, 0.0769230798f);
    sum = @fma(sum, square, 0.0909090936f);
    sum = @fma(sum, square, 0.111111112f);
    sum = @fma(sum, square, 0.142857149f);
    sum = @fma(sum, square, 0.200000003f);
    sum = @fma(sum, square, 0.333333343f);
    sum = @fma(sum, square, 1.0f);
    return @flush(twice * sum);
}

static float @softplus(float x, float alpha, float beta)
{
    (void)alpha;
    (void)beta;
    return @at_least(x, 0.0f) + @log1p_unit(@flush(@exp(-@from_bits(@bits(x) & UINT32_C(0x7fffffff)))));
}
""",
    ("exp", "flush"),
)

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

PIECES["softmax"] = Piece(
    """\
/* The terms are summed lane by lane and then across the lanes, as by the server's vectors. */
static void @softmax(const float *x, uint_fast16_t n, float *y)
{
    float lanes[@@LANES], largest = x[0], sum = 0, factor;
    for (uint_fast16_t k = 1; k < n; ++k)
        largest = x[k] > largest || x[k] != x[k] ? x[k] : largest;
    for (uint_fast16_t lane = 0; lane < @@LANES; ++lane)
        lanes[lane] = 0;
    for (uint_fast16_t k = 0; k < n; ++k) {
        y[k] = @flush(@exp(x[k] - largest));
        lanes[k % @@LANES] += y[k];
    }
    for (uint_fast16_t lane = 0; lane < @@LANES; ++lane)
        sum += lanes[lane];
    factor = 1.0f / sum;
    for (uint_fast16_t k = 0; k < n; ++k)
        y[k] = @flush(y[k] * factor);
}
""",
    ("exp", "flush"),
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
/* exp for y <= 0, to one or two units of the last place of double. */
static double @exp64(double y)
{
    static const double coefficients[] = {
        2.087530592864308851118e-9, 2.510908293027161007918e-8, 2.755740301564458526611e-7, 2.755724409941159333581e-6,
        2.480158717175176407131e-5, 1.984126988621319223356e-4, 1.38888888889629490039e-3, 8.333333333321605064496e-3,
        4.166666666666650725143e-2, 1.666666666666667659998e-1, 5.00000000000000000858e-1};
    double shifted, n, r, q = coefficients[0], scale;
    uint64_t bits;
    if (!(y > -709.0))
        return y < 0 ? 0 : y;
    shifted = y * 1.44269504088896340736 + 6755399441055744.0;
    n = shifted - 6755399441055744.0;
    r = (y - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6;
    @@COPY(&bits, &shifted, sizeof bits);
    bits = (bits << 52) + (UINT64_C(1023) << 52);
    @@COPY(&scale, &bits, sizeof scale);
    for (uint_fast8_t k = 1; k < 11; ++k)
        q = q * r + coefficients[k];
    return scale * (1.0 + (r * r * q + r));
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
    float sums[@@LANES], squares[@@LANES], total = 0;
    for (uint_fast16_t lane = 0; lane < @@LANES; ++lane)
        sums[lane] = squares[lane] = 0;
    for (uint_fast16_t j = 0; j < n; ++j)
        for (uint_fast16_t gate = 0; gate < gates; ++gate)
            sums[j % @@LANES] += a[j * gates + gate] * down;
    for (uint_fast16_t lane = 0; lane < @@LANES; ++lane)
        total += sums[lane];
    *mean = total / count;
    for (uint_fast16_t j = 0; j < n; ++j)
        for (uint_fast16_t gate = 0; gate < gates; ++gate) {
            const float off = a[j * gates + gate] * down - *mean;
            squares[j % @@LANES] = @fma(off, off, squares[j % @@LANES]);
        }
    total = 0;
    for (uint_fast16_t lane = 0; lane < @@LANES; ++lane)
        total += squares[lane];
    return total / count;
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
    ("fma", "sqrt"),
)
