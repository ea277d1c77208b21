/* Inputs of a convolution, copied into the form its kernel reads, with the padding around them. */
#ifndef N2UQ_PACKING_H
#define N2UQ_PACKING_H

#include "weights.h"

typedef enum {
  SHORTS, /* int16, 0 in the padding */
  BYTES,  /* uint8: the input plus zero[channel], which is in the padding */
  FOURS,  /* 2-bit codes of four channels in a byte */
  THREES  /* 2-bit codes of three channels in a byte */
} form;

/* Bytes of `elements` elements; for FOURS a multiple of 4, for THREES a pixel's. */
INLINE size_t bytes_of(form form, int32_t elements) {
  size_t n = (size_t)elements;
  return form == SHORTS ? 2 * n : form == BYTES ? n : form == FOURS ? n / 4 : (n + 2) / 3;
}

INLINE size_t pixel_bytes(const convolution *c, form form) {
  return bytes_of(form, c->pitch) * (size_t)(c->depthwise ? 1 : c->groups);
}

INLINE size_t packed_bytes(const convolution *c, form form) {
  return (size_t)c->padded_height * (size_t)c->padded_width * pixel_bytes(c, form) + SLACK;
}

INLINE uint32_t four_codes(const uint8_t *codes) {
  return codes[0] | (uint32_t)codes[1] << 2 | (uint32_t)codes[2] << 4 | (uint32_t)codes[3] << 6;
}

/* Packs the channels of one pixel and group, which are elements `at` on of the input. */
typedef void pack_pixel(const convolution *c, const void *from, size_t at, int32_t channel,
                        int32_t channels, uint8_t *to);

INLINE void pixel_of_fours(const convolution *c, const void *from, size_t at, int32_t channel,
                           int32_t channels, uint8_t *to) {
  (void)c, (void)channel;
  const uint8_t *codes = (const uint8_t *)from + at;
  int32_t i = 0;
  for (; i < channels / 4; i++) to[i] = (uint8_t)four_codes(codes + 4 * i);
  if (channels % 4) {
    uint8_t rest[4] = {0};
    memcpy(rest, codes + 4 * i, (size_t)(channels % 4));
    to[i] = (uint8_t)four_codes(rest);
  }
}

INLINE void pixel_of_bytes(const convolution *c, const void *from, size_t at, int32_t channel,
                           int32_t channels, uint8_t *to) {
  if (c->input->type == U8)
    memcpy(to, (const uint8_t *)from + at, (size_t)channels);
  else
    for (int32_t i = 0; i < channels; i++)
      to[i] = (uint8_t)(((const int16_t *)from)[at + (size_t)i] + (c->zero ? c->zero[channel + i] : 0));
}

INLINE void pixel_of_shorts(const convolution *c, const void *from, size_t at, int32_t channel,
                            int32_t channels, uint8_t *to) {
  int16_t *shorts = (int16_t *)(void *)to;
  if (c->input->type == I16) {
    memcpy(to, (const int16_t *)from + at, (size_t)channels * sizeof(int16_t));
    return;
  }
  const uint8_t *bytes = (const uint8_t *)from + at;
  if (c->zero)
    for (int32_t i = 0; i < channels; i++) shorts[i] = (int16_t)(bytes[i] - c->zero[channel + i]);
  else
    for (int32_t i = 0; i < channels; i++) shorts[i] = bytes[i];
}

/* Fills the bytes of padding pixels. */
INLINE void pad_pixels(const convolution *c, form form, int32_t pixels, uint8_t *to) {
  size_t bytes = pixel_bytes(c, form);
  if (form != BYTES || !c->zero) {
    memset(to, 0, (size_t)pixels * bytes);
    return;
  }
  int32_t groups = c->depthwise ? 1 : c->groups, channels = c->input->channels / groups;
  for (int32_t p = 0; p < pixels; p++, to += bytes)
    for (int32_t g = 0; g < groups; g++) {
      memset(to + g * c->pitch, 0, (size_t)c->pitch);
      memcpy(to + g * c->pitch, c->zero + g * channels, (size_t)channels);
    }
}

/* Packs one row of the padded buffer. */
INLINE void pack_row(const convolution *c, form form, pack_pixel *pixel, const void *from, int32_t row,
                     uint8_t *packed) {
  const tensor *input = c->input;
  size_t bytes = pixel_bytes(c, form), group_bytes = bytes_of(form, c->pitch);
  uint8_t *to = packed + (size_t)row * (size_t)c->padded_width * bytes;
  int32_t y = row - c->pad_top;
  if (y < 0 || y >= input->height) {
    pad_pixels(c, form, c->padded_width, to);
    return;
  }
  int32_t left = smaller(c->pad_left, c->padded_width);
  int32_t inside = smaller(input->width, c->padded_width - left);
  pad_pixels(c, form, left, to);
  to += (size_t)left * bytes;
  int32_t groups = c->depthwise ? 1 : c->groups, channels = input->channels / groups;
  for (int32_t x = 0; x < inside; x++, to += bytes) {
    size_t at = ((size_t)y * (size_t)input->width + (size_t)x) * (size_t)input->pitch;
    /* Elements that the pitch has beyond the channels meet weights of no channel: they must be 0. */
    if (groups * c->pitch != input->channels) memset(to, 0, bytes);
    for (int32_t g = 0; g < groups; g++)
      pixel(c, from, at + (size_t)(g * channels), g * channels, channels, to + (size_t)g * group_bytes);
  }
  pad_pixels(c, form, c->padded_width - left - inside, to);
}

#endif
