/* wake.c - how many threads some work is worth, given that a team that sleeps must be woken.
 *
 * A team without work for a while sleeps, and waking it takes 50 microseconds or more: its processors may sleep, too.
 * So a single call now and then, as a service makes them, is faster without the team (2 threads against 1, a call every
 * 10 ms: batch 8, 20 steps, hidden 32 .55 / .06 ms; 32 rows, 50 steps .67 / .32), and a series of calls is faster with it.
 * Nobody knows what comes next, so work goes to the team when it is awake, or when as much work has been done on one
 * thread, call after call, as would have paid for waking the team.
 */
#include "wake.h"
#include "../fastlstm.h"
#include "clock.h"
#include "contention.h"

#include <stdatomic.h>

#define AWAKE_NS 150000  /* how long a team surely spins after its work; the Python package lets OpenMP spin longer */
#define WAKE_WORK 20e6   /* multiply-adds that pay for waking a team, some 0.4 ms of one core */
#define LEAST_SPEED 20.0 /* multiply-adds per ns of one thread: the end of work that does not note it is estimated */

static _Atomic int64_t team_finished; /* when the team had its last work */
static _Atomic int64_t single_end;    /* when the last work on one thread ended, or an estimate */
static _Atomic double single_work;    /* multiply-adds that a series of calls did on one thread */
static atomic_int always_wake;

void fl_always_wake(int always)
{
    atomic_store(&always_wake, always);
}

int fl_team_is_awake(int64_t now)
{
    return now - atomic_load_explicit(&team_finished, memory_order_relaxed) < AWAKE_NS;
}

void fl_team_rests(int64_t now)
{
    atomic_store_explicit(&team_finished, now, memory_order_relaxed);
}

void fl_single_thread_rests(int64_t now)
{
    atomic_store_explicit(&single_end, now, memory_order_relaxed);
}

int fl_worth_waking(double work, int64_t now)
{
    if (now == 0 || atomic_load_explicit(&always_wake, memory_order_relaxed))
        return 1;
    if (fl_contended(now))
        return 0;
    if (fl_team_is_awake(now))
        return 1;
    double sum = work;
    if (now - atomic_load_explicit(&single_end, memory_order_relaxed) < AWAKE_NS)
        sum += atomic_load_explicit(&single_work, memory_order_relaxed);
    atomic_store_explicit(&single_work, sum, memory_order_relaxed);
    atomic_store_explicit(&single_end, now + (int64_t)(work / LEAST_SPEED), memory_order_relaxed);
    return sum >= WAKE_WORK;
}

int fl_worthwhile_threads(int n_threads, double work)
{
    /* Handing work to a team that spins costs 1 to 2 microseconds, in which one core does 50,000 multiply-adds. */
    const double per_thread = 100e3;
    double most = work / per_thread;
    if (n_threads < 2 || most < 2 || !fl_worth_waking(work, fl_now()))
        return 1;
    return most < n_threads ? (int)most : n_threads;
}
