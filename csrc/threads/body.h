/* body.h - one part of some work: the type of the function that does it, and its share of the items. */
#ifndef FASTLSTM_BODY_H
#define FASTLSTM_BODY_H

#include <stddef.h>

/* Do part number `part` of `parts`. A part is a thread of a team, or one task of several. The team may be smaller
 * than what was asked for, so a body derives its share from `parts`, and its results must not depend on `parts`. */
typedef void (*fl_body)(void *context, ptrdiff_t part, ptrdiff_t parts);

/* The half-open share [*begin, *end) of `count` items, one of `shares`: contiguous, and even to within one item. */
static inline void fl_share(ptrdiff_t count, ptrdiff_t share, ptrdiff_t shares, ptrdiff_t *begin, ptrdiff_t *end)
{
    ptrdiff_t base = count / shares, extra = count % shares;
    *begin = base * share + (share < extra ? share : extra);
    *end = *begin + base + (share < extra);
}

#endif
