/* Running a network: which kernel computes which layer, and in what order. */
#include "reference.c"

#include "avx2_lookup.c"
#include "avx2_dot.c"
#include "avx512_lookup.c"
#include "avx512_dot.c"
#include "neon.c"
#include "wasm.c"

#include "convolve.c"

/* Fastest first; the first that the processor has and that suits a convolution computes it. */
static const kernel *const kernels[] = {
#ifdef N2UQ_X86
    &vbmi_kernel,       &avx2_lookup_kernel, &vnni_kernel,
    &avx2_bytes_kernel, &avx2_shorts_kernel, &avx2_depthwise_kernel,
#endif
#ifdef N2UQ_NEON
    &neon_lookup_kernel,
#ifdef __ARM_FEATURE_DOTPROD
    &neon_dot_kernel,
#endif
#endif
#ifdef N2UQ_WASM
    &wasm_lookup_kernel, &wasm_dot_kernel,
#endif
    &reference_kernel,
};

enum { KERNELS = sizeof kernels / sizeof kernels[0] };

static const kernel *kernel_named(const char *name) {
  for (int32_t i = 0; i < KERNELS; i++)
    if (strcmp(kernels[i]->name, name) == 0 && kernels[i]->available()) return kernels[i];
  return NULL;
}

/* The kernel of a convolution; of other layers, if it is NULL. */
static const kernel *kernel_for(const convolution *c, const kernel *asked) {
  if (asked && (!c || asked->suits(c))) return asked;
  for (int32_t i = 0; i < KERNELS; i++)
    if (kernels[i]->available() && (!c || kernels[i]->suits(c))) return kernels[i];
  return &reference_kernel;
}

/* Which of the threads that run images this is. */
static int32_t thread_number(void) {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

/* A layer without products of integers: tiles of floats, pooled or loaded, and their stages. */
typedef struct {
  const layer *layer;
  const kernel *kernel;
  const memory *memory;
} plain_run;

static void plain_row(const void *context, int32_t y) {
  const plain_run *r = context;
  const layer *l = r->layer;
  int32_t tile[MAX_PIXELS][LANES] ALIGNED(ALIGNMENT);
  place where = {.lanes = LANES};
  for (int32_t x = 0; x < l->width; x += MAX_PIXELS) {
    where.pixel = (size_t)y * (size_t)l->width + (size_t)x;
    where.pixels = smaller(MAX_PIXELS, l->width - x);
    for (where.channel = 0; where.channel < l->channels; where.channel += LANES) {
      if (l->floats)
        float_tile(l->floats, r->memory, where, l->width, tile);
      else if (l->pool && l->pool->input->type == F32)
        pool_floats(l->pool, r->memory, where, l->width, tile);
      else if (l->pool)
        r->kernel->pool(l->pool, r->memory, where, l->width, tile);
      r->kernel->finish(l->stages, l->count, r->memory, where, tile);
    }
  }
}

static void run_layer(const layer *l, const kernel *asked, const memory *memory, uint8_t *scratch,
                      int32_t threads) {
  if (l->convolution) {
    convolve(l, kernel_for(l->convolution, asked), memory, scratch, threads);
  } else {
    plain_run r = {.layer = l, .kernel = kernel_for(NULL, asked), .memory = memory};
    for_each(l->height, threads, plain_row, &r);
  }
}

/* The most that any kernel of this processor needs for any layer. */
static size_t largest_scratch(const layer *layers, int32_t count, int32_t threads) {
  size_t most = 0;
  for (const layer *l = layers; l < layers + count; l++)
    for (int32_t i = 0; l->convolution && i < KERNELS; i++)
      if (kernels[i]->available() && kernels[i]->suits(l->convolution)) {
        size_t bytes = scratch_bytes(l->convolution, kernels[i], threads);
        most = bytes > most ? bytes : most;
      }
  return most;
}
