/* Kernels for AVX-512: table lookups with VBMI's vpermb, dot products of bytes with VNNI. */
#include "avx2.c"
#include "threes.h"

#ifdef N2UQ_X86

/* Lookups. The codes of three neighbouring channels are a number below 64, and so are three weights.
   A row of the table holds, for three codes, the sum of products with every three weights: vpermb
   looks 64 channels up at once. Rows are at most 27, so nine of them fit a byte. */
enum { TRIPLES_A_BYTE = 255 / 27 };

static int32_t triples_of(const convolution *c) {
  return c->taps * (c->run / c->pitch) * ((c->pitch + 2) / 3);
}

static int vbmi_suits(const convolution *c) {
  int32_t most = c->largest_input * ((1 << c->bits) - 1);
  return !c->depthwise && c->bits <= 2 && c->zero == NULL && c->input->type == U8 &&
         c->run % c->pitch == 0 && c->largest_input <= 3 && c->taps * c->run <= (int32_t)UINT16_MAX / most;
}

static size_t vbmi_prepared_bytes(const convolution *c) { return (size_t)triples_of(c) * 4 * LANES; }

/* The number of one weight of a block in each lane, from its bit planes. */
VBMI INLINE uint8_t weight_number(const uint8_t *block, int32_t bits, int32_t input, int32_t lane) {
  int32_t row = input / 4 * bits, bit = input % 4;
  uint32_t number = 0;
  for (int32_t plane = 0; plane < bits; plane++, row++)
    number |= (((uint32_t)block[row / 2 * LANES + lane] >> (row % 2 * 4 + bit)) & 1u) << plane;
  return (uint8_t)number;
}

VBMI static void vbmi_prepare(const convolution *c, const uint8_t *const *blocks, void *to) {
  uint8_t *triples = to;
  for (int32_t pixel = 0; pixel < c->taps * (c->run / c->pitch); pixel++)
    for (int32_t channel = 0; channel < c->pitch; channel += 3, triples += 4 * LANES) {
      memset(triples, 0, 4 * LANES);
      for (int32_t j = 0; j < smaller(3, c->pitch - channel); j++)
        for (int32_t b = 0; b < 4; b++)
          for (int32_t i = 0; i < LANES; i++) {
            uint8_t number = weight_number(blocks[b], c->bits, pixel * c->pitch + channel + j, i);
            triples[b * LANES + i] = (uint8_t)(triples[b * LANES + i] | number << (2 * j));
          }
    }
}

VBMI static void vbmi_pack(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, THREES, from, row, packed);
}

VBMI INLINE __m512i looked_up_threes(__m512i sum, uint8_t codes, __m512i weights) {
  return _mm512_add_epi8(sum, _mm512_permutexvar_epi8(weights, _mm512_loadu_si512(lookup_threes[codes])));
}

/* 16-bit sums: of each 16 channels the first eight, and the others. */
typedef struct {
  __m512i low, high;
} vbmi_sums;

VBMI INLINE void widen_threes(vbmi_sums *wide, __m512i sum) {
  __m512i zero = _mm512_setzero_si512();
  wide->low = _mm512_add_epi16(wide->low, _mm512_unpacklo_epi8(sum, zero));
  wide->high = _mm512_add_epi16(wide->high, _mm512_unpackhi_epi8(sum, zero));
}

VBMI INLINE void store_threes(const convolution *c, const vbmi_sums *wide, int32_t total, int32_t pixel,
                              sums *sums) {
  uint16_t low[2 * LANES], high[2 * LANES];
  memcpy(low, &wide->low, sizeof low);
  memcpy(high, &wide->high, sizeof high);
  for (int32_t b = 0; b < 4; b++)
    for (int32_t i = 0; i < 8; i++) {
      (*sums)[b][pixel][i] = c->first * total + c->step * low[8 * b + i];
      (*sums)[b][pixel][8 + i] = c->first * total + c->step * high[8 * b + i];
    }
}

VBMI static void vbmi_lookup(const convolution *c, const uint8_t *const *weights,
                             const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  const __m512i zero = _mm512_setzero_si512();
  vbmi_sums wide[8];
  for (int32_t p = 0; p < 8; p++) wide[p].low = wide[p].high = zero;
  __m512i sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
  __m512i sum4 = zero, sum5 = zero, sum6 = zero, sum7 = zero;
  const uint8_t *triples = weights[0];
  int32_t left = TRIPLES_A_BYTE;
  /* A tap's offset is a number of whole pixels. */
  ptrdiff_t pixel_triples = (c->pitch + 2) / 3;
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t] / c->pitch * pixel_triples;
    const uint8_t *codes0 = inputs[0] + offset, *codes1 = inputs[1] + offset;
    const uint8_t *codes2 = inputs[2] + offset, *codes3 = inputs[3] + offset;
    const uint8_t *codes4 = inputs[4] + offset, *codes5 = inputs[5] + offset;
    const uint8_t *codes6 = inputs[6] + offset, *codes7 = inputs[7] + offset;
    for (ptrdiff_t k = 0, steps = c->run / c->pitch * pixel_triples; k < steps;) {
      ptrdiff_t end = k + left < steps ? k + left : steps;
      left -= (int32_t)(end - k);
      for (; k < end; k++, triples += 4 * LANES) {
        __m512i three = _mm512_loadu_si512(triples);
        sum0 = looked_up_threes(sum0, codes0[k], three);
        sum1 = looked_up_threes(sum1, codes1[k], three);
        sum2 = looked_up_threes(sum2, codes2[k], three);
        sum3 = looked_up_threes(sum3, codes3[k], three);
        sum4 = looked_up_threes(sum4, codes4[k], three);
        sum5 = looked_up_threes(sum5, codes5[k], three);
        sum6 = looked_up_threes(sum6, codes6[k], three);
        sum7 = looked_up_threes(sum7, codes7[k], three);
      }
      if (left > 0 && (k < steps || t + 1 < c->taps)) continue;
      widen_threes(&wide[0], sum0), widen_threes(&wide[1], sum1);
      widen_threes(&wide[2], sum2), widen_threes(&wide[3], sum3);
      widen_threes(&wide[4], sum4), widen_threes(&wide[5], sum5);
      widen_threes(&wide[6], sum6), widen_threes(&wide[7], sum7);
      sum0 = sum1 = sum2 = sum3 = sum4 = sum5 = sum6 = sum7 = zero;
      left = TRIPLES_A_BYTE;
    }
  }
  for (int32_t p = 0; p < 8; p++) store_threes(c, &wide[p], totals[p], p, sums);
}

/* Dot products of bytes: vpdpbusd adds four products to each of 16 channels. */
static int vnni_suits(const convolution *c) { return !c->depthwise && c->largest_byte <= UINT8_MAX; }

static size_t vnni_prepared_bytes(const convolution *c) { return (size_t)steps_of(c) * 2 * 4 * LANES; }

VNNI static void vnni_prepare(const convolution *c, const uint8_t *const *blocks, void *to) {
  uint32_t *words = to;
  for (int32_t step = 0; step < steps_of(c); step++, words += 2 * LANES) {
    four_weights(c, blocks[0], step, words);
    four_weights(c, blocks[1], step, words + LANES);
  }
}

VNNI static void vnni_pack(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, BYTES, from, row, packed);
}

VNNI INLINE __m512i four_bytes(const uint8_t *inputs) {
  int32_t four;
  memcpy(&four, inputs, sizeof four);
  return _mm512_set1_epi32(four);
}

VNNI static void vnni_bytes(const convolution *c, const uint8_t *const *weights,
                            const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  const __m512i zero = _mm512_setzero_si512();
  __m512i a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero;
  __m512i b0 = zero, b1 = zero, b2 = zero, b3 = zero, b4 = zero, b5 = zero, b6 = zero, b7 = zero;
  const uint8_t *blocks = weights[0];
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t];
    const uint8_t *x0 = inputs[0] + offset, *x1 = inputs[1] + offset, *x2 = inputs[2] + offset;
    const uint8_t *x3 = inputs[3] + offset, *x4 = inputs[4] + offset, *x5 = inputs[5] + offset;
    const uint8_t *x6 = inputs[6] + offset, *x7 = inputs[7] + offset;
    for (ptrdiff_t k = 0; k < c->run; k += 4, blocks += 8 * LANES) {
      __m512i a = _mm512_loadu_si512(blocks), b = _mm512_loadu_si512(blocks + 4 * LANES);
      __m512i x = four_bytes(x0 + k);
      a0 = _mm512_dpbusd_epi32(a0, x, a), b0 = _mm512_dpbusd_epi32(b0, x, b);
      x = four_bytes(x1 + k);
      a1 = _mm512_dpbusd_epi32(a1, x, a), b1 = _mm512_dpbusd_epi32(b1, x, b);
      x = four_bytes(x2 + k);
      a2 = _mm512_dpbusd_epi32(a2, x, a), b2 = _mm512_dpbusd_epi32(b2, x, b);
      x = four_bytes(x3 + k);
      a3 = _mm512_dpbusd_epi32(a3, x, a), b3 = _mm512_dpbusd_epi32(b3, x, b);
      x = four_bytes(x4 + k);
      a4 = _mm512_dpbusd_epi32(a4, x, a), b4 = _mm512_dpbusd_epi32(b4, x, b);
      x = four_bytes(x5 + k);
      a5 = _mm512_dpbusd_epi32(a5, x, a), b5 = _mm512_dpbusd_epi32(b5, x, b);
      x = four_bytes(x6 + k);
      a6 = _mm512_dpbusd_epi32(a6, x, a), b6 = _mm512_dpbusd_epi32(b6, x, b);
      x = four_bytes(x7 + k);
      a7 = _mm512_dpbusd_epi32(a7, x, a), b7 = _mm512_dpbusd_epi32(b7, x, b);
    }
  }
  int32_t(*first)[LANES] = (*sums)[0], (*second)[LANES] = (*sums)[1];
  _mm512_storeu_si512(first[0], a0), _mm512_storeu_si512(second[0], b0);
  _mm512_storeu_si512(first[1], a1), _mm512_storeu_si512(second[1], b1);
  _mm512_storeu_si512(first[2], a2), _mm512_storeu_si512(second[2], b2);
  _mm512_storeu_si512(first[3], a3), _mm512_storeu_si512(second[3], b3);
  _mm512_storeu_si512(first[4], a4), _mm512_storeu_si512(second[4], b4);
  _mm512_storeu_si512(first[5], a5), _mm512_storeu_si512(second[5], b5);
  _mm512_storeu_si512(first[6], a6), _mm512_storeu_si512(second[6], b6);
  _mm512_storeu_si512(first[7], a7), _mm512_storeu_si512(second[7], b7);
}

static const kernel vbmi_kernel = {
    .name = "avx512_lookup",
    .pixels = 8,
    .blocks = 4,
    .form = THREES,
    .available = has_vbmi,
    .suits = vbmi_suits,
    .prepared_bytes = vbmi_prepared_bytes,
    .prepare = vbmi_prepare,
    .pack = vbmi_pack,
    .multiply = vbmi_lookup,
    .finish = avx2_finish,
    .pool = avx2_pool,
};

static const kernel vnni_kernel = {
    .name = "avx512_bytes",
    .pixels = 8,
    .blocks = 2,
    .form = BYTES,
    .available = has_vnni,
    .suits = vnni_suits,
    .prepared_bytes = vnni_prepared_bytes,
    .prepare = vnni_prepare,
    .pack = vnni_pack,
    .multiply = vnni_bytes,
    .finish = avx2_finish,
    .pool = avx2_pool,
};

#endif
