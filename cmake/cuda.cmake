# The CUDA backend: a shared object of its own, which the library opens on first use (src/cuda/library.cpp). Importing the
# package, and the CPU, touch no driver, and one wheel serves machines with and without a GPU.
set(MTCNN_FAST_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (for this machine's GPUs), ON (for all) or OFF")
set_property(CACHE MTCNN_FAST_CUDA PROPERTY STRINGS AUTO ON OFF)
if(NOT MTCNN_FAST_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "MTCNN_FAST_CUDA is '${MTCNN_FAST_CUDA}', wanted AUTO, ON or OFF")
endif()

# tests/simt builds the same files for the CPU.
set(cuda_sources
  cuda/resize.cu
  cuda/pnet.cu
  cuda/pnet_fp16.cu
  cuda/pnet_cells.cu
  cuda/suppress.cu
  cuda/refine.cu
  cuda/refine_fp16.cu
  cuda/context.cpp
  cuda/result_memory.cpp
  cuda/pack_pnet.cpp
  cuda/pack_refine.cpp
  cuda/workspace.cpp
  cuda/stages.cpp
  cuda/engine.cpp
  cuda/interface.cpp)

if(MTCNN_FAST_CUDA STREQUAL "OFF")
  message(STATUS "CUDA backend: not built, because MTCNN_FAST_CUDA is OFF; detection will run on the CPU")
  return()
endif()

# Every generation since Turing: compute capabilities without the point, ascending.
set(architectures 75 80 86 89 90 100 120)
set(oldest_nvcc 12.8) # the first that knows them all

# The architectures for this machine's GPUs. The latest one that is not after a GPU's own: nvcc need not know that GPU,
# which runs the machine code or the PTX of an older one.
function(architectures_of_gpus result)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE capabilities ERROR_QUIET)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${capabilities}")
  set(found "")
  foreach(capability IN LISTS capabilities)
    string(REPLACE "." "" capability ${capability})
    set(best "")
    foreach(architecture IN LISTS architectures)
      if(NOT architecture GREATER capability)
        set(best ${architecture})
      endif()
    endforeach()
    list(APPEND found ${best})
  endforeach()
  list(REMOVE_DUPLICATES found)
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# To be set before the language is enabled, because CMake fills in the compiler's default. With ON there is machine code
# for all of them, and PTX for later GPUs.
set(architectures_given FALSE)
if(DEFINED CMAKE_CUDA_ARCHITECTURES OR DEFINED ENV{CUDAARCHS})
  set(architectures_given TRUE)
elseif(MTCNN_FAST_CUDA STREQUAL "AUTO")
  architectures_of_gpus(CMAKE_CUDA_ARCHITECTURES)
else()
  list(TRANSFORM architectures APPEND -real OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
  list(GET architectures -1 latest)
  list(APPEND CMAKE_CUDA_ARCHITECTURES ${latest}-virtual)
endif()

set(obstacle "")
if(MTCNN_FAST_SANITIZE)
  set(obstacle "MTCNN_FAST_SANITIZE is set, and the sanitizers are for the host's code (tests/simt runs the kernels there)")
elseif(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(obstacle "it has not been brought to ${CMAKE_SYSTEM_NAME}")
elseif(CMAKE_CROSSCOMPILING AND NOT DEFINED CMAKE_CUDA_COMPILER)
  set(obstacle "this is a cross build, and CMAKE_CUDA_COMPILER is not set")
elseif(NOT architectures_given AND NOT CMAKE_CUDA_ARCHITECTURES)
  set(obstacle "nvidia-smi lists no GPU of compute capability 7.5 or later (MTCNN_FAST_CUDA=ON builds it for all)")
else()
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(obstacle "there is no CUDA compiler that works (put nvcc on the PATH, or get one with tools/cuda_toolkit.sh)")
  else()
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE nvcc_version ERROR_QUIET)
    if(NOT nvcc_version MATCHES "Cuda compilation tools, release ([0-9.]+)")
      set(obstacle "${CMAKE_CUDA_COMPILER} is not nvcc, the only CUDA compiler that it has been tried with")
    elseif(CMAKE_MATCH_1 VERSION_LESS oldest_nvcc)
      set(obstacle "${CMAKE_CUDA_COMPILER} is of CUDA ${CMAKE_MATCH_1}, and ${oldest_nvcc} or later is wanted")
    endif()
  endif()
endif()
if(obstacle AND MTCNN_FAST_CUDA STREQUAL "ON")
  message(FATAL_ERROR "MTCNN_FAST_CUDA is ON, but the CUDA backend cannot be built: ${obstacle}. "
    "MTCNN_FAST_CUDA=OFF builds for the CPU alone (docs/building.md)")
elseif(obstacle)
  message(STATUS "CUDA backend: not built, because ${obstacle}; detection will run on the CPU")
  return()
endif()

enable_language(CUDA)
message(STATUS "CUDA backend: nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
add_subdirectory(cuda)
