#!/bin/sh
# Installs what the CUDA backend is compiled with, from PyPI, into a folder, and prints the path of nvcc:
#
#     CUDACXX=$(tools/cuda_toolkit.sh build/cuda) pip install .
#
# Needs pip (of $PYTHON, else of python3) and no root. cuobjdump and nvdisasm are what tools/check_cuda_resources.py reads the result with.
set -eu
if [ $# -ne 1 ]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
mkdir -p "$1"
folder=$(cd "$1" && pwd)
# The metapackage, because nvidia-cuda-nvcc alone does not pin the rest: a newer nvvm makes code that this ptxas rejects.
# The disassemblers of 13.0 were never published; later ones read its code.
"${PYTHON:-python3}" -m pip install --quiet --upgrade --target "$folder" \
  "cuda-toolkit[nvcc,cudart,cccl]==13.0.*" "nvidia-cuda-cuobjdump>=13.2.51" "nvidia-cuda-nvdisasm>=13.2.51" >&2
# nvcc.profile has the linker look for the runtime in lib64, which the packages call lib.
ln -sfn lib "$folder/nvidia/cu13/lib64"
echo "$folder/nvidia/cu13/bin/nvcc"
