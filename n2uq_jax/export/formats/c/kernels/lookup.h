/* Table lookups for 1 and 2 bits: what their kernels on every processor share.

   Four neighbouring 2-bit codes are a byte, and the byte chooses a row of a table: at i, the sum of
   those of the four codes whose bit is set in i. A plane's nibble of four weights is such an i, so one
   shuffle of bytes multiplies four codes by one bit of four weights in every channel of a vector, and
   the planes are added with their powers of two at the end. */
#ifndef N2UQ_LOOKUP_H
#define N2UQ_LOOKUP_H

#include "fours.h"
#include "kernel.h"

/* Rows are at most 12: so many of them fit a byte. */
enum { LOOKUPS_A_BYTE = 255 / 12 };

INLINE int lookup_suits(const convolution *c) {
  /* Sums of codes times weight numbers are kept in 16 bits, unsigned. */
  int32_t most = c->largest_input * ((1 << c->bits) - 1);
  return !c->depthwise && c->bits <= 2 && c->zero == NULL && c->input->type == U8 &&
         c->pitch % 4 == 0 && c->largest_input <= 3 && c->taps * c->run <= (int32_t)UINT16_MAX / most;
}

#endif
