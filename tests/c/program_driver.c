/* Checks and runs the programs that it is sent: u32 instructions, u32 terms, the instructions, the terms' intervals.
 * The answer: u32 fault, u32 at, and the interval that a sound program gives (0, 0 else). Ends with its input. */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>

static void *take(size_t size)
{
    void *data = malloc(size); /* as large as it is, so that a step beyond it is seen */
    if (data == NULL || (size && fread(data, size, 1, stdin) != 1))
        exit(1);
    return data;
}

int main(void)
{
    uint32_t sizes[2];
    while (fread(sizes, sizeof sizes, 1, stdin) == 1) {
        Instruction *program = take(sizes[0] * sizeof(Instruction));
        Interval *terms = take(sizes[1] * sizeof(Interval)), found = {0.0, 0.0};
        size_t at;
        uint32_t answer[2] = {(uint32_t)program_check(program, sizes[0], sizes[1], &at)};
        answer[1] = (uint32_t)at;
        if (answer[0] == PROGRAM_SOUND)
            found = program_run(program, terms);
        fwrite(answer, sizeof answer, 1, stdout);
        fwrite(&found, sizeof found, 1, stdout);
        fflush(stdout);
        free(program);
        free(terms);
    }
    return 0;
}
