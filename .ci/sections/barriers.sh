# Emulated CUDA kernels with one barrier, atomic or wait less, and mistakes in the CUDA sources: a test must fail.
use_tools
make_release

section "CUDA kernels with one barrier, atomic or wait less"
python tests/simt/barriers.py cuda "$work/release/tests/simt/simt_tests"

section "mistakes in the CUDA sources"
python tests/simt/mutations.py "$work/release"
