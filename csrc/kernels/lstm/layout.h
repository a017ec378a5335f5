/* kernels/lstm/layout.h - the size and layout of a pass's workspace, and the order of its rows. What the arrays hold:
 * lstm.h, cells.h.
 */

/* Cut a pass in time. The weight gradient is summed over groups of whole steps, and the number of steps in a group
 * depends on the shape alone. Segments consist of whole groups, so that the sums have the same bits with any
 * recompute_every. */
static void lstm_cut(const fl_lstm_pass *pass, lstm_work *work)
{
    work->group = TERMS / (pass->batch > 0 ? pass->batch : 1);
    if (work->group < 1)
        work->group = 1;
    work->segment = pass->time;
    if (pass->training && pass->recompute_every > 0 && pass->recompute_every < pass->time)
        work->segment = minimum(round_up(pass->recompute_every, work->group), pass->time);
    work->segments = work->segment > 0 ? (pass->time + work->segment - 1) / work->segment : 1;
}

/* Lay the arrays out in pass->workspace (may be NULL) and return the size. Counts are doubles so that they cannot
 * wrap. */
static size_t lstm_lay_out(const fl_lstm_pass *pass, lstm_work *work)
{
    const double batch = (double)pass->batch, time = (double)pass->time, input = (double)pass->input;
    const double hidden = (double)pass->hidden, blocks = ceil(hidden / LANES), padded = blocks * LANES;
    const fl_lstm_cell *cell = work->cell = pass->cell;
    const double recurrent = cell && cell->projection ? (double)cell->projection : hidden;
    const double recurrent_padded = ceil(recurrent / LANES) * LANES;
    lstm_cut(pass, work);
    double steps = batch * time, kept = batch * (double)work->segment;
    if (pass->lengths) {
        steps = kept = 0;
        for (ptrdiff_t b = 0; b < pass->batch; ++b) {
            steps += (double)pass->lengths[b];
            kept += (double)minimum(pass->lengths[b], work->segment);
        }
    }
    const double line = 64 / sizeof(real);
    double ldhx = ceil((recurrent_padded + input) / line);
    ldhx = (fmod(ldhx, 16) == 0 ? ldhx + 1 : ldhx) * line;
    const double ldn = ceil(kept / 16) * 16 + 7, ldc = ceil((batch + kept) / 16) * 16 + 7;

    char *base = pass->workspace;
    size_t used = 0;
    const double panel = padded * GATES * (recurrent + input);
    const double transposed = padded * GATES * (recurrent_padded + ceil(input / LANES) * LANES);
    const double gradient = padded * GATES * (recurrent + input + 1);
    const int apart = pass->training && work->segments > 1;
    /* The packed weights come first: their position must not depend on batch and time (fl_lstm_pass.packed). */
    work->bias = take(base, &used, padded * GATES, sizeof(real));
    work->panel = take(base, &used, pass->training && !apart ? transposed : panel, sizeof(real));
    cell_workspace *ws = &work->cell_ws;
    memset(ws, 0, sizeof *ws);
    const int projects = cell && cell->projection, norm = cell && cell->layer_norm;
    if (projects)
        ws->panel_hr = take(base, &used, recurrent_padded * hidden, sizeof(real));
    if (cell && cell->peepholes)
        ws->peepholes = take(base, &used, 3 * padded, sizeof(real));
    if (norm) {
        ws->gains = take(base, &used, 2 * padded * GATES, sizeof(real));
        ws->norm_c = take(base, &used, 2 * padded, sizeof(real));
    }
    work->transposed = apart ? take(base, &used, transposed, sizeof(real)) : work->panel;
    work->gradient = pass->training ? take(base, &used, gradient, sizeof(real)) : NULL;
    work->order = take(base, &used, batch, sizeof(int64_t));
    work->length = take(base, &used, batch, sizeof(int64_t));
    work->active = take(base, &used, time + 1, sizeof(int64_t));
    work->offset = take(base, &used, time + 2, sizeof(int64_t));
    work->c0 = take(base, &used, batch * padded, sizeof(real));
    work->final = take(base, &used, batch * recurrent_padded, sizeof(real));
    work->hx = take(base, &used, 2 * batch * ldhx, sizeof(real));
    /* Full tiles of steps of a row, some 24 (row, step) pairs in total. */
    const int sums_x =
        pass->batch > 0 && pass->batch <= X_SUMS_MAX_ROWS && pass->time > 1 && pass->input > X_SUMS_MIN_INPUTS && !norm;
    work->lookahead = sums_x ? ROWS * (pass->batch > 4 ? 1 : 4 / pass->batch) : 0;
    work->x_sums = take(base, &used, (double)work->lookahead * batch * padded * GATES, sizeof(real));
    if (!sums_x)
        work->x_sums = NULL;
    work->states = work->dh = work->dc = work->cells = work->gates = NULL;
    if (pass->training) {
        work->states = take(base, &used, (double)work->segments * batch * (recurrent_padded + padded), sizeof(real));
        work->dh = take(base, &used, batch * recurrent_padded, sizeof(real));
        work->dc = take(base, &used, batch * padded, sizeof(real));
        work->cells = take(base, &used, padded * ldc, sizeof(real));
        work->gates = take(base, &used, padded * ldn * GATES, sizeof(real));
    }
    const int drawn = pass->training && cell;
    if (drawn && cell->variational_dropout > 0)
        ws->mask_variational = take(base, &used, batch * recurrent_padded, sizeof(real));
    if (drawn && cell->recurrent_dropout > 0)
        ws->mask_g = take(base, &used, batch * padded, sizeof(real));
    if (drawn && cell->zoneout_h > 0)
        ws->mask_h = take(base, &used, batch * recurrent_padded, sizeof(real));
    if (drawn && cell->zoneout_c > 0)
        ws->mask_c = take(base, &used, batch * padded, sizeof(real));
    if (projects || norm)
        ws->out = take(base, &used, batch * padded, sizeof(real));
    if (projects)
        ws->projected = take(base, &used, batch * recurrent_padded, sizeof(real));
    if (norm) {
        ws->sums = take(base, &used, 2 * batch * padded * GATES, sizeof(real));
        ws->c_new = take(base, &used, batch * padded, sizeof(real));
    }
    if (drawn) {
        ws->h_read = take(base, &used, recurrent_padded * ldc, sizeof(real));
        ws->row_sums = take(base, &used, cell_row_sums(cell) * batch * padded, sizeof(real));
        if (cell->zoneout_h > 0)
            ws->dh_kept = take(base, &used, batch * recurrent_padded, sizeof(real));
    }
    if (drawn && projects) {
        ws->panel_rh = take(base, &used, padded * recurrent, sizeof(real));
        ws->dh_new = take(base, &used, batch * recurrent_padded, sizeof(real));
        ws->dh_all = take(base, &used, recurrent_padded * ldn, sizeof(real));
        ws->gradient_hr = take(base, &used, recurrent * padded, sizeof(real));
    }
    if (drawn && norm) {
        ws->gates_x = take(base, &used, padded * ldn * GATES, sizeof(real));
        ws->scales = take(base, &used, 2 * ldn, sizeof(real));
    }
    if (used == SIZE_MAX)
        return used;
    work->batch = pass->batch;
    work->time = pass->time;
    work->input = pass->input;
    work->hidden = pass->hidden;
    work->blocks = (ptrdiff_t)blocks;
    work->padded = (ptrdiff_t)padded;
    work->recurrent = (ptrdiff_t)recurrent;
    work->recurrent_padded = (ptrdiff_t)recurrent_padded;
    work->recurrent_blocks = work->recurrent_padded / LANES;
    work->steps = (ptrdiff_t)steps;
    work->ldhx = (ptrdiff_t)ldhx;
    work->ldn = (ptrdiff_t)ldn;
    work->ldc = (ptrdiff_t)ldc;
    return used;
}

static size_t lstm_workspace(const fl_lstm_pass *pass)
{
    fl_lstm_pass sized = *pass;
    lstm_work work;
    sized.workspace = NULL;
    return lstm_lay_out(&sized, &work);
}

/* Fill order, length, active, offset: a counting sort by length, longest first, equal lengths in the order of the
 * batch. */
static void lstm_sort_rows(const fl_lstm_pass *pass, const lstm_work *work)
{
    const ptrdiff_t time = work->time, batch = work->batch;
    int64_t *active = work->active, *offset = work->offset;
    for (ptrdiff_t s = 0; s <= time; ++s)
        offset[s] = 0; /* for now: the number of rows of length s */
    for (ptrdiff_t b = 0; b < batch; ++b)
        ++offset[pass->lengths ? pass->lengths[b] : time];
    int64_t longer = 0;
    for (ptrdiff_t s = time; s >= 0; --s) {
        active[s] = longer;
        longer += offset[s];
    }
    for (ptrdiff_t s = 0; s <= time; ++s)
        offset[s] = active[s]; /* for now: the position of the next row of length s */
    for (ptrdiff_t b = 0; b < batch; ++b) {
        int64_t length = pass->lengths ? pass->lengths[b] : time;
        int64_t row = offset[length]++;
        work->order[row] = b;
        work->length[row] = length;
    }
    offset[0] = 0;
    for (ptrdiff_t s = 0; s <= time; ++s)
        offset[s + 1] = offset[s] + active[s];
}
