/* parallel.c - the start of a team, on OpenMP's threads or on those of the fork pool. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getcpu, cpu_set_t */
#endif
#include "parallel.h"
#include "../subnormal.h"

#if defined(_OPENMP)
#include "clock.h"
#include "contention.h"
#include "fork_pool.h"
#include "openmp.h"
#include "wake.h"

#include <stdatomic.h>
#if !defined(_WIN32)
#include <sched.h>
#endif

/* A job, and the data that its team shares while it starts. */
typedef struct {
    fl_body body;
    void *context;
    ptrdiff_t n_tasks;           /* 0: one part for each thread */
    _Atomic ptrdiff_t next_task; /* that no thread has taken yet */
    int waking;                  /* the team may have slept */
    int processor;               /* the caller's; -1: not known */
    atomic_int arrived;
    int sampled; /* contention.c */
    fl_contention_sample sample;
} region;

/* The system often puts a thread that is woken on the processor of the thread that wakes it, although others are idle,
 * and leaves it there until it balances its load some milliseconds later: until then the two take turns (1 row, 100
 * steps, hidden 128: 6.4 ms rather than .2). So a thread that starts on the caller's processor moves away: it removes
 * that processor from its affinity mask for a moment, and the caller yields until all have arrived, or for some 50
 * microseconds. */
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
#define TSAN_ACQUIRE(r) __tsan_acquire(r)
#define TSAN_RELEASE(r) __tsan_release(r)
#else
#define TSAN_ACQUIRE(r) (void)(r)
#define TSAN_RELEASE(r) (void)(r)
#endif

/* Take one thread's part in the work of a team. */
static void take_part(void *context, ptrdiff_t thread, ptrdiff_t team)
{
    region *work = context;
    TSAN_ACQUIRE(work);
    const int64_t before = work->sampled ? fl_thread_time() : 0;
    arrive(work, thread, team);
    if (!work->n_tasks) {
        work->body(work->context, thread, team);
    } else {
        for (ptrdiff_t k; (k = atomic_fetch_add_explicit(&work->next_task, 1, memory_order_relaxed)) < work->n_tasks;)
            work->body(work->context, k, work->n_tasks);
    }
    if (work->sampled)
        atomic_fetch_add_explicit(&work->sample.used, fl_thread_time() - before, memory_order_relaxed);
    TSAN_RELEASE(work);
}

static void run(int n_threads, region *work)
{
    n_threads = fl_openmp_limited(n_threads); /* for the fork pool, too, which knows no limit */
    const int64_t start = fl_now();
    work->waking = !fl_team_is_awake(start);
    work->sampled = fl_contention_sample_due(start);
    work->sample.start = start;
    work->processor = -1;
#if defined(__linux__)
    if (work->waking)
        work->processor = sched_getcpu();
#endif
    TSAN_RELEASE(work);
    if (!fl_fork_pool_run(n_threads, take_part, work))
        fl_openmp_run(n_threads, take_part, work);
    TSAN_ACQUIRE(work);
    const int64_t end = fl_now();
    if (work->sampled)
        fl_contention_add(&work->sample, end);
    fl_team_rests(end);
}
#endif

typedef struct {
    fl_body body;
    void *context;
} flushed_job;

/* Do a part of the work with subnormal numbers flushed to zero. */
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
