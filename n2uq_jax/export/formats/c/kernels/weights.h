/* Weights as they are stored, and as kernels want them.

   Weights of a block of 16 output channels are cut into bit planes. A nibble holds one bit of the
   weights of four consecutive inputs, least significant for the first; 16 nibbles, one a channel, lie
   in 16 consecutive bytes; two such rows share those bytes, the first in the low nibbles. The rows of
   four inputs' planes follow each other from the lowest bit on, then come the next four inputs'. So b
   bits take b bits, and a row of nibbles is what a table lookup takes as its index. */
#ifndef N2UQ_WEIGHTS_H
#define N2UQ_WEIGHTS_H

#include "stages.h"

/* Weights are constants of 64 bits, whose bytes big-endian processors keep in the other order: the byte
   that is number i elsewhere is there number i ^ REVERSED. All vector kernels are little-endian. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
enum { REVERSED = 7 };
#else
enum { REVERSED = 0 };
#endif

INLINE int32_t steps_of(const convolution *c) {
  /* A depthwise channel's inputs are its taps. */
  return c->depthwise ? (c->taps + 3) / 4 : c->taps * (c->run / 4);
}

INLINE size_t block_bytes(const convolution *c) {
  return (size_t)(steps_of(c) * c->bits + 1) / 2 * LANES;
}

/* The weights of four inputs: in words[channel], the first input's weight in the lowest byte. */
INLINE void four_weights(const convolution *c, const uint8_t *block, int32_t step, uint32_t *words) {
  for (int32_t i = 0; i < LANES; i++) words[i] = 0;
  for (int32_t plane = 0; plane < c->bits; plane++) {
    int32_t row = step * c->bits + plane;
    const uint8_t *bytes = block + (size_t)(row / 2) * LANES;
    int32_t high = row % 2 * 4;
    for (int32_t i = 0; i < LANES; i++) {
      /* Spread the nibble's bits over four bytes. */
      uint32_t nibble = ((uint32_t)bytes[i ^ REVERSED] >> high) & 15u;
      words[i] |= ((nibble * 0x00204081u) & 0x01010101u) << plane;
    }
  }
  /* first + step * m in each byte, carries between bytes kept out. */
  uint32_t first = ((uint32_t)c->first & 0xffu) * 0x01010101u;
  for (int32_t i = 0; i < LANES; i++) {
    uint32_t m = words[i] * (uint32_t)c->step;
    words[i] = ((m & 0x7f7f7f7fu) + (first & 0x7f7f7f7fu)) ^ ((m ^ first) & 0x80808080u);
  }
}

INLINE int32_t signed_byte(uint32_t word, int32_t index) {
  return (int32_t)(((word >> (8 * index)) & 0xffu) ^ 0x80u) - 0x80;
}

/* For loops over channels: a row of 16 channels for each input, and `pitch` from row to row. */
INLINE void prepare_rows(const convolution *c, const uint8_t *block, int32_t pitch, int16_t *rows) {
  for (int32_t step = 0; step < steps_of(c); step++, rows += 4 * pitch) {
    uint32_t words[LANES];
    four_weights(c, block, step, words);
    for (int32_t k = 0; k < 4; k++)
      for (int32_t i = 0; i < LANES; i++)
        rows[k * pitch + i] = (int16_t)signed_byte(words[i], k);
  }
}

#endif
