/* faults.c - make allocations and the start of threads fail at the request of the process into which this library is
 * preloaded (LD_PRELOAD). Linux with glibc, whose own functions do the work.
 *
 * Only allocations of the main thread count, and only while `faults_on` is set. The program sets these variables
 * through ctypes, which takes no memory:
 *     faults_on       1: count allocations and let the chosen ones fail
 *     faults_at       number of the allocation that fails, from 1; 0: none
 *     faults_stay     1: all later ones fail too
 *     faults_least    bytes below which an allocation is neither counted nor refused
 *     faults_seen     number of allocations counted
 *     faults_hit      number of allocations that have failed
 *     faults_size     bytes of the last one that has failed
 *     faults_threads  -1: threads may be started; otherwise how many more
 * faults_spare(name) spares allocations by a library of that name. After faults_only(name) all others are spared, after
 * faults_within(name) all except those that the library makes itself or through others, a few calls deeper.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

long faults_on, faults_at, faults_stay, faults_least, faults_seen, faults_hit, faults_size, faults_threads = -1;

static __thread int is_main __attribute__((tls_model("initial-exec")));

/* The addresses of some libraries. */
typedef struct {
    int count;
    const char *name; /* of the libraries that are searched for */
    uintptr_t begin[16], end[16];
} places;
static places spared, only, within;

__attribute__((constructor)) static void know_the_main_thread(void)
{
    is_main = 1;
}

static int find(struct dl_phdr_info *info, size_t size, void *into)
{
    places *found = into;
    (void)size;
    if (found->count == 16 || !strstr(info->dlpi_name, found->name))
        return 0;
    uintptr_t begin = UINTPTR_MAX, end = 0;
    for (int k = 0; k < info->dlpi_phnum; ++k) {
        if (info->dlpi_phdr[k].p_type != PT_LOAD)
            continue;
        const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[k].p_vaddr;
        begin = from < begin ? from : begin;
        end = from + info->dlpi_phdr[k].p_memsz > end ? from + info->dlpi_phdr[k].p_memsz : end;
    }
    found->begin[found->count] = begin;
    found->end[found->count++] = end;
    return 0;
}

static int look_for(places *found, const char *name)
{
    const int before = found->count;
    found->name = name;
    dl_iterate_phdr(find, found);
    return found->count - before;
}

/* Each returns the number of libraries of that name. */
int faults_spare(const char *name)
{
    return look_for(&spared, name);
}
int faults_only(const char *name)
{
    return look_for(&only, name);
}
int faults_within(const char *name)
{
    void *frame;
    backtrace(&frame, 1); /* its first call allocates memory */
    return look_for(&within, name);
}

static int is_in(const places *where, uintptr_t address)
{
    for (int k = 0; k < where->count; ++k)
        if (address >= where->begin[k] && address < where->end[k])
            return 1;
    return 0;
}

static int is_called_from(const places *where)
{
    enum { NEAR = 9 };
    void *frames[NEAR];
    const int n = backtrace(frames, NEAR);
    for (int k = 0; k < n; ++k)
        if (is_in(where, (uintptr_t)frames[k]))
            return 1;
    return 0;
}

static int fails(size_t size, void *caller)
{
    if (!is_main || !faults_on || size < (size_t)faults_least)
        return 0;
    if (is_in(&spared, (uintptr_t)caller) || (only.count && !is_in(&only, (uintptr_t)caller)))
        return 0;
    if (within.count && !is_called_from(&within))
        return 0;
    ++faults_seen;
    if (!faults_at || (faults_stay ? faults_seen < faults_at : faults_seen != faults_at))
        return 0;
    ++faults_hit;
    faults_size = (long)size;
    return 1;
}

#define REFUSE_IF(size, refusal)                                                                                       \
    if (fails((size), __builtin_return_address(0)))                                                                    \
    return refusal

static void *refused(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size)
{
    REFUSE_IF(size, refused());
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    REFUSE_IF(count * size, refused());
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    REFUSE_IF(size, refused());
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    REFUSE_IF(size, refused());
    return __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    REFUSE_IF(size, refused());
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    REFUSE_IF(size, ENOMEM);
    void *made = __libc_memalign(alignment, size);
    if (!made)
        return ENOMEM;
    *memory = made;
    return 0;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *context)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) {
        void *found = dlsym(RTLD_NEXT, "pthread_create");
        memcpy(&real, &found, sizeof real);
    }
    if (faults_threads == 0)
        return EAGAIN;
    if (faults_threads > 0)
        --faults_threads;
    return real(thread, attributes, start, context);
}
