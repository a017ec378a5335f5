/* fork_pool.h - a thread pool for the thread that survives fork(), for which OpenMP cannot be used any more. */
#ifndef FASTLSTM_FORK_POOL_H
#define FASTLSTM_FORK_POOL_H

#include "body.h"

/* Run body for each part of up to n_threads, on the calling thread and on those of the pool, and wait for all.
 * Returns 0, without having run anything, if the calling thread has not come through a fork, so that OpenMP works for
 * it. */
int fl_fork_pool_run(int n_threads, fl_body body, void *context);

#endif
