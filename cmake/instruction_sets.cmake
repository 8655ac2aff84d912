# src/cpu/kernels/kernels.cpp is compiled once per instruction set. This is the one list of them, best first: it makes the
# generated header isa_list.h, from which dispatch, tests and benchmarks take it. See docs/adding-an-instruction-set.md.

set(isas "")
macro(add_isa name)
  list(APPEND isas ${name})
  set(isa_flags_${name} ${ARGN})
endmacro()

# Feature flags, not CPU names: GCC 12 knows no -march=znver4.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  add_isa(amx -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mamx-tile -mamx-bf16 -mavx2 -mfma)
  add_isa(avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma)
  add_isa(avx2 -mavx2 -mfma)
  add_isa(sse2)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  add_isa(neon)
else()
  message(FATAL_ERROR "mtcnn_fast has no kernels for ${CMAKE_SYSTEM_PROCESSOR}: see docs/adding-an-instruction-set.md")
endif()

list(TRANSFORM isas REPLACE "(.+)" "X(\\1)" OUTPUT_VARIABLE isa_items)
list(JOIN isa_items " " isa_items)
file(CONFIGURE OUTPUT ${generated}/isa_list.h CONTENT [[
// Generated from cmake/instruction_sets.cmake: every instruction set that the kernels were compiled for, best first.
#pragma once
#define MTCNN_FAST_FOR_EACH_ISA(X) @isa_items@
]] @ONLY)
