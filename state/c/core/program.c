#include "program.h"

#include <stdbool.h>

#define MOST PROGRAM_MOST_NUMBER

static const Interval FALSE = {0.0, 0.0}, TRUE = {1.0, 1.0}, EITHER = {0.0, 1.0}, ANYTHING = {-MOST, MOST};

static unsigned arity_of(unsigned op)
{
    return op <= OP_TERM ? 0 : op == OP_NOT ? 1 : 2;
}

enum ProgramFault program_check(const Instruction *program, size_t count, size_t terms, size_t *at)
{
    *at = 0;
    if (count == 0 || count > PROGRAM_MOST_INSTRUCTIONS)
        return PROGRAM_SIZE;
    unsigned depth = 0;
    for (; *at < count; *at += 1) {
        const Instruction *step = &program[*at];
        unsigned op = step->op;
        if (op >= OP_COUNT)
            return PROGRAM_OP;
        if (step->arity != arity_of(op) || step->zero != 0 || (step->index != 0 && op != OP_TERM)
            || (!(step->number == 0.0) && op != OP_NUM))
            return PROGRAM_FIELDS;
        if (op == OP_TERM && step->index >= terms)
            return PROGRAM_TERM;
        if (!(-MOST <= step->number && step->number <= MOST))
            return PROGRAM_NUMBER;
        if (step->arity > depth)
            return PROGRAM_OPERANDS;
        bool ends = op == OP_END, last = *at == count - 1;
        if (ends != last || (ends && depth != 1))
            return PROGRAM_END;
        depth = depth - step->arity + !ends;
        if (depth > PROGRAM_MOST_STACK)
            return PROGRAM_DEPTH;
    }
    return PROGRAM_SOUND;
}

static double bounded(double number)
{
    return number > MOST ? MOST : number < -MOST ? -MOST : number;
}

/* what a term gives; what is no interval may be anything */
static Interval held(Interval value)
{
    return value.low <= value.high ? (Interval){bounded(value.low), bounded(value.high)} : ANYTHING;
}

static Interval truth(Interval value)
{
    return (Interval){value.low > 0.0, value.high > 0.0};
}

static Interval not(Interval value)
{
    return (Interval){1.0 - value.high, 1.0 - value.low};
}

/* the least and the most of four; of equal ones the first, as Python's min and max have it (0.0 and -0.0 are equal) */
static Interval span(double a, double b, double c, double d)
{
    double all[] = {b, c, d}, low = a, high = a;
    for (int i = 0; i < 3; i++) {
        if (all[i] < low)
            low = all[i];
        if (all[i] > high)
            high = all[i];
    }
    return (Interval){bounded(low), bounded(high)};
}

static Interval divide(Interval a, Interval b)
{
    if (b.low <= 0.0 && 0.0 <= b.high) {
        if (b.low == b.high)
            return FALSE; /* a division by zero gives 0 */
        return (Interval){a.low >= 0.0 && b.low >= 0.0 ? 0.0 : -MOST, MOST};
    }
    return span(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high);
}

static Interval greater(Interval a, Interval b)
{
    return a.low > b.high ? TRUE : a.high <= b.low ? FALSE : EITHER;
}

static Interval at_least(Interval a, Interval b)
{
    return a.low >= b.high ? TRUE : a.high < b.low ? FALSE : EITHER;
}

static Interval equal(Interval a, Interval b)
{
    if (a.low > b.high || a.high < b.low)
        return FALSE;
    return a.low == a.high && a.high == b.low && b.low == b.high ? TRUE : EITHER;
}

static Interval join(unsigned op, Interval a, Interval b)
{
    switch (op) {
    case OP_ADD:
        return (Interval){bounded(a.low + b.low), bounded(a.high + b.high)};
    case OP_SUB:
        return (Interval){bounded(a.low - b.high), bounded(a.high - b.low)};
    case OP_MUL:
        return span(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high);
    case OP_DIV:
        return divide(a, b);
    case OP_GT:
        return greater(a, b);
    case OP_GE:
        return at_least(a, b);
    case OP_LT:
        return greater(b, a);
    case OP_LE:
        return at_least(b, a);
    case OP_EQ:
        return equal(a, b);
    case OP_NE:
        return not(equal(a, b));
    case OP_AND:
        a = truth(a), b = truth(b);
        return (Interval){a.low < b.low ? a.low : b.low, a.high < b.high ? a.high : b.high};
    default: /* OP_OR */
        a = truth(a), b = truth(b);
        return (Interval){a.low > b.low ? a.low : b.low, a.high > b.high ? a.high : b.high};
    }
}

Interval program_run(const Instruction *program, const Interval *terms)
{
    Interval stack[PROGRAM_MOST_STACK], *top = stack; /* the next free place */
    for (;; program++) {
        switch (program->op) {
        case OP_END:
            return stack[0];
        case OP_NUM:
            *top++ = (Interval){program->number, program->number};
            break;
        case OP_TERM:
            *top++ = held(terms[program->index]);
            break;
        case OP_NOT:
            top[-1] = not(truth(top[-1]));
            break;
        default:
            top -= 1;
            top[-1] = join(program->op, top[-1], *top);
        }
    }
}
