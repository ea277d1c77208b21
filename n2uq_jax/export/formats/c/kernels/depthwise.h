/* Depthwise convolution: plain loops over 16 lanes, which compilers turn into vector instructions. */
#ifndef N2UQ_DEPTHWISE_H
#define N2UQ_DEPTHWISE_H

#include "kernel.h"

/* The weights' rows are taps, and each lane has an input of its own. */
INLINE void multiply_depthwise(const convolution *c, const uint8_t *const *weights,
                               const uint8_t *const *inputs, int32_t pixels, sums *sums) {
  const int16_t *rows = (const int16_t *)(const void *)weights[0];
  /* Where all products of a channel sum to 16 bits, 16-bit arithmetic is twice as fast. */
  int narrow = c->taps * c->largest_input * c->largest_weight <= INT16_MAX;
  for (int32_t p = 0; p < pixels; p++) {
    const int16_t *x = (const int16_t *)(const void *)inputs[p];
    int32_t sum[LANES] = {0};
    if (narrow) {
      int16_t narrow_sum[LANES] = {0};
      for (int32_t t = 0; t < c->taps; t++)
        for (int32_t i = 0; i < LANES; i++)
          narrow_sum[i] = (int16_t)(narrow_sum[i] + x[c->tap_offsets[t] + i] * rows[t * LANES + i]);
      for (int32_t i = 0; i < LANES; i++) sum[i] = narrow_sum[i];
    } else {
      for (int32_t t = 0; t < c->taps; t++)
        for (int32_t i = 0; i < LANES; i++)
          sum[i] += x[c->tap_offsets[t] + i] * rows[t * LANES + i];
    }
    memcpy((*sums)[0][p], sum, sizeof sum);
  }
}

#endif
