/* openmp.h - OpenMP behind plain functions; without OpenMP there is one thread. The queries that callers of the library
 * may use (fl_has_openmp, ...) are declared in ../fastlstm.h.
 */
#ifndef FASTLSTM_OPENMP_H
#define FASTLSTM_OPENMP_H

#include "body.h"

/* n_threads, or the limit that OMP_THREAD_LIMIT sets, if that is lower. */
int fl_openmp_limited(int n_threads);

/* Run body once on each thread of an OpenMP team of up to n_threads, the caller among them, and wait for all. */
void fl_openmp_run(int n_threads, fl_body body, void *context);

#endif
