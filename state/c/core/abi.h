/* What both sides must have in common, as one number each: Python compares them with its own before it uses any of this. */
#ifndef SEGMENTS_ABI_H
#define SEGMENTS_ABI_H

#include <stdint.h>

uint64_t layout_abi(void); /* of a user's record: state/layout2.py */
uint64_t plan_abi(void);   /* of a plan's image: state/plan_image.py */

#endif
