/* test_threads.c - teams: of several callers at once, larger than the machine, after a fork, and under contention.
 *
 * Every result must have the bits that one thread alone gives. An alarm ends the program after a deadlock. Exits with 1
 * if anything differs.
 */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* fork, alarm */
#endif
#include "../fastlstm.h"
#include "../threads/calls.h"
#include "../threads/clock.h"
#include "../threads/contention.h"
#include "../threads/wake.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whether processes with threads may be forked here. Not with the thread sanitizer, nor with an address sanitizer whose
 * allocator may stay locked in a child for ever, by a thread of the parent that was in it at the fork: gcc's before 15,
 * clang's before 18 (https://github.com/llvm/llvm-project/pull/75290). */
#if defined(__SANITIZE_THREAD__)
enum { MAY_FORK = 0 };
#elif defined(__clang__)
#if __has_feature(address_sanitizer) && __clang_major__ < 18
enum { MAY_FORK = 0 };
#else
enum { MAY_FORK = 1 };
#endif
#elif defined(__SANITIZE_ADDRESS__) && __GNUC__ < 15
enum { MAY_FORK = 0 };
#else
enum { MAY_FORK = 1 };
#endif

enum { SECONDS = 300, CALLERS = 6, ROUNDS = 6, FORKS = 12 };

static uint64_t random_state = 1;

static void fill(float *to, size_t n)
{
    for (size_t k = 0; k < n; ++k) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        to[k] = (float)(random_state >> 40) / (float)(1 << 24) - 0.5f;
    }
}

static void *allocate(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) {
        puts("out of memory");
        exit(2);
    }
    return memory;
}

static float *numbers(size_t n)
{
    float *made = allocate(n * sizeof *made);
    fill(made, n);
    return made;
}

/* One LSTM, its data, and the result of one thread; read by all callers at once. */
typedef struct {
    ptrdiff_t batch, time, input, hidden, recompute_every;
    float *w_ih, *w_hh, *bias, *x, *dy;
    void *packed; /* the weights, which all callers share */
    float *answer;
} problem;

/* y, then dx, then the gradients of the weights. */
static size_t outputs_of(const problem *p, size_t sizes[4])
{
    sizes[0] = (size_t)(p->batch * p->time * p->hidden);
    sizes[1] = (size_t)(p->batch * p->time * p->input);
    sizes[2] = (size_t)(4 * p->hidden * p->input);
    sizes[3] = (size_t)(4 * p->hidden * p->hidden);
    return sizes[0] + sizes[1] + sizes[2] + sizes[3];
}

/* Inference with packed weights gives y again: if not, spoil it. */
static void infer(const problem *p, fl_lstm_pass pass, float *y, size_t n)
{
    float *again = allocate(n * sizeof *again);
    pass.training = 0;
    pass.packed = p->packed;
    pass.y = again;
    pass.workspace = allocate(fl_lstm_workspace(FL_F32, &pass));
    fl_lstm_forward(FL_F32, &pass);
    fl_clip(FL_F32, (ptrdiff_t)n, again, 1.0, 1);
    if (memcmp(again, y, n * sizeof *again) != 0)
        y[0] = 1e30f;
    free(pass.workspace);
    free(again);
}

static float *solve(const problem *p, int n_threads, int n_threads_back)
{
    size_t sizes[4];
    const size_t n = outputs_of(p, sizes);
    float *out = allocate(n * sizeof *out);
    memset(out, 0, n * sizeof *out);
    fl_lstm_pass pass = {
        .batch = p->batch,
        .time = p->time,
        .input = p->input,
        .hidden = p->hidden,
        .training = 1,
        .recompute_every = p->recompute_every,
        .weight_ih = p->w_ih,
        .weight_hh = p->w_hh,
        .bias_ih = p->bias,
        .x = p->x,
        .x_batch = p->time * p->input,
        .x_time = p->input,
        .y = out,
        .y_batch = p->time * p->hidden,
        .y_time = p->hidden,
        .n_threads = n_threads,
    };
    fl_lstm_gradients gradients = {
        .dy = p->dy,
        .dy_batch = pass.y_batch,
        .dy_time = pass.y_time,
        .dx = out + sizes[0],
        .dx_batch = pass.x_batch,
        .dx_time = pass.x_time,
        .dweight_ih = out + sizes[0] + sizes[1],
        .dweight_hh = out + sizes[0] + sizes[1] + sizes[2],
    };
    pass.workspace = allocate(fl_lstm_workspace(FL_F32, &pass));
    fl_lstm_forward(FL_F32, &pass);
    pass.n_threads = n_threads_back;
    fl_lstm_backward(FL_F32, &pass, &gradients);
    fl_clip(FL_F32, (ptrdiff_t)n, out, 1.0, n_threads_back);
    free(pass.workspace);
    infer(p, pass, out, sizes[0]);
    return out;
}

/* The backward pass has another number of threads than the forward pass, as another load of the machine may cause. */
static int same(const problem *p, int n_threads)
{
    size_t sizes[4];
    float *out = solve(p, n_threads, 5 - n_threads);
    const int equal = !memcmp(out, p->answer, outputs_of(p, sizes) * sizeof *out);
    free(out);
    return equal;
}

static problem make(ptrdiff_t batch, ptrdiff_t time, ptrdiff_t input, ptrdiff_t hidden, ptrdiff_t recompute_every)
{
    problem p = {.batch = batch, .time = time, .input = input, .hidden = hidden, .recompute_every = recompute_every};
    p.w_ih = numbers((size_t)(4 * hidden * input));
    p.w_hh = numbers((size_t)(4 * hidden * hidden));
    p.bias = numbers((size_t)(4 * hidden));
    p.x = numbers((size_t)(batch * time * input));
    p.dy = numbers((size_t)(batch * time * hidden));
    const fl_lstm_pass weights = {
        .input = input, .hidden = hidden, .weight_ih = p.w_ih, .weight_hh = p.w_hh, .bias_ih = p.bias, .n_threads = 1};
    p.packed = allocate(fl_lstm_packed_size(FL_F32, &weights));
    fl_lstm_pack(FL_F32, &weights, p.packed);
    p.answer = solve(&p, 1, 1);
    return p;
}

static void release(problem p)
{
    void *all[] = {p.w_ih, p.w_hh, p.bias, p.x, p.dy, p.packed, p.answer};
    for (size_t k = 0; k < sizeof all / sizeof all[0]; ++k)
        free(all[k]);
}

enum { PROBLEMS = 3 };
static problem problems[PROBLEMS]; /* by rows, by units, and by rows with recomputed segments */

typedef struct {
    int number, wrong;
    int *running; /* call until it is 0; NULL: ROUNDS times */
} caller;

static void *call(void *context)
{
    caller *me = context;
    for (int k = 0; me->running ? __atomic_load_n(me->running, __ATOMIC_RELAXED) : k < ROUNDS; ++k)
        me->wrong += !same(&problems[(me->number + k) % PROBLEMS], 1 + (me->number + k) % 4);
    return NULL;
}

static int callers_at_once(void)
{
    pthread_t threads[CALLERS];
    caller callers[CALLERS];
    int wrong = 0;
    for (int k = 0; k < CALLERS; ++k) {
        callers[k] = (caller){k, 0, NULL};
        if (pthread_create(&threads[k], NULL, call, &callers[k]))
            exit(2);
    }
    for (int k = 0; k < CALLERS; ++k) {
        pthread_join(threads[k], NULL);
        wrong += callers[k].wrong;
    }
    return wrong;
}

/* In a child: return 0 if the thread that survived the fork and a new thread give the same bits; `deeper`: fork
 * again. */
static int check_child(int deeper)
{
    alarm(SECONDS);
    int wrong = 0;
    for (int n_threads = 4; n_threads > 1; --n_threads)
        for (int k = 0; k < PROBLEMS; ++k)
            wrong += !same(&problems[k], n_threads);
    caller other = {0, 0, NULL};
    pthread_t thread;
    if (pthread_create(&thread, NULL, call, &other))
        return 2;
    wrong += !same(&problems[0], 2);
    pthread_join(thread, NULL);
    wrong += other.wrong;
    if (deeper) {
        int status = 1;
        const pid_t child = fork();
        if (child == 0)
            _exit(check_child(0));
        wrong += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    return wrong != 0;
}

/* Fork while another thread is inside kernels. */
static int forks(void)
{
    int wrong = 0, running = 1;
    caller busy = {1, 0, &running};
    pthread_t thread;
    if (pthread_create(&thread, NULL, call, &busy))
        exit(2);
    for (int k = 0; k < FORKS; ++k) {
        int status = 1;
        wrong += !same(&problems[k % PROBLEMS], 2 + k % 2);
        const pid_t child = fork();
        if (child == 0)
            _exit(fl_calls_at_once() != 1 || check_child(k % 4 == 0));
        wrong += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    __atomic_store_n(&running, 0, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    return wrong + busy.wrong;
}

/* Add a sample of a team that took `ms`, whose threads used the processors for `used` ms; return the time after it. */
static int64_t sample(int64_t now, double ms, double used)
{
    const int64_t end = now + (int64_t)(1e6 * ms);
    const fl_contention_sample seen = {now, (int64_t)(1e6 * used)};
    fl_contention_add(&seen, end);
    return end;
}

static int expect(int condition, const char *text)
{
    if (!condition)
        printf("not so: %s\n", text);
    return !condition;
}

/* The verdicts on teams, with invented times that begin long after those of this program. */
static int contention(void)
{
    int64_t now = fl_now() + (int64_t)3600 * 1000000000;
    const int64_t second = 1000000000, ms = 1000000;
    int wrong = 0;
    now = sample(now, 10, 18);
    wrong += expect(!fl_contended(now), "two threads that are used well stay in use");
    wrong += expect(!fl_contention_sample_due(now) && fl_contention_sample_due(now + 2 * ms),
                    "samples are taken now and then");
    now = sample(now, 10, 10);
    wrong += expect(!fl_contended(now), "uneven shares are no contention");
    now = sample(now, 4, .1);
    wrong += expect(!fl_contended(now), "a single short sample proves nothing");
    now = sample(now, 4, .1);
    wrong += expect(fl_contended(now) && fl_contended(now + 19 * ms), "teams that wait are paused");
    now += 21 * ms;
    wrong += expect(!fl_contended(now), "the first pause is short");
    now = sample(now, 30, 8);
    wrong += expect(fl_contended(now + 39 * ms) && !fl_contended(now + 41 * ms), "the second pause is twice the first");
    for (int k = 0; k < 20; ++k)
        now = sample(now + 2 * second, 30, 8);
    wrong += expect(fl_contended(now + second) && !fl_contended(now + 3 * second / 2), "pauses do not grow for ever");
    now = sample(now + 2 * second, 10, 18);
    now = sample(now, 30, 8);
    wrong += expect(!fl_contended(now + 21 * ms), "a good team makes the next pause short again");
    for (int k = 0; k < 1000; ++k)
        now = sample(now + 2 * second, .2, .1);
    wrong += expect(!fl_contended(now), "the time in which threads wake is no contention");
    now = sample(now, 1, 0);
    now = sample(now + 2 * second, 100, 0);
    wrong += expect(!fl_contended(now), "without a clock of processor time, teams stay in use");
    return wrong;
}

/* The number of calls at the same time, which is remembered for a hundredth of a second. */
static int calls(void)
{
    int wrong = 0;
    /* Until the calls of other tests are forgotten. */
    for (const int64_t start = fl_now(); fl_now() - start < 11000000;) {
    }
    wrong += expect(fl_calls_at_once() == 1, "a call alone");
    const int first = fl_call_begins(1e6), small = fl_call_begins(1e3);
    wrong += expect(fl_calls_at_once() == 2, "little work does not count");
    const int64_t before = fl_now();
    const int second = fl_call_begins(1e6);
    wrong += expect(fl_calls_at_once() == 3, "two calls and one more");
    fl_call_ends(second);
    fl_call_ends(small);
    fl_call_ends(first);
    const int remembered = fl_calls_at_once();
    wrong += expect(remembered == 2 || fl_now() - before > 9000000, "the calls of a moment ago");
    while (fl_now() - before < 11000000) {
    }
    wrong += expect(fl_calls_at_once() == 1, "they are forgotten");
    fl_call_begins(1e6);
    fl_calls_forget();
    wrong += expect(fl_calls_at_once() == 1, "a child forgets");
    return wrong;
}

/* Which series of calls wake the team, with invented times that begin after those of `contention`. */
static int waking(void)
{
    const int64_t ms = 1000000;
    int64_t now = fl_now() + (int64_t)7200 * 1000 * ms;
    int wrong = 0;
    fl_always_wake(0);
    fl_team_rests(now);
    wrong += expect(fl_worth_waking(1e6, now + ms / 10), "a team that spins takes any work");
    now += ms;
    wrong += expect(!fl_worth_waking(3e6, now) && fl_worth_waking(30e6, now + 10 * ms), "large calls wake the team");
    int woken = 0;
    for (int call = 0; call < 8; ++call) {
        woken = fl_worth_waking(3e6, now += 10 * ms);
        fl_single_thread_rests(now += ms);
    }
    wrong += expect(!woken, "calls with pauses leave it asleep");
    for (int call = 0; call < 8; ++call, now += ms / 100) {
        woken = fl_worth_waking(3e6, now);
        fl_single_thread_rests(now += 10 * ms);
    }
    wrong += expect(woken, "calls that follow each other wake it, however long they take");
    for (int call = 0; call < 8; ++call, now += ms / 10)
        woken = fl_worth_waking(3e6, now);
    wrong += expect(woken, "also where only their beginning is known");
    fl_always_wake(1);
    return wrong;
}

int main(void)
{
    alarm(SECONDS);
    fl_always_wake(1);
    problems[0] = make(24, 12, 8, 40, 0);
    problems[1] = make(1, 60, 8, 96, 0);
    problems[2] = make(9, 30, 4, 48, 7);
    const int at_once = callers_at_once();
    printf("%d callers at once, %d rounds: %d wrong\n", CALLERS, ROUNDS, at_once);
    int forked = 0;
    if (MAY_FORK) {
        forked = forks();
        printf("%d forks: %d wrong\n", FORKS, forked);
    }
    const int judged = contention(), counted = calls(), woken = waking();
    printf("verdicts on contention: %d wrong; calls at the same time: %d; waking: %d\n", judged, counted, woken);
    for (int k = 0; k < PROBLEMS; ++k)
        release(problems[k]);
    return at_once || forked || judged || counted || woken;
}
