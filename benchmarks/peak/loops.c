// The most multiplications and additions that the processor's vector units do: a loop over registers alone.
//
// Each function runs `rounds` rounds of 16 independent chains on each of `threads` threads and returns the operations
// (a multiplication and an addition count as two) of one thread; 0 if the processor has no such instruction. The caller
// takes the time. 16 chains cover the latency of two units of four or five cycles.

#include <stdint.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { CHAINS = 16 };

#if defined __AVX512F__
#define BYTES 64
#elif defined __AVX__
#define BYTES 32
#else
#define BYTES 16
#endif

// The sums must be computed in each round, and stay in registers: unless all loops over the chains are unrolled early,
// gcc 12 keeps the sums in memory, which takes three times as long on an Emerald Rapids.
#define EACH_CHAIN _Pragma("GCC unroll 16") for (int k = 0; k < CHAINS; k++)
#ifdef __x86_64__
#define KEEP(vector) __asm__ volatile("" : "+v"(vector))
#else
#define KEEP(vector) __asm__ volatile("" : "+w"(vector))
#endif

typedef float floats __attribute__((vector_size(BYTES)));

static float sink; // for the compiler: the sums are used

double peak_float32(int64_t rounds, int threads) {
#pragma omp parallel num_threads(threads)
    {
        floats sums[CHAINS], a, b;
        EACH_CHAIN sums[k] = (floats){0};
        for (int k = 0; k < BYTES / 4; k++) a[k] = 0.999f, b[k] = 1e-3f * (float)k;
        for (int64_t n = 0; n < rounds; n++) {
            EACH_CHAIN {
                sums[k] = sums[k] * a + b;
                KEEP(sums[k]);
            }
        }
        float total = 0;
        EACH_CHAIN total += sums[k][0];
#pragma omp atomic
        sink += total;
    }
    return 2.0 * CHAINS * (BYTES / 4) * (double)rounds;
}

double peak_bfloat16(int64_t rounds, int threads) {
#ifdef __AVX512BF16__
#pragma omp parallel num_threads(threads)
    {
        __m512 sums[CHAINS];
        EACH_CHAIN sums[k] = _mm512_setzero_ps();
        const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-3f), _mm512_set1_ps(1e-3f));
        for (int64_t n = 0; n < rounds; n++) {
            EACH_CHAIN {
                sums[k] = _mm512_dpbf16_ps(sums[k], a, a);
                KEEP(sums[k]);
            }
        }
        float total = 0;
        EACH_CHAIN total += _mm512_cvtss_f32(sums[k]);
#pragma omp atomic
        sink += total;
    }
    return 2.0 * CHAINS * 32 * (double)rounds;
#else
    (void)rounds, (void)threads;
    return 0;
#endif
}

double peak_int8(int64_t rounds, int threads) {
#ifdef __AVX512VNNI__
#pragma omp parallel num_threads(threads)
    {
        __m512i sums[CHAINS];
        EACH_CHAIN sums[k] = _mm512_setzero_si512();
        const __m512i a = _mm512_set1_epi8(1);
        for (int64_t n = 0; n < rounds; n++) {
            EACH_CHAIN {
                sums[k] = _mm512_dpbusd_epi32(sums[k], a, a);
                KEEP(sums[k]);
            }
        }
        int total = 0;
        EACH_CHAIN total += _mm_cvtsi128_si32(_mm512_castsi512_si128(sums[k]));
#pragma omp atomic
        sink += (float)total;
    }
    return 2.0 * CHAINS * 64 * (double)rounds;
#else
    (void)rounds, (void)threads;
    return 0;
#endif
}
