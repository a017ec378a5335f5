/* decode.c - label sequences from the outputs of a model that was trained with CTC, and their distance from the truth.
 *
 * Prefix beam search (Graves 2012, section 7.5; Hannun et al. 2014, arXiv:1408.2873): of all label sequences the
 * `beam_width` most probable ones so far are kept, each with two probabilities, that of all its paths that end in a
 * blank and that of all its paths that end in its last label. At a step each sequence may stay, by a blank or by its
 * last label once more, and grow by each label. A repetition of the last label makes it grow only after a blank.
 *
 *   stay:  b' = (b + n) p[blank],   n' = n p[last]
 *   grow:  n'(with c) = (b + n) p[c], or b p[c] where c is the last label
 *
 * All sequences that were ever kept are the nodes of one tree, so that each exists once, whichever path reaches it.
 */
#include "fastlstm.h"
#include "scalar.h"

#include <math.h>
#include <string.h>

typedef struct {
    int32_t parent, label, first_child, sibling;
    int32_t beam_index; /* in the beam, or -1 */
} node;

typedef struct {
    int32_t node;          /* -1: not in the tree yet */
    int32_t parent, label; /* the node that it grows from then */
    double blank, last, total;
} beam;

static double log_add(double a, double b)
{
    const double larger = a > b ? a : b, smaller = a > b ? b : a;
    return smaller == -INFINITY ? larger : larger + fl_log1p_unit(fl_exp(smaller - larger));
}

static size_t nodes_of(ptrdiff_t time, ptrdiff_t beam_width)
{
    return (size_t)time * (size_t)beam_width + 1;
}

size_t fl_ctc_beam_workspace(ptrdiff_t time, ptrdiff_t classes, ptrdiff_t beam_width)
{
    const double bytes =
        ((double)time * (double)beam_width + 1) * sizeof(node) + 2.0 * (double)beam_width * sizeof(beam);
    if (bytes + 8.0 * (double)classes > (double)(SIZE_MAX / 16))
        return SIZE_MAX;
    return 2 * (size_t)beam_width * sizeof(beam) + nodes_of(time, beam_width) * sizeof(node) +
           (size_t)classes * sizeof(int32_t);
}

/* Insert a candidate among the best ones, if it is one of them. Of equals, the first comes first. */
static ptrdiff_t insert(beam *best, ptrdiff_t count, ptrdiff_t beam_width, beam candidate)
{
    if (candidate.total == -INFINITY || (count == beam_width && !(candidate.total > best[count - 1].total)))
        return count;
    ptrdiff_t k = count < beam_width ? count++ : count - 1;
    for (; k > 0 && candidate.total > best[k - 1].total; --k)
        best[k] = best[k - 1];
    best[k] = candidate;
    return count;
}

ptrdiff_t fl_ctc_beam_search(ptrdiff_t time, ptrdiff_t classes, const double *log_p, int64_t blank,
                             ptrdiff_t beam_width, int64_t *labels, double *score, void *workspace)
{
    beam *now = workspace, *next = now + beam_width;
    node *nodes = (node *)(next + beam_width);
    int32_t *child_of = (int32_t *)(nodes + nodes_of(time, beam_width)), n_nodes = 1;
    ptrdiff_t count = 1;
    nodes[0] = (node){-1, -1, -1, -1, 0};
    now[0] = (beam){0, -1, -1, 0, -INFINITY, 0};
    for (ptrdiff_t c = 0; c < classes; ++c)
        child_of[c] = -1;
    for (ptrdiff_t t = 0; t < time; ++t, log_p += classes) {
        ptrdiff_t kept = 0;
        for (ptrdiff_t k = 0; k < count; ++k) { /* those that stay, also as an extension of their parent */
            const node *n = &nodes[now[k].node];
            beam stay = {now[k].node, -1, -1, now[k].total + log_p[blank], -INFINITY, 0};
            if (n->label >= 0) {
                stay.last = now[k].last + log_p[n->label];
                const ptrdiff_t parent = nodes[n->parent].beam_index;
                if (parent >= 0) {
                    const int repeats = nodes[n->parent].label == n->label;
                    stay.last = log_add(stay.last, (repeats ? now[parent].blank : now[parent].total) + log_p[n->label]);
                }
            }
            stay.total = log_add(stay.blank, stay.last);
            kept = insert(next, kept, beam_width, stay);
        }
        for (ptrdiff_t k = 0; k < count; ++k) { /* those that enter the beam */
            const int32_t parent = now[k].node, last = nodes[parent].label;
            for (int32_t child = nodes[parent].first_child; child >= 0; child = nodes[child].sibling)
                child_of[nodes[child].label] = child;
            for (ptrdiff_t c = 0; c < classes; ++c) {
                const int32_t child = child_of[c];
                child_of[c] = -1;
                if (c == blank || (child >= 0 && nodes[child].beam_index >= 0))
                    continue;
                const double grown = (c == last ? now[k].blank : now[k].total) + log_p[c];
                kept = insert(next, kept, beam_width, (beam){child, parent, (int32_t)c, -INFINITY, grown, grown});
            }
        }
        for (ptrdiff_t k = 0; k < count; ++k)
            nodes[now[k].node].beam_index = -1;
        for (ptrdiff_t k = 0; k < kept; ++k) {
            if (next[k].node < 0) {
                node *parent = &nodes[next[k].parent];
                nodes[n_nodes] = (node){next[k].parent, next[k].label, -1, parent->first_child, -1};
                next[k].node = parent->first_child = n_nodes++;
            }
            nodes[next[k].node].beam_index = (int32_t)k;
        }
        beam *other = now;
        now = next;
        next = other;
        count = kept;
        if (!count) /* every sequence has probability 0 */
            break;
    }
    ptrdiff_t length = 0;
    *score = count ? now[0].total : -INFINITY;
    for (int32_t n = count ? now[0].node : 0; n > 0; n = nodes[n].parent)
        labels[length++] = nodes[n].label;
    for (ptrdiff_t k = 0; k < length / 2; ++k) {
        const int64_t other = labels[k];
        labels[k] = labels[length - 1 - k];
        labels[length - 1 - k] = other;
    }
    return length;
}

int64_t fl_edit_distance(ptrdiff_t n, const int64_t *a, ptrdiff_t m, const int64_t *b, int64_t *row)
{
    for (ptrdiff_t j = 0; j <= m; ++j)
        row[j] = j;
    for (ptrdiff_t i = 1; i <= n; ++i) {
        int64_t diagonal = row[0];
        row[0] = i;
        for (ptrdiff_t j = 1; j <= m; ++j) {
            const int64_t changed = diagonal + (a[i - 1] != b[j - 1]);
            const int64_t one_more = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = changed < one_more ? changed : one_more;
        }
    }
    return row[m];
}
