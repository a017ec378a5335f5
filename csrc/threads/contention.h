/* contention.h - whether other programs keep the processors so busy that a team of threads is slower than one
 * thread. */
#ifndef FASTLSTM_CONTENTION_H
#define FASTLSTM_CONTENTION_H

#include <stdatomic.h>
#include <stdint.h>

/* Whether work should be done on one thread at time `now`. */
int fl_contended(int64_t now);

/* Whether the team that starts at `now` should be sampled: its threads then add their times to an
 * fl_contention_sample. */
int fl_contention_sample_due(int64_t now);

typedef struct {
    int64_t start;        /* of the team */
    _Atomic int64_t used; /* processor time of all its threads together, in ns */
} fl_contention_sample;

/* Draw the conclusion from a sampled team that ended at `now`. */
void fl_contention_add(const fl_contention_sample *sample, int64_t now);

#endif
