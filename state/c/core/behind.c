#include "behind.h"

#define NEARLY 8 /* an eighth of the bound is left for who comes while the dirty are written */

int behind_is_tight(const Cache *cache)
{
    size_t bound = cache->arena->bound;
    return cache->pressed > 0 || arena_held(cache->arena) > bound - bound / NEARLY + cache->turn.bytes;
}

typedef struct {
    Cache *cache;
    uint32_t flags;
    int (*put)(void *of, const Prefix *prefix);
    void *of;
} Putting;

static int put_one(void *of, Prefix *prefix)
{
    Putting *all = of;
    if ((prefix->flags & all->flags) != all->flags)
        return 0;
    int done = all->put(all->of, prefix);
    if (done >= 0) {
        prefix->flags = 0;
        all->cache->dirty--;
    }
    return done;
}

int behind_put(Cache *cache, uint64_t from, uint64_t until, uint32_t flags, int (*put)(void *of, const Prefix *prefix),
               void *of)
{
    Putting all = {.cache = cache, .flags = flags, .put = put, .of = of};
    if (cache->dirty == 0 || (flags & ENTRY_NEW && !cache->fresh))
        return 0;
    int done = table_each(&cache->table, &cache->slabs, from, until, put_one, &all);
    if (done >= 0 && flags & ENTRY_NEW && from == 0 && until == BEHIND_END)
        cache->fresh = 0;
    return done;
}
