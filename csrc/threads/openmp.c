/* openmp.c - OpenMP behind plain functions. */
#include "openmp.h"
#include "../fastlstm.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

int fl_has_openmp(void)
{
#if defined(_OPENMP)
    return 1;
#else
    return 0;
#endif
}

int fl_openmp_max_threads(void)
{
#if defined(_OPENMP)
    return omp_get_max_threads();
#else
    return 1;
#endif
}

void fl_openmp_set_max_threads(int n)
{
#if defined(_OPENMP)
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

int fl_openmp_bound_processors(void)
{
#if defined(_OPENMP) && _OPENMP >= 201107 /* 3.1; Microsoft's OpenMP is 2.0 */
    if (omp_get_proc_bind() != omp_proc_bind_false)
        return omp_get_num_procs();
#endif
    return 0;
}

int fl_openmp_limited(int n_threads)
{
#if defined(_OPENMP) && _OPENMP >= 200805 /* 3.0 */
    /* LLVM's runtime prints a warning when it is asked for more. */
    const int limit = omp_get_thread_limit();
    if (n_threads > limit)
        return limit;
#endif
    return n_threads;
}

void fl_openmp_run(int n_threads, fl_body body, void *context)
{
#if defined(_OPENMP)
#pragma omp parallel num_threads(n_threads)
    body(context, omp_get_thread_num(), omp_get_num_threads());
#else
    (void)n_threads;
    body(context, 0, 1);
#endif
}
