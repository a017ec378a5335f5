"""C text around a program: macros, interface, self-test, comments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from ..._typing import Array
from ..._version import __version__
from .engine import PIECES
from .numbers import array_text, bit_patterns, literal
from .pieces import all_needs, ordered, used

__all__ = ["Source", "assemble", "comment_line", "indented"]


class Source(NamedTuple):
    """What the text of a model consists of; ``@`` and ``@@`` stand for its prefix."""

    name: str
    about: list[str]
    """Lines of the comment at the head."""
    dtype: str
    inputs: int
    outputs: int
    tokens: int
    """Number of tokens; 0: the model reads numbers."""
    needs: set[str]
    constants: list[str]
    functions: list[str]
    fields: list[str]
    begin: list[str]
    step: list[str]
    rom: int
    ram: int
    operations: int
    """Width of the vectors whose sums are repeated; 1: no sum depends on it."""
    fused: bool
    """Whether the expected answers come from fused multiply-adds."""
    approximate: bool
    """Whether a target without a double of 64 bits answers with other last digits."""
    x: Array
    y: Array
    digest: str


def comment_line(text: str) -> str:
    """Return text that may stand in a C comment: printable ASCII without its ends, trigraphs and line splices."""
    plain = json.dumps(text.replace("\\", "/").replace('"', "'"))[1:-1].replace("*/", "* /").replace("/*", "/ *")
    return plain.replace("??", "? ?")[:110]


def indented(lines: Sequence[str]) -> str:
    """Return statements with an indentation, long ones broken behind a comma."""
    result = []
    for line in lines:
        rest, indent = line, "    "
        while len(indent + rest) > 120 and ", " in rest[:110]:
            cut = rest.rindex(", ", 0, 112) + 1
            result.append(indent + rest[:cut])
            rest, indent = rest[cut + 1 :], "        "
        result.append(indent + rest)
    return "\n".join(result) + "\n"


def _interface(source: Source) -> str:
    given = "int32_t" if source.tokens else "float"
    answers = "int" if source.tokens else "void"
    refuses = (
        "\n * Returns 0, or -1 if the token is not one of 0 to @@TOKENS - 1; then nothing has changed."
        if source.tokens
        else ""
    )
    compared = " bit by bit (closely, where double has 32 bits)" if source.approximate else " bit by bit"
    tokens = f"#define @@TOKENS {source.tokens}\n" if source.tokens else ""
    fields = "\n".join(f"    {field}" for field in source.fields) or "    uint8_t nothing;"
    return f"""\
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define @@INPUTS {source.inputs}u
#define @@OUTPUTS {source.outputs}u
{tokens}#define @@ROM_BYTES {source.rom}u /* constants, without code and self-test */
#define @@RAM_BYTES {source.ram}u /* of a state, without padding */
#define @@OPERATIONS {source.operations}u /* multiplications by weights in a step */
#define @@SELFTEST {len(source.x)} /* vectors */
#define @@WEIGHTS "{source.digest}"

/* All memory of a series. Any number of series may have states of their own, in interrupts too. */
typedef struct {{
{fields}
}} @state;

/* Begin a series. */
void @init(@state *state);
/* Read the next step x, in raw units, and write the answer y, in raw units. They must not overlap.{refuses} */
{answers} @step(@state *state, const {given} x[@@INPUTS], float y[@@OUTPUTS]);
/* Read a series x of n steps, (n)(@@INPUTS), with a state on the stack, and write the answer y to its last step.
 * Returns 0, or -1 if there is no step{" or a token is not known" if source.tokens else ""}. */
int @run(const {given} *x, uint32_t n, float *y);
#if !defined(@@NO_SELFTEST)
/* Feed known inputs and compare the answers{compared}.
 * Returns 0, or the number of the first step that differs, from 1 on. The second form has its state on the stack. */
int @check(@state *state);
int @selftest(void);
#endif

#ifdef __cplusplus
}}
#endif
"""


_SETTINGS = """\
#include <float.h>
#include <stddef.h>
#if !defined(__GNUC__)
#include <string.h>
#endif
#if defined(__AVR__)
#include <avr/pgmspace.h>
#endif

/* NaN must differ from itself, and sums must keep their order. */
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0) || \\
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "compile this file without -ffast-math, -Ofast and the options in them, which change the results"
#endif
#if defined(FLT_EVAL_METHOD) && (FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2)
#error "this compiler computes float in a wider type: on x86 use -msse2 -mfpmath=sse, else -std=c99"
#endif

/* Products and sums are fused where the text says so and nowhere else. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

/* How a b + c is computed: 1: by the processor's fused multiply-add; 2: with the same bits, in integers; 0: by a
 * product and a sum, each rounded. */
#if !defined(@@FMA)
#if defined(__GNUC__) && (defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA) || \\
                          defined(__aarch64__) || (defined(__riscv_flen) && __riscv_flen >= 32))
#define @@FMA 1
#else
#define @@FMA 2
#endif
#endif

#if defined(__GNUC__) /* needs no string.h, which is part of a C library */
#define @@COPY __builtin_memcpy
#define @@UNUSED __attribute__((unused))
#else
#define @@COPY memcpy
#define @@UNUSED
#endif

#if defined(__AVR__)
#define @@ROM PROGMEM
#else
#define @@ROM
#endif
"""

_DOUBLE = """\
/* Whether double has 64 bits: scaling and means are then computed in it, else in float with the mean in two parts. */
#if DBL_MANT_DIG >= 53 && !defined(__AVR__)
#define @@DOUBLE 1
#define @@LOW(low)
/* An error here: compile this file without -fsingle-precision-constant, which takes bits from constants. */
typedef char @double_constants[sizeof 1.0 == sizeof(double) ? 1 : -1];
#else
#define @@DOUBLE 0
#define @@LOW(low) low,
#endif
"""

_END = """\
#if defined(__clang__)
#pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
"""


def _selftest(source: Source) -> str:
    given = "int32_t" if source.tokens else "float"
    tolerance = 1e-4 * max(float(abs(source.y).max()), 1e-30)
    exact = [f"@@FMA {'!=' if source.fused else '=='} 0"] if "fma" in all_needs(source.needs, PIECES) else []
    if source.approximate:
        exact.append("@@DOUBLE")
    compare = f"""\
#if {" && ".join(exact) or "1"}
            differs |= got != expected;
#else
            {{
                float a, b;
                @@COPY(&a, &got, sizeof a);
                @@COPY(&b, &expected, sizeof b);
                differs |= !(a - b <= {literal(tolerance)} && b - a <= {literal(tolerance)});
            }}
#endif"""
    x, y = bit_patterns(source.x), bit_patterns(source.y)
    step = "if (@step(state, x, y) != 0)\n            return n + 1;" if source.tokens else "@step(state, x, y);"
    return f"""\
#if !defined(@@NO_SELFTEST)
/* Inputs, and answers of the library, as bits. */
{array_text("@test_x", x)}{array_text("@test_y", y)}
static uint32_t @test_word(const uint32_t *p)
{{
#if defined(__AVR__)
    return pgm_read_dword(p);
#else
    return *p;
#endif
}}

int @check(@state *state)
{{
    @init(state);
    for (int n = 0; n < @@SELFTEST; ++n) {{
        {given} x[@@INPUTS];
        float y[@@OUTPUTS];
        int differs = 0;
        for (uint_fast16_t k = 0; k < @@INPUTS; ++k) {{
            const uint32_t word = @test_word(@test_x + (uint32_t)n * @@INPUTS + k);
            @@COPY(&x[k], &word, sizeof x[k]);
        }}
        {step}
        for (uint_fast16_t k = 0; k < @@OUTPUTS; ++k) {{
            const uint32_t expected = @test_word(@test_y + (uint32_t)n * @@OUTPUTS + k);
            uint32_t got;
            @@COPY(&got, &y[k], sizeof got);
{compare}
        }}
        if (differs)
            return n + 1;
    }}
    return 0;
}}

int @selftest(void)
{{
    @state state;
    return @check(&state);
}}
#endif
"""


_LANES = "#define @@LANES 16 /* sums are taken as by vectors of 16 numbers */\n"


def _implementation(source: Source) -> str:
    given = "int32_t" if source.tokens else "float"
    rest = "\n".join([*source.functions, *source.begin, *source.step])
    pieces = used(ordered(PIECES, source.needs), rest)
    uses = "\n".join([*pieces, *source.functions])
    begin = _statements(source.begin or ["state->nothing = 0;"])
    step = _statements(source.step)
    if source.tokens:
        head, called = "int", "if (@step(&state, x, y) != 0)\n            return -1;"
        step = f"    if (x[0] < 0 || x[0] >= @@TOKENS)\n        return -1;\n{step}    return 0;\n"
    else:
        head, called = "void", "@step(&state, x, y);"
    return f"""\
{_SETTINGS}{_DOUBLE if source.approximate or "@@DOUBLE" in uses else ""}{_LANES if "@@LANES" in uses else ""}
{"".join(one + chr(10) for one in source.constants)}{uses}
void @init(@state *state)
{{
{begin}}}

{head} @step(@state *state, const {given} x[@@INPUTS], float y[@@OUTPUTS])
{{
{step}}}

int @run(const {given} *x, uint32_t n, float *y)
{{
    @state state;
    if (n == 0)
        return -1;
    @init(&state);
    for (uint32_t t = 0; t < n; ++t, x += @@INPUTS) {{
        {called}
    }}
    return 0;
}}

{_selftest(source)}
{_END}"""


def _statements(lines: list[str]) -> str:
    """Return the body of a function of a state, with its counter if the statements use it."""
    counter = ["uint_fast16_t k;"] if any("(k = 0" in line for line in lines) else []
    unused = [] if any("state" in line for line in lines) else ["(void)state;"]
    return indented([*counter, *unused, *lines])


def assemble(source: Source, style: str) -> dict[str, str]:
    """Return the text of the files, by their names."""
    name = source.name
    about = "".join(f" * {line}".rstrip() + "\n" for line in source.about)
    kind = f"made by fastlstm {__version__}; do not edit."

    def named(text: str) -> str:
        return text.replace("@@", f"{name.upper()}_").replace("@", f"{name}_")

    interface, body = named(_interface(source)), named(_implementation(source))
    guard = f"{name.upper()}_H"
    head = f"/* {name}.h - a model in C99, {kind}\n *\n{about} */\n#ifndef {guard}\n#define {guard}\n\n"
    if style == "files":
        return {
            f"{name}.h": f"{head}{interface}\n#endif\n",
            f"{name}.c": f'/* {name}.c - {kind} {name}.h says what it is. */\n#include "{name}.h"\n\n{body}',
        }
    switch = f"{name.upper()}_IMPLEMENTATION"
    usage = f"/* Define {switch} in one source file before it includes this one. */\n"
    return {
        f"{name}.h": f"{head}{usage}{interface}\n#endif\n\n"
        f"#if defined({switch}) && !defined({name.upper()}_IMPLEMENTED)\n#define {name.upper()}_IMPLEMENTED\n\n"
        f"{body}#endif\n",
    }
