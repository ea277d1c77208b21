/* Kernels for AVX2: dot products of bytes and of 16-bit integers, and depthwise products. */
#include "avx2_stages.h"
#include "kernel.h"

#ifdef N2UQ_X86

/* Dot products of bytes. vpmaddubsw multiplies bytes and adds neighbours, in 16 bits, which hold the
   sums of as many steps as small codes and weights allow; then they are added up in 32 bits. */
enum { DOT_PIXELS = 6 };

/* Steps of four inputs whose sums fit 16 bits: each lane adds two products a step. */
static int32_t steps_in_16_bits(const convolution *c) {
  return INT16_MAX / (2 * c->largest_byte * c->largest_weight);
}

static int avx2_bytes_suits(const convolution *c) {
  return !c->depthwise && c->largest_byte <= UINT8_MAX && steps_in_16_bits(c) > 0;
}

INLINE size_t prepared_bytes(const convolution *c) { return (size_t)steps_of(c) * 4 * LANES; }

INLINE size_t prepared_shorts(const convolution *c) { return (size_t)steps_of(c) * 8 * LANES; }

/* A row of 16 bytes of a block's planes, each in 16 bits. */
AVX2 INLINE __m256i plane_bytes(const uint8_t *block, int32_t row) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(block + row * LANES)));
}

/* The nibbles of up to four planes, from one on: the first in the lowest bits of each channel. */
AVX2 INLINE __m256i four_planes(const uint8_t *block, int32_t plane, int32_t count) {
  int32_t row = plane / 2;
  __m256i nibbles = plane_bytes(block, row);
  if (plane % 2 == 0) {
    if (count > 2) nibbles = _mm256_or_si256(nibbles, _mm256_slli_epi16(plane_bytes(block, row + 1), 8));
  } else {
    nibbles = _mm256_srli_epi16(nibbles, 4);
    if (count > 1) nibbles = _mm256_or_si256(nibbles, _mm256_slli_epi16(plane_bytes(block, row + 1), 4));
    if (count > 3) nibbles = _mm256_or_si256(nibbles, _mm256_slli_epi16(plane_bytes(block, row + 2), 12));
  }
  return _mm256_and_si256(nibbles, _mm256_set1_epi16((int16_t)(0xffff >> (16 - 4 * count))));
}

/* Swaps the bits of a mask with those that lie `distance` higher. */
AVX2 INLINE __m256i swapped(__m256i bits, int32_t distance, int32_t mask) {
  __m256i differ = _mm256_xor_si256(bits, _mm256_srl_epi16(bits, _mm_cvtsi32_si128(distance)));
  differ = _mm256_and_si256(differ, _mm256_set1_epi16((int16_t)mask));
  differ = _mm256_xor_si256(differ, _mm256_sll_epi16(differ, _mm_cvtsi32_si128(distance)));
  return _mm256_xor_si256(bits, differ);
}

/* Up to four bits of the weights of four inputs, each in a byte of the channel's 32 bits. */
AVX2 INLINE lanes16 spread_planes(__m256i planes) {
  /* Four planes by four inputs, transposed. */
  __m256i numbers = swapped(planes, 3, 0x0a0a);
  numbers = swapped(numbers, 6, 0x00cc);
  numbers = _mm256_permute4x64_epi64(numbers, 0xd8);
  __m256i nibble = _mm256_set1_epi8(15);
  __m256i even = _mm256_and_si256(numbers, nibble);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi16(numbers, 4), nibble);
  return (lanes16){_mm256_unpacklo_epi8(even, odd), _mm256_unpackhi_epi8(even, odd)};
}

/* four_weights of weights.h. */
AVX2 INLINE lanes16 sixteen_words(const convolution *c, const uint8_t *block, int32_t step) {
  int32_t plane = step * c->bits;
  lanes16 words = spread_planes(four_planes(block, plane, smaller(c->bits, 4)));
  if (c->bits > 4) {
    lanes16 high = spread_planes(four_planes(block, plane + 4, c->bits - 4));
    words.low = _mm256_or_si256(words.low, _mm256_slli_epi16(high.low, 4));
    words.high = _mm256_or_si256(words.high, _mm256_slli_epi16(high.high, 4));
  }
  /* The step is 1 or 2. */
  __m128i doubled = _mm_cvtsi32_si128(c->step - 1);
  __m256i first = _mm256_set1_epi8((char)c->first);
  words.low = _mm256_add_epi8(_mm256_sll_epi16(words.low, doubled), first);
  words.high = _mm256_add_epi8(_mm256_sll_epi16(words.high, doubled), first);
  return words;
}

AVX2 static void avx2_prepare_bytes(const convolution *c, const uint8_t *const *blocks, void *to) {
  int32_t *words = to;
  for (int32_t step = 0; step < steps_of(c); step++, words += LANES)
    put(words, sixteen_words(c, blocks[0], step));
}

AVX2 static void avx2_pack_bytes(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, BYTES, pixel_of_bytes, from, row, packed);
}

/* Four bytes of a pixel, in each lane of 32 bits. */
AVX2 INLINE __m256i four_inputs(const uint8_t *inputs) {
  int32_t four;
  memcpy(&four, inputs, sizeof four);
  return _mm256_set1_epi32(four);
}

AVX2 INLINE __m256i dotted(__m256i sum, __m256i inputs, __m256i weights) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(inputs, weights));
}

AVX2 INLINE __m256i dotted_shorts(__m256i sum, __m256i inputs, __m256i weights) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(inputs, weights));
}

/* Adds to sums in 32 bits those of 16 channels in 32, or in pairs of 16. */
AVX2 INLINE void add_lanes(int shorts, __m256i low, __m256i high, int32_t *to) {
  const __m256i one = _mm256_set1_epi16(1);
  lanes16 sum = get(to);
  sum.low = _mm256_add_epi32(sum.low, shorts ? low : _mm256_madd_epi16(low, one));
  sum.high = _mm256_add_epi32(sum.high, shorts ? high : _mm256_madd_epi16(high, one));
  put(to, sum);
}

#define START(p) __m256i low##p = zero, high##p = zero;
#define INPUTS(p) const uint8_t *x##p = inputs[p] + offset;
#define DOT(p)                                                                       \
  x = four_inputs(x##p + 4 * k);                                                     \
  low##p = shorts ? dotted_shorts(low##p, x, first) : dotted(low##p, x, first);      \
  high##p = shorts ? dotted_shorts(high##p, x, second) : dotted(high##p, x, second);
#define ADD_UP(p) add_lanes(shorts, low##p, high##p, (*sums)[0][p]), low##p = high##p = zero;

/* Products of four bytes, or of two 16-bit integers, a step; their sums may stay in registers for
   `most` steps. */
AVX2 INLINE void dot_products(const convolution *c, int shorts, int32_t most, const uint8_t *block,
                              const uint8_t *const *inputs, sums *sums) {
  const __m256i zero = _mm256_setzero_si256();
  for (int32_t p = 0; p < DOT_PIXELS; p++) put((*sums)[0][p], (lanes16){zero, zero});
  EACH_OF_6(START)
  int32_t left = most;
  for (int32_t t = 0; t < c->taps; t++) {
    ptrdiff_t offset = (shorts ? 2 : 1) * (ptrdiff_t)c->tap_offsets[t];
    EACH_OF_6(INPUTS)
    for (ptrdiff_t k = 0, steps = c->run / (shorts ? 2 : 4); k < steps;) {
      ptrdiff_t end = k + left < steps ? k + left : steps;
      left -= (int32_t)(end - k);
      for (; k < end; k++, block += 4 * LANES) {
        __m256i first = _mm256_loadu_si256((const __m256i *)(const void *)block), x;
        __m256i second = _mm256_loadu_si256((const __m256i *)(const void *)(block + 32));
        EACH_OF_6(DOT)
      }
      if (left > 0 && (k < steps || t + 1 < c->taps)) continue;
      EACH_OF_6(ADD_UP)
      left = most;
    }
  }
}

#undef START
#undef INPUTS
#undef DOT
#undef ADD_UP

AVX2 static void avx2_bytes(const convolution *c, const uint8_t *const *weights,
                            const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  dot_products(c, 0, steps_in_16_bits(c), weights[0], inputs, sums);
}

/* Dot products of 16-bit integers, for 8-bit inputs and weights, pixels, and signed codes. */
static int avx2_shorts_suits(const convolution *c) { return !c->depthwise; }

/* Two of the four bytes in each lane as 16-bit integers: their places are in the high bytes. */
AVX2 INLINE __m256i two_shorts(__m256i words, __m128i places) {
  __m256i high = _mm256_shuffle_epi8(words, _mm256_broadcastsi128_si256(places));
  return _mm256_srai_epi16(high, 8);
}

AVX2 static void avx2_prepare_pairs(const convolution *c, const uint8_t *const *blocks, void *to) {
  const __m128i first = _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
  const __m128i second = _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
  __m256i *pairs = to;
  for (int32_t step = 0; step < steps_of(c); step++, pairs += 4) {
    lanes16 words = sixteen_words(c, blocks[0], step);
    _mm256_storeu_si256(pairs, two_shorts(words.low, first));
    _mm256_storeu_si256(pairs + 1, two_shorts(words.high, first));
    _mm256_storeu_si256(pairs + 2, two_shorts(words.low, second));
    _mm256_storeu_si256(pairs + 3, two_shorts(words.high, second));
  }
}

AVX2 static void avx2_pack_shorts(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, SHORTS, pixel_of_shorts, from, row, packed);
}

AVX2 static void avx2_shorts(const convolution *c, const uint8_t *const *weights,
                             const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  dot_products(c, 1, INT32_MAX, weights[0], inputs, sums);
}

/* Depthwise: each lane has an input of its own, and the weights' rows are taps. */
static int avx2_depthwise_suits(const convolution *c) { return c->depthwise; }

AVX2 static void avx2_prepare_rows(const convolution *c, const uint8_t *const *blocks, void *to) {
  prepare_rows(c, blocks[0], LANES, to);
}

/* 16 inputs or weights of 16 bits. */
AVX2 INLINE __m256i sixteen(const int16_t *from) {
  return _mm256_loadu_si256((const __m256i *)(const void *)from);
}

AVX2 INLINE lanes16 widened(__m256i shorts) {
  return (lanes16){_mm256_cvtepi16_epi32(_mm256_castsi256_si128(shorts)),
                   _mm256_cvtepi16_epi32(_mm256_extracti128_si256(shorts, 1))};
}

AVX2 static void avx2_depthwise(const convolution *c, const uint8_t *const *weights,
                                const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  const int16_t *rows = (const int16_t *)(const void *)weights[0];
  /* Where all products of a channel sum to 16 bits, 16-bit arithmetic is faster. */
  int narrow = c->taps * c->largest_input * c->largest_weight <= INT16_MAX;
  for (int32_t p = 0; p < 4; p++) {
    const int16_t *x = (const int16_t *)(const void *)inputs[p];
    __m256i shorts = _mm256_setzero_si256();
    lanes16 sum = {shorts, shorts};
    for (int32_t t = 0; t < c->taps; t++) {
      __m256i taken = sixteen(x + c->tap_offsets[t]), row = sixteen(rows + t * LANES);
      if (narrow) {
        shorts = _mm256_add_epi16(shorts, _mm256_mullo_epi16(taken, row));
      } else {
        lanes16 a = widened(taken), b = widened(row);
        sum.low = _mm256_add_epi32(sum.low, _mm256_mullo_epi32(a.low, b.low));
        sum.high = _mm256_add_epi32(sum.high, _mm256_mullo_epi32(a.high, b.high));
      }
    }
    put((*sums)[0][p], narrow ? widened(shorts) : sum);
  }
}

static const kernel avx2_bytes_kernel = {
    .name = "avx2_bytes",
    .pixels = DOT_PIXELS,
    .blocks = 1,
    .form = BYTES,
    .available = has_avx2,
    .suits = avx2_bytes_suits,
    .prepared_bytes = prepared_bytes,
    .prepare = avx2_prepare_bytes,
    .pack = avx2_pack_bytes,
    .multiply = avx2_bytes,
    .finish = avx2_finish,
    .pool = avx2_pool,
};

static const kernel avx2_shorts_kernel = {
    .name = "avx2_shorts",
    .pixels = DOT_PIXELS,
    .blocks = 1,
    .form = SHORTS,
    .available = has_avx2,
    .suits = avx2_shorts_suits,
    .prepared_bytes = prepared_shorts,
    .prepare = avx2_prepare_pairs,
    .pack = avx2_pack_shorts,
    .multiply = avx2_shorts,
    .finish = avx2_finish,
    .pool = avx2_pool,
};

static const kernel avx2_depthwise_kernel = {
    .name = "avx2_depthwise",
    .pixels = 4,
    .blocks = 1,
    .form = SHORTS,
    .available = has_avx2,
    .suits = avx2_depthwise_suits,
    .prepared_bytes = prepared_shorts,
    .prepare = avx2_prepare_rows,
    .pack = avx2_pack_shorts,
    .multiply = avx2_depthwise,
    .finish = avx2_finish,
    .pool = avx2_pool,
};

#endif
