"""C text of the functions of one number: reading constants, the fused multiply-add, exp, activations.

The algorithms, and the order of the operations, are those of csrc/kernels/vmath.h and activation.h. In the text ``@``
stands for the prefix of the model and an underscore, ``@@`` for the same in capitals.
"""

from __future__ import annotations

from ...activations import Activation
from .numbers import literal
from .pieces import Piece

__all__ = ["FUNCTIONS", "activation_call"]

FUNCTIONS: dict[str, Piece] = {}
"""Pieces by name, each after those that it needs."""

FUNCTIONS["rom"] = Piece("""\
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

FUNCTIONS["bits"] = Piece("""\
static inline uint32_t @bits(float value)
{
    uint32_t bits;
    @@COPY(&bits, &value, sizeof bits);
    return bits;
}
""")

FUNCTIONS["from_bits"] = Piece("""\
static inline float @from_bits(uint32_t bits)
{
    float value;
    @@COPY(&value, &bits, sizeof value);
    return value;
}
""")

FUNCTIONS["abs"] = Piece(
    """\
static inline float @abs(float x)
{
    return @from_bits(@bits(x) & UINT32_C(0x7fffffff));
}
""",
    ("bits", "from_bits"),
)

FUNCTIONS["fma"] = Piece(
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

FUNCTIONS["flush"] = Piece("""\
/* The server counts numbers below the smallest normal one as 0. */
static inline float @flush(float x)
{
    return x < FLT_MIN && x > -FLT_MIN ? 0 : x;
}
""")

FUNCTIONS["clip"] = Piece("""\
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

FUNCTIONS["exp_parts"] = Piece(
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

FUNCTIONS["exp"] = Piece(
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

FUNCTIONS["sigmoid"] = Piece(
    """\
static float @sigmoid(float x)
{
    return @flush(1.0f / (1.0f + @exp(-x)));
}
""",
    ("exp", "flush"),
)

FUNCTIONS["tanh"] = Piece(
    """\
/* With half = (exp(2 |x|) - 1) / 2, without cancellation near 0. */
static float @tanh(float x)
{
    const float magnitude = @abs(x);
    float scale, half, rest, result;
    const float m = @exp_parts(@at_most(magnitude + magnitude, 20.0f), UINT32_C(0xffffffff), &scale);
    half = @fma(scale, m, scale - 0.5f);
    rest = 1.0f / (half + 1.0f);
    result = half < 0.333333343f ? @fma(-half, half * rest, half) : 1.0f - rest;
    return @from_bits(@bits(result) | (@bits(x) & UINT32_C(0x80000000)));
}
""",
    ("exp_parts", "clip", "abs"),
)

FUNCTIONS["log1p_unit"] = Piece(
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
""",
    ("fma", "flush"),
)

_WITH_PARAMETERS = {
    "relu": ("@at_least(x, 0.0f)", ("clip",)),
    "affine": ("@fma(alpha, x, beta)", ("fma",)),
    "leaky_relu": ("x >= 0 ? x : alpha * x", ()),
    "thresholded_relu": ("x <= alpha ? 0 : x", ()),
    "scaled_tanh": ("alpha * @tanh(beta * x)", ("tanh",)),
    "hard_sigmoid": ("@at_most(@at_least(@fma(alpha, x, beta), 0.0f), 1.0f)", ("fma", "clip")),
    "softplus": ("@at_least(x, 0.0f) + @log1p_unit(@flush(@exp(-@abs(x))))", ("exp", "flush", "abs", "log1p_unit")),
    # an infinite x counts as the largest number
    "softsign": ("@at_least(@at_most(x, FLT_MAX), -FLT_MAX) / (1.0f + @at_most(@abs(x), FLT_MAX))", ("clip", "abs")),
}
for _name, (_value, _needs) in _WITH_PARAMETERS.items():
    FUNCTIONS[_name] = Piece(
        f"static float @{_name}(float x, float alpha, float beta)\n{{\n"
        + "".join(f"    (void){name};\n" for name in ("alpha", "beta") if name not in _value)
        + f"    return {_value};\n}}\n",
        _needs,
    )

FUNCTIONS["elu"] = Piece(
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


FUNCTIONS["silu"] = Piece(
    """\
static float @silu(float x, float alpha, float beta)
{
    const float finite = @at_least(@at_most(x, FLT_MAX), -FLT_MAX);
    (void)alpha;
    (void)beta;
    return x > finite ? x : @flush(finite * @sigmoid(finite));
}
""",
    ("clip", "flush", "sigmoid"),
)

FUNCTIONS["selu"] = Piece(
    """\
static float @selu(float x, float alpha, float beta)
{
    return beta * @elu(x, alpha, 0.0f);
}
""",
    ("elu",),
)


def activation_call(function: Activation, x: str) -> str:
    """Return the C expression of an activation of x."""
    if function.name in (*_WITH_PARAMETERS, "elu", "silu", "selu"):
        return f"@{function.name}({x}, {literal(function.alpha)}, {literal(function.beta)})"
    return f"@{function.name}({x})"
