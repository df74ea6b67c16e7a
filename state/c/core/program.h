/* The little program that a rule becomes: postfix instructions whose values are intervals.
 *
 * streams/rules/program.py says what each op gives, and is the same in Python: what one takes the other takes, and they
 * give the same bits. That needs IEEE doubles and no contraction (-ffp-contract=off).
 */
#ifndef SEGMENTS_PROGRAM_H
#define SEGMENTS_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#define PROGRAM_MOST_INSTRUCTIONS 4096
#define PROGRAM_MOST_STACK 256
#define PROGRAM_MOST_NUMBER 1e300

enum Op {
    OP_END,
    OP_NUM,
    OP_TERM,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_GT,
    OP_GE,
    OP_LT,
    OP_LE,
    OP_EQ,
    OP_NE,
    OP_NOT,
    OP_AND,
    OP_OR,
    OP_COUNT
};

/* What is wrong with a program. */
enum ProgramFault {
    PROGRAM_SOUND,
    PROGRAM_SIZE,     /* no instructions, or too many */
    PROGRAM_OP,       /* an op that is not known */
    PROGRAM_FIELDS,   /* another arity than the op's, or something where nothing belongs */
    PROGRAM_TERM,     /* a term that is not there */
    PROGRAM_NUMBER,   /* a number that is too large, or none */
    PROGRAM_OPERANDS, /* an op with fewer values on the stack than it takes */
    PROGRAM_DEPTH,    /* too many values on the stack */
    PROGRAM_END       /* it ends in between, or not at its end, or with another number of values than one */
};

/* As they are stored, little-endian. */
typedef struct {
    uint8_t op, arity;
    uint16_t index; /* of a term */
    uint32_t zero;
    double number;
} Instruction;

/* The least and the most that a value may be; low = high where it is known. */
typedef struct {
    double low, high;
} Interval;

_Static_assert(sizeof(Instruction) == 16 && offsetof(Instruction, number) == 8, "an instruction is 16 bytes");

/* Whether a program of ``count`` instructions can be run with so many terms: its first fault, and in ``at`` the number
 * of the instruction that has it. */
enum ProgramFault program_check(const Instruction *program, size_t count, size_t terms, size_t *at);

/* What a program that was checked gives for these values of its terms. */
Interval program_run(const Instruction *program, const Interval *terms);

#endif
