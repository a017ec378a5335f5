/* random.c - random words and normal numbers outside the kernels: initial weights, orders, parts of the data. */
#include "fastlstm.h"
#include "normal.h"
#include "philox.h"

void fl_philox4x32(uint64_t seed, uint64_t counter, uint32_t out[4])
{
    philox4x32(seed, counter, 0, 0, out);
}

void fl_random_words(uint64_t seed, uint64_t first, ptrdiff_t n, uint64_t *words)
{
    uint32_t four[4];
    for (ptrdiff_t k = 0; k < n; ++k) {
        const uint64_t place = first + (uint64_t)k;
        if (k == 0 || place % 2 == 0)
            philox4x32(seed, place / 2, 0, 0, four);
        words[k] = (uint64_t)four[2 * (place % 2)] << 32 | four[2 * (place % 2) + 1];
    }
}

void fl_normals(uint64_t seed, uint64_t first, ptrdiff_t n, double *y)
{
    uint64_t words[64]; /* one block of Philox gives two words: drawn singly each would be computed twice */
    for (ptrdiff_t k = 0; k < n; k += 64) {
        const ptrdiff_t count = n - k < 64 ? n - k : 64;
        fl_random_words(seed, first + (uint64_t)k, count, words);
        for (ptrdiff_t j = 0; j < count; ++j)
            y[k + j] = fl_normal(((double)(words[j] >> 12) + 0.5) * 0x1p-52);
    }
}
