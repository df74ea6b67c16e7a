/* The numbers of the layout as one, for Python to compare with its own (state/layout2.py) before it uses any of this. */
#ifndef SEGMENTS_ABI_H
#define SEGMENTS_ABI_H

#include <stdint.h>

uint64_t core_abi(void);

#endif
