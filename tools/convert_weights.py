#!/usr/bin/env python3
"""Convert released MTCNN networks to the weight file that mtcnn_fast reads.

A source is either a folder with the authors' Caffe files (det1.caffemodel, det2.caffemodel, det3.caffemodel), or
facenet-pytorch's networks: its wheel, or a folder with its pnet.pt, rnet.pt and onet.pt (needs torch).

The weight file is safetensors, float32. Each layer has a `.weight` and, except for the PReLUs, a `.bias` (out,):

    pnet.conv1..3               (out, in, kh, kw)          pnet.prelu1..3            (channels,)
    pnet.face, pnet.box         (2, 32, 1, 1), (4, 32, 1, 1): convolutions, as P-Net has no dense layer
    rnet.conv1..3, onet.conv1..4                           rnet.prelu1..4, onet.prelu1..5
    rnet.fc, onet.fc            (out, in), the input flattened as (channel, row, column)
    rnet.face, rnet.box, onet.face, onet.box, onet.landmarks   (out, in)

`face` has two outputs, in the order (not face, face). `box` is dx1, dy1, dx2, dy2; `landmarks` x1..x5, y1..y5.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float32]
Networks = dict[str, Array]


@dataclass(frozen=True)
class Layer:
    """One layer under its names: in the weight file, in Caffe's files and in facenet-pytorch's."""

    name: str
    caffe: str
    facenet_pytorch: str
    # For a dense layer behind a convolution: the (channels, rows, columns) of its flattened input.
    flattened: tuple[int, int, int] | None = None


# The Caffe layers of P-Net's PReLUs are capitalised. R-Net's conv5-3, a landmark head, is unused by the detector.
LAYERS = {
    "pnet": [
        *(Layer(f"conv{i}", f"conv{i}", f"conv{i}") for i in (1, 2, 3)),
        *(Layer(f"prelu{i}", f"PReLU{i}", f"prelu{i}") for i in (1, 2, 3)),
        Layer("face", "conv4-1", "conv4_1"),
        Layer("box", "conv4-2", "conv4_2"),
    ],
    "rnet": [
        *(Layer(f"conv{i}", f"conv{i}", f"conv{i}") for i in (1, 2, 3)),
        *(Layer(f"prelu{i}", f"prelu{i}", f"prelu{i}") for i in (1, 2, 3, 4)),
        Layer("fc", "conv4", "dense4", flattened=(64, 3, 3)),
        Layer("face", "conv5-1", "dense5_1"),
        Layer("box", "conv5-2", "dense5_2"),
    ],
    "onet": [
        *(Layer(f"conv{i}", f"conv{i}", f"conv{i}") for i in (1, 2, 3, 4)),
        *(Layer(f"prelu{i}", f"prelu{i}", f"prelu{i}") for i in (1, 2, 3, 4, 5)),
        Layer("fc", "conv5", "dense5", flattened=(128, 3, 3)),
        Layer("face", "conv6-1", "dense6_1"),
        Layer("box", "conv6-2", "dense6_2"),
        Layer("landmarks", "conv6-3", "dense6_3"),
    ],
}
CAFFE_ORIGIN = "kpzhang93/MTCNN_face_detection_alignment, code/codes/MTCNNv2/model, det1-3.caffemodel"
CAFFE_FILES = {"pnet": "det1.caffemodel", "rnet": "det2.caffemodel", "onet": "det3.caffemodel"}

LICENCE_NOTE = (
    "Repository under MIT (Copyright 2016 Kaipeng Zhang); trained on WIDER FACE and CelebA, which are for "
    "non-commercial research, so commercial use is disputed. See NOTICE."
)


def varint(message: bytes, position: int) -> tuple[int, int]:
    """The variable-length integer at `position`, and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The (field number, content) pairs of a protocol buffer message; integers, which no caller wants, are skipped."""
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        number, wire_type = divmod(tag, 8)
        if wire_type == 0:
            _, position = varint(message, position)
            continue
        if wire_type == 2:
            length, position = varint(message, position)
        elif wire_type in (1, 5):
            length = {1: 8, 5: 4}[wire_type]
        else:
            raise ValueError(f"wire type {wire_type} at byte {position}: not a Caffe model")
        yield number, message[position : position + length]
        position += length


def read_blob(blob: bytes) -> Array:
    """The array of a caffe.BlobProto. Field 5 is `data`, packed float32. Field 7 is `shape`, whose field 1 is `dim`,
    packed varints."""
    parts = dict(fields(blob))
    dims = dict(fields(parts[7]))[1]
    shape, position = [], 0
    while position < len(dims):
        size, position = varint(dims, position)
        shape.append(size)
    return np.frombuffer(parts[5], "<f4").reshape(shape)


def read_caffemodel(path: Path) -> dict[str, list[Array]]:
    """The blobs of each layer of a caffe.NetParameter: `layer` is field 100, its `name` 1 and `blobs` 7."""
    layers = {}
    for number, value in fields(path.read_bytes()):
        if number == 100:
            parts = list(fields(value))
            name = next(part for field, part in parts if field == 1).decode()
            layers[name] = [read_blob(part) for field, part in parts if field == 7]
    return layers


def from_caffe(folder: Path) -> Networks:
    """The authors' networks. They see the image transposed, so rows and columns change places in every kernel."""
    networks = {}
    for net, layers in LAYERS.items():
        blobs = read_caffemodel(folder / CAFFE_FILES[net])
        for layer in layers:
            weight, *bias = blobs[layer.caffe]
            if weight.ndim == 4:
                weight = weight.transpose(0, 1, 3, 2)
            elif layer.flattened:
                channels, rows, columns = layer.flattened
                weight = weight.reshape(-1, channels, columns, rows).transpose(0, 1, 3, 2).reshape(len(weight), -1)
            networks[f"{net}.{layer.name}.weight"] = weight
            if bias:
                networks[f"{net}.{layer.name}.bias"] = bias[0]
    return {name: np.ascontiguousarray(array) for name, array in networks.items()}


def from_facenet_pytorch(source: Path) -> Networks:
    """facenet-pytorch's networks. Its kernels are upright; its dense layers see (column, row, channel)."""
    import torch

    networks = {}
    for net, layers in LAYERS.items():
        if source.is_dir():
            content = (source / f"{net}.pt").read_bytes()
        else:
            with zipfile.ZipFile(source) as wheel:
                content = wheel.read(f"facenet_pytorch/data/{net}.pt")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        for layer in layers:
            weight = state[f"{layer.facenet_pytorch}.weight"].numpy()
            if layer.flattened:
                channels, rows, columns = layer.flattened
                weight = weight.reshape(-1, columns, rows, channels).transpose(0, 3, 2, 1).reshape(len(weight), -1)
            networks[f"{net}.{layer.name}.weight"] = weight
            if f"{layer.facenet_pytorch}.bias" in state:
                networks[f"{net}.{layer.name}.bias"] = state[f"{layer.facenet_pytorch}.bias"].numpy()
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in networks.items()}


def read(source: Path) -> tuple[Networks, str]:
    """The networks of any known source, and a line that names their origin."""
    if source.suffix == ".safetensors":
        return load_file(source), source.name
    if (source / CAFFE_FILES["pnet"]).exists():
        return from_caffe(source), CAFFE_ORIGIN
    if source.suffix == ".whl" or (source / "pnet.pt").exists():
        return from_facenet_pytorch(source), f"facenet-pytorch, {source.name}"
    raise SystemExit(f"{source}: neither a folder of Caffe files, nor facenet-pytorch's wheel or .pt files")


def write(path: Path, networks: Networks, metadata: dict[str, str]) -> None:
    """Write a safetensors file, with the same bytes for the same input. safetensors' own writer shuffles metadata."""
    header: dict[str, object] = {"__metadata__": metadata}
    position = 0
    for name, array in networks.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(array.astype("<f4").tobytes() for array in networks.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def compare(ours: Networks, theirs: Networks) -> float:
    """The largest absolute difference between two sources; exits if they do not have the same tensors."""
    shapes = [{name: array.shape for name, array in networks.items()} for networks in (ours, theirs)]
    if shapes[0] != shapes[1]:
        differing = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
        raise SystemExit(f"the sources do not have the same tensors: {differing}")
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of Caffe files, facenet-pytorch wheel or folder of .pt files")
    parser.add_argument("output", type=Path, nargs="?", help="the .safetensors file to write; none: write nothing")
    parser.add_argument("--check", type=Path, metavar="OTHER", help="compare with another source or weight file")
    arguments = parser.parse_args()

    networks, origin = read(arguments.source)
    sizes = {net: sum(a.size for name, a in networks.items() if name.startswith(net)) for net in LAYERS}
    print(f"{origin}: parameters {sizes}")
    if arguments.check:
        difference = compare(networks, read(arguments.check)[0])
        print(f"largest difference from {arguments.check.name}: {difference}")
        if difference:
            sys.exit(1)
    if arguments.output:
        metadata = {"source": origin, "licence": LICENCE_NOTE, "face": "not face, face", "landmarks": "x1..x5, y1..y5"}
        write(arguments.output, networks, metadata)
        print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
