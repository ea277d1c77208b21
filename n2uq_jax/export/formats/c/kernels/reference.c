/* Kernels in plain C: the meaning of the others, and what runs where no other does. */
#include "depthwise.h"

INLINE void multiply_rows(const convolution *c, const uint8_t *const *weights,
                          const uint8_t *const *inputs, int32_t pixels, sums *sums) {
  for (int32_t p = 0; p < pixels; p++) {
    int32_t sum[LANES] = {0};
    const int16_t *row = (const int16_t *)(const void *)weights[0];
    for (int32_t t = 0; t < c->taps; t++) {
      const int16_t *x = (const int16_t *)(const void *)inputs[p] + c->tap_offsets[t];
      for (int32_t k = 0; k < c->run; k++, row += LANES)
        for (int32_t i = 0; i < LANES; i++) sum[i] += x[k] * row[i];
    }
    memcpy((*sums)[0][p], sum, sizeof sum);
  }
}

static void reference_prepare(const convolution *c, const uint8_t *const *blocks, void *to) {
  prepare_rows(c, blocks[0], to);
}

static void reference_pack(const convolution *c, const void *from, int32_t row, uint8_t *packed) {
  pack_row(c, SHORTS, from, row, packed);
}

static void reference_multiply(const convolution *c, const uint8_t *const *weights,
                               const uint8_t *const *inputs, const int32_t *totals, sums *sums) {
  (void)totals;
  if (c->depthwise)
    multiply_depthwise(c, weights, inputs, 4, sums);
  else
    multiply_rows(c, weights, inputs, 4, sums);
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
    .blocks = 1,
    .form = SHORTS,
    .available = everywhere,
    .suits = always,
    .prepared_bytes = prepared_shorts,
    .prepare = reference_prepare,
    .pack = reference_pack,
    .multiply = reference_multiply,
    .finish = reference_finish,
    .pool = reference_pool,
};
