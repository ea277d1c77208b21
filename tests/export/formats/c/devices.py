"""What generated C needs on devices without an operating system, beside itself."""

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

STRING_H = """
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int strcmp(const char *a, const char *b);
"""

# Three functions of the standard library, and buffers that the page can reach.
WEBASSEMBLY = """
#include "model.h"
#include <string.h>

void *memcpy(void *to, const void *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}

void *memset(void *to, int value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((char *)to)[i] = (char)value;
  return to;
}

int strcmp(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a - *b;
}

unsigned char images[2 * MODEL_HEIGHT * MODEL_WIDTH * MODEL_CHANNELS];
int32_t logits[2 * MODEL_CLASSES];
static unsigned char workspace[1 << 20];

int run(void) {
  if (model_workspace_size(2) > sizeof workspace) return 3;
  return model_run(images, 2, logits, workspace);
}
"""

NODE = """
const [path, images, classes] = [process.argv[2], process.argv[3], Number(process.argv[4])];
WebAssembly.instantiate(require("fs").readFileSync(path)).then(({ instance }) => {
  const { memory, run, images: input, logits } = instance.exports;
  new Uint8Array(memory.buffer).set(Buffer.from(images, "base64"), input.value);
  if (run()) process.exit(1);
  console.log(JSON.stringify([...new Int32Array(memory.buffer, logits.value, 2 * classes)]));
});
"""
