"""Whether the tests notice mistakes: puts one after another into a copy of the CUDA backend's sources.

    mutations.py BUILD

Each edit of EDITS is a mistake that somebody could make, and names a test that it must fail: by a wrong result, a crash
or no end. What includes the edited file is compiled again, as BUILD's Ninja compiles it for the emulator. Writes a
table, and fails where a test passes, where an edit does not apply any more, or where it does not compile.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from barriers import run

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("cuda", "src", "include", "tests/simt", "tests/native")
PROGRAM = "simt_tests"


@dataclass(frozen=True)
class Edit:
    """A text that the file has once, and what stands there instead."""

    test: str  # GROUP.TEST
    file: str
    old: str
    new: str


EDITS = (
    # --- Order between the caller's streams and the detector's.
    Edit(
        "host.images_that_a_stream_has_yet_to_write",
        "cuda/memory.h",
        "MTCNN_FAST_CHECK(cudaStreamWaitEvent(stream, event_, 0));",
        "",
    ),
    Edit(
        "host.images_that_a_stream_has_yet_to_write",
        "cuda/workspace.cpp",
        "images_written_.order(before, stream_);",
        "images_written_.order(stream_, stream_);",
    ),
    Edit(
        "host.images_that_a_stream_has_yet_to_write",
        "cuda/engine.cpp",
        "exchange_->order.order(first, stream);",
        "exchange_->order.order(stream, stream);",
    ),
    Edit(
        "host.calls_make_no_events",
        "cuda/workspace.cpp",
        "images_written_.order(before, stream_);",
        "Event().order(before, stream_);",
    ),
    Edit(
        "host.captured_streams_are_refused",
        "cuda/engine.cpp",
        "  if (any_on_device(images)) check_not_captured(stream);\n  std::unique_ptr",
        "  std::unique_ptr",
    ),
    Edit(
        "host.captured_streams_are_refused",
        "cuda/engine.cpp",
        "for (const cudaStream_t each : {first, stream}) check_not_captured(each);",
        "",
    ),
    Edit(
        "host.other_work_does_not_disturb_a_capture",
        "cuda/context.cpp",
        "  }\n  cudaThreadExchangeStreamCaptureMode(&mode_);",
        "  }\n  mode_ = cudaStreamCaptureModeGlobal;",
    ),
    Edit(
        "host.other_work_does_not_disturb_a_capture",
        "cuda/context.cpp",
        "DeviceGuard::~DeviceGuard() {\n  cudaThreadExchangeStreamCaptureMode(&mode_);",
        "DeviceGuard::~DeviceGuard() {",
    ),
    # --- Kernels that begin before the one in front of them has ended; barriers.py leaves out the wait of each.
    Edit(
        "host.kernels_begin_early_and_wait",
        "cuda/refine.cuh",
        "  wait_for_earlier_kernels();\n  const int n = windows.get();\n",
        "  const int n = windows.get();\n  wait_for_earlier_kernels();\n",
    ),
    Edit("host.kernels_begin_early_and_wait", "cuda/workspace.cpp", "pyramid(plain(q), w,", "pyramid(q, w,"),
    Edit("host.older_cards_have_no_programmatic_kernels", "cuda/device.h", "attributes.ptxVersion >= 90;", "true;"),
    # --- Uploads and results.
    Edit("host.weights_have_arrived", "cuda/engine.cpp", "  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream));\n", ""),
    Edit(
        "host.uploads_have_arrived",
        "cuda/engine.cpp",
        "copied = cudaStreamSynchronize(exchange.uploads);",
        "copied = cudaSuccess;",
    ),
    Edit(
        "host.results_do_not_wait_for_the_callers_work",
        "cuda/engine.cpp",
        "cudaMemcpyHostToDevice, exchange.uploads);\n  if (copied == cudaSuccess) copied = "
        "cudaStreamSynchronize(exchange.uploads);",
        "cudaMemcpyHostToDevice, cudaStreamLegacy);\n  if (copied == cudaSuccess) copied = "
        "cudaStreamSynchronize(cudaStreamLegacy);",
    ),
    Edit(
        "host.results_do_not_wait_for_the_callers_work",
        "cuda/engine.cpp",
        "if (process_ == getpid()) exchange_->results.give_back(device);",
        "if (process_ == getpid()) cudaFree(device);",
    ),
    Edit(
        "host.results_that_are_given_back_may_still_be_read",
        "cuda/result_memory.cpp",
        "const cudaError_t waited = cudaDeviceSynchronize();",
        "const cudaError_t waited = cudaSuccess;",
    ),
    Edit(
        "host.results_that_are_given_back_may_still_be_read",
        "cuda/result_memory.cpp",
        "  piece.given_back = true;\n  given_back_ += piece.bytes;",
        "  unused_[piece.bytes].push_back(memory);",
    ),
    Edit(
        "host.results_reuse_their_memory",
        "cuda/result_memory.cpp",
        "if (kept + piece.bytes > kMostGivenBack) {",
        "if (false) {",
    ),
    # --- Contexts.
    Edit(
        "host.no_context_on_another_gpu",
        "cuda/context.cpp",
        'check_driver(Driver::get().cuCtxPushCurrent(wanted), "cuCtxPushCurrent");',
        'check(cudaSetDevice(device), "cudaSetDevice");',
    ),
    Edit("host.no_context_on_another_gpu", "cuda/context.cpp", "    pushed_ = true;\n", ""),
    Edit("host.no_context_on_another_gpu", "cuda/interface.cpp", "    const DeviceGuard guard(*known);\n", ""),
    Edit(
        "host.no_context_on_another_gpu",
        "cuda/engine.cpp",
        "  check_process();\n  DeviceGuard guard(device_);\n  for (const cudaStream_t each",
        "  check_process();\n  for (const cudaStream_t each",
    ),
    # --- Workspaces.
    Edit(
        "host.workspaces_keep_a_share_of_the_memory",
        "cuda/engine.cpp",
        "workspaces_.size() < kMostKept && bytes <= most_kept_",
        "workspaces_.size() < kMostKept",
    ),
    # --- The description.
    Edit(
        "host.a_description_that_grows_within_its_memory",
        "cuda/workspace.cpp",
        "levels_at_ + sizeof(Level) * levels_.size(),",
        "levels_at_ + sizeof(Level),",
    ),
    Edit(
        "host.a_description_is_uploaded_when_it_changes",
        "cuda/workspace.cpp",
        "std::equal(images_.begin(), images_.end(), images)",
        "true",
    ),
    Edit("host.a_description_is_uploaded_when_it_changes", "cuda/workspace.cpp", "if (described_ && ", "if (false && "),
    Edit(
        "cascade.lists_that_are_too_short_grow",
        "cuda/workspace.cpp",
        "std::equal(levels_.begin(), levels_.end(), levels)",
        "true",
    ),
    Edit(
        "host.results_are_waited_for",
        "cuda/workspace.cpp",
        "void* context) {\n  MTCNN_FAST_CHECK(cudaStreamSynchronize(stream_));\n",
        "void* context) {\n",
    ),
    Edit(
        "host.results_are_waited_for",
        "cuda/workspace.cpp",
        "if (cell_map_.reserve(map)) ",
        "if (cell_map_.reserve(map) && false) ",
    ),
    Edit("cascade.lists_that_are_too_short_grow", "cuda/workspace.cpp", "!graph_ || !(recorded_ == work_)", "!graph_"),
    Edit(
        "cascade.lists_that_are_too_short_grow",
        "cuda/workspace.cpp",
        "  while (overflowed()) {",
        "  if (overflowed()) {",
    ),
    # --- The screen.
    Edit("cascade.the_screen_changes_nothing", "src/cuda/engine_options.h", "kPnetMargin = 0.2,", "kPnetMargin = 0,"),
    Edit(
        "cascade.the_screen_of_rnet_changes_nothing",
        "src/cuda/engine_options.h",
        "kRnetMargin = 0.12;",
        "kRnetMargin = 0;",
    ),
    Edit(
        "cascade.the_screen_of_rnet_changes_nothing",
        "cuda/workspace.cpp",
        "           confirm_windows(q, w, m.refine_weights(Stage::rnet));\n",
        "",
    ),
    Edit(
        "cascade.the_screen_changes_nothing",
        "cuda/workspace.cpp",
        "           confirm_cells(q, w, m.pnet.as<void>());\n",
        "",
    ),
    Edit(
        "refine.the_screen_changes_nothing",
        "cuda/refine_fp16.cu",
        "to_half2(a.x, a.y), to_half2(a.z, a.w)",
        "to_half2(a.x, a.y), to_half2(a.z, a.z)",
    ),
    Edit(
        "refine.the_screen_changes_nothing",
        "cuda/refine.cu",
        "if constexpr (kConv.inputs == 3) place = windows.place(place);",
        "",
    ),
    Edit("refine.the_screen_changes_nothing", "cuda/refine.cuh", "outputs[0] = -INFINITY;", ";"),
    Edit(
        "cascade.the_screen_changes_nothing",
        "cuda/workspace.cpp",
        "  fit(capacity_.cells_left, counts.cells_left);\n",
        "",
    ),
    Edit(
        "pnet.the_screen_changes_nothing",
        "cuda/pnet_cells.cu",
        "if (!(outputs.logit >= work.settings.cell_logit)) return;",
        "",
    ),
    Edit(
        "pnet.the_screen_changes_nothing",
        "cuda/pnet_fp16.cu",
        "if (passed && place < work.cells_left_capacity)",
        "if (passed)",
    ),
    # --- Kernels: bounds and indices.
    Edit("suppress.overflow", "cuda/suppress.cu", "min(count, windows.capacity - base)", "count"),
    Edit(
        "suppress.the_cascade_as_on_the_cpu",
        "cuda/suppress.cu",
        "last_row(min(row + reach, level.rows - 1))",
        "last_row(min(row + reach - 1, level.rows - 1))",
    ),
    Edit(
        "suppress.the_cascade_as_on_the_cpu",
        "cuda/suppress.cu",
        "static_cast<int>(gridDim.x) - 1) return;",
        "0) return;",
    ),
    Edit(
        "suppress.the_cascade_as_on_the_cpu", "cuda/suppress.cu", "logit == own.logit && earlier", "logit == own.logit"
    ),
    Edit("suppress.the_cascade_as_on_the_cpu", "cuda/suppress.cu", "if (entry < 0) return true;", ""),
    Edit("suppress.the_cascade_as_on_the_cpu", "cuda/suppress.cu", "0x108421", "0x100421"),
    Edit("suppress.boxes", "cuda/greedy.h", "min(kChunk, kept_before - first)", "kChunk"),
    Edit("pnet.every_cell", "cuda/pnet.cu", "const bool passed = q < columns && ", "const bool passed = "),
    Edit(
        "refine.agrees_with_reference",
        "cuda/refine_fp16.cu",
        "(rows + kConv.kernel - 1) * kRowVectors",
        "rows * kRowVectors",
    ),
    Edit("resize.crops", "cuda/resize.cu", "first + window.count - size, 0)", "first + window.count - size - 1, 0)"),
    Edit("resize.as_on_the_cpu", "cuda/image_words.h", "(words.lead + bytes + 3)", "(bytes + 3)"),
    Edit("resize.wide_crops", "cuda/image_words.h", " || words.count > most", ""),
    Edit("resize.pixels_lie_as_they_like", "cuda/resize.cu", "if (!words.reversed) return;", "return;"),
)


class Build:
    """How Ninja makes the program of an emulator's build."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands = self._ninja("commands", PROGRAM)
        self.compile = {found[1]: line for line in commands if (found := re.search(r" -o (\S+\.o) -c ", line))}
        (self.link,) = (line for line in commands if re.search(rf" -o \S*/{PROGRAM} ", line))
        self.program = folder / re.search(rf" -o (\S*/{PROGRAM}) ", self.link)[1]  # type: ignore[index]
        self.read: dict[str, set[str]] = {}  # by object: the files of the project that it was made of
        for line in self._ninja("deps"):
            if not line.startswith(" "):
                target = self.read.setdefault(line.split(":")[0], set())
            elif line.strip().startswith(f"{ROOT}/"):
                target.add(os.path.relpath(line.strip(), ROOT))

    def _ninja(self, tool: str, *arguments: str) -> list[str]:
        command = ["ninja", "-C", str(self.folder), "-t", tool, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()

    def with_edit(self, edit: Edit, scratch: Path) -> Path:
        """The program with that edit. Raises ValueError where there is none."""
        for folder in COPIED:
            shutil.copytree(ROOT / folder, scratch / folder)
        text = (ROOT / edit.file).read_text()
        if text.count(edit.old) != 1:
            raise ValueError(f"DOES NOT APPLY: the file has its text {text.count(edit.old)} times")
        (scratch / edit.file).write_text(text.replace(edit.old, edit.new))
        edited = [name for name in self.compile if edit.file in self.read.get(name, ())]
        link = self.link.replace(f" -o {self.program.relative_to(self.folder)} ", f" -o {scratch / PROGRAM} ")
        for number, name in enumerate(edited):
            to = scratch / f"{number}.o"
            command = self.compile[name].replace(str(ROOT), str(scratch)).replace(f" -o {name} ", f" -o {to} ")
            # A mistake may leave a variable unused.
            self._make(re.sub(r" -MD -MT \S+ -MF \S+ | -Werror(?= )", " ", command))
            link = link.replace(f" {name} ", f" {to} ")
        self._make(link)
        return scratch / PROGRAM

    def _make(self, command: str) -> None:
        made = subprocess.run(["sh", "-c", command], cwd=self.folder, capture_output=True, text=True)
        if made.returncode != 0:
            raise ValueError(f"DOES NOT COMPILE: {made.stderr[:500]}")


def verdict(build: Build, edit: Edit, seconds: float) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            program = build.with_edit(edit, Path(scratch))
        except ValueError as error:
            return str(error)
        # Ten times as long as without the edit, on a busy machine: it will not end.
        return run(program, edit.test, 30 + 10 * seconds) or "NOT CAUGHT"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="folder of a build with the emulator's tests, by Ninja")
    parser.add_argument("--only", default="", help="those whose file, old text or test has this in it")
    arguments = parser.parse_args()
    build = Build(arguments.build.resolve())
    edits = [edit for edit in EDITS if any(arguments.only in text for text in (edit.file, edit.old, edit.test))]
    if not edits:
        parser.error(f"no edit has '{arguments.only}' in it")
    seconds = {}
    for test in sorted({edit.test for edit in edits}):
        start = time.monotonic()
        if failure := run(build.program, test, 600):
            print(f"{test}, without an edit: {failure}")
            return 1
        seconds[test] = time.monotonic() - start
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        verdicts = list(pool.map(lambda edit: verdict(build, edit, seconds[edit.test]), edits))
    for edit, said in zip(edits, verdicts, strict=True):
        print(f"{edit.file:22} {' '.join(edit.old.split())[:48]:48} {edit.test}: {said}")
    failed = sum(said.startswith(("NOT", "DOES NOT")) for said in verdicts)
    print(f"{len(edits)} edits, {failed} that no test caught")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
