/* Kernels for WebAssembly with vectors: table lookups for 1 and 2 bits, dot products of 16-bit integers
   for the rest. */
#include "lookup.h"

#if defined(__wasm_simd128__) && !defined(N2UQ_EMULATED) && !defined(N2UQ_PLAIN)
#define N2UQ_WASM
#include <wasm_simd128.h>

/* Of the tiles of lookups and of dot products, whose sums are four vectors a pixel. */
enum { WASM_PIXELS = 4, WASM_DOT_PIXELS = 2, WASM_VECTORS = LANES / 4 };

static void wasm_pack_fours(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, FOURS, pixel_of_fours, from, row, packed);
}

/* Of each pixel a sum of 8 bits for every channel and plane, and of 16 bits for every channel. */
typedef struct {
  v128_t low[WASM_PIXELS], high[WASM_PIXELS];
  v128_t wide[WASM_PIXELS][2];
} wasm_lookups;

/* Adds the sums of 8 bits, times their planes' powers of two, to those of 16, and clears them. */
INLINE void wasm_widen(wasm_lookups *sum) {
  for (int32_t p = 0; p < WASM_PIXELS; p++) {
    v128_t *wide = sum->wide[p], low = sum->low[p], high = sum->high[p];
    wide[0] = wasm_i16x8_add(wide[0], wasm_u16x8_extend_low_u8x16(low));
    wide[1] = wasm_i16x8_add(wide[1], wasm_u16x8_extend_high_u8x16(low));
    wide[0] = wasm_i16x8_add(wide[0], wasm_i16x8_shl(wasm_u16x8_extend_low_u8x16(high), 1));
    wide[1] = wasm_i16x8_add(wide[1], wasm_i16x8_shl(wasm_u16x8_extend_high_u8x16(high), 1));
    sum->low[p] = sum->high[p] = wasm_i8x16_splat(0);
  }
}

/* Four pixels by one block of channels. */
INLINE void wasm_lookup(const convolution *c, const uint8_t *block, const uint8_t *const *inputs,
                        int32_t bits, wasm_lookups *sum) {
  int32_t left = LOOKUPS_A_BYTE, step = 0;
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t] / 4;
    for (ptrdiff_t k = offset; k < offset + c->run / 4; k++, step++) {
      v128_t both = wasm_v128_load(block + (size_t)(step * bits / 2) * LANES);
      v128_t first = wasm_v128_and(both, wasm_i8x16_splat(15)), second = wasm_u8x16_shr(both, 4);
      /* Of one bit, two steps share the bytes. */
      if (bits == 1 && step % 2) first = second;
      for (int32_t p = 0; p < WASM_PIXELS; p++) {
        v128_t row = wasm_v128_load(lookup_fours[inputs[p][k]]);
        sum->low[p] = wasm_i8x16_add(sum->low[p], wasm_i8x16_swizzle(row, first));
        if (bits == 2) sum->high[p] = wasm_i8x16_add(sum->high[p], wasm_i8x16_swizzle(row, second));
      }
      if (--left > 0) continue;
      wasm_widen(sum);
      left = LOOKUPS_A_BYTE;
    }
  }
  wasm_widen(sum);
}

static void wasm_multiply_codes(const convolution *c, const uint8_t *const *weights,
                                const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  v128_t zero = wasm_i8x16_splat(0);
  wasm_lookups sum;
  for (int32_t p = 0; p < WASM_PIXELS; p++)
    sum.low[p] = sum.high[p] = sum.wide[p][0] = sum.wide[p][1] = zero;
  /* Of a constant number of bits, the loop has no branch. */
  if (c->bits == 2)
    wasm_lookup(c, weights[0], inputs, 2, &sum);
  else
    wasm_lookup(c, weights[0], inputs, 1, &sum);
  for (int32_t p = 0; p < WASM_PIXELS; p++) {
    uint16_t wide[LANES];
    wasm_v128_store(wide, sum.wide[p][0]);
    wasm_v128_store(wide + LANES / 2, sum.wide[p][1]);
    for (int32_t i = 0; i < LANES; i++)
      (*sums)[0][p][i] = c->first * totals[p] + c->step * wide[i];
  }
}

static const kernel wasm_lookup_kernel = {
    .name = "wasm_lookup",
    .pixels = WASM_PIXELS,
    .blocks = 1,
    .form = FOURS,
    .available = everywhere,
    .suits = lookup_suits,
    .pack = wasm_pack_fours,
    .multiply = wasm_multiply_codes,
    .finish = reference_finish,
    .pool = reference_pool,
};

static int wasm_dot_suits(const convolution *c) { return !c->depthwise; }

static size_t wasm_prepared_pairs(const convolution *c) { return (size_t)steps_of(c) * 8 * LANES; }

/* The weights of two inputs: those of a channel in its 32 bits. */
static void wasm_prepare_pairs(const convolution *c, const uint8_t *const *blocks, void *to) {
  int16_t *pairs = to;
  for (int32_t step = 0; step < steps_of(c); step++) {
    uint32_t words[LANES];
    four_weights(c, blocks[0], step, words);
    for (int32_t two = 0; two < 4; two += 2)
      for (int32_t i = 0; i < LANES; i++, pairs += 2) {
        pairs[0] = (int16_t)signed_byte(words[i], two);
        pairs[1] = (int16_t)signed_byte(words[i], two + 1);
      }
  }
}

static void wasm_dot(const convolution *c, const uint8_t *const *weights,
                     const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  v128_t sum[WASM_DOT_PIXELS][WASM_VECTORS];
  for (int32_t p = 0; p < WASM_DOT_PIXELS; p++)
    for (int32_t v = 0; v < WASM_VECTORS; v++) sum[p][v] = wasm_i32x4_splat(0);
  const uint8_t *block = weights[0];
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = 2 * (ptrdiff_t)c->tap_offsets[t], end = offset + 2 * (ptrdiff_t)c->run;
    for (ptrdiff_t k = offset; k < end; k += 4, block += 4 * LANES)
      for (int32_t p = 0; p < WASM_DOT_PIXELS; p++) {
        v128_t two = wasm_v128_load32_splat(inputs[p] + k);
        for (int32_t v = 0; v < WASM_VECTORS; v++) {
          v128_t products = wasm_i32x4_dot_i16x8(two, wasm_v128_load(block + 16 * v));
          sum[p][v] = wasm_i32x4_add(sum[p][v], products);
        }
      }
  }
  for (int32_t p = 0; p < WASM_DOT_PIXELS; p++)
    for (int32_t v = 0; v < WASM_VECTORS; v++) wasm_v128_store(&(*sums)[0][p][4 * v], sum[p][v]);
}

static const kernel wasm_dot_kernel = {
    .name = "wasm_dot",
    .pixels = WASM_DOT_PIXELS,
    .blocks = 1,
    .form = SHORTS,
    .available = everywhere,
    .suits = wasm_dot_suits,
    .prepared_bytes = wasm_prepared_pairs,
    .prepare = wasm_prepare_pairs,
    .pack = reference_pack,
    .multiply = wasm_dot,
    .finish = reference_finish,
    .pool = reference_pool,
};

#endif
