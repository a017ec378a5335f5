/* kernels/bf16.h - sums of products of numbers of 16 bits (bfloat16), in float32.
 *
 *   c[r][col] = init[col] + sum_k bf(a[r][k]) bf(w[k][col])        bf: to the nearest bfloat16, halves to even
 *
 * A bfloat16 is the upper half of a float32. The product of two of them has 16 significant bits, so that it is exact, and
 * a fused multiply-add rounds once, when it adds. Numbers are packed in words of 32 bits, two neighbours of k each: the
 * even one in the lower half. A vector of w has the words of LANES columns, and is multiplied by one word of a. Three ways:
 *
 *   wide    all instruction sets: the halves are taken apart, and added by multiply-adds of float32, the odd one first
 *   dots    AVX512-BF16: vdpbf16ps does the same in one instruction, and rounds in the same order
 *   tiles   AMX-BF16: tdpbf16ps multiplies 16 rows by 16 columns. In a chunk of 32 k it sums the even ones and the odd
 *           ones separately, adds both sums, and adds the result to c. So these sums round in another order
 *
 * The order of a sum is that of k in all ways, and depends neither on the tile that an element falls into nor on the
 * threads. `wide` and `dots` give the same bits, with a fused multiply-add; `tiles` has its own. All three were compared
 * with these rules on an Emerald Rapids, and `wide` on an emulated AArch64; vdpbf16ps of AMD's processors was not.
 *
 * On one thread of the Emerald Rapids, where multiply-adds of float32 reach 161 GFLOP/s, dots reach 82 and tiles about ten
 * times as many as float32; on a Zen 4 dots reach 250 where float32 reaches 120. So Intel's processors without AMX take
 * `wide` (machine.c).
 */
enum { BF16_NONE, BF16_WIDE = FL_BF16_WIDE, BF16_DOTS = FL_BF16_DOTS, BF16_TILES = FL_BF16_TILES };

/* Of AMX: the words of k of a chunk, to which panels and rows are filled up with zeros; the most rows of a product; and the
 * rows behind the last one that a tile may read, and compute in vain. */
enum { AMX_WORDS = 16, AMX_ROWS = 32, AMX_SLACK = 16 };

/* A product over the terms of of[0], then those of of[1]. */
typedef struct {
    struct {
        const real *a; /* (rows)(words), rows lda apart */
        ptrdiff_t lda;
        const real *w; /* (words)(cols)(LANES) */
        ptrdiff_t words;
    } of[2];
    const real *init; /* (cols)(LANES), those of the next row init_row further; NULL: zeros */
    ptrdiff_t init_row;
    real *sums; /* (rows of a tile)(cols)(LANES): the result */
} words_job;

#if !REAL_IS_FLOAT
/* There is none of this for doubles: the callers of these functions are never reached. */
static inline int bf16_way(void)
{
    return BF16_NONE;
}

static inline void bf16_write(real *words, ptrdiff_t first, V a)
{
    (void)words, (void)first, (void)a;
}

static inline void bf16_write_row(const real *x, ptrdiff_t n, real *words, ptrdiff_t count)
{
    (void)x, (void)n, (void)words, (void)count;
}

static inline void bf16_pack_rows(const real *from, ptrdiff_t ld, ptrdiff_t rows, ptrdiff_t n, real *to,
                                  ptrdiff_t ld_to, ptrdiff_t words)
{
    (void)from, (void)ld, (void)rows, (void)n, (void)to, (void)ld_to, (void)words;
}

static inline V bf16_pair(V even, V odd)
{
    (void)odd;
    return even;
}

static inline void bf16_begin(int way, ptrdiff_t rows)
{
    (void)way, (void)rows;
}

static inline void bf16_end(int way)
{
    (void)way;
}

static inline void bf16_product(int way, const words_job *job, ptrdiff_t rows, ptrdiff_t cols)
{
    (void)way;
    memset(job->sums, 0, (size_t)(rows * cols * LANES) * sizeof(real));
}
#else
#define BF16_ODD ((natural)0xffff0000)

/* Round to bfloat16: the bits of float32, whose lower half is 0. NaN stays NaN. */
INLINE VN bf16_bits(V a)
{
    const VN bits = (VN)v_bits(a), rounded = bits + ((bits >> 16 & 1) + 0x7fff);
    return (VN)v_bits(v_select(a == a, v_from_bits((VI)rounded), v_from_bits((VI)(bits | 0x400000)))) & BF16_ODD;
}

/* Words of two vectors of numbers. */
INLINE V bf16_pair(V even, V odd)
{
    return v_from_bits((VI)(bf16_bits(even) >> 16 | bf16_bits(odd)));
}

/* Write LANES numbers among words, from number `first` on. */
INLINE void bf16_write(real *words, ptrdiff_t first, V a)
{
    v_store_halves((char *)words + 2 * first, bf16_bits(a) >> 16);
}

/* The words of up to 2 LANES numbers, with zeros behind them. */
INLINE V bf16_read_part(const real *p, ptrdiff_t n)
{
    const V first = v_load_part(p, minimum(LANES, n));
    const V second = n > LANES ? v_load_part(p + LANES, n - LANES) : v_set(0);
#if defined(FL_ISA_AVX512)
    const __m256i low = _mm512_cvtepi32_epi16((__m512i)(bf16_bits(first) >> 16));
    const __m256i high = _mm512_cvtepi32_epi16((__m512i)(bf16_bits(second) >> 16));
    return (V)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
#else
    real words[LANES];
    uint16_t numbers[2 * LANES];
    bf16_write(words, 0, first);
    memcpy(numbers, words, sizeof numbers / 2);
    bf16_write(words, 0, second);
    memcpy(numbers + LANES, words, sizeof numbers / 2);
    memcpy(words, numbers, sizeof words);
    return v_load(words);
#endif
}

/* Write n numbers as `count` words, with zeros behind them. Vectors that fit are written as a whole. */
static void bf16_write_row(const real *x, ptrdiff_t n, real *words, ptrdiff_t count)
{
    ptrdiff_t k = 0;
    for (; k + LANES <= n; k += LANES)
        bf16_write(words, k, v_load(x + k));
    for (; k + LANES <= 2 * count; k += LANES)
        bf16_write(words, k, k < n ? v_load_part(x + k, n - k) : v_set(0));
    if (k < 2 * count) {
        real part[LANES];
        bf16_write(part, 0, k < n ? v_load_part(x + k, n - k) : v_set(0));
        memcpy((char *)words + 2 * k, part, (size_t)(2 * count - k) * 2);
    }
}

/* to[p][lane] = word p of row `lane`, whose n numbers are ld apart from those of the next; zeros for lane >= rows, and
 * behind n up to `words`. */
static void bf16_pack_rows(const real *from, ptrdiff_t ld, ptrdiff_t rows, ptrdiff_t n, real *to, ptrdiff_t ld_to,
                           ptrdiff_t words)
{
    for (ptrdiff_t first = 0; first < words; first += LANES) {
        const ptrdiff_t count = minimum(LANES, words - first), left = minimum(2 * LANES, n - 2 * first);
        V v[LANES];
        for (int lane = 0; lane < LANES; ++lane)
            v[lane] = lane >= rows || left <= 0 ? v_set(0) : bf16_read_part(from + lane * ld + 2 * first, left);
        v_transpose(v);
        for (ptrdiff_t p = 0; p < count; ++p)
            v_store(to + (first + p) * ld_to, v[p]);
    }
}

#define BF16_WAY _wide
#define BF16_TARGET
#include "bf16_tile.h"
#undef BF16_WAY
#undef BF16_TARGET

#if defined(FL_ISA_AVX512) && defined(__has_include)
#if __has_include(<avx512bf16intrin.h>)
#define BF16_HAS_DOTS
#define BF16_WAY _dots
#define BF16_TARGET __attribute__((target(FL_TARGET ",avx512bf16")))
#include "bf16_tile.h"
#undef BF16_WAY
#undef BF16_TARGET
#endif
#if __has_include(<amxtileintrin.h>) || __has_include(<amxintrin.h>) /* of gcc, clang: the assembler knows AMX, too */
#define HAS_AMX
#include "amx.h"
#endif
#endif

/* The fastest way of this processor, or the one that was chosen. */
static inline int bf16_way(void)
{
#if defined(HAS_AMX)
    if (fl_has_bf16(BF16_TILES))
        return BF16_TILES;
#endif
#if defined(BF16_HAS_DOTS)
    if (fl_has_bf16(BF16_DOTS))
        return BF16_DOTS;
#endif
    return BF16_WIDE;
}

/* Between these two calls a thread computes products, whose tiles are of `rows` rows at most. */
static inline void bf16_begin(int way, ptrdiff_t rows)
{
#if defined(HAS_AMX)
    if (way == BF16_TILES)
        amx_begin(rows);
#else
    (void)way, (void)rows;
#endif
}

static inline void bf16_end(int way)
{
#if defined(HAS_AMX)
    if (way == BF16_TILES)
        amx_end();
#else
    (void)way;
#endif
}

/* Compute a product with up to bf16_height() rows and COLS vectors. */
static void bf16_product(int way, const words_job *job, ptrdiff_t rows, ptrdiff_t cols)
{
#if defined(HAS_AMX)
    if (way == BF16_TILES) {
        amx_product(job, rows, cols);
        return;
    }
#endif
#if defined(BF16_HAS_DOTS)
    if (way == BF16_DOTS) {
        bf16_product_dots(job, (int)rows, (int)cols);
        return;
    }
#endif
    (void)way;
    bf16_product_wide(job, (int)rows, (int)cols);
}
#endif

/* The most rows of a product in one call. */
static inline ptrdiff_t bf16_height(int way)
{
    return way == BF16_TILES ? AMX_ROWS : ROWS;
}

/* Compute a product, and store or add `count` numbers of each row. */
static void bf16_deliver(int way, words_job *job, ptrdiff_t rows, real *const *to, ptrdiff_t count, int add)
{
    const ptrdiff_t cols = tile_count(count, LANES);
    real sums[AMX_ROWS * COLS * LANES];
    const inner_job wanted = {.rows = to, .count = count, .add = add};
    job->sums = sums;
    bf16_product(way, job, rows, cols);
    inner_deliver(&wanted, (int)rows, cols * LANES, sums);
}

/* Words of n numbers. */
static inline ptrdiff_t bf16_words(int way, ptrdiff_t n)
{
    const ptrdiff_t words = n / 2 + n % 2;
    return way == BF16_TILES ? round_up(words, AMX_WORDS) : words;
}
