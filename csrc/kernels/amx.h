/* kernels/amx.h - products of words by AMX: of two numbers of 16 bits, the way `tiles` of bf16.h, or of four integers of 8
 * bits, whose sums are exact (bytes.h: the numbers of a are unsigned).
 *
 * Eight registers hold tiles of 16 rows of 64 bytes. 0 to 3 hold sums, 16 rows by 16 columns; 4 and 5 rows of a, 16 words
 * each, and 6 and 7 words of w, 16 terms by 16 columns. Up to 16 rows take four vectors of columns at a time; more rows
 * take two, so that each tile of w is read for 32 rows: with 16, reading w from the second-level cache takes longer than
 * multiplying it.
 *
 * A configuration, which belongs to the thread, says how many rows of a there are: one row costs less than sixteen. The
 * instructions are written out, because compilers do not know what their own functions for them read and write.
 */
#define AMX_LOAD(tile, from, bytes)                                                                                    \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile : : "r"(from), "r"((ptrdiff_t)(bytes)) : "memory")
#define AMX_STORE(tile, to, bytes)                                                                                     \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)" : : "r"(to), "r"((ptrdiff_t)(bytes)) : "memory")
#define AMX_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : :)
#define AMX_ADD(sum, a, w)                                                                                             \
    do {                                                                                                               \
        if (bytes)                                                                                                     \
            __asm__ volatile("tdpbusd %%tmm" #w ", %%tmm" #a ", %%tmm" #sum : :);                                      \
        else                                                                                                           \
            __asm__ volatile("tdpbf16ps %%tmm" #w ", %%tmm" #a ", %%tmm" #sum : :);                                    \
    } while (0)

#define AMX_BEGIN(tile, column, row)                                                                                   \
    do {                                                                                                               \
        if (job->init)                                                                                                 \
            AMX_LOAD(tile, job->init + (row) * job->init_row + (column) * LANES, job->init_row * 4);                   \
        else                                                                                                           \
            AMX_ZERO(tile);                                                                                            \
    } while (0)

static void amx_begin(ptrdiff_t rows)
{
    rows = rows < 1 ? 1 : minimum(16, rows); /* of a share without rows, too: a tile without any is a fault */
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } configuration = {.palette = 1};
    for (int tile = 0; tile < 8; ++tile) {
        configuration.bytes[tile] = 64;
        configuration.rows[tile] = (uint8_t)(tile >= 6 ? 16 : rows);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(configuration));
}

static void amx_end(void)
{
    __asm__ volatile("tilerelease" : :);
}

/* Up to 16 rows. */
INLINE void amx_rows(const words_job *job, const int cols, const int bytes)
{
    const ptrdiff_t row = cols * LANES * 4;
    AMX_BEGIN(0, 0, 0);
    if (cols > 1)
        AMX_BEGIN(1, 1, 0);
    if (cols > 2)
        AMX_BEGIN(2, 2, 0);
    if (cols > 3)
        AMX_BEGIN(3, 3, 0);
    for (int n = 0; n < 2; ++n) {
        const real *w = job->of[n].w;
        for (ptrdiff_t p = 0; p < job->of[n].words; p += AMX_WORDS, w += AMX_WORDS * cols * LANES) {
            AMX_LOAD(4, job->of[n].a + p, job->of[n].lda * 4);
            AMX_LOAD(6, w, row);
            AMX_ADD(0, 4, 6);
            if (cols > 1) {
                AMX_LOAD(7, w + LANES, row);
                AMX_ADD(1, 4, 7);
            }
            if (cols > 2) {
                AMX_LOAD(6, w + 2 * LANES, row);
                AMX_ADD(2, 4, 6);
            }
            if (cols > 3) {
                AMX_LOAD(7, w + 3 * LANES, row);
                AMX_ADD(3, 4, 7);
            }
        }
    }
    AMX_STORE(0, job->sums, row);
    if (cols > 1)
        AMX_STORE(1, job->sums + LANES, row);
    if (cols > 2)
        AMX_STORE(2, job->sums + 2 * LANES, row);
    if (cols > 3)
        AMX_STORE(3, job->sums + 3 * LANES, row);
}

/* 17 to 32 rows, two vectors of `cols` from vector `column` on, or one. */
INLINE void amx_more_rows(const words_job *job, ptrdiff_t cols, ptrdiff_t column, const int two, const int bytes)
{
    const ptrdiff_t row = cols * LANES * 4;
    real *sums = job->sums + column * LANES, *below = sums + 16 * cols * LANES;
    AMX_BEGIN(0, column, 0);
    AMX_BEGIN(1, column, 16);
    if (two) {
        AMX_BEGIN(2, column + 1, 0);
        AMX_BEGIN(3, column + 1, 16);
    }
    for (int n = 0; n < 2; ++n) {
        const ptrdiff_t lda = job->of[n].lda;
        const real *a = job->of[n].a, *w = job->of[n].w + column * LANES;
        for (ptrdiff_t p = 0; p < job->of[n].words; p += AMX_WORDS, w += AMX_WORDS * cols * LANES) {
            AMX_LOAD(6, w, row);
            AMX_LOAD(4, a + p, lda * 4);
            AMX_ADD(0, 4, 6);
            AMX_LOAD(5, a + 16 * lda + p, lda * 4);
            AMX_ADD(1, 5, 6);
            if (two) {
                AMX_LOAD(7, w + LANES, row);
                AMX_ADD(2, 4, 7);
                AMX_ADD(3, 5, 7);
            }
        }
    }
    AMX_STORE(0, sums, row);
    AMX_STORE(1, below, row);
    if (two) {
        AMX_STORE(2, sums + LANES, row);
        AMX_STORE(3, below + LANES, row);
    }
}

static void amx_product(const words_job *job, ptrdiff_t rows, ptrdiff_t cols)
{
    if (rows > 16) {
        ptrdiff_t column = 0;
        for (; column + 1 < cols; column += 2)
            amx_more_rows(job, cols, column, 1, 0);
        if (column < cols)
            amx_more_rows(job, cols, column, 0, 0);
        return;
    }
    switch (cols) {
    case 1: amx_rows(job, 1, 0); break;
    case 2: amx_rows(job, 2, 0); break;
    case 3: amx_rows(job, 3, 0); break;
    default: amx_rows(job, 4, 0); break;
    }
}

/* The same for integers of 8 bits, with COLS vectors: `init` and `sums` hold integers. */
static void amx_product_of_bytes(const words_job *job, ptrdiff_t rows)
{
    if (rows > 16) {
        amx_more_rows(job, COLS, 0, 1, 1);
        amx_more_rows(job, COLS, 2, 1, 1);
    } else {
        amx_rows(job, COLS, 1);
    }
}
