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

#define START(p) __m512i sum##p = zero;
#define CODES(p) const uint8_t *codes##p = inputs[p] + offset;
#define LOOK_UP(p) sum##p = looked_up_threes(sum##p, codes##p[k], three);
#define WIDEN(p) widen_threes(&wide[p], sum##p), sum##p = zero;

VBMI static void vbmi_lookup(const convolution *c, const uint8_t *const *weights,
                             const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  const __m512i zero = _mm512_setzero_si512();
  vbmi_sums wide[8];
  for (int32_t p = 0; p < 8; p++) wide[p].low = wide[p].high = zero;
  EACH_OF_8(START)
  const uint8_t *triples = weights[0];
  int32_t left = TRIPLES_A_BYTE;
  /* A tap's offset is a number of whole pixels. */
  ptrdiff_t pixel_triples = (c->pitch + 2) / 3;
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t] / c->pitch * pixel_triples;
    EACH_OF_8(CODES)
    for (ptrdiff_t k = 0, steps = c->run / c->pitch * pixel_triples; k < steps;) {
      ptrdiff_t end = k + left < steps ? k + left : steps;
      left -= (int32_t)(end - k);
      for (; k < end; k++, triples += 4 * LANES) {
        __m512i three = _mm512_loadu_si512(triples);
        EACH_OF_8(LOOK_UP)
      }
      if (left > 0 && (k < steps || t + 1 < c->taps)) continue;
      EACH_OF_8(WIDEN)
      left = TRIPLES_A_BYTE;
    }
  }
  for (int32_t p = 0; p < 8; p++) store_threes(c, &wide[p], totals[p], p, sums);
}

#undef START
#undef CODES
#undef LOOK_UP
#undef WIDEN

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

#define START(p) __m512i first##p = zero, second##p = zero;
#define INPUTS(p) const uint8_t *x##p = inputs[p] + offset;
#define DOT(p)                                         \
  x = four_bytes(x##p + k);                            \
  first##p = _mm512_dpbusd_epi32(first##p, x, first);  \
  second##p = _mm512_dpbusd_epi32(second##p, x, second);
#define STORE_SUMS(p) \
  _mm512_storeu_si512((*sums)[0][p], first##p), _mm512_storeu_si512((*sums)[1][p], second##p);

VNNI static void vnni_bytes(const convolution *c, const uint8_t *const *weights,
                            const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  const __m512i zero = _mm512_setzero_si512();
  EACH_OF_8(START)
  const uint8_t *blocks = weights[0];
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t];
    EACH_OF_8(INPUTS)
    for (ptrdiff_t k = 0; k < c->run; k += 4, blocks += 8 * LANES) {
      __m512i first = _mm512_loadu_si512(blocks), second = _mm512_loadu_si512(blocks + 4 * LANES), x;
      EACH_OF_8(DOT)
    }
  }
  EACH_OF_8(STORE_SUMS)
}

#undef START
#undef INPUTS
#undef DOT
#undef STORE_SUMS

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
