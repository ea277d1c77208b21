/* Stages: what happens to sums between the product that makes them and the memory they go to.

   This is the plain C; avx2_stages.h has the same in vector instructions. */
#ifndef N2UQ_STAGES_H
#define N2UQ_STAGES_H

#include "floats.h"

/* C leaves the right shift of negative integers to the compiler; all that are known keep the sign.
   An array of negative size stops the others. */
typedef char shifts_keep_the_sign[(-3 >> 1) == -2 ? 1 : -1];

INLINE void rescale(const stage *s, int32_t channel, int32_t pixels, int32_t (*tile)[LANES]) {
  int32_t multiplier[LANES], offset[LANES], shift[LANES], low = s->low, high = s->high;
  copy_lanes(multiplier, s->multiplier + channel);
  copy_lanes(offset, s->offset + channel);
  copy_lanes(shift, s->shift + channel);
  for (int32_t p = 0; p < pixels; p++)
    for (int32_t i = 0; i < LANES; i++)
      tile[p][i] = clamp((multiplier[i] * tile[p][i] + offset[i]) >> shift[i], low, high);
}

INLINE void prelu(const stage *s, int32_t channel, int32_t pixels, int32_t (*tile)[LANES]) {
  int32_t multiplier[LANES], offset[LANES], shift[LANES], before[LANES], after[LANES];
  int32_t low = s->low, high = s->high;
  copy_lanes(multiplier, s->multiplier + channel);
  copy_lanes(offset, s->offset + channel);
  copy_lanes(shift, s->shift + channel);
  copy_lanes(before, s->before + channel);
  copy_lanes(after, s->after + channel);
  for (int32_t p = 0; p < pixels; p++)
    for (int32_t i = 0; i < LANES; i++) {
      int32_t u = tile[p][i] + before[i];
      /* Multiplied only where negative: products of positive numbers may not fit 32 bits. */
      int32_t scaled = ((u < 0 ? u : 0) * multiplier[i] + offset[i]) >> shift[i];
      tile[p][i] = clamp((u < 0 ? scaled : u) + after[i], low, high);
    }
}

INLINE void add(const stage *s, const memory *memory, place where, int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes), low = s->low, high = s->high;
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch) {
    int32_t other[LANES];
    load_lanes(t, data, at, lanes, other);
    for (int32_t i = 0; i < LANES; i++)
      /* Unsigned, since channels that a tensor has not may hold anything. */
      tile[p][i] = clamp((int32_t)((uint32_t)tile[p][i] + (uint32_t)other[i]), low, high);
  }
}

INLINE void load(const stage *s, const memory *memory, place where, int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch)
    load_lanes(t, data, at, lanes, tile[p]);
}

INLINE void store(const stage *s, const memory *memory, place where, int32_t (*tile)[LANES]) {
  const tensor *t = s->other;
  void *data = memory->workspace + t->offset;
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch)
    store_lanes(t, data, at, lanes, tile[p]);
}

INLINE void count_points(const stage *s, int32_t channel, int32_t pixels, int32_t (*tile)[LANES]) {
  int32_t base[LANES], sign[LANES];
  copy_lanes(base, s->base + channel);
  copy_lanes(sign, s->steps + channel);
  for (int32_t p = 0; p < pixels; p++) {
    int32_t v[LANES], below[LANES] = {0};
    copy_lanes(v, tile[p]);
    const int32_t *points = s->points + channel;
    for (int32_t j = 0; j < s->count; j++, points += s->row)
      for (int32_t i = 0; i < LANES; i++) below[i] += v[i] > points[i];
    for (int32_t i = 0; i < LANES; i++) tile[p][i] = base[i] + sign[i] * below[i];
  }
}

INLINE void add_steps(const stage *s, int32_t channel, int32_t pixels, int32_t (*tile)[LANES]) {
  for (int32_t p = 0; p < pixels; p++) {
    int32_t v[LANES], code[LANES];
    copy_lanes(v, tile[p]);
    copy_lanes(code, s->base + channel);
    const int32_t *points = s->points + channel, *steps = s->steps + channel;
    for (int32_t j = 0; j < s->count; j++, points += s->row, steps += s->row)
      for (int32_t i = 0; i < LANES; i++) code[i] += v[i] > points[i] ? steps[i] : 0;
    copy_lanes(tile[p], code);
  }
}

/* Carries out stages on a tile. */
INLINE void run_stages(const stage *stages, int32_t count, const memory *memory, place where,
                       int32_t (*tile)[LANES]) {
  for (const stage *s = stages; s < stages + count; s++) {
    switch (s->kind) {
      case LOAD: load(s, memory, where, tile); break;
      case STORE: store(s, memory, where, tile); break;
      case ADD: add(s, memory, where, tile); break;
      case RESCALE: rescale(s, where.channel, where.pixels, tile); break;
      case PRELU: prelu(s, where.channel, where.pixels, tile); break;
      case COUNT: count_points(s, where.channel, where.pixels, tile); break;
      case ARITHMETIC: run_arithmetic(s, memory, where, tile); break;
      case LOOK_THROUGH: add_steps(s, where.channel, where.pixels, tile); break;
    }
  }
}

/* The pixels of a window that lie inside. */
typedef struct {
  int32_t top, left, bottom, right;
} area;

INLINE area area_of(const pool *pool, size_t pixel, int32_t width) {
  const window *w = &pool->window;
  corner first = corner_of(w, pixel, width);
  return (area){.top = first.y < 0 ? 0 : first.y,
                .left = first.x < 0 ? 0 : first.x,
                .bottom = smaller(first.y + w->height, pool->input->height),
                .right = smaller(first.x + w->width, pool->input->width)};
}

/* Maxima or sums of floats, which are added row by row. */
INLINE void pool_floats(const pool *pool, const memory *memory, place where, int32_t width,
                        int32_t (*tile)[LANES]) {
  const tensor *t = pool->input;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  for (int32_t p = 0; p < where.pixels; p++) {
    area w = area_of(pool, where.pixel + (size_t)p, width);
    float found[LANES];
    for (int32_t i = 0; i < LANES; i++) found[i] = pool->maximum ? -1.0f / 0.0f : 0.0f;
    for (int32_t y = w.top; y < w.bottom; y++)
      for (int32_t x = w.left; x < w.right; x++) {
        size_t at = ((size_t)y * (size_t)t->width + (size_t)x) * (size_t)t->pitch;
        int32_t held[LANES];
        float one[LANES];
        load_lanes(t, data, at + (size_t)where.channel, lanes, held);
        read_floats(held, 1, one);
        for (int32_t i = 0; i < LANES; i++)
          found[i] = pool->maximum ? larger_float(one[i], found[i]) : found[i] + one[i];
      }
    memcpy(tile[p], found, sizeof found);
  }
}

/* The same of integers; in both, what lies outside takes no part. */
INLINE void pool_tile(const pool *pool, const memory *memory, place where, int32_t width,
                      int32_t (*tile)[LANES]) {
  const tensor *t = pool->input;
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  for (int32_t p = 0; p < where.pixels; p++) {
    area w = area_of(pool, where.pixel + (size_t)p, width);
    for (int32_t i = 0; i < LANES; i++) tile[p][i] = pool->maximum ? INT32_MIN : 0;
    for (int32_t y = w.top; y < w.bottom; y++)
      for (int32_t x = w.left; x < w.right; x++) {
        size_t at = ((size_t)y * (size_t)t->width + (size_t)x) * (size_t)t->pitch;
        int32_t one[LANES];
        load_lanes(t, data, at + (size_t)where.channel, lanes, one);
        if (pool->maximum)
          for (int32_t i = 0; i < LANES; i++) tile[p][i] = tile[p][i] > one[i] ? tile[p][i] : one[i];
        else
          for (int32_t i = 0; i < LANES; i++)
            tile[p][i] = (int32_t)((uint32_t)tile[p][i] + (uint32_t)one[i]);
      }
  }
}

#endif
