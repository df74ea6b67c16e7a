/* Where the core's memory comes from. All of it is asked for here, so that tests can let any single call fail and can
 * see that everything is given back. Any thread may call. */
#ifndef SEGMENTS_MEMORY_H
#define SEGMENTS_MEMORY_H

#include <stddef.h>

#define HUGE_BYTES ((size_t)2 << 20)

enum Memory {
    MEMORY_HEAP,  /* aligned to 64 bytes */
    MEMORY_PAGES, /* of the system, taken when they are first touched */
    MEMORY_HUGE,  /* the same, aligned to 2 MiB and in huge pages where the system allows them */
};

/* Zeroed memory; NULL: there is none. */
void *memory_get(enum Memory kind, size_t bytes);
/* Gives back what memory_get(kind, bytes) gave. NULL is nothing. */
void memory_put(enum Memory kind, void *at, size_t bytes);
/* Lets the pages go that lie in [at, at + bytes) of MEMORY_PAGES or MEMORY_HUGE; they read as zeros again. */
void memory_let_go(void *at, size_t bytes);

#ifdef MEMORY_FAULTS /* for tests alone */
extern _Atomic long memory_fails_in;  /* 1: the next call of memory_get fails; 0: none does */
extern _Atomic int memory_fails_on;   /* and all that follow */
extern _Atomic long memory_live;      /* what was got and not put */
extern _Atomic long memory_left;      /* bytes other than 0 in the piece of the heap that was last put */
#endif

/* What nobody may touch just now, told to the address sanitizer. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define MEMORY_CLOSE(at, bytes) __asan_poison_memory_region((at), (bytes))
#define MEMORY_OPEN(at, bytes) __asan_unpoison_memory_region((at), (bytes))
#else
#define MEMORY_CLOSE(at, bytes) ((void)(at), (void)(bytes))
#define MEMORY_OPEN(at, bytes) ((void)(at), (void)(bytes))
#endif

#endif
