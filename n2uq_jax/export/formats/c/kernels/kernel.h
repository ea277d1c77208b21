/* What a kernel is: the few functions that differ from one processor to another. */
#ifndef N2UQ_KERNEL_H
#define N2UQ_KERNEL_H

#include "packing.h"

typedef int32_t sums[MAX_BLOCKS][MAX_PIXELS][LANES];

typedef struct {
  const char *name;
  int32_t pixels, blocks; /* of its tile */
  form form;              /* of its inputs */
  int (*available)(void); /* whether the processor has what it needs */
  int (*suits)(const convolution *c); /* whether its sums cannot overflow, and it can do this shape */
  /* Bytes of a tile's blocks' weights as it wants them, and their making. NULL: as they are stored. */
  size_t (*prepared_bytes)(const convolution *c);
  void (*prepare)(const convolution *c, const uint8_t *const *blocks, void *to);
  void (*pack)(const convolution *c, const void *from, int32_t row, uint8_t *packed);
  /* Sums of a tile. `weights` are those of its blocks, or one pointer to them prepared, `inputs` the
     first inputs of its pixels in the packed buffer, `totals` the sums of the codes that each pixel
     reads (for FOURS and THREES only). */
  void (*multiply)(const convolution *c, const uint8_t *const *weights, const uint8_t *const *inputs,
                   const int32_t *totals, sums *sums);
  void (*finish)(const stage *stages, int32_t count, const memory *memory, place where,
                 int32_t (*tile)[LANES]);
  void (*pool)(const pool *pool, const memory *memory, place where, int32_t width,
               int32_t (*tile)[LANES]);
} kernel;

/* Repeats a macro for every pixel of a tile. Sums have a name each: compilers keep arrays of them in
   memory, which halves the speed. */
#define EACH_OF_4(DO) DO(0) DO(1) DO(2) DO(3)
#define EACH_OF_6(DO) EACH_OF_4(DO) DO(4) DO(5)
#define EACH_OF_8(DO) EACH_OF_6(DO) DO(6) DO(7)

INLINE int always(const convolution *c) {
  (void)c;
  return 1;
}

INLINE int everywhere(void) { return 1; }

#endif
