/* Kernel for AVX-512 VNNI: dot products of bytes. */
#include "avx2_dot.c"
#include "avx512_stages.h"

#ifdef N2UQ_X86

/* vpdpbusd adds four products to each of 16 channels. */
static int vnni_suits(const convolution *c) { return !c->depthwise && c->largest_byte <= UINT8_MAX; }

static size_t vnni_prepared_bytes(const convolution *c) { return (size_t)steps_of(c) * 2 * 4 * LANES; }

VNNI static void vnni_prepare(const convolution *c, const uint8_t *const *blocks, void *to) {
  int32_t *words = to;
  for (int32_t step = 0; step < steps_of(c); step++, words += 2 * LANES) {
    put(words, sixteen_words(c, blocks[0], step));
    put(words + LANES, sixteen_words(c, blocks[1], step));
  }
}

VNNI static void vnni_pack(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, BYTES, pixel_of_bytes, from, row, packed);
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
    .finish = avx512_finish,
    .pool = avx2_pool,
};

#endif
