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

/* Sizes of the weights, doubles so that counts cannot wrap. */
typedef struct {
    double input, hidden, padded, recurrent, recurrent_padded;
    const fl_lstm_cell *cell;
} lstm_sizes;

/* Return the sizes of a pass, and store them in `work` (where they are used only if all memory has been found). */
static lstm_sizes lstm_measure(const fl_lstm_pass *pass, lstm_work *work)
{
    lstm_sizes sizes = {.input = (double)pass->input, .hidden = (double)pass->hidden, .cell = pass->cell};
    const ptrdiff_t recurrent = pass->cell && pass->cell->projection ? pass->cell->projection : pass->hidden;
    sizes.padded = ceil(sizes.hidden / LANES) * LANES;
    sizes.recurrent = (double)recurrent;
    sizes.recurrent_padded = ceil(sizes.recurrent / LANES) * LANES;
    work->cell = pass->cell;
    work->bytes = (lstm_bytes){.way = pass->quantized ? bytes_way() : BYTES_NONE};
    work->bf16 = (lstm_bf16){.way = pass->bf16 ? bf16_way() : BF16_NONE};
    work->input = pass->input;
    work->hidden = pass->hidden;
    work->blocks = pass->hidden / LANES + (pass->hidden % LANES > 0);
    work->padded = work->blocks < PTRDIFF_MAX / LANES ? work->blocks * LANES : 0;
    work->recurrent = recurrent;
    work->recurrent_blocks = recurrent / LANES + (recurrent % LANES > 0);
    work->recurrent_padded = work->recurrent_blocks < PTRDIFF_MAX / LANES ? work->recurrent_blocks * LANES : 0;
    memset(&work->cell_ws, 0, sizeof work->cell_ws);
    if (lstm_bf16_way(work)) {
        work->bf16.words_x = bf16_words(lstm_bf16_way(work), work->input);
        work->bf16.words_h = bf16_words(lstm_bf16_way(work), work->recurrent_padded);
    }
    return sizes;
}

/* Lay out the packed weights of the forward pass at `base` (may be NULL), with room for at least `panel` elements in
 * the panels, and return the size. */
static size_t lstm_lay_out_packed(const lstm_sizes *sizes, char *base, double panel, lstm_work *work)
{
    const fl_lstm_cell *cell = sizes->cell;
    cell_workspace *ws = &work->cell_ws;
    size_t used = 0;
    work->bias = take(base, &used, sizes->padded * GATES, sizeof(real));
    if (work->bytes.way) {
        lstm_bytes *bytes = &work->bytes;
        bytes->groups_x = BYTES_CALL(bytes->way, bytes_words, (work->input));
        bytes->groups_h = BYTES_CALL(bytes->way, bytes_words, (work->hidden));
        bytes->words_h = BYTES_CALL(bytes->way, bytes_words, (work->padded));
        bytes->panel_x = bytes->groups_x;
        bytes->panel_h = bytes->groups_h;
        bytes->tiles = bytes_by_tiles(bytes->way) && bytes->groups_h >= BYTES_TILES_WORDS;
        if (bytes->tiles) {
            bytes->panel_x = round_up(bytes->groups_x, AMX_WORDS);
            bytes->panel_h = round_up(bytes->groups_h, AMX_WORDS);
        }
        bytes->scale_x = take(base, &used, sizes->padded * GATES, sizeof(real));
        bytes->scale_h = take(base, &used, sizes->padded * GATES, sizeof(real));
        bytes->start_x = take(base, &used, sizes->padded * GATES, sizeof(real));
        bytes->start_h = take(base, &used, sizes->padded * GATES, sizeof(real));
        bytes->inverse = take(base, &used, sizes->input, sizeof(real));
        work->panel =
            take(base, &used, sizes->padded * GATES * (double)(bytes->panel_x + bytes->panel_h), sizeof(real));
        return used;
    }
    const double terms =
        lstm_bf16_way(work) ? (double)(work->bf16.words_x + work->bf16.words_h) : sizes->recurrent + sizes->input;
    work->panel = take(base, &used, fmax(panel, sizes->padded * GATES * terms), sizeof(real));
    if (cell && cell->projection)
        ws->panel_hr = take(base, &used, sizes->recurrent_padded * sizes->hidden, sizeof(real));
    if (cell && cell->peepholes)
        ws->peepholes = take(base, &used, 3 * sizes->padded, sizeof(real));
    if (cell && cell->layer_norm) {
        ws->gains = take(base, &used, 2 * sizes->padded * GATES, sizeof(real));
        ws->norm_c = take(base, &used, 2 * sizes->padded, sizeof(real));
    }
    return used;
}

static size_t lstm_packed_size(const fl_lstm_pass *pass)
{
    lstm_work work;
    const lstm_sizes sizes = lstm_measure(pass, &work);
    return lstm_lay_out_packed(&sizes, NULL, 0, &work);
}

/* The sizes of the backward pass with operands of 16 bits. The weight gradient is summed over so many groups of steps at
 * a time that their dz take about GRADIENT_BYTES. */
static void lstm_lay_out_terms(const fl_lstm_pass *pass, lstm_work *work)
{
    enum { GRADIENT_BYTES = 1 << 20 };
    lstm_bf16 *bf16 = &work->bf16;
    const ptrdiff_t pairs = pass->batch * work->group, pieces = pairs > TERMS ? tile_count(pairs, TERMS) : 1;
    const ptrdiff_t words =
        pieces > 1 ? pieces * bf16_words(lstm_bf16_way(work), TERMS) : bf16_words(lstm_bf16_way(work), pairs);
    bf16->terms = round_up(work->hidden, UNITS) * (GATES / 2);
    bf16->lddz = bf16->terms + 16; /* not a multiple of 4096 bytes */
    const double groups = GRADIENT_BYTES / ((double)bf16->terms * sizeof(real) * fmax((double)pairs, 1));
    const ptrdiff_t most = tile_count(work->segment, work->group);
    bf16->groups = groups < 1 || most < 1 ? 1 : minimum((ptrdiff_t)groups, most);
    bf16->ldsum = bf16->groups * words + 16;
}

/* Lay the arrays out in pass->workspace (may be NULL) and return the size. */
static size_t lstm_lay_out(const fl_lstm_pass *pass, lstm_work *work)
{
    const lstm_sizes sizes = lstm_measure(pass, work);
    const double batch = (double)pass->batch, time = (double)pass->time, input = sizes.input;
    const double padded = sizes.padded, recurrent = sizes.recurrent, recurrent_padded = sizes.recurrent_padded;
    const fl_lstm_cell *cell = pass->cell;
    lstm_cut(pass, work);
    double steps = batch * time, kept = batch * (double)work->segment;
    if (pass->lengths) {
        steps = kept = 0;
        for (ptrdiff_t b = 0; b < pass->batch; ++b) {
            steps += (double)pass->lengths[b];
            kept += (double)minimum(pass->lengths[b], work->segment);
        }
    }
    char *base = pass->workspace;
    size_t used = 0;
    lstm_bf16 *bf16 = &work->bf16;
    if (lstm_bf16_way(work))
        lstm_lay_out_terms(pass, work);
    const double transposed =
        (lstm_bf16_way(work) ? (double)bf16->terms : padded * GATES) * (recurrent_padded + ceil(input / LANES) * LANES);
    const double gradient = padded * GATES * (double)(gradient_narrow(work) + 1);
    const int apart = pass->training && work->segments > 1;
    if (pass->packed)
        lstm_lay_out_packed(&sizes, (char *)pass->packed, 0, work);
    else
        used = lstm_lay_out_packed(&sizes, base, pass->training && !apart ? transposed : 0, work);
    const double line = 64 / sizeof(real);
    const lstm_bytes *bytes = &work->bytes;
    double ldhx = ceil((recurrent_padded + input) / line);
    if (bytes->way)
        ldhx =
            ceil((double)(bytes->words_h + BYTES_CALL(bytes->way, bytes_words, (round_up(work->input, LANES)))) / line);
    if (lstm_bf16_way(work))
        ldhx = ceil((double)(bf16->words_h + bf16->words_x) / line);
    ldhx = (fmod(ldhx, 16) == 0 ? ldhx + 1 : ldhx) * line;
    const double ldn = ceil(kept / 16) * 16 + 7, ldc = ceil((batch + kept) / 16) * 16 + 7;

    cell_workspace *ws = &work->cell_ws;
    const int projects = cell && cell->projection, norm = cell && cell->layer_norm;
    work->transposed = apart ? take(base, &used, transposed, sizeof(real)) : work->panel;
    work->gradient = pass->training ? take(base, &used, gradient, sizeof(real)) : NULL;
    work->order = take(base, &used, batch, sizeof(int64_t));
    work->length = take(base, &used, batch, sizeof(int64_t));
    work->active = take(base, &used, time + 1, sizeof(int64_t));
    work->offset = take(base, &used, time + 2, sizeof(int64_t));
    work->c0 = take(base, &used, batch * padded, sizeof(real));
    work->final = take(base, &used, batch * recurrent_padded, sizeof(real));
    const double slack = lstm_tiled(work) ? AMX_SLACK : 0;
    work->hx = take(base, &used, (2 * batch + slack) * ldhx, sizeof(real));
    if (bytes->way)
        work->bytes.factor = take(base, &used, 2 * batch, sizeof(real));
    /* Full tiles of steps of a row, some 24 (row, step) pairs in total. */
    const int sums_x = pass->batch > 0 && pass->batch <= X_SUMS_MAX_ROWS && pass->time > 1 &&
                       pass->input > X_SUMS_MIN_INPUTS && !norm && !bytes->way;
    const ptrdiff_t height = minimum(lstm_height(work), LOOKAHEAD_MOST);
    work->lookahead = sums_x ? height * (height > ROWS || pass->batch > 4 ? 1 : 4 / pass->batch) : 0;
    work->x_sums = take(base, &used, ((double)work->lookahead * batch + slack) * padded * GATES, sizeof(real));
    if (!sums_x)
        work->x_sums = NULL;
    if (sums_x && lstm_bf16_way(work))
        bf16->x_words =
            take(base, &used, ((double)work->lookahead * batch + slack) * (double)bf16->words_x, sizeof(real));
    work->states = work->dh = work->dc = work->cells = work->gates = NULL;
    if (pass->training) {
        work->states = take(base, &used, (double)work->segments * batch * (recurrent_padded + padded), sizeof(real));
        work->dh = take(base, &used, batch * recurrent_padded, sizeof(real));
        work->dc = take(base, &used, batch * padded, sizeof(real));
        work->cells = take(base, &used, padded * ldc, sizeof(real));
        work->gates = take(base, &used, padded * ldn * GATES, sizeof(real));
    }
    if (pass->training && lstm_bf16_way(work)) {
        const double of_rows = (2 * batch + slack) * (double)bf16->lddz;
        const double units = ceil(sizes.hidden / UNITS) * UNITS * GATES, ldsum = (double)bf16->ldsum;
        const double chunks = ceil(recurrent_padded / (COLS * LANES)) + ceil(input / (COLS * LANES));
        bf16->dz = bf16->dz_x = take(base, &used, of_rows, sizeof(real));
        bf16->dz_rows = bf16->dz_x_rows = take(base, &used, units * ldsum, sizeof(real));
        if (norm) {
            bf16->dz_x = take(base, &used, of_rows, sizeof(real));
            bf16->dz_x_rows = take(base, &used, units * ldsum, sizeof(real));
        }
        bf16->columns = take(base, &used, chunks * ldsum * COLS * LANES, sizeof(real));
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
