/* SIMDe in place of an x86 processor, and the intrinsics that its version 0.7 lacks. */
#ifndef N2UQ_EMULATED_H
#define N2UQ_EMULATED_H

#include <stdint.h>
#include <string.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#define EMULATE_CAST(name, vector, from, result, to)                 \
  static inline result emulated_##name(vector v) {                   \
    from in[16];                                                     \
    to out[16];                                                      \
    memcpy(in, &v, sizeof in);                                       \
    for (int i = 0; i < 16; i++) out[i] = (to)in[i];                 \
    result r;                                                        \
    memcpy(&r, out, sizeof out);                                     \
    return r;                                                        \
  }

#ifndef _mm512_cvtepu8_epi32
EMULATE_CAST(from_bytes, __m128i, uint8_t, __m512i, int32_t)
#define _mm512_cvtepu8_epi32(v) emulated_from_bytes(v)
#endif

#ifndef _mm512_cvtepi16_epi32
EMULATE_CAST(from_shorts, __m256i, int16_t, __m512i, int32_t)
#define _mm512_cvtepi16_epi32(v) emulated_from_shorts(v)
#endif

#ifndef _mm512_cvtepu16_epi32
EMULATE_CAST(from_unsigned_shorts, __m256i, uint16_t, __m512i, int32_t)
#define _mm512_cvtepu16_epi32(v) emulated_from_unsigned_shorts(v)
#endif

#ifndef _mm512_cvtepi32_epi8
EMULATE_CAST(to_bytes, __m512i, int32_t, __m128i, uint8_t)
#define _mm512_cvtepi32_epi8(v) emulated_to_bytes(v)
#endif

#ifndef _mm512_cvtepi32_epi16
EMULATE_CAST(to_shorts, __m512i, int32_t, __m256i, int16_t)
#define _mm512_cvtepi32_epi16(v) emulated_to_shorts(v)
#endif

#ifndef _mm512_srav_epi32
static inline __m512i emulated_srav(__m512i v, __m512i by) {
  int32_t in[16], shift[16];
  memcpy(in, &v, sizeof in), memcpy(shift, &by, sizeof shift);
  for (int i = 0; i < 16; i++) in[i] >>= shift[i];
  memcpy(&v, in, sizeof in);
  return v;
}
#define _mm512_srav_epi32(v, by) emulated_srav(v, by)
#endif

#ifndef _mm512_maskz_loadu_epi8
static inline __m512i emulated_load(uint64_t mask, const void *from) {
  uint8_t bytes[64] = {0};
  for (int i = 0; i < 64; i++)
    if (mask >> i & 1) bytes[i] = ((const uint8_t *)from)[i];
  __m512i v;
  memcpy(&v, bytes, sizeof v);
  return v;
}
#define _mm512_maskz_loadu_epi8(mask, from) emulated_load(mask, from)
#endif

#ifndef _mm512_mask_storeu_epi8
static inline void emulated_store(void *to, uint64_t mask, __m512i v) {
  uint8_t bytes[64];
  memcpy(bytes, &v, sizeof bytes);
  for (int i = 0; i < 64; i++)
    if (mask >> i & 1) ((uint8_t *)to)[i] = bytes[i];
}
#define _mm512_mask_storeu_epi8(to, mask, v) emulated_store(to, mask, v)
#endif

#endif
