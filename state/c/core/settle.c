#include "settle.h"

#include <math.h>
#include <stdlib.h>

#include "fetch.h"

static int by_mark(const void *one, const void *other)
{
    uint64_t a = ((const TallySpec *)one)->mark, b = ((const TallySpec *)other)->mark;
    return (a > b) - (a < b);
}

void settle_sort(TallySpec *specs, size_t count)
{
    if (count > 1)
        qsort(specs, count, sizeof *specs, by_mark);
}

static uint64_t bytes_of(const IdsAt *ids, const IdsChange *change)
{
    uint64_t bytes = ids->block->size;
    for (uint32_t number = change->put; number < change->stored; number++)
        bytes += ids_record(ids, number) != NULL ? IDS_RECORD_BYTES : 0;
    return bytes;
}

uint32_t turn_settle(Cache *cache, const TallySpec *specs, size_t count, Settled *into, SettledAll *all)
{
    uint32_t found = 0;
    *all = (SettledAll){.earliest = (double)INFINITY};
    for (uint32_t number = 0; number < cache->turn.count; number++) {
        fetch_copy(cache, number + FETCH_AHEAD);
        fetch_copy_rest(cache, number + FETCH_AHEAD_REST);
        if (turn_is_gone(cache, number))
            continue;
        UserBlock block;
        IdsAt ids;
        const Copy *own = turn_copy(cache, number);
        turn_open(cache, number, &block, &ids);
        cells_trim(&block, specs, count, block_time(&block));
        block_put_version(&block, block_version(&block) + 1);
        turn_close(cache, number, &block);
        double due = block_due(&block);
        all->earliest = due < all->earliest ? due : all->earliest;
        all->cut += own->cut;
        Settled *settled = &into[found++];
        *settled = (Settled){.number = number, .timed = due == own->timer, .ids = ids_change(&ids)};
        all->bytes += bytes_of(&ids, &settled->ids);
    }
    return found;
}
