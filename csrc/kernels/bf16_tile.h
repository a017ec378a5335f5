/* kernels/bf16_tile.h - one way of multiplying numbers of 16 bits by vectors: see bf16.h, which includes this file once for
 * each. A tile is ROWS rows by COLS vectors, as in tile.h.
 */
#define BF16_PASTE2(name, way) name##way
#define BF16_PASTE(name, way) BF16_PASTE2(name, way)
#define BF16(name) BF16_PASTE(name, BF16_WAY)
#define BF16_INLINE static inline __attribute__((always_inline)) BF16_TARGET
#define BF16_IS_wide 1
#define BF16_IS_dots 0

/* A vector that has one word in all lanes. */
BF16_INLINE VN BF16(bf16_spread)(const real *word)
{
    natural bits;
    memcpy(&bits, word, sizeof bits);
#if defined(ONE_LANE)
    return bits;
#else
    return bits - (VN){0};
#endif
}

/* acc += rows of a times a panel. Odd terms come first, as vdpbf16ps adds them. */
BF16_INLINE void BF16(bf16_accumulate)(V acc[ROWS][COLS], const int rows, const int cols, const real *a, ptrdiff_t lda,
                                       const real *w, ptrdiff_t words)
{
    for (ptrdiff_t p = 0; p < words; ++p, w += cols * LANES) {
#if BF16_PASTE(BF16_IS, BF16_WAY)
        V half[COLS];
        UNROLL
        for (int c = 0; c < cols; ++c)
            half[c] = v_from_bits((VI)((VN)v_bits(v_load(w + c * LANES)) & BF16_ODD));
        UNROLL
        for (int r = 0; r < rows; ++r) {
            const V odd = v_from_bits((VI)(BF16(bf16_spread)(a + r * lda + p) & BF16_ODD));
            UNROLL
            for (int c = 0; c < cols; ++c)
                acc[r][c] = v_fma(odd, half[c], acc[r][c]);
        }
        UNROLL
        for (int c = 0; c < cols; ++c)
            half[c] = v_from_bits((VI)((VN)v_bits(v_load(w + c * LANES)) << 16));
        UNROLL
        for (int r = 0; r < rows; ++r) {
            const V even = v_from_bits((VI)(BF16(bf16_spread)(a + r * lda + p) << 16));
            UNROLL
            for (int c = 0; c < cols; ++c)
                acc[r][c] = v_fma(even, half[c], acc[r][c]);
        }
#else
        V panel[COLS];
        UNROLL
        for (int c = 0; c < cols; ++c)
            panel[c] = v_load(w + c * LANES);
        UNROLL
        for (int r = 0; r < rows; ++r) {
            const VN word = BF16(bf16_spread)(a + r * lda + p);
            UNROLL
            for (int c = 0; c < cols; ++c)
                acc[r][c] = (V)_mm512_dpbf16_ps((__m512)acc[r][c], (__m512bh)word, (__m512bh)panel[c]);
        }
#endif
    }
}

BF16_INLINE void BF16(bf16_tile)(const words_job *job, const int rows, const int cols)
{
    V acc[ROWS][COLS];
    UNROLL
    for (int r = 0; r < rows; ++r) {
        UNROLL
        for (int c = 0; c < cols; ++c)
            acc[r][c] = job->init ? v_load(job->init + r * job->init_row + c * LANES) : v_set(0);
    }
    for (int n = 0; n < 2; ++n)
        BF16(bf16_accumulate)(acc, rows, cols, job->of[n].a, job->of[n].lda, job->of[n].w, job->of[n].words);
    UNROLL
    for (int r = 0; r < rows; ++r) {
        UNROLL
        for (int c = 0; c < cols; ++c)
            v_store(job->sums + (r * cols + c) * LANES, acc[r][c]);
    }
}

#if BF16_PASTE(BF16_IS, BF16_WAY)
/* In tiles of few heights, for less code: this way serves where there is no faster one, and float32 is faster. */
static void BF16(bf16_product)(const words_job *job, int rows, int cols)
{
    words_job part = *job;
    while (rows > 0) {
        const int height = rows >= ROWS ? ROWS : rows >= ROWS / 2 ? ROWS / 2 : 1;
        switch (height) {
        case 1: TILE_WIDTHS(BF16(bf16_tile), &part, 1) break;
        case ROWS / 2: TILE_WIDTHS(BF16(bf16_tile), &part, ROWS / 2) break;
        default: TILE_WIDTHS(BF16(bf16_tile), &part, ROWS) break;
        }
        rows -= height;
        for (int n = 0; n < 2; ++n)
            if (part.of[n].words > 0) /* else there may be no operand, and nothing is added to a null pointer */
                part.of[n].a += height * part.of[n].lda;
        part.init = part.init ? part.init + height * part.init_row : NULL;
        part.sums += height * cols * LANES;
    }
}
#else
BF16_TARGET static void BF16(bf16_product)(const words_job *job, int rows, int cols)
{
    TILE_HEIGHTS(BF16(bf16_tile), job)
}
#endif

#undef BF16_INLINE
#undef BF16
#undef BF16_PASTE
#undef BF16_PASTE2
#undef BF16_IS_wide
#undef BF16_IS_dots
