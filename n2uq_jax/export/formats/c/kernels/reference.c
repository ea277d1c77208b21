/* Kernels in plain C: the meaning of the others, and what runs where no other does. */
#include "kernel.h"

/* Two blocks at a time: loops over 16 channels some compilers unroll before they look for vectors. */
enum { PAIR = 2 * LANES };

static void store_pair(const int32_t *sum, int32_t pixel, sums *sums) {
  memcpy((*sums)[0][pixel], sum, LANES * sizeof(int32_t));
  memcpy((*sums)[1][pixel], sum + LANES, LANES * sizeof(int32_t));
}

static void multiply_rows(const convolution *c, const int16_t *rows, const int16_t *inputs,
                          int32_t pixel, sums *sums) {
  int32_t sum[PAIR] = {0};
  for (int32_t t = 0; t < c->taps; t++) {
    const int16_t *x = inputs + c->tap_offsets[t];
    for (int32_t k = 0; k < c->run; k++, rows += PAIR)
      for (int32_t i = 0; i < PAIR; i++) sum[i] += x[k] * rows[i];
  }
  store_pair(sum, pixel, sums);
}

/* Depthwise: the weights' rows are taps, and each channel has an input of its own. */
static void multiply_depthwise(const convolution *c, const int16_t *rows, const int16_t *inputs,
                               int32_t pixel, sums *sums) {
  int32_t sum[PAIR] = {0};
  for (int32_t t = 0; t < c->taps; t++, rows += PAIR) {
    const int16_t *x = inputs + c->tap_offsets[t];
    for (int32_t i = 0; i < PAIR; i++) sum[i] += x[i] * rows[i];
  }
  store_pair(sum, pixel, sums);
}

static size_t reference_prepared(const convolution *c) {
  return (size_t)steps_of(c) * 4 * PAIR * sizeof(int16_t);
}

static void reference_prepare(const convolution *c, const uint8_t *const *blocks, void *to) {
  prepare_rows(c, blocks[0], PAIR, to);
  prepare_rows(c, blocks[1], PAIR, (int16_t *)to + LANES);
}

static void reference_pack(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, SHORTS, pixel_of_shorts, from, row, packed);
}

static void reference_multiply(const convolution *c, const uint8_t *const *weights,
                               const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  const int16_t *rows = (const int16_t *)(const void *)weights[0];
  for (int32_t p = 0; p < 4; p++) {
    const int16_t *x = (const int16_t *)(const void *)inputs[p];
    if (c->depthwise)
      multiply_depthwise(c, rows, x, p, sums);
    else
      multiply_rows(c, rows, x, p, sums);
  }
}

static void reference_finish(const stage *stages, int32_t count, const memory *memory, place where,
                             int32_t (*tile)[LANES]) {
  run_stages(stages, count, memory, where, tile);
}

static void reference_pool(const pool *pool, const memory *memory, place where, int32_t width,
                         int32_t (*tile)[LANES]) {
  pool_tile(pool, memory, where, width, tile);
}

static const kernel reference_kernel = {
    .name = "reference",
    .pixels = 4,
    .blocks = 2,
    .form = SHORTS,
    .available = everywhere,
    .suits = always,
    .prepared_bytes = reference_prepared,
    .prepare = reference_prepare,
    .pack = reference_pack,
    .multiply = reference_multiply,
    .finish = reference_finish,
    .pool = reference_pool,
};
