"""C text of the integer arithmetic; pieces as in `fastlstm.formats.c.pieces`, which may use `rom` of `functions`."""

from __future__ import annotations

from ..numbers import array_text
from ..pieces import Piece
from .arithmetic import TABLE

__all__ = ["INTEGER_PIECES"]

INTEGER_PIECES: dict[str, Piece] = {}
"""All pieces by name, each after those that it needs."""

INTEGER_PIECES["read"] = Piece("""\
#if defined(__AVR__)
static inline int8_t @read8(const int8_t *p)
{
    return (int8_t)pgm_read_byte(p);
}

static inline int32_t @read32(const int32_t *p)
{
    return (int32_t)pgm_read_dword(p);
}
#else
static inline int8_t @read8(const int8_t *p)
{
    return *p;
}

static inline int32_t @read32(const int32_t *p)
{
    return *p;
}
#endif
""")

INTEGER_PIECES["read16"] = Piece("""\
static inline int16_t @read16(const int16_t *p)
{
#if defined(__AVR__)
    return (int16_t)pgm_read_word(p);
#else
    return *p;
#endif
}
""")

INTEGER_PIECES["rounded"] = Piece("""\
#if (-1 >> 1) != -1
#error "this compiler does not shift negative numbers arithmetically"
#endif
/* v 2^-n, rounded to the nearest integer, halves up. */
static inline int64_t @rounded(int64_t v, uint_fast8_t n)
{
    return n > 0 ? (v + ((int64_t)1 << (n - 1))) >> n : v;
}

static int32_t @clip32(int64_t v)
{
    return v > INT32_MAX ? INT32_MAX : v < -INT32_MAX ? -INT32_MAX : (int32_t)v;
}

static int16_t @clip16(int64_t v)
{
    return (int16_t)(v > 32767 ? 32767 : v < -32767 ? -32767 : v);
}
""")

INTEGER_PIECES["functions"] = Piece(
    f"""\
/* tanh(k / 16) with 30 fractional bits. */
{array_text("@tanh_table", TABLE)}
/* v, which has so many fractional bits, with the 20 of net inputs, within [-16, 16]. */
static int32_t @to_net(int64_t v, int_fast8_t bits)
{{
    const int64_t limit = (int64_t)16 << 20;
    v = bits >= 20 ? @rounded(v, (uint_fast8_t)(bits - 20)) : v * ((int64_t)1 << (20 - bits));
    return (int32_t)(v > limit ? limit : v < -limit ? -limit : v);
}}

/* The product t v 2^-16, rounded down; t from 0 to 65536. */
static inline int32_t @share(int32_t t, int32_t v)
{{
    return (int32_t)(((int64_t)t * v) >> 16);
}}

/* tanh of a >= 0 (20 fractional bits) with 30: the cubic through two values of the table and their slopes. */
static int32_t @table_tanh(uint32_t a)
{{
    const uint32_t at = a >> 16 > {len(TABLE) - 2}u ? {len(TABLE) - 2}u : a >> 16;
    const int32_t t = a >= UINT32_C(8) << 20 ? 65536 : (int32_t)(a & 65535u);
    const int32_t one = INT32_C(1) << 30;
    const int32_t y0 = @read32(@tanh_table + at), y1 = @read32(@tanh_table + at + 1);
    const int32_t d0 = (one - (int32_t)(((int64_t)y0 * y0) >> 30)) >> 4;
    const int32_t d1 = (one - (int32_t)(((int64_t)y1 * y1) >> 30)) >> 4;
    const int32_t delta = y1 - y0;
    const int32_t inner = (3 * delta - 2 * d0 - d1) + @share(t, d0 + d1 - 2 * delta);
    const int32_t y = y0 + @share(t, d0 + @share(t, inner));
    return y < one ? y : one;
}}

/* Both take net inputs and give 24 fractional bits. */
static int32_t @tanh24(int32_t z)
{{
    const int32_t value = (@table_tanh((uint32_t)(z < 0 ? -z : z)) + 32) >> 6;
    return z < 0 ? -value : value;
}}

static int32_t @sigmoid24(int32_t z)
{{
    const int32_t half = @table_tanh((uint32_t)(z < 0 ? -z : z) >> 1), one = INT32_C(1) << 30;
    return (int32_t)(((z < 0 ? (uint32_t)(one - half) : (uint32_t)one + (uint32_t)half) + 64u) >> 7);
}}
""",
    ("read", "rounded"),
)


def _input_piece(missing: bool) -> str:
    name = "input_missing" if missing else "input"
    arguments = "const int16_t *missing, uint_fast16_t count, int16_t one, " if missing else ""
    about = "that is not among the `count` ones in `missing`" if missing else ""
    absent = """\
        if (known < count && @read16(missing + known) == (int16_t)k)
            y[n + known++] = v != v ? one : 0;
        else if (v != v)
            return 0;
        if (v != v)
            v = 0;
"""
    return f"""\
/* Scale x and round it to integers. Returns 0 if a feature is NaN {about}. */
static int @{name}(const float *scaling, {arguments}const float *x,
    uint_fast16_t n, int16_t *y)
{{
{"    uint_fast16_t known = 0;" if missing else ""}
    for (uint_fast16_t k = 0; k < n; ++k, scaling += 3) {{
        float v = ((x[k] - @rom(scaling)) - @rom(scaling + 1)) * @rom(scaling + 2);
{absent if missing else "        if (v != v)" + chr(10) + "            return 0;" + chr(10)}\
        v = v > 32767.0f ? 32767.0f : v < -32767.0f ? -32767.0f : v;
        y[k] = (int16_t)(v < 0 ? -(int32_t)(0.5f - v) : (int32_t)(v + 0.5f));
    }}
    return 1;
}}
""".replace("{\n\n", "{\n").replace("NaN .", "NaN.")


INTEGER_PIECES["input"] = Piece(_input_piece(False))
INTEGER_PIECES["input_missing"] = Piece(_input_piece(True), ("read16",))


def _sum_type(wide: bool) -> str:
    return "int64_t" if wide else "int32_t"


def _lstm_piece(name: str, wide: bool) -> str:
    gates = "ifgo"
    kind = _sum_type(wide)
    zeros = ", ".join(f"{g} = 0" for g in gates)
    cast = f"({kind})" if wide else ""
    loop = "".join(f"            {g} += {cast}((int32_t)v * @read8(w + {k}));\n" for k, g in enumerate(gates))
    first = "".join(
        f"        net_{g} = @rounded((int64_t){g} * @read32(scale + {k}), shift_x) + @read32(scale + {k + 8});\n"
        for k, g in enumerate(gates)
    )
    second = "".join(
        f"        net_{g} += @rounded((int64_t){g} * @read32(scale + {k + 4}), shift_h);\n" for k, g in enumerate(gates)
    )
    return f"""\
/* For each unit the weights of the four gates lie together, and in `scale` the multipliers of x and h, and the bias. */
static void @{name}(const int8_t *w, const int32_t *scale, uint_fast8_t shift_x, uint_fast8_t shift_h,
    int_fast8_t cell_bits, const int16_t *x, uint_fast16_t inputs, int16_t *h, int32_t *c, uint_fast16_t units,
    int16_t *next)
{{
    for (uint_fast16_t j = 0; j < units; ++j, scale += 12) {{
        {kind} {zeros};
        int64_t net_i, net_f, net_g, net_o, fresh;
        for (uint_fast16_t k = 0; k < inputs; ++k, w += 4) {{
            const int16_t v = x[k];
{loop}        }}
{first}        i = f = g = o = 0;
        for (uint_fast16_t k = 0; k < units; ++k, w += 4) {{
            const int16_t v = h[k];
{loop}        }}
{second}        fresh = @rounded((int64_t)@sigmoid24(@to_net(net_f, 20)) * c[j], 24);
        fresh += @rounded((int64_t)@sigmoid24(@to_net(net_i, 20)) * @tanh24(@to_net(net_g, 20)),
            (uint_fast8_t)(48 - cell_bits));
        c[j] = @clip32(fresh);
        next[j] = @clip16(@rounded((int64_t)@sigmoid24(@to_net(net_o, 20)) * @tanh24(@to_net(c[j], cell_bits)), 33));
    }}
    for (uint_fast16_t j = 0; j < units; ++j)
        h[j] = next[j];
}}
"""


def _dense_piece(name: str, wide: bool, last: bool) -> str:
    kind = _sum_type(wide)
    cast = f"({kind})" if wide else ""
    out, clip = ("int32_t", "clip32") if last else ("int16_t", "clip16")
    return f"""\
static void @{name}(const int8_t *w, const int32_t *scale, uint_fast8_t shift, const int16_t *x, uint_fast16_t inputs,
    {out} *y, uint_fast16_t outputs)
{{
    for (uint_fast16_t j = 0; j < outputs; ++j, scale += 2) {{
        {kind} sum = 0;
        for (uint_fast16_t k = 0; k < inputs; ++k, ++w)
            sum += {cast}((int32_t)x[k] * @read8(w));
        y[j] = @{clip}(@rounded((int64_t)sum * @read32(scale), shift) + @read32(scale + 1));
    }}
}}
"""


for _wide in (False, True):
    _tail = "_wide" if _wide else ""
    INTEGER_PIECES[f"lstm{_tail}"] = Piece(_lstm_piece(f"lstm{_tail}", _wide), ("functions",))
    for _last in (False, True):
        _name = f"dense{_tail}{'_last' if _last else ''}"
        INTEGER_PIECES[_name] = Piece(_dense_piece(_name, _wide, _last), ("read", "rounded"))

INTEGER_PIECES["add"] = Piece(
    """\
/* Both are brought to the same number of fractional bits, by factors, and their sum to that of the result. */
static void @add(const int16_t *a, int64_t of_a, const int16_t *b, int64_t of_b, int_fast8_t down, uint_fast16_t n,
    int16_t *y)
{
    for (uint_fast16_t k = 0; k < n; ++k) {
        const int64_t sum = a[k] * of_a + b[k] * of_b;
        y[k] = @clip16(down >= 0 ? @rounded(sum, (uint_fast8_t)down) : sum * ((int64_t)1 << -down));
    }
}
""",
    ("rounded",),
)

INTEGER_PIECES["mean"] = Piece("""\
static void @mean(const int16_t *x, uint_fast16_t n, int64_t *sums, uint32_t *count, int16_t *y)
{
    if (*count < UINT32_C(0x7fffffff)) { /* then the mean stands */
        ++*count;
        for (uint_fast16_t k = 0; k < n; ++k)
            sums[k] += x[k];
    }
    for (uint_fast16_t k = 0; k < n; ++k) {
        const int64_t half = *count / 2;
        y[k] = (int16_t)(sums[k] < 0 ? -((half - sums[k]) / *count) : (sums[k] + half) / *count);
    }
}
""")

INTEGER_PIECES["max"] = Piece("""\
static void @max(const int16_t *x, uint_fast16_t n, int16_t *largest, uint8_t *begun, int16_t *y)
{
    for (uint_fast16_t k = 0; k < n; ++k) {
        if (*begun == 0 || x[k] > largest[k])
            largest[k] = x[k];
        y[k] = largest[k];
    }
    *begun = 1;
}
""")
