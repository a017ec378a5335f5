/* parallel.c - OpenMP behind one function: how many threads some work is worth, and the start of a team. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getcpu, cpu_set_t */
#endif
#include "parallel.h"
#include "crew.h"
#include "crowd.h"
#include "fastlstm.h"
#include "subnormal.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if !defined(_WIN32)
#include <sched.h>
#include <unistd.h>
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
#if defined(_OPENMP) && _OPENMP >= 201107 /* 3.1; Microsoft's knows 2.0 */
    if (omp_get_proc_bind() != omp_proc_bind_false)
        return omp_get_num_procs();
#endif
    return 0;
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
    return (double)fl_known_once(&known, ask_second_level_cache);
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
    const int64_t time = fl_now();
    if (time == 0 || atomic_load_explicit(&always_wake, memory_order_relaxed))
        return 1;
    if (fl_crowded(time))
        return 0;
    if (team_is_awake(time))
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

#if defined(_OPENMP)
/* Work, and what a team has in common while it starts. */
typedef struct {
    fl_body body;
    void *context;
    ptrdiff_t n_tasks;       /* 0: one part for each thread */
    _Atomic ptrdiff_t taken; /* of the tasks */
    int waking;              /* the team may have slept */
    int processor;           /* the caller's; -1: not known */
    atomic_int arrived;
    int looked_at; /* crowd.c */
    fl_crowd_look look;
} region;

/* A thread that is woken is often put on the processor of the thread that wakes it, although others are idle, and stays
 * there until the system balances its load, some milliseconds later: the two then take turns (1 row, 100 steps, hidden 128:
 * 6.4 ms rather than .2). So whoever finds itself there moves on, by forbidding itself that processor for a moment, and the
 * caller gives way until all are there, or for some 50 microseconds. */
static void arrive(region *start, ptrdiff_t thread, ptrdiff_t team)
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
    if (thread == 0) {
        const int64_t end = fl_now() + 50000;
        while (atomic_load_explicit(&start->arrived, memory_order_relaxed) < team && fl_now() < end)
            sched_yield();
    }
#else
    (void)thread;
    (void)team;
#endif
}

/* gcc's thread sanitizer does not see how libgomp orders the beginning and the end of a team. */
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define SEES(r) __tsan_acquire(r)
#define SHOWS(r) __tsan_release(r)
#else
#define SEES(r) (void)(r)
#define SHOWS(r) (void)(r)
#endif

/* What each thread of a team does. */
static void take_part(void *context, ptrdiff_t thread, ptrdiff_t team)
{
    region *work = context;
    SEES(work);
    const int64_t before = work->looked_at ? fl_thread_time() : 0;
    arrive(work, thread, team);
    if (!work->n_tasks) {
        work->body(work->context, thread, team);
    } else {
        for (ptrdiff_t k; (k = atomic_fetch_add_explicit(&work->taken, 1, memory_order_relaxed)) < work->n_tasks;)
            work->body(work->context, k, work->n_tasks);
    }
    if (work->looked_at)
        atomic_fetch_add_explicit(&work->look.used, fl_thread_time() - before, memory_order_relaxed);
    SHOWS(work);
}

static void run(int n_threads, region *work)
{
#if _OPENMP >= 200805 /* 3.0 */
    const int limit = omp_get_thread_limit(); /* OMP_THREAD_LIMIT; LLVM's runtime complains of more, a crew knows none */
    if (n_threads > limit)
        n_threads = limit;
#endif
    const int64_t start = fl_now();
    work->waking = !team_is_awake(start);
    work->looked_at = fl_crowd_look_due(start);
    work->look.start = start;
    work->processor = -1;
#if defined(__linux__)
    if (work->waking)
        work->processor = sched_getcpu();
#endif
    SHOWS(work);
    if (!fl_crew_run(n_threads, take_part, work)) {
#pragma omp parallel num_threads(n_threads)
        take_part(work, omp_get_thread_num(), omp_get_num_threads());
    }
    SEES(work);
    const int64_t end = fl_now();
    if (work->looked_at)
        fl_crowd_looked(&work->look, end);
    atomic_store_explicit(&team_rested, end, memory_order_relaxed);
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
#if defined(_OPENMP)
    if (n_threads > 1) {
        region work = {.body = body, .context = context};
        run(n_threads, &work);
        return;
    }
#endif
    (void)n_threads;
    body(context, 0, 1);
}

void fl_parallel_tasks(int n_threads, ptrdiff_t n_tasks, fl_body body, void *context)
{
    flushed_job job = {body, context};
    body = flushed;
    context = &job;
#if defined(_OPENMP)
    if (n_threads > n_tasks)
        n_threads = (int)n_tasks;
    if (n_threads > 1) {
        region work = {.body = body, .context = context, .n_tasks = n_tasks};
        run(n_threads, &work);
        return;
    }
#endif
    (void)n_threads;
    for (ptrdiff_t k = 0; k < n_tasks; ++k)
        body(context, k, n_tasks);
}
