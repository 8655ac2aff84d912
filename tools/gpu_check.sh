#!/usr/bin/env bash
# On a machine with a GPU, from a bare checkout to results in one call of at most ten minutes: builds for the card at
# hand, holds it against the CPU, runs NVIDIA's sanitizers, measures.
#
#     tools/gpu_check.sh [--photographs FOLDER] [--wheels FOLDER] [--out FOLDER] [--emulated BUILD]
#
# --photographs  a folder as bench/photographs.py reads it (default: where that looks itself)
# --wheels       packages that are missing here, as *.whl; nothing is downloaded
# --out          where DATE-CARD-cuda.json, .log and -kernels.csv go (default: bench/results)
# --emulated     shows without a GPU that the script works: on the backend and the benchmark of a CMake build folder with
#                MTCNN_FAST_BUILD_TESTS and MTCNN_FAST_BUILD_BENCHMARKS, but MTCNN_FAST_CUDA=OFF, with little work. Its
#                figures mean nothing.
#
# Wanted: nvcc, CMake, a C++ compiler, Python with numpy, safetensors, pybind11, scikit-build-core, opencv, pytest and
# pillow (ninja is quicker than make). Used where they are there: compute-sanitizer, ncu, PyTorch, facenet-pytorch,
# Google Benchmark. The exit status is 0 where the tests, the sanitizers and the benchmark's own checks were clean.
set -uo pipefail
export LC_ALL=C PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
root=$(cd "$(dirname "$0")/.." && pwd)
photographs='' wheels='' out=$root/bench/results emulated=''
while [ $# -gt 0 ]; do
  if [ $# -lt 2 ]; then echo "$1: unknown, or without a value; see the head of $0" >&2; exit 2; fi
  case $1 in
    --photographs) photographs=$(realpath -m "$2") ;;
    --wheels) wheels=$(realpath -m "$2") ;;
    --out) out=$(realpath -m "$2") ;;
    --emulated) emulated=$(realpath -m "$2") ;;
    *) echo "$1: unknown; see the head of $0" >&2; exit 2 ;;
  esac
  shift 2
done
for folder in "$photographs" "$wheels" "$emulated"; do
  if [ -n "$folder" ] && [ ! -d "$folder" ]; then echo "$folder is no folder" >&2; exit 2; fi
done
[ -z "$photographs" ] || export MTCNN_FAST_TEST_DATA=$photographs
python=$(command -v "${PYTHON:-python3}") || { echo "python3 is missing" >&2; exit 2; }
python=$("$python" -c 'import sys; print(sys.executable)') # not a wrapper: the sanitizers start it themselves
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

if [ -n "$emulated" ]; then
  card=emulator
else
  card=$(nvidia-smi --id=0 --query-gpu=name --format=csv,noheader 2>/dev/null) || card=gpu
fi
name=$(date +%F)-$(tr -cs 'A-Za-z0-9\n' - <<<"${card#NVIDIA }" | tr '[:upper:]' '[:lower:]')-cuda

# --- Steps -----------------------------------------------------------------------------------------------------------

# Seconds for all steps. Their own limits add up to less; an emulator is slow.
allowed=585 slow=1
[ -z "$emulated" ] || allowed=3600 slow=6
summary=() unclean=0

note() { # STEP TEXT
  summary+=("$(printf '%-11s %s' "$1" "$2")")
  printf '%s: %s\n' "$1" "$2"
}
missing() { # STEP TEXT: what the exit status depends on, and could not be had
  unclean=1
  note "$1" "NOT DONE: $2"
}
step() { # STEP SECONDS COMMAND...
  local step=$1 limit=$(($2 * slow)) left=$((allowed - SECONDS)) status=0
  shift 2
  printf '\n=== %s (after %d s)\n' "$step" "$SECONDS"
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -lt 5 ]; then
    note "$step" "LEFT OUT: no time left"
    return 1
  fi
  timeout --kill-after=5 "$limit" "$@" || status=$?
  case $status in
    0) note "$step" "done" ;;
    124 | 137) note "$step" "STOPPED after $limit s" ;;
    *) note "$step" "FAILED with status $status" ;;
  esac
  return "$status"
}
must() { # as step, for what the exit status depends on
  step "$@" && return
  unclean=1
  return 1
}
has() { # MODULE...: whether Python has them all
  "$python" -c 'import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))' "$@"
}
want() { # STEP MODULE...: the same, and names those that are missing
  local step=$1 module absent=()
  shift
  for module in "$@"; do has "$module" || absent+=("$module"); done
  [ ${#absent[@]} -eq 0 ] && return
  missing "$step" "Python has no ${absent[*]}: put wheels of them into a folder and name it with --wheels"
  return 1
}

describe_machine() {
  local tool
  echo "$name, $(nproc) processors; photographs: ${photographs:-where bench/photographs.py looks}"
  if [ -n "$emulated" ]; then
    echo "EMULATED: no GPU is asked, and no figure below means anything."
  else
    nvidia-smi || echo "nvidia-smi is missing"
  fi
  for tool in "$python" nvcc cmake ninja c++ compute-sanitizer ncu; do
    if command -v "$tool" >/dev/null; then
      printf '%s: %s\n' "$tool" "$("$tool" --version 2>&1 | grep -m1 -E '[0-9]+\.[0-9]+')"
    else
      printf '%s: missing\n' "$tool"
    fi
  done
}

build() { # leaves the package in $work/site, the program in $native
  local options
  if [ -n "$emulated" ]; then
    options=(-Ccmake.define.MTCNN_FAST_CUDA=OFF)
    native=$emulated/bench/bench_cuda
    export MTCNN_FAST_CUDA_LIBRARY=$emulated/tests/simt/libmtcnn_fast_cuda.so
  else
    options=(-Ccmake.define.MTCNN_FAST_CUDA=ON -Ccmake.define.CMAKE_CUDA_ARCHITECTURES=native
      -Ccmake.define.MTCNN_FAST_BUILD_BENCHMARKS=ON)
    native=$work/build/bench/bench_cuda
    unset MTCNN_FAST_CUDA_LIBRARY
  fi
  CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)} must build 120 "$python" -m pip wheel \
    --no-build-isolation --no-deps --no-index -Cbuild-dir="$work/build" "${options[@]}" -w "$work/wheel" "$root" &&
    must install 15 "$python" -m pip install --quiet --no-index --no-deps --target "$work/site" \
      "$work"/wheel/mtcnn_fast-*.whl &&
    must device 15 "$python" -c 'import mtcnn_fast; print(mtcnn_fast.MTCNN(device="cuda").device)'
}

check() {
  if want tests pytest PIL; then
    local which=("$root/tests") parallel=()
    if [ -n "$emulated" ]; then
      which=("$root/tests/test_cuda.py") # it takes minutes for the others
    elif has xdist; then
      parallel=(-n 6) # the oracle, on the CPU, takes most of the time; more processes would only wait for the GPU
    fi
    must tests 150 "$python" -m pytest -q -p no:cacheprovider "${parallel[@]}" -c "$root/pyproject.toml" \
      "${which[@]}" -k "cuda and not cuda_build"
  fi
  want short cv2 || return
  if [ -n "$emulated" ]; then
    must short 60 "$python" "$work/short.py" "$root"
    note sanitizer "left out: it is for a GPU"
  elif command -v compute-sanitizer >/dev/null; then
    must memcheck 45 compute-sanitizer --tool memcheck --error-exitcode 99 "$python" "$work/short.py" "$root"
    must racecheck 55 compute-sanitizer --tool racecheck --error-exitcode 99 "$python" "$work/short.py" "$root"
  else
    missing sanitizer "compute-sanitizer is missing"
  fi
}

measure() {
  want benchmarks cv2 || return
  local effort=(--agreement-seconds 30 --growth-seconds 10 --native-seconds 50 --limit 200 --python-rounds 5)
  [ -z "$emulated" ] || effort=(--brief)
  [ -z "$photographs" ] || effort+=("$photographs")
  if [ -x "$native" ]; then
    effort+=(--native "$native")
  else
    missing bench_cuda "$native was not built"
  fi
  must benchmarks 140 "$python" "$root/bench/gpu.py" "${effort[@]}" --json "$out/$name.json"
  if [ -n "$emulated" ] || ! command -v ncu >/dev/null; then
    note kernels "left out: ncu is missing or there is no GPU"
    return
  fi
  # Each kernel by the hardware's counters. Without the first option ncu would hold the clocks at their base.
  local metrics=gpu__time_duration.sum,sm__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,dram__throughput.avg.pct_of_peak_sustained_elapsed
  step kernels 25 ncu --clock-control none --csv --log-file "$out/$name-kernels.csv" --metrics $metrics \
    "$python" "$work/short.py" "$root"
}

cat >"$work/short.py" <<'PYTHON'
# Every kernel a few times, on as little as reaches them: an image with a face, a batch of mixed sizes, no face.
import pathlib
import sys

import cv2
import numpy as np

import mtcnn_fast

image = cv2.imread(str(pathlib.Path(sys.argv[1]) / "tests/data/astronaut.jpg"))[:, :, ::-1]
face = np.ascontiguousarray(image[60:180, 170:270])
for precision in ("fp32", "fast"):
    for profile in ("reference", "facenet-pytorch", "mtcnn"):
        detector = mtcnn_fast.MTCNN(device="cuda:0", precision=precision, profile=profile)
        print(precision, profile, detector.inspect(face)["candidates"])
        assert len(detector.detect(face)) == 1
    batch = [face, face[::2, ::2], face[:12, :12], np.zeros_like(face), face[:, ::-1]]
    print([len(faces) for faces in detector.detect_batch(batch)])
PYTHON

main() {
  describe_machine
  export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}
  cd "$work" || return 1 # among the sources, Python would find a package without its core
  if compgen -G "$wheels/*.whl" >/dev/null; then
    step wheels 15 "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$work/site" \
      "$wheels"/*.whl
  fi
  if want build numpy safetensors scikit_build_core pybind11 && build; then
    check
    measure
  fi
  printf '\n=== Summary of %s (%d s)\n' "$name" "$SECONDS"
  printf '%s\n' "${summary[@]}"
  [ -z "$emulated" ] || echo "EMULATED: this was not run on a GPU."
  if [ $unclean -eq 0 ]; then
    echo "tests, sanitizers and the benchmark's checks: clean"
  else
    echo "tests, sanitizers and the benchmark's checks: NOT CLEAN"
  fi
  return $unclean
}

main 2>&1 | tee "$out/$name.log"
exit "${PIPESTATUS[0]}"
