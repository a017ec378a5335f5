/* kernels/lstm/forward_bytes.h - the plain cell with weights of 8 bits, in each way of multiplying them: forward_bytes_tile.h.
 */
#if REAL_IS_FLOAT
#define BYTES_FILE "lstm/forward_bytes_tile.h"
#include "../bytes_ways.h"
#undef BYTES_FILE

#if defined(HAS_AMX)
/* Compute up to 32 rows of a block by AMX, with the results of VNNI: the sums are exact. */
__attribute__((target(FL_TARGET ",avx512vnni"))) static void forward_bytes_tiles(const forward_step *step,
                                                                                 ptrdiff_t block, ptrdiff_t row,
                                                                                 ptrdiff_t rows)
{
    const lstm_work *work = step->work;
    const lstm_bytes *bytes = &work->bytes;
    const ptrdiff_t at = block * GATES * LANES;
    const real *hx = step->hx + row * work->ldhx;
    const real *words = work->panel + block * (bytes->panel_x + bytes->panel_h) * COLS * LANES;
    real of_x[AMX_ROWS * COLS * LANES], of_h[AMX_ROWS * COLS * LANES];
    const words_job x = {.of = {{hx + bytes->words_h, work->ldhx, words, bytes->panel_x}},
                         .init = bytes->start_x + at,
                         .sums = of_x};
    const words_job h = {.of = {{hx, work->ldhx, words + bytes->panel_x * COLS * LANES, bytes->panel_h}},
                         .init = bytes->start_h + at,
                         .sums = of_h};
    amx_product_of_bytes(&x, rows);
    amx_product_of_bytes(&h, rows);
    for (ptrdiff_t r = 0; r < rows; ++r) {
        const V factor = v_set(step->factor[row + r]);
        V z[GATES];
        UNROLL
        for (int gate = 0; gate < GATES; ++gate) {
            const ptrdiff_t lane = at + gate * LANES, sum = (r * GATES + gate) * LANES;
            z[gate] = v_fma(bytes_to_real(v_bits(v_load(of_x + sum))), factor * v_load(bytes->scale_x + lane),
                            v_load(work->bias + lane));
            z[gate] = v_fma(bytes_to_real(v_bits(v_load(of_h + sum))), v_load(bytes->scale_h + lane), z[gate]);
        }
        forward_bytes_cell_vnni(step, block, row + r, z);
    }
}
#endif
#endif

#if !REAL_IS_FLOAT || !defined(HAS_AMX)
static inline void forward_bytes_tiles(const forward_step *step, ptrdiff_t block, ptrdiff_t row, ptrdiff_t rows)
{
    (void)step, (void)block, (void)row, (void)rows; /* never reached */
}
#endif
