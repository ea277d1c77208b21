/* Kernel for AVX-512 VBMI: table lookups for 1 and 2 bits with vpermb. */
#include "avx512_stages.h"
#include "avx2_stages.h"
#include "kernel.h"
#include "threes.h"

#ifdef N2UQ_X86

/* Lookups. The codes of three neighbouring channels are a number below 64, and so are three weights.
   A row of the table holds, for three codes, the sum of products with every three weights: vpermb
   looks 64 channels up at once. Rows are at most 27, so nine of them fit a byte. */
enum { TRIPLES_A_BYTE = 255 / 27 };

static const uint8_t every_third[64] = {0,  3,  6,  9,  12, 15, 18, 21, 24, 27, 30,
                                        33, 36, 39, 42, 45, 48, 51, 54, 57, 60};

static int32_t triples_of(const convolution *c) {
  return c->taps * (c->run / c->pitch) * ((c->pitch + 2) / 3);
}

static int vbmi_suits(const convolution *c) {
  int32_t most = c->largest_input * ((1 << c->bits) - 1);
  return !c->depthwise && c->bits <= 2 && c->zero == NULL && c->input->type == U8 &&
         c->pitch % 4 == 0 && c->run % c->pitch == 0 && c->largest_input <= 3 &&
         c->taps * c->run <= (int32_t)UINT16_MAX / most;
}

static size_t vbmi_prepared_bytes(const convolution *c) { return (size_t)triples_of(c) * 4 * LANES; }

VBMI INLINE __m128i sixteen_bytes(const uint8_t *from) {
  return _mm_loadu_si128((const __m128i *)(const void *)from);
}

/* The numbers of the weights of four inputs, two bits each, in a byte for each of 64 channels. */
VBMI INLINE __m512i four_numbers(const convolution *c, const uint8_t *const *blocks, int32_t step) {
  /* The bits of a nibble, with room for another one between them. */
  const __m512i spread = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 1, 4, 5, 16, 17, 20, 21, 64, 65, 68, 69, 80, 81, 84, 85));
  const __m512i nibble = _mm512_set1_epi8(15);
  size_t at = (size_t)(step * c->bits / 2) * LANES;
  __m512i planes = _mm512_castsi128_si512(sixteen_bytes(blocks[0] + at));
  planes = _mm512_inserti32x4(planes, sixteen_bytes(blocks[1] + at), 1);
  planes = _mm512_inserti32x4(planes, sixteen_bytes(blocks[2] + at), 2);
  planes = _mm512_inserti32x4(planes, sixteen_bytes(blocks[3] + at), 3);
  __m512i low = _mm512_and_si512(planes, nibble);
  __m512i high = _mm512_and_si512(_mm512_srli_epi16(planes, 4), nibble);
  /* Two steps of one bit share the bytes. */
  if (c->bits == 1) return _mm512_shuffle_epi8(spread, step % 2 ? high : low);
  low = _mm512_shuffle_epi8(spread, low), high = _mm512_shuffle_epi8(spread, high);
  return _mm512_or_si512(low, _mm512_slli_epi16(high, 1));
}

/* Bits `first` to `first + 5` of two neighbouring bytes, for 64 channels. */
VBMI INLINE __m512i six_bits(__m512i low, __m512i high, int32_t first) {
  __m512i rest = _mm512_srl_epi16(low, _mm_cvtsi32_si128(first));
  __m512i more = _mm512_sll_epi16(high, _mm_cvtsi32_si128(8 - first));
  rest = _mm512_and_si512(rest, _mm512_set1_epi8((char)(0xff >> first)));
  more = _mm512_and_si512(more, _mm512_set1_epi8((char)(0xff << (8 - first))));
  return _mm512_and_si512(_mm512_or_si512(rest, more), _mm512_set1_epi8(63));
}

VBMI static void vbmi_prepare(const convolution *c, const uint8_t *const *blocks, void *to) {
  const __m512i none = _mm512_setzero_si512();
  uint8_t *triples = to;
  int32_t fours = c->pitch / 4, count = (c->pitch + 2) / 3;
  for (int32_t pixel = 0; pixel < c->taps * (c->run / c->pitch); pixel++)
    /* Three times four weights are four times three. */
    for (int32_t four = 0, three = 0; four < fours; four += 3, three += 4) {
      int32_t step = pixel * fours + four;
      __m512i a = four_numbers(c, blocks, step);
      __m512i b = four + 1 < fours ? four_numbers(c, blocks, step + 1) : none;
      __m512i d = four + 2 < fours ? four_numbers(c, blocks, step + 2) : none;
      __m512i made[4] = {six_bits(a, b, 0), six_bits(a, b, 6), six_bits(b, d, 4), six_bits(d, none, 2)};
      for (int32_t i = 0; i < smaller(4, count - three); i++, triples += 4 * LANES)
        _mm512_storeu_si512(triples, made[i]);
    }
}

/* Packs 63 codes of a pixel at a time: the first, second and third of every three. */
VBMI static void pixel_of_threes(const convolution *c, const void *from, size_t at, int32_t channel,
                                 int32_t channels, uint8_t *to) {
  (void)c, (void)channel;
  const __m512i first = _mm512_loadu_si512(every_third);
  const __m512i second = _mm512_add_epi8(first, _mm512_set1_epi8(1));
  const __m512i third = _mm512_add_epi8(first, _mm512_set1_epi8(2));
  const uint8_t *codes = (const uint8_t *)from + at;
  for (int32_t i = 0; i < channels; i += 63, codes += 63, to += 21) {
    int32_t count = smaller(63, channels - i);
    __m512i taken = _mm512_maskz_loadu_epi8(UINT64_MAX >> (64 - count), codes);
    __m512i threes = _mm512_permutexvar_epi8(first, taken);
    threes = _mm512_or_si512(threes, _mm512_slli_epi16(_mm512_permutexvar_epi8(second, taken), 2));
    threes = _mm512_or_si512(threes, _mm512_slli_epi16(_mm512_permutexvar_epi8(third, taken), 4));
    _mm512_mask_storeu_epi8(to, UINT64_MAX >> (64 - (count + 2) / 3), threes);
  }
}

VBMI static void vbmi_pack(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, THREES, pixel_of_threes, from, row, packed);
}

VBMI INLINE __m512i looked_up_threes(__m512i sum, uint8_t codes, __m512i weights) {
  return _mm512_add_epi8(sum, _mm512_permutexvar_epi8(weights, _mm512_loadu_si512(lookup_threes[codes])));
}

/* The 16-bit sums of a block: 16 channels of a quarter of `low` and of `high`. */
VBMI INLINE __m512i weighted_threes(__m128i low, __m128i high, __m512i total, __m512i step) {
  __m256i sixteen = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
  return _mm512_add_epi32(total, _mm512_mullo_epi32(step, _mm512_cvtepu16_epi32(sixteen)));
}

/* `both` has sums of pairs of channels, the second 256 times, modulo 2**16, `second` its sums. */
VBMI INLINE void store_threes(const convolution *c, __m512i both, __m512i second, int32_t total,
                              int32_t pixel, sums *sums) {
  __m512i first = _mm512_sub_epi16(both, _mm512_slli_epi16(second, 8));
  __m512i low = _mm512_unpacklo_epi16(first, second), high = _mm512_unpackhi_epi16(first, second);
  __m512i start = _mm512_set1_epi32(c->first * total), step = _mm512_set1_epi32(c->step);
#define STORE_BLOCK(b)                                                                       \
  put_row((*sums)[b][pixel], weighted_threes(_mm512_extracti32x4_epi32(low, b),              \
                                             _mm512_extracti32x4_epi32(high, b), start, step));
  EACH_OF_4(STORE_BLOCK)
#undef STORE_BLOCK
}

#define START(p) __m512i sum##p = zero, both##p = zero, second##p = zero;
#define CODES(p) const uint8_t *codes##p = inputs[p] + offset;
#define LOOK_UP(p) sum##p = looked_up_threes(sum##p, codes##p[k], three);
#define WIDEN(p)                                                          \
  both##p = _mm512_add_epi16(both##p, sum##p);                            \
  second##p = _mm512_add_epi16(second##p, _mm512_srli_epi16(sum##p, 8)); \
  sum##p = zero;
#define STORE_SUMS(p) store_threes(c, both##p, second##p, totals[p], p, sums);

VBMI static void vbmi_lookup(const convolution *c, const uint8_t *const *weights,
                             const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  const __m512i zero = _mm512_setzero_si512();
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
  EACH_OF_8(STORE_SUMS)
}

#undef START
#undef CODES
#undef LOOK_UP
#undef WIDEN
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
    .finish = avx512_finish,
    .pool = avx2_pool,
};

#endif
