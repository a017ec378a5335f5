/* kernels/lstm/backward.h - back-propagation through time: the order of its parts. Layouts: lstm.h.
 *
 * The team walks back through some steps (backward_walk.h). What these steps leave are matrix products over (row, step)
 * pairs n without time structure: dx, which is shared out by n (by rows it is part of the walk), and the weight
 * gradient (weight_gradient.h). Then come the steps before. With recompute_every all this is done segment by segment
 * (lstm.h).
 */

/* The number of steps of a walk: whole groups whose gates and cells fit into the second-level caches of the team, where
 * the weight gradient then finds them. */
static ptrdiff_t backward_stride(const lstm_work *work, int n_threads)
{
    const double step = (GATES + 1.0) * (double)(work->batch * work->padded) * sizeof(real);
    const double groups = fl_second_level_cache() * n_threads / (step * (double)work->group);
    return groups < 1 ? work->group : groups < (double)work->time ? (ptrdiff_t)groups * work->group : work->time;
}

/* Walk back through some steps, and add to the weight gradient what can be added then. `cells` holds h of the step
 * before the walk only after the walk has gone one step further, so one group is left for the next call. */
static void backward_steps(backward_context *context, double weights, int want_weights)
{
    const lstm_plan plan = context->plan;
    const ptrdiff_t pairs = backward_pair(context, context->end) - backward_pair(context, context->begin);
    const int n_threads = fl_worthwhile_threads(context->pass->n_threads, (double)pairs * weights);
    context->barrier.arrived = 0;
    lstm_run(&plan, backward_walk, context);
    if (context->out->dx && backward_inputs_later(context))
        fl_parallel_tasks(n_threads, backward_cut(n_threads, tile_count(pairs, ROWS)), backward_inputs, context);
    context->sum_begin = context->begin + (context->begin > context->first ? context->work->group : 0);
    if (want_weights && context->sum_begin < context->sum_end) {
        const ptrdiff_t items = gradient_parts_of(context->work).items;
        fl_parallel_tasks(n_threads, backward_cut(n_threads, items), backward_weights, context);
        if (lstm_bf16_way(context->work))
            backward_bf16_weights(context, n_threads);
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
    const int counted = fl_call_begins(lstm_multiplications(&work));
    fl_parallel(pack_threads, backward_pack, &context);
    if (want_weights)
        memset(work.gradient, 0, (size_t)(GATES * work.padded * (gradient_narrow(&work) + 1)) * sizeof(real));
    if (lstm_bf16_way(&work))
        backward_bf16_begin(&work);
    if (work.cell)
        cell_backward_begin(&work);
    for (ptrdiff_t segment = work.segments - 1; segment >= 0; --segment) {
        const ptrdiff_t last = minimum((segment + 1) * work.segment, work.time);
        context.first = segment * work.segment;
        if (segment < work.segments - 1) {
            forward_context forward = {.pass = pass,
                                       .work = &work,
                                       .plan = plan,
                                       .begin = context.first,
                                       .end = last,
                                       .keep = context.first,
                                       .recompute = 1};
            lstm_run(&plan, forward_walk, &forward);
        }
        context.begin = context.sum_end = last;
        do { /* also once without any steps: the gradient of the state passes through */
            context.end = context.begin;
            context.begin = context.end > stride + context.first ? context.end - stride : context.first;
            context.begin = context.first + round_up(context.begin - context.first, work.group);
            backward_steps(&context, weights, want_weights);
        } while (context.begin > context.first);
    }
    if (want_weights)
        backward_unpack(&context);
    if (work.cell)
        cell_unpack(&work, out);
    fl_call_ends(counted);
}
