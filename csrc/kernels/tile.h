/* kernels/tile.h - the two register tiles that do all the matrix work of fastlstm.
 *
 *   inner product   c[r][col]  = init[col] + sum_k a[r][k] * w[k][col]      forward passes; gradients of inputs
 *   outer product   d[r][col] += sum_n a[n][r] * g[n][col]                  gradients of weights
 *
 * Both keep up to ROWS x COLS vectors of sums in registers and add one term per step, in the order of k (of n), each by
 * one v_fma. An element's sum is therefore the same whatever tile it falls into: this is what makes a row's result
 * independent of its batch, and everything independent of the number of threads.
 *
 * The narrow operand w is packed in panels [k][cols of the tile], so that it streams; a is read by broadcast from rows
 * `lda` apart. Both functions are written for constant (rows, cols) and instantiated by the switches below.
 */

/* acc += a w over k terms: `a` has rows lda apart, w is a panel of `cols` vectors. */
INLINE void accumulate(V acc[ROWS][COLS], const int rows, const int cols, const real *a, ptrdiff_t lda, const real *w,
                       ptrdiff_t k)
{
    for (ptrdiff_t p = 0; p < k; ++p) {
        V panel[COLS];
        UNROLL
        for (int c = 0; c < cols; ++c)
            panel[c] = v_load(w + (p * cols + c) * LANES);
        UNROLL
        for (int r = 0; r < rows; ++r) {
            V broadcast = v_set(a[r * lda + p]);
            UNROLL
            for (int c = 0; c < cols; ++c)
                acc[r][c] = v_fma(broadcast, panel[c], acc[r][c]);
        }
    }
}

/* Write a tile's sums to memory, (rows)(cols * LANES), for tiles that are cut at an edge. */
INLINE void tile_spill(V acc[ROWS][COLS], const int rows, const int cols, real *sums)
{
    UNROLL
    for (int r = 0; r < rows; ++r) {
        UNROLL
        for (int c = 0; c < cols; ++c)
            v_store(sums + (r * cols + c) * LANES, acc[r][c]);
    }
}

/* Strips of the rows of an operand: strip s begins at a + s * stride, and has k terms. */
typedef struct {
    const real *a;
    ptrdiff_t lda, count, stride, k;
} strips;

/* An inner product over all strips of of[0], then those of of[1] */
typedef struct {
    strips of[2];
    const real *w;     /* (terms, cols * LANES) */
    const real *init;  /* (cols * LANES) or NULL */
    real *const *rows; /* where to store each row */
    ptrdiff_t count;   /* elements of a row to store, at most cols * LANES */
    int add;           /* add to the values there */
} inner_job;

/* Store or add the part of a tile's rows that is wanted. One copy for all tiles: compiled into each of them, it took a
 * third of their code. */
static OUT_OF_LINE void inner_deliver(const inner_job *job, int rows, ptrdiff_t width, const real *sums)
{
    for (int r = 0; r < rows; ++r)
        for (ptrdiff_t n = 0; n < minimum(job->count, width); ++n)
            job->rows[r][n] = (job->add ? job->rows[r][n] : 0) + sums[r * width + n];
}

INLINE void inner_tile(const inner_job *job, const int rows, const int cols)
{
    V acc[ROWS][COLS];
    UNROLL
    for (int r = 0; r < rows; ++r) {
        UNROLL
        for (int c = 0; c < cols; ++c)
            acc[r][c] = v_set(0);
    }
    if (job->init) {
        UNROLL
        for (int r = 0; r < rows; ++r) {
            UNROLL
            for (int c = 0; c < cols; ++c)
                acc[r][c] = v_load(job->init + c * LANES);
        }
    }
    const real *w = job->w;
    for (const strips *from = job->of; from < job->of + 2; ++from)
        for (ptrdiff_t s = 0; s < from->count; ++s, w += from->k * cols * LANES)
            accumulate(acc, rows, cols, from->a + s * from->stride, from->lda, w, from->k);
    if (job->count == cols * LANES && !job->add) {
        UNROLL
        for (int r = 0; r < rows; ++r) {
            UNROLL
            for (int c = 0; c < cols; ++c)
                v_store(job->rows[r] + c * LANES, acc[r][c]);
        }
    } else {
        real sums[ROWS * COLS * LANES];
        tile_spill(acc, rows, cols, sums);
        inner_deliver(job, rows, cols * LANES, sums);
    }
}

typedef struct {
    const real *a; /* (n, rows): rows lda apart */
    ptrdiff_t lda;
    const real *g; /* (n, cols, LANES): rows ldg apart, vectors ldv apart */
    ptrdiff_t ldg, ldv, n;
    real *d; /* (rows, count): rows ldd apart, added to */
    ptrdiff_t ldd, count;
} outer_job;

INLINE void outer_tile(const outer_job *job, const int rows, const int cols)
{
    V acc[ROWS][COLS];
    UNROLL
    for (int r = 0; r < rows; ++r) {
        UNROLL
        for (int c = 0; c < cols; ++c)
            acc[r][c] = v_set(0);
    }
    const real *a = job->a, *g = job->g;
    for (ptrdiff_t n = 0; n < job->n; ++n, a += job->lda, g += job->ldg) {
        V panel[COLS];
        UNROLL
        for (int c = 0; c < cols; ++c)
            panel[c] = v_load(g + c * job->ldv);
        UNROLL
        for (int r = 0; r < rows; ++r) {
            V broadcast = v_set(a[r]);
            UNROLL
            for (int c = 0; c < cols; ++c)
                acc[r][c] = v_fma(broadcast, panel[c], acc[r][c]);
        }
    }
    const ptrdiff_t last = job->count - (cols - 1) * LANES; /* elements of the last vector to store */
    UNROLL
    for (int r = 0; r < rows; ++r) {
        real *to = job->d + r * job->ldd;
        UNROLL
        for (int c = 0; c < cols - 1; ++c)
            v_store(to + c * LANES, v_load(to + c * LANES) + acc[r][c]);
        to += (cols - 1) * LANES;
        if (last == LANES)
            v_store(to, v_load(to) + acc[r][cols - 1]);
        else
            v_store_part(to, v_load_part(to, last) + acc[r][cols - 1], last);
    }
}

/* One out-of-line copy of a tile for each height and width. */
#define TILE_WIDTHS(tile, job, height)                                                                                 \
    switch (cols) {                                                                                                    \
    case 1: tile(job, height, 1); break;                                                                               \
    case 2: tile(job, height, 2); break;                                                                               \
    case 3: tile(job, height, COLS < 3 ? COLS : 3); break;                                                             \
    default: tile(job, height, COLS); break;                                                                           \
    }
#define TILE_HEIGHTS(tile, job)                                                                                        \
    switch (rows) {                                                                                                    \
    case 1: TILE_WIDTHS(tile, job, 1) break;                                                                           \
    case 2: TILE_WIDTHS(tile, job, 2) break;                                                                           \
    case 3: TILE_WIDTHS(tile, job, 3) break;                                                                           \
    case 4: TILE_WIDTHS(tile, job, 4) break;                                                                           \
    case 5: TILE_WIDTHS(tile, job, 5) break;                                                                           \
    default: TILE_WIDTHS(tile, job, ROWS) break;                                                                       \
    }

static void inner_product(const inner_job *job, int rows, int cols)
{
    TILE_HEIGHTS(inner_tile, job)
}

static void outer_product(const outer_job *job, int rows, int cols)
{
    TILE_HEIGHTS(outer_tile, job)
}

/* The number of tiles of at most `most` rows that cover `count` rows, and where tile t begins. Heights differ by at
 * most one, which wastes less than full tiles and a remainder (16 rows: 6 + 5 + 5 rather than 6 + 6 + 4). */
static inline ptrdiff_t tile_count(ptrdiff_t count, ptrdiff_t most)
{
    return (count + most - 1) / most;
}

static inline ptrdiff_t tile_begin(ptrdiff_t count, ptrdiff_t tiles, ptrdiff_t t)
{
    return count * t / tiles;
}

/* The largest number of terms of an outer product that are summed before they are added to the result. It bounds the
 * rounding error of long sums, and keeps a tile's `a` and g in the caches while the other tiles pass over them. */
enum { TERMS = 256 };

static inline const real *row_of(const void *array, ptrdiff_t row, ptrdiff_t width)
{
    return array ? (const real *)array + row * width : NULL;
}

/* to[p][lane] = from[lane][p] for p < count, and zeros for lane >= rows. By blocks of LANES x LANES in registers:
 * element by element, packing took 15 % of an inference over 100 steps of one row (input 64, hidden 256). */
static void transpose_to(const real *from, ptrdiff_t ld_from, ptrdiff_t rows, ptrdiff_t count, real *to,
                         ptrdiff_t ld_to)
{
    for (ptrdiff_t first = 0; first < count; first += LANES) {
        const ptrdiff_t n = minimum(LANES, count - first);
        V v[LANES];
        for (int lane = 0; lane < LANES; ++lane)
            v[lane] = lane >= rows ? v_set(0) : v_load_part(from + lane * ld_from + first, n);
        v_transpose(v);
        for (ptrdiff_t p = 0; p < n; ++p)
            v_store(to + (first + p) * ld_to, v[p]);
    }
}

/* sums[c] += the elements of column c < count of some rows, which are ld apart, in their order. */
static void add_rows(const real *from, ptrdiff_t rows, ptrdiff_t ld, ptrdiff_t count, double *sums)
{
    for (ptrdiff_t n = 0; n < rows; ++n, from += ld)
        for (ptrdiff_t c = 0; c < count; ++c)
            sums[c] += from[c];
}
