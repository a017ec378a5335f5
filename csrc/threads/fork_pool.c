/* fork_pool.c - a thread pool for the thread that survives fork(), for which OpenMP cannot be used any more.
 *
 * libgomp keeps the worker threads of each thread that has started a team. In a child made by fork() these workers do
 * not exist, but the records of the one thread that survives say that they do, and its next parallel region waits for
 * them for ever. There is no way to ask whether such records exist; another library that uses the same libgomp may have
 * made them. All other threads of the child are made there, and libgomp knows that they have no workers. (LLVM's libomp
 * starts afresh in a child.)
 *
 * So the thread that survives a fork, one in each child, never enters OpenMP again: its teams consist of itself and of
 * plain threads that are kept here, started when they are first needed and asleep when there has been no work for a
 * while. What other threads were doing in the parent at the time of the fork does not matter: nothing here or in OpenMP
 * that they may have locked is touched.
 *
 * The pool is allocated by its first use, grows with the largest team, and lives as long as the process.
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* pthread_sigmask, pthread_attr_setaffinity_np */
#endif
#include "fork_pool.h"
#include "calls.h"

#if defined(_OPENMP) && !defined(_WIN32)
#include "clock.h"
#include "wait.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

/* How long a worker spins before it sleeps: as long as the Python package lets the threads of OpenMP spin. */
#define SPIN_NS 200000

typedef struct {
    _Atomic unsigned jobs; /* how often there was work for this worker */
    pthread_mutex_t lock;  /* of `asleep`, and to sleep with */
    pthread_cond_t wake;
    int asleep;
    struct pool *pool;
    ptrdiff_t part;
} pool_worker;

typedef struct pool {
    pool_worker **workers; /* the thread with part k is worker k - 1 */
    ptrdiff_t count;
    fl_body body;
    void *context;
    ptrdiff_t parts;
    atomic_int working; /* workers that have not finished */
    pthread_mutex_t lock;
    pthread_cond_t done;
    int waiting; /* for `done` */
    int in_use;
} pool;

/* Written only while the process has a single thread. */
static int is_child;
static pthread_t survivor; /* of the fork */

static pool *survivors_pool; /* used by the survivor alone */

static void in_child(void)
{
    is_child = 1;
    survivor = pthread_self();
    fl_calls_forget();
    survivors_pool = NULL; /* that of the parent is left alone: its locks may be held by threads that are gone */
}

/* When the library is loaded, since other libraries may fork, and use OpenMP, before any work comes here. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

static void wait_for_job(pool_worker *me, unsigned done)
{
    const int64_t start = fl_now();
    for (int spins = 1; atomic_load_explicit(&me->jobs, memory_order_acquire) == done; ++spins) {
        fl_relax();
        if (spins % 64 || fl_now() - start < SPIN_NS)
            continue;
        pthread_mutex_lock(&me->lock);
        me->asleep = 1;
        while (atomic_load_explicit(&me->jobs, memory_order_acquire) == done)
            pthread_cond_wait(&me->wake, &me->lock);
        me->asleep = 0;
        pthread_mutex_unlock(&me->lock);
    }
}

static void *work(void *context)
{
    pool_worker *me = context;
    pool *all = me->pool;
    for (unsigned done = 0;; ++done) {
        wait_for_job(me, done);
        all->body(all->context, me->part, all->parts);
        if (atomic_fetch_sub_explicit(&all->working, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&all->lock);
            if (all->waiting)
                pthread_cond_signal(&all->done);
            pthread_mutex_unlock(&all->lock);
        }
    }
    return NULL;
}

static pool *new_pool(void)
{
    pool *all = calloc(1, sizeof *all);
    if (all) {
        pthread_mutex_init(&all->lock, NULL);
        pthread_cond_init(&all->done, NULL);
    }
    return all;
}

/* If OpenMP binds threads to places, it has bound the surviving thread to one place, which its new threads would
 * inherit: give each new thread a place of its own. */
static void choose_place(pthread_attr_t *attributes, ptrdiff_t part)
{
#if defined(__linux__)
    const int places = omp_get_num_places();
    if (omp_get_proc_bind() == omp_proc_bind_false || places < 1)
        return;
    const int place = (int)(part % places), count = omp_get_place_num_procs(place);
    int *ids = count > 0 ? malloc((size_t)count * sizeof *ids) : NULL;
    if (!ids)
        return;
    omp_get_place_proc_ids(place, ids);
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int k = 0; k < count; ++k)
        if (ids[k] >= 0 && ids[k] < CPU_SETSIZE)
            CPU_SET((size_t)ids[k], &set);
    pthread_attr_setaffinity_np(attributes, sizeof set, &set);
    free(ids);
#else
    (void)attributes;
    (void)part;
#endif
}

static int start_thread(pool_worker *worker)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t every, before;
    if (pthread_attr_init(&attributes))
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    choose_place(&attributes, worker->part);
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are for the threads that the program knows */
    const int failed = pthread_create(&thread, &attributes, work, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}

/* Add a worker; return 0 if the system refuses. */
static int add_worker(pool *all)
{
    pool_worker **workers = realloc(all->workers, (size_t)(all->count + 1) * sizeof *workers);
    if (!workers)
        return 0;
    all->workers = workers;
    pool_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return 0;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->wake, NULL);
    worker->pool = all;
    worker->part = all->count + 1;
    if (!start_thread(worker)) {
        free(worker);
        return 0;
    }
    workers[all->count++] = worker;
    return 1;
}

static void give_job(pool_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    atomic_fetch_add_explicit(&worker->jobs, 1, memory_order_release);
    if (worker->asleep)
        pthread_cond_signal(&worker->wake);
    pthread_mutex_unlock(&worker->lock);
}

static void wait_for(pool *all)
{
    for (int spins = 0; spins < FL_SPINS; ++spins) {
        if (!atomic_load_explicit(&all->working, memory_order_acquire))
            return;
        fl_relax();
    }
    pthread_mutex_lock(&all->lock);
    all->waiting = 1;
    while (atomic_load_explicit(&all->working, memory_order_acquire))
        pthread_cond_wait(&all->done, &all->lock);
    all->waiting = 0;
    pthread_mutex_unlock(&all->lock);
}

int fl_fork_pool_run(int n_threads, fl_body body, void *context)
{
    if (!is_child || !pthread_equal(pthread_self(), survivor))
        return 0;
    if (!survivors_pool)
        survivors_pool = new_pool();
    pool *all = survivors_pool;
    if (!all || all->in_use) {
        body(context, 0, 1);
        return 1;
    }
    while (all->count < n_threads - 1 && add_worker(all))
        ;
    all->in_use = 1;
    all->body = body;
    all->context = context;
    all->parts = n_threads - 1 < all->count ? n_threads : all->count + 1;
    atomic_store_explicit(&all->working, (int)all->parts - 1, memory_order_relaxed);
    for (ptrdiff_t k = 0; k < all->parts - 1; ++k)
        give_job(all->workers[k]);
    body(context, 0, all->parts);
    wait_for(all);
    all->in_use = 0;
    return 1;
}
#else
int fl_fork_pool_run(int n_threads, fl_body body, void *context)
{
    (void)n_threads;
    (void)body;
    (void)context;
    return 0;
}
#endif
