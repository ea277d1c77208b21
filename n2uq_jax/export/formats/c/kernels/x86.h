/* Intrinsics of x86, and what functions need that use those of one extension.

   N2UQ_EMULATED replaces the processor by SIMDe, which computes intrinsics in plain C: so kernels can
   be tested on processors that lack the instructions, of other makers too. */
#ifndef N2UQ_X86_H
#define N2UQ_X86_H

#if defined(N2UQ_EMULATED)
#define N2UQ_X86
#include "emulated.h"
#define AVX2
#define AVX512
#define VBMI
#define VNNI
static int has_avx2(void) { return 1; }
static int has_vbmi(void) { return 1; }
static int has_vnni(void) { return 1; }

#elif defined(__x86_64__) && defined(__GNUC__) && !defined(N2UQ_PLAIN)
#define N2UQ_X86
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#define VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
static int has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }
static int has_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
static int has_vbmi(void) { return has_avx512() && __builtin_cpu_supports("avx512vbmi"); }
static int has_vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
#endif

#endif
