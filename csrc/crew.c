/* crew.c - the team of a thread that has come through fork().
 *
 * libgomp keeps the worker threads of each thread that has started a team. In a child made by fork() they do not exist,
 * but the books of the one thread that lives on say that they do, and its next parallel region waits for them for ever.
 * Whether there are such books, nobody can ask; another library that uses the same libgomp may have begun them. All other
 * threads of the child are made there, and libgomp knows that they have nothing. (LLVM's libomp begins anew in a child.)
 *
 * So the thread that has come through a fork, one in each child, never enters OpenMP again: its teams consist of it and
 * of plain threads that are kept here, started when they are first needed and asleep when there has been no work for a
 * while. What other threads were doing in the parent at the time of the fork does not matter: nothing here or in OpenMP
 * that they may have held is touched.
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* pthread_sigmask, pthread_attr_setaffinity_np */
#endif
#include "crew.h"

#if defined(_OPENMP) && !defined(_WIN32)
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#define AWAKE_AFTER_WORK 200000 /* ns that a member spins for more; as long as _openmp.py lets those of OpenMP */

typedef struct {
    _Atomic unsigned orders; /* how often there was work for this member */
    pthread_mutex_t lock;    /* of `asleep`, and to sleep with */
    pthread_cond_t wake;
    int asleep;
    struct crew *crew;
    ptrdiff_t part;
} crew_member;

typedef struct crew {
    crew_member **members; /* the thread with part k is member k - 1 */
    ptrdiff_t count;
    fl_body body;
    void *context;
    ptrdiff_t parts;
    atomic_int working; /* members that have not finished */
    pthread_mutex_t lock;
    pthread_cond_t done;
    int waiting; /* for `done` */
    int in_use;
} crew;

/* Written only while the process has a single thread. */
static int is_child;
static pthread_t survivor; /* of the fork */
static crew *own;          /* the survivor's; nobody else looks at it */

static void in_child(void)
{
    is_child = 1;
    survivor = pthread_self();
    own = NULL; /* that of the parent is left alone: its locks may be held by threads that are gone */
}

/* From the beginning, since other libraries may fork, and use OpenMP, before any work comes here. */
__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

static void take_orders(crew_member *me, unsigned followed)
{
    const int64_t start = fl_now();
    for (int spins = 1; atomic_load_explicit(&me->orders, memory_order_acquire) == followed; ++spins) {
        fl_relax();
        if (spins % 64 || fl_now() - start < AWAKE_AFTER_WORK)
            continue;
        pthread_mutex_lock(&me->lock);
        me->asleep = 1;
        while (atomic_load_explicit(&me->orders, memory_order_acquire) == followed)
            pthread_cond_wait(&me->wake, &me->lock);
        me->asleep = 0;
        pthread_mutex_unlock(&me->lock);
    }
}

static void *serve(void *context)
{
    crew_member *me = context;
    crew *all = me->crew;
    for (unsigned followed = 0;; ++followed) {
        take_orders(me, followed);
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

static crew *new_crew(void)
{
    crew *all = calloc(1, sizeof *all);
    if (all) {
        pthread_mutex_init(&all->lock, NULL);
        pthread_cond_init(&all->done, NULL);
    }
    return all;
}

/* Where OpenMP is told to bind threads to places, it has bound the survivor to one; others would inherit that. */
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

static int start_thread(crew_member *member)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t every, before;
    if (pthread_attr_init(&attributes))
        return 0;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    choose_place(&attributes, member->part);
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before); /* signals are for the threads that the program knows */
    const int failed = pthread_create(&thread, &attributes, serve, member);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}

/* Adds a member; 0 if the system refuses. */
static int hire(crew *all)
{
    crew_member **members = realloc(all->members, (size_t)(all->count + 1) * sizeof *members);
    if (!members)
        return 0;
    all->members = members;
    crew_member *member = calloc(1, sizeof *member);
    if (!member)
        return 0;
    pthread_mutex_init(&member->lock, NULL);
    pthread_cond_init(&member->wake, NULL);
    member->crew = all;
    member->part = all->count + 1;
    if (!start_thread(member)) {
        free(member);
        return 0;
    }
    members[all->count++] = member;
    return 1;
}

static void order(crew_member *member)
{
    pthread_mutex_lock(&member->lock);
    atomic_fetch_add_explicit(&member->orders, 1, memory_order_release);
    if (member->asleep)
        pthread_cond_signal(&member->wake);
    pthread_mutex_unlock(&member->lock);
}

static void wait_for(crew *all)
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

int fl_crew_run(int n_threads, fl_body body, void *context)
{
    if (!is_child || !pthread_equal(pthread_self(), survivor))
        return 0;
    if (!own)
        own = new_crew();
    crew *all = own;
    if (!all || all->in_use) {
        body(context, 0, 1);
        return 1;
    }
    while (all->count < n_threads - 1 && hire(all))
        ;
    all->in_use = 1;
    all->body = body;
    all->context = context;
    all->parts = n_threads - 1 < all->count ? n_threads : all->count + 1;
    atomic_store_explicit(&all->working, (int)all->parts - 1, memory_order_relaxed);
    for (ptrdiff_t k = 0; k < all->parts - 1; ++k)
        order(all->members[k]);
    body(context, 0, all->parts);
    wait_for(all);
    all->in_use = 0;
    return 1;
}
#else
int fl_crew_run(int n_threads, fl_body body, void *context)
{
    (void)n_threads;
    (void)body;
    (void)context;
    return 0;
}
#endif
