#define _GNU_SOURCE
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef __linux__
#error "pages that are let go read as zeros on Linux alone: write memory_let_go for this system"
#endif

#define HEAP_ALIGNED ((size_t)64)
#define WHOLE(bytes, unit) (((bytes) + (unit)-1) / (unit) * (unit))

#ifdef MEMORY_FAULTS
#include <stdatomic.h>

_Atomic long memory_fails_in, memory_live, memory_left;
_Atomic int memory_fails_on;

static int fails(void)
{
    if (atomic_load(&memory_fails_in) == 0)
        return 0;
    if (atomic_load(&memory_fails_in) == 1 && atomic_load(&memory_fails_on))
        return 1;
    return atomic_fetch_sub(&memory_fails_in, 1) == 1;
}
#define COUNT(by) atomic_fetch_add(&memory_live, (by))

static void look(const uint8_t *at, size_t bytes)
{
    long left = 0;
    for (size_t byte = 0; byte < bytes; byte++)
        left += at[byte] != 0;
    atomic_store(&memory_left, left);
}
#else
#define look(at, bytes) ((void)0)
#define fails() 0
#define COUNT(by) ((void)0)
#endif

static void *heap(size_t bytes)
{
    void *at = aligned_alloc(HEAP_ALIGNED, WHOLE(bytes, HEAP_ALIGNED));
    return at == NULL ? NULL : memset(at, 0, bytes);
}

static void *pages(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

static void *huge(size_t bytes)
{
    size_t whole = WHOLE(bytes, HUGE_BYTES);
    uint8_t *at = pages(whole + HUGE_BYTES);
    if (at == NULL)
        return NULL;
    size_t before = (HUGE_BYTES - (uintptr_t)at % HUGE_BYTES) % HUGE_BYTES;
    if (before > 0)
        munmap(at, before);
    munmap(at + before + whole, HUGE_BYTES - before);
    madvise(at + before, whole, MADV_HUGEPAGE); /* where it is not allowed, small pages do as well */
    return at + before;
}

void *memory_get(enum Memory kind, size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX / 4 || fails())
        return NULL;
    void *at = kind == MEMORY_HEAP ? heap(bytes) : kind == MEMORY_PAGES ? pages(bytes) : huge(bytes);
    if (at != NULL)
        COUNT(1);
    return at;
}

void memory_put(enum Memory kind, void *at, size_t bytes)
{
    if (at == NULL)
        return;
    COUNT(-1);
    if (kind == MEMORY_HEAP) {
        look(at, bytes);
        free(at);
    } else {
        munmap(at, kind == MEMORY_HUGE ? WHOLE(bytes, HUGE_BYTES) : bytes);
    }
}

void memory_let_go(void *at, size_t bytes)
{
    madvise(at, bytes, MADV_DONTNEED);
}
