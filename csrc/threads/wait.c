/* wait.c - how a thread waits for others in the middle of some work: it spins, then yields its processor, then
 * sleeps. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* syscall */
#endif
#include "wait.h"
#include "../machine.h"

#include <limits.h>
#include <stddef.h>
#if !defined(_WIN32)
#include <sched.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* How often a thread yields before it sleeps. On a processor that nobody else wants these calls take some 30
 * microseconds, less than it takes to be woken there. */
#define YIELDS 100

static void yield(void)
{
#if defined(_WIN32)
    fl_relax();
#else
    sched_yield();
#endif
}

static int all_arrived(fl_barrier *barrier, unsigned all)
{
    /* A difference, so that the count may wrap around. */
    return (int)(atomic_load(&barrier->arrived) - all) >= 0;
}

#if defined(__linux__)
/* If other processes want the processors too, a thread that only yields is soon scheduled again, and takes time from
 * the threads that it waits for (8 processes with 2 threads each on 2 processors: up to 1.7 times the time of one
 * thread each). */
static void sleep_until(fl_barrier *barrier, unsigned all)
{
    /* Either the last thread to arrive sees this, or we see that it has arrived. */
    atomic_fetch_add(&barrier->asleep, 1);
    for (unsigned seen; (int)((seen = atomic_load(&barrier->arrived)) - all) < 0;)
        syscall(SYS_futex, &barrier->arrived, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&barrier->asleep, 1);
}
#endif

void fl_wait(fl_barrier *barrier, unsigned *round, int team)
{
    /* FL_SPINS take some 20 microseconds, after which the thread that we wait for is not running; with more threads
     * than processors that is so from the start. */
    const int spins = team > fl_online_processors() ? 20 : FL_SPINS;
    const unsigned all = ++*round * (unsigned)team;
    if (atomic_fetch_add(&barrier->arrived, 1) + 1 == all) {
#if defined(__linux__)
        if (atomic_load(&barrier->asleep))
            syscall(SYS_futex, &barrier->arrived, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#endif
        return;
    }
    for (int k = 0; k < spins; ++k) {
        if (all_arrived(barrier, all))
            return;
        fl_relax();
    }
#if defined(__linux__)
    for (int k = 0; k < YIELDS; ++k) {
        if (all_arrived(barrier, all))
            return;
        yield();
    }
    sleep_until(barrier, all);
#else
    while (!all_arrived(barrier, all))
        yield();
#endif
}
