/* parallel.h - the one place where threads are started. */
#ifndef FASTLSTM_PARALLEL_H
#define FASTLSTM_PARALLEL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* One part of some work: a thread of a team, or a task of several. The team may be smaller than what was asked for, so a
 * body derives its share from `parts`, and its results must not depend on it. */
typedef void (*fl_body)(void *context, ptrdiff_t part, ptrdiff_t parts);

/* Runs body once on each of up to n_threads threads and waits for all of them. On one thread it is a plain call. */
void fl_parallel(int n_threads, fl_body body, void *context);

/* Runs body for each of n_tasks parts on up to n_threads threads, each taking the next when it is free, and waits for all. */
void fl_parallel_tasks(int n_threads, ptrdiff_t n_tasks, fl_body body, void *context);

/* Bytes of a core's second-level cache; a common size where the system does not tell. */
double fl_second_level_cache(void);

/* Waits until all of the team have come here (wait.c). The barrier is zero before the team starts; `round` is each thread's
 * own count, zero at first. For waits of a microsecond between steps of a loop: it spins for a few of those, then yields
 * the processor, then sleeps, so that a team moves on where there are more threads than processors. */
typedef struct {
    _Atomic unsigned arrived, asleep;
} fl_barrier;
void fl_wait(fl_barrier *barrier, unsigned *round, int team);

/* Looks that a thread takes, with fl_relax() between them, before it gives its processor to others. */
enum { FL_SPINS = 2000 };

static inline void fl_relax(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_ia32_pause();
#endif
}

/* Nanoseconds of a clock that does not go back; 0 where there is none. */
int64_t fl_now(void);

/* A number above 0 that the system tells once and for all: asked for at the first call. */
static inline long fl_known_once(_Atomic long *known, long (*ask)(void))
{
    long value = atomic_load_explicit(known, memory_order_relaxed);
    if (value == 0) {
        value = ask();
        atomic_store_explicit(known, value, memory_order_relaxed);
    }
    return value;
}

/* n_threads, or fewer if `work` (multiply-adds, or elements touched) is too little to be worth waking a thread. */
int fl_worthwhile_threads(int n_threads, double work);

/* The half-open share [*begin, *end) of `count` items, one of several: contiguous, and even within one item. */
static inline void fl_share(ptrdiff_t count, ptrdiff_t share, ptrdiff_t shares, ptrdiff_t *begin, ptrdiff_t *end)
{
    ptrdiff_t base = count / shares, extra = count % shares;
    *begin = base * share + (share < extra ? share : extra);
    *end = *begin + base + (share < extra);
}

#endif
