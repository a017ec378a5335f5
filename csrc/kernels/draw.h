/* kernels/draw.h - random words for masks: Philox4x32-10 (../philox.h) at DRAWS counters side by side, so that the rounds
 * vectorize (a zoneout of two masks on 64 rows, 100 steps, hidden 128: a training pass 1.37 -> 1.23 of the plain one's time).
 */
enum { DRAWS = 16 };

/* words[w][k] = word w at counter first + k. */
static void draw_words(uint64_t seed, uint64_t first, uint32_t stream, uint32_t words[4][DRAWS])
{
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int k = 0; k < DRAWS; ++k) {
        const uint64_t counter = first + (uint64_t)k;
        words[0][k] = (uint32_t)counter;
        words[1][k] = (uint32_t)(counter >> 32);
        words[2][k] = stream;
        words[3][k] = 0;
    }
    for (int round = 0; round < 10; ++round, key0 += PHILOX_KEY0, key1 += PHILOX_KEY1)
        for (int k = 0; k < DRAWS; ++k)
            PHILOX_ROUND(words[0][k], words[1][k], words[2][k], words[3][k], key0, key1);
}
