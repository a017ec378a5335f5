/* philox.h - Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011): four random words as a function of (seed, counter, stream);
 * `stream` is the third word of its 128-bit counter. */
#ifndef FASTLSTM_PHILOX_H
#define FASTLSTM_PHILOX_H

#include <stdint.h>

static inline void philox4x32(uint64_t seed, uint64_t counter, uint32_t stream, uint32_t out[4])
{
    uint32_t x0 = (uint32_t)counter, x1 = (uint32_t)(counter >> 32), x2 = stream, x3 = 0;
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = (uint64_t)0xD2511F53u * x0, b = (uint64_t)0xCD9E8D57u * x2;
        const uint32_t y0 = (uint32_t)(b >> 32) ^ x1 ^ key0, y2 = (uint32_t)(a >> 32) ^ x3 ^ key1;
        x1 = (uint32_t)b;
        x3 = (uint32_t)a;
        x0 = y0;
        x2 = y2;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

#endif
