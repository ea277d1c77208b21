/* The stages of stages.h for AVX2: 16 channels are two registers of eight. */
#ifndef N2UQ_AVX2_STAGES_H
#define N2UQ_AVX2_STAGES_H

#include "stages.h"
#include "x86.h"

#ifdef N2UQ_X86

typedef struct {
  __m256i low, high; /* channels 0 to 7, and 8 to 15 */
} lanes16;

AVX2 INLINE lanes16 get(const int32_t *from) {
  const __m256i *vectors = (const __m256i *)(const void *)from;
  return (lanes16){_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
}

AVX2 INLINE void put(int32_t *to, lanes16 v) {
  __m256i *vectors = (__m256i *)(void *)to;
  _mm256_storeu_si256(vectors, v.low);
  _mm256_storeu_si256(vectors + 1, v.high);
}

AVX2 INLINE lanes16 avx2_load_lanes(const tensor *t, const void *data, size_t at, int32_t lanes) {
  if (lanes < LANES) {
    int32_t few[LANES];
    load_lanes(t, data, at, lanes, few);
    return get(few);
  }
  if (t->type == U8) {
    const uint8_t *from = (const uint8_t *)data + at;
    return (lanes16){_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from)),
                     _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(from + 8)))};
  }
  if (t->type == I16) {
    const __m128i *from = (const __m128i *)(const void *)((const int16_t *)data + at);
    return (lanes16){_mm256_cvtepi16_epi32(_mm_loadu_si128(from)),
                     _mm256_cvtepi16_epi32(_mm_loadu_si128(from + 1))};
  }
  return get((const int32_t *)data + at);
}

AVX2 INLINE void avx2_store_lanes(const tensor *t, void *data, size_t at, int32_t lanes, lanes16 v) {
  if (lanes < LANES) {
    int32_t few[LANES];
    put(few, v);
    store_lanes(t, data, at, lanes, few);
    return;
  }
  /* Numbers lie in the tensor's range, so that saturation changes none. */
  __m256i shorts = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.low, v.high), 0xd8);
  if (t->type == U8) {
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256(shorts, 1));
    _mm_storeu_si128((__m128i *)(void *)((uint8_t *)data + at), bytes);
  } else if (t->type == I16) {
    _mm256_storeu_si256((__m256i *)(void *)((int16_t *)data + at), shorts);
  } else {
    put((int32_t *)data + at, v);
  }
}

AVX2 INLINE __m256i between(__m256i v, __m256i low, __m256i high) {
  return _mm256_min_epi32(_mm256_max_epi32(v, low), high);
}

AVX2 INLINE __m256i scaled(__m256i v, __m256i multiplier, __m256i offset, __m256i shift) {
  return _mm256_srav_epi32(_mm256_add_epi32(_mm256_mullo_epi32(v, multiplier), offset), shift);
}

AVX2 INLINE __m256i bent(__m256i u, __m256i multiplier, __m256i offset, __m256i shift) {
  __m256i zero = _mm256_setzero_si256();
  /* Multiplied only where negative: products of positive numbers may not fit 32 bits. */
  __m256i negative = scaled(_mm256_min_epi32(u, zero), multiplier, offset, shift);
  return _mm256_blendv_epi8(u, negative, _mm256_cmpgt_epi32(zero, u));
}

AVX2 INLINE void avx2_rescale(const stage *s, int32_t channel, int32_t pixels, int32_t (*tile)[LANES]) {
  lanes16 multiplier = get(s->multiplier + channel), offset = get(s->offset + channel);
  lanes16 shift = get(s->shift + channel);
  __m256i low = _mm256_set1_epi32(s->low), high = _mm256_set1_epi32(s->high);
  for (int32_t p = 0; p < pixels; p++) {
    lanes16 v = get(tile[p]);
    v.low = between(scaled(v.low, multiplier.low, offset.low, shift.low), low, high);
    v.high = between(scaled(v.high, multiplier.high, offset.high, shift.high), low, high);
    put(tile[p], v);
  }
}

AVX2 INLINE void avx2_prelu(const stage *s, int32_t channel, int32_t pixels, int32_t (*tile)[LANES]) {
  lanes16 multiplier = get(s->multiplier + channel), offset = get(s->offset + channel);
  lanes16 shift = get(s->shift + channel);
  lanes16 before = get(s->before + channel), after = get(s->after + channel);
  __m256i low = _mm256_set1_epi32(s->low), high = _mm256_set1_epi32(s->high);
  for (int32_t p = 0; p < pixels; p++) {
    lanes16 v = get(tile[p]);
    v.low = bent(_mm256_add_epi32(v.low, before.low), multiplier.low, offset.low, shift.low);
    v.high = bent(_mm256_add_epi32(v.high, before.high), multiplier.high, offset.high, shift.high);
    v.low = between(_mm256_add_epi32(v.low, after.low), low, high);
    v.high = between(_mm256_add_epi32(v.high, after.high), low, high);
    put(tile[p], v);
  }
}

AVX2 INLINE void avx2_add(const stage *s, const memory *memory, place where, int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  __m256i low = _mm256_set1_epi32(s->low), high = _mm256_set1_epi32(s->high);
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch) {
    lanes16 v = get(tile[p]), other = avx2_load_lanes(t, data, at, lanes);
    v.low = between(_mm256_add_epi32(v.low, other.low), low, high);
    v.high = between(_mm256_add_epi32(v.high, other.high), low, high);
    put(tile[p], v);
  }
}

AVX2 INLINE void avx2_load(const stage *s, const memory *memory, place where, int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch)
    put(tile[p], avx2_load_lanes(t, data, at, lanes));
}

AVX2 INLINE void avx2_store(const stage *s, const memory *memory, place where, int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  void *data = memory->workspace + t->offset;
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch)
    avx2_store_lanes(t, data, at, lanes, get(tile[p]));
}

AVX2 INLINE void count_below(lanes16 *below, lanes16 v, lanes16 points) {
  below->low = _mm256_sub_epi32(below->low, _mm256_cmpgt_epi32(v.low, points.low));
  below->high = _mm256_sub_epi32(below->high, _mm256_cmpgt_epi32(v.high, points.high));
}

AVX2 INLINE void put_counted(int32_t *to, lanes16 base, lanes16 sign, lanes16 below) {
  base.low = _mm256_add_epi32(base.low, _mm256_mullo_epi32(below.low, sign.low));
  base.high = _mm256_add_epi32(base.high, _mm256_mullo_epi32(below.high, sign.high));
  put(to, base);
}

AVX2 INLINE void avx2_count_points(const stage *s, int32_t channel, int32_t pixels,
                                   int32_t (*tile)[LANES]) {
  const lanes16 none = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  lanes16 base = get(s->base + channel), sign = get(s->steps + channel);
  /* Two pixels share each load of points; the last of an odd number is its own partner. */
  for (int32_t p = 0; p < pixels; p += 2) {
    int32_t next = smaller(p + 1, pixels - 1);
    lanes16 v = get(tile[p]), w = get(tile[next]), below_v = none, below_w = none;
    const int32_t *row = s->points + channel;
    for (int32_t j = 0; j < s->count; j++, row += s->row) {
      lanes16 points = get(row);
      count_below(&below_v, v, points), count_below(&below_w, w, points);
    }
    put_counted(tile[p], base, sign, below_v), put_counted(tile[next], base, sign, below_w);
  }
}

AVX2 INLINE void avx2_add_steps(const stage *s, int32_t channel, int32_t pixels,
                                int32_t (*tile)[LANES]) {
  for (int32_t p = 0; p < pixels; p++) {
    lanes16 v = get(tile[p]), code = get(s->base + channel);
    const int32_t *row = s->points + channel, *steps_row = s->steps + channel;
    for (int32_t j = 0; j < s->count; j++, row += s->row, steps_row += s->row) {
      lanes16 points = get(row), steps = get(steps_row);
      __m256i low = _mm256_and_si256(_mm256_cmpgt_epi32(v.low, points.low), steps.low);
      __m256i high = _mm256_and_si256(_mm256_cmpgt_epi32(v.high, points.high), steps.high);
      code.low = _mm256_add_epi32(code.low, low);
      code.high = _mm256_add_epi32(code.high, high);
    }
    put(tile[p], code);
  }
}

AVX2 static void avx2_finish(const stage *stages, int32_t count, const memory *memory, place where,
                             int32_t (*tile)[LANES]) {
  for (const stage *s = stages; s < stages + count; s++) {
    switch (s->kind) {
      case LOAD: avx2_load(s, memory, where, tile); break;
      case STORE: avx2_store(s, memory, where, tile); break;
      case ADD: avx2_add(s, memory, where, tile); break;
      case RESCALE: avx2_rescale(s, where.channel, where.pixels, tile); break;
      case PRELU: avx2_prelu(s, where.channel, where.pixels, tile); break;
      case COUNT: avx2_count_points(s, where.channel, where.pixels, tile); break;
      case ARITHMETIC: run_arithmetic(s, memory, where, tile); break;
      case LOOK_THROUGH: avx2_add_steps(s, where.channel, where.pixels, tile); break;
    }
  }
}

AVX2 static void avx2_pool(const pool *pool, const memory *memory, place where, int32_t width,
                           int32_t (*tile)[LANES]) {
  const tensor *t = pool->input;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  for (int32_t p = 0; p < where.pixels; p++) {
    area w = area_of(pool, where.pixel + (size_t)p, width);
    __m256i start = _mm256_set1_epi32(pool->maximum ? INT32_MIN : 0);
    lanes16 found = {start, start};
    for (int32_t y = w.top; y < w.bottom; y++)
      for (int32_t x = w.left; x < w.right; x++) {
        size_t at = ((size_t)y * (size_t)t->width + (size_t)x) * (size_t)t->pitch;
        lanes16 v = avx2_load_lanes(t, data, at + (size_t)where.channel, lanes);
        if (pool->maximum) {
          found.low = _mm256_max_epi32(found.low, v.low);
          found.high = _mm256_max_epi32(found.high, v.high);
        } else {
          found.low = _mm256_add_epi32(found.low, v.low);
          found.high = _mm256_add_epi32(found.high, v.high);
        }
      }
    put(tile[p], found);
  }
}

#endif

#endif
