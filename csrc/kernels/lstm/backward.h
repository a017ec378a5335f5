/* kernels/lstm_backward.h - back-propagation through time. Layouts: lstm.h.
 *
 * With dh = dL/dh_t (from above, and from step t+1) and dc = dL/dc_t, walking back from the last step:
 *
 *   dc   += dh o (1 - tanh(c_t)^2)
 *   dz_i  = dc g i (1 - i)           dz_f = dc c_(t-1) f (1 - f)
 *   dz_g  = dc i (1 - g^2)           dz_o = dh tanh(c_t) o (1 - o)
 *   dc_(t-1) = dc f                  dh_(t-1) = W_hh' dz          dx_t = W_ih' dz
 *   dW_ih = sum dz x_t'              dW_hh = sum dz h_(t-1)'      db_ih = db_hh = sum dz        over rows and steps
 *
 * The team walks back through some steps, by rows or by units as in the forward pass, with inner products of dz and the
 * transposed W_hh. What these steps leave are matrix products over (row, step) pairs n with no time structure: dx is shared
 * out by n (by rows it is part of the walk); the weight gradient by tiles of the result, each summed by one thread in an
 * order that depends on the shape alone. Then come the steps before. tanh(c_t) is computed again rather than stored, and
 * h_t with it. With checkpoint_every all this is done segment by segment (lstm.h).
 */

/* Tasks for work that falls into `parts`: one for one thread, some for each of several. Few, because each of the weights'
 * tasks goes through all of `cells` (8 for 2 threads: 256 rows, 187 steps, hidden 64 +13 %; 2: a thread that is held up
 * would be waited for). */
static ptrdiff_t backward_cut(int n_threads, ptrdiff_t parts)
{
    return n_threads < 2 ? 1 : minimum((ptrdiff_t)n_threads * 2, parts);
}

/* Steps of a walk: whole groups whose gates and cells fit the second-level caches of the team, for the weight gradient to
 * find them there. */
static ptrdiff_t backward_stride(const lstm_work *work, int n_threads)
{
    const double step = (GATES + 1.0) * (double)(work->batch * work->padded) * sizeof(real);
    const double groups = fl_second_level_cache() * n_threads / (step * (double)work->group);
    return groups < 1 ? work->group : groups < (double)work->time ? (ptrdiff_t)groups * work->group : work->time;
}

/* Walks back through some steps, and adds to the weights' gradient what can be added then: h before the first step of the
 * walk stands in its place only when the walk has gone one step further, so one group is left for the next time. */
static void backward_steps(backward_context *context, double weights, int want_weights)
{
    const lstm_plan plan = context->plan;
    const ptrdiff_t pairs = backward_pair(context, context->end) - backward_pair(context, context->begin);
    const int n_threads = fl_worthwhile_threads(context->pass->n_threads, (double)pairs * weights);
    context->barrier.arrived = 0;
    lstm_run(&plan, backward_walk, context);
    if (context->out->dx && plan.by_units)
        fl_parallel_tasks(n_threads, backward_cut(n_threads, tile_count(pairs, ROWS)), backward_inputs, context);
    context->sum_begin = context->begin + (context->begin > context->first ? context->work->group : 0);
    if (want_weights && context->sum_begin < context->sum_end) {
        const ptrdiff_t tiles = context->work->blocks * backward_tiles(context->work).all;
        fl_parallel_tasks(n_threads, backward_cut(n_threads, tiles), backward_weights, context);
        context->sum_end = context->sum_begin;
    }
}

static void lstm_backward(const fl_lstm_pass *pass, const fl_lstm_gradients *out)
{
    lstm_work work;
    lstm_lay_out(pass, &work); /* the forward pass has filled what is laid out here, the order of the rows included */
    const lstm_plan plan = lstm_make_plan(pass, &work);
    backward_context context = {
        .pass = pass,
        .out = out,
        .work = &work,
        .plan = plan,
        .h_vectors = plan.by_units ? minimum(COLS, tile_count(work.blocks, plan.n_threads)) : COLS,
    };
    const double weights = 4.0 * (double)work.padded * (double)(work.recurrent + work.input);
    const int pack_threads = fl_worthwhile_threads(pass->n_threads, weights);
    const int want_weights = out->dweight_ih || out->dweight_hh || out->dbias_ih || out->dbias_hh || out->dweight_hr;
    const ptrdiff_t stride = backward_stride(&work, plan.n_threads);
    fl_parallel(pack_threads, backward_pack, &context);
    if (want_weights)
        memset(work.gradient, 0, (size_t)(4 * work.padded * (work.recurrent + work.input + 1)) * sizeof(real));
    if (work.cell)
        cell_backward_begin(&work);
    for (ptrdiff_t segment = work.segments - 1; segment >= 0; --segment) {
        const ptrdiff_t last = minimum((segment + 1) * work.segment, work.time);
        context.first = segment * work.segment;
        if (segment < work.segments - 1) {
            forward_context forward = {.pass = pass, .work = &work, .plan = plan, .begin = context.first, .end = last,
                                       .keep = context.first, .recompute = 1};
            lstm_run(&plan, forward_walk, &forward);
        }
        context.begin = context.sum_end = last;
        do { /* once with no steps at all, too: the state's gradient goes through */
            context.end = context.begin;
            context.begin = context.end > stride + context.first ? context.end - stride : context.first;
            context.begin = context.first + round_up(context.begin - context.first, work.group);
            backward_steps(&context, weights, want_weights);
        } while (context.begin > context.first);
    }
    if (want_weights)
        fl_parallel(pack_threads, backward_unpack, &context);
    if (work.cell)
        cell_unpack(&work, out);
}
