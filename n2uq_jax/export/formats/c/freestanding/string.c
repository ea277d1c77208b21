/* The functions of string.h. No builtins here: a loop that copies is not to become a call of the very
   function it is in. */
#include "string.h"

__attribute__((no_builtin)) void *memcpy(void *to, const void *from, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}

__attribute__((no_builtin)) void *memset(void *to, int value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) ((char *)to)[i] = (char)value;
  return to;
}

__attribute__((no_builtin)) int strcmp(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a - *b;
}
