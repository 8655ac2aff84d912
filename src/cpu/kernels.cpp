// Compiled once for each instruction set of isa_list.h; exports one symbol, kernels_<isa>.
#include "kernels.h"

#include "pnet.h"
#include "refine.h"
#include "resample.h"

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
};

}  // namespace mtcnn_fast
