// Compiled once for each instruction set of isa_list.h; exports one symbol, kernels_<isa>.
#include "cpu/kernels/kernels.h"

#include "cpu/kernels/refine.h"
#include "cpu/kernels/resample.h"
#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // Clang's name before 15
#define MTCNN_FAST_AMX
#include "cpu/kernels/pnet.h"
#include "cpu/kernels/pnet_bf16.h"
#include "cpu/kernels/refine_bf16.h"
#else
#include "cpu/kernels/pnet_tiled.h"
#endif

#define MTCNN_FAST_CONCATENATE(a, b) a##b
#define MTCNN_FAST_KERNELS(isa) MTCNN_FAST_CONCATENATE(kernels_, isa)
#define MTCNN_FAST_STRING(a) #a
#define MTCNN_FAST_NAME(isa) MTCNN_FAST_STRING(isa)

namespace mtcnn_fast {

const Kernels MTCNN_FAST_KERNELS(MTCNN_FAST_ISA_NAME) = {
    .name = MTCNN_FAST_NAME(MTCNN_FAST_ISA_NAME),
    .lanes = kLanes,
    .registers = kRegisters,
    .resample_scratch = resample_scratch,
    .pnet_scratch = pnet_scratch,
    .refine_scratch = refine_scratch,
    .resample = resample,
    .pnet = pnet,
    .rnet = rnet,
    .onet = onet,
#if defined(MTCNN_FAST_AMX)
    .pnet_by_winograd = false,  // confirming single windows gives the bits of direct convolutions
    .pnet_bf16_scratch = pnet_bf16_scratch,
    .refine_bf16_scratch = refine_bf16_scratch,
    .pnet_bf16 = pnet_bf16,
    .rnet_bf16 = rnet_bf16,
    .onet_bf16 = onet_bf16,
    .pnet_screened = pnet_screened,
#endif
};

}  // namespace mtcnn_fast
