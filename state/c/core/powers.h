/* 2**x in one arithmetic for all processors and for Python: a table, a polynomial, and no contraction (-ffp-contract=off).
 * libm picks a kernel by processor, and what is decayed must come out alike everywhere. state/powers.py does the same. */
#ifndef SEGMENTS_POWERS_H
#define SEGMENTS_POWERS_H

/* 2**x for any number: 0 where it would be below 2**-1022 (and for what is no number), infinity from 2**1023 on. */
double power_of_two(double x);

#endif
