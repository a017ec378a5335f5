/* kernels/draw.h - random words for masks: Philox4x32-10 (../philox.h) at many counters at a time.
 *
 * The rounds vectorize this way (a zoneout of two masks on 64 rows, 100 steps, hidden 128: a training pass 1.5 -> 1.22
 * of the plain one's time). The number of counters is known at run time only, because gcc unrolls a loop of few
 * iterations (16) completely, and then leaves it scalar.
 */
enum { DRAWS = 32 };

/* words[w][k] = word w at counter first + k of a row of the batch, for k < count <= DRAWS. */
static void draw_words(uint64_t seed, uint64_t first, uint32_t stream, ptrdiff_t row, int count,
                       uint32_t words[4][DRAWS])
{
    uint32_t *restrict x0 = words[0], *restrict x1 = words[1], *restrict x2 = words[2], *restrict x3 = words[3];
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int k = 0; k < count; ++k) {
        const uint64_t counter = first + (uint64_t)k;
        x0[k] = (uint32_t)counter;
        x1[k] = (uint32_t)(counter >> 32);
        x2[k] = stream;
        x3[k] = (uint32_t)row;
    }
    for (int round = 0; round < 10; ++round, key0 += PHILOX_KEY0, key1 += PHILOX_KEY1)
        for (int k = 0; k < count; ++k)
            PHILOX_ROUND(x0[k], x1[k], x2[k], x3[k], key0, key1);
}
