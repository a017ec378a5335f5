/* parallel.h - the one place where teams of threads are started. */
#ifndef FASTLSTM_PARALLEL_H
#define FASTLSTM_PARALLEL_H

#include "body.h"

/* Run body once on each of up to n_threads threads and wait for all of them. On one thread it is a plain call. */
void fl_parallel(int n_threads, fl_body body, void *context);

/* Run body for each of n_tasks parts on up to n_threads threads and wait for all. A thread that is free takes the
 * next part. */
void fl_parallel_tasks(int n_threads, ptrdiff_t n_tasks, fl_body body, void *context);

#endif
