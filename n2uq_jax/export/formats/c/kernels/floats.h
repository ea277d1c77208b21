/* Floats: arithmetic on elements, convolutions and pools.

   Every operation is rounded to float32 as IEEE 754 says, in the order in which it is written, so that
   every compiler, processor and vector length gives the same numbers. A product and a sum must not
   become one operation: -std=c99 or -ffp-contract=off sees to that in GCC, the pragma elsewhere. */
#ifndef N2UQ_FLOATS_H
#define N2UQ_FLOATS_H

#include "tiles.h"
#include "x86.h"

#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#endif

/* A generated function `name_on`, compiled for both kinds of processor. */
#define COMPILED_AS(target, name, compiled)                                                           \
  target static void compiled(const float(*in)[MAX_PIXELS][LANES], int32_t channel, int32_t pixels,   \
                              float(*restrict out)[LANES]) {                                          \
    name##_on(in, channel, pixels, out);                                                              \
  }
#ifdef N2UQ_X86
#define COMPILED(name) COMPILED_AS(, name, name) COMPILED_AS(AVX2, name, name##_avx2)
#define COMPUTE(name) {name, name##_avx2}
INLINE int has_wide_vectors(void) { return has_avx2(); }
#else
#define COMPILED(name) COMPILED_AS(, name, name)
#define COMPUTE(name) {name, name}
INLINE int has_wide_vectors(void) { return 0; }
#endif

/* Unlike C's own, these keep what is not a number. */
INLINE float larger_float(float a, float b) { return a > b || a != a ? a : b; }
INLINE float smaller_float(float a, float b) { return a < b || a != a ? a : b; }

/* Reads what a tile holds, or a tensor. */
INLINE void read_floats(const int32_t *lanes, int is_float, float *to) {
  if (is_float)
    memcpy(to, lanes, LANES * sizeof(float));
  else
    for (int32_t i = 0; i < LANES; i++) to[i] = (float)lanes[i];
}

INLINE void read_input(const tensor *t, const memory *memory, place where, float (*to)[LANES]) {
  const void *data = address(t, memory);
  int32_t lanes = lanes_of(t, where.channel, where.lanes);
  size_t at = where.pixel * (size_t)t->pitch + (size_t)where.channel;
  for (int32_t p = 0; p < where.pixels; p++, at += (size_t)t->pitch) {
    int32_t held[LANES];
    load_lanes(t, data, at, lanes, held);
    read_floats(held, t->type == F32, to[p]);
  }
}

INLINE void run_arithmetic(const stage *s, const memory *memory, place where, int32_t (*tile)[LANES]) {
  const arithmetic *a = s->arithmetic;
  float in[MAX_INPUTS][MAX_PIXELS][LANES], out[MAX_PIXELS][LANES], low = (float)s->low;
  float high = (float)s->high;
  for (int32_t j = 0; j < a->count; j++) {
    if (a->inputs[j])
      read_input(a->inputs[j], memory, where, in[j]);
    else
      for (int32_t p = 0; p < where.pixels; p++) read_floats(tile[p], a->tile_is_float, in[j][p]);
  }
  a->compute[has_wide_vectors()]((const float(*)[MAX_PIXELS][LANES])in, where.channel, where.pixels, out);
  for (int32_t p = 0; p < where.pixels; p++) {
    if (a->makes_codes)
      /* Not a number is the lowest code. */
      for (int32_t i = 0; i < LANES; i++)
        tile[p][i] = (int32_t)(out[p][i] > low ? out[p][i] < high ? out[p][i] : high : low);
    else
      memcpy(tile[p], out[p], sizeof out[p]);
  }
}

/* Adds an input times a row of weights. */
INLINE void add_product(float *sum, float x, const float *weights) {
  for (int32_t i = 0; i < LANES; i++) sum[i] += x * weights[i];
}

/* The same with an input for each channel, as their groups have. */
INLINE void add_products(const float_convolution *c, int32_t channel, int32_t k, float *sum,
                         const float *x, const float *weights) {
  for (int32_t i = 0; i < LANES && channel + i < c->groups * c->features; i++)
    sum[i] += x[(channel + i) / c->features * c->inputs + k] * weights[i];
}

INLINE void convolve_floats(const float_convolution *c, const memory *memory, place where,
                            int32_t width, int32_t (*tile)[LANES]) {
  const tensor *t = c->input;
  const float *data = address(t, memory);
  const window *w = &c->window;
  int32_t taps = w->height * w->width;
  const float *block = c->weights + (size_t)where.channel * (size_t)(taps * c->inputs);
  for (int32_t p = 0; p < where.pixels; p++) {
    corner first = corner_of(w, where.pixel + (size_t)p, width);
    float sum[LANES] = {0};
    for (int32_t tap = 0; tap < taps; tap++) {
      int32_t y = first.y + tap / w->width * w->dilation_y;
      int32_t x = first.x + tap % w->width * w->dilation_x;
      if (y < 0 || x < 0 || y >= t->height || x >= t->width) continue;
      const float *from = data + ((size_t)y * (size_t)t->width + (size_t)x) * (size_t)t->pitch;
      const float *weights = block + (size_t)(tap * c->inputs) * LANES;
      for (int32_t k = 0; k < c->inputs; k++, weights += LANES) {
        if (c->groups == 1)
          add_product(sum, from[k], weights);
        else
          add_products(c, where.channel, k, sum, from, weights);
      }
    }
    memcpy(tile[p], sum, sizeof sum);
  }
}

#ifdef N2UQ_X86
AVX2 static void avx2_convolve_floats(const float_convolution *c, const memory *memory, place where,
                                      int32_t width, int32_t (*tile)[LANES]) {
  convolve_floats(c, memory, where, width, tile);
}
#endif

static void float_tile(const float_convolution *c, const memory *memory, place where, int32_t width,
                       int32_t (*tile)[LANES]) {
#ifdef N2UQ_X86
  if (has_avx2()) {
    avx2_convolve_floats(c, memory, where, width, tile);
    return;
  }
#endif
  convolve_floats(c, memory, where, width, tile);
}

#endif
