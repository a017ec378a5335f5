/* kernels/ctc.h - connectionist temporal classification (Graves, Fernandez, Gomez & Schmidhuber 2006).
 *
 * The labels of a case, with a blank before, between and after them, are S = 2 L + 1 states. A path begins in one of
 * the first two and ends in one of the last two. At each step it goes to the same state, to the next, or, skipping a
 * blank between two different labels, to the one after it. With y[t][k] = log softmax(z[t])[k] and l[s] the label of
 * state s:
 *
 *   alpha[t][s] = y[t][l[s]] + log sum exp(alpha[t-1][s], alpha[t-1][s-1], alpha[t-1][s-2] where allowed)
 *   beta[t][s]  = log sum exp over the states s' after s of beta[t+1][s'] + y[t+1][l[s']]
 *   loss        = -log sum exp(alpha[T-1][S-1], alpha[T-1][S-2])
 *   dz[t][k]    = w (softmax(z[t])[k] - sum over s with l[s] = k of exp(alpha[t][s] + beta[t][s] + loss))
 *
 * Everything except the softmax is computed in double, in the logarithm: the path that matters in the end may be more
 * than exp(-700) less probable than others at some step. States that cannot be reached from the beginning, or from
 * which the end cannot be reached, are left out, and so are terms below exp(-37) of the largest, which do not change a
 * double.
 *
 * Cases are shared out over threads; the workspace holds, for each thread, alpha for all steps.
 */
#define CTC_NEGLIGIBLE (-37.0)

typedef struct {
    const fl_ctc_pass *pass;
    ptrdiff_t states; /* of the longest labels */
    size_t stride;    /* doubles of workspace for each thread */
} ctc_context;

static ctc_context ctc_lay_out(const fl_ctc_pass *pass)
{
    ctc_context context = {pass, 2 * pass->max_labels + 1, 0};
    const size_t rows = (pass->dlogits ? (size_t)pass->time : 2) + 2; /* alpha, two of beta */
    context.stride = ((size_t)context.states * rows + 2 * (size_t)pass->time + 7) / 8 * 8;
    return context;
}

static size_t ctc_workspace(const fl_ctc_pass *pass)
{
    const double doubles = ((double)pass->time + 4) * (2 * (double)pass->max_labels + 3) * (double)pass->n_threads;
    if (doubles > (double)(SIZE_MAX / 64))
        return SIZE_MAX;
    return ctc_lay_out(pass).stride * (size_t)pass->n_threads * sizeof(double);
}

/* log softmax. The largest logit is subtracted first, since the logarithm may be negligible next to it. */
static double ctc_log_p(real z, const double norm[2])
{
    return ((double)z - norm[0]) - norm[1];
}

static double ctc_sum(double a, double b, double c)
{
    const double largest = a > b ? (a > c ? a : c) : (b > c ? b : c);
    double sum = 0;
    if (largest == -INFINITY)
        return largest;
    sum += a == largest ? 1 : a - largest > CTC_NEGLIGIBLE ? fl_exp(a - largest) : 0;
    sum += b == largest ? 1 : b - largest > CTC_NEGLIGIBLE ? fl_exp(b - largest) : 0;
    sum += c == largest ? 1 : c - largest > CTC_NEGLIGIBLE ? fl_exp(c - largest) : 0;
    return sum == 1 ? largest : largest + fl_log(sum);
}

/* Find the states [*first, *end) of one case that can be on a path at step t of T. */
static void ctc_range(ptrdiff_t t, ptrdiff_t T, ptrdiff_t states, ptrdiff_t *first, ptrdiff_t *end)
{
    const ptrdiff_t least = states - 2 * (T - t);
    *first = least > 0 ? least : 0;
    *end = minimum(states, 2 * t + 2);
}

static int64_t ctc_label(const int64_t *labels, int64_t blank, ptrdiff_t s)
{
    return s % 2 ? labels[s / 2] : blank;
}

/* Whether a path may go to state s from s - 2. */
static int ctc_skips(const int64_t *labels, ptrdiff_t s)
{
    return s % 2 && s > 2 && labels[s / 2] != labels[s / 2 - 1];
}

/* Fill alpha, whose rows are used in turn if there are only two, and return -loss. */
static double ctc_alpha(const fl_ctc_pass *pass, const real *z, const int64_t *labels, ptrdiff_t T, ptrdiff_t states,
                        ptrdiff_t rows, const double (*norm)[2], double *alpha)
{
    for (ptrdiff_t t = 0; t < T; ++t) {
        const double *before = alpha + (t - 1 + rows) % rows * states;
        double *now = alpha + t % rows * states;
        ptrdiff_t first, end;
        ctc_range(t, T, states, &first, &end);
        for (ptrdiff_t s = 0; s < states; ++s) {
            if (s < first || s >= end) {
                now[s] = -INFINITY;
                continue;
            }
            double in = 0; /* a path begins in either of the first two states */
            if (t)
                in = ctc_sum(before[s], s > 0 ? before[s - 1] : -INFINITY,
                             ctc_skips(labels, s) ? before[s - 2] : -INFINITY);
            now[s] = in + ctc_log_p(z[t * pass->classes + ctc_label(labels, pass->blank, s)], norm[t]);
        }
    }
    if (!T)
        return states == 1 ? 0 : -INFINITY;
    const double *last = alpha + (T - 1) % rows * states;
    return ctc_sum(last[states - 1], states > 1 ? last[states - 2] : -INFINITY, -INFINITY);
}

/* Subtract the shares of the states from the probabilities, which are in dz, and multiply by the weight. */
static void ctc_gradient(const fl_ctc_pass *pass, const real *z, const int64_t *labels, ptrdiff_t T, ptrdiff_t states,
                         const double (*norm)[2], const double *alpha, double *beta, double log_total, double weight,
                         real *dz)
{
    double *beta_next = beta, *now = beta + states; /* beta of step t + 1, with the output of that step */
    for (ptrdiff_t t = T - 1; t >= 0; --t, z -= pass->classes, dz -= pass->classes) {
        double blanks = 0;
        for (ptrdiff_t s = 0; s < states; ++s) {
            double out = s >= states - 2 ? 0 : -INFINITY;
            if (t < T - 1)
                out = ctc_sum(beta_next[s], s + 1 < states ? beta_next[s + 1] : -INFINITY,
                              s + 2 < states && ctc_skips(labels, s + 2) ? beta_next[s + 2] : -INFINITY);
            const int64_t label = ctc_label(labels, pass->blank, s);
            const double share = alpha[t * states + s] + out - log_total;
            now[s] = out + ctc_log_p(z[label], norm[t]);
            if (share > 2 * CTC_NEGLIGIBLE) {
                if (s % 2)
                    dz[label] -= (real)fl_exp(share);
                else
                    blanks += fl_exp(share);
            }
        }
        dz[pass->blank] -= (real)blanks;
        for (ptrdiff_t k = 0; k < pass->classes; ++k)
            dz[k] *= (real)weight;
        double *other = beta_next;
        beta_next = now;
        now = other;
    }
}

static void ctc_body(void *argument, ptrdiff_t thread, ptrdiff_t team)
{
    const ctc_context *context = argument;
    const fl_ctc_pass *pass = context->pass;
    const ptrdiff_t classes = pass->classes, time = pass->time;
    double *memory = (double *)pass->workspace + (size_t)thread * context->stride;
    double (*norm)[2] = (double (*)[2])memory; /* of each step: the largest logit; log sum exp of all minus it */
    double *beta = memory + 2 * time, *alpha = beta + 2 * context->states;
    ptrdiff_t begin, end;
    fl_share(pass->batch, thread, team, &begin, &end);
    for (ptrdiff_t b = begin; b < end; ++b) {
        const real *z = (const real *)pass->logits + b * time * classes;
        real *dz = pass->dlogits ? (real *)pass->dlogits + b * time * classes : NULL;
        const int64_t *labels = pass->labels + b * pass->max_labels;
        const ptrdiff_t T = pass->lengths ? (ptrdiff_t)pass->lengths[b] : time;
        const ptrdiff_t states = 2 * (ptrdiff_t)pass->label_lengths[b] + 1;
        const double weight = pass->weights ? pass->weights[b] : 1;
        ptrdiff_t written = 0;
        pass->losses[b] = 0;
        if (weight != 0) {
            int bad = 0; /* a maximum could lose a NaN, which the loss must show */
            for (ptrdiff_t t = 0; t < T; ++t) {
                const real *row = z + t * classes;
                real *out = dz ? dz + t * classes : NULL;
                real largest = row[0];
                for (ptrdiff_t c = 1; c < classes; ++c)
                    largest = row[c] > largest || row[c] != row[c] ? row[c] : largest;
                const real sum = softmax_sum(row, classes, largest, out);
                for (ptrdiff_t c = 0; out && c < classes; ++c)
                    out[c] *= 1 / sum;
                norm[t][0] = (double)largest;
                norm[t][1] = fl_log((double)sum);
                bad |= norm[t][1] != norm[t][1];
            }
            const double log_total =
                bad ? NAN : ctc_alpha(pass, z, labels, T, states, dz ? time : 2, (const double (*)[2])norm, alpha);
            pass->losses[b] = -weight * log_total;
            if (dz && log_total > -INFINITY && T) { /* neither NaN nor impossible */
                ctc_gradient(pass, z + (T - 1) * classes, labels, T, states, (const double (*)[2])norm, alpha, beta,
                             log_total, weight, dz + (T - 1) * classes);
                written = T;
            }
        }
        if (dz && written < time)
            memset(dz + written * classes, 0, (size_t)((time - written) * classes) * sizeof(real));
    }
}

static void ctc(const fl_ctc_pass *pass)
{
    ctc_context context = ctc_lay_out(pass);
    const double each = 8.0 * (double)pass->classes + 60.0 * (double)context.states;
    fl_parallel(fl_worthwhile_threads(pass->n_threads, (double)pass->batch * (double)pass->time * each), ctc_body,
                &context);
}
