/* Two partitions on two threads share one arena that is too small for both, under the thread sanitizer. */
#include <pthread.h>

#include "model.h"

static Arena *arena;
static _Atomic int running;

typedef struct {
    Model model;
    uint64_t seed;
    uint32_t steps;
} Partition;

static void *turns(void *of)
{
    Partition *partition = of;
    Model *model = &partition->model;
    model_begin(model, arena, partition->seed << 32, 20000, 0);
    for (uint32_t step = 0; step < partition->steps; step++) {
        EXPECT(model_step(model, 0) == 0);
        if (step % 20 == 0)
            model_compare(model);
    }
    model_compare(model);
    EXPECT(model->commits > partition->steps / 3 && model->let_go > 0 && model->faults == 0);
    model_end(model);
    running--;
    return NULL;
}

int main(void)
{
    static Partition partitions[2] = {{.seed = 11, .steps = 250}, {.seed = 12, .steps = 250}};
    pthread_t threads[2];
    arena = arena_new((size_t)1 << 20, MEMORY_PAGES);
    EXPECT(arena != NULL);
    running = 2;
    for (int at = 0; at < 2; at++)
        EXPECT(pthread_create(&threads[at], NULL, turns, &partitions[at]) == 0);
    size_t most = 0;
    while (running > 0) { /* whoever shows statistics reads meanwhile */
        size_t held = arena_held(arena);
        most = held > most ? held : most;
        EXPECT(arena_resident(arena) < (size_t)32 << 20);
    }
    for (int at = 0; at < 2; at++)
        EXPECT(pthread_join(threads[at], NULL) == 0);
    EXPECT(most > RUN_BYTES && arena_held(arena) == 0);
    arena_free(arena);
    puts("well");
    return 0;
}
