/* Kernel for AVX2: table lookups for 1 and 2 bits. */
#include "avx2_stages.h"
#include "lookup.h"

#ifdef N2UQ_X86

/* One vpshufb looks four codes up for 32 channels. */
enum { LOOKUP_PIXELS = 4 };

AVX2 static void avx2_pack_fours(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, FOURS, pixel_of_fours, from, row, packed);
}

/* A row of the table in both halves: for two blocks of 16 channels. */
AVX2 INLINE __m256i table_row(uint8_t codes) {
  return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)lookup_fours[codes]));
}

AVX2 INLINE __m256i two_blocks(const uint8_t *first, const uint8_t *second) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)first)),
                                 _mm_loadu_si128((const __m128i *)second), 1);
}

AVX2 INLINE __m256i looked_up(__m256i sum, __m256i row, __m256i nibbles) {
  return _mm256_add_epi8(sum, _mm256_shuffle_epi8(row, nibbles));
}

/* 16-bit sums of a pixel: channels 0 to 7 of both blocks, and 8 to 15. */
typedef struct {
  __m256i low, high;
} wide_sums;

AVX2 INLINE void widen(wide_sums *wide, __m256i plane, int32_t power) {
  __m256i zero = _mm256_setzero_si256();
  __m128i shift = _mm_cvtsi32_si128(power);
  wide->low = _mm256_add_epi16(wide->low, _mm256_sll_epi16(_mm256_unpacklo_epi8(plane, zero), shift));
  wide->high = _mm256_add_epi16(wide->high, _mm256_sll_epi16(_mm256_unpackhi_epi8(plane, zero), shift));
}

/* Sums of weights = first * sum of inputs + step * sum of inputs times weight numbers. */
AVX2 INLINE void store_weighted(__m128i wide, __m256i total, __m256i step, int32_t *to) {
  __m256i sum = _mm256_add_epi32(total, _mm256_mullo_epi32(step, _mm256_cvtepu16_epi32(wide)));
  _mm256_storeu_si256((__m256i *)(void *)to, sum);
}

AVX2 INLINE void store_lookups(const convolution *c, const wide_sums *wide, const int32_t *totals,
                               sums *sums) {
  __m256i step = _mm256_set1_epi32(c->step);
  for (int32_t p = 0; p < LOOKUP_PIXELS; p++) {
    __m256i total = _mm256_set1_epi32(c->first * totals[p]);
    store_weighted(_mm256_castsi256_si128(wide[p].low), total, step, (*sums)[0][p]);
    store_weighted(_mm256_castsi256_si128(wide[p].high), total, step, (*sums)[0][p] + 8);
    store_weighted(_mm256_extracti128_si256(wide[p].low, 1), total, step, (*sums)[1][p]);
    store_weighted(_mm256_extracti128_si256(wide[p].high, 1), total, step, (*sums)[1][p] + 8);
  }
}

#define START(p) __m256i low##p = zero, high##p = zero;
#define CODES(p) const uint8_t *codes##p = inputs[p] + offset;
#define LOOK_UP(p)                          \
  row = table_row(codes##p[k]);             \
  low##p = looked_up(low##p, row, plane0);  \
  high##p = looked_up(high##p, row, plane1);
#define WIDEN(p) widen(&wide[p], low##p, 0), widen(&wide[p], high##p, 1), low##p = high##p = zero;

AVX2 static void lookup_two_bits(const convolution *c, const uint8_t *const *weights,
                                 const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  const __m256i zero = _mm256_setzero_si256(), low_nibbles = _mm256_set1_epi8(15);
  wide_sums wide[LOOKUP_PIXELS];
  for (int32_t p = 0; p < LOOKUP_PIXELS; p++) wide[p].low = wide[p].high = zero;
  const uint8_t *block0 = weights[0], *block1 = weights[1];
  EACH_OF_4(START)
  int32_t left = LOOKUPS_A_BYTE;
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t] / 4;
    EACH_OF_4(CODES)
    for (ptrdiff_t k = 0, steps = c->run / 4; k < steps;) {
      ptrdiff_t end = k + left < steps ? k + left : steps;
      left -= (int32_t)(end - k);
      for (; k < end; k++, block0 += LANES, block1 += LANES) {
        __m256i planes = two_blocks(block0, block1), row;
        __m256i plane0 = _mm256_and_si256(planes, low_nibbles);
        __m256i plane1 = _mm256_and_si256(_mm256_srli_epi16(planes, 4), low_nibbles);
        EACH_OF_4(LOOK_UP)
      }
      if (left > 0) continue;
      EACH_OF_4(WIDEN)
      left = LOOKUPS_A_BYTE;
    }
  }
  EACH_OF_4(WIDEN)
  store_lookups(c, wide, totals, sums);
}

#undef START
#undef LOOK_UP
#undef WIDEN
#define START(p) __m256i sum##p = zero;
#define LOOK_UP(p) sum##p = looked_up(sum##p, table_row(codes##p[k]), plane);
#define WIDEN(p) widen(&wide[p], sum##p, 0), sum##p = zero;

AVX2 static void lookup_one_bit(const convolution *c, const uint8_t *const *weights,
                                const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  const __m256i zero = _mm256_setzero_si256(), low_nibbles = _mm256_set1_epi8(15);
  wide_sums wide[LOOKUP_PIXELS];
  for (int32_t p = 0; p < LOOKUP_PIXELS; p++) wide[p].low = wide[p].high = zero;
  EACH_OF_4(START)
  int32_t left = LOOKUPS_A_BYTE;
  size_t step = 0;
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = c->tap_offsets[t] / 4;
    EACH_OF_4(CODES)
    for (ptrdiff_t k = 0; k < c->run / 4; k++, step++) {
      size_t at = step / 2 * LANES;
      /* Two steps share the bytes. */
      __m128i shift = _mm_cvtsi32_si128((int)(step % 2 * 4));
      __m256i bytes = two_blocks(weights[0] + at, weights[1] + at);
      __m256i plane = _mm256_and_si256(_mm256_srl_epi16(bytes, shift), low_nibbles);
      EACH_OF_4(LOOK_UP)
      if (--left > 0) continue;
      EACH_OF_4(WIDEN)
      left = LOOKUPS_A_BYTE;
    }
  }
  EACH_OF_4(WIDEN)
  store_lookups(c, wide, totals, sums);
}

#undef START
#undef CODES
#undef LOOK_UP
#undef WIDEN

AVX2 static void avx2_lookup(const convolution *c, const uint8_t *const *weights,
                             const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  if (c->bits == 2)
    lookup_two_bits(c, weights, inputs, totals, sums);
  else
    lookup_one_bit(c, weights, inputs, totals, sums);
}

static const kernel avx2_lookup_kernel = {
    .name = "avx2_lookup",
    .pixels = LOOKUP_PIXELS,
    .blocks = 2,
    .form = FOURS,
    .available = has_avx2,
    .suits = lookup_suits,
    .pack = avx2_pack_fours,
    .multiply = avx2_lookup,
    .finish = avx2_finish,
    .pool = avx2_pool,
};

#endif
