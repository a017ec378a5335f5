/* parallel.c - OpenMP behind one function, and what fork() does to it.
 *
 * libgomp keeps its worker threads between parallel regions. They do not exist in a child made by fork(), but libgomp's
 * books say that they do, and the child's first parallel region waits for them for ever. So a process that was forked
 * after its parent had used threads runs its kernels on one thread (results are the same bits: they never depend on the
 * team). A parent that has not started a team leaves a clean library behind, and its children use all their threads.
 */
#include "parallel.h"
#include "fastlstm.h"

#include <stdatomic.h>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if !defined(_WIN32)
#include <sched.h>
#include <unistd.h>
#endif
#if defined(_OPENMP) && !defined(_WIN32)
#include <pthread.h>

static atomic_int team_started;       /* a parallel region has run in this process */
static atomic_int team_lost_in_fork;  /* ... and this process is a child of that one */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    if (atomic_load(&team_started))
        atomic_store(&team_lost_in_fork, 1);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}
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

/* A number that the system tells once and for all: asked for at the first call. */
static long known_once(_Atomic long *known, long (*ask)(void))
{
    long value = atomic_load_explicit(known, memory_order_relaxed);
    if (value == 0) {
        value = ask();
        atomic_store_explicit(known, value, memory_order_relaxed);
    }
    return value;
}

static long ask_processors(void)
{
#if defined(_SC_NPROCESSORS_ONLN)
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (processors > 0)
        return processors;
#endif
    return 1 << 20; /* as many as anybody asks for */
}

static long ask_second_level_cache(void)
{
#if defined(_SC_LEVEL2_CACHE_SIZE)
    const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (bytes > 0)
        return bytes;
#endif
    return 512 * 1024;
}

double fl_second_level_cache(void)
{
    static _Atomic long known;
    return (double)known_once(&known, ask_second_level_cache);
}

/* One round of waiting: for a while with the processor at rest, then by giving it away. */
static void relax(int spins, int most_spins)
{
#if !defined(_WIN32)
    if (spins > most_spins) {
        sched_yield();
        return;
    }
#endif
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#endif
    (void)spins;
    (void)most_spins;
}

void fl_wait(fl_barrier *barrier, unsigned *round, int team)
{
    static _Atomic long processors;
    /* Some 20 microseconds, after which whoever we wait for is not running; with more threads than processors that is so
     * from the start. */
    const int most_spins = team > known_once(&processors, ask_processors) ? 20 : 2000;
    const unsigned all = ++*round * (unsigned)team;
    atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel);
    /* A difference, so that the count may wrap around. */
    for (int spins = 0; (int)(atomic_load_explicit(&barrier->arrived, memory_order_acquire) - all) < 0;
         spins += spins < 1 << 30)
        relax(spins, most_spins);
}

int fl_worthwhile_threads(int n_threads, double work)
{
    /* Waking a spinning team costs 1 to 2 microseconds, in which one core does about 50,000 multiply-adds. */
    const double per_thread = 100e3;
    double most = work / per_thread;
    if (most < 2)
        return 1;
    return most < n_threads ? (int)most : n_threads;
}

/* How many of n_threads this process may start. */
static int team_of(int n_threads)
{
#if defined(_OPENMP)
#if !defined(_WIN32)
    if (n_threads > 1) {
        pthread_once(&fork_once, watch_forks);
        if (atomic_load(&team_lost_in_fork))
            return 1;
        atomic_store(&team_started, 1);
    }
#endif
    return n_threads;
#else
    (void)n_threads;
    return 1;
#endif
}

void fl_parallel(int n_threads, fl_body body, void *context)
{
    n_threads = team_of(n_threads);
#if defined(_OPENMP)
    if (n_threads > 1) {
#pragma omp parallel num_threads(n_threads)
        body(context, omp_get_thread_num(), omp_get_num_threads());
        return;
    }
#endif
    body(context, 0, 1);
}

void fl_parallel_tasks(int n_threads, ptrdiff_t n_tasks, fl_task task, void *context)
{
    n_threads = team_of(n_threads < n_tasks ? n_threads : (int)n_tasks);
#if defined(_OPENMP)
    if (n_threads > 1) {
#pragma omp parallel for num_threads(n_threads) schedule(dynamic, 1)
        for (ptrdiff_t k = 0; k < n_tasks; ++k)
            task(context, k);
        return;
    }
#endif
    for (ptrdiff_t k = 0; k < n_tasks; ++k)
        task(context, k);
}
