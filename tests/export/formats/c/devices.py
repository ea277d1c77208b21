"""What generated C needs on a device without an operating system, beside itself."""

# On an emulated board: a vector table, and the images in flash. The semihosting of the C library
# prints and ends the emulation.
CORTEX_M4 = """
#include "model.h"
#include <stdio.h>

static const unsigned char images[] = {@images@};
static const int32_t expected[] = {@expected@};
static unsigned char workspace[1 << 16];

extern void _start(void);
__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {
    (const void *)0x20400000, (const void *)_start};

int main(void) {
  model_output logits[MODEL_CLASSES];
  size_t bytes = model_workspace_size(1);
  if (bytes > sizeof workspace || model_run(images, 1, logits, workspace)) return 2;
  int wrong = 0;
  for (int i = 0; i < MODEL_CLASSES; i++) wrong += logits[i] != expected[i];
  printf("%d wrong, %u bytes of workspace\\n", wrong, (unsigned)bytes);
  return wrong > 0;
}
"""
