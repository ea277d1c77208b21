/* Kernels for 64-bit ARM: table lookups for 1 and 2 bits, dot products of bytes where it has them. */
#include "lookup.h"

#if defined(__ARM_NEON) && defined(__aarch64__) && !defined(N2UQ_EMULATED) && !defined(N2UQ_PLAIN)
#define N2UQ_NEON
#include <arm_neon.h>

static void neon_pack_fours(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, FOURS, pixel_of_fours, from, row, packed);
}

static uint8x16_t neon_looked_up(uint8x16_t sum, uint8x16_t row, uint8x16_t nibbles) {
  return vaddq_u8(sum, vqtbl1q_u8(row, nibbles));
}

/* Adds a plane's sums of one pixel and block, times a power of two, to 16-bit ones. */
static void neon_widen(uint16_t *wide, uint8x16_t plane, int32_t power) {
  int16x8_t shift = vdupq_n_s16((int16_t)power);
  vst1q_u16(wide, vaddq_u16(vld1q_u16(wide), vshlq_u16(vmovl_u8(vget_low_u8(plane)), shift)));
  vst1q_u16(wide + 8, vaddq_u16(vld1q_u16(wide + 8), vshlq_u16(vmovl_u8(vget_high_u8(plane)), shift)));
}

/* Four pixels by one block of channels. */
static void neon_lookup(const convolution *c, const uint8_t *const *weights,
                        const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  const uint8x16_t zero = vdupq_n_u8(0), low_nibbles = vdupq_n_u8(15);
  uint16_t wide[4][LANES] = {{0}};
  uint8x16_t low0 = zero, low1 = zero, low2 = zero, low3 = zero;
  uint8x16_t high0 = zero, high1 = zero, high2 = zero, high3 = zero;
  int32_t left = LOOKUPS_A_BYTE, step = 0;
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t] / 4;
    const uint8_t *codes0 = inputs[0] + offset, *codes1 = inputs[1] + offset;
    const uint8_t *codes2 = inputs[2] + offset, *codes3 = inputs[3] + offset;
    for (ptrdiff_t k = 0; k < c->run / 4; k++, step++) {
      uint8x16_t row0 = vld1q_u8(lookup_fours[codes0[k]]), row1 = vld1q_u8(lookup_fours[codes1[k]]);
      uint8x16_t row2 = vld1q_u8(lookup_fours[codes2[k]]), row3 = vld1q_u8(lookup_fours[codes3[k]]);
      uint8x16_t bytes = vld1q_u8(weights[0] + (size_t)(step * c->bits / 2) * LANES);
      uint8x16_t first = vandq_u8(bytes, low_nibbles), second = vshrq_n_u8(bytes, 4);
      if (c->bits == 2) {
        high0 = neon_looked_up(high0, row0, second), high1 = neon_looked_up(high1, row1, second);
        high2 = neon_looked_up(high2, row2, second), high3 = neon_looked_up(high3, row3, second);
      } else if (step % 2) {
        first = second; /* two steps share the bytes */
      }
      low0 = neon_looked_up(low0, row0, first), low1 = neon_looked_up(low1, row1, first);
      low2 = neon_looked_up(low2, row2, first), low3 = neon_looked_up(low3, row3, first);
      if (--left > 0) continue;
      neon_widen(wide[0], low0, 0), neon_widen(wide[1], low1, 0);
      neon_widen(wide[2], low2, 0), neon_widen(wide[3], low3, 0);
      neon_widen(wide[0], high0, 1), neon_widen(wide[1], high1, 1);
      neon_widen(wide[2], high2, 1), neon_widen(wide[3], high3, 1);
      low0 = low1 = low2 = low3 = high0 = high1 = high2 = high3 = zero;
      left = LOOKUPS_A_BYTE;
    }
  }
  neon_widen(wide[0], low0, 0), neon_widen(wide[1], low1, 0);
  neon_widen(wide[2], low2, 0), neon_widen(wide[3], low3, 0);
  neon_widen(wide[0], high0, 1), neon_widen(wide[1], high1, 1);
  neon_widen(wide[2], high2, 1), neon_widen(wide[3], high3, 1);
  for (int32_t p = 0; p < 4; p++)
    for (int32_t i = 0; i < LANES; i++)
      (*sums)[0][p][i] = c->first * totals[p] + c->step * wide[p][i];
}

static const kernel neon_lookup_kernel = {
    .name = "neon_lookup",
    .pixels = 4,
    .blocks = 1,
    .form = FOURS,
    .available = everywhere,
    .suits = lookup_suits,
    .pack = neon_pack_fours,
    .multiply = neon_lookup,
    .finish = reference_finish,
    .pool = reference_pool,
};

#ifdef __ARM_FEATURE_DOTPROD

/* sdot takes signed bytes: inputs are at most 127. */
static int neon_dot_suits(const convolution *c) { return !c->depthwise && c->largest_byte <= INT8_MAX; }

static size_t neon_prepared_bytes(const convolution *c) { return (size_t)steps_of(c) * 4 * LANES; }

static void neon_prepare_bytes(const convolution *c, const uint8_t *const *blocks, void *to) {
  uint32_t *words = to;
  for (int32_t step = 0; step < steps_of(c); step++, words += LANES)
    four_weights(c, blocks[0], step, words);
}

static void neon_pack_bytes(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, BYTES, pixel_of_bytes, from, row, packed);
}

static int8x16_t neon_four_inputs(const uint8_t *inputs) {
  int32_t four;
  memcpy(&four, inputs, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* Sums of a pixel: 16 channels. */
typedef struct {
  int32x4_t a, b, c, d;
} neon_sums;

static neon_sums neon_dotted(neon_sums sum, int8x16_t inputs, neon_sums weights) {
  sum.a = vdotq_s32(sum.a, vreinterpretq_s8_s32(weights.a), inputs);
  sum.b = vdotq_s32(sum.b, vreinterpretq_s8_s32(weights.b), inputs);
  sum.c = vdotq_s32(sum.c, vreinterpretq_s8_s32(weights.c), inputs);
  sum.d = vdotq_s32(sum.d, vreinterpretq_s8_s32(weights.d), inputs);
  return sum;
}

static void neon_put(int32_t *to, neon_sums sum) {
  vst1q_s32(to, sum.a), vst1q_s32(to + 4, sum.b), vst1q_s32(to + 8, sum.c), vst1q_s32(to + 12, sum.d);
}

static void neon_dot(const convolution *c, const uint8_t *const *weights,
                     const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  const int32x4_t zero = vdupq_n_s32(0);
  neon_sums sum0 = {zero, zero, zero, zero}, sum1 = sum0, sum2 = sum0, sum3 = sum0;
  const int32_t *block = (const int32_t *)(const void *)weights[0];
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t];
    for (ptrdiff_t k = offset; k < offset + c->run; k += 4, block += LANES) {
      neon_sums four = {vld1q_s32(block), vld1q_s32(block + 4), vld1q_s32(block + 8),
                        vld1q_s32(block + 12)};
      sum0 = neon_dotted(sum0, neon_four_inputs(inputs[0] + k), four);
      sum1 = neon_dotted(sum1, neon_four_inputs(inputs[1] + k), four);
      sum2 = neon_dotted(sum2, neon_four_inputs(inputs[2] + k), four);
      sum3 = neon_dotted(sum3, neon_four_inputs(inputs[3] + k), four);
    }
  }
  neon_put((*sums)[0][0], sum0), neon_put((*sums)[0][1], sum1);
  neon_put((*sums)[0][2], sum2), neon_put((*sums)[0][3], sum3);
}

static const kernel neon_dot_kernel = {
    .name = "neon_dot",
    .pixels = 4,
    .blocks = 1,
    .form = BYTES,
    .available = everywhere,
    .suits = neon_dot_suits,
    .prepared_bytes = neon_prepared_bytes,
    .prepare = neon_prepare_bytes,
    .pack = neon_pack_bytes,
    .multiply = neon_dot,
    .finish = reference_finish,
    .pool = reference_pool,
};

#endif

#endif
