/* kernels/simd.h - the vector type V of `real` numbers, and the few operations on it that are not plain C.
 *
 * V is a GCC/Clang vector type (one `real` where the compiler has none, or with -DFL_SCALAR), so + - * / and casts
 * between V and the integer vector VI are part of the language. This file spells out what must not be left to the
 * compiler: the fused multiply-add (contraction is off, so that every copy of a kernel rounds the same way), and
 * minimum and maximum with a defined answer for NaN.
 *
 *   LANES  elements of V      ROWS  batch rows of a register tile      COLS  vectors across a register tile
 *   UNITS  elements of the widest vector, 16 or 8      PARTS  vectors that hold them
 *
 * Results have the same bits with every width that has a fused multiply-add: a sum over lanes is taken as if a vector
 * had UNITS of them, by PARTS vectors (v_total).
 *
 * ROWS x COLS accumulators, COLS weights and a broadcast must fit into the registers: 32 of them hold 6 x 4, 16 hold 6
 * x 2. A vector type wider than the instruction set is split by the compiler and about ten times slower: never do that.
 */
#if defined(FL_REAL_F32)
typedef float real;
typedef int32_t integer;
typedef uint32_t natural;
#define REAL_IS_FLOAT 1
#else
typedef double real;
typedef int64_t integer;
typedef uint64_t natural;
#define REAL_IS_FLOAT 0
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define OUT_OF_LINE __attribute__((noinline))
#define PREFETCH(address) __builtin_prefetch((const void *)(address)) /* any address: it need not exist */
#define UNROLL _Pragma("GCC unroll 16")
#else
#define INLINE static inline
#define OUT_OF_LINE
#define PREFETCH(address) ((void)(address))
#define UNROLL
#endif
#if defined(__clang__)
#undef UNROLL
#define UNROLL _Pragma("clang loop unroll(full)")
#endif

#if defined(FL_ISA_AVX512)
#define VECTOR_BYTES 64
#define COLS 4
#elif defined(FL_ISA_AVX2)
#define VECTOR_BYTES 32
#define COLS 2
#elif defined(FL_ISA_NEON)
#define VECTOR_BYTES 16
#define COLS 4
#elif defined(__GNUC__) && !defined(FL_SCALAR)
#define VECTOR_BYTES 16
#define COLS 2
#else
#define ONE_LANE /* V is `real` */
#define VECTOR_BYTES ((int)sizeof(real))
#define COLS 2
#endif
#define ROWS 6
#if defined(FL_ISA_AVX512) || defined(FL_ISA_AVX2) || defined(FL_ISA_NEON) || defined(FL_EXACT_FMA)
#define FUSED 1 /* v_fma rounds once */
#else
#define FUSED 0
#endif

#define LANES ((int)(VECTOR_BYTES / sizeof(real)))
#define UNITS ((int)(64 / sizeof(real)))
#define PARTS (UNITS / LANES)

#if !defined(ONE_LANE)
typedef real V __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef integer VI __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef natural VN __attribute__((vector_size(VECTOR_BYTES), may_alias)); /* for sums that may wrap around */
typedef real V_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

INLINE V v_load(const real *p)
{
    return (V) * (const V_unaligned *)p;
}

INLINE void v_store(real *p, V a)
{
    *(V_unaligned *)p = (V_unaligned)a;
}

INLINE V v_set(real a)
{
    return a - (V){0}; /* a broadcast: a - 0 is a for every a, -0 and NaN included */
}

INLINE VI v_bits(V a)
{
    return (VI)a;
}

INLINE V v_from_bits(VI a)
{
    return (V)a;
}

/* Lane by lane, `yes` where the mask is all ones, `no` where it is all zeros. */
INLINE V v_select(VI mask, V yes, V no)
{
    return (V)((mask & (VI)yes) | (~mask & (VI)no));
}
#else
typedef real V;
typedef integer VI;
typedef natural VN;

INLINE V v_load(const real *p)
{
    return *p;
}

INLINE void v_store(real *p, V a)
{
    *p = a;
}

INLINE V v_set(real a)
{
    return a;
}

INLINE VI v_bits(V a)
{
    VI b;
    memcpy(&b, &a, sizeof b);
    return b;
}

INLINE V v_from_bits(VI a)
{
    V b;
    memcpy(&b, &a, sizeof b);
    return b;
}

INLINE V v_select(VI mask, V yes, V no)
{
    return mask ? yes : no;
}
#endif

/* v_fma(a, b, c) = a * b + c, rounded once where the machine can, twice in the portable set. v_at_most(a, bound) =
 * min(a, bound) and v_at_least(a, bound) = max(a, bound) give NaN where a is NaN. */
/* clang-format off */
#if defined(FL_ISA_AVX512) && REAL_IS_FLOAT
INLINE V v_fma(V a, V b, V c) { return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE V v_at_most(V a, V bound) { return (V)_mm512_min_ps((__m512)bound, (__m512)a); }
INLINE V v_at_least(V a, V bound) { return (V)_mm512_max_ps((__m512)bound, (__m512)a); }
#elif defined(FL_ISA_AVX512)
INLINE V v_fma(V a, V b, V c) { return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
INLINE V v_at_most(V a, V bound) { return (V)_mm512_min_pd((__m512d)bound, (__m512d)a); }
INLINE V v_at_least(V a, V bound) { return (V)_mm512_max_pd((__m512d)bound, (__m512d)a); }
#elif defined(FL_ISA_AVX2) && REAL_IS_FLOAT
INLINE V v_fma(V a, V b, V c) { return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE V v_at_most(V a, V bound) { return (V)_mm256_min_ps((__m256)bound, (__m256)a); }
INLINE V v_at_least(V a, V bound) { return (V)_mm256_max_ps((__m256)bound, (__m256)a); }
#elif defined(FL_ISA_AVX2)
INLINE V v_fma(V a, V b, V c) { return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
INLINE V v_at_most(V a, V bound) { return (V)_mm256_min_pd((__m256d)bound, (__m256d)a); }
INLINE V v_at_least(V a, V bound) { return (V)_mm256_max_pd((__m256d)bound, (__m256d)a); }
#else
#if defined(FL_ISA_NEON) && REAL_IS_FLOAT
INLINE V v_fma(V a, V b, V c) { return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#elif defined(FL_ISA_NEON)
INLINE V v_fma(V a, V b, V c) { return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
#elif !defined(FL_EXACT_FMA)
INLINE V v_fma(V a, V b, V c) { return a * b + c; }
#endif
INLINE V v_at_most(V a, V bound) { return v_select(a > bound, bound, a); }
INLINE V v_at_least(V a, V bound) { return v_select(a < bound, bound, a); }
#endif
/* clang-format on */

#if defined(FL_EXACT_FMA) && !defined(FL_ISA_AVX512) && !defined(FL_ISA_AVX2) && !defined(FL_ISA_NEON)
/* By the C library, which rounds once on every machine, and is some hundred times slower where it has to compute that:
 * for tests, which then compare the portable kernels with the others bit by bit. */
INLINE V v_fma(V a, V b, V c)
{
    real x[LANES], y[LANES], z[LANES];
    v_store(x, a);
    v_store(y, b);
    v_store(z, c);
    for (int lane = 0; lane < LANES; ++lane)
#if REAL_IS_FLOAT
        z[lane] = fmaf(x[lane], y[lane], z[lane]);
#else
        z[lane] = fma(x[lane], y[lane], z[lane]);
#endif
    return v_load(z);
}
#endif

/* All ones in the first `count` (0 to LANES) lanes, zeros in the others. */
INLINE VI v_first(ptrdiff_t count)
{
#if !defined(ONE_LANE)
    static const integer ones_then_zeros[2 * LANES] = {[0 ... LANES - 1] = -1};
    typedef integer VI_unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(integer)), may_alias));
    return (VI) * (const VI_unaligned *)(ones_then_zeros + LANES - count);
#else
    return -(VI)count;
#endif
}

/* The first `count` lanes of a, zeros in the others. */
INLINE V v_keep(V a, ptrdiff_t count)
{
    return v_from_bits(v_bits(a) & v_first(count));
}

/* The first `count` elements at p, with zeros in the other lanes; nothing beyond them is read or written. */
#if defined(FL_ISA_AVX512) && REAL_IS_FLOAT
INLINE V v_load_part(const real *p, ptrdiff_t count)
{
    return (V)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
}

INLINE void v_store_part(real *p, V a, ptrdiff_t count)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)a);
}
#elif defined(FL_ISA_AVX512)
INLINE V v_load_part(const real *p, ptrdiff_t count)
{
    return (V)_mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), p);
}

INLINE void v_store_part(real *p, V a, ptrdiff_t count)
{
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << count) - 1), (__m512d)a);
}
#elif defined(FL_ISA_AVX2) && REAL_IS_FLOAT
INLINE V v_load_part(const real *p, ptrdiff_t count)
{
    return (V)_mm256_maskload_ps(p, (__m256i)v_first(count));
}

INLINE void v_store_part(real *p, V a, ptrdiff_t count)
{
    _mm256_maskstore_ps(p, (__m256i)v_first(count), (__m256)a);
}
#elif defined(FL_ISA_AVX2)
INLINE V v_load_part(const real *p, ptrdiff_t count)
{
    return (V)_mm256_maskload_pd(p, (__m256i)v_first(count));
}

INLINE void v_store_part(real *p, V a, ptrdiff_t count)
{
    _mm256_maskstore_pd(p, (__m256i)v_first(count), (__m256d)a);
}
#else
INLINE V v_load_part(const real *p, ptrdiff_t count)
{
    real lanes[LANES] = {0};
    for (ptrdiff_t lane = 0; lane < count; ++lane)
        lanes[lane] = p[lane];
    return v_load(lanes);
}

INLINE void v_store_part(real *p, V a, ptrdiff_t count)
{
    real lanes[LANES];
    v_store(lanes, a);
    for (ptrdiff_t lane = 0; lane < count; ++lane)
        p[lane] = lanes[lane];
}
#endif

#if !defined(ONE_LANE)
/* One half of exchanging two blocks of d x d elements: with high = 0 lane l is a[l] where bit d of l is clear and b[l -
 * d] where it is set; with high = 1 it is a[l + d] and b[l]. */
INLINE V v_exchange(V a, V b, const int d, const int high)
{
#if defined(__clang__)
    V mixed = a;
    UNROLL
    for (int lane = 0; lane < LANES; ++lane)
        mixed[lane] = lane & d ? b[lane - (high ? 0 : d)] : a[lane + (high ? d : 0)];
    return mixed;
#else
    VI from = {0};
    UNROLL
    for (int lane = 0; lane < LANES; ++lane)
        from[lane] = lane & d ? LANES + lane - (high ? 0 : d) : lane + (high ? d : 0);
    return __builtin_shuffle(a, b, from);
#endif
}

/* Transpose LANES x LANES elements in registers, by exchanging blocks, from half the matrix down to single
 * elements. */
INLINE void v_transpose(V rows[LANES])
{
    /* clang-format off */
    _Pragma("GCC unroll 4")
    for (int d = LANES / 2; d > 0; d /= 2) {
        _Pragma("GCC unroll 16")
        for (int r = 0; r < LANES; ++r)
            if (!(r & d)) {
                V low = v_exchange(rows[r], rows[r + d], d, 0);
                rows[r + d] = v_exchange(rows[r], rows[r + d], d, 1);
                rows[r] = low;
            }
    }
    /* clang-format on */
}
#else
INLINE void v_transpose(V rows[LANES])
{
    (void)rows; /* one element */
}
#endif

INLINE void v_zero(V parts[PARTS])
{
    UNROLL
    for (int part = 0; part < PARTS; ++part)
        parts[part] = v_set(0);
}

/* The sum of all lanes: of those that are UNITS / 2 apart, then UNITS / 4, and so on. Adding 0 first makes a lane that is
 * -0 the same as one that was left out. */
INLINE real v_total(const V parts[PARTS])
{
    V sums[PARTS];
    real lanes[LANES];
    UNROLL
    for (int part = 0; part < PARTS; ++part)
        sums[part] = parts[part] + v_set(0);
    for (int half = PARTS / 2; half > 0; half /= 2)
        for (int part = 0; part < half; ++part)
            sums[part] = sums[part] + sums[part + half];
    v_store(lanes, sums[0]);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane)
            lanes[lane] += lanes[lane + half];
    return lanes[0];
}

#if REAL_IS_FLOAT
/* Store the lower 16 bits of each lane next to each other. */
INLINE void v_store_halves(void *to, VN a)
{
#if defined(FL_ISA_AVX512)
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtepi32_epi16((__m512i)a));
#elif defined(FL_ISA_AVX2)
    const __m256i low = (__m256i)(a & 0xffff); /* packing takes larger numbers to the largest */
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0xd8);
    _mm_storeu_si128((__m128i *)to, _mm256_castsi256_si128(halves));
#elif defined(FL_ISA_NEON)
    vst1_u16((uint16_t *)to, vmovn_u32((uint32x4_t)a));
#else
    natural lanes[LANES];
    uint16_t halves[LANES];
    memcpy(lanes, &a, sizeof lanes);
    for (int lane = 0; lane < LANES; ++lane)
        halves[lane] = (uint16_t)lanes[lane];
    memcpy(to, halves, sizeof halves);
#endif
}
#endif

static inline ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline ptrdiff_t minimum(ptrdiff_t a, ptrdiff_t b)
{
    return a < b ? a : b;
}
