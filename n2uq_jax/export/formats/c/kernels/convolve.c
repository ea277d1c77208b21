/* A convolution at work: inputs packed, weights prepared, tiles multiplied and finished. */
#include "kernel.h"

/* Calls work(context, i) for i from 0 to count - 1, in several threads where the compiler has OpenMP. */
static void for_each(int32_t count, int32_t threads, void (*work)(const void *, int32_t),
                     const void *context) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
#else
  (void)threads;
#endif
  for (int32_t i = 0; i < count; i++) work(context, i);
}

/* A convolution at work. */
typedef struct {
  const layer *layer;
  const convolution *convolution;
  const kernel *kernel;
  const memory *memory;
  uint8_t *packed;
  uint8_t *prepared;
  int32_t *starts;      /* of each output pixel, its first input: bytes into the packed buffer */
  int32_t *pixel_sums;  /* of the codes of each pixel of the packed buffer, a number a group */
  int32_t *totals;      /* sums of the codes that each output pixel reads, a number a group */
  int32_t tiles;        /* of pixels */
  int32_t tile_groups;  /* block groups a group: a tile's blocks are a block group */
  int32_t first;        /* block group whose prepared weights come first */
} conv_run;

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static int32_t product_groups(const convolution *c) { return c->depthwise ? 1 : c->groups; }

static int32_t group_channels(const convolution *c) { return c->out_channels / product_groups(c); }

static int32_t tile_groups_of(const convolution *c, const kernel *k) {
  return (blocks_of(group_channels(c)) + k->blocks - 1) / k->blocks;
}

static size_t prepared_size(const convolution *c, const kernel *k) {
  return k->prepared_bytes ? aligned(k->prepared_bytes(c)) : 0;
}

/* Weights prepared at a time: all for several threads, else one tile's, which stays in the cache. */
static int32_t prepared_at_once(const convolution *c, const kernel *k, int32_t threads) {
  return threads > 1 ? product_groups(c) * tile_groups_of(c, k) : 1;
}

static int has_totals(const kernel *k) { return k->form == FOURS || k->form == THREES; }

static size_t totals_bytes(const convolution *c) {
  size_t pixels = (size_t)c->out_height * (size_t)c->out_width;
  return aligned(pixels * (size_t)product_groups(c) * sizeof(int32_t));
}

static size_t pixel_sums_bytes(const convolution *c) {
  size_t pixels = (size_t)c->padded_height * (size_t)c->padded_width;
  return aligned(pixels * (size_t)product_groups(c) * sizeof(int32_t));
}

/* Bytes that a convolution needs beside the tensors. */
static size_t scratch_bytes(const convolution *c, const kernel *k, int32_t threads) {
  size_t pixels = (size_t)c->out_height * (size_t)c->out_width;
  size_t bytes = aligned(packed_bytes(c, k->form)) + aligned(pixels * sizeof(int32_t));
  if (has_totals(k)) bytes += totals_bytes(c) + pixel_sums_bytes(c);
  return bytes + prepared_size(c, k) * (size_t)prepared_at_once(c, k, threads);
}

/* Sum of the 2-bit codes in each byte. */
static uint64_t sums_in_bytes(uint64_t eight) {
  eight = (eight & 0x3333333333333333u) + (eight >> 2 & 0x3333333333333333u);
  return (eight & 0x0f0f0f0f0f0f0f0fu) + (eight >> 4 & 0x0f0f0f0f0f0f0f0fu);
}

static int32_t sum_of_codes(const uint8_t *bytes, size_t count) {
  uint64_t sum = 0, eight;
  size_t i = 0;
  for (; i + sizeof eight <= count; i += sizeof eight) {
    memcpy(&eight, bytes + i, sizeof eight);
    sum += sums_in_bytes(eight) * 0x0101010101010101u >> 56;
  }
  for (; i < count; i++) sum += sums_in_bytes(bytes[i]);
  return (int32_t)sum;
}

/* Sums of the codes of every pixel and group of a packed row. */
static void sum_one_row(const conv_run *r, int32_t row) {
  const convolution *c = r->convolution;
  size_t bytes = bytes_of(r->kernel->form, c->pitch);
  size_t count = (size_t)c->padded_width * (size_t)product_groups(c), first = (size_t)row * count;
  const uint8_t *codes = r->packed + first * bytes;
  for (size_t i = 0; i < count; i++, codes += bytes) r->pixel_sums[first + i] = sum_of_codes(codes, bytes);
}

/* From the sums of pixels those of windows. */
static void total_one_row(const conv_run *r, int32_t y) {
  const convolution *c = r->convolution;
  int32_t width = c->out_width, groups = product_groups(c), run = c->run / c->pitch;
  const int32_t *sums = r->pixel_sums + y * c->stride_y * c->padded_width * groups;
  int32_t *totals = r->totals + y * width * groups;
  memset(totals, 0, (size_t)(width * groups) * sizeof(int32_t));
  for (int32_t t = 0; t < c->taps; t++) {
    /* A tap's offset is a number of whole pixels and groups, and so is a run's length. */
    const int32_t *tap = sums + c->tap_offsets[t] / c->pitch;
    for (int32_t x = 0; x < width; x++, tap += c->stride_x * groups)
      for (int32_t g = 0; g < groups; g++)
        for (int32_t k = 0; k < run; k++) totals[x * groups + g] += tap[g + k];
  }
}

static void pack_one_row(const void *context, int32_t row) {
  const conv_run *r = context;
  const convolution *c = r->convolution;
  r->kernel->pack(c, address(c->input, r->memory), row, r->packed);
  if (has_totals(r->kernel)) sum_one_row(r, row);
}

/* Blocks of a tile. Those that a group has not are its last again, and are not stored. */
static void find_blocks(const conv_run *r, int32_t tile_group, const uint8_t **blocks) {
  const convolution *c = r->convolution;
  int32_t count = blocks_of(group_channels(c));
  int32_t group = tile_group / r->tile_groups, first = tile_group % r->tile_groups * r->kernel->blocks;
  for (int32_t b = 0; b < r->kernel->blocks; b++) {
    int32_t block = group * count + smaller(first + b, count - 1);
    blocks[b] = (const uint8_t *)c->weights + (size_t)block * block_bytes(c);
  }
}

static void prepare_one(const void *context, int32_t index) {
  const conv_run *r = context;
  const uint8_t *blocks[MAX_BLOCKS];
  find_blocks(r, r->first + index, blocks);
  r->kernel->prepare(r->convolution, blocks,
                     r->prepared + (size_t)index * prepared_size(r->convolution, r->kernel));
}

static void start_one_row(const void *context, int32_t y) {
  const conv_run *r = context;
  const convolution *c = r->convolution;
  int32_t bytes = (int32_t)pixel_bytes(c, r->kernel->form);
  for (int32_t x = 0; x < c->out_width; x++)
    r->starts[y * c->out_width + x] =
        (y * c->stride_y * c->padded_width + x * c->stride_x) * bytes;
  if (has_totals(r->kernel)) total_one_row(r, y);
}

/* Adds a number a channel, times a sign. */
static void add_constants(const int32_t *constants, int32_t sign, place where, int32_t (*tile)[LANES]) {
  if (!constants) return;
  int32_t row[LANES];
  copy_lanes(row, constants + where.channel);
  for (int32_t i = 0; i < LANES; i++) row[i] *= sign;
  for (int32_t p = 0; p < where.pixels; p++)
    for (int32_t i = 0; i < LANES; i++) tile[p][i] += row[i];
}

static void multiply_tile(const void *context, int32_t index) {
  const conv_run *r = context;
  const convolution *c = r->convolution;
  const kernel *k = r->kernel;
  int32_t at = index / r->tiles, tile_group = r->first + at, groups = product_groups(c);
  int32_t group = tile_group / r->tile_groups, first = tile_group % r->tile_groups * k->blocks;
  const uint8_t *weights[MAX_BLOCKS];
  if (k->prepare)
    weights[0] = r->prepared + (size_t)at * prepared_size(c, k);
  else
    find_blocks(r, tile_group, weights);

  int32_t all = c->out_height * c->out_width, pixel = index % r->tiles * k->pixels;
  const uint8_t *inputs[MAX_PIXELS];
  int32_t totals[MAX_PIXELS];
  size_t into = (size_t)group * bytes_of(k->form, c->pitch);
  if (c->depthwise) into = bytes_of(k->form, first * LANES);
  for (int32_t p = 0; p < k->pixels; p++) {
    int32_t q = smaller(pixel + p, all - 1);
    inputs[p] = r->packed + (size_t)r->starts[q] + into;
    totals[p] = has_totals(k) ? r->totals[q * groups + group] : 0;
  }
  sums sums ALIGNED(ALIGNMENT);
  k->multiply(c, weights, inputs, totals, &sums);

  int32_t channels = group_channels(c);
  place where = {.pixel = (size_t)pixel, .pixels = smaller(k->pixels, all - pixel)};
  for (int32_t b = 0; b < k->blocks && first + b < blocks_of(channels); b++) {
    int32_t channel = (first + b) * LANES;
    where.channel = group * channels + channel;
    where.lanes = groups > 1 ? smaller(LANES, channels - channel) : LANES;
    add_constants(c->bias, 1, where, sums[b]);
    if (k->form == BYTES) add_constants(c->correction, -1, where, sums[b]);
    k->finish(r->layer->stages, r->layer->count, r->memory, where, sums[b]);
  }
}

static void convolve(const layer *l, const kernel *k, const memory *memory, uint8_t *scratch,
                     int32_t threads) {
  const convolution *c = l->convolution;
  int32_t pixels = c->out_height * c->out_width;
  conv_run r = {.layer = l, .convolution = c, .kernel = k, .memory = memory, .packed = scratch};
  uint8_t *next = scratch + aligned(packed_bytes(c, k->form));
  r.starts = (int32_t *)(void *)next;
  next += aligned((size_t)pixels * sizeof(int32_t));
  if (has_totals(k)) {
    r.totals = (int32_t *)(void *)next;
    next += totals_bytes(c);
    r.pixel_sums = (int32_t *)(void *)next;
    next += pixel_sums_bytes(c);
  }
  r.prepared = next;
  r.tiles = (pixels + k->pixels - 1) / k->pixels;
  r.tile_groups = tile_groups_of(c, k);

  for_each(c->padded_height, threads, pack_one_row, &r);
  memset(r.packed + packed_bytes(c, k->form) - SLACK, 0, SLACK);
  for_each(c->out_height, threads, start_one_row, &r);
  int32_t count = product_groups(c) * r.tile_groups;
  int32_t at_once = k->prepare ? prepared_at_once(c, k, threads) : count;
  for (r.first = 0; r.first < count; r.first += at_once) {
    int32_t now = smaller(at_once, count - r.first);
    if (k->prepare) for_each(now, threads, prepare_one, &r);
    for_each(now * r.tiles, threads, multiply_tile, &r);
  }
}
