/* kernels/lstm/plan.h - how a team divides the walk through time.
 *
 * By rows, the batch is cut into shares of rows, and a thread that is free takes the next share and goes through all
 * steps with it, without waiting for anybody. There are a few more shares than threads, so that when a thread is
 * delayed (by another process, or by another library's threads that spin) the others do not wait for half of the work.
 * But a share of few rows reads all the weights for little work. By units, a thread owns some units of all rows: it
 * reads only its part of the weights, and the team meets at a barrier in every step.
 *
 * The cost model, in cycles of a step. A tile reads each of its vectors of weights once, for LOAD cycles that the
 * arithmetic does not hide, and multiplies it with each of its rows, one cycle for each. A barrier costs BARRIER for
 * each thread. x counts only where its part is not summed in advance (`x_sums`), which costs the same either way.
 * Measured on a Zen 4 with 2 threads (input 64, hidden 256, 100 steps, inference, ms by rows / by units: batch 3 1.22 /
 * 1.22, 4 1.79 / 1.31, 6 2.45 / 1.93; input 32, hidden 64, batch 1, 200 steps: .175 / .121; input 16, hidden 32: .043 /
 * .054). By units must be better by a factor GAIN: a team that meets in every step suffers from anything that delays
 * one thread (64 rows, hidden 128, with one of two processors busy with another process: 16 ms by units, 7 by rows). To
 * measure again: make by_units 0 or 1 below, and time one row with small hidden sizes (BARRIER) and three to six rows
 * with large ones (LOAD).
 *
 * Weights that fit into half of the second-level cache, with the rest of the data in the other half, are read from
 * there by each tile, so that shares may have as few as SHARE_ROWS rows. Larger weights come from the third level for
 * each share and step, and SHARE_ROWS_FAR rows share that cost. AMX computes tiles of 16 rows and reads weights for two of
 * them: SHARE_ROWS_TILES (64 rows, 50 steps, input 64, hidden 128: inference 1.69 ms with 8, 1.24 with 16, 1.15 with 32).
 */

/* The sorted rows [*begin, *end) of one share of several: contiguous, with about the same number of live steps in
 * each. */
static void lstm_share_rows(const lstm_work *work, ptrdiff_t share, ptrdiff_t shares, ptrdiff_t *begin, ptrdiff_t *end)
{
    const double each = (double)work->steps / (double)shares;
    ptrdiff_t row = 0;
    double done = 0;
    for (; share && row < work->batch && done < each * (double)share; ++row)
        done += (double)work->length[row];
    *begin = row;
    for (; row < work->batch && (share == shares - 1 || done < each * (double)(share + 1)); ++row)
        done += (double)work->length[row];
    *end = row;
}

/* The constants of the cost model, in cycles, and of the shares of rows: see the head of this file. */
#define LOAD 1.2
#define BARRIER 300.0
#define GAIN 0.9
#define SHARES 4 /* for each thread */
#define SHARE_ROWS 8
#define SHARE_ROWS_FAR 64
#define SHARE_ROWS_TILES 32

typedef struct {
    int n_threads;
    int by_units;
    ptrdiff_t shares; /* of rows */
} lstm_plan;

/* Multiply-adds of a forward pass. */
static double lstm_multiplications(const lstm_work *work)
{
    return (double)work->steps * 4.0 * (double)work->padded * (double)(work->recurrent + work->input);
}

static lstm_plan lstm_make_plan(const fl_lstm_pass *pass, const lstm_work *work)
{
    const double vectors = 4.0 * (double)work->blocks * (double)(work->recurrent + work->input);
    lstm_plan plan = {fl_worthwhile_threads(pass->n_threads, lstm_multiplications(work)), 0, 1};
    const double rows = (double)work->active[0];
    if (plan.n_threads > 1 && rows > 0) {
        const double team_units = (double)minimum(plan.n_threads, work->blocks);
        const double team_rows = (double)minimum(plan.n_threads, work->active[0]);
        const double share_rows = ceil(rows / team_rows);
        const double of_block = 4.0 * (double)(work->recurrent + (work->x_sums ? 0 : work->input));
        const double blocks = (double)work->blocks, share_blocks = ceil(blocks / team_units);
        const double by_rows = of_block * blocks * (LOAD * ceil(share_rows / ROWS) + share_rows);
        const double by_units = of_block * share_blocks * (LOAD * ceil(rows / ROWS) + rows) + BARRIER * team_units;
        /* Normalising and projecting need all units of a row. */
        plan.by_units =
            by_units < GAIN * by_rows && !(work->cell && (work->cell->layer_norm || work->cell->projection));
        plan.n_threads = (int)(plan.by_units ? team_units : team_rows);
        const int near = vectors * LANES * sizeof(real) < 0.5 * fl_second_level_cache();
        double least = near ? SHARE_ROWS : SHARE_ROWS_FAR;
        if (lstm_tiled(work) && near)
            least = SHARE_ROWS_TILES;
        const double each = floor(rows / (least * plan.n_threads));
        plan.shares = plan.n_threads * (ptrdiff_t)(each < 1 ? 1 : each > SHARES ? SHARES : each);
    }
    return plan;
}

/* Let a team walk: all shares of the rows, or each thread's units. */
static void lstm_run(const lstm_plan *plan, fl_body walk, void *context)
{
    if (plan->by_units)
        fl_parallel(plan->n_threads, walk, context);
    else
        fl_parallel_tasks(plan->n_threads, plan->shares, walk, context);
}

/* A part of the walk. */
typedef struct {
    ptrdiff_t io_begin, io_end;   /* rows whose states and x it loads, and whose final states and padding it writes */
    ptrdiff_t row_begin, row_end; /* rows that it computes */
    ptrdiff_t block_begin, block_end; /* unit blocks that it computes */
    ptrdiff_t h_begin, h_end;         /* blocks of h that it computes */
} lstm_share;

/* `multiple`: the number of blocks that stay together. */
static lstm_share lstm_share_walk(const lstm_work *work, int by_units, ptrdiff_t multiple, ptrdiff_t number,
                                  ptrdiff_t shares)
{
    lstm_share share;
    lstm_share_rows(work, number, shares, &share.io_begin, &share.io_end);
    share.row_begin = share.io_begin;
    share.row_end = share.io_end;
    share.block_begin = 0;
    share.block_end = work->blocks;
    if (by_units) {
        share.row_begin = 0;
        share.row_end = work->batch;
        fl_share(tile_count(work->blocks, multiple), number, shares, &share.block_begin, &share.block_end);
        share.block_begin *= multiple;
        share.block_end = minimum(share.block_end * multiple, work->blocks);
    }
    share.h_begin = share.block_begin;
    share.h_end = by_units ? share.block_end : work->recurrent_blocks;
    return share;
}
