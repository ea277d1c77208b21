/* The stages of stages.h for AVX-512: 16 channels are a register. */
#ifndef N2UQ_AVX512_STAGES_H
#define N2UQ_AVX512_STAGES_H

#include "stages.h"
#include "x86.h"

#ifdef N2UQ_X86

AVX512 INLINE __m512i get_row(const int32_t *from) { return _mm512_loadu_si512(from); }

AVX512 INLINE void put_row(int32_t *to, __m512i v) { _mm512_storeu_si512(to, v); }

AVX512 INLINE __m512i avx512_load_lanes(const tensor *t, const void *data, size_t at, int32_t lanes) {
  if (lanes < LANES) {
    int32_t few[LANES];
    load_lanes(t, data, at, lanes, few);
    return get_row(few);
  }
  if (t->type == U8)
    return _mm512_cvtepu8_epi32(
        _mm_loadu_si128((const __m128i *)(const void *)((const uint8_t *)data + at)));
  if (t->type == I16)
    return _mm512_cvtepi16_epi32(
        _mm256_loadu_si256((const __m256i *)(const void *)((const int16_t *)data + at)));
  return get_row((const int32_t *)data + at);
}

AVX512 INLINE void avx512_store_lanes(const tensor *t, void *data, size_t at, int32_t lanes, __m512i v) {
  if (lanes < LANES) {
    int32_t few[LANES];
    put_row(few, v);
    store_lanes(t, data, at, lanes, few);
  } else if (t->type == U8) {
    _mm_storeu_si128((__m128i *)(void *)((uint8_t *)data + at), _mm512_cvtepi32_epi8(v));
  } else if (t->type == I16) {
    _mm256_storeu_si256((__m256i *)(void *)((int16_t *)data + at), _mm512_cvtepi32_epi16(v));
  } else {
    put_row((int32_t *)data + at, v);
  }
}

AVX512 INLINE __m512i clamped(__m512i v, __m512i low, __m512i high) {
  return _mm512_min_epi32(_mm512_max_epi32(v, low), high);
}

/* Multiplier, offset and shift of 16 channels. */
typedef struct {
  __m512i multiplier, offset, shift;
} scaling;

AVX512 INLINE scaling scaling_of(const stage *s, int32_t channel) {
  return (scaling){get_row(s->multiplier + channel), get_row(s->offset + channel),
                   get_row(s->shift + channel)};
}

AVX512 INLINE __m512i times(__m512i v, scaling by) {
  return _mm512_srav_epi32(_mm512_add_epi32(_mm512_mullo_epi32(v, by.multiplier), by.offset), by.shift);
}

AVX512 INLINE void avx512_rescale(const stage *s, int32_t channel, int32_t pixels,
                                  int32_t (*tile)[LANES]) {
  scaling by = scaling_of(s, channel);
  __m512i low = _mm512_set1_epi32(s->low), high = _mm512_set1_epi32(s->high);
  for (int32_t p = 0; p < pixels; p++)
    put_row(tile[p], clamped(times(get_row(tile[p]), by), low, high));
}

AVX512 INLINE void avx512_prelu(const stage *s, int32_t channel, int32_t pixels,
                                int32_t (*tile)[LANES]) {
  scaling by = scaling_of(s, channel);
  __m512i before = get_row(s->before + channel), after = get_row(s->after + channel);
  __m512i low = _mm512_set1_epi32(s->low), high = _mm512_set1_epi32(s->high);
  __m512i zero = _mm512_setzero_si512();
  for (int32_t p = 0; p < pixels; p++) {
    __m512i u = _mm512_add_epi32(get_row(tile[p]), before);
    /* Multiplied only where negative: products of positive numbers may not fit 32 bits. */
    __m512i bent = times(_mm512_min_epi32(u, zero), by);
    u = _mm512_mask_mov_epi32(u, _mm512_cmpgt_epi32_mask(zero, u), bent);
    put_row(tile[p], clamped(_mm512_add_epi32(u, after), low, high));
  }
}

AVX512 INLINE void avx512_add(const stage *s, const memory *memory, place where,
                              int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  __m512i low = _mm512_set1_epi32(s->low), high = _mm512_set1_epi32(s->high);
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch) {
    __m512i other = avx512_load_lanes(t, data, at, lanes);
    put_row(tile[p], clamped(_mm512_add_epi32(get_row(tile[p]), other), low, high));
  }
}

AVX512 INLINE void avx512_load(const stage *s, const memory *memory, place where,
                               int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch)
    put_row(tile[p], avx512_load_lanes(t, data, at, lanes));
}

AVX512 INLINE void avx512_store(const stage *s, const memory *memory, place where,
                                int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  void *data = memory->workspace + t->offset;
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch)
    avx512_store_lanes(t, data, at, lanes, get_row(tile[p]));
}

/* COUNT has one row of steps, LOOK_THROUGH as many as of points: `row` elements are between them.
   Two pixels share each load; the last of an odd number is its own partner. */
AVX512 INLINE void avx512_add_steps(const stage *s, int32_t row, int32_t channel, int32_t pixels,
                                    int32_t (*tile)[LANES]) {
  for (int32_t p = 0; p < pixels; p += 2) {
    int32_t next = smaller(p + 1, pixels - 1);
    __m512i v = get_row(tile[p]), w = get_row(tile[next]);
    __m512i code = get_row(s->base + channel), other = code;
    const int32_t *points = s->points + channel, *steps = s->steps + channel;
    for (int32_t j = 0; j < s->count; j++, points += s->row, steps += row) {
      __m512i point = get_row(points), step = get_row(steps);
      code = _mm512_mask_add_epi32(code, _mm512_cmpgt_epi32_mask(v, point), code, step);
      other = _mm512_mask_add_epi32(other, _mm512_cmpgt_epi32_mask(w, point), other, step);
    }
    put_row(tile[p], code), put_row(tile[next], other);
  }
}

AVX512 static void avx512_finish(const stage *stages, int32_t count, const memory *memory, place where,
                                 int32_t (*tile)[LANES]) {
  for (const stage *s = stages; s < stages + count; s++) {
    switch (s->kind) {
      case LOAD: avx512_load(s, memory, where, tile); break;
      case STORE: avx512_store(s, memory, where, tile); break;
      case ADD: avx512_add(s, memory, where, tile); break;
      case RESCALE: avx512_rescale(s, where.channel, where.pixels, tile); break;
      case PRELU: avx512_prelu(s, where.channel, where.pixels, tile); break;
      case COUNT: avx512_add_steps(s, 0, where.channel, where.pixels, tile); break;
      case ARITHMETIC: run_arithmetic(s, memory, where, tile); break;
      case LOOK_THROUGH: avx512_add_steps(s, s->row, where.channel, where.pixels, tile); break;
    }
  }
}

#endif

#endif
