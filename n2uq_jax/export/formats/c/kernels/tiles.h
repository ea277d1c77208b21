/* Tiles of 16 channels: reading and writing them. */
#ifndef N2UQ_TILES_H
#define N2UQ_TILES_H

#include "network.h"

/* Which pixels and channels of a tensor a tile holds. */
typedef struct {
  size_t pixel; /* the first, counted along rows */
  int32_t pixels;
  int32_t channel; /* the first */
  int32_t lanes;   /* channels of the tile that are written; parameters may be read for all 16 */
} place;

typedef struct {
  const void *image;
  uint8_t *workspace;
} memory;

/* The first row and column of a pixel's window. */
typedef struct {
  int32_t y, x;
} corner;

INLINE corner corner_of(const window *window, size_t pixel, int32_t width) {
  return (corner){.y = (int32_t)(pixel / (size_t)width) * window->stride_y - window->pad_top,
                  .x = (int32_t)(pixel % (size_t)width) * window->stride_x - window->pad_left};
}

INLINE const void *address(const tensor *t, const memory *m) {
  return t->offset == IN_IMAGE ? m->image : m->workspace + t->offset;
}

INLINE int32_t lanes_of(const tensor *t, int32_t channel, int32_t lanes) {
  return smaller(lanes, t->pitch - channel);
}

/* The loops below copy what they read into arrays of their own: nothing else can point there, which is
   what a compiler must know to make vector instructions of them. */
INLINE void copy_lanes(int32_t *to, const int32_t *from) {
  memcpy(to, from, LANES * sizeof(int32_t));
}

/* Reads 16 channels; those that a tensor has not are 0. */
INLINE void load_lanes(const tensor *t, const void *data, size_t at, int32_t lanes, int32_t *to) {
  size_t count = (size_t)lanes;
  if (t->type == U8) {
    uint8_t bytes[LANES] = {0};
    if (lanes == LANES)
      memcpy(bytes, (const uint8_t *)data + at, sizeof bytes);
    else
      memcpy(bytes, (const uint8_t *)data + at, count);
    for (int32_t i = 0; i < LANES; i++) to[i] = bytes[i];
  } else if (t->type == I16) {
    int16_t shorts[LANES] = {0};
    if (lanes == LANES)
      memcpy(shorts, (const int16_t *)data + at, sizeof shorts);
    else
      memcpy(shorts, (const int16_t *)data + at, count * sizeof(int16_t));
    for (int32_t i = 0; i < LANES; i++) to[i] = shorts[i];
  } else if (lanes == LANES) {
    memcpy(to, (const int32_t *)data + at, LANES * sizeof(int32_t));
  } else {
    memset(to, 0, LANES * sizeof(int32_t));
    memcpy(to, (const int32_t *)data + at, count * sizeof(int32_t));
  }
}

INLINE void store_lanes(const tensor *t, void *data, size_t at, int32_t lanes, const int32_t *from) {
  size_t count = (size_t)lanes;
  if (t->type == U8) {
    uint8_t bytes[LANES];
    for (int32_t i = 0; i < LANES; i++) bytes[i] = (uint8_t)from[i];
    if (lanes == LANES)
      memcpy((uint8_t *)data + at, bytes, sizeof bytes);
    else
      memcpy((uint8_t *)data + at, bytes, count);
  } else if (t->type == I16) {
    int16_t shorts[LANES];
    for (int32_t i = 0; i < LANES; i++) shorts[i] = (int16_t)from[i];
    if (lanes == LANES)
      memcpy((int16_t *)data + at, shorts, sizeof shorts);
    else
      memcpy((int16_t *)data + at, shorts, count * sizeof(int16_t));
  } else {
    memcpy((int32_t *)data + at, from, count * sizeof(int32_t));
  }
}

#endif
