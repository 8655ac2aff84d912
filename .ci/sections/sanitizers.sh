# Native tests under the address and undefined-behaviour sanitizers.
use_tools

section "native tests under the address and undefined-behaviour sanitizers"
build sanitized -DMTCNN_FAST_SANITIZE=address,undefined -DMTCNN_FAST_CUDA=OFF
ctest --test-dir "$work/sanitized" -j "$jobs" --output-on-failure --no-tests=error
