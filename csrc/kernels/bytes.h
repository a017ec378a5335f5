/* kernels/bytes.h - sums of products of 8-bit integers, for quantized inference.
 *
 *   q(a) = round(127 a / limit)                     in [-127, 127], halves to even; NaN gives 0, larger numbers the ends
 *   sum_k w[k] a[k] ~ s (limit / 127) sum_k q_w[k] q(a[k]),   s = max_k |w[k]| / 127,   q_w[k] = round(w[k] / s)
 *
 * The sum of integers is exact, so that it has no order, and every instruction set gives the same one: it holds up to
 * MOST_TERMS terms. Numbers are packed in words of 32 bits, GROUP neighbours of k each; a vector of weights has the words
 * of LANES sums, and is multiplied by one word of a. Three ways, which differ in layout and speed alone:
 *
 *   AVX-512 with VNNI   GROUP 4: bytes. vpdpbusd multiplies unsigned by signed bytes, so that a is stored as q + 128, and
 *                       sums begin at -128 sum_k q_w[k]
 *   AMX                 the same words, for several rows at a time: amx.h
 *   all others          GROUP 2: integers of 16 bits, since the product of 8 bits of AVX2 saturates at 2^15: a word
 *                       costs as much as a vector of floats, and has two terms
 *
 * This file has what they share; bytes_tile.h has the rest, for each way of an instruction set.
 */
enum { MOST_TERMS = 65536 };

/* AMX multiplies in layers of at least so many words of h, 128 units, in shares of at least so many rows; below, VNNI is as
 * fast or faster (2 threads, inference: 32 rows, hidden 64 .75, 4 rows, hidden 128 .77; 64 rows, hidden 128 1.13, 256
 * 1.30). */
enum { BYTES_TILES_WORDS = 32, BYTES_TILES_ROWS = 16 };

/* The ways, and a call of a function of one of them. */
enum { BYTES_NONE, BYTES_WIDE, BYTES_VNNI };
#if !REAL_IS_FLOAT
/* There are none for doubles: the callers of these functions are never reached. */
#define BYTES_CALL(way, function, arguments) bytes_nothing()
static inline int bytes_nothing(void)
{
    return 0;
}

static inline int bytes_way(void)
{
    return BYTES_NONE;
}
#else
/* The nearest integers to numbers below 2^22. */
INLINE VI bytes_round(V a)
{
    const V shift = v_set((real)ROUNDING);
    return (VI)((VN)v_bits(a + shift) - (VN)v_bits(shift));
}

/* q for numbers that have been multiplied by 127 / limit. */
INLINE VI bytes_of(V a)
{
    a = v_select(a == a, a, v_set(0));
    return bytes_round(v_at_least(v_at_most(a, v_set(127)), v_set(-127)));
}

INLINE V bytes_to_real(VI a)
{
#if defined(ONE_LANE)
    return (real)a;
#else
    return __builtin_convertvector(a, V);
#endif
}

/* The largest magnitude of n numbers; NaN if one is NaN. */
static real bytes_largest(const real *x, ptrdiff_t n)
{
    V largest = v_set(0);
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const V a = v_abs(v_load_part(x + k, minimum(LANES, n - k)));
        /* a where it is larger or NaN; a NaN among the largest stays, since no comparison with it is true. */
        largest = v_select((a <= largest) | (largest != largest), largest, a);
    }
    real lanes[LANES], found = 0;
    v_store(lanes, largest);
    for (int lane = 0; lane < LANES; ++lane)
        found = lanes[lane] <= found || found != found ? found : lanes[lane];
    return found;
}

/* How a row of weights is quantized: w[k] limits[k] = scale q[k]; limits NULL: ones. */
static real bytes_row_scale(const real *w, const real *limits, ptrdiff_t n)
{
    real largest = 0;
    for (ptrdiff_t k = 0; k < n; ++k) {
        const real scaled = limits ? w[k] * limits[k] : w[k], magnitude = scaled < 0 ? -scaled : scaled;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest / 127;
}

static int bytes_weight(real w, real scale)
{
    union {
        real number;
        integer bits;
    } shifted = {.number = scale > 0 ? w / scale : 0}, zero = {.number = (real)ROUNDING};
    shifted.number += zero.number;
    return (int)(shifted.bits - zero.bits);
}

/* A column of a product by tiles: which words, and what makes numbers of the sums. */
typedef struct {
    const real *words; /* (group)(COLS)(LANES) words */
    const real *start; /* (COLS)(LANES) integers with which the sums begin */
    const real *scale; /* (COLS)(LANES) factors of the sums */
    ptrdiff_t groups;
} bytes_panel;

#define BYTES_PASTE2(name, way) name##way
#define BYTES_PASTE(name, way) BYTES_PASTE2(name, way)
#define BYTES(name) BYTES_PASTE(name, BYTES_WAY)

#if defined(FL_ISA_AVX512)
#define BYTES_CALL(way, function, arguments)                                                                           \
    ((way) == BYTES_VNNI ? function##_vnni arguments : function##_wide arguments)
#else
#define BYTES_CALL(way, function, arguments) function##_wide arguments
#endif

/* The way of this processor. */
static inline int bytes_way(void)
{
#if defined(FL_ISA_AVX512)
    return fl_has_vnni() ? BYTES_VNNI : BYTES_WIDE;
#else
    return BYTES_WIDE;
#endif
}

#define BYTES_FILE "bytes_tile.h"
#include "bytes_ways.h"
#undef BYTES_FILE
#endif

/* Whether AMX multiplies what is packed for this way. */
static inline int bytes_by_tiles(int way)
{
#if defined(HAS_AMX)
    return way == BYTES_VNNI && fl_has_byte_tiles();
#else
    (void)way;
    return 0;
#endif
}
