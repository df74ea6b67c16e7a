#include "arena.h"

#include <string.h>

#define ALL UINT32_MAX
#define LEAST_KEPT ((uint32_t)CHUNK_RUNS) /* runs that nobody has and that keep their pages */

_Static_assert(CHUNK_RUNS == 32, "masks of a chunk have 32 bits");

static size_t pages_bytes(const Arena *arena)
{
    return (size_t)(arena->count - 1) * HUGE_BYTES;
}

Arena *arena_new(size_t bound, enum Memory kind)
{
    size_t most = (size_t)MOST_RUNS / CHUNK_RUNS;
    if (bound > most / 4 * HUGE_BYTES)
        bound = most / 4 * HUGE_BYTES;
    Arena *arena = memory_get(MEMORY_HEAP, sizeof(Arena));
    if (arena == NULL)
        return NULL;
    arena->bound = bound;
    arena->kind = kind;
    arena->count = (uint32_t)(2 * bound / HUGE_BYTES + 128 + 1);
    arena->chunks = memory_get(MEMORY_HEAP, arena->count * sizeof(Chunk *));
    uint8_t *pages = arena->chunks == NULL ? NULL : memory_get(kind, pages_bytes(arena));
    if (pages == NULL || pthread_mutex_init(&arena->lock, NULL) != 0) {
        memory_put(kind, pages, pages_bytes(arena));
        memory_put(MEMORY_HEAP, arena->chunks, arena->count * sizeof(Chunk *));
        memory_put(MEMORY_HEAP, arena, sizeof(Arena));
        return NULL;
    }
    arena->base = (uint8_t *)((uintptr_t)pages - HUGE_BYTES);
    arena->first = 1;
    atomic_init(&arena->held, 0);
    return arena;
}

void arena_free(Arena *arena)
{
    if (arena == NULL)
        return;
    for (uint32_t at = 1; at < arena->count; at++)
        memory_put(MEMORY_HEAP, arena->chunks[at], sizeof(Chunk));
    memory_put(arena->kind, (void *)((uintptr_t)arena->base + HUGE_BYTES), pages_bytes(arena));
    memory_put(MEMORY_HEAP, arena->chunks, arena->count * sizeof(Chunk *));
    pthread_mutex_destroy(&arena->lock);
    memory_put(MEMORY_HEAP, arena, sizeof(Arena));
}

static uint32_t bits_of(uint32_t run, uint32_t runs)
{
    return (runs == CHUNK_RUNS ? ALL : ((uint32_t)1 << runs) - 1) << (run % CHUNK_RUNS);
}

/* the places where so many free runs begin */
static uint32_t places(uint32_t free, uint32_t runs)
{
    for (uint32_t more = 1; more < runs; more++)
        free &= (free >> 1); /* the last ones of a chunk shift zeros in: none begins where it would not fit */
    return free;
}

/* the chunk's number, with ``runs`` free ones in a row; 0: no memory */
static uint32_t find_chunk(Arena *arena, uint32_t runs)
{
    int full = 1; /* all chunks passed so far */
    for (uint32_t at = arena->first; at < arena->count; at++) {
        if (arena->chunks[at] == NULL) {
            arena->chunks[at] = memory_get(MEMORY_HEAP, sizeof(Chunk));
            if (arena->chunks[at] == NULL)
                return 0;
            arena->chunks[at]->free = arena->chunks[at]->cold = ALL;
        }
        if (places(arena->chunks[at]->free, runs) != 0)
            return at;
        full = full && arena->chunks[at]->free == 0;
        if (full)
            arena->first = at + 1;
    }
    return 0;
}

uint32_t arena_take(Arena *arena, uint32_t runs)
{
    uint32_t run = 0;
    pthread_mutex_lock(&arena->lock);
    uint32_t at = find_chunk(arena, runs);
    if (at != 0) {
        Chunk *chunk = arena->chunks[at];
        if (chunk->cold == ALL) { /* the first touch brings the whole huge page */
            chunk->cold = 0;
            arena->warm += (uint32_t)CHUNK_RUNS;
        }
        uint32_t first = (uint32_t)__builtin_ctz(places(chunk->free, runs));
        uint32_t bits = bits_of(first, runs);
        arena->warm += (uint32_t)__builtin_popcount(chunk->cold & bits);
        chunk->cold &= ~bits;
        chunk->free &= ~bits;
        arena->used += runs;
        run = at * (uint32_t)CHUNK_RUNS + first;
    }
    pthread_mutex_unlock(&arena->lock);
    if (run != 0)
        arena_count(arena, (int64_t)(runs * RUN_BYTES));
    return run;
}

/* Lets pages go when more are kept than is worth it. Part of a huge page only where other runs of it are in use: it
 * comes back as one when all are free. */
static void cool(Arena *arena, Chunk *chunk, uint32_t run, uint32_t bits)
{
    uint32_t kept = arena->used / 32 > LEAST_KEPT ? arena->used / 32 : LEAST_KEPT;
    int too_many = arena->warm - arena->used > kept;
    if (chunk->free == ALL && (too_many || chunk->cold != 0)) {
        run -= run % (uint32_t)CHUNK_RUNS;
        bits = ALL;
    } else if (!too_many) {
        return;
    }
    memory_let_go(arena->base + run * RUN_BYTES, (size_t)__builtin_popcount(bits) * RUN_BYTES);
    arena->warm -= (uint32_t)__builtin_popcount(bits & ~chunk->cold);
    chunk->cold |= bits;
}

void arena_give(Arena *arena, uint32_t run, uint32_t runs)
{
    Chunk *chunk = arena->chunks[run / CHUNK_RUNS];
    memset(arena->base + run * RUN_BYTES, 0, runs * RUN_BYTES); /* before the lock: nobody else has them yet */
    arena_count(arena, -(int64_t)(runs * RUN_BYTES));
    pthread_mutex_lock(&arena->lock);
    uint32_t bits = bits_of(run, runs);
    chunk->free |= bits;
    arena->used -= runs;
    if (run / CHUNK_RUNS < arena->first)
        arena->first = run / (uint32_t)CHUNK_RUNS;
    cool(arena, chunk, run, bits);
    pthread_mutex_unlock(&arena->lock);
}

void arena_count(Arena *arena, int64_t bytes)
{
    atomic_fetch_add_explicit(&arena->held, (size_t)bytes, memory_order_relaxed);
}

size_t arena_held(const Arena *arena)
{
    return atomic_load_explicit(&arena->held, memory_order_relaxed);
}

size_t arena_resident(Arena *arena)
{
    pthread_mutex_lock(&arena->lock);
    size_t bytes = arena->warm * RUN_BYTES;
    pthread_mutex_unlock(&arena->lock);
    return bytes;
}
