/* kernels/bytes_tile.h - one way of multiplying integers of 8 bits: see bytes.h, which includes this file once for each.
 *
 * A tile is ROWS rows by COLS vectors, as in tile.h. A single row keeps CHAINS sums of each element, which its loads of
 * weights then wait for less; the integers make their order irrelevant.
 */
#define BYTES_INLINE static inline __attribute__((always_inline)) BYTES_TARGET

/* The size in bytes of a number of a, and of one of w. */
enum { BYTES(bytes_size) = 4 / BYTES_GROUP };

/* `words` of n numbers. */
static inline ptrdiff_t BYTES(bytes_words)(ptrdiff_t n)
{
    return (n + BYTES_GROUP - 1) / BYTES_GROUP;
}

/* Where in a vector of words the number k of a group of a lane is. NEON's products take halves of a vector. */
static inline ptrdiff_t BYTES(bytes_place)(ptrdiff_t lane, ptrdiff_t k)
{
#if defined(FL_ISA_NEON)
    return k * LANES + lane;
#else
    return lane * BYTES_GROUP + k;
#endif
}

/* Write an integer among words of weights. */
static inline void BYTES(bytes_put)(real *words, ptrdiff_t place, int q)
{
    if (BYTES_GROUP == 4)
        ((int8_t *)words)[place] = (int8_t)q;
    else
        memcpy((char *)words + 2 * place, &(int16_t){(int16_t)q}, 2);
}

/* Write LANES numbers of a from number `first`, a multiple of LANES, on. */
BYTES_INLINE void BYTES(bytes_store)(real *words, ptrdiff_t first, VI q)
{
    char *to = (char *)words + first * BYTES(bytes_size);
#if BYTES_GROUP == 4
    _mm_storeu_si128((__m128i *)to, _mm512_cvtepi32_epi8((__m512i)(q + 128)));
#else
    v_store_halves(to, (VN)q);
#endif
}

/* A vector that has one word in all lanes. */
BYTES_INLINE VI BYTES(bytes_spread)(const real *word)
{
    integer bits;
    memcpy(&bits, word, sizeof bits);
#if defined(ONE_LANE)
    return bits;
#else
    return bits - (VI){0};
#endif
}

/* sum + the products of a group: `a` has one word in all lanes. */
BYTES_INLINE VI BYTES(bytes_dot)(VI sum, VI w, VI a)
{
#if BYTES_GROUP == 4
    return (VI)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)w);
#elif defined(FL_ISA_AVX512)
    return sum + (VI)_mm512_madd_epi16((__m512i)w, (__m512i)a);
#elif defined(FL_ISA_AVX2)
    return sum + (VI)_mm256_madd_epi16((__m256i)w, (__m256i)a);
#elif defined(FL_ISA_NEON)
    const int16x8_t numbers = (int16x8_t)w, pairs = (int16x8_t)a;
    const int32x4_t even = vmlal_lane_s16((int32x4_t)sum, vget_low_s16(numbers), vget_low_s16(pairs), 0);
    return (VI)vmlal_lane_s16(even, vget_high_s16(numbers), vget_low_s16(pairs), 1);
#elif defined(__SSE2__) && !defined(ONE_LANE)
    return sum + (VI)_mm_madd_epi16((__m128i)w, (__m128i)a);
#else
    /* The second number of a word, and the first with its sign; little-endian or not, both operands are read alike. */
    return sum + (w >> 16) * (a >> 16) + ((VI)((VN)w << 16) >> 16) * ((VI)((VN)a << 16) >> 16);
#endif
}

/* sums += rows of a times a panel. */
BYTES_INLINE void BYTES(bytes_accumulate)(VI sums[ROWS][COLS], const int rows, const real *a, ptrdiff_t lda,
                                          const real *w, ptrdiff_t groups)
{
    enum { CHAINS = 4 };
    ptrdiff_t p = 0;
    if (rows == 1) {
        VI more[CHAINS][COLS];
        UNROLL
        for (int chain = 0; chain < CHAINS; ++chain) {
            UNROLL
            for (int c = 0; c < COLS; ++c)
                more[chain][c] = v_bits(v_set(0));
        }
        for (; p + CHAINS <= groups; p += CHAINS) {
            UNROLL
            for (int chain = 0; chain < CHAINS; ++chain) {
                const VI one = BYTES(bytes_spread)(a + p + chain);
                UNROLL
                for (int c = 0; c < COLS; ++c)
                    more[chain][c] =
                        BYTES(bytes_dot)(more[chain][c], v_bits(v_load(w + ((p + chain) * COLS + c) * LANES)), one);
            }
        }
        UNROLL
        for (int c = 0; c < COLS; ++c)
            sums[0][c] = sums[0][c] + (more[0][c] + more[1][c]) + (more[2][c] + more[3][c]);
    }
    for (; p < groups; ++p) {
        VI panel[COLS];
        UNROLL
        for (int c = 0; c < COLS; ++c)
            panel[c] = v_bits(v_load(w + (p * COLS + c) * LANES));
        UNROLL
        for (int r = 0; r < rows; ++r) {
            const VI one = BYTES(bytes_spread)(a + r * lda + p);
            UNROLL
            for (int c = 0; c < COLS; ++c)
                sums[r][c] = BYTES(bytes_dot)(sums[r][c], panel[c], one);
        }
    }
}

/* values[r][c] += factor[r] scale[c] times the sums of rows of a with a panel; factor NULL: ones. */
BYTES_INLINE void BYTES(bytes_add_product)(V values[ROWS][COLS], const int rows, const real *a, ptrdiff_t lda,
                                           const bytes_panel *panel, const real *factor)
{
    VI sums[ROWS][COLS];
    UNROLL
    for (int c = 0; c < COLS; ++c) {
        const VI start = v_bits(v_load(panel->start + c * LANES));
        UNROLL
        for (int r = 0; r < rows; ++r)
            sums[r][c] = start;
    }
    BYTES(bytes_accumulate)(sums, rows, a, lda, panel->words, panel->groups);
    UNROLL
    for (int c = 0; c < COLS; ++c) {
        const V scale = v_load(panel->scale + c * LANES);
        UNROLL
        for (int r = 0; r < rows; ++r) {
            const V by = factor ? (V)(v_set(factor[r]) * scale) : scale;
            values[r][c] = v_fma(bytes_to_real(sums[r][c]), by, values[r][c]);
        }
    }
}

/* Pack LANES rows of weights, those that exist, as vector `column` of a panel: words, starts and scales. */
static void BYTES(bytes_pack)(const real *weight, ptrdiff_t rows, ptrdiff_t n, const real *limits, ptrdiff_t column,
                              real *words, real *start, real *scale)
{
    const ptrdiff_t groups = BYTES(bytes_words)(n);
    for (ptrdiff_t lane = 0; lane < LANES; ++lane) {
        const real *row = weight + lane * n;
        const real step = lane < rows ? bytes_row_scale(row, limits, n) : 0;
        integer sum = 0;
        for (ptrdiff_t p = 0; p < groups; ++p)
            for (ptrdiff_t k = 0; k < BYTES_GROUP; ++k) {
                const ptrdiff_t at = p * BYTES_GROUP + k;
                int q = 0;
                if (lane < rows && at < n)
                    q = bytes_weight(limits ? row[at] * limits[at] : row[at], step);
                BYTES(bytes_put)(words + (p * COLS + column) * LANES, BYTES(bytes_place)(lane, k), q);
                sum += q;
            }
        sum = BYTES_GROUP == 4 ? -128 * sum : 0;
        memcpy(start + column * LANES + lane, &sum, sizeof sum);
        scale[column * LANES + lane] = step / 127;
    }
}

/* Quantize n inputs: by `inverse`, 127 / limit of each column, or NULL: by the largest of them, which is returned (else
 * 1). NaN if one of them is NaN or infinite. */
BYTES_INLINE real BYTES(bytes_quantize)(const real *x, ptrdiff_t n, const real *inverse, real *words)
{
    const real largest = bytes_largest(x, n);
    const int finite = largest - largest == 0;
    const V all = v_set(finite && largest > 0 ? 127 / largest : 0);
    for (ptrdiff_t k = 0; k < n; k += LANES) {
        const ptrdiff_t count = minimum(LANES, n - k);
        const V factor = inverse ? v_load_part(inverse + k, count) : all;
        BYTES(bytes_store)(words, k, bytes_of(v_load_part(x + k, count) * factor));
    }
    return finite ? (inverse ? 1 : largest) : largest - largest;
}
#undef BYTES_INLINE
