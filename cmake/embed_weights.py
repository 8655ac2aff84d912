"""Turns a safetensors file into a C++ source (see src/weights.h). Needs only Python's standard library, because it runs
in every build, before anything is installed.

The numbers are written as their 32-bit patterns: no decimal conversion has to be trusted, the byte order of the build
machine does not matter, and integers parse fastest. The 495,850 words of the three networks (5.6 MB of source) compile
in about two seconds. `#embed` needs C++26, and `.incbin` is an assembler's affair that MSVC-style tools do not share.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
from pathlib import Path

WORDS_A_LINE = 10
MAX_RANK = 4  # EmbeddedTensor::shape


def read_safetensors(path: Path) -> dict[str, tuple[list[int], bytes]]:
    """Name -> (shape, little-endian float32 bytes). The format: u64 length, JSON header of that length, data."""
    content = path.read_bytes()
    if len(content) < 8:
        raise SystemExit(f"{path}: not a safetensors file (only {len(content)} bytes)")
    (header_size,) = struct.unpack_from("<Q", content)
    if header_size > len(content) - 8:
        raise SystemExit(f"{path}: header of {header_size} bytes does not fit into a file of {len(content)}")
    header = json.loads(content[8 : 8 + header_size])
    data = content[8 + header_size :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape = entry["shape"]
        begin, end = entry["data_offsets"]
        if entry["dtype"] != "F32" or not 1 <= len(shape) <= MAX_RANK:
            raise SystemExit(f"{path}: {name} is {entry['dtype']} {shape}, wanted F32 of 1 to {MAX_RANK} dimensions")
        if not 0 <= begin <= end <= len(data) or end - begin != 4 * math.prod(shape):
            raise SystemExit(f"{path}: {name} {shape} does not fill its bytes {begin} to {end} of {len(data)}")
        tensors[name] = (shape, data[begin:end])
    return tensors


def source(tensors: dict[str, tuple[list[int], bytes]], origin: str) -> str:
    lines = [
        f"// Generated from {origin}; do not edit.",
        '#include "weights.h"',
        "",
        "namespace mtcnn_fast {",
        "namespace {",
        "constexpr std::uint32_t bits[] = {",
    ]
    table = []
    offset = 0
    for name, (shape, data) in sorted(tensors.items()):
        count = len(data) // 4
        words = struct.unpack(f"<{count}I", data)
        for i in range(0, count, WORDS_A_LINE):
            lines.append(",".join(f"{word:#x}" for word in words[i : i + WORDS_A_LINE]) + ",")
        table.append(f'    {{"{name}", {len(shape)}, {{{", ".join(map(str, shape))}}}, bits + {offset}}},')
        offset += count
    lines += [
        "};",
        "}  // namespace",
        "",
        "const EmbeddedTensor embedded_tensors[] = {",
        *table,
        "};",
        f"const int embedded_tensor_count = {len(table)};",
        "}  // namespace mtcnn_fast",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    tensors = read_safetensors(arguments.weights)
    if not tensors:
        raise SystemExit(f"{arguments.weights}: no tensors")
    arguments.output.write_text(source(tensors, arguments.weights.name))


if __name__ == "__main__":
    main()
