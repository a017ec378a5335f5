/* philox.h - Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011): four random words as a function of (seed, counter,
 * stream, row).
 *
 * `stream` and `row` are the third and fourth word of the generator's 128-bit counter.
 */
#ifndef FASTLSTM_PHILOX_H
#define FASTLSTM_PHILOX_H

#include <stdint.h>

/* One round on all words: on scalars, or element by element in a loop that vectorizes. */
#define PHILOX_ROUND(x0, x1, x2, x3, key0, key1)                                                                       \
    do {                                                                                                               \
        const uint64_t a_ = (uint64_t)0xD2511F53u * (x0), b_ = (uint64_t)0xCD9E8D57u * (x2);                           \
        (x0) = (uint32_t)(b_ >> 32) ^ (x1) ^ (key0);                                                                   \
        (x2) = (uint32_t)(a_ >> 32) ^ (x3) ^ (key1);                                                                   \
        (x1) = (uint32_t)b_;                                                                                           \
        (x3) = (uint32_t)a_;                                                                                           \
    } while (0)
#define PHILOX_KEY0 0x9E3779B9u /* added to the keys after each round */
#define PHILOX_KEY1 0xBB67AE85u

static inline void philox4x32(uint64_t seed, uint64_t counter, uint32_t stream, uint32_t row, uint32_t out[4])
{
    uint32_t x0 = (uint32_t)counter, x1 = (uint32_t)(counter >> 32), x2 = stream, x3 = row;
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        PHILOX_ROUND(x0, x1, x2, x3, key0, key1);
        key0 += PHILOX_KEY0;
        key1 += PHILOX_KEY1;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

#endif
