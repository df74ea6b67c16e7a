/* What the benchmarks of the core share: numbers drawn alike in each run, and this thread's processor time. */
#ifndef BENCHMARKS_DRAWING_H
#define BENCHMARKS_DRAWING_H

#include <stdint.h>
#include <time.h>

static uint64_t state = 1;

/* From 0 to ``below`` - 1. */
static uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 32) * below >> 32);
}

/* Nanoseconds. */
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

#endif
