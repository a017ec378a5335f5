/* parallel.c - OpenMP behind one function, and what fork() does to it.
 *
 * libgomp keeps its worker threads between parallel regions. They do not exist in a child made by fork(), but libgomp's
 * books say that they do, and the child's first parallel region waits for them for ever. So a process that was forked
 * after its parent had used threads runs its kernels on one thread (results are the same bits: they never depend on the
 * team). A parent that has not started a team leaves a clean library behind, and its children use all their threads.
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getcpu, cpu_set_t */
#endif
#include "parallel.h"
#include "fastlstm.h"
#include "subnormal.h"

#include <stdatomic.h>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if !defined(_WIN32)
#include <sched.h>
#include <time.h>
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

/* Nanoseconds of a clock that does not go back; 0 where there is none. */
static int64_t now(void)
{
#if defined(CLOCK_MONOTONIC)
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) == 0)
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
#endif
    return 0;
}

/* A team that has had nothing to do for a while sleeps, and to wake it takes 50 microseconds or more: its processors may be
 * asleep, too. So a call now and then, as a service makes them, is better off without it (2 threads against 1, a call every
 * 10 ms: batch 8, 20 steps, hidden 32 .55 / .06 ms; 32 rows, 50 steps .67 / .32), and a row of calls with it. Nobody knows
 * what comes next, so work goes to the team when it is awake, or when as much has been done without it, call after call,
 * as would have paid for waking it. */
#define AWAKE 150000      /* ns after its last work; _openmp.py lets it spin for longer */
#define WORTH_WAKING 20e6 /* multiply-adds, some 0.4 ms of one core */
#define SLOWLY 20.0       /* multiply-adds in a ns, at least, of which a call before this one was made */

static _Atomic int64_t team_rested;   /* when the team had its last work */
static _Atomic int64_t alone_till;    /* about when the last work that was done without it was over */
static _Atomic double alone;          /* how much there has been of it in a row */
static atomic_int always_wake;

void fl_always_wake(int always)
{
    atomic_store(&always_wake, always);
}

static int team_is_awake(int64_t time)
{
    return time - atomic_load_explicit(&team_rested, memory_order_relaxed) < AWAKE;
}

static int worth_waking(double work)
{
    const int64_t time = now();
    if (time == 0 || team_is_awake(time) || atomic_load_explicit(&always_wake, memory_order_relaxed))
        return 1;
    double sum = work;
    if (time - atomic_load_explicit(&alone_till, memory_order_relaxed) < AWAKE)
        sum += atomic_load_explicit(&alone, memory_order_relaxed);
    atomic_store_explicit(&alone, sum, memory_order_relaxed);
    atomic_store_explicit(&alone_till, time + (int64_t)(work / SLOWLY), memory_order_relaxed);
    return sum >= WORTH_WAKING;
}

int fl_worthwhile_threads(int n_threads, double work)
{
    /* Handing work to a team that spins costs 1 to 2 microseconds, in which one core does about 50,000 multiply-adds. */
    const double per_thread = 100e3;
    double most = work / per_thread;
    if (n_threads < 2 || most < 2 || !worth_waking(work))
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

#if defined(_OPENMP)
/* What a team has in common while it starts. */
typedef struct {
    int waking;     /* it may have slept */
    int processor;  /* the caller's; -1: not known */
    atomic_int arrived;
} team_start;

static team_start start_team(void)
{
    team_start start = {.waking = !team_is_awake(now()), .processor = -1};
#if defined(__linux__)
    if (start.waking)
        start.processor = sched_getcpu();
#endif
    return start;
}

/* A thread that is woken is often put on the processor of the thread that wakes it, although others are idle, and stays
 * there until the system balances its load, some milliseconds later: the two then take turns (1 row, 100 steps, hidden 128:
 * 6.4 ms rather than .2). So whoever finds itself there moves on, by forbidding itself that processor for a moment, and the
 * caller gives way until all are there, or for some 50 microseconds. */
static void arrive(team_start *start, int thread, int team)
{
    if (!start->waking)
        return;
#if defined(__linux__)
    cpu_set_t allowed, others;
    if (thread > 0 && start->processor >= 0 && sched_getcpu() == start->processor &&
        sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        others = allowed;
        CPU_CLR((size_t)start->processor, &others);
        if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
            sched_setaffinity(0, sizeof allowed, &allowed);
    }
#endif
    atomic_fetch_add_explicit(&start->arrived, 1, memory_order_relaxed);
#if !defined(_WIN32)
    if (thread == 0)
        for (int64_t end = now() + 50000; atomic_load_explicit(&start->arrived, memory_order_relaxed) < team && now() < end;)
            sched_yield();
#else
    (void)thread;
    (void)team;
#endif
}

static void team_rests(void)
{
    atomic_store_explicit(&team_rested, now(), memory_order_relaxed);
}
#endif

typedef struct {
    fl_body body;
    void *context;
} flushed_job;

/* Does a part of the work without subnormal numbers. */
static void flushed(void *context, ptrdiff_t part, ptrdiff_t parts)
{
    const flushed_job *job = context;
    const fl_float_mode before = fl_flush_subnormals();
    job->body(job->context, part, parts);
    fl_restore_float_mode(before);
}

void fl_parallel(int n_threads, fl_body body, void *context)
{
    flushed_job job = {body, context};
    body = flushed;
    context = &job;
    n_threads = team_of(n_threads);
#if defined(_OPENMP)
    if (n_threads > 1) {
        team_start start = start_team();
#pragma omp parallel num_threads(n_threads)
        {
            arrive(&start, omp_get_thread_num(), omp_get_num_threads());
            body(context, omp_get_thread_num(), omp_get_num_threads());
        }
        team_rests();
        return;
    }
#endif
    body(context, 0, 1);
}

void fl_parallel_tasks(int n_threads, ptrdiff_t n_tasks, fl_body body, void *context)
{
    flushed_job job = {body, context};
    body = flushed;
    context = &job;
    n_threads = team_of(n_threads < n_tasks ? n_threads : (int)n_tasks);
#if defined(_OPENMP)
    if (n_threads > 1) {
        team_start start = start_team();
#pragma omp parallel num_threads(n_threads)
        {
            arrive(&start, omp_get_thread_num(), omp_get_num_threads());
#pragma omp for schedule(dynamic, 1) nowait
            for (ptrdiff_t k = 0; k < n_tasks; ++k)
                body(context, k, n_tasks);
        }
        team_rests();
        return;
    }
#endif
    for (ptrdiff_t k = 0; k < n_tasks; ++k)
        body(context, k, n_tasks);
}
