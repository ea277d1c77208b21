/* What a network is made of: tensors, stages, convolutions. A generated file holds tables of them. */
#ifndef N2UQ_NETWORK_H
#define N2UQ_NETWORK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* For functions that not every kernel needs, and which are to be compiled for the processor of the
   kernel that calls them. */
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline, unused))
#else
#define INLINE static inline
#endif

#if defined(__GNUC__)
#define ALIGNED(bytes) __attribute__((aligned(bytes)))
#else
#define ALIGNED(bytes)
#endif

/* Channels are worked on 16 at a time: every SIMD unit has vectors of 16 bytes, and wider ones take
   several. Tensors in the workspace have room for a multiple of 16 channels a pixel. */
enum { LANES = 16 };

/* A tile is what a kernel keeps in registers: some pixels by some blocks of 16 channels. */
enum { MAX_PIXELS = 8, MAX_BLOCKS = 4 };

/* Reading or writing a whole vector at a buffer's end stays within this many bytes. */
enum { SLACK = 64 };

/* Buffers in the workspace start at multiples of a cache line. */
enum { ALIGNMENT = 64 };

typedef enum { U8, I16, I32, F32 } element;

/* Where a tensor lies: `offset` bytes into the workspace, or in the image itself. */
#define IN_IMAGE ((size_t)-1)

typedef struct {
  size_t offset;
  int32_t height, width, channels;
  int32_t pitch; /* elements from one pixel to the next */
  element type;
} tensor;

/* Stages work on a tile of int32, or of the bits of floats, where it lies, in the first-level cache, one after another. */
typedef enum {
  LOAD,       /* tile = tensor */
  STORE,      /* tensor = tile, saturated to its type by the stages before */
  ADD,        /* tile = clamp(tile + tensor) */
  RESCALE,    /* tile = clamp((multiplier * tile + offset) >> shift) */
  PRELU,      /* u = tile + before; u = u < 0 ? (multiplier * u + offset) >> shift : u;
                 tile = clamp(u + after) */
  ARITHMETIC, /* tile = float arithmetic on tile and tensors; codes are saturated */
  COUNT,      /* tile = base + sign * (number of points below tile): all steps of a channel alike */
  LOOK_THROUGH /* tile = base + the sum of the steps whose points lie below tile */
} stage_kind;

/* Float arithmetic on the elements of up to MAX_INPUTS tensors: a function that was generated for
   it, compiled for the least processor and for AVX2. */
enum { MAX_INPUTS = 8 };

typedef void arithmetic_function(const float (*in)[MAX_PIXELS][LANES], int32_t channel, int32_t pixels,
                                 float (*restrict out)[LANES]);

typedef struct {
  const tensor *inputs[MAX_INPUTS]; /* NULL: the tile */
  int32_t count;
  int32_t tile_is_float; /* else of integers */
  int32_t makes_codes;   /* else floats */
  arithmetic_function *compute[2];
} arithmetic;

typedef struct {
  stage_kind kind;
  const tensor *other;       /* LOAD, STORE, ADD */
  const int32_t *multiplier; /* RESCALE, PRELU; per channel, as all that follow */
  const int32_t *offset;     /* RESCALE, PRELU */
  const int32_t *shift;      /* RESCALE, PRELU */
  const int32_t *before;     /* PRELU */
  const int32_t *after;      /* PRELU */
  const int32_t *base;       /* thresholds */
  const int32_t *points;     /* thresholds: count rows of one point a channel */
  const int32_t *steps;      /* LOOK_THROUGH: rows as of the points; COUNT: one sign a channel */
  int32_t count;             /* points a channel */
  int32_t row;               /* elements from one row of points to the next */
  int32_t low, high;         /* of the result */
  const arithmetic *arithmetic; /* ARITHMETIC */
} stage;

/* A convolution of unsigned bytes, or of 16-bit integers, with weights of 1 to 8 bits.

   Its input is first copied into a buffer with the padding around it, in which the inputs of an
   output pixel are `taps` runs of `run` elements each. Weight number m of `bits` bits stands for
   weight first + step * m. */
typedef struct {
  const tensor *input;
  int32_t out_height, out_width, out_channels; /* channels of all groups */
  int32_t groups;
  int32_t stride_y, stride_x, pad_top, pad_left;
  int32_t padded_height, padded_width;
  int32_t pitch;              /* elements of one pixel and group in the padded buffer */
  int32_t taps, run;          /* a run is a multiple of 4 */
  const int32_t *tap_offsets; /* elements from an output pixel's first input to each run */
  const uint64_t *weights;    /* bit planes: see weights.h */
  int32_t bits, first, step;
  const uint8_t *zero;        /* per input channel; or NULL: all 0. See packing.h */
  const int32_t *bias;        /* per output channel, or NULL */
  const int32_t *correction;  /* sum of weight * zero per output channel, or NULL if zero is */
  int32_t largest_input;      /* of the bytes, or of the magnitude of 16-bit integers */
  int32_t largest_byte;       /* of the inputs as bytes; above 255: they do not fit */
  int32_t largest_weight;     /* magnitude */
  int32_t depthwise;          /* each channel has its own taps; blocks of channels as they lie */
} convolution;

/* Where a pool or a convolution reads: windows of so many rows and columns, the first of which begins
   in the padding. */
typedef struct {
  int32_t height, width, stride_y, stride_x, dilation_y, dilation_x, pad_top, pad_left;
} window;

/* A convolution of floats. Products are added in the order of the window's rows, its columns and the
   input channels, each sum from 0 on; what lies in the padding takes no part. */
typedef struct {
  const tensor *input;
  window window;
  int32_t groups, inputs; /* input channels of a group */
  int32_t features;       /* output channels of a group */
  const float *weights;   /* of 16 output channels after another: a row of those for each input */
} float_convolution;

typedef struct {
  const tensor *input;
  window window; /* without dilation */
  int32_t maximum; /* else the sum */
} pool;

/* A root fills tiles, its stages work on them. */
typedef struct {
  const convolution *convolution; /* or */
  const pool *pool;               /* or */
  const float_convolution *floats; /* or none of them: the first stage loads */
  const stage *stages;
  int32_t count;
  int32_t height, width, channels; /* of the result */
} layer;

/* Output channels of one group, in blocks. */
INLINE int32_t blocks_of(int32_t channels) { return (channels + LANES - 1) / LANES; }

INLINE int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

INLINE int32_t clamp(int32_t v, int32_t low, int32_t high) {
  return v < low ? low : v > high ? high : v;
}

#endif
