# src/cpu/kernels/kernels.cpp is compiled once per instruction set. This is the one list of them, best first: it makes the
# generated header isa_list.h, from which dispatch, tests and benchmarks take it. See docs/adding-an-instruction-set.md.

set(isas "")
function(add_isa name)
  add_library(kernels_${name} OBJECT src/cpu/kernels/kernels.cpp)
  target_compile_features(kernels_${name} PRIVATE cxx_std_20)
  target_compile_definitions(kernels_${name} PRIVATE MTCNN_FAST_ISA_NAME=${name})
  target_include_directories(kernels_${name} PRIVATE include src ${generated})
  # -Wno-psabi: vectors are passed by value only between functions of this one unit, so their calling convention,
  # which GCC warns about, concerns nobody. -Wno-*uninitialized: GCC's own AVX-512 intrinsics are warned of (GCC bug
  # 105593, before GCC 13). -fno-lto: the optimizer must not move one set's code into another's
  # functions, whatever the user's flags say. -fno-predictive-commoning: GCC 12 would carry a tile's inputs from one
  # iteration to the next through the stack (a direct conv1 of O-Net: 100 instead of 148 GFLOP/s).
  target_compile_options(kernels_${name} PRIVATE
    ${ARGN} $<$<NOT:$<CONFIG:Debug>>:${gnu_option}-O3> -Wno-psabi ${gnu_option}-fno-lto
    "$<$<CXX_COMPILER_ID:GNU>:-fno-predictive-commoning;-Wno-uninitialized;-Wno-maybe-uninitialized>")
  set_target_properties(kernels_${name} PROPERTIES INTERPROCEDURAL_OPTIMIZATION OFF)
  target_sources(mtcnn_fast PRIVATE $<TARGET_OBJECTS:kernels_${name}>)
  set(isas ${isas} ${name} PARENT_SCOPE)
  set(isa_flags_${name} ${ARGN} PARENT_SCOPE)
endfunction()

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
